# compress: what the app sends becomes smaller, and stays right.
use strict;
use warnings;

use IO::Uncompress::Gunzip qw(gunzip $GunzipError);
use Test::More;

use Gepok::Test;

gepok_only();

my $folder = scratch();
my $TEXT   = join '', map {"line $_ of a text that is worth it\n"} 1 .. 200;
for ([small => 300], [large => 3000], [huge => 60_000]) {
    my ($name, $lines) = @$_;
    open my $file, '>:raw', "$folder/$name.txt" or die $!;
    print $file map {"line $_ of a text that is worth it\n"} 1 .. $lines;
    close $file or die $!;
}

my $APP = <<'END' =~ s/FOLDER/$folder/gr;
my $text = join '', map {"line $_ of a text that is worth it\n"} 1 .. 200;
my $long = join '', map {"line $_ of a text that is worth it\n"} 1 .. 9000;
my %more = (
    '/image'        => ['Content-Type' => 'image/png'],
    '/coded'        => ['Content-Encoding' => 'identity'],
    '/no-transform' => ['Cache-Control' => 'max-age=1, no-transform'],
    '/etag'         => [ETag => '"v1"', 'Content-Length' => length $text, Vary => 'Cookie'],
);
sub {
    my $env    = shift;
    my $path   = $env->{PATH_INFO};
    my @fields = ('Content-Type' => 'text/plain', @{$more{$path} // []});
    splice @fields, 0, 2 if $path eq '/image';
    return [200, \@fields, ['short']] if $path eq '/short';
    return [206, [@fields, 'Content-Range' => 'bytes 0-7199/9000'], [$text]] if $path eq '/part';
    return [404, \@fields, [$text]] if $path eq '/missing';
    return [200, \@fields, [$long]] if $path eq '/long';
    return [200, [@fields, 'Content-Length' => length $text], [length $text]] if $path eq '/lie';
    if ($path =~ m{^/file/(\w+)}) {
        open my $file, '<:raw', "FOLDER/$1.txt" or die $!;
        return [200, [@fields, ETag => '"f"', 'Content-Length' => -s $file], $file];
    }
    if ($path eq '/lines') {
        my @lines = $text =~ /.*\n/g;
        return [200, \@fields, Lines->new(@lines)];
    }
    if ($path eq '/writer') {
        return sub {
            my $writer = shift->([200, \@fields]);
            $writer->write($_) for $text =~ /.*\n/g;
            $writer->close;
        };
    }
    if ($path eq '/cut') {
        return sub {
            my $writer = shift->([200, [@fields, 'Content-Length' => 2 * length $text]]);
            $writer->write($text);
            $writer->close;
        };
    }
    if ($path eq '/die') {
        return sub {
            my $writer = shift->([200, \@fields]);
            $writer->write($text);
            die "in the middle\n";
        };
    }
    if ($path eq '/events') {
        return sub {
            my $writer = shift->([200, ['Content-Type' => 'text/event-stream']]);
            # Waits for a byte of the request after each event: only then can the client have read it.
            open my $go, '+<', "FOLDER/go" or die $!;
            for my $number (1 .. 3) {
                $writer->write("data: $number\n\n");
                sysread $go, my $byte, 1;
            }
            $writer->close;
        };
    }
    return [200, \@fields, [$text]];
};
package Lines;
sub new { my ($class, @lines) = @_; bless \@lines, $class }
sub getline { shift @{$_[0]} }
sub close { }
END
# The app is the last value of its file.
$APP =~ s/^sub \{/my \$app = sub {/m;
$APP .= "\n\$app;\n";

sub gunzipped {
    my ($got) = @_;
    my $bytes = $got->content;
    gunzip(\$bytes => \my $content) or die $GunzipError;
    return $content;
}

my @GZIP = ('Accept-Encoding' => 'gzip');

each_entry {
    my $entry  = shift;
    my $server = server(entry => $entry, app => $APP, options => {start_servers => 1, compress => 'all'});

    for my $path ('/', '/etag', '/missing') {
        my $got = $server->get($path, @GZIP);
        is $got->field('Content-Encoding'), 'gzip', $path;
        is $got->field('Content-Length'), length $got->content, 'a whole content has a length';
        is gunzipped($got), $TEXT;
        cmp_ok length $got->content, '<', length($TEXT) / 5;
        like join(', ', $got->all('Vary')), qr/Accept-Encoding$/;
        my $plain = $server->get($path);
        is $plain->field('Content-Encoding'), undef, 'for another client';
        is $plain->content, $TEXT;
        like join(', ', $plain->all('Vary')), qr/Accept-Encoding$/;
    }
    is $server->get('/', 'Accept-Encoding' => 'gzip, br, zstd')->field('Content-Encoding'), 'zstd', 'the quickest';
    is $server->get('/', 'Accept-Encoding' => 'gzip, br')->field('Content-Encoding'), 'br';
    is $server->get('/', 'Accept-Encoding' => 'gzip;q=0.9, br;q=0.8')->field('Content-Encoding'), 'gzip';

    for my $path ('/lines', '/writer', '/long') {
        my $got = $server->get($path, @GZIP);
        is $got->field('Content-Encoding'), 'gzip', $path;
        is $got->field('Content-Length'), undef;
        like gunzipped($got), qr/^\Q$TEXT/;
    }

    for my $path ('/short', '/image', '/coded', '/no-transform', '/part') {
        my $got = $server->get($path, @GZIP);
        isnt $got->field('Content-Encoding') // '', 'gzip', "$path stays as it is";
        is $got->field('Vary'), undef;
        is $got->field('Content-Length'), length $got->content;
    }
};

my $server = server(app => $APP, options => {start_servers => 1, compress => 'gzip'});

check 'an entity tag stands for one content' => sub {
    is $server->get('/etag')->field('ETag'), '"v1"';
    is $server->get('/etag', @GZIP)->field('ETag'), 'W/"v1"';
    # The app would take W/"v1" for another one.
    my $got = $server->get('/etag', @GZIP, 'If-None-Match' => 'W/"v1"');
    is $got->status, 304;
    is $got->field('ETag'), 'W/"v1"';
    is $server->get('/etag', @GZIP, 'If-None-Match' => 'W/"v2"')->status, 200;
};

check 'HEAD has the fields of GET, and no wrong length' => sub {
    my $head = sub { $server->exchange("HEAD /etag HTTP/1.1\r\nHost: x\r\n$_[0]\r\n") };
    my $got  = $head->("Accept-Encoding: gzip\r\n");
    is $got->field('Content-Encoding'), 'gzip';
    is $got->field('ETag'), 'W/"v1"';
    is $got->field('Content-Length'), undef;
    is $head->('')->field('Content-Length'), length $TEXT;
};

check 'files that the app sends' => sub {
    for (['small', 300, 1], ['large', 3000, 0]) {
        my ($name, $lines, $whole) = @$_;
        my $got = $server->get("/file/$name", @GZIP);
        is $got->field('Content-Encoding'), 'gzip', $name;
        is !!$got->field('Content-Length'), !!$whole;
        is scalar(() = gunzipped($got) =~ /\n/g), $lines;
        my $part = $server->get("/file/$name", @GZIP, Range => 'bytes=0-3');
        next if $name eq 'small';
        is $part->status, 206, 'a part is one of the file as it is';
        is $part->content, 'line';
    }
    my $huge = $server->get('/file/huge', @GZIP);
    is $huge->field('Content-Encoding'), undef, 'a large file is not read in the worker';
    is $huge->field('ETag'), '"f"';
    is length $huge->content, -s "$folder/huge.txt";
};

check 'what is not whole does not look whole' => sub {
    for my $path ('/cut', '/die', '/lie') {
        my $client = $server->connect;
        $client->send("GET $path HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n");
        ok !eval { $client->response('GET'); 1 }, $path;
    }
};

check 'an event arrives when it is written' => sub {
    require POSIX;
    POSIX::mkfifo("$folder/go", 0600) or die $!;
    open my $go, '+<', "$folder/go" or die $!;
    for my $coding (qw(gzip br zstd)) {
        my $server = server(app => $APP,
            options => {start_servers => 1, compress => $coding, compress_types => 'text/event-stream'});
        my $client = $server->connect;
        $client->send("GET /events HTTP/1.1\r\nHost: x\r\nAccept-Encoding: $coding\r\n\r\n");
        is $client->head->field('Content-Encoding'), $coding;
        for my $number (1 .. 3) {
            my $chunk = $client->chunk;
            ok length $chunk, "$coding: event $number";
            syswrite $go, 'x';
        }
    }
};

check 'off unless wanted' => sub {
    my $server = server(app => $APP, options => {start_servers => 1});
    my $got = $server->get('/etag', @GZIP);
    is $got->field('Content-Encoding'), undef;
    is $got->field('Vary'), 'Cookie';
};

done_testing;
