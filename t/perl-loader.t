# The command's loader shows an app what plackup's would show, and needs no Plack for a plain app.
use strict;
use warnings;

use Cwd            qw(abs_path);
use File::Basename qw(dirname);
use File::Temp     qw(tempdir);
use JSON::PP       ();
use Test::More;

my $lib = abs_path(dirname(__FILE__) . '/../perl/lib');
my $dir = abs_path(tempdir(CLEANUP => 1));

sub spew {
    my ($name, $text) = @_;
    open my $out, '>', "$dir/$name" or die "$dir/$name: $!";
    print {$out} $text;
    close $out or die $!;
    return "$dir/$name";
}

# A process of its own for each load: what it answers to a call, or the message it died with.
sub perl {
    my ($code, @args) = @_;
    my $pid = open my $out, '-|';
    die "fork: $!" unless defined $pid;
    if (!$pid) {
        delete $ENV{PLACK_ENV};
        chdir $dir or die $!;
        open STDERR, '>', '/dev/null' or die $!;
        exec $^X, "-I$lib", '-MJSON::PP', '-e', $code, @args or die "exec: $!";
    }
    my $told = do { local $/; <$out> };
    close $out;
    return $told;
}

my $LOAD = <<'PERL';
require Gepok::Loader;
my ($path, $how, $env) = @{ decode_json(shift @ARGV) };
unshift @INC, sub { die "Can't locate $_[1] in \@INC" if $_[1] =~ m{\APlack/} } if delete $how->{no_plack};
$ENV{PLACK_ENV} = $env if defined $env;
my $app = eval { Gepok::Loader::load($path, $how) };
print $app ? join '', @{ $app->({ PATH_INFO => '/' })->[2] } : "died: $@";
PERL

sub load {
    return perl($LOAD, JSON::PP::encode_json([@_]), 'argument');
}

my $seen = spew('seen.psgi', <<'PERL');
use FindBin;
my @caller = caller 0;
my @seen   = (__PACKAGE__, __FILE__, $0, $FindBin::Bin, "@ARGV", $ENV{PLACK_ENV}, @caller[0, 3], <DATA>);
sub { [200, [], [join '|', @seen]] };
__DATA__
data
PERL

subtest 'what the file sees' => sub {
    (my $package = $seen) =~ s/([^A-Za-z0-9_])/sprintf '_%2x', ord $1/eg;
    $package = "Plack::Sandbox::$package";
    my $wanted = "$package|$seen|$seen|$dir||deployment|$package|(eval)|data\n";
    is load($seen),       $wanted, 'an absolute path';
    is load('seen.psgi'), $wanted, 'a relative path';

SKIP: {
        skip 'Plack is not installed', 1 unless eval { require Plack::Util; 1 };
        my $plack = perl('require Plack::Util; $ENV{PLACK_ENV} = "deployment"; @ARGV = 1;'
                . " print Plack::Util::load_psgi('seen.psgi')->({})->[2][0]");
        is $plack, $wanted, 'is what it sees under plackup';
    }
};

subtest 'PLACK_ENV' => sub {
    my $env = spew('env.psgi', 'my $env = $ENV{PLACK_ENV}; sub { [200, [], [$env]] }');
    is load($env), 'deployment', 'is deployment';
    is load($env, {}, 'kept'), 'kept', 'is kept when set';
    is load($env, { env => 'typed' }, 'kept'), 'typed', 'is what -E says';
};

subtest 'kinds of apps' => sub {
    my $class = 'package My::App; sub new { bless {} } sub answer { [200, [], ["hi"]] }';
    for my $case (
        ['to_app'    => "$class sub to_app { \\&answer } __PACKAGE__->new"],
        ['overload'  => "$class use overload '&{}' => sub { \\&answer }; __PACKAGE__->new"],
        ['bless sub' => "$class bless \\&answer"],
        )
    {
        is load(spew('kind.psgi', $case->[1])), 'hi', $case->[0];
    }
    mkdir "$dir/lib";
    spew('lib/MyApp.pm', 'package MyApp; sub { [200, [], [__FILE__]] }');
    is load('MyApp', { inc => ["$dir/lib"] }), "$dir/lib/MyApp.pm", 'a module found in @INC';
    spew('app.psgi', 'sub { [200, [], ["default"]] }');
    is load(), 'default', 'app.psgi where nothing is said';
};

