package Gepok::Test::Bytes;

# Content of any length that both sides can make and compare piece by piece: nobody has to hold it.
#
# No two blocks are alike and none can be compressed, so a piece that is lost, repeated, moved or overwritten shows.
# It loads nothing of the tests: the application under test uses it as well.

use strict;
use warnings;

use Digest::SHA qw(sha256 sha512);

# Bytes of a block.
sub BLOCK () {1024 * 1024}

# Of each block of a sparse file only so much is written, the rest is a hole.
sub WRITTEN () {16 * 1024}

my $BASE = join '', map { sha512("base $_") } 1 .. BLOCK / 64;
my $HOLE = "\0" x (BLOCK - WRITTEN);

# The block with that number.
sub block { $BASE ^ (sha256("block $_[0]") x (BLOCK / 32)) }

# The same block as a sparse file has it.
sub sparse_block { substr(block($_[0]), 0, WRITTEN) . $HOLE }

# Writes a sparse file of so many blocks.
sub write_sparse {
    my ($path, $blocks) = @_;
    open my $file, '>:raw', $path or die "$path: $!";
    for my $number (0 .. $blocks - 1) {
        sysseek $file, $number * BLOCK, 0;
        syswrite($file, block($number), WRITTEN) == WRITTEN or die "$path: $!";
    }
    truncate $file, $blocks * BLOCK or die "$path: $!";
    close $file or die "$path: $!";
}

# A judge of content that comes in pieces: `take` them, then ask for the `total`. `sparse` says what to expect.
sub judge {
    my ($class, %args) = @_;
    return bless {total => 0, number => -1, %args}, $class;
}

sub total { $_[0]{total} }

# Dies at the first byte that is not the expected one.
sub take {
    my ($self, $piece) = @_;
    my $at = 0;
    while ($at < length $piece) {
        my $number = int $self->{total} / BLOCK;
        my $offset = $self->{total} % BLOCK;
        if ($number != $self->{number}) {
            $self->{number} = $number;
            $self->{block}  = $self->{sparse} ? sparse_block($number) : block($number);
        }
        my $count = length($piece) - $at;
        $count = BLOCK - $offset if $count > BLOCK - $offset;
        if (substr($piece, $at, $count) ne substr $self->{block}, $offset, $count) {
            my $same = 0;
            $same++ while substr($piece, $at + $same, 1) eq substr $self->{block}, $offset + $same, 1;
            die 'the content differs at byte ' . ($self->{total} + $same) . "\n";
        }
        $self->{total} += $count;
        $at += $count;
    }
}

1;
