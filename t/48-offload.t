# Files that the app names, and the core sends: X-Sendfile and X-Accel-Redirect.
use strict;
use warnings;

use HTTP::Date qw(time2str);
use POSIX ();
use Socket qw(SOL_SOCKET SO_RCVBUF);
use Test::More;

use Gepok::Test;
use Gepok::Test::Large;
use Gepok::Test::Nginx;

gepok_only();

sub put {
    my ($path, $content) = @_;
    (my $folder = $path) =~ s{/[^/]*$}{};
    system 'mkdir', '-p', $folder;
    open my $file, '>:raw', $path or die "$path: $!";
    print $file $content;
    close $file or die $!;
    utime 1e9, 1e9, $path or die $!;
    return $path;
}

my $folder = scratch();
my $big    = join '', map { chr 65 + $_ % 26 } 0 .. 199_999;
put("$folder/files/video.mp4", $big);
put("$folder/files/a b.txt",   'with a blank');
put("$folder/files/a%20b.txt", 'with a percent sign');
put("$folder/files/.hidden",   'hidden');
put("$folder/files/style.css", 'plain');
put("$folder/files/style.css.gz", 'gzipped');
put("$folder/files/empty",     '');
put("$folder/secret.txt",      'secret');
put("$folder/files/locked",    'locked');
chmod 0, "$folder/files/locked" or die $!;
symlink '../secret.txt', "$folder/files/out" or die $!;
symlink '/etc',          "$folder/files/etc" or die $!;
symlink 'video.mp4',     "$folder/files/in"  or die $!;
symlink 'files',         "$folder/link"      or die $!;
POSIX::mkfifo("$folder/files/fifo", 0644) or die $!;

