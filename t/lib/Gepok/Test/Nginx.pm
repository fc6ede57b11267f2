package Gepok::Test::Nginx;
# Debian's nginx for tests: finds it, and runs it with a configuration of one http block.
use strict;
use warnings;

use POSIX ();

use Gepok::Test;
use Gepok::Test::Connection;

# Where nginx is; undef where it is missing.
sub program {
    return (grep { -x } map {"$_/nginx"} split(/:/, $ENV{PATH}), '/usr/sbin')[0];
}

# Starts nginx, whose server listens on `port`, in a scratch folder, as `user` where the test runs as root. Returns the process, or
# nothing if it does not listen; what it complained of is in the folder's files stderr and errors.
sub start {
    my (%how) = @_;
    my $folder = $how{folder};
    # Debian's own configuration names a user; without one, nginx takes nobody.
    my $user = $< ? '' : "user $how{user};";
    open my $config, '>', "$folder/config" or die "$folder/config: $!";
    print {$config} <<"END";
$user
daemon off; worker_processes 1; error_log $folder/errors; pid $folder/nginx.pid;
events { worker_connections 64; }
http {
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
    $how{http}
}
END
    close $config or die "$folder/config: $!";
    my $nginx = program() or die 'nginx is missing';
    my $pid   = fork // die "fork: $!";
    if (!$pid) {
        open STDERR, '>>', "$folder/stderr";
        no warnings 'exec';
        exec {$nginx} $nginx, '-p', $folder, '-c', "$folder/config" or POSIX::_exit(127);
    }
    my $self = bless {pid => $pid}, __PACKAGE__;
    return soon { eval { Gepok::Test::Connection->new(port => $how{port}) } } ? $self : ();
}

sub DESTROY {
    my ($self) = @_;
    local ($?, $!, $@);
    kill TERM => $self->{pid};
    waitpid $self->{pid}, 0;
}

1;
