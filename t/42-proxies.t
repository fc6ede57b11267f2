# Whose request it is: forwarding fields of trusted proxies, and those of everybody else.
use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep);

use Gepok::Test;
use Gepok::Test::Connection;
use Gepok::Test::Nginx;
use Gepok::Test::TLS ();

gepok_only();

# Every key that a client has a say in, or that tells of it, but for the port of the connection.
my $APP = <<'PERL';
use JSON::PP ();
sub {
    my $env = shift;
    my %told = map { $_ => ref $env->{$_} ? '(reference)' : $env->{$_} } grep { !/time$|^REMOTE_PORT$/ } keys %$env;
    $told{port}  = $env->{REMOTE_PORT};
    $told{peer}  = $env->{'gepok.socket'}->can('peerhost') && !$env->{'gepok.unix_socket'} ? $env->{'gepok.socket'}->peerhost : undef;
    return [200, ['Content-Type' => 'application/json'], [JSON::PP->new->canonical->allow_nonref->encode(\%told)]];
};
PERL

sub slurp { open my $file, '<', $_[0] or return ''; local $/; return scalar(<$file>) // '' }

# What the app sees of a request with these fields, [name, value] each.
sub told {
    my ($client, @fields) = @_;
    $client->send(join '', "GET / HTTP/1.1\r\nHost: x\r\n", (map {"$_->[0]: $_->[1]\r\n"} @fields), "\r\n");
    return json($client->response->content);
}

# All by which a client could pretend to be another.
my @LIES = map { [split /: /] } 'Forwarded: for=203.0.113.9;proto=https;host=evil', 'X-Forwarded-For: 203.0.113.9', 'X-Forwarded-For: 127.0.0.1',
    'X-Forwarded-Proto: https', 'X-Forwarded-Protocol: https', 'X-Forwarded-Scheme: https', 'X-Forwarded-Ssl: on', 'X-Forwarded-HTTPS: on',
    'X-Forwarded-Host: evil', 'X-Forwarded-Port: 443', 'X-Forwarded-Server: evil', 'X-Forwarded-By: evil', 'X-Forwarded-User: root',
    'X-Forwarded-Prefix: /evil', 'X-Forwarded: evil', 'X-Real-IP: 203.0.113.9', 'X-Client-IP: 203.0.113.9', 'Client-IP: 203.0.113.9',
    'CF-Connecting-IP: 203.0.113.9', 'True-Client-IP: 203.0.113.9', 'Fastly-Client-IP: 203.0.113.9', 'X-Cluster-Client-IP: 203.0.113.9',
    'X-Original-Forwarded-For: 203.0.113.9', 'X-Scheme: https', 'X-Url-Scheme: https', 'Front-End-Https: on',
    'X_Forwarded_For: 203.0.113.9', 'x_real-ip: 203.0.113.9', 'My-Address: 203.0.113.9';

# A stranger changes nothing: neither env nor log, nor what it may see or how much it may have.
each_entry {
    my $entry  = shift;
    my $server = server(entry => $entry, app => $APP, options => {
        start_servers => 1, trusted_proxies => '192.0.2.1 unix:', forwarded_header => 'My-Address', forwarded_host => 1, underscores_in_headers => 1,
        status_path => '/status', status_allow => '203.0.113.9',
        access_log_path => 'access', access_log_format => '%h %a %{c}a %V "%{X-Forwarded-For}i" "%{My-Address}i" %s'}, dir => scratch());
    my $client = $server->connect;
    is_deeply told($client, @LIES), told($client), 'the app sees the same env';
    $client->send(join '', "GET /status HTTP/1.1\r\nHost: x\r\n", (map {"$_->[0]: $_->[1]\r\n"} @LIES), "\r\n");
    is $client->response->status, 403, 'the status page knows the address';
    is $server->stop, 0, 'the server stops';
    my @lines = split /\n/, slurp("$server->{dir}/access");
    is_deeply \@lines, [('127.0.0.1 127.0.0.1 127.0.0.1 x "-" "-" 200') x 2, '127.0.0.1 127.0.0.1 127.0.0.1 x "-" "-" 403'],
        'so does the access log';
};

# What a drop-in server must keep.
check 'without the option' => sub {
    my $server = server(app => $APP, options => {start_servers => 1});
    my $told   = told($server->connect, @LIES);
    is $told->{REMOTE_ADDR}, '127.0.0.1', 'the address is that of the connection';
    is $told->{'psgi.url_scheme'}, 'http', 'so is the scheme';
    is $told->{HTTP_X_FORWARDED_FOR}, '203.0.113.9, 127.0.0.1', 'the app has all fields';
    is $told->{HTTP_X_FORWARDED_USER}, 'root', 'whatever they are';
    ok !exists $told->{'gepok.proxy_addr'}, 'and no key of ours';
};

# The table that the unit tests read as well, by a real connection; and by nginx, where that understands it.
check 'chains' => sub {
    my @trusted = qw(127.0.0.0/8 10.0.0.0/8 192.0.2.7 ::1 2001:db8:aa::/48);
    my $server  = server(app => $APP, options => {start_servers => 1, trusted_proxies => "@trusted"});
    my $client  = $server->connect;
    my $nginx;
    if (Gepok::Test::Nginx::program()) {
        my $folder = scratch();
        chmod 0755, $folder or die $!;
        my $port = free_port();
        my $process = Gepok::Test::Nginx::start(folder => $folder, user => 'www-data', port => $port, http => join "\n",
            (map {"set_real_ip_from $_;"} @trusted), 'real_ip_header X-Forwarded-For;', 'real_ip_recursive on; keepalive_requests 10000;',
            "server { listen 127.0.0.1:$port; location / { return 200 \$remote_addr; } }");
        ok $process, 'nginx' or diag slurp("$folder/stderr");
        $nginx = [$process, Gepok::Test::Connection->new(port => $port), $folder];
    }
    my ($rows, $compared) = (0, 0);
    for my $row (grep { !/^#|^$/ } split /\n/, slurp(root() . '/t/forwarded/chains.txt')) {
        my ($chain, $expected, undef, $nginxs) = split / ; /, $row;
        my @lines  = map { ['X-Forwarded-For', $_ =~ s/^\s+|\s+$//gr] } split m{//}, $chain, -1;
        my $told   = told($client, @lines);
        my ($ip)   = $expected =~ s/!$//r =~ /^\[?([^\]]*?)(?:\]?:\d+)?$/ ? $1 : '';
        # A bare IPv6 address has no port.
        $ip = $expected =~ s/!$//r if $expected =~ /^[0-9a-f:]*:[0-9a-f:]*:[0-9a-f:]*!?$/;
        $ip = '127.0.0.1' if $ip eq '-';
        is $told->{REMOTE_ADDR}, $ip, "the client of '$chain'";
        is $told->{HTTP_X_FORWARDED_FOR} // $ip, $told->{HTTP_X_FORWARDED_FOR} =~ /:/ ? $told->{HTTP_X_FORWARDED_FOR} : $ip,
            'the field has nothing else' if defined $told->{HTTP_X_FORWARDED_FOR};
        $rows++;
        next if !$nginx || $nginxs eq 'x';
        my $other = $nginx->[1];
        $other->send(join '', "GET / HTTP/1.1\r\nHost: x\r\n", (map {"$_->[0]: $_->[1]\r\n"} @lines), "\r\n");
        is $other->response->content, $nginxs eq '=' ? $ip : $nginxs, "nginx on '$chain'";
        $compared++;
    }
    cmp_ok $rows, '>=', 120, 'rows';
    cmp_ok $compared, '>=', 110, 'compared with nginx' if $nginx;
};

check 'each kind of field' => sub {
    for my $case (
        ['X-Forwarded-For',  '203.0.113.5:567',                                '203.0.113.5', 567],
        ['Forwarded',        'for="[2001:db8::5]:567";proto=https;host=shop', '2001:db8::5', 567],
        ['X-Real-IP',        '203.0.113.5',                                    '203.0.113.5', 0],
        ['CF-Connecting-IP', '2001:db8::5',                                    '2001:db8::5', 0],
    ) {
        my ($name, $value, $address, $port) = @$case;
        my $server = server(entry => 'bin', app => $APP, options => {
            start_servers => 1, trusted_proxies => 'loopback', forwarded_header => $name, access_log_format => 'json', access_log_path => 'log'},
            dir => scratch());
        my $client = $server->connect;
        my $told   = told($client, (grep { lc $_->[0] ne lc $name } @LIES), [$name, $value]);
        is_deeply [@$told{qw(REMOTE_ADDR port gepok.proxy_addr gepok.forwarded_for peer)}],
            [$address, $port, '127.0.0.1', $value, '127.0.0.1'], "$name: the client, the proxy, and what it said";
        is $told->{'psgi.url_scheme'}, 'https', "$name: the scheme";
        is $told->{HTTPS}, 'on', "$name: and its key";
        my @seen = sort grep { /^HTTP_(?:X_(?:FORWARDED|REAL)|FORWARDED|CF_|TRUE_)/ } keys %$told;
        my $key  = 'HTTP_' . uc $name =~ tr/-/_/r;
        my %left = map { $_ => 1 } @seen;
        ok $left{$key}, "$name: the app has it";
        is_deeply [grep { !/^HTTP_X_FORWARDED_(?:PROTO|USER|PREFIX)$/ } @seen], [$key], "$name: and no other with an address";
        is told($client)->{REMOTE_ADDR}, '127.0.0.1', "$name: the next request on the connection is the proxy's own";
        is $server->stop, 0, 'the server stops';
        my ($first) = map { json($_) } split /\n/, slurp("$server->{dir}/log");
        is_deeply [@$first{qw(remote_addr remote_port proxy_addr)}], [$address, $port || undef, '127.0.0.1'], "$name: the log";
    }
};

check 'scheme, host and port' => sub {
    my $server = server(app => $APP, options => {start_servers => 1, trusted_proxies => 'loopback', forwarded_host => 1});
    my $client = $server->connect;
    my $told   = told($client, ['X-Forwarded-Host', 'shop.example:8443'], ['X-Forwarded-Proto', 'https']);
    is_deeply [@$told{qw(HTTP_HOST SERVER_PORT HTTPS psgi.url_scheme REMOTE_ADDR)}],
        ['shop.example:8443', 8443, 'on', 'https', '127.0.0.1'], 'all told, but for an address';
    $told = told($client, ['X-Forwarded-For', '203.0.113.5'], ['X-Forwarded-Proto', 'gopher'], ['X-Forwarded-Host', 'a b']);
    is_deeply [@$told{qw(HTTP_HOST HTTPS psgi.url_scheme HTTP_X_FORWARDED_HOST HTTP_X_FORWARDED_PROTO)}],
        ['x', undef, 'http', undef, undef], 'what can be neither is nothing';
    $server = server(app => $APP, options => {start_servers => 1, trusted_proxies => 'loopback', forwarded_proto => 0});
    $told = told($server->connect, ['X-Forwarded-For', '203.0.113.5'], ['X-Forwarded-Proto', 'https'], ['X-Forwarded-Host', 'evil']);
    is_deeply [@$told{qw(HTTP_HOST HTTPS psgi.url_scheme HTTP_X_FORWARDED_PROTO HTTP_X_FORWARDED_HOST)}],
        ['x', undef, 'http', undef, undef], 'what is not wanted is not there';
};

check 'a proxy at a Unix socket' => sub {
    my $server = server(app => $APP, listen => ['tcp', 'unix'], options => {start_servers => 1, trusted_proxies => 'unix:'});
    my $told   = told($server->connect('unix'), ['X-Forwarded-For', '203.0.113.5']);
    is_deeply [@$told{qw(REMOTE_ADDR port gepok.proxy_addr)}], ['203.0.113.5', 0, 'unix:'], 'is trusted';
    $told = told($server->connect('tcp'), ['X-Forwarded-For', '203.0.113.5']);
    is_deeply [@$told{qw(REMOTE_ADDR HTTP_X_FORWARDED_FOR)}], ['127.0.0.1', undef], 'another client is not';
};

# The page must not open to the world because its proxy is on this machine.
check 'status_allow' => sub {
    my $server = server(app => $APP, options => {start_servers => 1, trusted_proxies => '127.0.0.1', status_path => '/status'});
    for my $case (
        [200, 'the machine itself'],
        [403, 'a client elsewhere',                 'X-Forwarded-For: 203.0.113.5'],
        [200, 'a client on this machine',           'X-Forwarded-For: 127.0.0.2'],
        [403, 'a client elsewhere that lies',       'X-Forwarded-For: 127.0.0.1, 203.0.113.5'],
        [403, 'a client whose address is hidden',   'X-Forwarded-For: unknown'],
        [403, 'one behind two proxies, hidden',     'X-Forwarded-For: unknown, 127.0.0.1'],
        [403, 'one told by another field',          'X-Real-IP: 203.0.113.5'],
        [403, 'one told by RFC 7239',               'Forwarded: for=203.0.113.5'],
        [403, 'one whose proxy tells nothing',      'Via: 1.1 varnish'],
    ) {
        my ($status, $name, @fields) = @$case;
        my $client = $server->connect;
        $client->send(join '', "GET /status HTTP/1.1\r\nHost: x\r\n", (map {"$_\r\n"} @fields), "\r\n");
        is $client->response->status, $status, $name;
    }
};

# A limit for one client must not lock out all that come by a proxy.
check 'max_connections_per_address' => sub {
    my $server = server(app => $APP, options => {start_servers => 1, trusted_proxies => '127.0.0.1', max_connections_per_address => 2});
    my @kept = map { my $client = $server->connect; told($client, ['X-Forwarded-For', '203.0.113.5']); $client } 1 .. 5;
    is scalar @kept, 5, 'the proxy may have as many as it wants';
    my @others = map { Gepok::Test::Connection->new(port => $server->port, from => '127.0.0.9') } 1 .. 3;
    for my $other (@others) { $other->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n") }
    my $closed = grep { !eval { $_->response->status == 200 } } @others;
    is $closed, 1, 'another client is counted';
};

# The operator must know that nothing is read.
check 'mistakes' => sub {
    my ($status, $text) = run_command([root() . '/blib/script/gepok', '--forwarded-header', 'X-Real-IP', '--listen', '127.0.0.1:' . free_port(),
        '-e', 'sub { [200, [], []] }'], until => qr/forwarded_header/, seconds => 30);
    like $text, qr/'forwarded_header' and 'forwarded_host' do nothing without 'trusted_proxies'/, 'an option that does nothing is told';
};

done_testing;
