# What an app may answer and what leaves the server: no field that splits a response, no length that is a lie, no response that
# ends as if it were whole.
use strict;
use warnings;

use Test::More;

use Gepok::Test;

gepok_only();

my $server = server(options => {start_servers => 1, keepalive_timeout => 60}, app => <<'END');
my @coded = ('Transfer-Encoding' => 'chunked');
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
    '/coded'        => sub { [200, \@coded, ["5\r\nhello\r\n0\r\n\r\n"]] },
    '/coded-pieces' => sub { sub { my $w = shift->([200, \@coded]); $w->write($_) for split /(?<=l)/, "5\r\nhello\r\n0\r\n\r\n"; $w->close } },
    '/coded-large'  => sub { [200, \@coded, [(sprintf("%x\r\n", 90_000) . 'x' x 90_000 . "\r\n") x 3, "0\r\n\r\n"]] },
    '/coded-trailer' => sub { [200, [@coded, Connection => 'close'], ["5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"]] },
    '/coded-file'   => sub { open my $f, '+>', undef; print $f "ea60\r\n", 'f' x 60_000, "\r\n0\r\n\r\n"; seek $f, 0, 0; [200, \@coded, $f] },
    '/coded-cut'    => sub { [200, \@coded, ["5\r\nhello\r\n"]] },
    '/coded-wrong'  => sub { [200, \@coded, ["5\r\nhello\r\n", "plain\r\n", "0\r\n\r\n"]] },
    '/coded-more'   => sub { [200, \@coded, ["5\r\nhello\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"]] },
    '/coded-gzip'   => sub { [200, ['Transfer-Encoding' => 'gzip, chunked'], ["5\r\nhello\r\n0\r\n\r\n"]] },
    '/undef-length' => sub { [200, ['Content-Length' => undef], ['hello']] },
    '/undef-stream' => sub { sub { my $w = shift->([200, ['Content-Length' => undef, 'X-A' => undef]]); $w->write('hello'); $w->close } },
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
}
ok logged(qr/a response can't be sent: .*a response can't be sent: /s), 'the log has each reason';

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
};

# Plack::Middleware::Chunked does so, and Mojolicious' write_chunk.
check 'an app that chunks its content itself' => sub {
    my %content = ('/coded' => 'hello', '/coded-pieces' => 'hello', '/coded-large' => 'x' x 270_000, '/coded-file' => 'f' x 60_000);
    for my $path (sort keys %content) {
        my $client = ask($path);
        ok $client->response->content eq $content{$path}, "$path: its chunks are passed on";
        $client->send("GET /hop HTTP/1.1\r\nHost: x\r\n\r\n");
        is $client->response->content, 'hello', 'and the connection goes on';
        my $old = ask($path, '1.0')->response;
        ok $old->content eq $content{$path}, 'HTTP/1.0 gets their data';
        is $old->field('Transfer-Encoding'), undef, 'without a coding';
        is $old->framing, 'close', 'to the end of the connection';
        my $client10 = $server->connect;
        $client10->send("GET $path HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        ok $client10->response->closes, 'also where it would have been kept';
    }
    my $client = ask('/coded-more');
    is $client->response->content, 'hello', 'what follows the last chunk is not sent';
    ok logged(qr/goes on after its last chunk/), 'which is told';
    $client->send("GET /hop HTTP/1.1\r\nHost: x\r\n\r\n");
    is $client->response->content, 'hello', 'and the connection goes on';
    for my $case (['/coded-cut', qr/before the last of the app's own chunks/], ['/coded-wrong', qr/malformed chunks/]) {
        my ($path, $told) = @$case;
        my $client = ask($path);
        $client->head;
        like $client->rest, qr/^5\r\nhello(?:\r\n)?\z/, "$path: the end is missing";
        ok logged($told), 'which is told';
        ok !eval { ask($path, '1.0')->response; 1 }, 'HTTP/1.0 is reset: its end would look good';
    }
    $client = ask('/coded-trailer');
    $client->head;
    is $client->rest, "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n", 'trailers are passed on';
    $client = ask('/coded-gzip');
    ok $client->head->closes, 'another coding costs the connection';
    is ask('/coded-gzip', '1.0')->response->status, 500, 'and HTTP/1.0 can not have it';
};

# It stands for a length that the app does not know, not for an error.
check 'an undefined Content-Length is none' => sub {
    my $response = ask('/undef-length')->response;
    is $response->content, 'hello', 'the content is sent';
    is $response->field('Content-Length'), 5, 'with the length that it has';
    $response = ask('/undef-stream')->response;
    is $response->content, 'hello', 'a stream as well';
    is $response->framing, 'chunked', 'in chunks';
    is $response->field('X-A'), '', 'any other undefined value is empty';
};

done_testing;