subtest 'loaded twice' => sub {
    my $twice = spew('twice.psgi', 'my $count = 0; sub { [200, [], [++$count]] }');
    my $told = perl('require Gepok::Loader; print map { Gepok::Loader::load($ARGV[0])->()->[2][0] } 1, 2', $twice);
    is $told, '11', 'each load is a fresh app';
};

subtest 'mistakes' => sub {
    my $error = 'died: Error while loading';
    my $broken = spew('broken.psgi', "use strict;\n\nmy \$x = ;\nsub {}\n");
    like load($broken), qr/\A$error \Q$broken: syntax error at $broken line 3\E/, 'syntax';
    my $dies = spew('dies.psgi', "\ndie 'no database';");
    like load($dies), qr/\A$error \Q$dies: no database at $dies line 2\E/, 'death';
    is load('none.psgi'), "$error $dir/none.psgi: No such file or directory\n", 'no file';
    is load('NoSuch::App'), "$error NoSuch/App.pm: No such file or directory\n", 'no module';
    is load($dir), "$error $dir: it is a folder\n", 'a folder';
    for my $case (
        ['$! = 2; undef'   => 'undef'],
        ['"text"'          => "'text'"],
        ['[]'              => 'a reference to ARRAY'],
        ['bless {}, "Foo"' => 'a reference to Foo'],
        )
    {
        my $file = spew('not.psgi', $case->[0]);
        is load($file), "$error $file: its last value is $case->[1], not a PSGI app"
            . " (a code reference, or an object with to_app)\n", $case->[0];
    }
    like load(undef, { eval => 'sub {', no_plack => 1 }), qr/\A$error -e: .* at -e line 1\b/, 'an open brace in -e, which has one line';
    like load(undef, { eval => "\n\$x = ;\nsub {}" }), qr/\A$error -e: syntax error at -e line 2\b/, 'line of -e';
    is load($seen, { modules => ['A; die'] }), "died: 'A; die' is not a module's name\n", '-M';
    like load($seen, { modules => ['No::Such'] }), qr{\Adied: Can't locate No/Such\.pm}, 'missing module';
};

subtest 'one-liners' => sub {
    my $plain = 'sub { [200, [], [basename("/a/b")]] } # comment';
    my @basename = (modules => ['File::Basename=basename']);
    is load(undef, { eval => $plain, @basename, no_plack => 1 }), 'b', 'without Plack';
    like load(undef, { eval => '$x = 1;', no_plack => 1 }), qr/its last value is '1'/, 'without strict';
    my $inner = spew('inner.psgi', 'sub { [200, [], ["inner"]] }');
    is load($inner, { eval => '1', no_plack => 1 }), 'inner', 'beside a file, without Plack';
    like load($inner, { eval => 'enable "Head"', no_plack => 1 }), qr/\(Plack::Builder is not installed\)/,
        'a middleware without Plack';

SKIP: {
        skip 'Plack is not installed', 3 unless eval { require Plack::Builder; 1 };
        is load(undef, { eval => $plain, @basename }), 'b', 'with Plack';
        my $wrap = 'enable sub { my $app = shift; sub { my $r = $app->(@_); $r->[2][0] .= " wrapped"; $r } }';
        is load($inner, { eval => $wrap }), 'inner wrapped', 'middleware around a file';
        is load(undef, { eval => 'mount "/" => sub { [200, [], ["mounted"]] }' }), 'mounted', 'mount';
    }
};

done_testing;
