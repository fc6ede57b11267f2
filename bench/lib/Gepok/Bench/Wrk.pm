package Gepok::Bench::Wrk;

# One run of wrk that saw no error.

use strict;
use warnings;

use File::Basename qw(dirname);

my $SCRIPT = dirname(__FILE__) . '/../../../wrk.lua';

# `url`, `connections`, `seconds`, `length` of the content that each answer has at least; `fields`, `post` (bytes of content),
# `threads`, `cpu` (1; undef: any).
#
# {requests, seconds, p50, p99} with the latter in ms. An error of any kind is an exception: a server that refuses is fast.
sub run {
    my (%how) = @_;
    my $cpu     = exists $how{cpu} ? $how{cpu} : 1;
    my @command = (
        defined $cpu ? ('taskset', '-c', $cpu) : (), 'wrk', '-t', $how{threads} // 1, '-c', $how{connections},
        '-d', $how{seconds}, '--timeout', $how{seconds} + 5, '--latency', '-s', $SCRIPT, (map { ('-H', $_) } @{$how{fields} || []}),
        $how{url}
    );
    local %ENV = (%ENV, $how{post} ? (BENCH_POST => $how{post}) : ());
    open my $pipe, '-|', @command or die "wrk: $!\n";
    my $report = do { local $/; <$pipe> } // '';
    close $pipe or die "wrk failed:\n$report";
    my ($line) = $report =~ /^bench: (.*)/m or die "wrk gave no figures:\n$report";
    my %seen   = $line =~ /(\w+)=(\d+)/g;
    my @errors = grep { $seen{$_} } qw(status connect read write timeout);
    die 'wrk saw errors: ' . join(', ', map {"$_ $seen{$_}"} @errors) . " in $seen{requests} requests\n" if @errors;
    die "wrk got no answer\n" if !$seen{requests};
    die sprintf("answers of %.0f bytes instead of %d and more\n", $seen{bytes} / $seen{requests}, $how{length})
        if $seen{bytes} < $seen{requests} * $how{length};
    return {
        requests => $seen{requests},
        seconds  => $seen{duration} / 1e6,
        p50      => $seen{p50} / 1e3,
        p99      => $seen{p99} / 1e3
    };
}

1;
