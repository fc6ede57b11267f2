# An app whose responses come later, by timers of the loop that the worker waits in; the path says what it does.
use strict;
use warnings;

use Gepok::Loop;

my %kept;
my ($open, $most) = (0, 0);

sub text { [ 200, [ 'Content-Type' => 'text/plain' ], [ $_[0] ] ] }

my %does = (
    # An answer after so many seconds.
    wait => sub {
        my ($env, $seconds) = @_;
        return sub {
            my ($responder) = @_;
            $open++;
            $most = $open if $most < $open;
            Gepok::Loop->timer($seconds, sub { $open--; $responder->(text("waited in $$")) });
        };
    },
    hello => sub { text("hello from $$") },
    most  => sub { text($most) },
    # What the env says of it.
    env => sub { my ($env) = @_; text(join ' ', map { $_ // 'undef' } @$env{qw(psgi.nonblocking gepok.loop psgi.streaming)}) },
    # The responder is kept and never called.
    keep => sub { my ($env, $name) = @_; sub { $kept{$name} = $_[0]; return } },
    drop => sub { my ($env, $name) = @_; text(delete $kept{$name} ? 'dropped' : 'none') },
    answer => sub {
        my ($env, $name) = @_;
        my $answered = eval { delete($kept{$name})->(text('answered')); 1 };
        return text($answered ? 'yes' : "no: $@");
    },
    # The responder goes with the app's return.
    forget => sub { sub { } },
    # The responder goes in a callback.
    forgets => sub {
        sub { my ($responder) = @_; Gepok::Loop->timer(0.1, sub { undef $responder }); return }
    },
    # A response that is none, in a callback.
    bad => sub {
        sub { my ($responder) = @_; Gepok::Loop->timer(0.1, sub { $responder->([ 'none', [], [] ]) }); return }
    },
    dies => sub {
        sub { my ($responder) = @_; Gepok::Loop->timer(0.1, sub { my $mine = $responder; undef $responder; die "in a callback\n" }); return }
    },
    stream => sub {
        my ($env, $count) = @_;
        return sub {
            my ($responder) = @_;
            my ($writer, $next);
            $next = sub {
                $writer ||= $responder->([ 200, [ 'Content-Type' => 'text/plain' ] ]);
                $writer->write("part $count\n");
                return Gepok::Loop->timer(0.02, $next) if --$count;
                $writer->close;
                undef $next;
                return;
            };
            Gepok::Loop->timer(0.02, $next);
        };
    },
    cleanup => sub {
        my ($env, $file) = @_;
        push @{ $env->{'psgix.cleanup.handlers'} }, sub { open my $out, '>', "/$file" or die "$file: $!"; print $out $open };
        return sub {
            my ($responder) = @_;
            $open++;
            Gepok::Loop->timer(0.3, sub { $responder->(text('later')); $open = 'over' });
        };
    },
    signal => sub { $SIG{USR1} = sub { $kept{signalled} = 1 }; text($$) },
    signalled => sub { text($kept{signalled} ? 'yes' : 'no') },
    exit => sub { sub { my ($responder) = @_; Gepok::Loop->timer(0.1, sub { exit 3 }); $kept{exit} = $responder; return } },
    spin => sub { sub { my ($responder) = @_; Gepok::Loop->timer(0.1, sub { 1 while 1; $responder }); return } },
    leave => sub { my ($env) = @_; $env->{'psgix.harakiri.commit'} = 1; text("leaves $$") },
);

sub {
    my ($env) = @_;
    my ($name, $argument) = $env->{PATH_INFO} =~ m{\A/(\w+)(?:/(.*))?\z} or return text('?');
    return $does{$name}->($env, $argument);
};
