# HTTPS by every way in: handshakes, certificates by name, resumption, what is no TLS, and how connections end.
use strict;
use warnings;

use Test::More;

use Gepok::Test;
use Gepok::Test::Authority qw(openssl);
use Gepok::Test::TLS;
use IO::Socket::SSL;

gepok_only();

my $folder = scratch();
my $ca     = Gepok::Test::Authority->new("$folder");
my $own    = $ca->issue('localhost', names => ['localhost'], ip => ['127.0.0.1']);
my @pair   = (ssl_cert_file => $own->{chain}, ssl_key_file => $own->{key});
my $hello  = 'sub { [200, ["Content-Type", "text/plain"], ["hello " . $_[0]{PATH_INFO}]] }';

each_entry {
    my $entry  = shift;
    my $server = https(entry => $entry, app => $hello, options => {@pair});

    my $got = fetch($server, '/a',
        SSL_ca_file => $ca->cert, SSL_verifycn_name => 'localhost', SSL_alpn_protocols => ['http/1.1']);
    is $got->{status},   200,        'a client that trusts the authority is served';
    is $got->{content},  'hello /a', 'by the app';
    is $got->{version},  'TLSv1_3',  'over TLS 1.3';
    is $got->{alpn},     'http/1.1', 'HTTP/1.1 is agreed upon (ALPN)';
    is $got->{notified}, 1,          'the end is said, not only the connection closed';

    $got = fetch($server, '/b', SSL_version => 'TLSv1_2', SSL_ca_file => $ca->cert);
    is $got->{content}, 'hello /b', 'TLS 1.2';
    like $got->{cipher}, qr/\AECDHE-ECDSA-.*(?:GCM|CHACHA20)/, 'with a cipher of today';
    for my $old (qw(TLSv1 TLSv1_1)) {
        $got = fetch($server, '/', SSL_version => $old, SSL_cipher_list => 'ALL:@SECLEVEL=0');
        like $got->{error}, qr/alert (?:protocol version|handshake failure)/, "no $old";
    }
};

check 'what is no TLS' => sub {
    my $server = https(app => $hello, options => {@pair});

    my $plain = $server->connect('tcp');
    $plain->send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    my $response = $plain->response('GET');
    is $response->status, 400, 'plain HTTP is refused in plain HTTP';
    like $response->content, qr/HTTPS/, 'in words that say why';
    ok $plain->closed, 'and the connection ends';

    # A server that nobody else uses: on a busy machine an honest handshake may take a second. By default it has ten.
    my $hasty  = https(app => $hello, options => {@pair, ssl_handshake_timeout => 1});
    my $silent = $hasty->connect('tcp');
    ok $silent->closed(8), 'a client that says nothing is let go';
    my $slow = $hasty->connect('tcp');
    $slow->send("\x16\x03\x01\x02\x00\x01");
    ok $slow->closed(8), 'and so is one that stops amid its hello';

    my @held = map { $server->connect('tcp') } 1 .. 20;
    is fetch($server, '/')->{status}, 200, 'such clients hold up nobody';

    my $garbage = $server->connect('tcp');
    $garbage->send("\x16garbage" x 100);
    is substr($garbage->rest, 0, 1), "\x15", 'garbage is answered by an alert';
    is fetch($server, '/')->{status}, 200, 'and harms nobody';
};

