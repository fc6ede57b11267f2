package Gepok::Test::Damage;

# What a worker that was taken over can do to its channel: it writes to the memory that it shares with the core and sends frames of
# any form. Works from within an app, without help of the server: by /proc/self/maps, /proc/self/mem and /proc/self/fd.
# t/lib/Gepok/Test/Adversary.pm has workers do that under load.

use strict;
use warnings;
no warnings 'portable';

use Config      qw(%Config);
use IO::Handle  ();
use Time::HiRes qw(sleep time);

# Where the shared memory has what, as src/channel/{memory,claim,ring,area}.rs lay it out. `prepare` finds out whether it still does.
my $SLOTS  = 1024;
my $RING   = 8 * $SLOTS;
my %NUMBER = (put => $RING, taken => $RING + 64, asleep => $RING + 128, acknowledged => $RING + 192);
my $BATCHES = $RING + 256;
my $WORDS   = 8192;
my $AREA    = $BATCHES + 8 * $WORDS;
my $ALL     = $AREA + 64 + (1 << 20);

# Frames, as src/channel/frame.rs numbers them.
my %KIND = (
    request => 1, credit => 2, stop => 3, reply => 4, verify => 5, informational => 16, head => 17, chunk => 18, end => 19, abort => 20,
    idle => 21, file => 22, take => 23, wake => 24, leaving => 25, verdict => 26, shared => 27,
);
my ($DESCRIPTOR, $ENDS, $IDLE) = (1, 2, 4);
my $HEADER   = 16;
my $MOST     = 1 << 20;
my $ONES     = "\xff" x 8;
my $NOTHING  = pack 'Q< L< L<', ~0, 0, 0;

