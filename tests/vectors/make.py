#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes the test vectors of this folder, from the words of docs/protocol.md alone.

usage: make.py [--check]

Writes encode.json, decode.json and streams.json beside itself; with --check it only compares, and
fails when a file is not what it would write. README.md here says what the fields mean.
"""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent

SSIZE_MAX = 2**63 - 1
VARINT = 'varint'
VARINT_MOST = 10  # bytes
DEFAULT_LIMIT = 16 * 1024 * 1024

EOF, ETRUNCATED = 'TCPMSG_EOF', 'TCPMSG_ETRUNCATED'
EMSGSIZE, EPROTO = 'TCPMSG_EMSGSIZE', 'TCPMSG_EPROTO'


class Framing:
    def __init__(self, width, byte_order='big', counts_prefix=False):
        self.width = width
        self.byte_order = byte_order
        self.counts_prefix = counts_prefix
        self.own = width if counts_prefix else 0
        self.largest = SSIZE_MAX
        if width != VARINT:
            self.largest = min(SSIZE_MAX, 256**width - 1 - self.own)

    def fields(self):
        return {'width': self.width, 'byte_order': self.byte_order,
                'counts_prefix': self.counts_prefix}

    def number(self, said, least_bytes=1):
        """A number as the prefix has it, whatever it means; a varint may be longer than need be."""
        if self.width == VARINT:
            groups = [said % 128]
            while said >= 128 or len(groups) < least_bytes:
                said //= 128
                groups.append(said % 128)
            return bytes([group + 128 for group in groups[:-1]] + groups[-1:])
        digits = []
        for _ in range(self.width):
            said, digit = divmod(said, 256)
            digits.append(digit)
        return bytes(digits if self.byte_order == 'little' else digits[::-1])

    def prefix(self, length):
        if length > self.largest:
            raise ValueError(length)
        return self.number(length + self.own)

    def frame(self, message):
        return self.prefix(len(message)) + message


FRAMINGS = [
    Framing(width, byte_order, counts_prefix)
    for width in (1, 2, 3, 4, 8)
    for byte_order in ('big', 'little')
    for counts_prefix in (False, True)
] + [Framing(VARINT)]


# encode.json

def lengths():
    """Those at which something changes, and one whose bytes are all different."""
    edges = {256**width for width in (1, 2, 3, 4)} | {2**31, SSIZE_MAX, 2**64 - 1}
    around = {edge + step for edge in edges for step in range(-5, 3)}
    own = {256**width - 1 - width for width in (1, 2, 3, 4, 8)}
    groups = {128**count + step for count in range(1, 10) for step in (-1, 0, 1)}
    others = {0, 1, 2, 5, 300, 0x01020304, 0x0102030405060708, SSIZE_MAX - 8}
    return sorted(length for length in around | own | groups | others if length < 2**64)


def encode_case(framing, length):
    case = {'length': str(length)}
    if length > framing.largest:
        return case | {'error': EMSGSIZE}
    return case | {'prefix': framing.prefix(length).hex()}


def encode_cases(framing):
    return [encode_case(framing, length) for length in lengths()]


# decode.json

def says(bytes_, length, prefix_size):
    return {'bytes': bytes_.hex(), 'length': str(length), 'prefix_size': prefix_size}


def refused(bytes_, error):
    return {'bytes': bytes_.hex(), 'error': error}


def needs_more(bytes_):
    return {'bytes': bytes_.hex(), 'more': True}


def decode_fixed(framing):
    width, own = framing.width, framing.own
    for length in sorted({0, 1, 100, framing.largest}):
        prefix = framing.prefix(length)
        yield says(prefix, length, width)
        yield says(prefix + b'\xff\x00', length, width)
    for count in range(width):
        yield needs_more(framing.prefix(min(0x0102030405060708, framing.largest))[:count])
    for said in range(own):
        yield refused(framing.number(said), EPROTO)
        yield refused(framing.number(said) + b'hello', EPROTO)
    if width == 8:
        for said in (2**63 + own, 2**64 - 1):
            yield refused(framing.number(said), EMSGSIZE)


def decode_varint(framing):
    for length in (0, 1, 127, 128, 300, 16383, 16384, 2**31 - 1, 2**32, SSIZE_MAX):
        shortest = framing.prefix(length)
        for size in range(len(shortest), VARINT_MOST + 1):
            prefix = framing.number(length, size)
            yield says(prefix, length, size)
        yield says(shortest + b'\xff\x00', length, len(shortest))
    for count in range(VARINT_MOST):
        yield needs_more(b'\x80' * count)
        yield needs_more(b'\xff' * count)
    for length in (2**63, 2**64 - 1):
        yield refused(framing.number(length), EMSGSIZE)
    for last in (2, 0x7f, 0x80, 0xff):
        yield refused(b'\x80' * 9 + bytes([last]), EPROTO)
        yield refused(b'\xff' * 9 + bytes([last]) + b'\x00', EPROTO)


def decode_cases(framing):
    return list(decode_varint(framing) if framing.width == VARINT else decode_fixed(framing))


# streams.json

def payload(length, seed):
    return bytes((seed + 7 * at) % 256 for at in range(length))


def stream(name, messages, wire, end, max_message=DEFAULT_LIMIT, sender=False):
    return {'name': name, 'max_message': max_message, 'sender': sender,
            'messages': [message.hex() for message in messages], 'wire': wire.hex(), 'end': end}


def sent(framing, name, messages, max_message=DEFAULT_LIMIT):
    wire = b''.join(map(framing.frame, messages))
    return stream(name, messages, wire, EOF, max_message, sender=True)


def good_streams(framing):
    longest = min(framing.largest, 300)
    sizes = [0, 1, 5, 127, 128, 0, 0, min(255, longest), longest, 2]
    yield sent(framing, 'nothing', [])
    yield sent(framing, 'one empty message', [b''])
    yield sent(framing, 'three empty messages', [b'', b'', b''])
    yield sent(framing, 'hello', [b'hello'])
    yield sent(framing, 'messages of many lengths',
               [payload(size, seed) for seed, size in enumerate(sizes)])
    yield sent(framing, 'a payload that looks like prefixes', [framing.prefix(1) * 3, b'\0' * 20])
    yield sent(framing, 'as long as max_message', [b'before', payload(100, 1), b'after'], 100)


def cut_streams(framing):
    before = [b'hello', b'']
    sound = b''.join(map(framing.frame, before))
    frame = framing.frame(payload(200, 3))
    size = len(frame) - 200
    for count in range(1, size):
        yield stream(f'ends after {count} of {size} bytes of a prefix', before,
                     sound + frame[:count], ETRUNCATED)
    for count in (0, 1, 199):
        yield stream(f'ends after {count} of 200 bytes of a payload', before,
                     sound + frame[:size + count], ETRUNCATED)


def refused_stream(framing, name, prefix, error, max_message=DEFAULT_LIMIT):
    """After what is refused, nothing more is a message, whatever it looks like."""
    before = [b'hello', b'']
    wire = b''.join(map(framing.frame, before)) + prefix + framing.frame(b'hello')
    return stream(name, before, wire, error, max_message)


def refused_streams(framing):
    yield refused_stream(framing, 'a length of max_message and one', framing.prefix(101), EMSGSIZE,
                         max_message=100)
    yield refused_stream(framing, 'the largest length that can be said',
                         framing.prefix(framing.largest), EMSGSIZE, max_message=100)
    for said in sorted({0, framing.own - 1} if framing.own else ()):
        yield refused_stream(framing, f'a length of {said} that counts its own prefix',
                             framing.number(said), EPROTO)
    if framing.width in (8, VARINT):
        yield refused_stream(framing, 'a length over SSIZE_MAX',
                             framing.number(2**63 + framing.own), EMSGSIZE)
        yield refused_stream(framing, 'a length of all the bits', framing.number(2**64 - 1),
                             EMSGSIZE)


def varint_streams(framing):
    messages = [b'hello', b'', payload(200, 5)]
    for size in range(3, VARINT_MOST + 1):
        wire = b''.join(framing.number(len(message), size) + message for message in messages)
        yield stream(f'prefixes of {size} bytes, longer than need be', messages, wire, EOF)
    yield refused_stream(framing, 'a prefix without an end', b'\x80' * 10, EPROTO)
    yield refused_stream(framing, 'a prefix of more than 64 bits', b'\xff' * 9 + b'\x02', EPROTO)


def streams(framing):
    of_varint = varint_streams(framing) if framing.width == VARINT else ()
    return [*good_streams(framing), *cut_streams(framing), *refused_streams(framing), *of_varint]


# The files

def text_of(kind, cases_of):
    """JSON with a case on each line, so that a difference can be read."""
    groups = []
    for framing in FRAMINGS:
        lines = ',\n'.join('    ' + json.dumps(case) for case in cases_of(framing))
        groups.append(f'  {{"framing": {json.dumps(framing.fields())}, "{kind}": [\n{lines}\n  ]}}')
    return '[\n' + ',\n'.join(groups) + '\n]\n'


FILES = {
    'encode.json': ('cases', encode_cases),
    'decode.json': ('cases', decode_cases),
    'streams.json': ('streams', streams),
}


def main(arguments):
    if arguments not in ([], ['--check']):
        sys.exit(__doc__)
    different = []
    for name, (kind, cases_of) in FILES.items():
        path, text = HERE / name, text_of(kind, cases_of)
        if not arguments:
            path.write_text(text, encoding='ascii')
        elif not path.exists() or path.read_text(encoding='ascii') != text:
            different.append(name)
    for name in different:
        print(f'{name} is not what make.py makes')
    return 1 if different else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
