# Files that apps send: conditional requests and ranges come from the core, and the client's words about offloading never arrive.
use strict;
use warnings;

use HTTP::Date qw(time2str);
use Test::More;

use Gepok::Test;

gepok_only();

my $folder = scratch();
my $path   = "$folder/video.bin";
open my $out, '>:raw', $path or die $!;
print $out map { chr 65 + $_ % 26 } 0 .. 199_999;
close $out or die $!;

for ([small => 1000], [empty => 0]) {
    my ($name, $length) = @$_;
    open my $file, '>:raw', "$folder/$name.bin" or die $!;
    print $file map { chr 65 + $_ % 26 } 0 .. $length - 1;
    close $file or die $!;
}

my $APP = <<'END' =~ s/FOLDER/$folder/r;
my $path = 'FOLDER/video.bin';
my $date = 'Sun, 09 Sep 2001 01:46:40 GMT';
sub {
    my $env = shift;
    my $kind = $env->{PATH_INFO};
    return [200, [], [join ',', grep { /SENDFILE|ACCEL/ } sort keys %$env]] if $kind eq '/env';
    open my $file, '<:raw', $path or die $!;
    my @fields = ('Content-Type' => 'video/mp4', 'Content-Length' => -s $path, 'Set-Cookie' => 'a=1');
    push @fields, 'Last-Modified' => $date if $kind =~ /date/;
    push @fields, ETag => '"v1"'           if $kind =~ /tag/;
    push @fields, 'Content-Encoding' => 'gzip' if $kind =~ /coded/;
    push @fields, 'Accept-Ranges' => 'none'    if $kind =~ /none/;
    return [200, \@fields, $kind =~ /array/ ? [join '', <$file>] : $file];
};
END

each_entry {
    my $entry  = shift;
    my $server = server(entry => $entry, app => $APP, options => {start_servers => 1});
    for my $kind (qw(/date /tag /date-tag)) {
        my $whole = $server->get($kind);
        is $whole->status, 200;
        is length $whole->content, 200_000, "$kind: all of it";
        is $whole->field('Accept-Ranges'), 'bytes';
        my $part = $server->get($kind, Range => 'bytes=26-28');
        is $part->status,  206;
        is $part->content, 'ABC';
        is $part->field('Content-Range'), 'bytes 26-28/200000';
        is $part->field('Content-Type'),  'video/mp4';
        is $part->field('Set-Cookie'),    'a=1', q{the app's own fields};
        is $server->get($kind, Range => 'bytes=200000-')->status, 416;
    }
    is $server->get('/tag',  'If-None-Match'     => '"v1"')->status,       304;
    is $server->get('/date', 'If-Modified-Since' => time2str(1e9))->status, 304;
    is $server->get('/tag',  'If-Match'          => '"v2"')->status,       412;
    is $server->get('/tag', Range => 'bytes=0-1', 'If-Range' => '"v2"')->status, 200;
    for my $kind (qw(/plain /tag-coded /tag-none /tag-array)) {
        my $got = $server->get($kind, Range => 'bytes=0-1', 'If-None-Match' => '"v1"');
        is $got->status, 200, "$kind is none of our business";
        is length $got->content, 200_000;
    }
    is $server->get('/env', 'X-Sendfile-Type' => 'X-Accel-Redirect', 'X-Accel-Mapping' => '/=/')->content, '', 'CVE-2026-7381';
};

check 'a connection goes on, and so does the worker' => sub {
    my $server     = server(app => $APP, options => {start_servers => 1});
    my $connection = $server->connect;
    for (1 .. 20) {
        $connection->send(join '', map {"GET /date-tag HTTP/1.1\r\nHost: x\r\n$_\r\n"}
            "Range: bytes=0-0\r\n", "If-None-Match: \"v1\"\r\n", "Range: bytes=0-0,2-2\r\n", '');
        is_deeply [map { my $got = $connection->response('GET'); $got->status . ' ' . ($got->status == 206 ? '' : length $got->content) } 1 .. 4],
            ['206 ', '304 0', '206 ', '200 200000'];
    }
};

# Small files come as content, with a mark in their head; HEAD brings nothing but the mark.
check 'small files, and HEAD' => sub {
    my $small = $APP =~ s/video\.bin/small.bin/r;
    for ([small => $small, 1000], [large => $APP, 200_000], [empty => $small =~ s/small/empty/r, 0]) {
        my ($name, $app, $length) = @$_;
        my $server = server(app => $app, options => {start_servers => 1});
        my $head = sub { $server->exchange("HEAD /date-tag HTTP/1.1\r\nHost: x\r\n$_[0]\r\n") };
        is $server->get('/date-tag', 'If-None-Match' => '"v1"')->status, 304, $name;
        is $server->get('/date-tag', 'If-Match' => '"v2"')->status,      412;
        if ($length) {
            my $part = $server->get('/date-tag', Range => 'bytes=26-28');
            is $part->status . $part->content, '206ABC';
            is $part->field('Content-Range'), "bytes 26-28/$length";
            like $server->get('/date-tag', Range => 'bytes=0-0,2-2')->field('Content-Type'), qr{^multipart/byteranges};
            is $server->get('/date-tag')->field('Accept-Ranges'), 'bytes';
            is $server->get('/date-tag', Range => "bytes=$length-")->status, 416;
            is $head->('')->field('Accept-Ranges'), 'bytes';
            is $head->("If-None-Match: \"v1\"\r\n")->status, 304;
            is $head->("If-Match: \"v2\"\r\n")->status, 412;
        }
        is length $server->get('/date-tag')->content, $length;
        my $got = $head->("Range: bytes=0-1\r\n");
        is $got->status, 200, 'HEAD knows no ranges';
        is $got->field('Content-Length'), $length;
        is $got->field('Set-Cookie'), 'a=1';
    }
    my $server = server(app => $small, options => {start_servers => 1});
    is $server->get('/plain', Range => 'bytes=0-1')->status, 200, 'without a validator';
    is length $server->get('/tag-array', Range => 'bytes=0-1')->content, 1000, 'an array is no file';
};

check 'file_ranges 0' => sub {
    my $server = server(app => $APP, options => {start_servers => 1, file_ranges => 0});
    my $got    = $server->get('/tag', Range => 'bytes=0-1');
    is $got->status, 200;
    is $got->field('Accept-Ranges'), undef;
};

check 'Plack::App::File' => sub {
    eval { require Plack::App::File; 1 } or plan skip_all => 'Plack is missing';
    my $app    = "use Plack::App::File; Plack::App::File->new(root => '$folder')->to_app";
    my $server = server(app => $app, options => {start_servers => 1});
    my $got    = $server->get('/video.bin', Range => 'bytes=199999-');
    is $got->status, 206;
    is length $got->content, 1;
    is $server->get('/video.bin', 'If-Modified-Since' => $server->get('/video.bin')->field('Last-Modified'))->status, 304;
};

done_testing;
