# Slow clients by the hundred hold no worker. The long version, with figures, is bench/slow-clients.
use strict;
use warnings;

use Socket qw(SOL_SOCKET SO_RCVBUF);
use Test::More;
use Time::HiRes qw(time);

use Gepok::Test;

gepok_only();

my $server = server(
    app     => 'my $large = "x" x 1048576; sub { [200, [], [$_[0]{PATH_INFO} eq "/large" ? $large : "hello"]] }',
    options => {start_servers => 1},
);

my @slow;
for my $number (1 .. 300) {
    my $client = $server->connect;
    if    ($number % 3 == 0) { $client->send("GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ") }
    elsif ($number % 3 == 1) { $client->send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nx") }
    else {
        setsockopt $client->socket, SOL_SOCKET, SO_RCVBUF, 65536;
        $client->send("GET /large HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    push @slow, $client;
}

my ($longest, $served) = (0, 0);
for my $round (1 .. 50) {
    my $began = time;
    $served++ if $server->get('/')->content eq 'hello';
    my $took = time - $began;
    $longest = $took if $took > $longest;
    # Still sending, still reading, slowly.
    for my $client (@slow) { syswrite $client->socket, 'x' }
}
is $served, 50, 'one worker serves all others meanwhile';
cmp_ok $longest, '<', 2 * ($ENV{GEPOK_TEST_SLOW} // 1), 'each of them soon';

my ($reader) = grep { $_->socket->opened } $slow[1];
is length($reader->response->content), 1 << 20, 'and who reads slowly gets it all';

done_testing;
