# ssl_verify_callback: the app's last word on a client's certificate, with the arguments of IO::Socket::SSL's.
use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);

use Gepok::Test;
use Gepok::Test::Authority qw(openssl);
use Gepok::Test::TLS;
use IO::Socket::SSL;

gepok_only();

my $folder = scratch();
my $ca     = Gepok::Test::Authority->new("$folder");
my $other  = Gepok::Test::Authority->new("$folder", 'other');
my $own    = $ca->issue('localhost', names => ['localhost'], ip => ['127.0.0.1']);
my %known  = client($ca->issue('known', subject => '/O=Gepok/CN=known'));
my %banned = client($ca->issue('banned'));
my %stray  = client($other->issue('stray'));
my $app    = 'sub { my $s = $_[0]{"gepok.socket"}; [200, [], [join ";", map { $_ // "" } $s->peer_certificate("cn"), $$]] }';

sub client { my ($pair) = @_; return (SSL_cert_file => $pair->{chain}, SSL_key_file => $pair->{key}) }

# A server whose callback is the text of a sub; it can write lines to the file $seen.
sub judged {
    my ($callback, %options) = @_;
    return https(
        entry    => 'new',
        app      => $app,
        prologue => "\$attributes->{ssl_verify_callback} = $callback;\n"
            . 'sub seen { open my $f, ">>", "' . "$folder/seen" . '" or die $!; syswrite $f, join("|", @_) . "\n" }' . "\n",
        options => {
            ssl_cert_file   => $own->{cert},
            ssl_key_file    => $own->{key},
            ssl_ca_file     => $ca->cert,
            ssl_verify_mode => 1,
            %options,
        }
    );
}

# What the callback wrote since the last look.
sub seen {
    my $text = -e "$folder/seen" ? Gepok::Test::Authority::slurp("$folder/seen") : '';
    unlink "$folder/seen";
    return $text;
}

check 'arguments and verdict' => sub {
    my $server = judged('sub { seen(map { $_ // "undef" } @_[0 .. 3], $_[4] ? 1 : 0, $_[5]); $_[0] && $_[2] !~ /banned/ }');

    is fetch($server, '/')->{status}, 200, 'a client without a certificate is not judged';
    is seen(), '', 'the callback is not called';

    like fetch($server, '/', %known)->{content}, qr/\Aknown;/, 'a certificate that the callback takes';
    is seen(), "1|0|/CN=Test ca/O=Gepok/CN=known|0|1|0\n", 'once, with the leaf: ok, store, names, error, X509, depth';

    my $got = fetch($server, '/', %banned);
    is $got->{status}, undef, 'one that it refuses gets no answer';
    like seen(), qr/\A1\|/, 'though its chain is good';
    logged $server, qr/ssl_verify_callback: the connection from 127\.0\.0\.1:\d+ is closed/, 'the log tells of it';

    $got = fetch($server, '/', %stray);
    is $got->{status}, undef, 'a certificate of an unknown authority';
    like seen(), qr/\A0\|0\|.*\|unable to get local issuer certificate\|1\|0$/m, 'the callback hears why';
};

check 'the last word' => sub {
    my $server = judged('sub { 1 }', ssl_env => 1);
    like fetch($server, '/', %stray)->{content}, qr/\Astray;/, 'it may take what the authorities refuse';

    $server = https(
        app     => 'sub { [200, [], [join ";", map { $_[0]{$_} // "" } qw(SSL_CLIENT_VERIFY SSL_CLIENT_S_DN)]] }',
        options => {
            ssl_cert_file       => $own->{cert},
            ssl_key_file        => $own->{key},
            ssl_ca_file         => $ca->cert,
            ssl_verify_mode     => 1,
            ssl_verify_callback => 1,
            ssl_env             => 1,
        }
    );
    is fetch($server, '/', %stray)->{content}, 'FAILED:unable to get local issuer certificate;CN=stray',
        'the app still hears what they said';
    is fetch($server, '/', %known)->{content}, 'SUCCESS;CN=known,O=Gepok', 'and that they agree';
};

check 'sessions are resumed without another question, and never against a refusal' => sub {
    my $server = judged('sub { seen(1); $_[2] !~ /banned/ }');
    for my $version (qw(tls1_2 tls1_3)) {
        my $s     = "$folder/$version.session";
        my @known = ("-$version", '-cert', $known{SSL_cert_file}, '-key', $known{SSL_key_file});
        like s_client($server, @known, '-sess_out', $s), qr/^New, TLS.*HTTP\/1\.1 200/ms, "$version: a session begins";
        is seen(), "1\n", 'behind a question';
        like s_client($server, @known, '-sess_in', $s), qr/^Reused, TLS.*HTTP\/1\.1 200/ms, 'and is resumed';
        is seen(), '', 'without one';

        my @banned = ("-$version", '-cert', $banned{SSL_cert_file}, '-key', $banned{SSL_key_file});
        unlink $s;
        unlike s_client($server, @banned, '-sess_out', $s), qr/^HTTP/m, 'one that is refused';
        ok -s $s, 'has got a session';
        unlike s_client($server, @banned, '-sess_in', $s), qr/^HTTP/m, 'which does not let it in';
        is seen(), "1\n1\n", 'because the callback is asked again';
    }
};

