# The hook access_log of subclasses: what it is called with, and what it does where it is not replaced.
package Gepok::AccessLog;

use strict;
use warnings;

use HTTP::Request ();

our $VERSION = '0.300';

# What the worker calls behind each response: with the PSGI response, the client's socket, and the request's entries.
sub hook {
    my ($gepok) = @_;
    return sub {
        my ($response, $socket, @entries) = @_;
        return $gepok->access_log(_request(@entries), $response, $socket);
    };
}

# An HTTP::Request made of env entries, as they were before the app saw them.
sub _request {
    my %env = @_;
    my @fields;
    for my $key (sort keys %env) {
        my ($name) = $key =~ /\A(?:HTTP_)?(.+)\z/s;
        next if $key !~ /\A(?:HTTP_|CONTENT_(?:TYPE|LENGTH)\z)/;
        push @fields, join('-', map { ucfirst lc } split /_/, $name, -1), $env{$key};
    }
    my $request = HTTP::Request->new($env{REQUEST_METHOD}, $env{REQUEST_URI}, \@fields);
    $request->protocol($env{SERVER_PROTOCOL});
    return $request;
}

# A line in Apache's combined format.
sub line {
    my ($request, $response, $socket) = @_;
    my $client = defined $socket && $socket->can('peerhost') ? $socket->peerhost : undef;
    my ($status, $headers, $body) = $response ? @$response : ();
    my $length;
    for (my $at = 0; $headers && $at < $#$headers; $at += 2) {
        $length = $headers->[ $at + 1 ] if lc $headers->[$at] eq 'content-length';
    }
    if (!defined $length && ref $body eq 'ARRAY') {
        $length = 0;
        $length += length for grep { defined } @$body;
    }
    my $first = join ' ', $request->method, $request->uri, $request->protocol || ();
    return sprintf qq(%s - - [%s] "%s" %s %s "%s" "%s"\n), defined $client ? $client : 'unix:', _now(), _plain($first),
        defined $status ? $status : '-', $length || '-', map { _plain(defined $_ && length $_ ? $_ : '-') }
        scalar $request->header('Referer'), scalar $request->header('User-Agent');
}

sub _plain {
    my ($text) = @_;
    utf8::encode($text) if utf8::is_utf8($text);
    $text =~ s/(["\\])/\\$1/g;
    $text =~ s/([^\x20-\x7e])/sprintf '\\x%02x', ord $1/ge;
    return $text;
}

my @MONTHS = qw(Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec);

sub _now {
    require POSIX;
    my @now = localtime;
    return sprintf '%02d/%s/%04d:%02d:%02d:%02d %s', $now[3], $MONTHS[ $now[4] ], $now[5] + 1900, @now[2, 1, 0],
        POSIX::strftime('%z', @now);
}

1;
