# The request line and the fields: every form of target, raw bytes, decoding, and how fields become HTTP_* keys.
use strict;
use warnings;

use Test::More;

use Gepok::Test;

my $server = server(app => app_file('wire'), options => {start_servers => 1});

# [target, PATH_INFO, QUERY_STRING]; REQUEST_URI is the target itself.
my @targets = (
    ['/',                        '/',                      ''],
    ['/?',                       '/',                      ''],
    ['/a?b?c',                   '/a',                     'b?c'],
    ['/a?b=%20+c',               '/a',                     'b=%20+c'],
    ['/a%20b+c',                 '/a b+c',                 ''],
    ['/%252c',                   '/%2c',                   ''],
    ['/a%2Fb%3f',                '/a/b?',                  ''],
    ['//foo///bar/baz/',         '//foo///bar/baz/',       ''],
    ['/a/../b/./c',              '/a/../b/./c',            ''],
    ["/\xe3\x81\x82?\xc3\xa9",   "/\xe3\x81\x82",          "\xc3\xa9"],
    ['/%E3%81%82%ff',            "/\xe3\x81\x82\xff",      ''],
    ["/\xff\xfe",                "/\xff\xfe",              ''],
    ['/;p=1/,:@!$&\'()*=~_.-',   '/;p=1/,:@!$&\'()*=~_.-', ''],
    ['/"<>[]\\^`{|}',            '/"<>[]\\^`{|}',          ''],
    ['/' . 'a' x 8000,           '/' . 'a' x 8000,         ''],
);

sub understood {
    my ($line, $method) = @_;
    my $response = $server->exchange("$line HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", $method // 'GET');
    return $response;
}

for my $case (@targets) {
    my ($target, $path, $query) = @$case;
    my $name = length $target > 40 ? 'a long target' : Gepok::Test::Connection::printable($target);
    is understood("GET $target")->content, "GET|$path|$query|$target|0|", $name;
}

if (is_gepok()) {
    is understood('GET http://h.example:80/p%20q?r')->content, 'GET|/p q|r|http://h.example:80/p%20q?r|0|',
        'absolute-form: the path is split off';
    is understood('GET http://h.example')->content, 'GET|/||http://h.example|0|', 'without a path it is /';
    is understood('GET http://h.example?q')->content, 'GET|/|q|http://h.example?q|0|', 'even before a query';
    my $response = $server->exchange("GET http://h.example:81/field?HTTP_HOST HTTP/1.1\r\nHost: other\r\n\r\n");
    is $response->content, '<h.example:81>', 'absolute-form: the target names the host (RFC 9112 section 3.2.2)';
    my $asterisk = understood('OPTIONS *', 'OPTIONS');
    is $asterisk->status, 200, 'asterisk-form is served';
    like $asterisk->content, qr{^OPTIONS\|/?\|\|\*\|0\|$}, 'with a PATH_INFO that Lint takes';
    for my $method (qw(PURGE PROPFIND M-SEARCH X)) {
        is understood("$method /", $method)->content, "$method|/||/|0|", "any token is a method: $method";
    }
    for my $path ('/%zz', '/%2', '/a%', '/%g0') {
        is understood("GET $path")->status, 400, "$path: what cannot be decoded is refused";
    }
    is understood('GET /?%zz')->status, 200, 'a query is not decoded here';
}

# Fields.
sub field {
    my ($key, @lines) = @_;
    return $server->exchange(join "\r\n", "GET /field?$key HTTP/1.1", 'Host: x', 'Connection: close', @lines, '', '')
        ->content;
}

is field('HTTP_X_A', 'x-a: v'), '<v>', 'names: upper case, _ for -';
is field('HTTP_X_A', 'X-A:v'), '<v>', 'no blank is needed';
is field('HTTP_X_A', "X-A: \t v w \t "), '<v w>', 'blanks around a value are not part of it';
is field('HTTP_X_A', 'X-A:'), '<>', 'an empty value is one';
is field('HTTP_X_A', 'X-A: 1', 'X-B: x', 'x-a: 2'), '<1, 2>', 'repeated fields are joined';
is field('HTTP_X_A', 'X-A: caf' . "\xc3\xa9\xff"), "<caf\xc3\xa9\xff>", 'bytes as they came';
is field('CONTENT_TYPE', 'Content-Type: a/b'), '<a/b>', 'CONTENT_TYPE';
is field('HTTP_CONTENT_TYPE', 'Content-Type: a/b'), 'none', 'has no HTTP_';
is field('HTTP_CONTENT_LENGTH', 'Content-Length: 0'), 'none', 'nor has CONTENT_LENGTH';
is field('HTTP_' . 'N' x 1024, ('n' x 1024) . ': long'), '<long>', 'a name of 1024 bytes';
is field('HTTP_X_A', 'X-A: ' . 'v' x 12_000), '<' . 'v' x 12_000 . '>', 'a value of 12000 bytes';
is field('HTTP_X_LAST', (map {"X-$_: 1"} 1 .. 125), 'X-Last: yes'), '<yes>', '128 fields';

if (is_gepok()) {
    is field('HTTP_COOKIE', 'Cookie: a=1', 'Cookie: b=2'), '<a=1; b=2>', 'repeated Cookie fields are joined with ;';
    is field('HTTP_X_A', 'X-A: 1', 'X-A:', 'X-A: 3'), '<1, , 3>', 'empty ones count';
    is field('HTTP_X_A', 'X_A: spoofed'), 'none', 'a name with _ is dropped: it would be taken for another';
    is field('HTTP_X_A', 'X_A: spoofed', 'X-A: real'), '<real>', 'and spoofs nothing';
    is field('HTTP_PROXY', 'Proxy: evil'), 'none', 'Proxy is dropped (httpoxy)';
    is field('HTTP_TRANSFER_ENCODING', 'X-A: 1'), 'none', 'no HTTP_TRANSFER_ENCODING';
    is $server->exchange("GET /field?HTTP_X_A HTTP/1.1\nHost: x\nX-A: v\nConnection: close\n\n")->content, '<v>',
        'lines may end with LF alone';
}
is $server->exchange("GET / HTTP/1.0\r\n\r\n")->status, 200, 'HTTP/1.0 needs no Host';

done_testing;
