# Under a supervisor: start_server's sockets, systemd's sockets and notifications, and the duties of a first process.
use strict;
use warnings;

use IO::Socket::INET;
use IO::Socket::UNIX;
use Socket qw(SOCK_DGRAM SOCK_STREAM);
use Test::More;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC sleep time);

use Gepok::Test;

gepok_only();

sub which { my $name = shift; (grep { -x } map {"$_/$name"} split /:/, $ENV{PATH})[0] }

my @perl = ($^X, map { '-I' . root() . "/blib/$_" } qw(arch lib));
my $bin  = root() . '/blib/script/gepok';
my $app  = <<'APP';
sub {
    my $env = shift;
    if ($env->{PATH_INFO} eq '/slow') {
        open my $begun, '>', $env->{QUERY_STRING} or die $!;
        select undef, undef, undef, 0.5;
    }
    return [200, [], [join ' ', map { $env->{$_} // 'undef' } qw(SERVER_NAME SERVER_PORT REMOTE_ADDR psgi.url_scheme)]];
}
APP

sub psgi { my $folder = shift; Gepok::Test::Server::spew("$folder/app.psgi", $_[0] // $app); "$folder/app.psgi" }

# A request on a connection of its own, to a port or a path; what it was answered with.
sub ask {
    my ($where, $target) = @_;
    my $connection = Gepok::Test::Connection->new($where =~ m{^/} ? (path => $where) : (port => $where));
    $connection->send('GET ' . ($target // '/') . " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    return $connection->response->content;
}

my %command = (
    plackup => sub { (@perl, Gepok::Test::Server::plackup(), '-s', 'Gepok', '-E', 'deployment', @_) },
    bin     => sub { ($bin, @_) },
);

SKIP: {
    my $start_server = which('start_server') or skip 'start_server (libserver-starter-perl) is missing', 1;
    for my $entry (qw(plackup bin)) {
        check "start_server and $entry" => sub {
            my $folder = scratch();
            my @ports  = (free_port(), free_port());
            my @paths  = map {"$folder/$_.sock"} 1, 2;
            my $server = server(
                listen  => 'none',
                port    => $ports[0],
                command => [$start_server, "--port=127.0.0.1:$ports[0]", "--port=$ports[1]", (map {"--path=$_"} @paths),
                    '--', $command{$entry}->('--start-servers=2', '--http-ports=127.0.0.1:1', psgi($folder))]);
            is ask($ports[0]), "127.0.0.1 $ports[0] 127.0.0.1 http", 'host:port';
            is ask($ports[1]), "0 $ports[1] 127.0.0.1 http",         'a port alone';
            is ask($_), "0 $_ undef http", 'a path' for @paths;
            my $idle = $server->connect;
            $idle->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
            ok !$idle->response->closes, 'connections are kept';
            my @before = $server->descendants;
            $server->signal('HUP');
            ok soon(sub { my @now = $server->descendants; @now && !grep { $_ == $before[0] } @now }),
                'HUP: another master';
            is ask($ports[0]), "127.0.0.1 $ports[0] 127.0.0.1 http", 'which serves';
            ok -S $_, 'the socket files are still there' for @paths;
            is ask($_), "0 $_ undef http", 'and served' for @paths;
            ok soon { !grep { alive($_) } @before }, 'nothing is left of the one before';
            is $server->stop, 0, 'status 0';
            unlike $server->log, qr{\[error\]|status:[1-9]}, 'nothing went wrong' or diag $server->log;
        };
    }

    for my $signal (qw(TERM USR1 QUIT)) {
        check "a connection while start_server sends $signal" => sub {
            my $folder = scratch();
            my $port   = free_port();
            my $server = server(
                listen  => 'none',
                port    => $port,
                command => [$start_server, "--port=127.0.0.1:$port", "--signal-on-hup=$signal", '--',
                    $command{bin}->('--start-servers=1', psgi($folder))]);
            my ($slow, $idle) = map { $server->connect } 1, 2;
            for my $client ($slow, $idle) {
                $client->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
                $client->response;
            }
            my ($old) = $server->descendants;
            $slow->send("GET /slow?$folder/begun HTTP/1.1\r\nHost: x\r\n\r\n");
            ok soon { -e "$folder/begun" }, 'a request is in flight';
            # Without start_server's wait for its new child.
            kill $signal => $old;
            # start_server repeats it when it is told to restart again.
            kill $signal => $old;
            # At once: a connection without a request is not kept for long by now.
            $idle->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n") if $signal ne 'USR1';
            my $response = $slow->response;
            is $response->status, 200, 'what was in flight is answered';
            ok $response->closes, 'and the connection ends behind that';
            my $last = eval { $idle->response };
            ok $signal eq 'USR1' || $last && $last->status == 200, 'no request meets a connection that is being closed';
        };
    }

    check 'an app that does not compile' => sub {
        my $folder = scratch();
        my $port   = free_port();
        my $seen = qr/new worker \d+ seems to have failed to start/;
        my ($status, $text) = run_command(
            [$start_server, "--port=127.0.0.1:$port", '--', $command{bin}->(psgi($folder, 'sub {'))], until => $seen);
        like $text, qr/syntax error|Missing right curly/, 'is told';
        like $text, $seen, 'and start_server sees it at once';
    };
}

# Starts the server with descriptors 3 and up as systemd does, and a socket for its notifications: (pid, socket, log).
sub like_systemd {
    my ($folder, $sockets, $names, @command) = @_;
    my $notify = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => "$folder/notify") or die $!;
    my $pid    = fork // die $!;
    if (!$pid) {
        setpgrp;
        require POSIX;
        # Out of the way of each other first.
        my @high = map { my $fd = fileno $_; POSIX::dup2($fd, 100 + $fd); 100 + $fd } @$sockets;
        POSIX::dup2($high[$_], 3 + $_) for 0 .. $#high;
        @ENV{qw(LISTEN_FDS LISTEN_PID LISTEN_FDNAMES)} = (scalar @high, $$, $names) if @high;
        @ENV{qw(NOTIFY_SOCKET WATCHDOG_USEC)} = ("$folder/notify", 400_000);
        open STDOUT, '>', "$folder/log";
        open STDERR, '>&', \*STDOUT;
        exec {$command[0]} @command or POSIX::_exit(127);
    }
    $notify->blocking(0);
    return ($pid, $notify);
}

# The next notification that is no sign of life; how many of those came before it.
sub notified {
    my ($notify, $text) = @_;
    my ($got, $alive) = ('', 0);
    soon(sub {
        my $peer = recv $notify, $got, 4096, 0;
        return 0 if !defined $peer;
        return 1 if $got !~ /^WATCHDOG/ || $text eq 'WATCHDOG';
        $alive++;
        return 0;
    });
    return $got;
}

for my $entry (qw(plackup bin)) {
    check "systemd's protocol and $entry" => sub {
        my $folder = scratch();
        my @tcp    = map { IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 9) or die $! } 1, 2;
        my $unix   = IO::Socket::UNIX->new(Local => "$folder/http.sock", Listen => 9) or die $!;
        my $start  = time;
        my ($pid, $notify) = like_systemd($folder, [@tcp, $unix], 'http:http:unix',
            $command{$entry}->($entry eq 'bin' ? '--no-preload-app' : ('-L', 'Delayed'), '--start-servers=2',
                psgi($folder, "select undef, undef, undef, 0.3;\n$app")));
        like notified($notify, 'READY'), qr/^READY=1$/m, 'READY';
        cmp_ok time - $start, '>', 0.25, 'when a worker has loaded the app';
        is ask($_->sockport), '127.0.0.1 ' . $_->sockport . ' 127.0.0.1 http', 'each socket is served' for @tcp;
        is ask("$folder/http.sock"), "0 $folder/http.sock undef http", 'the Unix socket as well';
        like notified($notify, 'WATCHDOG'), qr/^WATCHDOG=1/, 'signs of life' for 1 .. 3;
        my $reload = sub {
            my ($signal, $what) = @_;
            my $before = clock_gettime(CLOCK_MONOTONIC);
            kill $signal => $pid;
            # Type=notify-reload: systemd believes only what was said behind its signal, by its own clock.
            my ($said) = notified($notify, 'RELOADING') =~ /^RELOADING=1\nMONOTONIC_USEC=(\d+)$/m;
            ok $said, "$signal: RELOADING";
            cmp_ok abs(2 * ($said // 0) / 1e6 - $before - clock_gettime(CLOCK_MONOTONIC)), '<=',
                clock_gettime(CLOCK_MONOTONIC) - $before, 'with the time of that';
            like notified($notify, 'READY'), qr/^READY=1$/m, "and READY again, $what";
        };
        my $broken = sub { psgi($folder, 'die "by intent\n"') };
        my $log    = sub { open my $file, '<', "$folder/log" or return ''; local $/; scalar <$file> };
        my $whole  = sub { psgi($folder, 'sub { [200, [], ["' . $_[0] . '"]] }') };
        $whole->('two');
        $reload->(HUP => 'as new code serves');
        # The core before may have accepted one more by then.
        my $serves = sub { my ($text, $socket) = @_; soon { ask($socket->sockport) eq $text } };
        ok $serves->('two', $tcp[0]), 'which it does';
        $broken->();
        $reload->(HUP => 'as the old serves on');
        like $log->(), qr/the reload failed/, 'behind a failure';
        $reload->(USR2 => 'as the old serves on');
        like $log->(), qr/the restart failed/, 'behind a failure';
        is ask($tcp[0]->sockport), 'two', 'which it does';
        $whole->('three');
        $reload->(USR2 => 'from the new program');
        ok $serves->('three', $_), 'which serves' for @tcp;
        like notified($notify, 'WATCHDOG'), qr/^WATCHDOG=1/, 'and gives signs of life';
        kill TERM => $pid;
        like notified($notify, 'STOPPING'), qr/^STOPPING=1$/m, 'STOPPING';
        is Gepok::Test::Server::reap($pid, 20), 0, 'status 0';
        ok -S "$folder/http.sock", 'what systemd has made is left to it';
        kill KILL => -$pid;
    };
}

check 'READY from one process' => sub {
    my $folder = scratch();
    my $tcp    = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 9) or die $!;
    my ($pid, $notify) = like_systemd($folder, [$tcp], 'http', $command{bin}->('--start-servers=0', psgi($folder)));
    like notified($notify, 'READY'), qr/^READY=1$/m, 'is told as well';
    like ask($tcp->sockport), qr/^127/, 'it serves';
    kill TERM => $pid;
    is Gepok::Test::Server::reap($pid, 20), 0, 'status 0';
    kill KILL => -$pid;
};

SKIP: {
    my $activate = which('systemd-socket-activate') or skip 'systemd-socket-activate (systemd) is missing', 1;
    check 'systemd-socket-activate' => sub {
        my $folder = scratch();
        my $port   = free_port();
        my $server = server(
            listen  => 'none',
            ready   => 0,
            port    => $port,
            command => [$activate, '-l', "127.0.0.1:$port", $command{bin}->('--start-servers=1', psgi($folder))]);
        my $answer;
        ok soon { $answer = eval { ask($port) } }, 'the first connection starts it' or diag $server->log;
        is $answer, "127.0.0.1 $port 127.0.0.1 http", 'and is served';
        is $server->stop, 0, 'status 0';
    };
}

SKIP: {
    my $unshare = which('unshare') or skip 'unshare is missing', 1;
    my @new     = ($unshare, qw(--pid --fork --kill-child --mount-proc));
    skip 'a namespace of processes is not permitted', 1 if system("@new true 2>/dev/null");
    for my $signal (qw(TERM INT QUIT)) {
        check "the first process of a container and $signal" => sub {
            my $folder = scratch();
            my $port   = free_port();
            my $server = server(
                listen  => 'none',
                port    => $port,
                command => [@new, $command{bin}->("--http-ports=127.0.0.1:$port", '--start-servers=1', psgi($folder, <<'APP'))]);
sub {
    # A grandchild that its own parent leaves alone.
    my $child = fork // die;
    if (!$child) { fork // die or do { select undef, undef, undef, 0.1; exec 'true' }; require POSIX; POSIX::_exit(0) }
    waitpid $child, 0;
    open my $ps, '-|', 'ps', '-eo', 'stat,pid,args';
    return [200, [], [$$ == 1 ? 'one' : 'other', "\n", <$ps>]];
}
APP
            like ask($port), qr/^other\n/, 'it serves';
            ask($port) for 1 .. 4;
            # Each request leaves one more, which may just have died.
            my @dead;
            ok soon { @dead = grep {/^Z/} split /\n/, ask($port); @dead < 2 }, 'and buries orphans' or diag join "\n", @dead;
            my ($first) = $server->descendants;
            my $start = time;
            kill $signal => $first;
            is $server->wait_exit, 0, 'it ends';
            cmp_ok time - $start, '<', 20, 'and not by graceful_timeout';
        };
    }
    check 'TERM to a first process that is still loading' => sub {
        my $folder = scratch();
        my $server = server(
            listen  => 'none',
            ready   => 0,
            command => [@new, $command{bin}->('--http-ports=127.0.0.1:' . free_port(),
                psgi($folder, 'print STDERR "LOADING\n"; select undef, undef, undef, 100; sub { }'))]);
        logged $server, qr/LOADING/, 'it loads the app';
        my ($first) = $server->descendants;
        kill TERM => $first;
        ok defined $server->wait_exit, 'ends it nevertheless';
    };
}

done_testing;
