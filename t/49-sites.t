# Virtual hosts: which host has a request, its files, redirects and rules, and what a reload changes.
use strict;
use warnings;

use Test::More;

use IO::Socket::UNIX;
use Gepok::Test;
use Gepok::Test::Connection;

gepok_only();

my $root = root();
my $bin  = "$root/blib/script/gepok";

sub spew  { open my $file, '>', $_[0] or die "$_[0]: $!"; print {$file} $_[1]; close $file or die $! }
sub slurp { open my $file, '<', $_[0] or return ''; local $/; scalar(<$file>) // '' }

my @started;
END { kill TERM => @started if @started }

# A server that goes by the text of this file: (its process id, its folder, its port).
sub begin {
    my ($dir, $text, @arguments) = @_;
    my $port = free_port();
    spew("$dir/site.toml", "http_ports = ['127.0.0.1:$port']\nunix_sockets = ['$dir/socket']\nmax_workers = 1\npid_path = '$dir/pid'\n$text");
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        chdir $dir or POSIX::_exit(1);
        open STDOUT, '>>', "$dir/log" or die $!;
        open STDERR, '>&', \*STDOUT;
        exec $bin, '-c', 'site.toml', @arguments or POSIX::_exit(1);
    }
    push @started, $pid;
    ok soon { eval { get($port, '/', 'nobody'); 1 } }, 'it serves' or BAIL_OUT(slurp("$dir/log"));
    return ($pid, $port);
}

sub end {
    my $pid = shift;
    @started = grep { $_ != $pid } @started;
    kill TERM => $pid;
    waitpid $pid, 0;
    return;
}

