# Delayed responses and writers: what is written leaves at once, ends as it should, and never harms the next request.
use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep time);

use Gepok::Test;

my %expected = (
    'delayed'             => 'delayed /delayed',
    'delayed-glob'        => 'from a handle',
    'writer'              => 'one two 0',
    'writer-length'       => 'abcabc',
    'writer-empty'        => '',
    'writer-arguments'    => 'one gone 0',
    'filter-empty'        => 'ac',
    'writer-twice-closed' => 'x',
    'writer-after-close'  => 'x',
    'big'                 => 'z' x 5_000_000,
    'many'                => 'm' x 5000,
    'freed'               => 'freed',
);
# A writer that is only dropped ends its response, too; others leave the client waiting or kill the worker.
$expected{'writer-dropped'} = 'dropped' if is_gepok();
delete @expected{qw(writer-twice-closed writer-after-close)} unless is_gepok();

each_entry {
    my $server = server(entry => shift, app => app_file('streaming'), options => {start_servers => 1});
    my $client;
    for my $name (sort keys %expected) {
        $client = $server->connect if !$client || !is_gepok();
        $client->send("GET /$name HTTP/1.1\r\nHost: x\r\n\r\n");
        my $response = $client->response;
        is $response->status, 200, "$name: status";
        ok $response->content eq $expected{$name}, "$name: content";
        is $response->framing, $name eq 'writer-length' ? 'length' : 'chunked', "$name: framing of a stream"
            unless $name =~ /^(?:delayed|freed)/;

        $response = $server->exchange("GET /$name HTTP/1.0\r\n\r\n");
        ok $response->content eq $expected{$name}, "$name: content in HTTP/1.0";
        isnt $response->framing, 'chunked', "$name: no chunks in HTTP/1.0";
    }
};

my $server = server(app => app_file('streaming'), options => {start_servers => 2});

sub touch { open my $file, '>', $_[0] or die $! }

check 'what is written leaves at once' => sub {
    my $client = $server->connect;
    my $signal = $server->folder . '/got-first';
    $client->send("GET /first-then?$signal HTTP/1.1\r\nHost: x\r\n\r\n");
    is $client->head->status, 200, 'the head comes';
    is $client->chunk, 'first', 'the first part comes while the app still waits';
    touch($signal);
    is $client->chunk, 'then', 'and the rest when it goes on';
    is $client->chunk, '', 'and the end';

    $client = $server->connect;
    $client->send("GET /first-then?$signal-2 HTTP/1.0\r\n\r\n");
    $client->head;
    is $client->bytes(5), 'first', 'so it is in HTTP/1.0';
    touch("$signal-2");
    is $client->rest, 'then', 'whose content ends with the connection';

    if (is_gepok()) {
        $client = $server->connect;
        $client->send("GET /head-first?$signal-3 HTTP/1.1\r\nHost: x\r\n\r\n");
        is $client->head->field('X-Early'), 1, 'the head leaves before anything is written';
        touch("$signal-3");
        is $client->chunk, 'late', 'then the content';
    }
};

check 'HEAD and 204' => sub {
    for my $request (['HEAD', 'writer'], ['HEAD', 'big'], ['GET', 'no-content']) {
        my ($method, $name) = @$request;
        my $client = $server->connect;
        $client->send("$method /$name HTTP/1.1\r\nHost: x\r\n\r\nGET /pid HTTP/1.1\r\nHost: x\r\n\r\n");
        my $response = $client->response($method);
        is $response->status, $method eq 'HEAD' ? 200 : 204, "$method /$name";
        like $client->response->content, qr/^\d+$/, 'no content: the next response follows';
    }
} if is_gepok();

check 'apps that break the rules' => sub {
    is $server->get('/never')->status, 500, 'a responder never called: 500';
    is $server->get('/never-kept')->status, 500, 'even when it is kept';
    is $server->get('/twice')->content, 'once', 'the second call of a responder does not count';
    is $server->get('/dies-before')->status, 500, 'death before the head: 500';
    is $server->get('/bad-args')->status, 500, 'a responder called with nonsense: 500';
    logged $server, qr/before the head/, 'and the log says why';

    for my $version (qw(1.0 1.1)) {
        my $client = $server->connect;
        $client->send("GET /dies-behind HTTP/$version\r\nHost: x\r\n\r\n");
        my $clean = eval { $client->response; 1 };
        # In HTTP/1.0 the end of the connection is the end of the content: only a reset can tell the difference.
        ok $version eq '1.1' ? !$clean : 1, "death behind the head, HTTP/$version: never ended cleanly";
    }

    my $client = $server->connect;
    $client->send("GET /writer-kept HTTP/1.1\r\nHost: x\r\n\r\n");
    is $client->head->status, 200, 'a writer that is kept: the head';
    is $client->chunk, 'kept ', 'and what was written';
    # It is held by one of the two workers: ask until that one has dropped it.
    ok soon { $server->get('/drop-kept-writer'); !$client->silent(0.05) }, 'it ends when the writer is destroyed';
    is $client->chunk, '', 'cleanly';
} if is_gepok();

