# Options: what is misspelt or impossible is told before anything is forked or served.
use strict;
use warnings;

use IO::Socket::INET;
use IO::Socket::UNIX;
use JSON::PP ();
use Test::More;

use Gepok::Test;

gepok_only();

my $root = root();
my $bin  = "$root/blib/script/gepok";
my $hello = 'sub { [200, [], ["hello"]] }';

# One run that is expected to fail: (exit status, or undef when it had to be killed; output).
sub attempt {
    my ($entry, %options) = @_;
    my @flags = map { my $name = $_; map {"--$name=$_"} ref $options{$name} ? @{$options{$name}} : $options{$name} }
        sort keys %options;
    my @perl    = ($^X, map {"-I$root/blib/$_"} qw(arch lib));
    my %command = (
        bin     => [$bin, @flags, '-e', $hello],
        plackup => [@perl, Gepok::Test::Server::plackup(), '-s', 'Gepok', '-E', 'deployment', @flags, '-e', $hello],
        new     => [@perl, '-MGepok', '-MJSON::PP', '-e',
            "eval { Gepok->new(%{decode_json(shift)})->run($hello); 1 } or do { print 'caught: ', \$@; exit 9 }",
            JSON::PP::encode_json({daemonize => 0, %options})],
    );
    my ($status, $output) = run_command($command{$entry});
    return (defined $status ? $status >> 8 : undef, $output);
}

each_entry {
    my $entry = shift;
    my $free  = '127.0.0.1:' . free_port();

    my %bad = (
        start_servers     => 'many',
        backlog           => -1,
        timeout           => 'soon',
        keepalive_timeout => '-3',
        http_ports        => '127.0.0.1:70000',
    );
    for my $name (sort keys %bad) {
        my %options = (http_ports => $free, $name => $bad{$name});
        my ($status, $output) = attempt($entry, %options);
        ok $status, "$name=$bad{$name} ends it";
        is $status, 2, 'with status 2' if $entry eq 'bin';
        like $output, qr/^caught: /, 'by an exception that a program can catch' if $entry eq 'new';
        (my $pattern = $name) =~ s/_/[-_]/g;
        like $output, qr/$pattern/, 'which names the option';
        like $output, qr/\Q$bad{$name}\E/, 'and the value';
    }

    if ($entry eq 'bin') {
        # Nobody could tell whether the next word is its value or the app.
        my ($status, $output) = attempt($entry, http_ports => $free, start_server => 1);
        is $status, 2, 'an unknown option ends the command with status 2';
        like $output, qr/start.server\b.*did you mean.*start-servers/i, 'and names the nearest';
    }
    else {
        my $server = server(entry => $entry, app => $hello, options => {start_server => 1, product_nam => 'x'});
        is $server->get('/')->status, 200, 'an unknown option does not keep it from serving';
        logged $server, qr/start_server\b.*did you mean.*start_servers/i, 'but is told, with the nearest known one';
        logged_times $server, qr/product_nam\b/, 1, 'once';
    }

    # What is taken already.
    my $taken = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1) or die $!;
    my $port  = $taken->sockport;
    my ($status, $output) = attempt($entry, http_ports => "127.0.0.1:$port");
    ok $status, 'a port in use ends it';
    like $output, qr/\b$port\b/, 'and is named';

    my $folder = scratch();
    my $alive  = IO::Socket::UNIX->new(Local => "$folder/alive", Listen => 1) or die $!;
    ($status, $output) = attempt($entry, unix_sockets => "$folder/alive");
    ok $status, 'so does a socket on which another process listens';
    like $output, qr{\Q$folder/alive\E}, 'named as well';
    ok -S "$folder/alive", 'and left as it is';

    close $alive;
    my $server = server(entry => $entry, app => $hello, listen => 'unix', path => "$folder/alive");
    is $server->get('/')->content, 'hello', 'a socket that no one listens on any more is replaced';

    open my $file, '>', "$folder/file" or die $!;
    print {$file} 'precious';
    close $file;
    ($status, $output) = attempt($entry, unix_sockets => "$folder/file");
    ok $status, 'a file in the place of a socket ends it';
    is -s "$folder/file", 8, 'and is left alone';
};

