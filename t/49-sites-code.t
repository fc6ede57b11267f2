# Code of virtual hosts: rewrite, subroutines in rules, code that finds files, handlers. It runs in workers, and the core goes on with
# what it passes on.
use strict;
use warnings;

use Test::More;

use Gepok::Test;
use Gepok::Test::Connection;

gepok_only();

my $root = root();

sub spew  { open my $file, '>', $_[0] or die "$_[0]: $!"; print {$file} $_[1]; close $file or die $! }
sub slurp { open my $file, '<', $_[0] or return ''; local $/; scalar(<$file>) // '' }

my @started;
END { kill TERM => @started if @started }

# A program that runs a server with these hosts (Perl code); (its process id, its port).
sub begin {
    my ($dir, $hosts, @options) = @_;
    my $port = free_port();
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        chdir $dir or POSIX::_exit(1);
        open STDERR, '>>', "$dir/log" or die $!;
        exec $^X, (map {"-I$root/blib/$_"} qw(arch lib)), '-e',
            "use Gepok; Gepok->new(http_ports => ['127.0.0.1:$port'], daemonize => 0, start_servers => 2, trusted_proxies => 'loopback', access_log_path => '$dir/access', sendfile_root => '$dir/files', "
            . join('', map {"$_, "} @options) . "vhosts => $hosts)->run(sub { my \$env = shift; [200, [], [\"app: \$env->{REQUEST_METHOD} \$env->{PATH_INFO}?\$env->{QUERY_STRING} \" . do { local \$/; readline(\$env->{'psgi.input'}) // '' } . (exists \$env->{'gepok.question'} ? ' question' : '')]] })"
            or POSIX::_exit(1);
    }
    push @started, $pid;
    ok soon { eval { ask($port, 'GET /'); 1 } }, 'it serves' or BAIL_OUT(slurp("$dir/log"));
    return ($pid, $port);
}

sub end {
    my $pid = shift;
    @started = grep { $_ != $pid } @started;
    kill TERM => $pid;
    waitpid $pid, 0;
    return;
}

