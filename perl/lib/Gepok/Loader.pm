# Loads the app the command gepok shall serve, as an app loaded by plackup would see it, without needing Plack.
package Gepok::Loader;

# Above `use strict`, because one-liners are written without; the names of the lexicals are seen by the code.
sub _evaluate { my $psgi = $_[1]; eval $_[0] }

use strict;
use warnings;

use File::Spec   ();
use Scalar::Util ();
use overload     ();

# load($path, { eval => CODE TEXT, inc => [...], modules => [...], env => NAME }): the app as a code reference.
# Dies with one message that names the file. Each call loads anew.
sub load {
    my ($path, $how) = @_;
    $how ||= {};

    if (my @inc = @{ $how->{inc} || [] }) {
        require lib;
        lib->import(@inc);
    }
    $ENV{PLACK_ENV} = defined $how->{env} ? $how->{env} : $ENV{PLACK_ENV} || 'deployment';
    _import($_) for @{ $how->{modules} || [] };

    my $app = defined $how->{eval} ? _code($how->{eval}, $path) : _file(defined $path ? $path : 'app.psgi');
    absolute_inc();
    return $app;
}

# callable($app): the code reference behind what PSGI calls an app, or nothing.
sub callable {
    my ($app) = @_;
    return unless ref $app;
    return $app if (Scalar::Util::reftype($app) || '') eq 'CODE';
    return unless Scalar::Util::blessed($app);
    return callable($app->to_app) if $app->can('to_app');
    return \&$app if overload::Method($app, '&{}');
    return;
}

# Modules that are loaded later are to be found whatever folder the process is in by then.
sub absolute_inc {
    @INC = map { ref || File::Spec->file_name_is_absolute($_) ? $_ : absolute($_) } @INC;
    return;
}

# The path in the given folder, or the one that we are in. Under perl -T the folder's name is tainted, which says nothing about a path that is
# not.
sub absolute {
    my ($path, $folder) = @_;
    my $absolute = File::Spec->rel2abs($path, $folder);
    ($absolute) = $absolute =~ /\A(.*)\z/s unless Scalar::Util::tainted($path);
    return $absolute;
}

sub _file {
    my ($path) = @_;
    my $file = $path;
    if ($path =~ /\A[A-Za-z0-9_:]+\z/) {
        $file =~ s{::}{/}g;
        $file .= '.pm';
    }
    else {
        $file = File::Spec->rel2abs($path);
        die "Error while loading $file: it is a folder\n" if -d $file;
    }
    my $app = _sandbox($file);
    die "Error while loading $file: $@" if ref $@ || length $@;
    return _checked($app, $file);
}

# FindBin, __FILE__, caller and DATA see what they see under plackup: a package for each file, $0, no arguments.
sub _sandbox {
    my $_file = shift;
    (my $_package = $_file) =~ s/([^A-Za-z0-9_])/sprintf '_%2x', ord $1/eg;
    local $0    = $_file;
    local @ARGV = ();
    return eval sprintf <<'EVAL', $_package;
package Plack::Sandbox::%s;
my $app = do $_file;
die $@ if ref $@ || length $@;
die "$!\n" unless exists $INC{$_file};
$app;
EVAL
}

# One-liners get the words of Plack::Builder where Plack is installed; a file given beside one is what it wraps.
sub _code {
    my ($code, $path) = @_;
    my $builder = eval { require Plack::Builder; 1 };
    die $@ if !$builder && $@ !~ m{\ACan't locate Plack/Builder\.pm };
    _import('Plack::Builder') if $builder;

    my $word = $builder ? 'builder' : 'do';
    my $wrap = defined $path ? 'Gepok::Loader::_file($psgi)' : '';
    # An error at the end of the code names its last line.
    my $last = 1 + ($code =~ tr/\n//);
    my $app  = _evaluate(qq(package Gepok::Sandbox;\n$word {\n#line 1 "-e"\n$code\n#line $last "-e"\n;$wrap}), $path);
    if (ref $@ || length $@) {
        my $hint = !$builder && $code =~ /\b(?:enable|enable_if|mount|builder)\b/;
        die "Error while loading -e: $@", $hint ? "(Plack::Builder is not installed)\n" : ();
    }
    return _checked($app, '-e');
}

sub _import {
    my ($spec) = @_;
    my ($module, @names) = split /[=,]/, $spec;
    die "'$spec' is not a module's name\n" unless defined $module && $module =~ /\A\w+(?:::\w+)*\z/;
    eval "package Gepok::Sandbox; require $module; \$module->import(\@names); 1" or die $@;
    return;
}

sub _checked {
    my ($app, $source) = @_;
    my $code = callable($app);
    return $code if $code;
    my $found = !defined $app ? 'undef' : ref $app ? 'a reference to ' . ref $app : "'$app'";
    die "Error while loading $source: its last value is $found, not a PSGI app"
        . " (a code reference, or an object with to_app)\n";
}

1;
