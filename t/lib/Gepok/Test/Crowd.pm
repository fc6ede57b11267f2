package Gepok::Test::Crowd;

# Crowds of clients that want more than their share, and what a victim notices of them: its latency, and whether its upload of
# 2 MB is taken. script/crowd prints the table, t/37-crowd.t runs a smaller crowd for a few seconds.

use strict;
use warnings;

use Errno qw(EAGAIN EINPROGRESS);
use IO::Socket::INET;
use POSIX       ();
use Socket      qw(SOL_SOCKET SO_RCVBUF);
use Time::HiRes qw(sleep time);

use Gepok::Test;

# What the victim uploads.
my $UPLOAD = 2_000_000;

# A request that takes longer is an outage.
my $OUTAGE = 10;

# Code of an app for responses of 10 MiB.
sub large { <<'END' }
my $piece = 'x' x 65536;
my $large = sub {
    my $writer = shift->([200, ['Content-Length' => 160 * length $piece]]);
    $writer->write($piece) for 1 .. 160;
    $writer->close;
};
END

my $APP = large() . <<'END';
sub {
    my $env = shift;
    return $large if $env->{PATH_INFO} eq '/large';
    my ($length, $input) = (0, $env->{'psgi.input'});
    while (my $got = $input->read(my $bytes, 65536)) { $length += $got }
    return [200, [], ["hello $length"]];
};
END

# [name, what its clients do, their number, code that makes what one of them does each second, whether they have an address other
# than the victim's]
my @SCENARIOS = (
    ['readers',    'of one address read a dynamic response of 10 MiB at 1 KB/s',    600,  \&reader, 1],
    ['uploads',    'send 16 MiB of an upload of 1 GiB, then a byte now and then',   124,  \&upload],
    ['chunks',     'send chunks of one byte after the first MiB, 1 Mbit/s each',    20,   \&chunks],
    ['heads',      'send 62 KiB of a head that never ends',                         3000, \&heads],
    ['pipelined',  'send thousands of pipelined requests and read no response',     100,  \&flood],
    ['handshakes', 'begin a TLS handshake, and are silent',                         1000, \&handshake],
);

sub scenarios { map { $_->[0] } @SCENARIOS }

