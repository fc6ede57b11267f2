package Gepok::Test::Large;

# Sends and fetches large contents and watches the server meanwhile; see script/large-transfers.

use strict;
use warnings;

use IO::Handle;
use JSON::PP    ();
use POSIX       ();
use Socket      qw(SOL_SOCKET SO_RCVBUF);
use Time::HiRes qw(sleep time);

use Gepok::Test;
use Gepok::Test::Bytes;

my $MIB = Gepok::Test::Bytes::BLOCK;

# The ways a large content can go; `upload` is told its length before, `upload-chunked` is not.
sub forms { qw(upload upload-chunked file writer getline) }

# Between two looks at the server, in seconds.
my $LOOK = 0.02;

# So many answers to a second client prove that the worker is free.
my $PROOF = 3;

# One transfer against a fresh server with one worker. `how`: mib, the length; slow, how much of it goes at `rate` MiB/s;
# file, a sparse file of that length.
#
# {form, mib, slow, seconds, idle => {core, worker}, peak => {core, worker}, spool, probes, free, worst}: sizes in bytes;
# `free` is how soon a second client was first answered, `worst` how long any later one of its requests took, in seconds.
sub measure {
    my ($form, %how) = @_;
    my $server = server(
        entry   => $how{entry} // default_entry(),
        app     => app_file('large'),
        options => {start_servers => 1, max_requests_per_child => 2_000_000_000},
        env     => {GEPOK_TEST_FILE => "$how{file}"},
    );
    my $worker = $server->get('/pid')->content;
    my ($core) = grep { $_ != $worker } $server->descendants;
    # Each process has used by now what any transfer would need.
    transfer($server, $form, 0, 2, %how, slow => 0) if $form ne 'file';
    $server->get('/pid') for 1 .. 20;

    my %pids  = (core => $core, worker => $worker);
    my %idle  = map { $_ => resident($pids{$_}) } keys %pids;
    my $watch = watch($server, %pids);
    my $start = time;
    my $done  = eval { transfer($server, $form, $watch, $how{mib}, %how); 1 };
    my $error = $@;
    my $took  = time - $start;
    my $seen  = $watch->{report}->();
    die $error if !$done;
    $server->get('/pid')->content == $worker or die "$form: the worker was replaced\n";
    return {form => $form, mib => $how{mib}, slow => $how{slow}, seconds => $took, idle => \%idle, %$seen};
}

sub transfer {
    my ($server, $form, $watch, $mib, %how) = @_;
    my $client = $server->connect;
    $client->{seconds} = 120;
    return $form =~ /^upload/ ? upload($client, $form, $watch, $mib, %how) : download($client, $form, $watch, $mib, %how);
}

