# TLS on sockets that a supervisor has opened: https_ports names those of start_server, the name https those of systemd.
use strict;
use warnings;

use IO::Socket::INET;
use Test::More;

use Gepok::Test;
use Gepok::Test::Authority;
use Gepok::Test::TLS;

gepok_only();

sub which { my $name = shift; (grep { -x } map {"$_/$name"} split /:/, $ENV{PATH})[0] }

my $folder = scratch();
my $ca     = Gepok::Test::Authority->new("$folder");
my $own    = $ca->issue('localhost', names => ['localhost'], ip => ['127.0.0.1']);
my @trust  = (SSL_ca_file => $ca->cert, SSL_verifycn_name => 'localhost');
my @pair   = ("--ssl-cert-file=$own->{chain}", "--ssl-key-file=$own->{key}");
my $psgi   = "$folder/app.psgi";
Gepok::Test::Server::spew($psgi,
    'sub { [200, [], [join " ", map { $_[0]{$_} // "undef" } qw(psgi.url_scheme SERVER_NAME SERVER_PORT HTTPS)]] }');

my @perl    = ($^X, map { '-I' . root() . "/blib/$_" } qw(arch lib));
my %command = (
    plackup => sub { (@perl, Gepok::Test::Server::plackup(), '-s', 'Gepok', '-E', 'deployment', @_, $psgi) },
    bin     => sub { (root() . '/blib/script/gepok', @_, $psgi) },
);

# What the app says in plain HTTP; the status where that is not 200.
sub plain {
    my ($where) = @_;
    my $client = Gepok::Test::Connection->new($where =~ m{^/} ? (path => $where) : (port => $where));
    $client->send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    my $response = $client->response;
    return $response->status == 200 ? $response->content : $response->status;
}

# The same over TLS; the error where there is none.
sub tls {
    my ($port) = @_;
    my $got = fetch($port, '/', @trust);
    return $got->{content} // $got->{error};
}

SKIP: {
    my $start_server = which('start_server') or skip 'start_server (libserver-starter-perl) is missing', 1;
    for my $entry (qw(plackup bin)) {
        check "https_ports under start_server, through $entry" => sub {
            my ($http, $https, $any) = map { free_port() } 1 .. 3;
            my $path   = "$folder/$entry.sock";
            my $server = server(
                listen  => 'none',
                port    => $http,
                command => [$start_server, "--port=127.0.0.1:$http", "--port=127.0.0.1:$https", "--port=$any", "--path=$path",
                    '--', $command{$entry}->('--start-servers=2', "--https-ports=127.0.0.1:$https,$any", @pair)]);
            my $serves = sub {
                is plain($http), "http 127.0.0.1 $http undef",   'plain HTTP where no option says else';
                is plain($path), "http 0 $path undef",           'and on a Unix socket';
                is tls($https),  "https 127.0.0.1 $https on",    'TLS on host:port';
                is tls($any),    "https 0 $any on",              'TLS on a port alone';
                is plain($https), 400, 'where plain HTTP is refused';
                like tls($http), qr/SSL|wrong version|packet length/, 'and TLS on the port for HTTP';
            };
            $serves->();
            my @before = $server->descendants;
            my $open   = secure($https, @trust);
            is fetched($open, '/')->{status}, 200, 'a connection';
            $server->signal('HUP');
            ok soon(sub { my @now = $server->descendants; @now && !grep { $_ == $before[0] } @now }), 'HUP: another master';
            $serves->();
            is $server->stop, 0, 'status 0';
            unlike $server->log, qr{\[error\]|status:[1-9]}, 'nothing went wrong' or diag $server->log;
        };
    }

    check 'https_ports that start_server has not opened' => sub {
        my ($http, $https) = (free_port(), free_port());
        # start_server tries it again and again.
        my $sentence = qr/gepok: option 'https_ports': start_server has opened no .*:$https$/m;
        my ($status, $text) = run_command(
            [$start_server, "--port=127.0.0.1:$http", '--', $command{bin}->("--https-ports=$https", @pair)], until => $sentence);
        like $text, $sentence, 'one sentence';
    };
}

# Starts the server with the sockets from descriptor 3 on, as systemd does.
sub like_systemd {
    my ($sockets, $names, @command) = @_;
    my $fds    = join ' ', map { fileno $_ } @$sockets;
    my $script = 'use POSIX (); my ($fds, @command) = @ARGV; my @high = map { POSIX::dup2($_, 100 + $_); 100 + $_ } split / /, $fds;'
        . ' POSIX::dup2($high[$_], 3 + $_) for 0 .. $#high; $^F = 1000; $ENV{LISTEN_PID} = $$; exec @command or die $!';
    fcntl $_, 2, 0 for @$sockets;
    return server(
        listen  => 'none',
        port    => $sockets->[0]->sockport,
        env     => {LISTEN_FDS => scalar @$sockets, LISTEN_FDNAMES => $names},
        command => [$^X, '-e', $script, $fds, @command]);
}

for my $entry (qw(plackup bin)) {
    check "the name https of systemd, through $entry" => sub {
        my @sockets = map { IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 9) or die $! } 1 .. 3;
        my ($http, $https, $other) = map { $_->sockport } @sockets;
        my $server = like_systemd(\@sockets, 'http:https:name', $command{$entry}->('--start-servers=2', @pair));
        my $serves = sub {
            is plain($_), "http 127.0.0.1 $_ undef", 'HTTP' for $http, $other;
            is tls($https), "https 127.0.0.1 $https on", 'TLS';
            is plain($https), 400, 'and nothing else there';
        };
        $serves->();
        my ($core) = $server->descendants;
        $server->signal('USR2');
        ok soon(sub { my @now = $server->descendants; @now && !grep { $_ == $core } @now }), 'USR2: another core';
        $serves->();
        is $server->stop, 0, 'status 0';
        unlike $server->log, qr{\[error\]}, 'nothing went wrong' or diag $server->log;
    };
}

SKIP: {
    my $activate = which('systemd-socket-activate') or skip 'systemd-socket-activate (systemd) is missing', 1;
    for my $entry (qw(plackup bin)) {
        check "systemd-socket-activate --fdname, through $entry" => sub {
            my @ports  = (free_port(), free_port());
            my $server = server(
                listen  => 'none',
                ready   => 0,
                port    => $ports[0],
                command => [$activate, (map { ('-l', "127.0.0.1:$_") } @ports), '--fdname=http:https',
                    $command{$entry}->('--start-servers=1', @pair)]);
            my $answer;
            ok soon { $answer = eval { plain($ports[0]) } }, 'the first connection starts it' or diag $server->log;
            is $answer, "http 127.0.0.1 $ports[0] undef", 'HTTP';
            is tls($ports[1]), "https 127.0.0.1 $ports[1] on", 'TLS';
            is $server->stop, 0, 'status 0';
        };
    }
}

done_testing;
