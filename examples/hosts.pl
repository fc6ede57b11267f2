#!/usr/bin/perl
# Two hosts of one program, with code where tables are not enough:
#
#   perl examples/hosts.pl 8080
#   curl -H 'Host: files.example.org' http://localhost:8080/readme
#   curl -H 'Host: files.example.org' -H 'Cookie: key=secret' http://localhost:8080/private/hello.psgi
#   curl -H 'Host: www.example.org' http://localhost:8080/
use strict;
use warnings;

use Cwd            ();
use File::Basename ();
use Gepok;

my $port     = shift || 8080;
my $examples = Cwd::abs_path(File::Basename::dirname(__FILE__));

# Whether the request has the key. A real program would look into a database.
sub has_key {
    my ($env) = @_;
    return ($env->{HTTP_COOKIE} || '') =~ /(?:\A|; )key=secret(?:;|\z)/;
}

Gepok->new(
    http_ports    => ["127.0.0.1:$port"],
    daemonize     => 0,
    start_servers => 2,
    # Where the files are that code may name.
    sendfile_root => $examples,
    vhosts        => [
        {
            name      => 'files.example.org',
            documents => "$examples/files",
            # No file is called so.
            rewrite  => sub { my ($env) = @_; return $env->{PATH_INFO} eq '/readme' ? '/index.html' : undef },
            handlers => { '/time' => sub { [200, ['Content-Type' => 'text/plain'], [scalar localtime, "\n"]] } },
            # The examples, for those who have the key or come by a Unix socket.
            directory => [{
                path     => '/private',
                allow    => ['unix:', \&has_key],
                location => sub {
                    my ($env) = @_;
                    my ($name) = $env->{PATH_INFO} =~ m{\A/private/([\w-]+\.psgi)\z};
                    return defined $name ? "$examples/$name" : undef;
                },
            }],
        },
        { name => 'www.example.org', default => 1 },
    ],
)->run(sub { [200, ['Content-Type' => 'text/plain'], ["This is $_[0]{'gepok.vhost'}.\n"]] });
