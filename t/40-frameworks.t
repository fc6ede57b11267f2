# Real applications behind the server: frameworks, CGI scripts, middlewares, as Debian ships them, asked by a browser-like
# client with cookies and by curl.
use strict;
use warnings;

use Test::More;
use HTTP::Request::Common qw(GET POST HEAD);

use Gepok::Test;
use Gepok::Test::Front;

for my $module (qw(LWP::UserAgent HTTP::Cookies Dancer2 Catalyst Mojolicious CGI CGI::Emulate::PSGI CGI::Compile
    Plack::Middleware::Session Plack::Middleware::Deflater Plack::Middleware::Debug))
{
    eval "require $module; 1" or plan skip_all => "$module is missing: script/test installs it";
}

# GEPOK_TEST_HTTP2: by HTTP/2, with nghttpx as its client; see t/49-http2-clients.t.
my $by_http2 = is_gepok() && $ENV{GEPOK_TEST_HTTP2};
my $server = server(app => app_file('frameworks'), options => {start_servers => 3, is_gepok() ? (keepalive_timeout => 100) : (),
    $by_http2 ? (h2c => 1) : ()});
my $front = $by_http2 ? Gepok::Test::Front->http2($server) // BAIL_OUT('nghttpx does not start') : $server;

sub browser {
    return LWP::UserAgent->new(
        cookie_jar => HTTP::Cookies->new,
        keep_alive => 1,
        no_proxy   => ['127.0.0.1'],
        agent      => 'Mozilla/5.0 (compatible)',
        timeout    => 60,
    );
}
my $browser = browser();

sub curl {
    my ($status, $output) = run_command(['curl', '-sS', '--noproxy', '*', '--max-time', '60', @_]);
    diag $output if $status;
    return $output;
}

sub upload {
    my ($path) = @_;
    return POST $front->url($path), Content_Type => 'form-data',
        Content => [note => 'n', file => [undef, 'name.bin', Content => 'u' x 300_000]];
}

my @pages = (
    [GET('/dancer/'),              200, 'Dancer2 says hello'],
    [GET('/dancer/name/x%20y'),    200, 'Hello x y'],
    [GET('/dancer/json'),          200, qr/"answer":42/],
    [GET('/dancer/go'),            200, 'Hello redirected'],
    [GET('/dancer/stream'),        200, 'streamed by Dancer2'],
    [GET('/dancer/file'),          200, qr/^A file served/],
    [GET('/dancer/die'),           500, qr/Error/i],
    [GET('/dancer/missing'),       404, qr/not found/i],
    [GET('/catalyst/'),            200, 'Catalyst says hello'],
    [GET('/catalyst/echo/a%20b?q=c%2Bd'), 200, 'echo a b c+d'],
    [GET('/catalyst/stream'),      200, 'streamed by Catalyst'],
    [GET('/catalyst/handle'),      200, qr/^A file served/],
    [GET('/catalyst/lost'),        404, 'lost'],
    [GET('/catalyst/nowhere'),     404, 'not found'],
    [GET('/mojo/'),                200, 'Mojolicious says hello'],
    [GET('/mojo/echo/x'),          200, 'echo x'],
    [GET('/mojo/stream'),          200, 'streamed by Mojolicious'],
    [GET('/mojo/missing'),         404, qr/./],
    [GET('/emulated/p/q'),         201, 'emulated GET /p/q '],
    [GET('/wrapped/x?name=World'), 200, "Hello World by GET of /wrapped/x\n"],
    [GET('/compiled/x?name=World'), 200, "Hello World by GET of /compiled/x\n"],
    [GET('/files/'),               200, qr/a%20file\.txt/],
    [GET('/files/a%20file.txt'),   200, qr/^A file served/],
    [GET('/files/missing'),        404, qr/not found/i],
    [GET('/files/../frameworks.psgi'), qr/^40[034]$/, qr/./],
    [GET('/static/s/a%20file.txt'), 200, qr/^A file served/],
    [GET('/static/other'),         200, 'plain hello'],
    [GET('/debug/'),               200, qr/debugged.*plDebug/s],
    [GET('/others/'),              200, 'other hello'],
    [GET('/others/', 'If-None-Match' => '"tag"'), 304, ''],
    [GET('/'),                     200, 'plain hello'],
);

for my $page (@pages) {
    my ($request, $status, $content) = @$page;
    my $path = $request->uri->as_string;
    # nghttpx resolves it itself.
    next if $by_http2 && $path =~ /\.\./;
    $request->uri($front->url($path));
    my $response = $browser->request($request);
    like $response->code, ref $status ? $status : qr/^$status$/, "$path: status" or diag $response->as_string;
    ref $content ? like($response->content, $content, "$path: content") : is($response->content, $content, "$path: content");
}

for my $path (qw(/ /dancer/ /catalyst/ /mojo/ /files/a%20file.txt /others/)) {
    my $response = $browser->request(HEAD $front->url($path));
    is $response->code . length $response->content, '2000', "HEAD $path";
}

