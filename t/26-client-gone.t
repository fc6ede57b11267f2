# Clients that leave: what waits for a worker is not run, what runs can know, and who has only closed its sending side is served.
use strict;
use warnings;

use Socket qw(IPPROTO_TCP SOL_SOCKET SO_LINGER);
use Test::More;
use Time::HiRes qw(sleep time);

use Gepok::Test;

gepok_only();

my $APP = <<'END';
use Time::HiRes qw(sleep time);
sub note {
    open my $file, '>>', "$ENV{GEPOK_NOTES}/$_[0]" or die $!;
    print {$file} "$_[1]\n";
}
sub {
    my $env  = shift;
    my $path = $env->{PATH_INFO};
    note(calls => $path);
    # In work until the test says so.
    if ($path eq '/hold') {
        my $limit = time + 60;
        sleep 0.01 until -e "$ENV{GEPOK_NOTES}/go" || time > $limit;
    }
    if ($path =~ m{^/sleep/([\d.]+)}) { sleep $1 }
    if ($path =~ m{^/watch/?(\d*)}) {
        my $limit = $1 || 60;
        my $gone  = $env->{'psgix.client_gone'};
        my $began = time;
        note(before => $gone->());
        sleep 0.01 while !$gone->() && time - $began < $limit;
        note(after => $gone->());
    }
    if ($path eq '/stream') {
        return sub {
            my $writer = shift->([200, []]);
            my $began  = time;
            my $written = 1;
            while ($written && time - $began < 60) { $written = $writer->write('x' x 100); sleep 0.02 }
            note(stream => $written);
            note(after => $env->{'psgix.client_gone'}->());
        };
    }
    return [200, [], ['hello']];
};
END

# A server whose one worker has loaded the app, and the folder of the app's notes.
sub start {
    my $folder = scratch();
    my %options = (start_servers => 1, status_path => '/status');
    my $server  = server(app => $APP, env => {GEPOK_NOTES => "$folder"}, options => \%options);
    $server->get('/first');
    return ($server, $folder);
}

sub notes {
    my ($folder, $name) = @_;
    open my $file, '<', "$folder/$name" or return '';
    local $/;
    return scalar <$file>;
}

# How many requests wait for the worker.
sub queued { json($_[0]->get('/status?json')->content)->{queued} }

# A request that the worker has in hand until `release`: its connection.
sub hold {
    my ($server, $folder, $version, $finish) = @_;
    unlink "$folder/go", "$folder/calls";
    my $client = $server->connect;
    $client->send("GET /hold HTTP/$version\r\nHost: x\r\n\r\n");
    $client->finish if $finish;
    soon { notes($folder, 'calls') =~ /hold/ } or die "the app was not called\n";
    return $client;
}

sub release { open my $file, '>', "$_[0]/go" or die $! }

# Makes closing a reset.
sub abort {
    my $client = shift;
    setsockopt $client->socket, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0;
    $client->close;
}

# Protects: a request that is taken back from its worker leaves the worker free for the next one.
check 'a client that leaves before its worker has begun' => sub {
    my ($server, $folder) = start();
    my $state = sub { json($server->get('/status?json')->content) };
    my $pid   = $state->()->{workers}[0]{pid};
    kill STOP => $pid;
    my $client = $server->connect;
    $client->send("GET /leaver HTTP/1.1\r\nHost: x\r\n\r\n");
    ok soon { $state->()->{connections} == 2 }, 'it waits for the worker';
    abort($client);
    ok soon { $state->()->{connections} == 1 }, 'it has left';
    kill CONT => $pid;
    is $server->get('/next')->content, 'hello', 'the next request is served';
    is notes($folder, 'calls'), "/first\n/next\n", 'and what the client had sent was not run';
};

