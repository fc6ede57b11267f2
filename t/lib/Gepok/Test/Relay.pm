package Gepok::Test::Relay;

# Takes TLS off: clients that know plain HTTP alone reach a server's HTTPS through it.
#
#   my $relay = Gepok::Test::Relay->new($tls_port, SSL_ca_file => ...);    # lives as long as the object
#   $relay->port;

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use POSIX ();

use Gepok::Test::TLS ();

sub new {
    my ($class, $to, %ssl) = @_;
    my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 100) or die $!;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        setpgrp;
        $SIG{CHLD} = 'IGNORE';
        while (1) {
            my $client = $listener->accept or next;
            next if fork;
            close $listener;
            relay($client, Gepok::Test::TLS::secure($to, %ssl) || POSIX::_exit(1));
            POSIX::_exit(0);
        }
    }
    return bless {pid => $pid, owner => $$, port => $listener->sockport}, $class;
}

sub port { $_[0]{port} }

# Copies both ways until the server ends; a client that ends first says so only by its absence.
sub relay {
    my ($client, $server) = @_;
    my $both = IO::Select->new($client, $server);
    # What comes may be TLS's own, with nothing in it to be read.
    $server->blocking(0);
    while (1) {
        my @ready = $server->pending ? $server : $both->can_read(60);
        return unless @ready;
        for my $from (@ready) {
            my $read = sysread $from, my $bytes, 16_384;
            next if !defined $read && $!{EAGAIN};
            return unless $read;
            my $to = $from == $client ? $server : $client;
            while (length $bytes) {
                my $written = syswrite $to, $bytes;
                return if !defined $written && !$!{EAGAIN};
                $written ? substr $bytes, 0, $written, '' : IO::Select->new($to)->can_write(10);
            }
        }
    }
}

sub DESTROY {
    my $self = shift;
    return if $$ != $self->{owner};
    local ($?, $!);
    kill KILL => -$self->{pid}, $self->{pid};
    waitpid $self->{pid}, 0;
}

1;
