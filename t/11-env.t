# The environment an application gets: every key PSGI demands, its extensions, gepok.*, and nothing else in capitals.
use strict;
use warnings;

use Test::More;

use Gepok::Test;

# All keys at once, so that one too many is a failure as well.
my @CGI  = qw(PATH_INFO QUERY_STRING REMOTE_ADDR REMOTE_PORT REQUEST_METHOD REQUEST_URI SCRIPT_NAME SERVER_NAME
    SERVER_PORT SERVER_PROTOCOL);
my @PSGI = qw(psgi.errors psgi.input psgi.multiprocess psgi.multithread psgi.nonblocking psgi.run_once psgi.streaming
    psgi.url_scheme psgi.version);

sub env { json($_[0]->content) }

each_entry {
    my $entry  = shift;
    my $server = server(
        entry   => $entry,
        app     => app_file('env'),
        options => {start_servers => 1},
        listen  => $entry eq 'new' && !is_gepok() || server_name() eq 'Starlet' ? 'tcp' : [qw(tcp unix)],
    );
    my $client = $server->connect;
    my $local  = $client->socket->sockport;
    $client->send("GET /a%20b/c?x=%201;y HTTP/1.1\r\nHost: h.example:99\r\nX-Some-Field: v\r\n"
            . "Content-Type: text/x\r\nx-lower: w\r\n\r\n");
    my $env = env($client->response);

    is_deeply [grep { !exists $env->{$_} } @CGI, @PSGI], [], 'every required key is there';
    my %expected = (
        REQUEST_METHOD   => 'GET',
        SCRIPT_NAME      => '',
        PATH_INFO        => '/a b/c',
        QUERY_STRING     => 'x=%201;y',
        REQUEST_URI      => '/a%20b/c?x=%201;y',
        SERVER_NAME      => '127.0.0.1',
        SERVER_PORT      => $server->port,
        SERVER_PROTOCOL  => 'HTTP/1.1',
        REMOTE_ADDR      => '127.0.0.1',
        REMOTE_PORT      => $local,
        HTTP_HOST        => 'h.example:99',
        HTTP_X_SOME_FIELD => 'v',
        HTTP_X_LOWER     => 'w',
        CONTENT_TYPE     => 'text/x',
        'psgi.url_scheme' => 'http',
    );
    is $env->{$_}, $expected{$_}, $_ for sort keys %expected;

    is_deeply $env->{'psgi.version'}, [1, 1], 'psgi.version';
    ok $env->{'psgi.streaming'},        'psgi.streaming';
    ok $env->{'psgi.multiprocess'},     'psgi.multiprocess: with workers';
    ok !$env->{"psgi.$_"},              "psgi.$_" for qw(multithread nonblocking run_once);
    ok $env->{'psgix.input.buffered'},  'psgix.input.buffered';
    ok $env->{'psgix.harakiri'},        'psgix.harakiri';
    is $env->{'psgix.informational'}, 'ref:CODE', 'psgix.informational';

    is_deeply [grep {/^[^a-z]+$/ && !/^HTTP_/} sort keys %$env], [sort @CGI, 'CONTENT_TYPE'],
        'no other key in capitals: applications test for them';
    is_deeply [grep {/^HTTP_/} sort keys %$env], [qw(HTTP_HOST HTTP_X_LOWER HTTP_X_SOME_FIELD)],
        'one key for each field of the request';

    is env($server->exchange("GET / HTTP/1.0\r\n\r\n"))->{SERVER_PROTOCOL}, 'HTTP/1.0', 'the real version';
    is env($server->get('/'))->{QUERY_STRING}, '', 'QUERY_STRING is empty, not missing';

    if (is_gepok()) {
        check 'gepok.*' => sub { gepok_keys($server, $env) };
        check 'on a Unix socket' => sub { unix_socket($server, $entry) };
    }
};

if (is_gepok()) {
    my $server = server(app => app_file('env'), options => {start_servers => 0});
    my $env    = env($server->get('/'));
    ok !$env->{'psgi.multiprocess'}, 'psgi.multiprocess is false without workers';
    ok !$env->{'psgix.harakiri'},    'so is psgix.harakiri';
    is $env->{'test.pid'}, $server->pid, 'the one process calls the app';
}

# Applications change what they get: none of it may be read-only or shared with the next request.
{
    my $server = server(options => {start_servers => 1}, app => <<'EOT');
sub {
    my $env = shift;
    my $seen = join ',', grep { exists $env->{$_} } 'changed.new';
    $seen .= 'dirty' if grep { defined && !ref && $_ eq 'changed' } values %$env;
    for my $key (keys %$env) {
        next if ref $env->{$key};
        $env->{$key} = 'changed';
    }
    delete @$env{'psgi.input', 'HTTP_HOST'};
    $env->{'changed.new'} = 1;
    return [200, [], ["seen:$seen"]];
}
EOT
    my $client = $server->connect;
    for my $time (1 .. 3) {
        $client->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        my $response = $client->response;
        is $response->status . $response->content, '200seen:', "request $time finds an environment of its own";
    }
}

