package Gepok::Bench::Idle;

# What connections cost that have brought a request and are silent since.

use strict;
use warnings;
use utf8;

use POSIX       ();
use Time::HiRes qw(sleep);

use Gepok::Bench::Http    ();
use Gepok::Bench::Launch  qw(check launch);
use Gepok::Bench::Process ();

our $TEXT = 'Each connection has brought one request and is silent since; behind the measurement each brings another, which must be '
    . 'answered. Resident memory. The largest process is Gepok\'s core, nginx\'s worker.';

# Descriptors that client and server need beside those of the connections.
my $OTHERS = 200;

# {front, front_more, worker_more (all in MiB), cpu (seconds), connections}
sub measure {
    my ($app, $how, $server) = @_;
    my $wanted = $how->{quick} ? 1_000 : 10_000;
    my $limit  = POSIX::sysconf(POSIX::_SC_OPEN_MAX()) // 0;
    $wanted = $limit - $OTHERS if $limit > 0 && $wanted > $limit - $OTHERS;
    my $silence = $how->{quick} ? 1 : 5;

    my $running = launch(server => $server, folder => $how->{folder}, app => $app, answer => {type => 'text/plain', content => '0'});
    my $worker  = check($running, ['GET', '/'], sub { $_[0] =~ /\A\d+\z/ })->{content};
    my %before  = residents($running);

    pipe my $said, my $says or die "pipe: $!\n";
    pipe my $hears, my $tell or die "pipe: $!\n";
    defined(my $pid = fork) or die "fork: $!\n";
    if (!$pid) {
        close $_ for $said, $tell;
        $says->autoflush;
        my $right = eval {
            my @clients = map { opened($running) } 1 .. $wanted;
            print {$says} "ready\n";
            readline $hears;
            $_->ask('GET', '/')->{status} == 200 || die "not answered at last\n" for @clients;
            1;
        };
        print {$says} $right ? "right\n" : "connections: $@";
        POSIX::_exit(0);
    }
    close $_ for $says, $hears;
    my $word = readline($said) // '';
    die $word if $word ne "ready\n";
    sleep 1;
    my $cpu = $running->{process}->cpu;
    sleep $silence;
    $cpu = ($running->{process}->cpu - $cpu) * 5 / $silence;
    my %after = residents($running);
    close $tell;
    $word = readline($said) // '';
    waitpid $pid, 0;
    die $word if $word ne "right\n";
    $running->{process}->stop;

    my ($front) = sort { $after{$b} - ($before{$b} // 0) <=> $after{$a} - ($before{$a} // 0) } keys %after;
    return {
        front       => $after{$front} / 1024,
        front_more  => ($after{$front} - ($before{$front} // 0)) / 1024,
        cpu         => $cpu,
        connections => $wanted,
        exists $after{$worker} && exists $before{$worker} ? (worker_more => ($after{$worker} - $before{$worker}) / 1024) : (),
    };
}

sub opened {
    my ($running) = @_;
    my $client = Gepok::Bench::Http->connect($running->{target}) or die "no connection: $!\n";
    my $answer = $client->ask('GET', '/');
    die "status $answer->{status}\n"  if $answer->{status} != 200;
    die "a connection is not kept\n"  if $answer->{says_close};
    return $client;
}

# KiB of each process.
sub residents {
    my ($running) = @_;
    return map { $_ => Gepok::Bench::Process::memory($_)->{resident} } $running->{process}->tree;
}

1;
