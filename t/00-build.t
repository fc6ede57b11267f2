# Builds, so that `prove t/` is enough in a bare checkout: near-instant when everything is fresh.
use strict;
use warnings;

use Config;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use Test::More;

chdir dirname(__FILE__) . '/..' or die $!;

if (($ENV{GEPOK_TEST_SERVER} || 'Gepok') ne 'Gepok') {
    plan skip_all => "$ENV{GEPOK_TEST_SERVER} needs no build";
}

sub run_or_bail {
    my ($what, @command) = @_;
    my $output = qx(@command 2>&1);
    return if $? == 0;
    diag $output;
    BAIL_OUT("$what failed: there is nothing to test");
}

my $made_of = (sort { $b <=> $a } map { (stat)[9] } grep {-e} 'Makefile.PL', 'perl/lib/Gepok.pm')[0];
my @modules = glob 'perl/lib/*.pm perl/lib/*/*.pm perl/lib/*/*/*.pm perl/lib/*.pod perl/lib/*/*.pod';
my $listed  = -e 'Makefile' && do { open my $file, '<', 'Makefile' or die $!; local $/; <$file> };
if (!$listed || (stat 'Makefile')[9] < $made_of || grep { index($listed, $_) < 0 } @modules) {
    run_or_bail('perl Makefile.PL', $^X, 'Makefile.PL');
}
run_or_bail('make', $Config{make} || 'make');

for my $part ("blib/arch/auto/Gepok/Gepok.$Config{dlext}", 'blib/lib/Gepok.pm', 'blib/lib/Plack/Handler/Gepok.pm',
    'blib/script/gepok')
{
    ok -s $part, "$part is built";
}

is qx($^X -Mblib -MGepok -e 'print Gepok->can("run") ? "yes" : "no"' 2>/dev/null), 'yes', 'perl -Mblib loads Gepok';
like qx(blib/script/gepok --version 2>&1), qr/\b0\.300\b/, 'the command tells its version';

done_testing;
