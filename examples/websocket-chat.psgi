# A chat by WebSocket (RFC 6455): `psgix.io` gives the app the client's socket, and the app speaks the protocol on it.
#
#   plackup -s Gepok examples/websocket-chat.psgi
#   http://127.0.0.1:5000/ in two windows
#
# Each guest is served by a process of its own, so that the worker is free again at once. Guests hear of each other by
# datagrams: every process has a Unix socket in one folder, which goes when the server ends, and the guests with it.
use strict;
use warnings;

use Digest::SHA qw(sha1_base64);
use File::Temp  ();
use IO::Select;
use IO::Socket::UNIX;
use POSIX  ();
use Socket qw(MSG_DONTWAIT SOCK_DGRAM pack_sockaddr_un);

my $room = File::Temp->newdir;

my $page = <<'HTML';
<!DOCTYPE html>
<meta charset="utf-8">
<title>Chat</title>
<form><input autofocus maxlength="1000"></form>
<ul></ul>
<script>
const chat = new WebSocket(location.href.replace(/^http/, 'ws'));
const input = document.querySelector('input'), list = document.querySelector('ul');
const show = text => list.append(Object.assign(document.createElement('li'), {textContent: text}));
chat.onopen = () => show('You are in.');
chat.onmessage = event => show(event.data);
chat.onclose = () => show('The chat has ended.');
document.querySelector('form').onsubmit = event => { event.preventDefault(); chat.send(input.value); input.value = '' };
</script>
HTML

use constant {TEXT => 1, CLOSE => 8, PING => 9, PONG => 10, LIMIT => 10_000};

sub frame {
    my ($opcode, $content) = @_;
    my $length = length $content;
    return pack('C C', 0x80 | $opcode, $length) . $content if $length < 126;
    return pack('C C n', 0x80 | $opcode, 126, $length) . $content;
}

# Takes one frame off the buffer: its opcode and content, nothing while it is not whole. A CLOSE for what we don't speak.
sub take_frame {
    my $buffer = shift;
    return if length $$buffer < 6;
    my ($opcode, $length, $long) = unpack 'C C n', $$buffer;
    my $final = $opcode & 0x80;
    my $head  = 2;
    return CLOSE, pack 'n', 1002 unless $length & 0x80;    # clients mask what they send
    $length &= 0x7f;
    ($head, $length) = (4, $long) if $length == 126;
    return CLOSE, pack 'n', 1009 if $length > LIMIT || $length == 127;
    return CLOSE, pack 'n', 1003 unless $final;            # messages in several frames
    return if length $$buffer < $head + 4 + $length;
    my (undef, $mask, $content) = unpack "a$head a4 a$length", substr $$buffer, 0, $head + 4 + $length, '';
    return $opcode & 15, $content ^ substr $mask x (1 + $length / 4), 0, $length;
}

# One guest, from the handshake's end to the farewell.
sub chat {
    my $client = shift;
    my $mine   = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => "$room/$$") or die "no room: $@";
    my $tell   = sub { send $mine, $_[0], MSG_DONTWAIT, pack_sockaddr_un($_) for glob "$room/*" };
    my $select = IO::Select->new($client, $mine);
    my $buffer = '';
    $tell->("$$ has come");
GUEST:
    while (-d $room) {
        for my $ready ($select->can_read(1)) {
            if ($ready == $mine) {
                recv $mine, my $text, LIMIT + 100, 0;
                syswrite $client, frame(TEXT, $text) or last GUEST;
                next;
            }
            sysread $client, $buffer, 65536, length $buffer or last GUEST;
            while (my ($opcode, $content) = take_frame(\$buffer)) {
                $tell->("$$: $content") if $opcode == TEXT;
                syswrite $client, frame(PONG, $content) if $opcode == PING;
                next unless $opcode == CLOSE;
                syswrite $client, frame(CLOSE, $content);
                last GUEST;
            }
        }
    }
    unlink "$room/$$";
    $tell->("$$ has left");
}

sub {
    my $env = shift;
    my $key = $env->{HTTP_SEC_WEBSOCKET_KEY};
    if (lc($env->{HTTP_UPGRADE} // '') ne 'websocket' || !$key) {
        return [200, ['Content-Type' => 'text/html; charset=utf-8'], [$page]];
    }
    if ($env->{HTTP_SEC_WEBSOCKET_VERSION} ne 13) {
        return [426, ['Sec-WebSocket-Version' => 13, 'Content-Type' => 'text/plain'], ["Version 13, please\n"]];
    }

    # The responder is never called: the connection is ours.
    return sub {
        my $client = $env->{'psgix.io'};
        my $accept = sha1_base64("${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11") . '=';
        print $client "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            . "Sec-WebSocket-Accept: $accept\r\n\r\n";
        my $pid = fork // die "fork: $!";
        return waitpid $pid, 0 if $pid;
        # A grandchild, so that nobody has to wait for it.
        if (!fork) {
            eval { chat($client); 1 } or print STDERR $@;
        }
        POSIX::_exit(0);
    };
};
