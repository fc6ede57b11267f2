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

# A file's records, as Gepok documents them; those that are free are left out.
sub records {
    open my $file, '<:raw', $_[0] or die "$_[0]: $!";
    read $file, my $bytes, -s $file;
    my @fields  = qw(pid born requests begun changed state zero);
    my @records = map { my %record; @record{@fields} = unpack 'NNSNNCC', $_; \%record } unpack '(a20)*', $bytes;
    $_->{state} = chr $_->{state} for @records;
    return grep { $_->{pid} } @records;
}

each_entry {
    my $entry  = shift;
    my $path   = "$folder/board";
    my $server = server(entry => $entry, app => app_file('process'),
        options => {start_servers => 2, max_clients => 5, scoreboard_path => $path, pid_path => $pid});
    is -s $path, 6 * 20, 'a record for each client that there may be, and one more';
    ok soon { 2 == grep { $_->{state} eq '_' } records($path) }, 'two workers wait';
    my @pids = sort { $a <=> $b } map { $_->{pid} } @{status()->{workers}};
    is_deeply [sort { $a <=> $b } map { $_->{pid} } records($path)], \@pids, 'the same as in the status';
    cmp_ok abs($_->{born} - time), '<', 60, 'when it was born' for records($path);

    my $work   = $server->folder . '/work';
    my $client = $server->connect;
    $client->send("GET /work?$work HTTP/1.1\r\nHost: x\r\n\r\n");
    ok soon { grep { $_->{state} eq 'W' } records($path) }, 'one has a request';
    my ($busy) = grep { $_->{state} eq 'W' } records($path);
    is $busy->{requests}, 1, 'its first';
    cmp_ok abs($busy->{begun} - time), '<', 60, 'since when';
    truncate $path, 0 or die $!;
    touch("$work-go");
    is $client->response->status, 200, 'it is answered, whatever others do to the file';
    ok soon { -s $path && !grep { $_->{state} ne '_' } records($path) }, 'and the file tells the truth again';

    # Nobody touches it while nothing happens.
    my $changed = (stat $path)[9];
    ok soon { time - $changed > 2.5 && $changed == (stat $path)[9] or $changed = (stat $path)[9], 0 }, 'then it rests';

    kill KILL => $busy->{pid};
    ok soon { my @now = records($path); @now == 2 && !grep { $_->{pid} == $busy->{pid} } @now }, 'a successor is told';
    is $server->stop, 0, 'the server stops';
    ok !-e $path, 'and takes the file with it';

    $server = server(entry => $entry, app => app_file('process'),
        options => {start_servers => 1, max_clients => 9, scoreboard_path => 0, pid_path => $pid});
    $work = $server->folder . '/work';
    my @clients = map { my $c = $server->connect; $c->send("GET /work?$work HTTP/1.1\r\nHost: x\r\n\r\n"); $c } 1 .. 4;
    ok soon { status()->{queued} == 3 }, 'requests wait';
    sleep 0.5;
    is scalar @{status()->{workers}}, 1, 'but without a scoreboard the pool stays as it was started';
    touch("$work-go");
    is $_->response->status, 200, 'and all are answered' for @clients;
};

done_testing;
