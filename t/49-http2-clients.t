# HTTP/2 of clients that others have written, and what is tested by HTTP/1 elsewhere: Plack's own suite, frameworks, files.
use strict;
use warnings;

use HTTP::Response;
use HTTP::Status ();
use List::Util qw(max);
use Plack::LWPish;
use Plack::Test::Suite;
use Test::More;
use Time::HiRes qw(sleep time);

use Gepok::Test;
use Gepok::Test::Files qw(put);
use Gepok::Test::Front;

gepok_only();

my $APP = app_file('http2');

sub start { return server(app => $APP, options => {h2c => 1, start_servers => 2, max_requests_per_child => 0, @_}) }

# A test whose program is not installed is left out.
sub with_program {
    my ($name, $block) = @_;
    my $program = Gepok::Test::Front::program($name);
    return $program ? $block->($program) : plan skip_all => "$name is not installed";
}

check 'nghttp' => sub {
    with_program(nghttp => sub {
        my $server = start();
        my ($code, $out) = run_command([$_[0], '-nv', '-m', 20, $server->url('/large/300000')]);
        is $code, 0, 'it ends well';
        my @ends = $out =~ /recv \(stream_id=\d+\) :status: 200/g;
        is @ends, 20, '20 streams, each answered' or diag $out;
        unlike $out, qr/INVALID|RST_STREAM/, 'nothing wrong';
    });
};

check 'node' => sub {
    with_program(node => sub {
        my $server = start();
        my $script = <<'END';
const c = require('http2').connect(process.argv[1]);
let left = 30, ok = 0;
for (let i = 0; i < 30; i++) {
    const r = c.request({':path': '/length', ':method': 'POST'});
    let text = '';
    r.setEncoding('utf8');
    r.on('data', d => text += d);
    r.on('end', () => { if (text.startsWith('100000 ')) ok++; if (!--left) { console.log('ok', ok); c.close(); } });
    r.end('x'.repeat(100000));
}
END
        my ($code, $out) = run_command([$_[0], '-e', $script, $server->url('')]);
        is $code, 0, 'it ends well';
        like $out, qr/^ok 30$/m, '30 uploads at once, each whole';
    });
};

check 'h2load' => sub {
    with_program(h2load => sub {
        my $server = start();
        my ($code, $out) = run_command([$_[0], '-n5000', '-c20', '-m20', $server->url('/hello')]);
        like $out, qr/5000 succeeded, 0 failed, 0 errored, 0 timeout/, 'each request is answered' or diag $out;
        # Protects: a reload closes no connection and loses no stream.
        my $pid = open my $load, '-|', $_[0], '-D4', '-c20', '-m20', $server->url('/hello') or die $!;
        for (1 .. 3) { sleep 1; $server->signal('HUP') }
        $out = do { local $/; <$load> };
        close $load;
        like $out, qr/(\d\d\d+) succeeded, 0 failed, 0 errored, 0 timeout/, 'also while the server is reloaded' or diag $out;
        unlike $server->log, qr/\[error\]/, 'nor does the log tell of one';
    });
};