# By port, or by the path of a Unix socket.
sub get {
    my ($at, $target, $host, $method) = @_;
    my $client = Gepok::Test::Connection->new($at =~ /\A\d+\z/ ? (port => $at) : (path => $at));
    $client->send(($method // 'GET') . " $target HTTP/1.1\r\n" . (defined $host ? "Host: $host\r\n" : '') . "Connection: close\r\n\r\n");
    return $client->response($method // 'GET');
}

my $APP = q{sub { my $env = shift; [200, [], ["app of $env->{HTTP_HOST}, $env->{PATH_INFO}"]] }};

check 'hosts by name, by domain, by default' => sub {
    my $dir = scratch();
    for my $host (qw(a b c)) {
        mkdir "$dir/$host" or die $!;
        spew("$dir/$host/name.txt", "file of $host");
        spew("$dir/$host/top.html", "top of $host");
    }
    my ($pid, $port) = begin("$dir", <<'TOML', '-e', $APP);
cache_control = "max-age=1"
status_path   = "/server-status"

[[vhost]]
name       = "www.a.org"
aliases    = ["a.org", "*.a.org"]
documents  = "a"
index_file = "top.html"

[[vhost]]
name          = "b.org"
documents     = "b"
fallback      = "404"
cache_control = "max-age=2"

[vhost.directory]
"/of-c" = "c"
TOML
    for my $name (qw(www.a.org a.org WWW.A.ORG a.org. a.org:80 x.a.org x.y.a.org)) {
        is get($port, '/name.txt', $name)->content, 'file of a', "$name: the first host";
    }
    is get($port, '/', 'a.org')->content, 'top of a', 'with its index file';
    is get($port, '/name.txt', 'a.org')->field('Cache-Control'), 'max-age=1', "and an option of the server's";
    is get($port, '/x', 'a.org')->content, 'app of a.org, /x', 'what it does not have goes to the app';
    is get($port, '/name.txt', 'b.org')->content, 'file of b', 'b.org: the second host';
    is get($port, '/name.txt', 'b.org')->field('Cache-Control'), 'max-age=2', 'with an option of its own';
    is get($port, '/x', 'b.org')->status, 404, 'and without an app';
    is get($port, '/of-c/name.txt', 'b.org')->content, 'file of c', 'and a directory';
    is get($port, '/of-c/name.txt', 'a.org')->content, 'app of a.org, /of-c/name.txt', 'which the first host does not have';
    is get($port, 'http://b.org/name.txt', 'a.org')->content, 'file of b', 'the host of a whole URL counts';
    for my $name (qw(c.org xa.org org 127.0.0.1)) {
        is get($port, '/name.txt', $name)->status, 404, "$name: no host has it, and there is no default";
    }
    is get($port, '/name.txt', '')->status, 404, 'nor one for an empty name';
    is get($port, '/server-status', 'c.org')->status, 200, 'the status page is for every name';
    end($pid);
};

check 'the default host has all other names' => sub {
    my $dir = scratch();
    my ($pid, $port) = begin("$dir", <<'TOML', '-e', $APP);
[[vhost]]
name = "a.org"
redirect = { "/" = "/a" }
[[vhost]]
name    = "b.org"
default = true
TOML
    is get($port, '/', $_)->content, "app of $_, /", "$_: the app, by the default" for qw(b.org c.org 127.0.0.1);
    is get($port, '/', 'a.org')->status, 307, 'a known name: its own host';
    my $client = Gepok::Test::Connection->new(port => $port);
    $client->send("GET / HTTP/1.0\r\n\r\n");
    like $client->response->content, qr/^app of /, 'HTTP/1.0 without a name: the default';
    end($pid);
};

check 'redirects' => sub {
    my $dir = scratch();
    my ($pid, $port) = begin("$dir", <<'TOML', '-e', $APP);
[[vhost]]
name     = "a.org"
redirect = { "/old/*" = "/new/*", "/news" = [301, "https://news.example.org/"], "/up/*" = "/*" }
TOML
    for my $case (
        ['/old/x/y?z=1', 307, '/new/x/y?z=1'],
        ['/old/',        307, '/new/'],
        ['/news',        301, 'https://news.example.org/'],
        ['/up//evil.org/x', 307, '/evil.org/x'],
    ) {
        my ($target, $status, $place) = @$case;
        my $response = get($port, $target, 'a.org');
        is $response->status, $status, "$target: $status";
        is $response->field('Location'), $place, "to $place";
    }
    is get($port, '/old/x', 'a.org', 'POST')->status, 307, 'for every method';
    is get($port, '/older/x', 'a.org')->content, 'app of a.org, /older/x', 'a path that only begins with the same letters is the app\'s';
    end($pid);
};

check 'rewriting' => sub {
    my $dir = scratch();
    mkdir "$dir/$_" or die $! for qw(public public/new public/private);
    spew("$dir/public/index-en.html", 'English');
    spew("$dir/public/new/x.txt",     'new x');
    spew("$dir/public/private/x.txt", 'private x');
    my ($pid, $port) = begin("$dir", <<'TOML', '-e', 'sub { [200, [], ["app: $_[0]{PATH_INFO} $_[0]{REQUEST_URI} $_[0]{HTTP_HOST}"]] }');
access_log_path   = "access"
access_log_format = "%r"

[[vhost]]
name      = "a.org"
documents = "public"
redirect  = { "/old/moved" = "/there" }

[vhost.rewrite]
"/"        = "/index-en.html"
"/old/*"   = "/new/*"
"/new/y"   = "/old/y"
"/short/*" = "/app/*"
"/open/*"  = "/private/*"
"/q"       = "/app?a=1"

[[vhost.directory]]
path = "/private"
deny = "all"
TOML
    is get($port, '/', 'a.org')->content, 'English', 'a path alone';
    is get($port, '/old/x.txt', 'a.org')->content, 'new x', 'the paths below one';
    is get($port, '/old/moved', 'a.org')->status, 307, 'redirects come first';
    is get($port, '/new/y', 'a.org')->content, 'app: /old/y /old/y a.org', 'a path is rewritten once';
    is get($port, '/short/a%20b?c=d', 'a.org')->content, 'app: /app/a b /app/a%20b?c=d a.org', 'the app sees the new path, and the query';
    is get($port, '/q?b=2', 'a.org')->content, 'app: /app /app?a=1 a.org', 'a query of its own takes the place of the other';
    is get($port, 'http://a.org/short/x', 'b.org')->content, 'app: /app/x http://a.org/app/x a.org', 'the host of a whole URL stays';
    is get($port, '/open/x.txt', 'a.org')->status, 403, 'the rule of the new path counts';
    is get($port, '/old/../private/x.txt', 'a.org')->status, 403, 'whatever the rest of the path is';
    end($pid);
    like slurp("$dir/access"), qr{^GET /short/a%20b\?c=d HTTP/1\.1$}m, 'the access log has what the client asked for';
};

# What clients see of rules: the path, the client (by X-Forwarded-For of a trusted proxy), whether it may.
check 'rule, client, spelling, decision' => sub {
    my $dir = scratch();
    my ($pid, $port) = begin("$dir", <<'TOML', '-e', 'sub { [200, [], ["in"]] }');
trusted_proxies = "loopback"
[[vhost]]
name = "a.org"
[[vhost.directory]]
path = "/one"
allow = ["192.0.2.1", "2001:db8::7"]
[[vhost.directory]]
path = "/net"
allow = "10/8"
[[vhost.directory]]
path = "/mapped"
allow = "::ffff:10.0.0.0/104"
[[vhost.directory]]
path = "/range"
allow = ["10.0.0.5-10.0.1.2", "2001:db8::1-2001:db8::ff"]
[[vhost.directory]]
path = "/v6"
allow = "2001:db8::/32"
[[vhost.directory]]
path = "/deny"
deny = ["10.9.0.0/16", "2001:db8:9::/48"]
[[vhost.directory]]
path = "/both"
allow = "10/8"
deny = "10.9.0.0/16"
[[vhost.directory]]
path = "/unix"
allow = "unix:"
[[vhost.directory]]
path = "/not-unix"
deny = "unix:"
[[vhost.directory]]
path = "/all"
allow = "all"
[[vhost.directory]]
path = "/nobody"
allow = []
[[vhost.directory]]
path = "/denied"
deny = "all"
[[vhost.directory]]
path = "/private"
allow = "10/8"
[[vhost.directory]]
path = "/private/open"
allow = "all"
[[vhost.directory]]
path = "/private/open/closed"
allow = "10/8"
TOML
    my ($checked, @wrong) = (0);
    my $row = sub {
        my ($path, $client, $may) = @_;
        my $connection = Gepok::Test::Connection->new($client eq 'unix' ? (path => "$dir/socket") : (port => $port));
        my $field = $client =~ /\A(?:unix|proxy)\z/ ? '' : "X-Forwarded-For: $client\r\n";
        $connection->send("GET $path HTTP/1.1\r\nHost: a.org\r\n${field}Connection: close\r\n\r\n");
        my $status = $connection->response->status;
        $checked++;
        push @wrong, "$path for $client: $status" if $status != ($may ? 200 : 403);
    };
    # "unknown" and "_x" are clients whose proxy does not say who they are: only rules for all hold for them.
    for my $rule (
        # path, those who may, those who may not
        ['/one',      '192.0.2.1 ::ffff:192.0.2.1 ::ffff:c000:201 2001:db8::7 2001:DB8:0:0::7', '192.0.2.2 ::192.0.2.1 2001:db8::8 proxy unix unknown _x'],
        ['/net',      '10.0.0.0 10.255.255.255 ::ffff:10.1.2.3 10.1.2.3:567 [::ffff:10.1.2.3]:8', '9.255.255.255 11.0.0.0 ::1 ::a00:1 2001:db8::1 proxy unix unknown _x'],
        ['/mapped',   '10.0.0.0 10.255.255.255 ::ffff:10.1.2.3', '11.0.0.0 ::ffff:11.0.0.0 unix unknown'],
        ['/range',    '10.0.0.5 10.0.0.255 10.0.1.2 ::ffff:10.0.1.0 2001:db8::1 2001:db8::ff', '10.0.0.4 10.0.1.3 ::ffff:10.0.1.3 2001:db8:: 2001:db8::100 unix unknown'],
        ['/v6',       '2001:db8::1 2001:db8:ffff::1 [2001:db8::1]:99', '2001:db9::1 10.0.0.1 ::ffff:10.0.0.1 ::1 proxy unix _x'],
        ['/deny',     '10.8.0.1 10.10.0.1 ::ffff:10.8.0.1 192.0.2.1 2001:db8:8::1 proxy unix unknown', '10.9.0.1 ::ffff:10.9.255.255 10.9.1.1:80 2001:db8:9::1'],
        ['/both',     '10.8.255.255 10.10.0.0 ::ffff:10.8.0.1', '10.9.0.0 10.9.255.255 ::ffff:10.9.1.1 11.0.0.1 2001:db8::1 unix unknown'],
        ['/unix',     'unix', '127.0.0.2 10.0.0.1 ::1 proxy unknown _x'],
        ['/not-unix', '10.0.0.1 ::1 proxy unknown', 'unix'],
        ['/all',      '10.0.0.1 ::1 2001:db8::1 proxy unix unknown _x', ''],
        ['/nobody',   '', '10.0.0.1 ::1 2001:db8::1 proxy unix unknown'],
        ['/denied',   '', '10.0.0.1 ::1 2001:db8::1 proxy unix unknown'],
        ['/else',     '10.0.0.1 ::1 proxy unix unknown _x', ''],
        # A link that a client has put before the one of its proxy decides nothing.
        ['/net',      '', '10.0.0.1,192.0.2.1'],
        ['/deny',     '10.9.0.1,192.0.2.1', '192.0.2.1,10.9.0.1'],
    ) {
        my ($path, $may, $may_not) = @$rule;
        $row->($path, $_, 1) for split ' ', $may;
        $row->($path, $_, 0) for split ' ', $may_not;
    }
    for my $path (qw(/private /private/ /private/x //private /./private/x /x/../private/x /%70rivate /privat%65/x /%2e/private /x/%2e%2e/private
        /private%2fx /private%2F..%2Fx /private/open/../x /private/open/%2e%2e/x /private//open/../x /private%5cx /x%5c..%5cprivate
        /private/open/closed /private/open//closed/x /private/./open/%63losed /private/open/x/../closed)) {
        $row->($path, $_, 1) for '10.1.1.1', '::ffff:10.1.1.1';
        $row->($path, $_, 0) for '192.0.2.1', 'unknown';
    }
    for my $path (qw(/private/open /private/open/ /private//open/x /private/./open /private/%6fpen /privateer /Private /xprivate /private.html /private/open/closedx)) {
        $row->($path, $_, $path !~ m{\A/private/closed}) for '10.1.1.1', '192.0.2.1';
    }
    is_deeply \@wrong, [], 'each decision is right';
    cmp_ok $checked, '>=', 120, "of $checked";
    end($pid);
};

check 'a directory has options about its files' => sub {
    my $dir = scratch();
    mkdir "$dir/$_" or die $! for qw(public public/assets public/list public/app other);
    spew("$dir/public/$_", $_) for qw(top.txt assets/x.css assets/.env list/x.txt app/x.txt);
    spew("$dir/other/first.html", 'first');
    my ($pid, $port) = begin("$dir", <<'TOML', '-e', $APP);
[[vhost]]
name          = "a.org"
documents     = "public"
cache_control = "max-age=1"
fallback      = "404"
headers       = { X-Robots-Tag = "noindex", X-Host = "a", X-None = "a" }
[[vhost.directory]]
path          = "/assets"
headers       = { x-host = "assets", X-None = "", Link = "</x>" }
cache_control = "max-age=9"
hidden        = true
[[vhost.directory]]
path           = "/list"
directory_list = true
[[vhost.directory]]
path     = "/app"
fallback = "app"
[[vhost.directory]]
path       = "/spa"
location   = "other"
index_file = "first.html"
fallback   = "/first.html"
charset    = "koi8-r"
TOML
    is get($port, '/top.txt', 'a.org')->field('Cache-Control'), 'max-age=1', 'the host';
    is get($port, '/assets/x.css', 'a.org')->field('Cache-Control'), 'max-age=9', 'a part of it';
    my $fields = sub { my $got = get($port, $_[0], 'a.org'); join ' ', map { $got->field($_) // '-' } qw(X-Robots-Tag X-Host X-None Link) };
    is $fields->('/top.txt'), 'noindex a a -', 'headers of the host';
    is $fields->('/assets/x.css'), 'noindex assets - </x>', 'and of a part of it';
    is $fields->('/app/'), '- - - -', 'not of what the app answers';
    is get($port, '/assets/.env', 'a.org')->content, 'assets/.env', 'hidden';
    is get($port, '/assets/none', 'a.org')->status, 404, 'the fallback is that of the host';
    is get($port, '/list/', 'a.org')->status, 200, 'directory_list';
    is get($port, '/app/', 'a.org')->content, 'app of a.org, /app/', 'another fallback';
    is get($port, '/app/x.txt', 'a.org')->content, 'app/x.txt', 'after the file';
    my $got = get($port, '/spa/deep/link', 'a.org');
    is join(' ', $got->content, $got->field('Content-Type'), $got->field('Cache-Control')), 'first text/html; charset=koi8-r max-age=1', 'a file as fallback, and what the host says';
    is get($port, '/spa/', 'a.org')->content, 'first', 'index_file';
    end($pid);
};

# A worker that dies, and files and rules that refuse, are errors of the server; what the app answers is its own.
check 'pages of errors' => sub {
    my $dir = scratch();
    mkdir "$dir/$_" or die $! for qw(public public/errors);
    spew("$dir/public/errors/404.html", 'our 404');
    spew("$dir/public/errors/4xx.html", 'our 4xx');
    spew("$dir/public/errors/5xx.html", 'our 5xx');
    my $app = 'sub { my $path = $_[0]{PATH_INFO}; kill KILL => $$ if $path eq "/die"; return sub { my $w = $_[0]->([200, []]); $w->write("x" x 9); kill KILL => $$ } if $path eq "/cut"; [404, [], ["app"]] }';
    my ($pid, $port) = begin("$dir", <<'TOML', '-e', $app);
[[vhost]]
name      = "a.org"
documents = "public"
[vhost.error_page]
404   = "/errors/404.html"
"4xx" = "/errors/4xx.html"
"5xx" = "/errors/5xx.html"
[[vhost.directory]]
path = "/errors"
deny = "all"
[[vhost.directory]]
path     = "/files"
location = "public"

[[vhost]]
name       = "gone.org"
documents  = "public"
fallback   = "404"
error_page = { 404 = "/none.html" }
TOML
    my $got = get($port, '/files/x', 'a.org');
    is $got->status, 404, 'the status stays';
    is $got->content, 'our 404', 'a file that is not there';
    is $got->field('Content-Type'), 'text/html; charset=utf-8', 'the type is that of the page';
    is $got->field('ETag'), undef, 'the page has no validators';
    $got = get($port, '/errors/404.html', 'a.org');
    is join(' ', $got->status, $got->content), '403 our 4xx', 'a rule; it does not hold for the page itself';
    $got = get($port, '/files/x', 'a.org', 'POST');
    is join(' ', $got->status, $got->content, $got->field('Allow')), '405 our 4xx GET, HEAD, OPTIONS', 'other fields stay';
    $got = get($port, '/files/x', 'a.org', 'HEAD');
    is join(' ', $got->status, $got->content, $got->field('Content-Length')), '404  7', 'HEAD';
    is get($port, '/x', 'a.org')->content, 'app', 'the response of an app is not replaced';
    $got = get($port, '/die', 'a.org');
    is join(' ', $got->status, $got->content), '502 our 5xx', 'an app that died';
    my $cut = Gepok::Test::Connection->new(port => $port);
    $cut->send("GET /cut HTTP/1.1\r\nHost: a.org\r\nConnection: close\r\n\r\n");
    unlike $cut->rest, qr/our/, 'a response that has begun is cut';
    $got = get($port, '/x', 'gone.org');
    is join(' ', $got->status, $got->content), "404 Not Found\n", 'without the file the text stays';
    end($pid);
    like slurp("$dir/log"), qr{there is no page '/none\.html' for errors with status 404}, 'and the log says so';
};

check 'rules' => sub {
    my $dir = scratch();
    mkdir "$dir/$_" or die $! for qw(public public/private public/private/open secret);
    spew("$dir/public/private/x.txt",      'private');
    spew("$dir/public/private/open/x.txt", 'open');
    spew("$dir/public/x.txt",              'public');
    spew("$dir/secret/x.txt",              'secret');
    my ($pid, $port) = begin("$dir", <<'TOML', '-e', $APP);
[[vhost]]
name      = "a.org"
documents = "public"

[[vhost.directory]]
path  = "/private"
allow = ["10.0.0.0/8", "unix:"]

[[vhost.directory]]
path  = "/private/open"
allow = "127.0.0.1-127.0.0.3"

[[vhost.directory]]
path     = "/secret"
location = "secret"
deny     = "127.0.0.0/8"

[[vhost.directory]]
path  = "/admin"
allow = []

[[vhost]]
name  = "closed.org"
deny  = "127/8"
TOML
    is get($port, '/x.txt', 'a.org')->content, 'public', 'what has no rule is for everybody';
    for my $path (qw(/private/x.txt /private /private/ //private/x.txt /./private/x.txt /x/../private/x.txt /%70rivate/x.txt
        /private%2fx.txt /private//x.txt /private/../private/x.txt /secret/x.txt /admin /admin/users //admin /%61dmin /admin%2Fx
        /private/open/../x.txt)) {
        is get($port, $path, 'a.org')->status, 403, "$path: 403 for others";
    }
    is get($port, '/private/x.txt', 'a.org', $_)->status, 403, "for $_ as well" for qw(HEAD POST OPTIONS);
    is get($port, '/privateer', 'a.org')->content, 'app of a.org, /privateer', 'a longer name is another path';
    is get($port, '/private/open/x.txt', 'a.org')->content, 'open', 'the rule of the longest path counts';
    is get("$dir/socket", '/private/x.txt', 'a.org')->content, 'private', 'a client of the Unix socket may';
    is get("$dir/socket", '/secret/x.txt', 'a.org')->content, 'secret', 'and is none of the network that may not';
    is get($port, '/', 'closed.org')->status, 403, 'a whole host is closed';
    like get("$dir/socket", '/', 'closed.org')->content, qr/^app/, 'to that network alone';

    # An upload to where the client may not come is refused before it comes.
    my $client = Gepok::Test::Connection->new(port => $port);
    $client->send("POST /admin HTTP/1.1\r\nHost: a.org\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n");
    is $client->response->status, 403, 'an upload is refused at its head';
    end($pid);
};

check 'a host without an app answers while all workers hang' => sub {
    my $dir = scratch();
    mkdir "$dir/public" or die $!;
    spew("$dir/public/x.txt", 'there');
    my ($pid, $port) = begin("$dir", <<'TOML', '-e', 'sub { sleep 600 if $_[0]{PATH_INFO} eq "/hang"; [200, [], []] }');
[[vhost]]
name      = "files.org"
documents = "public"
fallback  = "404"
[[vhost]]
name    = "app.org"
default = true
TOML
    my $hangs = Gepok::Test::Connection->new(port => $port);
    $hangs->send("GET /hang HTTP/1.1\r\nHost: app.org\r\n\r\n");
    is get($port, '/x.txt', 'files.org')->content, 'there', 'its files are sent';
    is get($port, '/y.txt', 'files.org')->status, 404, 'and what it does not have is refused';
    @started = grep { $_ != $pid } @started;
    kill INT => $pid;
    waitpid $pid, 0;
};

check 'a reload adds and removes hosts on open connections' => sub {
    my $dir = scratch();
    my $hosts = sub { join '', map {"[[vhost]]\nname = '$_'\nredirect = {'/' = '/of-$_'}\n"} @_ };
    my ($pid, $port) = begin("$dir", $hosts->('a.org'), '-e', $APP);
    my $kept = Gepok::Test::Connection->new(port => $port);
    my $ask  = sub { $kept->send("GET / HTTP/1.1\r\nHost: $_[0]\r\n\r\n"); my $got = $kept->response; $got->field('Location') // $got->status };
    is $ask->('a.org'), '/of-a.org', 'the first host';
    is $ask->('b.org'), 404,         'no second one';
    my $file   = slurp("$dir/site.toml") =~ s/\[\[vhost.*//sr;
    my $reload = sub { spew("$dir/site.toml", $file . $hosts->(@_)); run_command([$bin, 'reload', '-c', "$dir/site.toml"]) };
    for my $round (1 .. 5) {
        is +($reload->('a.org', 'b.org'))[0], 0, 'a host is added';
        is $ask->('b.org'), '/of-b.org', 'the same connection has it';
        is +($reload->('b.org'))[0], 0, 'a host is removed';
        is $ask->('a.org'), 404, 'and is gone for it';
        is $ask->('b.org'), '/of-b.org', 'the other one stays';
    }
    my ($status, $output) = $reload->('b.org', 'b.org');
    is $status >> 8, 1, 'a broken file: exit status 1';
    like $output, qr/site\.toml:8: the name 'b\.org' is taken by the virtual host at \S+:5/, 'with line and reason';
    is $ask->('b.org'), '/of-b.org', 'the old hosts serve on';
    end($pid);
};

# Each host its own app, in every worker; the app learns which host it is.
check 'an app for each host' => sub {
    my $dir = scratch();
    my $app = sub { "our \$calls; my \$loaded = rand; sub { my \$env = shift; \$calls++; "
        . "\$env->{'psgix.harakiri.commit'} = 1 if \$env->{PATH_INFO} eq '/last'; "
        . "push \@{ \$env->{'psgix.cleanup.handlers'} }, sub { \$main::cleaned = '$_[0]' } if \$env->{PATH_INFO} eq '/cleanup'; "
        . "sleep 600 if \$env->{PATH_INFO} eq '/hang'; "
        . "[200, ['X-Pid' => \$\$, 'X-Cleaned' => \$main::cleaned // ''], [join ',', '$_[0]', map { \$_ // 'undef' } \@\$env{qw(SERVER_NAME gepok.vhost HTTP_HOST)}]] }" };
    spew("$dir/$_.psgi", $app->($_)) for qw(a b own);
    mkdir "$dir/public" or die $!;
    spew("$dir/public/x.txt", 'there');
    my $text = <<'TOML';
[[vhost]]
name    = "A.org"
aliases = "*.a.org"
app     = "a.psgi"
[[vhost]]
name    = "b.org"
app     = "b.psgi"
default = true
[[vhost]]
name    = "own.org"
[[vhost]]
name      = "files.org"
documents = "public"
fallback  = "404"
TOML
    for my $mode ([], ['--no-preload-app'], ['--start-servers', 0]) {
        my ($pid, $port) = begin("$dir", $text, 'own.psgi', @$mode);
        my $name = "@$mode" || 'preloaded';
        is get($port, '/', 'x.a.org')->content, 'a,a.org,a.org,x.a.org',    "$name: the first host's app";
        is get($port, '/', 'c.org')->content,   'b,b.org,b.org,c.org',      "$name: the second one's";
        is get($port, '/', 'own.org')->content, 'own,own.org,own.org,own.org', "$name: the server's, for a host without one";
        get($port, '/cleanup', 'a.org');
        is get($port, '/', 'b.org')->field('X-Cleaned'), 'a', "$name: the same process serves both, and cleans up";
        if (!@$mode || $mode->[1] // 1) {
            my $before = get($port, '/last', 'b.org')->field('X-Pid');
            ok soon { get($port, '/', 'a.org')->field('X-Pid') != $before }, "$name: an app of a host can end its worker";
            is get($port, '/', 'b.org')->content, 'b,b.org,b.org,b.org', "$name: the next worker has all apps";
            my $hangs = Gepok::Test::Connection->new(port => $port);
            $hangs->send("GET /hang HTTP/1.1\r\nHost: a.org\r\n\r\n");
            is get($port, '/x.txt', 'files.org')->content, 'there', "$name: a host without code answers while the worker hangs";
            @started = grep { $_ != $pid } @started;
            kill INT => $pid;
            waitpid $pid, 0;
            next;
        }
        end($pid);
    }
};

# No app.psgi is asked for where no request can go to it.
check 'hosts with apps of their own need no other' => sub {
    my $dir = scratch();
    spew("$dir/a.psgi", "sub { [200, [], ['a']] }");
    mkdir "$dir/public" or die $!;
    my ($pid, $port) = begin("$dir", "[[vhost]]\nname = 'a.org'\napp = 'a.psgi'\n[[vhost]]\nname = 'f.org'\ndocuments = 'public'\nfallback = '404'\n");
    is get($port, '/', 'a.org')->content, 'a', 'it serves';
    end($pid);
    for my $mode ([], ['--no-preload-app']) {
        spew("$dir/b.psgi", "die 'no such thing'");
        spew("$dir/site.toml", "http_ports = ['127.0.0.1:$port']\n[[vhost]]\nname = 'a.org'\napp = 'a.psgi'\n[[vhost]]\nname = 'b.org'\napp = 'b.psgi'\n");
        my ($status, $output) = run_command([$bin, '-c', 'site.toml', @$mode], dir => "$dir");
        is $status >> 8, 2, "@$mode: an app that can't be loaded: exit status 2" if !@$mode;
        ok $status, 'it does not start';
        like $output, qr{site\.toml:5: the app of the virtual host 'b\.org' can't be loaded: Error while loading \S+/b\.psgi: no such thing},
            'and says which host, file and why';
    }
};

# HUP loads all apps again, or leaves everything as it was.
check 'a reload loads the apps of all hosts' => sub {
    my $dir = scratch();
    my $app = sub { spew("$dir/$_[0].psgi", "sub { [200, [], ['$_[1]']] }") };
    $app->(a => 'old a');
    $app->(b => 'old b');
    my $hosts = sub { join '', map {"[[vhost]]\nname = '$_.org'\napp = '$_.psgi'\n"} @_ };
    my ($pid, $port) = begin("$dir", $hosts->('a'), '--no-preload-app');
    my $file   = slurp("$dir/site.toml") =~ s/\[\[vhost.*//sr;
    my $reload = sub { spew("$dir/site.toml", $file . $hosts->(@_)); run_command([$bin, 'reload', '-c', "$dir/site.toml"]) };
    my $kept = Gepok::Test::Connection->new(port => $port);
    my $ask  = sub { $kept->send("GET / HTTP/1.1\r\nHost: $_[0].org\r\n\r\n"); my $got = $kept->response; $got->status == 200 ? $got->content : $got->status };
    is $ask->('a'), 'old a', 'the first host';
    is $ask->('b'), 404,     'no second one';
    $app->(a => 'new a');
    is +($reload->('a', 'b'))[0], 0, 'a host is added';
    is $ask->('a'), 'new a', 'the app of the first was loaded again';
    is $ask->('b'), 'old b', 'the second has its own';

    # A broken app: the hosts that the file names now are not served either.
    spew("$dir/a.psgi", 'die "broken\n"');
    $app->(c => 'c');
    my ($status, $output) = $reload->('a', 'c');
    is $status >> 8, 1, 'a broken app: exit status 1';
    like $output, qr{site\.toml:\d+: the app of the virtual host 'a\.org' can't be loaded: Error while loading \S+/a\.psgi: broken}, 'with host, file and reason';
    is_deeply [map { $ask->($_) } qw(a b c)], ['new a', 'old b', 404], 'the old hosts serve on';
    $app->(a => 'third a');
    is +($reload->('a', 'c'))[0], 0, 'mended';
    is_deeply [map { $ask->($_) } qw(a b c)], ['third a', 404, 'c'], 'the new hosts serve';
    end($pid);
};

# The same from a program: Gepok->new(vhosts => [...]).
check 'hosts of a program' => sub {
    my $dir  = scratch();
    my $port = free_port();
    mkdir "$dir/public" or die $!;
    spew("$dir/public/x.txt", 'there');
    spew("$dir/public/app.psgi", 'sub { [200, [], ["file of $_[0]{SERVER_NAME}"]] }');
    my @perl  = ($^X, map {"-I$root/blib/$_"} qw(arch lib));
    my $hosts = sub { "use Gepok; eval { Gepok->new(http_ports => ['127.0.0.1:$port'], daemonize => 0, start_servers => 1, access_log_path => '', vhosts => $_[0])->run($APP); 1 } or do { print \$@; exit 9 }" };
    my $pid = fork // die $!;
    if (!$pid) {
        chdir $dir or POSIX::_exit(1);
        open STDERR, '>', "$dir/log" or die $!;
        exec @perl, '-e', $hosts->(q([
            {name => 'a.org', aliases => ['*.a.org'], documents => 'public', hidden => 0, redirect => {'/"old"' => '/n', '/o' => [301, '/p']},
                directory => [{path => '/admin', allow => '10/8'}]},
            {name => 'b.org', default => 1, directory => {'/f' => 'public'}, headers => {'X-Of' => 'b'}, max_content => 3, request_timeout => 60,
                access_log_path => 'b-log', access_log_format => '%v %r'},
            {name => 'Code.org', app => sub { [200, [], ["code of $_[0]{'gepok.vhost'}"]] }},
            {name => 'file.org', app => 'public/app.psgi'},
        ])) or POSIX::_exit(1);
    }
    push @started, $pid;
    ok soon { eval { get($port, '/', 'b.org'); 1 } }, 'it serves' or return diag slurp("$dir/log");
    is get($port, '/x.txt', 'x.a.org')->content, 'there', 'files';
    is get($port, '/admin', 'a.org')->status,    403,     'a rule';
    is get($port, '/o', 'a.org')->status,        301,     'a redirect with a status';
    is get($port, '/"old"', 'a.org')->field('Location'), '/n', 'a path with quotes';
    is get($port, '/f/x.txt', 'c.org')->content, 'there', 'the default, and a table of directories';
    is get($port, '/f/x.txt', 'c.org')->field('X-Of'), 'b', 'and of header fields';
    my $upload = Gepok::Test::Connection->new(port => $port);
    $upload->send("POST / HTTP/1.1\r\nHost: b.org\r\nContent-Length: 4\r\n\r\n1234");
    is $upload->response->status, 413, 'a limit';
    ok soon { slurp("$dir/b-log") =~ m{^b\.org GET /f/x\.txt HTTP/1\.1$}m }, 'a log';
    is get($port, '/x', 'c.org')->content, 'app of c.org, /x', 'the app';
    is get($port, '/x', 'code.org')->content, 'code of code.org', 'a code reference';
    is get($port, '/x', 'file.org')->content, 'file of file.org', 'a file with an app';
    end($pid);
    for my $case (
        [q([{nmae => 'a'}]), qr/\Aoption 'vhosts': unknown key 'nmae' of a virtual host, did you mean 'name'\?/],
        [q([{name => 'a'}, {name => 'a'}]), qr/\Athe name 'a' is taken by another virtual host/],
        [q([{name => 'a', documents => 'none'}]), qr/\Aoption 'documents': the directory '.*none' can't be opened/],
        [q([{name => sub {}}]), qr/\Aoption 'vhosts': code can't stand for 'name'/],
        [q([{name => 'a', app => []}]), qr/\Aoption 'vhosts': 'app' of 'a' is no PSGI app/],
        [q([{name => 'a', app => 'none.psgi'}]), qr/\Athe app of the virtual host 'a' can't be loaded: Error while loading \S+none\.psgi: /],
        [q('x'), qr/\Aoption 'vhosts'/],
    ) {
        my ($status, $output) = run_command([@perl, '-e', $hosts->($case->[0])], dir => "$dir");
        is $status >> 8, 9, "$case->[0]: an exception";
        like $output, $case->[1], 'with the reason';
    }
};

check 'mistakes are told with their lines' => sub {
    my $dir = scratch();
    for my $case (
        ["[[vhost]]\nname = 'a'\nalaises = ['b']\n", qr/site\.toml:3: unknown key 'alaises' of a virtual host, did you mean 'aliases'\?/],
        ["[[vhost]]\nname = 'a'\ndocuments = 'none'\n", qr/site\.toml:1: option 'documents': the directory '.*none' can't be opened/],
        ["documents = '.'\n[[vhost]]\nname = 'a'\n", qr/site\.toml:1: option 'documents': there are virtual hosts, so it has to stand in one of them/],
        ["[[vhost]]\nname = 'a'\nheaders = {'a b' = 'c'}\n", qr/site\.toml:3: 'a b' is not the name of a header field/],
        ["[[vhost]]\nname = 'a'\nheaders = {content-length = '1'}\n", qr/site\.toml:3: the header field 'content-length' is the server's own/],
        ["[[vhost]]\nname = 'a'\nallow = 'code:0'\n", qr/site\.toml:3: 'code:0': code can stand only in a program/],
        ["[[vhost]]\nname = 'a'\nrewrite = true\n", qr/site\.toml:3: 'rewrite' needs a table/],
        ["[[vhost]]\nname = 'a'\nhandlers = ['\/x']\n", qr/site\.toml:3: unknown key 'handlers' of a virtual host/],
        ["[[vhost]]\nname = 'a'\nallow = 'www_example,org'\n", qr/site\.toml:3: 'www_example,org' is not an address, a network/],
    ) {
        my ($text, $told) = @$case;
        spew("$dir/site.toml", $text);
        my ($status, $output) = run_command([$bin, 'check', '-c', 'site.toml'], dir => "$dir");
        is $status >> 8, 2, 'gepok check exits with 2';
        like $output, $told, 'and says why';
    }
    spew("$dir/site.toml", "[[vhost]]\nname = 'a.org'\naliases = ['*.a.org']\ndefault = true\n");
    my ($status, $output) = run_command([$bin, 'check', '--print', '-c', 'site.toml'], dir => "$dir");
    is $status, 0, 'a good file';
    like $output, qr/^\[\[vhost\]\] +# site\.toml:1\nname = "a\.org"\naliases = \["\*\.a\.org"\]\ndefault = true$/m, 'its hosts are printed';
};

# The example: an app of Dancer2 and one of Mojolicious in the same workers, over HTTP and HTTPS.
check 'two apps of two frameworks under two names' => sub {
    for my $module (qw(Dancer2 Mojolicious)) {
        plan skip_all => "$module is not installed" unless eval "require $module; 1";
    }
    require Gepok::Test::TLS;
    my $dir = scratch();
    my ($http, $https) = map { free_port() } 1 .. 2;
    my $text = slurp("$root/examples/two-sites.toml");
    $text =~ s/:8080"/:$http"/ && $text =~ s/:8443"/:$https"/ or die 'the example has other ports';
    spew("$dir/site.toml", $text);
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        chdir $root or POSIX::_exit(1);
        open STDOUT, '>>', "$dir/log" or die $!;
        open STDERR, '>&', \*STDOUT;
        exec $bin, '-c', "$dir/site.toml" or POSIX::_exit(1);
    }
    push @started, $pid;
    ok soon { eval { get($http, '/', 'nobody'); 1 } }, 'it serves' or return diag slurp("$dir/log");
    # From this address, by HTTP or HTTPS: the response as text.
    my $ask = sub {
        my ($class, $port, $from, $host, $target) = @_;
        my @ssl = $class eq 'IO::Socket::INET' ? () : (SSL_verify_mode => 0, SSL_hostname => $host);
        my $socket = $class->new(PeerAddr => "127.0.0.1:$port", LocalAddr => $from, @ssl) or die "$class: $@";
        print {$socket} "GET $target HTTP/1.1\r\nHost: $host\r\nConnection: close\r\n\r\n";
        local $/;
        return scalar(<$socket>) // '';
    };
    for my $how (['IO::Socket::INET', $http], Gepok::Test::TLS::usable() ? ['IO::Socket::SSL', $https] : ()) {
        my $name = $how->[0];
        like $ask->(@$how, '127.0.0.1', 'www.book.example', '/'), qr/\AHTTP\S+ 200 .*"guest book"/s, "$name: Dancer2";
        like $ask->(@$how, '127.0.0.1', 'visits.example', '/'), qr/\AHTTP\S+ 200 .*been here 1 time/s, "$name: Mojolicious";
        like $ask->(@$how, '127.0.0.1', 'visits.example', '/greet/you'), qr/\AHTTP\S+ 200 .*\{"hello":"you"\}/s, "$name: Mojolicious";
        like $ask->(@$how, '127.0.0.1', 'book.example', '/static/index.html'), qr/\AHTTP\S+ 200 .*<html/s, "$name: files of the one";
        like $ask->(@$how, '127.0.0.1', 'visits.example', '/files/index.html'), qr/\AHTTP\S+ 200 .*<html/s, "$name: files of the other";
        like $ask->(@$how, '127.0.0.2', 'book.example', '/entries'), qr/\AHTTP\S+ 200 .*\[/s, "$name: another network may come to the one";
        like $ask->(@$how, '127.0.0.1', 'book.example', '/source/hello.psgi'), qr/\AHTTP\S+ 200 /, "$name: one network may see a directory";
        like $ask->(@$how, '127.0.0.2', 'book.example', '/source/hello.psgi'), qr/\AHTTP\S+ 403 /, "$name: another one may not";
        like $ask->(@$how, '127.0.0.2', 'visits.example', $_), qr/\AHTTP\S+ 403 /, "$name: but not to the other's $_" for qw(/ /files/index.html);
    }
    end($pid);
};

# The hosts of an object, before it runs.
check 'hosts are added, found and removed by methods' => sub {
    require Gepok;
    my $gepok = Gepok->new;
    is $gepok->virtual_host('a.org'), undef, 'none at first';
    my $host = $gepok->add_virtual_host(name => 'A.org', aliases => ['*.a.org', 'x.org']);
    $gepok->add_virtual_host({name => 'b.org', aliases => 'c.org'});
    is $gepok->virtual_host($_), $host, "by '$_'" for 'A.org', 'a.org.', '*.A.org', 'x.org';
    is $gepok->virtual_host('c.org')->{name}, 'b.org', 'an alias that is no list';
    for my $bad ([], [name => ''], [name => 'X.org'], [name => 'd.org', aliases => ['a.org']]) {
        ok !eval { $gepok->add_virtual_host(@$bad); 1 }, 'refused: ' . join ' ', @$bad;
        like $@, qr/\Aadd_virtual_host.* at \Q$0/, 'with the place';
    }
    is @{ $gepok->vhosts }, 2, 'two';
    is $gepok->remove_virtual_host('x.org'), $host, 'one is removed by an alias';
    is $gepok->remove_virtual_host('x.org'), undef, 'once';
    is $gepok->virtual_host('a.org'), undef, 'and is gone';
    is $gepok->remove_virtual_host('b.org')->{name}, 'b.org', 'and the other one';
    is $gepok->vhosts, undef, 'none is left';
};

done_testing;
