"""Sends the cases of t/http2-corpus as frames, each on a connection of its own, and prints as JSON what deviates.

    http2_corpus.py PORT FILE     a server that listens there with the options of the file
    http2_corpus.py --read FILE   the file as JSON: options, groups, cases

Frames are made here, and read by hyperframe; hpack has the header compression. No library decides what may be sent.
The README of the corpus says what a file looks like.
"""
import json
import re
import select
import struct
import sys
import time

import hpack
import hyperframe.frame

from http2_frames import CODES, PREFACE, Frames, frame

TYPES = dict(DATA=0, HEADERS=1, PRIORITY=2, RST_STREAM=3, SETTINGS=4, PUSH_PROMISE=5, PING=6, GOAWAY=7, WINDOW_UPDATE=8, CONTINUATION=9)
SETTINGS = dict(TABLE=1, PUSH=2, STREAMS=3, WINDOW=4, FRAME=5, LIST=6, CONNECT=8)
# Follows every case whose connection goes on.
AFTER = 999
AFTER_PATH = '/after'
SECONDS = 30


def expand(text):
    text = re.sub(r'\{(\d+)\*([^}]+)\}', lambda found: found[2] * int(found[1]), text)
    return re.sub(r'\\(?:x([0-9a-f]{2})|(.))',
                  lambda found: chr(int(found[1], 16)) if found[1] else {'r': '\r', 'n': '\n', 't': '\t', '0': '\0', 's': ' ', '\\': '\\', '|': '|', 'e': ''}[found[2]],
                  text)


def read(path):
    """{options, groups: [{title, text, cases: [{name, lines, expected, known, why}]}]}"""
    result = {'options': {}, 'groups': []}
    case = None
    for number, line in enumerate(open(path, encoding='latin-1'), 1):
        line = line.rstrip('\n')
        if line.startswith('options '):
            result['options'] = dict(pair.split('=') for pair in line.split()[1:])
        elif line.startswith('== '):
            case = {'name': line[3:], 'lines': [], 'expected': [], 'known': [], 'why': ''}
            result['groups'][-1]['cases'].append(case)
        elif line.startswith('= '):
            result['groups'].append({'title': line[2:], 'text': '', 'cases': []})
            case = None
        elif line.startswith('    '):
            case['lines'].append(line[4:])
        elif line.startswith('-> '):
            case['expected'].append(line[3:])
        elif line.startswith('-! '):
            known, _, case['why'] = line[3:].partition(' | ')
            case['known'].append(known)
        elif case is None:
            result['groups'][-1]['text'] += line + '\n' if line.strip() else ''
        elif line.strip():
            sys.exit('%s line %d: what is %r?' % (path, number, line))
    for group in result['groups']:
        for case in group['cases']:
            if not case['lines'] or not case['expected']:
                sys.exit('%s: %s has no frames or no answers' % (path, case['name']))
    return result


class Encoder:
    """The header compression of a case's frames."""
    def __init__(self):
        self.hpack = hpack.Encoder()

    def block(self, fields):
        """`name: value | ...`; GET, POST and so on stand for the four pseudo fields; `hex` for the block's bytes."""
        if fields == 'hex' or fields.startswith('hex '):
            return bytes.fromhex(fields[3:])
        pairs = []
        for field in filter(None, (field.strip(' ') for field in re.split(r' ?\| ?', fields))):
            short = re.match(r'(GET|POST|HEAD|PUT|OPTIONS|DELETE) (\S+)$', field)
            if short:
                pairs += [(':method', short[1]), (':scheme', 'http'), (':path', expand(short[2])), (':authority', 'x')]
                continue
            name, _, value = field.partition(': ') if ': ' in field else (field.rstrip(':'), '', '')
            pairs.append((expand(name), expand(value)))
        return self.hpack.encode([(name.encode('latin-1'), value.encode('latin-1')) for name, value in pairs], huffman=False)


