package Gepok::Test::Authority;

# A certificate authority for a test, made by the command openssl: certificates of any kind, and revocations.
#
#   my $ca   = Gepok::Test::Authority->new($folder);
#   my $pair = $ca->issue('server', names => ['localhost'], ip => ['127.0.0.1']);   # {cert, key, chain}: paths
#   $ca->revoke($pair); my $crl = $ca->crl;

use strict;
use warnings;

use Exporter qw(import);
use Gepok::Test ();

our @EXPORT_OK = qw(openssl);

# Kinds of keys in the words of openssl.
my %KEYS = (
    ec      => [qw(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1)],
    p384    => [qw(-newkey ec -pkeyopt ec_paramgen_curve:secp384r1)],
    rsa     => [qw(-newkey rsa:2048)],
    ed25519 => [qw(-newkey ed25519)],
    # Of no use to a server of today.
    rsa1024 => [qw(-newkey rsa:1024)],
);

# Runs openssl and returns what it printed; dies when it fails.
sub openssl {
    my @words = @_;
    my ($status, $out) = Gepok::Test::run_command(['openssl', @words]);
    die "openssl @words: $out" if !defined $status || $status;
    return $out;
}

sub new {
    my ($class, $folder, $name) = @_;
    $name //= 'ca';
    my $self = bless {base => "$folder/$name", folder => $folder, serial => 0x1000, revoked => []}, $class;
    openssl(qw(req -x509 -nodes -days 30), @{$KEYS{ec}}, '-subj', "/CN=Test $name", '-keyout', "$self->{base}.key",
        '-out', "$self->{base}.pem", '-addext', 'keyUsage=critical,keyCertSign,cRLSign');
    return $self;
}

# The authority's own certificate.
sub cert { "$_[0]{base}.pem" }

# A certificate and its key. `names`, `ip`: whom it is for; `kind`: of the key; `days`: how long, negative for one
# that has expired; `subject`; `usage`: clientAuth or serverAuth; `ca`: an authority below this one.
sub issue {
    my ($self, $name, %how) = @_;
    my $base   = "$self->{folder}/$name";
    my $serial = $self->{serial}++;
    openssl('req', '-new', '-nodes', @{$KEYS{$how{kind} // 'ec'}}, '-subj', $how{subject} // "/CN=$name",
        '-keyout', "$base.key", '-out', "$base.csr");
    my @names = ((map {"DNS:$_"} @{$how{names} // []}), map {"IP:$_"} @{$how{ip} // []});
    my @lines = $how{ca} ? 'basicConstraints=critical,CA:TRUE' : 'basicConstraints=CA:FALSE';
    push @lines, 'subjectAltName=' . join ',', @names if @names;
    push @lines, "extendedKeyUsage=$how{usage}" if $how{usage};
    spew("$base.ext", join "\n", @lines, '');
    openssl(qw(x509 -req), '-in', "$base.csr", '-CA', $self->cert, '-CAkey', "$self->{base}.key", '-set_serial', $serial,
        '-days', $how{days} // 20, '-extfile', "$base.ext", '-out', "$base.pem");
    spew("$base.chain", slurp("$base.pem") . slurp($self->cert));
    return {cert => "$base.pem", key => "$base.key", chain => "$base.chain", serial => $serial};
}

sub revoke {
    my ($self, $pair) = @_;
    push @{$self->{revoked}}, $pair->{serial};
}

# The path of the list of what was revoked. `old`: its time is over; `version`: 1 for one of the first version.
sub crl {
    my ($self, %how) = @_;
    my $base = $self->{base};
    spew("$base.index", join '', map { sprintf "R\t401231235959Z\t250101000000Z\t%X\tunknown\t/CN=x\n", $_ } @{$self->{revoked}});
    spew("$base.crlnumber", "01\n");
    spew("$base.cnf", "[ca]\ndefault_ca=d\n[d]\ndatabase=$base.index\ndefault_md=sha256\n"
            . ($how{version} && $how{version} == 1 ? '' : "crlnumber=$base.crlnumber\n"));
    openssl(qw(ca -gencrl), '-config', "$base.cnf", '-keyfile', "$base.key", '-cert', $self->cert,
        ($how{old} ? qw(-crl_lastupdate 20200101000000Z -crl_nextupdate 20200102000000Z) : (-crldays => 10)),
        '-out', "$base.crl");
    return "$base.crl";
}

sub slurp {
    my ($path) = @_;
    open my $file, '<:raw', $path or die "$path: $!";
    local $/;
    return scalar <$file>;
}

sub spew {
    my ($path, $text) = @_;
    open my $file, '>:raw', $path or die "$path: $!";
    print {$file} $text;
    close $file or die "$path: $!";
}

1;
