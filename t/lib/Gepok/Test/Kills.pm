package Gepok::Test::Kills;

# Kills workers under load and accounts for every request; see script/kill-workers.

use strict;
use warnings;

use JSON::PP    ();
use List::Util  qw(sum0);
use POSIX       ();
use Time::HiRes qw(sleep time);

use Gepok::Test;
use Gepok::Test::Large;

# Clients: each is a process with some connections, and sends so many requests at once on each. A cut response takes its
# connection with it, so that only requests that are answered by one write may have others behind them.
my @CLIENTS = (
    (map { {connections => 4, depth => 1, forms => [qw(quick busy large late stream upload)]} } 1 .. 3),
    {connections => 2, depth => 4, forms => [qw(quick busy late)]},
);

# The master makes a pause when a worker dies younger than this, in seconds: most victims are older, or there would be little
# load. Of the moments at which only young ones are there, so many are taken all the same.
my $YOUNG      = 1.1;
my $TAKE_YOUNG = 0.02;

# Connections that are only held.
my $HELD = 8;

# `how`: seconds, of which the first sixth (two seconds at least) is the warm-up; workers.
#
# {requests, kills, answered, failures => {502 => N, cut => N}, unnoted, wrong => [sentences],
#  warm => {core => {fds, maps, resident}, master}, end => the same}
sub measure {
    my (%how)  = @_;
    my $folder = scratch();
    my $server = server(
        entry   => $how{entry} // default_entry(),
        app     => app_file('kills'),
        options => {
            start_servers          => $how{workers},
            max_requests_per_child => $how{max_requests} // 2000,
            keepalive_timeout      => 100_000
        },
        env => {GEPOK_TEST_RUNS => "$folder/runs"},
    );
    $server->get('/');
    my ($core) = $server->descendants;
    my @held = map { $server->connect } 1 .. $HELD;
    asks($_) or die "a connection is not served\n" for @held;

    my %state = (server => $server, core => $core, folder => $folder, killed => {}, reports => []);
    my $warm  = $how{seconds} / 6;
    load(\%state, $warm < 2 ? 2 : $warm);
    my $before = quiet(\%state, $how{workers});
    load(\%state, $how{seconds} - ($warm < 2 ? 2 : $warm));
    my $after = quiet(\%state, $how{workers});

    my $result = account(\%state);
    push @{$result->{wrong}}, 'the core was replaced' if !-e "/proc/$core";
    my $closed = grep { !eval { asks($_) } } @held;
    push @{$result->{wrong}}, "$closed connections that were not in use were closed" if $closed;
    return {%$result, warm => $before, end => $after, log => $server->log};
}

sub asks {
    my $connection = shift;
    $connection->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    return $connection->response->status == 200;
}

# Clients for so many seconds, and KILL for workers at random moments.
sub load {
    my ($state, $seconds) = @_;
    my $until = time + $seconds;
    my @reports;
    my @clients = map { client($state, $until, $_, $reports[@reports] = sprintf '%s/%d', $state->{folder},
        ++$state->{clients}) } @CLIENTS;
    my $born = $state->{born} //= {};
    while (time < $until) {
        sleep 0.02 + rand 0.1;
        my @workers = grep { $_ != $state->{core} } $state->{server}->descendants;
        $born->{$_} //= time for @workers;
        my @old = grep { time - $born->{$_} > $YOUNG } @workers;
        @workers = @old if rand() > $TAKE_YOUNG;
        my $victim = $workers[rand @workers] // next;
        $state->{killed}{$victim} = 1 if kill KILL => $victim;
    }
    for (@clients) {
        waitpid $_, 0;
        die "a client has failed\n" if $?;
    }
    push @{$state->{reports}}, @reports;
}

