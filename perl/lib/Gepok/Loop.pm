# The event loops that a worker can wait in (option `loop`), and what an app may ask of the one that runs.
package Gepok::Loop;

use strict;
use warnings;

use Carp ();

our $VERSION = '0.300';

# The names that the option knows. Any other is a class.
my %CLASS = (
    'poll'      => 'Gepok::Loop::Poll',
    'AnyEvent'  => 'Gepok::Loop::AnyEvent',
    'EV'        => 'Gepok::Loop::EV',
    'IO::Async' => 'Gepok::Loop::IOAsync',
    'Mojo'      => 'Gepok::Loop::Mojo',
);

# This process's loop, once it has one.
my $loop;

# The channel and what else makes a turn due, and their watchers.
my (@descriptors, @watchers);

our $turning = 0;

sub timer {
    my ($class, $seconds, $code) = @_;
    Carp::croak('Gepok::Loop->timer: no event loop runs in this process') unless $loop;
    Carp::croak('Usage: Gepok::Loop->timer($seconds, $code)') unless ref $code;
    return $loop->timer($seconds, $code) if defined wantarray;
    my $timer;
    $timer = $loop->timer($seconds, sub { undef $timer; $code->() });
    return;
}

sub watch {
    my ($class, $handle, $code, $mode) = @_;
    Carp::croak('Gepok::Loop->watch: no event loop runs in this process') unless $loop;
    Carp::croak('Usage: my $watcher = Gepok::Loop->watch($handle, $code, "r" or "w")')
        if !ref $code || !defined wantarray || ($mode || 'r') !~ /\A[rw]\z/;
    return $loop->watch($handle, $code, $mode || 'r');
}

# Loads what a loop needs, and makes nothing that a fork would share. Returns the class.
sub _load {
    my ($name) = @_;
    my $class = $CLASS{$name} || $name;
    if (!$CLASS{$name} && !$class->can('new')) {
        (my $file = "$class.pm") =~ s{::}{/}g;
        eval { require $file } or die "option 'loop': $name can't be loaded: $@";
    }
    elsif (my $needs = $class->can('needs')) {
        my ($module) = $class->$needs;
        (my $file = "$module.pm") =~ s{::}{/}g;
        eval { require $file } or die "option 'loop': $module can't be loaded: $@";
    }
    for my $method (qw(new timer watch run stop)) {
        die "option 'loop': the class $class has no method '$method'\n" unless $class->can($method);
    }
    return $class;
}

# Makes this process's loop.
sub _begin {
    my ($name) = @_;
    my $class = _load($name);
    # A loop of libev's that was made before the fork, by the app for one, has its kernel state in common with the parent.
    EV::default_loop()->loop_fork if $INC{'EV.pm'};
    $loop = $class->new;
    return;
}

sub _watch_channel {
    @watchers = map { $loop->watch($_, \&_turned, 'r') } @descriptors;
    return;
}

sub _turned {
    # Code of the app's runs the loop within a turn: nothing is taken, and a readable channel would keep the loop busy.
    if ($turning) {
        @watchers = ();
        return;
    }
    my $stop = do { local $turning = 1; _turn() };
    _watch_channel() unless @watchers;
    $loop->stop if $stop;
    return;
}

# Runs the loop until a turn stops it or code of the app's leaves it.
sub _run {
    @descriptors = @_;
    _watch_channel() unless @watchers;
    $loop->run;
    return;
}

# The process goes on without the server.
sub _end {
    @watchers = ();
    undef $loop;
    return;
}

package Gepok::Loop::Poll;

# Built in: timers, and descriptors by poll(2).

use IO::Poll    ();
use Time::HiRes ();

sub new { bless {timers => [], cancelled => 0, watchers => {}, poll => undef, stop => 0}, $_[0] }

sub _now { Time::HiRes::clock_gettime(Time::HiRes::CLOCK_MONOTONIC()) }

