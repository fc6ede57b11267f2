# A daemon of root's that gives up root's rights, with the usual places of its files: it can still begin anew.
use strict;
use warnings;

use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);

use Gepok::Test;
use Gepok::Test::Authority;
use Gepok::Test::TLS;

gepok_only();
plan skip_all => 'only root can choose a user' if $>;

my $NOBODY = getpwnam 'nobody';
my $GEPOK  = root() . '/blib/script/gepok';

sub slurp { open my $file, '<', $_[0] or return ''; local $/; scalar(<$file>) // '' }

# Who has loaded the app, and who runs it; with the process that answers.
my $APP = <<'APP';
my $loader = $>;
sub { [200, [], ["$loader $> $$"]] }
APP

# The usual places of a server of this name, gone with the object.
package Places {
    sub new {
        my ($class) = @_;
        our $count;
        my $name = "gepok-test-$$-" . ++$count;
        return bless {
            name => $name, owner => $$, pid => "/var/run/$name.pid", board => "/var/run/$name.scoreboard",
            logs => [map {"/var/log/$name-$_.log"} qw(access error)]}, $class;
    }

    sub DESTROY {
        my $self = shift;
        return if $self->{owner} != $$;
        local ($?, $!, $@);
        kill TERM => $1 if main::slurp($self->{pid}) =~ /(\d+)/;
        unlink $self->{pid}, $self->{board}, @{$self->{logs}};
    }
}

# A port that only root can bind.
sub privileged_port {
    for my $port (600 .. 1000) {
        return $port if IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 1, ReuseAddr => 1);
    }
    die 'no port is free';
}

sub readable {
    my $folder = scratch();
    chmod 0755, $folder;
    Gepok::Test::Server::spew("$folder/app.psgi", $APP);
    return $folder;
}

