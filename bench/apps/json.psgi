# 2 KiB of JSON, encoded for each request.
use strict;
use warnings;

use Cpanel::JSON::XS ();

my @close = $ENV{BENCH_SAY_CLOSE} ? (Connection => 'close') : ();
my $json  = Cpanel::JSON::XS->new->canonical;
my $data  = {
    total => 16,
    items => [map { {id => $_, name => "Item number $_", price => $_ * 100 + 99, tags => [qw(new red large)], note => 'x' x 50} } 1 .. 16]
};

sub {
    my $body = $json->encode($data);
    return [200, ['Content-Type' => 'application/json', 'Content-Length' => length $body, @close], [$body]];
};
