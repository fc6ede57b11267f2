package Gepok::Bench::Mixed;

# Fast requests at a moderate rate, with and without clients whose calls are slow.

use strict;
use warnings;
use utf8;

use Gepok::Bench::Launch qw(check launch);
use Gepok::Bench::Paced  ();

my $WORKERS = 4;
my $CLIENTS = 32;
my $RATE    = 800;
my $SLOW    = 2;

our $TEXT = "$WORKERS workers, nothing pinned. $CLIENTS clients send $RATE requests/s to a fast route in even time, with and without $SLOW "
    . 'clients that are always in a call of 200 ms. A request\'s time counts from the moment it was due. Gepok\'s clients keep '
    . 'their connections; Starman and Starlet get a connection per request, since kept connections would have to wait for one another there.';

# {p50, p99, p50_slow, p99_slow, more} in ms, of one pair of runs; which is the first alternates.
sub measure {
    my ($app, $how, $server) = @_;
    my $keep    = $server eq 'Gepok' ? 1 : 0;
    my $running = launch(
        server    => $server,
        folder    => $how->{folder},
        app       => $app,
        cpu       => undef,
        workers   => $WORKERS,
        keepalive => $keep
    );
    check($running, ['GET', '/'], "Hello World\n");
    # Every worker has been called before.
    run($running, $keep, 0, 0.3);
    my %seen;
    for my $slow ($how->{round} % 2 ? (0, $SLOW) : ($SLOW, 0)) {
        $seen{$slow ? 1 : 0} = run($running, $keep, $slow, $how->{seconds});
    }
    $running->{process}->stop;
    return {
        p50      => $seen{0}{p50},
        p99      => $seen{0}{p99},
        p50_slow => $seen{1}{p50},
        p99_slow => $seen{1}{p99},
        more     => $seen{1}{p99} - $seen{0}{p99},
    };
}

sub run {
    my ($running, $keep, $slow, $seconds) = @_;
    return Gepok::Bench::Paced::run(
        port    => $running->{target}{port},
        clients => $CLIENTS,
        rate    => $RATE,
        slow    => $slow,
        seconds => $seconds,
        keep    => $keep,
        content => "Hello World\n",
    );
}

1;