# A request by curl, which sends its target as it is.
sub sent_by_curl {
    my ($server, $request) = @_;
    my $target = $request->uri->as_string =~ s{^\w+://[^/]*}{}r;
    my @fields;
    $request->headers->scan(sub { push @fields, '-H', "$_[0]: $_[1]" });
    my ($code, $out) = run_command(['curl', '-sS', '--http2-prior-knowledge', '--path-as-is', '-i', '--max-time', 60, '--noproxy', '*', @fields,
        $server->url($target)]);
    is $code, 0, 'curl has a response' or diag $out;
    my $response = HTTP::Response->parse($out);
    # HTTP/2 has no reason phrases.
    $response->message(HTTP::Status::status_message($response->code));
    return $response;
}

# nghttpx decodes %73 and joins slashes before it sends a target: these go by curl.
my $TARGETS = qr/^(?:REQUEST_URI is set|repeated slashes)$/;

# Protects: what holds for handlers by HTTP/1 holds on HTTP/2 too.
check 'Plack::Test::Suite through nghttpx' => sub {
    with_program(nghttpx => sub {
        my $server = server(app => app_file('plack-suite'), options => {h2c => 1, start_servers => 2});
        my $front  = Gepok::Test::Front->http2($server) or return fail 'nghttpx starts';
        my $client = Plack::LWPish->new(no_proxy => ['127.0.0.1']);
        my $tests  = 0;
        for my $index (0 .. $#Plack::Test::Suite::TEST) {
            my ($name, $test) = @{$Plack::Test::Suite::TEST[$index]};
            # It wants HTTP/1.
            next if $name =~ /SERVER_PROTOCOL/;
            $tests++;
            check $name => sub {
                $test->(sub {
                    my $request = shift;
                    $request->header('X-Plack-Test' => $index);
                    $request->uri->port($name =~ $TARGETS ? $server->port : $front->port);
                    my $response = $name =~ $TARGETS ? sent_by_curl($server, $request) : $client->request($request);
                    # The suite takes the port that it has asked for that of the server.
                    my $content = $response->content;
                    $response->content($content) if $content =~ s/^(SERVER_PORT:)@{[ $server->port ]}$/$1@{[ $front->port ]}/m;
                    $response->request($request);
                    return $response;
                });
            };
        }
        is $tests, $#Plack::Test::Suite::TEST, 'all tests but one';
    });
};

check 'frameworks through nghttpx' => sub {
    with_program(nghttpx => sub {
        my ($code, $out) = run_command([$^X, '-Mblib', '-It/lib', 't/40-frameworks.t'],
            dir => root(), env => {GEPOK_TEST_HTTP2 => 1}, seconds => 300);
        is $code, 0, 't/40-frameworks.t' or diag $out;
    });
};

# A response as curl shows it, without what differs between versions and seconds.
sub by_curl {
    my ($version, $server, $path, @words) = @_;
    my ($code, $out) = run_command(['curl', '-sS', '--http' . $version, '-i', '--path-as-is', '--max-time', 60, '--noproxy', '*', @words,
        $server->url($path)]);
    my ($head, $content) = split /\r\n\r\n/, $out, 2;
    my ($line, @fields) = split /\r\n/, $head;
    my ($protocol, $status) = $line =~ m{^HTTP/(\S+) (\d+)} or return {code => $code, out => $out};
    $content =~ s/HTTP\/1\.1/HTTP\/2/g if defined $content;
    return {
        code => $code, status => $status, content => $content,
        fields => [sort map { s/^([^:]+)/\L$1/r } grep { !/^(?:date|connection|keep-alive|transfer-encoding|etag):/i } @fields],
    };
}

# Protects: which version a request comes by makes no difference to files, listings, rules of paths, refusals and the app.
check 'files: the same as by HTTP/1.1' => sub {
    my $folder = scratch();
    put("$folder/public/index.html", "<h1>home</h1>\n");
    put("$folder/public/a.txt",      join '', 'a' .. 'z');
    put("$folder/public/big.bin",    'x' x 300_000);
    put("$folder/public/empty.txt",  '');
    put("$folder/public/style.css",  "plain\n" x 10);
    put("$folder/public/style.css.gz", 'gzipped');
    put("$folder/public/list/one two.txt", "1\n");
    put("$folder/public/.env",       "PASSWORD=1\n");
    put("$folder/secret.txt",        "secret\n");
    my $server = server(app => $APP, entry => 'bin', options => {h2c => 1, start_servers => 1, documents => "$folder/public",
        directory => ["/l=$folder/public/list"], directory_list => 1, cache_control => 'max-age=60', compress => 1});
    for my $case (
        ['/'], ['/a.txt'], ['/big.bin'], ['/empty.txt'], ['/list'], ['/list/'], ['/l/one%20two.txt'], ['/hello'], ['/status/204'],
        ['/a.txt', '-I'], ['/a.txt', '-r', '3-5'], ['/a.txt', '-r', '100-'], ['/big.bin', '-r', '1-2,5-6', '-I'],
        ['/a.txt', '-H', 'If-Modified-Since: Sun, 09 Sep 2001 01:46:40 GMT'], ['/a.txt', '-H', 'If-Match: "x"'],
        ['/style.css', '-H', 'Accept-Encoding: gzip'], ['/a.txt', '-d', 'x=1'], ['/a.txt', '-X', 'OPTIONS'],
        ['/.env'], ['/../secret.txt'], ['/%2e%2e/secret.txt'], ['/a.txt/'], ['//a.txt'], ['/a%2etxt'], ['/a.txt?x=%zz'], ['/%zz'], ['/%00'],
        ['/large/100000'], ['/stream'],
    ) {
        my ($old, $new) = map { by_curl($_, $server, @$case) } '1.1', '2-prior-knowledge';
        ok $old->{status}, "@$case is answered" or diag explain $old;
        is_deeply $new, $old, "@$case";
    }
};

# Protects: the host that a rule, a file or a rewriting belongs to is that of :authority.
check 'virtual hosts: the same as by HTTP/1.1' => sub {
    my $folder = scratch();
    put("$folder/a/name.txt",       "file of a\n");
    put("$folder/a/closed/x.txt",   "closed\n");
    put("$folder/a/404.html",       "nothing here\n");
    put("$folder/b/name.txt",       "file of b\n");
    put("$folder/site.toml",        <<"END");
[[vhost]]
name       = "www.a.org"
aliases    = ["a.org", "*.a.org"]
documents  = "$folder/a"
fallback   = "404"
redirect   = { "/old/*" = "/new/*" }
error_page = { 404 = "/404.html" }

[[vhost.directory]]
path  = "/closed"
allow = ["192.0.2.0/24"]

[[vhost]]
name      = "b.org"
documents = "$folder/b"
END
    my $server = server(app => $APP, entry => 'bin', options => {h2c => 1, start_servers => 1, config => "$folder/site.toml"});
    for my $host (qw(www.a.org a.org x.a.org WWW.A.ORG b.org unknown.org a.org:81)) {
        for my $path (qw(/name.txt /old/x /closed/x.txt /%63losed/x.txt /nothing /hello)) {
            my ($old, $new) = map { by_curl($_, $server, $path, '-H', "Host: $host") } '1.1', '2-prior-knowledge';
            ok $old->{status} && $new->{status}, "$host$path is answered" or diag explain [$old, $new];
            is_deeply $new, $old, "$host$path";
        }
    }
};

# Protects: clients take turns at the workers; a hundred streams of one connection are one client. A queue without turns would take 1.25 s, a
# hundred calls of 50 ms on four workers.
check 'one connection with a hundred calls beside another client' => sub {
    with_program(h2load => sub {
        my $server = start(start_servers => 4, http2_max_streams => 100);
        my $waits  = sub {
            my @waits;
            for (1 .. 100) {
                my $began = time;
                is $server->get('/hello')->content, 'hello' or last;
                push @waits, time - $began;
                sleep 0.005;
            }
            return (sort { $a <=> $b } @waits)[98];
        };
        my ($alone, $beside);
        check 'alone' => sub { $alone = $waits->() };
        my $pid = open my $out, '-|', $_[0], '-D60', '-c1', '-m100', $server->url('/sleep/0.05') or die $!;
        ok soon { my $began = time; $server->get('/hello'); time - $began > 2 * $alone }, 'all workers are busy';
        check 'beside' => sub { $beside = $waits->() };
        kill TERM => $pid;
        close $out;
        note sprintf '99 of a hundred waited %.0f ms at most; without the other client %.0f ms', 1000 * $beside, 1000 * $alone;
        cmp_ok $beside, '<', 0.06 + max(10 * $alone, 0.1), 'the other client waits for one call';
    });
};

done_testing;
