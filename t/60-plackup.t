# plackup's own switches keep their meaning under Gepok.
use strict;
use warnings;

use Test::More;

use Gepok::Test;


# The arguments are known only when the port is.
sub on_port {
    my ($build, %extra) = @_;
    my $port = free_port();
    return server(entry => 'plackup', listen => 'none', port => $port, args => [$build->($port)], %extra);
}

check '-o and -p' => sub {
    my $server = on_port(sub { '-o', '127.0.0.1', '-p', $_[0] }, app => app_file('env'));
    my $env = json($server->get('/')->content);
    is_deeply [@$env{qw(SERVER_NAME SERVER_PORT)}], ['127.0.0.1', $server->port], 'host and port';
    $server = on_port(sub { '--port', $_[0] }, app => app_file('env'));
    is json($server->get('/')->content)->{SERVER_PORT}, $server->port, '--port alone listens on every address';
};

check '-D' => sub {
    plan skip_all => 'Gepok only' if server_name() ne 'Gepok';
    my $app = 'sub { [200, [], [join " ", getppid, -t STDIN ? 1 : 0]] }';
    my $folder = scratch();
    # Not by its first line, which may name another perl.
    for my $entry (['plackup', $^X, Gepok::Test::Server::plackup(), (map {'-I' . root() . "/blib/$_"} qw(arch lib)), '-s', 'Gepok'],
        ['bin', root() . '/blib/script/gepok'])
    {
        my ($name, @command) = @$entry;
        my $port   = free_port();
        my @listen = ('-D', '--pid-path', '', '-o', '127.0.0.1', '-p', $port, '-e', $app);
        my ($status, $text) = run_command([@command, @listen]);
        is $status, 0, "$name: returns when it listens" or diag $text;
        my $client = Gepok::Test::Connection->new(port => $port);
        $client->send("GET / HTTP/1.0\r\n\r\n");
        my ($master) = split / /, $client->response->content;
        ($status, $text) = run_command([@command, @listen]);
        isnt $status, 0, "$name: a port in use is told to whoever starts it";
        like $text, qr/\Q127.0.0.1:$port\E/, "$name: and named";
        ok kill(TERM => $master), "$name: it serves";
        ok soon { !alive($master) }, "$name: and ends by TERM";
    }
};

check '-S' => sub {
    my $folder = scratch();
    my $server = server(entry => 'plackup', app => app_file('env'), listen => 'none', path => "$folder/s",
        args => ['-S', "$folder/s"]);
    ok -S "$folder/s", 'makes a socket';
    is $server->get('/')->status, 200, 'and serves there';
    $server = server(entry => 'plackup', app => app_file('env'), listen => 'unix');
    is $server->get('/')->status, 200, 'so does --listen with a path';
};

check '-l, several' => sub {
    plan skip_all => 'true of Gepok and Starman' if server_name() !~ /^(?:Gepok|Starman)$/;
    my ($one, $two) = (free_port(), free_port());
    my $folder = scratch();
    my $server = server(entry => 'plackup', listen => 'none', port => $one, app => app_file('env'),
        args => ['-l', "127.0.0.1:$one", '-l', "127.0.0.1:$two", '-l', "$folder/s"]);
    is json($server->get('/')->content)->{SERVER_PORT}, $one, 'the first address';
    my $second = Gepok::Test::Connection->new(port => $two);
    $second->send("GET / HTTP/1.0\r\n\r\n");
    is json($second->response->content)->{SERVER_PORT}, $two, 'the second';
    my $third = Gepok::Test::Connection->new(path => "$folder/s");
    $third->send("GET / HTTP/1.0\r\n\r\n");
    is $third->response->status, 200, 'and a path';
    is $server->stop, 0, 'the end';
};

check '-e, -M, -I' => sub {
    my $folder = scratch();
    open my $file, '>', "$folder/Gepok_Test_Words.pm" or die $!;
    print {$file} "package Gepok_Test_Words; sub import { my \$to = caller; *{\"main::word\"} = sub { 'imported' } } 1;\n";
    close $file;
    my $server = on_port(
        sub {
            '-o', '127.0.0.1', '-p', $_[0], '-I', "$folder", '-MGepok_Test_Words', '-e',
                'enable "Runtime"; sub { [200, ["Content-Type" => "text/plain"], [main::word()]] }';
        });
    my $response = $server->get('/');
    is $response->content, 'imported', 'code from the command line, with a module from a folder of its own';
    ok defined $response->field('X-Runtime'), 'and a middleware';
};

