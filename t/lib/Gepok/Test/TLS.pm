package Gepok::Test::TLS;

# Servers that speak TLS, and clients that look closely.
#
#   my $server = https(app => '...', options => {ssl_cert_file => ..., ssl_key_file => ...});
#   my $got    = fetch($server, '/path', SSL_ca_file => $ca->cert);   # {status, content, version, cipher, ...}

use strict;
use warnings;

use Exporter ();
use File::Temp ();
use IO::Select;
use Test::More ();

use Time::HiRes qw(time);

use Gepok::Test;

our @EXPORT = qw(https secure fetch fetched failure s_client);

# Whether the module that clients need is there.
sub usable { eval { require IO::Socket::SSL; require Net::SSLeay; 1 } }

# A test that is about TLS says `use Gepok::Test::TLS`; one that can do without says `use Gepok::Test::TLS ()` and asks `usable`.
sub import {
    Test::More::plan(skip_all => 'IO::Socket::SSL is not installed') unless usable();
    goto &Exporter::import;
}

# A server with one port for HTTPS, and what else `options` say.
sub https {
    my %args    = @_;
    my $port    = free_port();
    my %options = (https_ports => "127.0.0.1:$port", start_servers => 1, %{$args{options} // {}});
    return server(%args, listen => 'none', port => $port, options => \%options);
}

# A connection behind its handshake, or undef: `failure` says why.
sub secure {
    my ($server, %ssl) = @_;
    usable() or die "IO::Socket::SSL is not installed\n";
    $ssl{SSL_verify_mode} //=
        $ssl{SSL_ca_file} || $ssl{SSL_ca} ? IO::Socket::SSL::SSL_VERIFY_PEER() : IO::Socket::SSL::SSL_VERIFY_NONE();
    return IO::Socket::SSL->new(
        PeerAddr => '127.0.0.1',
        PeerPort => ref $server ? $server->{port} : $server,
        Timeout  => 30,
        %ssl,
    );
}

sub failure { $IO::Socket::SSL::SSL_ERROR // '' }

# One request on a connection of its own, and all that can be told of the answer; `error` where there was none.
sub fetch {
    my ($server, $target, %ssl) = @_;
    my $socket = secure($server, %ssl) or return {error => failure()};
    return fetched($socket, $target);
}

sub fetched {
    my ($socket, $target) = @_;
    my %got = (
        version => $socket->get_sslversion,
        cipher  => $socket->get_cipher,
        alpn    => $socket->alpn_selected,
        subject => scalar $socket->peer_certificate('commonName'),
        reused  => scalar $socket->get_session_reused,
    );
    print {$socket} "GET $target HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    my $bytes = '';
    my $limit = time + 60;
    while (1) {
        die "the server is silent\n" if time > $limit;
        next unless $socket->pending || IO::Select->new($socket)->can_read(1);
        my $read = sysread $socket, $bytes, 65536, length $bytes;
        next if !defined $read && $!{EAGAIN};
        # In TLS 1.3 a refused client learns it here.
        $got{error} = failure() unless defined $read;
        last unless $read;
    }
    # 2: the server has said that this is the end (close_notify).
    $got{notified} = Net::SSLeay::get_shutdown($socket->_get_ssl_object) & 2 ? 1 : 0;
    @got{qw(status content)} = ($1, $2) if $bytes =~ m{\AHTTP/1\.1 (\d{3}) .*?\r\n\r\n(.*)\z}s;
    $got{raw} = $bytes;
    return \%got;
}

# What `openssl s_client` prints about a connection on which it sends one request.
sub s_client {
    my ($server, @words) = @_;
    my $request = File::Temp->new;
    print {$request} "GET / HTTP/1.0\r\n\r\n";
    close $request;
    my $command = "exec openssl s_client -connect 127.0.0.1:$server->{port} -ign_eof @words < $request";
    my ($status, $out) = run_command(['sh', '-c', $command], seconds => 60);
    return $out;
}

1;
