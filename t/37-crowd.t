# Crowds of clients that want more than their share, for a few seconds each: others are served. script/crowd runs them with all
# their clients for as long as one likes.
use strict;
use warnings;

use Test::More;

use Gepok::Test;
use Gepok::Test::Crowd;

gepok_only();

# A part of the clients: the descriptors and the processors of a test run are few.
my %scale = (readers => 0.25, uploads => 0.1, heads => 0.1, handshakes => 0.2);

for my $name (Gepok::Test::Crowd::scenarios()) {
    check $name => sub {
        plan skip_all => 'IO::Socket::SSL is not installed' if $name eq 'handshakes' && !eval { require Net::SSLeay };
        my $seen = Gepok::Test::Crowd::run($name, 4, $scale{$name} // 1);
        note join ', ', map { "$_ " . $seen->{$_} } qw(clients requests p50 p99 longest uploads taken rss);
        is $seen->{outage}, 0, 'no outage' or diag "$seen->{failed} of $seen->{requests} failed, longest $seen->{longest} s";
        is $seen->{taken}, $seen->{uploads}, 'each upload of the victim is taken';
        cmp_ok $seen->{rss}, '<', 256 << 20, 'the core stays small';
    };
}

done_testing;
