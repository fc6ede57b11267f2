# A terminal that hangs up ends the server that was started from it; SIGHUP means a reload otherwise.
use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep);

use Gepok::Test;

gepok_only();

plan skip_all => 'no pseudoterminals here' if !-e '/dev/ptmx';

# Runs a command as the first process of a session with a terminal, until the first argument names a file: then the
# terminal hangs up. What is typed into the terminal is the second argument.
my $TERMINAL = <<'CODE';
use POSIX ();
my ($file, $typed) = splice @ARGV, 0, 2;
open my $terminal, '+<', '/dev/ptmx' or die "ptmx: $!";
my ($lock, $number) = (pack('i', 0)) x 2;
ioctl $terminal, 0x40045431, $lock or die "TIOCSPTLCK: $!";
ioctl $terminal, 0x80045430, $number or die "TIOCGPTN: $!";
my $path = '/dev/pts/' . unpack 'i', $number;
my $pid = fork // die $!;
if (!$pid) {
    POSIX::setsid();
    close $terminal;
    open STDIN, '+<', $path or die "$path: $!";
    exec @ARGV;
}
syswrite $terminal, $typed;
select undef, undef, undef, 0.02 until -e $file;
close $terminal;
waitpid $pid, 0;
print STDERR "STATUS $?\n";
CODE

my $APP = 'sub { [200, [], [join " ", $$, getppid]] }';

sub on_terminal {
    my %args   = @_;
    my $folder = scratch();
    my $server = server(
        %args,
        app     => $APP,
        options => {start_servers => 1, pid_path => "$folder/pid", %{$args{options} // {}}},
        prefix  => [$^X, '-e', $TERMINAL, "$folder/hangup", $args{typed} // '', @{$args{through} // []}]);
    my ($pid, $parent) = split / /, $server->get('/')->content;
    my $hang_up = sub { open my $file, '>', "$folder/hangup" or die $! };
    return ($server, $args{options}{start_servers} // 1 ? $parent : $pid, $hang_up, $folder);
}

# The same in the background of an interactive shell, which passes the signal on to its jobs.
sub in_background {
    my ($workers, $after) = @_;
    my $folder = scratch();
    my @made   = on_terminal(
        entry   => 'bin',
        options => {start_servers => $workers},
        typed   => ". $folder/command & $after\n",
        through => ['bash', '-c', 'printf "%q " "$@" > "$0"; exec bash --norc -i', "$folder/command"]);
    return @made;
}

# What tells of a reload: in one process nothing does, and it answers.
sub reloads {
    my ($server, $master, $name) = @_;
    my ($before) = $server->get('/')->content;
    kill HUP => $master;
    return is $server->get('/')->content, $before, $name if $before =~ /^$master /;
    ok soon { my $now = eval { $server->get('/')->content }; $now && $now ne $before }, $name;
}

for my $entry (qw(bin plackup)) {
    for my $workers (0, 1) {
        check "through $entry, start_servers=$workers" => sub {
            my ($server, $master, $hang_up) = on_terminal(entry => $entry, options => {start_servers => $workers});
            reloads($server, $master, 'HUP is a reload while the terminal is there');
            $hang_up->();
            ok soon { !alive($master) }, 'it ends when the terminal hangs up';
            logged $server, qr/STATUS 0/, 'with status 0' or diag $server->log;
            ok !eval { $server->connect; 1 }, 'and nobody listens';
        };
    }
}

check 'in the foreground of a shell' => sub {
    for my $workers (0, 1) {
        my ($server, $master, $hang_up) = on_terminal(entry => 'bin', options => {start_servers => $workers},
            through => ['sh', '-c', '"$@"; exit $?', 'sh']);
        $hang_up->();
        ok soon { !alive($master) }, "start_servers=$workers: it ends";
    }
};

check 'in the background of a shell' => sub {
    for my $workers (0, 1) {
        my ($server, $master, $hang_up) = in_background($workers, '');
        reloads($server, $master, "start_servers=$workers: HUP is a reload while the terminal is there");
        $hang_up->();
        ok soon { !alive($master) }, 'it ends';
    }
};

check 'nohup' => sub {
    my ($server, $master, $hang_up) = on_terminal(entry => 'bin', through => ['sh', '-c', 'trap "" HUP; "$@"', 'sh']);
    $hang_up->();
    ok !soon(sub { !alive($master) }, 1), 'the server stays';
    reloads($server, $master, 'and HUP is a reload');
    kill TERM => $master;
    ok soon { !alive($master) }, 'TERM ends it';
};

check 'a server that was taken off its shell' => sub {
    my ($server, $master, $hang_up) = in_background(1, 'disown');
    $hang_up->();
    logged $server, qr/STATUS/, 'its terminal has gone';
    reloads($server, $master, 'HUP of another process is a reload');
    kill TERM => $master;
    ok soon { !alive($master) }, 'TERM ends it';
};

done_testing;
