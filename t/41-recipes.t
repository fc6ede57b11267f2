# The recipes of docs/proxies.md, run by the real programs: what stands there is what is tested. Each proxy has the app see the
# client's address and scheme, and nothing that the client has made up.
use strict;
use warnings;

use Test::More;

use Gepok::Test;
use Gepok::Test::Authority;
use Gepok::Test::Connection;
use Gepok::Test::Front;
use Gepok::Test::Nginx;

gepok_only();

sub slurp { open my $file, '<', $_[0] or return ''; local $/; return scalar(<$file>) // '' }

my $page = slurp(root() . '/docs/proxies.md');

# The configuration of a recipe, and the options of Gepok that stand above it.
sub recipe {
    my ($kind) = @_;
    my ($before, $text) = $page =~ /^(.*)^```\Q$kind\E\n(.*?)^```$/ms or die "there is no recipe '$kind'\n";
    my ($options) = $before =~ /.*^    gepok (.*?) app\.psgi$/ms or die "no options for '$kind'\n";
    return ($text, split ' ', $options);
}

my $APP = <<'PERL';
use JSON::PP ();
sub {
    my $env = shift;
    my %told = map { $_ => $env->{$_} }
        grep { /^(?:HTTP_(?:HOST|FORWARDED|X_.*)|REMOTE_ADDR|HTTPS|SSL_CLIENT_.*|psgi\.url_scheme|gepok\.(?:proxy_addr|forwarded_for))$/ } keys %$env;
    # Varnish would keep it.
    return [200, ['Cache-Control' => 'no-store'], [JSON::PP->new->canonical->encode(\%told)]];
};
PERL

# What a client sends who wants to be another.
my $LIES = join '', map {"$_\r\n"} 'X-Forwarded-For: 6.6.6.6', 'Forwarded: for=6.6.6.6;proto=https;host=evil', 'X-Real-IP: 6.6.6.6',
    'X-Forwarded-Host: evil', 'X-Forwarded-Port: 1', 'X-Forwarded-Proto: https', 'X-Forwarded-HTTPS: on', 'X-Forwarded-Server: evil';

# Gepok with these options, and what is to be put in place of them.
sub gepok {
    my ($said, %replaced) = @_;
    my @said = map { exists $replaced{$_} ? $replaced{$_} : $_ } @$said;
    my %place = map { $_ => delete $replaced{$_} } grep { defined $replaced{$_} } qw(port path);
    return server(entry => 'bin', app => $APP, listen => 'none', args => \@said, %place);
}

sub answer {
    my ($port, %how) = @_;
    my $client = Gepok::Test::Connection->new(port => $port, from => '127.0.0.9');
    $client->send("GET / HTTP/1.1\r\nHost: www.example.com\r\n$LIES" . "Connection: close\r\n\r\n");
    my $answer = $client->response;
    is $answer->status, 200, 'an answer' or diag $answer->content;
    return json($answer->content);
}

sub curl {
    my ($port, @words) = @_;
    my ($status, $text) = run_command(['curl', '-sSk', '--interface', '127.0.0.9', '--resolve', "www.example.com:$port:127.0.0.1",
        (map { ('-H', $_) } split /\r\n/, $LIES), @words, "https://www.example.com:$port/"]);
    is $status, 0, 'curl has an answer by HTTPS' or diag $text;
    return json($text);
}

# Fields that the app must not see when it is told everything else.
sub no_lies {
    my ($told) = @_;
    unlike join("\n", map { $_ eq 'gepok.forwarded_for' ? () : "$_=$told->{$_}" } sort keys %$told), qr/6\.6\.6\.6|evil/, 'no lie';
}

check 'nginx' => sub {
    Gepok::Test::Nginx::program() or plan skip_all => 'nginx (nginx-light) is missing';
    my ($recipe, @options) = recipe('nginx');
    my $folder = scratch();
    chmod 0755, $folder or die $!;
    # A group that the user of the test can give files to, where that is not root.
    @options = map { $_ eq 'www-data' && $< ? (split ' ', $()[0] : $_ } @options;
    my $server = gepok(\@options, '/run/app/http.sock' => "$folder/http.sock", path => "$folder/http.sock");
    my $port = free_port();
    $recipe =~ s{unix:/run/app/http\.sock}{'unix:' . $server->path}e;
    $recipe =~ s/listen 80;/listen 127.0.0.1:$port;/;
    my $nginx = Gepok::Test::Nginx::start(folder => $folder, user => 'www-data', port => $port, http => $recipe);
    ok $nginx, 'nginx takes the recipe' or diag slurp("$folder/stderr"), slurp("$folder/errors");
    for (1 .. 3) {
        is_deeply answer($port), {
            HTTP_HOST => 'www.example.com', REMOTE_ADDR => '127.0.0.9', 'psgi.url_scheme' => 'http', HTTP_X_FORWARDED_FOR => '127.0.0.9',
            HTTP_X_FORWARDED_PROTO => 'http', 'gepok.proxy_addr' => 'unix:', 'gepok.forwarded_for' => '6.6.6.6, 127.0.0.9',
        }, 'the app sees host, address and scheme';
    }
};

# Why that recipe names a mode: nginx runs as another user.
check 'a socket of the usual mode' => sub {
    Gepok::Test::Nginx::program() or plan skip_all => 'nginx (nginx-light) is missing';
    plan skip_all => 'nginx runs as this user' if $<;
    my ($recipe) = recipe('nginx');
    my $folder = scratch();
    chmod 0755, $folder or die $!;
    my $server = gepok(['--unix-sockets', "$folder/http.sock", '--unix-socket-mode', '755'], path => "$folder/http.sock");
    my $port = free_port();
    $recipe =~ s{unix:/run/app/http\.sock}{'unix:' . $server->path}e;
    $recipe =~ s/listen 80;/listen 127.0.0.1:$port;/;
    my $nginx = Gepok::Test::Nginx::start(folder => $folder, user => 'www-data', port => $port, http => $recipe);
    my $client = Gepok::Test::Connection->new(port => $port);
    $client->send("GET / HTTP/1.1\r\nHost: www.example.com\r\nConnection: close\r\n\r\n");
    is $client->response->status, 502, 'is 502';
    like slurp("$folder/errors"), qr/connect\(\) to unix:\S+ failed \(13: Permission denied\)/, 'and says so as the page does';
};

# A certificate and key in two files, and in one, as HAProxy wants them.
sub certificates {
    my ($folder) = @_;
    my $ca   = Gepok::Test::Authority->new($folder);
    my $pair = $ca->issue('www', names => ['www.example.com']);
    open my $both, '>', "$folder/site.pem" or die $!;
    print {$both} slurp($pair->{cert}), slurp($pair->{key});
    close $both or die $!;
    return ($ca, $pair, "$folder/site.pem");
}

check 'nginx, which relays TLS' => sub {
    my $nginx = Gepok::Test::Nginx::program() or plan skip_all => 'nginx (nginx-light) is missing';
    my ($module) = grep { -e } glob '/usr/lib/nginx/modules/ngx_stream_module.so' or plan skip_all => 'libnginx-mod-stream is missing';
    my ($recipe, @options) = recipe('nginx-stream');
    my $folder = scratch();
    my (undef, $pair) = certificates($folder);
    my ($port, $inner) = (free_port(), free_port());
    my $server = gepok(\@options, '127.0.0.1:8443:proxy' => "127.0.0.1:$inner:proxy", '/etc/ssl/app.pem' => $pair->{cert},
        '/etc/ssl/app.key' => $pair->{key}, port => $inner);
    $recipe =~ s/listen 443;/listen 127.0.0.1:$port;/;
    $recipe =~ s/127\.0\.0\.1:8443/127.0.0.1:$inner/;
    my $front = Gepok::Test::Front->start(folder => $folder, port => $port, command => [$nginx, '-p', $folder, '-c', "$folder/config"],
        config => "load_module $module; daemon off; pid $folder/nginx.pid; error_log $folder/errors; events {}\n$recipe");
    ok $front, 'nginx takes the recipe' or return;
    my $told = curl($port);
    is_deeply [@$told{qw(REMOTE_ADDR HTTPS gepok.proxy_addr)}], ['127.0.0.9', 'on', '127.0.0.1'], 'the app sees address and scheme';
};

check 'HAProxy' => sub {
    my $haproxy = Gepok::Test::Front::program('haproxy') or plan skip_all => 'haproxy is missing';
    my ($recipe, @options) = recipe('haproxy');
    my $folder = scratch();
    my (undef, undef, $site) = certificates($folder);
    my ($http, $https, $inner) = (free_port(), free_port(), free_port());
    my $server = gepok(\@options, '127.0.0.1:8080' => "127.0.0.1:$inner", port => $inner);
    $recipe =~ s/bind :80$/bind 127.0.0.1:$http/m;
    $recipe =~ s/bind :443/bind 127.0.0.1:$https/;
    $recipe =~ s{/etc/haproxy/site\.pem}{$site};
    $recipe =~ s/127\.0\.0\.1:8080/127.0.0.1:$inner/;
    my $front = Gepok::Test::Front->start(folder => $folder, port => $http, command => [$haproxy, '-db', '-f', "$folder/config"],
        config => $recipe);
    ok $front, 'HAProxy takes the recipe' or return;
    for my $case ([http => answer($http)], [https => curl($https)]) {
        my ($scheme, $told) = @$case;
        is_deeply [@$told{qw(REMOTE_ADDR HTTP_X_FORWARDED_FOR psgi.url_scheme gepok.proxy_addr)}],
            ['127.0.0.9', '127.0.0.9', $scheme, '127.0.0.1'], "$scheme: the app sees address and scheme";
        no_lies($told);
    }
};

check 'HAProxy, which tells of TLS and client certificates' => sub {
    my $haproxy = Gepok::Test::Front::program('haproxy') or plan skip_all => 'haproxy is missing';
    my ($recipe, @options) = recipe('haproxy-proxy');
    my $folder = scratch();
    my ($ca, undef, $site) = certificates($folder);
    my $alice = $ca->issue('alice', usage => 'clientAuth');
    my ($https, $inner) = (free_port(), free_port());
    my $server = gepok(\@options, '127.0.0.1:8080:proxy' => "127.0.0.1:$inner:proxy", port => $inner);
    $recipe =~ s/bind :443/bind 127.0.0.1:$https/;
    $recipe =~ s{/etc/haproxy/site\.pem}{$site};
    $recipe =~ s{/etc/haproxy/clients\.pem}{$ca->cert}e;
    $recipe =~ s/127\.0\.0\.1:8080/127.0.0.1:$inner/;
    my $front = Gepok::Test::Front->start(folder => $folder, port => $https, command => [$haproxy, '-db', '-f', "$folder/config"],
        config => $recipe);
    ok $front, 'HAProxy takes the recipe' or return;
    my $told = curl($https);
    is_deeply [@$told{qw(REMOTE_ADDR HTTPS psgi.url_scheme SSL_CLIENT_VERIFY SSL_CLIENT_S_DN_CN)}],
        ['127.0.0.9', 'on', 'https', 'NONE', undef], 'a client without a certificate';
    $told = curl($https, '--cert', $alice->{cert}, '--key', $alice->{key});
    is_deeply [@$told{qw(REMOTE_ADDR HTTPS SSL_CLIENT_VERIFY SSL_CLIENT_S_DN_CN)}], ['127.0.0.9', 'on', 'SUCCESS', 'alice'],
        'and one with one';
};

check 'Varnish' => sub {
    my $varnish = Gepok::Test::Front::program('varnishd') or plan skip_all => 'varnish is missing';
    my ($recipe, @options) = recipe('vcl');
    my $folder = scratch();
    my ($port, $inner) = (free_port(), free_port());
    my $server = gepok(\@options, '127.0.0.1:8080' => "127.0.0.1:$inner", port => $inner);
    $recipe =~ s/"8080"/"$inner"/;
    my $front = Gepok::Test::Front->start(folder => $folder, port => $port, config => $recipe, command => [$varnish, '-F', '-j', 'none',
        '-n', "$folder/varnish", '-a', "127.0.0.1:$port", '-T', 'none', '-s', 'malloc,16m', '-f', "$folder/config"]);
    ok $front, 'Varnish takes the recipe' or return;
    my $told = answer($port);
    is_deeply [@$told{qw(REMOTE_ADDR HTTP_X_FORWARDED_FOR psgi.url_scheme gepok.proxy_addr HTTP_HOST)}],
        ['127.0.0.9', '127.0.0.9', 'http', '127.0.0.1', 'www.example.com'], 'the app sees address and scheme';
    no_lies($told);
};

check 'Caddy' => sub {
    my $caddy = Gepok::Test::Front::program('caddy') or plan skip_all => 'caddy is missing';
    my ($recipe, @options) = recipe('caddyfile');
    my $folder = scratch();
    my ($http, $https, $inner) = (free_port(), free_port(), free_port());
    my $server = gepok(\@options, '127.0.0.1:8080' => "127.0.0.1:$inner", port => $inner);
    # By HTTPS with a certificate of its own, and by HTTP, which it would redirect.
    $recipe =~ s/^(www\.example\.com) \{/http:\/\/$1:$http, https:\/\/$1:$https {\n    bind 127.0.0.1/m;
    $recipe =~ s/127\.0\.0\.1:8080/127.0.0.1:$inner/;
    my $front = Gepok::Test::Front->start(folder => $folder, port => $http, command => [$caddy, 'run', '--adapter', 'caddyfile',
        '--config', "$folder/config"], config => "{\n    admin off\n    local_certs\n    skip_install_trust\n    auto_https disable_redirects\n}\n$recipe");
    ok $front, 'Caddy takes the recipe' or return;
    my @told = ([http => answer($http)]);
    # The certificate is made meanwhile.
    my @ask = ('curl', '-sko', '/dev/null', '--resolve', "www.example.com:$https:127.0.0.1", "https://www.example.com:$https/");
    ok soon { !(run_command(\@ask))[0] }, 'it has a certificate';
    push @told, [https => curl($https)];
    for my $case (@told) {
        my ($scheme, $told) = @$case;
        is_deeply [@$told{qw(REMOTE_ADDR HTTP_X_FORWARDED_FOR psgi.url_scheme gepok.proxy_addr)}],
            ['127.0.0.9', '127.0.0.9', $scheme, '127.0.0.1'], "$scheme: the app sees address and scheme";
        no_lies($told);
    }
};

done_testing;
