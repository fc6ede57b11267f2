package Gepok::Test::Http2Corpus;

# The corpus of t/http2-corpus: t/clients/http2_corpus.py reads and sends it, this module starts servers for it and writes its page.

use strict;
use warnings;

use Gepok::Test;

# The one that Debian's modules belong to.
my ($PYTHON) = (grep({ -x } '/usr/bin/python3'), 'python3');
my @CLIENT = ($PYTHON, root() . '/t/clients/http2_corpus.py');

# The files, in order: {path, name, options => {}, groups => [{title, text, cases => [{name, lines, expected}]}]}.
sub files {
    return map {
        my ($name) = m{([^/]+)\.txt$};
        my $file = client('--read', $_);
        +{%$file, path => $_, name => $name};
    } sort glob root() . '/t/http2-corpus/*.txt';
}

sub cases { map { @{$_->{cases}} } map { @{$_->{groups}} } @_ }

sub client {
    my ($code, $out) = run_command([@CLIENT, @_]);
    die "@_: $out" if $code;
    return json($out);
}

# Sends a file to a fresh server: {cases, deviations => [{name, why}], calls}.
sub run {
    my $file   = shift;
    my $server = server(
        app     => app_file('wire'),
        options => {h2c => 1, start_servers => 2, max_requests_per_child => 0, %{$file->{options}}},
    );
    return $server, client($server->port, $file->{path});
}

my $INTRODUCTION = <<'END';
# What Gepok does with each sequence of frames

Frames of HTTP/2 in, exact answers and the connection's fate out: %d cases, each of them tested (t/49-http2-corpus.t) by a client that
makes its frames itself. This page is made of the corpus in [t/http2-corpus](../t/http2-corpus/README) by `script/http2-corpus --write`; a
test fails when the two differ.

How to read it: the client's preface and SETTINGS go first. A frame is its type, its stream and flags, then its fields or content. `GET /` stands for
the four pseudo fields. *malformed* is status 400, or a reset with PROTOCOL_ERROR; *goaway* ends the connection with that code, which a server may
also do where one stream alone is wrong (RFC 9113 section 5.4.1). *differs* is what the library does that Gepok uses, where that is not what the RFC says: it
is another code in most rows. Unless the connection ends, a request after the case is served on it.
END

# The page that shows the corpus.
sub document {
    my @files = @_;
    my $page  = sprintf $INTRODUCTION, scalar cases(@files);
    for my $group (map { @{$_->{groups}} } @files) {
        $page .= "\n## $group->{title}\n\n$group->{text}\n| | frames | what comes back |\n|---|---|---|\n";
        for my $case (@{$group->{cases}}) {
            my @cells = ($case->{name}, join('<br>', map { code($_) } @{$case->{lines}}), join '<br>', map({ code($_) } @{$case->{expected}}), differs($case));
            $page .= '| ' . join(' | ', @cells) . " |\n";
        }
    }
    return $page;
}

# What the server does instead, and why.
sub differs {
    my $case = shift;
    return unless @{$case->{known}};
    return 'differs: ' . join(', ', map { code($_) } @{$case->{known}}) . ", $case->{why}";
}

sub code {
    my $text = shift;
    $text = substr($text, 0, 120) . ' ...' if length $text > 130;
    $text =~ s/\|/\\|/g;
    return "`` $text ``";
}

1;