# Runs a scenario for so many seconds, with `scale` times its number of clients: what the victim saw.
sub run {
    my ($name, $seconds, $scale) = @_;
    my ($scenario) = grep { $_->[0] eq $name } @SCENARIOS or die "no scenario $name\n";
    my (undef, $what, $count, $client, $elsewhere) = @$scenario;
    my $from = $elsewhere ? Gepok::Test::own_address() : undef;
    $count = POSIX::ceil($count * ($scale // 1));
    my $port   = Gepok::Test::free_port();
    my $tls    = $name eq 'handshakes' ? Gepok::Test::free_port() : undef;
    my $server = server(
        entry => 'bin', app => $APP, port => $port,
        options => {max_clients => 150, $tls ? (https_ports => "127.0.0.1:$tls", ssl_self_signed => 1) : ()},
    );
    soon { eval { $server->get('/')->status } // 0 == 200 } or die "the server does not serve\n";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        eval { crowd($tls // $port, $from, $count, $client, time + $seconds) };
        POSIX::_exit(0);
    }
    my $seen = victim($server, $seconds);
    kill KILL => $pid;
    waitpid $pid, 0;
    return {%$seen, name => $name, what => $what, clients => $count, seconds => $seconds, log => $server->log};
}

# Requests one after the other, with an upload among them now and then.
sub victim {
    my ($server, $seconds) = @_;
    my $core  = ($server->descendants)[0];
    my $end   = time + $seconds;
    my %seen  = (uploads => 0, taken => 0, failed => 0, rss => 0);
    my $next  = time + $seconds / 10;
    my @times;
    while (time < $end) {
        my $began = time;
        my $good  = eval { $server->get('/')->content eq 'hello 0' };
        push @times, time - $began;
        $seen{failed}++ unless $good;
        if (time >= $next) {
            $seen{uploads}++;
            my $answer = eval { $server->post('/', 'x' x $UPLOAD)->content } // '';
            $seen{taken}++ if $answer eq "hello $UPLOAD";
            $next = time + $seconds / 10;
        }
        my $rss = rss($core);
        $seen{rss} = $rss if $rss > $seen{rss};
        sleep 0.02;
    }
    @times = sort { $a <=> $b } @times;
    @seen{qw(requests p50 p99 longest)} = (scalar @times, $times[@times / 2], $times[@times * 0.99], $times[-1]);
    $seen{outage} = $seen{failed} || $times[-1] > $OUTAGE ? 1 : 0;
    return \%seen;
}

sub rss {
    open my $file, '<', "/proc/$_[0]/statm" or return 0;
    return (split / /, <$file>)[1] * POSIX::sysconf(POSIX::_SC_PAGESIZE());
}

# So many clients, each of which does its step once a second and is replaced when it was closed.
sub crowd {
    my ($port, $from, $count, $new, $end) = @_;
    $SIG{PIPE} = 'IGNORE';
    my @clients;
    while (time < $end) {
        my $began = time;
        for my $at (0 .. $count - 1) {
            my $client = $clients[$at];
            if (!$client) {
                my $socket = IO::Socket::INET->new(Proto => 'tcp', $from ? (LocalAddr => $from) : ()) or next;
                setsockopt $socket, SOL_SOCKET, SO_RCVBUF, 16384;
                $socket->blocking(0);
                connect($socket, Socket::pack_sockaddr_in($port, Socket::inet_aton('127.0.0.1')))
                    || $! == EINPROGRESS
                    || next;
                $clients[$at] = [$socket, $new->()];
                next;
            }
            my ($socket, $step) = @$client;
            $clients[$at] = undef unless $step->($socket);
        }
        my $left = 1 - (time - $began);
        sleep $left if $left > 0;
    }
}

# Sends what the socket takes of it; what is left, or undef when the connection has ended.
sub push_bytes {
    my ($socket, $bytes) = @_;
    while (length $$bytes) {
        my $sent = syswrite $socket, $$bytes, 1 << 18;
        return $! == EAGAIN unless defined $sent;
        substr $$bytes, 0, $sent, '';
    }
    return 1;
}

# Whether the connection has ended; what is there is read, up to so many bytes.
sub ended {
    my ($socket, $most) = @_;
    my $got = sysread $socket, my $bytes, $most // 65536;
    return defined $got ? !$got : $! != EAGAIN;
}

sub reader {
    my $request = "GET /large HTTP/1.1\r\nHost: x\r\n\r\n";
    return sub { push_bytes($_[0], \$request) && !ended($_[0], 1024) };
}

sub upload {
    my $bytes = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " . (1 << 30) . "\r\n\r\n" . 'x' x (1 << 24);
    return sub {
        my $socket = shift;
        $bytes = 'x' unless length $bytes;
        return push_bytes($socket, \$bytes) && !ended($socket);
    };
}

sub chunks {
    my $bytes = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n100000\r\n" . 'x' x (1 << 20) . "\r\n";
    return sub {
        my $socket = shift;
        $bytes .= "1\r\nx\r\n" x 20_000 if length $bytes < 1 << 17;
        return push_bytes($socket, \$bytes) && !ended($socket);
    };
}

sub heads {
    my $bytes = "GET / HTTP/1.1\r\nHost: x\r\n" . join '', map { "X-Field-$_: " . 'x' x 1000 . "\r\n" } 1 .. 61;
    return sub {
        my $socket = shift;
        return push_bytes($socket, \$bytes) && !ended($socket);
    };
}

sub flood {
    my $bytes = '';
    return sub {
        $bytes .= "GET / HTTP/1.1\r\nHost: x\r\n\r\n" x 1000 if length $bytes < 1 << 17;
        return push_bytes($_[0], \$bytes);
    };
}

sub handshake {
    my $bytes = rand() < 0.5 ? '' : hello();
    return sub { push_bytes($_[0], \$bytes) && !ended($_[0]) };
}

# The first bytes of a TLS client.
sub hello {
    require Net::SSLeay;
    Net::SSLeay::initialize();
    my $context = Net::SSLeay::CTX_new();
    my $ssl     = Net::SSLeay::new($context);
    my ($in, $out) = map { Net::SSLeay::BIO_new(Net::SSLeay::BIO_s_mem()) } 1 .. 2;
    Net::SSLeay::set_bio($ssl, $in, $out);
    Net::SSLeay::connect($ssl);
    my $bytes = Net::SSLeay::BIO_read($out);
    Net::SSLeay::free($ssl);
    Net::SSLeay::CTX_free($context);
    return $bytes;
}

1;
