package Gepok::Bench::Http;

# A client that reads answers exactly: what came is checked before and after each measurement.

use strict;
use warnings;

use IO::Select         ();
use IO::Socket::INET   ();
use Time::HiRes        qw(time);

my $SECONDS = 10;

# `target`: {port, tls}. A connection; undef if there is none to be had.
sub connect {
    my ($class, $target) = @_;
    my $socket;
    if ($target->{tls}) {
        require IO::Socket::SSL;
        $socket = IO::Socket::SSL->new(PeerAddr => '127.0.0.1', PeerPort => $target->{port}, Timeout => $SECONDS,
            SSL_verify_mode => 0);
    }
    else {
        $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $target->{port}, Timeout => $SECONDS);
    }
    return if !$socket;
    return bless {socket => $socket, buffer => ''}, $class;
}

# The bytes of a request: method, target, [fields], content.
sub bytes {
    my ($method, $target, $fields, $content) = @_;
    my $length = defined $content ? "Content-Length: " . length($content) . "\r\n" : '';
    return join '', "$method $target HTTP/1.1\r\nHost: 127.0.0.1\r\n", (map {"$_\r\n"} @{$fields || []}), $length, "\r\n", $content // '';
}

# {status, fields => {lower-case name => value}, content} or an exception with a sentence.
sub ask {
    my ($self, @request) = @_;
    my $request = bytes(@request);
    local $SIG{PIPE} = 'IGNORE';
    my $sent = 0;
    while ($sent < length $request) {
        $sent += syswrite($self->{socket}, $request, length($request) - $sent, $sent) // die "the server closed before the request\n";
    }
    $self->more while $self->{buffer} !~ /\r\n\r\n/;
    $self->{buffer} =~ s/\A(.*?)\r\n\r\n//s;
    my ($line, @lines) = split /\r\n/, $1;
    my ($minor, $status) = $line =~ m{\AHTTP/1\.([01]) (\d{3})} or die "no status line: $line\n";
    my %fields = map { /\A([^:]+):\s*(.*?)\s*\z/ ? (lc $1 => $2) : () } @lines;
    my $answer = {status => $status, fields => \%fields};
    if (lc($fields{'transfer-encoding'} // '') eq 'chunked') {
        $answer->{content} = $self->chunked;
    }
    elsif (defined $fields{'content-length'}) {
        $answer->{content} = $self->take($fields{'content-length'});
    }
    else {
        1 while $self->read;
        $answer->{content} = delete $self->{buffer};
        $self->{buffer} = '';
    }
    # Whether it says that it closes: by a field, by its version, or by an end that is the content's end.
    my $connection = lc($fields{connection} // ($minor ? 'keep-alive' : 'close'));
    $answer->{says_close} = $connection =~ /close/ || !($fields{'transfer-encoding'} || defined $fields{'content-length'});
    return $answer;
}

# Whether the server closes within so many seconds.
sub closed {
    my ($self, $seconds) = @_;
    return 0 if !IO::Select->new($self->{socket})->can_read($seconds);
    return !$self->read;
}

sub chunked {
    my ($self) = @_;
    my $content = '';
    while (1) {
        $self->more while $self->{buffer} !~ /\r\n/;
        $self->{buffer} =~ s/\A([0-9a-fA-F]+)[^\r]*\r\n// or die "no chunk size\n";
        my $length = hex $1;
        $content .= $self->take($length);
        $self->take(2);
        return $content if !$length;
    }
}

sub take {
    my ($self, $length) = @_;
    $self->more while length $self->{buffer} < $length;
    return substr $self->{buffer}, 0, $length, '';
}

sub more { $_[0]->read or die "the server closed within an answer, behind \"" . substr($_[0]{buffer}, 0, 60) . "\"\n" }

# Bytes that came; 0 at the end.
sub read {
    my ($self) = @_;
    my $socket = $self->{socket};
    my $limit  = time + $SECONDS;
    if (!($socket->can('pending') && $socket->pending)) {
        IO::Select->new($socket)->can_read($limit - time) or die "no answer in $SECONDS s\n";
    }
    return sysread($socket, $self->{buffer}, 65536, length $self->{buffer}) // 0;
}

1;
