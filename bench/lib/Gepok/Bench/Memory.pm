package Gepok::Bench::Memory;

# How soon a server answers after its start, and what memory its processes take.

use strict;
use warnings;

use List::Util  qw(sum0);
use Time::HiRes qw(sleep time);

use Gepok::Bench::Http    ();
use Gepok::Bench::Launch  qw(check launch);
use Gepok::Bench::Process ();
use Gepok::Bench::Wrk     ();

# {ms}
sub first_answer {
    my ($app, $how, $server) = @_;
    my $running = launch(server => $server, folder => $how->{folder}, app => $app, pause => 0.0005);
    my $ms      = 1000 * (time - $running->{process}->started);
    check($running, ['GET', '/'], "Hello World\n");
    $running->{process}->stop;
    return {ms => $ms};
}

# {idle, idle_all, busy, busy_all} in MiB of PSS.
sub of_worker {
    my ($app, $how, $server) = @_;
    my $running = launch(server => $server, folder => $how->{folder}, app => $app);
    my $worker  = worker($running);
    my ($idle, $idle_all) = sizes($running, $worker);

    # wrk runs in a process of its own while this one looks.
    defined(my $pid = fork) or die "fork: $!\n";
    if (!$pid) {
        my $done = eval {
            Gepok::Bench::Wrk::run(url => "$running->{url}/", connections => 32, seconds => $how->{seconds}, length => length $worker);
        };
        print STDERR $@ if !$done;
        POSIX::_exit($done ? 0 : 1);
    }
    sleep 0.8 * $how->{seconds};
    my ($busy, $busy_all) = sizes($running, $worker);
    waitpid $pid, 0;
    die "the load failed\n" if $? != 0;
    check($running, ['GET', '/'], $worker);
    $running->{process}->stop;
    return {idle => $idle, idle_all => $idle_all, busy => $busy, busy_all => $busy_all};
}

# The process that answers.
sub worker {
    my ($running) = @_;
    my $answer = check($running, ['GET', '/'], sub { $_[0] =~ /\A\d+\z/ });
    return $answer->{content};
}

# MiB of the worker, and of all.
sub sizes {
    my ($running, $worker) = @_;
    my %size = map { $_ => Gepok::Bench::Process::memory($_)->{proportional} / 1024 } $running->{process}->tree;
    die "process $worker answers, but is none of the server's\n" if !exists $size{$worker};
    return ($size{$worker}, sum0(values %size));
}

1;
