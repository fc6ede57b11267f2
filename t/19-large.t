# Large contents arrive whole in both directions, through small processes, and a slow client keeps no worker busy. The long
# version is script/large-transfers.
use strict;
use warnings;

use Test::More;

use Gepok::Test;
use Gepok::Test::Bytes;
use Gepok::Test::Large;

gepok_only();

my $MIB = 1024 * 1024;
my %how = (mib => 64, rate => 8);

# Less than half of the content: nobody holds it in memory.
my $LIMIT = 24 * $MIB;

my $folder = scratch();
Gepok::Test::Bytes::write_sparse($how{file} = "$folder/large", $how{mib});

for my $form (Gepok::Test::Large::forms()) {
    for my $slow (0, 8) {
        check $form . ($slow ? ', slow for a while' : '') => sub {
            my $result = Gepok::Test::Large::measure($form, %how, slow => $slow);
            pass 'it arrives whole';
            cmp_ok Gepok::Test::Large::grown($result, $_), '<', $LIMIT, "the $_ stays small" for qw(core worker);
            cmp_ok $result->{spool}, '<', ($how{mib} + 1) * $MIB, 'the disk holds it once at most';
            cmp_ok $result->{probes}, '>=', 3, 'a second client is served meanwhile' if $slow;
        };
    }
}

done_testing;
