package Gepok::Bench::Paced;

# Clients that send at their times whatever the server does: wrk asks again only when it has an answer, which hides waits.

use strict;
use warnings;

use Errno            qw(EAGAIN EINTR);
use IO::Socket::INET ();
use List::Util       qw(max min);
use Time::HiRes      qw(time);

# A request that has no answer so long after the end is an error.
my $PATIENCE = 5;

# `port`; `clients` send together `rate` requests a second to /, for so many `seconds`; `slow` further clients ask /slow again as
# soon as they are answered. `keep`: connections are kept. `content`: what each answer holds.
#
# {p50, p99, requests}: ms from the moment a request was due to its whole answer.
sub run {
    my (%how)    = @_;
    my $interval = $how{clients} / $how{rate};
    my $start    = time + 0.01;
    my $end      = $start + $how{seconds};
    my @clients  = (
        (map { {path => '/', due => $start + $_ * $interval / $how{clients}, every => $interval} } 0 .. $how{clients} - 1),
        (map { {path => '/slow', due => $start, every => 0} } 1 .. $how{slow}),
    );
    my %context = (%how, times => [], waiting => {});
    local $SIG{PIPE} = 'IGNORE';

    while (1) {
        my $now = time;
        my @idle = grep { !$_->{sent} && $_->{due} < $end } @clients;
        send_request(\%context, $_) for grep { $_->{due} <= $now } @idle;
        last if !@idle && !grep { $_->{sent} } @clients;
        die scalar(grep { $_->{sent} } @clients), " requests have no answer\n" if $now > $end + $PATIENCE;

        my $next = min(map { $_->{due} } grep { !$_->{sent} } @idle) // $now + 0.1;
        my $read = '';
        vec($read, $_, 1) = 1 for keys %{$context{waiting}};
        my $count = select $read, undef, undef, max($next - time, 0);
        next if $count <= 0;
        for my $descriptor (grep { vec $read, $_, 1 } keys %{$context{waiting}}) {
            receive(\%context, $context{waiting}{$descriptor});
        }
    }

    my @times = sort { $a <=> $b } @{$context{times}};
    die "no request was answered\n" if !@times;
    return {p50 => 1000 * $times[@times * 0.5], p99 => 1000 * $times[@times * 0.99], requests => scalar @times};
}

sub send_request {
    my ($context, $client) = @_;
    $client->{socket} //= IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $context->{port}) // die "no connection: $!\n";
    my $close = $context->{keep} ? '' : "Connection: close\r\n";
    my $bytes = "GET $client->{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n$close\r\n";
    (syswrite($client->{socket}, $bytes) // 0) == length $bytes or die "a request could not be sent: $!\n";
    $client->{sent}   = 1;
    $client->{buffer} = '';
    $context->{waiting}{fileno $client->{socket}} = $client;
}

# What came on a connection; a whole answer makes the client free for its next request.
sub receive {
    my ($context, $client) = @_;
    my $read = sysread $client->{socket}, $client->{buffer}, 65536, length $client->{buffer};
    return if !defined $read && ($! == EAGAIN || $! == EINTR);
    my ($head, $content) = $client->{buffer} =~ /\A(.*?\r\n)\r\n(.*)\z/s;
    if (!defined $content || length $content < length $context->{content}) {
        die "a connection ended before its answer\n" if !$read;
        return;
    }
    die "a wrong answer: $client->{buffer}\n" if $head !~ m{\AHTTP/1\.1 200 } || $content ne $context->{content};
    my $now = time;
    push @{$context->{times}}, $now - $client->{due} if $client->{every};
    $client->{due}  = $client->{every} ? $client->{due} + $client->{every} : $now;
    $client->{sent} = 0;
    delete $context->{waiting}{fileno $client->{socket}};
    delete $client->{socket} if !$context->{keep};
}

1;
