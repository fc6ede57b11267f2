# HTTP/2: an app is served as by HTTP/1, and what streams of one connection may do to each other and to the workers.
use strict;
use warnings;

use IO::Socket::INET;
use IPC::Open2 qw(open2);
use Test::More;
use Time::HiRes qw(sleep time);

use Gepok::Test;
use Gepok::Test::TLS;

gepok_only();

my $APP = app_file('http2');

# The one that Debian's modules belong to.
my ($PYTHON) = (grep({ -x } '/usr/bin/python3'), 'python3');

sub start {
    my %options = @_;
    my $folder  = scratch();
    my $server  = server(app => $APP, env => {GEPOK_NOTES => "$folder"}, options => {h2c => 1, start_servers => 1, %options});
    return ($server, $folder);
}

# What the client has seen.
sub client {
    my ($server, @words) = @_;
    my ($code, $out) = run_command([$PYTHON, root() . '/t/clients/http2.py', $server->port, @words]);
    is $code, 0, "@words: the client has ended well" or diag $out;
    return $code == 0 ? json($out) : {};
}

sub notes {
    my ($folder, $name) = @_;
    open my $file, '<', "$folder/$name" or return '';
    local $/;
    return scalar <$file>;
}

sub curl {
    my ($server, @words) = @_;
    my $url = pop @words;
    return run_command(['curl', '-sS', '-k', '--max-time', 60, '--noproxy', '*', @words, $url]);
}

check 'over TLS a client may choose HTTP/2' => sub {
    my $server = https(app => $APP, options => {ssl_self_signed => 1});
    my $url    = 'https://127.0.0.1:' . $server->port;
    for my $row (['--http2', '2', 'HTTP/2'], ['--http1.1', '1.1', 'HTTP/1.1']) {
        my ($flag, $version, $protocol) = @$row;
        my ($code, $out) = curl($server, $flag, '-w', 'version=%{http_version}', "$url/env");
        is $code, 0, "curl $flag" or diag $out;
        like $out, qr/^version=\Q$version\E$/m,             'as the client wants it';
        like $out, qr/^SERVER_PROTOCOL=\Q$protocol\E$/m,    'the app is told';
        like $out, qr/^psgi.url_scheme=https$/m,            'https';
        like $out, qr/^HTTP_HOST=127\.0\.0\.1:\d+$/m,       'the host';
    }
};

check 'http2 0: HTTP/1.1 alone' => sub {
    my $server = https(app => $APP, options => {ssl_self_signed => 1, http2 => 0});
    my (undef, $out) = curl($server, '--http2', '-w', '%{http_version}', 'https://127.0.0.1:' . $server->port . '/hello');
    is $out, 'hello1.1', 'not offered';
};

each_entry {
    check 'what an app sees and sends' => sub {
        my ($server) = start();
        my $seen = client($server, 'get', '/env?a=b', 'GET');
        is $seen->{status}, 200, 'served';
        like $seen->{content}, qr/^SERVER_PROTOCOL=HTTP\/2$/m,        'SERVER_PROTOCOL';
        like $seen->{content}, qr/^gepok.client_protocol=HTTP\/2$/m,  'gepok.client_protocol';
        like $seen->{content}, qr/^psgi.url_scheme=http$/m,           'no TLS';
        like $seen->{content}, qr/^REQUEST_URI=\/env\?a=b$/m,         'REQUEST_URI';
        like $seen->{content}, qr/^HTTP_HOST=localhost$/m,            'the authority is the host';
        like $seen->{content}, qr/^keys=psgix.informational psgix.client_gone gepok.socket$/m, 'no psgix.io';
        like $seen->{content}, qr/^psgix.h2.stream_id=1$/m, 'psgix.h2.stream_id';
        unlike $seen->{content}, qr/^psgix.h2.(?:protocol|extended_connect)/m, 'no protocol';
        ok $seen->{fields}{date}, 'Date';
        like $seen->{fields}{server}, qr/^Gepok/, 'Server';

        $seen = client($server, 'pieces', '/env');
        like $seen->{content}, qr/^HTTP_COOKIE=a=1; b=2$/m, 'the pieces of a cookie are joined';
        like $seen->{content}, qr/^HTTP_X_A=1, ?2$/m,       'and fields of one name';
        unlike $seen->{content}, qr/^HTTP_PROXY/m,          'Proxy is dropped';

        $seen = client($server, 'get', '/stream', 'GET');
        is $seen->{content}, "piece 1\npiece 2\npiece 3\n", 'a writer';
        ok !exists $seen->{fields}{$_}, "no $_" for qw(connection keep-alive transfer-encoding);

        $seen = client($server, 'get', '/hints', 'GET');
        is_deeply [$seen->{interim}, $seen->{content}], [['103'], 'hinted'], 'an interim response';
        is client($server, 'get', '/chunked', 'GET')->{content}, 'hello', "the app's own chunks are decoded";
        is client($server, 'upload', '/length', 3_000_000)->{content}, '3000000 3000000', 'content without a length';
        is length(client($server, 'get', '/large/3000000', 'GET')->{content}), 3_000_000, 'a large response';

        $seen = client($server, 'get', '/hello', 'HEAD');
        is_deeply [@$seen{qw(status content end)}], [200, '', 'end'], 'HEAD';
        is $seen->{fields}{'content-length'}, 5, 'tells the length';
        is client($server, 'get', '/status/204', 'GET')->{end}, 'end', '204';
        is client($server, 'get', '/short',      'GET')->{end}, 'reset 2', 'a response that is too short is no whole one';
        is client($server, 'get', '/socket', 'GET')->{content}, 'refused 127.0.0.1', 'gepok.socket tells addresses alone';
    };
};

