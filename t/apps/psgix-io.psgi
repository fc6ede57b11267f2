# What apps do with psgix.io, one path each. The echoes answer each line in capitals and end behind "quit".
use strict;
use warnings;

use IO::Select;
use Socket qw(SOL_SOCKET SO_KEEPALIVE SO_LINGER SO_TYPE SOCK_STREAM);

my $switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
my %kept;

sub echo_lines {
    my ($io) = @_;
    while (my $line = <$io>) {
        print $io uc $line;
        last if $line eq "quit\n";
    }
}

sub child(&) {
    my $code = shift;
    my $pid  = fork // die "fork: $!";
    return $pid if $pid;
    $code->();
    exit 0;
}

my %echoes = (
    readline => sub {
        my $io = shift;
        print $io $switching;
        echo_lines($io);
    },
    builtins => sub {
        my $io = shift;
        syswrite $io, $switching;
        my $buffer = '';
        while (1) {
            vec(my $bits = '', fileno $io, 1) = 1;
            select($bits, undef, undef, 10) > 0 or last;
            sysread $io, $buffer, 65536, length $buffer or last;
            while ($buffer =~ s/^(.*\n)//) {
                syswrite $io, uc $1;
                return if $1 eq "quit\n";
            }
        }
    },
    methods => sub {
        my $io = shift;
        $io->syswrite($switching);
        $io->blocking(0);
        my $select = IO::Select->new($io);
        my $buffer = '';
        while ($select->can_read(10)) {
            $io->sysread($buffer, 65536, length $buffer) or last;
            while ($buffer =~ s/^(.*\n)//) {
                $io->print(uc $1);
                return $io->close if $1 eq "quit\n";
            }
        }
    },
    anyevent => sub {
        my $io = shift;
        require AnyEvent;
        require AnyEvent::Handle;
        my $done   = AnyEvent->condvar;
        my $handle = AnyEvent::Handle->new(fh => $io, on_error => sub { $done->send }, on_eof => sub { $done->send });
        $handle->push_write($switching);
        $handle->on_read(sub {
            $handle->push_read(line => qr/\n/, sub {
                my ($self, $line) = @_;
                $self->push_write(uc "$line\n");
                $self->on_drain(sub { $done->send }) if $line eq 'quit';
            });
        });
        $done->recv;
        $handle->destroy;
    },
    ioasync => sub {
        my $io = shift;
        require IO::Async::Loop;
        require IO::Async::Stream;
        my $loop   = IO::Async::Loop->new;
        my $stream = IO::Async::Stream->new(
            handle    => $io,
            on_closed => sub { $loop->stop },
            on_read   => sub {
                my ($self, $buffer) = @_;
                while ($$buffer =~ s/^(.*\n)//) {
                    $self->write(uc $1);
                    $self->close_when_empty if $1 eq "quit\n";
                }
                return 0;
            },
        );
        $loop->add($stream);
        $stream->write($switching);
        $loop->run;
    },
    # The child goes on, the worker is free.
    child => sub {
        my $io = shift;
        print $io $switching;
        child { child { echo_lines($io) } };
        wait;
    },
    # A program that the app starts.
    command => sub {
        my $io = shift;
        print $io $switching;
        open my $in,  '<&', \*STDIN;
        open my $out, '>&', \*STDOUT;
        open STDIN,  '<&', $io or die $!;
        open STDOUT, '>&', $io or die $!;
        system $^X, '-ne', '$| = 1; print uc; last if $_ eq "quit\n"';
        open STDIN,  '<&', $in;
        open STDOUT, '>&', $out;
    },
);

my %answers = (
    pid => sub {$$},

    # Looking costs the connection nothing.
    addresses => sub {
        my $io = $_[0]{'psgix.io'};
        my %copy = %{$_[0]};
        return join ' ', ref $io, $io == $copy{'gepok.socket'} ? 1 : 0, $io->peerhost // '', $io->peerport // '',
            $io->sockhost // '', $io->hostpath // '', $io->connected ? 'connected' : 'not';
    },
    credentials => sub { my @ids = $_[0]{'psgix.io'}->peercred; @ids . " @ids" },
    class => sub {
        my $env = shift;
        return join ' ', map { my $key = $_; grep { $env->{$key}->isa($_) } map {"IO::Socket::$_"} qw(INET IP UNIX) }
            'psgix.io', 'gepok.httpd_socket';
    },

    # Fetched, and then an ordinary response.
    option => sub {
        my $io = $_[0]{'gepok.socket'};
        setsockopt $io, SOL_SOCKET, SO_KEEPALIVE, 1 or die $!;
        my $name   = getpeername $io;
        my ($port) = Socket::sockaddr_family($name) == Socket::AF_INET() ? Socket::unpack_sockaddr_in($name) : ();
        return join ' ', $io->sockopt(SO_TYPE) == SOCK_STREAM ? 'stream' : '?', $io->sockopt(SO_KEEPALIVE) ? 'alive' : '?',
            $port // '';
    },

    keep => sub { $kept{unfetched} = $_[0]{'psgix.io'}; 'kept' },
    kept => sub {
        my $io = $kept{unfetched};
        my $wrote = syswrite $io, 'to the wrong client';
        return join ' ', $wrote // 'undef', $!{EBADF} ? 'EBADF' : $!, fileno $io, $io->peerhost;
    },
    later => sub {
        my $io = delete $kept{fetched};
        print $io "later\n";
        return 'written';
    },
    'child-unfetched' => sub {
        my $io = $_[0]{'psgix.io'};
        pipe my $from, my $to or die $!;
        child {
            my $wrote = syswrite $io, 'from the child';
            print $to join ' ', $wrote // 'undef', $!{EBADF} ? 'EBADF' : $!;
            close $to;
        };
        close $to;
        my $said = <$from>;
        wait;
        return "$said, then " . (fileno $io > 2 ? 'fetched' : 'none');
    },
);

