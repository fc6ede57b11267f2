# Master, core and workers: who serves, who dies, who comes after, and how the whole ends.
use strict;
use warnings;

use POSIX ();
use Test::More;
use Time::HiRes qw(time);

use Gepok::Test;

sub touch { open my $file, '>', $_[0] or die $! }
sub slurp { open my $file, '<', $_[0] or return ''; local $/; scalar(<$file>) // '' }

my $number = 0;

# A request that is in flight until the test lets it go: (connection, path of its files, pid of its worker).
sub in_work {
    my ($server, $target) = @_;
    my $path   = $server->folder . '/work-' . ++$number;
    my $client = $server->connect;
    $client->send("GET $target?$path HTTP/1.1\r\nHost: x\r\n\r\n");
    return ($client, $path) if $target eq '/stream';
    soon { -s "$path-started" } or die "the request is not in flight\n";
    return ($client, $path, slurp("$path-started"));
}

sub start { my %o = @_; server(app => app_file('process'), options => \%o) }

each_entry {
    my $entry = shift;
    my $server = server(entry => $entry, app => app_file('process'), options => {start_servers => 3});
    # Three requests at once need three workers.
    my @work = map { [in_work($server, '/work')] } 1 .. 3;
    my %pids = map { $_->[2] => 1 } @work;
    is keys %pids, 3, 'start_servers=3: three requests are in flight at once, each in a process of its own';
    touch("$_->[1]-go") for @work;
    my %random;
    for my $work (@work) {
        my $response = $work->[0]->response;
        is $response->content, "done by $work->[2]", 'and are answered';
        $random{$response->field('X-Random')}++;
    }
    is keys %random, 3, 'each worker draws random numbers of its own';
    ok !$pids{$server->pid}, 'the first process calls no app';
    is $server->stop, 0, 'TERM ends it with status 0';
    ok soon { !grep { alive($_) } keys %pids }, 'and all workers with it';
};

check 'more requests than workers' => sub {
    my $server  = start(start_servers => 1);
    my ($first, $path) = in_work($server, '/work');
    my @waiting = map { $server->connect } 1 .. 20;
    $_->send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") for @waiting;
    ok $waiting[0]->silent(0.2), 'they wait for the one worker';
    touch("$path-go");
    is $first->response->status, 200, 'the one in flight is answered';
    is_deeply [map { $_->response->status } @waiting], [(200) x 20], 'and each that waited';
};

check 'a worker that is killed' => sub {
    my $server = start(start_servers => 3);
    my @work   = map { [in_work($server, '/work')] } 1 .. 3;
    my ($dead, @others) = @work;
    my $began = time;
    kill KILL => $dead->[2];
    if (is_gepok()) {
        my $response = $dead->[0]->response;
        is $response->status, 502, 'its request: 502';
        cmp_ok time - $began, '<', 30, 'and not when its time is over';
        $dead->[0]->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        is $dead->[0]->response->status, 200, "the client's connection lives on";
    }
    touch("$_->[1]-go") for @others;
    is $_->[0]->response->content, "done by $_->[2]", 'the others are not harmed' for @others;
    my @again = map { [in_work($server, '/work')] } 1 .. 3;
    is scalar(grep { $_->[2] == $dead->[2] } @again), 0, 'another worker has taken its place: there are three again';
    touch("$_->[1]-go") for @again;
    is $_->[0]->response->status, 200, 'all serve' for @again;

    if (is_gepok()) {
        my ($stream, $path) = in_work($server, '/stream');
        $stream->head;
        my ($pid) = $stream->chunk =~ /from (\d+)/;
        kill KILL => $pid;
        ok !eval { $stream->chunk; 1 }, 'behind the head the response is cut, not ended cleanly';
        is $server->get('/')->status, 200, 'and the next request served';
        is $server->get('/suicide')->status, 502, 'an app that kills itself: 502';
    }
    is $server->stop, 0, 'the end is clean nevertheless';
};

check 'requests that had not begun' => sub {
    my $server = start(start_servers => 1);
    my ($first, $path, $pid) = in_work($server, '/work');
    my @waiting = map { $server->connect } 1 .. 5;
    $_->send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok") for @waiting;
    kill KILL => $pid;
    is $first->response->status, 502, 'the one in flight';
    is_deeply [map { $_->response->status } @waiting], [(200) x 5], 'those that waited are served by its successor';
} if is_gepok();

check 'exit in an app' => sub {
    my $server = start(start_servers => 1);
    my $pid    = $server->get('/')->content;
    for my $status (0, 7) {
        my $response = eval { $server->get("/exit?$status") };
        ok !$response || $response->status >= 500, "exit($status): no success";
    }
    my $next = $server->get('/')->content;
    isnt $next, $pid, 'another worker serves';
} if is_gepok();

check 'max_requests_per_child' => sub {
    my $server = start(start_servers => 1, max_requests_per_child => 5);
    my %count;
    my $client;
    for (1 .. 25) {
        # On one connection where the server keeps it: requests count, not connections.
        $client = $server->connect if !$client || !is_gepok();
        $client->send("GET / HTTP/1.1\r\nHost: x\r\n" . (is_gepok() ? '' : "Connection: close\r\n") . "\r\n");
        my $response = $client->response;
        is $response->status, 200, "request $_";
        $count{$response->content}++;
    }
    is_deeply [values %count], [(5) x 5], 'five workers have served five requests each';
};

for my $signal (qw(TERM QUIT)) {
    check "$signal is graceful" => sub {
        my $server = start(start_servers => 2, is_gepok() ? (keepalive_timeout => 100) : ());
        my ($client, $path, $pid) = in_work($server, '/work');
        my $idle = $server->connect;
        $idle->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        $idle->response;
        $server->signal($signal);
        if (is_gepok()) {
            ok $idle->closed(60), 'idle connections are closed';
            ok soon { !eval { $server->connect; 1 } }, 'nothing more is accepted';
        }
        ok !defined $server->wait_exit(0.3), 'it waits for the request in flight';
        touch("$path-go");
        my $response = $client->response;
        is $response->content, "done by $pid", 'which is finished';
        ok $response->closes, 'by a response that closes' if is_gepok();
        is $server->wait_exit, 0, 'then it ends with status 0';
    };
    # Starman ends at once on TERM.
    last if server_name() ne 'Gepok';
}

check 'a stream and a graceful stop' => sub {
    my $server = start(start_servers => 1);
    my ($client, $path) = in_work($server, '/stream');
    $client->head;
    $client->chunk;
    $server->signal('TERM');
    ok !defined $server->wait_exit(0.3), 'it waits for a stream';
    touch("$path-go");
    is $client->chunk, ' end', 'whose rest arrives';
    is $client->chunk, '', 'and its end';
    is $server->wait_exit, 0, 'status 0';
} if is_gepok();

check 'signals to the whole group' => sub {
    # Ctrl-C and systemd signal every process; only the master's word counts.
    my $server = start(start_servers => 2);
    my ($client, $path, $pid) = in_work($server, '/work');
    kill TERM => -$server->pid;
    ok !defined $server->wait_exit(0.3), 'TERM to all processes is as graceful';
    touch("$path-go");
    is $client->response->content, "done by $pid", 'the request is finished';
    is $server->wait_exit, 0, 'status 0';
} if is_gepok();

check 'signals to the whole group while workers are born' => sub {
    # A child that has just been forked still has the master's handlers: what reaches it must not speak for the master.
    for my $round (1 .. 3) {
        my $server = start(start_servers => 30);
        my ($client, $path, $pid) = in_work($server, '/work');
        kill TERM => -$server->pid;
        ok !defined $server->wait_exit(0.2), "round $round: TERM to all is one TERM, not many";
        touch("$path-go");
        my $response = eval { $client->response };
        is $response && $response->content, "done by $pid", 'the request is finished' or diag $server->log;
        is $server->wait_exit, 0, 'status 0';
    }
} if is_gepok();

# Both TERMs wait for the last lines of the access log.
check 'a second TERM after the last answer ends at once' => sub {
    my $folder = scratch();
    my $server = start(start_servers => 1, access_log_path => "$folder/access.log");
    my ($client, $path) = in_work($server, '/work');
    $server->signal('TERM');
    # The listener is closed: the first TERM has been taken up.
    ok soon { !eval { $server->connect; 1 } }, 'TERM is heard';
    touch("$path-go");
    is $client->response->status, 200, 'the request is answered';
    my $begun = time;
    $server->signal('TERM');
    ok defined $server->wait_exit(10), 'it ends';
    cmp_ok time - $begun, '<', 0.9, 'soon';
    unlike $server->log, qr/takes no more lines/, 'no line is said to be lost';
    like slurp("$folder/access.log"), qr{"GET /work}, 'nor is one';
} if is_gepok();

check 'INT and a second TERM are fast' => sub {
    for my $signals (['INT'], ['TERM', 'TERM'], ['TERM', 'INT']) {
        my $server = start(start_servers => 2);
        my ($client, $path, $pid) = in_work($server, '/work');
        my $began = time;
        for my $signal (@$signals) {
            $server->signal($signal);
            # Two of one kind are one, as long as the first was not taken.
            ok soon { !eval { $server->connect; 1 } }, "$signal is obeyed";
        }
        ok defined $server->wait_exit, "@$signals: it ends";
        cmp_ok time - $began, '<', 20, 'though a request is in flight';
        ok soon { !alive($pid) }, 'the worker is gone as well';
    }
} if is_gepok();

# A worker that was told to leave is in its END blocks when the fast stop begins.
check 'a second signal while workers run their END blocks' => sub {
    each_entry {
        my $entry = shift;
        for my $signals (['TERM', 'TERM'], ['INT', 'INT'], ['TERM', 'INT']) {
            for my $group (0, 1) {
                # END blocks last until the second signal was sent: later the master may have returned to its caller, whose
                # signals have their defaults.
                my $folder = scratch();
                my $server = server(entry => $entry, options => {start_servers => 2}, env => {GEPOK_NOTES => "$folder"},
                    app => <<'APP');
END {
    print STDERR "BEGUN $$\n";
    for (1 .. 1000) { last if -e "$ENV{GEPOK_NOTES}/go"; select undef, undef, undef, 0.01 }
    select undef, undef, undef, 0.3;
    print STDERR "ENDED $$\n";
}
sub { [200, [], [$$]] }
APP
                my $worker = $server->get('/')->content;
                kill $signals->[0] => $group ? -$server->pid : $server->pid;
                logged $server, qr/BEGUN $worker/, "@$signals: END blocks run";
                kill $signals->[1] => $group ? -$server->pid : $server->pid;
                touch("$folder/go");
                is $server->wait_exit, 0, 'status 0';
                logged $server, qr/ENDED $worker/, 'to their end' or diag $server->log;
            }
        }
    }
} if is_gepok();

check 'no orphans' => sub {
    for my $workers (0, 3) {
        my $server = start(start_servers => $workers);
        $server->get('/') for 1 .. 3;
        my @all = $server->descendants;
        ok @all >= ($workers ? $workers + 1 : 0), "start_servers=$workers: its processes" or diag "@all";
        kill KILL => $server->pid;
        $server->wait_exit;
        ok soon { !grep { alive($_) } @all }, 'all are gone with a kill -9 of the first';
        ok !eval { $server->connect; 1 }, 'and nobody listens';
    }
} if is_gepok();

check 'the core dies' => sub {
    my $server = start(start_servers => 2);
    my %worker = map { $_->[2] => $_ } map { [in_work($server, '/work')] } 1, 2;
    touch("$_->[1]-go") for values %worker;
    my @cores = grep { !$worker{$_} } $server->descendants;
    is @cores, 1, 'one process beside the workers and the master' or return;
    kill KILL => @cores;
    ok soon { my $r = eval { $server->get('/') }; $r && $r->status == 200 }, 'another takes its place, and serves';
    logged $server, qr/ the core was killed by SIGKILL; a new one is started$/m, 'the log says it in plain words';
    is $server->stop, 0, 'the end is clean';
} if is_gepok();

# Those that load the app are ended by the signal itself.
check 'a fast stop while workers load the app' => sub {
    my $server = server(entry => 'bin', args => ['--no-preload-app'], app => 'print STDERR "LOADS\n"; sleep 60; sub { }',
        options => {start_servers => 1});
    logged $server, qr/LOADS/, 'one loads the app';
    $server->signal('INT');
    is $server->wait_exit, 0, 'the server ends';
    unlike $server->log, qr/SIGTERM|was killed/, 'and says nothing of its own signals';
} if is_gepok();

check 'start_servers=0' => sub {
    my $server = start(start_servers => 0);
    my @pids   = map { $server->get('/')->content } 1 .. 3;
    is_deeply \@pids, [($server->pid) x 3], 'the one process calls the app';
    is_deeply [$server->descendants], [], 'there is no other';
    my ($client, $path) = in_work($server, '/work');
    my $second = $server->connect;
    $second->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    touch("$path-go");
    is $client->response->content, 'done by ' . $server->pid, 'clients beside each other are served one by one';
    is $second->response->content, $server->pid, 'none is lost';
    ($client, $path) = in_work($server, '/work');
    $server->signal('TERM');
    touch("$path-go");
    is $client->response->status, 200, 'TERM lets it finish what is in flight';
    is $server->wait_exit, 0, 'status 0';
} if is_gepok();

check 'other names of max_requests_per_child' => sub {
    for my $name (qw(max_reqs_per_child max_requests)) {
        my $server = start(start_servers => 1, $name => 2);
        my %count;
        $count{$server->get('/')->content}++ for 1 .. 6;
        is_deeply [values %count], [2, 2, 2], "$name=2";
    }
} if is_gepok();

check 'names of the number of workers' => sub {
    for my $name (qw(max_workers workers)) {
        my $server = start($name => 2);
        my @work   = map { [in_work($server, '/work')] } 1, 2;
        my $third  = $server->connect;
        $third->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        ok $third->silent(0.3), "$name=2 means two, no more";
        touch("$_->[1]-go") for @work;
        is $third->response->status, 200, 'the third follows';
    }
} if is_gepok();

# The log of a server that did nothing wrong is empty of warnings.
check 'a quiet log' => sub {
    my $server = start(start_servers => 2, is_gepok() ? (user => scalar getpwuid $>) : ());
    $server->get('/') for 1 .. 3;
    $server->stop;
    unlike $server->log, qr/warn|error|panic|uninitialized|Use of/i, 'nothing to complain about' or diag $server->log;
};

done_testing;
