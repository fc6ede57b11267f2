# Private keys are in the memory of the core alone: never in that of the master and the workers, where the app runs.
use strict;
use warnings;

use MIME::Base64 qw(decode_base64);
use Test::More;

use Gepok::Test;
use Gepok::Test::Authority qw(openssl);
use Gepok::Test::TLS;

gepok_only();
plan skip_all => 'only root may look into the memory of others' if $>;

my $folder = scratch();
my $ca     = Gepok::Test::Authority->new("$folder");
my $hello  = 'sub { [200, ["Content-Type", "text/plain"], ["hello"]] }';

# Everything that would give a key away, by what it is: lines of the PEM, the whole DER, and the secret numbers in
# either order of their bytes.
sub secrets {
    my ($path) = @_;
    my $pem = Gepok::Test::Authority::slurp($path);
    my ($body) = $pem =~ /-----BEGIN[^\n]*\n(.*?)-----END/s;
    my @lines = grep { length >= 40 } split /\n/, $body;
    my $text  = openssl('pkey', '-in', $path, '-noout', '-text');
    my %secrets = (DER => decode_base64($body), map { ("PEM line $_" => $lines[$_]) } 0 .. $#lines);
    for my $name (qw(priv prime1 prime2 privateExponent)) {
        my ($hex) = $text =~ /^$name:\n((?:    [0-9a-f:]+\n)+)/m or next;
        $hex =~ s/[^0-9a-f]//g;
        my $number = pack('H*', $hex) =~ s/\A\0+//r;
        $secrets{$name} = $number;
        $secrets{"$name, reversed"} = reverse $number;
    }
    return \%secrets;
}

# Which of the secrets stand in the memory of a process.
sub found {
    my ($pid, $secrets) = @_;
    open my $maps, '<', "/proc/$pid/maps" or die "maps of $pid: $!";
    open my $memory, '<:raw', "/proc/$pid/mem" or die "memory of $pid: $!";
    my (%found, $read);
    while (my $line = <$maps>) {
        my ($from, $to, $rights) = $line =~ /\A([0-9a-f]+)-([0-9a-f]+) (\S+)/;
        next if $rights !~ /\Arw/ || $line =~ /\[v(?:var|dso|syscall)/;
        no warnings 'portable';
        ($from, $to) = (hex $from, hex $to);
        # What stands across two pieces is read with both.
        for (my $at = $from; $at < $to; $at += 4 * 1024 * 1024) {
            my $size = $to - $at;
            $size = 4 * 1024 * 1024 + 8192 if $size > 4 * 1024 * 1024 + 8192;
            sysseek $memory, $at, 0 or next;
            my $piece = '';
            while (length $piece < $size) {
                sysread $memory, $piece, $size - length $piece, length $piece or last;
            }
            $read += length $piece;
            index($piece, $secrets->{$_}) >= 0 and $found{$_} = 1 for keys %$secrets;
        }
    }
    die "no memory of $pid was read" unless $read;
    return sort keys %found;
}

# The children of a process, the core first: it is the one with threads for handshakes.
sub children {
    my ($master) = @_;
    my (@core, @workers);
    for my $stat (glob '/proc/[0-9]*/stat') {
        open my $file, '<', $stat or next;
        my $line = <$file> // next;
        my ($pid, $parent) = $line =~ /\A(\d+) \(.*\) \S (\d+)/s or next;
        next unless $parent == $master;
        my $threads = join '', map { eval { Gepok::Test::Authority::slurp($_) } // '' } glob "/proc/$pid/task/*/comm";
        push @{$threads =~ /^gepok-tls$/m ? \@core : \@workers}, $pid;
    }
    return (@core, @workers);
}

for my $entry (qw(plackup bin)) {
    for my $kind (qw(ec rsa)) {
        check "$entry, $kind" => sub {
            my $pair    = $ca->issue("$entry-$kind", kind => $kind);
            my $secrets = secrets($pair->{key});
            cmp_ok scalar keys %$secrets, '>=', 5, 'there is something to look for';
            my $server = https(
                entry   => $entry,
                app     => $hello,
                options => {ssl_cert_file => $pair->{cert}, ssl_key_file => $pair->{key}, start_servers => 2},
            );
            my @before;
            my $look = sub {
                my ($when) = @_;
                is fetch($server, '/')->{content}, 'hello', "served $when" for 1 .. 4;
                # Those of before must have gone: none may end while it is looked at.
                my ($core, @workers);
                soon { ($core, @workers) = children($server->pid); @workers == 2 && !grep { alive($_) } @before };
                is scalar @workers, 2, 'a core and two workers';
                is scalar(grep { alive($_) } @before), 0, 'and nobody else';
                @before = @workers;
                is_deeply [found($_, $secrets)], [], "nothing of it in process $_ $when" for $server->pid, @workers;
                isnt scalar(my @in_core = found($core, $secrets)), 0, "the same search finds it in the core $when";
            };
            $look->('at first');
            $server->signal('HUP');
            # What was read anew has gone the same way.
            $look->('behind HUP');
            is $server->stop, 0, 'a good end';
        };
    }
}

check 'the core is closed to others of its user' => sub {
    my $pair   = $ca->issue('closed');
    my $server = https(
        entry   => 'bin',
        app     => $hello,
        options => {ssl_cert_file => $pair->{cert}, ssl_key_file => $pair->{key}, user => 'nobody'},
    );
    is fetch($server, '/')->{content}, 'hello', 'it serves as nobody';
    my ($core) = children($server->pid);
    my $try = run_as('nobody', "open(my \$f, '<', '/proc/$core/mem') ? 'open' : 'closed'");
    is $try, 'closed', 'another process of that user can not read its memory';
};

# What some Perl code gives when another user runs it.
sub run_as {
    my ($user, $code) = @_;
    my ($uid, $gid) = (getpwnam $user)[2, 3];
    my ($status, $out) = run_command([$^X, '-e', "\$) = '$gid $gid'; \$( = $gid; \$< = \$> = $uid; print $code"]);
    return $out;
}

done_testing();