sub upload {
    my ($client, $form, $watch, $mib, %how) = @_;
    my $chunked = $form eq 'upload-chunked';
    my $pace    = pace($watch, %how);
    $client->send("POST /upload HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            . ($chunked ? "Transfer-Encoding: chunked\r\n\r\n" : 'Content-Length: ' . $mib * $MIB . "\r\n\r\n"));
    for my $number (0 .. $mib - 1) {
        my $block = Gepok::Test::Bytes::block($number);
        while (length $block) {
            # No chunk ends where a buffer does.
            my $piece = substr $block, 0, 99_991, '';
            $client->send($chunked ? sprintf("%x\r\n%s\r\n", length $piece, $piece) : $piece)
                or die "the server takes no more\n";
            $pace->(length $piece);
        }
    }
    $client->send("0\r\n\r\n") if $chunked;
    my $content = $client->response('POST')->content;
    $content =~ /^(\d+) of / && $1 == $mib * $MIB or die "the app got: $content\n";
}

sub download {
    my ($client, $form, $watch, $mib, %how) = @_;
    my $pace  = pace($watch, %how);
    my $judge = Gepok::Test::Bytes->judge(sparse => $form eq 'file');
    # Else the kernel would take some MiB in the reader's place.
    setsockopt $client->socket, SOL_SOCKET, SO_RCVBUF, 128 * 1024 if $how{slow};
    $client->send("GET /$form/$mib HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    my $head = $client->head;
    $head->status == 200 or die 'the status is ' . $head->status . "\n";
    my $left = $head->field('Content-Length');
    while (1) {
        my $piece = !defined $left ? $client->chunk : $left ? $client->bytes($left < 65536 ? $left : 65536) : '';
        last if !length $piece;
        $left -= length $piece if defined $left;
        $judge->take($piece);
        $pace->(length $piece);
    }
    $judge->total == $mib * $MIB or die $judge->total . " bytes came\n";
    $client->closed or die "something follows the content\n";
}

# A brake to call behind each piece: `rate` for the first `slow` MiB, and on until a second client was answered, so that a
# busy machine can't hide the proof. The probes begin with the first piece, when the worker has the request in hand, and
# stop with the brake: in the fast part of an upload the worker has work.
sub pace {
    my ($watch, %how) = @_;
    my ($total, $start, $fast) = (0, time, !$watch || !$how{slow});
    return sub {
        return if $fast;
        $watch->{probe}->() if !$total;
        $total += shift;
        if ($total >= $how{slow} * $MIB && $watch->{proved}->()) {
            $fast = 1;
            $watch->{stop_probes}->();
            return;
        }
        my $early = $start + $total / $how{rate} / $MIB - time;
        sleep $early if $early > 0;
    };
}

# A process beside the client that looks at the server all the time, and asks it for something small again and again.
sub watch {
    my ($server, %pids) = @_;
    pipe my $words, my $parent or die "pipe: $!";
    pipe my $news,  my $child  or die "pipe: $!";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        close $parent;
        my $ended = eval { look($server, $words, $child, %pids); 1 };
        print {$child} JSON::PP::encode_json({error => $@}) if !$ended;
        close $child;
        POSIX::_exit(0);
    }
    close $words;
    close $child;
    $parent->autoflush(1);
    my ($proved, $text) = (0, '');
    return {
        proved => sub {
            my $read = '';
            vec($read, fileno $news, 1) = 1;
            if (!$proved && select $read, undef, undef, 0) {
                sysread($news, $text, 1) or die "the watcher has died\n";
                $proved = 1;
                $text   = '' if $text eq '!';
            }
            return $proved;
        },
        probe       => sub { print {$parent} 'p' },
        stop_probes => sub { print {$parent} 's' },
        report      => sub {
            close $parent;
            local $/;
            $text .= <$news> // '';
            $text =~ s/^!//;
            waitpid $pid, 0;
            my $seen = JSON::PP::decode_json($text);
            die $seen->{error} if $seen->{error};
            return $seen;
        },
    };
}

sub look {
    my ($server, $words, $out, %pids) = @_;
    my %seen = (peak => {map { $_ => 0 } keys %pids}, spool => 0, probes => 0, free => undef, worst => 0);
    my ($client, $probing, $asked, $start) = (undef, 0, 0);
    while (1) {
        for my $name (keys %pids) {
            my $size = resident($pids{$name});
            $seen{peak}{$name} = $size if $size > $seen{peak}{$name};
        }
        my $spool = spool_size(values %pids);
        $seen{spool} = $spool if $spool > $seen{spool};

        if ($probing && !$asked) {
            $client //= $server->connect;
            $client->{seconds} = 120;
            $client->send("GET /pid HTTP/1.1\r\nHost: x\r\n\r\n");
            $asked = time;
        }
        my ($read, $word) = ('');
        vec($read, fileno $words, 1) = 1;
        vec($read, fileno $client->socket, 1) = 1 if $asked;
        select($read, undef, undef, $LOOK) > 0 or next;
        if ($asked && vec $read, fileno $client->socket, 1) {
            $client->response->content eq $pids{worker} or die "a second client got something else\n";
            my $took = time - $asked;
            if (!defined $seen{free}) { $seen{free} = time - $start }
            elsif ($took > $seen{worst}) { $seen{worst} = $took }
            syswrite $out, '!' if ++$seen{probes} == $PROOF;
            $asked = 0;
            sleep $LOOK;
        }
        if (vec $read, fileno $words, 1) {
            last if !sysread $words, $word, 1;
            # An answer that is under way is awaited no more: the worker may have got other work.
            ($probing, $asked, $client, $start) = ($word eq 'p', 0, undef, time);
        }
    }
    print {$out} JSON::PP::encode_json(\%seen);
}

# Resident memory in bytes.
sub resident {
    my $pid = shift;
    open my $file, '<', "/proc/$pid/statm" or return 0;
    return (split / /, <$file>)[1] * 4096;
}

# The most resident memory that this process ever had, in bytes.
sub own_peak {
    open my $file, '<', '/proc/self/status' or return 0;
    my ($kib) = map {/^VmHWM:\s+(\d+)/} <$file>;
    return $kib * 1024;
}

# Disk space of the unlinked files that those processes hold, in bytes.
sub spool_size {
    my %blocks;
    for my $fd (map { glob "/proc/$_/fd/*" } @_) {
        my $name = readlink $fd // next;
        $name =~ / \(deleted\)$/ && $name !~ m{^/(?:memfd|dev)\b} or next;
        my ($device, $inode, $count) = (stat $fd)[0, 1, 12] or next;
        $blocks{"$device:$inode"} = $count if defined $count;
    }
    my $sum = 0;
    $sum += $_ * 512 for values %blocks;
    return $sum;
}

sub heading {
    return sprintf "%-15s %5s %6s %8s %7s %16s %16s %9s %6s %7s %8s\n", qw(form MiB slow/MiB seconds MiB/s core_idle+KiB
        worker_idle+KiB spool_MiB probes free_s worst_ms);
}

sub row {
    my $result = shift;
    return sprintf "%-15s %5d %8d %8.1f %7.0f %9d+%6d %9d+%6d %9.0f %6d %7s %8s\n", @$result{qw(form mib slow seconds)},
        $result->{mib} / $result->{seconds},
        (map { $result->{idle}{$_} / 1024, grown($result, $_) / 1024 } qw(core worker)), $result->{spool} / $MIB,
        $result->{probes}, $result->{slow} ? map { sprintf $_->[0], $_->[1] } ['%.2f', $result->{free}],
        ['%.0f', $result->{worst} * 1000] : ('-', '-');
}

# How far that process grew over its idle size, in bytes.
sub grown { my ($result, $name) = @_; $result->{peak}{$name} - $result->{idle}{$name} }

1;
