# gepok status: what a running server tells of its processes.
use strict;
use warnings;

use File::Copy qw(copy);
use Test::More;
use Time::HiRes qw(sleep time);

use Gepok::Test;
use Gepok::Test::Authority;

gepok_only();

sub touch { open my $file, '>', $_[0] or die $! }

my $folder = scratch();
my $pid    = "$folder/pid";
my @STATUS = (root() . '/blib/script/gepok', 'status', '--pid-path', $pid);

sub status {
    my ($status, $text) = run_command([@STATUS, '--json']);
    die "gepok status: $status, $text" if $status;
    return json($text);
}

each_entry {
    my $entry  = shift;
    my $server = server(entry => $entry, app => app_file('process'), options => {start_servers => 2, pid_path => $pid});
    ok soon { 2 == grep { $_->{state} eq 'idle' } @{status()->{workers}} }, 'two workers wait';
    my $before = status();
    is $before->{master}, $server->pid, 'the master';
    my %own = map { $_ => 1 } $server->descendants;
    ok $own{$before->{core}} && $own{$_->{pid}}, 'the core and a worker are what the system shows'
        for @{$before->{workers}};
    is_deeply [map { $_->{generation} } @{$before->{workers}}], [1, 1], 'the first generation';
    cmp_ok $_, '>', 1 << 20, 'resident memory' for $before->{core_rss}, map { $_->{rss} } @{$before->{workers}};

    my $work   = $server->folder . '/work';
    my $client = $server->connect;
    $client->send("GET /work?$work HTTP/1.1\r\nHost: x\r\n\r\n");
    ok soon { -s "$work-started" }, 'a request is in flight';
    sleep 0.3;
    my ($busy) = grep { $_->{state} eq 'busy' } @{status()->{workers}};
    is $busy->{request}, 'GET /work', 'it is told, without its query';
    ok $busy->{since} > 0.2 && $busy->{since} < 20, 'and since when';
    is $busy->{requests}, 1, 'the first of that worker';
    my $now = status();
    is $now->{requests} - $before->{requests}, 1, 'one more for the server';
    is $now->{connection_states}{processing}, 1, 'one connection waits for its answer';
    cmp_ok $now->{connections}, '>=', 1, 'its connection is open';
    cmp_ok $now->{accepted}, '>', $before->{accepted}, 'and was accepted';

    # Three more: one is taken by the other worker, two wait.
    my @more = map { my $c = $server->connect; $c->send("GET /work?$work HTTP/1.1\r\nHost: x\r\n\r\n"); $c } 1 .. 3;
    ok soon { status()->{queued} == 2 }, 'requests that wait are counted';
    my ($code, $text) = run_command(\@STATUS);
    is $code, 0, 'without --json';
    like $text, qr/^running, pid @{[$server->pid]}$/m, 'for people';
    like $text, qr/^requests: \d+ so far, 2 in flight, 2 waiting for a worker, the first for \d+\.\d s$/m, 'the same';
    like $text, qr/^generation 1 serves for \d+ s$/m, 'the generation';
    ok soon { status()->{oldest_wait} > 0.3 }, 'how long the first has waited';
    my $waits = status();
    like $text, qr/^ *$busy->{pid} +1 +busy .* GET \/work$/m, 'a line for each worker';
    touch("$work-go");
    is $_->response->status, 200, 'all are answered' for $client, @more;
    my $after = status();
    is $after->{oldest_wait}, 0, 'then none waits';
    cmp_ok $after->{lately}{longest_wait}, '>=', $waits->{oldest_wait}, 'the longest wait is remembered';
    cmp_ok $after->{lately}{requests}, '>=', 4, 'of all requests lately';
    my $mean = $after->{lately}{mean_wait};
    ok $mean > 0 && $mean < $after->{lately}{longest_wait}, 'the mean is less';
    cmp_ok $after->{total_wait} - $waits->{total_wait}, '>', $waits->{oldest_wait}, 'and the sum has grown by two waits';

    kill KILL => $busy->{pid};
    ok soon { !alive($busy->{pid}) }, 'a worker is killed';
    ok soon {
        my @workers = @{status()->{workers}};
        @workers == 2 && !grep { $_->{pid} == $busy->{pid} } @workers;
    }, 'its successor has its place';
    $server->signal('HUP');
    ok soon { join(' ', map { $_->{generation} } @{status()->{workers}}) eq '2 2' }, 'a reload is another generation'
        or diag explain status();
    is $server->stop, 0, 'the server stops';
    is +(run_command(\@STATUS))[0] >> 8, 3, 'and then there is none';
};

