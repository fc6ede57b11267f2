# The recipe for nginx in docs/operations.md, run by the real nginx: what stands there is what is tested.
use strict;
use warnings;

use Test::More;

use Gepok::Test;
use Gepok::Test::Connection;
use Gepok::Test::Nginx;

gepok_only();

Gepok::Test::Nginx::program() or plan skip_all => 'nginx (nginx-light) is missing';
eval { require Plack::Middleware::ReverseProxy; 1 } or plan skip_all => 'Plack::Middleware::ReverseProxy is missing';

sub slurp { open my $file, '<', $_[0] or return ''; local $/; return scalar(<$file>) // '' }

my $page = slurp(root() . '/docs/operations.md');
my ($recipe)  = $page =~ /^```nginx\n(.*?)^```$/ms;
my ($options) = $page =~ m{^    gepok --unix-sockets /run/app/http\.sock (--unix-socket-group \S+ --unix-socket-mode \d+) }m;
ok $recipe,  'the page has the part of nginx';
ok $options, 'and that of Gepok';

my $APP = <<'PERL';
use JSON::PP ();
use Plack::Builder;
builder {
    enable 'ReverseProxy';
    sub {
        my $env = shift;
        my %told = map { $_ => $env->{$_} } grep { /^(?:HTTP_(?:HOST|X_.*)|REMOTE_ADDR|psgi\.url_scheme)$/ } keys %$env;
        return [200, [], [JSON::PP->new->canonical->encode(\%told)]];
    };
};
PERL

# nginx with the recipe in front of a Gepok with these options: its port, and nginx, which lives as long as this value.
sub proxied {
    my ($server, $folder) = @_;
    my $port = free_port();
    (my $text = $recipe) =~ s{unix:/run/app/http\.sock}{'unix:' . $server->path}e;
    $text =~ s/listen 80;/listen 127.0.0.1:$port;/;
    my $nginx = Gepok::Test::Nginx::start(folder => $folder, user => 'www-data', port => $port, http => $text);
    ok $nginx, 'nginx takes the recipe' or diag slurp("$folder/stderr"), slurp("$folder/errors");
    return ($port, $nginx);
}

sub answer {
    my ($port, $fields) = @_;
    my $client = Gepok::Test::Connection->new(port => $port);
    $client->send("GET / HTTP/1.1\r\nHost: www.example.com\r\n${fields}Connection: close\r\n\r\n");
    return $client->response;
}

check 'the recipe' => sub {
    my $folder = scratch();
    chmod 0755, $folder or die $!;
    # A group that the user of the test can give files to, where that is not root.
    (my $said = $options) =~ s/www-data/$< ? (split ' ', $()[0] : 'www-data'/e;
    my $server = server(entry => 'bin', app => $APP, listen => 'none', path => "$folder/http.sock",
        args => ['--unix-sockets', "$folder/http.sock", split ' ', $said]);
    my ($port, $nginx) = proxied($server, $folder);
    my $answer = answer($port, "X-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\nX-Forwarded-For: 10.0.0.1\r\n"
        . "X-Forwarded-HTTPS: ON\r\nX-Forwarded-Server: evil:443\r\n");
    is $answer->status, 200, 'nginx can connect' or diag slurp("$folder/errors");
    is_deeply json($answer->content), {
        HTTP_HOST => 'www.example.com', REMOTE_ADDR => '127.0.0.1', 'psgi.url_scheme' => 'http',
        HTTP_X_FORWARDED_FOR => '127.0.0.1', HTTP_X_FORWARDED_PROTO => 'http',
    }, 'the app sees host, address and scheme, and nothing that the client made up';
    is answer($port, '')->status, 200, 'another request' for 1 .. 3;
};

# Why the recipe names a mode: nginx runs as another user.
check 'a socket of the usual mode' => sub {
    plan skip_all => 'nginx runs as this user' if $<;
    my $folder = scratch();
    chmod 0755, $folder or die $!;
    my $server = server(entry => 'bin', app => $APP, listen => 'none', path => "$folder/http.sock",
        args => ['--unix-sockets', "$folder/http.sock", '--unix-socket-mode', '755']);
    my ($port, $nginx) = proxied($server, $folder);
    is answer($port, '')->status, 502, 'is 502';
    like slurp("$folder/errors"), qr/connect\(\) to unix:\S+ failed \(13: Permission denied\)/, 'and says so as the page does';
};

done_testing;
