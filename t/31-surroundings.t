# What a server is started with, whoever starts it: descriptors, blocked signals, limits, folders for temporary files.
use strict;
use warnings;

use IO::Socket::INET;
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);

use Gepok::Test;

gepok_only();

my @perl  = ($^X, map { '-I' . root() . "/blib/$_" } qw(arch lib));
my $bin   = root() . '/blib/script/gepok';
my $hello = 'sub { [200, [], ["hello"]] }';

sub slurp { open my $file, '<', $_[0] or return ''; local $/; scalar(<$file>) // '' }
sub which { my $name = shift; (grep { -x } map {"$_/$name"} split /:/, $ENV{PATH})[0] }

# A script that runs the class: the code says how.
sub script {
    my ($folder, $code) = @_;
    Gepok::Test::Server::spew("$folder/run.pl", "use strict; use warnings; use Gepok;\n$code");
    return (@perl, "$folder/run.pl");
}

for my $workers (1, 0) {
    for my $closed ('STDIN', 'STDOUT', 'STDERR', 'STDIN STDOUT STDERR', 'memory') {
        check "start_servers $workers, closed: $closed" => sub {
            my $folder = scratch();
            my $port   = free_port();
            my $close  = $closed eq 'memory' ? 'close STDERR; my $text = ""; open STDERR, ">", \$text or die;'
                : join ' ', map {"close $_;"} split ' ', $closed;
            my $server = server(listen => 'none', port => $port, command => [script($folder, <<"PERL")]);
$close
Gepok->new(http_ports => '127.0.0.1:$port', daemonize => 0, start_servers => $workers, max_clients => 1, pid_path => '$folder/pid')
    ->run(sub { print "to STDOUT\\n"; print STDERR "to STDERR\\n"; [200, [], ['hello']] });
PERL
            is $server->get('/')->content, 'hello', 'it serves' for 1 .. 2;
            is slurp("$folder/pid"), $server->pid . "\n", 'nothing but the pid is in the pid file';
            is $server->stop, 0, 'status 0';
        };
    }
}

SKIP: {
    my $start_server = which('start_server') or skip 'start_server (libserver-starter-perl) is missing', 1;
    each_entry {
        my $entry = shift;
        my $inner = bless {
            entry => $entry, app => $hello, kinds => [], args => [], name => 'Gepok', root => root(), folder => my $folder = scratch(),
            plack_env => 'deployment', options => {start_servers => 1}}, 'Gepok::Test::Server';
        my @command = $inner->command;
        delete $inner->{folder};
        my $port   = free_port();
        my $server = server(listen => 'none', port => $port, command => [$start_server, "--port=127.0.0.1:$port=0", '--', @command]);
        is $server->get('/')->content, 'hello', 'descriptor 0 is a listening socket: it serves';
        my ($master) = $server->descendants;
        my ($worker) = reverse $server->descendants;
        kill USR2 => $master;
        ok soon { !alive($worker) }, 'it begins anew' or diag $server->log;
        is $server->get('/')->content, 'hello', 'and serves on';
        ok alive($master), 'in place';
        unlike $server->log, qr/failed/, 'nothing failed';
        is $server->stop, 0, 'status 0';

        my $own = free_port();
        my %own = (bin => ["--http-ports=127.0.0.1:$own"], plackup => ["--listen=127.0.0.1:$own"]);
        if (my $words = $own{$entry}) {
            my $server = server(listen => 'none', port => $own, command => [$start_server, '--', @command[0 .. $#command - 1], @$words, $command[-1]]);
            is $server->get('/')->content, 'hello', 'without a port of start_server\'s, Gepok\'s own addresses are bound';
            is $server->stop, 0, 'status 0';
        }
    };

    for my $way ('Gepok->new', 'Plack::Loader->load') {
        check "$way takes the descriptors of start_server" => sub {
            my $folder = scratch();
            my $port   = free_port();
            my $new    = $way =~ /Loader/ ? "require Plack::Loader; my \$server = Plack::Loader->load('Gepok');"
                : 'my $server = Gepok->new(daemonize => 0);';
            my $server = server(listen => 'none', port => $port, command => [
                $start_server, "--port=127.0.0.1:$port", '--', script($folder, <<"PERL")]);
my (\$number) = \$ENV{SERVER_STARTER_PORT} =~ /=([0-9]+)/;
open my \$own, '+<&=', \$number or die;
$new
close \$own;
open my \$other, '<', '/dev/zero' or die;
die if fileno \$other != \$number;
\$server->run(sub { read \$other, my \$bytes, 1; [200, [], [length \$bytes]] });
PERL
            is $server->get('/')->content, 1, 'the program may close them, and use their numbers' or diag $server->log;
            is $server->stop, 0, 'status 0';
        };
    }
}

# As a process does that blocks signals while it forks.
each_entry {
    my $entry  = shift;
    my $before = POSIX::SigSet->new;
    my $all    = POSIX::SigSet->new;
    $all->fillset;
    POSIX::sigprocmask(POSIX::SIG_BLOCK(), $all, $before);
    my $server = server(entry => $entry, app => 'sub { [200, [], [$$]] }', options => {start_servers => 1});
    POSIX::sigprocmask(POSIX::SIG_SETMASK(), $before);
    my $worker = $server->get('/')->content;
    kill KILL => $worker;
    ok soon { !-e "/proc/$worker" }, 'a worker that has died is buried';
    isnt $server->get('/')->content, $worker, 'and replaced';
    my ($next) = reverse $server->descendants;
    like slurp("/proc/$next/status"), qr/^SigBlk:\s+0+$/m, 'the app has no blocked signals';
    is $server->stop, 0, 'TERM ends the server';
};

check 'too few descriptors' => sub {
    my $folder = scratch();
    Gepok::Test::Server::spew("$folder/app.psgi", $hello);
    for my $count (12, 20, 30) {
        my ($status, $text) = run_command(['sh', '-c', "ulimit -n $count && exec \"\$@\"", 'sh', $bin, '--http-ports=127.0.0.1:' . free_port(), "$folder/app.psgi"]);
        is $status, 2 << 8, "$count: status 2";
        like $text, qr/^gepok: the limit on open files is $count \(ulimit -n\), and the server needs at least \d+$/m, 'one sentence says why';
    }
    my ($least) = (run_command(['sh', '-c', "ulimit -n 12 && exec \"\$@\"", 'sh', $bin, '--start-servers=0', '--http-ports=127.0.0.1:1', "$folder/app.psgi"]))[1]
        =~ /at least (\d+)/;
    # For two generations of one worker.
    $least += 4;
    my $server = server(entry => 'bin', app => $hello, options => {start_servers => 1}, prefix => ['sh', '-c', "ulimit -n $least && exec \"\$@\"", 'sh']);
    is $server->get('/')->content, 'hello', "with $least it serves" or diag $server->log;
    my ($worker) = reverse $server->descendants;
    $server->signal('HUP');
    ok soon { !alive($worker) }, 'and reloads' or diag $server->log;
    is $server->stop, 0, 'and stops';
    unlike $server->log, qr/fail/, 'without a failure';
};

# How a request with so much content is answered.
sub posted {
    my ($server, $bytes) = @_;
    return $server->post('/', 'x' x $bytes)->status;
}

SKIP: {
    skip 'only root can choose a user', 1 if $>;
    check 'a spool folder that the user may not write to' => sub {
        my $folder = scratch();
        chmod 0755, $folder;
        Gepok::Test::Server::spew("$folder/app.psgi", $hello);
        for my $entry ($bin, join ' ', @perl, Gepok::Test::Server::plackup(), '-s Gepok') {
            my ($status, $text) = run_command(['sh', '-c',
                "exec $entry --listen=127.0.0.1:@{[free_port()]} --user=nobody --spool-dir=$folder --pid-path=$folder/pid $folder/app.psgi"]);
            ok $status, 'it does not start';
            like $text, qr/option 'spool_dir': no file can be made in '\Q$folder\E' by user 'nobody': Permission denied/, 'and says which, and why';
            ok !-e "$folder/pid", 'no pid file is left';
        }
    };
    check 'an access log that only a method writes, as the user' => sub {
        my $folder = scratch();
        chmod 0755, $folder;
        my $port = free_port();
        my @run  = script($folder, <<"PERL");
package My; our \@ISA = 'Gepok'; sub access_log { my \$self = shift; \$self->SUPER::access_log(\@_) }
package main;
My->new(http_ports => '127.0.0.1:$port', daemonize => 0, user => 'nobody', access_log_path => '$folder/log')->run(sub { });
PERL
        my ($status, $text) = run_command(\@run);
        ok $status, 'it does not start';
        like $text, qr{option 'access_log_path': the server's user can't open \Q$folder\E/log: Permission denied}, 'and says why';
    };

    # A mount of its own, so that nobody else loses the folder.
    my $unshare = which('unshare');
    skip 'a namespace of mounts is not permitted', 1 if !$unshare || system "$unshare --mount true 2>/dev/null";
    check '/var/tmp can not be written to' => sub {
        my $folder   = scratch();
        my $readonly = 'mount -t tmpfs -o ro none /var/tmp && exec "$@"';
        my %server   = (entry => 'bin', app => 'sub { [200, [], ["hello"]] }', options => {start_servers => 1});
        my $server   = server(%server, prefix => [$unshare, '--mount', 'sh', '-c', $readonly, 'sh'], env => {TMPDIR => "$folder"});
        is posted($server, 2_000_000), 200, 'TMPDIR takes its place';
        is $server->stop, 0, 'status 0';
        for my $temporary ('/var/tmp', '/nowhere', 'relative') {
            $server = server(%server, prefix => [$unshare, '--mount', 'sh', '-c', $readonly, 'sh'], env => {TMPDIR => $temporary});
            is posted($server, 2_000_000), 507, "TMPDIR=$temporary: what exceeds memory is refused";
            is posted($server, 500_000), 200, 'and what does not is served';
            logged $server, qr/\[warn\] neither TMPDIR nor \/var\/tmp can be written to/, 'the log says so';
            is $server->stop, 0, 'status 0';
        }
    };
}

done_testing;
