# `make install` puts everything where perl and the shell find it, under DESTDIR and under INSTALL_BASE; then
# `plackup -s Gepok` works from any folder.
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
    ['INSTALL_BASE', ["INSTALL_BASE=$folder/base"], [], "$folder/base"])
{
    my ($name, $configure, $install, $where) = @$case;
    check $name => sub {
        my ($status, $output) = run_command([$^X, 'Makefile.PL', @$configure], dir => "$folder/copy");
        is $status, 0, 'perl Makefile.PL' or diag $output;
        # Building is t/00-build.t's matter; cargo would see other paths here and build everything again.
        ($status, $output) = run_command([$make, '-o', 'cargo_products', 'install', @$install], dir => "$folder/copy",
            seconds => 120);
        is $status, 0, 'make install' or diag $output;
        my @files = files($where);
        for my $part ("auto/Gepok/Gepok.$Config{dlext}", 'Gepok.pm', 'Plack/Handler/Gepok.pm', 'bin/gepok') {
            is scalar(grep {m{(?<!Handler)/\Q$part\E$}} @files), 1, "$part is installed, once";
        }
        is scalar(grep {m{/Gepok\.3\w*$}} @files), 1, 'and a manual page by its right name';

        my ($command) = grep {m{/bin/gepok$}} @files;
        my ($module)  = grep {m{/Gepok\.pm$} && !m{/Handler/}} @files;
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

done_testing;
