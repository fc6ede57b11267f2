# What is refused, how, and that nothing behind it is taken for a request: two readings of the same bytes are how
# requests are smuggled (RFC 9112 sections 5, 6 and 11).
use strict;
use warnings;

use Test::More;

use Gepok::Test;

gepok_only();

my $server = server(app => app_file('wire'), options => {start_servers => 1});

# Behind each refused request stands one that would be served if the connection lived on.
my $smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";

my $H = "Host: x\r\n";
my $C = "Transfer-Encoding: chunked\r\n";
my %refused = (
    # Framing.
    'TE and CL'                   => [400, "POST / HTTP/1.1\r\n${H}${C}Content-Length: 5\r\n\r\n0\r\n\r\n"],
    'CL and TE'                   => [400, "POST / HTTP/1.1\r\n${H}Content-Length: 5\r\n${C}\r\n0\r\n\r\n"],
    'two different CL'            => [400, "POST / HTTP/1.1\r\n${H}Content-Length: 0\r\nContent-Length: 44\r\n\r\n"],
    'two equal CL'                => [400, "POST / HTTP/1.1\r\n${H}Content-Length: 0\r\nContent-Length: 0\r\n\r\n"],
    'CL with a list'              => [400, "POST / HTTP/1.1\r\n${H}Content-Length: 2, 2\r\n\r\nab"],
    'CL with a sign'              => [400, "POST / HTTP/1.1\r\n${H}Content-Length: +2\r\n\r\nab"],
    'CL below zero'               => [400, "POST / HTTP/1.1\r\n${H}Content-Length: -1\r\n\r\n"],
    'CL in hexadecimal'           => [400, "POST / HTTP/1.1\r\n${H}Content-Length: 0x2\r\n\r\nab"],
    'CL with a blank inside'      => [400, "POST / HTTP/1.1\r\n${H}Content-Length: 1 1\r\n\r\nab"],
    'CL beyond 64 bits'           => [400, "POST / HTTP/1.1\r\n${H}Content-Length: 18446744073709551618\r\n\r\nab"],
    'CL empty'                    => [400, "POST / HTTP/1.1\r\n${H}Content-Length:\r\n\r\n"],
    'unknown coding'              => [501, "POST / HTTP/1.1\r\n${H}Transfer-Encoding: xchunked\r\n\r\n"],
    'another coding'              => [501, "POST / HTTP/1.1\r\n${H}Transfer-Encoding: gzip\r\n\r\n"],
    'a coding before chunked'     => [501, "POST / HTTP/1.1\r\n${H}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"],
    'chunked not last'            => [qr/400|501/, "POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"],
    'chunked twice'               => [qr/400|501/, "POST / HTTP/1.1\r\n${H}${C}${C}\r\n0\r\n\r\n"],
    'chunked, chunked'            => [qr/400|501/, "POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"],
    'chunked in HTTP/1.0'         => [400, "POST / HTTP/1.0\r\n${C}\r\n0\r\n\r\n"],
    'TE empty'                    => [qr/400|501/, "POST / HTTP/1.1\r\n${H}Transfer-Encoding:\r\n\r\n"],
    'TE behind a vertical tab'    => [qr/400|501/, "POST / HTTP/1.1\r\n${H}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"],
    'a chunk size that is none'   => [400, "POST / HTTP/1.1\r\n${H}${C}\r\nxyz\r\nabc\r\n0\r\n\r\n"],
    'a chunk size below zero'     => [400, "POST / HTTP/1.1\r\n${H}${C}\r\n-1\r\n\r\n"],
    'a chunk size in 0x'          => [400, "POST / HTTP/1.1\r\n${H}${C}\r\n0x2\r\nab\r\n0\r\n\r\n"],
    'a chunk size beyond 64 bits' => [400, "POST / HTTP/1.1\r\n${H}${C}\r\n10000000000000002\r\nab\r\n0\r\n\r\n"],
    'a chunk longer than said'    => [400, "POST / HTTP/1.1\r\n${H}${C}\r\n1\r\nabc\r\n0\r\n\r\n"],
    'LF alone in chunks'          => [400, "POST / HTTP/1.1\r\n${H}${C}\r\n2\nab\n0\n\n"],
    'a chunk size without digits' => [400, "POST / HTTP/1.1\r\n${H}${C}\r\n\r\nab\r\n0\r\n\r\n"],
    # Field lines.
    'blank before the colon'  => [400, "GET / HTTP/1.1\r\nHost : x\r\n\r\n"],
    'TE with a blank'         => [400, "POST / HTTP/1.1\r\n${H}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"],
    'a folded field'          => [400, "GET / HTTP/1.1\r\n${H}X-A: 1\r\n folded\r\n\r\n"],
    'a field without a colon' => [400, "GET / HTTP/1.1\r\n${H}nonsense\r\n\r\n"],
    'a field without a name'  => [400, "GET / HTTP/1.1\r\n${H}: v\r\n\r\n"],
    'a blank in a name'       => [400, "GET / HTTP/1.1\r\n${H}X A: v\r\n\r\n"],
    'a name of other bytes'   => [400, "GET / HTTP/1.1\r\n${H}X-\xc3\xa9: v\r\n\r\n"],
    'NUL in a value'          => [400, "GET / HTTP/1.1\r\n${H}X-A: a\0b\r\n\r\n"],
    'CR in a value'           => [400, "GET / HTTP/1.1\r\n${H}X-A: a\rb\r\n\r\n"],
    'a blank first line'      => [400, "GET / HTTP/1.1\r\n ${H}\r\n"],
    'no Host'                 => [400, "GET / HTTP/1.1\r\n\r\n"],
    'no Host beside a URL'    => [400, "GET http://x/ HTTP/1.1\r\n\r\n"],
    'two Host'                => [400, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"],
    # The request line.
    'no version'             => [400, "GET /\r\n\r\n"],
    'version 2.0'            => [qr/400|505/, "GET / HTTP/2.0\r\n\r\n"],
    'version 1.2'            => [qr/400|505/, "GET / HTTP/1.2\r\n\r\n"],
    'version of two digits'  => [qr/400|505/, "GET / HTTP/1.10\r\n\r\n"],
    'lower case version'     => [400, "GET / http/1.1\r\n\r\n"],
    'two blanks'             => [400, "GET  / HTTP/1.1\r\n${H}\r\n"],
    'a tab'                  => [400, "GET\t/ HTTP/1.1\r\n${H}\r\n"],
    'a blank in the target'  => [400, "GET /a b HTTP/1.1\r\n${H}\r\n"],
    'NUL in the target'      => [400, "GET /a\0b HTTP/1.1\r\n${H}\r\n"],
    'a fragment'             => [400, "GET /a#b HTTP/1.1\r\n${H}\r\n"],
    'a relative target'      => [400, "GET a HTTP/1.1\r\n${H}\r\n"],
    'asterisk with GET'      => [400, "GET * HTTP/1.1\r\n${H}\r\n"],
    'a method that is none'  => [400, "G\@T / HTTP/1.1\r\n${H}\r\n"],
    'binary rubbish'         => [400, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"],
    # Limits.
    '129 fields'               => [431, "GET / HTTP/1.1\r\n" . join('', map {"X-$_: 1\r\n"} 1 .. 129) . "\r\n"],
    'a name of 1025 bytes'     => [qr/400|431/, "GET / HTTP/1.1\r\n${H}" . 'n' x 1025 . ": v\r\n\r\n"],
    'a section beyond 64 KiB'  => [431, "GET / HTTP/1.1\r\n${H}X-A: " . 'v' x 66_000 . "\r\n\r\n"],
    'many fields in 64 KiB'    => [431, "GET / HTTP/1.1\r\n" . join('', map {"X-$_: " . 'v' x 900 . "\r\n"} 1 .. 100) . "\r\n"],
    'a target beyond 16 KiB'   => [414, 'GET /' . 'a' x 17_000 . " HTTP/1.1\r\n${H}\r\n"],
);

for my $name (sort keys %refused) {
    my ($status, $bytes) = @{$refused{$name}};
    check $name => sub {
        my $client = $server->connect;
        $client->send($bytes . $smuggled);
        my $response = $client->response;
        like $response->status, ref $status ? qr/^(?:$status)$/ : qr/^$status$/, 'status';
        ok $response->closes, 'the response says that it closes';
        # What was sent behind it may make the kernel reset the connection, which is an end as well.
        unlike $client->rest, qr/HTTP/, 'nothing behind it is answered';
    };
}
is $server->get('/calls')->content, 0, 'the app was called for none of them';
unlike $server->log, qr/ at \S+ line \d+/, 'and no Perl warning came of them';

# An endless head or target is refused as soon as it is too long, not when it ends.
for my $case (['field section', 431, "GET / HTTP/1.1\r\nX-A: "], ['target', 414, 'GET /']) {
    my ($what, $status, $begin) = @$case;
    my $client = $server->connect;
    $client->send($begin . 'a' x 70_000);
    is $client->head->status, $status, "an endless $what";
}
# Anything at all but the largest values.
for my $case (['a target of 16 KiB', 'GET /' . 'a' x 16_000 . " HTTP/1.1\r\n$H\r\n"],
    ['a section of nearly 64 KiB', "GET / HTTP/1.1\r\n$H" . join('', map {"X-$_: " . 'v' x 500 . "\r\n"} 1 .. 120) . "\r\n"])
{
    is $server->exchange($case->[1])->status, 200, "$case->[0] is served";
}

done_testing;