check '-E' => sub {
    my $app = 'sub { [200, ["Content-Type" => "text/plain"], [$ENV{PLACK_ENV}]] }';
    is server(entry => 'plackup', app => $app, plack_env => 'deployment')->get('/')->content, 'deployment', 'deployment';
    my $server = server(entry => 'plackup', app => $app, plack_env => 'development');
    is $server->get('/')->content, 'development', 'development';
    logged $server, qr/"GET \/ HTTP\/1\.1" 200/, 'brings the access log of Plack';
    my $port = $server->port;
    logged $server, qr{^\S+: Accepting connections at http://\S+:$port/$}m, 'and tells where it listens';
    logged_times $server, qr/Accepting connections/, 1, 'once' if is_gepok();
};

check '--path' => sub {
    my $server = server(entry => 'plackup', app => app_file('env'), args => ['--path', '/mounted']);
    my $env = json($server->get('/mounted/inside')->content);
    is_deeply [@$env{qw(SCRIPT_NAME PATH_INFO)}], ['/mounted', '/inside'], 'mounts the app';
    is $server->get('/elsewhere')->status, 404, 'there only';
};

check '--access-log' => sub {
    my $folder = scratch();
    my $server = server(entry => 'plackup', app => app_file('env'), args => ['--access-log', "$folder/access"]);
    $server->get('/logged');
    ok soon { open my $log, '<', "$folder/access" or return; local $/; <$log> =~ m{"GET /logged HTTP/1\.1" 200} },
        'is written by Plack';
};

check '-a, and the default app.psgi' => sub {
    my $folder = scratch();
    open my $file, '>', "$folder/app.psgi" or die $!;
    print {$file} 'sub { [200, [], ["by default"]] }';
    close $file;
    is on_port(sub { '-o', '127.0.0.1', '-p', $_[0] }, dir => "$folder")->get('/')->content, 'by default', 'app.psgi';
    is on_port(sub { '-o', '127.0.0.1', '-p', $_[0], '-a', "$folder/app.psgi" })->get('/')->content, 'by default', '-a';
};

check 'other loaders' => sub {
    my $app = 'my $loaded = $$; sub { [200, [], [$loaded == $$ ? "in the worker" : "before"]] }';
    is server(entry => 'plackup', app => $app)->get('/')->content, 'before', 'the app is loaded before the fork';
    is server(entry => 'plackup', app => $app, args => ['-L', 'Delayed'])->get('/')->content, 'in the worker',
        '-L Delayed loads it in each worker';

    # Restarter runs the server in a child, and ends it by TERM.
    my $server = server(entry => 'plackup', app => $app, args => ['-r']);
    is $server->get('/')->status, 200, '-r serves';
    # It does so only when it watches the files, and its child may serve before that.
    ok soon { catches($server->pid, 'TERM') }, 'it is ready to';
    my @all = $server->descendants;
    $server->signal('TERM');
    ok soon { !grep { alive($_) } @all }, 'and leaves no process behind' or diag "@all";
};

check 'plackup without a server named' => sub {
    my $port   = free_port();
    my $server = server(entry => 'plackup', app => app_file('env'), env => {PLACK_SERVER => server_name()});
    is $server->get('/')->status, 200, 'PLACK_SERVER';
};

check 'Plack::Test with a server' => sub {
    # The server runs in a child of the test program itself, which kills it in the end.
    require Plack::Test;
    require HTTP::Request::Common;
    local $ENV{PLACK_SERVER}  = server_name();
    no warnings 'once';
    local $Plack::Test::Impl  = 'Server';
    # Its own are a port that the kernel may give to a client before the server has it, and ten seconds.
    require Test::TCP;
    no warnings 'redefine';
    local *Test::TCP::empty_port = sub { free_port() };
    local *Test::TCP::wait_port  = sub { Net::EmptyPort::wait_port({%{$_[0]}, max_wait => 120}) or die "no server\n" };
    local $SIG{ALRM}          = 'DEFAULT';
    Plack::Test::test_psgi(
        app    => sub { [200, ['Content-Type' => 'text/plain'], ["tested $_[0]{PATH_INFO}"]] },
        client => sub {
            my $cb = shift;
            is $cb->(HTTP::Request::Common::GET("/$_"))->content, "tested /$_", "request $_" for 1 .. 3;
        },
    );
};

check 'addresses of the server itself' => sub {
    my ($one, $two) = (free_port(), free_port());
    my $folder = scratch();
    my $server = server(entry => 'plackup', listen => 'none', port => $one, app => app_file('env'),
        args => ['--http_ports', "127.0.0.1:$one,127.0.0.1:$two,", '--unix-sockets', "$folder/a,$folder/b"]);
    for my $at ([port => $one], [port => $two], [path => "$folder/a"], [path => "$folder/b"]) {
        my $client = Gepok::Test::Connection->new(@$at);
        $client->send("GET / HTTP/1.0\r\n\r\n");
        is $client->response->status, 200, "@$at";
    }
    # Another process may listen there at any time.
    open my $tcp, '<', '/proc/net/tcp' or die $!;
    my @listening = grep { $_->[1] =~ /:1388$/ && $_->[3] eq '0A' } map { [split] } <$tcp>;
    my %sockets   = map { ("socket:[$_->[9]]" => 1) } @listening;
    my @its = grep { $sockets{readlink($_) // ''} } map { glob "/proc/$_/fd/*" } $server->pid, $server->descendants;
    is_deeply \@its, [], "plackup's own port 5000 is not taken as well";
} if is_gepok();

done_testing;
