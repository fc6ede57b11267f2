package Gepok::Bench::Process;

# A running server: its start and end, and what its processes cost.

use strict;
use warnings;

use List::Util  qw(sum0);
use POSIX       ();
use Time::HiRes qw(sleep time);

my $TICKS = POSIX::sysconf(POSIX::_SC_CLK_TCK());

# Starts a command. `cpu` is the one it is kept on, none if not given; `log` takes what it writes; `env` adds to the environment.
sub start {
    my ($class, %args) = @_;
    my @command = (defined $args{cpu} ? ('taskset', '-c', $args{cpu}) : (), @{$args{command}});
    defined(my $pid = fork) or die "fork: $!\n";
    if (!$pid) {
        # A group of its own, so that its end takes all of it along.
        setpgrp;
        @ENV{keys %{$args{env}}} = values %{$args{env}} if $args{env};
        open STDIN,  '<', '/dev/null' or POSIX::_exit(126);
        open STDOUT, '>', $args{log}  or POSIX::_exit(126);
        open STDERR, '>&', \*STDOUT   or POSIX::_exit(126);
        { no warnings 'exec'; exec @command }
        print STDERR "$command[0]: $!\n";
        POSIX::_exit(127);
    }
    return bless {pid => $pid, log => $args{log}, owner => $$, command => "@command", started => time}, $class;
}

sub pid { $_[0]{pid} }

# When it was started, in seconds of the clock.
sub started { $_[0]{started} }

# Asks the block until it is true, for at most so many seconds; an exception when the server leaves before.
sub await {
    my ($self, $block, $seconds, $pause) = @_;
    my $limit = time + ($seconds // 20);
    while (1) {
        my $value = $block->();
        return $value if $value;
        die "it has left:\n" . $self->tail if !$self->alive;
        die "it does not answer:\n" . $self->tail if time > $limit;
        sleep($pause // 0.005);
    }
}

sub alive {
    my ($self) = @_;
    return 0 if $self->{ended};
    return 1 if waitpid($self->{pid}, POSIX::WNOHANG()) == 0;
    $self->{ended} = 1;
    return 0;
}

# The last of what it wrote, and how it was started.
sub tail {
    my ($self) = @_;
    open my $log, '<', $self->{log} or return '';
    my @lines = <$log>;
    splice @lines, 0, -15 if @lines > 15;
    return join '', "  \$ $self->{command}\n", map {"  $_"} @lines;
}

# It and all processes below it.
sub tree {
    my ($self) = @_;
    my @pids = ($self->{pid});
    for (my $next = 0; $next < @pids; $next++) {
        for my $file (glob "/proc/$pids[$next]/task/*/children") {
            push @pids, split ' ', content($file);
        }
    }
    return @pids;
}

# Processor time of all its processes, or of those whose command line matches, with that of those which have left, in seconds; by
# the kernel's ticks (10 ms as a rule).
sub cpu {
    my ($self, $which) = @_;
    my $ticks = 0;
    for my $pid ($self->tree) {
        next if $which && content("/proc/$pid/cmdline") !~ $which;
        # Behind the name, which may hold anything: utime, stime, and those of children that were waited for.
        my @stat = split ' ', content("/proc/$pid/stat") =~ s/.*\)//sr;
        $ticks += sum0(@stat[11 .. 14]) if @stat;
    }
    return $ticks / $TICKS;
}

# {resident, proportional} of a process in KiB; what it shares with n others counts for an nth in the latter.
sub memory {
    my ($pid) = @_;
    my $text = content("/proc/$pid/smaps_rollup");
    my ($resident)     = $text =~ /^Rss:\s+(\d+)/m or die "process $pid: no smaps_rollup can be read\n";
    my ($proportional) = $text =~ /^Pss:\s+(\d+)/m;
    return {resident => $resident, proportional => $proportional};
}

# Ends it: TERM, and KILL for whoever is there two seconds later.
sub stop {
    my ($self) = @_;
    my $pid = $self->{pid};
    my %left = map { $_ => 1 } $self->tree;
    if ($self->alive) {
        kill TERM => $pid;
        for (1 .. 400) {
            last if !$self->alive;
            sleep 0.005;
        }
    }
    kill KILL => -$pid;
    for my $descendant (grep { $_ != $pid } keys %left) {
        kill KILL => $descendant if content("/proc/$descendant/stat") =~ /\) [^Z]/;
    }
    if (!$self->{ended}) {
        waitpid $pid, 0;
        $self->{ended} = 1;
    }
}

sub DESTROY {
    my ($self) = @_;
    return if $self->{owner} != $$ || $self->{ended};
    local ($?, $@, $!);
    $self->stop;
}

# A small file, '' if it is gone.
sub content {
    my ($path) = @_;
    open my $file, '<', $path or return '';
    local $/;
    return <$file> // '';
}

1;
