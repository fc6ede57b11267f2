# psgix.io: the client's socket in the app's hands, for builtins, IO::Socket's methods and event loops; and what stays the
# server's as long as the app does not use it.
use strict;
use warnings;

use IO::Select;
use Socket qw(SOL_SOCKET SO_RCVBUF);
use Test::More;
use Time::HiRes qw(sleep);

use Gepok::Test;

gepok_only();

my %needs = (anyevent => 'AnyEvent::Handle', ioasync => 'IO::Async::Stream');

# Whether the app echoes, when the first line comes along with the request (a relay) and when it comes later.
sub echoes {
    my ($server, $name, $kind) = @_;
    if ($needs{$name} && !eval "require $needs{$name}; 1") {
        SKIP: { skip "$needs{$name} is missing: script/test installs it", 1 }
        return;
    }
    for my $early ('', "early\n") {
        my $client = $server->connect($kind);
        $client->send("GET /$name HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n$early");
        my $head = eval { $client->head } or return fail "$name: $@" . $server->log;
        my @lines = ($early || (), "one\n", "two\n" . 'x' x 100_000 . "\n", "quit\n");
        my $echo  = '';
        for my $line (@lines) {
            $client->send($line) unless $line eq $early;
            $echo .= $client->bytes(length $line);
        }
        is $head->status, 101, "$name: the app's own head";
        ok $echo eq uc join('', @lines), "$name: an echo of every line" . ($early && ', the early one first');
        ok $client->closed, "$name: the connection ends with the app's last copy";
    }
}

my @echoes = qw(readline builtins methods anyevent ioasync child command);

each_entry {
    my $entry  = shift;
    my $server = server(
        entry   => $entry,
        app     => app_file('psgix-io'),
        options => {start_servers => 2},
        listen  => [qw(tcp unix)],
    );
    for my $kind (qw(tcp unix)) {
        check "$kind: $_" => sub { echoes($server, $_, $kind) } for @echoes;
    }
    check 'the worker serves on' => sub { like $server->get('/pid')->content, qr/^\d+$/ for 1 .. 4 };
    unlike $server->log, qr/ at \S+ line \d+/, 'without a warning' or diag $server->log;
};

check 'in one process' => sub {
    my $server = server(app => app_file('psgix-io'), options => {start_servers => 0}, listen => [qw(tcp unix)]);
    echoes($server, $_, 'tcp')  for @echoes;
    echoes($server, $_, 'unix') for qw(builtins anyevent);
    looks($server);
    keeps($server);
};

# One worker, so that the order is certain.
my $server = server(entry => 'bin', app => app_file('psgix-io'), options => {start_servers => 1}, listen => [qw(tcp unix)]);

sub get {
    my ($client, $path) = @_;
    $client->send("GET /$path HTTP/1.1\r\nHost: x\r\n\r\n");
    return $client->response;
}

# An app that only looks.
sub looks {
    my $server = shift;
    my $client = $server->connect('tcp');
    my $port   = $client->socket->sockport;
    for (1 .. 2) {
        is get($client, 'addresses')->content, "Gepok::Socket::TCP 1 127.0.0.1 $port 127.0.0.1  connected",
            'both keys are one handle, which knows the addresses; the connection persists';
    }
    is get($client, 'class')->content, join(' ', ('IO::Socket::INET', 'IO::Socket::IP') x 2), 'its classes';
    is get($client, 'credentials')->content, '0 ', 'no peercred';
    my $response = get($client, 'option');
    is $response->content, "stream alive $port", 'options and names by builtins and methods, then a response as usual';
    is $response->field('Connection'), 'close', 'behind which the connection is closed, since the app may have read from it';
    ok $client->closed, 'and is';
    $client = $server->connect('tcp');
    is get($client, 'delayed/option')->content, 'stream alive ' . $client->socket->sockport, 'the same by a responder';

    $client = $server->connect('unix');
    is get($client, 'addresses')->content, 'Gepok::Socket::UNIX 1    ' . $server->path . ' connected', 'on a Unix socket';
    is get($client, 'class')->content, join(' ', ('IO::Socket::UNIX') x 2), 'its class';
    is get($client, 'credentials')->content, "3 $$ $> " . (split ' ', $))[0], 'peercred';
    is get($client, 'option')->content, 'stream alive ', 'options';
}

