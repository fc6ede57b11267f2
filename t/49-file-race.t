# Nothing outside of a directory is sent or opened, whatever is swapped meanwhile. script/file-race does the same a million times.
use strict;
use warnings;

use Test::More;

use Gepok::Test;
use Gepok::Test::FileRace;

gepok_only();

check 'nothing from outside is sent' => sub {
    my $seen = Gepok::Test::FileRace::run(requests => 5000);
    is $seen->{leaked}, 0;
    is $seen->{wrong},  0, 'and each 200 response is a file as it was at some time';
    cmp_ok $seen->{200}, '>', 100, 'files were sent';
    cmp_ok $seen->{404}, '>', 10,  'and others were not there';
};

check 'nor is it opened' => sub {
    my $works = `strace -e trace=none true 2>&1`;
    plan skip_all => 'there is no strace, or it may trace nothing' if $?;
    my $seen = Gepok::Test::FileRace::run(requests => 2000, strace => 1);
    is $seen->{leaked}, 0;
    cmp_ok $seen->{opens}, '>', 1000;
    is_deeply $seen->{bad}, [], 'each open is beneath the root';
};

done_testing;