# One client process. Its report: {ok => {number => pid}, failed => {number => how}, odd => [sentences]}
sub client {
    my ($state, $until, $kind, $path) = @_;
    my $number = $state->{clients} * 10_000_000;
    my $pid    = fork // die "fork: $!";
    return $pid if $pid;
    my $ended = eval {
        srand;
        my %report = (ok => {}, failed => {}, odd => []);
        my @connections = (undef) x $kind->{connections};
        while (time < $until) {
            my @sent;
            for my $connection (@connections) {
                $connection //= $state->{server}->connect;
                my @requests = map { [++$number, $kind->{forms}[rand @{$kind->{forms}}]] } 1 .. $kind->{depth};
                $connection->send(join '', map { request(@$_) } @requests);
                push @sent, \@requests;
            }
            for my $i (0 .. $#connections) {
                for my $request (@{$sent[$i]}) {
                    my $open = $connections[$i] && answer($connections[$i], \%report, @$request);
                    $report{failed}{$request->[0]} //= 'lost behind a cut' if !$connections[$i];
                    $connections[$i] = undef if !$open;
                }
            }
        }
        Gepok::Test::Server::spew($path, JSON::PP::encode_json(\%report));
        1;
    };
    print STDERR "client: $@" if !$ended;
    POSIX::_exit($ended ? 0 : 1);
}

sub request {
    my ($number, $form) = @_;
    my $content = $number x ($form eq 'upload' ? 12_000 : 5);
    $form = 'quick' if $form eq 'upload';
    return "POST /$form/$number HTTP/1.1\r\nHost: x\r\nContent-Length: " . length($content) . "\r\n\r\n$content";
}

