# USR2: the server becomes its new program in place, with the same pid and sockets, once a trial has gone well.
use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep time);

use Gepok::Test;
use Gepok::Test::Reloads;

gepok_only();

# A server whose preloaded app can be rewritten: (server, writer of the file).
sub versions {
    my ($entry, %how) = @_;
    my $folder = scratch();
    my $write  = sub {
        my ($version, $more) = @_;
        Gepok::Test::Server::spew("$folder/app.psgi",
            "use strict;\nuse warnings;\n" . ($more // '') . "\nsub { select undef, undef, undef, 1.5 if \$_[0]{PATH_INFO} eq '/slow';"
                . " [\$_[0]{PATH_INFO} eq '/check' && '$version' =~ /bad/ ? 503 : 200, [], ['$version']] }\n");
    };
    $write->('v1');
    my $server = server(entry => $entry, app => "$folder/app.psgi", %how, options => {start_servers => 2, %{$how{options} // {}}});
    $server->{scratch} = $folder;
    return ($server, $write);
}

sub version { $_[0]->get('/')->content }
sub failures { () = $_[0]->log =~ /the restart failed, and nothing has changed/g }

# Whether it has the listening sockets that its master has: no other sockets are those of both.
sub listens {
    my ($server, $pid) = @_;
    my $sockets = sub { grep {/^socket:/} map { readlink($_) // () } glob "/proc/$_[0]/fd/*" };
    my %masters = map { $_ => 1 } $sockets->($server->pid);
    return grep { $masters{$_} } $sockets->($pid);
}

# The system refuses connections to a process that died: that it lives is shown by its pid.
sub is_child { my $server = shift; kill 0 => $server->pid and !defined $server->wait_exit(0) }

each_entry {
    my $entry = shift;
    my ($server, $write) = versions($entry, listen => ['tcp', 'unix'], options => {check_path => '/check'});
    is version($server), 'v1', 'the first version serves';
    my $slow = $server->connect;
    $slow->send("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
    my $idle = $server->connect;
    $idle->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    is $idle->response->content, 'v1', 'a connection is kept';
    my $failed = 0;
    for my $broken (['v2', 'my $x = ;'], ['v2', 'exit 0;'], ['bad']) {
        $write->(@$broken);
        $server->signal('USR2');
        $failed++;
        ok soon { failures($server) == $failed }, 'a broken app: the log says that the restart failed' or diag $server->log;
        is version($server), 'v1', 'and the first version serves on';
    }
    logged $server, qr/syntax error/, 'and why';
    logged $server, qr{check_path /check was answered with 503}, 'for the check, too';
    ok soon { (() = $server->descendants) == 3 }, 'nothing is left of the trials';
    for my $version (qw(v2 v3)) {
        $write->($version);
        my ($core) = grep { listens($server, $_) } $server->descendants;
        $server->signal('USR2');
        ok soon { version($server) eq $version }, "$version serves";
        # It takes all clients that wait before it lets go.
        ok soon { !listens($server, $core) }, 'the core before accepts no more';
        is_deeply [grep { version($server) ne $version } 1 .. 5], [], 'alone';
        ok is_child($server), 'in a process of the same pid';
        my $unix = $server->connect('unix');
        $unix->send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        is $unix->response->content, $version, 'on the Unix socket, too';
    }
    my $response = $slow->response;
    is $response->content, 'v1', 'what was in flight is finished';
    ok soon { (() = $server->descendants) == 3 }, 'nothing is left of what was before' or diag join ' ', $server->descendants;
    $server->signal('HUP');
    ok soon { $server->log !~ /\[error\] the reload/ and (() = $server->descendants) == 3 }, 'HUP still reloads';
    is $server->stop, 0, 'status 0';
    ok !-e $server->path, 'the Unix socket is removed at the end, and only then';
};

check 'reload_on_hup' => sub {
    my ($server, $write) = versions('bin', options => {reload_on_hup => 1});
    is version($server), 'v1', 'the first version serves';
    $write->('v2');
    $server->signal('HUP');
    ok soon { version($server) eq 'v2' }, 'HUP brings the second of a preloaded app';
    ok is_child($server), 'in place';
};

check 'daemonized, with a pid file' => sub {
    my $folder = scratch();
    my $path   = "$folder/pid";
    my ($server, $write) = versions('bin', args => ['--daemonize', "--pid-path=$path"], ready => 0);
    is $server->wait_exit(60), 0, 'it has gone to the background';
    my $pid = sub { open my $file, '<', $path or return ''; scalar <$file> };
    my $before = $pid->();
    is version($server), 'v1', 'the first version serves';
    my $gepok = root() . '/blib/script/gepok';
    for my $version (qw(v2 v3)) {
        $write->($version);
        is system($gepok, 'restart', "--pid-path=$path"), 0, 'gepok restart';
        ok soon { version($server) eq $version }, "brings $version" or diag $server->log;
        is $pid->(), $before, 'with the same pid';
    }
    is system($gepok, 'stop', "--pid-path=$path"), 0, 'gepok stop';
    ok !-e $path, 'which takes the pid file away';
};

check 'a user without rights' => sub {
    plan skip_all => 'only root can choose a user' if $>;
    # plackup loads the app as root; the command as the user, who may not read this folder yet.
    my ($server, $write) = versions('plackup', args => ['--user=nobody']);
    chmod 0755, $server->{scratch}, $server->folder;
    is version($server), 'v1', 'the first version serves';
    $write->('v2');
    chmod 0644, "$server->{scratch}/app.psgi";
    $server->signal('USR2');
    ok soon { version($server) eq 'v2' }, 'can begin anew' or diag $server->log;
};

check 'TERM during a trial' => sub {
    my ($server, $write) = versions('bin');
    is version($server), 'v1', 'the first version serves';
    $write->('v2', 'sleep 60;');
    $server->signal('USR2');
    ok soon { (() = $server->descendants) == 4 }, 'the trial loads the app for long';
    my $start = time;
    is $server->stop, 0, 'status 0';
    cmp_ok time - $start, '<', 25, 'without waiting for it';
};

check 'TERM just after USR2' => sub {
    # At every moment: before the trial is there, in the middle, as the program changes, behind that.
    for my $pause (0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5) {
        my ($server, $write) = versions('bin', listen => ['tcp', 'unix']);
        is version($server), 'v1', "$pause s: the first version serves";
        $write->('v2');
        $server->signal('USR2');
        sleep $pause;
        is $server->stop, 0, 'TERM ends it with status 0' or diag $server->log;
        ok soon { !$server->family }, 'nothing is left of trial, program and workers' or diag join ' ', $server->family;
        ok !-e $server->path, 'nor its socket';
        unlike $server->log, qr/error/, 'and nothing went wrong' or diag $server->log;
    }
};

check 'under load' => sub {
    my $sum = Gepok::Test::Reloads::under_load(
        kind => 'USR2', seconds => 5, workers => 2, kept => 60, clients => 2, fresh => 1);
    is_deeply $sum->{lost}, [], 'no request is lost';
    cmp_ok $sum->{reloads},  '>=', 2,   'though the server began anew';
    cmp_ok $sum->{requests}, '>',  200, 'among many requests';
    note "$sum->{reloads} times, ", Gepok::Test::Reloads::text($sum);
};

done_testing;
