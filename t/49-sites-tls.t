# Virtual hosts over HTTPS: certificates of their own, and requests that come by another host's connection.
use strict;
use warnings;

use File::Copy qw(copy);
use Test::More;

use Gepok::Test;
use Gepok::Test::Authority;
use Gepok::Test::TLS;

gepok_only();

my $root = root();
my $bin  = "$root/blib/script/gepok";
my $dir  = scratch();
my $ca   = Gepok::Test::Authority->new("$dir");
my %of   = (
    base => $ca->issue('base', names => ['base.example']),
    a    => $ca->issue('a', names => ['a.example']),
    # That its own names are others does not matter: the host's count.
    b    => $ca->issue('b', names => ['elsewhere.example']),
    d    => $ca->issue('d', names => ['d.example']),
);
my $APP = q{sub { [200, [], ["$_[0]{SERVER_NAME}"]] }};

sub spew { open my $file, '>', $_[0] or die "$_[0]: $!"; print {$file} $_[1]; close $file or die $! }

my @started;
END { kill TERM => @started if @started }

sub host {
    my ($name, $pair, $more) = @_;
    my $tls = $pair ? "ssl_cert_file = '$of{$pair}{cert}'\nssl_key_file = '$of{$pair}{key}'\n" : '';
    return "[[vhost]]\nname = '$name.example'\n$tls" . ($more // '');
}

sub begin {
    my ($text, @arguments) = @_;
    my $port = free_port();
    my $head = "https_ports = ['127.0.0.1:$port']\nmax_workers = 1\npid_path = '$dir/pid'\nssl_cert_file = '$of{base}{cert}'\nssl_key_file = '$of{base}{key}'\n";
    spew("$dir/site.toml", $head . $text);
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        chdir $dir or POSIX::_exit(1);
        open STDOUT, '>>', "$dir/log" or die $!;
        open STDERR, '>&', \*STDOUT;
        exec $bin, '-c', 'site.toml', '-e', $APP, @arguments or POSIX::_exit(1);
    }
    push @started, $pid;
    ok soon { !fetch($port, '/')->{error} }, 'it serves' or BAIL_OUT('it does not start');
    return ($pid, $port, $head);
}

sub end {
    my $pid = shift;
    @started = grep { $_ != $pid } @started;
    kill TERM => $pid;
    waitpid $pid, 0;
    return;
}

