"""Requests without end by HTTP/2, many at a time on each connection, while the server is reloaded: each is accounted for.

    http2_reload.py PORT SECONDS CONNECTIONS STREAMS

The app answers /NUMBER with `NUMBER xx...x`. A request that a GOAWAY names as unprocessed, or that is refused, is sent again on another
connection, as RFC 9113 section 8.7 allows. Prints as JSON: requests, retries, connections, goaways, and what was lost.
"""
import json
import os
import re
import select
import sys
import time

import hpack

from http2_frames import CODES, GOAWAY, PREFACE, Frames, frame, goaway

# How long a response may take, in seconds.
PATIENCE = 20
DATA, HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 8, 9
ACK = END_STREAM = 1
END_HEADERS = 4
# All that a connection will ever bring.
WINDOW = (2 ** 31 - 1 - 65535).to_bytes(4, 'big')


class Connection(Frames):
    def __init__(self, load):
        super().__init__(load.port, PATIENCE)
        self.load = load
        self.decoder = hpack.Decoder()
        self.block = b''
        self.streams = {}
        self.next = 1
        self.last = None
        self.send(PREFACE + frame(SETTINGS, 0, 0, b'') + frame(WINDOW_UPDATE, 0, 0, WINDOW))

    def ask(self, number):
        path = b'/' + number.encode()
        block = b'\x82\x86\x01\x01x\x04' + bytes([len(path)]) + path
        self.streams[self.next] = {'number': number, 'status': None, 'content': b'', 'asked': time.time()}
        stream, self.next = self.next, self.next + 2
        # That it can't be written shows when nothing comes back.
        self.send(frame(HEADERS, END_STREAM | END_HEADERS, stream, block))

    def see(self, whole):
        kind, flags, number, payload = whole[3], whole[4], int.from_bytes(whole[5:9], 'big'), whole[9:]
        stream = self.streams.get(number)
        if kind == SETTINGS and not flags & ACK:
            self.send(frame(SETTINGS, ACK, 0, b''))
        elif kind == PING and not flags & ACK:
            self.send(frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            code, self.last = goaway(whole)
            self.load.report['goaways'] += 1
            if code:
                self.load.lost('goaway ' + CODES[code])
        elif kind in (HEADERS, CONTINUATION):
            self.block += payload
            if flags & END_HEADERS:
                fields, self.block = dict(self.decoder.decode(self.block, raw=True)), b''
                if stream:
                    stream['status'] = fields.get(b':status')
        elif kind == DATA and stream:
            stream['content'] += payload
        elif kind == RST_STREAM and stream:
            del self.streams[number]
            code = CODES[int.from_bytes(payload, 'big')]
            if code == 'REFUSED_STREAM':
                self.load.again(stream)
            else:
                self.load.lost('%s: reset %s' % (stream['number'], code))
        if kind in (DATA, HEADERS) and flags & END_STREAM and stream:
            del self.streams[number]
            self.load.answered(stream)

    def leave(self):
        """The connection is over, or takes no more: what was not processed is sent again, all else is lost once nothing comes any more."""
        for number in [number for number in self.streams if self.last is not None and number > self.last]:
            self.load.again(self.streams.pop(number))
        if self.closed:
            for stream in self.streams.values():
                self.load.lost('%s: cut after %s and %d bytes' % (stream['number'], stream['status'], len(stream['content'])))
            self.streams = {}


class Load:
    def __init__(self, port, seconds, connections, streams):
        self.port, self.until, self.wanted, self.most = port, time.time() + seconds, connections, streams
        self.report = {'requests': 0, 'retries': 0, 'connections': 0, 'goaways': 0, 'lost': []}
        self.connections = []
        self.waiting = []

    def lost(self, why):
        self.report['lost'].append(why)

    def again(self, stream):
        self.report['retries'] += 1
        self.waiting.append(stream['number'])

    def answered(self, stream):
        found = re.fullmatch(rb'(\S+) x+', stream['content'])
        if stream['status'] != b'200' or not found or found[1].decode() != stream['number']:
            self.lost('%s: %s %r' % (stream['number'], stream['status'], stream['content'][:100]))

    def number(self):
        if self.waiting:
            return self.waiting.pop()
        self.report['requests'] += 1
        return '%d-%d' % (os.getpid(), self.report['requests'])

    def over(self):
        return time.time() > self.until or len(self.report['lost']) > 20

    def fill(self):
        """Opens connections and streams, as many as there are to be."""
        good = [one for one in self.connections if one.last is None and not one.closed]
        while len(good) < self.wanted and (not self.over() or self.waiting):
            good.append(Connection(self))
            self.connections.append(good[-1])
            self.report['connections'] += 1
            if self.over():
                break
        for one in good:
            while len(one.streams) < self.most and (not self.over() or self.waiting):
                one.ask(self.number())

    def run(self):
        while not self.over() or self.waiting or any(one.streams for one in self.connections):
            self.fill()
            ready, _, _ = select.select(self.connections, [], [], 1)
            for one in ready:
                for whole in one.read():
                    one.see(whole)
            for one in self.connections:
                one.leave()
                if any(stream['asked'] < time.time() - PATIENCE for stream in one.streams.values()):
                    one.closed = True
                    one.leave()
            self.connections = [one for one in self.connections if not one.closed and (one.last is None or one.streams)]
        return self.report


if __name__ == '__main__':
    port, seconds, connections, streams = sys.argv[1:]
    print(json.dumps(Load(int(port), float(seconds), int(connections), int(streams)).run()))
