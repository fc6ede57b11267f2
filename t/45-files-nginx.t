# Files beside nginx: the same requests to both, whose answers about the files must be the same. Where the two differ on purpose, the
# table @DIFFERS says why.
use strict;
use warnings;

use HTTP::Date qw(time2str);
use Test::More;

use Gepok::Test;
use Gepok::Test::Connection;
use Gepok::Test::Nginx;

gepok_only();

my $program = Gepok::Test::Nginx::program() or plan skip_all => 'nginx (nginx-light) is missing';
plan skip_all => 'this nginx has no gzip_static' if `$program -V 2>&1` !~ /http_gzip_static_module/;

sub put {
    my ($path, $content) = @_;
    (my $folder = $path) =~ s{/[^/]*$}{};
    system 'mkdir', '-p', $folder;
    open my $file, '>:raw', $path or die "$path: $!";
    print $file $content;
    close $file or die $!;
    utime 1e9, 1e9, $path or die $!;
}

my $folder = scratch();
chmod 0755, $folder;
my $root = "$folder/root";
my @names = ('a.txt', 'empty.txt', 'big.bin', 'index.html', 'sub/index.html', 'sub/x.css', 'none/x.png', 'no-ending', 'a b.txt',
    'a+b.txt', "\xc3\xa4.txt", "\xff.txt", 'a%b.txt', 'a?b.txt', 'a;b.txt', '~x.html', 'a.tar.gz', 'x.JPG', 'style.css');
put("$root/$_", /empty/ ? '' : /big/ ? 'x' x 100_000 : 'abcdefghijklmnopqrstuvwxyz') for @names;
put("$root/style.css.gz", 'gzipped');

my $port = free_port();
my $nginx = Gepok::Test::Nginx::start(folder => $folder, user => 'root', port => $port, http => <<"END");
    if_modified_since before; gzip_static on; gzip_vary on; absolute_redirect off; charset utf-8; charset_types text/css text/plain;
    default_type application/octet-stream;
    types { text/html html; text/css css; text/plain txt; image/png png; image/jpeg jpg; application/gzip gz; }
    server { listen 127.0.0.1:$port; root $root; }
END
$nginx or plan skip_all => 'this nginx does not start';

my $server = server(app => 'sub { die }', options => {start_servers => 1, directory => "/=$root"});
my %TAG;    # The entity tags are made in another way: each server gets its own.

