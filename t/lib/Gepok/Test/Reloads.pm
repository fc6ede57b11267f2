package Gepok::Test::Reloads;

# Requests without end while a server is reloaded again and again: each is accounted for; see script/reload-under-load.

use strict;
use warnings;

use IO::Socket::INET;
use JSON::PP    ();
use List::Util  qw(sum0);
use POSIX       ();
use Socket      qw(IPPROTO_TCP TCP_NODELAY);
use Time::HiRes qw(sleep time);

use Gepok::Test;
use Gepok::Test::Connection;

# How long a client waits for anything, in seconds: what takes longer is lost.
my $PATIENCE = 20;

# The one that Debian's modules belong to.
my ($PYTHON) = (grep({ -x } '/usr/bin/python3'), 'python3');

my $REQUEST = "GET /%s HTTP/1.1\r\nHost: x\r\n%s\r\n";

# A server that is reloaded for so many seconds, by HUP each second, USR2 every two or by start_server: what `measure` tells, and how many
# reloads there were. `how`: kind (HUP, hosts, USR2, or starter- and a signal), workers, and what `measure` takes. With hosts each HUP adds
# a virtual host and removes one, beside the one that the clients use.
sub under_load {
    my (%how)  = @_;
    my $folder = scratch();
    my $port   = free_port();
    my ($signal) = $how{kind} =~ /^starter-(\w+)$/;
    Gepok::Test::Server::spew("$folder/app.psgi",
        'sub { my $number = substr shift->{PATH_INFO}, 1; [200, [], ["$number ", "x" x rand 3000, "x"]] }');
    my @command = (root() . '/blib/script/gepok', '--no-preload-app', "--max-workers=$how{workers}",
        '--h2c', '--max-requests-per-child=5000', '--keepalive-timeout=60', "--http-ports=127.0.0.1:$port", "$folder/app.psgi");
    @command = ('start_server', "--port=127.0.0.1:$port", "--signal-on-hup=$signal", '--backlog=4096', '--', @command)
        if defined $signal;
    my $hosts = $how{kind} eq 'hosts' && Gepok::Test::Reloads::Hosts->new($folder, $port);
    splice @command, -1, 0, '--config', $hosts->write if $hosts;
    my $server  = server(listen => 'none', port => $port, command => \@command);
    my $reloads = 0;
    my @wrong;
    # start_server itself waits a second for each new child.
    my $sum = measure(%how, port => $port, disturb => sub {
        sleep($how{kind} eq 'HUP' || $hosts ? 1 : 2);
        $hosts->write if $hosts;
        $server->signal($how{kind} eq 'USR2' ? 'USR2' : 'HUP');
        $reloads++;
        push @wrong, $hosts->wrong if $hosts;
    });
    push @{$sum->{lost}}, @wrong;
    push @{$sum->{lost}}, 'the server did not end well' if $server->stop;
    push @{$sum->{lost}}, grep { /\[error\]/ } split /\n/, $server->log;
    return {%$sum, reloads => $reloads};
}

# `how`: port; seconds; kept (connections that are kept); clients (processes among which they are); fresh (processes that
# make a connection for each request); disturb, a code reference that is called with the time since the begin until all is over.
#
# With http2 each connection carries so many requests at a time, and there are no others.
#
# {requests, retries, connections, goaways, lost => [sentences]}
sub measure {
    my (%how) = @_;
    my $folder = scratch();
    my $until  = time + $how{seconds};
    my @reports;
    my @pids = map {
        push @reports, "$folder/" . @reports;
        $how{http2} ? http2_client($reports[-1], $_, \%how) : client($reports[-1], $how{port}, $until, $_)
    } (map { int($how{kept} / $how{clients}) || 1 } 1 .. $how{clients}), (0) x ($how{http2} ? 0 : $how{fresh});
    my $start = time;
    $how{disturb}->(time - $start) while time < $until;
    my %sum = (requests => 0, retries => 0, connections => 0, goaways => 0, lost => []);
    for my $pid (@pids) {
        my $status = Gepok::Test::Server::reap($pid, 3 * $PATIENCE);
        next if defined $status && !$status;
        push @{$sum{lost}}, 'a client has failed';
        kill KILL => $pid;
    }
    for my $path (@reports) {
        open my $file, '<', $path or next;
        my $report = JSON::PP::decode_json(do { local $/; <$file> });
        $sum{$_} += $report->{$_} // 0 for qw(requests retries connections goaways);
        push @{$sum{lost}}, @{$report->{lost}};
    }
    return \%sum;
}

# One process with so many connections of HTTP/2.
sub http2_client {
    my ($path, $connections, $how) = @_;
    my $pid = fork // die "fork: $!";
    return $pid if $pid;
    alarm 0;
    open STDOUT, '>', $path or POSIX::_exit(126);
    exec($PYTHON, root() . '/t/clients/http2_reload.py', $how->{port}, $how->{seconds}, $connections, $how->{http2}) or POSIX::_exit(127);
}

