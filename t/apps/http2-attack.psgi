# For attacks by HTTP/2: fast calls, slow ones, and large responses.
use strict;
use warnings;

use Time::HiRes qw(sleep);

my $large = 'x' x 65536;

sub {
    my $env  = shift;
    my $path = $env->{PATH_INFO};
    return [200, ['Content-Type' => 'text/plain'], ['fast']] if $path eq '/fast';
    return sub {
        my $writer = $_[0]->([200, ['Content-Type' => 'text/plain']]);
        for (1 .. 16) { $writer->write($large) or last }
        $writer->close;
    } if $path eq '/large';
    sleep 0.01;
    return [200, ['Content-Type' => 'text/plain'], ['slow']];
};
