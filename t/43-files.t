# Files that the core sends itself: every option through every entry, and what must never be sent.
use strict;
use warnings;

use HTTP::Date qw(time2str);
use POSIX      ();
use Test::More;
use Time::HiRes qw(time);

use Gepok::Test;
use Gepok::Test::Files qw(put);

gepok_only();

my $SECRET = "secret of the system\n";

# A folder `public` with files, and a file beside it that nobody may get.
sub site {
    my $folder = scratch();
    my $public = "$folder/public";
    put("$folder/secret.txt",      $SECRET);
    put("$public/index.html",      "<h1>home</h1>\n");
    put("$public/a.txt",           join '', 'a' .. 'z');
    put("$public/big.bin",         'x' x 300_000);
    put("$public/empty.txt",       '');
    put("$public/sub/index.html",  "sub\n");
    put("$public/list/one.txt",    "1\n");
    put("$public/list/two two.txt", "22\n");
    put("$public/.env",            "PASSWORD=1\n");
    put("$public/.well-known/x",   "known\n");
    put("$public/page.html~",      "old\n");
    put("$public/style.css",       "plain\n" x 10);
    put("$public/style.css.gz",    'gzipped');
    put("$public/style.css.br",    'brotli');
    put("$public/stale.css",       "new\n", 1e9 + 10);
    put("$public/stale.css.gz",    'old', 1e9);
    symlink 'a.txt', "$public/link.txt" or die $!;
    symlink '../secret.txt', "$public/out.txt" or die $!;
    symlink '/etc', "$public/etc" or die $!;
    POSIX::mkfifo("$public/fifo", 0644) or die $!;
    return $folder;
}

# Tells which process has answered; none but the app has this text.
my $APP = 'sub { my $env = shift; [200, ["Content-Type" => "text/plain"], ["app $env->{REQUEST_METHOD} $env->{PATH_INFO}"]] }';

my $folder = site();
my $public = "$folder/public";

each_entry {
    my $entry  = shift;
    my $server = server(
        entry   => $entry,
        app     => $APP,
        options => {
            start_servers => 1, documents => $public, directory => ["/static=$public", "/l=$public/list"],
            cache_control => 'max-age=60', charset => 'iso-8859-1', index_file => 'none.html index.html',
        },
    );
    my $got = $server->get('/a.txt');
    is $got->status,  200;
    is $got->content, join('', 'a' .. 'z');
    is $got->field('Content-Type'),  'text/plain; charset=iso-8859-1', 'type and charset';
    is $got->field('Last-Modified'), time2str(1e9);
    is $got->field('Accept-Ranges'), 'bytes';
    is $got->field('Cache-Control'), 'max-age=60';
    like $got->field('ETag'), qr/^"[0-9a-f]+-1a"$/, 'a strong entity tag';
    is $server->get('/a.txt', 'If-None-Match' => $got->field('ETag'))->status, 304;

    is $server->get('/')->content,           "<h1>home</h1>\n",   'the index file';
    is $server->get('/nothing')->content,    'app GET /nothing',  'what is not there goes to the app';
    is $server->get('/list/')->content,      'app GET /list/',    'so does a directory without an index';
    is $server->get('/list')->content,       'app GET /list',     'and is not redirected';
    is $server->post('/a.txt', 'x')->content, 'app POST /a.txt',  'and what is not GET or HEAD';
    is $server->get('/static/a.txt')->status, 200;
    is $server->get('/static/nothing')->status, 404, 'not in a directory of its own path';
    is $server->get('/static/nothing')->content, "Not Found\n", 'a line of text says so';
    my $page = $server->get('/static/nothing', Accept => 'text/html,application/xhtml+xml,*/*;q=0.8');
    is $page->status, 404, 'for a browser, too';
    is $page->field('Content-Type'), 'text/html; charset=utf-8', 'which gets a page';
    like $page->content, qr{<title>404 Not Found</title>}, 'that says it';
    is $server->get('/l/one.txt')->content, "1\n";
    is $server->post('/static/a.txt', 'x')->status, 405;
    is $server->post('/static/a.txt', 'x')->field('Allow'), 'GET, HEAD, OPTIONS';
};

