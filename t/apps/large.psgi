# Large contents in both directions, made and judged block by block.
use strict;
use warnings;

use File::Basename qw(dirname);
use lib dirname(__FILE__) . '/../lib';

use Gepok::Test::Bytes;

# What a getline or a write hands over at once.
my $PIECE = 64 * 1024;

package Blocks {
    sub new { my ($class, $blocks) = @_; bless {blocks => $blocks, number => 0, at => 0}, $class }

    sub getline {
        my $self = shift;
        return undef if $self->{number} == $self->{blocks};
        $self->{block} = Gepok::Test::Bytes::block($self->{number}) if !$self->{at};
        my $piece = substr $self->{block}, $self->{at}, $PIECE;
        $self->{at} = ($self->{at} + $PIECE) % Gepok::Test::Bytes::BLOCK;
        $self->{number}++ if !$self->{at};
        return $piece;
    }

    sub close { }
}

my %answer = (
    pid => sub { [200, [], [$$]] },

    file => sub {
        open my $file, '<:raw', $ENV{GEPOK_TEST_FILE} or die "$ENV{GEPOK_TEST_FILE}: $!";
        [200, ['Content-Length' => -s $file], $file];
    },

    getline => sub { [200, [], Blocks->new($_[1])] },

    writer => sub {
        my $blocks = Blocks->new($_[1]);
        sub {
            my $writer = $_[0]->([200, []]);
            while (defined(my $piece = $blocks->getline)) { $writer->write($piece) }
            $writer->close;
        };
    },

    upload => sub {
        my $env   = shift;
        my $judge = Gepok::Test::Bytes->judge;
        while ($env->{'psgi.input'}->read(my $piece, $PIECE)) {
            eval { $judge->take($piece); 1 } or return [200, [], [$@]];
        }
        [200, [], [$judge->total . ' of ' . ($env->{CONTENT_LENGTH} // 'no length')]];
    },
);

sub {
    my $env = shift;
    my ($form, $blocks) = $env->{PATH_INFO} =~ m{^/(\w+)(?:/(\d+))?$};
    $answer{$form}->($env, $blocks);
};