check 'connections by state' => sub {
    my $port   = free_port();
    my $server = server(entry => 'bin', app => app_file('process'), options =>
        {start_servers => 2, pid_path => $pid, https_ports => "127.0.0.1:$port", ssl_self_signed => 1,
            map { $_ => 600 } qw(ssl_handshake_timeout header_timeout timeout keepalive_timeout)});
    my $work  = $server->folder . '/work';
    my $is    = sub {
        my %expected = (handshake => 0, idle => 0, reading => 0, processing => 0, writing => 0, closing => 0, @_);
        my $status;
        my $so = soon {
            $status = status();
            !grep { $status->{connection_states}{$_} != $expected{$_} } keys %expected;
        };
        ok $so, join ' ', 'connections:', @_ or diag explain $status->{connection_states};
        my $sum = 0;
        $sum += $_ for values %{$status->{connection_states}};
        is $status->{connections}, $sum, 'their sum is all';
    };
    $is->();
    my $shaking = Gepok::Test::Connection->new(port => $port);
    $is->(handshake => 1);
    my $client = $server->connect;
    $is->(handshake => 1, idle => 1);
    $client->send("GET /work?$work HTTP/1.1\r\n");
    $is->(handshake => 1, reading => 1);
    $client->send("Host: x\r\n\r\n");
    $is->(handshake => 1, processing => 1);
    my $streamed = $server->connect;
    $streamed->send("GET /stream?$work HTTP/1.1\r\nHost: x\r\n\r\n");
    $is->(handshake => 1, processing => 1, writing => 1);
    touch("$work-go");
    is $_->response->status, 200, 'answered' for $client, $streamed;
    $is->(handshake => 1, idle => 2);
    $client->send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n1");
    $is->(handshake => 1, idle => 1, reading => 1);
    $client->send('2');
    is $client->response->status, 200, 'content counts as well';
    # The server waits two seconds for the client's end: once more, where this test was slower.
    my $closing = soon {
        $streamed->send("not HTTP\r\n\r\n");
        $streamed->response->status == 400 or die "no refusal\n";
        my $states = status()->{connection_states};
        $streamed = $server->connect if !$states->{closing};
        $states->{closing};
    };
    is $closing, 1, 'a refusal closes';
    undef $_ for $shaking, $client, $streamed;
    $is->();
};