# Handles that the app keeps.
sub keeps {
    my $server = shift;
    my $client = $server->connect('tcp');
    get($client, 'keep');
    my $other = $server->connect('tcp');
    is get($other,  'kept')->content, 'undef EBADF -1 127.0.0.1', 'one that was never fetched is dead behind its request';
    is get($client, 'pid')->status, 200, 'its connection is the server\'s';

    $client = $server->connect('tcp');
    $client->send("GET /keep-fetched HTTP/1.1\r\nHost: x\r\n\r\n");
    is $client->bytes(4), "now\n", 'one that was fetched is written to';
    is get($other, 'pid')->status, 200, 'the worker is free';
    ok $client->silent(0.2), 'the connection stays';
    is get($other, 'later')->content, 'written', 'and is written to during another client\'s request';
    is $client->rest, "later\n", 'that is all it gets';
}

check 'looking' => sub { looks($server) };
check 'keeping' => sub { keeps($server) };

# A server for HTTPS, where the modules that its client needs are there.
sub https {
    eval { require Gepok::Test::TLS; require Gepok::Test::Authority; Gepok::Test::TLS::usable() } or return undef;
    my $own = Gepok::Test::Authority->new("$_[0]")->issue('localhost', names => ['localhost']);
    return Gepok::Test::TLS::https(
        app     => app_file('psgix-io'),
        options => {ssl_cert_file => $own->{chain}, ssl_key_file => $own->{key}},
    );
}

# All that comes on a connection until its end, or "no end"; over TLS an end without its word is "cut".
sub all {
    my ($socket, $request) = @_;
    print {$socket} $request;
    my $got   = '';
    my $limit = time + 20;
    while (1) {
        IO::Select->new($socket)->can_read($limit - time) or $socket->can('pending') && $socket->pending or return "$got no end";
        my $read = sysread $socket, $got, 65536, length $got;
        next if !defined $read && $!{EAGAIN};
        return defined $read ? $got : "$got cut" if !$read;
    }
}