each_entry {
    check 'trailers' => sub {
        my ($server) = start();
        my $seen = client($server, 'trailers', '/trailers', 'hello', 'x-sum:7', 'host:evil', 'a_b:1');
        is $seen->{content}, '5 x-sum,7', 'those of a request come after content of a known length';
        is_deeply $seen->{trailers}, [['x-sum', '5'], ['x-sum', 'b']], 'the last ones of a response, without what is no trailer';
        is $seen->{end}, 'end', 'the stream has ended';
        is client($server, 'trailers', '/trailers', '', 'x-sum:7')->{content}, '0 x-sum,7', 'without content';
        is client($server, 'get', '/trailers', 'POST')->{content}, '0 none', 'a request without them';
        is_deeply client($server, 'get', '/early-trailers', 'GET')->{trailers}, [['x-sum', '5']], 'of a response that is an array';
        is_deeply [@{client($server, 'get', '/early-trailers', 'HEAD')}{qw(trailers end)}], [undef, 'end'], 'HEAD has none';
    };

    # Protects: psgix.trailers is there on HTTP/1.1 for clients that take trailers, and for no others.
    check 'trailers of a response by HTTP/1.1' => sub {
        my ($server) = start();
        my $last = qr/\r\n0\r\nX-Sum: 5\r\n\r\n\z/;
        my $ask  = sub {
            my ($path, $fields) = @_;
            my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1:' . $server->port) or die $@;
            print {$socket} "GET $path HTTP/1.1\r\nHost: h\r\nConnection: close$fields\r\n\r\n";
            local $/;
            return scalar <$socket>;
        };
        like $ask->('/early-trailers', "\r\nTE: deflate, trailers"), $last, 'asked for: chunks and trailers';
        like $ask->('/trailers', "\r\nTE: Trailers"), qr/\r\n0\r\nX-Sum: 0\r\nX-Sum: b\r\n\r\n\z/, 'those of a writer';
        like $ask->('/early-trailers', ''), qr/Content-Length: 5\r\n.*\r\n\r\nhello\z/s, 'not asked for';
        like $ask->('/trailers', ''), qr/no trailers\z/, 'and the app can see that';
    };
};

each_entry {
    # Protects: an app that speaks WebSocket through psgix.io needs no change (RFC 8441).
    check 'WebSocket' => sub {
        my ($server, $folder) = start();
        my $seen = client($server, 'tunnel', '/tunnel/echo', 5);
        is $seen->{announced}, 1, 'extended CONNECT is announced';
        is_deeply [@$seen{qw(status content end)}], [200, 'xxxxx', 'end'], 'bytes go both ways';
        is $seen->{fields}{'sec-websocket-protocol'}, 'echo', "with fields of the app's";
        ok !exists $seen->{fields}{$_}, "no $_" for qw(sec-websocket-accept upgrade connection content-length);
        is notes($folder, 'tunnel'), "open GET websocket Upgrade websocket 1\nend\n", 'the app sees a handshake of HTTP/1.1, and the end';
        is client($server, 'tunnel', '/tunnel/echo', 3_000_000)->{length}, 3_000_000, 'many bytes, both ways at once';
        $seen = client($server, 'tunnel', '/tunnel/head', 5);
        is_deeply [@$seen{qw(status content end)}], [200, 'xxxxx', 'end'], 'a head from the responder, then the socket';
    };
};

