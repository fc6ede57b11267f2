# Plack's own suite for handlers, whole: by each way in, over TCP, a Unix socket and TLS, HTTP/1.1 and 1.0, with no, one and
# three workers. One server answers for all of them.
use strict;
use warnings;

use Test::More;
use Plack::LWPish;
use Plack::Test::Suite;

use Gepok::Test;
use Gepok::Test::Authority;
use Gepok::Test::Relay;

my $folder = scratch();
my $pair   = is_gepok() && Gepok::Test::TLS::usable() && Gepok::Test::Authority->new("$folder")->issue('localhost', names => ['localhost']);

my @kinds = server_name() =~ /^(?:Gepok|Starman)$/ ? qw(tcp unix) : 'tcp';

sub run_suite {
    my ($server, $send) = @_;
    for my $index (0 .. $#Plack::Test::Suite::TEST) {
        my ($name, $test) = @{$Plack::Test::Suite::TEST[$index]};
        check $name => sub {
            $test->(sub {
                my $request = shift;
                $request->uri->port($server->port);
                $request->header('X-Plack-Test' => $index);
                my $response = $send->($request);
                $response->request($request);
                return $response;
            });
        };
    }
}

# The suite knows TCP only. On a Unix socket the environment must say what it documents instead; the rest of that test
# is then judged by the suite.
sub as_if_by_tcp {
    my ($server, $entry, $response) = @_;
    my $content = $response->content;
    return $response unless $content =~ /^SERVER_NAME:(.*)\nSERVER_PORT:(.*)\n\z/m;
    if (is_gepok()) {
        # `--listen PATH` has Starlet's meaning, `unix_sockets` Gepok's.
        my ($name, $port) = $entry eq 'plackup' ? (0, $server->path) : ($server->path, 0);
        is "$1 $2", "$name $port", 'name and port of a Unix socket';
    }
    my $tcp = $server->port;
    $content =~ s/^SERVER_NAME:.*\nSERVER_PORT:.*\n\z/SERVER_NAME:127.0.0.1\nSERVER_PORT:$tcp\n/m;
    $response->content($content);
    return $response;
}

# The suite knows plain HTTP only: the scheme and the port are judged here.
sub as_if_plain {
    my ($relay, $port, $response) = @_;
    my $content = $response->content;
    if ($content eq 'https') {
        pass 'the scheme is https';
        $response->content('http');
    }
    elsif ($content =~ s/^(SERVER_NAME:127\.0\.0\.1\nSERVER_PORT:)(.*)\n\z/$1@{[ $relay->port ]}\n/m) {
        is $2, $port, 'the port is that of HTTPS';
        $response->content($content);
    }
    return $response;
}

each_entry {
    my $entry = shift;
    for my $workers (0, 1, 3) {
        next if !$workers && server_name() eq 'Starman';
        my $port   = free_port();
        my %tls    = $pair ? (https_ports => "127.0.0.1:$port", ssl_cert_file => $pair->{cert}, ssl_key_file => $pair->{key}) : ();
        my $server = server(
            entry   => $entry,
            app     => app_file('plack-suite'),
            options => {start_servers => $workers, %tls},
            listen  => $entry eq 'new' && !is_gepok() ? 'tcp' : \@kinds,
        );
        my $client = Plack::LWPish->new(no_proxy => ['127.0.0.1']);
        my @here   = @{$server->{kinds}};
        my %ways   = (
            'TCP, HTTP/1.1, a client of Plack' => sub { $client->request($_[0]) },
            'TCP, HTTP/1.0'                    => sub { $server->request($_[0], version => '1.0') },
        );
        if (grep { $_ eq 'unix' } @here) {
            for my $version (qw(1.1 1.0)) {
                $ways{"Unix socket, HTTP/$version"} = sub {
                    as_if_by_tcp($server, $entry, $server->request($_[0], version => $version, listen => 'unix'));
                };
            }
        }
        if ($pair) {
            my $relay = Gepok::Test::Relay->new($port);
            $ways{'TLS through a relay, HTTP/1.1'} = sub {
                my $request = shift;
                $request->uri->port($relay->port);
                as_if_plain($relay, $port, $client->request($request));
            };
        }
        for my $way (sort keys %ways) {
            check "$workers workers, $way" => sub { run_suite($server, $ways{$way}) };
        }
        is $server->stop, 0, 'it ends with status 0';
    }
};

# As any handler runs it: in the test program itself. The suite's own choice of a port would not be locked against others.
check 'by Plack::Test::Suite alone' => sub { Plack::Test::Suite->run_server_tests(server_name(), free_port()) };

done_testing;
