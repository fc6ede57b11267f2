# Event loops in workers: calls overlap, responses come when the app's timers say so, and none is lost.
use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep time);

use Gepok::Test;

gepok_only();

# What must be there for each loop.
my %needs = (poll => 'strict', AnyEvent => 'AnyEvent', EV => 'EV', 'IO::Async' => 'IO::Async::Loop', Mojo => 'Mojo::IOLoop');
my @loops = grep { eval "require $needs{$_}; 1" } sort keys %needs;
diag "without $_, which is not installed" for grep { my $loop = $_; !grep { $_ eq $loop } @loops } sort keys %needs;

sub looped {
    my ($loop, %options) = @_;
    my $entry = delete $options{entry} || default_entry();
    return server(
        entry   => $entry,
        app     => app_file('loop'),
        options => {start_servers => 1, max_clients => 1, loop => $loop, %options},
    );
}

# Sends so many requests at once. Returns the responses and how long they took together.
sub at_once {
    my ($server, $target, $count) = @_;
    my $start     = time;
    my @clients   = map { send_request($server, $target) } 1 .. $count;
    my @responses = map { $_->response } @clients;
    return (time - $start, @responses);
}

sub statuses {
    my %count;
    $count{ $_->status }++ for @_;
    return \%count;
}

each_entry {
    my $server = looped('poll', entry => shift);
    is $server->get('/env')->content, '1 poll 1', 'the env says that the worker waits in a loop';
    my ($took, @responses) = at_once($server, '/wait/0.5', 20);
    is_deeply statuses(@responses), {200 => 20}, 'all responses come';
    is $server->get('/most')->content, 20, 'and were open at the same time';
};

for my $loop (@loops) {
    check "in the loop $loop" => sub {
        my $server = looped($loop);
        is $server->get('/env')->content, "1 $loop 1", 'psgi.nonblocking and the name of the loop';
        my ($took, @responses) = at_once($server, '/wait/0.5', 50);
        is_deeply statuses(@responses), {200 => 50}, 'delayed responses come';
        is $server->get('/most')->content, 50, 'which were all open at the same time';
        like $server->get('/hello')->content, qr/hello/, 'a response at once';
        is $server->get('/stream/5')->content, join('', map { "part $_\n" } reverse 1 .. 5), 'a writer used by timers';

        # Protects: a client whose response the app has forgotten is not left waiting.
        is $server->get("/$_")->status, 500, "$_: 500 at once" for qw(forget forgets bad dies);
        logged_times $server, qr{GET /forgets: .*the app dropped the responder}, 1, 'the log says whose responder was dropped';

        my $kept = send_request($server, '/keep/one');
        ok soon { $server->get('/drop/one')->content eq 'dropped' }, 'a responder is dropped by another call';
        is $kept->response->status, 500, 'and its client gets 500';
        $kept = send_request($server, '/keep/two');
        is soon { my $said = $server->get('/answer/two')->content; $said !~ /undefined/ && $said }, 'yes',
            'a responder is called by another call';
        is $kept->response->content, 'answered', 'and its client gets the response';

        # Protects: %SIG works though the worker waits in C code of the loop's.
        my $pid = $server->get('/signal')->content;
        kill USR1 => $pid;
        ok soon { $server->get('/signalled')->content eq 'yes' }, 'a handler of %SIG runs';
    };
}

# Protects: what a loop is for.
check '1,000 requests that wait for a second each' => sub {
    my $server = looped('poll', worker_requests => 1000, max_requests_per_child => 0);
    $server->get('/hello');
    my ($took, @responses) = at_once($server, '/wait/1', 1000);
    is_deeply statuses(@responses), {200 => 1000}, 'one worker answers all';
    my %workers = map { $_->content => 1 } @responses;
    is scalar keys %workers, 1, 'and it was one';
    is $server->get('/most')->content, 1000, 'all were open at the same time';
    note sprintf '%.2f s', $took;
};

check 'worker_requests' => sub {
    my $server = looped('poll', worker_requests => 3);
    my ($took, @responses) = at_once($server, '/wait/0.2', 9);
    is_deeply statuses(@responses), {200 => 9}, 'those beyond it wait';
    is $server->get('/most')->content, 3, 'no more are open at a time';
    cmp_ok $took, '>=', 0.6, 'so they take three times as long';
};