check 'WebSocket: what is none' => sub {
    my ($server) = start();
    is_deeply [@{client($server, 'tunnel', '/tunnel/array', 5)}{qw(status content end)}], [426, 'no', 'end'], 'a response without the socket';
    is_deeply [@{client($server, 'tunnel', '/tunnel/refuse', 5)}{qw(status content end)}], [403, 'no', 'end'], 'a response by the socket';
    is_deeply [@{client($server, 'tunnel', '/tunnel/back', 5)}{qw(status content end)}], [200, 'taken back', 'end'], 'a response after the socket was fetched';
    is client($server, 'tunnel', '/tunnel/die', 5)->{status}, 502, 'an app that dies';
    is client($server, 'tunnel', '/tunnel/garbage', 5)->{status}, 502, 'no response at all';
    is client($server, 'tunnel', '/tunnel/echo', 5, 'end', 'other')->{status}, 501, 'another protocol';
    ok soon { client($server, 'get', '/hello', 'GET')->{status} == 200 }, 'the worker goes on';
    my ($without, $folder) = start(psgix_io => 0);
    my $seen = client($without, 'tunnel', '/tunnel/echo', 5);
    is $seen->{end}, 'reset 1', 'without psgix_io nothing is announced';
};

check 'WebSocket: a stream that is reset' => sub {
    my ($server, $folder) = start();
    is client($server, 'tunnel', '/tunnel/echo', 5, 'reset')->{other}{status}, 200, 'the connection goes on';
    ok soon { notes($folder, 'tunnel') =~ /^end$/m }, 'the app finds the end of its socket';
};

# Protects: a guest that a process of the app's serves, after the call has ended, does not hold up a stop.
check 'WebSocket: the chat' => sub {
    my $server = server(app => root() . '/examples/websocket-chat.psgi', options => {h2c => 1, start_servers => 1});
    my $seen = client($server, 'chat', '/', 'Good morning');
    is $seen->{status}, 200, 'a guest is let in';
    like $seen->{content}, qr/: Good morning/, 'and hears what is said';
    is $seen->{end}, 'end', 'and leaves';
};

each_entry {
    check 'the access log shows the stream' => sub {
        my $folder = scratch();
        my ($server) = start(access_log_path => "$folder/log", access_log_format => '%{stream}x %H');
        client($server, 'many', '/hello', 2);
        ok soon { notes($folder, 'log') =~ /^1 HTTP\/2$/m && notes($folder, 'log') =~ /^3 HTTP\/2$/m }, 'its number';
        $server->get('/hello');
        ok soon { notes($folder, 'log') =~ /^- HTTP\/1\.1$/m }, 'none by HTTP/1.1' or diag notes($folder, 'log');
    };
};

check 'too many trailers' => sub {
    my ($server) = start(max_headers => 5);
    is client($server, 'trailers', '/trailers', 'hello', map { "x-$_:1" } 1 .. 6)->{status}, 431, 'are refused';
};

check 'refusals' => sub {
    my ($server) = start(max_target_size => 100, max_headers => 10, max_content => 1000, status_path => '/status');
    for my $row (
        [414, '/' . 'a' x 101, 'GET'],
        [431, '/', 'GET', map { "x-$_:1" } 1 .. 11],
        [413, '/length', 'POST', 'content-length:1001'],
        [417, '/', 'POST', 'expect:magic'],
        [400, '/%zz', 'GET'],
        [400, '/', 'GET', 'host:other'],
    ) {
        my ($status, @words) = @$row;
        is client($server, 'get', @words)->{status}, $status, join ' ', $status, map { substr $_, 0, 30 } @words;
    }
    is client($server, 'upload', '/length', 1001)->{status}, 413, 'content whose length is not announced';
    is client($server, 'get', '/status', 'GET')->{status}, 200, "a page of the server's own";
};

# Protects: one connection keeps all workers busy, not one.
check 'streams of a connection are served by all workers' => sub {
    my ($server) = start(start_servers => 4, max_workers => 4);
    $server->get('/hello') for 1 .. 4;
    my $seen = client($server, 'many', '/sleep/0.5', 4);
    my %pids = map { $_->{content} => 1 } @{$seen->{responses}};
    is keys %pids, 4, 'four workers';
    cmp_ok $seen->{seconds}, '<', 1.9, 'at the same time';
};

# Protects: a client can't have more calls than streams by resetting them (rapid reset).
check 'a stream counts until its call is over' => sub {
    my ($server, $folder) = start(http2_max_streams => 3, start_servers => 4, max_workers => 4);
    is client($server, 'limit', '/hold/a', 3, "$folder/held")->{end}, 'reset 7', 'the fourth is refused while three calls go on';
    is notes($folder, 'held'), "a\n" x 3, 'three calls';
    open my $go, '>', "$folder/go" or die $!;
    ok soon { client($server, 'get', '/hello', 'GET')->{status} == 200 }, 'other connections are served';
};

check 'a stream that is reset is a client that has gone' => sub {
    my ($server, $folder) = start();
    my ($code) = run_command(['curl', '-sS', '--http2-prior-knowledge', '--max-time', 1, '--noproxy', '*', $server->url('/gone')]);
    is $code >> 8, 28, 'curl has given up';
    ok soon { notes($folder, 'after') =~ /^1$/m }, 'the app learns of it';
    like notes($folder, 'before'), qr/^0?$/m, 'and had its client before';
};

