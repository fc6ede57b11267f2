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
        next unless ref $vhost->{app};
        require Gepok::Loader;
        my $name = defined $vhost->{name} ? $vhost->{name} : '';
        $apps{ _plain($name) } = Gepok::Loader::callable($vhost->{app})
            or Carp::croak("option 'vhosts': 'app' of '$name' is no PSGI app: a code reference, an object with to_app, or a file");
        $vhost->{app} = \1;
    }
    my $toml = 'vhosts = ' . _value('vhosts', \@vhosts) . "\n";
    utf8::encode($toml) if utf8::is_utf8($toml);
    return ($toml, \%apps);
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
    return 'true' if ref $value eq 'SCALAR' && $key eq 'app';
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
can also be a code reference, or an object with C<to_app>.

=cut
