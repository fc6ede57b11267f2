# Real clients of TLS: curl, openssl s_client, LWP, Python; with client certificates of every kind.
use strict;
use warnings;

use LWP::UserAgent;
use Test::More;

use Gepok::Test;
use Gepok::Test::Authority;
use Gepok::Test::TLS;

gepok_only();

my $folder  = scratch();
my $ca      = Gepok::Test::Authority->new("$folder");
my $other   = Gepok::Test::Authority->new("$folder", 'other');
my $own     = $ca->issue('localhost', names => ['localhost'], ip => ['127.0.0.1']);
my %clients = (
    good    => $ca->issue('good'),
    revoked => $ca->issue('revoked'),
    expired => $ca->issue('expired', days => -1),
    server  => $ca->issue('server', usage => 'serverAuth'),
    stray   => $other->issue('stray'),
);
$ca->revoke($clients{revoked});

my $app = <<'APP';
use Digest::SHA;
sub {
    my $env    = shift;
    my $socket = $env->{'gepok.socket'};
    my $body   = do { local $/; my $input = $env->{'psgi.input'}; <$input> };
    return [200, ['Content-Type' => 'text/plain'], [join "\n",
        "scheme=$env->{'psgi.url_scheme'}", 'version=' . $socket->get_sslversion, 'sni=' . ($socket->get_servername // ''),
        'client=' . ($socket->peer_certificate('cn') // ''), 'resumed=' . $socket->get_session_reused,
        'content=' . Digest::SHA::sha1_hex($body // ''), '']];
}
APP

sub told { my ($text) = @_; return {($text // '') =~ /^(\w+)=(.*)$/mg} }

my %tls = (ssl_cert_file => $own->{cert}, ssl_key_file => $own->{key});

# curl, as a user types it: (exit code, output).
sub curl {
    my ($server, @words) = @_;
    my ($status, $out) = run_command(
        ['curl', '-sS', '--max-time', 60, '--noproxy', '*', '--cacert', $ca->cert, @words, "https://localhost:$server->{port}/x"]);
    return ($status >> 8, $out);
}

sub python {
    my ($server, $code) = @_;
    Gepok::Test::Authority::spew("$folder/client.py", <<"PYTHON" . $code);
import http.client, ssl, sys
context = ssl.create_default_context(cafile='${\ $ca->cert}')
port = $server->{port}
PYTHON
    my ($status, $out) = run_command(['python3', "$folder/client.py"]);
    is $status, 0, 'Python has nothing to complain of' or diag $out;
    return $out;
}

for my $workers (0, 2) {
    each_entry {
        my $entry  = shift;
        my $server = https(entry => $entry, app => $app, options => {%tls, start_servers => $workers});
        for my $version (qw(1.2 1.3)) {
            my ($code, $out) = curl($server, "--tlsv$version", '--tls-max', $version);
            is $code, 0, "curl, TLS $version" or diag $out;
            my $told = told($out);
            is_deeply [@$told{qw(scheme version sni)}], ['https', 'TLSv1_' . substr($version, 2), 'localhost'], 'as it was said';
        }
        my $agent = LWP::UserAgent->new(
            timeout    => 60,
            keep_alive => 1,
            ssl_opts   => {verify_hostname => 1, SSL_ca_file => $ca->cert},
        );
        $agent->proxy('https', undef);
        my $content = join '', map { chr($_ % 256) } 1 .. 300_000;
        for (1 .. 2) {
            my $response = $agent->post("https://localhost:$server->{port}/", Content => $content);
            is $response->code, 200, 'LWP' or diag $response->as_string;
            require Digest::SHA;
            is told($response->content)->{content}, Digest::SHA::sha1_hex($content), 'with content of some size';
        }
    };
}

check 'Python' => sub {
    my $server = https(app => $app, options => \%tls);
    my $out    = python($server, <<'PYTHON');
connection = http.client.HTTPSConnection('localhost', port, context=context, timeout=60)
for turn in range(3):
    connection.request('POST', '/', body=b'x' * 100000)
    sys.stdout.write(connection.getresponse().read().decode())
print(connection.sock.version(), connection.sock.cipher()[0])
PYTHON
    is(() = $out =~ /^version=TLSv1_3$/mg, 3, 'three requests on one connection');
    like $out, qr/^TLSv1\.3 TLS_AES/m, 'over TLS 1.3';

    $out = python($server, <<'PYTHON');
import socket
context.maximum_version = ssl.TLSVersion.TLSv1_2
session = None
for turn in range(2):
    with socket.create_connection(('localhost', port)) as plain:
        with context.wrap_socket(plain, server_hostname='localhost', session=session) as secure:
            secure.sendall(b'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
            data = b''
            while True:
                more = secure.recv(4096)
                if not more:
                    break
                data += more
            session = secure.session
            print(secure.session_reused, b'resumed=%d' % turn in data)
PYTHON
    is $out, "False True\nTrue True\n", 'a session is resumed, both sides say so';
};

check 'resumption as s_client and the app see it' => sub {
    my $server = https(app => $app, options => \%tls);
    for my $version (qw(tls1_2 tls1_3)) {
        my $file = "$folder/$version.session";
        my ($first, $second) = map { s_client($server, "-$version", '-servername', 'localhost', "-sess_$_", $file) } qw(out in);
        is told($first)->{resumed},  0, "$version: a new session";
        is told($second)->{resumed}, 1, 'and its resumption';
        is told($second)->{sni}, 'localhost', 'which keeps the name';
    }
};

# What a client with this certificate gets: its name, or that it was refused.
sub visit {
    my ($server, $who, @version) = @_;
    my $pair = $who && $clients{$who};
    my $out  = s_client($server, @version, $pair ? ('-cert', $pair->{cert}, '-key', $pair->{key}) : ());
    my $told = told($out);
    return exists $told->{client} ? "served $told->{client}" : $out =~ /alert|errno|unexpected eof/ ? 'refused' : $out;
}

# ssl_verify_mode: 0 asks for nothing, 1 for a certificate that may be missing, 3 for one that may not.
for my $version (qw(tls1_2 tls1_3)) {
    check "client certificates, $version" => sub {
        my %expected = (
            0 => {'' => 'served ', map { $_ => 'served ' } keys %clients},
            1 => {'' => 'served ', good => 'served good', map { $_ => 'refused' } qw(revoked expired server stray)},
            3 => {'' => 'refused', good => 'served good', map { $_ => 'refused' } qw(revoked expired server stray)},
        );
        for my $mode (sort keys %expected) {
            my %asked  = $mode ? (ssl_ca_file => $ca->cert, ssl_crl_file => $ca->crl) : ();
            my $server = https(app => $app, options => {%tls, %asked, ssl_verify_mode => $mode});
            my %got    = map { $_ => visit($server, $_, "-$version") } '', keys %clients;
            is_deeply \%got, $expected{$mode}, "ssl_verify_mode $mode";
        }
    };
}

check 'client certificates by curl and LWP' => sub {
    my $server = https(app => $app, options => {%tls, ssl_ca_file => $ca->cert, ssl_verify_mode => 3});
    my ($code, $out) = curl($server, '--cert', $clients{good}{cert}, '--key', $clients{good}{key});
    is told($out)->{client}, 'good', 'curl shows its certificate';
    ($code, $out) = curl($server);
    isnt $code, 0, 'and gets nothing without one';
    like $out, qr/certificate required/, 'because TLS says so';

    my @ssl   = (verify_hostname => 1, SSL_ca_file => $ca->cert);
    my $agent = LWP::UserAgent->new(timeout => 60,
        ssl_opts => {@ssl, SSL_cert_file => $clients{good}{cert}, SSL_key_file => $clients{good}{key}});
    is told($agent->get("https://localhost:$server->{port}/")->content)->{client}, 'good', 'LWP too';
};

done_testing;