check 'certificates by name' => sub {
    my %of = map { my ($name, $host) = @$_; ($name => $ca->issue($name, names => [$host])) }
        ['one', 'one.example'], ['two', 'two.example'], ['wild', '*.wild.example'];
    my $rsa = $ca->issue('rsa', names => ['one.example'], kind => 'rsa');

    my $subject = sub {
        my ($server, $name, @more) = @_;
        return fetch($server, '/', SSL_hostname => $name, @more)->{subject};
    };
    my $server = https(
        app     => $hello,
        options => {
            ssl_cert_file => [map { $_->{cert} } @of{qw(two one wild)}, $rsa],
            ssl_key_file  => [map { $_->{key} } @of{qw(two one wild)},  $rsa],
        }
    );
    is $subject->($server, 'one.example'),      'one',  'the names in the certificates choose';
    is $subject->($server, 'ONE.example'),      'one',  'whatever their case';
    is $subject->($server, 'x.wild.example'),   'wild', 'a wildcard is for one label';
    is $subject->($server, 'x.y.wild.example'), 'two',  'not for two';
    is $subject->($server, 'nobody.example'),   'two',  'the first is for all others';
    is $subject->($server, ''),                 'two',  'and for who asks for none';
    is $subject->($server, 'one.example', SSL_version => 'TLSv1_2', SSL_cipher_list => 'ECDHE-RSA-AES128-GCM-SHA256'),
        'rsa', 'a client that knows RSA alone gets that certificate';

    # The hash of IO::Socket::SSL, which a program gives as such and a command line as HOST=PATH.
    my $hash = sub { my $part = shift; return {'' => $of{one}{$part}, 'a.example' => $of{two}{$part}} };
    my $flags = sub { my $of = $hash->($_[0]); return [map {"$_=$of->{$_}"} sort keys %$of] };
    my %options = map { $_ => {ssl_cert_file => $_->('cert'), ssl_key_file => $_->('key')} } $hash, $flags;
    for (['new', $hash], ['bin', $flags]) {
        my ($entry, $form) = @$_;
        my $server = https(entry => $entry, app => $hello, options => $options{$form});
        is $subject->($server, 'a.example'),   'two', 'a hash goes by its keys, whatever the certificates say';
        is $subject->($server, 'two.example'), 'one', 'and by the empty one for all others';
    }
};

check 'keys of every kind' => sub {
    my %pairs = map { $_ => $ca->issue("kind-$_", kind => $_) } qw(rsa p384 ed25519);
    # PKCS#1 and SEC1, as older tools write them.
    openssl('rsa', '-in', $pairs{rsa}{key}, '-traditional', '-out', "$folder/pkcs1.key");
    openssl('ec', '-in', $own->{key}, '-out', "$folder/sec1.key");
    openssl('ecparam', '-name', 'prime256v1', '-out', "$folder/params");
    my @parts = map { Gepok::Test::Authority::slurp($_) } "$folder/params", "$folder/sec1.key", $own->{cert};
    Gepok::Test::Authority::spew("$folder/both.pem", join '', @parts);
    for (
        ['RSA in PKCS#8', $pairs{rsa}{cert},     $pairs{rsa}{key}],
        ['RSA in PKCS#1', $pairs{rsa}{cert},     "$folder/pkcs1.key"],
        ['P-384',         $pairs{p384}{cert},    $pairs{p384}{key}],
        ['Ed25519',       $pairs{ed25519}{cert}, $pairs{ed25519}{key}],
        ['SEC1',          $own->{cert},          "$folder/sec1.key"],
        ['all in a file', "$folder/both.pem",    undef],
    ) {
        my ($kind, $cert, $key) = @$_;
        my %files  = (ssl_cert_file => $cert, $key ? (ssl_key_file => $key) : ());
        my $server = https(entry => 'bin', app => $hello, options => \%files);
        is fetch($server, '/')->{status}, 200, $kind;
    }
};

check 'sessions are resumed' => sub {
    my $server = https(app => $hello, options => {@pair});
    for my $version (qw(tls1_2 tls1_3)) {
        my $session = "$folder/$version.session";
        like s_client($server, "-$version", '-sess_out', $session), qr/New, TLS/,    "$version: a session begins";
        like s_client($server, "-$version", '-sess_in',  $session), qr/Reused, TLS/, 'and is resumed by its ticket';
    }
    my $again = s_client($server, qw(-tls1_2 -no_ticket -reconnect));
    like $again, qr/Reused, TLS/, 'and by its number where the client knows no tickets';
};

check 'spellings of other servers' => sub {
    my @dashed = ('--ssl-key', $own->{key}, '--ssl-cert', $own->{cert});
    my @files  = ('--ssl-key-file', $own->{key}, '--ssl-cert-file', $own->{cert});
    for (
        ['HTTP::Server::PSGI', 'plackup', '--ssl', 1, @files, '--port', '%d'],
        ['Starman',            'plackup', '--enable-ssl', @dashed, '--port', '%d'],
        ['Starman, --listen',  'plackup', @dashed, '--listen', '127.0.0.1:%d:ssl'],
        ['the command',        'bin',     '--ssl', @files, '--port', '%d'],
        ['the command, -l',    'bin',     @files, '-l', '127.0.0.1:%d:ssl'],
    ) {
        my ($name, $entry, @args) = @$_;
        my $port   = free_port();
        my @words  = map {s/%d/$port/r} @args;
        my $server = server(
            entry   => $entry,
            app     => $hello,
            listen  => 'none',
            port    => $port,
            args    => \@words,
            options => {start_servers => 1},
        );
        is fetch($server, '/')->{status}, 200, $name;
    }
};

