# The client's connection (psgix.io, gepok.socket) or its listener (gepok.httpd_socket): addresses without a system call.
package Gepok::Socket;

use strict;
use warnings;

use Carp       ();
use IO::Socket ();
use Socket     ();

our $VERSION = '0.300';

# What callers ask `isa` for. Nothing of IO::Socket::IP's own is needed: named, so that perl knows it, but not loaded.
{ package IO::Socket::IP; }
@Gepok::Socket::TCP::ISA  = qw(Gepok::Socket IO::Socket::INET IO::Socket::IP);
@Gepok::Socket::UNIX::ISA = qw(Gepok::Socket IO::Socket::UNIX);

# The facts are one packed string in the glob's scalar, unpacked only when something is asked (src/psgi/listener.rs packs
# them). That of a client's connection asks the core for the descriptor at its first use (perl/sys/c/socket.c).
#   i  C/a client's port and address, C/a our port and address; over TLS also n version, C whether resumed, C whether
#      the client named a host, then N/a the cipher, that host and each of the client's certificates
#   u  pid, uid and gid of the client, path of our socket
#   l  the same of a listener, with the client of the request that the worker has just now
sub _facts {
    my ($kind, $rest) = unpack 'a1 a*', ${ *{ $_[0] } };
    if ($kind eq 'i') {
        my ($peer, $local) = map { [ unpack 'n a*', $_ ] } unpack '(C/a)2', $rest;
        return { peer => $peer, local => $local };
    }
    my ($pid, $uid, $gid, $path) = unpack 'N3 a*', $rest;
    # Before its first request a listener has no client; a client in another namespace of processes has the id 0.
    return { cred => $uid == 0xffffffff ? undef : [ $pid, $uid, $gid ], path => $path, listener => $kind eq 'l' };
}

# What TLS has told; nothing for plain HTTP and for a listener.
sub _tls {
    my ($self) = @_;
    my ($kind, $rest) = unpack 'a1 a*', ${ *$self };
    return if $kind ne 'i';
    my (undef, undef, $tls) = unpack '(C/a)2 a*', $rest;
    return unless length $tls;
    my ($version, $resumed, $named, $cipher, $name, @certificates) = unpack 'n C2 (N/a)*', $tls;
    return {
        version      => $version,
        resumed      => $resumed,
        cipher       => $cipher,
        servername   => $named ? $name : undef,
        certificates => \@certificates,
    };
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
    return defined $facts->{path} ? !$facts->{listener} || undef : $self->peername;
}

# The words of IO::Socket::SSL, with its answers. On a connection without TLS they return nothing, as there.
sub is_SSL             { $_[-1]->_tls ? 1 : undef }
sub get_cipher         { my $tls = $_[0]->_tls or return; $tls->{cipher} }
sub get_servername     { my $tls = $_[0]->_tls or return; $tls->{servername} }
sub get_session_reused { my $tls = $_[0]->_tls or return; $tls->{resumed} }
sub get_sslversion_int { my $tls = $_[0]->_tls or return; $tls->{version} }
sub get_sslversion     { my $tls = $_[0]->_tls or return; $tls->{version} == 0x0303 ? 'TLSv1_2' : 'TLSv1_3' }

# What `peer_certificate` can be asked for: each is given what _read returns.
my %FIELD = (
    subject         => sub { $_[0]{subject} },
    issuer          => sub { $_[0]{issuer} },
    commonName      => sub { $_[0]{cn} },
    subjectAltNames => sub { @{ $_[0]{names} } },
);
@FIELD{qw(owner authority cn)} = @FIELD{qw(subject issuer commonName)};

sub peer_certificate {
    my ($self, $field) = @_;
    my ($der) = _certificates($self) or return;
    return _x509($self, $der) unless $field;
    my $sub = $FIELD{$field}
        or Carp::croak("invalid argument for peer_certificate, valid are: @{[ sort keys %FIELD ]}");
    my $texts = _read($der) or return;
    return $sub->($texts);
}

sub peer_certificates {
    my ($self) = @_;
    return grep { $_ } map { _x509($self, $_) } _certificates($self);
}

sub dump_peer_certificate {
    my ($self) = @_;
    my ($der) = _certificates($self) or return;
    my $texts = _read($der) or return;
    return "Subject Name: $texts->{subject}\nIssuer  Name: $texts->{issuer}\n";
}

sub get_fingerprint_bin {
    my ($self, $algorithm, $certificate, $key_only) = @_;
    $algorithm ||= 'sha256';
    if (!$certificate && !$key_only && $algorithm =~ /\Asha(1|224|256|384|512)\z/) {
        my ($der) = _certificates($self) or return;
        require Digest::SHA;
        return Digest::SHA->new($1)->add($der)->digest;
    }
    $certificate ||= $self->peer_certificate or return;
    my $type = Net::SSLeay::EVP_get_digestbyname($algorithm) or Carp::croak("Digest algorithm $algorithm is not available");
    return $key_only
        ? Net::SSLeay::X509_pubkey_digest($certificate, $type)
        : Net::SSLeay::X509_digest($certificate, $type);
}

sub get_fingerprint {
    my ($self, $algorithm, $certificate, $key_only) = @_;
    $algorithm ||= 'sha256';
    my $digest = $self->get_fingerprint_bin($algorithm, $certificate, $key_only) or return;
    return $algorithm . '$' . ($key_only ? 'pub$' : '') . unpack 'H*', $digest;
}

sub _certificates {
    my $tls = $_[0]->_tls or return;
    return @{ $tls->{certificates} };
}