sub ask {
    my ($port, $line, $content, @fields) = @_;
    my $client = Gepok::Test::Connection->new(port => $port);
    push @fields, 'Content-Length: ' . length $content if defined $content;
    $client->send(join "\r\n", "$line HTTP/1.1", 'Host: a.org', 'Connection: close', @fields, '', $content // '');
    my $response = $client->response($line =~ /\A(\w+)/);
    return wantarray ? ($response->status, $response->content) : $response;
}

sub folder {
    my $dir = scratch();
    mkdir "$dir/$_" or die $! for qw(files public);
    spew("$dir/files/found.txt", 'found file');
    spew("$dir/files/secret.txt", 'secret');
    spew("$dir/outside.txt", 'outside');
    spew("$dir/public/page.html", 'page');
    spew("$dir/public/x.txt", 'x file');
    return $dir;
}

# In workers, and in one process.
for my $workers (2, 0) { check "rewrite, $workers workers" => sub {
    my $dir = folder();
    my ($pid, $port) = begin($dir, <<'PERL', "start_servers => $workers");
[{name => 'a.org', documents => 'public', redirect => {'/moved' => '/x.txt'},
  directory => [{path => '/closed', allow => []}, {path => '/by', deny => sub { $_[0]{PATH_INFO} ne '/by/code' }, location => sub { [200, [], ["code: $_[0]{REQUEST_URI}"]] }}],
  handlers => {'/list' => sub { [200, [], ["list: $_[0]{PATH_INFO}?$_[0]{QUERY_STRING}"]] }},
  rewrite => sub {
    my ($env) = @_;
    my $path = $env->{PATH_INFO};
    return '/page.html' if $path eq '/p';
    return '/app/of?a=b' if $path eq '/to-app';
    return '/list' if $path eq '/to-list';
    return '/by/code' if $path eq '/to-code';
    return '/closed/x' if $path eq '/to-closed';
    return [302, [Location => 'http://b.org/'], ['elsewhere']] if $path eq '/other-host';
    return sub { my $w = $_[0]->([201, []]); $w->write("streamed $_ ") for 1 .. 3; $w->close } if $path eq '/stream';
    return '//evil.org/x' if $path eq '/wrong';
    die "broken\n" if $path eq '/dies';
    return;
  }}]
PERL
    is_deeply [ask($port, 'GET /p')], [200, 'page'], 'a file of the core';
    is_deeply [ask($port, 'GET /x.txt')], [200, 'x file'], 'nothing: the path stays';
    is_deeply [ask($port, 'GET /to-app?c=d')], [200, 'app: GET /app/of?a=b '], 'the app sees the new path';
    is_deeply [ask($port, 'POST /to-app', 'content')], [200, 'app: POST /app/of?a=b content'], 'with the content';
    is_deeply [ask($port, 'POST /none', 'y' x 100_000)], [200, 'app: POST /none? ' . 'y' x 100_000], 'however long';
    is_deeply [ask($port, 'GET /to-list?c=d')], [200, 'list: /list?c=d'], 'so do handlers; the query stays';
    is_deeply [ask($port, 'GET /to-code')], [200, 'code: /by/code'], 'and other code';
    is +(ask($port, 'GET /to-closed'))[0], 403, 'rules judge the new path';
    is +(ask($port, 'GET /moved'))[0], 307, 'redirects come before';
    my $response = ask($port, 'GET /other-host');
    is_deeply [$response->status, $response->field('Location'), $response->content], [302, 'http://b.org/', 'elsewhere'], 'it can answer itself';
    is_deeply [ask($port, 'POST /stream', 'z' x 200_000)], [201, 'streamed 1 streamed 2 streamed 3 '], 'with a stream, without the content';
    is +(ask($port, 'GET /wrong'))[0], 500, 'what is no path fails';
    ok soon { slurp("$dir/log") =~ m{code of a virtual host, asked 'rewrite', has answered '//evil\.org/x', which can't be used} }, 'the log tells';
    is +(ask($port, 'GET /dies'))[0], 500, 'code that dies fails';
    is_deeply [ask($port, 'GET /p', undef, 'Gepok-Pass: /x.txt')], [200, 'page'], 'a client can pass nothing on';
    # On one connection
    my $client = Gepok::Test::Connection->new(port => $port);
    $client->send(join '', map {"GET $_ HTTP/1.1\r\nHost: a.org\r\n\r\n"} qw(/p /other-host /x.txt /to-app /stream /p));
    is_deeply [map { $client->response->status } 1 .. 6], [200, 302, 200, 200, 201, 200], 'one request after the other';
    end($pid);
    like slurp("$dir/access"), qr{"GET /p HTTP/1.1" 200}, 'the access log has the path that was asked for';
} }

check 'subroutines in rules' => sub {
    my $dir = folder();
    my ($pid, $port) = begin($dir, <<'PERL');
[{name => 'a.org', documents => 'public', directory => [
    {path => '/key', allow => sub { ($_[0]{HTTP_X_KEY} || '') eq 'yes' }},
    {path => '/either', allow => ['10.0.0.0/8', sub { open my $f, '>>', 'asked'; print $f "asked\n"; ($_[0]{HTTP_X_KEY} || '') eq 'yes' }]},
    {path => '/deny', allow => 'all', deny => ['10.9.0.0/16', sub { $_[0]{QUERY_STRING} eq 'bad' }]},
    {path => '/two', allow => [sub {0}, sub {1}], deny => sub { ($_[0]{HTTP_X_KEY} || '') eq 'no' }},
    {path => '/dies', allow => sub { die "broken\n" }},
    {path => '/upload', deny => sub {1}},
]}]
PERL
    my @wrong;
    for my $row (
        # target, client, key, status
        ['/key/x', '10.0.0.1', 'yes', 200], ['/key/x', '10.0.0.1', 'no', 403], ['/key', '192.0.2.1', 'yes', 200], ['/x/../key', '10.0.0.1', 'no', 403], ['//%6bey/x', '10.0.0.1', 'no', 403],
        ['/keys', '10.0.0.1', 'no', 200], ['/x/../key', '10.0.0.1', 'yes', 200], ['/key/../deny?bad', '10.0.0.1', 'yes', 403], ['/key/../deny', '10.0.0.1', 'yes', 200],
        ['/either', '10.0.0.1', 'no', 200], ['/either', '192.0.2.1', 'no', 403], ['/either', '192.0.2.1', 'yes', 200],
        ['/deny', '192.0.2.1', '', 200], ['/deny?bad', '192.0.2.1', '', 403], ['/deny', '10.9.0.1', '', 403],
        ['/two', '192.0.2.1', 'yes', 200], ['/two', '192.0.2.1', 'no', 403],
        ['/dies', '192.0.2.1', '', 500],
    ) {
        my ($target, $client, $key, $status) = @$row;
        my ($got) = ask($port, "GET $target", undef, "X-Forwarded-For: $client", "X-Key: $key");
        push @wrong, "@$row: $got" if $got != $status;
    }
    is_deeply \@wrong, [], 'none is wrong';
    is slurp("$dir/asked"), "asked\n" x 2, 'an address that decides costs no worker';
    is +(ask($port, 'POST /upload', undef, 'Content-Length: 100000000', 'Expect: 100-continue'))[0], 403, 'what is refused is never uploaded';
    end($pid);
};

check 'code finds files' => sub {
    my $dir = folder();
    my ($pid, $port) = begin($dir, <<PERL);
[{name => 'a.org', documents => 'public', directory => [
    {path => '/found', deny => '10.0.0.0/8', location => sub {
        my \$path = \$_[0]{PATH_INFO};
        return '$dir/files/found.txt' if \$path eq '/found/it';
        return '$dir/outside.txt'     if \$path eq '/found/outside';
        return [418, [], ['teapot']]  if \$path eq '/found/tea';
        return;
    }},
]}]
PERL
    my $response = ask($port, 'GET /found/it');
    is_deeply [$response->status, $response->content, $response->field('Content-Type')], [200, 'found file', 'text/plain; charset=utf-8'], 'the core sends the file';
    is_deeply [ask($port, 'GET /found/it', undef, 'Range: bytes=0-4')], [206, 'found'], 'with ranges';
    is +(ask($port, 'GET /found/it', undef, 'If-Modified-Since: ' . $response->field('Last-Modified')))[0], 304, 'and conditions';
    is +(ask($port, 'GET /found/outside'))[0], 404, 'not from outside of sendfile_root';
    is_deeply [ask($port, 'GET /found/tea')], [418, 'teapot'], 'it can answer itself';
    is_deeply [ask($port, 'POST /found/none', 'c')], [200, 'app: POST /found/none? c'], 'what it does not find goes on';
    is +(ask($port, 'GET /found/it', undef, 'X-Forwarded-For: 10.0.0.1'))[0], 403, 'rules come before';
    end($pid);
    my $error = `$^X -I$root/blib/arch -I$root/blib/lib -e 'use Gepok; Gepok->new(http_ports => [0], daemonize => 0, vhosts => [{name => "a.org", directory => [{path => "/", location => sub {}}]}])->run(sub {})' 2>&1`;
    like $error, qr/code in 'location' needs option 'sendfile_root'/, 'without sendfile_root it is refused';
};

check 'handlers' => sub {
    my $dir = folder();
    my ($pid, $port) = begin($dir, <<'PERL');
[{name => 'a.org', documents => 'public', directory => [{path => '/admin', allow => '10.0.0.0/8'}], handlers => {
    '/page.html' => sub { [200, [], ["handler $_[0]{SCRIPT_NAME}$_[0]{PATH_INFO} " . do { local $/; readline($_[0]{'psgi.input'}) // '' }]] },
    '/admin/x'   => sub { [200, [], ['admin']] },
}}, {name => 'b.org', documents => 'public', fallback => '404', default => 1}]
PERL
    is_deeply [ask($port, 'GET /page.html')], [200, 'handler /page.html '], 'it comes before a file';
    is_deeply [ask($port, 'POST /p%61ge.html', 'x' x 70_000)], [200, 'handler /page.html ' . 'x' x 70_000], 'and has the content';
    is_deeply [ask($port, 'GET /page.html/x')], [200, 'app: GET /page.html/x? '], 'only for its own path';
    is +(ask($port, 'GET /admin/x', undef, 'X-Forwarded-For: 192.0.2.1'))[0], 403, 'rules come before';
    is_deeply [ask($port, 'GET /admin/x', undef, 'X-Forwarded-For: 10.0.0.1')], [200, 'admin'], 'who may come, comes';
    end($pid);
};

# Protects: what has no code needs no worker.
check 'hosts without code' => sub {
    my $dir = folder();
    my ($pid, $port) = begin($dir, q([{name => 'a.org', documents => 'public', rewrite => sub { sleep 600 if $_[0]{PATH_INFO} eq '/hang'; undef }}, {name => 'b.org', documents => 'public', fallback => '404', default => 1}]));
    my @hung = map { my $client = Gepok::Test::Connection->new(port => $port); $client->send("GET /hang HTTP/1.1\r\nHost: a.org\r\n\r\n"); $client } 1 .. 4;
    my $client = Gepok::Test::Connection->new(port => $port);
    $client->send("GET /x.txt HTTP/1.1\r\nHost: b.org\r\nConnection: close\r\n\r\n");
    is $client->response->content, 'x file', 'serve while all workers hang';
    kill INT => $pid;
    end($pid);
};

check 'the example' => sub {
    my $port = free_port();
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open STDERR, '>', scratch() . '/log' or die $!;
        exec $^X, (map {"-I$root/blib/$_"} qw(arch lib)), "$root/examples/hosts.pl", $port or POSIX::_exit(1);
    }
    push @started, $pid;
    my $of = sub {
        my ($host, $path, @fields) = @_;
        my $client = Gepok::Test::Connection->new(port => $port);
        $client->send(join "\r\n", "GET $path HTTP/1.1", "Host: $host", 'Connection: close', @fields, '', '');
        my $response = $client->response;
        return $response->status . ' ' . $response->content;
    };
    ok soon { eval { $of->('www.example.org', '/') } }, 'it serves';
    is $of->('www.example.org', '/'), "200 This is www.example.org.\n", 'an app for all other hosts';
    is $of->('files.example.org', '/readme'), '200 ' . slurp("$root/examples/files/index.html"), 'a path that stands for a file';
    like $of->('files.example.org', '/time'), qr/\A200 \w+ \w+ +\d+ \d+:/, 'a handler';
    like $of->('files.example.org', '/private/hello.psgi'), qr/\A403/, 'without the key nothing is found';
    is $of->('files.example.org', '/private/hello.psgi', 'Cookie: key=secret'), '200 ' . slurp("$root/examples/hello.psgi"), 'with it the file';
    end($pid);
};

done_testing;