check 'callbacks that fail' => sub {
    my $server = judged('sub { die "not today\n" if $_[2] =~ /banned/; exit 7 if $_[2] =~ /stray/; 1 }', start_servers => 1);
    is fetch($server, '/', %banned)->{status}, undef, 'one that dies refuses';
    logged $server, qr/ssl_verify_callback: not today/, 'the log has its last words';
    is fetch($server, '/', %stray)->{status}, undef, 'one that calls exit refuses';
    like fetch($server, '/', %known)->{content}, qr/\Aknown/, 'and the server lives on';
};

check 'a worker that dies of a question leaves it to another' => sub {
    unlink "$folder/died";
    my $server = judged('sub { if (!-e "' . "$folder/died" . '") { open my $f, ">", "' . "$folder/died" . '"; kill KILL => $$ } 1 }',
        start_servers => 2);
    like fetch($server, '/', %known)->{content}, qr/\Aknown/, 'the client is served';
    ok -e "$folder/died", 'though one worker has died';
};

check 'a callback that never answers' => sub {
    my $server = judged('sub { sleep 60; 1 }', ssl_handshake_timeout => 3, start_servers => 1);
    my $begun = time;
    is fetch($server, '/', %known)->{status}, undef, 'the client is let go';
    # By default it is 10 seconds.
    cmp_ok time - $begun, '<', 9, 'in the time of a handshake';
    logged $server, qr/ssl_verify_callback: .* it took too long/, 'and the log says why';

    my ($pid) = fetch($server, '/')->{content} =~ /(\d+)\z/;
    ok $pid, 'another worker serves then';
    my $killed = qr/ssl_verify_callback makes no progress, and worker \d+ is killed for it/;
    logged $server, $killed, 'because the one is killed';
    unlike $server->log, qr/worker $pid is killed/, 'the other is not';
};

check 'request_timeout limits a verdict too' => sub {
    my $server = judged('sub { if ($_[2] =~ /banned/) { 1 while 1 } 1 }', start_servers => 2, request_timeout => 2,
        ssl_handshake_timeout => 60);
    my $begun = time;
    is fetch($server, '/', %banned)->{status}, undef, 'the client is let go';
    cmp_ok time - $begun, '<', 14, 'long before the time of a handshake is over';
    logged $server, qr/ssl_verify_callback: .* it gave no verdict/, 'and the log says why';
    soon { $server->log =~ /makes no progress, and worker \d+ is killed for it/ };
    my @killed = $server->log =~ /makes no progress, and worker (\d+) is killed for it/g;
    is @killed, 1, 'no other worker is asked';
    like fetch($server, '/', %known)->{content}, qr/\Aknown/, 'others are served';
};

check 'in one process' => sub {
    my $server = judged('sub { $_[2] !~ /banned/ }', start_servers => 0);
    like fetch($server, '/', %known)->{content}, qr/\Aknown/, 'taken';
    is fetch($server, '/', %banned)->{status}, undef, 'refused';
};

check 'slow clients hold up no question' => sub {
    my $server = judged('sub { 1 }', start_servers => 2);
    my @held = map { my $c = secure($server); print $c "GET / HTTP/1.1\r\nHost: x\r\n"; $c } 1 .. 5;
    like fetch($server, '/', %known)->{content}, qr/\Aknown/, 'the client is served';
};

# The callback decides all, so that a folder of authorities may still be empty.
check 'a folder without certificates' => sub {
    for my $content ('', 'no certificate') {
        my $authorities = scratch();
        if ($content) {
            open my $file, '>', "$authorities/README" or die $!;
            print {$file} $content;
            close $file or die $!;
        }
        my $server = https(app => $app, options => {
            ssl_cert_file => $own->{cert}, ssl_key_file => $own->{key}, ssl_ca_path => "$authorities",
            ssl_verify_mode => 1, ssl_verify_callback => 1,
        });
        like fetch($server, '/', %stray)->{content}, qr/\Astray;/, 'ssl_verify_callback=1 takes every certificate' or diag $server->log;
        logged $server, qr/\[warn\] option 'ssl_ca_path': \Q$authorities\E: (?:there is no file in it|no file in it holds a certificate)$/m,
            'the folder is a warning';
    }
};

done_testing;
