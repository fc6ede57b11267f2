# What the documentation of Gepok 0.292 promises: each attribute, method, hook and key of the env by its name.
# Beside it: the number of workers and their requests in t/30 to t/34, addresses in t/50, timeouts in t/20.
use strict;
use warnings;

use Cwd ();
use IO::Socket::UNIX;
use POSIX ();
use Test::More;

use Gepok::Test;
use Gepok::Test::Authority;
use Gepok::Test::TLS ();

gepok_only();

my $root = root();
my @perl = ($^X, map {"-I$root/blib/$_"} qw(arch lib));
my $bin  = "$root/blib/script/gepok";

# What a worker and its master are: pid, folder, standard input, session, user, umask.
my $FACTS = <<'PERL';
    my $facts = sub {
        my $pid = shift;
        open my $status, '<', "/proc/$pid/status" or die $!;
        my %status = map { /^(\w+):\s*(.*?)\s*$/ } <$status>;
        open my $stat, '<', "/proc/$pid/stat" or die $!;
        my ($session) = <$stat> =~ /\) \S \d+ \d+ (\d+)/;
        return {pid => $pid, cwd => readlink "/proc/$pid/cwd", stdin => readlink "/proc/$pid/fd/0",
            session => $session, map { $_ => $status{$_} } qw(Uid Gid Groups Umask)};
    };
    sub {
        require JSON::PP;
        [200, [], [JSON::PP::encode_json({worker => $facts->($$), master => $facts->(getppid)})]];
    }
PERL