# Groups of [name, what is to come of it, code]. `replaced`: a rule is broken, so that the core is to notice at once. `silent`: the worker is
# as one that takes long, so that request_timeout ends it. `any`: it may be noticed, and harms no others if it is not.
my $group;
my @KINDS = map { ref $_ ? [@$_, $group] : do { $group = $_; () } } (
    'memory is overwritten',
    ['position in the ring, random',              'replaced', sub { poke($NUMBER{put}, random(8)); ring() }],
    ['position in the ring, back',                'replaced', sub { poke($NUMBER{put}, pack 'Q<', number('put') - 1 - int rand 8000); ring() }],
    ['length of a batch, random',                 'replaced', sub { batch(random(8), 'x' x 100) }],
    ['length of a batch, 0',                      'replaced', sub { batch(pack('Q<', 0), 'x' x 100) }],
    ['a batch of random bytes',                   'replaced', sub { put_batch(random(64 + int rand 8000)) }],
    ['a batch that ends within a frame',          'replaced', sub { put_batch(frame('chunk', length => 1000) . 'x' x 10) }],
    ['batches, overwritten',                      'any',      sub { scribble($BATCHES, 8 * $WORDS) }],
    ['what the core has taken of the ring, ones', 'any',      sub { poke($NUMBER{taken}, $ONES) }],
    ['what the core has acknowledged, random',    'any',      sub { poke($NUMBER{acknowledged}, random(8)) }],
    ['whether the core sleeps, random',           'any',      sub { for (1 .. 1000) { poke($NUMBER{asleep}, random(4)) } }],
    ['whether the core sleeps, no',               'any',      sub { for (1 .. 1000) { poke($NUMBER{asleep}, pack 'L<', 0) } }],
    ['all numbers of the ring, random',           'any',      sub { scribble($RING, 256) }],
    ['own claim word, and silence',               'replaced', sub { poke(8 * ($_[0]{id} % $SLOTS), $ONES) }],
    # Taken for a request that no worker has begun.
    ['own claim word, back to offered',           'any',      sub { poke(8 * ($_[0]{id} % $SLOTS), pack 'Q<', $_[0]{id} << 8 | 1) }],
    ['all claim words, ones',                     'replaced', sub { poke(0, $ONES x $SLOTS) }],
    ['all claim words, random',                   'replaced', sub { poke(0, random(8 * $SLOTS)) }],
    ['own claim word, then a response',           'any',      sub { poke(8 * ($_[0]{id} % $SLOTS), random(8)); send_bytes(response($_[0])) }],
    ['the area for content',                      'any',      sub { scribble($AREA + 64, 1 << 20) }],
    ['what was given back of the area',           'any',      sub { poke($AREA, random(8)) }],
    ['own record of the scoreboard',              'any',      sub { scoreboard() }],
    ['claim words and ring, random',              'any',      sub { scribble(0, $AREA); ring() }],
    ['all shared memory',                         'any',      sub { scribble(0, $ALL) for 1 .. 20; ring() }],
    'frames are none, or random bytes',
    (map { my $kind = $_; ["a frame of kind $kind", 'replaced', sub { send_bytes(frame($kind, id => $_[0]{id})) }] }
        0, 6, 15, 28, 99, 255, $KIND{request}, $KIND{credit}, $KIND{stop}, $KIND{reply}, $KIND{verify}),
    (map { my $kind = $_; ["random bytes as $kind", 'replaced', sub { noise($_[0], $kind) }] } sort keys %KIND),
    ['random bytes',                              'replaced', sub { send_bytes(random(100 + int rand 100_000)) }],
    'lengths are wrong',
    ['a frame of 2 GiB',                          'replaced', sub { send_bytes(frame('chunk', id => $_[0]{id}, length => 0x7fff_ffff)) }],
    ['a frame of 1 MiB and a byte',               'replaced', sub { send_bytes(frame('chunk', id => $_[0]{id}, length => $MOST + 1)) }],
    ['content of 1 MiB in one frame',             'replaced', sub { send_bytes(head($_[0]) . frame('chunk', id => $_[0]{id}, payload => 'x' x $MOST)) }],
    ['half a frame',                              'silent',   sub { send_bytes(substr frame('chunk', id => $_[0]{id}, payload => 'x' x 1000), 0, 500) }],
    ['half a header',                             'silent',   sub { send_bytes(substr head($_[0]), 0, 7) }],
    ['a head of one byte',                        'replaced', sub { send_bytes(frame('head', id => $_[0]{id}, status => 200, payload => 'x')) }],
    ['a head of a billion fields',                'replaced', sub { send_bytes(frame('head', id => $_[0]{id}, status => 200, payload => pack 'Q< L< L<', ~0, 1 << 30, 0)) }],
    ['content outside of the area',               'replaced', sub { send_bytes(head($_[0]) . frame('shared', id => $_[0]{id}, payload => pack 'Q< Q<', (1 << 20) - 10, 11)) }],
    ['content at the end of all numbers',         'replaced', sub { send_bytes(head($_[0]) . frame('shared', id => $_[0]{id}, payload => pack 'Q< Q<', ~0, 2)) }],
    'frames come in the wrong order, or for others\' requests',
    ['a second head',                             'replaced', sub { send_bytes(head($_[0]) x 2) }],
    ['an interim response after the head',        'replaced', sub { send_bytes(head($_[0]) . frame('informational', id => $_[0]{id}, status => 103, payload => $NOTHING)) }],
    ['content before the head',                   'replaced', sub { send_bytes(frame('chunk', id => $_[0]{id}, payload => 'x' x 600)) }],
    ['an empty piece of content',                 'replaced', sub { send_bytes(head($_[0]) . frame('chunk', id => $_[0]{id})) }],
    ['an end before the head',                    'replaced', sub { send_bytes(frame('end', id => $_[0]{id})) }],
    ['an end twice',                              'replaced', sub { send_bytes(head($_[0]) . frame('end', id => $_[0]{id}) x 2) }],
    ['status 103 in a head',                      'replaced', sub { send_bytes(frame('head', id => $_[0]{id}, status => 103, payload => $NOTHING)) }],
    ['status 200 in an interim response',         'replaced', sub { send_bytes(frame('informational', id => $_[0]{id}, status => 200, payload => $NOTHING)) }],
    ['status 7',                                  'replaced', sub { send_bytes(frame('head', id => $_[0]{id}, status => 7, payload => $NOTHING)) }],
    ['a response to the request before',          'replaced', sub { send_bytes(response({id => $_[0]{id} - 1})) }],
    ['a response to the next request',            'replaced', sub { send_bytes(response({id => $_[0]{id} + 1})) }],
    ['a response to any request',                 'replaced', sub { send_bytes(response({id => unpack 'Q<', random(8)})) }],
    ['a response to request 0',                   'replaced', sub { send_bytes(response({id => 0})) }],
    ['ready, three times',                        'replaced', sub { send_bytes(frame('idle') x 3) }],
    ['ready before the response',                 'any',      sub { send_bytes(frame('idle') . response($_[0])) }],
    ['leaving, twice',                            'replaced', sub { send_bytes(frame('leaving') x 2) }],
    ['leaving, and staying',                      'any',      sub { send_bytes(frame('leaving')) }],
    ['a verdict that nobody has asked for',       'replaced', sub { send_bytes(frame('verdict', id => $_[0]{id}, status => 1)) }],
    ['the socket asked for twice',                'replaced', sub { send_bytes(frame('take', id => $_[0]{id}) x 2) }],
    ['the socket asked for after the end',        'replaced', sub { send_bytes(response($_[0]) . frame('take', id => $_[0]{id})) }],
    ['an end that comes too soon',                'any',      sub { send_bytes(head($_[0], 1000) . frame('chunk', id => $_[0]{id}, payload => 'x' x 10) . frame('end', id => $_[0]{id})) }],
    ['an end as a mark, and more',                'replaced', sub { send_bytes(frame('head', id => $_[0]{id}, status => 200, marks => $ENDS, payload => $NOTHING) . frame('chunk', id => $_[0]{id}, payload => 'x')) }],
    ['all marks on all frames',                   'replaced', sub { send_bytes(join '', map { frame($_, id => $_[0]{id}, marks => 0xfe, payload => $NOTHING) } 16 .. 27) }],
    ['a field with a line end',                   'any',      sub { send_bytes(head($_[0], ~0, "X: y\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") . frame('end', id => $_[0]{id})) }],
    'there is too much of it',
    ['content beyond the credit',                 'replaced', sub { send_bytes(head($_[0]) . frame('chunk', id => $_[0]{id}, payload => 'x' x 60_000) x 400) }],
    ['interim responses beyond the credit',       'replaced', sub { send_bytes(frame('informational', id => $_[0]{id}, status => 103, payload => $NOTHING) x 5000) }],
    ['a flood of frames that ask to be woken',    'replaced', sub { send_bytes(frame('wake') x 100_000) }],
    ['a flood of rings',                          'replaced', sub { my $end = time + 8; while (time < $end) { ring() for 1 .. 100 } }],
    'descriptors are stray, missing or no files',
    ['12 descriptors with a frame',               'replaced', sub { send_descriptors(frame('wake'), (pipe_end()) x 12) }],
    ['a descriptor that no frame announces',      'replaced', sub { send_descriptors(head($_[0]), pipe_end()); send_bytes(frame('chunk', id => $_[0]{id}, payload => 'x' x 60_000)) for 1 .. 100 }],
    ['two descriptors that no frame announces',   'replaced', sub { send_descriptors('x', pipe_end()) for 1 .. 2 }],
    ['a file without its descriptor',             'replaced', sub { send_bytes(head($_[0]) . file($_[0], 0, 10)) }],
    ['a pipe in place of a file',                 'any',      sub { send_bytes(head($_[0])); send_descriptors(file($_[0], 0, 1000), pipe_end()); send_bytes(frame('end', id => $_[0]{id})) }],
    ['a socket in place of a file',               'any',      sub { send_bytes(head($_[0])); send_descriptors(file($_[0], 0, 1000), channel()); send_bytes(frame('end', id => $_[0]{id})) }],
    ['a folder in place of a file',               'any',      sub { special($_[0], '/', 0, 1000) }],
    ['an endless device in place of a file',      'any',      sub { special($_[0], '/dev/zero', 0, 1 << 40) }],
    ['a file of 1 TiB that has 1 KiB',            'any',      sub { special($_[0], $0, 0, 1 << 40) }],
    ['a file from the end of all numbers on',     'any',      sub { special($_[0], $0, ~0, ~0) }],
    ['the memory of the master as a file',           'any',      sub { special($_[0], '/proc/' . getppid() . '/mem', 0, 1000) }],
    'the channel is ended',
    ['the end of the channel',                    'replaced', sub { shutdown handle(), 1 }],
    ['the end of both directions',                'replaced', sub { shutdown handle(), 2 }],
);

