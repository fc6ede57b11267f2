# Signals and ends at the edges: at load, in forked children, in one process, and where descriptors run out.
use strict;
use warnings;

use IO::Socket::INET;
use Test::More;
use Time::HiRes qw(time);

use Gepok::Test;

gepok_only();

check 'INT is no accident' => sub {
    for my $workers (0, 2) {
        my $server = server(app => 'sub { [200, [], ["ok"]] }', options => {start_servers => $workers});
        is $server->get('/')->content, 'ok', "start_servers=$workers: it serves";
        $server->signal('INT');
        is $server->wait_exit, 0, 'status 0';
        unlike $server->log, qr/error|pipe/i, 'and nothing to complain about' or diag $server->log;
    }
};

check 'exit in the only process' => sub {
    my $server = server(
        app     => 'sub { my $go = shift->{QUERY_STRING}; select undef, undef, undef, 0.02 until -e $go; exit 3 }',
        options => {start_servers => 0});
    my $go     = $server->folder . '/go';
    my $first  = send_request($server, "/?$go");
    my $queued = send_request($server, "/?$go");
    ok $queued->silent(0.2), 'a second request waits';
    open my $file, '>', $go or die $!;
    cmp_ok $_->response->status, '>=', 500, 'no request is left without an answer' for $first, $queued;
    is $server->wait_exit, 3 << 8, 'and the process ends';
};

check 'children of the app' => sub {
    my $server = server(
        app     => 'sub { my $pid = fork; if (!$pid) { sleep 60; CORE::exit(0) } [200, [], [$pid]] }',
        options => {start_servers => 1});
    for my $signal (qw(TERM INT QUIT HUP)) {
        my $pid = $server->get('/')->content;
        # A handler of Perl's would wait until perl looks for signals, and a child may be about to sleep.
        ok soon { !catches($pid, $signal) }, "no handler for $signal is left from the worker";
        kill $signal => $pid;
        ok soon { !alive($pid) }, "end by $signal, as those of any program";
        kill KILL => $pid;
    }
};

check 'local $SIG{TERM} in the app' => sub {
    my $server = server(
        app => <<'APP',
sub {
    my $go = shift->{QUERY_STRING} or return [200, [], [$$]];
    { local $SIG{TERM} = 'IGNORE'; local $SIG{INT} = sub { }; }
    kill INT => $$;
    kill TERM => $$;
    select undef, undef, undef, 0.02 until -e $go;
    return [200, [], [$$]];
}
APP
        options => {start_servers => 1});
    my $pid    = $server->get('/')->content;
    my $go     = $server->folder . '/go';
    my $client = send_request($server, "/?$go");
    ok $client->silent(0.2), 'the worker lives on';
    open my $file, '>', $go or die $!;
    is $client->response->content, $pid, 'its request is finished';
    ok soon { !alive($pid) }, 'and then it leaves, as TERM means it to';
};

check 'workers that die young' => sub {
    my $server = server(app => 'sub { [200, [], [$$]] }', options => {start_servers => 1, err_respawn_interval => 10});
    my $start  = time;
    for (1 .. 6) {
        my $pid = $server->get('/')->content;
        kill KILL => $pid;
        ok soon { !alive($pid) }, 'one is killed as soon as it has served';
    }
    ok $server->get('/')->content, 'there is another';
    # With the pause that is meant for apps that do not start, sixty seconds at least.
    cmp_ok time - $start, '<', 40, 'each was replaced without a pause';
};

check 'a first worker that has served and died before the master heard of either' => sub {
    my $server = server(
        entry => 'bin',
        args  => ['--no-preload-app'],
        app   => 'use FindBin; select undef, undef, undef, 0.02 until -e "$FindBin::Bin/go"; sub { [200, [], [$$]] }',
        options => {start_servers => 1});
    ok soon { (() = $server->descendants) == 2 }, 'it loads the app';
    kill STOP => $server->pid;
    open my $file, '>', $server->folder . '/go' or die $!;
    my $worker = $server->get('/')->content;
    kill KILL => $worker;
    ok soon { !alive($worker) }, 'it has died';
    kill CONT => $server->pid;
    isnt $server->get('/')->content, $worker, 'another takes its place: the app can be loaded';
    is $server->stop, 0, 'status 0';
};

