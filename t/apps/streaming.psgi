# Delayed and streaming responses; the path names the case. Files named in the query are how a test and an app meet.
use strict;
use warnings;
use Time::HiRes qw(sleep time);

my @type = ('Content-Type' => 'text/plain');
my ($kept_responder, $kept_writer);
my $destroyed = 0;

sub wait_for {
    my $path  = shift;
    my $limit = time + 60;
    until (-e $path) { die "waited in vain for $path\n" if time > $limit; sleep 0.01 }
}

package Guard { sub new { bless [], shift } sub DESTROY { $destroyed++ } }

my %cases = (
    'delayed' => sub { my $env = shift; sub { $_[0]->([200, [@type], ['delayed ', $env->{PATH_INFO}]]) } },
    'delayed-glob' => sub {
        sub { open my $h, '<', \"from a handle" or die; $_[0]->([200, [@type], $h]) }
    },
    'writer' => sub {
        sub {
            my $writer = $_[0]->([200, [@type]]);
            $writer->write($_) for 'one ', '', 'two ', undef, 0;
            $writer->close;
        }
    },
    'writer-length' => sub {
        sub {
            my $writer = $_[0]->([200, [@type, 'Content-Length' => 6]]);
            $writer->write('abc') for 1, 2;
            $writer->close;
        }
    },
    # Plack::Util::response_cb calls `write` with whatever a filter returns: nothing, or a list.
    'writer-arguments' => sub {
        my $env = shift;
        sub {
            my ($respond) = @_;
            $env->{'psgix.informational'}->(103, [Link => '</a>; rel=preload'], 'more') if $env->{'psgix.informational'};
            my $w = $respond->([200, [@type]], 'more');
            $w->write();
            $w->write('one ', 'ignored');
            $w->write('gone ' . ($env->{'psgix.client_gone'} ? $env->{'psgix.client_gone'}->('more') : 0));
            $w->close('more');
        }
    },
    'filter-empty' => sub {
        require Plack::Util;
        my $app = sub { sub { my $w = $_[0]->([200, [@type]]); $w->write($_) for qw(a b c); $w->close } };
        Plack::Util::response_cb($app->(), sub { sub { return unless defined $_[0]; return if $_[0] eq 'b'; return ($_[0], 'more') } });
    },
    'writer-empty' => sub { sub { $_[0]->([200, [@type]])->close } },
    'writer-twice-closed' => sub { sub { my $w = $_[0]->([200, [@type]]); $w->write('x'); $w->close; $w->close } },
    'writer-after-close' => sub {
        sub { my $w = $_[0]->([200, [@type]]); $w->write('x'); $w->close; eval { $w->write('more') }; }
    },
    'writer-dropped' => sub { sub { my $w = $_[0]->([200, [@type]]); $w->write('dropped'); return } },
    'writer-kept'    => sub { sub { $kept_writer = $_[0]->([200, [@type]]); $kept_writer->write('kept ') } },
    # More than a worker may send ahead, by pieces that other requests write.
    'write-kept-writer' => sub { $kept_writer->write('k' x 64_000) for 1 .. 2; [200, [@type], ['written']] },
    'drop-kept-writer' => sub { undef $kept_writer; [200, [@type], ['dropped']] },
    'big' => sub {
        sub { my $w = $_[0]->([200, [@type]]); $w->write('z' x 50_000) for 1 .. 100; $w->close }
    },
    'many' => sub {
        sub { my $w = $_[0]->([200, [@type]]); $w->write('m') for 1 .. 5000; $w->close }
    },
    # Says "first", then waits until the client has told that it got that.
    'first-then' => sub {
        my $env = shift;
        sub {
            my $w = $_[0]->([200, [@type]]);
            $w->write('first');
            wait_for($env->{QUERY_STRING});
            $w->write('then');
            $w->close;
        }
    },
    'head-first' => sub {
        my $env = shift;
        sub {
            my $w = $_[0]->([200, [@type, 'X-Early' => 1]]);
            wait_for($env->{QUERY_STRING});
            $w->write('late');
            $w->close;
        }
    },
    # Writes until the client has gone; the file tells how it learnt of it.
    'endless' => sub {
        my $env = shift;
        sub {
            my $w     = $_[0]->([200, [@type]]);
            my $limit = time + 60;
            my $how   = 'never';
            while (time < $limit) {
                my $ok = eval { $w->write('e' x 10_000) };
                if ($@ || (defined $ok && !$ok)) { $how = $@ ? 'died' : 'false'; last }
                sleep 0.01;
            }
            open my $file, '>', $env->{QUERY_STRING} or die $!;
            print {$file} $how;
            close $file;
        }
    },
    'never'       => sub { sub { } },
    'never-kept'  => sub { sub { $kept_responder = shift } },
    'twice'       => sub {
        sub {
            my $respond = shift;
            $respond->([200, [@type], ['once']]);
            eval { $respond->([200, [@type], ['twice']]); 1 } or return;
        }
    },
    'dies-before' => sub { sub { die "before the head\n" } },
    'dies-behind' => sub { sub { my $w = $_[0]->([200, [@type]]); $w->write('some'); die "behind the head\n" } },
    'no-content'  => sub { sub { my $w = $_[0]->([204, []]); $w->write('never sent'); $w->close } },
    'freed'       => sub {
        my $guard = Guard->new;
        sub { my $respond = shift; $respond->([200, [@type], ['freed']]); my $held = $guard }
    },
    'destroyed' => sub { [200, [@type], [$destroyed]] },
    'bad-args'  => sub { sub { $_[0]->('not an array') } },
    'pid'       => sub { [200, [@type], [$$]] },
);

sub {
    my $env = shift;
    my ($name) = $env->{PATH_INFO} =~ m{^/([a-z-]+)} or return [404, [], []];
    return $cases{$name}->($env);
};
