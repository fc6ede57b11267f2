# HTTP/1 connections: how long they live, and many requests on one (RFC 9112 section 9).
use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);

use Gepok::Test;

# What closes does so for its own reason: the time of keep-alive is longer than the test's patience.
my @patient = is_gepok() ? (keepalive_timeout => 60) : ();

sub start { server(app => app_file('wire'), options => {start_servers => 1, @patient, @_}) }

my $server = start();

# What the app understood: method|path|query|target|length|content.
sub line {
    my ($method, $target, $content) = @_;
    my ($path, $query) = $target =~ /^([^?]*)\??(.*)/;
    return join '|', $method, $path, $query, $target, length($content // ''), $content // '';
}

check 'persistent connections' => sub {
    my $client = $server->connect;
    for my $number (1 .. 5) {
        $client->send("GET /n?$number HTTP/1.1\r\nHost: x\r\n\r\n");
        my $response = $client->response;
        is $response->content, line('GET', "/n?$number"), "request $number on one connection";
        ok !$response->closes, 'which stays';
    }
    $client->send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    ok $client->response->closes, 'Connection: close is answered with the same';
    ok $client->closed, 'and done';

    for my $value ('Close', 'foo, close', 'close ,bar', 'keep-alive, close') {
        $client = $server->connect;
        $client->send("GET / HTTP/1.1\r\nHost: x\r\nConnection: $value\r\n\r\n");
        $client->response;
        ok $client->closed, "Connection: $value closes";
    }
};

check 'HTTP/1.0' => sub {
    my $client = $server->connect;
    $client->send("GET / HTTP/1.0\r\n\r\n");
    is $client->response->version, '1.1', "the response bears the server's own version";
    ok $client->closed, 'the connection ends after it';

    $client = $server->connect;
    for my $number (1 .. 3) {
        $client->send("GET /n?$number HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n");
        my $response = $client->response;
        is $response->content, line('GET', "/n?$number"), "but asked to keep alive it stays: request $number";
        like $response->field('Connection'), qr/^keep-alive$/i, 'and says so';
        is $response->framing, 'length', 'which needs a Content-Length';
    }
    ok !$client->closed(0), 'it is open';
};

check 'pipelining' => sub {
    my @requests = (
        ['GET',     '/a'],
        ['POST',    '/b', 'some content'],
        ['PUT',     '/c', 'x' x 20_000],
        ['DELETE',  '/d'],
        ['OPTIONS', '/e'],
        ['PATCH',   '/f', '0'],
        ['PURGE',   '/g'],
        ['HEAD',    '/h'],
        ['GET',     '/i'],
    );
    my $bytes = join '', map {
        my ($method, $target, $content) = @$_;
        "$method $target HTTP/1.1\r\nHost: x\r\n"
            . (defined $content ? 'Content-Length: ' . length($content) . "\r\n" : '')
            . "\r\n"
            . ($content // '');
    } @requests;
    my @responses = pipelined($server, $bytes, map { $_->[0] } @requests);
    for my $number (0 .. $#requests) {
        my $expected = $requests[$number][0] eq 'HEAD' ? '' : line(@{$requests[$number]});
        is $responses[$number]->content, $expected, "$requests[$number][0] in its turn";
    }

    # Byte by byte: no reading may depend on what arrives together.
    my $client = $server->connect;
    for my $byte (split //, "POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET /next HTTP/1.1\r\nHost: x\r\n\r\n") {
        $client->send($byte);
    }
    is $client->response->content, line('POST', '/slow', 'abc'), 'a request in single bytes';
    is $client->response->content, line('GET', '/next'), 'and the next one';

    my $many = 200;
    @responses = pipelined($server, join('', map {"GET /$_ HTTP/1.1\r\nHost: x\r\n\r\n"} 1 .. $many), ('GET') x $many);
    is_deeply [map { $_->content } @responses], [map { line('GET', "/$_") } 1 .. $many], "$many at once, in order";

    @responses = pipelined($server, "GET /1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n", 'GET');
    is $responses[0]->content, line('GET', '/1'), 'nothing is served behind Connection: close';
};

check 'empty lines and empty connections' => sub {
    my $client = $server->connect;
    $client->send("\r\n\r\nGET /x HTTP/1.1\r\nHost: x\r\n\r\n");
    is $client->response->content, line('GET', '/x'), 'empty lines before a request are skipped (RFC 9112 section 2.2)';

    $client = $server->connect;
    $client->finish;
    is $client->rest, '', 'a connection without a request is closed without a word';

    $client = $server->connect;
    $client->send("GET /half HTTP/1.1\r\nHos");
    $client->finish;
    unlike $client->rest, qr/^HTTP\S+ 2/, 'half a head is no request';

    # A client may close its sending side when it has sent all (RFC 9112 section 9.6).
    $client = $server->connect;
    $client->send("GET /done HTTP/1.1\r\nHost: x\r\n\r\n");
    $client->finish;
    is $client->response->content, line('GET', '/done'), 'a half-closed client gets its response';
    ok $client->closed, 'then the end';
};

check 'options of connections' => sub {
    my $limited = start(max_keepalive_reqs => 3);
    my $client  = $limited->connect;
    for my $number (1 .. 3) {
        $client->send("GET /$number HTTP/1.1\r\nHost: x\r\n\r\n");
        is !!$client->response->closes, $number == 3, "max_keepalive_reqs=3: request $number";
    }
    ok $client->closed, 'closed after the third';

    my $off = start(keepalive => 0);
    $client = $off->connect;
    $client->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    ok $client->response->closes, 'keepalive=0: every response closes';
    ok $client->closed, 'and so does the server';

    # By default these are 10, 30 and 120 seconds.
    my $short = start(keepalive_timeout => 1);
    $client = $short->connect;
    my $began = time;
    $client->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    $client->response;
    ok $client->closed, 'keepalive_timeout=1: an idle connection ends';
    my $lasted = time - $began;
    ok $lasted > 0.8 && $lasted < 9, 'after a second' or diag $lasted;

    my $header = start(read_timeout => 1);
    # Counted from the connection's start.
    $began = time;
    $client = $header->connect;
    $client->send("GET / HT");
    $client->rest;
    $lasted = time - $began;
    ok $lasted > 0.8 && $lasted < 14, 'read_timeout=1: half a head is waited for a second' or diag $lasted;

    my $idle = start(timeout => 1);
    $client = $idle->connect;
    $began = time;
    $client->send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
    $client->rest;
    $lasted = time - $began;
    ok $lasted > 0.8 && $lasted < 14, 'timeout=1: content that stops is waited for a second' or diag $lasted;
    is $idle->get('/calls')->content, 0, 'and the app is not called with half of it';
} if is_gepok();

check 'idle connections cost no worker' => sub {
    my @idle = map { $server->connect } 1 .. 50;
    $_->send("GET /idle HTTP/1.1\r\nHost: x\r\n\r\n") for @idle[0 .. 24];
    $_->response for @idle[0 .. 24];
    $_->send("GET /never-complete HTTP/1.1\r\nHos") for @idle[25 .. 49];
    is $server->get('/')->status, 200, 'one worker, fifty connections that wait: the next is served';
} if is_gepok();

done_testing;
