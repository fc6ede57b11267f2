package Gepok::Test::Corpus;

# The corpus of t/http-corpus: reads it, and sends many cases at once to a server. Its README says what a file looks like.

use strict;
use warnings;

use IO::Select;
use Socket      qw(SHUT_WR);
use Time::HiRes qw(sleep time);

use Gepok::Test::Connection;

# Stands behind every case. It closes, so that each connection comes to its end without a wait.
our $BEHIND = "GET /behind HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

my %ESCAPE = (r => "\r", n => "\n", t => "\t", 0 => "\0", s => ' ', '\\' => '\\');

# The files, in order: {path, options => {}, groups => [{title, text, cases => [case]}]}. A case is
# {file, name, lines, bytes, answers => [{status, content}], fate}.
sub files {
    my $folder = shift;
    return map { read_file($_) } sort glob "$folder/*.txt";
}

sub cases { map { @{$_->{cases}} } map { @{$_->{groups}} } @_ }

sub read_file {
    my $path = shift;
    my ($name) = $path =~ m{([^/]+)\.txt$};
    my $file = {path => $path, name => $name, options => {}, groups => []};
    my $case;
    open my $in, '<', $path or die "$path: $!";
    while (my $line = <$in>) {
        chomp $line;
        if    ($line =~ /^options (.*)/) { $file->{options} = {map { split /=/ } split ' ', $1} }
        elsif ($line =~ /^= (.*)/)       { push @{$file->{groups}}, {title => $1, text => '', cases => []}; undef $case }
        elsif ($line =~ /^== (.*)/) {
            $case = {file => $name, name => $1, lines => [], bytes => '', answers => []};
            push @{$file->{groups}[-1]{cases}}, $case;
        }
        elsif ($line =~ /^    (.*)/) {
            push @{$case->{lines}}, $1;
            $case->{bytes} .= bytes($1);
        }
        elsif ($line =~ /^-> (?:(\d+)(?: (?!close$|keep$|wait$)(.*?))?)?(?: ?(close|keep|wait))?$/) {
            push @{$case->{answers}}, {status => $1, content => defined $2 ? bytes($2) : undef} if defined $1;
            $case->{fate} = $3 if $3;
        }
        elsif (!$case)        { $file->{groups}[-1]{text} .= "$line\n" if $line =~ /\S/ }
        elsif ($line =~ /\S/) { die "$path: what is '$line'?\n" }
    }
    for my $each (cases($file)) {
        die "$path: $each->{name} has no bytes or no fate\n" unless length $each->{bytes} && $each->{fate};
    }
    return $file;
}

# The bytes that a line stands for.
sub bytes {
    my $text = shift;
    $text =~ s/\\(?:x([0-9a-f]{2})|(.))/defined $1 ? chr hex $1 : $ESCAPE{$2} \/\/ die "what is \\$2?\n"/ge;
    $text =~ s/\{(\d+)\*([^}]+)\}/$2 x $1/ge;
    return $text;
}