sub kinds { map { [@$_[0, 1, 3]] } @KINDS }

# Does that damage in this worker, which has a request of which the core expects a response. `seed` decides what is random.
sub cause {
    my ($name, $seed) = @_;
    my ($kind) = grep { $_->[0] eq $name } @KINDS or die "no damage '$name'\n";
    srand $seed;
    $kind->[2]->(prepare());
}

# The request in hand: the last one whose claim word says that it was claimed. The core may not have freed that of the one before.
sub prepare {
    my @claims = unpack "Q<$SLOTS", peek(0, 8 * $SLOTS);
    my @mine   = grep { ($claims[$_] & 0x3f) == 2 && ($claims[$_] >> 8) % $SLOTS == $_ } 0 .. $#claims;
    @mine or die "the shared memory is laid out in another way\n";
    return {id => (sort { $b <=> $a } map { $claims[$_] >> 8 } @mine)[0]};
}

# Where the channel's memory and the scoreboard's record are mapped.
my %mapped;

sub mapped {
    my ($name) = @_;
    $mapped{$$}{$name} //= do {
        open my $maps, '<', '/proc/self/maps' or die "/proc/self/maps: $!";
        my $line = (grep {m{rw-s .*/memfd:gepok-$name }} <$maps>)[0] // die "no memory gepok-$name\n";
        my ($from, $to) = $line =~ /^([0-9a-f]+)-([0-9a-f]+)/;
        [map { hex } $from, $to];
    };
    return @{$mapped{$$}{$name}};
}

