# The smallest PSGI application: script/run serves it, and so does any of
#
#   plackup -s Gepok examples/hello.psgi
#   gepok examples/hello.psgi
use strict;
use warnings;

sub {
    my $env = shift;

    # Everything about the request is in %$env: see https://metacpan.org/pod/PSGI
    my $name = $env->{PATH_INFO} =~ m{^/(\w+)$} ? $1 : 'World';
    return [200, ['Content-Type' => 'text/plain; charset=utf-8'], ["Hello, $name!\n"]];
};
