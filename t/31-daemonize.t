# Going to the background: the command returns when a worker has loaded the app, or tells why none can.
use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep time);

use Gepok::Test;
use Gepok::Test::Authority;

gepok_only();

sub slurp { open my $file, '<', $_[0] or return ''; local $/; scalar(<$file>) // '' }
sub touch { open my $file, '>', $_[0] or die "$_[0]: $!" }

# An app that says when it is being loaded, waits until it may go on, and perhaps dies then.
my $APP = <<'APP';
my $folder = '%s';
{ open my $file, '>', "$folder/loading" or die $! }
select undef, undef, undef, 0.02 until -e "$folder/go";
die "by intent\n" if -e "$folder/broken";
sub { [200, [], ["loaded"]] }
APP

# A server on its way to the background that loads the app behind that: (server, folder of its files).
sub awaited {
    my ($entry, %how) = @_;
    my $folder = scratch();
    my $path   = "$folder";
    my $server = server(
        entry   => $entry,
        app     => sprintf($APP, $path),
        ready   => 0,
        listen  => ['tcp', 'unix'],
        options => {start_servers => 2, daemonize => 1, pid_path => "$path/pid", scoreboard_path => "$path/board",
            error_log_path => '', %{$how{options} // {}}},
        args    => [$entry eq 'bin' ? '--no-preload-app' : ('-L', 'Delayed')]);
    $server->{scratch} = $folder;
    return ($server, $path);
}

# Ends the server that is in the background.
sub end {
    my ($server, $folder) = @_;
    ok scalar($server->family), 'it lives';
    kill TERM => slurp("$folder/pid") =~ /(\d+)/;
    ok soon { !$server->family }, 'TERM ends it';
}

# Nothing is left of it.
sub nothing {
    my ($server, $folder) = @_;
    ok soon { !$server->family }, 'no process is left' or diag join ' ', $server->family;
    is_deeply [grep { -e } "$folder/pid", "$folder/board", $server->path], [], 'no pid file, scoreboard or socket either';
    ok !eval { $server->connect('tcp'); 1 }, 'and nobody listens';
}

for my $entry (qw(plackup bin)) {
    for my $workers (2, 0) {
        my $name = "$entry, start_servers=$workers";
        check "$name: it returns when the app is loaded" => sub {
            my ($server, $folder) = awaited($entry, options => {start_servers => $workers});
            ok soon { -e "$folder/loading" }, 'the app is being loaded';
            ok !defined $server->wait_exit(0.3), 'the command waits';
            touch("$folder/go");
            is $server->wait_exit(60), 0, 'and returns with status 0 when that is done' or diag $server->log;
            is $server->get('/')->content, 'loaded', 'it serves';
            end($server, $folder);
        };
        check "$name: an app that can't be loaded" => sub {
            my ($server, $folder) = awaited($entry, options => {start_servers => $workers});
            ok soon { -e "$folder/loading" }, 'the app is being loaded';
            touch("$folder/$_") for qw(broken go);
            my $status = $server->wait_exit(60);
            ok $status, 'the command fails';
            is $status >> 8, 2, 'with status 2' if $entry eq 'bin';
            logged $server, qr/by intent/, 'and tells why';
            nothing($server, $folder);
        };
    }
    check "$entry: an app that can't be loaded, and an error log" => sub {
        my $logs = scratch();
        my ($server, $folder) = awaited($entry, options => {error_log_path => "$logs/errors"});
        touch("$folder/$_") for qw(broken go);
        ok $server->wait_exit(60), 'the command fails';
        logged $server, qr/the app can't be loaded: .*by intent/s, 'who has started it is told why';
        logged $server, qr/no worker can serve/, 'and that this is the end';
        like slurp("$logs/errors"), qr/the app can't be loaded: .*by intent/s, 'so is the log';
        nothing($server, $folder);
    };
    check "$entry: it is given up" => sub {
        for my $signal (qw(INT KILL)) {
            my ($server, $folder) = awaited($entry);
            ok soon { -e "$folder/loading" }, 'the app is being loaded';
            $server->signal($signal);
            is $server->wait_exit, {INT => 2, KILL => 9}->{$signal}, "$signal ends the command at once";
            nothing($server, $folder);
        }
    };
}

check 'an exception in the class' => sub {
    my $folder = scratch();
    touch("$folder/$_") for qw(broken go);
    my $port = free_port();
    Gepok::Test::Server::spew("$folder/app.psgi", sprintf $APP, "$folder");
    my ($status, $text) = run_command([
        $^X, (map { '-I' . root() . "/blib/$_" } qw(arch lib)), '-MGepok', '-MPlack::Loader', '-e', <<"SCRIPT"]);
require Plack::Loader::Delayed;
my \$loader = Plack::Loader::Delayed->new;
\$loader->preload_app(sub { require Plack::Util; Plack::Util::load_psgi('$folder/app.psgi') });
my \$server = \$loader->load('Gepok', host => '127.0.0.1', port => $port, daemonize => 1, pid_path => '$folder/pid', scoreboard_path => '');
eval { \$loader->run(\$server); 1 } and exit 0;
print STDERR "caught: \$@";
exit 7;
SCRIPT
    is $status, 7 << 8, 'the caller can catch it, and its exit status is that of the command' or diag $text;
    like $text, qr/by intent/, 'the reason is told';
    like $text, qr/^caught: no worker can serve/m, 'and what follows';
    ok !-e "$folder/pid", 'there is no pid file';
};

SKIP: {
    my ($script) = grep { -x } map {"$_/script"} split /:/, $ENV{PATH};
    skip 'script (of util-linux or bsdutils) is missing', 1 if !$script || system "$script -qec true /dev/null </dev/null >/dev/null 2>&1";
    for my $entry (qw(plackup bin)) {
        check "$entry: a terminal" => sub {
            my $folder = scratch();
            my $path   = "$folder";
            Gepok::Test::Server::spew("$path/app.psgi", sprintf $APP, $path);
            touch("$path/go");
            my $port    = free_port();
            my @gepok   = $entry eq 'bin' ? (root() . '/blib/script/gepok', '--no-preload-app')
                : ($^X, (map { '-I' . root() . "/blib/$_" } qw(arch lib)), Gepok::Test::Server::plackup(), qw(-s Gepok -L Delayed));
            my $command = join ' ', @gepok, "--http-ports=127.0.0.1:$port", '--start-servers=1', '--max-clients=1', '--daemonize',
                "--pid-path=$path/pid", '--scoreboard-path=0', "$path/app.psgi";
            # Without a hang-up: the terminal goes as the command returns.
            my ($status, $text) = run_command([$script, '-qec', "$command; exit 5", '/dev/null']);
            is $status, 5 << 8, 'the command returns' or diag $text;
            my ($master) = slurp("$path/pid") =~ /(\d+)/ or return fail 'it runs';
            my @all = ($master, do { my $it = bless {pid => $master}, 'Gepok::Test::Server'; my @d = $it->descendants; $it->{pid} = 0; @d });
            is @all, 3, 'master, core and worker';
            my %open = map { (readlink($_) // '') => $_ } map { glob "/proc/$_/fd/[012]" } @all;
            is_deeply [grep {/pts|tty/} keys %open], [], 'none has the terminal open' or diag explain \%open;
            ok soon { eval { Gepok::Test::Connection->new(port => $port); 1 } }, 'it serves';
            kill TERM => $master;
            ok soon { !grep { alive($_) } @all }, 'TERM ends it';
            touch("$path/broken");
            ($status, $text) = run_command([$script, '-qec', $command, '/dev/null']);
            ok $status, 'a start that fails';
            like $text, qr/by intent/, 'is told there';
        };
    }
}

check 'two servers of one name' => sub {
    my $home  = scratch();
    my $name  = "same-$$";
    my $board = ($> ? $home : '/var/run') . "/$name.scoreboard";
    my $start = sub {
        my ($number, @more) = @_;
        my $server = server(
            entry => 'bin', ready => 0, app => 'sub { [200, [], [$$]] }', env => {HOME => "$home"}, options => {start_servers => 1},
            args => ['--daemonize', "--name=$name", "--pid-path=$home/$number.pid", @more]);
        return ($server, $server->wait_exit(60));
    };
    my ($first, $status) = $start->(1);
    is $status, 0, 'the first one runs' or diag $first->log;
    ok -s $board, 'and has a scoreboard';
    my $inode = (stat _)[1];
    (my $second, $status) = $start->(2);
    is $status, 0, 'the second runs without one' or diag $second->log;
    logged $second, qr{the scoreboard file '\Q$board\E' can't be written: .* 'scoreboard_path' gives}, 'and says how it can have one';
    is((stat $board)[1], $inode, 'the scoreboard stays that of the first');
    (my $third, $status) = $start->(3, "--scoreboard-path=$board");
    is $status, 2 << 8, 'one that is told to write that very file does not start';
    logged $third, qr{^gepok: the scoreboard file '\Q$board\E' can't be written: .* which is running$}m, 'and says why';
    my $gepok = root() . '/blib/script/gepok';
    my $worker = $first->get('/')->content;
    is system($gepok, 'restart', "--pid-path=$home/1.pid"), 0, 'the first can begin anew';
    ok soon { !alive($worker) }, 'with the same file' or diag $first->log;
    isnt $first->get('/')->content, $worker, 'and serves';
    ($third, $status) = $start->(3, "--scoreboard-path=$board");
    is $status, 2 << 8, 'which is still its own';
    is system($gepok, 'stop', "--pid-path=$home/$_.pid"), 0, 'stop' for 2, 1;
    ok !-e $board, 'it goes with its server';
};

# An app that changes the folder while it is loaded: relative paths belong to the folder of the start.
each_entry {
    my $entry  = shift;
    my $folder = scratch();
    my $cert   = Gepok::Test::Authority->new("$folder")->issue('relative');
    mkdir "$folder/start" or die $!;
    rename $cert->{$_}, "$folder/start/$_.pem" for qw(cert key);
    Gepok::Test::Server::spew("$folder/start/app.psgi", "chdir '$folder' or die; sub { [200, [], ['hello']] }");
    my %paths = map { ($_ => (split /_/)[0]) } qw(pid_path scoreboard_path access_log_path error_log_path);
    my $port  = free_port();
    my $inner = bless {
        entry => $entry, app => 'app.psgi', kinds => [], args => [], name => 'Gepok', root => root(), plack_env => 'deployment',
        folder => "$folder", options => {%paths, start_servers => 1, https_ports => "127.0.0.1:$port", ssl_cert_file => 'cert.pem', ssl_key_file => 'key.pem'}},
        'Gepok::Test::Server';
    # The app's path as it is typed.
    { no warnings 'redefine'; local *Gepok::Test::Server::app_path = sub { 'app.psgi' }; $inner->{words} = [$inner->command] }
    $inner->{pid} = undef;
    my $server = server(listen => 'none', port => $port,
        command => ['sh', '-c', "cd '$folder/start' && exec \"\$@\"", 'sh', @{$inner->{words}}]);
    ok soon { -s "$folder/start/pid" }, 'the pid file is in the folder of the start' or diag $server->log;
    ok -e "$folder/start/$_", "so is the file '$_'" for sort values %paths;
    my $master = slurp("$folder/start/pid");
    my $worker;
    soon { my @born = $server->descendants; $worker = $born[-1]; @born > 1 };
    kill USR2 => $master;
    ok soon { !alive($worker) }, 'it begins anew there' or diag slurp("$folder/start/error");
    is_deeply [grep { -e "$folder/$_" } values %paths], [], 'and nothing is in the other folder';
    is $server->stop, 0, 'status 0';
    ok !-e "$folder/start/pid", 'the pid file is removed';
};

done_testing;
