package Gepok::Test::Adversary;

# Workers that do damage, one kind after the other, in a server under load: what becomes of them, of their clients, of others'
# clients and of the core. script/adversary prints the table, t/37-adversary.t runs each kind once.

use strict;
use warnings;

use List::Util  qw(max shuffle sum0);
use POSIX       ();
use Time::HiRes qw(sleep time);

use Gepok::Test;
use Gepok::Test::Connection;
use Gepok::Test::Damage;

my $WORKERS = 4;

# Processes that send requests all the time, each on one connection.
my $LOADERS = 3;

# request_timeout: what becomes of a worker that only looks as if it took long.
my $TIMEOUT = 2;

# A request that has no end after so many seconds hangs.
my $HANGS = 15;

my $APP = <<'END';
use lib '%s';
use Gepok::Test::Damage ();
use Time::HiRes ();

my %%outcome = map { @$_[0, 1] } Gepok::Test::Damage::kinds();

sub {
    my $env = shift;
    my (undef, $what, @args) = map { s/%%([0-9a-f]{2})/chr hex $1/ger } split m{/}, $env->{REQUEST_URI};
    return [200, [], ['ready']] unless defined $what;
    if ($what eq 'damage') {
        my ($name, $seed) = @args;
        open my $events, '>>', $ENV{GEPOK_TEST_EVENTS} or die "$ENV{GEPOK_TEST_EVENTS}: $!";
        syswrite $events, "$$ " . Time::HiRes::time() . "\n";
        eval { Gepok::Test::Damage::cause($name, $seed); 1 } or return [500, [], ["damage: $@"]];
        # It is to be killed.
        Time::HiRes::sleep(20) if $outcome{$name} ne 'any';
        return [200, [], ['done']];
    }
    my ($token, $size, $form) = @args;
    my $content = substr "<$token>" x (1 + $size / length "<$token>"), 0, $size;
    my @head    = ('X-Worker' => $$);
    return [200, [@head, 'Content-Length' => $size], [$content]] if $form eq 'array';
    if ($form eq 'file') {
        open my $file, '+>', undef or die "a file: $!";
        syswrite $file, $content;
        sysseek $file, 0, 0;
        return [200, [@head, 'Content-Length' => $size], $file];
    }
    return sub {
        my $writer = shift->([200, \@head]);
        $writer->write(substr $content, 0, 1 + length($content) / 3, '') while length $content;
        $writer->close;
    };
};
END

# A server whose workers do damage when they are asked to.
sub broken_server {
    my %args = @_;
    my $events = scratch();
    return server(
        app => sprintf($APP, root() . '/t/lib'),
        env => {GEPOK_TEST_EVENTS => "$events/events"},
        %args,
        events  => $events,
        # /proc/self/mem is a worker's own only then, unless it is root's.
        options => {status_path => '/status', dumpable => 1, %{$args{options}}},
    );
}

# What has a worker do it.
sub damage_path { join '/', '', 'damage', map { s/([^A-Za-z0-9])/sprintf '%%%02x', ord $1/ger } @_ }

# Does damage for so many seconds, and each kind at least once: what was seen.
sub run {
    my ($seconds, $seed) = @_;
    my $folder = scratch();
    my $server = broken_server(
        entry   => 'bin',
        options => {start_servers => $WORKERS, max_clients => $WORKERS, request_timeout => $TIMEOUT, graceful_timeout => 3},
    );
    soon { serving($server) == $WORKERS } or die "the server does not serve\n";
    my $core = ($server->descendants)[0];
    my %seen = (seed => $seed, rss => rss($core), descriptors => descriptors($core));
    my ($most, $began, $cpu) = ($seen{rss}, time, cpu($core));

    my $end     = "$folder/end";
    my @loaders = map { load($server, $_, $seed, $end, "$folder/load-$_") } 1 .. $LOADERS;
    srand $seed;
    my @rows;
    until (@rows && !grep({ !$_->{times} } @rows) && time - $began >= $seconds) {
        @rows = map { {name => $_->[0], outcome => $_->[1], group => $_->[2], times => 0, lines => {}, ends => {}} } Gepok::Test::Damage::kinds() unless @rows;
        for my $row (shuffle @rows) {
            last if $row->{times} && time - $began >= $seconds;
            damage($server, $row, \my @damaged);
            push @{$seen{damaged}}, @damaged;
            $most = max $most, rss($core);
            $seen{deaths}++ unless alive($core);
        }
    }
    $seen{seconds} = time - $began;
    $seen{cpu}     = (cpu($core) - $cpu) / $seen{seconds};
    open my $file, '>', $end or die "$end: $!";
    waitpid $_, 0 for @loaders;
    my @loads = map { open my $load, '<', "$folder/load-$_" or die "load $_: $!"; local $/; json(<$load>) } 1 .. $LOADERS;

    # A core that has nothing to do does nothing, and holds nothing.
    soon { serving($server) == $WORKERS };
    soon { descriptors($core) <= $seen{descriptors} } 10;
    my $idle = cpu($core);
    sleep 2;
    my %spoilt = map { $_ => 1 } @{$seen{damaged}};
    return {
        %seen,
        rows        => \@rows,
        over        => $most - $seen{rss},
        leaked      => descriptors($core) - $seen{descriptors},
        idle        => (cpu($core) - $idle) / 2,
        core_died   => alive($core) ? 0 : 1,
        serving     => serving($server),
        requests    => sum0(map { $_->{requests} } @loads),
        failed      => sum0(map { $_->{failed} } @loads),
        foreign     => [map { @{$_->{foreign}} } @loads],
        # What a worker writes into its own responses is its own.
        spoilt      => [grep { !$spoilt{$_->[0]} } map { @{$_->{spoilt}} } @loads],
        hangs       => [map { @{$_->{hangs}} } @loads],
        longest     => max(map { $_->{longest} } @loads),
        log         => $server->log,
    };
}

