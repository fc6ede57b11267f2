# /slow waits for 200 ms as for a database, all others answer at once.
use strict;
use warnings;

use Time::HiRes qw(sleep);

sub {
    my ($env) = @_;
    sleep 0.2 if $env->{PATH_INFO} eq '/slow';
    return [200, ['Content-Type' => 'text/plain', 'Content-Length' => 12], ["Hello World\n"]];
};
