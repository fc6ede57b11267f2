package Gepok::Test::Http2Attack;

# Attacks by HTTP/2 on a server that serves another client at the same time: what they cost, and what the other client notices.

use strict;
use warnings;

use List::Util  qw(max);
use Time::HiRes qw(sleep time);

use Gepok::Test;

# The one that Debian's modules belong to.
my ($PYTHON) = (grep({ -x } '/usr/bin/python3'), 'python3');
my @CLIENT = ($PYTHON, root() . '/t/clients/http2_attack.py');

my $MIB = 1 << 20;

# The code of the GOAWAY that ends a flood.
my %CALM = map { $_ => 'ENHANCE_YOUR_CALM' } qw(rapid_reset made_you_reset continuation empty_continuation empty_data padded_data list_too_large);

sub kinds { @{json((run_command([@CLIENT, '--kinds']))[1])} }

sub start {
    return server(app => app_file('http2-attack'), options => {h2c => 1, start_servers => 2, max_requests_per_child => 0});
}

# MiB that it has, and seconds that it has used.
sub usage {
    my $pid = shift;
    open my $in, '<', "/proc/$pid/stat" or die "the core has gone: $!";
    my @words = split ' ', <$in> =~ s/.*\) //r;
    return $words[21] * 4096 / $MIB, ($words[11] + $words[12]) / 100;
}

# Runs one attack beside a client with a connection of HTTP/1: {kind, seen by the attacker, idle, most, cpu, served, failed, longest}.
sub run {
    my ($server, $kind, $seconds) = @_;
    my $core;
    soon { defined($core = ($server->descendants)[0]) } or die "no core";
    my ($idle, $cpu) = usage($core);
    my %found = (kind => $kind, idle => $idle, most => $idle, served => 0, failed => 0, longest => 0);
    pipe my $out, my $in or die $!;
    my $pid = fork // die $!;
    if (!$pid) {
        open STDOUT, '>&', $in or die $!;
        # One that is elsewhere takes nothing of this machine's processors.
        setpriority 0, 0, 19;
        exec @CLIENT, $server->port, $kind, $seconds, $CALM{$kind} ? 'goaway' : () or die $!;
    }
    close $in;
    my $until = time + $seconds;
    while (time < $until) {
        my $began = time;
        my $response = eval { $server->get('/fast') };
        $found{longest} = max $found{longest}, time - $began;
        if ($response && $response->status == 200) { $found{served}++ }
        else                                       { $found{failed}++ }
        $found{most} = max $found{most}, (usage($core))[0];
        sleep 0.02;
    }
    $found{cpu} = ((usage($core))[1] - $cpu) / $seconds;
    %found = (%found, %{json(do { local $/; <$out> })});
    waitpid $pid, 0;
    return \%found;
}

# MiB that an attack may cost the core.
my $MORE = 16;

# What is not as it must be. `slower` is how much slower than a calm one the machine is.
sub broken {
    my ($found, $slower) = @_;
    my $more = $found->{most} - $found->{idle};
    return (
        ($found->{failed} ? "$found->{failed} requests of another client failed" : ()),
        ($found->{served} ? () : 'another client was not served'),
        ($found->{longest} > 0.5 * $slower ? sprintf('another client waited %.1f s', $found->{longest}) : ()),
        (map { exists $found->{goaways}{$_} ? () : "no GOAWAY with $_" } $CALM{$found->{kind}} // ()),
        ($more > $MORE ? sprintf('the core had %.0f MiB more', $more) : ()),
    );
}

1;
