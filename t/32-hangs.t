# A core that does not answer is replaced, and a stop ends the server in time, whichever process hangs.
use strict;
use warnings;

use Config;
use Socket qw(SOL_SOCKET SO_RCVBUF);
use Test::More;
use Time::HiRes qw(sleep time);

use Gepok::Test;
use Gepok::Test::Authority;
use Gepok::Test::Crowd;
use Gepok::Test::Faults;
use Gepok::Test::TLS ();

gepok_only();

# How late a loaded machine may be with what is promised.
my $SLACK = 3;

my $APP = Gepok::Test::Crowd::large() . <<'END';
sub {
    my $path = shift->{PATH_INFO};
    sleep 30 if $path eq '/slow';
    while ($path eq '/loop') { }
    return $path eq '/large' ? $large : [200, [], [$$]];
}
END

# The port is bound before the core is there.
sub core_of { my $server = shift; soon { eval { Gepok::Test::Faults::core_of($server) } } }
sub answers { my $got = eval { $_[0]->get('/') }; $got && $got->status == 200 }

# A connection whose request a worker has in hand.
sub slow_request {
    my ($server, $path) = @_;
    my $client = $server->connect;
    $client->send('GET ' . ($path // '/slow') . " HTTP/1.1\r\nHost: x\r\n\r\n");
    sleep 0.2;
    return $client;
}

# Clients of a large response that read nothing of it.
sub readers {
    my ($server, $count) = @_;
    return map {
        my $client = $server->connect;
        setsockopt $client->socket, SOL_SOCKET, SO_RCVBUF, 4096;
        $client->send("GET /large HTTP/1.1\r\nHost: x\r\n\r\n");
        $client;
    } 1 .. $count;
}

# Sends requests until the server ends; a client that waits for a stopped core holds up nothing else.
sub load {
    my $server = shift;
    return map {
        my $pid = fork // die "fork: $!";
        if (!$pid) {
            while (1) { answers($server) or sleep 0.05 }
        }
        $pid;
    } 1 .. 3;
}

# Protects: a stopped core, which holds the port and answers nobody, is an outage of seconds. Its end is one line of the log.
each_entry {
    my $entry  = shift;
    my $server = server(entry => $entry, app => $APP, options => {start_servers => 2});
    my $core   = core_of($server);
    my @load   = load($server);
    sleep 0.3;
    $server->signal(STOP => $core);
    my $began = time;
    ok soon { !alive($core) }, 'a stopped core is killed';
    ok soon { answers($server) }, 'and requests are answered';
    my $took = time - $began;
    cmp_ok $took, '<', 5 + $SLACK, "within 5 s ($took)";
    kill KILL => @load;
    waitpid $_, 0 for @load;
    logged $server, qr/the core did not answer for 3 seconds and was killed; a new one is started/, 'the log says what has happened';
    logged_times $server, qr/\bthe core\b/, 1, 'in one line' or diag $server->log;
    is $server->stop, 0, 'the server stops as always';
};

# Protects: an idle core is asked as well, and a machine that slept has not found its core silent.
check 'a master that was stopped itself' => sub {
    my $server = server(app => $APP, options => {start_servers => 1});
    my $core   = core_of($server);
    my @both   = ($server->pid, $core);
    $server->signal(STOP => $_) for @both;
    sleep 5;
    # The master first: it finds its question unanswered.
    $server->signal(CONT => $server->pid);
    sleep 0.5;
    $server->signal(CONT => $core);
    sleep 3;
    ok alive($core),      'its core lives on';
    ok answers($server), 'and serves';
};

check 'a debugger' => sub {
    plan skip_all => 'ptrace is tried on x86_64 alone' if $Config{archname} !~ /^x86_64/;
    my $server = server(app => $APP, options => {start_servers => 1});
    my $core   = core_of($server);
    my ($ptrace, $attach, $detach) = (101, 16, 17);
    syscall($ptrace, $attach, $core + 0, 0, 0) == 0 or plan skip_all => "ptrace: $!";
    sleep 6;
    ok alive($core), 'the core that it holds is not killed';
    syscall($ptrace, $detach, $core + 0, 0, 0);
    ok soon { answers($server) }, 'and serves when it is let go';
};

# What hangs when the server gets the word to stop: the name, how it comes to that, and the options for it.
my @HANGING = (
    ['nothing' => sub { }],
    ['the core' => sub { $_[0]->signal(STOP => core_of($_[0])) }],
    ['the core with a request' => sub {
        my $server = shift;
        my $client = slow_request($server);
        $server->signal(STOP => core_of($server));
        return $client;
    }],
    ['an idle worker' => sub { $_[0]->signal(STOP => $_[0]->get('/')->content) }],
    ['a worker with a request' => sub {
        my $server = shift;
        my $worker = $server->get('/')->content;
        my @kept   = map { slow_request($server) } 1 .. 2;
        $server->signal(STOP => $worker);
        return \@kept;
    }],
    ['a worker in an endless loop' => sub { slow_request($_[0], '/loop') }],
    ['handshakes that clients have begun' => sub {
        my $server = shift;
        my ($port) = $server->{options}{https_ports} =~ /:(\d+)$/;
        my @kept = map { Gepok::Test::Connection->new(port => $port) } 1 .. 20;
        # The first bytes of a ClientHello, for half of them.
        $kept[$_]->send("\x16\x03\x01\x02\x00\x01") for 0 .. 9;
        return \@kept;
    }, sub { (https_ports => '127.0.0.1:' . Gepok::Test::free_port(), ssl_self_signed => 1) }],
    ['uploads that stand' => sub {
        my $server = shift;
        my @kept   = map { $server->connect } 1 .. 10;
        $_->send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n" . 'x' x 2_000_000) for @kept;
        return \@kept;
    }],
    ['slow readers' => sub { my @kept = readers($_[0], 10); sleep 0.5; \@kept }],
    ['slow readers that workers wait for' => sub { my @kept = readers($_[0], 10); sleep 0.5; \@kept },
        sub { (max_spool => '1M', max_clients => 2) }],
    ['a reload' => sub {
        my $server = shift;
        $server->signal('HUP');
        soon { $server->descendants > 3 } or die "no worker is tried\n";
        sleep 0.5;
    }, sub { (check_path => '/slow') }],
    ['all children' => sub { $_[0]->signal(STOP => $_) for $_[0]->descendants }],
    ['a new core' => sub {
        my $server = shift;
        my $core   = core_of($server);
        $server->signal(KILL => $core);
        my $new;
        soon {
            ($new) = grep { $_ != $core && !$server->{known}{$_} } $server->descendants;
            $new && $server->signal(STOP => $new);
        };
    }],
    ['the core of the program before' => sub {
        my $server = shift;
        my $core   = core_of($server);
        my $client = slow_request($server);
        $server->signal('USR2');
        soon { $server->log =~ /generation 2 serves/ } or diag $server->log;
        $server->signal(STOP => $core);
        return $client;
    }],
    ['the check of a trial' => sub {
        my $server = shift;
        $server->signal('USR2');
        # The trial, its core and its candidate.
        soon { $server->descendants >= 6 } or die "nothing is tried\n";
        sleep 0.5;
    }, sub { (check_path => '/slow') }],
    ['the trial of a program' => sub {
        my $server = shift;
        my %before = map { $_ => 1 } $server->descendants;
        $server->signal('USR2');
        my $trial;
        soon { ($trial) = grep { !$before{$_} } $server->descendants; $trial };
        $server->signal(STOP => $trial);
    }],
);

# TERM by the command, INT by plackup.
for my $how (['TERM', 'bin'], ['INT', 'plackup']) {
    my ($signal, $entry) = @$how;
    for my $row (@HANGING) {
        my ($name, $hang, $options) = @$row;
        check "$signal while this hangs: $name" => sub {
            plan skip_all => 'openssl is not installed' if $name =~ /handshakes/ && system('command -v openssl >/dev/null 2>&1') != 0;
            my $server = server(
                entry => $entry, app => $APP,
                options => {start_servers => 2, graceful_timeout => 1, log_level => 'info', $options ? $options->() : ()});
            core_of($server);
            soon { $server->descendants == 3 };
            $server->{known} = {map { $_ => 1 } $server->descendants};
            my $kept  = $hang->($server);
            my @all   = $server->descendants;
            my $began = time;
            $server->signal($signal);
            my $status = $server->wait_exit(30);
            my $took   = time - $began;
            is $status, 0, 'the server ends' or diag $server->log;
            cmp_ok $took, '<', 3 + $SLACK, "within graceful_timeout and two seconds ($took)";
            ok soon { !grep { alive($_) } @all }, 'and nothing is left of it';
        };
    }
}

# Protects: the master does not wait for the core's word about certificates when it is to stop.
check 'TERM while the core does not read certificates' => sub {
    plan skip_all => 'IO::Socket::SSL is not installed' unless Gepok::Test::TLS::usable();
    my $folder = scratch();
    my $pair   = Gepok::Test::Authority->new("$folder")->issue('first');
    my %files  = (ssl_cert_file => $pair->{cert}, ssl_key_file => $pair->{key});
    my $server = Gepok::Test::TLS::https(app => $APP, options => {%files, graceful_timeout => 1});
    ok soon { (Gepok::Test::TLS::fetch($server, '/')->{status} // 0) == 200 }, 'it serves';
    $server->signal(STOP => core_of($server));
    $server->signal('HUP');
    sleep 0.3;
    my $began = time;
    $server->signal('TERM');
    is $server->wait_exit(30), 0, 'the server ends';
    my $took = time - $began;
    cmp_ok $took, '<', 3 + $SLACK, "within graceful_timeout and two seconds ($took)";
};

# Protects: with one process, a stop does not wait for an app that does not return.
check 'start_servers 0' => sub {
    for my $signal (qw(TERM INT)) {
        my $server = server(app => $APP, options => {start_servers => 0, graceful_timeout => 1});
        my $client = slow_request($server);
        my $began  = time;
        $server->signal($signal);
        ok defined $server->wait_exit(30), "$signal ends it while the app sleeps";
        my $took = time - $began;
        cmp_ok $took, '<', 3 + $SLACK, "within graceful_timeout and two seconds ($took)";
    }
};

done_testing;