def frames(lines):
    """The bytes of a case, without the preface if the case has its own."""
    encoder = Encoder()
    out = [] if lines[0].startswith('RAW') else [PREFACE, frame(4, 0, 0, b'')]
    for line in lines:
        head, _, rest = line.partition(' | ')
        name, *words = head.split()
        if name == 'RAW':
            out.append(expand(line[4:]).encode('latin-1'))
            continue
        if name == 'PREFACE':
            out.append(PREFACE)
            continue
        if name == 'WAIT':
            out.append(None)
            continue
        times = 1
        if name.endswith('*'):
            name, times = name[:-1], int(words.pop(0))
        kind = TYPES[name] if name in TYPES else int(name)
        said = {word.partition('=')[0]: word.partition('=')[2] for word in words if not word.isdigit()}
        stream = next((int(word) for word in words if word.isdigit()), 0)
        flags = int(said.get('flags', '0'), 0)
        if kind in (1, 9):
            payload = encoder.block(rest)
            if 'more' not in said:
                flags |= 4
            if 'priority' in said:
                flags |= 0x20
                payload = struct.pack('>IB', int(said['priority']), 15) + payload
        elif kind == 0:
            payload = expand(rest).encode('latin-1')
        elif kind == 2:
            payload = struct.pack('>IB', int(said['on']), 15)
        elif kind == 3:
            payload = struct.pack('>I', CODES.index(said.get('code', 'CANCEL')))
        elif kind == 4:
            payload = b''.join(struct.pack('>HI', int(SETTINGS.get(key, key)), int(value))
                               for key, value in (pair.split('=') for pair in rest.split() if '=' in pair))
        elif kind == 6:
            payload = b'\1\2\3\4\5\6\7\10'
        elif kind == 7:
            payload = struct.pack('>II', 0, CODES.index(said.get('code', 'NO_ERROR')))
        elif kind == 8:
            payload = struct.pack('>I', int(said['by']))
        else:
            payload = b''
        if 'hex' in said:
            payload = bytes.fromhex(said['hex'])
        if 'padded' in said:
            flags |= 8
            payload = bytes([int(said['padded'])]) + payload + b'\0' * int(said.get('padding', said['padded']))
        if 'ack' in said:
            flags |= 1
        if 'end' in said:
            flags |= 1
        length = int(said['length']) if 'length' in said else None
        one = frame(kind, flags, stream, payload, length)
        if times > 1 and kind == 1:
            for each in range(times):
                out.append(frame(kind, flags, stream + 2 * each, payload))
        else:
            out.append(one * times)
    return out, encoder


