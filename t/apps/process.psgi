# For tests of processes: tells its pid, works as long as a file is missing, ends as it is told.
use strict;
use warnings;
use Time::HiRes qw(sleep time);

sub {
    my $env  = shift;
    my $path = $env->{PATH_INFO};
    my $arg  = $env->{QUERY_STRING};
    if ($path eq '/work') {
        # "started" is made first, then it works until "go" is there.
        open my $file, '>', "$arg-started" or die $!;
        print {$file} $$;
        close $file;
        my $limit = time + 15;
        sleep 0.01 until -e "$arg-go" || time > $limit;
        return [200, [], ["done by $$"]];
    }
    if ($path eq '/stream') {
        return sub {
            my $writer = $_[0]->([200, []]);
            $writer->write("from $$");
            my $limit = time + 15;
            sleep 0.01 until -e "$arg-go" || time > $limit;
            $writer->write(' end');
            $writer->close;
        };
    }
    exit $arg if $path eq '/exit';
    kill KILL => $$ if $path eq '/suicide';
    return [200, ['Content-Type' => 'text/plain'], [rand]] if $path eq '/rand';
    return [200, ['Content-Type' => 'text/plain'], [getppid]] if $path eq '/parent';
    return [200, ['Content-Type' => 'text/plain'], [$$]];
};