sub timer {
    my ($self, $seconds, $code) = @_;
    my $timers = $self->{timers};
    my $timer  = [ _now() + $seconds, $code, $self ];
    # Most come last.
    my ($low, $high) = (0, scalar @$timers);
    $low = $high if !$high || $timers->[-1][0] <= $timer->[0];
    while ($low < $high) {
        my $middle = int(($low + $high) / 2);
        if   ($timers->[$middle][0] <= $timer->[0]) { $low  = $middle + 1 }
        else                                        { $high = $middle }
    }
    splice @$timers, $low, 0, $timer;
    return bless \$timer, 'Gepok::Loop::Poll::Timer';
}

sub Gepok::Loop::Poll::Timer::DESTROY {
    my ($timer) = ${ $_[0] };
    my $self = pop @$timer or return;
    return unless delete $timer->[1];
    # Those that were cancelled are removed when they are more than the others.
    return if ++$self->{cancelled} < 100 || $self->{cancelled} * 2 < @{ $self->{timers} };
    $self->{cancelled} = 0;
    @{ $self->{timers} } = grep { $_->[1] } @{ $self->{timers} };
    return;
}

sub watch {
    my ($self, $handle, $code, $mode) = @_;
    my $fd = ref $handle ? fileno $handle : $handle;
    Carp::croak('Gepok::Loop->watch: the handle has no descriptor') unless defined $fd && $fd =~ /\A[0-9]+\z/;
    my $mask    = $mode eq 'w' ? IO::Poll::POLLOUT() : IO::Poll::POLLIN();
    my $watcher = [ $fd, $mask, $code, $self ];
    $self->{watchers}{ 0 + $watcher } = $watcher;
    undef $self->{poll};
    return bless \$watcher, 'Gepok::Loop::Poll::Watcher';
}

sub Gepok::Loop::Poll::Watcher::DESTROY {
    my ($watcher) = ${ $_[0] };
    my $self = pop @$watcher or return;
    delete $self->{watchers}{ 0 + $watcher };
    undef $watcher->[2];
    undef $self->{poll};
    return;
}

# An exception of one callback is no reason to leave others without theirs.
sub _call {
    my ($code) = @_;
    return if eval { $code->(); 1 };
    warn "Gepok: a callback of the event loop died: $@";
    return;
}

sub run {
    my ($self) = @_;
    my $timers = $self->{timers};
    local $self->{stop} = 0;
    until ($self->{stop}) {
        my $wait = -1;
        if (@$timers) {
            $wait = ($timers->[0][0] - _now()) * 1000;
            # Rounded up: a timer is never early, and its last millisecond is no busy loop.
            $wait = $wait > 0 ? int($wait) + 1 : 0;
        }
        my @order = @{ $self->{poll} ||= [ values %{ $self->{watchers} } ] };
        my @poll  = map { @$_[ 0, 1 ] } @order;
        if (IO::Poll::_poll($wait, @poll) > 0) {
            for my $at (0 .. $#order) {
                next unless $poll[ 2 * $at + 1 ];
                my $code = $order[$at][2] or next;
                _call($code);
            }
        }
        my $now = _now();
        while (@$timers && $timers->[0][0] <= $now) {
            my $code = delete((shift @$timers)->[1]) or next;
            _call($code);
        }
    }
    return;
}

sub stop { $_[0]{stop} = 1 }

package Gepok::Loop::EV;

sub needs { 'EV' }

sub new { bless {}, $_[0] }

sub timer { EV::timer($_[1], 0, $_[2]) }

sub watch { EV::io($_[1], $_[3] eq 'w' ? EV::WRITE() : EV::READ(), $_[2]) }

sub run { EV::run() }

sub stop { EV::break(EV::BREAK_ALL()) }

package Gepok::Loop::AnyEvent;

sub needs { 'AnyEvent' }

sub new {
    AnyEvent::detect();
    return bless {}, $_[0];
}

sub timer { AnyEvent->timer(after => $_[1], cb => $_[2]) }

sub watch { AnyEvent->io(fh => $_[1], poll => $_[3], cb => $_[2]) }

sub run {
    my ($self) = @_;
    local $self->{stopped} = AnyEvent->condvar;
    $self->{stopped}->recv;
    return;
}

sub stop { $_[0]{stopped}->send }

package Gepok::Loop::IOAsync;

