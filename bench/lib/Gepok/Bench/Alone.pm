package Gepok::Bench::Alone;

# An app called in a loop, without a server: what is left of a server's figure is the server's share.

use strict;
use warnings;

use JSON::PP    ();
use POSIX       ();
use Time::HiRes qw(time);

# {rate, cpu} of the app's file for one target, on CPU 0.
sub measure {
    my ($file, $target, $how) = @_;
    pipe my $from, my $to or die "pipe: $!\n";
    defined(my $pid = fork) or die "fork: $!\n";
    if (!$pid) {
        my $figures = eval { calls($file, $target, $how->{seconds}) } // {error => "$@"};
        print {$to} JSON::PP::encode_json($figures);
        close $to;
        POSIX::_exit(0);
    }
    close $to;
    my $text = do { local $/; <$from> };
    waitpid $pid, 0;
    my $figures = JSON::PP::decode_json($text);
    die $figures->{error} if $figures->{error};
    return $figures;
}

sub calls {
    my ($file, $target, $seconds) = @_;
    system("taskset -c -p 0 $$ >/dev/null") == 0 or die "taskset failed\n";
    require Plack::Util;
    require HTTP::Message::PSGI;
    require HTTP::Request;
    my $app  = Plack::Util::load_psgi($file);
    my $call = sub {
        my ($cookie) = @_;
        my $request = HTTP::Request->new(GET => "http://127.0.0.1$target", [Host => '127.0.0.1', $cookie ? (Cookie => $cookie) : ()]);
        return $app->(HTTP::Message::PSGI::req_to_psgi($request));
    };
    my $answer = $call->();
    die "status $answer->[0] instead of 200\n" if $answer->[0] != 200;
    my %fields = @{$answer->[1]};
    my ($cookie) = ($fields{'Set-Cookie'} // '') =~ /^([^;]+)/;

    # A server makes an env for each call; here it is a copy of one.
    my $request = HTTP::Request->new(GET => "http://127.0.0.1$target", [Host => '127.0.0.1', $cookie ? (Cookie => $cookie) : ()]);
    my $env     = HTTP::Message::PSGI::req_to_psgi($request);
    my $calls   = 0;
    my ($start, @before) = (time, times);
    while (time < $start + $seconds) {
        $app->({%$env}) for 1 .. 10;
        $calls += 10;
    }
    my @after = times;
    return {rate => $calls / (time - $start), cpu => 1e6 * ($after[0] + $after[1] - $before[0] - $before[1]) / $calls};
}

1;
