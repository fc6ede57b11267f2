package Gepok::Bench::Launch;

# A server that serves an app, started so that it can be measured, and the look at what it answers.

use strict;
use warnings;

use Exporter         qw(import);
use IO::Socket::INET ();

use Gepok::Bench::Http    ();
use Gepok::Bench::Nginx   ();
use Gepok::Bench::Process ();
use Gepok::Bench::Servers qw(%SERVERS);

our @EXPORT_OK = qw(launch check);

my $count = 0;

# `how`: server, folder, app (path) or, for nginx, answer or file; cpu (0; undef: any), workers (1), keepalive (1), tls, env,
# via: keep or close, for a Unix socket behind nginx.
#
# {process, front => nginx before it, target => {port, tls}, url, closes => whether connections end with each answer}
sub launch {
    my (%how) = @_;
    my $server  = $SERVERS{$how{server}};
    my $port    = free_port();
    my $name    = sprintf '%s/%s-%d', $how{folder}, $how{server}, ++$count;
    my $scheme  = $how{tls} ? 'https' : 'http';
    my $running = {
        server => $how{server},
        target => {port => $port, tls => $how{tls} ? 1 : 0},
        url    => "$scheme://127.0.0.1:$port",
        closes => $how{via} ? 0 : !$server->{keeps} || !($how{keepalive} // 1),
    };
    my %command = (workers => 1, keepalive => 1, %how, port => $port);
    if ($how{via}) {
        $command{socket}    = "$name.sock";
        $command{keepalive} = $how{via} eq 'keep';
    }
    my %pinned = (cpu => exists $how{cpu} ? $how{cpu} : 0);
    my %env    = (
        %{$how{env} || {}},
        $server->{say_close}  ? (BENCH_SAY_CLOSE  => 1) : (),
        $server->{say_length} ? (BENCH_SAY_LENGTH => 1) : ()
    );
    $running->{process} = Gepok::Bench::Process->start(
        command => $server->{command}->(\%command),
        log     => "$name.log",
        env     => \%env,
        %pinned
    );
    if ($how{via}) {
        my $proxy = Gepok::Bench::Nginx::proxy(
            {port => $port, folder => $how{folder}, to => $command{socket}, pass => $server->{pass}, keep => $how{via} eq 'keep'});
        $running->{front} = Gepok::Bench::Process->start(command => $proxy, log => "$name-nginx.log", %pinned);
    }
    # A proxy's 502 until the server is there.
    my $path = $how{path} // '/';
    $running->{process}->await(
        sub {
            my $client = Gepok::Bench::Http->connect($running->{target}) or return;
            my $answer = eval { $client->ask('GET', $path) } or return;
            return $answer->{status} < 400;
        },
        20, $how{pause});
    return $running;
}

# Asks as the load will, and compares: `request` as for Http::ask; `content` as a string, or as a sub that is true for what is
# right. That kept connections are kept, and the others are closed as announced, is part of being right. Returns the answer.
sub check {
    my ($running, $request, $content) = @_;
    my $client = Gepok::Bench::Http->connect($running->{target}) or die "it can't be connected to\n";
    my $answer;
    for my $turn (1 .. 2) {
        $answer = $client->ask(@$request);
        die "status $answer->{status} instead of 200\n" if $answer->{status} != 200;
        my $right = ref $content ? $content->($answer->{content}) : $answer->{content} eq $content;
        die sprintf("a wrong answer of %d bytes: %s...\n", length $answer->{content}, substr $answer->{content}, 0, 60) if !$right;
        if (!$running->{closes}) {
            die "the connection is not kept\n" if $answer->{says_close};
            next;
        }
        die "it does not say that it closes\n" if !$answer->{says_close};
        die "it does not close\n"              if !$client->closed(2);
        $client = Gepok::Bench::Http->connect($running->{target}) or die "it can't be connected to again\n";
    }
    return $answer;
}

# Below the range from which the kernel takes ports for outgoing connections, and another one each time: a new run meets no
# connection of an earlier one.
my $last = 20_000 + ($$ * 7) % 9_000;

sub free_port {
    for (1 .. 9_000) {
        $last = 20_000 + ($last - 20_000 + 1) % 9_000;
        return $last if IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $last, Listen => 1, ReuseAddr => 1);
    }
    die "no port is free\n";
}

1;
