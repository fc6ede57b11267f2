package Gepok::Bench::Nginx;

# nginx as the limit (constant answers, files) and as the proxy in front of a Unix socket.

use strict;
use warnings;

# {port, folder, tls, answer => {type, content} or file => PATH}
sub command {
    my ($how) = @_;
    my $location;
    if ($how->{file}) {
        my ($folder, $name) = $how->{file} =~ m{(.*)/(.*)};
        $location = "root $folder; try_files /$name =404; default_type application/octet-stream;";
    }
    else {
        (my $text = $how->{answer}{content}) =~ s/\n/\\n/g;
        $location = "default_type $how->{answer}{type}; return 200 \"$text\";";
    }
    return start($how, '', $location);
}

# {port, folder, to => path of the socket, pass => http or uwsgi, keep => whether connections to it are kept}
sub proxy {
    my ($how) = @_;
    my $pass = $how->{pass} // 'http';
    my $kept = $how->{keep} ? 'keepalive 32; keepalive_requests 100000000; keepalive_timeout 300s;' : '';
    my $location = $pass eq 'uwsgi'
        ? 'include /etc/nginx/uwsgi_params; uwsgi_pass app;'
        : 'proxy_pass http://app; proxy_set_header Host $host;'
        . ($how->{keep} ? ' proxy_http_version 1.1; proxy_set_header Connection "";' : '');
    return start($how, "upstream app { server unix:$how->{to}; $kept }", $location);
}

sub start {
    my ($how, $before, $location) = @_;
    my $folder = $how->{folder};
    my $user   = $> == 0      ? 'user root;' : '';
    my $tls    = $how->{tls}  ? " ssl" : '';
    my $keys   = $how->{tls}  ? "ssl_certificate $how->{tls}{certificate}; ssl_certificate_key $how->{tls}{key};" : '';
    my $paths  = join ' ', map {"${_}_temp_path $folder/$_;"} qw(client_body proxy fastcgi uwsgi scgi);
    my $path   = "$folder/nginx-$how->{port}.conf";
    open my $file, '>', $path or die "$path: $!\n";
    print {$file} <<"CONFIGURATION";
$user
worker_processes 1;
daemon off;
pid $folder/nginx-$how->{port}.pid;
error_log stderr error;
worker_rlimit_nofile 16384;
events { worker_connections 16000; }
http {
    access_log off;
    $paths
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000000;
    keepalive_timeout 300s;
    $before
    server {
        listen 127.0.0.1:$how->{port}$tls backlog=4096;
        $keys
        location / { $location }
    }
}
CONFIGURATION
    close $file or die "$path: $!\n";
    return ['nginx', '-p', $folder, '-c', $path];
}

1;
