package Gepok::Test::Connection;

# One client connection, byte by byte: send anything, read responses one by one by HTTP/1's framing rules.
#
# Its parser is strict, because it judges: a response that two readers could understand differently is an exception.

use strict;
use warnings;

use IO::Socket::INET;
use IO::Socket::UNIX;
use Socket      qw(IPPROTO_TCP TCP_NODELAY);
use Time::HiRes qw(time);

sub new {
    my ($class, %args) = @_;
    my $socket
        = $args{path}
        ? IO::Socket::UNIX->new(Peer => $args{path})
        : IO::Socket::INET->new(
            PeerAddr => '127.0.0.1', PeerPort => $args{port}, Timeout => 30,
            $args{from} ? (LocalAddr => $args{from}) : (),
        );
    $socket or die "cannot connect: $@ $!";
    setsockopt $socket, IPPROTO_TCP, TCP_NODELAY, 1 unless $args{path};
    $socket->autoflush(1);
    binmode $socket;
    return bless {socket => $socket, seconds => ($args{seconds} // 60) * ($ENV{GEPOK_TEST_SLOW} // 1), buffer => ''}, $class;
}

sub socket { $_[0]{socket} }

# Sends all of it; what the server answers meanwhile is read along, so that neither side waits for the other.
# False when the server takes no more.
sub send {
    my ($self, $bytes) = @_;
    my $socket = $self->{socket};
    $socket->blocking(0);
    my $sent  = 0;
    my $limit = time + $self->{seconds};
    while ($sent < length $bytes) {
        my ($read, $write) = ('', '');
        vec($read, fileno $socket, 1) = 1 unless $self->{end};
        $write = $read;
        vec($write, fileno $socket, 1) = 1;
        my $ready = select($read, $write, undef, $limit - time);
        die "the server does not read\n" if $ready <= 0;
        if (!$self->{end} && vec($read, fileno $socket, 1)) {
            my $got = sysread $socket, $self->{buffer}, 65536, length $self->{buffer};
            $self->{end} = 1 if defined $got ? !$got : !$!{EAGAIN};
        }
        if (vec($write, fileno $socket, 1)) {
            my $wrote = syswrite $socket, $bytes, 65536, $sent;
            if (defined $wrote) { $sent += $wrote }
            elsif (!$!{EAGAIN}) { last }
        }
    }
    $socket->blocking(1);
    return $sent == length $bytes;
}

# Tells the server that nothing more will come.
sub finish { shutdown $_[0]{socket}, 1 }

sub close { close $_[0]{socket} }

# Reads more into the buffer: 1, 0 at the end of the stream, undef when the time is up.
sub fill {
    my ($self, $limit) = @_;
    return 0 if $self->{end};
    my $socket = $self->{socket};
    my $left   = $limit - time;
    my $read   = '';
    vec($read, fileno $socket, 1) = 1;
    return undef unless select($read, undef, undef, $left > 0 ? $left : 0) > 0;
    my $got = sysread $socket, $self->{buffer}, 65536, length $self->{buffer};
    $self->{reset} = 1 if !defined $got;
    return 1 if $got;
    $self->{end} = 1;
    return 0;
}

# Everything up to the pattern's end.
sub upto {
    my ($self, $pattern) = @_;
    my $limit = time + $self->{seconds};
    until ($self->{buffer} =~ /$pattern/g) {
        my $more = $self->fill($limit);
        die sprintf("%s instead of %s after: %s\n", defined $more ? 'the end' : 'silence', $pattern,
            printable($self->{buffer}))
            unless $more;
    }
    return substr $self->{buffer}, 0, pos $self->{buffer}, '';
}

sub bytes {
    my ($self, $count) = @_;
    my $limit = time + $self->{seconds};
    while (length $self->{buffer} < $count) {
        my $more = $self->fill($limit);
        die sprintf("%s after %d of %d bytes\n", defined $more ? 'the end' : 'silence', length $self->{buffer}, $count)
            unless $more;
    }
    return substr $self->{buffer}, 0, $count, '';
}

# Everything the server sends until it closes.
sub rest {
    my $self  = shift;
    my $limit = time + $self->{seconds};
    while (1) {
        my $more = $self->fill($limit);
        die "the server does not close after: " . printable($self->{buffer}) . "\n" unless defined $more;
        last unless $more;
    }
    return substr $self->{buffer}, 0, length $self->{buffer}, '';
}

# Whether the server closes, having sent nothing more, within so many seconds.
sub closed {
    my ($self, $seconds) = @_;
    my $limit = time + ($seconds // $self->{seconds});
    while (1) {
        return 0 if length $self->{buffer};
        my $more = $self->fill($limit);
        return 0 unless defined $more;
        return 1 unless $more;
    }
}

# Whether nothing comes, not even an end, for so many seconds.
sub silent {
    my ($self, $seconds) = @_;
    return 0 if length $self->{buffer};
    return !defined $self->fill(time + $seconds);
}

# A response's head only; `content` or `chunk` read on.
sub head {
    my $self = shift;
    my $raw  = $self->upto(qr/\r\n\r\n/);
    my ($line, @lines) = split /\r\n/, $raw;
    my ($version, $status, $reason) = $line =~ m{^HTTP/(\d\.\d) (\d{3}) ([^\x00-\x08\x0a-\x1f]*)$}
        or die 'not a status line: ' . printable($line) . "\n";
    my @fields = map {
        /^([!#\$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*(.*?)[ \t]*$/s or die 'not a field line: ' . printable($_) . "\n";
        [$1, $2];
    } @lines;
    return Gepok::Test::Response->new(
        version => $version,
        status  => $status,
        reason  => $reason,
        fields  => \@fields,
        raw     => $raw,
    );
}

# One chunk of a chunked message: its content, '' for the last one.
sub chunk {
    my $self = shift;
    my ($size) = $self->upto(qr/\r\n/) =~ /^([0-9A-Fa-f]+)\r\n$/ or die "not a chunk's size\n";
    my $content = $self->bytes(hex $size);
    # The last chunk is followed by trailers (none are expected) and an empty line.
    $self->bytes(2) eq "\r\n" or die "a chunk does not end with CRLF\n";
    return $content;
}

# The next response, to a request of that method. Informational ones before it are in its `interim`.
sub response {
    my ($self, $method) = @_;
    my @interim;
    my $response = $self->head;
    while ($response->status < 200 && $response->status != 101) {
        push @interim, $response;
        $response = $self->head;
    }
    $response->{interim} = \@interim;

    my @coding = $response->all('Transfer-Encoding');
    my @length = $response->all('Content-Length');
    die "Transfer-Encoding and Content-Length in one response\n" if @coding && @length;
    die "several Content-Length\n"                               if @length > 1;
    $response->{framing} = @coding ? 'chunked' : @length ? 'length' : 'close';
    if (($method // 'GET') eq 'HEAD' || $response->status =~ /^(?:1..|204|304)$/) {
        $response->{framing} = 'none';
        return $response;
    }
    if (@coding) {
        die "unknown coding: @coding\n" unless lc "@coding" eq 'chunked';
        my @chunks;
        while (length(my $chunk = $self->chunk)) { push @chunks, $chunk }
        $response->{chunks}  = \@chunks;
        $response->{content} = join '', @chunks;
    }
    elsif (@length) {
        die "odd Content-Length: @length\n" unless $length[0] =~ /^[0-9]+$/;
        $response->{content} = $self->bytes($length[0]);
    }
    else {
        $response->{content} = $self->rest;
        die "the connection was reset inside a response\n" if $self->{reset};
    }
    return $response;
}

sub printable {
    my $text = substr $_[0], 0, 300;
    $text =~ s/([^\x20-\x7e])/sprintf '\\x%02x', ord $1/ge;
    return "\"$text\"";
}

package Gepok::Test::Response;

sub new { my ($class, %args) = @_; bless {content => '', interim => [], %args}, $class }

sub version { $_[0]{version} }
sub status  { $_[0]{status} }
sub reason  { $_[0]{reason} }
sub fields  { $_[0]{fields} }
sub raw     { $_[0]{raw} }
sub content { $_[0]{content} }
sub chunks  { $_[0]{chunks} }
sub interim { @{$_[0]{interim}} }

# How the content's end was told: length, chunked, close, or none where there is never content.
sub framing { $_[0]{framing} }

# All values of a field, in order.
sub all { my ($self, $name) = @_; map { $_->[1] } grep { lc $_->[0] eq lc $name } @{$self->{fields}} }

# The value of a field that may come once.
sub field {
    my ($self, $name) = @_;
    my @values = $self->all($name);
    die "$name came " . @values . " times\n" if @values > 1;
    return $values[0];
}

# Whether the sender said that it will close.
sub closes { my $self = shift; scalar grep { /\bclose\b/i } $self->all('Connection') }

1;