check 'reloads' => sub {
    my $app    = "$folder/app.psgi";
    my $write  = sub { open my $file, '>', $app or die $!; print {$file} $_[0]; close $file or die $! };
    my $reload = sub { run_command([root() . '/blib/script/gepok', $_[0], '--pid-path', $pid]) };
    $write->('sub { [200, [], ["first"]] }');
    my $server = server(entry => 'bin', app => $app, args => ['--no-preload-app'],
        options => {start_servers => 2, pid_path => $pid});
    ok soon { status()->{reload}{generation} == 1 }, 'the first generation serves';
    is status()->{reload}{failure}, undef, 'nothing has failed';

    $write->('die "by \"intent\"\n";');
    for my $command ('reload', 'restart') {
        my ($code, $text) = $reload->($command);
        is $code >> 8, 1, "gepok $command: status 1 for a failure";
        like $text, qr/^gepok: the $command failed: .+$/m, 'with the reason';
        my $failure = status()->{reload}{failure};
        my $why = $command eq 'reload' ? qr/the app can't be loaded: .*: by "intent"$/ : qr/its trial .*/;
        like $failure->{why}, qr/^the $command failed: $why/, 'which the status keeps';
        like $text, qr/^gepok: the $command failed: $why/m, 'in the same words';
        ok $failure->{ago} >= 0 && $failure->{ago} < 60, 'and when';
        ($code, $text) = run_command(\@STATUS);
        is $code, 0, 'the server runs: status 0';
        like $text, qr/^generation 1 serves for \d+ s; \d+ s ago the $command failed: /m, 'for people';
        is $server->get('/')->content, 'first', 'and serves on';
    }

    $write->('select undef, undef, undef, 0.5; sub { [200, [], ["second"]] }');
    my ($code, $text) = $reload->('reload');
    is $code, 0, 'gepok reload: status 0 for a success' or diag $text;
    is $text, '', 'and nothing to say';
    is $server->get('/')->content, 'second', 'at once the new code serves';
    is status()->{reload}{generation}, 2, 'a new generation';
    is status()->{reload}{failure}, undef, 'and the failure is history';

    $write->('sub { [200, [], ["third"]] }');
    ($code, $text) = $reload->('restart');
    is $code, 0, 'gepok restart: status 0 for a success' or diag $text;
    # The core before may have accepted one more by then.
    ok soon { $server->get('/')->content eq 'third' }, 'the new program serves';
    is status()->{reload}{generation}, 3, 'a new generation';
    is $server->stop, 0, 'the server stops';

    # The app is in the master: whoever edits it and reloads would look for the change in vain.
    for my $case ([2, qr/^gepok: .* code of the start.*'gepok restart' loads it again$/], [0, qr/^gepok: .*stop it and start it/]) {
        my ($workers, $note) = @$case;
        $server = server(entry => 'bin', app => $app, options => {start_servers => $workers, pid_path => $pid});
        ok soon { status()->{reload}{generation} == 1 }, "start_servers=$workers, preloaded";
        ($code, $text) = $reload->('reload');
        is $code, 0, 'gepok reload: status 0';
        like $text, $note, 'with a note that the code is the old one, and what loads the new';
        ok status()->{reload}{keeps_code}, 'the status tells it too';
        if ($workers) {
            (undef, $text) = run_command(\@STATUS);
            like $text, qr/^generation 2 serves for \d+ s, with the code of the start$/m, 'in words';
            ($code, $text) = $reload->('restart');
            is "$code $text", '0 ', 'a restart has nothing to add';
        }
        is $server->stop, 0, 'the server stops';
    }

    my $listen = '127.0.0.1:' . free_port();
    $write->('sub { [200, [], ["first"]] }');
    my $cert = Gepok::Test::Authority->new("$folder")->issue('server');
    for my $workers (2, 0) {
        my ($certificate, $key) = map {"$folder/$_"} qw(cert key);
        copy($cert->{cert}, $certificate) or die $!;
        copy($cert->{key},  $key)         or die $!;
        $server = server(entry => 'bin', app => $app, options => {start_servers => $workers, pid_path => $pid,
            https_ports => $listen, ssl_cert_file => $certificate, ssl_key_file => $key});
        ok soon { status()->{reload}{generation} == 1 }, "$workers workers";
        is +($reload->('reload'))[0], 0, 'certificates are read anew';
        open my $file, '>', $certificate or die $!;
        close $file;
        ($code, $text) = $reload->('reload');
        is $code >> 8, 1, 'what cannot be read makes it a failure';
        like $text, qr/^gepok: .*ssl_cert_file.*stay in use$/m, 'by name';
        like status()->{reload}{failure}{why}, qr/ssl_cert_file/, 'in the status too';
        copy($cert->{cert}, $certificate) or die $!;
        is +($reload->('reload'))[0], 0, 'until it can';
        is status()->{reload}{failure}, undef, 'then all is well';
        is $server->stop, 0, 'the server stops';
    }
};

