# The PROXY protocol: who a connection is for, told by the real programs that speak it and byte by byte.
use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep time);

use Gepok::Test;
use Gepok::Test::Authority;
use Gepok::Test::Connection;
use Gepok::Test::Front;
use Gepok::Test::Nginx;

gepok_only();

my $APP = <<'PERL';
use JSON::PP ();
sub {
    my $env = shift;
    my %told = map { $_ => $env->{$_} } grep { /^(?:REMOTE_|HTTPS|SSL_|HTTP_X|psgi\.url_scheme|gepok\.proxy_addr|gepok\.forwarded_for|gepok\.unix_socket)/ } keys %$env;
    my $tlvs = $env->{'psgix.proxy_tlvs'};
    $told{tlvs} = {map { $_ => unpack 'H*', $tlvs->{$_} } keys %$tlvs} if $tlvs;
    my $socket = $env->{'gepok.socket'};
    $told{socket} = [map { $socket->$_ } qw(peerhost peerport sockhost sockport)] if !$env->{'gepok.unix_socket'};
    return [200, [], [JSON::PP->new->canonical->encode(\%told)]];
};
PERL

my $GET = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

sub slurp { open my $file, '<', $_[0] or return ''; local $/; return scalar(<$file>) // '' }

sub v2 {
    my ($command, $family, $block) = @_;
    return "\r\n\r\n\0\r\nQUIT\n" . pack('CCn/a*', $command, $family, $block);
}

my $V4  = pack 'C8 n2', 203, 0, 113, 5, 198, 51, 100, 1, 4711, 443;
my $V1  = "PROXY TCP4 203.0.113.5 198.51.100.1 4711 443\r\n";
my %TLV = (authority => pack('Cn/a*', 2, 'example.org'), id => pack('Cn/a*', 5, "\1\2"));

my $folder = scratch();
my $ca     = Gepok::Test::Authority->new($folder);
my $pair   = $ca->issue('www', names => ['www.example.com'], ip => ['127.0.0.1']);
open my $both, '>', "$folder/site.pem" or die $!;
print {$both} slurp($pair->{cert}), slurp($pair->{key});
close $both or die $!;

# A server with two ports for the protocol: HTTP and HTTPS.
sub proxied {
    my (%args) = @_;
    my ($http, $https) = (free_port(), free_port());
    my $server = server(entry => 'bin', app => $APP, listen => 'none', port => $http, %args, options => {
        start_servers => 1, http_ports => "127.0.0.1:$http:proxy", https_ports => "127.0.0.1:$https:proxy",
        ssl_cert_file => $pair->{cert}, ssl_key_file => $pair->{key}, %{$args{options} // {}}});
    return ($server, $http, $https);
}

# What the app tells the client that these bytes name.
sub told {
    my ($port, $header, $request) = @_;
    my $client = Gepok::Test::Connection->new(port => $port);
    $client->send($header . ($request // $GET));
    return json($client->response->content);
}

# Whether the connection is closed, without a byte, and soon.
sub is_closed {
    my ($port, $bytes, $name) = @_;
    my $client = Gepok::Test::Connection->new(port => $port, seconds => 20);
    $client->send($bytes);
    my $got = $client->fill(time + 20);
    ok defined $got && !$got && $client->{buffer} eq '', $name;
}

# Each way in has the three spellings.
each_entry {
    my $entry = shift;
    my $port  = free_port();
    my $plackup = $entry eq 'plackup';
    my $server = server(entry => $entry, app => $APP, port => $port, listen => $entry eq 'new' ? 'tcp' : 'none', options => {
        start_servers => 1, $entry eq 'new' ? (proxy_protocol => 1) : (($plackup ? 'listen' : 'http_ports') => "127.0.0.1:$port:proxy")});
    my $told = told($port, $V1);
    is_deeply [@$told{qw(REMOTE_ADDR REMOTE_PORT psgi.url_scheme gepok.proxy_addr)}], ['203.0.113.5', 4711, 'http', '127.0.0.1'], 'version 1';
    is_deeply $told->{socket}, ['203.0.113.5', 4711, '198.51.100.1', 443], 'and its socket';
    is_deeply told($port, v2(0x21, 0x11, $V4)), $told, 'version 2';
    is_closed($port, $GET, 'without a header it is closed');
    is $server->stop, 0, 'the server stops';
};

check 'what a header says' => sub {
    my ($server, $port) = proxied(dir => scratch(), options => {access_log_path => 'log', access_log_format => '%h %{remote}p %{c}a %A'});
    my $client = Gepok::Test::Connection->new(port => $port);
    # Header and request in one segment, and then in pieces: it holds for all requests of the connection.
    $client->send($V1 . $GET . $GET);
    is json($client->response->content)->{REMOTE_ADDR}, '203.0.113.5', 'the first request' for 1 .. 2;
    sleep 0.1;
    $client->send($GET);
    is json($client->response->content)->{REMOTE_PORT}, 4711, 'a later one';
    my $six = pack 'H32 H32 n2', '20010db8000000000000000000000005', '20010db8000000000000000000000001', 1, 2;
    is told($port, v2(0x21, 0x21, $six))->{REMOTE_ADDR}, '2001:db8::5', 'IPv6';
    my $told = told($port, v2(0x21, 0x11, $V4 . $TLV{authority} . $TLV{id}));
    is_deeply $told->{tlvs}, {2 => unpack('H*', 'example.org'), 5 => '0102'}, 'its values';
    for my $case (['LOCAL', v2(0x20, 0, '')], ['LOCAL with an address', v2(0x20, 0x11, $V4)], ['UNKNOWN', "PROXY UNKNOWN\r\n"],
        ['UNSPEC', v2(0x21, 0, '')], ['UNIX', v2(0x21, 0x31, '/' x 216)]) {
        my ($name, $header) = @$case;
        my $told = told($port, $header);
        is $told->{REMOTE_ADDR}, '127.0.0.1', "$name: the address of the connection";
        ok !exists $told->{tlvs}, "$name: no values";
    }
    # Slowly, byte by byte.
    $client = Gepok::Test::Connection->new(port => $port);
    for my $byte (split //, v2(0x21, 0x11, $V4)) { $client->send($byte); sleep 0.002 }
    $client->send($GET);
    is json($client->response->content)->{REMOTE_ADDR}, '203.0.113.5', 'byte by byte';
    is $server->stop, 0, 'the server stops';
    my @lines = split /\n/, slurp("$server->{dir}/log");
    is $lines[0], '203.0.113.5 4711 127.0.0.1 198.51.100.1', 'the access log: client, proxy, and where the client has connected to';
};

check 'what is no header' => sub {
    my ($server, $port, $https) = proxied(options => {header_timeout => 1, status_path => '/status'});
    my %bad = (
        'a request'               => $GET,
        'a TLS handshake'         => "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" . 'x' x 200,
        'a malformed line'        => "PROXY TCP4 203.0.113.5 198.51.100.1 4711\r\n$GET",
        'a line that is too long' => 'PROXY UNKNOWN ' . 'x' x 200 . "\r\n$GET",
        'an unknown command'      => v2(0x25, 0x11, $V4) . $GET,
        'UDP'                     => v2(0x21, 0x12, $V4) . $GET,
        'a wrong checksum'        => v2(0x21, 0x11, $V4 . pack('CnN', 3, 4, 1)) . $GET,
        'a header that is too long' => v2(0x21, 0x11, $V4 . 'x' x 5000) . $GET,
        'half of one'             => substr($V1, 0, 20),
        'half of one, version 2'  => substr(v2(0x21, 0x11, $V4), 0, 20),
    );
    for my $name (sort keys %bad) {
        is_closed($_->[1], $bad{$name}, "$name: closed without an answer, $_->[0]") for [http => $port], [https => $https];
    }
    # A second header is no request.
    my $client = Gepok::Test::Connection->new(port => $port);
    $client->send($V1 . $V1 . $GET);
    is $client->response->status, 400, 'a second header';
    is told($port, $V1)->{REMOTE_ADDR}, '203.0.113.5', 'others are served';
    my $status = Gepok::Test::Connection->new(port => $port);
    $status->send("PROXY UNKNOWN\r\nGET /status HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n\r\n");
    is json($status->response->content)->{refused}{connections}, 2 * keys %bad, 'the status counts them';
    logged $server, qr/a connection from 127\.0\.0\.1 is closed: no valid PROXY header: it does not begin with one/, 'the log says so';
    logged $server, qr/a connection from 127\.0\.0\.1 is closed: no PROXY header in 1s/, 'and of one that does not come';
};

check 'who may send it' => sub {
    my ($server, $port) = proxied(options => {trusted_proxies => '127.0.0.1'});
    is told($port, $V1)->{REMOTE_ADDR}, '203.0.113.5', 'a trusted proxy';
    my $client = Gepok::Test::Connection->new(port => $port, from => '127.0.0.9', seconds => 20);
    $client->send($V1 . $GET);
    ok !$client->fill(time + 20) && $client->{buffer} eq '', 'nobody else';
    logged $server, qr/a connection from 127\.0\.0\.9 is closed: no trusted proxy/, 'the log says so';
    # Whoever relays bytes for a client vouches for none of them.
    my $forwarded = "GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n\r\n";
    for my $header ($V1, "PROXY UNKNOWN\r\n", v2(0x21, 0, '')) {
        my $told = told($port, $header, $forwarded);
        isnt $told->{REMOTE_ADDR}, '6.6.6.6', 'fields of a client that is relayed';
        is_deeply [@$told{qw(HTTP_X_FORWARDED_FOR psgi.url_scheme)}], [undef, 'http'], 'are dropped';
    }
    my $told = told($port, "PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n", $forwarded);
    is_deeply [@$told{qw(REMOTE_ADDR psgi.url_scheme gepok.proxy_addr)}], ['6.6.6.6', 'https', '127.0.0.1'],
        'those of a trusted proxy behind the other are read';
    my $open = '0.0.0.0:' . free_port();
    my ($status, $text) = run_command([root() . '/blib/script/gepok', '--listen', "$open:proxy", '-e', 'sub { [200, [], []] }']);
    is $status >> 8, 2, 'a port that anybody can reach needs a list';
    like $text, qr/\Q$open\E is a port for the PROXY protocol that others can reach: 'trusted_proxies' must say/, 'and says so';
};

check 'limits and rules go by the client that is named' => sub {
    my ($server, $port) = proxied(options => {max_connections_per_address => 1, status_path => '/status'});
    my $first = Gepok::Test::Connection->new(port => $port);
    $first->send($V1 . $GET);
    is $first->response->status, 200, 'the first connection of a client';
    is_closed($port, $V1 . $GET, 'it has no second one');
    is told($port, $V1 =~ s/113\.5/113.6/r)->{REMOTE_ADDR}, '203.0.113.6', 'another client has';
    my $status = "GET /status HTTP/1.1\r\nHost: x\r\n\r\n";
    for my $case ([403, $V1 =~ s/113\.5/113.7/r], [200, "PROXY TCP4 127.0.0.5 127.0.0.1 1 2\r\n"]) {
        my $client = Gepok::Test::Connection->new(port => $port);
        $client->send($case->[1] . $status);
        is $client->response->status, $case->[0], 'status_allow';
    }
};

# HTTP/2 in front of the app: the PROXY header names the peer of a connection, and each stream the client for which that peer asks.
check 'HTTP/2, with a trusted proxy and its field' => sub {
    my ($server, $http, $https) = proxied(dir => scratch(), options => {
        h2c => 1, trusted_proxies => 'loopback 198.51.100.0/24', access_log_path => 'log', access_log_format => '%h %H'});
    for my $way ([http => $http, '--http2-prior-knowledge'], [https => $https, '--http2']) {
        my ($scheme, $port, $version) = @$way;
        # One request each: this curl can't keep such a connection.
        my $told = sub {
            my ($code, $text) = run_command(['curl', '-sS', '--cacert', $ca->cert, '--interface', '127.0.0.9', '--haproxy-protocol', $version,
                '-H', "X-Forwarded-For: $_[0]", "$scheme://127.0.0.1:$port/"]);
            is $code, 0, "curl has an answer by $scheme" or diag $text;
            return json($text);
        };
        is $told->('6.6.6.6, 203.0.113.9')->{REMOTE_ADDR}, '203.0.113.9', "$scheme: the client for whom the proxy asks";
        my $hidden = $told->('unknown');
        is_deeply [@$hidden{qw(REMOTE_ADDR gepok.proxy_addr)}], ['127.0.0.9', '127.0.0.9'], "$scheme: a client that is not named";
    }
    # Protects: the header is that of the connection, not of its first request.
    my ($python) = (grep({ -x } '/usr/bin/python3'), 'python3');
    my ($code, $text) = run_command([$python, root() . '/t/clients/http2.py', $http, 'proxied', '/',
        'PROXY TCP4 198.51.100.7 127.0.0.1 4711 80']);
    is $code, 0, 'two requests on one connection' or diag $text;
    is_deeply [map { @{json($_->{content})}{qw(REMOTE_ADDR REMOTE_PORT)} } @{json($text)}], [('198.51.100.7', '4711') x 2], 'have its client';
    is $server->stop, 0, 'the server stops';
    like slurp("$server->{dir}/log"), qr{^203\.0\.113\.9 HTTP/2}m, 'the access log says so';
};

check 'a Unix socket' => sub {
    my $path   = "$folder/proxy.sock";
    my $server = server(entry => 'bin', app => $APP, listen => 'none', path => $path, args => ['--listen', "$path:proxy"]);
    my $client = $server->connect('unix');
    $client->send($V1 . $GET);
    my $told = json($client->response->content);
    is_deeply [@$told{qw(REMOTE_ADDR REMOTE_PORT gepok.proxy_addr gepok.unix_socket)}], ['203.0.113.5', 4711, 'unix:', 0], 'the client';
};

check 'a stop waits for no header' => sub {
    my ($server, $port) = proxied();
    my @silent = map { my $client = Gepok::Test::Connection->new(port => $port); $client->send('PROXY '); $client } 1 .. 3;
    is told($port, $V1)->{REMOTE_ADDR}, '203.0.113.5', 'they hold up nobody';
    my $begun = time;
    is $server->stop, 0, 'the server stops';
    cmp_ok time - $begun, '<', 15, 'soon';
};

# The real programs, each with HTTP and HTTPS. Client is a curl at 127.0.0.9.
sub curl {
    my ($scheme, $port, @words) = @_;
    my ($status, $text) = run_command(['curl', '-sS', '--cacert', $ca->cert, '--interface', '127.0.0.9', @words,
        # A kept connection has the same client.
        "$scheme://127.0.0.1:$port/", "$scheme://127.0.0.1:$port/"]);
    is $status, 0, "curl has answers by $scheme" or diag $text;
    my @told = map { json($_) } split /(?<=\})(?=\{)/, $text;
    is scalar @told, 2, 'two of them';
    is_deeply $told[1], $told[0], 'the same for both';
    return $told[0] // {};
}

check 'curl' => sub {
    my ($server, $http, $https) = proxied();
    for my $case ([http => $http], [https => $https]) {
        my ($scheme, $port) = @$case;
        my $told = curl($scheme, $port, '--haproxy-protocol');
        is_deeply [@$told{qw(REMOTE_ADDR psgi.url_scheme)}], ['127.0.0.9', $scheme], $scheme;
    }
};

check 'HAProxy' => sub {
    my $haproxy = Gepok::Test::Front::program('haproxy') or plan skip_all => 'haproxy is missing';
    my ($server, $http, $https) = proxied(options => {ssl_env => 1});
    my $alice = $ca->issue('alice', usage => 'clientAuth');
    my (%ports, $config);
    # How the header is sent, whether HAProxy ends the TLS, and to which port.
    my @cases = (
        ['send-proxy',                                        0, $http], ['send-proxy',    0, $https],
        ['send-proxy-v2',                                     0, $http], ['send-proxy-v2', 0, $https],
        ['send-proxy-v2-ssl',                                 1, $http],
        ['send-proxy-v2-ssl-cn',                              1, $http], ['send-proxy-v2-ssl-cn', 0, $http], ['send-proxy-v2-ssl-cn', 0, $https],
        ['send-proxy-v2 proxy-v2-options crc32c,authority,unique-id,ssl,cert-cn,ssl-cipher', 1, $http],
        ['send-proxy-v2 proxy-v2-options crc32c,authority',   0, $https],
    );
    for my $number (0 .. $#cases) {
        my ($send, $tls, $port) = @{$cases[$number]};
        $ports{$number} = free_port();
        my $ssl = $tls ? "ssl crt $folder/site.pem ca-file @{[$ca->cert]} verify optional" : '';
        $config .= "listen l$number\n    mode tcp\n    unique-id-format id%rt\n    bind 127.0.0.1:$ports{$number} $ssl\n"
            . "    server s 127.0.0.1:$port $send check inter 200ms\n";
    }
    my $timeouts = join '', map {"    timeout $_ 30s\n"} qw(connect client server);
    my $front = Gepok::Test::Front->start(folder => scratch(), port => $ports{$#cases}, command => [$haproxy, '-db', '-f', 'config'],
        config => "defaults\n$timeouts$config");
    ok $front, 'HAProxy runs' or return;
    for my $number (0 .. $#cases) {
        my ($send, $tls, $port) = @{$cases[$number]};
        my $name   = "$send, " . ($tls ? 'TLS ends there' : $port == $https ? 'https' : 'http');
        my $secure = $tls || $port == $https;
        my $told   = curl($secure ? 'https' : 'http', $ports{$number}, $tls ? ('--cert', $alice->{cert}, '--key', $alice->{key}) : ());
        is_deeply [@$told{qw(REMOTE_ADDR gepok.proxy_addr psgi.url_scheme)}, $told->{HTTPS} // 'off'],
            ['127.0.0.9', '127.0.0.1', $secure ? ('https', 'on') : ('http', 'off')], $name;
        next if !$tls;
        is $told->{SSL_CLIENT_VERIFY}, 'SUCCESS', "$name: the client's certificate is verified";
        is $told->{SSL_CLIENT_S_DN_CN}, $send =~ /cn/ ? 'alice' : undef, "$name: whose it is";
        like $told->{SSL_PROTOCOL}, qr/^TLSv1\.[23]$/, "$name: the version of TLS";
    }
    unlike $server->log, qr/no valid PROXY header/, 'its checks are understood, too';
};

check 'nginx' => sub {
    my $nginx = Gepok::Test::Nginx::program() or plan skip_all => 'nginx (nginx-light) is missing';
    my ($module) = grep { -e } glob '/usr/lib/nginx/modules/ngx_stream_module.so' or plan skip_all => 'libnginx-mod-stream is missing';
    my ($server, $http, $https) = proxied();
    my @ports = (free_port(), free_port());
    my $front = Gepok::Test::Front->start(folder => my $scratch = scratch(), port => $ports[1], command => [$nginx, '-p', '.', '-c', 'config'],
        config => "load_module $module; daemon off; pid nginx.pid; error_log errors; events {}\nstream { proxy_protocol on;\n"
            . "server { listen 127.0.0.1:$ports[0]; proxy_pass 127.0.0.1:$http; } server { listen 127.0.0.1:$ports[1]; proxy_pass 127.0.0.1:$https; } }\n");
    ok $front, 'nginx runs' or return;
    for my $case ([http => $ports[0]], [https => $ports[1]]) {
        my $told = curl(@$case);
        is_deeply [@$told{qw(REMOTE_ADDR gepok.proxy_addr psgi.url_scheme)}], ['127.0.0.9', '127.0.0.1', $case->[0]], $case->[0];
    }
};

done_testing;
