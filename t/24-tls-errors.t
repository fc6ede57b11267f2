# What is wrong with certificates and keys is told in one sentence that names option and file, before any worker is
# forked: docs/tls.md has the table.
use strict;
use warnings;

use JSON::PP ();
use Test::More;

use Gepok::Test;
use Gepok::Test::Authority qw(openssl);
use Gepok::Test::TLS;

gepok_only();

my $folder = scratch();
my $ca     = Gepok::Test::Authority->new("$folder");
my $own    = $ca->issue('own');
my $other  = $ca->issue('other');
my $old    = $ca->issue('old', days => -1);
my $weak   = $ca->issue('weak', kind => 'rsa1024');
my $bin    = root() . '/blib/script/gepok';

sub file {
    my ($name, $text) = @_;
    Gepok::Test::Authority::spew("$folder/$name", $text);
    return "$folder/$name";
}

openssl('pkey', '-in', $own->{key}, '-aes256', '-passout', 'pass:secret', '-out', "$folder/encrypted.key");
my $text  = file('text.pem', "no PEM at all\n");
my $half  = file('half.pem', substr Gepok::Test::Authority::slurp($own->{cert}), 0, 200);
my $shut  = file('shut.key', Gepok::Test::Authority::slurp($own->{key}));
mkdir "$folder/empty";
mkdir "$folder/texts";
file('texts/README', 'no certificate');

my %pair = (ssl_cert_file => $own->{cert}, ssl_key_file => $own->{key});
my %ask  = (%pair, ssl_verify_mode => 1, ssl_ca_file => $ca->cert);
my @cases = (
    [{}, "HTTPS needs option 'ssl_cert_file', or 'ssl_self_signed' for development"],
    [{ssl_key_file => $own->{key}}, "option 'ssl_key_file' needs 'ssl_cert_file'"],
    [{%pair, ssl_cert_file => '/missing.pem'}, "option 'ssl_cert_file': /missing.pem: No such file or directory"],
    [{%pair, ssl_key_file => '/missing.key'},  "option 'ssl_key_file': /missing.key: No such file or directory"],
    [{%pair, ssl_cert_file => "$folder"},      "option 'ssl_cert_file': $folder: it is not a regular file"],
    [{%pair, ssl_cert_file => $text},          "option 'ssl_cert_file': $text: there is no certificate in it"],
    [{%pair, ssl_cert_file => $half},          "option 'ssl_cert_file': $half: its PEM has no end"],
    [{ssl_cert_file => $own->{cert}}, "option 'ssl_key_file': $own->{cert}: there is no private key in it"],
    [{%pair, ssl_key_file => $text},  "option 'ssl_key_file': $text: there is no private key in it"],
    [{%pair, ssl_key_file => "$folder/encrypted.key"}, "option 'ssl_key_file': $folder/encrypted.key: the key is encrypted"],
    [{%pair, ssl_key_file => $other->{key}},
        "option 'ssl_key_file': $other->{key}: the key does not belong to the certificate in $own->{cert}"],
    [{ssl_cert_file => $weak->{cert}, ssl_key_file => $weak->{key}},
        "option 'ssl_key_file': $weak->{key}: the key is damaged or of a kind that is not supported"],
    [{ssl_cert_file => ["a=$own->{cert}", "b=$other->{cert}"], ssl_key_file => "a=$own->{key}"},
        "option 'ssl_key_file': there is no key for the certificate $other->{cert}"],
    [{%pair, ssl_verify_mode => 9}, "option 'ssl_verify_mode': '9' is not a whole number from 0 to 7"],
    [{%pair, ssl_verify_mode => 1}, "option 'ssl_verify_mode' needs 'ssl_ca_file' or 'ssl_ca_path'"],
    [{%ask, ssl_ca_file => '/missing'},    "option 'ssl_ca_file': /missing: No such file or directory"],
    [{%ask, ssl_ca_file => $text},         "option 'ssl_ca_file': $text: there is no certificate in it"],
    [{%ask, ssl_ca_path => '/missing'},    "option 'ssl_ca_path': /missing: No such file or directory"],
    [{%ask, ssl_ca_path => "$folder/empty"}, "option 'ssl_ca_path': $folder/empty: there is no file in it"],
    [{%ask, ssl_ca_path => "$folder/texts", ssl_ca_file => undef},
        "option 'ssl_ca_path': $folder/texts: no file in it holds a certificate"],
    [{%ask, ssl_crl_file => '/missing'},   "option 'ssl_crl_file': /missing: No such file or directory"],
    [{%ask, ssl_crl_file => $text},        "option 'ssl_crl_file': $text: there is no revocation list in it"],
    [{%ask, ssl_crl_file => $ca->crl(version => 1)},
        "option 'ssl_crl_file': $folder/ca.crl: its revocation list is of version 1, which is not supported"],
    [{%pair, http_ports => '127.0.0.1:PORT'}, "option 'https_ports': 127.0.0.1:PORT is also among 'http_ports'"],
);
# A key that only its owner may read, read by somebody else.
push @cases, [{%pair, ssl_key_file => $shut}, "option 'ssl_key_file': $shut: Permission denied"] if $>;
chmod 0, $shut;

