# No form of response makes a process grow. The long version is script/leak-check.
use strict;
use warnings;

BEGIN { $ENV{GEPOK_TEST_LIMIT} ||= 600 }

use Test::More;

use Gepok::Test;
use Gepok::Test::Leak;

gepok_only();

# A leak of one SV is 24 bytes a request at the least, one of a string or array far more. What is measured behind the
# warm-up is some pages, so 16 bytes a request tell them apart.
my $LIMIT = 16;

for my $form (Gepok::Test::Leak::forms()) {
    check $form => sub {
        my %how    = (requests => 20_000, workers => 1);
        my $result = Gepok::Test::Leak::measure($form, %how);
        my @grown  = grep { $_->{slope} > $LIMIT } values %{$result->{of}};
        # What stops by itself is no leak: a second look, longer.
        $result = Gepok::Test::Leak::measure($form, %how, requests => 100_000) if @grown;
        for my $process (sort keys %{$result->{of}}) {
            cmp_ok $result->{of}{$process}{slope}, '<=', $LIMIT, "$process does not grow"
                or diag Gepok::Test::Leak::heading(), Gepok::Test::Leak::row($result);
        }
    };
}

done_testing;