for my $framework (qw(dancer catalyst mojo)) {
    my $form = POST $front->url("/$framework/form"), [a => 'one two', b => "\xc3\xa9&="];
    my $got = $browser->request($form)->content;
    utf8::encode($got) if $got =~ /\xe9/ && $got !~ /\xc3/;
    is $got, "a=one two,b=\xc3\xa9&=", "$framework: a form";
    is $browser->request(upload("/$framework/upload"))->content, 'name.bin 300000', "$framework: an upload";
}
is $browser->request(POST $front->url('/emulated'), Content => 'by STDIN')->content, 'emulated POST  by STDIN',
    'CGI::Emulate::PSGI: content arrives at STDIN';
is $browser->request(POST $front->url('/wrapped'), [name => 'Posted'])->content,
    "Hello Posted by POST of /wrapped\n", 'WrapCGI: so it does in a process of its own';
like $browser->get($front->url('/wrapped'))->header('Set-Cookie'), qr/^c=v/, 'and a cookie comes back';

for my $path (qw(/session /mojo/count)) {
    my $own = browser();
    is_deeply [map { $own->get($front->url($path))->content } 1 .. 5], [1 .. 5], "$path: a session lives in a cookie";
    is browser()->get($front->url($path))->content, 1, 'which others do not share';
}

{
    my $response = $browser->get($front->url('/deflated'), 'Accept-Encoding' => 'gzip');
    is $response->header('Content-Encoding'), 'gzip', 'Deflater compresses';
    is $response->decoded_content, 'compress me ' x 1000, 'to what can be read again';
    $response = $browser->get($front->url('/proxied'), 'X-Forwarded-For' => '192.0.2.7', 'X-Forwarded-Proto' => 'https',
        'X-Forwarded-Host' => 'front.example');
    is $response->content, '192.0.2.7 https front.example', 'ReverseProxy rewrites the environment';
    ok $browser->get($front->url('/others/'))->header('X-Runtime'), 'Runtime adds its field';
}

# curl, a client of another school: one connection for several requests, HTTP/1.0, ranges of uploads, compression.
is curl($front->url('/dancer/'), $front->url('/mojo/'), $front->url('/catalyst/')),
    'Dancer2 says helloMojolicious says helloCatalyst says hello', 'curl: three on one connection';
is curl('--http1.0', $front->url('/dancer/stream')), 'streamed by Dancer2', 'curl: HTTP/1.0';
# Mojolicious chunks its content itself.
is curl('--http1.0', $front->url('/mojo/stream')), 'streamed by Mojolicious', 'curl: HTTP/1.0 beside chunks of the app';
is curl($front->url('/mojo/stream'), '-o', '-', $front->url('/mojo/'), '-w', ' %{num_connects}'),
    'streamed by Mojolicious 1Mojolicious says hello 0', 'curl: the connection goes on behind them';
is curl('--compressed', $front->url('/deflated')), 'compress me ' x 1000, 'curl: compressed';
is curl('-L', $front->url('/dancer/go')), 'Hello redirected', 'curl: a redirection';
is curl('-d', 'a=1', '-d', 'b=2', $front->url('/catalyst/form')), 'a=1,b=2', 'curl: a form';
{
    my $folder = scratch();
    open my $file, '>', "$folder/large" or die $!;
    print {$file} 'l' x 3_000_000;
    close $file;
    is curl('-F', "file=\@$folder/large;filename=l", $front->url('/mojo/upload')), 'l 3000000',
        'curl: an upload of 3 MB with Expect: 100-continue';
    is curl('-T', "$folder/large", '-H', 'Transfer-Encoding: chunked', '-o', '/dev/null', '-w', '%{http_code}',
        $front->url('/')), 200, 'curl: a chunked PUT';
}
like curl('-I', $front->url('/files/a%20file.txt')), qr/^HTTP\/1\.1 200 OK\r\n.*Content-Length: 40\r\n/s, 'curl: HEAD';

# Many clients at once, and none gets another's answer.
{
    my @kids = map {
        my $kid = $_;
        my $pid = fork // die $!;
        if (!$pid) {
            my $own = browser();
            my $bad = 0;
            for my $turn (1 .. 15) {
                my $word = "k$kid-$turn";
                $bad++ unless $own->get($front->url("/mojo/echo/$word"))->content eq "echo $word";
                $bad++ unless $own->get($front->url("/dancer/name/$word"))->content eq "Hello $word";
            }
            POSIX::_exit($bad ? 1 : 0);
        }
        $pid;
    } 1 .. 6;
    my $bad = grep { waitpid $_, 0; $? } @kids;
    is $bad, 0, 'six browsers at once each get their own answers';
}

unlike $server->log, qr/Use of uninitialized|PSGI (?:panic|error)/i, 'the log holds no warning' or diag $server->log;
is $server->stop, 0, 'it ends with status 0';

done_testing;