# Starts it, and returns when it is in the background: (server, places).
sub daemon {
    my ($entry, %how) = @_;
    my $places = Places->new;
    my $server = server(
        entry => $entry, app => "$how{folder}/app.psgi", port => $how{port}, ready => 0, args => $how{args} // [],
        options => {name => $places->{name}, daemonize => 1, user => 'nobody', start_servers => 2, %{$how{options} // {}}});
    is $server->wait_exit(60), 0, 'it has gone to the background' or diag $server->log;
    return ($server, $places);
}

each_entry {
    my $entry  = shift;
    my $folder = readable();
    my $loader = $entry eq 'bin' ? $NOBODY : 0;
    my ($server, $places) = daemon($entry, folder => $folder, port => privileged_port(), options => {reload_on_hup => 1});
    my $ask    = sub { split / /, $server->get('/')->content };
    my ($first, $user, $worker) = $ask->();
    is $first, $loader, 'the command loads the app as the user, Perl as root';
    is $user, $NOBODY, 'and it runs as the user';
    my $master = slurp($places->{pid});
    my $begun  = sub {
        my ($what) = @_;
        my $now;
        ok soon { $now = ($ask->())[2]; $now != $worker && slurp($places->{pid}) eq $master }, "$what: other workers, the same pid"
            or return diag $server->log, map { slurp($_) } @{$places->{logs}};
        # Those of the program before leave.
        ok soon { !alive($worker) }, 'the one before has gone';
        $worker = ($ask->())[2];
        is_deeply [($ask->())[0, 1]], [$NOBODY, $NOBODY], 'loaded and run by the user';
        like slurp($places->{pid}), qr/\A\d+\n\z/, 'there is a pid file';
        cmp_ok -s $places->{board}, '>', 0, 'and a scoreboard';
    };
    for my $command (qw(restart reload restart)) {
        is system($GEPOK, $command, '--name', $places->{name}), 0, "gepok $command finds it by its name";
        $begun->("gepok $command");
    }
    kill USR2 => $master;
    $begun->('USR2');
    kill HUP => $master;
    $begun->('HUP');
    for my $broken ('die "by intent";', 'sub {', 'exit 0;') {
        Gepok::Test::Server::spew("$folder/app.psgi", $broken);
        isnt system("$GEPOK restart --name $places->{name} 2>/dev/null"), 0, "an app that ends by $broken: the restart fails";
        is slurp($places->{pid}), $master, 'and the server is as before';
        is scalar((() = $ask->())), 3, 'it serves';
    }
    if ($entry eq 'new') {
        like slurp($places->{logs}[0]), qr/"GET/, 'the access log is the one that root has opened';
        unlike slurp($places->{logs}[1]), qr/can't open/, 'no log was missing';
    }
    is system($GEPOK, 'stop', '--name', $places->{name}), 0, 'gepok stop';
    ok !slurp($places->{pid}), 'no pid is left';
};

check 'logs that only root can open, and HUP' => sub {
    my $folder = readable();
    my ($server, $places) = daemon('new', folder => $folder, port => free_port());
    my ($worker) = (split / /, $server->get('/')->content)[2];
    is system("$GEPOK reload --name $places->{name} 2>/dev/null"), 0, 'gepok reload: it is done';
    ok soon { !alive($worker) }, 'the workers are others';
    ok soon { slurp($places->{logs}[1]) =~ /\[warn\] the log \S+ can't be opened again by this user/ }, 'the log tells that it stays open';
    $server->get('/after');
    ok soon { slurp($places->{logs}[0]) =~ m{"GET /after} }, 'and goes on';
};

# A place that is wrong only in the new program: the trial finds it.
each_entry {
    my $entry  = shift;
    my $folder = readable();
    mkdir "$folder/spool" and chmod 0777, "$folder/spool" or die $!;
    my ($server, $places) = daemon($entry, folder => $folder, port => free_port(), options => {spool_dir => "$folder/spool"});
    my $master = slurp($places->{pid});
    my ($worker) = (split / /, $server->get('/')->content)[2];
    chmod 0700, "$folder/spool";
    isnt system("$GEPOK restart --name $places->{name} 2>/dev/null"), 0, 'the restart fails';
    is slurp($places->{pid}), $master, 'the pid file stays';
    cmp_ok -s $places->{board}, '>', 0, 'so does the scoreboard';
    ok alive($worker), 'and the workers';
    chmod 0777, "$folder/spool";
    is system($GEPOK, 'restart', '--name', $places->{name}), 0, 'once it is mended it begins anew';
    is slurp($places->{pid}), $master, 'in place';
    is system($GEPOK, 'stop', '--name', $places->{name}), 0, 'gepok stop';
};

# What `gepok --daemonize` promises: Ctrl-C ends a start, and nothing is left.
for my $signal (qw(INT TERM KILL)) {
    check "$signal while the command loads the app as the user" => sub {
        my $folder = readable();
        # The user removes what lies there.
        chown $NOBODY, -1, $folder;
        Gepok::Test::Server::spew("$folder/app.psgi", "open my \$file, '>', '$folder/loading' or die; sleep 60; sub { }");
        my $server = server(
            entry => 'bin', app => "$folder/app.psgi", ready => 0, listen => 'none',
            options => {user => 'nobody', daemonize => 1, http_ports => '127.0.0.1:' . free_port(), unix_sockets => "$folder/socket",
                pid_path => "$folder/pid", scoreboard_path => "$folder/board"});
        ok soon { -e "$folder/loading" }, 'it loads the app' or diag $server->log;
        ok -e "$folder/$_", "there is '$_'" for qw(socket pid board);
        $server->signal($signal);
        is $server->wait_exit, {INT => 2, TERM => 15, KILL => 9}->{$signal}, 'the command ends at once';
        ok soon { !$server->family }, 'no process is left' or diag join ' ', $server->family;
        is_deeply [grep { -e "$folder/$_" } qw(socket pid board)], [], 'and no file';
    };
}

# Protects: who can write to a folder has root neither write to other files nor signal other processes.
check 'links and pid files of a stranger' => sub {
    my $folder = readable();
    my $victim = scratch();
    chmod 0755, "$victim";
    mkdir "$folder/run" or die $!;
    chown $NOBODY, -1, "$folder/run";
    Gepok::Test::Server::spew("$victim/precious", "precious\n");
    symlink "$victim/precious", "$folder/run/link" or die $!;
    symlink "$victim",          "$folder/run/folder" or die $!;
    my $start = sub {
        run_command([$GEPOK, '--http-ports', '127.0.0.1:' . free_port(), '--user', 'nobody', @_, "$folder/app.psgi"],
            seconds => 30, until => qr/listening/);
    };
    for my $option (qw(access-log-path error-log-path pid-path scoreboard-path)) {
        for my $name ('link', 'folder/new') {
            my ($status, $text) = $start->("--$option" => "$folder/run/$name");
            is $status, 2 << 8, "$option: root does not follow $name";
            like $text, qr/as root, no symbolic link is followed in a folder that others can write to/, 'which is said' or diag $text;
        }
    }
    is slurp("$victim/precious"), "precious\n", 'nothing was written';
    ok !-e "$victim/new", 'nor made';

    my $sleeper = fork // die $!;
    if (!$sleeper) {
        sleep 60;
        POSIX::_exit(0);
    }
    my $pid_file = "$folder/run/pid";
    Gepok::Test::Server::spew($pid_file, "$sleeper\n");
    open my $held, '+<', $pid_file or die $!;
    # struct flock: F_WRLCK from the beginning to the end, as the server's own lock (F_OFD_SETLK).
    my $lock = pack 's! s! x![q] q q i! x![q]', 1, 0, 0, 0, 0;
    fcntl $held, 37, $lock or die "fcntl: $!";
    chown $NOBODY, -1, $pid_file;
    for my $command (qw(stop reload restart)) {
        my ($status, $text) = run_command([$GEPOK, $command, '--pid-path', $pid_file], seconds => 30);
        is $status, 2 << 8, "$command does not believe it";
        like $text, qr/is not believed, because it is user ${NOBODY}'s and process $sleeper is user 0's/, 'and says why';
    }
    ok kill(0, $sleeper), 'the process lives on';
    kill KILL => $sleeper;
    waitpid $sleeper, 0;
};

check 'an app that the user can not load leaves nothing' => sub {
    my $folder = readable();
    my $places = Places->new;
    Gepok::Test::Server::spew("$folder/app.psgi", 'die "by intent\n"');
    mkdir "$folder/closed", 0755 or die $!;
    my ($status, $text) = run_command([$GEPOK, '--daemonize', "--name=$places->{name}", '--user=nobody', '--http-ports=127.0.0.1:' . free_port(),
        "--unix-sockets=$folder/closed/socket", "$folder/app.psgi"]);
    is $status, 2 << 8, 'status 2';
    like $text, qr/by intent/, 'it says why';
    is_deeply [grep { -e } "$folder/closed/socket", @$places{qw(pid board)}], [], 'no socket, pid file or scoreboard, though only root can remove them';
};

check 'keys that only root can read' => sub {
    my $folder = readable();
    my $ca     = Gepok::Test::Authority->new("$folder");
    my $pair   = $ca->issue('root');
    chmod 0600, $pair->{key};
    for my $entry (qw(bin plackup)) {
        my $places = Places->new;
        my $server = https(
            entry => $entry, app => "$folder/app.psgi",
            options => {name => $places->{name}, user => 'nobody', start_servers => 1, pid_path => $places->{pid},
                ssl_cert_file => $pair->{cert}, ssl_key_file => $pair->{key}});
        my $ask    = sub { (split / /, fetch($server, '/')->{content})[2] };
        my $worker = $ask->();
        for my $command (qw(restart reload)) {
            is system($GEPOK, $command, '--name', $places->{name}), 0, "$entry: gepok $command" or diag $server->log;
            ok soon { $ask->() != $worker }, 'other workers speak TLS';
            $worker = $ask->();
        }
        my $master = $server->pid;
        my $try = `$^X -e '\$) = \$( = $NOBODY; \$< = \$> = $NOBODY; print opendir(my \$d, "/proc/$master/fd") ? "open" : "closed"'`;
        is $try, 'closed', 'no process of the user looks at the master\'s descriptors';
        is $server->stop, 0, 'status 0';
    }
};

# Another process of the user reads no requests and no keys from the server's memory. The kernel says so of a process that changes
# its user, but not of one that is the user's from its beginning, as all are after a restart in place.
check 'dumpable' => sub {
    my $folder = readable();
    for my $case (['bin', 0], ['plackup', 0], ['bin', 1]) {
        my ($entry, $yes) = @$case;
        my $places = Places->new;
        my $server = server(
            entry => $entry, app => "$folder/app.psgi",
            options => {name => $places->{name}, user => 'nobody', start_servers => 1, pid_path => $places->{pid}, dumpable => $yes});
        # Root owns what the kernel shows of a process that can't be dumped.
        my $owners = sub { join ' ', map { (stat "/proc/$_/environ")[4] // 'gone' } $server->pid, $server->descendants };
        my $wanted = $yes ? qr/^$NOBODY $NOBODY $NOBODY$/ : qr/^0 0 0$/;
        ok soon { $owners->() =~ $wanted }, "$entry: master, core and worker, dumpable=$yes" or diag $owners->();
        is system($GEPOK, 'restart', '--name', $places->{name}), 0, 'a restart' or diag $server->log;
        ok soon { $owners->() =~ $wanted }, 'the same after it' or diag $owners->();
    }
};

SKIP: {
    my ($start_server) = grep { -x } map {"$_/start_server"} split /:/, $ENV{PATH};
    skip 'start_server (libserver-starter-perl) is missing', 3 if !$start_server;
    each_entry {
        my $entry  = shift;
        my $folder = readable();
        my $places = Places->new;
        my $port   = free_port();
        my $inner  = bless {
            entry => $entry, app => "$folder/app.psgi", kinds => [], args => [], name => 'Gepok', root => root(),
            folder => "$folder", plack_env => 'deployment',
            options => {name => $places->{name}, daemonize => 1, user => 'nobody', start_servers => 1}}, 'Gepok::Test::Server';
        my $server = server(listen => 'none', port => $port, command => [$start_server, "--port=127.0.0.1:$port", '--', $inner->command]);
        delete $inner->{folder};
        my $ask    = sub { (split / /, $server->get('/')->content)[2] };
        my $worker = $ask->();
        my $master = slurp($places->{pid});
        $server->signal('HUP');
        ok soon { !alive($worker) }, 'start_server replaces the server' or diag $server->log;
        isnt $ask->(), $worker, 'the other one serves';
        like slurp($places->{pid}), qr/\A\d+\n\z/, 'it has the pid file';
        isnt slurp($places->{pid}), $master, 'with its own pid';
        unlike $server->log, qr/failed to start/, 'at once';
        is $server->stop, 0, 'status 0';
    };
}

done_testing;
