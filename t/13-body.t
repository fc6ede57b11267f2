# The response: every form of body PSGI allows, and what happens to those it doesn't allow.
use strict;
use warnings;

use POSIX ();
use Test::More;

use Gepok::Test;

sub slurp { open my $file, '<', $_[0] or return ''; local $/; return scalar(<$file>) // '' }

my $text = join '', map {"line $_\n"} 1 .. 20_000;
my $rest = $text =~ s/\A(?:.*\n){3}//r;

my %expected = (
    'array'          => 'some more parts',
    'array-empty'    => '',
    'array-odd'      => 'ContentAgain0',
    'array-length'   => 'abcd',
    'array-big'      => 'x' x 5_000_000,
    'array-many'     => 'ab' x 20_000,
    'array-upgraded' => "caf\xe9",
    'numbers'        => '12.5-3',
    'overloaded'     => 'overloaded',
    (map { ("glob$_" => $text) } '', qw(-raw -length -layer -memory)),
    'glob-moved'    => $rest,
    'glob-pipe'     => 'from a pipe',
    'glob-empty'    => '',
    'bareword'      => $text,
    'io-file'       => $text,
    'object'        => "ab0c\n",
    'object-length' => 'abc',
    'object-empty'  => '',
    'object-big'    => 'y' x 3_600_000,
);
my %closes = map { $_ => 1 } qw(object object-length object-empty object-big);

each_entry {
    my $server = server(entry => shift, app => app_file('body'), options => {start_servers => 1});
    my $client = $server->connect;
    for my $name (sort keys %expected) {
        for my $version (qw(1.1 1.0)) {
            my $response;
            if ($version eq '1.1') {
                # One connection for all: an end that is told wrongly spoils the next response.
                $client = $server->connect unless is_gepok();
                $client->send("GET /$name HTTP/1.1\r\nHost: x\r\n\r\n");
                $response = $client->response;
            }
            else {
                $response = $server->exchange("GET /$name HTTP/1.0\r\n\r\n");
                isnt $response->framing, 'chunked', "$name: HTTP/1.0 knows no chunks";
            }
            is $response->status, 200, "$name: status in HTTP/$version";
            ok $response->content eq $expected{$name}, "$name: content in HTTP/$version"
                or diag length $response->content, ' bytes instead of ', length $expected{$name};
            is $response->framing, 'length', "$name: the app's Content-Length is kept" if $name =~ /-length/;
            is $server->get('/log')->content, 'close', "$name: closed once" if $closes{$name};
        }
    }
};

# What closes does so for its own reason, not because nothing comes.
my $server = server(app => app_file('body'), options => {start_servers => 1, is_gepok() ? (keepalive_timeout => 60) : ()});
my $worker = $server->get('/pid')->content;

if (is_gepok()) {
    is $server->get('/array')->field('Content-Length'), 15, 'the length of an array is known, so it is told';
    is $server->get('/array-empty')->field('Content-Length'), 0, 'so it is of an empty one';
}
is $server->get('/separator')->content, 65536, 'getline is called with $/ = \65536, as middlewares expect';

check 'a piece of getline is sent before the next is asked for' => sub {
    plan skip_all => 'true of Gepok alone' unless is_gepok();
    my $folder = scratch();
    my $client = $server->connect;
    $client->send("GET /waiting HTTP/1.1\r\nHost: x\r\nX-File: $folder/go\r\n\r\n");
    $client->head;
    my $begun = time;
    ok $client->chunk eq 'x' x 65_536, 'the first is here';
    cmp_ok time - $begun, '<', 8, 'while the app waits';
    open my $file, '>', "$folder/go" or die "$folder/go: $!\n";
    is $client->chunk, 'the rest', 'the second follows';
    is $client->chunk, '',         'and the end';
};

# What stat says of them is no length: files of /proc say 0 bytes, those of /sys a page, a FIFO nothing.
check 'files that are not as long as they say' => sub {
    my $server = server(options => {start_servers => 1}, app => <<'END');
sub {
    open my $file, '<', $_[0]{HTTP_X_FILE} or die "$_[0]{HTTP_X_FILE}: $!\n";
    seek $file, $_[0]{HTTP_X_SEEK}, 0 if $_[0]{HTTP_X_SEEK};
    return [200, ['Content-Type' => 'text/plain'], $file];
};
END
    my $folder = scratch();
    # The environment of a program that waits for its input.
    my $pid = do {
        local $ENV{GEPOK_TEST_LARGE} = 'x' x 50_000;
        open our $cat, '|-', 'cat' or die "cat: $!\n";
    };
    my $environ = "/proc/$pid/environ";
    my ($sys) = grep { -f && -s _ == 4096 && -r _ } glob '/sys/kernel/*';
    my $client = $server->connect;
    # The last one tells its size, but sendfile can't copy it. Not every kernel has it.
    for my $path ('/proc/version', $environ, $sys // (), grep { -r } '/proc/config.gz') {
        my $content = slurp($path);
        $client->send("GET / HTTP/1.1\r\nHost: x\r\nX-File: $path\r\n\r\n");
        ok $client->response->content eq $content, "$path is sent, all of it";
        ok $server->exchange("GET / HTTP/1.0\r\nX-File: $path\r\n\r\n")->content eq $content, 'in HTTP/1.0 as well';
        $client->send("GET / HTTP/1.1\r\nHost: x\r\nX-File: $path\r\nX-Seek: 1\r\n\r\n");
        ok $client->response->content eq substr($content, 1), 'from the position on';
        next unless is_gepok();
        $client->send("HEAD / HTTP/1.1\r\nHost: x\r\nX-File: $path\r\n\r\n");
        isnt $client->response('HEAD')->field('Content-Length'), 0, 'HEAD does not say that it is empty';
    }
    $client->send("GET / HTTP/1.1\r\nHost: x\r\nX-File: $0\r\nX-Seek: 1000000000\r\n\r\n");
    is $client->response->content, '', 'nothing stands behind the end of a file';
    # A FIFO has no size and no end but the one that its writer makes.
    my $fifo = "$folder/fifo";
    POSIX::mkfifo($fifo, 0600) or die "$fifo: $!\n";
    $client->send("GET / HTTP/1.1\r\nHost: x\r\nX-File: $fifo\r\n\r\n");
    open my $writer, '>', $fifo or die "$fifo: $!\n";
    print {$writer} 'y' x 20_000;
    close $writer;
    is length $client->response->content, 20_000, 'a FIFO is read to its end';
};

check 'no content where there never is any' => sub {
    for my $name (qw(array glob object array-length)) {
        my $client = $server->connect;
        $client->send("HEAD /$name HTTP/1.1\r\nHost: x\r\n\r\nGET /pid HTTP/1.1\r\nHost: x\r\n\r\n");
        my $head = $client->response('HEAD');
        is $head->status, 200, "HEAD /$name";
        is $client->response->content, $worker, 'the next response follows its head at once';
        my $get = $server->get("/$name");
        is $head->field('Content-Length'), $get->field('Content-Length'), 'HEAD tells the Content-Length of GET'
            if $get->framing eq 'length';
    }
    $server->get('/log');
    for my $name (qw(no-content not-modified)) {
        my $client = $server->connect;
        $client->send("GET /$name HTTP/1.1\r\nHost: x\r\n\r\nGET /pid HTTP/1.1\r\nHost: x\r\n\r\n");
        my $response = $client->response;
        is_deeply [map { $response->all($_) } qw(Content-Length Transfer-Encoding Content-Type)], [],
            "$name: no field about content";
        is $client->response->content, $worker, 'nothing behind the head';
    }
    is $server->get('/log')->content, 'close', 'the body object of a 204 is closed all the same';
};

check 'fields' => sub {
    my $response = $server->get('/fields');
    is_deeply [grep { $_->[0] =~ /^(?:Set-Cookie|X-)/i } @{$response->fields}],
        [['Set-Cookie', 'a=1'], ['X-CaSe', 'kept'], ['Set-Cookie', 'b=2; Path=/'], ['X-Empty', '']],
        'in the order and spelling of the app, repeated ones apart';
    is $server->get('/numbers')->field('X-Number'), 5, 'a value that is a number';
    $response = $server->get('/server');
    is_deeply [$response->all('Date')], ['Fooo'], "the app's own Date replaces the server's";
    is_deeply [$response->all('Server')], ['mine'], 'so does its Server' if is_gepok();
    like $server->get('/array')->field('Date'),
        qr/^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d:\d\d GMT$/,
        'Date is an IMF-fixdate (RFC 9110 section 5.6.7)';
    like $server->get('/array')->field('Server'), qr{^Gepok/0\.300}, 'Server names product and version' if is_gepok();

    my $client = $server->connect;
    $client->send("GET /connection HTTP/1.1\r\nHost: x\r\n\r\n");
    ok $client->response->closes, 'an app may end the connection with Connection: close';
    ok $client->closed, 'and it does end';

    $client = $server->connect;
    $client->send("GET /coded HTTP/1.1\r\nHost: x\r\n\r\n");
    is $client->response->content, 'abc', 'content that the app has coded itself is not coded again';
    is $server->get('/status')->status, 418, 'any status';
    is $server->get('/odd-status')->status, 299, 'even one without a name';
    is $server->get('/error')->reason, 'Service Unavailable', 'the reason by its name';
};

check 'what must never be sent' => sub {
    plan skip_all => 'true of Gepok alone' unless is_gepok();
    for my $name (qw(injection-value injection-name injection-nul)) {
        my $response = $server->get("/$name");
        is $response->status, 500, "$name is refused";
        is_deeply [$response->all('X-Injected')], [], 'and nothing is injected';
    }
    logged $server, qr/X-A/, 'the log names the field';
};

check 'an app that fails' => sub {
    my $response = $server->get('/dies');
    is $response->status, 500, 'dies: 500';
    unlike $response->content, qr/the app died/, 'the client does not learn why';
    logged $server, qr/the app died/, 'the log does';

    if (is_gepok()) {
        for my $name (qw(undef string hash short no-status odd-fields number-body plain-object)) {
            is $server->get("/$name")->status, 500, "$name is no response: 500";
        }
        is $server->get('/dying-first')->status =~ /^(?:200|500)$/, 1, 'getline that dies at once is answered';
    }

    # Dying behind the head: the client must see that the content is not whole.
    $server->get('/log');
    my $client = $server->connect;
    $client->send("GET /dying HTTP/1.1\r\nHost: x\r\n\r\n");
    my $got = eval { $client->response };
    ok !$got || $got->status == 500, 'getline that dies later: the response is cut, not ended cleanly';
    is $server->get('/log')->content, 'close', 'the body is closed' if is_gepok();

    is $server->get('/array')->content, 'some more parts', 'the next request is served';
    is $server->get('/pid')->content, $worker, 'by the same worker: none of this has killed it' if is_gepok();
};

check 'wide characters' => sub {
    plan skip_all => 'true of Gepok alone' unless is_gepok();
    my $response = $server->get('/wide');
    is $response->status,  200,            'are not fatal';
    is $response->content, "\xe2\x98\xba", 'but sent as UTF-8';
    logged $server, qr/[Ww]ide character/, 'with a warning';
};

# A client that leaves in the middle: the body is closed nevertheless, and the worker serves the next.
{
    $server->get('/log');
    my $client = $server->connect;
    $client->send("GET /object-big HTTP/1.1\r\nHost: x\r\n\r\n");
    $client->bytes(1000);
    $client->close;
    undef $client;
    ok soon { $server->get('/log')->content eq 'close' }, 'the body is closed when the client has left' if is_gepok();
}

done_testing;