for my $how ('closes', 'resets') {
    check "a queued request whose client $how is not run" => sub {
        my ($server, $folder) = start();
        my $busy = hold($server, $folder, '1.1');
        my ($leaver, $stayer) = map { $server->connect } 1 .. 2;
        $leaver->send("GET /leaver HTTP/1.1\r\nHost: x\r\n\r\n");
        $stayer->send("GET /stayer HTTP/1.1\r\nHost: x\r\n\r\n");
        ok soon { queued($server) == 2 }, 'two wait';
        $how eq 'closes' ? $leaver->close : abort($leaver);
        ok soon { queued($server) == 1 }, 'one has left';
        release($folder);
        is $_->response->content, 'hello', 'the others are served' for $busy, $stayer;
        $server->get('/last');
        is notes($folder, 'calls'), "/hold\n/stayer\n/last\n", 'and it was never run';
    };

    check "an app can know that its client $how" => sub {
        my ($server, $folder) = start();
        my $client = $server->connect;
        $client->send("GET /watch HTTP/1.1\r\nHost: x\r\n\r\n");
        ok soon { notes($folder, 'before') eq "0\n" }, 'it is there at first';
        my $began = time;
        $how eq 'closes' ? $client->close : abort($client);
        ok soon { notes($folder, 'after') eq "1\n" }, 'it has left';
        my $took = time - $began;
        # What a kernel tells of itself takes a minute.
        ok $took < 15, 'which is known soon' or diag $took;
        is $server->get('/')->content, 'hello', 'the worker goes on';
    };

    check "a writer whose client $how" => sub {
        my ($server, $folder) = start();
        my $client = $server->connect;
        $client->send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
        $client->head;
        $how eq 'closes' ? $client->close : abort($client);
        ok soon { notes($folder, 'stream') eq "0\n" }, 'write returns false';
        ok soon { notes($folder, 'after') eq "1\n" }, 'and the other sign says the same';
    };
}

check 'half-closed clients' => sub {
    my ($server, $folder) = start();
    my $client = $server->connect;
    $client->send("GET /quick HTTP/1.1\r\nHost: x\r\n\r\n");
    $client->finish;
    my $response = $client->response;
    is $response->content, 'hello', 'one that asks for little is served';

    $client = hold($server, $folder, '1.1', 'finish');
    is $client->head->status, 100, 'one that must wait is asked whether it is there';
    ok $client->silent(1.2), 'once';
    release($folder);
    $response = $client->response;
    is $response->content, 'hello', 'and served as well';
    is scalar($response->interim), 0, 'without another question';

    $client = hold($server, $folder, '1.0', 'finish');
    ok $client->silent(1.2), 'one of HTTP/1.0 hears no such question, which it does not know';
    release($folder);
    $response = $client->response;
    is $response->content, 'hello', 'and is served too';
    is scalar($response->interim), 0, 'with nothing else';
};

# Nothing can be sent to it before its response: its kernel tells when it has forgotten the connection, here at once.
check 'a client of HTTP/1.0 that closes' => sub {
    plan skip_all => 'only Linux has TCP_LINGER2' if $^O ne 'linux';
    my ($server, $folder) = start();
    my ($closed, $half) = map { $server->connect } 1 .. 2;
    my $TCP_LINGER2 = 8;
    setsockopt $closed->socket, IPPROTO_TCP, $TCP_LINGER2, pack 'i', 1 or die $!;
    $closed->send("GET /watch/60 HTTP/1.0\r\n\r\n");
    ok soon { notes($folder, 'before') eq "0\n" }, 'it is there at first';
    $half->{seconds} = 70;
    $half->send("GET /sleep/1 HTTP/1.0\r\n\r\n");
    $half->finish;
    my $began = time;
    $closed->close;
    ok soon(sub { notes($folder, 'after') }, 70), 'its app ends';
    is notes($folder, 'after'), "1\n", 'because the client has left';
    cmp_ok time - $began, '<', 50, 'which is known before the app gives up';
    is $half->response->content, 'hello', 'one that has only closed its sending side is served';
};

check 'pipelined requests of who has left' => sub {
    my ($server, $folder) = start();
    my $client = $server->connect;
    # The first ends when it is known that the client has left.
    $client->send("GET /watch HTTP/1.1\r\nHost: x\r\n\r\nGET /second HTTP/1.1\r\nHost: x\r\n\r\n");
    ok soon { notes($folder, 'before') eq "0\n" }, 'the first is in flight';
    abort($client);
    ok soon { notes($folder, 'after') eq "1\n" }, 'its client has left';
    $server->get('/last');
    is notes($folder, 'calls'), "/first\n/watch\n/last\n", 'the second is not run';
};

check 'a client on a Unix socket' => sub {
    my $folder = scratch();
    my $server = server(app => $APP, env => {GEPOK_NOTES => "$folder"}, listen => 'unix', options => {start_servers => 1});
    my $client = $server->connect;
    $client->send("GET /watch HTTP/1.1\r\nHost: x\r\n\r\n");
    ok soon { notes($folder, 'before') eq "0\n" }, 'it is there at first';
    $client->close;
    ok soon { notes($folder, 'after') eq "1\n" }, 'it has left';
};

done_testing;
