# gepok status: what a running server tells of its processes.
use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep time);

use Gepok::Test;

gepok_only();

sub touch { open my $file, '>', $_[0] or die $! }
sub alive { my $pid = shift; open my $stat, '<', "/proc/$pid/stat" or return 0; <$stat> !~ /^\d+ \(.*\) Z/ }

my $folder = scratch();
my $pid    = "$folder/pid";
my @STATUS = (root() . '/blib/script/gepok', 'status', '--pid-path', $pid);

sub status {
    my ($status, $text) = run_command([@STATUS, '--json']);
    die "gepok status: $status, $text" if $status;
    return json($text);
}

each_entry {
    my $entry  = shift;
    my $server = server(entry => $entry, app => app_file('process'), options => {start_servers => 2, pid_path => $pid});
    ok soon { 2 == grep { $_->{state} eq 'idle' } @{status()->{workers}} }, 'two workers wait';
    my $before = status();
    is $before->{master}, $server->pid, 'the master';
    my %own = map { $_ => 1 } $server->descendants;
    ok $own{$before->{core}} && $own{$_->{pid}}, 'the core and a worker are what the system shows'
        for @{$before->{workers}};
    is_deeply [map { $_->{generation} } @{$before->{workers}}], [1, 1], 'the first generation';
    cmp_ok $_, '>', 1 << 20, 'resident memory' for $before->{core_rss}, map { $_->{rss} } @{$before->{workers}};

    my $work   = $server->folder . '/work';
    my $client = $server->connect;
    $client->send("GET /work?$work HTTP/1.1\r\nHost: x\r\n\r\n");
    ok soon { -s "$work-started" }, 'a request is in work';
    sleep 0.3;
    my ($busy) = grep { $_->{state} eq 'busy' } @{status()->{workers}};
    is $busy->{request}, 'GET /work', 'it is told, without its query';
    ok $busy->{since} > 0.2 && $busy->{since} < 20, 'and since when';
    is $busy->{requests}, 1, 'the first of that worker';
    my $now = status();
    is $now->{requests} - $before->{requests}, 1, 'one more for the server';
    cmp_ok $now->{connections}, '>=', 1, 'its connection is open';
    cmp_ok $now->{accepted}, '>', $before->{accepted}, 'and was accepted';

    # Three more: one is taken by the other worker, two wait.
    my @more = map { my $c = $server->connect; $c->send("GET /work?$work HTTP/1.1\r\nHost: x\r\n\r\n"); $c } 1 .. 3;
    ok soon { status()->{queued} == 2 }, 'requests that wait are counted';
    my ($code, $text) = run_command(\@STATUS);
    is $code, 0, 'without --json';
    like $text, qr/^running, pid @{[$server->pid]}$/m, 'for people';
    like $text, qr/^requests: \d+ so far, 2 in work, 2 waiting/m, 'the same';
    like $text, qr/^ *$busy->{pid} +1 +busy .* GET \/work$/m, 'a line for each worker';
    touch("$work-go");
    is $_->response->status, 200, 'all are answered' for $client, @more;

    kill KILL => $busy->{pid};
    ok soon { !alive($busy->{pid}) }, 'a worker is killed';
    ok soon {
        my @workers = @{status()->{workers}};
        @workers == 2 && !grep { $_->{pid} == $busy->{pid} } @workers;
    }, 'its successor has its place';
    $server->signal('HUP');
    ok soon { join(' ', map { $_->{generation} } @{status()->{workers}}) eq '2 2' }, 'a reload is another generation'
        or diag explain status();
    is $server->stop, 0, 'the server stops';
    is +(run_command(\@STATUS))[0] >> 8, 3, 'and then there is none';
};

done_testing;
