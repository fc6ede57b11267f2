# Nobody holds what others need: places for connections, space for content and responses, memory for heads, workers.
use strict;
use warnings;

use Socket      qw(SOL_SOCKET SO_RCVBUF);
use Test::More;
use Time::HiRes qw(sleep time);

use Gepok::Test;
use Gepok::Test::Crowd;

gepok_only();

my $APP = Gepok::Test::Crowd::large() . <<'END';
my $order = '';
sub {
    my $env = shift;
    if ($env->{PATH_INFO} eq '/bytes') {
        return sub {
            my $writer = shift->([200, ['Content-Length' => 2_000_000]]);
            $writer->write(chr $_ % 256) for 1 .. 2_000_000;
            $writer->close;
        };
    }
    return $large if $env->{PATH_INFO} eq '/large';
    if (my ($name) = $env->{PATH_INFO} =~ m{^/file(/.*)}) {
        open my $file, '<', $name or die $!;
        return [200, [], $file];
    }
    # Who was served before.
    if (my ($who) = $env->{PATH_INFO} =~ m{^/turn/(.)}) { return [200, [], [$order .= $who]] }
    # In work until the test says so.
    if (my ($file) = $env->{PATH_INFO} =~ m{^/hold(/.*)}) {
        open my $begun, '>', "$file-begun" or die $!;
        my $limit = time + 60;
        select undef, undef, undef, 0.01 until -e "$file-go" || time > $limit;
    }
    my ($length, $input) = (0, $env->{'psgi.input'});
    while (my $got = $input->read(my $bytes, 65536)) { $length += $got }
    return [200, [], [$length]];
};
END

my $SLOW = $ENV{GEPOK_TEST_SLOW} // 1;

sub start {
    my ($entry, %options) = @_;
    my $server = server(entry => $entry, app => $APP, options => {start_servers => 1, status_path => '/status', %options});
    soon { $server->get('/')->status == 200 };
    return $server;
}

# How many responses, contents and requests the server has refused.
sub refused {
    my $server = shift;
    return json($server->get('/status?json')->content)->{refused};
}

# Clients of a large response that read nothing of it.
sub readers {
    my ($server, $count, @paths) = @_;
    @paths = '/large' unless @paths;
    return map {
        my $client = $server->connect;
        setsockopt $client->socket, SOL_SOCKET, SO_RCVBUF, 4096;
        $client->send("GET $_ HTTP/1.1\r\nHost: x\r\n\r\n");
        $client;
    } (@paths) x $count;
}

