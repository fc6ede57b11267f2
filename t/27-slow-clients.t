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
# A client of these would hold it for two minutes.
cmp_ok $longest, '<', 10 * ($ENV{GEPOK_TEST_SLOW} // 1), 'each of them soon';

my ($reader) = grep { $_->socket->opened } $slow[1];
is length($reader->response->content), 1 << 20, 'and who reads slowly gets it all';

# As much as it has room for, and 128 KiB more: the rest waits in our own files, not in memory of the kernel, which is short.
if ($^O eq 'linux') {
    my $client = $server->connect;
    setsockopt $client->socket, SOL_SOCKET, SO_RCVBUF, 4096;
    $client->send("GET /large HTTP/1.1\r\nHost: x\r\n\r\n");
    my $queued;
    soon { ($queued) = unsent($client->socket->sockport); ($queued // 0) > 65536 };
    cmp_ok $queued // 0, '>', 65536, 'the kernel has something for a client that does not read';
    # Whatever else the server would give to it, it has given behind so many others.
    $server->get('/') for 1 .. 20;
    ($queued) = unsent($client->socket->sockport);
    cmp_ok $queued, '<', 256 * 1024, 'but not the whole response';
}

done_testing;

# Bytes that the kernel has from the server for the client with this port, as /proc/net/tcp tells.
sub unsent {
    my $port = shift;
    open my $table, '<', '/proc/net/tcp' or die $!;
    my $there = sprintf ":%04X", $port;
    my @sizes = map { /^\s*\d+: \S+ \S+$there \S+ ([0-9A-F]+):/ ? hex $1 : () } <$table>;
    # The port may have had earlier connections, which have nothing.
    return (sort { $b <=> $a } @sizes)[0];
}