# Sends each case on a connection of its own, all at the same time, and gives for each what came back. `pieces` cuts the
# bytes of a connection: all at once by default.
sub exchange {
    my ($connect, $pieces, @cases) = @_;
    $pieces ||= sub { $_[0] };
    my $select = IO::Select->new;
    my (%open, @clients);
    for my $case (@cases) {
        my $bytes  = $case->{bytes} . ($case->{fate} eq 'wait' ? '' : $BEHIND);
        my $socket = $connect->();
        $socket->blocking(0);
        my $client = {case => $case, socket => $socket, in => '', pieces => [$pieces->($bytes)]};
        push @clients, $client;
        $select->add($socket);
        $open{fileno $socket} = $client;
    }
    my $limit = time + 120 * ($ENV{GEPOK_TEST_SLOW} // 1);
    while (%open && time < $limit) {
        my $sent;
        for my $client (grep { @{$_->{pieces}} } values %open) {
            $sent = 1;
            my $piece = shift @{$client->{pieces}};
            my $wrote = syswrite $client->{socket}, $piece;
            if (!defined $wrote && !$!{EAGAIN}) { @{$client->{pieces}} = (); next }
            unshift @{$client->{pieces}}, substr $piece, $wrote // 0 if ($wrote // 0) < length $piece;
            shutdown $client->{socket}, SHUT_WR if $client->{case}{fate} eq 'wait' && !@{$client->{pieces}};
        }
        for my $socket ($select->can_read($sent ? 0 : 1)) {
            my $client = $open{fileno $socket};
            my $got    = sysread $socket, $client->{in}, 65536, length $client->{in};
            next if $got || !defined $got && $!{EAGAIN};
            $client->{ended} = 1;
            delete $open{fileno $socket};
            $select->remove($socket);
            close $socket;
        }
    }
    return @clients;
}

# What is wrong with what came back; nothing if it is as the case says. With `interim` false, 1xx are passed over: whether
# one is sent can depend on what arrives together.
sub deviation {
    my ($client, $interim) = @_;
    my $case = $client->{case};
    return 'the connection stays open' unless $client->{ended};
    my @expected = grep { $interim || $_->{status} >= 200 } @{$case->{answers}};
    push @expected, {status => 200, content => 'GET|/behind||/behind|0|'} if $case->{fate} eq 'keep';
    my $reader = bless {buffer => $client->{in}, end => 1, seconds => 1}, 'Gepok::Test::Connection';
    my $last;
    while (length $reader->{buffer}) {
        my $next     = $expected[0];
        my $is_head  = $next && ($next->{content} // '') eq 'HEAD';
        my $response = eval {
            my $head = $reader->{buffer} =~ m{^HTTP/1.1 1} ? $reader->head : $reader->response($is_head ? 'HEAD' : 'GET');
            $head;
        };
        return "no response: $@" unless $response;
        next if !$interim && $response->status < 200;
        # Half a second behind the end of what it sends a client is asked whether it is there: on a busy machine that may be.
        next if $case->{fate} eq 'wait' && $response->status == 100 && (!$next || $next->{status} != 100);
        return sprintf 'a %s that should not be there', $response->status unless $next;
        shift @expected;
        return sprintf '%s, not %s', $response->status, $next->{status} if $response->status != $next->{status};
        return sprintf '%s, not %s', map { Gepok::Test::Connection::printable($_) } $response->content, $next->{content}
            if defined $next->{content} && !$is_head && $response->content ne $next->{content};
        $last = $response;
    }
    return "no $expected[0]{status}" if @expected;
    return 'the last response does not say that it closes' if $case->{fate} ne 'wait' && !$last->closes;
    return;
}

my $INTRODUCTION = <<'END';
# What Gepok does with each spelling of a request

Raw bytes in, exact status and the connection's fate out: %d cases, each of them tested (t/29-http-corpus.t) as it stands, byte by
byte, and, where requests are pipelined, cut at every byte. This page is made of the corpus in [t/http-corpus](../t/http-corpus/README) by
`script/http-corpus --write`; a test fails when the two differ.

`script/http-corpus --through nginx` and `--through haproxy` send the same bytes through those proxies, strict and as lax as they
can be set, with connections to Gepok that are kept and shared. Required: the app sees no request that the proxy does not know to have sent,
and the next client gets its own answer.

How to read it: `\r`, `\n`, `\t`, `\0` and `\x0b` are single bytes, `{128*x}` is `x` 128 times. *keeps*: a request behind these bytes is
served. *closes*: nothing behind them is read as a request. *waits*: they are only the beginning of something; the server waits for the rest, up to
`header_timeout` or `timeout`, and a client that goes gets nothing.

Requests in flight: one for each connection. What a client sends ahead stays in the socket's buffer but for 16 KiB, so that pipelining needs no
limit of its own.
END

# The page that shows the corpus.
sub document {
    my @files = @_;
    my $page  = sprintf $INTRODUCTION, scalar cases(@files);
    for my $group (map { @{$_->{groups}} } @files) {
        $page .= "\n## $group->{title}\n\n$group->{text}\n| | bytes | answers | then it |\n|---|---|---|---|\n";
        for my $case (@{$group->{cases}}) {
            my $bytes = join '', @{$case->{lines}};
            $bytes = substr($bytes, 0, 150) . ' ...' if length $bytes > 160;
            $bytes = "`` $bytes ``";
            s/\|/\\|/g for $bytes, my $name = $case->{name};
            my $answers = join ', ', map { $_->{status} } @{$case->{answers}};
            $page .= "| $name | $bytes | $answers | $case->{fate}s |\n";
        }
    }
    return $page;
}

# How often the app was called for what came back.
sub calls { scalar(() = $_[0]{in} =~ m{HTTP/1\.1 200 OK\r\n}g) }

1;
