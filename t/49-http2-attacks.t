# Attacks by HTTP/2: the core's memory is bounded, floods end with the right code, another client is served. script/http2-attacks does
# the same for longer.
use strict;
use warnings;

use Test::More;

use Gepok::Test;
use Gepok::Test::Http2Attack;

gepok_only();

# Machines that run tests have much else to do.
my $SLOWER = 8;

for my $kind (Gepok::Test::Http2Attack::kinds()) {
    check $kind => sub {
        my $server = Gepok::Test::Http2Attack::start();
        my $found  = Gepok::Test::Http2Attack::run($server, $kind, 1);
        is_deeply [Gepok::Test::Http2Attack::broken($found, $SLOWER)], [], 'the bounds hold';
        note sprintf '%d frames on %d connections, %.1f MiB, %.2f s', @$found{qw(frames connections)}, $found->{most} - $found->{idle}, $found->{longest};
        is $server->get('/fast')->content, 'fast', 'the server serves on';
        unlike $server->log, qr/panick/, 'nothing has failed in it';
    };
}

done_testing;