# A download that was interrupted: curl has the first part of a file, and asks for the rest.
check 'curl resumes a download' => sub {
    my $folder = site();
    my $server = server(app => 'sub { [404, [], []] }', options => {documents => "$folder/public", start_servers => 1});
    put("$folder/part", 'x' x 100_000);
    my ($status, $output) = run_command(['curl', '-sS', '--noproxy', '*', '-C', '-', '-o', "$folder/part", '-w', '%{http_code} %{size_download}', $server->url('/big.bin')]);
    is "$status $output", '0 206 200000', 'only the rest is sent';
    is -s "$folder/part", 300_000, 'and the file is whole';
};

check 'methods, conditions and ranges' => sub {
    my $server = server(app => $APP, options => {start_servers => 1, directory => "/=$public"});
    my $head   = $server->exchange("HEAD /a.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\nRange: bytes=0-1\r\n\r\n", 'HEAD');
    is $head->status, 200, 'HEAD knows no ranges';
    is $head->field('Content-Length'), 26;
    my $options = $server->exchange("OPTIONS /a.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 'OPTIONS');
    is $options->status, 204;
    is $options->field('Allow'), 'GET, HEAD, OPTIONS';

    my $part = $server->get('/a.txt', Range => 'bytes=2-4');
    is $part->status,  206;
    is $part->content, 'cde';
    is $part->field('Content-Range'), 'bytes 2-4/26';
    is $server->get('/a.txt', Range => 'bytes=-3')->content, 'xyz';
    my $big = $server->get('/big.bin', Range => 'bytes=299990-');
    is length $big->content, 10, 'the end of a large file';
    my $none = $server->get('/a.txt', Range => 'bytes=26-');
    is $none->status, 416;
    is $none->field('Content-Range'), 'bytes */26';

    my $several = $server->get('/big.bin', Range => 'bytes=0-1, 5-6,-3');
    is $several->status, 206;
    my ($boundary) = $several->field('Content-Type') =~ /^multipart\/byteranges; boundary=(\w+)$/;
    my @parts = split /(?:\r\n)?--\Q$boundary\E(?:--)?\r\n/, $several->content;
    is_deeply [map { /\r\n\r\n(.*)/s ? length $1 : () } @parts], [2, 2, 3], 'three parts';
    like $parts[2], qr{^Content-Type: application/octet-stream\r\nContent-Range: bytes 5-6/300000\r\n\r\nxx$};
    is length $several->content, $several->field('Content-Length');

    is $server->get('/a.txt', 'If-Modified-Since'   => time2str(1e9))->status,     304;
    is $server->get('/a.txt', 'If-Modified-Since'   => time2str(1e9 - 1))->status, 200;
    is $server->get('/a.txt', 'If-Unmodified-Since' => time2str(1e9 - 1))->status, 412;
    is $server->get('/a.txt', 'If-Match'            => '"x"')->status,             412;
    is $server->get('/a.txt', 'If-Range' => '"x"', Range => 'bytes=0-1')->status,  200;
    is $server->get('/a.txt', 'If-Range' => time2str(1e9), Range => 'bytes=0-1')->status, 206;
    is $server->get('/empty.txt')->status, 200;
    is $server->get('/empty.txt')->field('Content-Length'), 0;

    # One connection, so that a wrong length would show.
    my $connection = $server->connect;
    for (1 .. 3) {
        $connection->send("GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\nGET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n"
            . "GET /big.bin HTTP/1.1\r\nHost: x\r\nRange: bytes=0-0,9-9\r\n\r\n");
        is length $connection->response('GET')->content, 300_000;
        is $connection->response('GET')->content, join('', 'a' .. 'z');
        is $connection->response('GET')->status, 206;
    }
};

check 'variants' => sub {
    my $server = server(app => $APP, options => {start_servers => 1, documents => $public});
    my $plain  = $server->get('/style.css');
    is $plain->field('Content-Encoding'), undef;
    is $plain->field('Vary'), 'Accept-Encoding', 'the plain one says that there are others';
    my %tags = ($plain->field('ETag') => 1);
    for (['gzip', 'gzip'], ['gzip, br', 'br'], ['br;q=0.1, gzip;q=0.2', 'gzip'], ['zstd', undef], ['br;q=0', undef]) {
        my ($accept, $coding) = @$_;
        my $got = $server->get('/style.css', 'Accept-Encoding' => $accept);
        is $got->field('Content-Encoding'), $coding, $accept;
        is $got->field('Content-Type'), 'text/css; charset=utf-8';
        $tags{$got->field('ETag')} = 1;
    }
    is keys %tags, 3, 'each has an entity tag of its own';
    is $server->get('/style.css', 'Accept-Encoding' => 'identity;q=0, zstd')->status, 406;
    is $server->get('/stale.css', 'Accept-Encoding' => 'gzip')->content, "new\n", 'a variant that is older is none';
    my $range = $server->get('/style.css', 'Accept-Encoding' => 'gzip', Range => 'bytes=0-3');
    is $range->content, 'gzip', 'a range of the variant';
    is $server->get('/a.txt', 'Accept-Encoding' => 'gzip')->content, join('', 'a' .. 'z');
};

check 'directories' => sub {
    my $server = server(app => $APP, options => {start_servers => 1, documents => $public, directory_list => 1});
    my $moved  = $server->get('/sub?a=b');
    is $moved->status, 301;
    is $moved->field('Location'), '/sub/?a=b';
    is $server->get('/sub/')->content, "sub\n";
    put("$public/list/<script>alert(1)<", "x");
    put("$public/list/.hidden",           "x");
    my $page = $server->get('/list/');
    is $page->status, 200;
    is $page->field('Content-Type'), 'text/html; charset=utf-8';
    like $page->field('Content-Security-Policy'), qr/default-src 'none'/;
    like $page->content,   qr{<a href="\./two%20two\.txt">};
    unlike $page->content, qr/<script|\.hidden/, 'names are text, and hidden ones are not told';
    my $list = json($server->get('/list/', Accept => 'application/json')->content);
    is_deeply [map { $_->{name} } @$list], ['<script>alert(1)<', 'one.txt', 'two two.txt'];
    is $list->[1]{size}, 2;
    is_deeply json($server->get('/list/?json')->content), $list;
    is_deeply [map { $_->{name} } @{json($server->get('/list/?json&sort=size&order=desc')->content)}],
        ['two two.txt', 'one.txt', '<script>alert(1)<'], 'sorted by size';
    is $server->get('/list/', Accept => 'image/png')->status, 406;
    is $server->get('/list/one.txt/')->content, 'app GET /list/one.txt/', 'a file is no directory';
    # A name that a browser would take for another host.
    system 'mkdir', '-p', "$public/\\evil.example";
    is $server->get('/\\evil.example')->field('Location'), '/%5Cevil.example/';
};

check 'symlinks' => sub {
    my %expected = (
        none   => {'/link.txt' => 404, '/out.txt' => 404, '/etc/passwd' => 404},
        owner  => {'/link.txt' => 200, '/out.txt' => 404, '/etc/passwd' => 404},
        inside => {'/link.txt' => 200, '/out.txt' => 404, '/etc/passwd' => 404},
        follow => {'/link.txt' => 200, '/out.txt' => 200, '/etc/passwd' => 200},
    );
    for my $links (sort keys %expected) {
        my $server = server(app => $APP, options => {start_servers => 1, directory => "/=$public", symlinks => $links});
        is $server->get($_)->status, $expected{$links}{$_}, "$links: $_" for sort keys %{$expected{$links}};
        is $server->get('/sub/index.html')->content, "sub\n", "$links: no link";
        my $refused = grep { $_ == 404 } values %{$expected{$links}};
        ok soon { my $told = () = $server->log =~ /option 'symlinks' does not allow/g; $told == $refused },
            "$links: each refused link is logged";
    }
    SKIP: {
        skip 'needs root to make links of other users', 1 if $>;
        my $server = server(app => $APP, options => {start_servers => 1, directory => "/=$public", symlinks => 'owner'});
        symlink 'a.txt', "$public/theirs.txt" or die $!;
        system 'chown', '-h', '65534', "$public/theirs.txt";
        is $server->get('/theirs.txt')->status, 404, 'the link of another user';
    }
};

check 'hidden' => sub {
    my $server = server(app => $APP, options => {start_servers => 1, directory => "/=$public"});
    is $server->get($_)->status, 404, $_ for '/.env', '/%2eenv', '/page.html~', '/.git/config';
    is $server->get('/.well-known/x')->status, 200;
    $server = server(app => $APP, options => {start_servers => 1, directory => "/=$public", hidden => 1});
    is $server->get('/.env')->status, 200;
};

check 'fallback' => sub {
    my $server = server(app => $APP, options => {start_servers => 1, documents => $public, fallback => '/index.html'});
    my $got    = $server->get('/some/page');
    is $got->status,  200;
    is $got->content, "<h1>home</h1>\n", 'a single-page application';
    $server = server(app => $APP, options => {start_servers => 1, documents => $public, fallback => '404'});
    is $server->get('/some/page')->status, 404;
    is $server->get('/list/')->status,     403, 'a directory that is not listed';
    is $server->get('/list')->status,      301;
    $server = server(app => $APP, options => {start_servers => 1, directory => "/s=$public", fallback => 'app'});
    is $server->get('/s/nothing')->content, 'app GET /s/nothing';
};

check 'mime_types' => sub {
    my $types = put("$folder/mime.types", "types {\n  text/x-odd\n    odd;\n application/x-css css; }\n");
    put("$public/a.odd", 'x');
    my $server = server(app => $APP, options => {start_servers => 1, documents => $public, mime_types => $types, charset => ''});
    is $server->get('/a.odd')->field('Content-Type'),      'text/x-odd';
    is $server->get('/style.css')->field('Content-Type'),  'application/x-css';
    is $server->get('/index.html')->field('Content-Type'), 'text/html';
    is $server->get('/big.bin')->field('Content-Type'),    'application/octet-stream';
};

# Protects: the core answers while no worker can, and a FIFO holds up nobody.
check 'no worker has a part in it' => sub {
    my $server = server(app => 'sub { sleep 600 }', options => {start_servers => 1, documents => $public});
    my $hangs = $server->connect;
    $hangs->send("GET /app HTTP/1.1\r\nHost: x\r\n\r\n");
    is $server->get('/a.txt')->status, 200, 'while the worker hangs';
    $server = server(app => $APP, options => {start_servers => 1, directory => "/=$public"});
    is $server->get('/fifo')->status, 404, 'a FIFO is no file';
    $server = server(app => $APP, options => {start_servers => 1, directory => '/=/dev'});
    is $server->get("/$_")->status, 404, "/dev/$_ is no file" for qw(zero tty null);
};

check 'unreadable files' => sub {
    plan skip_all => 'root may read all' if !$>;
    put("$public/locked.txt", 'x');
    chmod 0, "$public/locked.txt";
    my $server = server(app => $APP, options => {start_servers => 1, documents => $public});
    is $server->get('/locked.txt')->status, 403;
};

# Protects: what the kernel can't copy to the socket is read, for each kind of response.
check 'over TLS' => sub {
    require Gepok::Test::TLS;
    plan skip_all => 'IO::Socket::SSL is not installed' if !Gepok::Test::TLS::usable();
    plan skip_all => 'curl is missing' if !grep { -x "$_/curl" } split /:/, $ENV{PATH};
    my $server = Gepok::Test::TLS::https(app => $APP, options => {start_servers => 1, ssl_self_signed => 1, documents => $public});
    my $get    = sub { my (undef, $text) = run_command(['curl', '-sk', @_[1 .. $#_], "https://127.0.0.1:$server->{port}$_[0]"]); $text };
    is $get->('/a.txt'), join('', 'a' .. 'z');
    is length $get->('/big.bin'), 300_000;
    is $get->('/big.bin', '-r', '299999-'), 'x';
    like $get->('/big.bin', '-r', '0-0,9-9'), qr{Content-Range: bytes 9-9/300000\r\n\r\nx\r\n--};
};

# Protects: a client never takes a part of a file for the whole.
check 'a file that shrinks cuts the connection' => sub {
    my $huge = "$public/huge.bin";
    open my $file, '>', $huge or die $!;
    truncate $file, 64 << 20;
    my $server     = server(app => $APP, options => {start_servers => 1, documents => $public});
    my $connection = $server->connect;
    $connection->send("GET /huge.bin HTTP/1.1\r\nHost: x\r\n\r\n");
    $connection->upto("\r\n\r\n");
    truncate $file, 1 << 20;
    my $rest = $connection->rest;
    cmp_ok length $rest, '<', 64 << 20;
    ok soon { $server->log =~ /a file became shorter while it was being sent/ };
    is $server->get('/a.txt')->status, 200, 'the server goes on';
    unlink $huge;
};

check 'mistakes are one sentence, and status 2' => sub {
    my $gepok = root() . '/blib/script/gepok';
    for (
        [['--documents', '/nowhere'], qr{^gepok: option 'documents': the directory '/nowhere' can't be opened: No such file or directory$}],
        [['--directory', "/s=$public/a.txt"], qr{^gepok: option 'directory': the directory '\S+' can't be opened: Not a directory$}],
        [['--directory', 's'], qr{^gepok: option 'directory': 's' is not of the form /PATH=DIR$}],
        [['--symlinks', 'some'], qr{^gepok: option 'symlinks': 'some' is not none, owner, inside or follow$}],
        [['--mime-types', '/nowhere'], qr{^gepok: option 'mime_types': '/nowhere' can't be read: No such file or directory$}],
        [['--mime-types', "$public/a.txt"], qr{^gepok: option 'mime_types': 'abc\w+' in '\S+' does not begin with a media type$}],
    ) {
        my ($arguments, $expected) = @$_;
        my ($status, $text) = run_command([$gepok, '--port', free_port(), @$arguments, '-e', $APP]);
        is $status >> 8, 2, "@$arguments";
        like $text, $expected;
    }
};

# Protects: nothing outside is ever sent, however its path is spelled.
check '300 spellings of a way out' => sub {
    my @dots  = ('..', '%2e%2e', '.%2e', '%2E.', '%252e%252e', '..%00', '..;', '..%5c', '%c0%ae%c0%ae', "\xc0\xae\xc0\xae", '%u002e%u002e', '....', '. .');
    my @slash = ('/', '%2f', '%5c', '\\', '//', '%252f', '%c0%af', '/./');
    my @start = ('/', '/sub/', '/static/', '/%2e/', '//');
    my @all;
    for my $start (@start) {
        for my $dots (@dots) {
            push @all, map { $start . ($dots . $_) x ($start =~ /s/ ? 2 : 1) . 'secret.txt' } @slash;
        }
    }
    push @all, map {"/$_"} '/etc/passwd', 'etc/passwd', 'out.txt', 'file:///etc/passwd', '%2fetc%2fpasswd', '../public/../secret.txt',
        'sub/%2e%2e/%2e%2e/secret.txt', 'a.txt/../../secret.txt', 'a.txt%00.html', 'a.txt/', 'secret.txt', '../secret.txt?', '~root';
    cmp_ok scalar @all, '>=', 300, scalar(@all) . ' spellings';
    my $server = server(app => $APP, options => {start_servers => 1, documents => $public, directory => "/static=$public", symlinks => 'inside'});
    my ($leaks, %status) = (0);
    for my $target (@all) {
        my $got = $server->get($target);
        $status{$got->status}++;
        $leaks++ if $got->content =~ /secret of|root:/ && $got->content !~ /^app /;
        fail("$target: " . $got->status) if $got->status !~ /^(?:200|400|404)$/ || $got->status == 200 && $got->content !~ /^app /;
    }
    is $leaks, 0, join ', ', map {"$_: $status{$_}"} sort keys %status;
};

# Protects: what is swapped while it is looked up leads nowhere outside (longer with GEPOK_RACE_SECONDS).
check 'files, links and directories that are swapped' => sub {
    my $arena = scratch();
    system 'mkdir', '-p', "$arena/root/d", "$arena/outside";
    put("$arena/outside/f", $SECRET);
    put("$arena/root/d/f",  'inside');
    put("$arena/root/in",   'inside');
    my $pid = fork // die $!;
    if (!$pid) {
        chdir "$arena/root" or die $!;
        for (;;) {
            symlink '../outside', 'l' and rename('d', 'x'), rename('l', 'd'), unlink('d'), rename('x', 'd');
            symlink '../../outside/f', 'd/l' and rename('d/f', 'd/x'), rename('d/l', 'd/f'), rename('d/x', 'd/f');
            rename 'd', '../d' and rename '../d', 'd';
        }
        POSIX::_exit(0);
    }
    for my $links (qw(none owner inside)) {
        my $server = server(app => $APP, options => {start_servers => 1, directory => "/=$arena/root", symlinks => $links, directory_list => 1});
        my %count;
        my $end        = time + ($ENV{GEPOK_RACE_SECONDS} || 2);
        my $connection = $server->connect;
        while (time < $end) {
            $connection->send(join '', map {"GET $_ HTTP/1.1\r\nHost: x\r\n\r\n"} ('/d/f', '/in', '/d/../d/f', '/d/?json') x 8);
            for (1 .. 32) {
                my $got = $connection->response('GET');
                $count{$got->status}++;
                fail('what is outside was sent') if $got->content =~ /secret of/;
            }
        }
        ok $count{200}, "$links: " . join ', ', map {"$_: $count{$_}"} sort keys %count;
        is_deeply [grep { !/^(?:200|301|404|500)$/ } keys %count], [], 'no other status';
    }
    kill KILL => $pid;
    waitpid $pid, 0;
};

done_testing;
