# What ends a worker that has done nothing wrong, and what it calls before it goes.
use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep time);

use Gepok::Test;

gepok_only();

sub slurp { open my $file, '<', $_[0] or return ''; local $/; scalar(<$file>) // '' }

my $PID = 'sub { [200, [], [$$]] }';

# Requests on one connection; what each says.
sub ask {
    my ($server, $count, $target) = @_;
    my $client = $server->connect;
    return map {
        $client->send('GET ' . ($target // '/') . " HTTP/1.1\r\nHost: x\r\n\r\n");
        my $response = $client->response;
        $response->status == 200 ? $response->content : die 'status ' . $response->status . "\n";
    } 1 .. $count;
}

check 'min_reqs_per_child' => sub {
    my $server = server(app => $PID,
        options => {start_servers => 1, max_clients => 1, min_reqs_per_child => 2, max_reqs_per_child => 5});
    my @pids = ask($server, 120);
    my %count;
    $count{$_}++ for @pids;
    # The last one may not be through.
    delete $count{$pids[-1]};
    my @odd = grep { $_ < 2 || $_ > 5 } values %count;
    is_deeply \@odd, [], 'each worker serves two to five requests' or diag "@{[values %count]}";
    my %numbers = map { $_ => 1 } values %count;
    cmp_ok scalar keys %numbers, '>', 1, 'not all of them the same number';
};

check 'max_worker_age' => sub {
    # Tells how old the worker is at least: it was born before its first request.
    my $server = server(
        app     => 'use Time::HiRes (); my $first; '
            . 'sub { my $now = Time::HiRes::time(); $first //= $now; [200, [], [join " ", $$, $now - $first]] }',
        options => {start_servers => 1, max_clients => 1, max_worker_age => 0.4});
    my %late;
    my $change = soon {
        my ($pid, $age) = map {split} ask($server, 1);
        $late{$pid} += $age > 0.4;
        keys %late > 4;
    };
    ok $change, 'workers change as they come of age, and no request fails';
    # However slow the machine is: one request finds the worker too old, and it leaves behind that.
    is_deeply [grep { $_ > 1 } values %late], [], 'none serves on';
};

check 'max_worker_rss' => sub {
    my $server = server(
        app => <<'APP',
my @leak;
sub {
    # Not a constant: perl would share its memory.
    push @leak, chr(65 + @leak % 26) x (1 << 20) if $_[0]{PATH_INFO} eq '/leak';
    open my $statm, '<', '/proc/self/statm' or die $!;
    return [200, [], [join ' ', $$, 4096 * (split ' ', <$statm>)[1]]];
}
APP
        options => {start_servers => 1, max_clients => 1, max_worker_rss => '120M', max_reqs_per_child => 0});
    my %most;
    for (ask($server, 400, '/leak')) {
        my ($pid, $rss) = split;
        $most{$pid} = $rss if $rss > ($most{$pid} // 0);
    }
    cmp_ok scalar keys %most, '>=', 3, 'a leaking app costs workers, but no request';
    my @above = grep { $_ > 1.1 * (120 << 20) } values %most;
    is_deeply \@above, [], 'and never more than a tenth above the limit';
    my ($pid) = map {split} ask($server, 1);
    my %pids = map { (split)[0] => 1 } ask($server, 300);
    cmp_ok scalar keys %pids, '<=', 2, 'one that does not leak stays';
};

# The hook writes one line: its pid, and what its arguments are.
my $HOOK = 'sub { my ($self, $app) = @_; open my $f, ">>", $ENV{EXIT_LOG} or die $!; '
    . 'syswrite $f, join(" ", $$, ref($self) || "none", ref $app) . "\n" }';

my $WAYS = <<'APP';
sub {
    my $env = shift;
    my $way = $env->{PATH_INFO};
    exit 3 if $way eq '/exit';
    $env->{'psgix.harakiri.commit'} = 1 if $way eq '/harakiri';
    if ($way eq '/fork') {
        my $pid = fork // die $!;
        exit 0 if !$pid;
        waitpid $pid, 0;
    }
    return [200, [], [$$]];
};
APP

each_entry {
    my $entry   = shift;
    my $handler = $entry eq 'bin' ? 'none' : 'Gepok';
    my $folder  = scratch();
    my $log     = "$folder/exits";
    my $server  = server(
        entry   => $entry,
        app     => $WAYS,
        env     => {EXIT_LOG => $log},
        options => {start_servers => 1, max_clients => 1, max_reqs_per_child => 10, child_exit => $HOOK});
    my %ends;
    my $gone = sub {
        my ($pid, $why) = @_;
        ok soon(sub { !alive($pid) }), "$why ends the worker";
        $ends{$pid} = $why;
    };
    my @pids = ask($server, 10);
    $gone->($pids[0], 'max_reqs_per_child');
    my ($pid) = ask($server, 1, '/harakiri');
    $gone->($pid, 'psgix.harakiri');
    ($pid) = ask($server, 1);
    is $server->get('/exit')->status, 500, 'exit in the app';
    $gone->($pid, 'exit');
    ($pid) = ask($server, 1);
    kill TERM => $pid;
    $gone->($pid, 'TERM to the worker');
    ($pid) = ask($server, 2, '/fork');
    is $server->stop, 0, 'the server stops';
    $gone->($pid, 'the stop of the server');
    my %calls;
    $calls{(split)[0]}++ for split /\n/, slurp($log);
    is_deeply \%calls, {map { $_ => 1 } keys %ends}, 'each has called child_exit exactly once'
        or diag explain {%calls, ends => \%ends, log => $server->log};
    my %arguments = map { s/^\d+ //r => 1 } split /\n/, slurp($log);
    is_deeply \%arguments, {"$handler CODE" => 1}, 'with the handler and the app';
};

check 'child_exit as a code reference' => sub {
    my $folder = scratch();
    my $server = server(
        entry    => 'new',
        app      => $PID,
        prologue => '$attributes->{child_exit} = sub { open my $f, ">>", $ENV{EXIT_LOG}; print {$f} "@{[ref $_[0]]} $$\n" };',
        env      => {EXIT_LOG => "$folder/exits"},
        options  => {start_servers => 1, max_clients => 1, max_reqs_per_child => 1});
    my ($pid) = ask($server, 1);
    ok soon { slurp("$folder/exits") eq "Gepok $pid\n" }, 'is called';
};

check 'child_exit that fails' => sub {
    for my $code ('die "no\n"', 'exit 5') {
        my $server = server(
            entry   => 'bin',
            app     => "END { print STDERR qq{END \$?\\n} }\n$WAYS",
            options => {start_servers => 1, max_clients => 1, max_reqs_per_child => 2, child_exit => "sub { $code }"});
        my %pids = map { $_ => 1 } ask($server, 6);
        is keys %pids, 3, "$code: the workers are replaced nevertheless";
        # Its successor is there before a worker has come to its end.
        my $tells = $code =~ /exit/ ? qr/END 5/ : qr/child_exit: no/;
        logged $server, $tells, 'the log or the status tells' or diag $server->log;
        # Those of the workers before must be there, or they could be taken for this one's.
        my $status = $code =~ /exit/ ? 5 : 3;
        my $ends   = sub { join '', $server->log =~ /END (\d)/g };
        ok soon { $ends->() =~ /^...$/ }, 'END blocks run';
        is $server->get('/exit')->status, 500, 'behind an exit of the app';
        ok soon { $ends->() =~ /^...$status$/ }, 'as well';
        is $server->stop, 0, 'and the server stops';
    }
};

check 'child_exit that is no code' => sub {
    for my $source ('1 + 1', 'sub {', '{}') {
        for my $entry (entries()) {
            my $port = free_port();
            my @perl = ($^X, map {'-I' . root() . "/blib/$_"} qw(arch lib));
            my @command =
                  $entry eq 'bin' ? (root() . '/blib/script/gepok', '--http-ports', $port, '--child-exit', $source, '-e', $PID)
                : $entry eq 'new' ? (@perl, '-MGepok', '-e', 'Gepok->new(http_ports => shift, child_exit => shift)->run(sub {})',
                $port, $source)
                : (@perl, Gepok::Test::Server::plackup(), qw(-s Gepok -p), $port, '--child-exit', $source, '-e', $PID);
            my ($status, $text) = run_command(\@command);
            ok $status, "$entry, $source: refused at the start" or diag $text;
            like $text, qr/child_exit is defined but not a code block/, 'as it is documented';
        }
    }
};

done_testing;
