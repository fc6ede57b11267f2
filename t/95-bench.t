# bench/run measures a server that answers rightly, and gives no figures of one that does not: a wrong answer, or errors that
# come only under load.
use strict;
use warnings;

use Test::More;

use Gepok::Test;

gepok_only();
for my $tool (qw(wrk taskset openssl)) {
    plan skip_all => "$tool is not installed" if system("command -v $tool >/dev/null 2>&1") != 0;
}
plan skip_all => 'load and server need a CPU each' if qx(nproc) < 2;

my $folder = scratch();

# bench/run with so much of work as a test has time for, on apps of the test's own.
sub bench {
    my ($app, @options) = @_;
    mkdir "$folder/apps";
    open my $file, '>', "$folder/apps/hello.psgi" or die $!;
    print {$file} $app;
    close $file or die $!;
    return run_command(
        [$^X, root() . '/bench/run', '--quick', '--servers', 'Gepok', '--scenarios', 'hello-32', "--apps=$folder/apps", @options],
        seconds => 300
    );
}

my $HELLO = q{[200, ['Content-Type' => 'text/plain', 'Content-Length' => 12], ["Hello World\n"]]};

check 'a server that is right' => sub {
    my ($status, $output) = bench("sub { $HELLO };", "--write=$folder");
    is $status, 0, 'status 0' or diag $output;
    my ($rate, $cpu) = $output =~ /^Gepok\s+([\d,]+)\s+\S+\s+1\.00\s+([\d.,]+)/m;
    cmp_ok $rate =~ tr/,//dr, '>', 100, 'requests per second' or diag $output;
    cmp_ok $cpu =~ tr/,//dr, '>', 1, 'and CPU time per request';

    open my $page, '<', "$folder/RESULTS.md" or die $!;
    my $text = do { local $/; <$page> };
    like $text, qr/^\| Gepok \| \Q$rate\E \|/m, 'the page has the figure';
    like $text, qr/^- Machine: \d+ cores/m, 'and the machine';
    unlike $text, qr{\Q@{[root()]}\E/(?!bench/run)}, 'and no path of it';
    open my $chart, '<', "$folder/results.svg" or die $!;
    like do { local $/; <$chart> }, qr{\A<svg .*>Gepok</text>.*</svg>\s*\z}s, 'the chart is there';
};

check 'a wrong answer' => sub {
    my ($status, $output) = bench(q{sub { [200, ['Content-Length' => 12], ["Hello Wurld\n"]] };});
    is $status >> 8, 1, 'status 1';
    like $output, qr/^Gepok failed: a wrong answer of 12 bytes: Hello Wurld/m, 'says what was wrong';
    unlike $output, qr/requests\/s/, 'and gives no figures';
};

check 'errors under load' => sub {
    my ($status, $output) = bench("my \$n = 0; sub { ++\$n > 100 && \$n % 10 == 0 ? [503, [], []] : $HELLO };");
    is $status >> 8, 1, 'status 1';
    like $output, qr/^Gepok failed: wrk saw errors: status \d+ in \d+ requests/m, 'says how many';
    unlike $output, qr/requests\/s/, 'and gives no figures';
};

check 'what there is not' => sub {
    for my $case (['--servers', 'Apache'], ['--scenarios', 'goodbye'], ['--rounds', 0]) {
        my ($status, $output) = run_command([$^X, root() . '/bench/run', @$case]);
        is $status >> 8, 2, "@$case: status 2";
        like $output, qr/\A.+\n\z/, 'and one sentence';
    }
};

done_testing;
