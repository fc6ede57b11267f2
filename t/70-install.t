# `make install` puts everything where perl, the shell and man find it, under DESTDIR, under INSTALL_BASE and as a vendor's
# package; then `plackup -s Gepok` works from any folder. `make dist` makes a tarball of all that belongs to a release.
use strict;
use warnings;

use Config;
use File::Find qw(find);
use Test::More;

use Gepok::Test;

gepok_only();

my $root   = root();
my $make   = $Config{make} || 'make';
my $folder = scratch();

sub files {
    my @files;
    find(sub { push @files, $File::Find::name if -f }, $_[0]);
    return @files;
}

# MakeMaker writes into the current folder, where other tests are running: this one has a copy.
mkdir "$folder/copy" or die $!;
is system('cp', '-Rp', (grep {-e} map {"$root/$_"} qw(perl script blib pm_to_blib Makefile.PL)), "$folder/copy"), 0,
    'a copy';
for my $case (['DESTDIR', [], ["DESTDIR=$folder/dest"], "$folder/dest"],
    ['INSTALL_BASE', ["INSTALL_BASE=$folder/base"], [], "$folder/base"],
    ['INSTALLDIRS=vendor', ['INSTALLDIRS=vendor'], ["DESTDIR=$folder/vendor"], "$folder/vendor"])
{
    my ($name, $configure, $install, $where) = @$case;
    # A perl of one's own has no folder of a vendor's.
    next if $name =~ /vendor/ && !$Config{usevendorprefix};
    check $name => sub {
        my ($status, $output) = run_command([$^X, 'Makefile.PL', @$configure], dir => "$folder/copy");
        is $status, 0, 'perl Makefile.PL' or diag $output;
        # As sudo has it: cargo may be in the home of the user who has built everything.
        ($status, $output) = run_command(['env', 'PATH=/usr/bin:/bin', "HOME=$folder", $make, 'CARGO=/nowhere/cargo', 'install', @$install],
            dir => "$folder/copy", seconds => 300);
        is $status, 0, 'make install' or diag $output;
        unlike $output, qr/cargo|Compiling/, 'compiles nothing';
        my @files = files($where);
        for my $part ("auto/Gepok/Gepok.$Config{dlext}", 'Gepok.pm', 'Plack/Handler/Gepok.pm', 'bin/gepok') {
            is scalar(grep {m{(?<!Handler)/\Q$part\E$}} @files), 1, "$part is installed, once";
        }
        # A perl may have been installed without manual pages.
        my @pages = qw(man3/Gepok.3 man3/Gepok::Options.3 man3/Plack::Handler::Gepok.3 man1/gepok.1);
        for my $page (($Config{installman1dir} // '') =~ m{/} ? @pages : ()) {
            my ($found) = grep {m{/\Q$page\E\w*$}} @files;
            ok $found && -s $found, "$page is a manual page";
        }

        my ($command) = grep {m{/bin/gepok$}} @files;
        my ($module)  = grep {m{/Gepok\.pm$} && !m{/Handler/}} @files;
        if ($name =~ /vendor/) {
            is $module, "$where$Config{vendorarch}/Gepok.pm", "in the vendor's folder";
            is $command, "$where$Config{vendorbin}/gepok", 'and the command too';
        }
        ok -x $command, 'the command can be run';
        ($status, $output) = run_command([$command, '--version'], dir => '/');
        is $status, 0, 'and runs';

        (my $library = $module) =~ s{/Gepok\.pm$}{};
        my $port = free_port();
        my @plackup = ($^X, "-I$library", Gepok::Test::Server::plackup());
        my $server = server(command => [@plackup, '-s', 'Gepok', '-E', 'deployment', '-o',
            '127.0.0.1', '-p', $port, '-e', 'sub { [200, [], [$INC{"Gepok.pm"}]] }'], listen => 'none', port => $port,
            dir => '/');
        is $server->get('/')->content, $module, 'plackup -s Gepok works with what was installed, from /';
        is $server->stop, 0, 'and ends';
    };
}

check 'make dist' => sub {
    mkdir "$folder/tree" or die $!;
    my ($status, $output) = run_command(['sh', '-c', 'tar -cf - --exclude=./.git --exclude=./blib --exclude="./target*" . '
        . '| tar -xf - -C "$0"', "$folder/tree"], dir => $root);
    is $status, 0, 'a copy of the checkout' or return diag $output;
    for my $command ([$^X, 'Makefile.PL'], [$make, 'dist']) {
        ($status, $output) = run_command($command, dir => "$folder/tree", seconds => 300);
        is $status, 0, "@$command" or return diag $output;
    }
    my ($tarball) = glob "$folder/tree/Gepok-*.tar.gz";
    ok $tarball, 'makes a tarball' or return;
    mkdir "$folder/release" or die $!;
    ($status, $output) = run_command(['tar', '-xzf', $tarball, '--strip-components=1', '-C', "$folder/release"]);
    is $status, 0, 'that can be unpacked';
    my %released = map { s{^\Q$folder\E/release/}{}r => 1 } files("$folder/release");
    ok $released{$_}, "$_ belongs to it" for qw(Cargo.lock Makefile.PL META.json perl/sys/build.rs t/lib/Gepok/Test.pm);
    is_deeply [grep {m{^(?:target|blib|\.git)\b|\.(?:o|so)$}} keys %released], [], 'and nothing that was built';
    ($status, $output) = run_command([$^X, 'Makefile.PL'], dir => "$folder/release");
    like $output, qr/Looks good/, 'Makefile.PL finds every file of its list';
    if (-e "$root/.git") {
        my @missing = grep { !$released{$_} && !/^\.git/ } split /\n/, `git -C \Q$root\E ls-files`;
        is_deeply \@missing, [], 'and it is all that is in the repository';
    }
};

done_testing;
