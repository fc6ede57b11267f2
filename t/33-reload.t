# HUP: a new generation of workers is tried while the old one serves, and replaces it, or not.
use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep time);

use Gepok::Test;

gepok_only();

# Apps that answer with their version and pid. What is under /bad can be made to fail.
sub app {
    my ($version, $more) = @_;
    return sprintf <<'APP', $version, $more // '';
my $version = '%s';
%s
sub {
    my ($path, $begun) = @{$_[0]}{qw(PATH_INFO QUERY_STRING)};
    if ($path eq '/slow') {
        if (length $begun) { open my $file, '>', $begun or die $! }
        select undef, undef, undef, 0.5;
    }
    return [$path eq '/check' && $version =~ /bad/ ? 503 : 200, [], ["$version $$"]];
}
APP
}

my $round = 0;

# A server whose workers load the app from a file that can be rewritten: (server, writer of the file).
sub delayed {
    my ($entry, %options) = @_;
    my $folder = scratch();
    my $write  = sub { Gepok::Test::Server::spew("$folder/app.psgi", "use strict;\nuse warnings;\n" . app(@_)) };
    $write->('v1');
    my $server = server(
        entry   => $entry,
        app     => "$folder/app.psgi",
        args    => $entry eq 'bin' ? ['--no-preload-app'] : ['-L', 'Delayed'],
        options => {start_servers => 2, %options});
    $server->{scratch} = $folder;
    return ($server, $write);
}

sub version { (split / /, $_[0]->get('/')->content)[0] }

# Has a slow request in flight on that connection, or one of its own.
sub begin_slow {
    my ($server, $client) = @_;
    my $begun = $server->folder . '/begun-' . ++$round;
    $client //= $server->connect;
    $client->send("GET /slow?$begun HTTP/1.1\r\nHost: x\r\n\r\n");
    soon { -e $begun } or die "the request is not in flight\n";
    return $client;
}

for my $entry (qw(plackup bin)) {
    check "new code through $entry" => sub {
        my ($server, $write) = delayed($entry, keepalive_timeout => 100);
        my $idle = $server->connect;
        $idle->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        like $idle->response->content, qr/^v1 /, 'the first version serves';
        my $slow = begin_slow($server);
        $write->('v2');
        like $server->get('/')->content, qr/^v1/, 'which nothing changes but a HUP';
        $server->signal('HUP');
        ok soon { version($server) eq 'v2' }, 'HUP brings the second';
        like $slow->response->content, qr/^v1 /, 'what was in flight is finished by the worker that began it';
        # An old one may get a request until each has been told to leave.
        ok soon { (() = $server->descendants) == 3 }, 'there are two workers again, and a core' or diag join ' ',
            $server->descendants;
        $idle->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        like $idle->response->content, qr/^v2 /, 'and connections are kept';
        is_deeply [grep { version($server) ne 'v2' } 1 .. 10], [], 'no old one serves';
        is $server->stop, 0, 'status 0';
        is_deeply [grep { !/runs as root|\[notice\]/ } split /\n/, $server->log], [], 'nothing to complain about';
    };
}

check 'new code that is broken' => sub {
    my ($server, $write) = delayed('bin', check_path => '/check');
    my $pids = sub { my %seen; $seen{$server->get('/')->content}++ for 1 .. 20; join ' ', sort keys %seen };
    is version($server), 'v1', 'the first version serves';
    my $core = ($server->descendants)[0];
    my %broken = (
        'a syntax error'       => ['v2', 'my $x = ;'],
        'a module that is missing' => ['v2', 'use No::Such::Module;'],
        'a die'                => ['v2', 'die "by intent\n";'],
        'an exit'              => ['v2', 'exit 0;'],
        'a kill'               => ['v2', 'kill KILL => $$;'],
        'a check that fails'   => ['bad'],
    );
    my $failures = 0;
    for my $what (sort keys %broken) {
        $write->(@{$broken{$what}});
        $server->signal('HUP');
        $failures++;
        my @answers;
        ok soon {
            push @answers, version($server);
            (() = $server->log =~ /the reload failed/g) == $failures
        }, "$what: the log says that the reload failed" or diag $server->log;
        is_deeply [grep { $_ ne 'v1' } @answers], [], 'no client sees it';
    }
    # Two workers were tried each time, and each would say it.
    logged_times $server, qr/by intent/, 1, 'a cause is logged once';
    logged $server, qr/the reload failed, and nothing has changed: the app can't be loaded: .* by intent$/m, 'in the words of the app';
    logged $server, qr/syntax error.*No::Such::Module|No::Such::Module.*syntax error/s, 'and why';
    logged $server, qr{check_path /check was answered with 503}, 'as well for the check';
    like $server->get('/slow')->content, qr/^v1/, 'the old workers serve on';
    $write->('v3');
    $server->signal('HUP');
    ok soon { version($server) eq 'v3' }, 'what is mended is loaded';
    is +($server->descendants)[0], $core, 'by the same core';
    ok soon { (() = $server->descendants) == 3 }, 'and nothing is left of the others';
    is $server->stop, 0, 'status 0';
};