# A write to a program that has ended, or to a client that has left, must not end the process; the programs that the app
# starts get the default, under which `yes | head` ends.
check 'SIGPIPE' => sub {
    my $app = <<'APP';
sub {
    my $path = shift->{PATH_INFO};
    my $mask = sub { open my $f, '<', '/proc/self/status'; hex((map { /^SigIgn:\s*(\w+)/ } <$f>)[0]) & 1 << 12 ? 1 : 0 };
    my $child = sub { `sed -n 's/^SigIgn:[[:blank:]]*//p' /proc/self/status` =~ /(\w+)/ && hex($1) & 1 << 12 ? 1 : 0 };
    return [200, [], [join ' ', $mask->(), $child->()]] if $path eq '/ignored';
    local $SIG{PIPE} = 'IGNORE' if $path eq '/local';
    my $got = 0;
    local $SIG{PIPE} = sub { $got++ } if $path eq '/own';
    my $child_pid = open my $pipe, '|-', 'exec true' or die $!;
    select undef, undef, undef, 0.01 until do { open my $stat, '<', "/proc/$child_pid/stat"; !$stat || <$stat> =~ /\) Z / };
    my $printed = print $pipe 'x' x 1e6;
    my $why = $!{EPIPE} ? 'EPIPE' : "$!";
    close $pipe;
    return [200, [], [join ' ', $$, $printed ? 'printed' : $why, $got]];
}
APP
    for my $entry (entries()) {
        for my $workers (1, 0) {
            # As systemd starts services, unless IgnoreSIGPIPE=no.
            for my $ignored (0, 1) {
                my $server = server(
                    entry => $entry, app => $app, options => {start_servers => $workers}, ignored => [$ignored ? 'PIPE' : ()]);
                my $name = "$entry, $workers workers, started with it " . ($ignored ? 'ignored' : 'as usual');
                my ($pid, @rest) = split ' ', $server->get('/')->content;
                is "@rest", 'EPIPE 0', "$name: the write fails";
                is $server->get('/own')->content, "$pid EPIPE 1", "a handler of the app's is called";
                is $server->get('/local')->content, "$pid EPIPE 0", "or ignored for a while";
                is $server->get('/ignored')->content, '0 0', 'programs get the default';
                is $server->get('/')->content, "$pid EPIPE 0", 'in the same process still';
            }
        }
    }
    my $server = server(app => "\$SIG{PIPE} = 'IGNORE';\n$app", options => {start_servers => 1});
    is $server->get('/ignored')->content, '1 1', "what the app has set as it was loaded stays";
};

