# For tests of the wire: answers with what it understood of the request, in one line.
use strict;
use warnings;

my $calls = 0;

sub {
    my $env = shift;
    $calls++;
    return [200, ['Content-Type' => 'text/plain'], [$calls - 1]] if $env->{PATH_INFO} eq '/calls';
    my $content = '';
    my $input   = $env->{'psgi.input'};
    while ($input->read($content, 65536, length $content)) { }
    if ($env->{PATH_INFO} eq '/field') {
        my $name = $env->{QUERY_STRING};
        return [200, ['Content-Type' => 'text/plain'], [exists $env->{$name} ? "<$env->{$name}>" : 'none']];
    }
    if ($env->{PATH_INFO} eq '/fields') {
        return [200, ['Content-Type' => 'text/plain'], [join ',', sort grep {/^HTTP_|^CONTENT_/} keys %$env]];
    }
    # /answer/404?name=value&...: that status, with these fields.
    if ($env->{PATH_INFO} =~ m{^/answer/(\d+)$}) {
        return [$1, [map { split /=/, $_, 2 } split /&/, $env->{QUERY_STRING}], ['content']];
    }
    # No Content-Length: HTTP::Server::PSGI and its like would close.
    my $line = join '|', map { $_ // 'undef' } @$env{qw(REQUEST_METHOD PATH_INFO QUERY_STRING REQUEST_URI)},
        $env->{CONTENT_LENGTH} || 0, $content;
    return [200, ['Content-Type' => 'text/plain', 'Content-Length' => length $line], [$line]];
};
