# Each fault has a promise, which is in docs/faults.md. script/faults measures them.
use strict;
use warnings;

use Fcntl qw(O_NONBLOCK O_RDWR);
use POSIX qw(mkfifo);
use Test::More;

use Gepok::Test;
use Gepok::Test::Faults;

gepok_only();

for my $row (grep { $_->[3] } Gepok::Test::Faults::rows()) {
    my ($name, $promise, $code) = @$row;
    my $measured = eval { $code->() };
    ok defined $measured, "$name: $promise";
    defined $measured ? note "$name: $measured" : diag "$name: $@";
}

# Core, master and worker write lines of their own here: a response that ends too soon, a worker that was killed, an app that died.
my $APP = <<'END';
sub {
    my $path = shift->{PATH_INFO};
    kill KILL => $$ if $path eq '/die';
    die "oops\n" if $path eq '/oops';
    return [200, $path eq '/short' ? ['Content-Length' => 100] : [], [$$]];
}
END

sub outcome {
    my ($server, $path) = @_;
    my $client = $server->connect;
    $client->send("GET $path HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    return $client->head->status;
}

for my $servers (0, 1) {
    check "standard error is a pipe that nobody reads, start_servers $servers" => sub {
        each_entry {
            my $entry  = shift;
            my $folder = scratch();
            my $fifo   = "$folder/stderr";
            mkfifo($fifo, 0600) or die "$fifo: $!";
            sysopen my $pipe, $fifo, O_RDWR | O_NONBLOCK or die "$fifo: $!";
            my $server = server(
                entry   => $entry,
                app     => $APP,
                prefix  => ['bash', '-c', qq{exec "\$@" 2>'$fifo'}, 'bash'],
                options => {start_servers => $servers},
            );
            ok soon { (eval { outcome($server, '/') } // 0) == 200 }, 'it serves';
            1 while syswrite $pipe, 'x' x 4096;
            1 while syswrite $pipe, 'x';
            is outcome($server, '/short'), 200, 'a line of the core is due';
            is outcome($server, '/oops'),  500, 'a line of the worker is due' for 1 .. 3;
            is outcome($server, '/'),      200, 'and others are served';
            for my $round (1 .. 3 * $servers) {
                is outcome($server, '/die'), 502, 'a line of the master is due';
                ok soon { (eval { outcome($server, '/') } // 0) == 200 }, 'and it starts another worker';
            }
            my $got = '';
            ok soon {
                1 while sysread $pipe, $got, 65_536, length $got;
                $got =~ /short|bytes before its Content-Length/;
            }, 'once somebody reads, the line of the core comes';
            if ($servers) {
                outcome($server, '/die');
                ok soon {
                    1 while sysread $pipe, $got, 65_536, length $got;
                    $got =~ /\[warn\] \d+ lines? (?:was|were) lost: standard error/;
                }, 'and the master tells how many lines were lost';
            }
            $server->signal('TERM');
            is $server->wait_exit, 0, 'it ends';
        };
    };
}

# Whichever log it is: requests are answered, in more of them than a pipe and the server's buffers hold, and a stop ends the server.
for my $log (qw(access_log_path error_log_path)) {
    check "$log is a pipe that nobody reads" => sub {
        each_entry {
            my $entry  = shift;
            my $folder = scratch();
            my $fifo   = "$folder/log";
            mkfifo($fifo, 0600) or die "$fifo: $!";
            sysopen my $pipe, $fifo, O_RDWR | O_NONBLOCK or die "$fifo: $!";
            my $server = server(entry => $entry, app => $APP, ready => 0,
                options => {start_servers => 2, graceful_timeout => 1, log_level => 'debug', $log => $fifo});
            ok soon { (eval { outcome($server, '/') } // 0) == 200 }, 'it serves';
            1 while syswrite $pipe, 'x' x 4096;
            1 while syswrite $pipe, 'x';
            my $client = $server->connect;
            my $good   = 0;
            for (1 .. 500) {
                $client->send("GET /?" . 'x' x 2000 . " HTTP/1.1\r\nHost: x\r\n\r\n");
                $good++ if $client->response->status == 200;
            }
            is $good, 500, 'all requests are answered';
            is outcome($server, $_), $_ eq '/' ? 200 : 500, "$_ on another connection" for '/oops', '/';
            my $began = time;
            $server->signal('TERM');
            ok defined $server->wait_exit(30), 'it ends';
            cmp_ok time - $began, '<', 10, 'soon';
        };
    };
}

done_testing;
