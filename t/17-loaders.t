# Every way an app is loaded and run by someone else's code: plackup's loaders, test modules, debuggers, profilers; and
# what a preloaded app takes with it into the workers.
use strict;
use warnings;

use File::Basename qw(dirname);
use Test::More;

use Gepok::Test;

gepok_only();

sub slurp { open my $file, '<', $_[0] or return ''; local $/; scalar(<$file>) // '' }
sub spew { my ($path, $text) = @_; open my $file, '>', $path or die "$path: $!"; print {$file} $text; close $file or die $! }

my @perl = ($^X, map { '-I' . root() . "/blib/$_" } qw(arch lib));
my $plackup = Gepok::Test::Server::plackup();

# What the server says, also while it is being restarted.
sub content { my ($server, $target) = @_; my $r = eval { $server->get($target // '/') }; $r ? $r->content : '' }

# As many workers as that at once: what each tells.
my $meeting = 0;
sub meet {
    my ($server, $count) = @_;
    my $name    = ++$meeting;
    my @clients = map { $server->connect } 1 .. $count;
    $_->send("GET /meet?$name=$count HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") for @clients;
    return map { json($_->response->content) } @clients;
}

# Whether a process waits for something.
sub sleeps { slurp("/proc/$_[0]/stat") =~ /^\d+ \(.*\) S /s }

# A server of t/apps/loaded.psgi, and the folder of its traces.
sub loaded {
    my %args   = @_;
    my $folder = scratch();
    my $env    = delete $args{env};
    return (server(app => app_file('loaded'), env => {GEPOK_TEST_FOLDER => "$folder", %{$env // {}}}, %args), $folder);
}

for my $switch (qw(-r -R)) {
    check "plackup $switch" => sub {
        my $folder = scratch();
        my $watched = $switch eq '-r' ? "$folder/lib" : "$folder/elsewhere";
        mkdir $watched or die $!;
        spew("$watched/Served.pm", 'package Served; sub text {"text 0"} 1;');
        spew("$folder/app.psgi", "use lib '$watched'; use Served; sub { [200, [], [Served::text()]] }");
        # The folder beside the app is watched by -r itself.
        my $server = server(entry => 'plackup', app => "$folder/app.psgi", dir => "$folder", options => {start_servers => 2},
            args => $switch eq '-R' ? ['-R', $watched] : ['-r']);
        is content($server), 'text 0', 'the first code';
        # Its first look at the folders, behind which it sleeps: a change before that is none.
        ok soon { $server->log =~ /^Watching /m && sleeps($server->pid) }, 'it watches' or diag $server->log;
        for my $round (1 .. 3) {
            my @before = $server->descendants;
            spew("$watched/Served.pm", 'package Served; sub text {"text ' . $round . '"} 1;' . "\n" x $round);
            ok soon(sub { content($server) eq "text $round" }, 60), "change $round is served" or diag $server->log;
            ok soon { !grep { alive($_) } @before }, 'nothing is left of the server before' or diag "@before";
        }
        my @all = ($server->pid, $server->descendants);
        $server->signal('TERM');
        ok soon { $server->wait_exit(0); !grep { alive($_) } @all }, 'TERM ends all';
    };
}

for my $workers (2, 0) {
    check "-L Delayed, start_servers=$workers" => sub {
        my ($server, $folder) = loaded(entry => 'plackup', args => ['-L', 'Delayed'], options => {start_servers => $workers});
        my @seen = meet($server, $workers || 1);
        is_deeply [map { $_->{pid} } @seen], [map { $_->{now} } @seen], 'each process that serves has loaded the app itself';
        my %pids = map { $_->{pid} => 1 } @seen;
        is keys %pids, $workers || 1, 'there are so many';
        is $server->stop, 0, 'the end';
    };

    check "-L Shotgun, start_servers=$workers" => sub {
        my $folder = scratch();
        spew("$folder/app.psgi", 'my $pid = $$; sub { [200, ["X-Length" => $_[0]{CONTENT_LENGTH} // 0], ["one $pid"]] }');
        my $server = server(entry => 'plackup', app => "$folder/app.psgi", args => ['-L', 'Shotgun'],
            options => {start_servers => $workers});
        my %pids;
        for (1 .. 5) {
            my ($word, $pid) = split / /, content($server);
            is $word, 'one', 'served';
            $pids{$pid}++;
        }
        is keys %pids, 5, 'each request in a process of its own';
        is $server->post('/', 'abc')->field('X-Length'), 3, 'with its content';
        spew("$folder/app.psgi", 'sub { [200, [], ["another"]] }');
        is content($server), 'another', 'a change is served at once';
        spew("$folder/app.psgi", 'sub { die "in shotgun\n" }');
        is $server->get('/')->status, 500, 'an app that dies';
        spew("$folder/app.psgi", 'sub { my $r = shift; sub { my $w = $_[0]->([200, []]); $w->write("a"); $w->write("b"); $w->close } }');
        is content($server), 'ab', 'a streaming app';
        ok !grep({ alive($_) } keys %pids), 'no process stays';
        is $server->stop, 0, 'the end';
    };
}

check 'PLACK_SERVER=Gepok' => sub {
    my $port   = free_port();
    my $server = server(command => [@perl, $plackup, '-o', '127.0.0.1', '-p', $port, '-e', 'sub { [200, [], [$_[0]{"gepok.connect_time"} ? "Gepok" : "another"]] }'],
        env => {PLACK_SERVER => 'Gepok'}, port => $port, listen => 'none');
    is content($server), 'Gepok', 'plackup takes it without -s';
};

check 'Plack::Test' => sub {
    my $folder = scratch();
    spew("$folder/t.pl", <<'END');
use strict; use warnings; use Test::More; use Plack::Test; use HTTP::Request::Common;
my $app = sub { my $env = shift; read $env->{'psgi.input'}, my $content, $env->{CONTENT_LENGTH} // 0;
    [200, ['X-Server' => $env->{'gepok.connect_time'} ? 'Gepok' : 'another'], [$env->{REQUEST_METHOD}, " $$ $content"]] };
for my $round (1 .. 3) {
    test_psgi $app, sub {
        my $call = shift;
        my $response = $call->(GET '/');
        is $response->header('X-Server'), 'Gepok', 'test_psgi';
        isnt +(split / /, $response->content)[1], $$, 'in another process';
        like $call->(POST '/', Content => 'abc')->content, qr/^POST \d+ abc$/, 'POST';
    };
}
my $test = Plack::Test->create($app);
is $test->request(GET '/')->header('X-Server'), 'Gepok', 'create';
undef $test;
done_testing;
END
    my ($status, $out) = run_command([@perl, "$folder/t.pl"],
        env => {PLACK_TEST_IMPL => 'Server', PLACK_SERVER => 'Gepok'}, seconds => 60);
    is $status, 0, 'PLACK_TEST_IMPL=Server PLACK_SERVER=Gepok' or diag $out;
};

check 'Test::TCP' => sub {
    my $folder = scratch();
    spew("$folder/t.pl", <<'END');
use strict; use warnings; use Test::More; use Test::TCP; use LWP::UserAgent; use Gepok;
for my $workers (2, 0) {
    my $server = Test::TCP->new(code => sub {
        Gepok->new(daemonize => 0, http_ports => ["127.0.0.1:$_[0]"], start_servers => $workers)->run(sub { [200, [], ["from $$"]] });
        exit;
    });
    my $response = LWP::UserAgent->new->get('http://127.0.0.1:' . $server->port . '/');
    like $response->content, qr/^from \d+/, "start_servers=$workers";
    my ($pid) = $response->content =~ /(\d+)/;
    $server->stop;
    ok !kill(0 => $pid), 'it is gone when stop returns';
}
done_testing;
END
    my ($status, $out) = run_command([@perl, "$folder/t.pl"], seconds => 60);
    is $status, 0, 'starts and stops it' or diag $out;
};

# A server under a debugger or profiler: [switches of perl, environment].
sub under {
    my ($workers, $switches, $env) = @_;
    my $folder = scratch();
    my $port   = free_port();
    my $server = server(listen => 'none', port => $port, dir => "$folder", env => {GEPOK_TEST_FOLDER => "$folder", %$env},
        command => [@perl, @$switches, $plackup, '-s', 'Gepok', '-E', 'deployment', '--listen', "127.0.0.1:$port",
            '--start-servers', $workers, app_file('loaded')]);
    my $seen = json($server->get('/')->content);
    $server->get('/seeded') for 1 .. 5;
    is $server->stop, 0, 'it ends with status 0' or diag $server->log;
    is scalar(() = slurp("$folder/ends") =~ /^$seen->{now} 0$/mg), 1, 'END blocks run';
    return ($seen, $folder, $server);
}

check 'perl -d' => sub {
    my ($seen) = under(0, ['-d'], {PERLDB_OPTS => 'NonStop=1 TTY=/dev/null'});
    ok $seen->{debug}, 'the debugger is on';
};

for my $workers (0, 2) {
    check "Devel::Cover, start_servers=$workers" => sub {
        plan skip_all => 'Devel::Cover is not installed' unless eval { require Devel::Cover };
        my $db = scratch();
        my ($seen, $folder) = under($workers, ["-MDevel::Cover=-silent,1,-db,$db/db,+ignore,.*,-select,loaded.psgi"], {});
        my ($status, $report) = run_command([$^X, '-MDevel::Cover::DB', '-e', <<'END', "$db/db"]);
my $db = Devel::Cover::DB->new(db => shift)->merge_runs;
for my $file ($db->cover->items) { print "$file\n" if $file =~ /loaded\.psgi/ && $db->cover->file($file)->items }
END
        like $report, qr/loaded\.psgi/, 'the app is in its report' or diag $report;
    };
    check "Devel::NYTProf, start_servers=$workers" => sub {
        plan skip_all => 'Devel::NYTProf is not installed' unless -e (eval { require Devel::NYTProf::Core; $INC{'Devel/NYTProf/Core.pm'} } // '');
        my $out = scratch();
        my ($seen, $folder) = under($workers, ['-d:NYTProf'], {NYTPROF => "addpid=1:file=$out/out"});
        # Either worker may take a request, and each process writes a profile of its own.
        my ($status, $report) = run_command([$^X, '-MDevel::NYTProf::Data', '-e', <<'END', glob "$out/out.*"]);
my $calls = 0;
for my $file (@ARGV) {
    my $subs = Devel::NYTProf::Data->new({filename => $file, quiet => 1})->subname_subinfo_map;
    $calls += $subs->{$_}->calls for grep {/loaded_2epsgi::json$/} keys %$subs;
}
print "json $calls\n";
END
        like $report, qr/^json 6$/m, "the app's calls are in its reports" or diag $report;
    };
}

# What an app sees under plackup it sees under the command.
my %told;
for my $way (['plackup'], ['bin'], ['bin', '--no-preload-app']) {
    my ($entry, @args) = @$way;
    for my $workers (2, 0) {
        check "@$way, start_servers=$workers" => sub {
            my ($server, $folder) = loaded(entry => $entry, args => \@args, options => {start_servers => $workers});
            my @seen    = meet($server, $workers || 1);
            my $preload = !@args || !$workers;
            for my $seen (@seen) {
                is $seen->{bin},  dirname(app_file('loaded')), 'FindBin';
                is $seen->{file}, app_file('loaded'),          '__FILE__';
                is $seen->{name}, app_file('loaded'),          '$0 while it is loaded';
                is $seen->{data}, "data of the app\n",         'DATA';
                is $seen->{env},  'deployment',                'PLACK_ENV';
                is_deeply $seen->{words}, [], '@ARGV is empty while it is loaded';
                is $seen->{status}, 3 << 8, 'system $^X runs a perl';
                is $seen->{pid}, ($preload ? $server->pid : $seen->{now}), 'the process that has loaded it';
                is $seen->{package}, ($told{package} //= $seen->{package}), 'its package';
            }
            is scalar(() = slurp("$folder/loads") =~ /\n/g), ($preload ? 1 : $workers), 'so often is it loaded';
            my $worker = $seen[0]{now};
            is $server->stop, 0, 'the end';
            my %ends;
            $ends{$_}++ for slurp("$folder/ends") =~ /^(\d+) 0$/mg;
            my %expected = map { $_ => 1 } (map { $_->{now} } @seen), $preload ? $server->pid : ();
            is_deeply \%ends, \%expected, 'END blocks run once in each worker, and once where it was preloaded';
            my @lines = split /\n/, slurp("$folder/log");
            is scalar(grep { $_ eq 'loaded' } @lines), ($preload ? 1 : $workers),
                'what was in the buffer of a file at the fork is written once';
            is scalar(grep {/^\/meet \d+$/} @lines), $workers || 1, 'what was in it at the end is written';
        };
    }
}

check 'what a preloaded app takes along' => sub {
    my ($server, $folder) = loaded(entry => default_entry(), options => {start_servers => 3});
    my @seen = meet($server, 3);
    my %random = map { $_->{random} => 1 } @seen;
    is keys %random, 3, 'rand goes its own way in each worker';
    my %seeded = map { $_ => 1 } map { content($server, '/seeded') } 1 .. 6;
    is keys %seeded, 1, 'srand in the app counts';

    SKIP: {
        skip 'DBD::SQLite is not installed', 3 unless eval { require DBD::SQLite };
        my @clients = map { $server->connect } 1 .. 30;
        my $number = 0;
        $_->send("GET /insert?" . ++$number . " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") for @clients;
        is_deeply [map { $_->response->status } @clients], [(200) x 30], 'its database handle works in the workers';
        is json(content($server, '/insert?31'))->[0], 31, 'nothing is lost';
        kill KILL => $seen[0]{now};
        soon { !alive($seen[0]{now}) };
        is json(content($server, '/insert?32'))->[0], 32, 'after the death of a worker';
    }
    is $server->stop, 0, 'the end';
};

check 'an app that can not be loaded in a worker' => sub {
    my $folder = scratch();
    my $server = server(entry => 'bin', args => ['--no-preload-app'], options => {start_servers => 1}, ready => 0,
        app => 'die "will not load\n";');
    logged $server, qr/will not load/, 'the log tells why' or diag $server->log;
    my $status = $server->wait_exit(15);
    ok !defined $status || $status != 0, 'no success';
};

done_testing;
