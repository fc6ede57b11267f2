# Lines of the error log: messages of the app by psgix.logger, and how it has failed.
package Gepok::Logger;

use strict;
use warnings;

our $VERSION = '0.300';

# PSGI::Extensions names these.
my %RANK = (debug => 0, info => 1, warn => 2, error => 3, fatal => 4);

# The least level of this process's lines.
my $rank = 0;

# The logger of a worker; messages below the level are dropped. There is one for all requests.
sub logger {
    my ($least) = @_;
    $rank = exists $RANK{$least} ? $RANK{$least} : 5;
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

# The line about an app that has failed, and about the request that it was to answer, where there was one; an empty text
# where the level drops it.
sub failure {
    my ($request, $message) = @_;
    return '' if $RANK{error} < $rank;
    if (defined $request) {
        # A client chooses its bytes, and how many there are.
        substr $request, 200, length $request, '...' if length $request > 200;
        $request =~ s/([^\x20-\x7e])/sprintf '\\x%02x', ord $1/ge;
        $message = "$request: $message";
    }
    return _line('error', $message);
}

# As Gepok's own lines; UTC, so that the lines of all processes are in one order. No message can begin a line that
# looks like another's: lines of a message behind its first are indented, and control characters are shown.
sub _line {
    my ($level, $message) = @_;
    utf8::encode($message) if utf8::is_utf8($message);
    $message =~ s/\n+\z//;
    $message =~ s/([\x00-\x08\x0b-\x1f\x7f])/sprintf '\\x%02x', ord $1/ge;
    # So are Unicode's line ends and what turns the direction of text: in UTF-8, U+0080 to U+009F, U+061C, U+200B to U+200F,
    # U+2028 to U+202E, U+2060 to U+206F.
    $message =~ s/(\xc2[\x80-\x9f]|\xd8\x9c|\xe2\x80[\x8b-\x8f\xa8-\xae]|\xe2\x81[\xa0-\xaf])/join '', map { sprintf '\\x%02x', ord } split m{}, $1/ge;
    $message =~ s/\n/\n\t/g;
    my ($second, $minute, $hour, $day, $month, $year) = gmtime;
    return sprintf "[%04d-%02d-%02d %02d:%02d:%02d] [%d] [%s] %s\n", $year + 1900, $month + 1, $day, $hour, $minute,
        $second, $$, $level, $message;
}

1;
