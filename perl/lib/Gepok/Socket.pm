# The client's connection (psgix.io, gepok.socket) or its listener (gepok.httpd_socket): addresses without a system call.
package Gepok::Socket;

use strict;
use warnings;

use IO::Socket ();
use Socket     ();

our $VERSION = '0.300';

# What callers ask `isa` for. Nothing of IO::Socket::IP's own is needed: named, so that perl knows it, but not loaded.
{ package IO::Socket::IP; }
@Gepok::Socket::TCP::ISA  = qw(Gepok::Socket IO::Socket::INET IO::Socket::IP);
@Gepok::Socket::UNIX::ISA = qw(Gepok::Socket IO::Socket::UNIX);

# The facts are one packed string in the glob's scalar, unpacked only when something is asked (src/psgi/listener.rs packs
# them). That of a client's connection asks the core for the descriptor at its first use (perl/sys/c/socket.c).
#   i  C/a client's port and address, C/a our port and address
#   u  pid, uid and gid of the client, path of our socket
sub _facts {
    my ($kind, $rest) = unpack 'a1 a*', ${ *{ $_[0] } };
    if ($kind eq 'i') {
        my ($peer, $local) = map { [ unpack 'n a*', $_ ] } unpack '(C/a)2', $rest;
        return { peer => $peer, local => $local };
    }
    my ($pid, $uid, $gid, $path) = unpack 'N3 a*', $rest;
    # A listener has no client; a client in another namespace of processes has the id 0.
    return { cred => $uid == 0xffffffff ? undef : [ $pid, $uid, $gid ], path => $path };
}

sub _family { length $_[0] == 4 ? Socket::AF_INET() : Socket::AF_INET6() }

# Port, packed address or dotted address of one end; nothing where there is no such end.
sub _end {
    my ($self, $end, $what) = @_;
    my $pair = $self->_facts->{$end} or return undef;
    my ($port, $address) = @$pair;
    return undef unless defined $address && length $address;
    return $what eq 'port' ? $port : $what eq 'addr' ? $address : Socket::inet_ntop(_family($address), $address);
}

sub _name {
    my ($self, $end) = @_;
    my $facts = $self->_facts;
    return Socket::pack_sockaddr_un($facts->{path}) if $end eq 'local' && defined $facts->{path};
    my $pair = $facts->{$end} or return undef;
    my ($port, $address) = @$pair;
    return undef unless defined $address && length $address;
    return length $address == 4
        ? Socket::pack_sockaddr_in($port, $address)
        : Socket::pack_sockaddr_in6($port, $address);
}

sub peerhost { $_[0]->_end('peer',  'host') }
sub peerport { $_[0]->_end('peer',  'port') }
sub peeraddr { $_[0]->_end('peer',  'addr') }
sub peername { $_[0]->_name('peer') }
sub sockhost { $_[0]->_end('local', 'host') }
sub sockport { $_[0]->_end('local', 'port') }
sub sockaddr { $_[0]->_end('local', 'addr') }
sub sockname { $_[0]->_name('local') }

sub hostpath { $_[0]->_facts->{path} }
sub peerpath { defined $_[0]->_facts->{path} ? '' : undef }

sub peercred {
    my $cred = $_[0]->_facts->{cred} or return;
    return @$cred;
}

sub sockdomain {
    my ($self) = @_;
    my $address = $self->sockaddr;
    return defined $address ? _family($address) : Socket::AF_UNIX();
}

sub socktype { Socket::SOCK_STREAM() }
sub protocol { defined $_[0]->sockaddr ? Socket::IPPROTO_TCP() : 0 }

# As getpeername: true for a connection, false for a listener. The app would not run without its client's socket.
sub connected {
    my ($self) = @_;
    my $facts = $self->_facts;
    return $facts->{cred} ? 1 : $self->peername;
}

1;

__END__

=head1 NAME

Gepok::Socket - the client's connection, or the listener that it came by

=head1 SYNOPSIS

    my $socket = $env->{'gepok.socket'};
    printf "%s:%d came to %s:%d\n", $socket->peerhost, $socket->peerport, $socket->sockhost, $socket->sockport;

    # WebSocket and the like: the app speaks to the client itself.
    return sub {
        my $io = $env->{'psgix.io'};
        print $io "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
        while (my $line = <$io>) { print $io $line }
    };

=head1 DESCRIPTION

C<< $env->{'psgix.io'} >> and C<< $env->{'gepok.socket'} >> are the client's connection, a file handle that is also an
object of L<IO::Socket::INET> or, on a Unix socket, of L<IO::Socket::UNIX>. C<< $env->{'gepok.httpd_socket'} >> is the listener
that it came by; it tells its addresses and has no descriptor.

=head2 Taking the connection

Addresses are answered without a system call. The descriptor itself is with another process until it is needed: the first
C<fileno>, C<sysread>, C<print>, C<getsockopt> or whatever else uses it fetches it. From then on the handle is the client's
socket for builtins, C<select>, L<AnyEvent>, L<IO::Async> and programs that the app starts. It blocks until it is told not to.

=over

=item *

An app that has fetched it and returns a code reference, but never calls the responder, has the connection for itself:
nothing is sent by the server, and the connection lasts until the app's last copy of it is closed. It may keep the handle
when it returns.

=item *

An app that responds as usual after it has fetched it (for a socket option, say) gets that response sent behind whatever it
has written, and the connection is closed. This is so for every array returned, so an app that has sent its own answer
must return a code reference.

=item *

An app that dies after it has fetched it ends the connection, without a 500.

=item *

Where the server has read bytes beyond the request already, the handle is one end of a socket pair that begins with them. The
methods here still tell the client's addresses, the builtin C<getpeername> does not; and it ends with the server, even in a
process that the app has forked.

=item *

It can be fetched only while the app answers that very request, in the process that got it. Later, or in a process
forked by the app, every use fails with EBADF. Once fetched it may be used there and by whoever inherits it.

=item *

SIGPIPE is ignored from the first fetch on, unless the app handles it: a write to a client that has left fails with EPIPE.

=back

=head1 METHODS

Those of L<IO::Handle> and L<IO::Socket>, and these, which never fetch the descriptor:

=over

=item peerhost, peerport, peeraddr, peername

The client's address as text, its port, the packed address, and the packed address with port. Undefined for a listener and
for a Unix socket.

=item sockhost, sockport, sockaddr, sockname

The same of our end.

=item hostpath, peerpath

The path of a Unix socket; the empty string, since clients have none.

=item peercred

Process, user and group id of the client behind a Unix socket.

=item connected

True for a connection, false for a listener.

=item sockdomain, socktype, protocol

The constants AF_INET, AF_INET6 or AF_UNIX; SOCK_STREAM; IPPROTO_TCP, or 0 for a Unix socket.

=back

=cut
