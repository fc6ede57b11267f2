# One process (start_servers 0): signals, whatever the app does to %SIG and however long it takes.
use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep time);

use Gepok::Test;

gepok_only();

# TERM lets a request finish. The app says by "$go-started" that it has begun, and waits for the file $go.
sub term_waits {
    my ($server, $go, $target) = @_;
    my $client = send_request($server, $target);
    ok soon { -e "$go-started" }, 'a request is in progress';
    $server->signal('TERM');
    ok $client->silent(0.2), 'TERM waits for it';
    open my $file, '>', $go or die $!;
    is $client->response->content, 'finished', 'the response is whole';
    is $server->wait_exit, 0, 'status 0';
}

# What CGI::Compile does around each call, and others.
my $LOCALS = <<'APP';
my %locals = (
    compile => sub { local @SIG{keys %SIG} = do { no warnings; values %SIG }; $_[0]->() },
    hash    => sub { local %SIG = %SIG; $_[0]->() },
    term    => sub { local $SIG{TERM} = 'DEFAULT'; local $SIG{HUP} = 'DEFAULT'; local $SIG{INT} = sub { }; 1 },
);
APP

for my $local (qw(compile hash term)) {
    check "signals after local \%SIG ($local)" => sub {
        each_entry {
            my $server = server(entry => shift, options => {start_servers => 0}, app => $LOCALS . <<'APP');
sub {
    my ($go, $local) = split /&/, shift->{QUERY_STRING};
    $locals{$local}->(sub { 1 });
    return [200, [], [$$]] if !$go;
    open my $file, '>', "$go-started" or die;
    select undef, undef, undef, 0.02 until -e $go;
    return [200, [], ['finished']];
}
APP
            my $go = $server->folder . '/go';
            is $server->get("/?&$local")->content, $server->pid, 'the one process answers';
            $server->signal('HUP');
            is $server->get("/?&$local")->content, $server->pid, 'HUP does not end it';
            term_waits($server, $go, "/?$go&$local");
        };
    };
}

# The whole call under such a local.
check 'TERM within local @SIG{keys %SIG}' => sub {
    my $server = server(options => {start_servers => 0}, app => $LOCALS . <<'APP');
sub {
    my $go = shift->{QUERY_STRING};
    $locals{compile}->(sub {
        open my $file, '>', "$go-started" or die;
        select undef, undef, undef, 0.02 until -e $go;
    });
    return [200, [], ['finished']];
}
APP
    my $go = $server->folder . '/go';
    term_waits($server, $go, "/?$go");
};

# `sleep` returns at a signal; a loop in C, as in a database's library, does not.
my %hangs = (
    'in Perl' => 'sub { open my $f, ">", $ENV{MARK} or die; 1 while 1 }',
    'in C'    => 'my $x = "a" x 40; sub { open my $f, ">", $ENV{MARK} or die; close $f; $x =~ /(a?){36}(a*)*b/ while 1; }',
);

for my $where (sort keys %hangs) {
    for my $case (['TERM', 1.5, 6], ['QUIT', 1.5, 6], ['TERM TERM', 0.5, 3.5, 30], ['INT', 0.5, 3.5, 30]) {
        my ($signals, $least, $most, $timeout) = @$case;
        check "$signals, and the app hangs $where" => sub {
            my $folder = scratch();
            my $server = server(entry => 'bin', listen => 'unix', env => {MARK => "$folder/mark"}, app => $hangs{$where},
                options => {start_servers => 0, graceful_timeout => $timeout // 1, pid_path => "$folder/pid"});
            my $client = send_request($server, '/');
            ok soon { -e "$folder/mark" }, 'it hangs';
            my $start = time;
            for my $signal (split / /, $signals) {
                $server->signal($signal);
                sleep 0.2;
            }
            is $server->wait_exit(20), 0, 'the server ends, with status 0 as with workers';
            my $took = time - $start;
            cmp_ok $took, '>=', $least, 'the app has had its time';
            cmp_ok $took, '<', $most * ($ENV{GEPOK_TEST_SLOW} // 1), 'and no more';
            ok !-e $server->path,   'the Unix socket is removed';
            ok !-e "$folder/pid", 'and the pid file';
        };
    }
}

check 'the caller of run has its signals back' => sub {
    my $server = server(entry => 'new', app => 'sub { [200, [], [$$]] }', options => {start_servers => 0}, prologue => <<'CODE');
$SIG{INT} = sub { print STDERR "MY INT\n" };
END { kill INT => $$; kill TERM => $$; sleep 10 }
CODE
    is $server->get('/')->content, $server->pid, 'it serves';
    $server->signal('TERM');
    is $server->wait_exit, 15, 'TERM ends the process after the server has ended';
    logged $server, qr/MY INT/, 'and INT runs the caller\'s handler';
};

# The core's thread has descriptors of its own.
check 'a child that the app forks holds neither client nor port' => sub {
    each_entry {
        my $server = server(entry => shift, listen => [qw(tcp unix)], options => {start_servers => 0}, app => <<'APP');
sub {
    my $pid = fork // die;
    if (!$pid) { sleep 100; CORE::exit(0) }
    return [200, [], [$pid]];
}
APP
        my $client = send_request($server, '/');
        my $child  = $client->response->content;
        ok $client->closed, 'the connection is closed';
        my @sockets = grep { (readlink($_) // '') =~ /^socket/ } glob "/proc/$child/fd/*";
        my %listens = map { $_ => 1 } map { (split)[9] } do { open my $f, '<', '/proc/net/tcp' or die $!; <$f> };
        is_deeply [grep { $listens{(readlink =~ /(\d+)/)[0]} } @sockets], [], 'no TCP socket is among its descriptors';
        is $server->stop, 0, 'the server stops';
        ok alive($child), 'the child lives on';
        ok !eval { $server->connect($_); 1 }, "and nobody listens ($_)" for qw(tcp unix);
        kill KILL => $child;
    };
};

# Both threads must go on in the new file.
check 'log files after HUP' => sub {
    my $folder = scratch();
    my $server = server(entry => 'bin', options => {start_servers => 0, log_level => 'info', access_log_path => "$folder/access",
        error_log_path => "$folder/errors"}, app => 'sub { print STDERR "the app says $_[0]{PATH_INFO}\n"; [200, [], [$$]] }');
    $server->get('/first');
    rename "$folder/$_", "$folder/$_.old" or die $! for qw(access errors);
    $server->signal('HUP');
    ok soon { -e "$folder/access" && -e "$folder/errors" }, 'both are opened again';
    $server->get('/second');
    my $slurp = sub { open my $file, '<', $_[0] or return ''; local $/; scalar(<$file>) // '' };
    ok soon { $slurp->("$folder/access") =~ m{GET /second} }, 'the access log goes on in the new file';
    like $slurp->("$folder/errors"), qr{the app says /second}, 'and the error log of the app';
    is $server->stop, 0, 'the server stops';
};

done_testing;
