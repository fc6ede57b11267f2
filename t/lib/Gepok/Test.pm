package Gepok::Test;

# Starts the server under test in a child process, and speaks HTTP to it byte by byte where a test needs that.
#
#   my $server = server(app => 'sub { [200, [], ["hello"]] }', options => {start_servers => 1});
#   is $server->get('/')->content, 'hello';
#
# GEPOK_TEST_SERVER names another Plack handler (Starman, Starlet, HTTP::Server::PSGI): a test that is true of
# those as well can be proved against them before it judges Gepok.

use strict;
use warnings;

use Cwd            ();
use Exporter       qw(import);
use Fcntl          qw(:flock);
use File::Basename qw(dirname);
use File::Spec;
use File::Temp ();
use IO::Socket::INET;
use JSON::PP    ();
use Test::More  ();
use Time::HiRes qw(sleep time);

use Gepok::Test::Server;

our @EXPORT = qw(
    server each_entry check entries default_entry server_name is_gepok gepok_only
    root app_file json soon logged logged_times alive catches pipelined send_request free_port scratch run_command
);

my $ROOT = Cwd::abs_path(File::Spec->catdir(dirname(__FILE__), (File::Spec->updir) x 3));

# A test that hangs is a failure with a name, never a CI run without an end. Long: others may have the processors.
alarm($ENV{GEPOK_TEST_LIMIT} || 900);
$SIG{ALRM} = sub { die "$0 has run out of its time\n" };
$SIG{PIPE} = 'IGNORE';

# Whoever started the tests in the background may ignore these, and every process below would as well.
$SIG{$_} = 'DEFAULT' for qw(HUP INT QUIT TERM CHLD);

# The handler under test.
sub server_name { $ENV{GEPOK_TEST_SERVER} || 'Gepok' }
sub is_gepok    { server_name() eq 'Gepok' }

# Ends the test file when it is about Gepok alone and another server is under test.
sub gepok_only {
    return if is_gepok();
    Test::More::plan(skip_all => 'true of Gepok alone');
}

# The checkout.
sub root { $ROOT }

# The ways in: every one must behave alike.
sub entries { is_gepok() ? qw(plackup new bin) : qw(plackup new) }

# The way in for tests of what lies behind it.
sub default_entry { $ENV{GEPOK_TEST_ENTRY} || 'plackup' }

# A running server; see Gepok::Test::Server for the arguments.
sub server {
    my %args = @_;
    built() if is_gepok();
    return Gepok::Test::Server->new(root => $ROOT, name => server_name(), entry => default_entry(), %args);
}

# Runs the block once for each way in, as a subtest that bears its name.
sub each_entry (&) {
    my $block = shift;
    for my $entry (entries()) {
        check("through $entry" => sub { $block->($entry) });
    }
}

# A subtest in which an exception is one failure, not the end of the file.
sub check {
    my ($name, $block) = @_;
    Test::More::subtest($name => sub {
        return if eval { $block->(); 1 };
        Test::More::fail('it went on to its end');
        Test::More::diag($@);
    });
}

# Fails with one sentence when there is nothing to test.
sub built {
    require Config;
    for my $part ("blib/arch/auto/Gepok/Gepok.$Config::Config{dlext}", 'blib/lib/Gepok.pm', 'blib/script/gepok') {
        next if -e "$ROOT/$part";
        Test::More::BAIL_OUT("$part is missing: run 'perl Makefile.PL && make' first (t/00-build.t does the same)");
    }
}

# The path of one of the applications in t/apps.
sub app_file { "$ROOT/t/apps/$_[0].psgi" }

