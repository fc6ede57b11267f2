# psgix.harakiri, psgix.informational, psgix.cleanup, psgix.input.buffered, and psgi.errors.
use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);

use Gepok::Test;

sub touch { open my $file, '>', $_[0] or die $! }
sub slurp { open my $file, '<', $_[0] or return ''; local $/; scalar(<$file>) // '' }

each_entry {
    my $server = server(entry => shift, app => app_file('extension'), options => {start_servers => 2});
    my %seen;
    $seen{$server->get('/harakiri')->content}++ for 1 .. 10;
    is keys %seen, 10, 'harakiri: each worker leaves after its one answer';
    is $server->get('/buffered')->content, 1, 'psgix.input.buffered';
    is $server->get('/inform')->content, 'final', 'the final response after informational ones'
        unless server_name() eq 'HTTP::Server::PSGI';
};

# A pause behind a worker that failed would be longer than any client waits here.
my $server = server(app => app_file('extension'),
    options => {start_servers => 1, is_gepok() ? (err_respawn_interval => 30) : ()});

check 'harakiri' => sub {
    my $first = $server->get('/plain')->content;
    is $server->get('/plain')->content, $first, 'without it the worker stays';
    is $server->get('/harakiri-declined')->content, $first, 'a false commit is none';
    is $server->get('/plain')->content, $first, 'the worker has stayed';
    is $server->get('/harakiri')->content, $first, 'it is the one that leaves';
    isnt my $next = $server->get('/plain')->content, $first, 'another has come';
    if (is_gepok()) {
        is $server->get('/harakiri-streamed')->content, $next, 'the commit may come while the response streams';
        isnt $server->get('/plain')->content, $next, 'the worker leaves after it';
    }
    my $began = time;
    $server->get('/harakiri') for 1 .. 10;
    cmp_ok time - $began, '<', 25, 'no penalty delays the successors: harakiri is no failure';
};

check 'informational' => sub {
    my $client = $server->connect;
    $client->send("GET /inform HTTP/1.1\r\nHost: x\r\n\r\n");
    my $response = $client->response;
    my @interim  = $response->interim;
    is_deeply [map { $_->status } @interim], [100, 103, 102], 'every one is sent, in order, whatever its number';
    is $interim[0]->raw, "HTTP/1.1 100 Continue\r\nfoo: 123\r\nbar: 456\r\n\r\n", 'verbatim: case and order';
    is_deeply $interim[1]->fields, [[Link => '</a.css>; rel=preload'], [liNK => '</b.js>'], ['X-z' => '']],
        'case, order, repetition and empty values of fields';
    is $response->content, 'final', 'then the final response';
    is_deeply [$response->all('Link')], [], 'whose fields are its own';

    # The point of 103: it must not wait for the final response.
    my $signal = $server->folder . '/hinted';
    $client = $server->connect;
    $client->send("GET /inform-then-wait?$signal HTTP/1.1\r\nHost: x\r\n\r\n");
    is $client->head->status, 103, 'a hint leaves while the app still works';
    touch($signal);
    is $client->response->content, 'final', 'the response follows';

    if (is_gepok()) {
        my $old = $server->exchange("GET /inform HTTP/1.0\r\n\r\n");
        is_deeply [map { $_->status } $old->interim], [], 'HTTP/1.0 knows none: nothing is sent';
        is $old->content, 'final', 'but the final response';
        my $wrong = $server->get('/inform-wrong');
        is_deeply [map { @{$_->fields} } $wrong->interim], [], 'a status out of range or an injection is never sent';
        is $wrong->status, 200, 'and does not spoil the final response';
        my $late = $server->get('/inform-late');
        like $late->content, qr/^died:[01]$/, 'behind the head it cannot harm the response';
    }
};

check 'cleanup' => sub {
    is $server->get('/cleanup-supported')->content, '1,ARRAY', 'psgix.cleanup and its handlers';
    my $path   = $server->folder . '/cleaned';
    my $client = $server->connect;
    $client->send("GET /cleanup?$path HTTP/1.1\r\nHost: x\r\n\r\n");
    is $client->response->content, 'answered', 'the whole response comes while the handlers still wait';
    is slurp($path), '', 'they have not run to their end';
    touch("$path-go");
    ok soon { slurp($path) =~ m{^first:/cleanup second:\d+$} }, 'they run, in order, with the environment; one may die'
        or diag slurp($path);
    logged $server, qr/a cleanup handler died/, 'which the log tells';
    like $server->get('/plain')->content, qr/^\d+$/, 'the worker serves on';

    my $pid = $server->get("/cleanup-harakiri?$path-2")->content;
    isnt $server->get('/plain')->content, $pid, 'a handler may commit harakiri';
    is slurp("$path-2"), 'ran', 'after it ran';

    # A client that left gets its cleanup as well: applications free locks in it.
    my $gone = $server->connect;
    $gone->send("GET /cleanup-endless?$path-3 HTTP/1.1\r\nHost: x\r\n\r\n");
    $gone->head;
    $gone->close;
    ok soon { slurp("$path-3") eq 'ran' }, 'cleanup runs when the client has gone in the middle';
} if is_gepok();

check 'psgi.errors' => sub {
    $server->get('/errors');
    logged $server, qr/^to errors: \d+$/m, 'print as a method';
    $server->get('/errors-printf');
    logged $server, qr/^by printf$/m, 'the builtin printf';
};

done_testing;
