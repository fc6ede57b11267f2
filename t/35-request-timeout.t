# request_timeout: what makes no progress is answered, told where it is, and replaced; what makes progress is left alone.
use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep time);

use Gepok::Test;

gepok_only();

my $APP = <<'APP';
use Time::HiRes ();
pipe my $never, my $writes;
sub spin { 1 while 1 }
sub wait_for_input { sysread $never, my $byte, fileno $writes }
sub wait_for_line { <$never> }
my %hang = (
    spin  => \&spin,
    read  => \&wait_for_input,
    line  => \&wait_for_line,
    sleep => sub { sleep 60 while 1 },
    stop  => sub { kill STOP => $$ },
);
sub {
    my $env = shift;
    my ($way, $arg) = $env->{PATH_INFO} =~ m{\A/(\w*)/?(.*)};
    return sub {
        my $writer = $_[0]->([200, []]);
        $writer->write("from $$");
        spin();
    } if $way eq 'late';
    return sub {
        my $writer = $_[0]->([200, []]);
        for (1 .. 6) { Time::HiRes::sleep(0.6); $writer->write('.') }
        $writer->close;
    } if $way eq 'slow';
    Time::HiRes::sleep($arg) if $way eq 'work';
    push @{$env->{'psgix.cleanup.handlers'}}, sub { Time::HiRes::sleep(3.2) } if $way eq 'cleanup';
    if (my $hang = $hang{$way}) { $hang->() }
    return [200, [], [$$]];
};
APP

# Leaves the connection open, unlike send_request.
sub send_get {
    my ($server, $target) = @_;
    my $client = $server->connect;
    $client->send("GET $target HTTP/1.1\r\nHost: x\r\n\r\n");
    return $client;
}

# What hangs is the same through every way in; where Perl code is, is told by two ways of having an interpreter.
for my $entry (qw(plackup bin)) { check "through $entry" => sub {
    my $server = server(entry => $entry, app => $APP,
        options => {start_servers => 2, max_clients => 2, request_timeout => 2, err_respawn_interval => 30});
    # Both in flight at once: the pids of both workers.
    my $pids = sub {
        my %pids;
        soon {
            %pids = map { $_->response->content => 1 } map { send_get($server, '/work/0.2') } 1, 2;
            keys %pids == 2;
        } or die "there are no two workers\n";
        return %pids;
    };
    for my $hang (
        ['/spin?a=1', qr/the app is in\n    \S+::spin at \S+ line \d+\n    \S+::__ANON__ at \S+ line \d+\n(?:\[|\z)/],
        ['/read',          qr/interrupted\) at \S+ line 6\n    \S+::__ANON__ at /],
        ['/line',          qr/::wait_for_line at /],
        ['/sleep',         qr/::__ANON__ at /],
        ['/stop',          qr/did not say where the app is; it is T \(stopped\)/],
    ) {
        my ($target, $where) = @$hang;
        next if $entry eq 'bin' && $target !~ /spin/;
        my %before = $pids->();
        my $length = length $server->log;
        my $began  = time;
        my $client = send_get($server, $target);
        my $other  = send_get($server, '/work/0.8');
        is $other->response->status, 200, "$target: the other worker's client does not notice";
        is $client->response->status, 504, 'the request is answered';
        my $took = time - $began;
        ok $took > 1.9 && $took < 20, 'in time' or diag $took;
        my $next = time;
        my %after = $pids->();
        cmp_ok time - $next, '<', 20, 'there are two workers again, without a pause';
        my ($dead) = grep { !$after{$_} } keys %before;
        ok $dead && soon { !alive($dead) }, 'the one that hung is gone';
        $client->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        is $client->response->status, 200, "the client's connection lives on";
        ok soon { substr($server->log, $length) =~ $where }, 'the log says where it was'
            or diag substr($server->log, $length);
        ok soon { substr($server->log, $length) =~ /GET \Q$target\E .*worker $dead / }, 'what it was, and who'
            or diag substr($server->log, $length);
    }
    is $server->stop, 0, 'the server stops';
} }

my $server = server(app => $APP, options => {start_servers => 1, max_clients => 1, request_timeout => 2});

check 'behind the head' => sub {
    my $client = send_get($server, '/late');
    $client->head;
    my ($pid) = $client->chunk =~ /(\d+)/;
    my $began = time;
    ok !eval { $client->chunk; 1 }, 'the connection is cut, not ended cleanly';
    cmp_ok time - $began, '<', 20, 'in time';
    isnt $server->get('/')->content, $pid, 'another worker serves';
};

check 'requests behind a hung one' => sub {
    $server->get('/') for 1 .. 50;
    my @clients = map { send_get($server, $_ == 3 ? '/spin' : '/') } 1 .. 10;
    my %status;
    $status{$_->response->status}++ for @clients;
    is_deeply \%status, {200 => 9, 504 => 1}, 'are served by its successor';
};

check 'progress' => sub {
    my $response = send_get($server, '/slow')->response;
    is $response->content, '......', 'a stream may take long as a whole';
    my ($pid) = $server->get('/')->content;
    is $server->get('/cleanup')->content, $pid, 'so may what is done';
    sleep 2.2;
    is $server->get('/')->content, $pid, 'behind the response';
};

check "the client's socket" => sub {
    my $server = server(
        app     => 'sub { my $io = $_[0]{"psgix.io"}; syswrite $io, "HTTP/1.0 200 OK\r\n\r\n"; sleep 3; syswrite $io, $$; [] }',
        options => {start_servers => 1, max_clients => 1, request_timeout => 1});
    like send_get($server, '/')->rest, qr/\r\n\r\n\d+\z/, 'an app that has it may be as silent as it likes';
};

check 'without the option' => sub {
    my $server = server(app => $APP, options => {start_servers => 1, max_clients => 1});
    is $server->get('/work/1.3')->status, 200, 'nothing is timed';
};

done_testing;
