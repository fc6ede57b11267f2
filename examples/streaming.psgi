# A stream of server-sent events: each is with the client at once, while the application goes on.
#
#   plackup -s Gepok examples/streaming.psgi
#   curl -N http://127.0.0.1:5000/?count=5
use strict;
use warnings;
use Time::HiRes qw(sleep time);

sub {
    my $env = shift;
    my ($count) = $env->{QUERY_STRING} =~ /\bcount=(\d{1,4})\b/;
    $count //= 10;

    # A code reference instead of an array: the response begins when the responder is called.
    return sub {
        my $respond = shift;
        my $writer  = $respond->([200, ['Content-Type' => 'text/event-stream', 'Cache-Control' => 'no-store']]);
        for my $number (1 .. $count) {
            # False: the client has left, and nobody reads what follows.
            $writer->write(sprintf "id: %d\ndata: %.3f\n\n", $number, time) or last;
            sleep 0.2 if $number < $count;
        }
        $writer->close;
    };
};