# Sends a GET for the target, whose response ends the connection. Returns the client, which can wait for it.
sub send_request {
    my ($server, $target) = @_;
    my $client = $server->connect;
    $client->send("GET $target HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    return $client;
}

# What an application sent as JSON; bytes come back as bytes.
sub json { JSON::PP->new->latin1->decode($_[0]) }

# Waits until the block is true, at most so many seconds: for what the other side does in its own time. The time is that of
# a machine with much else to do; only a test that fails takes it all.
sub soon (&;$) {
    my ($block, $seconds) = @_;
    my $limit = time + ($seconds || 60) * ($ENV{GEPOK_TEST_SLOW} // 1);
    while (1) {
        my $value = $block->();
        return $value if $value;
        return $value if time > $limit;
        sleep 0.02;
    }
}

# A test that the server's log matches. A line may come after the response that caused it, so this waits for it.
sub logged {
    my ($server, $pattern, $name) = @_;
    soon { $server->log =~ $pattern };
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return Test::More::like($server->log, $pattern, $name);
}

# A test that so many places of the server's log match, which waits for them.
sub logged_times {
    my ($server, $pattern, $times, $name) = @_;
    my $count = sub { scalar(() = $server->log =~ /$pattern/g) };
    soon { $count->() >= $times };
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return Test::More::is($count->(), $times, $name);
}

# Whether a process runs: it is there, and no zombie.
sub alive {
    my ($pid) = @_;
    open my $stat, '<', "/proc/$pid/stat" or return 0;
    my $line = <$stat>;
    return defined $line && $line !~ /^\d+ \(.*\) Z/;
}

# Whether a process has a handler for a signal: until then the signal would do what it does by default.
sub catches {
    my ($pid, $signal) = @_;
    open my $status, '<', "/proc/$pid/status" or return 0;
    my ($mask) = map { /^SigCgt:\s*[0-9a-f]*([0-9a-f]{8})$/ } <$status>;
    my $number = {HUP => 1, INT => 2, QUIT => 3, TERM => 15}->{$signal} // die "what is $signal?\n";
    return hex($mask // 0) >> $number - 1 & 1;
}

# Sends all at once on one connection and returns the responses, one for each request's method.
sub pipelined {
    my ($server, $bytes, @methods) = @_;
    my $connection = $server->connect;
    $connection->send($bytes);
    return map { $connection->response($_) } @methods;
}

# A temporary folder that goes with the test. Its path is short: a Unix socket's path has 107 bytes at most.
sub scratch { File::Temp->newdir('gepok-XXXXXX', TMPDIR => 1) }

my @locks;

# A port no one listens on. It is below the range from which the kernel takes ports for outgoing connections, and
# locked against the other tests of a parallel run.
sub free_port {
    my $folder = File::Spec->tmpdir . "/gepok-test-ports-$<";
    mkdir $folder, 0700;
    for my $try (0 .. 4000) {
        my $port = 20000 + ($$ * 7 + $try) % 10000;
        open my $lock, '>>', "$folder/$port" or die "$folder/$port: $!";
        flock $lock, LOCK_EX | LOCK_NB or next;
        IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 1, ReuseAddr => 1) or next;
        push @locks, $lock;
        return $port;
    }
    die 'no free port';
}

# An address of this machine's that is not a loopback address, if it has one: its clients are not taken for a local proxy.
sub own_address {
    # Connects, which sends nothing: the kernel chooses the address.
    my $socket  = IO::Socket::INET->new(Proto => 'udp', PeerAddr => '198.51.100.1', PeerPort => 9) or return;
    my $address = $socket->sockhost;
    return $address =~ /^(?:127|0)\./ ? undef : $address;
}

# Runs a command to its end, in at most so many seconds, or until its output matches `until`: (wait status or undef when it
# had to be killed, its output).
sub run_command {
    my ($command, %args) = @_;
    my $out = File::Temp->new;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        chdir $args{dir} or POSIX::_exit(126) if $args{dir};
        @ENV{keys %{$args{env}}} = values %{$args{env}} if $args{env};
        setpgrp;
        open STDIN,  '<',  '/dev/null';
        open STDOUT, '>>', $out->filename;
        open STDERR, '>&', \*STDOUT;
        no warnings 'exec';
        exec {$command->[0]} @$command or print STDERR "$command->[0]: $!\n";
        POSIX::_exit(127);
    }
    my $log    = sub { open my $file, '<', $out->filename or die $!; local $/; scalar(<$file>) // '' };
    my $status = soon {
        my $ended = Gepok::Test::Server::reap($pid, 0);
        defined $ended ? [$ended] : $args{until} && $log->() =~ $args{until} ? [undef] : undef;
    } $args{seconds} || 120;
    $status = $status && $status->[0];
    if (!defined $status) {
        kill KILL => -$pid;
        waitpid $pid, 0;
    }
    return ($status, $log->());
}

1;
