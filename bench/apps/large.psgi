# An answer of 1 MiB that the app has in memory.
use strict;
use warnings;

my @close   = $ENV{BENCH_SAY_CLOSE} ? (Connection => 'close') : ();
my $content = 'x' x (1024 * 1024);

sub {
    return [200, ['Content-Type' => 'text/plain', 'Content-Length' => length $content, @close], [$content]];
};
