# perl -T: the server works, what clients have sent is tainted, and what only the server has said is not.
use strict;
use warnings;

use Test::More;

use Gepok::Test;

gepok_only();

my $APP = <<'APP';
use Scalar::Util 'tainted';
my $served = 0;
my $app = sub {
    my $env = shift;
    $env->{'psgi.input'}->read(my $content, 100);
    my %tainted = map { $_ => tainted($env->{$_}) ? 1 : 0 } grep { !ref $env->{$_} } keys %$env;
    my $opened = eval { open my $file, '>', $env->{PATH_INFO}; 1 } ? 'opened' : $@ =~ /^(Insecure dependency in open)/ && $1;
    my $path = $env->{PATH_INFO};
    die "died\n" if $path eq '/die';
    push @{$env->{'psgix.cleanup.handlers'}}, sub { $served++ };
    $env->{'psgix.logger'}->({level => 'error', message => "logged $path"});
    return [200, [], [join ' ', $served, ${^TAINT}, $opened, 'content' . (tainted($content) ? 1 : 0), map {"$_$tainted{$_}"}
        qw(REQUEST_METHOD PATH_INFO REQUEST_URI QUERY_STRING HTTP_HOST SERVER_NAME SERVER_PORT psgi.url_scheme)]];
};
APP

# plackup itself can't be run with -T, whatever the server: it evaluates code that it has made of the app's path.
my %ways = (
    'class' => <<'RUN',
use Gepok;
Gepok->new(daemonize => 0, start_servers => %2$d, http_ports => ['127.0.0.1:%1$d'], access_log_path => '',
    child_exit => 'sub { print STDERR "left\n" }')->run($app);
RUN
    'handler' => <<'RUN',
use Plack::Loader;
Plack::Loader->load('Gepok', host => '127.0.0.1', port => %1$d, start_servers => %2$d)->run($app);
RUN
    # HTTP::Request is an object of modules that know nothing of taint.
    'access_log of a subclass' => <<'RUN',
package My::Server;
use parent 'Gepok';
sub access_log { my $self = shift; $self->SUPER::access_log(@_) }
My::Server->new(daemonize => 0, start_servers => %2$d, http_ports => '127.0.0.1:%1$d', access_log_path => 'access.log')->run($app);
RUN
);

for my $way (sort keys %ways) {
    for my $workers (1, 0) {
        check "$way, $workers workers" => sub {
            my ($port, $folder) = (free_port(), scratch());
            symlink root() . "/blib/$_", "$folder/$_" or die $! for qw(lib arch);
            my $server = server(
                listen => 'none', port => $port, dir => "$folder",
                command => [$^X, qw(-T -Ilib -Iarch), (map {"-I$_"} grep {m{^/}} @INC), '-e', $APP . sprintf $ways{$way}, $port, $workers],
            );
            for my $served (0, 1) {
                my $client = $server->connect;
                $client->send("POST /no/such?q HTTP/1.0\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
                is $client->response->content, "$served 1 Insecure dependency in open content1 REQUEST_METHOD1 PATH_INFO1 "
                    . 'REQUEST_URI1 QUERY_STRING1 HTTP_HOST1 SERVER_NAME0 SERVER_PORT0 psgi.url_scheme0', "request $served";
            }
            is $server->get('/die')->status, 500, 'an app that dies';
            logged $server, qr/died/, 'is logged';
            is $server->stop, 0, 'it ends';
            logged $server, qr/^left$/m, 'child_exit' if $way eq 'class' && $workers;
            is -s "$folder/access.log" ? 1 : 0, $way =~ /^access_log/ ? 1 : 0, 'the access log';
        };
    }
}

done_testing;
