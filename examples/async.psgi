# Three questions at a time, and an answer when all of them are known: one worker does this for many clients.
#
#   gepok --loop poll --max-workers 1 examples/async.psgi
#   curl http://127.0.0.1:5000/
#
# The questions are timers here. In your app they are requests to other servers: docs/async.md.
use strict;
use warnings;

use Gepok::Loop;
use Time::HiRes qw(time);

sub ask {
    my ($question, $callback) = @_;
    Gepok::Loop->timer(0.2, sub { $callback->("$question: yes\n") });
}

sub {
    my ($env) = @_;
    die "this app needs an event loop: gepok --loop poll\n" unless $env->{'psgi.nonblocking'};
    my $start = time;
    return sub {
        my ($responder) = @_;
        my @answers;
        for my $question (qw(one two three)) {
            ask($question, sub {
                push @answers, @_;
                return if @answers < 3;
                my $took = sprintf "%.1f s\n", time - $start;
                $responder->([200, ['Content-Type' => 'text/plain'], [sort(@answers), $took]]);
            });
        }
        return;
    };
};
