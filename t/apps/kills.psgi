# Notes each request that really runs, then takes its time in one of several ways: workers are killed meanwhile.
use strict;
use warnings;

use Fcntl       qw(O_APPEND O_CREAT O_WRONLY);
use Time::HiRes qw(sleep);

sysopen my $runs, $ENV{GEPOK_TEST_RUNS}, O_WRONLY | O_APPEND | O_CREAT or die "$ENV{GEPOK_TEST_RUNS}: $!";

my %answer = (
    quick => sub { [200, [], [$_[0]]] },
    busy  => sub { sleep rand 0.004; [200, [], [$_[0]]] },
    large => sub { [200, [], [$_[0] . 'x' x 300_000]] },
    late  => sub {
        my $text = shift;
        sub { sleep rand 0.002; $_[0]->([200, [], [$text]]) }
    },
    stream => sub {
        my $text = shift;
        sub {
            my $writer = $_[0]->([200, []]);
            $writer->write($text);
            for (1 .. 5) { sleep rand 0.001; $writer->write('x' x 1000) }
            $writer->close;
        };
    },
);

sub {
    my $env = shift;
    my ($form, $number) = $env->{PATH_INFO} =~ m{^/(\w+)/(\d+)$} or return [200, [], [$$]];
    # One write: lines of several workers can't mix.
    syswrite $runs, "$number $$\n";
    my $content = '';
    1 while $env->{'psgi.input'}->read($content, 65536, length $content);
    return [500, [], ['another content']] if $content ne $number x (length($content) / length $number);
    return $answer{$form}->("$number $$\n");
};