my $hello = 'sub { [200, [], ["ok"]] }';
# Each worker that ever lived says so.
my $tell = 'sub { print STDERR "A WORKER LIVED\n" }';

sub attempt {
    my ($entry, $options) = @_;
    my @names = sort grep { defined $options->{$_} } keys %$options;
    if ($entry eq 'bin') {
        my @flags;
        for my $name (@names) {
            my $value = $options->{$name};
            push @flags, map {"--$name=$_"} ref $value ? @$value : $value;
        }
        return run_command([$bin, @flags, "--child-exit=$tell", '-e', $hello], seconds => 60);
    }
    my $code = "eval { Gepok->new(%{decode_json(shift)})->run($hello); 1 } or do { print qq{caught: \$@}; exit 9 }";
    my $json = JSON::PP::encode_json({daemonize => 0, child_exit => $tell, map { $_ => $options->{$_} } @names});
    my @perl = ($^X, (map { '-I' . root() . "/blib/$_" } qw(arch lib)), '-MGepok', '-MJSON::PP');
    return run_command([@perl, '-e', $code, $json], seconds => 60);
}

for my $case (@cases) {
    my ($options, $message) = @$case;
    my $port = free_port();
    s/PORT/$port/ for $message, grep {defined} values %$options;
    my %all = (https_ports => "127.0.0.1:$port", %$options);
    for my $entry (qw(bin new)) {
        my ($status, $output) = attempt($entry, \%all);
        my $expected = $entry eq 'bin' ? 2 : 9;
        is $status >> 8, $expected, "$entry: status $expected";
        my $before = $entry eq 'bin' ? 'gepok: ' : 'caught: ';
        # Warnings may stand before it, as for a test that root runs.
        like $output, qr/\A(?:\[.*\[warn\].*\n)*\Q$before$message\E.*\n?\z/, "$entry: $message, and no more";
    }
}

# Not an error: the operator may be about to renew it.
my $port   = free_port();
my $server = server(
    entry   => 'bin',
    app     => $hello,
    listen  => 'none',
    port    => $port,
    options => {
        https_ports   => "127.0.0.1:$port",
        ssl_cert_file => $old->{cert},
        ssl_key_file  => $old->{key},
        child_exit    => $tell,
    },
);
my $expired = qr/\[warn\] option 'ssl_cert_file': \Q$old->{cert}\E: the certificate expired on /;
logged $server, $expired, 'an expired certificate is a warning';
# A worker that is told to leave before it has loaded the app has not lived.
like fetch($server, '/')->{raw}, qr{^HTTP/1.1 200 }, 'and the server serves';
is $server->stop, 0, 'to a good end';
logged $server, qr/A WORKER LIVED/, 'workers that live are heard: none was forked in the cases before';

done_testing();