# Where the two differ: [what the request is like, why].
my @DIFFERS = (
    [qr/^HEAD .*\bRange:/s,                        'Range is for GET alone (RFC 9110 section 14.2)'],
    [qr/^OPTIONS /,                                'OPTIONS is answered; nginx says 405'],
    [qr/^POST /,                                   'whether the file is there or not, the method is not allowed'],
    [qr{^\w+ (?://|/sub//|/\./|/sub/\.\./|/%2e/)}, 'dot segments and empty parts name nothing; nginx resolves them'],
    [qr{^\w+ /sub%2f}i,                            'an encoded slash is no slash'],
    [qr/Range: bytes=(?:8-9,0-1|0-9,5-12|0-1,8-9,4-5)/, 'ranges in disorder or that overlap get the whole file'],
    [qr{^\w+ /(?:\.\.|%2e%2e)/},               'a way out is 404; nginx says 400'],
    [qr/Range: bytes=(?:,0-1|0-1,)?\r/,           'empty members of a list are none (RFC 9110 section 5.6.1); an empty list is invalid'],
    [qr/If-Unmodified-Since: nonsense/,            'what is no date is ignored (RFC 9110 section 13.1.4)'],
    [qr/If-None-Match: .*If-Modified-Since/s,      'If-Modified-Since is ignored beside If-None-Match (RFC 9110 section 13.1.3)'],
    [qr{^\w+ /style\.css .*Accept-Encoding: gzip}s, 'a variant has ranges of its own; that of nginx has none'],
    [qr{^\w+ /empty\.txt .*Range: bytes=-0\r}s,    'the last 0 bytes are not satisfiable (RFC 9110 section 14.1.2)'],
    [qr/Range: bytes=(?:0-1,3-2|\d+-9{20}|-9{20})/, 'invalid ranges and very large numbers'],
    [qr/Accept-Encoding: (?:\*|x-gzip|identity;q=0)/, 'nginx knows no *, no alias and no refusal of identity'],
);

sub fields {
    my ($got, $request) = @_;
    my %fields;
    my @names = $got->status == 200 || $got->status == 206 ? qw(Content-Length Content-Type Last-Modified Accept-Ranges Content-Range Content-Encoding Vary)
        : $got->status == 304 ? qw(Last-Modified)
        : $got->status == 301 ? qw(Location)
        : $got->status == 416 ? qw(Content-Range)
        :                       ();
    $fields{$_} = $got->field($_) for @names;
    # The one of a multipart response is chosen by the server; so is its length.
    delete $fields{'Content-Length'} if defined $fields{'Content-Type'} && $fields{'Content-Type'} =~ s/boundary=.*/boundary/;
    # nginx says it with 200 alone where a variant could be there; we for all that could have one.
    delete $fields{Vary};
    # It is logged once.
    delete $fields{'Accept-Ranges'} if $got->status == 206;
    $fields{etag}    = defined $got->field('ETag') ? 'yes' : 'no' if $got->status =~ /^(?:200|206|304)$/;
    $fields{content} = $got->content if $got->status == 200;
    $fields{content} = join '|', $got->content =~ /\r\n\r\n(.*?)\r\n--/sg if $got->status == 206 && $fields{'Content-Type'} =~ /boundary/;
    return {status => $got->status, %fields};
}

sub ask {
    my ($port, $method, $target, $lines, $tag) = @_;
    $lines =~ s/TAG/$tag/g;
    my $connection = Gepok::Test::Connection->new(port => $port);
    $connection->send("$method $target HTTP/1.1\r\nHost: x\r\nConnection: close\r\n$lines\r\n");
    return $connection->response($method);
}

my ($count, %why, @wrong) = (0);

sub compare {
    my ($method, $target, @lines) = @_;
    my $lines = join '', map {"$_\r\n"} @lines;
    (my $file = $target) =~ s/\?.*//;
    my @tags = map {
        my $port = $_;
        $TAG{"$port $file"} //= ask($port, 'GET', $file, '')->field('ETag') // '"none"'
    } $port, $server->port;
    my @got = map { fields($_) } ask($port, $method, $target, $lines, $tags[0]), ask($server->port, $method, $target, $lines, $tags[1]);
    $count++;
    my $same = eval { no warnings 'uninitialized'; join('|', map {"$_=$got[0]{$_}"} sort keys %{$got[0]}) eq join('|', map {"$_=$got[1]{$_}"} sort keys %{$got[1]}) };
    return if $same;
    my ($known) = grep {"$method $target \n$lines" =~ $_->[0]} @DIFFERS;
    if ($known) { $why{$known->[1]}++; return }
    push @wrong, ["$method $target [@lines]", @got];
}

my @escaped = map { s{([^\w./~+;-])}{sprintf '%%%02X', ord $1}ger } @names;
my @ranges  = map {"Range: bytes=$_"} '0-0', '0-', '5-', '2-4', '-1', '-26', '-99', '-0', '25-25', '25-30', '26-', '26-30', '0-25', '0-99',
    '0-1,3-4', '0-1, 8-9, -2', '0-1,30-40', '30-40,50-60', '0-1,', ',0-1', '8-9,0-1', '0-9,5-12', '0-1,8-9,4-5', '3-2', '0-1,3-2',
    'x-y', '', '-', '1', '0-99999999999999999999', '99999999999999999999-', '-99999999999999999999';
my @other   = ('Range: items=0-1', 'Range: bytes', 'Range: Bytes=0-1');
my ($before, $same, $after) = map { time2str(1e9 + $_) } -10, 0, 10;
my @conditions = (
    (map { ["If-Modified-Since: $_"], ["If-Unmodified-Since: $_"], ["If-Range: $_", 'Range: bytes=0-1'] } $before, $same, $after, 'nonsense'),
    (map { ["If-None-Match: $_"], ["If-Match: $_"] } 'TAG', '"x"', '*', '"x", TAG', 'W/"x"', 'TAG, "x"'),
    ['If-None-Match: W/TAG'],
    ['If-Range: TAG', 'Range: bytes=0-1'], ['If-Range: "x"', 'Range: bytes=0-1'],
    ['If-None-Match: TAG', "If-Modified-Since: $before"], ['If-None-Match: "x"', "If-Modified-Since: $same"],
    ['If-Match: "x"', 'If-None-Match: TAG'], ['If-None-Match: TAG', 'Range: bytes=0-1'], ["If-Modified-Since: $same", 'Range: bytes=0-1'],
    ['If-Modified-Since: Sunday, 09-Sep-01 01:46:40 GMT'], ['If-Modified-Since: Sun Sep  9 01:46:40 2001'],
);
my @codings = map {"Accept-Encoding: $_"} 'gzip', 'gzip, deflate, br', 'gzip;q=0', 'gzip;q=0.5', 'identity', 'br', '*', 'x-gzip', 'identity;q=0, br', 'gzip;q=1.0, identity;q=0.5', '';

for my $method (qw(GET HEAD)) {
    compare($method, "/$_") for @escaped, map {"$_?q=1"} @escaped;
    compare($method, $_)
        for '/', '/sub', '/sub/', '/sub?a=b', '/sub/?a=b', '/none', '/none/', '/missing', '/missing/', '/a.txt/', '/a.txt/x', '/sub/missing',
        '//a.txt', '/sub//x.css', '/./a.txt', '/sub/../a.txt', '/%2e/a.txt', '/sub%2fx.css', '/sub%2Fx.css', '/%61.txt', '/a%2etxt', '/A.TXT',
        '/' . 'x' x 300, '/a.txt%00', '/a%zz', '/../etc/passwd', '/%2e%2e/etc/passwd', '/a%5cb';
    for my $file ('a.txt', 'big.bin', 'empty.txt', 'style.css') {
        compare($method, "/$file", $_)  for @ranges, @other;
        compare($method, "/$file", @$_) for @conditions;
    }
    for my $file ('style.css', 'a.txt') {
        compare($method, "/$file", $_)                      for @codings;
        compare($method, "/$file", $_, 'Range: bytes=0-2')  for @codings;
        compare($method, "/$file", $_, 'If-None-Match: "x"') for @codings;
    }
}
for my $target ('/a.txt', '/', '/missing', '/sub') {
    compare($_, $target) for qw(PUT DELETE PATCH OPTIONS TRACE FOO);
    compare('POST', $target, 'Content-Length: 0');
}

cmp_ok $count, '>=', 400, "$count requests";
is scalar @wrong, 0, 'the same answers';
for my $wrong (@wrong[0 .. ($#wrong < 40 ? $#wrong : 40)]) {
    my ($what, $theirs, $ours) = @$wrong;
    my @different = grep { ($theirs->{$_} // '-') ne ($ours->{$_} // '-') } sort keys %{{%$theirs, %$ours}};
    diag "$what: ", join '; ', map { "$_: nginx " . substr($theirs->{$_} // '-', 0, 60) . ', we ' . substr($ours->{$_} // '-', 0, 60) } @different;
}
note "$why{$_}: $_" for sort keys %why;
is_deeply [grep { !$why{$_} } map { $_->[1] } @DIFFERS], [], 'each difference of the table is still one';

done_testing;