sub needs { 'IO::Async::Loop' }

sub new { bless {loop => IO::Async::Loop->new, handles => {}}, $_[0] }

sub timer {
    my ($self, $seconds, $code) = @_;
    my $id = $self->{loop}->watch_time(after => $seconds, code => $code);
    return Gepok::Loop::Guard->new(sub { $self->{loop}->unwatch_time($id) });
}

# IO::Async and Mojo want handles; a copy of the descriptor, so that closing it does no harm.
sub watch {
    my ($self, $fd, $code, $mode) = @_;
    my $handle = Gepok::Loop::_handle($fd);
    my $event = $mode eq 'w' ? 'on_write_ready' : 'on_read_ready';
    $self->{loop}->watch_io(handle => $handle, $event => $code);
    return Gepok::Loop::Guard->new(sub { $self->{loop}->unwatch_io(handle => $handle, $event => 1) });
}

sub run { $_[0]{loop}->run }

sub stop { $_[0]{loop}->stop }

package Gepok::Loop::Mojo;

sub needs { 'Mojo::IOLoop' }

sub new { bless {reactor => Mojo::IOLoop->singleton->reactor}, $_[0] }

sub timer {
    my ($self, $seconds, $code) = @_;
    my $id = $self->{reactor}->timer($seconds => sub { $code->() });
    return Gepok::Loop::Guard->new(sub { $self->{reactor}->remove($id) });
}

sub watch {
    my ($self, $fd, $code, $mode) = @_;
    my $handle = Gepok::Loop::_handle($fd);
    $self->{reactor}->io($handle => sub { $code->() })->watch($handle, $mode eq 'r', $mode eq 'w');
    return Gepok::Loop::Guard->new(sub { $self->{reactor}->remove($handle) });
}

sub run { $_[0]{reactor}->start }

sub stop { $_[0]{reactor}->stop }

package Gepok::Loop;

sub _handle {
    my ($fd) = @_;
    my $number = ref $fd ? fileno $fd : $fd;
    open my $handle, '+<&', $number or Carp::croak("Gepok::Loop->watch: $!");
    return $handle;
}

package Gepok::Loop::Guard;

sub new { bless [ $_[1] ], $_[0] }

sub DESTROY {
    my ($self) = @_;
    return if ${^GLOBAL_PHASE} eq 'DESTRUCT';
    (pop @$self)->();
    return;
}

1;

__END__

=head1 NAME

Gepok::Loop - the event loop of a worker

=head1 SYNOPSIS

    # gepok --loop poll app.psgi
    use Gepok::Loop;

    my $app = sub {
        my ($env) = @_;
        return sub {
            my ($responder) = @_;
            Gepok::Loop->timer(1, sub { $responder->([200, [], ["a second later\n"]]) });
        };
    };

=head1 DESCRIPTION

With the option C<loop> a worker waits in an event loop, and serves many requests at a time: an app may keep the responder of a
delayed response, return, and answer when a timer or a socket of its own tells it to. F<docs/async.md> has more.

An app that was written for a loop uses that loop. One that can be run on any of them uses the methods below.

=head1 METHODS

=over

=item timer

    my $timer = Gepok::Loop->timer($seconds, $code);
    Gepok::Loop->timer($seconds, $code);

Calls the code once, after so many seconds. The timer lasts as long as its value is kept; called in void context, it lasts
until it has fired.

=item watch

    my $watcher = Gepok::Loop->watch($handle, $code);
    my $watcher = Gepok::Loop->watch($handle, $code, 'w');

Calls the code each time that the handle, or descriptor, is readable, or writable with C<'w'>. The watcher lasts as long as its
value is kept.

=back

Both die in a process that runs no event loop.

=head1 OTHER LOOPS

The option C<loop> may name a class, which is loaded if it is not there. It needs the methods

=over

=item new

Called once in each worker, after the fork.

=item timer($seconds, $code)

As above: the value's end cancels it.

=item watch($handle, $code, $mode)

As above; mode is C<r> or C<w>.

=item run

Runs the loop until C<stop> is called.

=item stop

Makes C<run> return.

=back

=cut