my $keys  = scratch();
my $leaks = server(app => app_file('psgix-io'), options => {start_servers => 1}, listen => [qw(tcp unix)]);
my $https = https($keys);
my %wires = (
    tcp  => sub { $leaks->connect('tcp')->socket },
    unix => sub { $leaks->connect('unix')->socket },
    ($https ? (tls => sub { Gepok::Test::TLS::secure($https) // die Gepok::Test::TLS::failure() }) : ()),
);

# A fetched socket takes nothing away from the response that follows, or that has begun.
for my $wire (sort keys %wires) {
    check "$wire: a response with a fetched socket is whole" => sub {
        my $get = sub { all($wires{$wire}->(), "GET /$_[0] HTTP/1.1\r\nHost: x\r\n" . ($_[1] // '') . "\r\n") };
        my %got;
        $got{$get->('option') =~ /^HTTP.*stream alive/s ? 'whole' : 'not'}++ for 1 .. 20;
        is_deeply \%got, {whole => 20}, 'behind an option and the peer\'s name';
        like $get->('late/closed'),  qr/\r\n\r\n5\r\nwhole\r\n0\r\n\r\n$/, 'fetched behind the last write, then closed';
        like $get->('late/dropped'), qr/\r\n\r\n5\r\nwhole\r\n0\r\n\r\n$/, 'or dropped';
        like $get->('late/length', "Connection: close\r\n"), qr/\r\n\r\nwhole$/, 'with a Content-Length';
    };
    check "$wire: the core ends a connection whose socket the app keeps" => sub {
        my $get = sub { all($wires{$wire}->(), "GET /leak/$_[0] HTTP/$_[1]\r\nHost: x\r\n\r\n") };
        like $get->('whole', '1.1'), qr/\r\n\r\nwhole$/, 'HTTP/1.1';
        like $get->('whole', '1.0'), qr/\r\n\r\nwhole$/, 'HTTP/1.0';
        unlike $get->('died', '1.1'), qr/HTTP|no end/, 'an app that died';
        unlike $get->('cut',  '1.1'), qr/\r\n0\r\n|no end/, 'a response that was cut';
        my $cut = $get->('cut', '1.0');
        unlike $cut, qr/no end/, 'in HTTP/1.0 as well';
        # Nothing but a reset, or TLS, can say that it is not whole.
        like $cut, qr/ cut$/, 'where it does not look whole' if $wire ne 'unix';
    };
    check "$wire: what follows a 101 of the app's is the app's" => sub {
        my $got = all($wires{$wire}->(), "GET /tunnel HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\r\none\nquit\n");
        like $got, qr/^HTTP\S+ 101 .*\r\n\r\nONE\nQUIT\n$/s, 'by its socket';
    };
}

# Behind a proxy the socket carries other users' requests too.
each_entry {
    my $entry = shift;
    my $app   = <<'PERL';
sub {
    my ($io, $socket) = @{$_[0]}{'psgix.io', 'gepok.socket'};
    my @got = map { $_ // 'undef' } fileno $socket, syswrite($socket, 'x'), sysread $socket, my $read, 1;
    return [200, [], [join ' ', exists $_[0]{'psgix.io'} ? 'a key' : 'no key', $socket->peerhost, @got, $!{EBADF} ? 'EBADF' : "$!"]];
}
PERL
    for my $start (1, 0) {
        my $server = server(entry => $entry, app => $app, options => {start_servers => $start, psgix_io => 0});
        my $client = $server->connect;
        is get($client, '')->content, 'no key 127.0.0.1 -1 undef undef EBADF', "without psgix_io, start_servers $start" for 1, 2;
    }
};

# O_NONBLOCK and SO_LINGER belong to the open file description, which the app shares with the core: neither may make the
# core wait for a client that reads nothing.
my $sharing = server(app => app_file('psgix-io'), options => {start_servers => 2}, listen => [qw(tcp unix)]);
my $served  = sub { eval { get($sharing->connect('tcp'), 'pid')->content } // "no answer: $@" };
for my $wire (qw(tcp unix)) {
    for my $option (qw(content file later)) {
        check "$wire: a socket that the app has made blocking, $option" => sub {
            my $socket = $sharing->connect($wire)->socket;
            print {$socket} "GET /blocking/$option HTTP/1.1\r\nHost: x\r\n\r\n";
            # The send buffers are full by then.
            for (1 .. 8) {
                like $served->(), qr/^\d+$/, 'others are served' or last;
                sleep 0.1;
            }
            my $got = '';
            1 while sysread $socket, $got, 65536, length $got;
            $got =~ s/^.*?\r\n\r\n//s;
            is $got =~ tr/x//, 65_536 * 256, 'and the response is whole';
        };
    }
}
check 'a socket whose close the app has made blocking' => sub {
    my $socket = $sharing->connect('tcp')->socket;
    setsockopt $socket, SOL_SOCKET, SO_RCVBUF, 2048 or die $!;
    print {$socket} "GET /blocking/linger HTTP/1.1\r\nHost: x\r\n\r\n";
    # The core closes it within that time.
    for (1 .. 40) {
        like $served->(), qr/^\d+$/, 'others are served' or last;
        sleep 0.1;
    }
};

check 'a process forked by the app' => sub {
    my $client = $server->connect('tcp');
    is get($client, 'child-unfetched')->content, 'undef EBADF, then fetched', 'cannot fetch; its parent can';
};

check 'an app that dies' => sub {
    my $client = $server->connect('tcp');
    $client->send("GET /die HTTP/1.1\r\nHost: x\r\n\r\n");
    is $client->rest, "half\n", 'ends the connection without a response behind what it has written';
    logged $server, qr{ \[error\] GET /die: the app died$}m, 'and the log tells';
};

check 'a client that leaves' => sub {
    my $pid    = $server->get('/pid')->content;
    my $client = $server->connect('tcp');
    $client->send("GET /flood HTTP/1.1\r\nHost: x\r\n\r\n");
    $client->bytes(100_000);
    $client->close;
    is $server->get('/flooded')->content, 'EPIPE', 'is an error of the write';
    is $server->get('/pid')->content, $pid, 'and not the end of the worker';
};

for my $early ('', "early\n") {
    check 'a stop, ' . ($early ? 'with a relay' : 'with the socket') => sub {
        $server = server(entry => 'bin', app => app_file('psgix-io'), options => {start_servers => 1}) if $early;
        my $client = $server->connect('tcp');
        $client->send("GET /keep-fetched HTTP/1.1\r\nHost: x\r\n\r\n$early");
        $client->bytes(4);
        is $server->stop, 0, 'is not held up by a taken connection';
        ok $client->closed, 'which ends with the process that holds it';
    };
}

done_testing;