check 'a certificate for development' => sub {
    my $server = https(entry => 'bin', app => $hello, options => {'ssl-self-signed' => 1});
    my $socket = secure($server);
    my $pem    = Net::SSLeay::PEM_get_string_X509($socket->peer_certificate);
    close $socket;
    Gepok::Test::Authority::spew("$folder/made.pem", $pem);
    for my $name ('localhost', '127.0.0.1') {
        my $got = fetch($server, '/',
            SSL_ca_file => "$folder/made.pem", SSL_verifycn_name => $name, SSL_verifycn_scheme => 'http');
        is $got->{status}, 200, "it is for $name";
    }
    logged $server, qr/certificate for development .*localhost/, 'the log warns';
};

check 'large responses and files' => sub {
    my $server = https(app => <<'APP', options => {@pair});
my $piece = join '', map { chr } 0 .. 255;
sub {
    my $env     = shift;
    my $content = $piece x 40_000;
    if ($env->{PATH_INFO} eq '/file') {
        open my $file, '+>:raw', undef or die $!;
        print {$file} $content;
        $file->flush;
        seek $file, 0, 0;
        return [200, [], $file];
    }
    return [200, [], [$content]] if $env->{PATH_INFO} eq '/array';
    return sub {
        my $writer = shift->([200, []]);
        $writer->write($piece x 400) for 1 .. 100;
        $writer->close;
    };
}
APP
    my $expected = join('', map { chr } 0 .. 255) x 40_000;
    for my $form (qw(array file)) {
        my $got = fetch($server, "/$form");
        ok $got->{content} =~ s/\A[0-9a-f]+\r\n(.*)\r\n0\r\n\r\n\z/$1/sr eq $expected, "an $form arrives whole";
        is $got->{notified}, 1, 'with a proper end';
    }
    my $content = fetch($server, '/stream')->{content};
    my $joined  = '';
    while ($content =~ s/\A([0-9a-f]+)\r\n//) {
        $joined .= substr $content, 0, hex $1, '';
        $content =~ s/\A\r\n//;
    }
    ok $joined eq $expected, 'and so does a stream';
};

check 'a cut response does not look whole' => sub {
    my $server = https(app => <<'APP', options => {@pair, start_servers => 2});
use POSIX ();
sub {
    my $env = shift;
    my @fields = $env->{PATH_INFO} eq '/length' ? ('Content-Length' => 1000)
        : $env->{PATH_INFO} eq '/coded' ? ('Transfer-Encoding' => 'chunked')
        :                                 ();
    return sub {
        my $writer = shift->([200, ['Content-Type' => 'text/plain', @fields]]);
        $writer->write("4\r\npart\r\n");
        select undef, undef, undef, 0.3;
        POSIX::_exit(3);
    };
}
APP
    for my $form (qw(length chunked coded)) {
        my $got = fetch($server, "/$form");
        is $got->{notified}, 0, "$form: no good end is said";
    }
};

check 'the socket of an app (psgix.io)' => sub {
    my $server = https(app => <<'APP', options => {@pair});
sub {
    my $io = $_[0]{'psgix.io'};
    syswrite $io, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    while (sysread $io, my $bytes, 65536) { syswrite $io, uc $bytes }
    close $io;
    return [];
}
APP
    my $socket = secure($server);
    print {$socket} "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    my $head = '';
    until ($head =~ /\r\n\r\n/) { sysread $socket, $head, 1, length $head or last }
    like $head, qr{\AHTTP/1.1 101 }, 'it speaks to the client through TLS';
    my $sent = 'abc' x 100_000;
    my $got  = '';
    for my $at (0 .. 9) {
        print {$socket} substr $sent, $at * 30_000, 30_000;
        while (length $got < ($at + 1) * 30_000) { sysread $socket, $got, 65536, length $got or last }
    }
    ok $got eq uc $sent, 'both ways';
};

done_testing();