# The name in the certificate that a client gets which asks for this host.
sub subject { my ($port, $name) = @_; fetch($port, '/', $name ? (SSL_hostname => $name) : ())->{subject} // failure() }

# The status of a request for `host` by a connection that was made for `name`.
sub h1 {
    my ($port, $name, $host) = @_;
    my $socket = secure($port, $name ? (SSL_hostname => $name) : ()) or return failure();
    print {$socket} "GET / HTTP/1.1\r\nHost: $host\r\nConnection: close\r\n\r\n";
    local $/;
    return (<$socket> // '') =~ m{\AHTTP/1\.1 (\d+)} ? $1 : 'nothing';
}

sub h2 {
    my ($port, $name, $host) = @_;
    my (undef, $out) = run_command(['curl', '-sS', '-k', '--http2', '--max-time', 60, '--noproxy', '*', '-o', '/dev/null', '-w', '%{http_version} %{http_code}',
        '--connect-to', "::127.0.0.1:$port", '-H', "Host: $host", "https://$name/"]);
    return $out;
}

my ($no_h2) = run_command(['sh', '-c', 'curl -V | grep -q HTTP2']);

my $HOSTS = host('a', 'a', "aliases = ['www.a.example']\n") . host('b', 'b', "aliases = ['*.b.example']\n") . host('c');

check 'a certificate for each host' => sub {
    my ($pid, $port) = begin($HOSTS);
    is subject($port, $_->[0]), $_->[1], ($_->[0] // 'no name') . ": that of $_->[1]"
        for ['a.example', 'a'], ['A.example', 'a'], ['www.a.example', 'a'], ['b.example', 'b'], ['x.b.example', 'b'],
        ['c.example', 'base'], ['unknown.example', 'base'], [undef, 'base'];

    # What is another certificate's comes by the wrong connection; what has no other one is answered by any.
    for my $case (
        ['a.example',     'a.example',           200],
        ['a.example',     'A.Example.:443',      200],
        ['a.example',     'www.a.example',       200],
        ['a.example',     'b.example',           421],
        ['a.example',     'x.b.example:8443',    421],
        ['x.b.example',   'y.b.example',         200],
        ['x.b.example',   'b.example',           200],
        ['b.example',     'a.example',           421],
        ['a.example',     'c.example',           200],
        ['c.example',     'a.example',           421],
        ['c.example',     'c.example',           200],
        ['a.example',     'unknown.example',     404],
        ['base.example',  'a.example',           421],
        # Its next connection would be the same.
        [undef,           'a.example',           200],
    ) {
        my ($name, $host, $status) = @$case;
        is h1($port, $name, $host), $status, 'HTTP/1.1: ' . ($name // 'no name') . ", $host: $status";
        next if $no_h2 || !$name;
        is h2($port, $name, $host), "2 $status", "HTTP/2: $name, $host: $status";
    }
    end($pid);
};

check 'one certificate is for all hosts' => sub {
    my ($pid, $port) = begin(host('a') . host('c'));
    is h1($port, 'a.example', 'c.example'), 200, 'no connection is better than another';
    end($pid);
};

# Hosts come and go with their certificates, and a bad one changes nothing.
for my $mode ([], ['--start-servers', 0]) {
    check "a reload @$mode" => sub {
        my ($pid, $port, $head) = begin($HOSTS, @$mode);
        my $reload = sub {
            spew("$dir/site.toml", $head . $_[0]);
            my @done = run_command([$bin, 'reload', '-c', "$dir/site.toml"]);
            return ($done[0] >> 8, $done[1]);
        };
        is subject($port, 'd.example'), 'base', 'not known yet';
        is +($reload->($HOSTS . host('d', 'd')))[0], 0, 'a host is added';
        is subject($port, 'd.example'), 'd', 'with its certificate';
        is h1($port, 'a.example', 'd.example'), 421, 'for which there are connections';
        my ($status, $told) = $reload->($HOSTS . host('d', 'd') . "[[vhost]]\nname = 'e.example'\nssl_cert_file = '$dir/none'\n");
        is $status, 1, 'a certificate that is not there';
        like $told, qr/option 'ssl_cert_file': \S+none: No such file/, 'the reason';
        spew("$dir/bad", 'x');
        ($status, $told) = $reload->($HOSTS . "[[vhost]]\nname = 'e.example'\nssl_cert_file = '$dir/bad'\n");
        is $status, 1, 'one that is none';
        like $told, qr/option 'ssl_cert_file': \S+bad: there is no certificate in it/, 'the reason';
        is subject($port, 'd.example'), 'd', 'the old ones stay';
        is +($reload->(host('b', 'b')))[0], 0, 'hosts are removed';
        is subject($port, $_), 'base', "$_: the server's" for 'a.example', 'd.example';
        is subject($port, 'b.example'), 'b', 'another host keeps its own';
        $head =~ s/\Q$of{base}{$_}\E/$of{d}{$_}/ for qw(cert key);
        is +($reload->(host('b', 'b')))[0], 0, 'the server gets another one';
        is subject($port, 'a.example'), 'd', 'which is used';
        end($pid);
    };
}

# Without one of the server's, clients that ask for no known name get that of the default host, or of the first.
check 'hosts have the only certificates' => sub {
    for my $case (['', 'a'], ["default = true\n", 'b']) {
        my ($more, $subject) = @$case;
        my $port = free_port();
        my $text = "https_ports = ['127.0.0.1:$port']\n" . host('a', 'a') . host('b', 'b', $more);
        spew("$dir/alone.toml", $text);
        my $pid = fork // die $!;
        if (!$pid) {
            open STDERR, '>>', "$dir/log" or die $!;
            exec $bin, '-c', "$dir/alone.toml", '--start-servers', 1, '-e', $APP or POSIX::_exit(1);
        }
        push @started, $pid;
        ok soon { !fetch($port, '/')->{error} }, 'it serves';
        is subject($port, 'unknown.example'), $subject, "an unknown name gets that of $subject";
        end($pid);
    }
};

check 'certificates of a program\'s hosts' => sub {
    my $port = free_port();
    my @perl = ($^X, map {"-I$root/blib/$_"} qw(arch lib));
    my $pid  = fork // die $!;
    if (!$pid) {
        open STDERR, '>>', "$dir/log" or die $!;
        exec @perl, '-e', "use Gepok; Gepok->new(https_ports => ['127.0.0.1:$port'], daemonize => 0, start_servers => 1, vhosts => ["
            . join(', ', map {"{name => '$_.example', ssl_cert_file => '$of{$_}{cert}', ssl_key_file => ['$of{$_}{key}']}"} qw(a b)) . "])->run($APP)"
            or POSIX::_exit(1);
    }
    push @started, $pid;
    ok soon { !fetch($port, '/')->{error} }, 'it serves';
    is subject($port, "$_.example"), $_, "$_.example" for qw(a b);
    end($pid);
};

check 'mistakes' => sub {
    for my $case (
        ["ssl_key_file = 'x'", qr/site\.toml:4: option 'ssl_key_file' needs 'ssl_cert_file'/],
        ["ssl_cert_file = 'a.example=x'", qr/site\.toml:4: option 'ssl_cert_file': 'a\.example=' names a host/],
        ["ssl_cert_file = 'none'", qr/option 'ssl_cert_file': \S*none: No such file/],
        ["ssl_self_signed = true", qr/site\.toml:4: option 'ssl_self_signed' is for the whole server/],
    ) {
        my ($text, $told) = @$case;
        spew("$dir/wrong/site.toml", "https_ports = [':8443']\n[[vhost]]\nname = 'a.example'\n$text\n") if -d "$dir/wrong" || mkdir "$dir/wrong";
        my ($status, $output) = run_command([$bin, 'check', '-c', 'site.toml'], dir => "$dir/wrong");
        is $status >> 8, 2, "$text: refused";
        like $output, $told, 'with the reason';
    }
};

done_testing;
