"""A client of HTTP/2 with prior knowledge: runs one scenario on one connection, and prints what it has seen as JSON.

    http2.py PORT SCENARIO [ARGUMENT ...]
"""
import json
import socket
import sys
import time

import h2.config
import h2.connection
import h2.events
import h2.settings

from http2_frames import GOAWAY, Frames, goaway


class Client:
    def __init__(self, port, before=b'', **settings):
        self.frames = Frames(port, 60)
        self.frames.send(before)
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding='latin-1', validate_outbound_headers=False,
                                      normalize_outbound_headers=False))
        self.streams = {}
        self.goaways = []
        self.automatic = True
        self.on_goaway = lambda: None
        self.h2.initiate_connection()
        if settings:
            self.h2.update_settings({getattr(h2.settings.SettingCodes, name): value for name, value in settings.items()})
        self.flush()

    def flush(self):
        data = self.h2.data_to_send()
        if data:
            self.frames.socket.sendall(data)

    def open(self, path='/', method='GET', fields=(), end=True, host=True):
        stream = self.h2.get_next_available_stream_id()
        head = [(':method', method), (':scheme', 'http'), (':path', path)]
        if host:
            head.append((':authority', 'localhost'))
        self.h2.send_headers(stream, head + list(fields), end_stream=end)
        self.streams[stream] = {'interim': [], 'status': None, 'fields': {}, 'content': b'', 'end': None}
        self.flush()
        return stream

    def tunnel(self, path, protocol='websocket', fields=()):
        """Extended CONNECT."""
        stream = self.h2.get_next_available_stream_id()
        head = [(':method', 'CONNECT'), (':protocol', protocol), (':scheme', 'http'), (':path', path), (':authority', 'localhost'),
                ('sec-websocket-version', '13'), ('origin', 'http://localhost')]
        self.h2.send_headers(stream, head + list(fields))
        self.streams[stream] = {'interim': [], 'status': None, 'fields': {}, 'content': b'', 'end': None}
        self.flush()
        return stream

    def data(self, stream, content, end=False):
        self.h2.send_data(stream, content, end_stream=end)
        self.flush()

    def step(self, limit=60):
        """Waits for frames; false when there are none in time, or never will be."""
        if self.closed:
            return False
        self.frames.socket.settimeout(limit)
        try:
            frames = self.frames.read()
        except socket.timeout:
            return False
        for frame in frames:
            # The library takes it for the end of all streams.
            if frame[3] == GOAWAY:
                self.goaways.append(goaway(frame))
                self.on_goaway()
                continue
            for event in self.h2.receive_data(frame):
                self.see(event)
        if self.closed:
            return False
        self.flush()
        return True

    @property
    def closed(self):
        return self.frames.closed

    def see(self, event):
        stream = self.streams.get(getattr(event, 'stream_id', None))
        if stream is None:
            pass
        elif isinstance(event, h2.events.InformationalResponseReceived):
            stream['interim'].append(dict(event.headers)[':status'])
        elif isinstance(event, h2.events.ResponseReceived):
            fields = dict(event.headers)
            stream['status'] = int(fields.pop(':status'))
            stream['fields'] = fields
        elif isinstance(event, h2.events.DataReceived):
            stream['content'] += event.data
            if self.automatic and event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            stream['trailers'] = [list(field) for field in event.headers]
        elif isinstance(event, h2.events.StreamEnded):
            stream['end'] = stream['end'] or 'end'
        elif isinstance(event, h2.events.StreamReset):
            # A server that needs no more of a request resets its stream after the response.
            stream['end'] = stream['end'] or 'reset %d' % int(event.error_code)

    def finish(self, *streams):
        """Waits until these streams, or all, have ended."""
        wanted = streams or tuple(self.streams)
        while any(self.streams[stream]['end'] is None for stream in wanted):
            if not self.step():
                break

    def result(self, stream):
        result = dict(self.streams[stream])
        result['content'] = result['content'].decode('latin-1')
        return result


def get(port, path, method='GET', *fields):
    client = Client(port)
    fields = [field.split(':', 1) for field in fields]
    announced = any(name == 'content-length' for name, _ in fields)
    stream = client.open(path, method, fields, end=not announced)
    client.finish()
    return client.result(stream)


def many(port, path, count):
    """As many requests at once on one connection."""
    client = Client(port)
    streams = [client.open(path) for _ in range(int(count))]
    began = time.time()
    client.finish()
    return {'seconds': time.time() - began, 'responses': [client.result(stream) for stream in streams]}


def upload(port, path, length):
    """Content without a length, as the windows let it."""
    client = Client(port)
    stream = client.open(path, 'POST', end=False)
    left = int(length)
    while left:
        while client.h2.local_flow_control_window(stream) == 0:
            client.step()
        size = min(left, client.h2.local_flow_control_window(stream), client.h2.max_outbound_frame_size)
        client.data(stream, b'x' * size)
        left -= size
    client.data(stream, b'', end=True)
    client.finish()
    return client.result(stream)


def trailers(port, path, content, *fields):
    """Content and trailers, each frame on its own."""
    client = Client(port)
    fields = [field.split(':', 1) for field in fields]
    announced = [('content-length', str(len(content)))] if content else []
    stream = client.open(path, 'POST', announced, end=False)
    if content:
        client.data(stream, content.encode())
        client.step(0.1)
    client.h2.send_headers(stream, fields, end_stream=True)
    client.flush()
    client.finish()
    return client.result(stream)


