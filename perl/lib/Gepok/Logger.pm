# psgix.logger: messages of the app as lines of the error log.
package Gepok::Logger;

use strict;
use warnings;

our $VERSION = '0.300';

# PSGI::Extensions names these.
my %RANK = (debug => 0, info => 1, warn => 2, error => 3, fatal => 4);

# The logger of a worker; messages below the level are dropped. There is one for all requests.
sub logger {
    my ($least) = @_;
    my $rank = exists $RANK{$least} ? $RANK{$least} : 5;
    return sub {
        my ($entry) = @_;
        my $level = defined $entry->{level} ? lc $entry->{level} : 'error';
        # What has no known level is not to be lost.
        $level = 'error' unless exists $RANK{$level};
        return if $RANK{$level} < $rank;
        my $message = $entry->{message};
        $message = '' unless defined $message;
        print STDERR _line($level, "$message");
        return;
    };
}

# As Gepok's own lines; UTC, so that the lines of all processes are in one order. No message can begin a line that
# looks like another's: lines of a message behind its first are indented, and control characters are shown.
sub _line {
    my ($level, $message) = @_;
    utf8::encode($message) if utf8::is_utf8($message);
    $message =~ s/\n+\z//;
    $message =~ s/([\x00-\x08\x0b-\x1f\x7f])/sprintf '\\x%02x', ord $1/ge;
    $message =~ s/\n/\n\t/g;
    my ($second, $minute, $hour, $day, $month, $year) = gmtime;
    return sprintf "[%04d-%02d-%02d %02d:%02d:%02d] [%d] [%s] %s\n", $year + 1900, $month + 1, $day, $hour, $minute,
        $second, $$, $level, $message;
}

1;
