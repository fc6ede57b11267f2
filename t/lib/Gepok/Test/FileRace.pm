package Gepok::Test::FileRace;

# Requests for files while these, their directories and links are swapped: for script/file-race and t/49-file-race.t.

use strict;
use warnings;

use Time::HiRes qw(sleep);

use Gepok::Test;

# No response may have this.
my $SECRET = 'secret of the system ';
my $INSIDE = 'inside of the root ';

my @TARGETS = qw(/x /x.txt /d/f.txt /d/e/up.txt /d/e/f.txt /d/ /app);

# A server over a folder `root`, beside which is a folder `outside` that nobody may see. The app names files by X-Sendfile.
sub start {
    my $folder = scratch();
    mkdir "$folder/$_" or die $! for qw(root outside root/d root/d/e outside/d outside/d/e);
    put("$folder/outside/$_", $SECRET) for qw(x x.txt x.txt.gz f.txt d/f.txt d/e/up.txt d/e/f.txt index.html);
    put("$folder/root/$_",    $INSIDE) for qw(x x.txt x.txt.gz d/f.txt d/e/f.txt a.txt);
    symlink '../../a.txt', "$folder/root/d/e/up.txt" or die $!;
    my $app = "my \$n = 0; my \@names = qw(x x.txt d/f.txt d/e/f.txt);
        sub { [200, ['X-Sendfile' => '$folder/root/' . \$names[\$n++ % \@names]], []] }";
    my $server = server(app => $app, options => {
        directory => "/=$folder/root", directory_list => 1, sendfile_root => "$folder/root", start_servers => 1, fallback => 'app', log_level => 'error',
    });
    return ($folder, $server);
}

# Sizes differ, so that a mixture would show.
sub put {
    my ($path, $text) = @_;
    my $content = $text x (1 + int rand 2000);
    open my $file, '>', $path or die "$path: $!";
    print $file $content;
    close $file or die $!;
}

# Swaps for ever: a file and a link that leads out, a variant likewise, a directory and a link, a directory and its absence.
sub swap {
    my ($folder) = @_;
    my $root = "$folder/root";
    while (1) {
        for my $name (qw(x x.txt x.txt.gz)) {
            symlink "../outside/$name", "$root/.new" or die $!;
            rename "$root/.new", "$root/$name" or die $!;
            put("$root/.new", $INSIDE);
            rename "$root/.new", "$root/$name" or die $!;
        }
        for my $name (qw(d d/e)) {
            rename "$root/$name", "$root/.moved" or die $!;
            symlink "$folder/outside/$name", "$root/$name" or die $!;
            unlink "$root/$name" or die $!;
            symlink $name eq 'd' ? '../outside/d' : '../../outside/d/e', "$root/$name" or die $!;
            unlink "$root/$name" or die $!;
            rename "$root/.moved", "$root/$name" or die $!;
        }
        # A walk that goes up by the link in it may be there just now.
        rename "$root/d/e", "$folder/outside/moved" or die $!;
        rename "$folder/outside/moved", "$root/d/e" or die $!;
    }
}

# Sends so many requests, and counts what comes.
sub ask {
    my ($server, $count) = @_;
    my %seen = (requests => 0, leaked => 0, wrong => 0);
    my $connection = $server->connect;
    while ($seen{requests} < $count) {
        my $batch = 50;
        $connection->send(join '', map {
            my $target = $TARGETS[rand @TARGETS];
            my $more   = rand() < 0.5 ? "Accept-Encoding: gzip\r\n" : '';
            "GET $target HTTP/1.1\r\nHost: x\r\n$more\r\n";
        } 1 .. $batch);
        for (1 .. $batch) {
            my $got = eval { $connection->response('GET') };
            # A file that becomes shorter cuts its connection.
            if (!$got) {
                $seen{cut}++;
                $connection = $server->connect;
                last;
            }
            $seen{requests}++;
            $seen{$got->status}++;
            $seen{leaked}++ if $got->content =~ /\Q$SECRET/;
            next if $got->status != 200 || ($got->field('Content-Type') // '') =~ /html/;
            $seen{wrong}++ unless $got->content =~ /^(?:\Q$INSIDE\E)+$/;
        }
    }
    return \%seen;
}

# All of it: returns what was counted.
sub run {
    my (%how) = @_;
    my ($folder, $server) = start();
    my ($core) = $server->descendants;
    my $trace = "$folder/trace";
    my @children;
    if ($how{strace}) {
        push @children, child(sub {
            exec 'strace', '-f', '-qq', '-y', '-e', 'trace=open,openat,openat2,creat,open_by_handle_at', '-o', $trace, '-p', $core or die $!;
        });
        soon { traced($core) };
    }
    push @children, child(sub { swap("$folder") });
    my $seen = eval { ask($server, $how{requests}) };
    my $error = $@;
    kill KILL => @children[1 .. $#children] if $how{strace};
    kill $how{strace} ? 'TERM' : 'KILL', $children[0];
    waitpid $_, 0 for @children;
    die $error unless $seen;
    judge($seen, $trace, "$folder") if $how{strace};
    return $seen;
}

sub child {
    my ($code) = @_;
    my $pid = fork // die $!;
    return $pid if $pid;
    $code->();
    require POSIX;
    POSIX::_exit(0);
}

sub traced {
    my ($pid) = @_;
    open my $file, '<', "/proc/$pid/status" or return 0;
    return scalar grep {/^TracerPid:\s*[1-9]/} <$file>;
}

# Looks at each open of the core: the root itself by its path, all else beneath a descriptor of it.
sub judge {
    my ($seen, $trace, $folder) = @_;
    @{$seen}{qw(opens bad)} = (0, []);
    open my $file, '<', $trace or die "$trace: $!";
    while (my $line = <$file>) {
        next unless $line =~ /\b(?:open|openat|openat2|creat|open_by_handle_at)\(/;
        # What the process itself has: its own memory's statistics, time zone, the system's random numbers.
        next if $line =~ m{"/(?:proc|sys|dev|usr|etc)/};
        $seen->{opens}++;
        my $is_root = $line =~ /openat2\(AT_FDCWD[^,]*, "\Q$folder\E\/root", \{flags=[A-Z_|]*\bO_PATH\b/ && $line =~ /\bO_DIRECTORY\b/;
        my $beneath = $line =~ /openat2\(\d+[^"]*"[^\/"][^"]*", .*resolve=[A-Z_|]*\bRESOLVE_BENEATH\b/;
        # The path that a descriptor has got.
        my $secret  = $line =~ m{= \d+<\Q$folder\E/outside/(?!moved)};
        push @{$seen->{bad}}, $line if $secret || !$is_root && !$beneath;
    }
}

1;