# Reads one response and notes what became of its request; true while the connection can be used further.
sub answer {
    my ($connection, $report, $number, $form) = @_;
    my $head = eval { $connection->head };
    if (!$head) {
        $report->{failed}{$number} = 'no answer';
        push @{$report->{odd}}, "$form/$number: no answer: $@";
        return 0;
    }
    my $length  = $head->field('Content-Length');
    my $content = '';
    my $whole   = eval {
        if (defined $length) { $content = $connection->bytes($length) }
        else {
            while (length(my $chunk = $connection->chunk)) { $content .= $chunk }
        }
        1;
    };
    if ($head->status == 502) {
        $report->{failed}{$number} = 502;
        push @{$report->{odd}}, "$form/$number: 502 closes" if $head->closes || !$whole;
        return $whole && !$head->closes;
    }
    my $expected = {large => 300_000, stream => 5000}->{$form} // 0;
    if (!$whole) {
        $report->{failed}{$number} = 'cut';
        push @{$report->{odd}}, "$form/$number: cut, by silence or before its time: $@"
            if !$expected || $@ !~ /^the end /;
        return 0;
    }
    if ($head->status == 200 && $content =~ /^$number (\d+)\nx*$/ && $expected == ($content =~ tr/x//)) {
        $report->{ok}{$number} = $1;
    }
    else {
        $report->{failed}{$number} = $head->status;
        push @{$report->{odd}}, sprintf '%s/%d: %d %s', $form, $number, $head->status, substr $content, 0, 100;
    }
    push @{$report->{odd}}, "$form/$number: " . $head->status . ' closes' if $head->closes;
    return !$head->closes;
}

# What core and master hold once all workers are there and nothing is in flight.
sub quiet {
    my ($state, $workers) = @_;
    my $server = $state->{server};
    my $same   = 0;
    my $last   = '';
    soon {
        my @others = $server->descendants;
        my $now    = join ' ', @others, map { scalar @{[glob "/proc/$_/fd/*"]} } $state->{core}, $server->pid;
        $same = $now eq $last ? $same + 1 : 0;
        $last = $now;
        # Half a second without a change.
        sleep 0.05;
        $same > 7 && @others == $workers + 1;
    } 60 or die "the workers are not all there again: $last\n";
    return {core => held($state->{core}), master => held($server->pid)};
}

sub held {
    my $pid  = shift;
    my @fds  = glob "/proc/$pid/fd/*";
    my $maps = 0;
    if (open my $file, '<', "/proc/$pid/maps") { $maps++ while <$file> }
    return {fds => scalar @fds, maps => $maps, resident => Gepok::Test::Large::resident($pid)};
}

# Compares what clients were told with what ran and what was killed.
sub account {
    my $state = shift;
    my (%ok, %failed, @wrong, %ran);
    for my $path (@{$state->{reports}}) {
        open my $file, '<', $path or die "$path: $!";
        my $report = JSON::PP::decode_json(do { local $/; <$file> });
        %ok     = (%ok,     %{$report->{ok}});
        %failed = (%failed, %{$report->{failed}});
        push @wrong, @{$report->{odd}};
    }
    open my $runs, '<', "$state->{folder}/runs" or die $!;
    while (<$runs>) {
        /^(\d+) (\d+)$/ or die "an odd line of the app's: $_";
        push @{$ran{$1}}, $2;
    }

    my ($killed, $unnoted, %blamed) = ($state->{killed}, 0);
    push @wrong, map {"$_ ran " . @{$ran{$_}} . ' times'} grep { @{$ran{$_}} > 1 } sort keys %ran;
    for my $number (sort keys %ok) {
        push @wrong, "$number was answered but never ran" if !$ran{$number};
        push @wrong, "$number ran in another worker than the answer says"
            if $ran{$number} && $ran{$number}[0] != $ok{$number};
    }
    for my $number (sort keys %failed) {
        # Killed between its claim and its first line.
        my $pid = $ran{$number} ? $ran{$number}[0] : undef;
        $unnoted++ if !defined $pid;
        next       if !defined $pid;
        push @wrong, "$number failed ($failed{$number}) in worker $pid, which was not killed" if !$killed->{$pid};
        push @wrong, "worker $pid took several requests with it"                              if $blamed{$pid}++;
    }
    push @wrong, sprintf '%d failures by %d kills', scalar keys %failed, scalar keys %$killed
        if keys %failed > keys %$killed;
    my %failures;
    $failures{$_}++ for values %failed;
    return {
        requests => keys(%ok) + keys(%failed),
        answered => scalar keys %ok,
        kills    => scalar keys %$killed,
        failures => \%failures,
        unnoted  => $unnoted,
        wrong    => \@wrong,
    };
}

# What grew though nothing should: `limit` bytes of memory, no descriptor, some mappings (the allocator's).
sub grown {
    my ($result, $limit) = @_;
    my @grown;
    for my $name (qw(core master)) {
        my ($warm, $end) = map { $result->{$_}{$name} } qw(warm end);
        push @grown, "$name: $end->{fds} descriptors, were $warm->{fds}" if $end->{fds} > $warm->{fds};
        push @grown, "$name: $end->{maps} mappings, were $warm->{maps}"  if $end->{maps} > $warm->{maps} + 8;
        push @grown, sprintf '%s: %d KiB, were %d', $name, map { $_->{resident} / 1024 } $end, $warm
            if $end->{resident} > $warm->{resident} + $limit;
    }
    return @grown;
}

sub text {
    my $result   = shift;
    my $failures = $result->{failures};
    my $text     = sprintf "%d requests, %d kills, %d failures (%s; %d of them before the app's first line)\n",
        @$result{qw(requests kills)}, sum0(values %$failures),
        join(', ', map {"$_: $failures->{$_}"} sort keys %$failures), $result->{unnoted};
    for my $name (qw(core master)) {
        my ($warm, $end) = map { $result->{$_}{$name} } qw(warm end);
        $text .= sprintf "%-6s  %d -> %d descriptors, %d -> %d mappings, %d -> %d KiB\n", $name,
            (map { $warm->{$_}, $end->{$_} } qw(fds maps)), map { $_->{resident} / 1024 } $warm, $end;
    }
    return $text;
}

1;
