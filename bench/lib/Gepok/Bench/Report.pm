package Gepok::Bench::Report;

# The figures as text: medians, spread, ratios to Gepok; for the terminal and for bench/RESULTS.md.

use strict;
use warnings;
use utf8;

use List::Util qw(max min);
use POSIX      qw(strftime);

use Gepok::Bench::Process ();
use Gepok::Bench::Servers qw(%SERVERS @SERVERS);

sub median {
    my @sorted = sort { $a <=> $b } @_;
    my $middle = int(@sorted / 2);
    return @sorted % 2 ? $sorted[$middle] : ($sorted[$middle - 1] + $sorted[$middle]) / 2;
}

# The table of one scenario: (titles, rows...), each an array. `samples`: {server => [{figure => value}, ...]}.
sub table {
    my ($scenario, $samples) = @_;
    my ($first, @others) = @{$scenario->{figures}};
    my @rows = [
        'server', $first->[1], 'least–most', 'to Gepok', map { $_->[1] } @others
    ];
    my $own = $samples->{Gepok} && median(map { $_->{$first->[0]} } @{$samples->{Gepok}});
    for my $server (@{$scenario->{servers}}) {
        my $runs   = $samples->{$server} or next;
        my @values = map { $_->{$first->[0]} } @$runs;
        my $median = median(@values);
        push @rows, [
            $server,
            number($median, $first->[2]),
            number(min(@values), $first->[2]) . '–' . number(max(@values), $first->[2]),
            $own ? ratio($median / $own) : '',
            map {
                my ($figure, undef, $decimals) = @$_;
                my @there = grep {defined} map { $_->{$figure} } @$runs;
                @there ? number(median(@there), $decimals) : '';
            } @others
        ];
    }
    return @rows;
}

# Two digits at least that count.
sub ratio { sprintf $_[0] < 0.1 ? '%.2g' : '%.2f', $_[0] }

# With commas between the thousands.
sub number {
    my ($value, $decimals) = @_;
    my $text = sprintf "%.${decimals}f", $value;
    1 while $text =~ s/^(-?\d+)(\d{3})/$1,$2/;
    return $text;
}

# For the terminal: columns.
sub plain {
    my (@rows) = @_;
    my @widths = map { my $column = $_; max(map { length $_->[$column] } @rows) } 0 .. $#{$rows[0]};
    return join '', map {
        my $row = $_;
        join('  ', map { sprintf $_ ? "%$widths[$_]s" : "%-$widths[$_]s", $row->[$_] } 0 .. $#$row) . "\n";
    } @rows;
}

# For a page.
sub markdown {
    my ($titles, @rows) = @_;
    return join '', map {"| $_ |\n"} join(' | ', @$titles), join(' | ', '---', map {'---:'} @$titles[1 .. $#$titles]),
        map { join ' | ', @$_ } @rows;
}

# The page. `run`: {command, rounds, seconds, scenarios, samples => {scenario => {server => [...]}}, rounds_of => {scenario => n},
# failures => {scenario => {server => sentence}},
# chart => name of the picture's file, load => others' load of the machine}.
sub page {
    my ($run) = @_;
    my %used  = map { $_ => 1 } map { keys %$_ } values %{$run->{samples}};
    my $page  = "# Gepok beside other servers\n\n" . machine($run) . "\n![Requests per second and CPU per request]($run->{chart})\n\n";
    $page .= <<"TEXT";
One worker each. All processes of a server share CPU 0, the load has CPU 1, unless a scenario says otherwise. In each round every
server is started, its answers are compared with what is right, and it is measured; figures are medians over the rounds, with
the least and the most. *To Gepok* is a server's figure divided by Gepok's. CPU time is that of all of a server's processes
(utime + stime), of which Gepok's core has the part that is shown; latencies are those that wrk saw, of $run->{seconds} s of load in each round. A server that gives wrong answers or errors
has no figures there, but the reason.

TEXT
    for my $scenario (@{$run->{scenarios}}) {
        my $samples = $run->{samples}{$scenario->{name}};
        my $rounds   = $run->{rounds_of}{$scenario->{name}};
        my $failures = $run->{failures}{$scenario->{name}} || {};
        $page .= "## $scenario->{title}\n\n$scenario->{text} `$scenario->{name}`, $rounds round" . ($rounds == 1 ? '' : 's') . ".\n\n"
            . ($samples ? markdown(table($scenario, $samples)) : '')
            . join('', map {"\n$_ failed: $failures->{$_}"} sort keys %$failures) . "\n";
    }
    $page .= "## The servers and their arguments\n\n";
    for my $server (grep { $used{$_} } @SERVERS) {
        my $entry = $SERVERS{$server};
        $page .= "- **$server** " . Gepok::Bench::Servers::version($server) . ($entry->{package} && $entry->{package} ne lc $server ? " ($entry->{package})" : '')
            . "\n" . (Gepok::Bench::Servers::shown($server) =~ s/^(.+)$/  `$1`\n/mr)
            . join('', map {"  - $_\n"} @{$entry->{reasons}});
    }
    return $page;
}

sub machine {
    my ($run) = @_;
    my ($model)  = Gepok::Bench::Process::content('/proc/cpuinfo') =~ /^model name\s*:\s*(.+)/m;
    my ($memory) = Gepok::Bench::Process::content('/proc/meminfo') =~ /^MemTotal:\s+(\d+)/m;
    my $cores    = () = Gepok::Bench::Process::content('/proc/cpuinfo') =~ /^processor/mg;
    my ($system) = Gepok::Bench::Process::content('/etc/os-release') =~ /^PRETTY_NAME="?([^"\n]+)/m;
    my ($kernel) = qx(uname -sr) =~ /^(\S+ [\d.]+)/;
    my ($wrk) = qx(wrk -v 2>&1) =~ /^wrk (\S+)/;
    return join '', map {"- $_\n"} 'Taken ' . strftime('%Y-%m-%d', gmtime) . " by `$run->{command}`",
        sprintf('Machine: %d cores (%s), %.0f GiB, %s, %s', $cores, $model // '?', ($memory // 0) / 1024 / 1024, $system // '?', $kernel),
        sprintf('Perl %vd, wrk %s; load of the machine before: %s', $^V, $wrk // '?', $run->{load});
}

1;