def tunnel(port, path, length, end='end', protocol='websocket'):
    """A tunnel that sends so many bytes and reads as many, and is then ended or reset."""
    client = Client(port)
    stream = client.tunnel(path, protocol)
    seen = client.streams[stream]
    while seen['status'] is None and seen['end'] is None and client.step():
        pass
    left = int(length) if seen['status'] == 200 else 0
    total = left
    while (left or len(seen['content']) < total) and not seen['end']:
        size = min(left, client.h2.local_flow_control_window(stream), client.h2.max_outbound_frame_size)
        if size:
            client.data(stream, b'x' * size)
            left -= size
        if not size and not client.step():
            break
    if end == 'reset':
        client.h2.reset_stream(stream, 8)
        client.flush()
        other = client.open('/hello')
        client.finish(other)
        return {'other': client.result(other)}
    if not seen['end']:
        client.data(stream, b'', end=True)
    client.finish()
    result = client.result(stream)
    result['length'] = len(result['content'])
    result['content'] = result['content'][:100]
    result['announced'] = client.h2.remote_settings.get(8)
    return result


def chat(port, path, text):
    """A guest of the chat: says something, and leaves when that has come back."""
    def frame(opcode, content):
        return bytes([0x80 | opcode, 0x80 | len(content)]) + b'\0\0\0\0' + content
    client = Client(port)
    stream = client.tunnel(path)
    seen = client.streams[stream]
    client.data(stream, frame(1, text.encode()))
    while text.encode() not in seen['content'] and client.step():
        pass
    client.data(stream, frame(8, b'\x03\xe8'))
    client.finish()
    return client.result(stream)


def proxied(port, path, header):
    """Two requests, one after the other, on a connection that begins with a PROXY header."""
    client = Client(port, header.encode() + b'\r\n')
    seen = []
    for _ in range(2):
        stream = client.open(path)
        client.finish(stream)
        seen.append(client.result(stream))
    return seen


def pieces(port, path):
    """A field in crumbs, and fields of HTTP/1."""
    client = Client(port)
    stream = client.open(path, 'GET', [('cookie', 'a=1'), ('x-a', '1'), ('cookie', 'b=2'), ('x-a', '2'), ('proxy', 'evil')])
    client.finish()
    return client.result(stream)


def resets(port, path, count):
    """Opens streams and resets each at once; then one that is served when there is room. Returns how many were refused."""
    client = Client(port)
    for _ in range(int(count)):
        stream = client.open(path)
        client.h2.reset_stream(stream, 8)
        client.flush()
        while client.step(0.001):
            pass
        if client.closed:
            break
    return {'closed': client.closed, 'goaways': client.goaways}


def lines(path):
    """How many lines a file has that may not be there yet."""
    try:
        with open(path, encoding='ascii') as file:
            return len(file.readlines())
    except FileNotFoundError:
        return 0


def limit(port, path, count, held):
    """Resets so many streams whose calls go on, then asks for one more. The app adds a line to `held` when it is called."""
    client = Client(port)
    for number in range(1, int(count) + 1):
        stream = client.open(path)
        limit = time.monotonic() + 20
        while lines(held) < number and time.monotonic() < limit:
            client.step(0.02)
        client.h2.reset_stream(stream, 8)
        client.flush()
    stream = client.open(path)
    client.finish(stream)
    return client.result(stream)


def stalled(port, path):
    """Takes nothing of a response beyond the first window, and asks for another at the same time."""
    client = Client(port)
    client.automatic = False
    large = client.open(path)
    while len(client.streams[large]['content']) < 65535 and client.step():
        pass
    # The connection's window is empty as well: only a head can come.
    client.h2.increment_flow_control_window(1000)
    client.flush()
    other = client.open('/hello')
    client.finish(other)
    return {'large': len(client.streams[large]['content']), 'other': client.result(other)}


def held(port, path, until):
    """A request that is in flight while `until` happens elsewhere, and what becomes of the connection then."""
    client = Client(port)
    first = client.open(path)
    print('open', flush=True)
    sys.stdin.readline()
    if until == 'next':
        second = client.open('/hello')
        client.finish()
        return {'first': client.result(first), 'second': client.result(second), 'goaways': client.goaways}
    client.finish()
    while client.step(30):
        pass
    return {'first': client.result(first), 'goaways': client.goaways, 'closed': client.closed}


def late(port, path):
    """A request that crosses the GOAWAY of an idle connection: the server has not said yet which streams it will serve."""
    client = Client(port)
    client.finish(client.open('/hello'))
    print('open', flush=True)
    sys.stdin.readline()
    waiting = []
    client.on_goaway = lambda: waiting.append(client.open(path)) if not waiting else None
    while not waiting and client.step():
        pass
    client.finish(*waiting)
    while client.step(30):
        pass
    return {'late': client.result(waiting[0]), 'goaways': client.goaways, 'closed': client.closed}


def idle(port):
    """How long a connection without a stream is kept."""
    client = Client(port)
    stream = client.open('/hello')
    client.finish()
    began = time.time()
    while client.step(60):
        pass
    return {'seconds': time.time() - began, 'goaways': client.goaways, 'closed': client.closed,
            'status': client.streams[stream]['status']}


if __name__ == '__main__':
    print(json.dumps(globals()[sys.argv[2]](int(sys.argv[1]), *sys.argv[3:]), default=lambda value: value.decode('latin-1')))
