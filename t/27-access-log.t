use strict;
use warnings;

# The access log: what its lines say, where it goes, and what can't be done to it.

use lib 't/lib';

use Fcntl qw(:mode);
use IO::Socket::UNIX;
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);

use Gepok::Test;

gepok_only();

my $APP = <<'APP';
sub {
    my $env = shift;
    my $path = $env->{PATH_INFO};
    return [200, ['X-App' => 'shop'], ['hello']] if $path eq '/';
    return [204, [], []] if $path eq '/nothing';
    die "an app that dies\n" if $path eq '/die';
    return sub {
        my $writer = shift->([200, ['Content-Type' => 'text/plain']]);
        $writer->write('x' x 1000) for 1 .. 3;
        $writer->close;
    } if $path eq '/stream';
    return sub {
        my $writer = shift->([200, []]);
        1 while $writer->write('x' x 100_000);
        $writer->close;
    } if $path eq '/endless';
    if ($path eq '/file') {
        open my $file, '+>', undef or die $!;
        print $file 'f' x 100_000;
        seek $file, 0, 0;
        return [200, [], $file];
    }
    return [200, [], [$$]];
};
APP

sub slurp { open my $file, '<', $_[0] or return ''; local $/; return scalar(<$file>) // '' }
sub lines { split /\n/, slurp($_[0]) }

my @folders;

# A server that logs into a file of its folder, and that file.
sub logging {
    my %args = @_;
    push @folders, my $folder = scratch();
    my $server = server(
        app => $APP, dir => "$folder", entry => $args{entry} // 'bin',
        options => {start_servers => 1, access_log_path => 'access.log', %{$args{options} // {}}},
        ($args{env} ? (env => $args{env}) : ()), ($args{listen} ? (listen => $args{listen}) : ()),
    );
    return ($server, "$folder/access.log");
}

# The lines that are there once the server has ended.
sub ended {
    my ($server, $path) = @_;
    is $server->stop, 0, 'it ends with status 0' or diag $server->log;
    return lines($path);
}

each_entry {
    my $entry = shift;
    my ($server, $path) = logging(entry => $entry, env => {TZ => 'CET-1CEST,M3.5.0,M10.5.0/3'});
    $server->get('/', Referer => 'http://a/"b', 'User-Agent' => "tester\x{e9}", Authorization => 'Basic YW5uOmI=');
    my ($line) = ended($server, $path);
    my $now = POSIX::strftime('%d/%b/%Y', gmtime(time + 7200));
    like $line, qr{^127\.0\.0\.1 - ann \[\d\d/[A-Z][a-z][a-z]/\d{4}:\d\d:\d\d:\d\d \+0[12]00\] "GET / HTTP/1\.1" 200 5 },
        'combined is the default, in local time';
    like $line, qr{ "http://a/\\"b" "tester\\xe9"$}, 'with what the client says about itself, escaped';
};

check 'with one process' => sub {
    my ($server, $path) = logging(options => {start_servers => 0, access_log_format => '%r %>s %P'});
    my $pid = $server->get('/pid')->content;
    rename $path, "$path.1";
    soon { slurp("$path.1") };
    $server->signal('HUP');
    ok soon { -e $path }, 'HUP opens the log anew';
    $server->get('/nothing');
    is_deeply [ended($server, $path)], ["GET /nothing HTTP/1.1 204 $pid"], 'and it goes on there';
    is_deeply [lines("$path.1")], ["GET /pid HTTP/1.1 200 $pid"], 'what came before is in the old file';
};

check 'numbers are those of the wire' => sub {
    my ($server, $path) = logging(options => {access_log_format => '%U %>s %b %B %I %O %X %k'});
    my $client = $server->connect;
    my %expected;
    for my $target (qw(/ /nothing /stream /file /die)) {
        my $request = "GET $target HTTP/1.1\r\nHost: a\r\n\r\n";
        $client->send($request);
        my $response = $client->response('GET');
        my $content = $target eq '/die' ? 21 : {'/' => 5, '/nothing' => 0, '/stream' => 3000, '/file' => 100_000}->{$target};
        $expected{$target} = [$response->status, $content || '-', $content, length $request];
    }
    undef $client;
    my %got = map { my ($target, @rest) = split / /; ($target => \@rest) } ended($server, $path);
    my $number = 0;
    for my $target (qw(/ /nothing /stream /file /die)) {
        is_deeply [@{$got{$target}}[0 .. 3]], $expected{$target}, "status, content and request of $target";
        is_deeply [@{$got{$target}}[5, 6]], ['+', $number++], 'on a connection that persists';
    }
    # Three chunks of 0x3e8, the last chunk, and a head.
    cmp_ok $got{'/stream'}[4] - 3000, '>', 3 * 7 + 5 + 80, 'framing and head count as sent';
};

check 'a post in pieces counts whole' => sub {
    my ($server, $path) = logging(options => {access_log_format => '%I %k %>s'});
    my $first  = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    my $second = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 40000\r\n\r\n" . 'x' x 40_000;
    my $third  = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    pipelined($server, "$first$second$third", qw(POST POST GET));
    is_deeply [ended($server, $path)], [map { length([$first, $second, $third]->[$_]) . " $_ 200" } 0 .. 2],
        'pipelined requests are told apart';
};

check 'what is refused is logged as well' => sub {
    my ($server, $path) = logging(options => {access_log_format => '%>s "%r" %X %I', header_timeout => 3});
    my %refused = (
        "GET / HTTP/1.1\r\nHost: a\r\nA b: c\r\n\r\n"            => '400 "GET / HTTP/1.1" -',
        "GET /\e[2J\" HTTP/9.9 \x{e9}\r\n\r\n"                 => '400 "GET /\x1b[2J\" HTTP/9.9 \xe9" -',
        "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n"                 => '400 "GET /%zz HTTP/1.1" -',
        "GET /x HTTP/1.1\r\nHost: a\r\nX: " . 'x' x 70_000     => '431 "GET /x HTTP/1.1" -',
        "GET /y HTTP/1.1\r\nHost:"                             => '408 "GET /y HTTP/1.1" -',
        "POST /z HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nz\r\n" => '400 "POST /z HTTP/1.1" -',
    );
    for my $request (sort keys %refused) {
        my $client = $server->connect;
        $client->send($request);
        $client->response('GET');
    }
    $server->connect;    # Brings nothing, and is not worth a line.
    my @lines = ended($server, $path);
    is_deeply [sort map {s/ \d+$//r} @lines], [sort values %refused], 'each has its line, with what came';
    my ($first) = map {/ (\d+)$/} grep {/^400 "GET \/ /} @lines;
    is $first, length "GET / HTTP/1.1\r\nHost: a\r\nA b: c\r\n\r\n", 'and its bytes are counted';
};

check 'a client that leaves is marked' => sub {
    my ($server, $path) = logging(options => {access_log_format => '%U %>s %X %B'});
    my $client = $server->connect;
    $client->send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n");
    # More than the head: what was taken of the content has five digits at least.
    $client->bytes(20_000);
    undef $client;
    $client = $server->connect;
    $client->send("POST /half HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    undef $client;
    ok soon { 2 == (() = slurp($path) =~ /\n/g) }, 'both have their lines';
    my %got = map { split / /, $_, 2 } ended($server, $path);
    like $got{'/endless'}, qr/^200 X \d{5,}$/, 'in the midst of a response, with what was taken of it';
    is $got{'/half'}, '499 X 0', 'and of a request';
};

check 'what one client sends makes one line' => sub {
    my ($server, $path) = logging(options => {access_log_format => 'json'});
    my $evil = "x\",\"status\":200}\x{e9}\x{ff}\x{c3}\x{a9}\\";
    $server->get('/?' . "a\x{ff}\"b", 'User-Agent' => $evil, Referer => "\x{c3}\x{a9}");
    $server->get('/pid');
    my @lines = ended($server, $path);
    is @lines, 2, 'as many lines as requests';
    my ($line, $pid) = map { JSON::PP->new->utf8->decode($_) } @lines;
    is $line->{referer}, "\x{e9}", 'UTF-8 is kept';
    is $line->{user_agent}, "x\",\"status\":200}\x{fffd}\x{fffd}\x{e9}\\", 'what is not UTF-8 is replaced';
    is $line->{status}, 200, 'and nothing is forged';
    unlike $lines[0], qr/[\x00-\x1f\x7f]/, 'no control character gets out';
    is $pid->{connection}, 'closed', 'the connection was closed as the client asked';
    like $pid->{time}, qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}[+-]\d\d:\d\d$/, 'the time is one of RFC 3339';
    cmp_ok $pid->{app_time}, '<=', $pid->{duration}, 'the app took a part of all';
    is $pid->{remote_addr}, '127.0.0.1', 'the client is named';
};

check 'time' => sub {
    my ($server, $path) = logging(options => {access_log_format => '%D %T %{ms}T %{APP_TIME}x %{RECEIVE_TIME}x'});
    my $client = $server->connect;
    $client->send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    # The pause begins when the server has seen the head, however busy the machine is.
    is $client->head->status, 100, 'the head has come';
    sleep 1;
    $client->send('abc');
    $client->response('POST');
    my ($micros, $seconds, $millis, $app, $receive) = split / /, (ended($server, $path))[0];
    cmp_ok $micros, '>=', 950_000, 'counts from the first byte';
    is $seconds, int($micros / 1e6), 'in seconds';
    is $millis, int($micros / 1000), 'in milliseconds';
    cmp_ok $app, '<', 950_000, 'the app did not wait for the client';
    cmp_ok $receive, '>=', 950_000, 'we did';
};

check 'places: standard output, a command, syslog, a FIFO' => sub {
    my $server = server(app => $APP, entry => 'bin', options => {access_log_path => '-', access_log_format => 'out %r'});
    $server->get('/');
    logged $server, qr{^out GET / HTTP/1\.1$}m, 'standard output' or diag $server->log;

    my $folder = scratch();
    $server = server(
        app => $APP, entry => 'bin', dir => "$folder",
        options => {access_log_path => '|while read l; do echo "read $l" >> got; done; echo end >> got', access_log_format => '%U'},
    );
    $server->get('/a');
    ok soon { slurp("$folder/got") eq "read /a\n" }, 'a command';
    $server->get('/b');
    is $server->stop, 0, 'it ends with status 0' or diag $server->log;
    # The server waits for a second at most until its command has done with the last lines.
    ok soon { 3 == lines("$folder/got") }, 'a command gets a line for each request, and the end';
    is_deeply [lines("$folder/got")], ['read /a', 'read /b', 'end'], 'the last line before it';

    my $daemon = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => "$folder/log") or die $!;
    $server = server(
        app => $APP, entry => 'bin',
        options => {access_log_path => "syslog:daemon,tag=shop,server=$folder/log", access_log_format => '%U %>s'},
    );
    $server->get('/');
    $daemon->recv(my $heard, 1000);
    like $heard, qr{^<30>[A-Z][a-z][a-z] [ \d]\d \d\d:\d\d:\d\d shop\[\d+\]: / 200$}, 'syslog';

    POSIX::mkfifo("$folder/fifo", 0600) or die $!;
    $server = server(app => $APP, entry => 'bin', options => {access_log_path => "$folder/fifo", access_log_format => '%U'});
    is $server->get('/')->content, 'hello', 'a FIFO that nobody reads holds up nobody';
    open my $reader, '<', "$folder/fifo" or die $!;
    is scalar(<$reader>), "/\n", 'and is read later';
};

check 'a command that ends is started again' => sub {
    my $folder = scratch();
    my $server = server(
        app => $APP, entry => 'bin', dir => "$folder",
        options => {access_log_path => '|echo $$ >> pids; exec cat >> got', access_log_format => '%U'},
    );
    soon { slurp("$folder/pids") };
    sleep 1.1;    # One that ends at once would stay so.
    kill KILL => lines("$folder/pids");
    ok soon { 2 == (() = slurp("$folder/pids") =~ /\n/g) }, 'it is there again' or diag $server->log;
    # What was written to the old one's pipe meanwhile is lost.
    ok soon { $server->get('/again'); slurp("$folder/got") =~ m{\A/again\n} }, 'and reads lines';
};

check 'HUP opens the file anew, and a core that died has it' => sub {
    my ($server, $path) = logging(options => {access_log_format => '%U'});
    $server->get('/one');
    ok soon { slurp($path) eq "/one\n" }, 'the first line';
    rename $path, "$path.1";
    my (undef, @workers) = $server->descendants;
    $server->signal('HUP');
    ok soon { -e $path }, 'a new file';
    # The core has been given it before other workers.
    ok soon { !grep { alive($_) } @workers }, 'and new workers';
    $server->get('/two');
    ok soon { slurp($path) eq "/two\n" }, 'has the next line';
    is slurp("$path.1"), "/one\n", 'the old one has no more';
    my ($core) = grep { (readlink("/proc/$_/fd/1") // '') eq '/dev/null' && slurp("/proc/$_/fdinfo/1") } $server->descendants;
    kill KILL => $core // die "there is no core\n";
    ok soon { eval { $server->get('/three')->content } }, 'another core answers';
    ok soon { slurp($path) =~ m{^/three$}m }, 'and logs into the same file';
};

check 'a full disk loses lines and nothing else' => sub {
    my $server = server(app => $APP, entry => 'bin', options => {access_log_path => '/dev/full'});
    is $server->get('/')->content, 'hello', 'a request';
    logged $server, qr/access log can't be written/, 'one warning says why';
    for (1 .. 3) {
        is $server->get('/')->content, 'hello', 'another';
        # Longer than lines are gathered.
        sleep 0.3 if $_ < 3;
    }
    is $server->stop, 0, 'the server ends as ever';
    logged_times $server, qr/access log can't be written/, 1, 'and there was no other warning' or diag $server->log;
};

check 'mistakes are told before anything is forked' => sub {
    for my $case (
        [access_log_path   => '/nonexistent/a', qr{^gepok: option 'access_log_path': can't open /nonexistent/a: No such file}],
        [access_log_path   => '/',              qr{^gepok: option 'access_log_path': can't open /: Is a directory}],
        [access_log_path   => 'syslog:x',       qr{^gepok: option 'access_log_path': 'x' is no facility}],
        [access_log_path   => 'syslog:server=/nonexistent', qr{^gepok: option 'access_log_path': can't open syslog at /nonexistent}],
        [access_log_path   => '|',              qr{^gepok: option 'access_log_path': there is no command}],
        [access_log_format => '%h %Z',          qr{^gepok: option 'access_log_format': unknown directive '%Z'}],
        [error_log_path    => '/nonexistent/e', qr{^gepok: option 'error_log_path': can't open /nonexistent/e: No such file}],
        [log_level         => 'loud',           qr{^gepok: option 'log_level': 'loud' is not one of}],
    ) {
        my ($name, $value, $message) = @$case;
        my ($status, $text) = run_command([root() . '/blib/script/gepok', "--$name=$value", '--port=' . free_port(), '-e', 'sub {}']);
        $text =~ s/^\[.*the app runs as root.*\n//m;
        is $status >> 8, 2, "$name $value: status 2";
        like $text, $message, 'and one sentence';
        is scalar(() = $text =~ /\n/g), 1, 'alone';
    }
};

check 'no log but the one that was asked for' => sub {
    my $server = server(app => $APP, entry => 'plackup');
    $server->get('/');
    is $server->stop, 0, 'plackup';
    unlike $server->log, qr{GET /}, 'writes none of itself';

    $server = server(app => $APP, entry => 'plackup', plack_env => 'development');
    $server->get('/');
    is $server->stop, 0, 'in development';
    logged_times $server, qr{"GET / HTTP/1\.1" 200 5 }, 1, q{it is the middleware's} or diag $server->log;

    $server = server(app => $APP, entry => 'new');
    $server->get('/');
    is $server->stop, 0, 'Gepok->new';
    logged_times $server, qr{"GET / HTTP/1\.1" 200 5 }, 1, 'writes to standard error' or diag $server->log;

    $server = server(app => $APP, entry => 'new', options => {access_log_path => ''});
    $server->get('/');
    is $server->stop, 0, 'but for an empty path';
    unlike $server->log, qr{GET /}, 'which is none';

    $server = server(app => $APP, entry => 'bin');
    $server->get('/');
    is $server->stop, 0, 'the command';
    unlike $server->log, qr{GET /}, 'has none of itself';
};

done_testing;
