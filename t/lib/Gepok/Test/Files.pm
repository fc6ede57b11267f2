package Gepok::Test::Files;

# Files that a test has the server send.

use strict;
use warnings;

use Exporter qw(import);

our @EXPORT_OK = qw(put);

# Writes a file, and the folders it is in. Its time is fixed unless it is given. Returns the path.
sub put {
    my ($path, $content, $time) = @_;
    (my $folder = $path) =~ s{/[^/]*$}{};
    system 'mkdir', '-p', $folder;
    open my $file, '>:raw', $path or die "$path: $!";
    print $file $content;
    close $file or die $!;
    utime $time // 1e9, $time // 1e9, $path or die $!;
    return $path;
}

1;