check 'two workers share open requests' => sub {
    my $server = looped('poll', start_servers => 2, max_clients => 2);
    my $ask    = sub {
        my ($took, @responses) = at_once($server, '/wait/0.5', $_[0]);
        my %workers;
        $workers{ $_->content }++ for @responses;
        return \%workers;
    };
    ok soon { keys %{ $ask->(2) } == 2 }, 'both serve';
    is scalar keys %{ $ask->(20) }, 2, 'both have some of twenty';
};

check 'cleanup handlers run after the response' => sub {
    my $server = looped('poll');
    my $file   = $server->folder . '/cleaned';
    is $server->get("/cleanup$file")->content, 'later', 'the response comes';
    ok soon { -s $file }, 'the handler runs';
    open my $in, '<', $file or die $!;
    is scalar <$in>, 1, 'before the callback goes on, and after the response';
};

# Protects: a worker that leaves does not take the requests of others with it.
for my $way ('its budget', 'psgix.harakiri', 'HUP', 'TERM to the worker', 'TERM to the server') {
    check "open requests survive $way" => sub {
        my $server = looped('poll', ($way eq 'its budget' ? (max_requests_per_child => 11) : ()));
        my $pid    = $server->get('/hello')->content =~ /(\d+)/ && $1;
        my @clients = map { send_request($server, '/wait/1') } 1 .. 10;
        # The budget counts this, the ten and the question.
        if ($way ne 'its budget') {
            soon { $server->get('/most')->content == 10 };
        }
        kill HUP  => $server->pid              if $way eq 'HUP';
        kill TERM => $pid                      if $way eq 'TERM to the worker';
        kill TERM => $server->pid              if $way eq 'TERM to the server';
        $server->get('/leave')                 if $way eq 'psgix.harakiri';
        is_deeply statuses(map { $_->response } @clients), {200 => 10}, 'all are answered';
        return if $way eq 'TERM to the server';
        ok soon { !alive($pid) }, 'the worker has left';
        like $server->get('/hello')->content, qr/hello from (?!$pid\b)/, 'another serves';
    };
}

check 'exit in a callback' => sub {
    my $server = looped('poll');
    is $server->get('/exit')->status, 502, 'what is open has failed';
    like $server->get('/hello')->content, qr/hello/, 'another worker serves';
};

# Protects: one call that is never answered is no reason to kill the worker of all others.
check 'request_timeout ends a call, not the worker' => sub {
    my $server = looped('poll', request_timeout => 1);
    my $pid    = $server->get('/hello')->content;
    my $start  = time;
    is $server->get('/keep/x')->status, 504, 'its client gets 504';
    cmp_ok time - $start, '>=', 1, 'not before its time';
    is $server->get('/hello')->content, $pid, 'the worker goes on';
    like $server->get('/answer/x')->content, qr/yes|no/, 'a responder that comes too late harms nobody';
};

# Protects: clients of a worker that is lost, and those to come, are not left waiting.
check 'a loop that does not turn ends its worker' => sub {
    my $server = looped('poll', start_servers => 2, max_clients => 2, request_timeout => 1);
    my %others;
    ok soon { my (undef, @two) = at_once($server, '/wait/0.3', 2); $others{ $_->content }++ for @two; keys %others == 2 },
        'two workers serve';
    my $spinning = send_request($server, '/spin');
    my $kept     = send_request($server, '/keep/it');
    like $spinning->response->status, qr/\A50[24]\z/, 'the request of the loop that hangs fails';
    like $kept->response->status,     qr/\A504\z/,    'others have their own time';
    logged $server, qr/the event loop does not turn/, 'the log says why';
    my %later;
    my %count;
    for (1 .. 10) {
        my (undef, @two) = at_once($server, '/wait/0.1', 2);
        $count{ $_->status }++ for @two;
    }
    is_deeply \%count, {200 => 20}, 'all later ones are served';
};

check 'one process' => sub {
    my $server = looped('poll', start_servers => 0);
    my ($took, @responses) = at_once($server, '/wait/0.3', 20);
    is_deeply statuses(@responses), {200 => 20}, 'it has a loop as well';
    is $server->get('/most')->content, 20, 'in which calls overlap';
};

done_testing;
