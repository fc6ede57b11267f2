# A file of 1 MiB: BENCH_FILE.
use strict;
use warnings;

my @close = $ENV{BENCH_SAY_CLOSE} ? (Connection => 'close') : ();
my $path  = $ENV{BENCH_FILE} or die "BENCH_FILE names no file\n";

sub {
    open my $file, '<:raw', $path or die "$path: $!\n";
    return [200, ['Content-Type' => 'application/octet-stream', 'Content-Length' => -s $file, @close], $file];
};
