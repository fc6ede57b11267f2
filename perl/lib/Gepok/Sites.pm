# Virtual hosts as a program gives them, written as the configuration file has them: so both are read and checked in one place.
package Gepok::Sites;

use strict;
use warnings;

use Carp ();

# Keys whose values are true or false.
my %FLAGS = map { $_ => 1 } qw(default directory_list hidden);

# The text, and the apps that are code, by the names of their hosts.
sub toml {
    my ($vhosts) = @_;
    my %apps;
    my @vhosts = map { {%$_} } hosts($vhosts);
    for my $vhost (@vhosts) {
        my $name = defined $vhost->{name} ? $vhost->{name} : '';
        my $code = _code($vhost, $name);
        $apps{ _plain($name) . '/code' } = $code if $code;
        next unless ref $vhost->{app};
        require Gepok::Loader;
        $apps{ _plain($name) } = Gepok::Loader::callable($vhost->{app})
            or Carp::croak("option 'vhosts': 'app' of '$name' is no PSGI app: a code reference, an object with to_app, or a file");
        $vhost->{app} = \1;
    }
    my $toml = 'vhosts = ' . _value('vhosts', \@vhosts) . "\n";
    utf8::encode($toml) if utf8::is_utf8($toml);
    return ($toml, \%apps);
}

# Takes the code out of a host, but for its app. What is in its place says that there is some. Returns what runs it in the workers:
# an app for requests with gepok.question; nothing where there is no code.
sub _code {
    my ($vhost, $name) = @_;
    my ($rewrite, @rules, %handlers, %locations);
    if (ref $vhost->{rewrite} eq 'CODE') {
        $rewrite = $vhost->{rewrite};
        $vhost->{rewrite} = \1;
    }
    if (defined $vhost->{handlers}) {
        Carp::croak("option 'vhosts': 'handlers' of '$name' is no hash of paths and apps") if ref $vhost->{handlers} ne 'HASH';
        require Gepok::Loader;
        %handlers = %{ $vhost->{handlers} };
        for my $path (sort keys %handlers) {
            $handlers{$path} = Gepok::Loader::callable($handlers{$path})
                or Carp::croak("option 'vhosts': the handler of '$path' is no PSGI app: a code reference, or an object with to_app");
        }
        $vhost->{handlers} = [sort keys %handlers];
    }
    my $rule = sub {
        my ($table) = @_;
        for my $list (grep { defined $table->{$_} } qw(allow deny)) {
            my @words = ref $table->{$list} eq 'ARRAY' ? @{ $table->{$list} } : $table->{$list};
            next unless grep { ref eq 'CODE' } @words;
            $table->{$list} = [map { ref eq 'CODE' ? do { push @rules, $_; "code:$#rules" } : $_ } @words];
        }
    };
    $rule->($vhost);
    for my $key (grep { ref $vhost->{$_} eq 'ARRAY' } qw(directory directories)) {
        my @directories = map { ref eq 'HASH' ? {%$_} : $_ } @{ $vhost->{$key} };
        for my $directory (grep { ref eq 'HASH' } @directories) {
            $rule->($directory);
            next unless ref $directory->{location} eq 'CODE';
            my $path = defined $directory->{path} ? $directory->{path} : '';
            $locations{$path} = $directory->{location};
            $directory->{location} = \1;
        }
        $vhost->{$key} = \@directories;
    }
    return unless $rewrite || @rules || %handlers || %locations;

    # The core takes this answer, and goes on.
    my $pass = sub { [204, ['Gepok-Pass' => $_[0]], []] };
    return sub {
        my ($env) = @_;
        my ($what, $of) = split / /, delete $env->{'gepok.question'}, 2;
        return $handlers{$of}->($env) if $what eq 'handler';
        if ($what eq 'rules') {
            return $pass->(join ' ', grep { $rules[$_]->($env) } split / /, $of);
        }
        my $found = $what eq 'rewrite' ? $rewrite->($env) : $locations{$of}->($env);
        return $found if ref $found;
        return $pass->(defined $found ? $found : '') if $what eq 'rewrite';
        return $pass->('') if !defined $found;
        return [200, ['X-Sendfile' => $found], []];
    };
}

# The attribute as a list of hashes.
sub hosts {
    my ($vhosts) = @_;
    my @vhosts = ref $vhosts eq 'ARRAY' ? @$vhosts : defined $vhosts ? $vhosts : ();
    for my $vhost (@vhosts) {
        Carp::croak("option 'vhosts': each virtual host is a hash reference") if ref $vhost ne 'HASH';
    }
    return @vhosts;
}

# Where the host of this name or alias stands in a list of hosts; nothing if there is none.
sub find {
    my ($name, @vhosts) = @_;
    my $plain = _plain($name);
    my ($at) = grep {
        my $vhost   = $vhosts[$_];
        my $aliases = $vhost->{aliases};
        grep { defined && _plain($_) eq $plain } $vhost->{name}, ref $aliases eq 'ARRAY' ? @$aliases : $aliases;
    } 0 .. $#vhosts;
    return $at;
}

# A name as it is compared.
sub _plain {
    my ($name) = @_;
    $name =~ s/\.+\z//;
    return lc $name;
}

sub _value {
    my ($key, $value) = @_;
    if (ref $value eq 'ARRAY') {
        return '[' . join(', ', map { _value($key, $_) } @$value) . ']';
    }
    if (ref $value eq 'HASH') {
        # A path may look like anything.
        my $of = sub { $key =~ /\A(?:redirect|rewrite|error_page|headers)\z/ || $key eq 'directory' && !defined $value->{path} ? $key : $_[0] };
        return '{' . join(', ', map { _text($_) . ' = ' . _value($of->($_), $value->{$_}) } grep { defined $value->{$_} } sort keys %$value) . '}';
    }
    return 'true' if ref $value eq 'SCALAR' && $key =~ /\A(?:app|rewrite|location)\z/;
    Carp::croak("option 'vhosts': code can't stand for '$key'") if ref $value eq 'CODE';
    Carp::croak("option 'vhosts': '$key' has an undefined value") if !defined $value;
    return $value ? 'true' : 'false' if $FLAGS{$key};
    return $value if $key eq 'redirect' && $value =~ /\A[0-9]{3}\z/;
    return _text("$value");
}

sub _text {
    my ($text) = @_;
    $text =~ s/(["\\])/\\$1/g;
    $text =~ s/([\x00-\x1f\x7f])/sprintf '\\u%04X', ord $1/ge;
    return qq{"$text"};
}

1;

__END__

=encoding UTF-8

=head1 NAME

Gepok::Sites - virtual hosts of a program

=head1 SYNOPSIS

  Gepok->new(http_ports => [80], vhosts => [
      {name => 'www.example.org', aliases => ['*.example.org'], documents => '/srv/shop'},
  ])->run($app);

=head1 DESCRIPTION

The attribute C<vhosts> of L<Gepok> takes hosts by the keys that F<docs/sites.md> describes for the configuration file. C<app>
can also be a code reference, or an object with C<to_app>. C<rewrite>, C<location>, entries of C<allow> and C<deny>, and C<handlers>
can be code, see there.

=cut
