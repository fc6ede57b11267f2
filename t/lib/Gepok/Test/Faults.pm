package Gepok::Test::Faults;

# Faults, what is promised for each (docs/faults.md), and what came of it. A row's code dies where its promise is broken, and
# returns what was measured.

use strict;
use warnings;

use POSIX ();
use Socket      qw(SOL_SOCKET SO_LINGER);
use Time::HiRes qw(sleep time);

use Gepok::Test;

my $APP = <<'END';
use POSIX ();
use Time::HiRes qw(sleep);
sub {
    my $env  = shift;
    my $path = $env->{PATH_INFO};
    if ($path =~ m{^/sleep/([\d.]+)}) {
        # Whoever wants to know that it is in flight, and where, names a file.
        if (length $env->{QUERY_STRING}) {
            open my $file, '>', "$env->{QUERY_STRING}.new" or die $!;
            print {$file} $$;
            close $file;
            rename "$env->{QUERY_STRING}.new", $env->{QUERY_STRING} or die $!;
        }
        sleep $1;
    }
    elsif ($path eq '/pid')           { return [200, [], [$$]] }
    elsif ($path eq '/stop')          { kill STOP => $$ }
    elsif ($path eq '/close')         { POSIX::close($_) for 3 .. 4000 }
    elsif ($path eq '/scribble') {
        for my $fd (3 .. 4000) { POSIX::write($fd, 'garbage' x 100, 700) }
    }
    elsif ($path eq '/fork') {
        for (1 .. 50) { my $pid = fork; if (defined $pid && !$pid) { sleep 3; POSIX::_exit(0) } }
        exit 3;
    }
    my ($length, $input) = (0, $env->{'psgi.input'});
    while (my $got = $input->read(my $piece, 65536)) { $length += $got }
    return [200, [], ["$path $length"]];
};
END

# [name, the promise in short, code, cheap enough for every run of the tests]
my @ROWS = (
    ['worker killed',                'its one request 502, nothing else',                 \&worker_killed,  1],
    ['worker stopped',               'its request 504 by request_timeout, others served', \&worker_stopped, 1],
    ['core killed',                  'accepts again within 1 s, on the same sockets',     \&core_killed,    1],
    ['master killed',                'all processes gone within 1 s',                     \&master_killed,  1],
    ['disk full in spool_dir',       '507 for requests that need it, and for no others', \&disk_full,      1],
    ['standard error full',          'lines are lost, requests are not',                  \&log_full,       1],
    ['descriptors exhausted',        'new clients wait, logged once, then served',        \&descriptors,    1],
    ['app closes all descriptors',   'its request 502, or served; its worker replaced',    \&app_closes,     1],
    ['app scribbles on all of them', 'its request 502, or served; its worker replaced', \&app_scribbles,  1],
    ['app forks 50 and exits',       'its request 500 at once, its worker replaced',     \&app_forks,      1],
    ['core out of memory',           'as core killed',                                    \&core_memory,    1],
);

# How long what is promised soon may take on a machine that has much else to do; script/faults shows what it took.
my $PATIENCE = 30;

sub rows { @ROWS }

