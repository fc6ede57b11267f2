"""What the clients of HTTP/2 have in common: a socket that gives whole frames."""
import socket
import struct

CODES = ['NO_ERROR', 'PROTOCOL_ERROR', 'INTERNAL_ERROR', 'FLOW_CONTROL_ERROR', 'SETTINGS_TIMEOUT', 'STREAM_CLOSED', 'FRAME_SIZE_ERROR',
         'REFUSED_STREAM', 'CANCEL', 'COMPRESSION_ERROR', 'CONNECT_ERROR', 'ENHANCE_YOUR_CALM', 'INADEQUATE_SECURITY', 'HTTP_1_1_REQUIRED']
PREFACE = b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
GOAWAY = 7


def frame(kind, flags, stream, payload, length=None):
    return struct.pack('>I', length if length is not None else len(payload))[1:] + bytes([kind, flags]) + struct.pack('>I', stream) + payload


def goaway(whole):
    """Code and last stream of a GOAWAY."""
    last, code = struct.unpack('>II', whole[9:17])
    return code, last


class Frames:
    """A connection to a port of this machine. `closed` is true when nothing more will come."""
    def __init__(self, port, timeout):
        self.socket = socket.create_connection(('127.0.0.1', port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b''
        self.closed = False

    def fileno(self):
        return self.socket.fileno()

    def send(self, data):
        """False when the other side takes no more."""
        try:
            self.socket.sendall(data)
        except OSError:
            return False
        return True

    def read(self):
        """Waits for more bytes, and returns the frames that are whole now. Raises socket.timeout when none come in time."""
        try:
            data = self.socket.recv(65536)
        except socket.timeout:
            raise
        except OSError:
            data = b''
        self.closed = not data
        self.received += data
        frames, at = [], 0
        while len(self.received) >= at + 9:
            end = at + 9 + int.from_bytes(self.received[at:at + 3], 'big')
            if len(self.received) < end:
                break
            frames.append(self.received[at:end])
            at = end
        self.received = self.received[at:]
        return frames
