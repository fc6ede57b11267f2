# What the process was started with: its command, and the sockets that a supervisor has handed in.
package Gepok::Start;

use strict;
use warnings;

our $VERSION = '0.300';

# The pid, the folder and the words of the command; without its words it can't restart.
sub command {
    open my $file, '<', '/proc/self/cmdline' or return;
    my @words = split /\0/, do { local $/; scalar <$file> }, -1;
    pop @words;
    # Who sets $0, as plackup does when it loads an app, overwrites them.
    @words = -f $0 ? ($^X, (map {"-I$_"} grep { !ref } @INC), $0, @ARGV) : () if @words < 2;
    my $folder = _folder(@ARGV);
    return @words ? $$ : '', $folder, @words;
}

# The folder that the program was started in, as the shell names it. plackup loads the app before this file: if that has changed
# the folder, the shell's is the one where the files are that the command line names.
sub _folder {
    my @words = @_;
    my $here  = readlink '/proc/self/cwd';
    my $named = $ENV{PWD};
    return $here unless defined $named && $named =~ m{\A/} && -d $named;
    my @same = map { join ':', (stat)[0, 1] } $named, '.';
    return $named if $same[0] eq $same[1];
    my $moved = grep { !m{\A(?:/|-)} && !-e "$here/$_" && -f "$named/$_" } grep {length} @words;
    return $moved ? $named : $here;
}

# Copies of the sockets that a supervisor has handed in, by their numbers: the program may close what it has opened on them.
sub sockets {
    my %copies;
    # A server that restarts has its sockets already.
    return \%copies if defined $ENV{GEPOK_HANDOVER};
    my @numbers;
    if (defined $ENV{SERVER_STARTER_PORT}) {
        @numbers = $ENV{SERVER_STARTER_PORT} =~ /=([0-9]{1,6})(?=;|\z)/g;
    }
    elsif (($ENV{LISTEN_PID} || '') eq $$ && ($ENV{LISTEN_FDS} || '') =~ /\A([0-9]{1,4})\z/) {
        @numbers = (3 .. 2 + $1);
    }
    for my $number (@numbers) {
        open my $copy, '+<&', $number or next;
        $copies{$number} = $copy;
    }
    return \%copies;
}

1;
