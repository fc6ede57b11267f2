# Content on the wire: chunked coding, trailers, and Expect (RFC 9112 section 7.1, RFC 9110 section 10.1.1).
use strict;
use warnings;

use Test::More;

use Gepok::Test;

# What closes does so for its own reason, not because nothing comes.
my $server = server(app => app_file('wire'), options => {start_servers => 1, is_gepok() ? (keepalive_timeout => 60) : ()});

sub content { (split /\|/, $_[0]->content, 6)[5] }

check 'chunked requests' => sub {
    my %codings = (
        'one chunk'                  => ["5\r\nhello\r\n0\r\n\r\n", 'hello'],
        'several'                    => ["1\r\nh\r\n4\r\nello\r\n0\r\n\r\n", 'hello'],
        'none'                       => ["0\r\n\r\n", ''],
        'hexadecimal, both cases'    => ["a\r\n0123456789\r\nB\r\n01234567890\r\n0\r\n\r\n", '012345678901234567890'],
        'leading zeroes'             => ["0005\r\nhello\r\n000\r\n\r\n", 'hello'],
        'extensions are passed over' => ["5;ext=1;q=\"a b\"\r\nhello\r\n0;last\r\n\r\n", 'hello'],
        'line ends in the content'   => ["4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n"],
        'large'                      => ["30d40\r\n" . 'q' x 200_000 . "\r\n0\r\n\r\n", 'q' x 200_000],
    );
    my $client = $server->connect;
    for my $name (sort keys %codings) {
        my ($coded, $content) = @{$codings{$name}};
        $client->send("POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n$coded");
        my $response = $client->response;
        ok content($response) eq $content, $name;
        is +(split /\|/, $response->content)[4], length $content, "$name: CONTENT_LENGTH";
    }
    for my $spelling (qw(Chunked CHUNKED)) {
        $client->send("POST /x HTTP/1.1\r\nHost: x\r\ntransfer-encoding: $spelling\r\n\r\n2\r\nok\r\n0\r\n\r\n");
        is content($client->response), 'ok', "the coding's name has no case: $spelling";
    }
};

check 'trailers' => sub {
    my $client = $server->connect;
    $client->send("POST /fields HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            . "2\r\nok\r\n0\r\nX-Trailer: 1\r\nHost: evil\r\nContent-Length: 99\r\n\r\nGET /next HTTP/1.1\r\nHost: x\r\n\r\n");
    is $client->response->content, 'CONTENT_LENGTH,HTTP_HOST', 'are dropped: none becomes a field';
    like $client->response->content, qr{^GET\|/next\|}, 'the next request is where it should be';
} if is_gepok();

check 'Expect' => sub {
    for my $value ('100-continue', '100-Continue') {
        my $client = $server->connect;
        $client->send("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: $value\r\n\r\n");
        my $interim = $client->head;
        is $interim->raw, "HTTP/1.1 100 Continue\r\n\r\n", "$value: told to go on before it sends the content";
        $client->send('hello');
        my $response = $client->response;
        is content($response), 'hello', 'then answered';
        ok !$response->closes, 'the connection stays';
        $client->send("GET /y HTTP/1.1\r\nHost: x\r\n\r\n");
        is $client->response->status, 200, 'and serves the next';
    }

    my $client = $server->connect;
    $client->send("POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n");
    is $client->head->status, 100, 'before chunks as well';
    $client->send("2\r\nok\r\n0\r\n\r\n");
    is content($client->response), 'ok', 'which are then read';

    if (is_gepok()) {
        # Having the content already, the server may leave the 100 away (RFC 9110 section 10.1.1).
        my $response = $server->post('/x', 'all at once', Expect => '100-continue');
        is content($response), 'all at once', 'content that came with the head';
        $response = $server->exchange("POST /x HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok");
        is_deeply [map { $_->status } $response->interim], [], 'HTTP/1.0 knows no 100';
        is content($response), 'ok', 'and is served';
    }

    my $before = $server->get('/calls')->content;
    $client = $server->connect;
    $client->send("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: the-impossible\r\n\r\n");
    my $response = $client->response;
    is $response->status, 417, 'any other expectation: 417';
    ok $response->closes, 'which closes: the content may follow or not';
    ok $client->closed, 'and it does';
    is $server->get('/calls')->content, $before + 1, 'the app is not called';
};

check 'content that no one asked for' => sub {
    for my $method (qw(GET DELETE OPTIONS)) {
        my $response = $server->exchange("$method /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        is content($response), 'ok', "$method may have content: framing does not look at the method";
    }
    my ($first, $second) = pipelined($server,
        "GET /x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\nGET /y HTTP/1.1\r\nHost: x\r\n\r\n", 'GET', 'GET');
    like $second->content, qr{^GET\|/y}, 'Content-Length: 0';
} if is_gepok();

done_testing;
