# Says which process answers.
use strict;
use warnings;

my @close = $ENV{BENCH_SAY_CLOSE} ? (Connection => 'close') : ();

sub { [200, ['Content-Type' => 'text/plain', 'Content-Length' => length $$, @close], ["$$"]] };
