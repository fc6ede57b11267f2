# Lets `plackup -s Gepok` find Gepok: plackup's arguments become Gepok's attributes.
package Plack::Handler::Gepok;

use strict;
use warnings;

use Gepok ();

sub new {
    my ($class, @args) = @_;
    my %self = (default_port => 5000, daemonize => 0);
    while (my ($name, $value) = splice @args, 0, 2) {
        next unless defined $value;
        # An option typed twice: the table knows whether the values are a list or the last one counts.
        my @before = !exists $self{$name} || $name eq 'daemonize' ? () : ref $self{$name} eq 'ARRAY' ? @{ $self{$name} } : $self{$name};
        $self{$name} = @before ? [@before, ref $value eq 'ARRAY' ? @$value : $value] : $value;
    }

    # Plack::Runner tells one address twice: as `listen`, and taken apart as host, port and socket.
    if (ref $self{listen} eq 'ARRAY') {
        my %listen = map { $_ => 1 } @{ $self{listen} };
        my $joined = join ':', map { defined $_ ? $_ : '' } @self{qw(host port)};
        # Messages should name the option that was typed, and an IPv6 address is not of the form host:port.
        if ($listen{$joined} && defined $self{host} && !grep {/\A(?:-l|--?listen(?:=|\z))/} @ARGV) {
            delete $self{listen} if !(@{ $self{listen} } = grep { $_ ne $joined } @{ $self{listen} });
        }
        elsif ($listen{$joined}) {
            delete @self{qw(host port)};
        }
        delete $self{socket} if defined $self{socket} && $listen{ $self{socket} };
        # With nothing typed it says port 5000. That must give way to http_ports, but -p 5000 must not.
        delete $self{listen} if $self{listen} && "@{ $self{listen} }" eq ':5000' && !grep { /\A--?(?:p|port|l|listen)(?:=|\z)/ } @ARGV;
    }
    $self{_by_plackup} = 1 if $INC{'Plack/Runner.pm'};
    $self{_handed_in} = Gepok::Start::sockets();
    return bless \%self, $class;
}

sub run {
    my ($self, $app) = @_;
    return Gepok->new(%$self)->run($app);
}

# How many requests a worker is to serve, drawn for each worker; the names are those of Starlet and Gazelle.
sub _calc_reqs_per_child {
    my ($self) = @_;
    my ($max) = grep { defined } @$self{qw(max_requests_per_child max_reqs_per_child max_requests)}, 1000;
    return $self->_calc_minmax_per_child($max, $self->{min_reqs_per_child});
}

sub _calc_minmax_per_child {
    my ($self, $max, $min) = @_;
    return $max if !$min || $min >= $max;
    return $max - int(($max - $min + 1) * rand);
}

1;

__END__

=encoding UTF-8

=head1 NAME

Plack::Handler::Gepok - run a PSGI app by Gepok from plackup

=head1 SYNOPSIS

  plackup -s Gepok --http-ports :8081,:8082 --start-servers 5 app.psgi

=head1 DESCRIPTION

The options are those of L<Gepok::Options>, and plackup's own: C<-o>, C<-p>, C<-S>, C<-l> (which can be repeated).
Without any of them, and without C<http_ports> or C<unix_sockets>, Gepok listens on port 5000.

plackup reads C<--name value> as a pair for every option it doesn't know. So flags are best written
C<--enable-NAME> and C<--disable-NAME>, or with C<=1> and C<=0>.

plackup loads the app before Gepok. So with C<--user> the app is loaded by the user who has started plackup, as root by root, and only run
by the other user. The command L<gepok> loads it as that user; so do the workers with C<-L Delayed>.

Relative paths of options belong to the folder that plackup was started in. An app that changes the folder while it is loaded is found out
by C<PWD>, as shells set it, and the app's relative path on the command line. Otherwise give absolute paths.

=head1 SEE ALSO

L<Gepok>, L<Gepok::Options>, L<plackup>

=cut
