package Gepok::Bench::Idle;

# What connections cost that have brought a request and are silent since.

use strict;
use warnings;
use utf8;

use POSIX       ();
use Socket      qw(INADDR_LOOPBACK PF_INET SOCK_STREAM pack_sockaddr_in);
use Time::HiRes qw(sleep);

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
        # A server that answers no more is an error, not a wait without an end.
        alarm 120;
        $says->autoflush;
        my $right = eval {
            my @clients = map { opened($running) } 1 .. $wanted;
            print {$says} "ready\n";
            readline $hears;
            asked($_) for @clients;
            1;
        };
        print {$says} $right ? "right\n" : "connections: $@";
        POSIX::_exit(0);
    }
    close $_ for $says, $hears;
    my $word = readline($said) // '';
    die $word || "the clients got no further in two minutes\n" if $word ne "ready\n";
    sleep 1;
    my $cpu = $running->{process}->cpu;
    sleep $silence;
    $cpu = ($running->{process}->cpu - $cpu) * 5 / $silence;
    my %after = residents($running);
    close $tell;
    $word = readline($said) // '';
    waitpid $pid, 0;
    die $word || "the clients got no further in two minutes\n" if $word ne "right\n";
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

# A connection that has brought a request. Without the comfort of IO::Socket: there are many.
sub opened {
    my ($running) = @_;
    socket my $client, PF_INET, SOCK_STREAM, 0 or die "socket: $!\n";
    connect $client, pack_sockaddr_in($running->{target}{port}, INADDR_LOOPBACK) or die "no connection: $!\n";
    return asked($client);
}

sub asked {
    my ($client) = @_;
    syswrite $client, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" or die "a connection is not kept: $!\n";
    my $answer = '';
    until ($answer =~ /\r\n\r\n\d+\z/) {
        sysread $client, $answer, 4096, length $answer or die "a connection is not kept\n";
    }
    die "a wrong answer: $answer\n" if $answer !~ m{\AHTTP/1\.1 200 } || $answer =~ /^Connection: close/mi;
    return $client;
}

# KiB of each process.
sub residents {
    my ($running) = @_;
    return map { $_ => Gepok::Bench::Process::memory($_)->{resident} } $running->{process}->tree;
}

1;