# Why what was seen is not what was promised; nothing if it is. Times may be so much longer on a machine with much else to do.
sub broken {
    my ($seen, $slower) = @_;
    my @why;
    push @why, 'the core has died'                                             if $seen->{core_died};
    push @why, "$seen->{serving} of $WORKERS workers serve at the end"         if $seen->{serving} != $WORKERS;
    push @why, map { "another's content: $_" } @{$seen->{foreign}};
    push @why, map { "a good worker's response is spoilt: @$_" } @{$seen->{spoilt}};
    push @why, map { "no end of a request: $_" } @{$seen->{hangs}};
    push @why, sprintf 'the core has %d MiB more than idle', $seen->{over} >> 20     if $seen->{over} > 64 << 20;
    push @why, "$seen->{leaked} descriptors are left"                          if $seen->{leaked} > 0;
    push @why, sprintf 'the idle core takes %.2f of a processor', $seen->{idle} if $seen->{idle} > 0.1;
    push @why, sprintf 'a request took %.1f s', $seen->{longest}               if $seen->{longest} > ($TIMEOUT + 3) * $slower;
    for my $row (@{$seen->{rows}}) {
        my $limit = ($row->{outcome} eq 'silent' ? $TIMEOUT + 2 : 2) * $slower;
        push @why, map { "$row->{name}: $_" } @{$row->{wrong}};
        push @why, map { sprintf '%s: replaced after %.1f s', $row->{name}, $_ } grep { $_ > $limit } @{$row->{replaced}};
    }
    return @why;
}

