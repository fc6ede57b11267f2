# What clients may take is bounded: content, its rate, connections, the queue for workers, space on the disk. Who asks for more
# gets the status that says so, and nobody else notices.
use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);

use Gepok::Test;

gepok_only();

my $APP = <<'END';
my $calls = 0;
sub {
    my $env = shift;
    return [200, [], [$calls]] if $env->{PATH_INFO} eq '/calls';
    $calls++;
    # In work until the test says so.
    if (my ($file) = $env->{PATH_INFO} =~ m{^/hold(/.*)}) {
        open my $begun, '>', "$file-begun" or die $!;
        my $limit = time + 60;
        select undef, undef, undef, 0.01 until -e "$file-go" || time > $limit;
    }
    return [200, [], ['x' x ($1 * 1024 * 1024)]] if $env->{PATH_INFO} =~ m{^/large/(\d+)};
    my ($length, $input) = (0, $env->{'psgi.input'});
    while (my $got = $input->read(my $piece, 65536)) { $length += $got }
    return [200, [], [$length]];
};
END

# Its worker has loaded the app, so that nothing waits for that: with a short queue_timeout not even this.
sub start {
    my %options = @_;
    my $server  = server(app => $APP, options => {start_servers => 1, %options});
    soon { $server->get('/calls')->status == 200 };
    return $server;
}

sub upload {
    my ($server, $length) = @_;
    my $client = $server->connect;
    $client->send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: $length\r\n\r\n" . 'x' x $length);
    return $client->response('POST');
}

# A request that the one worker has in hand, until the file "$file-go" is there: its connection.
sub hold {
    my ($server, $file) = @_;
    my $client = $server->connect;
    $client->send("GET /hold$file HTTP/1.1\r\nHost: x\r\n\r\n");
    soon { -e "$file-begun" } or die "the app was not called\n";
    return $client;
}

sub touch { open my $file, '>', $_[0] or die $! }

