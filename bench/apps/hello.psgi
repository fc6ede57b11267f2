# The least that an app can do.
use strict;
use warnings;

# For servers that close each connection without saying so: else the load would ask again there, and count an error.
my @close = $ENV{BENCH_SAY_CLOSE} ? (Connection => 'close') : ();

sub { [200, ['Content-Type' => 'text/plain', 'Content-Length' => 12, @close], ["Hello World\n"]] };