check 'HUP behind HUP' => sub {
    my ($server, $write) = delayed('bin');
    my $folder = $server->folder;
    is version($server), 'v1', 'the first version serves';
    $write->('v2', "{ open my \$file, '>', '$folder/loading-' . \$\$ or die \$! }\n"
        . "select undef, undef, undef, 0.02 until -e '$folder/go';");
    $server->signal('HUP');
    ok soon { 2 == (() = glob "$folder/loading-*") }, 'new workers load the app';
    is scalar(() = $server->descendants), 5, 'beside the old ones';
    $write->('v3');
    $server->signal('HUP');
    Gepok::Test::Server::spew("$folder/go", '');
    ok soon { version($server) eq 'v3' }, 'the last one counts';
    ok soon { (() = $server->descendants) == 3 }, 'and nobody else is left';
    is $server->stop, 0, 'status 0';
};

check 'TERM during a reload' => sub {
    my ($server, $write) = delayed('bin', start_servers => 1);
    is version($server), 'v1', 'the first version serves';
    $write->('v2', 'select undef, undef, undef, 60;');
    $server->signal('HUP');
    ok soon { (() = $server->descendants) == 3 }, 'the new generation loads its app for long';
    is version($server), 'v1', 'the old one serves';
    my $start = time;
    my @all   = $server->descendants;
    is $server->stop, 0, 'status 0';
    cmp_ok time - $start, '<', 25, 'without waiting for it';
    ok soon { !grep { alive($_) } @all }, 'all are gone';
};

each_entry {
    my $entry  = shift;
    my $server = server(entry => $entry, app => app('v1'), options => {start_servers => 2});
    my %before = map { $server->get('/')->content => 1 } 1 .. 20;
    $server->signal('HUP');
    ok soon { !$before{$server->get('/')->content} }, 'a preloaded app: HUP replaces the workers';
    ok soon { (() = $server->descendants) == 3 }, 'all of them';
    is_deeply [grep { $before{$_} } map { $server->get('/')->content } 1 .. 10], [], 'no old one serves';
    is $server->stop, 0, 'status 0';
};