# The texts of a certificate (src/psgi/tls.rs packs them); nothing for one that can't be read.
sub _read {
    my $packed = _texts($_[0]);
    return unless defined $packed;
    my ($subject, $issuer, $common, @names) = unpack '(N/a)*', $packed;
    # The kinds are numbers, the constants GEN_DNS and so on.
    @names = map { $_ % 2 ? $names[$_] : $names[$_] + 0 } 0 .. $#names;
    return { subject => $subject, issuer => $issuer, cn => scalar unpack('N/a', $common), names => \@names };
}

# An X509 of OpenSSL's, as a number for Net::SSLeay. It lives as long as the handle, once for each certificate.
sub _x509 {
    my ($self, $der) = @_;
    my $made = (*$self->{gepok_x509} ||= Gepok::Socket::X509->new);
    return $made->{$der} ||= Gepok::Socket::X509::from_der($der);
}

# Asks ssl_verify_callback (perl/sys/c/verify.c), with the arguments of IO::Socket::SSL's SSL_verify_callback. There is no
# store of OpenSSL's, and the certificate is the client's own always.
sub _verify {
    my ($callback, $der, $error) = @_;
    my $texts = _read($der);
    my $names = $texts ? "$texts->{issuer}$texts->{subject}" : '';
    my $made  = Gepok::Socket::X509->new;
    my $x509  = $made->{$der} = do {
        local ($@, $SIG{__DIE__});
        eval { Gepok::Socket::X509::from_der($der) };
    };
    return $callback->(defined $error ? 0 : 1, 0, $names, defined $error ? $error : 0, $x509, 0);
}

package Gepok::Socket::X509;

# Its complaints are about the app's line.
our @CARP_NOT = ('Gepok::Socket');

sub new { bless {}, $_[0] }

# Another thread's copy owns nothing.
sub CLONE_SKIP { 1 }

sub DESTROY {
    my ($self) = @_;
    return if ${^GLOBAL_PHASE} eq 'DESTRUCT';
    Net::SSLeay::X509_free($_) for grep { $_ } values %$self;
}

sub from_der {
    my ($der) = @_;
    if (!$INC{'Net/SSLeay.pm'}) {
        local $@;
        eval { require Net::SSLeay; Net::SSLeay::initialize(); 1 }
            or Carp::croak('peer_certificate without a field needs the module Net::SSLeay');
    }
    my $bio = Net::SSLeay::BIO_new(Net::SSLeay::BIO_s_mem());
    Net::SSLeay::BIO_write($bio, $der);
    my $x509 = Net::SSLeay::d2i_X509_bio($bio);
    Net::SSLeay::BIO_free($bio);
    return $x509 || undef;
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

An app that responds as usual after it has fetched it (for a socket option, say) gets that response sent whole after whatever it
has written, and then the server ends the connection, even where the app keeps the handle. This is so for every array returned,
so an app that has sent its own answer must return a code reference. It is the same for a socket that is fetched while a
response is written.

=item *

After a response with status 101, or 2xx to CONNECT, the connection is the app's, as if the responder had not been called.

=item *

An app that dies after it has fetched it ends the connection, without a 500, even where the handle is kept.

=item *

Where the server has read bytes beyond the request already, the handle is one end of a socket pair that begins with them. The
methods here still tell the client's addresses, the builtin C<getpeername> does not; and it ends with the server, even in a
process that the app has forked.

=item *

It can be fetched only while the app answers that very request, in the process that got it. Later, or in a process
forked by the app, every use fails with EBADF. Once fetched it may be used there and by whoever inherits it.

=item *

A write to a client that has left fails with EPIPE: SIGPIPE has a handler that does nothing, unless the app has set another.

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

Process, user and group id of the client of a Unix socket. C<gepok.httpd_socket> tells those of the request that the app
answers.

=item connected

True for a connection, false for a listener.

=item sockdomain, socktype, protocol

The constants AF_INET, AF_INET6 or AF_UNIX; SOCK_STREAM; IPPROTO_TCP, or 0 for a Unix socket.

=back

The methods of L<IO::Socket::SSL> that tell about the client's TLS give what they give there. Without TLS they return
nothing. They read what the handshake has told, and never fetch the descriptor either:

=over

=item is_SSL

True over TLS. The handle is no L<IO::Socket::SSL>, though: what is read from it and written to it is plain text.

=item get_sslversion, get_sslversion_int

C<TLSv1_3> or C<TLSv1_2>; the same as a number.

=item get_cipher

The cipher suite by its OpenSSL name, as C<TLS_AES_256_GCM_SHA384>.

=item get_servername

The host that the client asked for (SNI); undefined where it named none.

=item get_session_reused

Whether an earlier session was resumed.

=item peer_certificate, peer_certificate($field)

The client's certificate; nothing where it has sent none. With a field, a text: C<subject> (or C<owner>), C<issuer> (or
C<authority>), C<commonName> (or C<cn>). C<subjectAltNames> gives a list of kinds and values. Without a field, an X509 for
the functions of L<Net::SSLeay>, which is loaded for that; it is freed with the handle.

    my $pem = Net::SSLeay::PEM_get_string_X509($env->{'gepok.socket'}->peer_certificate);

=item peer_certificates

All certificates that the client has sent, its own first, each an X509.

=item get_fingerprint, get_fingerprint_bin

Digest of the client's certificate, by default C<sha256>. Net::SSLeay is needed for other digests than SHA, and for that of
the public key alone.

=item dump_peer_certificate

Two lines of text about the client's certificate.

=back

Whether the certificate was verified, and what it takes to be accepted, is said by the options C<ssl_verify_mode> and
C<ssl_verify_callback>.

=cut
