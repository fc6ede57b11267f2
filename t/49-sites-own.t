# What a virtual host can have for itself: its log, its limits, directories of users; and its app in every way to start a server.
use strict;
use warnings;

use File::Temp ();
use Test::More;
use Time::HiRes qw(time);

use Gepok::Test;
use Gepok::Test::Site;

gepok_only();

sub spew { Gepok::Test::Site::spew(@_) }

check 'access logs' => sub {
    for my $mode ([], ['--start-servers', 0]) {
        my $dir  = scratch();
        my $logs = sub {
            my ($more) = @_;
            return <<"TOML";
access_log_path   = "server"
access_log_format = "%v %r %>s"
[[vhost]]
name            = "a.org"
aliases         = ["x.a.org"]
access_log_path = "a"
[[vhost]]
name            = "b.org"
access_log_path = "b"
access_log_format = "b %r %{X-Of}o"
deny            = "all"
[[vhost]]
name            = "c.org"
access_log_path = ""
[[vhost]]
name            = "d.org"
[[vhost]]
name            = "same.org"
access_log_path = "a"
$more
TOML
        };
        my $site = Gepok::Test::Site->new("$dir", $logs->(''), '-e', 'sub { [200, ["X-Of" => "app"], []] }', @$mode);
        $site->get('/1', $_) for qw(a.org x.a.org same.org b.org c.org d.org unknown.org);
        ok soon { $site->read('server') =~ /unknown/ || ($site->read('server') =~ tr/\n//) >= 2 }, "lines come @$mode";
        my $client = Gepok::Test::Connection->new(port => $site->{port});
        $client->send("GET / HTTP/1.1\r\nHost: a.org\r\nHost: b.org\r\n\r\n");
        is $client->response->status, 400, 'a request for no host';
        my %lines = (
            a      => qr/\Aa\.org GET \/1 HTTP\/1\.1 200\na\.org GET \/1 HTTP\/1\.1 200\nsame\.org GET \/1 HTTP\/1\.1 200\n\z/,
            b      => qr/\Ab GET \/1 HTTP\/1\.1 -\n\z/,
            server => qr/^d\.org GET \/1 HTTP\/1\.1 200\n.* GET \/1 HTTP\/1\.1 404\n.* 400\n\z/m,
        );
        ok soon { $site->read($_) =~ $lines{$_} }, "the log $_" or diag $site->read($_) for sort keys %lines;
        unlike $site->read('server'), qr/^[abc]\.org/m, 'what a host logs is not in the server\'s log, and c has none';

        # Rotation, and hosts that come and go.
        rename "$dir/a", "$dir/a.1" or die $!;
        is +($site->reload($logs->("[[vhost]]\nname = 'e.org'\naccess_log_path = 'e'")))[0], 0, 'a reload adds a host';
        $site->get('/2', $_) for qw(a.org e.org);
        ok soon { $site->read('a') =~ /\Aa\.org GET \/2 / }, 'a file that was moved is made again';
        ok soon { $site->read('e') =~ /\Ae\.org GET \/2 / }, 'the new host has its log';
        unlike $site->read('a.1'), qr{/2}, 'the old file is left alone';
        my ($status, $told) = $site->reload($logs->("[[vhost]]\nname = 'f.org'\naccess_log_path = 'none/f'"));
        is $status, 1, 'a log that can\'t be opened';
        like $told, qr{can't open \S*none/f}, 'the reason';
        is +($site->reload("[[vhost]]\nname = 'a.org'"))[0], 0, 'the log of a host is removed';
        $site->get('/3', 'a.org');
        ok soon { $site->read('server') =~ m{/3} }, 'it is in the server\'s log again';
        unlike $site->read('a'), qr{/3}, 'and not in its own';
        $site->stop;
    }
};

check 'mistakes in logs and limits' => sub {
    my $dir = scratch();
    for my $case (
        ["access_log_path = '|cat'", qr/site\.toml:3: option 'access_log_path': a command is for the server's log/],
        ["access_log_format = '%h'", qr/site\.toml:3: option 'access_log_format' needs 'access_log_path'/],
        ["access_log_path = 'x'\naccess_log_format = '%'", qr/site\.toml:3: option 'access_log_format': /],
        ["request_timeout = 'x'", qr/site\.toml:3: option 'request_timeout'/],
        ["max_content = 'x'", qr/site\.toml:3: option 'max_content'/],
        ["max_headers = 5", qr/site\.toml:3: option 'max_headers' is for the whole server/],
        ["user_dirs = 'x'", qr/site\.toml:3: 'user_dirs' needs a table/],
        ["user_dirs = {user_subdirs = '../x'}", qr/site\.toml:1: 'user_subdirs': '\.\.\/x' is not a folder in a home/],
        ["user_dirs = {alow_users = 'x'}", qr/site\.toml:3: unknown key 'alow_users' of 'user_dirs', did you mean 'allow_users'\?/],
        ["user_dirs = {fallback = 'app'}", qr/site\.toml:3: option 'fallback' is not for 'user_dirs'/],
        $> ? () : ["user_dirs = {}", qr/site\.toml:1: 'user_dirs' is not for a server that runs as root/],
    ) {
        my ($text, $told) = @$case;
        spew("$dir/site.toml", "[[vhost]]\nname = 'a.org'\n$text\n");
        my ($status, $output) = run_command([Gepok::Test::Site::command(), 'check', '-c', 'site.toml'], dir => "$dir");
        is $status >> 8, 2, "$text: refused";
        like $output, $told, 'with line and reason';
    }
};

check 'max_content' => sub {
    my $dir  = scratch();
    my $site = Gepok::Test::Site->new("$dir", <<'TOML', '-e', 'sub { local $/; my $in = $_[0]{"psgi.input"}; [200, [], [length(<$in> // "")]] }');
max_content = 100
h2c = true
[[vhost]]
name        = "a.org"
max_content = 10
[[vhost]]
name        = "b.org"
max_content = 0
[[vhost]]
name = "c.org"
TOML
    my ($no_h2) = run_command(['sh', '-c', 'curl -V | grep -q HTTP2']);
    for my $case (['a.org', 10, 200], ['a.org', 11, 413], ['b.org', 101, 200], ['c.org', 100, 200], ['c.org', 101, 413], ['unknown.org', 101, 413]) {
        my ($host, $length, $status) = @$case;
        my $content = 'x' x $length;
        is $site->get('/', $host, 'POST', "Content-Length: $length\r\n\r\n$content")->status, $status, "$host: $length bytes: $status";
        next if $host eq 'unknown.org';
        is $site->get('/', $host, 'POST', sprintf "Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", $length, $content)->status, $status, 'in chunks';
        next if $no_h2;
        for my $how ([], ['-H', 'Content-Length:']) {
            my $curl = sub { (run_command(['curl', '-sS', '--http2-prior-knowledge', '--max-time', 60, '--noproxy', '*', '-o', '/dev/null', '-w', '%{http_code}',
                '-H', "Host: $host", @$how, '-d', $content, "http://127.0.0.1:$site->{port}/"]))[1] };
            # curl 7.88 takes the end of an upload that was refused for an error of the connection, if that comes early.
            ok soon { $curl->() eq $status }, "by HTTP/2 @$how";
        }
    }
};

# Without a limit of the server's own as well: then only calls of that host are watched.
check 'request_timeout' => sub {
    for my $server (0, 60) {
        my $dir  = scratch();
        my $site = Gepok::Test::Site->new("$dir", <<"TOML", '-e', 'sub { my ($s) = $_[0]{PATH_INFO} =~ /([\d.]+)/; select undef, undef, undef, $s // 0; [200, [], ["done"]] }');
max_workers     = 3
request_timeout = $server
[[vhost]]
name            = "quick.org"
request_timeout = 1
[[vhost]]
name            = "patient.org"
request_timeout = 0
[[vhost]]
name = "other.org"
TOML
        # The watch over these is to look at the next one sooner.
        my @others = map { $site->open_get('/3', $_) } qw(patient.org other.org);
        my $begun  = time;
        is $site->get('/60', 'quick.org')->status, 504, "the server's is $server: a call that takes too long for its host";
        cmp_ok time - $begun, '<', 20, 'in its time';
        is $_->response->content, 'done', 'others go on' for @others;
        logged $site, qr/request_timeout: GET \/60/, 'and it is logged';
        is $site->get('/', 'quick.org')->content, 'done', 'the next one is answered';
        $site->stop('INT');
    }
};

# The directory of a user other than root. Root is served by nobody; each other user has a home of its own.
check 'directories of users' => sub {
    my ($user, $home) = $> ? (getpwuid $>)[0, 7] : ();
    if (!$>) {
        setpwent;
        while (my @entry = getpwent) {
            # In the home of sys, /dev, there is a folder that each system has.
            ($user, $home) = @entry[0, 7] if $entry[2] && $entry[7] eq '/dev' && -d '/dev/shm';
        }
        endpwent;
    }
    plan skip_all => 'there is no user with a home to write to' unless defined $home && -w $home;
    my $below  = $> ? $home : "$home/shm";
    my $public = File::Temp->newdir('gepok-XXXXXX', DIR => $below);
    chmod 0755, $public or die $!;
    my $folder = substr "$public", 1 + length $home;
    mkdir "$public/sub" or die $!;
    spew("$public/$_", $_) for qw(index.html x.txt .hidden);
    spew("$public/sub/$_", substr $_, 0, 1) for qw(index.html y.txt);
    symlink '/etc/passwd', "$public/passwd" or die $!;
    my $dir = scratch();
    symlink "$dir/public", "$public/elsewhere" or die $!;
    chmod 0755, "$dir" or die $!;
    mkdir "$dir/public" or die $!;
    spew("$dir/public/x.txt", 'host');
    my $site = Gepok::Test::Site->new("$dir", ($> ? '' : "user = 'nobody'\n") . <<"TOML", '-e', 'sub { [200, [], ["app $_[0]{PATH_INFO}"]] }');
trusted_proxies = "loopback"
[[vhost]]
name      = "a.org"
documents = "$dir/public"
[vhost.user_dirs]
user_subdirs  = "$folder"
deny_users    = ["daemon"]
deny          = "192.0.2.0/24"
cache_control = "max-age=7"
[[vhost]]
name = "b.org"
[vhost.user_dirs]
user_subdirs = "$folder"
allow_users  = ["somebody"]
[[vhost]]
name = "c.org"
[[vhost]]
name = "link.org"
[vhost.user_dirs]
user_subdirs = "$folder/elsewhere"
[[vhost]]
name = "sub.org"
[vhost.user_dirs]
user_subdirs = "$folder/sub"
TOML
    my $got = $site->get("/~$user/x.txt", 'a.org');
    is $got->content, 'x.txt', 'a file';
    is $got->field('Cache-Control'), 'max-age=7', 'with its option';
    is $site->get("/%7E$user/x.txt", 'a.org')->content, 'x.txt', 'another spelling';
    is $site->get("/~$user/", 'a.org')->content, 'index.html', 'the index';
    is $site->get("/~$user", 'a.org')->field('Location'), "/~$user/", 'the directory without its slash';
    is $site->get("/~$user/$_", 'a.org')->status, 404, "$_: 404" for qw(none .hidden passwd ../x.txt %2e%2e/x.txt);
    mkdir "$public/empty" or die $!;
    is $site->get("/~$user/empty/", 'a.org')->status, 403, 'no list of a directory';
    is $site->get("/~$user/x.txt", 'a.org', 'POST', "Content-Length: 0\r\n\r\n")->status, 405, 'files are not written';
    is $site->get("/~$_/x.txt", 'a.org')->status, 404, "$_: no directory" for qw(root daemon nobody no-such-user);
    is $site->get("/~$user/x.txt", 'a.org', 'GET', "X-Forwarded-For: 192.0.2.1\r\n\r\n")->status, 403, 'a network that may not';
    is $site->get('/x.txt', 'a.org', 'GET', "X-Forwarded-For: 192.0.2.1\r\n\r\n")->content, 'host', 'which may see the host itself';
    is $site->get('/~', 'a.org')->content, 'app /~', 'no user: the app';
    is $site->get("/~$user/x.txt", 'b.org')->status, 404, 'users that may have none';
    is $site->get("/~$user/x.txt", 'link.org')->status, 404, 'a folder that is a link to what is not the user\'s';
    is $site->get("/~$user/y.txt", 'sub.org')->content, 'y', 'a folder further down';
    is $site->get("/~$user", 'sub.org')->field('Location'), "/~$user/", 'with its slash';
    is $site->get("/~$user/x.txt", 'c.org')->content, "app /~$user/x.txt", 'a host without such directories';
};

# By a program under plackup's loader and runner, with an app for each host.
check 'virtual hosts by plackup' => sub {
    my $root = root();
    my $dir  = scratch();
    spew("$dir/file.psgi", 'sub { [200, [], ["file $_[0]{\'gepok.vhost\'}"]] }');
    my $hosts = q([{name => 'code.org', app => sub { [200, [], ["code $_[0]{'gepok.vhost'}"]] }}, {name => 'file.org', app => 'file.psgi'}, {name => 'own.org'}]);
    my $own   = q(sub { [200, [], ["own $_[0]{'gepok.vhost'}"]] });
    for my $case (
        ['Plack::Loader', "use Plack::Loader; Plack::Loader->load('Gepok', \@args, vhosts => $hosts)->run($own)"],
        ['Plack::Runner', "use Plack::Runner; my \$runner = Plack::Runner->new(app => $own); \$runner->parse_options('-s', 'Gepok', '-E', 'deployment'); \$runner->set_options(\@args, vhosts => $hosts); \$runner->run"],
    ) {
        my ($name, $program) = @$case;
        for my $workers (0, 1) {
            my $port = free_port();
            my $pid  = fork // die $!;
            if (!$pid) {
                chdir $dir or POSIX::_exit(1);
                open STDERR, '>>', "$dir/log" or die $!;
                exec $^X, (map {"-I$root/blib/$_"} qw(arch lib)), '-e', "my \@args = (http_ports => ['127.0.0.1:$port'], start_servers => $workers); $program" or POSIX::_exit(1);
            }
            my $get = sub {
                my $client = Gepok::Test::Connection->new(port => $port);
                $client->send("GET / HTTP/1.1\r\nHost: $_[0]\r\nConnection: close\r\n\r\n");
                return $client->response->content;
            };
            ok soon { eval { $get->('own.org'); 1 } }, "$name, $workers workers: it serves";
            is $get->("$_.org"), "$_ $_.org", "the app of $_.org" for qw(code file own);
            kill TERM => $pid;
            waitpid $pid, 0;
        }
    }
};

# Root binds; the apps of all hosts are loaded and run by the other user.
check 'apps of hosts with option user' => sub {
    plan skip_all => 'only root can choose a user' if $>;
    my $nobody = getpwnam 'nobody';
    for my $mode ([], ['--no-preload-app'], ['--start-servers', 0]) {
        my $dir = scratch();
        chmod 0755, "$dir" or die $!;
        spew("$dir/$_.psgi", "my \$loader = \$>; sub { [200, [], [\"$_ \$loader \$>\"]] }") for qw(a b);
        my $site = Gepok::Test::Site->new("$dir", "user = 'nobody'\n[[vhost]]\nname = 'a.org'\napp = 'a.psgi'\n[[vhost]]\nname = 'b.org'\napp = 'b.psgi'\n", @$mode);
        is $site->get('/', "$_.org")->content, "$_ $nobody $nobody", "$_.org @$mode" for qw(a b);
    }
};

# Between the first new worker and the last old one: an old one does not have the new host's app.
check 'a worker without the app of a host' => sub {
    my $dir = scratch();
    my $app = 'sub { select undef, undef, undef, 0.3; [200, [], [$$]] }';
    spew("$dir/$_.psgi", $app) for qw(a b);
    my $head = "max_workers = 2\nspawn_interval = 4\npreload_app = false\n[[vhost]]\nname = 'a.org'\napp = 'a.psgi'\n";
    my $site = Gepok::Test::Site->new("$dir", $head);
    my $pairs = sub { map { $_->response } map { $site->open_get('/', $_[0]) } 1 .. 2 };
    ok soon { my ($one, $other) = map { $_->content } $pairs->('a.org'); $one ne $other }, 'two workers serve';
    $site->write("$head\[[vhost]]\nname = 'b.org'\napp = 'b.psgi'\n");
    open my $file, '<', "$dir/pid" or die $!;
    my ($pid) = <$file> =~ /(\d+)/;
    kill HUP => $pid;
    # The second one is replaced four seconds after the first.
    my ($new, $old);
    ok soon {
        # Two at a time: one for each worker.
        for my $got ($pairs->('b.org')) {
            $new = $got if $got->status == 200;
            $old = $got if $got->status == 503;
        }
        $new && $old;
    }, 'a new worker answers, and an old one can\'t';
    is $old && $old->field('Retry-After'), 1, 'the client may come again soon';
    is $site->get('/', 'a.org')->status, 200, 'the host that was there is served by both';
    $site->stop('INT');
};

check 'one process loads no app of a new host' => sub {
    my $dir = scratch();
    spew("$dir/$_.psgi", "sub { [200, [], ['$_']] }") for qw(a b);
    my $host = sub {"[[vhost]]\nname = '$_[0].org'\napp = '$_[1].psgi'\n"};
    my $site = Gepok::Test::Site->new("$dir", $host->('a', 'a'), '--start-servers', 0);
    is $site->get('/', 'a.org')->content, 'a', 'it serves';
    my ($status, $told) = $site->reload($host->('a', 'a') . $host->('b', 'b'));
    is $status, 1, 'a reload that names another one fails';
    like $told, qr/site\.toml:\d+: the app of the virtual host 'b\.org' is loaded only at a restart in one process/, 'with the reason';
    is $site->get('/', 'b.org')->status, 404, 'and nothing has changed';
    is +($site->reload($host->('a', 'a') . "[[vhost]]\nname = 'c.org'\nredirect = {'/' = '/c'}\ndocuments = '.'\nfallback = '404'\n"))[0], 0, 'a host without an app is added';
    is $site->get('/', 'c.org')->status, 307, 'and served';
};

done_testing;