sub memory {
    open my $memory, '+<:raw:unix', '/proc/self/mem' or die "/proc/self/mem: $!";
    return $memory;
}

sub peek {
    my ($at, $length) = @_;
    my $memory = memory();
    sysseek $memory, (mapped('channel'))[0] + $at, 0 or die "seek: $!";
    sysread $memory, (my $bytes), $length;
    return $bytes;
}

sub poke {
    my ($at, $bytes, $name) = @_;
    my $memory = memory();
    sysseek $memory, (mapped($name // 'channel'))[0] + $at, 0 or die "seek: $!";
    syswrite $memory, $bytes;
}

sub number { unpack 'Q<', peek($NUMBER{$_[0]}, 8) }

sub random { pack 'C*', map { rand 256 } 1 .. $_[0] }

# Writes to random places there for a moment.
sub scribble {
    my ($from, $length, $name) = @_;
    my $end = time + 0.05;
    while (time < $end) {
        poke($from + int(rand $length / 8) * 8, rand() < 0.2 ? $ONES : random(8), $name) for 1 .. 20;
    }
}

sub scoreboard {
    my ($from, $to) = mapped('scoreboard');
    scribble(0, $to - $from, 'scoreboard');
}

# Writes a batch of that length as one word says it, and publishes it.
sub batch {
    my ($length, $bytes) = @_;
    my $put = number('put');
    my $at  = $put;
    for my $word ($length, unpack '(a8)*', $bytes) {
        poke($BATCHES + 8 * ($at++ % $WORDS), substr($word . "\0" x 8, 0, 8));
    }
    poke($NUMBER{put}, pack 'Q<', $at);
    ring();
}

sub put_batch { batch(pack('Q<', length $_[0]), $_[0]) }

# The descriptors of the channel: a socket and the bell, out of the way of apps.
sub descriptors {
    my ($pattern) = @_;
    my @found = grep { $_ >= 1000 } map { m{(\d+)$} } glob '/proc/self/fd/*';
    @found = grep { (readlink("/proc/self/fd/$_") // '') =~ $pattern } @found;
    @found or die "no descriptor of the channel\n";
    return @found;
}

sub channel { (grep { getpeername(opened($_)) } descriptors(qr/^socket:/))[0] }

my @kept;

sub opened {
    open my $handle, '+<&=', $_[0] or die "$_[0]: $!";
    # Perl would close it with the handle.
    push @kept, $handle;
    return $handle;
}

my %handle;

sub handle { $handle{$$} //= opened(channel()) }

sub ring {
    $handle{"bell $$"} //= opened((descriptors(qr/eventfd/))[0]);
    syswrite $handle{"bell $$"}, pack 'Q<', 1;
}

sub send_bytes {
    my ($bytes) = @_;
    my $socket = handle();
    local $SIG{PIPE} = 'IGNORE';
    my $at = 0;
    while ($at < length $bytes) {
        my $sent = syswrite($socket, $bytes, 65536, $at) // return;
        $at += $sent;
    }
}

# A frame. `length` is what it says where that is not its payload's.
sub frame {
    my ($kind, %args) = @_;
    my $payload = $args{payload} // '';
    return pack('L< C C S< Q<', $args{length} // length $payload, $KIND{$kind} // $kind, $args{marks} // 0, $args{status} // 0, $args{id} // 0)
        . $payload;
}

# A head with the content's length, ones if it is not known, and one field if it is there.
sub head {
    my ($request, $length, $field) = @_;
    my $payload = pack 'Q<', $length // ~0;
    my ($name, $value) = defined $field ? split(/: /, $field, 2) : ();
    my $end = defined $field ? length($name) + length $value : 0;
    $payload .= defined $field ? pack('L< L<4 L<', 1, 0, length $name, length $name, $end, $end) . $name . $value : pack 'L< L<', 0, 0;
    return frame('head', id => $request->{id}, status => 200, payload => $payload);
}

sub response {
    my ($request) = @_;
    return head($request) . frame('chunk', id => $request->{id}, payload => 'x' x 100) . frame('end', id => $request->{id});
}

sub file {
    my ($request, $offset, $length) = @_;
    return frame('file', id => $request->{id}, marks => $DESCRIPTOR, payload => pack 'Q< Q<', $offset, $length);
}

# A response whose content is in what that path opens.
sub special {
    my ($request, $path, $offset, $length) = @_;
    open my $file, '<', $path or return;
    send_bytes(head($request));
    send_descriptors(file($request, $offset, $length), fileno $file);
    send_bytes(frame('end', id => $request->{id}));
}

# Frames of that kind with random payloads, until the channel has ended.
sub noise {
    my ($request, $kind) = @_;
    for (1 .. 200) {
        my $id = rand() < 0.7 ? $request->{id} : int rand 100_000;
        send_bytes(frame($kind, id => $id, marks => int(rand 4) * 2, status => rand 1200, payload => random(rand 60)));
    }
}

my @pipe;

sub pipe_end {
    @pipe or pipe $pipe[0], $pipe[1] or die "pipe: $!";
    return fileno $pipe[0];
}

my $SENDMSG = {x86_64 => 46, aarch64 => 211}->{(split /-/, $Config{archname})[0]};

sub can_send_descriptors { defined $SENDMSG }

# Perl has no sendmsg: the call itself, with the structures of 64-bit Linux.
sub send_descriptors {
    my ($bytes, @descriptors) = @_;
    my $control = pack 'Q l l l*', 16 + 4 * @descriptors, 1, 1, @descriptors;
    $control .= "\0" x (-length($control) % 8);
    my $piece   = pack 'P Q', $bytes, length $bytes;
    my $message = pack 'Q Q P Q P Q Q', 0, 0, $piece, 1, $control, length $control, 0;
    my $nosignal = 0x4000;
    syscall $SENDMSG, channel(), $message, $nosignal;
}

1;