sub slurp { open my $file, '<', $_[0] or return ''; local $/; scalar(<$file>) // '' }
sub spew  { open my $file, '>', $_[0] or die "$_[0]: $!"; print {$file} $_[1]; close $file or die $! }

sub ask {
    my (%at) = @_;
    my $client = Gepok::Test::Connection->new(%at);
    $client->send("GET / HTTP/1.0\r\n\r\n");
    return $client->response->content;
}

# The name of all that leaves the terminal here, for the sake of the usual places of its logs.
my $name = "gepok-test-$$";
my ($logs, $pids) = $> ? ($ENV{HOME}, $ENV{HOME}) : ('/var/log', '/var/run');

my %begun;
END {
    kill KILL => keys %begun if %begun;
    unlink glob "$logs/gepok-test-$$*.log";
}

# Runs a script of the class until it leaves the terminal: (wait status, output, pid in its pid file).
sub script {
    my ($code, $pid_path, %how) = @_;
    my $folder = scratch();
    spew("$folder/$name", "use strict; use warnings; use Gepok;\nmy \$app = do { $FACTS };\n$code");
    my ($status, $output) = run_command([@perl, "$folder/$name"], %how);
    my ($pid) = slurp($pid_path) =~ /^(\d+)$/;
    $begun{$pid} = 1 if $pid;
    return ($status, $output, $pid);
}

sub ended {
    my $pid = shift;
    delete $begun{$pid} if soon { !alive($pid) };
    return !$begun{$pid};
}

check 'the plackup line' => sub {
    my ($one, $two) = (free_port(), free_port());
    my $folder = scratch();
    spew("$folder/app.psgi", $FACTS);
    my ($status, $output) = run_command([@perl, Gepok::Test::Server::plackup(), qw(-s Gepok --http_ports),
        "127.0.0.1:$one,127.0.0.1:$two,", '--unix_sockets', "$folder/a,$folder/b", '--daemonize',
        '--pid_path', 'pid', '--name', $name, 'app.psgi'], dir => "$folder");
    is $status, 0, 'plackup -s Gepok --http_ports A,B, --unix_sockets C,D --daemonize returns' or return diag $output;
    my ($pid) = slurp("$folder/pid") =~ /^(\d+)$/;
    $begun{$pid} = 1;
    for my $at ([port => $one], [port => $two], [path => "$folder/a"], [path => "$folder/b"]) {
        my $told = json(ask(@$at));
        is $told->{master}{pid}, $pid, "@$at: served in the background, and the pid file holds the master's pid";
        is_deeply [@{$told->{worker}}{qw(cwd stdin)}], ['/', '/dev/null'], 'in /, with nothing to read';
    }
    kill TERM => $pid;
    ok ended($pid), 'TERM ends it';
    is_deeply [grep { -e "$folder/$_" } qw(a b pid)], [], 'sockets and pid file are gone with it';
};

check "the class's example, daemonize" => sub {
    my @ports  = map { free_port() } 1 .. 5;
    my $folder = scratch();
    my $pair   = Gepok::Test::Authority->new("$folder")->issue('localhost', names => ['localhost']);
    my $pid_path = "$pids/$name.pid";
    my ($status, $output, $pid) = script(<<"PERL", $pid_path);
        my \$gepok = Gepok->new(
            name          => '$name',
            http_ports    => [$ports[0], ':$ports[1]', '127.0.0.1:$ports[2]'],
            https_ports   => [$ports[3], '0.0.0.0:$ports[4]'],
            unix_sockets  => ['$folder/one', '$folder/two'],
            ssl_key_file  => '$pair->{key}',
            ssl_cert_file => '$pair->{chain}',
        );
        \$gepok->run(\$app);
        open my \$out, '>', '$folder/returned' or die \$!;
        print {\$out} \$\$;
PERL
    is $status, 0, 'it returns with status 0 when all listens' or return diag $output;
    like $output, qr/\A(?:\[.*as root.*\n)?\z/, 'and has nothing to say but whom it runs as';
    ok $pid, "pid_path is $pid_path by default";
    is json(Gepok::Test::TLS::fetch($_, '/')->{content})->{master}{pid}, $pid, "port $_ speaks TLS"
        for Gepok::Test::TLS::usable() ? @ports[3, 4] : ();
    for my $at ((map { [port => $_] } @ports[0 .. 2]), [path => "$folder/one"], [path => "$folder/two"]) {
        my $told = json(ask(@$at));
        is $told->{master}{pid}, $pid, "@$at";
        is $told->{master}{session}, $pid, 'a session of its own';
        is_deeply [@{$told->{master}}{qw(cwd stdin)}], ['/', '/dev/null'], 'in /, with nothing to read';
    }
    kill TERM => $pid;
    ok ended($pid), 'TERM ends it';
    is slurp("$folder/returned"), $pid, 'and run returns there';
    ok !-e $pid_path, 'without its pid file';
};

check 'is_running, stop, restart' => sub {
    my $port   = free_port();
    my $folder = scratch();
    my $new    = "Gepok->new(http_ports => ['127.0.0.1:$port'], pid_path => '$folder/pid')";
    my $class  = sub {
        my ($code, %how) = @_;
        my ($status, $output) = run_command([@perl, '-MGepok', '-we', "\$| = 1; $code"], %how);
        return $output;
    };
    is $class->("print $new->is_running"), 0, 'is_running before';
    is $class->("print $new->stop"), 0, 'stop has nothing to stop';
    my (undef, $output, $pid) = script("$new->start(\$app)", "$folder/pid");
    ok $pid, 'start is run' or return diag $output;
    is $class->("print $new->is_running"), $pid, 'is_running, from another process: the pid';
    like $class->("eval { $new->run(sub { }) }; print \$\@"), qr/a server is running already, pid $pid/,
        'a second one does not start';
    is json(ask(port => $port))->{master}{pid}, $pid, 'and does no harm';

    (undef, $output, my $next) = script("$new->restart(\$app)", "$folder/pid");
    ok $next, 'restart, given an app, starts it' or diag $output;
    isnt $next, $pid, 'in a process of its own';
    ok !alive($pid), 'when the old one has ended';
    is json(ask(port => $port))->{master}{pid}, $next, 'it serves';

    is $class->("print $new->stop"), $next, 'stop, from another process: the pid that ended';
    ok ended($next), 'it is not there any more when stop returns';
    is $class->("print $new->is_running"), 0, 'is_running afterwards';
    ok !-e "$folder/pid", 'the pid file is gone';
    delete $begun{$pid};
};

check 'a pid file left behind' => sub {
    my $folder = scratch();
    # A process that lives, but is no server of this file.
    spew("$folder/pid", "$$\n");
    my $port   = free_port();
    my $server = server(entry => 'new', app => $FACTS, port => $port, options => {pid_path => "$folder/pid"});
    is $server->get('/')->status, 200, 'a file with a pid, but without a lock, hinders nobody';
    is slurp("$folder/pid"), $server->pid . "\n", 'is taken over though a process of that number lives';
    $server->signal('KILL');
    $server->wait_exit;
    ok -s "$folder/pid", 'a server that is killed leaves it behind';
    my ($status, $output) = run_command([$bin, 'status', '--pid-path', "$folder/pid"]);
    is $status >> 8, 3, 'and status knows that it does not run';
    $server = server(entry => 'bin', app => $FACTS, options => {'pid-path' => "$folder/pid"});
    is $server->get('/')->status, 200, 'the next one serves';
    is slurp("$folder/pid"), $server->pid . "\n", 'and takes it over';
    spew("$folder/other", "$$\n");
    rename "$folder/other", "$folder/pid" or die $!;
    is $server->stop, 0, 'it ends';
    is slurp("$folder/pid"), "$$\n", "and leaves alone what is another's by then";
};

check 'gepok status, reload, stop' => sub {
    my $folder = scratch();
    my $port   = free_port();
    spew("$folder/app.psgi", 'my $loaded = $$; ' . $FACTS);
    my @options = ('--name', $name, '--pid-path', "$folder/pid");
    my ($status, $output) = run_command([$bin, '-D', @options, '--http-ports', "127.0.0.1:$port", 'app.psgi'],
        dir => "$folder");
    is $status, 0, 'gepok -D' or return diag $output;
    my $pid = json(ask(port => $port))->{master}{pid};
    $begun{$pid} = 1;
    ($status, $output) = run_command([$bin, 'status', @options]);
    is $status, 0, 'status: 0';
    like $output, qr/^running, pid $pid\b/, 'and who it is';
    ($status, $output) = run_command([$bin, 'stop', @options]);
    is $status, 0, 'stop: 0';
    ok ended($pid), 'when it has ended';
    for my $command (qw(stop restart reload status)) {
        ($status, $output) = run_command([$bin, $command, @options]);
        is $status >> 8, 3, "$command, where none runs: 3";
        like $output, qr{^gepok: no server is running \(pid file '\Q$folder\E/pid'\)$}, 'and why it thinks so';
    }
    if (!$> && open_to_all()) {
        chmod 0755, "$folder";
        my $server = server(entry => 'bin', app => $FACTS, options => {'pid-path' => "$folder/pid"});
        ($status, $output) = as_nobody("$bin stop --pid-path $folder/pid");
        is $status >> 8, 4, "another user's server: 4" or diag $output;
        is $server->get('/')->status, 200, 'which goes on';
    }
};

# Whether a process without root's rights reaches the checkout at all.
sub open_to_all { (as_nobody("test -r $root/blib/lib/Gepok.pm && test -x $bin"))[0] == 0 }

# Runs a command without root's rights: (wait status, output).
sub as_nobody {
    my ($command) = @_;
    my $uid = getpwnam 'nobody';
    my $code = 'use POSIX (); $) = "65534 65534"; POSIX::setgid(65534); POSIX::setuid(shift); exec "sh", "-c", shift';
    return run_command([$^X, '-e', $code, $uid, $command]);
}

check 'require_root' => sub {
    my @command = (@perl, '-MGepok', '-e');
    my $code    = 'Gepok->new(http_ports => [q(127.0.0.1:' . free_port() . ')], require_root => 1, daemonize => 0, '
        . 'server_ready => sub { die "has started\n" })->run(sub { })';
    if (!$>) {
        my (undef, $output) = run_command([@command, $code]);
        like $output, qr/has started/, 'root may start it';
        (undef, $output) = as_nobody("@perl -MGepok -e '$code'");
        like $output, qr/permission denied, the server must be run as root/, 'nobody else may' if open_to_all();
    }
    else {
        my (undef, $output) = run_command([@command, $code]);
        like $output, qr/permission denied, the server must be run as root/, 'nobody but root may start it';
    }
};

check 'user and group' => sub {
    my ($uid, $gid) = (getpwnam 'nobody')[2, 3];
    my ($tty, $daemon) = map { scalar getgrnam $_ } qw(tty daemon);
    my $ids = sub { my $id = shift; join "\t", ($id) x 4 };
    for my $case (
        [{user => 'nobody'},                     $uid, $gid,   $gid],
        [{user => $uid},                         $uid, $gid,   $gid],
        [{user => 'nobody', group => 'tty daemon'}, $uid, $tty, "$daemon $tty"],
        [{user => 'nobody', group => 'daemon'},  $uid, $daemon, $daemon],
        )
    {
        my ($options, $uid, $gid, $groups) = @$case;
        my $title = join ', ', map {"$_ '$options->{$_}'"} sort keys %$options;
        for my $entry ('plackup', 'bin') {
            my $server = server(entry => $entry, app => $FACTS, options => $options);
            my $told   = json($server->get('/')->content);
            for my $who (qw(worker master)) {
                my %is = %{$told->{$who}};
                is_deeply [@is{qw(Uid Gid)}], [$ids->($uid), $ids->($gid)], "$title, $entry: the $who";
                is join(' ', sort { $a <=> $b } split ' ', $is{Groups}), $groups, 'and its groups';
            }
            my @all   = $server->descendants;
            # Each gives up its rights as its first act: one may just have been born.
            my $other = sub { grep { slurp("/proc/$_/status") !~ /^Uid:\t\Q@{[$ids->($uid)]}\E$/m } $server->descendants };
            ok soon { !$other->() }, 'and so is the core' or diag join ' ', $other->();
            kill KILL => $server->pid;
            $server->wait_exit;
            ok soon { !grep { alive($_) } @all }, 'nobody outlives the master, though the kernel forgets that with the user';
        }
    }
    my $folder = scratch();
    chmod 0755, "$folder";
    spew("$folder/app.psgi", $FACTS);
    my $server = server(entry => 'bin', app => "$folder/app.psgi", options => {user => 'nobody'},
        args => ['--no-preload-app']);
    my $told = json($server->get('/')->content);
    is $told->{worker}{Uid}, $ids->($uid), 'an app loaded in the workers';
    is $told->{master}{Uid}, $ids->(0), 'leaves the master to root';
    ok soon { !grep { slurp("/proc/$_/status") =~ /^Uid:\t0\t/m } $server->descendants }, 'alone';

    my $pair = Gepok::Test::Authority->new("$folder")->issue('localhost', names => ['localhost']);
    chmod 0600, $pair->{key} or die $!;
    for my $args (Gepok::Test::TLS::usable() ? ([], ['--no-preload-app']) : ()) {
        $server = Gepok::Test::TLS::https(entry => 'bin', app => "$folder/app.psgi", args => $args,
            options => {user => 'nobody', ssl_key_file => $pair->{key}, ssl_cert_file => $pair->{chain}});
        is json(Gepok::Test::TLS::fetch($server, '/')->{content})->{worker}{Uid}, $ids->($uid),
            "a key that only root can read (@$args)";
    }

    $server = server(entry => 'plackup', app => $FACTS, options => {start_servers => 0, user => 'nobody'});
    is json($server->get('/')->content)->{worker}{Uid}, $ids->($uid), 'one process';

    like server(app => $FACTS)->log, qr/^.*\[warn\] the app runs as root.*'user'.*$/m, 'root without a user: a warning';
    unlike server(app => $FACTS, options => {user => 'root'})->log, qr/as root/, 'which user root takes away';
} if !$>;

check 'unix_socket_mode, unix_socket_owner, unix_socket_group' => sub {
    my $folder = scratch();
    for my $case (['660', 0660], ['0600', 0600], ['777', 0777]) {
        my $server = server(entry => 'new', app => $FACTS, listen => 'unix', path => "$folder/s",
            options => {unix_socket_mode => $case->[0], umask => '027', $> ? ()
                : (unix_socket_owner => 'nobody', unix_socket_group => 'daemon')});
        my @stat = stat "$folder/s";
        is sprintf('%o', $stat[2] & 07777), sprintf('%o', $case->[1]), "mode $case->[0], whatever the umask";
        is_deeply [@stat[4, 5]], [scalar getpwnam 'nobody', scalar getgrnam 'daemon'], 'owner and group' if !$>;
        is json($server->get('/')->content)->{worker}{Umask}, '0027', 'umask';
    }
    my $server = server(entry => 'bin', app => $FACTS, listen => 'unix', path => "$folder/s", options => {umask => '077'});
    is sprintf('%o', (stat "$folder/s")[2] & 07777), '700', 'without a mode the umask decides';
};

check 'chdir' => sub {
    my $folder = Cwd::abs_path(my $scratch = scratch());
    mkdir "$folder/$_" or die $! for qw(start start/lib run);
    spew("$folder/start/app.psgi", "use lib 'lib'; $FACTS");
    spew("$folder/start/lib/Late.pm", 'package Late; sub word { "found" } 1');
    spew("$folder/start/late.psgi", 'use lib "lib"; sub { require Late; [200, [], [Late::word()]] }');
    for my $case ([chdir => '../run', "$folder/run"], [working_dir => "$folder/run", "$folder/run"]) {
        my ($name, $value, $cwd) = @$case;
        my $port   = free_port();
        my $server = server(entry => 'bin', listen => 'none', port => $port, dir => "$folder/start",
            args => ['--http-ports', "127.0.0.1:$port", "--$name", $value, '--pid-path', 'pid', 'app.psgi']);
        my $told = json($server->get('/')->content);
        is_deeply [map { $told->{$_}{cwd} } qw(worker master)], [$cwd, $cwd], "$name $value";
        ok -s "$folder/start/pid", 'relative paths are those of the folder it was started in';
        $server->stop;
        ok !-e "$folder/start/pid", 'to the end';
    }
    for my $entry ('bin', 'plackup') {
        my $port   = free_port();
        my @listen = $entry eq 'bin' ? ('--http-ports', "127.0.0.1:$port") : ('-l', "127.0.0.1:$port");
        my $server = server(listen => 'none', port => $port, dir => "$folder/start",
            command => [$entry eq 'bin' ? $bin : (@perl, Gepok::Test::Server::plackup(), '-s', 'Gepok'), @listen,
                '--chdir', '/', 'late.psgi']);
        is $server->get('/')->content, 'found', "$entry: a module of a relative folder is found when it is needed later";
    }
    my $port = free_port();
    my ($status, $output) = run_command([$bin, '-D', '--name', $name, '--pid-path', 'pid', '--no-preload-app', '--http-ports',
        "127.0.0.1:$port", 'app.psgi'], dir => "$folder/start");
    is $status, 0, 'in the background, with an app that each worker loads' or return diag $output;
    my $told = json(ask(port => $port));
    is $told->{worker}{cwd}, "$folder/start", 'the folder stays the same';
    $begun{$told->{master}{pid}} = 1;
    kill TERM => $told->{master}{pid};
    ok ended($told->{master}{pid}), 'it ends';
};

check 'what hinders a start in the background' => sub {
    my $folder = scratch();
    my $port   = free_port();
    my $taken  = server(app => $FACTS, port => $port);
    my ($status, $output) = script("print qq(before\\n); eval { Gepok->new(http_ports => '127.0.0.1:$port', "
        . "pid_path => '$folder/pid')->run(\$app); 1 } or print qq(caught: \$@)", "$folder/pid");
    is $status, 0, 'before it leaves the terminal';
    like $output, qr/^before\ncaught: can't listen on 127\.0\.0\.1:$port/m, 'it is an exception';
    ok !-e "$folder/pid", 'no pid file stays';
    ($status, $output) = script("Gepok->new(http_ports => '127.0.0.1:" . free_port() . "', pid_path => '$folder/pid', "
        . "server_ready => sub { die qq(not ready\\n) })->run(\$app)", "$folder/pid");
    ok $status, 'behind that: the exit status';
    like $output, qr/not ready/, 'and the message';
    ok !-e "$folder/pid", 'and no pid file either';
};

check 'before_prefork' => sub {
    my $folder = scratch();
    my $class  = "package My::Server; use parent -norequire, 'Gepok';\n";
    my $run    = "My::Server->new(http_ports => ['127.0.0.1:PORT'], daemonize => 0, name => 'hooked')->run(\$app);\n";
    my $port   = free_port();
    spew("$folder/run.pl", "use strict; use warnings; use Gepok; our (\$called, \$pid, \$name);\n"
        . "{ $class sub before_prefork { my \$self = shift; \$main::called++; \$main::pid = \$\$; \$main::name = \$self->name } }\n"
        . "my \$app = sub { [200, [], [join ' ', \$called, \$pid == getppid() ? 'master' : 'other', \$name]] };\n"
        . $run =~ s/PORT/$port/r);
    my $server = server(command => [@perl, "$folder/run.pl"], listen => 'none', port => $port);
    is $server->get('/')->content, '1 master hooked', 'is called once, with the object, in the master, before the fork';
    $server->stop;

    $port = free_port();
    spew("$folder/run.pl", "use Gepok; my \$app = sub { };\n"
        . "{ $class sub before_prefork { die \"not today\\n\" } }\n" . $run =~ s/PORT/$port/r);
    my ($status, $output) = run_command([@perl, "$folder/run.pl"]);
    ok $status, 'and when it dies nothing starts';
    like $output, qr/^before_prefork: not today$/m, 'and says why';
    ok !eval { Gepok::Test::Connection->new(port => $port) }, 'nobody listens';
};

check 'accessors, and subclasses' => sub {
    my $output = sub { my (undef, $text) = run_command([@perl, '-we', $_[0]]); $text };
    my $attributes = 'http_ports unix_sockets name daemonize pid_path timeout require_root start_servers '
        . 'max_requests_per_child product_name product_version host port';
    is $output->("use Gepok; my \$g = Gepok->new(map { \$_ => \$_ } qw($attributes)); "
        . "print join ' ', map { \$g->\$_ } qw($attributes)"), $attributes, 'each attribute has a method';
    is $output->('use Gepok; my $g = Gepok->new; $g->name("x"); print $g->name'), 'x', 'which sets it too';

    my %subclass = ('use parent' => "use parent -norequire, 'Gepok'; sub http_ports { ['127.0.0.1:PORT'] } sub own { 7 }");
    $subclass{"Moo's extends"} = "use Moo; extends 'Gepok'; has own => (is => 'ro', default => 7);\n"
        . "has http_ports => (is => 'lazy'); sub _build_http_ports { ['127.0.0.1:PORT'] }"
        if eval { require Moo; 1 };
    for my $how (sort keys %subclass) {
        my $folder = scratch();
        my $port   = free_port();
        spew("$folder/run.pl", "use strict; use warnings;\npackage My::Server;\nuse Gepok;\n"
            . $subclass{$how} =~ s/PORT/$port/r . "\nsub hello { 'hello from ' . ref \$_[0] }\npackage main;\n"
            . "my \$server = My::Server->new(daemonize => 0, max_workers => 1, own => 7);\n"
            . "\$server->run(sub { [200, [], [join ' ', \$server->hello, \$server->own, \$server->max_workers]] });\n");
        my $server   = server(command => [@perl, "$folder/run.pl"], listen => 'none', port => $port);
        my $response = $server->get('/');
        is $response->content, 'hello from My::Server 7 1', "$how: the app reaches the object";
        like $response->field('Server'), qr{^My::Server/}, 'the product is the subclass';
        unlike $server->log, qr/unknown option/, "and attributes of its own are nobody else's";
        is $server->stop, 0, 'it ends';
    }
};

check 'no port at all' => sub {
    my (undef, $output) = run_command([@perl, '-MGepok', '-e', 'Gepok->new->run(sub { })']);
    like $output, qr/^Please specify at least one HTTP\/HTTPS\/Unix socket port/, 'the documented sentence';
};

check 'strings in the place of lists' => sub {
    my ($one, $two) = (free_port(), free_port());
    my $folder = scratch();
    my $server = server(entry => 'new', app => $FACTS, listen => 'none', port => $one,
        options => {http_ports => "127.0.0.1:$one , 127.0.0.1:$two,", unix_sockets => "$folder/a, $folder/b,"});
    ok ask(@$_), "@$_" for [port => $one], [port => $two], [path => "$folder/a"], [path => "$folder/b"];
};

check "the env's keys" => sub {
    my $app = 'sub { my $e = shift; my $s = $e->{"gepok.socket"}; my $h = $e->{"gepok.httpd_socket"}; require JSON::PP; '
        . 'JSON::PP->can("new"); my %told = map { $_ => $e->{$_} } grep { /^gepok/ && !/socket$/ || /^(?:SERVER|REMOTE)_/ '
        . '|| $_ eq "gepok.unix_socket" } keys %$e; '
        . '$told{$_} = $s->$_ for qw(peerhost peerport sockhost sockport hostpath); '
        . '$told{peercred} = [$s->peercred]; $told{httpd_peercred} = [$h->peercred]; '
        . '$told{connected} = [map { $_->connected ? 1 : 0 } $s, $h]; $told{httpd} = [map { $h->$_ } qw(sockhost sockport hostpath)]; '
        . '[200, [], [JSON::PP->new->allow_nonref->allow_blessed->encode(\%told)]] }';
    my $server = server(entry => 'new', app => $app, listen => ['tcp', 'unix']);
    for my $kind (qw(tcp unix)) {
        my $unix   = $kind eq 'unix';
        my $client = $server->connect($kind);
        my $before = time;
        $client->send("GET / HTTP/1.0\r\n\r\n");
        my $told = json($client->response->content);
        is $told->{gepok}, 1, "$kind: gepok";
        for my $key (qw(connect_time start_request_time finish_request_time)) {
            my $time = $told->{"gepok.$key"};
            ok ref $time eq 'ARRAY' && @$time == 2 && abs($time->[0] - $before) < 60, "gepok.$key";
        }
        is $told->{'gepok.client_protocol'}, 'HTTP/1.0', 'gepok.client_protocol';
        is !!$told->{'gepok.unix_socket'}, $unix, 'gepok.unix_socket';
        is_deeply [@$told{qw(SERVER_NAME SERVER_PORT REMOTE_ADDR)}],
            $unix ? [$server->path, 0, '127.0.0.1'] : ['127.0.0.1', $server->port, '127.0.0.1'], 'SERVER_NAME etc.';
        is_deeply [@$told{qw(peerhost sockhost sockport hostpath)}],
            $unix ? [undef, undef, undef, $server->path] : ['127.0.0.1', '127.0.0.1', $server->port, undef], 'gepok.socket';
        is_deeply $told->{peercred}, $unix ? [$$, $> + 0, (split ' ', $))[0] + 0] : [], 'peercred is of this process';
        # "peercred() (for UNIX sockets)" of gepok.httpd_socket, as 0.292 has it.
        is_deeply $told->{httpd_peercred}, $told->{peercred}, "and gepok.httpd_socket's is the same";
        is_deeply $told->{connected}, [1, 0], 'the one is a connection, the other is not';
        is_deeply $told->{httpd}, $unix ? [undef, undef, $server->path] : ['127.0.0.1', $server->port, undef],
            'gepok.httpd_socket';
    }
};

check 'net_server options' => sub {
    my $server = server(entry => 'new', app => $FACTS, options => {net_server_reuseport => 1});
    logged $server, qr/net_server_reuseport.*Net::Server/, 'are told by name to do nothing';
};

check "what Starlet's and Gazelle's tests call" => sub {
    my $code = 'use Plack::Handler::Gepok; srand 1; my $h = Plack::Handler::Gepok->new(max_reqs_per_child => 10, '
        . 'min_reqs_per_child => 7); my %got = map { $h->_calc_reqs_per_child => 1 } 1 .. 1000; '
        . 'print join " ", sort { $a <=> $b } keys %got; '
        . 'my %two = map { $h->_calc_minmax_per_child(5, 3) => 1 } 1 .. 1000; '
        . 'print "|@{[sort keys %two]}|", $h->_calc_minmax_per_child(5, undef), '
        . '"|", Plack::Handler::Gepok->new->_calc_reqs_per_child';
    is +(run_command([@perl, '-we', $code]))[1], '7 8 9 10|3 4 5|5|1000', 'numbers between both bounds, included';
};

done_testing;