check 'spawn_interval' => sub {
    my $start = time;
    my ($server, $write) = delayed('bin', start_servers => 3, spawn_interval => 1.5);
    ok soon { (() = $server->descendants) == 4 }, 'all workers are born';
    cmp_ok time - $start, '>', 3, 'one after the other';
    $write->('v2');
    $server->signal('HUP');
    my %both;
    my $most = 0;
    ok soon(sub {
        my @there = $server->descendants;
        $most = @there if @there > $most;
        my @slow = map { my $client = $server->connect; $client->send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"); $client }
            1 .. 3;
        $both{join ' ', sort map { (split / /, $_->response->content)[0] } @slow}++;
        $both{'v2 v2 v2'};
    }), 'HUP brings the new version';
    ok grep({ /v1/ && /v2/ } keys %both), 'old and new ones serve beside each other' or diag explain \%both;
    # The master, of which there is no count, has the core and three workers.
    cmp_ok $most, '<=', 6, 'beside one that is tried and one that finishes its last request';
    ok soon { (() = $server->descendants) == 4 }, 'and are as many as before';

    my @workers = $server->descendants;
    $server->signal('USR1');
    ok soon { (() = $server->descendants) == 3 }, 'USR1: one worker leaves';
    is version($server), 'v2', 'the others serve on';
    is $server->wait_exit, 0, 'then all, with status 0';
};

check 'USR1 without spawn_interval' => sub {
    my $server = server(app => app('v1'), options => {start_servers => 2});
    my $slow   = begin_slow($server);
    $server->signal('USR1');
    my $response = $slow->response;
    is $response->status, 200, 'is as graceful as TERM';
    ok $response->closes, 'and says that the connection ends';
    is $server->wait_exit, 0, 'status 0';
};

each_entry {
    my $entry  = shift;
    my $server = server(entry => $entry, app => app('v1'), options => {start_servers => 2});
    my $count  = sub { my $n = shift; soon { (() = $server->descendants) == $n + 1 } };
    ok $count->(2), 'two workers';
    $server->signal('TTIN');
    ok $count->(3), 'TTIN: one more';
    $server->signal('TTOU');
    ok $count->(2), 'TTOU: one less';
    for (1 .. 3) { $server->signal('TTOU'); sleep 0.05 }
    ok $count->(1), 'but never none';
    is $server->get('/')->status, 200, 'which serves';
    my $before = $server->get('/')->content;
    $server->signal('WINCH');
    $server->signal('HUP');
    ok soon { $server->get('/')->content ne $before and (() = $server->descendants) == 2 }, 'HUP keeps the number';
    is $server->get('/')->status, 200, 'and WINCH does nothing';
    is $server->stop, 0, 'status 0';
};

check 'graceful_timeout' => sub {
    my $server = server(app => 'sub { select undef, undef, undef, 60; [200, [], []] }',
        options => {start_servers => 1, graceful_timeout => 0.5});
    my $client = $server->connect;
    $client->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    ok $client->silent(0.2), 'a request is in flight';
    my $start = time;
    $server->signal('TERM');
    is $server->wait_exit, 0, 'it ends nevertheless';
    cmp_ok time - $start, '>', 0.4, 'not at once';
    cmp_ok time - $start, '<', 20,  'but before the request has ended';
};

check 'TERM to one worker' => sub {
    my $server = server(app => app('v1'), options => {start_servers => 1});
    my ($pid)  = $server->get('/')->content =~ /(\d+)$/;
    my $slow   = begin_slow($server);
    kill TERM => $pid;
    is $slow->response->content, "v1 $pid", 'it finishes its request';
    ok soon { !alive($pid) }, 'and leaves';
    $slow->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    like $slow->response->content, qr/^v1 (?!$pid$)/, 'another serves the connection';
};

for my $case (['plackup', '-L', 'Delayed'], ['bin', '--no-preload-app']) {
    my ($entry, @args) = @$case;
    check "an app that can't be loaded by workers of $entry" => sub {
        my $server = server(entry => $entry, args => \@args, app => 'die "by intent\n"; sub { }',
            options => {start_servers => 2}, ready => 0);
        my $status = $server->wait_exit(60);
        ok $status, 'ends the start with a failure';
        is $status >> 8, 2, 'of status 2' if $entry eq 'bin';
        logged $server, qr/no worker can serve: the app can't be loaded: .*by intent/, 'and with the reason';
        logged_times $server, qr/by intent/, 1, 'which is said once';
    };
}

check 'a worker that crashes before it serves' => sub {
    my $folder = scratch();
    my $server = server(
        entry => 'bin', args => ['--no-preload-app'], options => {start_servers => 2, err_respawn_interval => 0.4},
        app   => "open my \$f, '>>', '$folder/births'; print {\$f} time, \"\\n\"; close \$f;\n"
            . "if (-e '$folder/broken') { kill KILL => \$\$ }\nsub { [200, [], [\$\$]] }\n");
    is $server->get('/')->status, 200, 'it serves';
    ok soon { (() = $server->descendants) == 3 }, 'with two workers';
    my $births = sub { open my $f, '<', "$folder/births" or return 0; my @lines = <$f>; scalar @lines };
    ok soon { $births->() == 2 }, 'born once';
    Gepok::Test::Server::spew("$folder/broken", '');
    my ($victim) = $server->get('/')->content;
    my $began = time;
    kill KILL => $victim;
    ok soon { $births->() > 4 }, 'when none can be born any more, it is tried again';
    # The first at once, each other behind a pause.
    my $count = $births->() - 2;
    cmp_ok $count, '<=', 2 + (time - $began) / 0.4, 'but not in a hurry';
    is $server->get('/')->status, 200, 'the one that is left serves';
    unlink "$folder/broken";
    ok soon { (() = $server->descendants) == 3 }, 'and gets company as soon as that goes';
};

done_testing;
