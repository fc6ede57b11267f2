# gepok precompress: which variants are written, and what a server makes of them.
use strict;
use warnings;

use IO::Uncompress::Gunzip qw(gunzip $GunzipError);
use POSIX ();
use Test::More;

use Gepok::Test;
use Gepok::Test::Files qw(put);

gepok_only();

my $GEPOK = root() . '/blib/script/gepok';

sub slurp {
    my ($path) = @_;
    open my $file, '<:raw', $path or die "$path: $!";
    local $/;
    return scalar <$file>;
}

sub names { my ($folder) = @_; opendir my $dir, $folder or die $!; return [sort grep { !/^\.\.?$/ } readdir $dir] }

# The command's output, its errors and its exit status.
sub precompress {
    my @arguments = map {"'$_'"} @_;
    my $errors = scratch();
    my $out    = `'$GEPOK' precompress @arguments 2>'$errors/e'`;
    return ($out, slurp("$errors/e"), $? >> 8);
}

my $TEXT = join '', map {"line $_ of a text that is worth it\n"} 1 .. 200;

check 'variants lie beside their files, and are like them' => sub {
    my $folder = scratch();
    put("$folder/a.css",       $TEXT);
    put("$folder/sub/b.js",    $TEXT);
    put("$folder/small.css",   'x' x 500);
    put("$folder/image.png",   $TEXT);
    put("$folder/.hidden.css", $TEXT);
    put("$folder/noise.txt",   join '', map { chr rand 256 } 1 .. 5000);
    symlink 'a.css', "$folder/link.css" or die $!;
    symlink $folder, "$folder/sub/loop" or die $!;
    POSIX::mkfifo("$folder/pipe.css", 0644) or die $!;
    chmod 0640, "$folder/a.css" or die $!;
    my ($out, $errors, $status) = precompress($folder);
    is $errors, '';
    is $status, 0;
    like $out, qr/^3 files, 6 variants written \(\d+ bytes of \d+\), 0 up to date, 3 not worth it$/;
    is_deeply names($folder),
        [sort qw(.hidden.css a.css a.css.br a.css.gz a.css.zst image.png link.css noise.txt pipe.css small.css sub)];
    is_deeply names("$folder/sub"), [qw(b.js b.js.br b.js.gz b.js.zst loop)];
    gunzip("$folder/a.css.gz" => \my $content) or die $GunzipError;
    is $content, $TEXT;
    for my $variant (map {"$folder/a.css$_"} qw(.br .gz .zst)) {
        my @stat = stat $variant;
        is $stat[9], 1e9, 'the time of the file';
        is $stat[2] & 0777, 0640, 'and its permissions';
        cmp_ok $stat[7], '<', length($TEXT) / 5;
    }

    my $server = server(app => 'sub { [404, [], []] }', options => {documents => "$folder"});
    my $got = $server->get('/a.css', 'Accept-Encoding' => 'gzip');
    is $got->field('Content-Encoding'), 'gzip', 'a server sends it';
    is $got->content, slurp("$folder/a.css.gz");
};

check 'a second run has only to do what has changed' => sub {
    my $folder = scratch();
    put("$folder/$_.css", $TEXT) for qw(a b c);
    precompress($folder);
    my %before = map { $_ => (stat "$folder/$_.css.br")[1] } qw(a b c);
    put("$folder/a.css", "$TEXT\nnew\n", 1e9 + 1);
    # An older file in place of a newer one: its variants are newer than it, and wrong.
    put("$folder/b.css", "$TEXT\nold\n", 1e9 - 1);
    my ($out) = precompress($folder);
    like $out, qr/^3 files, 6 variants written .*, 3 up to date$/;
    my %after = map { $_ => (stat "$folder/$_.css.br")[1] } qw(a b c);
    isnt $after{$_}, $before{$_}, "$_.css" for qw(a b);
    is $after{c}, $before{c}, 'c.css is left as it is';
    gunzip("$folder/b.css.gz" => \my $content) or die $GunzipError;
    is $content, "$TEXT\nold\n";

    put("$folder/c.css", join('', map { chr rand 256 } 1 .. 5000), 1e9 + 2);
    ($out) = precompress($folder);
    like $out, qr/3 not worth it, 3 removed$/, 'what has become wrong is removed';
    is_deeply [grep {/^c/} @{names($folder)}], ['c.css'];
};

check 'options choose codings and files' => sub {
    my $folder = scratch();
    put("$folder/$_", $TEXT) for qw(a.css b.svg c.foo .d.css);
    put("$folder/types",   "text/x-foo foo\n");
    put("$folder/tiny.css", 'x' x 100);
    my ($out) = precompress('--compress', 'gzip,br', '--compress-min-length', 50, '--hidden', '--mime-types', "$folder/types",
        '--compress-types', 'text/*', $folder);
    is_deeply [grep {/\.(?:br|gz|zst)$/} @{names($folder)}],
        [sort map { ("$_.br", "$_.gz") } qw(a.css c.foo .d.css tiny.css)];
};

check 'what fails is told' => sub {
    my $folder = scratch();
    my ($out, $errors, $status) = precompress("$folder/none");
    is $status, 1;
    like $errors, qr{^gepok: \Q$folder\E/none: };
    like $out, qr/1 failed$/;

    put("$folder/a.css", $TEXT);
    mkdir "$folder/a.css.br" or die $!;
    ($out, $errors, $status) = precompress($folder);
    is $status, 1;
    like $errors, qr{^gepok: \Q$folder\E/a\.css\.br: };
    is_deeply names($folder), [qw(a.css a.css.br a.css.gz a.css.zst)], 'the others are there, and nothing else is left';

    ($out, $errors, $status) = precompress();
    is $status, 2;
    like $errors, qr/^gepok: 'precompress' needs the directories/;
    ($out, $errors, $status) = precompress('--compress', 'lzma', $folder);
    is $status, 2;
    like $errors, qr/'lzma' is not all, none, zstd, br or gzip/;
    ($out, $errors, $status) = precompress('--help');
    is $status, 0;
    like $out, qr/^Usage: gepok precompress \[options\] DIR .*--compress-min-length/s;
};

done_testing;