check 'addresses' => sub {
    for my $form (['%d', '127.0.0.1'], [':%d', '127.0.0.1'], ['*:%d', '127.0.0.1'], ['localhost:%d', '127.0.0.1'],
        ['[::1]:%d', '::1'])
    {
        my ($format, $address) = @$form;
        require IO::Socket::IP;
        if ($address eq '::1' && !IO::Socket::IP->new(LocalHost => '::1', Listen => 1)) {
            SKIP: { skip "$format: there is no IPv6 here", 1 }
            next;
        }
        my $port   = free_port();
        my $server = server(app => $hello, listen => 'none', port => $port, ready => 0,
            args => ['--http-ports', sprintf $format, $port]);
        my $client = soon(sub { IO::Socket::IP->new(PeerHost => $address, PeerPort => $port) });
        ok $client, "$format is listened on" or diag $server->log;
        print {$client} "GET / HTTP/1.0\r\n\r\n";
        like join('', <$client>), qr/hello$/, 'and served';
    }
    my @ports  = (free_port(), free_port());
    my $server = server(app => $hello, listen => 'none', port => $ports[0],
        args => ['--http-ports', join(',', map {"127.0.0.1:$_"} @ports) . ',']);
    # It listens on one after the other.
    ok soon { eval { Gepok::Test::Connection->new(port => $_) } }, 'a list of two, with a comma at its end' for @ports;
};