# Protects: a client that takes nothing holds neither the worker nor the other streams.
check 'a client that takes nothing of a response' => sub {
    my ($server) = start();
    my $seen = client($server, 'stalled', '/large/900000');
    is $seen->{large}, 65535, 'one window of it was sent';
    is $seen->{other}{content}, 'hello', 'another stream is served by the same worker';
};

check 'an idle connection is closed after keepalive_timeout' => sub {
    my ($server) = start(keepalive_timeout => 1);
    my $seen = client($server, 'idle');
    is $seen->{status}, 200, 'served';
    ok $seen->{closed}, 'closed';
    cmp_ok $seen->{seconds}, '>', 0.5, 'not at once';
    is $seen->{goaways}[-1][0], 0, 'with a word that nothing is wrong';
};

# A client with one request in flight; returns what goes on with it, when `$meanwhile` has happened.
sub held {
    my ($server, $folder, $until, $meanwhile) = @_;
    my $pid = open2(my $out, my $in, $PYTHON, root() . '/t/clients/http2.py', $server->port, 'held', '/hold/x', $until);
    <$out>;
    ok soon { notes($folder, 'held') eq "x\n" }, 'a request is in flight';
    $meanwhile->();
    open my $go, '>', "$folder/go" or die $!;
    print {$in} "on\n";
    close $in;
    my $line = do { local $/; <$out> };
    waitpid $pid, 0;
    is $?, 0, 'the client has ended well';
    return json($line);
}

# Protects: a reload of the app closes no connection.
check 'HUP' => sub {
    my ($server, $folder) = start(start_servers => 2);
    my $seen = held($server, $folder, 'next', sub {
        my $worker = sub { client($server, 'get', '/sleep/0', 'GET')->{content} };
        my $before = $worker->();
        $server->signal('HUP');
        ok soon { $worker->() ne $before }, 'new workers serve';
    });
    is_deeply [map { $seen->{$_}{status} } qw(first second)], [200, 200], 'the connection goes on';
    is_deeply $seen->{goaways}, [], 'without a GOAWAY';
};

check 'TERM' => sub {
    my ($server, $folder) = start();
    my $seen = held($server, $folder, 'end', sub { $server->signal('TERM'); sleep 0.2 });
    is $seen->{first}{status}, 200, 'the request in flight is answered';
    is $seen->{goaways}[-1][0], 0, 'GOAWAY';
    ok $seen->{closed}, 'and the connection is closed';
    is $server->wait_exit(20), 0, 'the server ends';
};

# Protects: a request that was on its way when the client was told to go is served, however long its call takes.
check 'TERM with a request on its way' => sub {
    my ($server) = start();
    my $pid = open2(my $out, my $in, $PYTHON, root() . '/t/clients/http2.py', $server->port, 'late', '/sleep/3');
    <$out>;
    $server->signal('TERM');
    print {$in} "on\n";
    close $in;
    my $seen = json(do { local $/; <$out> });
    waitpid $pid, 0;
    is $seen->{late}{status}, 200, 'it is answered';
    is $seen->{goaways}[0][1], 2**31 - 1, 'the first GOAWAY leaves open which streams are served';
    is $seen->{goaways}[-1][1], 3, 'the last one says it';
    ok $seen->{closed}, 'and the connection is closed';
    is $server->wait_exit(20), 0, 'the server ends';
};

# Protects: a client that has agreed upon HTTP/2 and says nothing does not hold up a stop.
check 'TERM with a client that does not begin' => sub {
    my $server = https(app => $APP, options => {ssl_self_signed => 1, graceful_timeout => 30});
    my $pid    = open2(my $out, my $in, 'openssl', 's_client', '-quiet', '-alpn', 'h2', '-connect', '127.0.0.1:' . $server->port);
    ok soon { curl($server, '-o', '/dev/null', '-w', '%{http_code}', 'https://127.0.0.1:' . $server->port . '/hello') }, 'it serves';
    my $began = time;
    $server->signal('TERM');
    is $server->wait_exit(25), 0, 'the server ends';
    cmp_ok time - $began, '<', 15, 'before any limit';
    kill KILL => $pid;
    waitpid $pid, 0;
};

# Protects: h2c is off unless it is wanted.
check 'without h2c a plain port speaks HTTP/1 alone' => sub {
    my $server = server(app => $APP, options => {start_servers => 1});
    my ($code) = run_command(['curl', '-sS', '--http2-prior-knowledge', '--max-time', 20, '--noproxy', '*', $server->url('/hello')]);
    isnt $code, 0, 'no HTTP/2';
    is $server->get('/hello')->content, 'hello', 'HTTP/1.1';
    my ($both) = start();
    is $both->get('/hello')->content, 'hello', 'HTTP/1.1 beside h2c';
};

done_testing;