each_entry {
    my $entry   = shift;
    my $log     = "$folder/access";
    my %options = (start_servers => 1, status_path => '/server-status');
    my $server  = server(entry => $entry, app => app_file('process'), listen => ['tcp', 'unix'],
        options => {%options, access_log_path => $log, access_log_format => '%m %U %>s %B'});
    like $server->get('/')->content, qr/^\d+$/, 'the app answers';
    my $client = $server->connect;
    my $ask    = sub {
        my ($method, $target, %fields) = @_;
        $client->send(join "\r\n", "$method $target HTTP/1.1", 'Host: x', (map {"$_: $fields{$_}"} keys %fields), '', '');
        return $client->response($method);
    };
    my $response = $ask->(GET => '/server-status');
    is $response->status, 200, 'status_path is answered';
    like $response->field('Content-Type'), qr{^text/plain\b}, 'as text';
    is $response->field('Cache-Control'), 'no-store', 'for nobody to keep';
    like $response->content, qr/^master @{[$server->pid]}, core \d+ /m, 'it is the status';
    my $head = $ask->(HEAD => '/server-status');
    is $head->status, 200, 'HEAD';
    is $head->content, '', 'has no content';
    cmp_ok $head->field('Content-Length'), '>', 100, 'but tells its length';
    for my $request (['/server-status?json'], ['/server-status', Accept => 'application/json']) {
        $response = $ask->(GET => @$request);
        is $response->field('Content-Type'), 'application/json', "@$request: JSON";
        my $status = json($response->content);
        is $status->{master}, $server->pid, 'the master';
        cmp_ok $status->{workers}[0]{rss}, '>', 1 << 20, 'the memory of a worker';
        is $status->{requests}, json($ask->(GET => '/server-status?json')->content)->{requests}, 'it counts for none';
    }
    my $post = $ask->(POST => '/server-status', 'Content-Length' => 0);
    is $post->status, 405, 'another method';
    is $post->field('Allow'), 'GET, HEAD', 'is told what is allowed';
    is $server->get('/server-status/')->content, $server->get('/')->content, 'a longer path is the app\'s';
    my $unix = $server->connect('unix');
    $unix->send("GET /server-status HTTP/1.0\r\n\r\n");
    is $unix->response->status, 200, 'a Unix socket is of this machine';

    # A proxy refuses the path as it is spelled.
    for my $target (qw(/server%2dstatus /%73erver-status /./server-status http://x/server-status)) {
        is $ask->(GET => $target)->content, $server->get('/')->content, "$target is the app's";
    }
    # The address of a proxy on this machine says nothing about its clients.
    for my $field (qw(X-Forwarded-For x-real-ip Forwarded Via)) {
        is $ask->(GET => '/server-status', $field => '192.0.2.1')->status, 403, "$field: refused";
        $unix = $server->connect('unix');
        $unix->send("GET /server-status HTTP/1.1\r\nHost: x\r\n$field: 127.0.0.1\r\n\r\n");
        is $unix->response->status, 403, 'by a Unix socket too';
    }

    # The only worker hangs.
    my $work = $server->folder . '/work';
    my $hung = $server->connect;
    $hung->send("GET /work?$work HTTP/1.1\r\nHost: x\r\n\r\n");
    ok soon { -s "$work-started" }, 'all workers are busy';
    my $waits = $server->connect;
    $waits->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    ok soon { json($ask->(GET => '/server-status?json')->content)->{queued} == 1 }, 'it is answered all the same';
    like $ask->(GET => '/server-status')->content, qr/ busy .* GET \/work$/m, 'and tells of it';
    my $leaves = $server->connect;
    $leaves->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    ok soon { json($ask->(GET => '/server-status?json')->content)->{queued} == 2 }, 'one more waits';
    undef $leaves;
    ok soon { json($ask->(GET => '/server-status?json')->content)->{queued} == 1 }, 'until its client leaves';
    touch("$work-go");
    is $_->response->status, 200, 'then they go on' for $hung, $waits;
    is $server->stop, 0, 'the server stops';
    open my $lines, '<', $log or die $!;
    my %seen = map { /^(\w+ \S+ \d+)/ ? ($1 => $_) : () } <$lines>;
    ok $seen{"GET /server-status 200"}, 'the access log has it';
    like $seen{"HEAD /server-status 200"}, qr/ 0$/, 'HEAD without content';
    ok $seen{"POST /server-status 405"}, 'and refusals';

    for my $case (['192.0.2.0/24, ::1', 403], ['127.0.0.1/32 192.0.2.0/24', 200], ['all', 200], ['unix:', 403]) {
        my ($allow, $expected) = @$case;
        $server = server(entry => $entry, app => app_file('process'), options => {%options, status_allow => $allow});
        is $server->get('/server-status')->status, $expected, "status_allow $allow: $expected";
        my $proxy = $server->connect;
        $proxy->send("GET /server-status HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n");
        is $proxy->response->status, $allow eq 'all' ? 200 : 403, 'forwarded by a proxy';
        like $server->get('/')->content, qr/^\d+$/, 'the rest is for all';
    }
    $server = server(entry => $entry, app => app_file('process'), options => {start_servers => 1});
    like $server->get('/server-status')->content, qr/^\d+$/, 'without status_path there is none';
};

# Clients choose the paths that the page shows, and workers write them.
check 'the page for browsers' => sub {
    my $server  = server(app => 'sub { [200, [], ["hello"]] }', options => {start_servers => 1, status_path => '/server-status'});
    my @browser = (Accept => 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8');
    is $server->get('/<script>alert(1)</script>%3Cb%3E&amp;')->content, 'hello', 'a path with markup';
    my $page;
    ok soon { ($page = $server->get('/server-status', @browser)->content) =~ /alert/ }, 'is shown';
    unlike $page, qr/<script/, 'and is no markup';
    like $page, qr{GET /&lt;script&gt;alert\(1\)&lt;/script&gt;%3Cb%3E&amp;amp;</td>}, 'but text';
    like $page, qr{^<!DOCTYPE html>.*<title>Gepok status<.*>[01] of 1<.*</html>$}s, 'a whole page';
    my $got = $server->get('/server-status', @browser);
    is $got->field('Content-Type'), 'text/html; charset=utf-8', 'its type';
    like $got->field('Content-Security-Policy'), qr/^default-src 'none'; style-src/, 'a browser runs nothing of it';
    like $server->get('/server-status?text', @browser)->content, qr/^master \d+/, 'a browser may have the text';
};

# Protects: who answers is decided on the head, so no upload is taken that nobody wants.
check 'an upload to status_path is refused at its head' => sub {
    my $server = server(entry => 'bin', app => app_file('process'),
        options => {start_servers => 1, status_path => '/server-status', max_content => '8g'});
    for my $case (
        ['a length'               => 'Content-Length: 4294967296'],
        ['a length, expectation'  => "Content-Length: 4294967296\r\nExpect: 100-continue"],
        ['chunks'                 => 'Transfer-Encoding: chunked'],
    ) {
        my ($name, $fields) = @$case;
        my $client = $server->connect;
        $client->send("POST /server-status HTTP/1.1\r\nHost: x\r\n$fields\r\n\r\n");
        my $response = $client->response;
        is $response->status, 405, "$name: answered before the content";
        is scalar(() = $response->interim), 0, "$name: nothing asks for the content";
        ok $response->closes, "$name: the connection ends";
        $client->send('x' x 100_000);
        is $client->rest, '', "$name: what still comes is no request, and gets no reset";
    }
    my $client = $server->connect;
    $client->send("POST /server-status HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc") for 1, 2;
    is $client->response->status, 405, 'content that is here is skipped' for 1, 2;
};

check 'status_path elsewhere' => sub {
    my %options = (status_path => '/server-status');
    SKIP: {
        require IO::Socket::IP;
        skip 'no IPv6 here' if !IO::Socket::IP->new(LocalHost => '::1', Listen => 1);
        my $port   = free_port();
        my $server = server(entry => 'bin', app => app_file('process'), listen => 'none', port => $port, ready => 0,
            options => {%options, http_ports => "[::1]:$port"});
        my $v6 = soon(sub { IO::Socket::IP->new(PeerHost => '::1', PeerPort => $port) }) or die $@;
        print {$v6} "GET /server-status HTTP/1.0\r\n\r\n";
        like scalar <$v6>, qr/ 200 /, '::1 is of this machine';
    }
    my $server = server(entry => 'bin', app => app_file('process'), options => {%options, start_servers => 0, pid_path => $pid});
    my $work   = $server->folder . '/work';
    my $hung   = $server->connect;
    $hung->send("GET /work?$work HTTP/1.1\r\nHost: x\r\n\r\n");
    ok soon { -s "$work-started" }, 'one process is busy';
    my $status = json($server->get('/server-status?json')->content);
    is_deeply [map { [@$_{qw(pid state request)}] } @{$status->{workers}}], [[$server->pid, 'busy', 'GET /work']],
        'and tells of itself';
    is status()->{workers}[0]{pid}, $server->pid, 'to gepok status as well';
    touch("$work-go");
    is $hung->response->status, 200, 'then it goes on';

    if (!$>) {
        $server = server(entry => 'bin', app => 'sub { [200, [], [$>]] }', options => {%options, user => 'nobody'});
        is $server->get('/')->content, scalar getpwnam 'nobody', 'the server has given up its rights';
        cmp_ok json($server->get('/server-status?json')->content)->{workers}[0]{rss}, '>', 1 << 20,
            'which it does not need to tell of its workers';
    }
};

# A file's records, as Gepok documents them; those that are free are left out.
sub records {
    open my $file, '<:raw', $_[0] or die "$_[0]: $!";
    read $file, my $bytes, -s $file;
    my @fields  = qw(pid born requests begun changed state zero);
    my @records = map { my %record; @record{@fields} = unpack 'NNSNNCC', $_; \%record } unpack '(a20)*', $bytes;
    $_->{state} = chr $_->{state} for @records;
    return grep { $_->{pid} } @records;
}

each_entry {
    my $entry  = shift;
    my $path   = "$folder/board";
    my $server = server(entry => $entry, app => app_file('process'),
        options => {start_servers => 2, max_clients => 5, scoreboard_path => $path, pid_path => $pid});
    is -s $path, 6 * 20, 'a record for each client that there may be, and one more';
    ok soon { 2 == grep { $_->{state} eq '_' } records($path) }, 'two workers wait';
    my @pids = sort { $a <=> $b } map { $_->{pid} } @{status()->{workers}};
    is_deeply [sort { $a <=> $b } map { $_->{pid} } records($path)], \@pids, 'the same as in the status';
    cmp_ok abs($_->{born} - time), '<', 60, 'when it was born' for records($path);

    my $work   = $server->folder . '/work';
    my $client = $server->connect;
    $client->send("GET /work?$work HTTP/1.1\r\nHost: x\r\n\r\n");
    ok soon { grep { $_->{state} eq 'W' } records($path) }, 'one has a request';
    my ($busy) = grep { $_->{state} eq 'W' } records($path);
    is $busy->{requests}, 1, 'its first';
    cmp_ok abs($busy->{begun} - time), '<', 60, 'since when';
    truncate $path, 0 or die $!;
    touch("$work-go");
    is $client->response->status, 200, 'it is answered, whatever others do to the file';
    ok soon { -s $path && !grep { $_->{state} ne '_' } records($path) }, 'and the file tells the truth again';

    # Nobody touches it while nothing happens.
    my $changed = (stat $path)[9];
    ok soon { time - $changed > 2.5 && $changed == (stat $path)[9] or $changed = (stat $path)[9], 0 }, 'then it rests';

    kill KILL => $busy->{pid};
    ok soon { my @now = records($path); @now == 2 && !grep { $_->{pid} == $busy->{pid} } @now }, 'a successor is told';
    is $server->stop, 0, 'the server stops';
    ok !-e $path, 'and takes the file with it';

    $server = server(entry => $entry, app => app_file('process'),
        options => {start_servers => 1, max_clients => 9, scoreboard_path => 0, pid_path => $pid});
    $work = $server->folder . '/work';
    my @clients = map { my $c = $server->connect; $c->send("GET /work?$work HTTP/1.1\r\nHost: x\r\n\r\n"); $c } 1 .. 4;
    ok soon { status()->{queued} == 3 }, 'requests wait';
    sleep 0.5;
    is scalar @{status()->{workers}}, 1, 'but without a scoreboard the pool stays as it was started';
    touch("$work-go");
    is $_->response->status, 200, 'and all are answered' for @clients;
};

done_testing;
