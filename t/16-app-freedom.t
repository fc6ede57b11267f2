# What plain Perl code may do in any program it may do in an app: run commands, fork, set signal handlers and alarms, die
# of any object, change its surroundings. None of it harms the worker or another request.
use strict;
use warnings;

use Test::More;

use Gepok::Test;

my $app = <<'EOT';
use POSIX ();
use Time::HiRes ();

package Angry { use overload '""' => sub { die "even its text dies\n" }, 'bool' => sub { die "its truth, too\n" } }

my $usr1 = 0;
$SIG{USR1} = sub { $usr1++ };

my %cases = (
    pid       => sub { $$ },
    system    => sub { system('exit 3;'); $? >> 8 },
    backticks => sub { my $out = `echo out; exit 4`; chomp $out; $out . ($? >> 8) },
    perl      => sub { my $out = `$^X -e 'print 6*7'`; $out },
    pipe      => sub { open my $p, '-|', 'echo piped' or die $!; my $l = <$p>; close $p; chomp $l; "$l$?" },
    fork      => sub {
        my $pid = fork // die $!;
        exit 5 if !$pid;
        waitpid $pid, 0;
        'child ' . ($? >> 8);
    },
    'fork-falls-through' => sub {
        # The child comes back from the app as well: nothing it returns may reach the client.
        my $pid = fork // die $!;
        return 'from the child' if !$pid;
        waitpid $pid, 0;
        'from the parent';
    },
    'fork-dies' => sub {
        my $pid = fork // die $!;
        die "the child died\n" if !$pid;
        waitpid $pid, 0;
        'from the parent';
    },
    alarm => sub {
        my $text = eval { local $SIG{ALRM} = sub { die "alarm\n" }; alarm 1; select undef, undef, undef, 10; 'slept' };
        alarm 0;
        $text // $@;
    },
    'signal-now'  => sub { my $before = $usr1; kill USR1 => $$; $usr1 - $before },
    'signal-seen' => sub { $usr1 },
    'chld'        => sub {
        my $reaped = 0;
        local $SIG{CHLD} = sub { $reaped++ while waitpid(-1, POSIX::WNOHANG()) > 0 };
        my $pid = fork // die $!;
        POSIX::_exit(0) if !$pid;
        my $limit = time + 12;
        select undef, undef, undef, 0.05 until $reaped || time > $limit;
        "reaped $reaped";
    },
    'die-object' => sub { die {code => 1} },
    'die-angry'  => sub { die bless [], 'Angry' },
    'die-false'  => sub { die bless \(my $x = 0), 'Plain' },
    'die-hook'   => sub { local $SIG{__DIE__} = sub { die "from the hook\n" }; die "plain\n" },
    'last'       => sub { no warnings; last; 'not left' },
    'next-label' => sub { no warnings; next OUTER; 'not left' },
    'goto-label' => sub { goto NOWHERE; 'not left' },
    'deep'       => sub { my $f; $f = sub { $_[0] ? 1 + $f->($_[0] - 1) : 0 }; no warnings; $f->(5000) },
    'local'      => sub { local $/ = 'x'; local $, = '-'; local $\ = '!'; local $_ = 1; 'kept' },
    'globals'    => sub { $/ = 'x'; $, = '-'; $\ = '!'; $| = 1; 'changed' },
    'globals-back' => sub { $/ = "\n"; undef $,; undef $\; 'back' },
    'stdout'     => sub { print "to standard output\n"; 'printed' },
    'close-std'  => sub { close STDIN; close STDOUT; 'closed' },
    'chdir'      => sub { chdir '/'; 'moved' },
    'srand'      => sub { srand 1; 'seeded' },
    'env'        => sub { $ENV{GEPOK_TEST_CHANGED} = 1; %ENV = (PATH => $ENV{PATH}); 'emptied' },
    'warn'       => sub { warn "a warning\n"; 'warned' },
    'eval-exit'  => sub { eval { exit 3 }; 'survived' },
    'modules'    => sub { require Storable; require Encode; Encode::encode('UTF-8', "\x{263a}") },
    'regex'      => sub { $_[0]{PATH_INFO} =~ /(reg)/; "$1" },
    'wantarray'  => sub { defined wantarray ? wantarray ? 'list' : 'scalar' : 'void' },
    'args'       => sub { scalar @_ },
);

my $inner = sub {
    my $env = shift;
    my ($name) = $env->{PATH_INFO} =~ m{^/([a-z0-9-]+)};
    return [200, ['Content-Type' => 'text/plain'], [scalar $cases{$name}->($env)]];
};
$inner;
EOT

my %expected = (
    system     => 3,
    backticks  => 'out4',
    perl       => 42,
    pipe       => 'piped0',
    fork       => 'child 5',
    'fork-falls-through' => 'from the parent',
    'fork-dies' => 'from the parent',
    alarm      => "alarm\n",
    'signal-now' => 1,
    chld       => 'reaped 1',
    deep       => 5000,
    local      => 'kept',
    globals    => 'changed',
    'globals-back' => 'back',
    stdout     => 'printed',
    warn       => 'warned',
    modules    => "\xe2\x98\xba",
    regex      => 'reg',
    args       => 1,
    chdir      => 'moved',
    srand      => 'seeded',
    env        => 'emptied',
    'close-std' => 'closed',
);
my @dies = qw(die-object die-angry die-false die-hook last next-label goto-label);

# Starlet and Starman answer most of it; a child that falls through writes to the client there.
delete @expected{qw(fork-falls-through fork-dies close-std)} unless is_gepok();

for my $entry (entries()) {
    for my $workers (is_gepok() ? (1, 0) : 1) {
        check "through $entry, start_servers=$workers" => sub {
            my $server = server(entry => $entry, app => $app, options => {start_servers => $workers});
            my $pid    = $server->get('/pid')->content;
            for my $name (sort keys %expected) {
                is $server->get("/$name")->content, $expected{$name}, $name;
                is $server->get('/pid')->content, $pid, "$name: the same worker goes on" if is_gepok();
            }
            for my $name (is_gepok() ? @dies : qw(die-object)) {
                is $server->get("/$name")->status, 500, "$name: 500";
                is $server->get('/pid')->content, $pid, "$name: the same worker goes on" if is_gepok();
            }
            if (is_gepok() && $workers) {
                # While the worker waits for a request: handlers run then as well.
                my $before = $server->get('/signal-seen')->content;
                kill USR1 => $pid;
                ok soon { $server->get('/signal-seen')->content == $before + 1 }, 'a signal to an idle worker is seen';
                is $server->get('/pid')->content, $pid, 'which it survives';
                my $status = $server->get('/eval-exit')->status;
                cmp_ok $status, '>=', 500, 'exit leaves eval: the worker goes, the client is told';
                isnt $server->get('/pid')->content, $pid, 'another comes';
            }
            is $server->stop, 0, 'a clean end';
        };
    }
}

done_testing;
