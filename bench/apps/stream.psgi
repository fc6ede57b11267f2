# Ten pieces of 1 KiB by the streaming interface.
use strict;
use warnings;

my @close  = $ENV{BENCH_SAY_CLOSE} ? (Connection => 'close') : ();
# For servers that would end the content by the connection's end: wrk can't tell that from an error.
my @length = $ENV{BENCH_SAY_LENGTH} ? ('Content-Length' => 10 * 1024) : ();
my @pieces = map { $_ x 1024 } 0 .. 9;

sub {
    return sub {
        my $writer = shift->([200, ['Content-Type' => 'text/plain', @length, @close]]);
        $writer->write($_) for @pieces;
        $writer->close;
    };
};