check 'a free place is for the listener whose clients wait' => sub {
    plan skip_all => 'openssl is not installed' if system('command -v openssl >/dev/null 2>&1') != 0;
    my $port   = Gepok::Test::free_port();
    my %https  = (https_ports => "127.0.0.1:$port", ssl_self_signed => 1);
    my $server = server(app => $APP, options => {start_servers => 1, max_connections => 2, %https});
    my $plain  = sub { $server->connect };
    # Plain HTTP there is answered with 400, by which a test without TLS sees that it was accepted.
    my $secure = sub { Gepok::Test::Connection->new(port => $port) };
    my $asks   = sub { my $client = $_[0]->(); $client->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n"); $client };
    soon { eval { $server->get('/')->status } };
    for my $round (1 .. 3) {
        for my $case ([$plain, $secure, 400], [$plain, $plain, 200]) {
            my ($first, $last, $status) = @$case;
            my @open = map { $asks->($first) } 1 .. 2;
            $_->response for @open;
            my $waits = $asks->($last);
            ok $waits->silent(0.3), 'who comes when all places are taken waits, on whichever port';
            (shift @open)->close;
            is $waits->response->status, $status, 'and is served when one is free';
            $_->close for @open, $waits;
        }
    }
};

# 20 clients want 80 MiB of the 32 MiB that requests have, and hold what they get.
each_entry {
    my $server = start($_[0], max_spool => '64M');
    my @held   = map { $server->connect } 1 .. 20;
    for my $client (@held) {
        $client->send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " . (4 << 20) . "\r\n\r\n" . 'x' x ((4 << 20) - 1));
    }
    ok soon { refused($server)->{contents} >= 10 }, 'those who come last are refused';
    is $server->post('/', 'x' x 2_000_000)->content, 2_000_000, 'an upload of 2 MB is taken' for 1 .. 3;
    logged_times $server, qr/content can't be kept/, 1, 'the log has one line';
};

check 'what can never be kept is refused at the head' => sub {
    my $server = start('bin');
    my $answer = sub {
        my $client = $server->connect;
        $client->send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: $_[0]\r\n\r\n");
        return $client->head->status;
    };
    is $answer->(4 << 30),   413, '4 GiB are more than max_content';
    is $answer->(2_000_000), 100, '2 MB are welcome';
};

# One worker, and room for two of the responses: it must not wait for those who read nothing.
each_entry {
    my $server  = start($_[0], max_spool => '64M', max_clients => 1);
    my @readers = readers($server, 12);
    my $began   = time;
    ok soon { refused($server)->{responses} > 0 }, 'the slowest are cut';
    is $server->get('/')->content, 0, 'and others are served';
    cmp_ok time - $began, '<', 15 * $SLOW, 'soon';
    logged $server, qr/a response is cut: its client/, 'the log tells';
};

for my $servers (0, 1) {
    check "without room on the disk a worker waits for a client only while nobody needs it, start_servers $servers" => sub {
        my $server  = start('bin', max_spool => '1M', start_servers => $servers, max_clients => 1);
        my ($reader) = readers($server, 1);
        # Long enough for a slow reader to be known as one.
        sleep 1;
        is refused($server)->{responses}, 0, 'nobody waits';
        is $server->get('/')->content, 0, 'who waits is served';
        is refused($server)->{responses}, 1, 'since the reader was cut';
        ok soon { !defined eval { $reader->response } }, 'which sees that its response is not whole';
    };
}

# Each piece costs the core some hundred bytes of memory, and a write to the disk.
check 'a response in pieces of one byte, and a client that does not read' => sub {
    my $server = start('bin', max_clients => 1);
    my $client = $server->connect;
    setsockopt $client->socket, SOL_SOCKET, SO_RCVBUF, 65536;
    $client->send("GET /bytes HTTP/1.1\r\nHost: x\r\n\r\n");
    is $server->get('/')->content, 0, 'the worker is free soon';
    my ($core) = $server->descendants;
    open my $file, '<', "/proc/$core/status" or die $!;
    my ($peak) = join('', <$file>) =~ /^VmHWM:\s+(\d+) kB/m;
    cmp_ok $peak, '<', 64 * 1024, 'the core has gathered them';
    ok $client->response->content eq join('', map { chr $_ % 256 } 1 .. 2_000_000), 'the response is whole';
};

# Whatever makes the response: a worker, the app that gives a file, or the server from a file of its own. A reader holds a connection
# and a descriptor at least.
check 'min_response_rate' => sub {
    my $folder = scratch();
    open my $file, '>', "$folder/file" or die $!;
    truncate $file, 10 << 20 or die $!;
    close $file;
    my $server  = start('bin', min_response_rate => '1M', documents => "$folder");
    my @readers = readers($server, 1, '/large', "/file$folder/file", "/file");
    ok soon(sub { refused($server)->{responses} == @readers }, 60), 'readers that take nothing are cut';
    logged_times $server, qr/slower than min_response_rate/, 1, 'and the log says why, once';
};

# One client's crowd of requests, whatever they cost, delays another client by one of them.
check 'clients take turns' => sub {
    my $crowd  = Gepok::Test::own_address() or plan skip_all => 'this machine has no address but loopback ones';
    my $folder = scratch();
    my $server = start('bin', max_clients => 1);
    my $ask    = sub {
        my ($path, $from) = @_;
        my $client = Gepok::Test::Connection->new(port => $server->port, from => $from);
        $client->send("GET $path HTTP/1.1\r\nHost: x\r\n\r\n");
        return $client;
    };
    my $held = $ask->("/hold$folder/file");
    soon { -e "$folder/file-begun" } or die "the app was not called\n";
    my @crowd = map { $ask->('/turn/c', $crowd) } 1 .. 40;
    ok soon { json($server->get('/status?json')->content)->{queued} == 40 }, 'a crowd waits';
    my $victim = $ask->('/turn/v');
    ok soon { json($server->get('/status?json')->content)->{queued} == 41 }, 'and one that comes last';
    open my $go, '>', "$folder/file-go" or die $!;
    # Some of the crowd wait at the worker already, since calls are quick.
    my $order = $victim->response->content;
    cmp_ok length $order, '<', 20, 'is served before most of them' or diag $order;
    is scalar(grep { $_->response->status == 200 } $held, @crowd), 41, 'all are served in the end';
};

# 79 KiB, of which 900 are more than 64 MiB.
my $head = 'GET /' . 'a' x 16_000 . " HTTP/1.1\r\nHost: x\r\n" . join '', map { "X-$_: " . 'x' x 1000 . "\r\n" } 1 .. 62;

check 'requests that wait for a worker' => sub {
    my $folder = scratch();
    my $server = start('bin', max_clients => 1);
    my $held   = $server->connect;
    $held->send("GET /hold$folder/file HTTP/1.1\r\nHost: x\r\n\r\n");
    soon { -e "$folder/file-begun" } or die "the app was not called\n";
    my @large = map { my $client = $server->connect; $client->send("$head\r\n"); $client } 1 .. 900;
    ok soon { refused($server)->{requests} > 0 }, 'the largest are refused when they have taken their memory';
    my $small = $server->connect;
    $small->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    open my $go, '>', "$folder/file-go" or die $!;
    is $small->response->status, 200, 'one that needs little waits and is served';
    is $large[0]->response->status, 200, 'and so is a large one that came in time';
};

check 'heads that do not end' => sub {
    my $server = start('bin');
    my @heads  = map { my $client = $server->connect; $client->send($head); $client } 1 .. 900;
    ok soon { refused($server)->{requests} > 0 }, 'the largest are refused when there are too many';
    is $server->get('/')->content, 0, 'and others are served';
    logged_times $server, qr/heads that do not end/, 1, 'the log has one line';
};

done_testing;