# A proxy that connects to the other address of the name than the first must find the server.
check 'every address of a name' => sub {
    require IO::Socket::IP;
    require Socket;
    my ($error, @found) = Socket::getaddrinfo('localhost', 80, {socktype => Socket::SOCK_STREAM()});
    my %address = map { (Socket::getnameinfo($_->{addr}, Socket::NI_NUMERICHOST()))[1] => 1 } @found;
    my @usable  = grep { IO::Socket::IP->new(LocalHost => $_, Listen => 1) } sort keys %address;
    ok @usable, "localhost is @usable" or return;
    for my $case (['--http-ports', 'localhost:%d'], ['-o', 'localhost', '-p', '%d'], ['--listen', 'localhost:%d'],
        ['--ssl-self-signed', '--https-ports', 'localhost:%d'])
    {
        my $port   = free_port();
        my @args   = map { my $word = $_; $word =~ s/%d/$port/; $word } @$case;
        my $server = server(entry => 'bin', app => $hello, listen => 'none', port => $port, ready => 0, args => \@args);
        for my $address (@usable) {
            ok soon { IO::Socket::IP->new(PeerHost => $address, PeerPort => $port) }, "@args: $address" or diag $server->log;
        }
        my $scheme = "@args" =~ /https/ ? 'https' : 'http';
        for my $address (@usable) {
            my $shown = $address =~ /:/ ? "[$address]" : $address;
            logged $server, qr{\[notice\] listening on $scheme://\Q$shown\E:$port/$}m, "and says $scheme://$shown"
                or diag $server->log;
        }
    }
};

# The same where a name has addresses that can't be bound: in a hosts file that only the server sees.
check 'some addresses of a name' => sub {
    my $folder = scratch();
    my $hosts  = "$folder/hosts";
    open my $file, '>', $hosts or die $!;
    print {$file} "127.0.0.1 localhost\n", map {"$_ several\n"} qw(127.0.0.1 127.0.0.2 127.0.0.3 192.0.2.7);
    close $file or die $!;
    my @prefix = ('unshare', '--mount', 'sh', '-c', "mount --bind $hosts /etc/hosts && exec \"\$@\"", 'sh');
    plan skip_all => 'this user can have no hosts file of its own' if (run_command([@prefix, 'true']))[0] // 1;

    my $taken  = IO::Socket::INET->new(LocalAddr => '127.0.0.3', Listen => 1) or die $!;
    my $port   = $taken->sockport;
    my $server = server(entry => 'bin', app => $hello, listen => 'none', port => $port, prefix => \@prefix,
        args => ['--http-ports', "several:$port", '--log-level', 'debug']);
    ok soon { IO::Socket::INET->new(PeerAddr => $_, PeerPort => $port) }, $_ for qw(127.0.0.1 127.0.0.2);
    logged_times $server, qr{listening on http://127\.0\.0\.[12]:$port/$}m, 2, 'a line for each' or diag $server->log;
    logged $server, qr/\[debug\] can't listen on 192\.0\.2\.7:$port, an address of 'several': /,
        'one that the machine lacks is a debug line';
    logged $server, qr/\[warn\] can't listen on 127\.0\.0\.3:$port, an address of 'several': /,
        'one where another process listens is a warning';
    kill USR2 => $server->pid;
    logged $server, qr/generation 2 serves/, 'after a restart in place' or diag $server->log;
    ok soon { IO::Socket::INET->new(PeerAddr => $_, PeerPort => $port) }, "$_ is served" for qw(127.0.0.1 127.0.0.2);
    is $server->stop, 0, 'it ends';
};

# As other servers do, whatever net.ipv6.bindv6only says.
check '[::] is both families' => sub {
    require IO::Socket::IP;
    IO::Socket::IP->new(LocalHost => '::1', Listen => 1) or plan skip_all => 'there is no IPv6 here';
    for my $case ([1], [0, '--ipv6-only']) {
        my ($dual, @args) = @$case;
        my $port   = free_port();
        my $server = server(entry => 'bin', app => 'sub { [200, [], [$_[0]{REMOTE_ADDR}]] }', listen => 'none', port => $port,
            ready => 0, args => ['--http-ports', "[::]:$port", @args]);
        my $client = soon { IO::Socket::IP->new(PeerHost => '::1', PeerPort => $port) };
        ok $client, "[::] takes IPv6 @args" or diag $server->log;
        $client = IO::Socket::IP->new(PeerHost => '127.0.0.1', PeerPort => $port);
        is !!$client, !!$dual, $dual ? 'and IPv4' : 'and no IPv4';
        next if !$client;
        print {$client} "GET / HTTP/1.0\r\n\r\n";
        like join('', <$client>), qr/\r\n127\.0\.0\.1\z/, 'whose addresses look as on an IPv4 socket';
    }
    my $port   = free_port();
    my $server = server(entry => 'bin', app => $hello, listen => 'none', port => $port,
        args => ['--http-ports', "*:$port,[::]:$port"]);
    ok soon { IO::Socket::IP->new(PeerHost => '::1', PeerPort => $port) }, 'beside an IPv4 address of the port it takes IPv6 alone';
};

check 'an IPv6 host for plackup' => sub {
    require IO::Socket::IP;
    IO::Socket::IP->new(LocalHost => '::1', Listen => 1) or plan skip_all => 'there is no IPv6 here';
    my $port   = free_port();
    my $server = server(entry => 'plackup', app => $hello, listen => 'none', port => $port, ready => 0,
        args => ['--host', '::1', '--port', $port]);
    ok soon { IO::Socket::IP->new(PeerHost => '::1', PeerPort => $port) }, '--host ::1 --port N' or diag $server->log;
    my ($status, $output) = attempt('plackup', host => 'a/b', port => free_port());
    like $output, qr{option 'host': 'a/b' is not a host name or address}, 'a wrong host names the option that was typed';
};

# Without these lines nobody sees where a server listens, or that it has ended.
check 'where it listens' => sub {
    for my $entry (entries()) {
        my $server = server(entry => $entry, app => $hello, listen => ['tcp', 'unix']);
        my ($port, $path) = ($server->port, $server->path);
        logged $server, qr{\[notice\] listening on http://127\.0\.0\.1:$port/$}m, "$entry: the address" or diag $server->log;
        logged $server, qr{\[notice\] listening on unix:\Q$path\E$}m, 'the socket';
        logged_times $server, qr/listening on/, 2, 'once each';
        is $server->stop, 0, 'it ends';
        logged_times $server, qr/\[notice\] stopped$/m, 1, 'and says so once' or diag $server->log;
    }
    my $server = server(entry => 'bin', app => $hello, options => {start_servers => 0});
    logged $server, qr/\[notice\] listening on/, 'one process as well';
    is $server->stop, 0, 'it ends';
    logged $server, qr/\[notice\] stopped$/m, 'and says so';
    $server = server(entry => 'bin', app => $hello, options => {log_level => 'error'});
    is $server->get('/')->content, 'hello', 'with log_level error';
    is $server->stop, 0, 'it ends';
    unlike $server->log, qr/notice/, 'nothing is said';

    $server = server(entry => 'plackup', app => $hello, listen => ['tcp', 'unix'], plack_env => 'development');
    my ($port, $path) = ($server->port, $server->path);
    logged $server, qr{^Gepok: Accepting connections at http://127\.0\.0\.1:$port/$}m, "plackup's line" or diag $server->log;
    logged $server, qr{^Gepok: Accepting connections at unix:\Q$path\E$}m, 'one for the socket';
    unlike $server->log, qr/listening on/, 'and no other';
};

check "Plack's attributes" => sub {
    my $folder = scratch();
    my ($one, $two) = (free_port(), free_port());
    my %forms = (
        'host and port' => {host => '127.0.0.1', port => $one},
        'listen'        => {listen => ["127.0.0.1:$one", "$folder/listen"]},
        'socket'        => {socket => "$folder/socket", http_ports => ["127.0.0.1:$one"]},
        'http_ports as a string' => {http_ports => "127.0.0.1:$one, 127.0.0.1:$two"},
    );
    for my $form (sort keys %forms) {
        my $server = server(entry => 'new', app => $hello, listen => 'none', port => $one, options => $forms{$form});
        is $server->get('/')->content, 'hello', $form;
        is $server->stop, 0, 'it ends';
    }
};

check 'names of the product' => sub {
    my $server = server(app => $hello, options => {product_name => 'Mine', product_version => '7.1'});
    is $server->get('/')->field('Server'), 'Mine/7.1', 'product_name and product_version';
};

check 'a listening socket of the program' => sub {
    my $port   = free_port();
    my $server = server(entry => 'new', app => app_file('env'), listen => 'none', port => $port,
        prologue => "require IO::Socket::INET;\n"
            . "\$attributes->{listen_sock} = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, "
            . "Listen => 5, ReuseAddr => 1) or die \$!;\n"
            . "\$attributes->{server_ready} = sub { my \$s = shift; print STDERR qq(ready \$s->{host} \$s->{port}\\n) };\n");
    my $env = json($server->get('/')->content);
    is $env->{SERVER_PORT}, $port, 'listen_sock';
    logged $server, qr/^ready 127\.0\.0\.1 $port$/m, 'server_ready is told host and port';
    logged_times $server, qr/^ready/m, 1, 'once';
};

check 'methods of the class' => sub {
    my $port = free_port();
    my $code = 'my $g = Gepok->new(http_ports => ["127.0.0.1:' . $port . '"], daemonize => 0); print $g->start_servers // "undef", "\n"; '
        . 'eval { $g->run }; print $@ ? "no app\n" : "ran\n"; $g->start(' . $hello . '); print "returned\n"';
    my $folder = scratch();
    open my $file, '>', "$folder/run.pl" or die $!;
    print {$file} "use Gepok; \$| = 1; $code;";
    close $file;
    my $pid = fork // die $!;
    if (!$pid) {
        open STDOUT, '>', "$folder/out" or die $!;
        exec $^X, (map {"-I$root/blib/$_"} qw(arch lib)), "$folder/run.pl";
    }
    my $client = soon { eval { Gepok::Test::Connection->new(port => $port) } };
    ok $client, 'start is run' or return;
    $client->send("GET / HTTP/1.0\r\n\r\n");
    is $client->response->content, 'hello', 'it serves';
    kill TERM => $pid;
    is Gepok::Test::Server::reap($pid, 20), 0, 'it ends';
    open my $out, '<', "$folder/out" or die $!;
    is join('', <$out>), "undef\nno app\nreturned\n", 'new does nothing, run needs an app, and returns after TERM';
};

check 'the command' => sub {
    my ($status, $output) = run_command([$bin, '--help']);
    is $status, 0, '--help';
    like $output, qr/--(?:\[no-\])?\Q$_\E/, "which tells of --$_" for qw(http-ports unix-sockets start-servers timeout preload-app);
    ($status, $output) = run_command([$bin, '--version']);
    is $status, 0, '--version';
    like $output, qr/^\S*gepok\S* .*0\.300/i, 'is told';

    my $folder = scratch();
    ($status, $output) = run_command([$bin, '--http-ports', '127.0.0.1:' . free_port(), "$folder/none.psgi"]);
    ok $status, 'an app that is not there ends it';
    like $output, qr/none\.psgi/, 'and is named';
    open my $file, '>', "$folder/broken.psgi" or die $!;
    print {$file} "sub { my \$x = ;\n";
    close $file;
    ($status, $output) = run_command([$bin, '--http-ports', '127.0.0.1:' . free_port(), "$folder/broken.psgi"]);
    ok $status, 'so does one that does not compile';
    like $output, qr/syntax error/, "with perl's own words";
    open $file, '>', "$folder/other.psgi" or die $!;
    print {$file} "42;\n";
    close $file;
    ($status, $output) = run_command([$bin, '--http-ports', '127.0.0.1:' . free_port(), "$folder/other.psgi"]);
    ok $status, 'and one that is no app';

    open $file, '>', "$folder/app.psgi" or die $!;
    print {$file} 'use Words; my $zero = $0; '
        . 'sub { [200, [], [join "|", word(), $ENV{PLACK_ENV}, $zero, $^X =~ /perl/ ? "perl" : $^X]] }';
    close $file;
    mkdir "$folder/inc" or die $!;
    open $file, '>', "$folder/inc/Words.pm" or die $!;
    print {$file} 'package Words; use Exporter "import"; our @EXPORT = "word"; sub word { "word" } 1';
    close $file;
    my $port   = free_port();
    my $server = server(entry => 'bin', listen => 'none', port => $port, dir => "$folder",
        args => ['-I', 'inc', '--http-ports', "127.0.0.1:$port"]);
    like $server->get('/')->content, qr/^word\|deployment\|.*app\.psgi\|perl$/,
        'app.psgi by default, -I, deployment, $0 while it is loaded (FindBin), and $^X (system)';
    $server = server(entry => 'bin', args => ['-E', 'test', '-M', 'List::Util=sum', '-e',
        'sub { [200, [], [join "|", sum(1, 2), $ENV{PLACK_ENV}]] }']);
    is $server->get('/')->content, '3|test', '-E, -M and -e';

    my $app = 'my $loaded = $$; sub { [200, [], [$loaded == $$ ? "in the worker" : "before"]] }';
    is server(entry => 'bin', app => $app)->get('/')->content, 'before', 'the app is loaded before the fork';
    is server(entry => 'bin', app => $app, args => ['--no-preload-app'])->get('/')->content, 'in the worker',
        '--no-preload-app loads it in each worker';

    # A plain coderef needs no Plack: it is hidden by a module that dies.
    mkdir "$folder/no-plack" or die $!;
    open $file, '>', "$folder/no-plack/Plack.pm" or die $!;
    print {$file} 'die "Plack is not wanted here"';
    close $file;
    mkdir "$folder/no-plack/Plack" or die $!;
    for my $module (qw(Util Builder Runner Loader)) {
        open $file, '>', "$folder/no-plack/Plack/$module.pm" or die $!;
        print {$file} 'die "Plack is not wanted here"';
        close $file;
    }
    $server = server(entry => 'bin', app => $hello, env => {PERL5LIB => "$folder/no-plack"});
    is $server->get('/')->content, 'hello', 'a plain app runs without Plack';
};

done_testing;