check 'SIGPIPE after run' => sub {
    my @perl = ($^X, map { '-I' . root() . "/blib/$_" } qw(arch lib));
    for my $before ('', '$SIG{PIPE} = "IGNORE"', '$SIG{PIPE} = sub { }') {
        my $port   = free_port();
        my $server = server(listen => 'none', port => $port, command => [@perl, '-e', <<"CODE"]);
use Gepok;
sub now { my \$is = \$SIG{PIPE}; defined \$is && \$is ne 'DEFAULT' ? \$is : 'the default' }
$before;
my \$was = now();
Gepok->new(start_servers => 0, daemonize => 0, http_ports => '127.0.0.1:$port', access_log_path => '')
    ->run(sub { [200, [], [\$SIG{PIPE} // 'none']] });
print STDERR 'after run: ', \$was eq now() ? 'the same' : now(), "\\n";
CODE
        my $within = $server->get('/')->content;
        is $server->stop, 0, 'it ends';
        logged $server, qr/^after run: the same$/m, ($before || 'nothing set') . ", within $within: as it was before";
    }
};

check 'TERM while the app is loaded' => sub {
    # Whatever descriptor the app gets must not get bytes of ours.
    my $server = server(
        entry => 'bin',
        args  => ['--no-preload-app'],
        app   => <<'APP',
use Socket;
my @pairs = map { socketpair my $one, my $two, AF_UNIX, SOCK_STREAM, 0; [$one, $two] } 1 .. 10;
kill TERM => $$;
my $bits = '';
vec($bits, fileno $_, 1) = 1 for map { @$_ } @pairs;
my $got = select $bits, undef, undef, 0.1;
print STDERR "LOADED $got\n";
sub { [200, [], ["ok"]] }
APP
        options => {start_servers => 1});
    logged $server, qr/LOADED/, 'it is loaded to its end';
    unlike $server->log, qr/LOADED [1-9]/, 'and no descriptor has got anything';
};

check 'no new privileges' => sub {
    my $of = sub { open my $file, '<', "/proc/$_[0]/status" or return 'gone'; (map { /^NoNewPrivs:\s*(\d)/ } <$file>)[0] };
    plan skip_all => 'this test itself can get none' if $of->('self') ne '0';
    each_entry {
        my $entry = shift;
        for my $yes (0, 1) {
            my $server = server(entry => $entry, app => 'sub { [200, [], [$$]] }',
                options => {start_servers => 1, $yes ? (worker_no_new_privs => 1) : ()});
            my $worker = $server->get('/')->content;
            my ($core) = grep { $_ != $worker } $server->descendants;
            is_deeply [map { $of->($_) } $server->pid, $core, $worker], [0, 1, $yes],
                "for the core always, for workers where worker_no_new_privs=$yes says so, for the master never";
        }
    };
};

check 'more clients than descriptors' => sub {
    my $port   = free_port();
    my $server = server(
        command => ['bash', '-c', 'ulimit -n 64; exec "$@"', 'bash', root() . '/blib/script/gepok',
            '-e', 'sub { [200, [], [$$]] }', '--start-servers=1', '--http-ports', "127.0.0.1:$port"],
        listen => 'none',
        port   => $port);
    my $first  = $server->connect;
    my $ask    = sub { $first->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n"); $first->response->content };
    my $worker = $ask->();
    my @many   = map { IO::Socket::INET->new("127.0.0.1:$port") || die $@ } 1 .. 80;
    logged $server, qr/new ones wait/, 'some wait';
    kill KILL => $worker;
    isnt $ask->(), $worker, 'a new worker finds the core alive, and its connections';
};

# Protects: the core can't take the descriptors of a new worker: that worker is lost, and not the core with all its connections.
check 'no descriptors left for new workers' => sub {
    plan skip_all => 'prlimit is not installed' if system('command -v prlimit >/dev/null');
    my $server  = server(app => 'sub { [200, [], [$$]] }', options => {start_servers => 1, log_level => 'info'});
    my $worker  = $server->get('/')->content;
    my ($core)  = grep { $_ != $worker } $server->descendants;
    my $client  = $server->connect;
    my $ask     = sub { $client->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n"); $client->response->content };
    my $limit   = sub { system 'prlimit', '--pid', $core, "--nofile=$_[0]:"; };
    my ($count) = map { /^Max open files\s+(\d+)/ } do { open my $file, '<', "/proc/$core/limits" or die $!; <$file> };
    is $ask->(), $worker, 'a client is connected';
    for my $free (0 .. 2) {
        my %open = map { $_ => 1 } map {m{(\d+)$}} glob "/proc/$core/fd/*";
        my @unused = grep { !$open{$_} } 0 .. 1000;
        my $failed = () = $server->log =~ /the reload failed/g;
        $limit->($unused[$free]);
        $server->signal('HUP');
        ok soon { (() = $server->log =~ /the reload failed, and nothing has changed: the core can open no more descriptors/g) > $failed },
            "$free left: the reload fails" or diag $server->log;
        is $ask->(), $worker, 'the client is served as before';
        ok alive($core), 'by the same core';
        $limit->($count);
    }
    $server->signal('HUP');
    logged $server, qr/generation 2 serves/, 'with descriptors the reload succeeds';
    ok soon { $ask->() != $worker }, 'and new workers serve';
    is $server->stop, 0, 'status 0';
};

# Protects: a file that the core can't take is missed in its own response alone; no other response gets it, and the worker goes on.
check 'no descriptors left for files of responses' => sub {
    plan skip_all => 'prlimit is not installed' if system('command -v prlimit >/dev/null');
    my $server = server(options => {start_servers => 1}, app => <<'END');
sub {
    my ($letter) = shift->{PATH_INFO} =~ m{^/(\w)$} or return [200, [], [$$]];
    open my $file, '+>', undef or die "a file: $!";
    syswrite $file, $letter x 100_000;
    sysseek $file, 0, 0;
    return [200, ['Content-Length' => 100_000], $file];
}
END
    my $worker  = $server->get('/')->content;
    my ($core)  = grep { $_ != $worker } $server->descendants;
    my ($count) = map { /^Max open files\s+(\d+)/ } do { open my $file, '<', "/proc/$core/limits" or die $!; <$file> };
    my $limit   = sub { system 'prlimit', '--pid', $core, "--nofile=$_[0]:"; };
    for my $free (0, 1, 0, 1) {
        my %clients = map { $_ => $server->connect } 'a' .. 'f';
        for my $client (values %clients) {
            $client->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
            is $client->response->content, $worker, 'a client is connected to the same worker';
        }
        my %open   = map { $_ => 1 } map {m{(\d+)$}} glob "/proc/$core/fd/*";
        my @unused = grep { !$open{$_} } 0 .. 1000;
        $limit->($unused[$free]);
        $clients{$_}->send("GET /$_ HTTP/1.1\r\nHost: x\r\n\r\n") for sort keys %clients;
        my $lost = 0;
        for my $letter (sort keys %clients) {
            my $client   = $clients{$letter};
            my $response = eval { $client->response('GET') };
            my $content  = $response && $response->status == 200 ? $response->content : $client->{buffer};
            my $others   = () = $content =~ /(?!$letter)[a-f]{1000}/g;
            is $others, 0, "$free left, $letter: no other content";
            $lost++ unless $response && $response->status == 200;
            ok $lost || $content eq $letter x 100_000, 'all of its own' if $response && $response->status == 200;
        }
        cmp_ok $lost, '>', 0, 'some are lost' if !$free;
        $limit->($count);
    }
    is $server->get('/')->content, $worker, 'the worker goes on';
    is $server->get('/a')->content, 'a' x 100_000, 'with files as before';
};

check 'server_ready that dies' => sub {
    my $port   = free_port();
    my $script = scratch();
    my ($status, $text) = run_command([
        $^X, (map {'-I' . root() . "/blib/$_"} qw(arch lib)), '-MGepok', '-e', <<"SCRIPT"]);
\$| = 1;
eval { Gepok->new(daemonize => 0, http_ports => ['127.0.0.1:$port'], server_ready => sub { die "not ready\\n" })->run(sub { }); 1 };
print \$@;
print 'children: ', (wait() < 0 ? 'none' : 'some'), "\\n";
kill TERM => \$\$;
sleep 5;
print "still here\\n";
SCRIPT
    like $text, qr/not ready/, 'the caller hears of it';
    like $text, qr/children: none/, 'nothing is left behind';
    is $status, 15, 'and has its signals back' or diag $text;
};

done_testing;
