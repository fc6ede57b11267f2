# A killed worker takes one request with it at most, and nothing else is lost, run twice or closed. The long version is
# script/kill-workers.
use strict;
use warnings;

use Test::More;

use Gepok::Test;
use Gepok::Test::Kills;

gepok_only();

# What a leaking kill would cost shows in descriptors and mappings; memory has not settled in so short a time.
my $LIMIT = 8 * 1024 * 1024;

check 'workers die under load' => sub {
    my $result = Gepok::Test::Kills::measure(seconds => 8, workers => 4);
    cmp_ok $result->{kills}, '>', 0, 'some were killed';
    is_deeply $result->{wrong}, [], 'only what they had in flight is lost';
    is_deeply [Gepok::Test::Kills::grown($result, $LIMIT)], [], 'the others hold no more than before';
    note Gepok::Test::Kills::text($result);
};

done_testing;
