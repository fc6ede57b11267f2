# The source keeps its shape: a file's first line says what it is for. (What a layer may know is in
# tests/layers.rs.)
use strict;
use warnings;

use File::Find qw(find);
use Test::More;

use Gepok::Test;

my @files;
find({no_chdir => 1, wanted => sub { push @files, $_ if /\.rs$/ }}, root() . '/src');
ok @files > 20, 'there is a source to look at';

for my $path (sort @files) {
    open my $file, '<', $path or die "$path: $!";
    my @lines = <$file>;
    (my $name = $path) =~ s{.*/src/}{};

    like $lines[0], qr{^//! \S}, "$name: its first line says what it is for";
}

# Nothing of the machine it was written on.
for my $path (sort @files) {
    open my $file, '<', $path or die "$path: $!";
    my @found = grep {m{(?<![\w/.])/(?:root|home)/\w}} <$file>;
    is scalar @found, 0, 'no path of a home folder' or diag "$path: @found" if @found;
}

# What README and CONTRIBUTING point to is there.
for my $page (qw(README.md CONTRIBUTING.md)) {
    open my $file, '<', root() . "/$page" or die "$page: $!";
    my $text = do { local $/; <$file> };
    my %targets = map { $_ => 1 } grep { !/^https?:/ } $text =~ /\]\(([^)#]+)/g, $text =~ /`((?:docs|t|src)\/[\w.\/-]+)`/g;
    ok -e root() . "/$_", "$page: $_ is there" for sort keys %targets;
}

# POD that perldoc shows without complaints.
require Pod::Checker;
my @pods;
find({no_chdir => 1, wanted => sub { push @pods, $_ if /\.(?:pm|pod)$/ }}, root() . '/perl/lib');
for my $path (sort @pods) {
    my $checker = Pod::Checker->new(-warnings => 1);
    open my $complaints, '>', \my $text or die $!;
    $checker->parse_from_file($path, $complaints);
    cmp_ok $checker->num_errors, '<=', 0, "$path: its POD" or diag $text;
}

done_testing;