sub start {
    my %args = @_;
    my $server = server(app => $APP, entry => 'bin', %args, options => {start_servers => 2, %{$args{options} // {}}});
    soon { is_served($server) } or die "does not serve\n";
    return $server;
}

# The core: it alone polls many descriptors.
sub core_of {
    my $server = shift;
    my ($core) = grep {
        grep { (readlink $_ // '') eq 'anon_inode:[eventpoll]' } glob "/proc/$_/fd/*"
    } $server->descendants;
    return $core // die "the core is not to be found\n";
}

sub is_served { my $answer = eval { $_[0]->get('/') }; $answer && $answer->status == 200 }

# What that request comes to: a status, or 'cut'.
sub outcome {
    my ($client) = @_;
    my $answer = eval { $client->response };
    return $answer ? $answer->status : 'cut';
}

sub begin {
    my ($server, $path) = @_;
    my $client = $server->connect;
    $client->send("GET $path HTTP/1.1\r\nHost: x\r\n\r\n");
    return $client;
}

# The milliseconds until the block is true.
sub until_true {
    my ($what, $seconds, $block) = @_;
    my $began = time;
    soon { $block->() } $seconds or die "$what: not within $seconds s\n";
    return sprintf '%d ms', 1000 * (time - $began);
}

sub check_that { my ($holds, $what) = @_; $holds or die "$what\n" }

# Serves now, and soon from two workers again.
sub still_served {
    my ($server, $pid) = @_;
    is_served($server) or die "another request is not served\n";
    my $took = until_true('its worker is replaced', $PATIENCE, sub {
        my %seen;
        my @sleepers = map { begin($server, '/sleep/0.2') } 1 .. 2;
        $seen{outcome($_)}++ for @sleepers;
        ($seen{200} // 0) == 2 && (!$pid || !kill 0 => $pid);
    });
    return "replaced within $took";
}

sub worker_killed {
    my $server = start();
    my $file   = $server->folder . '/busy';
    my $client = begin($server, "/sleep/60?$file");
    soon { -e $file } or die "the request is not in flight\n";
    open my $note, '<', $file or die $!;
    my $busy = <$note>;
    kill KILL => $busy;
    my $began  = time;
    my $status = outcome($client);
    check_that($status eq 502, "its request came to $status");
    return sprintf '502 after %d ms, %s', 1000 * (time - $began), still_served($server, $busy);
}

sub worker_stopped {
    my $server = start(options => {request_timeout => 2});
    my $began  = time;
    my $client = begin($server, '/stop');
    is_served($server) or die "another request is not served meanwhile\n" for 1 .. 5;
    my $status = outcome($client);
    check_that($status eq 504, "its request came to $status");
    return sprintf '504 after %.1f s, %s', time - $began, still_served($server);
}

sub core_killed {
    my $server = start();
    my $held   = begin($server, '/sleep/5');
    my $core   = core_of($server);
    # One that dies within its first second is started again after a pause.
    sleep 1.1;
    kill KILL => $core;
    my $took = until_true('a new core serves', $PATIENCE, sub { is_served($server) });
    check_that(outcome($held) eq 'cut', 'a connection of the old one lives on');
    return "served again after $took";
}

# A process that is dead and not yet reaped is none.
sub is_alive {
    open my $stat, '<', "/proc/$_[0]/stat" or return 0;
    return (<$stat> // return 0) !~ /\) Z/;
}

sub master_killed {
    my $server = start();
    my @all    = $server->descendants;
    begin($server, '/sleep/5');
    kill KILL => $server->pid;
    $server->wait_exit;
    return 'all gone after ' . until_true('all are gone', $PATIENCE, sub {
        !grep { is_alive($_) } @all;
    });
}

sub upload {
    my ($server, $size) = @_;
    my $client = $server->connect;
    $client->send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: $size\r\n\r\n");
    $client->send('x' x $size);
    return outcome($client);
}

# The limit of a file's size stands for a full disk, so that nothing needs to be mounted.
sub disk_full {
    my $server = start(prefix => ['bash', '-c', 'ulimit -f 3072; exec "$@"', 'bash']);
    check_that(upload($server, 2 << 20) eq 200, 'there was room');
    my $status = upload($server, 8 << 20);
    check_that($status eq 507, "a request that needs more came to $status");
    check_that(upload($server, 1 << 19) eq 200, 'one that fits into memory is not served');
    check_that(is_served($server) && upload($server, 2 << 20) eq 200, 'it does not recover');
    return '507, others served';
}

sub log_full {
    my $server = start(prefix => ['bash', '-c', 'exec "$@" 2>/dev/full', 'bash']);
    for (1 .. 20) {
        check_that(outcome(begin($server, '/close')) =~ /^(?:200|502)$/, 'a request is lost');
        is_served($server) or die "a request is lost\n";
    }
    return '40 requests served';
}

sub descriptors {
    my $server = start(prefix => ['bash', '-c', 'ulimit -n 100; exec "$@"', 'bash'], options => {header_timeout => 60});
    my @idle = map { $server->connect } 1 .. 150;
    # Whoever sends nothing is accepted a second later.
    $_->send('GET') for @idle;
    # Those that go before it is told leave room for all.
    soon { $server->log =~ /descriptors|can't accept/ } or die "it is not told\n";
    my $late = begin($server, '/');
    check_that($late->silent(0.5), 'a client beyond all descriptors is answered');
    $_->close for splice @idle, 0, 100;
    check_that(outcome($late) eq 200, 'who waited is not served');
    my $took = until_true('all is well', $PATIENCE, sub { is_served($server) });
    my $told = () = $server->log =~ /descriptors|can't accept/g;
    check_that($told == 1, "told $told times");
    return "waited, then served after $took, logged once";
}

# What a request that ruins its worker comes to, and whether another worker takes that one's place.
sub ruined {
    my ($path, $allowed) = @_;
    my $server = start(options => {start_servers => 1});
    my $pid    = $server->get('/pid')->content;
    my $began  = time;
    my $status = outcome(begin($server, $path));
    check_that($status =~ /^(?:$allowed)$/, "its request came to $status");
    my $took = until_true('its worker is replaced', $PATIENCE, sub {
        my $answer = eval { $server->get('/pid') };
        $answer && $answer->status == 200 && $answer->content != $pid;
    });
    return "$status, replaced within $took";
}

sub app_closes    { ruined('/close',    '200|502') }
sub app_scribbles { ruined('/scribble', '200|502') }
sub app_forks     { ruined('/fork',     '500') }

# The core may have as much memory as it has, and a little more: then a thousand clients want theirs.
sub core_memory {
    my $server = start();
    my $core   = core_of($server);
    sleep 1.1;
    my ($size) = `cat /proc/$core/statm` =~ /^(\d+)/;
    my $limit  = ($size + 1024) * POSIX::sysconf(POSIX::_SC_PAGESIZE());
    system('prlimit', "--pid=$core", "--as=$limit") == 0 or die "prlimit failed\n";
    my @clients;
    for (1 .. 400) {
        my $client = eval { $server->connect } or last;
        eval { $client->send("GET / HTTP/1.1\r\nA: " . 'x' x 60_000) } or last;
        push @clients, $client;
    }
    my $took = until_true('a new core serves', $PATIENCE, sub { eval { core_of($server) != $core } && is_served($server) });
    return "served again after $took";
}

1;
