# The number of workers follows the load: up while requests wait, down when nobody needs so many; and nothing polls.
use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep time);

use Gepok::Test;

gepok_only();

sub touch { open my $file, '>', $_[0] or die $! }
sub slurp { open my $file, '<', $_[0] or return ''; local $/; scalar(<$file>) // '' }

my $number = 0;

sub pool { my %o = @_; server(app => app_file('process'), options => {idle_worker_timeout => 1, %o}) }

# Workers: what the server has started, but for the core.
sub workers { my @all = $_[0]->descendants; @all - 1 }

# Requests that are in flight or wait until the test lets them go: (path of their files, connections).
sub begin {
    my ($server, $count) = @_;
    my @work = map {
        my $path   = $server->folder . '/work-' . ++$number;
        my $client = $server->connect;
        $client->send("GET /work?$path HTTP/1.1\r\nHost: x\r\n\r\n");
        [$client, $path];
    } 1 .. $count;
    return @work;
}

sub finish {
    touch("$_->[1]-go") for @_;
    return join ' ', map { $_->[0]->response->status } @_;
}

check 'start_servers 2, max_clients 20' => sub {
    my $server = pool(start_servers => 2, max_clients => 20);
    ok soon { workers($server) == 2 }, 'two at first';
    my @work = begin($server, 20);
    ok soon { 20 == grep { -s "$_->[1]-started" } @work }, 'twenty slow requests are in flight at once';
    is workers($server), 20, 'in twenty workers';
    my @more = begin($server, 3);
    sleep 0.5;
    is workers($server), 20, 'never more';
    my $began = time;
    is finish(@work, @more), join(' ', (200) x 23), 'all are answered';
    # Requests go on while workers leave.
    my $client = $server->connect;
    my %status;
    my $few = soon {
        $client->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        $status{$client->response->status}++;
        sleep 0.01;
        # One is busy now and then, and two may be spare.
        workers($server) <= 3;
    };
    ok $few, 'and those that were needed are let go' or diag workers($server);
    # One after the other they would take eighteen times as long.
    cmp_ok time - $began, '<', 12, 'as soon as they have been idle for idle_worker_timeout';
    is_deeply [keys %status], [200], 'no request notices';
    ok soon { workers($server) == 2 }, 'two are left when nobody asks any more';
    unlike $server->log, qr/\[error\]|worker/, 'nothing to complain about' or diag $server->log;
};

check 'spare workers' => sub {
    my $server = pool(start_servers => 3, max_clients => 10, min_spare_servers => 2, max_spare_servers => 4);
    ok soon { workers($server) == 3 }, 'three at first';
    my @two = begin($server, 2);
    ok soon { workers($server) == 4 }, 'with two busy, two are spare';
    my @four = begin($server, 2);
    ok soon { workers($server) == 6 }, 'with four busy, too';
    is finish(@two), '200 200', 'two are done';
    sleep 1.5;
    is workers($server), 6, 'four spare ones are not too many';
    is finish(@four), '200 200', 'all are done';
    ok soon { workers($server) == 4 }, 'six are';
};

check 'TTIN and TTOU' => sub {
    my $server = pool(start_servers => 1, max_clients => 10, min_spare_servers => 0);
    ok soon { workers($server) == 1 }, 'one at first';
    $server->signal('TTIN');
    ok soon { workers($server) == 2 }, 'TTIN: one more';
    sleep 1.5;
    is workers($server), 2, 'which stays, though it is idle';
    $server->signal('TTOU');
    ok soon { workers($server) == 1 }, 'TTOU: one less';
};

# What a process has done: processor time, and how often it was woken.
sub done {
    my ($pid) = @_;
    my ($ticks) = slurp("/proc/$pid/stat") =~ /\) \S (?:\S+ ){10}(\d+ \d+)/;
    my ($woken) = slurp("/proc/$pid/status") =~ /^voluntary_ctxt_switches:\s*(\d+)/m;
    return "$ticks $woken";
}

check 'idle' => sub {
    my $server = pool(start_servers => 3, max_clients => 10, request_timeout => 1);
    my @work = begin($server, 4);
    is finish(@work), '200 200 200 200', 'it has served';
    ok soon { workers($server) == 3 }, 'and is back at its size';
    my ($core, @workers) = $server->descendants;
    my $all = sub { join ', ', map { "$_: " . done($_) } sort { $a <=> $b } @workers };
    # Timers of what was may still run out.
    my ($before, $after);
    my $woken = sub { my $sum = 0; $sum += (split ' ', done($_))[2] for $server->pid, $core; $sum };
    my $heartbeats;
    my $still = soon {
        ($before, $heartbeats) = ($all->(), $woken->());
        sleep 2;
        $heartbeats = $woken->() - $heartbeats;
        ($after = $all->()) eq $before && $heartbeats <= 12;
    };
    ok $still, 'then no worker is woken'
        or diag "$before\n$after";
    # Each second the master asks and the core answers.
    cmp_ok $heartbeats, '<=', 12, 'and master and core only for the heartbeat';
};

done_testing;
