package Gepok::Test::Leak;

# Sends many requests of one form and measures the growth of the server's processes; see script/leak-check.

use strict;
use warnings;

use Gepok::Test;

# The forms of t/apps/leak.psgi. Those that end the connection of their client are dearer: fewer of them are sent.
sub forms {
    return qw(array handle memory object delayed streaming kept dying dying-string dying-delayed dying-streaming
        no-response cleanup wide informational post post-unread post-large);
}

my %content = (post => 'x' x 1000, 'post-unread' => 'x' x 1000, 'post-large' => 'x' x 40_000);

# So many requests are sent at once, on one connection: the cost of a request is then mostly the server's.
my $BATCH = 50;

# Resident memory in bytes, from what the kernel says of the process's own pages.
sub resident {
    my $pid = shift;
    open my $file, '<', "/proc/$pid/statm" or return 0;
    return (split / /, <$file>)[1] * 4096;
}

# The processes by their parts.
sub processes {
    my ($server, $worker) = @_;
    my %of = (worker => $worker);
    return (one => $worker) if $worker == $server->pid;
    my @others = grep { $_ != $worker } $server->descendants;
    return (worker => $worker, core => $others[0], master => $server->pid);
}

# {form, requests, of => {worker => {warm, end, slope}, ...}}
#
# A first fifth of the requests is the warm-up: arenas, buffers and the stack reach their size. The slope is that of a line
# through the medians of the samples' first and last third, so neither one high sample nor a late step of a page counts.
sub measure {
    my ($form, %how) = @_;
    my $server = server(
        entry   => $how{entry} // default_entry(),
        app     => app_file('leak'),
        options => {start_servers => $how{workers} // 1, max_requests_per_child => 2_000_000_000},
        env     => {GEPOK_TEST_QUIET => 1},
    );
    my $worker = $server->get('/pid')->content;
    my %pids   = processes($server, $worker);
    my $cuts   = $form eq 'dying-streaming';
    my $total  = $cuts ? int $how{requests} / 10 : $how{requests};
    my $body   = $content{$form} // '';
    my $line   = length $body ? "POST /$form HTTP/1.1\r\nContent-Length: " . length $body : "GET /$form HTTP/1.1";
    my $bytes  = "$line\r\nHost: x\r\n\r\n$body";
    my $batch  = $cuts ? 1 : length $body > 10_000 ? 5 : $BATCH;
    my (@samples, $client);
    my $warm  = int $total / 5;
    my $every = int(($total - $warm) / 60) || 1;
    my $next  = $warm;
    my $done  = 0;

    while ($done < $total) {
        $client = $server->connect if !$client || $cuts || $done % 10_000 < $batch;
        $client->send($bytes x $batch) or die "$form: the server takes no more\n";
        if ($cuts) { eval { $client->response } }
        else       { responses($client, $form, $batch) }
        $done += $batch;
        if ($done >= $next) {
            push @samples, [$done, map { resident($pids{$_}) } sort keys %pids];
            $next += $every;
        }
    }
    $server->get('/pid')->content == $worker || $how{workers} > 1 or die "$form: the worker was replaced\n";

    my %of;
    my @names = sort keys %pids;
    for my $i (0 .. $#names) {
        my $third = int @samples / 3;
        my @first = @samples[0 .. $third - 1];
        my @last  = @samples[-$third .. -1];
        my $rise  = median(map { $_->[$i + 1] } @last) - median(map { $_->[$i + 1] } @first);
        my $run   = median(map { $_->[0] } @last) - median(map { $_->[0] } @first);
        $of{$names[$i]} = {warm => $first[0][$i + 1], end => $last[-1][$i + 1], slope => $rise / $run};
    }
    return {form => $form, requests => $total, of => \%of};
}

# Reads so many responses, quicker than a judging parser does: each must be there, that is all.
sub responses {
    my ($client, $form, $count) = @_;
    for (1 .. $count) {
        my $head = $client->upto(qr/\r\n\r\n/);
        while ($head =~ m{^HTTP/1\.1 1}) { $head = $client->upto(qr/\r\n\r\n/) }
        if    ($head =~ /^Content-Length: (\d+)/mi)       { $client->bytes($1) }
        elsif ($head =~ /^Transfer-Encoding: chunked/mi) { $client->upto(qr/(?:^|\r\n)0\r\n\r\n/) }
        else                                             { die "$form: $head" }
    }
}

sub median { my @sorted = sort { $a <=> $b } @_; $sorted[@sorted / 2] }

sub heading { sprintf "%-16s %9s  %-8s %10s %10s %10s\n", qw(form requests process warm_KiB end_KiB bytes/req) }

sub row {
    my $result = shift;
    return join '', map {
        my $of = $result->{of}{$_};
        sprintf "%-16s %9d  %-8s %10d %10d %10.2f\n", $result->{form}, $result->{requests}, $_, $of->{warm} / 1024,
            $of->{end} / 1024, $of->{slope};
    } sort keys %{$result->{of}};
}

1;
