# The hook access_log of subclasses: what it is called with, and what it does where it is not replaced.
package Gepok::AccessLog;

use strict;
use warnings;

use Carp       ();
use IO::Handle ();

use Gepok::Loader ();

our $VERSION  = '0.300';
our @CARP_NOT = ('Gepok');

# What the worker calls after each response: with the PSGI response, the client's socket, and the request's entries. For an object
# whose class has a method of its own. A relative path belongs to the folder of the start, which the server may leave.
sub hook {
    my ($gepok, $path, $folder) = @_;
    eval { require HTTP::Request; 1 }
        or Carp::croak(ref($gepok) . '::access_log needs HTTP::Message, which is not installed');
    Carp::croak("option 'access_log_path': '$path' is not for a method access_log, which writes to files")
        if defined $path && $path =~ /\A(?:\||syslog\b)/;
    my $plain = defined $path && $path !~ /\A(?:|-|stdout|stderr)\z/;
    $gepok->{_access_log} = $plain ? Gepok::Loader::absolute($path, $folder) : $path;
    return sub {
        my ($response, $socket, @entries) = @_;
        return $gepok->access_log(_request(@entries), $response, $socket);
    };
}

# Where Gepok's own method writes: nothing, a standard handle, or the file, opened once in each worker.
sub handle {
    my ($gepok) = @_;
    my $path = $gepok->{_access_log};
    return \*STDERR if !defined $path || $path eq 'stderr';
    return \*STDOUT if $path eq '-' || $path eq 'stdout';
    return if $path eq '';
    my $open = $gepok->{_access_log_open};
    if (!$open || $open->{pid} != $$) {
        open my $handle, '>>', $path or die "can't open the access log $path: $!\n";
        $handle->autoflush(1);
        $open = $gepok->{_access_log_open} = { pid => $$, handle => $handle };
    }
    return $open->{handle};
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
