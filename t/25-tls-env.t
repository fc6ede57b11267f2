# What an app is told over TLS: keys of the environment, gepok.socket with the words of IO::Socket::SSL, and the same answers.
use strict;
use warnings;

use JSON::PP ();
use Test::More;

use Gepok::Test;
use Gepok::Test::Authority;
use Gepok::Test::TLS;
use IO::Socket::SSL;

gepok_only();

my $folder = scratch();
my $ca     = Gepok::Test::Authority->new("$folder");
my $own    = $ca->issue('localhost', names => ['localhost'], ip => ['127.0.0.1']);
my $guest  = $ca->issue('guest',
    subject => "/C=DE/O=J\xfcrgen + Co, <x>/OU=one\\/two/CN=Guest of honour/CN=second/emailAddress=a\@example.org",
    names   => ['guest.example', '*.guest.example'],
    ip      => ['192.0.2.1', '2001:db8::1'],
);
my $plain  = $ca->issue('plain', subject => '/O=No common name');
my %guest  = (SSL_cert_file => $guest->{chain}, SSL_key_file => $guest->{key});
my %tls    = (ssl_cert_file => $own->{cert}, ssl_key_file => $own->{key}, ssl_ca_file => $ca->cert, ssl_verify_mode => 1);

# All that a socket tells, as a hash for JSON. Evaluated in the app and here, for a socket of IO::Socket::SSL's own.
my $facts = <<'PERL';
sub facts {
    my $socket = shift;
    my %facts  = map { $_ => scalar $socket->$_ } qw(is_SSL get_sslversion get_sslversion_int get_servername get_cipher
        get_session_reused);
    my $x509 = $socket->peer_certificate or return \%facts;
    $facts{$_} = scalar $socket->$_ for qw(get_fingerprint dump_peer_certificate);
    $facts{$_} = scalar $socket->peer_certificate($_) for qw(subject owner issuer authority commonName cn);
    $facts{names} = [map { unpack 'H*', $_ } $socket->peer_certificate('subjectAltNames')];
    $facts{digests} = [map { $socket->get_fingerprint($_) // '' } qw(sha1 sha384 md5)];
    $facts{key} = $socket->get_fingerprint('sha256', undef, 1);
    $facts{pem} = Net::SSLeay::PEM_get_string_X509($x509);
    $facts{all} = [map { Net::SSLeay::PEM_get_string_X509($_) } $socket->peer_certificates];
    return \%facts;
}
PERL

# The answers of IO::Socket::SSL to one client.
sub reference {
    my (%ssl) = @_;
    my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 5) or die $!;
    my $pid = fork // die $!;
    if (!$pid) {
        my $socket = IO::Socket::SSL->start_SSL(
            scalar $listener->accept,
            SSL_server      => 1,
            SSL_cert_file   => $own->{cert},
            SSL_key_file    => $own->{key},
            SSL_ca_file     => $ca->cert,
            SSL_verify_mode => 1,
        );
        my $facts = eval "$facts; 1" && facts($socket);
        sysread $socket, my $request, 10_000;
        print {$socket} "HTTP/1.1 200 OK\r\n\r\n", JSON::PP->new->latin1->encode($facts);
        close $socket;
        POSIX::_exit(0);
    }
    my $got = fetch($listener->sockport, '/', %ssl);
    waitpid $pid, 0;
    return json($got->{content});
}

my $app = "use JSON::PP ();\n$facts" . <<'PERL';
sub {
    my $env = shift;
    my %told = (socket => facts($env->{'gepok.socket'}), same => $env->{'gepok.socket'} == $env->{'psgix.io'} ? 1 : 0);
    $told{env}{$_} = ref $env->{$_} ? 'ref' : $env->{$_} for keys %$env;
    $told{isa}{$_} = $env->{'gepok.socket'}->isa($_) ? 1 : 0 for qw(IO::Socket::INET IO::Socket::SSL);
    return [200, ['Content-Type' => 'application/json'], [JSON::PP->new->latin1->encode(\%told)]];
}
PERL

each_entry {
    my $entry = shift;
    for my $workers (0, 2) {
        my $server = https(entry => $entry, app => $app, options => {%tls, start_servers => $workers});
        my $told   = json(fetch($server, '/', %guest, SSL_hostname => 'localhost')->{content});
        my %env    = %{$told->{env}};

        is_deeply [@env{qw(psgi.url_scheme HTTPS SERVER_PROTOCOL SERVER_PORT SERVER_NAME REMOTE_ADDR)}],
            ['https', 'on', 'HTTP/1.1', $server->port, '127.0.0.1', '127.0.0.1'], 'the keys that tell of HTTPS';
        is_deeply [grep {/SSL|TLS/} keys %env], [], 'and no other, unless wanted';
        is $told->{socket}{pem}, Gepok::Test::Authority::slurp($guest->{cert}),
            'the certificate makes its round trip: PEM as in the client\'s file';
        is $told->{socket}{cn}, 'Guest of honour', 'its common name';
        is $told->{socket}{get_servername}, 'localhost', 'the name that the client asked for';
        is_deeply $told->{isa}, {'IO::Socket::INET' => 1, 'IO::Socket::SSL' => 0}, 'the class stays what it is';
    }
};

check 'the same answers as IO::Socket::SSL' => sub {
    my $server = https(app => $app, options => \%tls);
    my @suites = (
        ['TLS 1.3', SSL_version => 'TLSv1_3', SSL_ciphersuites => 'TLS_AES_128_GCM_SHA256'],
        ['TLS 1.3, CHACHA20', SSL_version => 'TLSv1_3', SSL_ciphersuites => 'TLS_CHACHA20_POLY1305_SHA256'],
        ['TLS 1.2', SSL_version => 'TLSv1_2', SSL_cipher_list => 'ECDHE-ECDSA-AES256-GCM-SHA384'],
        ['TLS 1.2, CHACHA20', SSL_version => 'TLSv1_2', SSL_cipher_list => 'ECDHE-ECDSA-CHACHA20-POLY1305'],
    );
    my %clients = (
        'a certificate with its chain' => \%guest,
        'no common name'               => {SSL_cert_file => $plain->{cert}, SSL_key_file => $plain->{key}},
        'no certificate'               => {},
    );
    for my $suite (@suites) {
        my ($name, @suite) = @$suite;
        for my $client (sort keys %clients) {
            my @how = (@suite, %{$clients{$client}}, SSL_hostname => 'guest.example');
            my $got = json(fetch($server, '/', @how)->{content})->{socket};
            is_deeply $got, reference(@how), "$name, $client";
        }
    }
    my @how = (%guest, SSL_hostname => '');
    is_deeply json(fetch($server, '/', @how)->{content})->{socket}, reference(@how), 'a client that names no host';
};

check 'keys as Apache has them, by option' => sub {
    my $server = https(app => $app, options => {%tls, ssl_env => 1});
    my $told   = json(fetch($server, '/', %guest, SSL_hostname => 'guest.example')->{content});
    my %ssl    = map { $_ => $told->{env}{$_} } grep {/^SSL_/} keys %{$told->{env}};
    my $text   = sub { openssl_text($guest->{cert}, @_) };
    is_deeply \%ssl, {
        SSL_PROTOCOL        => 'TLSv1.3',
        SSL_CIPHER          => $told->{socket}{get_cipher},
        SSL_TLS_SNI         => 'guest.example',
        SSL_CLIENT_VERIFY   => 'SUCCESS',
        SSL_CLIENT_CERT     => Gepok::Test::Authority::slurp($guest->{cert}),
        SSL_CLIENT_S_DN     => $text->('-subject', '-nameopt', 'RFC2253,-esc_msb'),
        SSL_CLIENT_I_DN     => $text->('-issuer', '-nameopt', 'RFC2253,-esc_msb'),
        SSL_CLIENT_M_SERIAL => $text->('-serial'),
        SSL_CLIENT_V_START  => $text->('-startdate'),
        SSL_CLIENT_V_END    => $text->('-enddate'),
    }, 'with a certificate: what the command openssl says of it';

    $told = json(fetch($server, '/', SSL_hostname => '', SSL_version => 'TLSv1_2')->{content});
    %ssl  = map { $_ => $told->{env}{$_} } grep {/^SSL_/} keys %{$told->{env}};
    is_deeply \%ssl,
        {SSL_PROTOCOL => 'TLSv1.2', SSL_CIPHER => $told->{socket}{get_cipher}, SSL_CLIENT_VERIFY => 'NONE'}, 'without one';
};

# What the command openssl prints of a certificate, without the word before it.
sub openssl_text {
    my ($file, @words) = @_;
    my $text = Gepok::Test::Authority::openssl('x509', '-noout', '-in', $file, @words);
    return $text =~ s/\A\w+=(.*)\n\z/$1/sr;
}

check 'plain HTTP beside it' => sub {
    my $port   = free_port();
    my $server = server(app => $app, options => {%tls, https_ports => "127.0.0.1:$port", ssl_env => 1, start_servers => 1});
    my $told   = json($server->get('/', 'X-Forwarded-Proto' => 'https', HTTPS => 'on')->content);
    is $told->{env}{'psgi.url_scheme'}, 'http', 'its scheme is http, whatever the client says';
    is_deeply [grep {/^(?:SSL_|HTTPS)/} keys %{$told->{env}}], [], 'no key tells of TLS';
    is_deeply [grep {defined} @{$told->{socket}}{qw(is_SSL get_cipher get_sslversion get_servername subject pem)}], [],
        'and neither does the socket';
    is json(fetch($port, '/')->{content})->{env}{HTTPS}, 'on', 'as it does on the other port of the same server';
};

check 'without Net::SSLeay' => sub {
    # plackup may have loaded it already.
    my $server = https(entry => 'bin', app => <<'APP', options => \%tls);
BEGIN { unshift @INC, sub { die "not installed\n" if $_[1] =~ m{^(?:Net/SSLeay|IO/Socket/SSL)} } }
sub {
    my $socket = $_[0]{'gepok.socket'};
    my $error  = eval { $socket->peer_certificate; 1 } ? 'none' : $@;
    return [200, [], [join '|', $socket->peer_certificate('cn'), $socket->get_cipher, $socket->get_fingerprint, $error]];
}
APP
    my $got = fetch($server, '/', %guest)->{content};
    like $got, qr/\AGuest of honour\|TLS_\w+\|sha256\$[0-9a-f]{64}\|/, 'texts need nothing but Gepok';
    like $got, qr/\|peer_certificate without a field needs the module Net::SSLeay at .*app\.psgi line \d+/,
        'an X509 does, and the app is told so';
};

check 'many requests on one connection' => sub {
    my $server = https(app => <<'APP', options => \%tls);
my $last = '';
sub {
    my $socket = $_[0]{'gepok.socket'};
    my $cn     = $socket->peer_certificate('cn');
    my $pem    = Net::SSLeay::PEM_get_string_X509($socket->peer_certificate);
    my $same   = $pem eq $last;
    $last = $pem;
    return [200, ['Content-Type' => 'text/plain'], [$cn . ($same ? ' again' : '')]];
}
APP
    my $socket = secure($server, %guest);
    my @got;
    for (1 .. 3) {
        print {$socket} "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
        my $bytes = '';
        until ($bytes =~ /\r\n\r\nGuest of honour(?: again)?\z/) { sysread $socket, $bytes, 10_000, length $bytes or last }
        push @got, $bytes =~ /\r\n\r\n(.*)\z/s;
    }
    is_deeply \@got, ['Guest of honour', ('Guest of honour again') x 2], 'each knows the client';
};

done_testing;
