# Client certificates: who is asked, who is served, and what the others are told.
use strict;
use warnings;

use File::Copy qw(copy);
use Test::More;

use Gepok::Test;
use Gepok::Test::Authority qw(openssl);
use Gepok::Test::TLS;

gepok_only();

my $folder   = scratch();
my $ca       = Gepok::Test::Authority->new("$folder");
my $foreign  = Gepok::Test::Authority->new("$folder", 'foreign');
my $own      = $ca->issue('localhost', names => ['localhost']);
my $alice    = $ca->issue('alice', usage => 'clientAuth');
my $bob      = $ca->issue('bob');
my $late     = $ca->issue('late', days => -1);
my $misused  = $ca->issue('misused', usage => 'serverAuth');
my $stranger = $foreign->issue('stranger');

my %pair  = (ssl_cert_file => $own->{cert}, ssl_key_file => $own->{key});
my $hello = 'sub { [200, ["Content-Type", "text/plain"], ["hello"]] }';

# Each client, and either `served` or what its alert says.
sub expect {
    my ($server, $name, @clients) = @_;
    while (my ($client, $expected) = splice @clients, 0, 2) {
        my %pairs = (alice => $alice, bob => $bob, late => $late, misused => $misused, stranger => $stranger);
        my $pair = ref $client ? $client : $pairs{$client};
        my @with = $pair ? ('-cert', $pair->{cert}, '-key', $pair->{key}, '-cert_chain', $pair->{chain} // $pair->{cert}) : ();
        for my $version (qw(tls1_2 tls1_3)) {
            my $said = s_client($server, "-$version", @with);
            my $what = sprintf '%s: %s in %s', $name, ref $client ? 'a certificate of another kind' : $client, $version;
            if ($expected eq 'served') {
                like $said, qr{HTTP/1.1 200 }, "$what is served";
            }
            else {
                unlike $said, qr{HTTP/1.1 \d}, "$what is not served";
                like $said,   qr/alert $expected/, 'and is told why';
            }
        }
    }
}

check 'verify modes' => sub {
    my $server = https(app => $hello, options => {%pair, ssl_verify_mode => 0, ssl_ca_file => $ca->cert});
    expect($server, 'mode 0', nobody => 'served', stranger => 'served');

    $server = https(app => $hello, options => {%pair, ssl_verify_mode => 1, ssl_ca_file => $ca->cert});
    expect(
        $server, 'mode 1',
        nobody   => 'served',
        alice    => 'served',
        bob      => 'served',
        stranger => qr/unknown ca/,
        late     => qr/certificate expired/,
        misused  => qr/(?:unsupported|bad) certificate/,
    );

    $server = https(app => $hello, options => {%pair, ssl_verify_mode => 7, ssl_ca_file => $ca->cert});
    expect($server, 'mode 7', nobody => qr/certificate required|handshake failure/, alice => 'served',
        stranger => qr/unknown ca/);
};

check 'authorities in a folder' => sub {
    # As `openssl rehash` has it, and with names of any other kind.
    mkdir "$folder/hashed";
    copy($ca->cert, "$folder/hashed/ca.pem");
    openssl('rehash', "$folder/hashed");
    mkdir "$folder/plain";
    copy($ca->cert, "$folder/plain/whatever.txt");
    Gepok::Test::Authority::spew("$folder/plain/README", 'no certificate');
    for my $path ("$folder/hashed", "$folder/plain") {
        my $server = https(app => $hello, options => {%pair, ssl_verify_mode => 3, ssl_ca_path => $path});
        expect($server, $path =~ s{.*/}{}r, alice => 'served', stranger => qr/unknown ca/);
    }
};

check 'authorities below authorities' => sub {
    my $middle = $ca->issue('middle', ca => 1);
    my $below  = bless {%$ca, base => "$folder/middle"}, ref $ca;
    my $carol  = $below->issue('carol');
    my $server = https(app => $hello, options => {%pair, ssl_verify_mode => 3, ssl_ca_file => $ca->cert});
    # The client sends the certificate between.
    expect($server, 'a chain', {cert => $carol->{chain}, key => $carol->{key}} => 'served')
};

check 'revoked certificates' => sub {
    $ca->revoke($bob);
    my %options = (%pair, ssl_verify_mode => 1, ssl_ca_file => $ca->cert, ssl_crl_file => $ca->crl);
    my $server  = https(app => $hello, options => \%options);
    expect($server, 'a list', nobody => 'served', alice => 'served', bob => qr/certificate revoked/);

    # An authority without a list, as with OpenSSL's CRL check.
    my $both = "$folder/both.pem";
    Gepok::Test::Authority::spew($both, join '', map { Gepok::Test::Authority::slurp($_->cert) } $ca, $foreign);
    $server = https(app => $hello, options => {%options, ssl_ca_file => $both});
    expect($server, 'no list', alice => 'served', stranger => qr/unknown ca/);

    $server = https(app => $hello, options => {%options, ssl_crl_file => $ca->crl(old => 1)});
    expect($server, 'a list of old', alice => qr/unknown ca/);
    logged $server, qr/\[warn\] option 'ssl_crl_file': .*the time of the list ended/, 'and the operator is told';
};

check 'a certificate that is trusted itself' => sub {
    my %self = (cert => "$folder/self.pem", key => "$folder/self.key");
    openssl(qw(req -x509 -nodes -days 5 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -subj /CN=self),
        '-keyout', $self{key}, '-out', $self{cert});
    my $server = https(app => $hello, options => {%pair, ssl_verify_mode => 3, ssl_ca_file => $self{cert}});
    expect($server, 'pinned', \%self => 'served', alice => qr/unknown ca/);
};

check 'constant callbacks' => sub {
    my %options = (%pair, ssl_verify_mode => 1, ssl_ca_file => $ca->cert);
    for my $entry (qw(plackup new)) {
        my $server = https(entry => $entry, app => $hello, options => {%options, ssl_verify_callback => '1'});
        expect($server, "$entry: 1", nobody => 'served', alice => 'served', stranger => 'served', late => 'served');
        $server = https(entry => $entry, app => $hello, options => {%options, ssl_verify_callback => '0'});
        expect($server, "$entry: 0", nobody => 'served', alice => qr/access denied/, stranger => qr/access denied/);
    }
};

done_testing();