class Run:
    """A case on its connection."""
    def __init__(self, port, case):
        self.case = case
        # What is known to differ from the RFC must not change unseen either.
        self.wanted = case['known'] or case['expected']
        pieces, encoder = frames(case['lines'])
        self.goes_on = not any(re.match(r'(goaway|close)\b', line) for line in self.wanted)
        if self.goes_on:
            pieces.append(frame(1, 5, AFTER, encoder.block('GET ' + AFTER_PATH)))
        self.frames = Frames(port, SECONDS)
        self.pieces = pieces
        self.pings = 0
        self.decoder = hpack.Decoder()
        self.streams = {}
        self.seen = []
        self.goaway = None
        self.block = b''
        self.waits = False
        self.send()

    def send(self):
        """Sends up to the next WAIT, which lasts until the server has answered a PING."""
        data = b''
        while self.pieces:
            piece = self.pieces.pop(0)
            if piece is None:
                data += frame(6, 0, 0, b'wait\0\0\0\0')
                break
            data += piece
        self.frames.send(data)

    @property
    def closed(self):
        return self.frames.closed

    def complete(self):
        if self.goes_on:
            wanted = [int(line.split(':')[0]) for line in self.wanted if re.match(r'\d+:', line) and not line.endswith(': nothing')]
            return all(self.streams.get(stream, {}).get('end') for stream in wanted + [AFTER])
        return False

    def read(self):
        """False when no more will come."""
        for whole in self.frames.read():
            head, _ = hyperframe.frame.Frame.parse_frame_header(memoryview(whole[:9]))
            head.parse_body(memoryview(whole[9:]))
            self.see(head)
        if self.closed:
            return False
        return not self.complete()

    def see(self, one):
        if one.type == 4 and 'ACK' in one.flags:
            self.seen.append('settings ack')
        elif one.type == 4:
            self.seen.append('settings')
        elif one.type == 6 and one.opaque_data[:4] == b'wait':
            self.send()
        elif one.type == 6 and 'ACK' in one.flags and one.opaque_data == b'\1\2\3\4\5\6\7\10':
            self.seen.append('ping ack')
        elif one.type == 7 and not self.goaway:
            self.goaway = CODES[one.error_code]
        elif one.type in (1, 9):
            self.block += one.data
            if 'END_HEADERS' in one.flags:
                fields = self.decoder.decode(self.block, raw=True)
                self.block = b''
                stream = self.streams.setdefault(one.stream_id, {'content': '', 'fields': []})
                fields = [(name.decode('latin-1'), value.decode('latin-1')) for name, value in fields]
                status = dict(fields).get(':status')
                if status and status[0] == '1':
                    stream.setdefault('interim', []).append(status)
                elif status:
                    stream.update(status=status, fields=fields)
        elif one.type == 0:
            self.streams.setdefault(one.stream_id, {'content': '', 'fields': []})['content'] += one.data.decode('latin-1')
        elif one.type == 3:
            stream = self.streams.setdefault(one.stream_id, {'content': '', 'fields': []})
            # A whole response, then NO_ERROR: the rest of the request is not wanted.
            if not stream.get('end'):
                stream['end'] = 'reset ' + CODES[one.error_code]
        if one.type in (0, 1) and 'END_STREAM' in one.flags:
            self.streams[one.stream_id]['end'] = 'end'

    def outcome(self, number):
        stream = self.streams.get(number)
        if not stream:
            return 'goaway ' + self.goaway if self.goaway else 'nothing'
        if stream.get('end', '').startswith('reset'):
            return stream['end']
        return stream.get('status', 'content alone') + ('' if stream.get('end') else ' without an end')

    def calls(self):
        return sum(1 for number, stream in self.streams.items()
                   if any(name == 'content-type' and value == 'text/plain; app=wire' for name, value in stream['fields']))

    def deviation(self):
        """What differs from the case; nothing if it is as the case says."""
        for line in self.wanted:
            found = self.differs(line)
            if found:
                return found
        if self.goes_on:
            if self.goaway:
                return 'goaway ' + self.goaway
            after = self.streams.get(AFTER, {})
            if after.get('content') != 'GET|/after||/after|0|':
                return 'the request after it gets %s %r' % (self.outcome(AFTER), after.get('content'))
        named = {int(line.split(':')[0]) for line in self.wanted if re.match(r'\d+:', line)}
        for number, stream in self.streams.items():
            if number not in named | {AFTER} and stream.get('status') and not self.case['lines'][0].startswith('HEADERS*'):
                return 'a response on stream %d that should not be there' % number
        return None

    def differs(self, line):
        plain = re.match(r'(goaway|close)(?: (.+))?$', line)
        if plain:
            if not self.closed:
                return 'the connection stays open'
            if plain[1] == 'goaway' and (self.goaway or 'no goaway') not in plain[2].split(' or '):
                return 'goaway %s, not %s' % (self.goaway, plain[2])
            return None
        if line in ('ping ack', 'settings ack'):
            return None if line in self.seen else 'no ' + line
        number, _, wanted = line.partition(': ')
        number = int(number)
        stream = self.streams.get(number, {})
        found = self.outcome(number)
        with_ = re.match(r'(with|without) ([^ :]+)(?:: (.*))?$', wanted)
        if with_:
            values = [value for name, value in stream.get('fields', []) if name == with_[2]]
            if with_[1] == 'without':
                return '%d has %s: %s' % (number, with_[2], values) if values else None
            return None if values and (with_[3] is None or values == [expand(with_[3])]) else '%d: %s is %s' % (number, with_[2], values)
        if wanted == 'malformed':
            # RFC 9113 section 8.1.1 leaves these to the server.
            return None if found in ('400', 'reset PROTOCOL_ERROR') else '%d: %s, not malformed' % (number, found)
        if wanted.startswith('interim '):
            return None if stream.get('interim') == [wanted[8:]] else '%d: interim %s' % (number, stream.get('interim'))
        status = re.match(r'(\d+)(?: (.*))?$', wanted)
        if not status:
            return None if found in wanted.split(' or ') else '%d: %s, not %s' % (number, found, wanted)
        if found != status[1]:
            return '%d: %s, not %s' % (number, found, status[1])
        if status[2] is not None and stream['content'] != expand(status[2]):
            return '%d: %r, not %r' % (number, stream['content'], expand(status[2]))
        return None


def exchange(port, path):
    corpus = read(path)
    cases = [case for group in corpus['groups'] for case in group['cases']]
    runs = [Run(port, case) for case in cases]
    open_ = {run.frames: run for run in runs}
    limit = time.time() + SECONDS
    while open_ and time.time() < limit:
        ready, _, _ = select.select(list(open_), [], [], 1)
        for one in ready:
            if not open_[one].read():
                del open_[one]
    found = [{'name': run.case['name'], 'why': run.deviation()} for run in runs]
    return {'cases': len(runs), 'deviations': [one for one in found if one['why']],
            'calls': sum(1 for run in runs for stream in run.streams.values() if stream.get('status') == '200')}


if __name__ == '__main__':
    if sys.argv[1] == '--read':
        print(json.dumps(read(sys.argv[2])))
    else:
        print(json.dumps(exchange(int(sys.argv[1]), sys.argv[2])))
