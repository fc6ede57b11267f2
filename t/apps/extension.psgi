# The extensions of PSGI that Gepok has; the path names the case.
use strict;
use warnings;
use Time::HiRes qw(sleep time);

my $calls = 0;

sub wait_for {
    my $path  = shift;
    my $limit = time + 60;
    until (-e $path) { die "waited in vain for $path\n" if time > $limit; sleep 0.01 }
}

sub spew { open my $file, '>>', $_[0] or die $!; print {$file} $_[1]; close $file }

my %cases = (
    'plain'    => sub { [200, [], [$$]] },
    'harakiri' => sub { $_[0]{'psgix.harakiri.commit'} = 1; [200, [], [$$]] },
    'harakiri-streamed' => sub {
        my $env = shift;
        sub {
            my $writer = $_[0]->([200, []]);
            $writer->write($$);
            $env->{'psgix.harakiri.commit'} = 1;
            $writer->close;
        }
    },
    'harakiri-declined' => sub { $_[0]{'psgix.harakiri.commit'} = 0; [200, [], [$$]] },
    'inform' => sub {
        my $env = shift;
        $env->{'psgix.informational'}->(100, ['foo' => '123', 'bar' => '456']);
        $env->{'psgix.informational'}->(103, ['Link' => '</a.css>; rel=preload', 'liNK' => '</b.js>', 'X-z' => '']);
        $env->{'psgix.informational'}->(102, []);
        [200, ['Content-Type' => 'text/plain'], ['final']]
    },
    'inform-then-wait' => sub {
        my $env = shift;
        $env->{'psgix.informational'}->(103, [Link => '</a.css>']);
        wait_for($env->{QUERY_STRING});
        [200, [], ['final']]
    },
    'inform-late' => sub {
        my $env = shift;
        sub {
            my $writer = $_[0]->([200, []]);
            my $died = eval { $env->{'psgix.informational'}->(103, [Link => '</a>']); 0 } // 1;
            $writer->write("died:$died");
            $writer->close;
        }
    },
    'inform-wrong' => sub {
        my $env = shift;
        my @died = map { my $args = $_; eval { $env->{'psgix.informational'}->(@$args); 1 } ? 0 : 1 }
            [200, []], [99, []], [103, ['A' => "b\r\nX-Injected: c"]], [103, ["A\n" => 'b']];
        [200, [], [join ',', @died]]
    },
    # Cleanup starts when the test says so, and tells that it ran.
    'cleanup' => sub {
        my $env  = shift;
        my $path = $env->{QUERY_STRING};
        push @{$env->{'psgix.cleanup.handlers'}},
            sub { wait_for("$path-go"); spew($path, "first:$_[0]{PATH_INFO} ") },
            sub { die "a cleanup handler died\n" },
            sub { spew($path, "second:$$") };
        [200, ['Content-Type' => 'text/plain'], ['answered']]
    },
    'cleanup-harakiri' => sub {
        my $env  = shift;
        my $path = $env->{QUERY_STRING};
        push @{$env->{'psgix.cleanup.handlers'}}, sub {
            spew($path, 'ran');
            $env->{'psgix.harakiri.commit'} = 1;
        };
        [200, [], [$$]]
    },
    'cleanup-endless' => sub {
        my $env = shift;
        push @{$env->{'psgix.cleanup.handlers'}}, sub { spew($_[0]{QUERY_STRING}, 'ran') };
        sub {
            my $writer = $_[0]->([200, []]);
            my $limit  = time + 60;
            sleep 0.01 while $writer->write('e' x 10_000) && time < $limit;
        }
    },
    'cleanup-supported' => sub {
        my $env = shift;
        [200, [], [join ',', $env->{'psgix.cleanup'} ? 1 : 0, ref $env->{'psgix.cleanup.handlers'}]]
    },
    'buffered' => sub { [200, [], [$_[0]{'psgix.input.buffered'} ? 1 : 0]] },
    'errors'   => sub { $_[0]{'psgi.errors'}->print("to ", "errors: $$\n"); [200, [], ['x']] },
    'errors-printf' => sub { my $e = $_[0]{'psgi.errors'}; printf $e "%s\n", 'by printf'; [200, [], ['x']] },
);

sub {
    my $env = shift;
    my ($name) = $env->{PATH_INFO} =~ m{^/([a-z-]+)} or return [404, [], []];
    return $cases{$name}->($env);
};
