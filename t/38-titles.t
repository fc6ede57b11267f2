# proctitle: what ps(1) shows of a server's processes.
use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep time);

use Gepok::Test;

gepok_only();

sub touch { open my $file, '>', $_[0] or die $! }

# As ps does: what is left of the command line's memory, zeros being blanks.
sub title {
    open my $file, '<:raw', "/proc/$_[0]/cmdline" or return '';
    local $/;
    my $line = <$file> // '';
    $line =~ s/\0+\z//;
    return $line =~ tr/\0/ /r;
}

sub titles { return join ' | ', sort map { title($_) } $_[0]->descendants }

my $app = 'sub { my $env = shift; my $go = $env->{QUERY_STRING};'
    . ' if ($env->{PATH_INFO} eq "/name") { return [200, [], [$0]] }'
    . ' if ($env->{PATH_INFO} eq "/own") { $0 = "my own title" }'
    . ' my $limit = time + 200; select undef, undef, undef, 0.01 until !$go || -e $go || time > $limit;'
    . ' [200, [], [join " ", map { "$_=$ENV{$_}" } grep { /^GEPOK_TITLE/ } sort keys %ENV]] }';

$ENV{GEPOK_TITLE_TEST} = 'x' x 200;

each_entry {
    my $entry  = shift;
    my $server = server(entry => $entry, app => $app, options => {start_servers => 1, name => 'shop'});
    # It listens a moment before.
    ok soon { title($server->pid) eq 'shop [parent]' }, 'the master' or diag title($server->pid);
    ok soon { titles($server) eq 'shop [core] | shop [listening]' }, 'the core and a worker' or diag titles($server);
    my ($pid) = grep { title($_) eq 'shop [core]' } $server->descendants;
    like `ps -o args= -p $pid`, qr/^shop \[core\]\s*$/, 'ps shows it' if -x '/bin/ps' || -x '/usr/bin/ps';

    my $comm = sub { open my $file, '<', "/proc/$_[0]/comm" or return 'gone'; <$file> };
    is_deeply [map { $comm->($_) } $server->pid, $server->descendants], [("shop\n") x 3], 'pgrep finds all by the name';

    my $go     = $server->folder . '/go';
    my $client = $server->connect;
    $client->send("GET /a/page?$go HTTP/1.1\r\nHost: x\r\n\r\n");
    ok soon { titles($server) eq 'shop [core] | shop [serving GET /a/page]' }, 'what it serves, without the query'
        or diag titles($server);
    touch($go);
    is $client->response->content, "GEPOK_TITLE_TEST=$ENV{GEPOK_TITLE_TEST}", 'the environment is untouched';
    ok soon { titles($server) eq 'shop [core] | shop [listening]' }, 'then it listens again' or diag titles($server);
    my $name = $server->get('/name')->content;
    unlike $name, qr/\[/, '$0 is what it was';

    $server->get('/' . 'long' x 500);
    ok soon { titles($server) eq 'shop [core] | shop [listening]' }, 'nothing is left of a longer title'
        or diag titles($server);
    if ($entry ne 'bin') {
        $server->get('/own');
        ok soon { titles($server) eq 'my own title | shop [core]' }, "the app's own title" or diag titles($server);
        $server->get('/name');
        is titles($server), 'my own title | shop [core]', 'stays';
    }
    is $server->stop, 0, 'the server stops';

    $server = server(entry => $entry, app => $app, options => {start_servers => 1, name => 'shop', proctitle => 0});
    my $other = $server->get('/name')->content;
    # Each server has a folder of its own.
    is $name =~ s/gepok-\w+//r, $other =~ s/gepok-\w+//r, '$0 is the same without titles';
    unlike join(' ', map { title($_) } $server->pid, $server->descendants), qr/shop \[/, 'the command line stays';
};

check 'an app that each worker loads, for which Perl writes into the same place' => sub {
    my $server = server(entry => 'plackup', app => $app, args => ['-L', 'Delayed'],
        options => {start_servers => 1, name => 'shop'});
    ok soon { titles($server) eq 'shop [core] | shop [listening]' }, 'its worker has a title' or diag titles($server);
};

done_testing;