# The query names the file; other parameters are fields of the response.
my $APP = <<'END';
use Plack::Request;
sub {
    my $env   = shift;
    my $query = Plack::Request->new($env)->query_parameters;
    my $status = $query->{status} // 200;
    my @fields = map { ($_ => $query->{$_}) } grep { $_ ne 'status' } keys %$query;
    return [$status, [@fields, 'Content-Length' => 6], ['unused']] if $env->{PATH_INFO} ne '/type';
    return [200, [], [$env->{'plack.xsendfile.type'} // 'none']];
};
END

sub target {
    my %fields = @_;
    my $escape = sub { $_[0] =~ s/([^A-Za-z0-9\/.])/sprintf '%%%02x', ord $1/ger };
    return '/?' . join '&', map { $escape->($_) . '=' . $escape->($fields{$_}) } sort keys %fields;
}

my %options = (start_servers => 1, sendfile_root => "$folder/files", internal => "/internal=$folder/files");

each_entry {
    my $entry  = shift;
    my $server = server(entry => $entry, app => $APP, options => {%options});
    for (['X-Sendfile', "$folder/files"], ['X-Accel-Redirect', '/internal']) {
        my ($field, $base) = @$_;
        my $target = target($field => "$base/video.mp4", 'Set-Cookie' => 'a=1', 'Content-Disposition' => 'attachment');
        my $whole = $server->get($target);
        is $whole->status, 200, $field;
        ok $whole->content eq $big, 'all of it';
        is $whole->field('Content-Type'),        'video/mp4';
        is $whole->field('Last-Modified'),       time2str(1e9);
        is $whole->field('Set-Cookie'),          'a=1', q{the app's own fields};
        is $whole->field('Content-Disposition'), 'attachment';
        is $whole->field($field), undef, 'but not this one';
        my $part = $server->get($target, Range => 'bytes=26-28');
        is $part->status . $part->content, '206ABC';
        is $server->get($target, 'If-None-Match' => $whole->field('ETag'))->status, 304;
        is $server->get($target, Range => 'bytes=200000-')->status, 416;
        my $head = $server->exchange("HEAD $target HTTP/1.1\r\nHost: x\r\n\r\n");
        is $head->field('Content-Length'), 200_000;
        is $server->post($target, 'x', Range => 'bytes=0-1')->content, $big, 'POST';
        is $server->get(target($field => "$base/$_"))->status, 200, $_ for qw(in .hidden empty);
        is $server->get(target($field => "$base/$_"))->status, 404, $_
            for qw(none out etc/passwd fifo ../secret.txt ./video.mp4 video.mp4/ video.mp4/x), '', '%00', '/video.mp4';
    }
    is $server->get('/type')->content, 'X-Sendfile', 'plack.xsendfile.type';
};

my $server = server(app => $APP, options => {%options});

check 'how a file is named' => sub {
    is $server->get(target('X-Sendfile' => "$folder/files/a b.txt"))->content, 'with a blank';
    is $server->get(target('X-Sendfile' => "$folder/files/a%20b.txt"))->content, 'with a percent sign', 'a path is not decoded';
    is $server->get(target('X-Accel-Redirect' => "/internal/$_"))->content, 'with a blank', $_ for 'a b.txt', 'a%20b.txt', 'a%20b.txt?x';
    is $server->get(target('X-Accel-Redirect' => '/internal/a%2520b.txt'))->content, 'with a percent sign';
    is $server->get(target('X-Sendfile' => "$folder/secret.txt"))->status, 404, 'it is below no root';
    is $server->get(target('X-Sendfile' => '/etc/passwd'))->status, 404;
    is $server->get(target('X-Accel-Redirect' => '/other/a'))->status, 404;
    is $server->get('/internal/video.mp4')->content, 'unused', 'clients do not see an internal directory';
    logged $server, qr{X-Sendfile: '/etc/passwd' names no file below a directory of option 'sendfile_root'};
    logged $server, qr{X-Accel-Redirect: '/other/a' names no file below a directory of option 'internal'};
};

check 'the app has the last word' => sub {
    my %path = ('X-Sendfile' => "$folder/files/style.css");
    my @gzip = ('Accept-Encoding' => 'gzip');
    my $got = $server->get(target(%path), @gzip);
    is $got->content, 'gzipped', 'variants';
    is $got->field('Vary'), 'Accept-Encoding';
    $got = $server->get(target(%path, ETag => '"v1"', 'Content-Type' => 'text/x-own', 'Cache-Control' => 'private'), @gzip);
    is $got->content, 'plain', 'an entity tag of its own stands for one content';
    is $got->field('ETag'), '"v1"';
    is $got->field('Content-Type'), 'text/x-own';
    is $got->field('Cache-Control'), 'private';
    is $server->get(target(%path, ETag => '"v1"'), 'If-None-Match' => '"v1"')->status, 304;
    $got = $server->get(target(%path, status => 403), Range => 'bytes=0-0');
    is $got->status . $got->content, '403plain', 'its status';
    $got = $server->get(target(%path, 'Accept-Ranges' => 'none'), Range => 'bytes=0-0');
    is $got->status . $got->content, '200plain';
};

check 'without the options the fields are for a proxy in front' => sub {
    my $server = server(app => $APP, options => {start_servers => 1});
    my $got = $server->get(target('X-Sendfile' => "$folder/files/video.mp4"));
    is $got->field('X-Sendfile'), "$folder/files/video.mp4";
    is $got->content, 'unused';
    is $server->get('/type')->content, 'none';
};

check 'a root that is a link, as a deployment makes it' => sub {
    my $server = server(app => $APP, options => {start_servers => 1, sendfile_root => "$folder/link"});
    is $server->get(target('X-Sendfile' => "$folder/$_/a b.txt"))->content, 'with a blank', $_ for qw(link files);
};

check 'what may not be read is 403' => sub {
    plan skip_all => 'root may read all' unless $>;
    is $server->get(target('X-Sendfile' => "$folder/files/locked"))->status, 403;
};

check 'Plack::Middleware::XSendfile' => sub {
    plan skip_all => 'it is not installed' unless eval { require Plack::Middleware::XSendfile; 1 };
    my $app = "use Plack::Builder; use Plack::App::File;
        builder { enable 'XSendfile'; Plack::App::File->new(root => '$folder/files')->to_app };";
    my $server = server(app => $app, options => {start_servers => 1, sendfile_root => "$folder/files"});
    my $got = $server->get('/video.mp4', Range => 'bytes=26-28', 'X-Sendfile-Type' => 'X-Accel-Redirect', 'X-Accel-Mapping' => '/=/x');
    is $got->status . $got->content, '206ABC';
    is $got->field('X-Sendfile'), undef;
};

check 'an app that goes on to write holds nobody up' => sub {
    my $app = "sub { sub { my \$w = shift->([200, ['X-Sendfile' => '$folder/files/a b.txt']]);
        1 while \$w->write('x' x 10000); \$w->close } }";
    my $server = server(app => $app, options => {start_servers => 1, sendfile_root => "$folder/files"});
    my $client = $server->connect;
    for (1 .. 3) {
        $client->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        is $client->response('GET')->content, 'with a blank';
    }
};

# The same app behind nginx, whose internal location has the files, and with Gepok's own.
check 'X-Accel-Redirect as nginx does it' => sub {
    plan skip_all => 'nginx (nginx-light) is missing' unless Gepok::Test::Nginx::program();
    my $behind = server(app => $APP, options => {start_servers => 1});
    my ($port, $place) = (free_port(), scratch());
    chmod 0755, "$place", "$folder" or die $!;
    my $nginx = Gepok::Test::Nginx::start(folder => "$place", port => $port, user => 'root', http => <<"END");
    types { video/mp4 mp4; text/plain txt; text/css css; } default_type application/octet-stream; charset utf-8; charset_types text/plain text/css;
    server {
        listen 127.0.0.1:$port;
        location / { proxy_pass http://127.0.0.1:@{[$behind->port]}; }
        location /internal/ { internal; alias $folder/files/; }
    }
END
    $nginx or die "nginx does not start: " . do { local (@ARGV, $/) = grep {-e} "$place/stderr", "$place/errors"; <> };
    my @own = ('Content-Type' => 'text/x-own', 'Set-Cookie' => 'a=1', 'Content-Disposition' => 'attachment', 'Cache-Control' => 'private');
    my @all = map { my $url = $_; map { [target('X-Accel-Redirect' => $url, @$_)] } [], \@own }
        '/internal/video.mp4', '/internal/a b.txt', '/internal/a%20b.txt', '/internal/a%2520b.txt', '/internal/a%20b.txt?x=y',
        '/internal/style.css', '/internal/empty', '/internal/none', '/internal/etc/../none';
    my $compared = 0;
    for my $target (map {@$_} @all) {
        for my $method (qw(GET HEAD)) {
            for my $more ('', 'Range: bytes=2-5', 'Range: bytes=0-0,2-2', 'Range: bytes=900000-', 'If-Modified-Since: ' . time2str(1e9),
                'If-Unmodified-Since: ' . time2str(1e8)) {
                next if $method eq 'HEAD' && $more =~ /Range/ || $target =~ /empty/ && $more;
                my $ask = sub {
                    my $connection = Gepok::Test::Connection->new(port => $_[0]);
                    $connection->send("$method $target HTTP/1.1\r\nHost: x\r\n" . ($more && "$more\r\n") . "\r\n");
                    my $got   = $connection->response($method);
                    my $fine  = $got->status =~ /^(?:20[06])$/;
                    my @names = qw(Set-Cookie Content-Disposition Cache-Control);
                    push @names, qw(Last-Modified Content-Length Content-Type Content-Range) if $fine && $more !~ /,/;
                    return join "\n", $got->status, (map { "$_: " . ($fine || $got->status == 304 ? $got->field($_) // '' : '') } @names),
                        $fine && $more !~ /,/ ? $got->content : '';
                };
                my ($theirs, $ours) = map { $ask->($_) } $port, $server->port;
                $compared++;
                is $ours, $theirs, "$method $target $more";
            }
        }
    }
    cmp_ok $compared, '>', 100;
};

check '1 GiB for each of 200 slow clients, one worker' => sub {
    my $path = "$folder/files/huge.bin";
    open my $file, '>', $path or die $!;
    truncate $file, 1 << 30 or die $!;
    close $file or die $!;
    my $server = server(app => $APP, options => {start_servers => 1, max_workers => 1, sendfile_root => "$folder/files"});
    is $server->get('/')->content, 'unused';
    my ($core) = $server->descendants;
    my $before = Gepok::Test::Large::resident($core);
    my $target = target('X-Sendfile' => $path);
    my @clients = map {
        my $client = $server->connect;
        setsockopt $client->socket, SOL_SOCKET, SO_RCVBUF, 65536 or die $!;
        $client->send("GET $target HTTP/1.1\r\nHost: x\r\n\r\n");
        $client;
    } 1 .. 200;
    for my $client (@clients) {
        my $head = $client->head;
        $head->field('Content-Length') == 1 << 30 or die 'not the file';
        $client->bytes(1000);
    }
    is $server->get('/')->content, 'unused', 'the worker is idle';
    cmp_ok Gepok::Test::Large::resident($core) - $before, '<', 32 * 1024 * 1024, 'the core has not grown';
    $_->bytes(1_000_000) for @clients[0 .. 9];
    pass 'and they go on';
};

done_testing;
