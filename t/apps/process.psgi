# For tests of processes: tells its pid, works as long as a file is missing, ends as it is told.
use strict;
use warnings;
use Time::HiRes qw(sleep time);

# Seeds the generator before any fork: workers that don't seed anew would all draw the same numbers.
my $before_fork = rand;

sub {
    my $env  = shift;
    my $path = $env->{PATH_INFO};
    my $arg  = $env->{QUERY_STRING};
    if ($path eq '/work') {
        # "started" is made first, then it works until "go" is there.
        open my $file, '>', "$arg-started" or die $!;
        print {$file} $$;
        close $file;
        my $limit = time + 200;
        sleep 0.01 until -e "$arg-go" || time > $limit;
        return [200, ['X-Random' => rand], ["done by $$"]];
    }
    if ($path eq '/stream') {
        return sub {
            my $writer = $_[0]->([200, []]);
            $writer->write("from $$");
            my $limit = time + 200;
            sleep 0.01 until -e "$arg-go" || time > $limit;
            $writer->write(' end');
            $writer->close;
        };
    }
    exit $arg if $path eq '/exit';
    kill KILL => $$ if $path eq '/suicide';
    return [200, ['Content-Type' => 'text/plain'], [$$]];
};