# Perl must see bytes, and no value may carry the UTF-8 flag: concatenation would change other bytes.
{
    my $server = server(app => 'sub { my $e = shift; [200, [], [join ",", grep { defined $e->{$_} && !ref $e->{$_}'
            . ' && utf8::is_utf8($e->{$_}) } sort keys %$e]] }');
    is $server->get("/\xc3\xa9%C3%A9?\xc3\xa9", 'X-Bytes' => "\xc3\xa9\xff")->content, '', 'values are bytes';
}

done_testing;

sub gepok_keys {
    my ($server, $env) = @_;
    is $env->{gepok}, 1, 'gepok';
    is $env->{'gepok.client_protocol'}, 'HTTP/1.1', 'gepok.client_protocol';
    ok !$env->{'gepok.unix_socket'}, 'gepok.unix_socket is false on TCP';
    my @times = map {"gepok.${_}_time"} qw(connect start_request finish_request);
    for my $key (@times) {
        my $time = $env->{$key};
        is ref $time && @$time, 2, "$key is [seconds, microseconds]" or next;
        cmp_ok abs($time->[0] - time), '<', 60, "$key: the seconds are those of the clock";
        ok $time->[1] >= 0 && $time->[1] < 1e6, "$key: the microseconds";
    }
    my ($connect, $start, $finish) = map { $_->[0] + $_->[1] / 1e6 } @$env{@times};
    ok $connect <= $start && $start <= $finish, 'connected, then the request began, then it was complete';

    # One connection, two requests, the second sent in two pieces.
    my $socket = server(options => {start_servers => 1}, app => <<'EOT');
use JSON::PP;
sub {
    my $env = shift;
    my ($s, $h) = @$env{'gepok.socket', 'gepok.httpd_socket'};
    return [200, [], [JSON::PP->new->latin1->encode({
        times => [map { $env->{"gepok.${_}_time"} } qw(connect start_request finish_request)],
        (map { $_ => $s->$_ } qw(peerhost peerport sockhost sockport)),
        httpd => [map { $h->$_ } qw(sockhost sockport)],
    })]];
}
EOT
    my $client = $socket->connect;
    $client->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    my $first = json($client->response->content);
    is_deeply [@$first{qw(peerhost peerport sockhost sockport)}],
        ['127.0.0.1', $client->socket->sockport, '127.0.0.1', $socket->port], 'gepok.socket knows both ends';
    is_deeply $first->{httpd}, ['127.0.0.1', $socket->port], 'gepok.httpd_socket knows where it listens';
    # A busy machine may let the server see the first piece late: then once more, with more time between them.
    my ($second, $from, $to);
    for (1 .. 10) {
        $client->send("GET / HTTP/1.1\r\nHost: x\r\n");
        select undef, undef, undef, 0.1 * $_;
        $client->send("\r\n");
        $second = json($client->response->content);
        ($from, $to) = map { $second->{times}[$_][0] + $second->{times}[$_][1] / 1e6 } 1, 2;
        last if $to - $from >= 0.09;
    }
    is_deeply $second->{times}[0], $first->{times}[0], 'connect_time belongs to the connection';
    cmp_ok $to - $from, '>=', 0.09, 'start_request_time to finish_request_time is the time of its arrival';
    cmp_ok $from, '>', $first->{times}[2][0] + $first->{times}[2][1] / 1e6 - 0.000_001,
        'start_request_time belongs to the request';
}

sub unix_socket {
    my ($server, $entry) = @_;
    my $client = $server->connect('unix');
    $client->send("GET /p HTTP/1.1\r\nHost: x\r\n\r\n");
    my $env = env($client->response);
    is $env->{PATH_INFO}, '/p', 'PATH_INFO';
    ok $env->{'gepok.unix_socket'}, 'gepok.unix_socket';
    if ($entry eq 'plackup') {
        # --listen PATH, as Starlet has it.
        is_deeply [@$env{qw(SERVER_NAME SERVER_PORT REMOTE_ADDR REMOTE_PORT)}], [0, $server->path, undef, 0],
            "Starlet's values for --listen";
    }
    else {
        is_deeply [@$env{qw(SERVER_NAME SERVER_PORT REMOTE_ADDR)}], [$server->path, 0, '127.0.0.1'],
            "Gepok's values for unix_sockets";
        ok !exists $env->{REMOTE_PORT}, 'and no REMOTE_PORT';
    }
}
