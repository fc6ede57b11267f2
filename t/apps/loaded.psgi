# What an app sees while it is loaded and later: told as JSON. END blocks, a log, a database handle and random numbers
# are what a preloaded app brings into its workers.
use strict;
use warnings;
use FindBin ();
use JSON::PP ();
use Time::HiRes qw(sleep time);

my $folder = $ENV{GEPOK_TEST_FOLDER};
my %loaded = (
    pid     => $$,
    time    => time,
    name    => $0,
    bin     => $FindBin::Bin,
    file    => __FILE__,
    words   => [@ARGV],
    data    => join('', <DATA>),
    perl    => $^X,
    env     => $ENV{PLACK_ENV},
    package => __PACKAGE__,
);

sub append { my ($file, $text) = @_; open my $out, '>>', "$folder/$file" or return; syswrite $out, $text }

append('loads', "$$\n");
END { append('ends', "$$ $?\n") if $folder }

# Not flushed: this line must not come out of each process that inherits the buffer.
open my $log, '>>', "$folder/log" or die $!;
print {$log} "loaded\n";

# Draws a number, so that the generator is seeded before any fork.
my $drawn = rand;

my $dbh;
if (eval { require DBD::SQLite }) {
    $dbh = DBI->connect("dbi:SQLite:dbname=$folder/db", '', '', {RaiseError => 1, PrintError => 0, AutoInactiveDestroy => 1});
    $dbh->do('CREATE TABLE IF NOT EXISTS seen (pid INTEGER, number INTEGER)');
    $dbh->do('PRAGMA busy_timeout = 10000');
}

sub json { [200, ['Content-Type' => 'application/json'], [JSON::PP::encode_json($_[0])]] }

sub {
    my $env = shift;
    my ($path, $query) = @$env{qw(PATH_INFO QUERY_STRING)};
    if ($path eq '/meet') {
        # Answered when so many workers work at once.
        my ($name, $count) = split /=/, $query;
        my $limit = time + 10;
        append("meet-$name", "x\n");
        sleep 0.005 until -s "$folder/meet-$name" >= 2 * $count || time > $limit;
    }
    if ($path eq '/insert') {
        $dbh->do('INSERT INTO seen VALUES (?, ?)', undef, $$, $query);
        return json([$dbh->selectrow_array('SELECT COUNT(*) FROM seen')]);
    }
    print {$log} "$path $$\n";
    $log->flush if $query eq 'flush';
    if ($path eq '/seeded') { srand 42; return json([map { int rand 1e9 } 1 .. 3]) }
    return json({
        %loaded,
        now    => $$,
        random => rand,
        status => system($^X, '-e', 'exit 3'),
        debug  => $^P,
    });
};

__DATA__
data of the app
