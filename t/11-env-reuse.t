# A worker reuses a request's env for the next one. Nothing of a request may show in another, whatever the app has done to
# its env: each env looks as if it had been made for its request alone.
use strict;
use warnings;

use Test::More;

use Gepok::Test;

gepok_only();

sub start {
    my ($entry, %env) = @_;
    return server(entry => $entry, app => app_file('env-reuse'), env => \%env, options => {start_servers => 1, access_log => ''});
}

# What an app sees of its env, apart from what is another in each request or server.
sub seen {
    my ($response) = @_;
    my $seen = json($response->content);
    my $env  = $seen->{env};
    for my $key (map {"gepok.${_}_time"} qw(connect start_request finish_request)) {
        $env->{$key} = join ' ', map { /^\d+$/ ? 'number' : $_ } @{$env->{$key}};
    }
    delete @$env{qw(REMOTE_PORT SERVER_PORT)};
    delete @$seen{qw(destroyed weak)};
    return $seen;
}

sub get {
    my ($path, @fields) = @_;
    return join "\r\n", "GET $path HTTP/1.1", 'Host: x.example', @fields, '', '';
}

sub ask { my ($connection, $bytes) = @_; $connection->send($bytes); return $connection->response }

my @SECRETS = ('Cookie: session=secret', 'Authorization: Basic secret', 'X-Own: secret', 'X-Forwarded-For: 192.0.2.1',
    'Content-Type: text/secret', 'Referer: http://secret.example/');

each_entry {
    my $entry = shift;
    # One server may use envs again, the other cannot.
    my @servers = (start($entry), start($entry, KEEP_ENVS => 1));
    my @clients = map { $_->connect } @servers;

    my @places = map { ask($clients[0], get('/places'))->content } 1 .. 3;
    is $places[$_], $places[0], 'the values of an env are used again' for 1, 2;
    isnt ask($clients[1], get('/places'))->content, ask($clients[1], get('/places'))->content, 'but not where they are kept';

    for my $name (split ' ', ask($clients[0], get('/names'))->content) {
        # Twice: what was made anew is used again in its turn.
        my @got = map {
            my $client = $_;
            map {
                ask($client, get("/mischief/$name?secret=1", @SECRETS));
                seen(ask($client, get('/after', 'Accept: */*')));
            } 1, 2;
        } @clients;
        is_deeply $got[0], $got[2], "behind mischief '$name'";
        is_deeply $got[1], $got[3], '... and again';
        unlike join(' ', explain @got), qr/secret|forged/, 'nothing is left of it';
    }

    is json(ask($clients[0], get('/after'))->content)->{destroyed}, 8, 'what an app puts there is destroyed with the request';
    is json(ask($clients[0], get('/after'))->content)->{weak}, 0, 'and weak references to an env, and into it, see its end';

    # Any row of requests.
    srand(my $seed = $ENV{GEPOK_TEST_SEED} || time);
    my @fields = (@SECRETS, 'Accept: text/html', 'User-Agent: test', 'X-Other: 1', 'If-None-Match: "x"', 'Cookie: b=2');
    my $bad    = 0;
    for my $round (1 .. 300) {
        my $path    = '/' . 'p' x int(rand 300) . (rand() < 0.5 ? '?names' : '');
        my @some    = grep { rand() < 0.4 } @fields;
        my $content = rand() < 0.3 ? 'c' x rand 200 : undef;
        my $request = defined $content
            ? "POST $path HTTP/1.1\r\nHost: y.example\r\nContent-Length: " . length($content) . join("\r\n", '', @some, '', '') . $content
            : get($path, @some);
        my @got = map { seen(ask($_, $request)) } @clients;
        next if eq_hash(@got);
        $bad++ or is_deeply $got[0], $got[1], "request $round, GEPOK_TEST_SEED=$seed";
    }
    is $bad, 0, '300 requests of all kinds';
};

done_testing;
