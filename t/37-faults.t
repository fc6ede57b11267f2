# Each fault has a promise, which is in docs/faults.md. script/faults measures them.
use strict;
use warnings;

use Test::More;

use Gepok::Test;
use Gepok::Test::Faults;

gepok_only();

for my $row (grep { $_->[3] } Gepok::Test::Faults::rows()) {
    my ($name, $promise, $code) = @$row;
    my $measured = eval { $code->() };
    ok defined $measured, "$name: $promise";
    defined $measured ? note "$name: $measured" : diag "$name: $@";
}

done_testing;
