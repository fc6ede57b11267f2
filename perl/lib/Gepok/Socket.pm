# What an app may ask of its connection (gepok.socket) or listener (gepok.httpd_socket), answered from facts sent along.
package Gepok::Socket;

use strict;
use warnings;

use Socket ();

our $VERSION = '0.300';

# The facts are one packed string, unpacked only when something is asked (src/psgi/listener.rs packs them):
#   i  C/a client's port and address, C/a our port and address
#   u  pid, uid and gid of the client, path of our socket
sub _facts {
    my ($kind, $rest) = unpack 'a1 a*', ${ $_[0] };
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

# As getpeername: true for a connection, false for a listener. The app would not run without its client's socket.
sub connected {
    my ($self) = @_;
    my $facts = $self->_facts;
    return $facts->{cred} ? 1 : $self->peername;
}

1;

__END__

=head1 NAME

Gepok::Socket - addresses of a connection or a listener

=head1 SYNOPSIS

    my $socket = $env->{'gepok.socket'};
    printf "%s:%d came to %s:%d\n", $socket->peerhost, $socket->peerport, $socket->sockhost, $socket->sockport;

=head1 DESCRIPTION

C<< $env->{'gepok.socket'} >> tells about the client's connection, C<< $env->{'gepok.httpd_socket'} >> about the listener
that it came by. Both have the accessors of L<IO::Socket::INET> and L<IO::Socket::UNIX> that ask for addresses. They are
answered without a system call; the sockets themselves belong to another process.

=head1 METHODS

=over

=item peerhost, peerport, peeraddr, peername

The client's address as text, its port, the packed address, and the packed address with port. Undefined for a listener and
for a Unix socket.

=item sockhost, sockport, sockaddr, sockname

The same of our end.

=item hostpath

The path of a Unix socket.

=item peercred

Process, user and group id of the client behind a Unix socket.

=item connected

True for a connection, false for a listener.

=item sockdomain, socktype

The constants AF_INET, AF_INET6 or AF_UNIX, and SOCK_STREAM.

=back

=cut
