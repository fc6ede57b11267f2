# What an app may answer and what leaves the server: no field that splits a response, no length that is a lie, no response that
# ends as if it were whole.
use strict;
use warnings;

use Test::More;

use Gepok::Test;

gepok_only();

my $server = server(options => {start_servers => 1, keepalive_timeout => 60}, app => <<'END');
my %answers = (
    '/cr-value'     => sub { [200, ['X-A' => "a\rX-B: b"], ['x']] },
    '/lf-value'     => sub { [200, ['X-A' => "a\nX-B: b"], ['x']] },
    '/crlf-value'   => sub { [200, ['X-A' => "a\r\n\r\n<html>"], ['x']] },
    '/nul-value'    => sub { [200, ['X-A' => "a\0b"], ['x']] },
    '/lf-name'      => sub { [200, ["X-A: a\nX-B" => 'b'], ['x']] },
    '/colon-name'   => sub { [200, ['X-A:' => 'b'], ['x']] },
    '/space-name'   => sub { [200, ['X A' => 'b'], ['x']] },
    '/no-name'      => sub { [200, ['' => 'b'], ['x']] },
    '/status'       => sub { [99, [], ['x']] },
    '/length-word'  => sub { [200, ['Content-Length' => 'many'], ['x']] },
    '/length-twice' => sub { [200, ['Content-Length' => 1, 'Content-Length' => 2], ['x']] },
    '/short'        => sub { [200, ['Content-Length' => 10], ['hello']] },
    '/long'         => sub { [200, ['Content-Length' => 5], ['hello', ' and more']] },
    '/long-pieces'  => sub { [200, ['Content-Length' => 100_000], [map { $_ x 60_000 } 'a' .. 'd']] },
    '/many-pieces'  => sub { sub { my $w = shift->([200, []]); $w->write($_ x 60_000) for 'a' .. 'z'; $w->close } },
    '/hop'          => sub { [200, [Connection => 'keep-alive, X-Hop', 'Keep-Alive' => 'timeout=99'], ['hello']] },
    '/close'        => sub { [200, [Connection => 'close'], ['hello']] },
    '/identity'     => sub { [200, ['Transfer-Encoding' => 'identity'], ['hello']] },
    '/coded'        => sub { [200, ['Transfer-Encoding' => 'chunked'], ["5\r\nhello\r\n0\r\n\r\n"]] },
    '/die-chunked'  => sub { sub { my $w = shift->([200, []]); $w->write('hello'); die "broken\n" } },
    '/die-length'   => sub { sub { my $w = shift->([200, ['Content-Length' => 10]]); $w->write('hello'); die "broken\n" } },
);
sub { $answers{$_[0]{PATH_INFO}}->() };
END

sub ask {
    my ($path, $version) = @_;
    my $client = $server->connect;
    $client->send("GET $path HTTP/" . ($version // '1.1') . "\r\nHost: x\r\n\r\n");
    return $client;
}

# What the log says since the last time, once it matches.
my $read = 0;
sub logged {
    my $pattern = shift;
    my $found   = soon { substr($server->log, $read) =~ $pattern };
    $read = length $server->log;
    return $found;
}

for my $path (qw(/cr-value /lf-value /crlf-value /nul-value /lf-name /colon-name /space-name /no-name /status /length-word
    /length-twice))
{
    my $response = ask($path)->response;
    is $response->status, 500, "$path is not sent";
    unlike $response->raw . $response->content, qr/X-B|<html>|X-A/, 'not in part either';
    ok logged(qr/\S/), 'and the log says why';
}

check 'content that ends too soon' => sub {
    my $client = ask('/short');
    is $client->head->field('Content-Length'), 10, 'ten bytes are promised';
    is $client->rest, 'hello', 'five come, then the end';
    ok logged(qr/5 bytes before its Content-Length/), 'which is told';
};

check 'content that goes on too long' => sub {
    my $client = ask('/long');
    is $client->response->content, 'hello', 'it is cut';
    $client->send("GET /hop HTTP/1.1\r\nHost: x\r\n\r\n");
    is $client->response->content, 'hello', 'and the connection is good for the next';
    ok logged(qr/longer than its Content-Length/), 'which is told';
};

# Pieces that are here together are written as one.
check 'large pieces keep their order and end where they should' => sub {
    my $client = ask('/long-pieces');
    is $client->response->content, 'a' x 60_000 . 'b' x 40_000, 'cut within a piece';
    $client->send("GET /many-pieces HTTP/1.1\r\nHost: x\r\n\r\n");
    my $response = $client->response;
    is $response->framing, 'chunked', 'of a length that nobody knows';
    ok $response->content eq join('', map { $_ x 60_000 } 'a' .. 'z'), 'all of it, in its order';
    $client->send("HEAD /long-pieces HTTP/1.1\r\nHost: x\r\n\r\n");
    $response = $client->head;
    is $response->field('Content-Length'), 100_000, 'HEAD tells the length';
    $client->send("GET /hop HTTP/1.1\r\nHost: x\r\n\r\n");
    is $client->response->content, 'hello', 'and has nothing behind its head';
    ok logged(qr/longer than its Content-Length/), 'which is told';
};

check 'an app that dies behind the head' => sub {
    my $client = ask('/die-chunked');
    $client->head;
    is $client->rest, "5\r\nhello\r\n", 'chunks without the last one';
    $client = ask('/die-length');
    $client->head;
    is $client->rest, 'hello', 'fewer bytes than promised';
    $client = ask('/die-chunked', '1.0');
    ok !eval { $client->response; 1 }, 'where only the close would tell the end';
    like $@, qr/reset/, 'it is a reset';
    ok logged(qr/broken/), 'which is told';
};

check 'connection and coding are the server\'s' => sub {
    my $client   = ask('/hop');
    my $response = $client->response;
    is_deeply [map { $response->all($_) } qw(Connection Keep-Alive)], [], 'neither reaches the client';
    $client->send("GET /close HTTP/1.1\r\nHost: x\r\n\r\n");
    ok $client->response->closes, 'close does';
    ok $client->closed, 'and is done';
    is ask('/identity')->response->framing, 'length', 'identity is no coding';
    $client = ask('/coded');
    $response = $client->response;
    is $response->content, 'hello', 'an app that codes for itself is taken at its word';
    ok $response->closes && $client->closed, 'and its connection closes';
};

done_testing;