# One process with so many connections that are kept; with none, each request has a connection of its own.
sub client {
    my ($path, $port, $until, $kept) = @_;
    my $pid = fork // die "fork: $!";
    return $pid if $pid;
    my $ended = eval {
        alarm 0;
        my %report = (requests => 0, retries => 0, connections => 0, lost => []);
        my $self   = {port => $port, report => \%report, number => 0};
        my @open   = map { {} } 1 .. $kept || 1;
        while (time < $until && @{$report{lost}} < 20) {
            ask($self, $_, !$kept) for @open;
            answer($self, $_, !$kept) for @open;
        }
        Gepok::Test::Server::spew($path, JSON::PP::encode_json(\%report));
        1;
    };
    print STDERR "client: $@" if !$ended;
    POSIX::_exit($ended ? 0 : 1);
}

# Sends one request, on the connection that is there or a new one.
sub ask {
    my ($self, $slot, $last) = @_;
    my $number = $slot->{number} = $$ . '-' . ++$self->{number};
    $self->{report}{requests}++;
    $slot->{used} = !!$slot->{socket};
    $slot->{socket} //= dial($self) or return;
    my $bytes = $slot->{bytes} = sprintf $REQUEST, $number, $last ? "Connection: close\r\n" : '';
    # That it can't be written shows when the answer is read.
    syswrite $slot->{socket}, $bytes;
    return;
}

sub dial {
    my $self   = shift;
    my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port}, Timeout => $PATIENCE);
    if (!$socket) {
        push @{$self->{report}{lost}}, "no connection: $@";
        return;
    }
    $self->{report}{connections}++;
    setsockopt $socket, IPPROTO_TCP, TCP_NODELAY, 1;
    setsockopt $socket, Socket::SOL_SOCKET(), Socket::SO_RCVTIMEO(), pack 'l!l!', $PATIENCE, 0;
    return $socket;
}

# Reads the answer. A connection that was kept and is closed before the first byte has refused the request unseen: as
# RFC 9110 section 9.2.2 allows for a GET, it is sent again, once, on a new connection.
sub answer {
    my ($self, $slot) = @_;
    return if !$slot->{socket};
    my ($whole, $got, $closes) = read_one($slot);
    if (!$whole && !length $got && $slot->{used}) {
        $self->{report}{retries}++;
        $slot->{socket} = dial($self) or return;
        syswrite $slot->{socket}, $slot->{bytes};
        ($whole, $got, $closes) = read_one($slot);
    }
    if (!$whole || $got !~ m{\AHTTP/1\.1 200 } || $got !~ /\r\n\r\n\Q$slot->{number}\E x+\z/) {
        push @{$self->{report}{lost}}, "$slot->{number}: " . ($whole ? '' : "cut ($!) ") . substr $got, 0, 200;
        $closes = 1;
    }
    $slot->{socket} = undef if $closes;
    return;
}

# (whether it is whole, the bytes, whether the connection ends)
sub read_one {
    my $slot = shift;
    my $got  = '';
    while (1) {
        if ($got =~ /\A(.*?\r\n)\r\n/s) {
            my ($head, $end) = ($1, $+[0]);
            my ($length) = $head =~ /^content-length: (\d+)\r$/im;
            return (1, $got, scalar $head =~ /^connection: close\r$/im) if length $got >= $end + $length;
        }
        my $count = sysread $slot->{socket}, $got, 65536, length $got;
        return (0, $got, 1) if !$count;
    }
}

# Virtual hosts that come and go: ten of them, beside the host of the clients.
package Gepok::Test::Reloads::Hosts {
    use Gepok::Test;
    use Time::HiRes qw(sleep);

    sub new {
        my ($class, $folder, $port) = @_;
        mkdir "$folder/files" or die "$folder/files: $!";
        Gepok::Test::Server::spew("$folder/files/f", 'file');
        return bless {folder => $folder, port => $port, first => 0}, $class;
    }

    # The configuration file, which has another host than before and another one less.
    sub write {
        my $self  = shift;
        my $first = ++$self->{first};
        my $path  = "$self->{folder}/site.toml";
        my $text  = join '', qq{[[vhost]]\nname = "x"\n},
            map { qq{[[vhost]]\nname = "h$_.org"\naliases = ["*.h$_.org"]\ndocuments = "$self->{folder}/files"\nfallback = "404"\n} } $first .. $first + 9;
        # A server that reads it meanwhile sees the old one or the new one.
        Gepok::Test::Server::spew("$path.new", $text);
        rename "$path.new", $path or die "$path: $!";
        return $path;
    }

    # What is wrong with the hosts, once the server has had time to read the file.
    sub wrong {
        my $self = shift;
        my ($gone, $first, $last) = ($self->{first} - 1, $self->{first}, $self->{first} + 9);
        return if soon { $self->status("a.h$last.org") == 200 && $self->status("h$gone.org") == 404 && $self->status("h$first.org") == 200 };
        return "the hosts $first to $last are not there, or $gone still is";
    }

    sub status {
        my ($self, $host) = @_;
        my $connection = Gepok::Test::Connection->new(port => $self->{port});
        $connection->send("GET /f HTTP/1.1\r\nHost: $host\r\nConnection: close\r\n\r\n");
        return $connection->response->status;
    }
}

sub text {
    my $sum = shift;
    return sprintf "%d requests on %d connections, %d GOAWAY, %d sent again, %d lost\n",
        @$sum{qw(requests connections goaways retries)}, scalar @{$sum->{lost}};
}

1;