# Has a worker do that damage, and waits for what becomes of it.
sub damage {
    my ($server, $row, $damaged) = @_;
    my $seed   = int rand 1 << 31;
    my $client = $server->connect;
    my $lines  = () = $server->log =~ /has broken its channel/g;
    my $known  = -s "$server->{events}/events" // 0;
    $row->{times}++;
    $client->send("GET " . damage_path($row->{name}, $seed) . " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    my ($began, $pid, $ended, $replaced) = (time);
    my $limit = $began + $HANGS;
    while (1) {
        if (!$pid && (my @event = last_event($server, $known))) {
            ($pid, $began) = @event;
            push @$damaged, $pid;
        }
        # Else it takes the content, and there is credit for more.
        if (!defined $ended && ($row->{name} !~ /beyond the credit/ || defined $replaced)) {
            my $more = $client->fill(time + 0.02);
            $ended = time if defined $more && !$more;
            # Its worker may promise it content without an end.
            if (length $client->{buffer} > 1 << 20) {
                $client->close;
                $ended = time;
            }
        }
        else { sleep 0.02 }
        my $said = () = $server->log =~ /has broken its channel/g;
        my $left = $pid && !alive($pid);
        if ($pid && ($left || $said > $lines) && !defined $replaced && serving($server, $pid) == $WORKERS) {
            $replaced = time - $began;
            push @{$row->{replaced}}, $replaced;
        }
        # The line comes a moment after what it tells of.
        next if $row->{outcome} eq 'replaced' && $said == $lines && time < $limit;
        last if defined $ended && (defined $replaced || $row->{outcome} eq 'any' && !$left && time - $ended > 0.1);
        next if time < $limit;
        push @{$row->{wrong}}, defined $ended ? 'its worker is not replaced' : 'its client gets no end';
        last;
    }
    my ($status) = $client->{buffer} =~ m{\AHTTP/1\.1 (\d+)};
    push @{$row->{wrong}}, "not done: $client->{buffer}" if ($status // 0) == 500 && $client->{buffer} =~ /damage: /;
    $row->{ends}{$status // 'cut'}++;
    my @said = $server->log =~ /has broken its channel(?: and is replaced)?: (.*)/g;
    $row->{lines}{$_ =~ s/\d+/N/gr}++ for @said[$lines .. $#said];
    my $most = $row->{outcome} eq 'replaced' ? 1 : 3;
    push @{$row->{wrong}}, @said - $lines . ' lines in the log' if @said > $lines + $most || $most == 1 && @said == $lines;
}

# The worker that has begun the last damage beyond so many bytes of the events, and when.
sub last_event {
    my ($server, $known) = @_;
    open my $file, '<', "$server->{events}/events" or return;
    seek $file, $known, 0;
    my ($last) = reverse <$file>;
    return split ' ', $last // '';
}

# How many workers serve, other than that one.
sub serving {
    my ($server, $but) = @_;
    my $status = eval { json($server->get('/status?json')->content) } or return 0;
    return scalar grep { $_->{state} =~ /^(?:idle|busy)$/ && $_->{pid} != ($but // 0) } @{$status->{workers}};
}

# A process that sends requests until the file is there, each with a token of its own, and then says what it has got.
sub load {
    my ($server, $number, $seed, $end, $report) = @_;
    my $pid = fork // die "fork: $!";
    return $pid if $pid;
    eval { report($report, requests($server, $number, $seed, $end)); 1 } or warn $@;
    POSIX::_exit(0);
}

sub report {
    my ($path, $seen) = @_;
    open my $file, '>', $path or die "$path: $!";
    print {$file} JSON::PP->new->latin1->encode($seen);
    close $file or die "$path: $!";
}

sub requests {
    my ($server, $number, $seed, $end) = @_;
    srand $seed + $number;
    my @sizes = (20, 400, 5000, 70_000, 400_000, 1 << 20);
    my %seen  = (requests => 0, failed => 0, foreign => [], spoilt => [], hangs => [], longest => 0);
    my $client;
    until (-e $end) {
        my $token = "$number-" . $seen{requests}++;
        my $size  = $sizes[rand rand @sizes];
        my $form  = (qw(array writer file))[rand 3];
        my $began = time;
        my ($response, $raw);
        my $done = eval {
            $client //= Gepok::Test::Connection->new(port => $server->port, seconds => $HANGS);
            $client->send("GET /load/$token/$size/$form HTTP/1.1\r\nHost: x\r\n\r\n");
            $response = $client->response('GET');
            1;
        };
        $seen{longest} = max $seen{longest}, time - $began;
        my $content = $done ? $response->content : $client ? $client->{buffer} : '';
        push @{$seen{hangs}}, "$form of $size: $@" if !$done && $@ =~ /silence/;
        push @{$seen{foreign}}, "$1 for $token"    if $content =~ /<(?!\Q$token\E>)(\d+-\d+)>/;
        undef $client if !$done || $response->closes;
        if (!$done || $response->status != 200) {
            $seen{failed}++;
        }
        elsif ($content ne substr "<$token>" x (1 + $size / length "<$token>"), 0, $size) {
            push @{$seen{spoilt}}, [eval { $response->field('X-Worker') } // 0, "$form of $size: " . length($content) . ' bytes'];
        }
    }
    return \%seen;
}

sub rss {
    open my $file, '<', "/proc/$_[0]/statm" or return 0;
    return (split / /, <$file>)[1] * POSIX::sysconf(POSIX::_SC_PAGESIZE());
}

# Seconds of processor time.
sub cpu {
    open my $file, '<', "/proc/$_[0]/stat" or return 0;
    my ($user, $system) = (split / /, <$file> =~ s/^.*\) //r)[11, 12];
    return ($user + $system) / POSIX::sysconf(POSIX::_SC_CLK_TCK());
}

# Root alone sees those of a core.
sub descriptors {
    opendir my $folder, "/proc/$_[0]/fd" or return 0;
    return scalar(my @all = readdir $folder) - 2;
}

1;