# Files without a name in a folder that the server's processes hold open.
sub spooled {
    my ($server, $folder) = @_;
    return grep { (readlink $_ // '') =~ /^\Q$folder\E\/.*\(deleted\)/ } map { glob "/proc/$_/fd/*" } $server->descendants;
}

check 'max_content' => sub {
    my $server = start(max_content => '2M');
    is upload($server, 2 << 20)->content, 2 << 20, 'as much as is allowed';
    is upload($server, (2 << 20) + 1)->status, 413, 'a byte more';
    my $client = $server->connect;
    $client->send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (1 .. 40) { $client->send("10000\r\n" . 'x' x 65536 . "\r\n") or last }
    is $client->head->status, 413, 'chunks without an end are refused when they are too much';
    is $server->get('/calls')->content, 1, 'the app has seen only the first';
};

check 'other sizes' => sub {
    my $server = start(max_target_size => 100, max_header_size => 200, max_headers => 5);
    my $status = sub { $server->exchange($_[0])->status };
    is $status->('GET /' . 'a' x 99 . " HTTP/1.1\r\nHost: x\r\n\r\n"),  200, 'max_target_size';
    is $status->('GET /' . 'a' x 100 . " HTTP/1.1\r\nHost: x\r\n\r\n"), 414, 'and a byte more';
    is $status->("GET / HTTP/1.1\r\nHost: x\r\nA: " . 'b' x 186 . "\r\n\r\n"), 200, 'max_header_size';
    is $status->("GET / HTTP/1.1\r\nHost: x\r\nA: " . 'b' x 187 . "\r\n\r\n"), 431, 'and a byte more';
    is $status->("GET / HTTP/1.1\r\nHost: x\r\n" . "A: b\r\n" x 4 . "\r\n"), 200, 'max_headers';
    is $status->("GET / HTTP/1.1\r\nHost: x\r\n" . "A: b\r\n" x 5 . "\r\n"), 431, 'and one more';
};

check 'max_connections' => sub {
    my $server = start(max_connections => 5);
    my @open = map { $server->connect } 1 .. 5;
    $_->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), $_->response for @open;
    my $sixth = $server->connect;
    $sixth->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    ok $sixth->silent(0.3), 'the sixth waits';
    (shift @open)->close;
    is $sixth->response->status, 200, 'until one has left';
};

check 'max_connections_per_address' => sub {
    my $server = start(max_connections_per_address => 3);
    # The server may still be about to see that those which waited for it have left.
    my @open;
    soon {
        @open = map { $server->connect } 1 .. 3;
        $_->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n") for @open;
        3 == grep { eval { $_->response } } @open;
    };
    ok $server->connect->closed(5), 'the fourth is closed';
    logged $server, qr/127\.0\.0\.1 has 3 connections/, 'which is told';
    (shift @open)->close;
    ok soon { my $answer = eval { $server->get('/') }; $answer && $answer->status == 200 }, 'there is room when one has left';
};

check 'the queue: its length' => sub {
    my $server  = start(max_queue => 2);
    my $file    = $server->folder . '/length';
    my @clients = (hold($server, $file), map { $server->connect } 1 .. 4);
    $_->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n") for @clients[1 .. 4];
    # While it is in flight only those that are refused have an answer.
    ok soon { 2 == grep { !$_->silent(0) } @clients[1 .. 4] }, 'two are answered at once';
    touch("$file-go");
    my @answers = map { $_->response } @clients;
    is_deeply [sort map { $_->status } @answers], [200, 200, 200, 503, 503], 'one in flight, two wait, two are refused';
    my ($refused) = grep { $_->status == 503 } @answers;
    is $refused->field('Retry-After'), 5, 'with the time after which to come again';
    ok !$refused->closes, 'and the connection is good for that';
    is $server->get('/calls')->content, 3, 'the app has seen three';
    logged_times $server, qr/too many requests wait/, 1, 'told once' or diag $server->log;
};

check 'the queue: its time' => sub {
    my $server = start(queue_timeout => 0.5);
    my $file    = $server->folder . '/time';
    my @clients = (hold($server, $file), map { $server->connect } 1 .. 2);
    my $began = time;
    $_->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n") for @clients[1, 2];
    is $_->response->status, 503, 'waited too long' for @clients[1, 2];
    my $took = time - $began;
    # By default it is a minute.
    ok $took > 0.4 && $took < 12, 'for as long as was said' or diag $took;
    touch("$file-go");
    is $clients[0]->response->status, 200, 'a request in flight is not refused';
    is $server->get('/calls')->content, 1, 'and nothing else was run';
};

check 'min_content_rate' => sub {
    # The grace of 20 seconds is too long for a test: what can be seen is that a client at the rate is left alone.
    my $server = start(min_content_rate => '1M');
    is upload($server, 3 << 20)->content, 3 << 20, 'a quick client';
};

# The client need not send what can't be kept.
check 'what is too large is refused when it is announced' => sub {
    my $folder = scratch();
    my $server = start(max_spool => '16M', spool_dir => "$folder", max_content => '6M');
    my $answer = sub {
        my ($what, $status, $fields, $content) = @_;
        my $client = $server->connect;
        $client->send("POST / HTTP/1.1\r\nHost: x\r\n$fields\r\n\r\n$content");
        my $response = $client->response('POST');
        is $response->status, $status, $what;
        ok $response->closes && $client->closed, 'and the connection closes';
    };
    my $chunked = 'Transfer-Encoding: chunked';
    $answer->('a Content-Length beyond max_spool',  507, 'Content-Length: ' . (5 << 20), 'x');
    $answer->('a Content-Length beyond max_content', 413, 'Content-Length: ' . (7 << 20), 'x');
    $answer->('before permission is given to send it', 507, 'Content-Length: ' . (5 << 20) . "\r\nExpect: 100-continue", '');
    $answer->('a chunk beyond max_spool', 507, $chunked, sprintf "%x\r\nx", 5 << 20);
    $answer->('a chunk beyond max_content', 413, $chunked, sprintf "%x\r\nx", 7 << 20);
    $answer->('the largest chunk', 413, $chunked, "ffffffffffffffff\r\nx");
    my $first = sprintf "%x\r\n%s\r\n", 1 << 20, 'x' x (1 << 20);
    $answer->('chunks that are too much together', 507, $chunked, $first . sprintf "%x\r\nx", (3 << 20) + 1);
    $answer->('the same for max_content', 413, $chunked, $first . sprintf "%x\r\nx", (5 << 20) + 1);
    is $server->get('/calls')->content, 0, 'the app has seen none of them';
    is upload($server, 4 << 20)->content, 4 << 20, 'a quarter of max_spool is served';
};

check 'max_spool' => sub {
    my $folder = scratch();
    my $server = start(max_spool => '16M', spool_dir => "$folder");
    is upload($server, 3 << 20)->content, 3 << 20, 'there is room for one';
    is upload($server, 5 << 20)->status, 507, 'not for what is larger';
    my $half = $server->connect;
    $half->send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " . (3 << 20) . "\r\n\r\n" . 'x' x (2 << 20));
    # Room is taken as content arrives: it must be there before another asks.
    # The last 64 KiB are gathered.
    ok soon { grep { -s $_ > 31 << 16 } spooled($server, $folder) }, 'one that is half there';
    is upload($server, 7 << 19)->status, 507, 'leaves less than there was for another';
    is upload($server, 5 << 19)->content, 5 << 19, 'but some';
    is upload($server, 1 << 20)->content, 1 << 20, 'what fits into memory needs none';
    $half->send('x' x (1 << 20));
    is $half->response->content, 3 << 20, 'the one is whole';
    ok soon { upload($server, 3 << 20)->status == 200 }, 'and room is given back';
    # A response beyond it waits for its client, and arrives.
    is length($server->get('/large/20')->content), 20 << 20, 'a response larger than all room';
};

check 'spool_dir' => sub {
    my $folder = scratch();
    my $server = start(spool_dir => "$folder");
    my $half   = $server->connect;
    $half->send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " . (3 << 20) . "\r\n\r\n" . 'x' x (2 << 20));
    ok soon { spooled($server, $folder) }, 'large content is there, in a file without a name';
    is_deeply [glob "$folder/*"], [], 'nothing is to be seen';
    $half->send('x' x (1 << 20));
    is $half->response->content, 3 << 20, 'and whole';

    for my $wrong ("$folder/missing", '/dev/null') {
        my $other = server(app => $APP, entry => 'bin', options => {spool_dir => $wrong}, ready => 0);
        is $other->wait_exit, 2 << 8, 'a folder that is none is told at the start';
        logged $other, qr/^gepok: option 'spool_dir': .*\Q$wrong\E.*\n\z/, 'in one sentence';
    }
};

done_testing;
