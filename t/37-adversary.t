# Workers that break the rules of their channel: the core goes on, others notice nothing, the worker is replaced. script/adversary
# does the same for as long as one likes.
use strict;
use warnings;

use Test::More;

use Gepok::Test;
use Gepok::Test::Adversary;

gepok_only();
plan skip_all => 'the calls of this machine have other numbers' unless Gepok::Test::Damage::can_send_descriptors();

# Machines that run tests have much else to do.
my $SLOWER = 5;

check 'each kind of damage once' => sub {
    my $seen = Gepok::Test::Adversary::run(15, $ENV{GEPOK_TEST_SEED} // time);
    note join ', ', map { "$_ $seen->{$_}" } qw(seed seconds requests failed longest rss over descriptors leaked cpu idle);
    is_deeply [Gepok::Test::Adversary::broken($seen, $SLOWER)], [], 'the bounds hold' or diag "seed $seen->{seed}\n$seen->{log}";
    cmp_ok $seen->{requests} - $seen->{failed}, '>', 100, 'others are served meanwhile';
};

# Errors and warnings that were logged after that. They come a moment after what they tell of.
sub errors_after {
    my ($server, $length) = @_;
    my $errors = sub { grep {/\[(?:error|warn)\]/} split /\n/, substr $server->log, $length };
    soon { $errors->() } 10;
    return $errors->();
}

check 'one line says what was wrong' => sub {
    each_entry {
        my $server = Gepok::Test::Adversary::broken_server(entry => shift, options => {start_servers => 2});
        my $length = length $server->log;
        my %said   = (
            'a frame of kind 99'          => 'a frame of unknown kind 99',
            'own claim word, and silence' => 'the claim word of request \d+ was overwritten',
            'a flood of rings'            => 'rings without anything to say',
            '12 descriptors with a frame' => '2 descriptors at a time',
            'the end of the channel'      => 'has closed its end, and goes on',
        );
        for my $name (sort keys %said) {
            is $server->get(Gepok::Test::Adversary::damage_path($name, 1))->status, 502, "$name: its client gets 502";
            my ($pid) = Gepok::Test::Adversary::last_event($server, 0);
            ok soon { !alive($pid) && Gepok::Test::Adversary::serving($server, $pid) == 2 }, 'it is replaced';
            my @lines = errors_after($server, $length);
            is @lines, 1, 'one line' or diag join "\n", @lines;
            like $lines[0], qr/\[error\] .*worker \d+ has broken its channel: $said{$name}$/, 'with what was wrong';
            is $server->get('/')->content, 'ready', 'others are served';
            $length = length $server->log;
        }
    };
};

# Nothing can replace the only process: it ends, so that a service manager starts it again.
check 'in one process it is the end of the server' => sub {
    each_entry {
        my $entry  = shift;
        my $folder = scratch();
        my $server = Gepok::Test::Adversary::broken_server(
            entry   => $entry,
            options => {start_servers => 0, pid_path => "$folder/pid"},
        );
        is $server->get('/')->content, 'ready', 'it serves';
        my $length = length $server->log;
        my $client = send_request($server, Gepok::Test::Adversary::damage_path('own claim word, and silence', 1));
        is $client->response('GET')->status, 502, 'its client gets 502';
        is $server->wait_exit, 256, 'it ends with status 1';
        my @lines = errors_after($server, $length);
        like $lines[0], qr/worker 1 has broken its channel: the claim word of request \d+ was overwritten$/, 'a line says what was wrong';
        like $lines[1], qr/the server ends: its app can't be reached any more$/, 'and one what follows';
        is @lines, 2, 'there are no more' or diag join "\n", @lines;
        ok !-e "$folder/pid", 'its pid file is gone';
    };
};

done_testing;
