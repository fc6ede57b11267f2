# Takes 300 µs of CPU time, however often it is interrupted.
use strict;
use warnings;

use Time::HiRes qw(clock_gettime CLOCK_PROCESS_CPUTIME_ID);

sub {
    my $end = clock_gettime(CLOCK_PROCESS_CPUTIME_ID) + 300e-6;
    1 while clock_gettime(CLOCK_PROCESS_CPUTIME_ID) < $end;
    return [200, ['Content-Type' => 'text/plain', 'Content-Length' => 12], ["Hello World\n"]];
};
