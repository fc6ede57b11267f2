# HUP: certificates and keys are read again; connections, sessions and what was good before outlive it.
use strict;
use warnings;

use File::Copy qw(copy);
use POSIX ();
use Test::More;

use Gepok::Test;
use Gepok::Test::Authority;
use Gepok::Test::TLS;

gepok_only();

my $folder = scratch();
my $ca     = Gepok::Test::Authority->new("$folder");
my %of     = map { $_ => $ca->issue($_) } qw(first second third client);
my $hello  = 'sub { [200, ["Content-Type", "text/plain"], ["hello"]] }';

# The files that the server knows become those of another certificate.
sub put {
    my ($base, $name) = @_;
    copy($of{$name}{cert}, "$base.cert");
    copy($of{$name}{key},  "$base.key");
}

for my $case (['bin', 1], ['plackup', 1], ['new', 0]) {
    my ($entry, $workers) = @$case;
    check "$entry with $workers workers" => sub {
        my $base = "$folder/$entry";
        put($base, 'first');
        my $server = https(
            entry   => $entry,
            app     => $hello,
            options => {
                ssl_cert_file   => "$base.cert",
                ssl_key_file    => "$base.key",
                ssl_verify_mode => 1,
                ssl_ca_file     => $ca->cert,
                ssl_crl_file    => $ca->crl,
                start_servers   => $workers,
            },
        );
        my $subject = sub { fetch($server, '/')->{subject} // 'nobody' };
        is $subject->(), 'first', 'at first';
        my $open    = secure($server);
        my $session = "$base.session";
        like s_client($server, '-sess_out', $session), qr/New, TLS/, 'a session begins';

        put($base, 'second');
        $server->signal('HUP');
        ok soon { $subject->() eq 'second' }, 'behind HUP new connections get the new certificate';
        is fetched($open, '/')->{content}, 'hello', 'an old connection goes on';
        like s_client($server, '-sess_in', $session), qr/Reused, TLS/, 'an old session too';

        copy($of{third}{cert}, "$base.cert");
        $server->signal('HUP');
        my $said = qr/\[error\] option 'ssl_key_file': .*does not belong to the certificate in .*read before stay in use/;
        logged $server, $said, 'a bad pair is told';
        is $subject->(), 'second', 'and the good one stays';

        unlink "$base.key";
        $server->signal('HUP');
        logged $server, qr/\[error\] option 'ssl_key_file': .*No such file/, 'so is a missing file';
        is $subject->(), 'second', 'and the good one stays';

        put($base, 'third');
        $server->signal('HUP');
        ok soon { $subject->() eq 'third' }, 'until all is well again';

        # A session must not outlive the trust in its client.
        my @client = ('-cert', $of{client}{cert}, '-key', $of{client}{key});
        like s_client($server, @client, '-sess_out', $session), qr/HTTP.1.1 200/, 'a client with a certificate';
        $ca->revoke($of{client});
        $ca->crl;
        $server->signal('HUP');
        ok soon { s_client($server, @client) !~ /HTTP.1.1 200/ }, 'is refused once it is revoked';
        unlike s_client($server, @client, '-sess_in', $session), qr/HTTP.1.1 200/, 'and can not resume its session either';
        $ca->{revoked} = [];
        is $server->stop, 0, 'a good end';
    };
}

# Protects: to open a FIFO would wait for its writer, in the one process that obeys signals.
check 'a FIFO in place of a key' => sub {
    my $base = "$folder/fifo";
    my $said = qr/option 'ssl_key_file': \S+: it is not a regular file/;
    put($base, 'first');
    my @files  = ('--ssl-cert-file', "$base.cert", '--ssl-key-file', "$base.key");
    my $server = https(entry => 'bin', app => $hello, args => \@files);
    is fetch($server, '/')->{subject}, 'first', 'it serves';
    my $fifo = sub { unlink "$base.key"; POSIX::mkfifo("$base.key", 0600) or die $! };
    $fifo->();
    for my $signal (qw(HUP USR2)) {
        my $before = () = $server->log =~ /$said/g;
        $server->signal($signal);
        ok soon { (() = $server->log =~ /$said/g) > $before }, "$signal: the log says what it is" or diag $server->log;
        is fetch($server, '/')->{subject}, 'first', 'the server serves on';
    }
    is $server->stop, 0, 'and stops';
    my ($status, $text) = run_command(
        [root() . '/blib/script/gepok', '--https-ports', '127.0.0.1:' . free_port(), @files, '-e', $hello], seconds => 20);
    is $status, 2 << 8, 'a start fails at once';
    like $text, $said, 'and says why';
};

check 'the core dies when the key is gone' => sub {
    my $base = "$folder/gone";
    my $http = free_port();
    put($base, 'first');
    my $server = https(
        entry   => 'bin',
        app     => $hello,
        options => {http_ports => "127.0.0.1:$http", ssl_cert_file => "$base.cert", ssl_key_file => "$base.key"});
    is fetch($server, '/')->{subject}, 'first', 'it serves';
    my $plain = sub {
        my $client = Gepok::Test::Connection->new(port => $http);
        $client->send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        return $client->response->content;
    };
    unlink "$base.key";
    kill KILL => ($server->descendants)[0];
    ok soon { (eval { $plain->() } // '') eq 'hello' }, 'another core serves HTTP';
    my $said = qr/\[error\] option 'ssl_key_file': .*No such file.*HTTPS is not served until they can be read/;
    logged $server, $said, 'the log tells that it has no certificates' or diag $server->log;
    unlike $server->log, qr/stay in use/, 'and nothing else';
    my $waiting = $server->connect;
    # Longer than the pause between two tries.
    ok $waiting->silent(2.5), 'a client waits';
    logged_times $server, qr/$said/, 1, 'it is told once, not each second';
    $server->signal('HUP');
    logged_times $server, qr/$said/, 2, 'and again to whoever reloads';
    put($base, 'second');
    ok soon { (fetch($server, '/')->{subject} // '') eq 'second' }, 'as soon as the key is there it is served';
    logged $server, qr/\[warn\] .*HTTPS is served again/, 'which is told' or diag $server->log;
    my @before = $server->descendants;
    $server->signal('HUP');
    ok soon { my @now = $server->descendants; @now == 2 && !grep { $_ == $before[1] } @now }, 'it reloads as ever';
    is $server->stop, 0, 'a good end';
};

done_testing();