# Protects: the worker is idle when the core allows it to send more, and must take note of it.
check 'a writer kept beyond its call takes more than may be sent ahead' => sub {
    my $one    = server(app => app_file('streaming'), options => {start_servers => 1});
    my $reader = $one->connect;
    $reader->send("GET /writer-kept HTTP/1.1\r\nHost: x\r\n\r\n");
    $reader->head;
    my $length = length $reader->chunk;
    for (1 .. 8) {
        is $one->get('/write-kept-writer')->status, 200, "pieces written by request $_";
        $length += length $reader->chunk while $length < 5 + 128_000 * $_;
    }
    $one->get('/drop-kept-writer');
    is $reader->chunk, '', 'and nothing but the end is left';
    is $length, 5 + 16 * 64_000, 'all of them have come';
} if is_gepok();

# Nobody is left who would end its response.
check 'a writer kept beyond its call and never closed' => sub {
    my $one = server(app => app_file('streaming'), options => {start_servers => 1, timeout => 1});
    for my $version (qw(1.1 1.0)) {
        my $client = $one->connect;
        $client->send("GET /writer-kept HTTP/$version\r\nHost: x\r\n\r\n");
        is $client->head->status, 200, "HTTP/$version: the head";
        my $began = time;
        # Written to in time, it lives on.
        for (1 .. 3) {
            sleep 0.6;
            is $one->get('/write-kept-writer')->status, 200, 'it is written to';
        }
        my $got = $client->rest;
        cmp_ok time - $began, '>=', 2.5, 'it lives while it is written to';
        unlike $got, qr/\r\n0\r\n/, 'it is cut in the end';
        ok $client->{reset}, 'which shows' if $version eq '1.0';
        is $one->get('/write-kept-writer')->content, 'written', 'the app goes on';
        $one->get('/drop-kept-writer');
    }
    logged_times $one, qr/a writer that outlives its call has written nothing for 1s: its response is cut/, 1, 'the log tells, once a minute';

    my $signal = $one->folder . '/patient';
    my $client = $one->connect;
    $client->send("GET /first-then?$signal HTTP/1.1\r\nHost: x\r\n\r\n");
    $client->head;
    $client->chunk;
    ok $client->silent(1.5), 'the time of a call is not limited';
    touch($signal);
    is $client->chunk, 'then', 'it goes on';
} if is_gepok();

check 'a client that leaves' => sub {
    my $signal = $server->folder . '/gone';
    my $client = $server->connect;
    $client->send("GET /endless?$signal HTTP/1.1\r\nHost: x\r\n\r\n");
    $client->head;
    $client->bytes(20_000);
    $client->close;
    ok soon { -s $signal }, 'the app learns of it in the end';
    open my $file, '<', $signal or die $!;
    is scalar(<$file>), 'false', 'by a false value of write';
} if is_gepok();

{
    my $one = server(app => app_file('streaming'), options => {start_servers => 1});
    my $pid = $one->get('/pid')->content;
    my $before = $one->get('/destroyed')->content;
    $one->get('/freed') for 1 .. 5;
    is $one->get('/destroyed')->content - $before, 5, 'what the closure of a delayed response held is freed';
    $one->get($_) for is_gepok() ? qw(/never /dies-before /dies-behind-not-there /twice) : '/writer';
    is $one->get('/pid')->content, $pid, 'none of it has cost the worker';
}

# One worker, one slow reader of a large stream: the others are served meanwhile.
check 'a slow reader holds up nobody' => sub {
    my $one  = server(app => app_file('streaming'), options => {start_servers => 2});
    my $slow = $one->connect;
    $slow->send("GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
    $slow->head;
    is $one->get('/delayed')->status, 200, "request $_ beside it" for 1 .. 5;
    my $content = '';
    while (length(my $chunk = $slow->chunk)) { $content .= $chunk }
    is length $content, 5_000_000, 'the slow one gets all of it';
};

done_testing;
