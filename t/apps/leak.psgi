# Every form of response, as small as it can be: script/leak-check and t/18-leaks.t ask for each very often.
use strict;
use warnings;

# One failure is as good as a million.
close STDERR if $ENV{GEPOK_TEST_QUIET};
open STDERR, '>', '/dev/null' if $ENV{GEPOK_TEST_QUIET};

package Lines {
    sub new     { my ($class, @lines) = @_; bless \@lines, $class }
    sub getline { shift @{$_[0]} }
    sub close   { }
}

package Error { sub new { bless {text => 'x' x 100}, $_[0] } }

my @type = ('Content-Type' => 'text/plain');
my ($kept, $self) = __FILE__;

my %forms = (
    array     => sub { [200, [@type], ['a', 'b']] },
    handle    => sub { open my $file, '<', $kept or die $!; [200, [@type], $file] },
    memory    => sub { open my $file, '<', \'text' or die $!; [200, [@type], $file] },
    object    => sub { [200, [@type], Lines->new('a', 'b')] },
    delayed   => sub {
        sub { $_[0]->([200, [@type], ['a', 'b']]) }
    },
    streaming => sub {
        sub { my $writer = $_[0]->([200, [@type]]); $writer->write($_) for 'a', 'b'; $writer->close }
    },
    kept => sub {
        # The last writer and env, each replaced by the next.
        my $env = shift;
        sub { my $writer = $_[0]->([200, [@type]]); $writer->write('a'); $writer->close; $self = [$env, $writer, $_[0]] }
    },
    dying     => sub { die Error->new },
    'dying-string' => sub { die "text\n" },
    'dying-delayed' => sub {
        sub { die "text\n" }
    },
    'dying-streaming' => sub {
        sub { my $writer = $_[0]->([200, [@type]]); $writer->write('a'); die "text\n" }
    },
    'no-response' => sub { [200, ['X-Odd']] },
    cleanup   => sub { push @{$_[0]{'psgix.cleanup.handlers'}}, sub { die "text\n" }; [200, [@type], ['a']] },
    wide      => sub { no warnings 'utf8'; [200, [@type, 'X-A' => "\x{e9}\x{263a}"], ["\x{263a}"]] },
    informational => sub { $_[0]{'psgix.informational'}->(103, [Link => '</a>']); [200, [@type], ['a']] },
    post      => sub {
        my $env = shift;
        read $env->{'psgi.input'}, my $content, $env->{CONTENT_LENGTH};
        [200, [@type], [length $content]];
    },
    'post-unread' => sub { [200, [@type], ['a']] },
    'post-large'  => sub {
        my $env = shift;
        1 while read $env->{'psgi.input'}, my $content, 65536;
        [200, [@type], ['a']];
    },
);

sub {
    my ($form) = $_[0]{PATH_INFO} =~ m{^/([a-z-]+)} or return [404, [], []];
    return [200, [], [$$]] if $form eq 'pid';
    my $code = $forms{$form} or return [404, [], []];
    goto &$code;
};