sub {
    my $env = shift;
    my (undef, $name, $option) = split m{/}, $env->{PATH_INFO};
    if (my $echo = $echoes{$name}) {
        return sub { $echo->($env->{'psgix.io'}) };
    }
    return sub { die "the app died\n" if syswrite $env->{'psgix.io'}, "half\n"; } if $name eq 'die';
    # The socket is fetched during a response, whose writer is then closed, or dropped.
    if ($name eq 'late') {
        return sub {
            my $writer = $_[0]->([200, ['Content-Type' => 'text/plain', $option eq 'length' ? ('Content-Length' => 5) : ()]]);
            $writer->write('whole');
            die "not fetched\n" if !defined fileno($env->{'psgix.io'}) && $option ne 'length';
            $writer->close if $option ne 'dropped';
        };
    }
    # An env that the app never lets go, once it has fetched the socket.
    if ($name eq 'leak') {
        push @{$kept{leaks}}, $env;
        die "not fetched\n" if !defined fileno $env->{'psgix.io'};
        return [200, ['Content-Type' => 'text/plain'], ['whole']] if $option eq 'whole';
        return sub {
            my $writer = $_[0]->([200, ['Content-Type' => 'text/plain']]) if $option eq 'cut';
            $writer->write('half') if $writer;
            die "the leaking app died\n";
        };
    }
    # What the app sets on the socket counts for every process that has it. Its copy stays open.
    if ($name eq 'blocking') {
        my $io = $env->{'psgix.io'};
        push @{$kept{blocking}}, $io;
        my $block = sub { defined $io->blocking(1) or die "blocking: $!\n" };
        $block->();
        setsockopt $io, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 3600 or die $! if $option eq 'linger';
        if ($option eq 'linger') {
            close $io;
            @{$kept{blocking}} = ();
        }
        my $piece = 'x' x 65_536;
        # With a linger time: as much as the send buffer takes, so that the core closes with unsent bytes.
        my $pieces = $option eq 'linger' ? 1 : 256;
        if ($option eq 'file') {
            open my $file, '+>', undef or die $!;
            print $file $piece x $pieces;
            seek $file, 0, 0;
            return [200, ['Content-Type' => 'text/plain'], $file];
        }
        return [200, ['Content-Type' => 'text/plain', 'Content-Length' => 65_536 * $pieces], [($piece) x $pieces]]
            if $option ne 'later';
        return sub {
            my $writer = $_[0]->([200, ['Content-Type' => 'text/plain']]);
            # The core has the socket back, and the app changes it then.
            $writer->write($piece);
            select undef, undef, undef, 0.2;
            $block->();
            $writer->write($piece) for 2 .. $pieces;
            $writer->close;
        };
    }
    # The app answers, and goes on by the socket: what follows such a head is no HTTP.
    if ($name eq 'tunnel') {
        return sub {
            my $io = $env->{'psgix.io'};
            my $writer = $_[0]->([101, [Upgrade => 'echo']]);
            echo_lines($io);
            $writer->close;
        };
    }
    if ($name eq 'keep-fetched') {
        return sub { $kept{fetched} = $env->{'psgix.io'}; syswrite $kept{fetched}, "now\n" };
    }
    # A client that has left: SIGPIPE would end the worker.
    if ($name eq 'flood') {
        return sub {
            my $io = $env->{'psgix.io'};
            1 while syswrite $io, 'x' x 65536;
            $kept{flood} = $!{EPIPE} || $!{ECONNRESET} ? 'EPIPE' : "$!";
        };
    }
    return [200, ['Content-Type' => 'text/plain'], [$kept{flood} // 'no']] if $name eq 'flooded';
    return sub { $_[0]->([200, ['Content-Type' => 'text/plain'], [$answers{$option}->($env)]]) } if $name eq 'delayed';
    return [200, ['Content-Type' => 'text/plain'], [$answers{$name}->($env)]];
};
