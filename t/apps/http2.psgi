# What the tests of HTTP/2 ask for.
use strict;
use warnings;
use Time::HiRes qw(sleep time);

sub note {
    open my $file, '>>', "$ENV{GEPOK_NOTES}/$_[0]" or die $!;
    print {$file} "$_[1]\n";
}

sub {
    my $env  = shift;
    my $path = $env->{PATH_INFO};
    if ($path eq '/env') {
        my @keys = grep { exists $env->{$_} } qw(psgix.io psgix.informational psgix.client_gone gepok.socket);
        my %seen = (map({ $_ => $env->{$_} } grep { !ref $env->{$_} } keys %$env), keys => join ' ', @keys);
        return [200, ['Content-Type' => 'text/plain'], [map { "$_=" . ($seen{$_} // '') . "\n" } sort keys %seen]];
    }
    if ($path eq '/length') {
        my ($length, $buffer) = (0);
        while (my $read = $env->{'psgi.input'}->read($buffer, 65536)) { $length += $read }
        return [200, [], [$length . ' ' . ($env->{CONTENT_LENGTH} // 'undef')]];
    }
    if ($path =~ m{^/hold/(\w+)}) {
        note(held => $1);
        my $limit = time + 60;
        sleep 0.01 until -e "$ENV{GEPOK_NOTES}/go" || time > $limit;
        return [200, [], ["$$"]];
    }
    if ($path =~ m{^/sleep/([\d.]+)}) { sleep $1; return [200, [], ["$$"]] }
    if ($path =~ m{^/large/(\d+)}) { return [200, [], ['x' x $1]] }
    if ($path eq '/stream') {
        return sub {
            my $writer = shift->([200, ['Content-Type' => 'text/plain', Connection => 'close', 'Keep-Alive' => 'x']]);
            $writer->write("piece $_\n") for 1 .. 3;
            $writer->close;
        };
    }
    # The app speaks to the client itself, or refuses to, in several ways.
    if ($path =~ m{^/tunnel/(\w+)}) {
        my $way    = $1;
        my $switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n"
            . "Sec-WebSocket-Protocol: echo\r\n\r\n";
        return [426, ['Upgrade' => 'websocket'], ['no']] if $way eq 'array';
        my $io = $way eq 'head' ? undef : $env->{'psgix.io'};
        return sub {
            my $respond = shift;
            if ($way eq 'head') {
                $respond->([101, [Upgrade => 'websocket', 'Sec-WebSocket-Protocol' => 'echo']]);
                $io = $env->{'psgix.io'};
                $switch = '';
            }
            if ($way eq 'refuse') {
                syswrite $io, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno and more";
                close $io;
                return;
            }
            if ($way eq 'garbage') { syswrite $io, "\x81\x05hello\r\n\r\n"; close $io; return }
            if ($way eq 'back') { fileno $io; return $respond->([200, [], ['taken back']]) }
            if ($way eq 'die')  { fileno $io; die "no tunnel\n" }
            # In pieces: a head may come in any.
            syswrite $io, $_ for grep {length} substr($switch, 0, 20), length $switch > 20 ? substr $switch, 20 : '';
            note(tunnel => join ' ', 'open', map { $env->{$_} // '-' } qw(REQUEST_METHOD HTTP_UPGRADE HTTP_CONNECTION psgix.h2.protocol psgix.h2.extended_connect));
            while (sysread $io, my $bytes, 65536) {
                while (length $bytes) { substr $bytes, 0, (syswrite $io, $bytes) // last, '' }
            }
            note(tunnel => 'end');
            close $io;
        };
    }
    if ($path eq '/trailers') {
        my $came = $env->{'psgix.h2.trailers'};
        my ($length, $buffer) = (0);
        while (my $read = $env->{'psgi.input'}->read($buffer, 65536)) { $length += $read }
        my $give = $env->{'psgix.trailers'} or return [200, [], ['no trailers']];
        return sub {
            my $writer = shift->([200, ['Content-Type' => 'text/plain']]);
            $writer->write("$length " . ($came ? join ',', @$came : 'none'));
            $give->(['X-Old' => 1]);
            $give->(['X-Sum' => $length, 'Content-Length' => 3, 'X-Sum' => 'b']);
            $writer->close;
        };
    }
    if ($path eq '/early-trailers') {
        $env->{'psgix.trailers'}->(['X-Sum' => 5]) if $env->{'psgix.trailers'};
        return [200, [], ['hello']];
    }
    if ($path eq '/hints') {
        $env->{'psgix.informational'}->(103, [Link => '</style.css>; rel=preload']);
        return [200, [], ['hinted']];
    }
    if ($path eq '/chunked')  { return [200, ['Transfer-Encoding' => 'chunked'], ["5\r\nhello\r\n0\r\n\r\n"]] }
    if ($path eq '/short')    { return [200, ['Content-Length' => 10], ['abc']] }
    if ($path eq '/status/204') { return [204, [], []] }
    if ($path eq '/gone') {
        note(before => $env->{'psgix.client_gone'}->());
        my $limit = time + 30;
        sleep 0.01 until $env->{'psgix.client_gone'}->() || time > $limit;
        note(after => $env->{'psgix.client_gone'}->());
    }
    if ($path eq '/socket') {
        my $socket  = $env->{'gepok.socket'};
        my $written = eval { syswrite $socket, 'HTTP/1.1 200 Stolen' };
        return [200, [], [defined $written ? 'written' : 'refused', ' ', $socket->peerhost]];
    }
    return [200, ['Content-Type' => 'text/plain'], ['hello']];
};
