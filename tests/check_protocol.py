# SPDX-License-Identifier: MIT
"""docs/protocol.md: its test vectors, and its clients in other languages. See check_docs.py."""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import pages
from pages import table_under

PAGE = pages.ROOT / 'docs' / 'protocol.md'

# The model: the prefixes of docs/protocol.md, written from its words alone.

SSIZE_MAX = 2**63 - 1


def framing_of(text):
    fields = dict(re.findall(r'\.(\w+) = (\w+)', text))
    return (fields.get('width', '4'), 'little' if fields.get('little_endian') == '1' else 'big',
            fields.get('counts_prefix') == '1')


def model_encode(framing, length):
    width, order, counts = framing
    if length > SSIZE_MAX:
        return 'TCPMSG_EMSGSIZE'
    if width == 'TCPMSG_VARINT':
        groups = [length >> shift & 127 for shift in range(0, max(length.bit_length(), 1), 7)]
        return bytes([group | 128 for group in groups[:-1]] + groups[-1:])
    size = int(width)
    try:
        return (length + size * counts).to_bytes(size, order)
    except OverflowError:
        return 'TCPMSG_EMSGSIZE'


def model_decode(framing, bytes_):
    width, order, counts = framing
    if width == 'TCPMSG_VARINT':
        ends = [at for at, byte in enumerate(bytes_[:10]) if byte < 128]
        if not ends and len(bytes_) < 10:
            return 'more'
        if not ends or (ends[0] == 9 and bytes_[9] > 1):
            return 'TCPMSG_EPROTO'
        length = sum((byte & 127) << 7 * at for at, byte in enumerate(bytes_[:ends[0] + 1]))
    else:
        size = int(width)
        if len(bytes_) < size:
            return 'more'
        length = int.from_bytes(bytes_[:size], order) - size * counts
        if length < 0:
            return 'TCPMSG_EPROTO'
    return 'TCPMSG_EMSGSIZE' if length > SSIZE_MAX else f'length {length}'


def bytes_or_error(cell):
    return cell if cell.startswith('TCPMSG_') else bytes.fromhex(cell)


# Prints what the library answers to one line of vectors each.
ASK_LIBRARY = '''
#include <stdio.h>
#include <tcpmsg/tcpmsg.h>
static void encode(tcpmsg_framing framing, size_t length)
{
    uint8_t prefix[TCPMSG_PREFIX_MAX];
    int size = tcpmsg_frame_encode(&framing, length, prefix);
    if (size < 0)
        printf("%%s", tcpmsg_error_name(size));
    for (int i = 0; i < size; i++)
        printf("%%02x", prefix[i]);
    printf("\\n");
}
static void decode(tcpmsg_framing framing, const char *bytes, size_t count)
{
    size_t length;
    ssize_t size = tcpmsg_frame_decode(&framing, bytes, count, &length);
    if (size <= 0)
        printf("%%s\\n", size == 0 ? "more" : tcpmsg_error_name((int)size));
    else
        printf("length %%zu\\n", length);
}
int main(void)
{
%s
    return 0;
}
'''


class Vectors(unittest.TestCase):
    def setUp(self):
        self.messages = table_under(PAGE, 'framing', 'message', 'on the wire')
        self.prefixes = table_under(PAGE, 'framing', 'length', 'prefix')
        self.answers = table_under(PAGE, 'framing', 'first bytes', 'answer')
        self.assertGreater(len(self.messages), 10)
        self.assertGreater(len(self.prefixes), 40)
        self.assertGreater(len(self.answers), 15)

    def test_messages(self):
        for framing, message, wire in self.messages:
            payload = b'' if message == '(empty)' else message.encode()
            with self.subTest(framing=framing, message=message):
                prefix = model_encode(framing_of(framing), len(payload))
                self.assertEqual(bytes.fromhex(wire), prefix + payload)

    def test_prefixes(self):
        for framing, length, prefix in self.prefixes:
            with self.subTest(framing=framing, length=length):
                self.assertEqual(bytes_or_error(prefix),
                                 model_encode(framing_of(framing), int(length)))

    def test_answers(self):
        for framing, first, answer in self.answers:
            with self.subTest(framing=framing, first=first):
                self.assertEqual(answer, model_decode(framing_of(framing), bytes.fromhex(first)))

    def test_limits(self):
        for width, longest, with_prefix in table_under(PAGE, 'width', 'longest payload',
                                                       'with counts_prefix'):
            for cell, counts in ((longest, False), (with_prefix, True)):
                if cell != '–':
                    value = SSIZE_MAX if cell == 'SSIZE_MAX' else int(cell.replace(',', ''))
                    framing = (width, 'big', counts)
                    with self.subTest(width=width, counts_prefix=counts):
                        self.assertIsInstance(model_encode(framing, value), bytes)
                        self.assertEqual(model_encode(framing, value + 1), 'TCPMSG_EMSGSIZE')

    def test_library_agrees(self):
        if not pages.given.library:
            self.skipTest('no --library')
        calls, wanted = [], []
        for framing, length, prefix in self.prefixes:
            calls.append(f'encode((tcpmsg_framing){framing}, {length}u);')
            wanted.append(prefix.replace(' ', ''))
        for framing, first, answer in self.answers:
            text = ''.join(f'\\x{byte}' for byte in first.split())
            calls.append(f'decode((tcpmsg_framing){framing}, "{text}", {len(first.split())});')
            wanted.append(answer)
        with tempfile.TemporaryDirectory() as room:
            program = pathlib.Path(room) / 'ask'
            made = pages.compile_c(ASK_LIBRARY % '\n'.join(calls), program)
            self.assertEqual(made.returncode, 0, made.stderr)
            said = subprocess.run([program], capture_output=True, text=True, timeout=pages.WAIT_S)
        self.assertEqual(said.stdout.splitlines(), wanted)


class Languages(unittest.TestCase):
    """Each client as it stands, but for the port."""

    def expect_hello(self, language, file_name, command):
        tool = shutil.which(command[0])
        if not pages.given.library or tool is None:
            self.skipTest(f'no {command[0] if pages.given.library else "--library"}')
        (source,) = [block for block in pages.blocks(PAGE, language)
                     if not re.search(r'io\.netty|tokio', block)]
        with tempfile.TemporaryDirectory() as name:
            room = pathlib.Path(name)
            port = pages.start_server(room, self)
            (room / file_name).write_text(pages.with_port(source, port), encoding='utf-8')
            said = pages.run([tool, *command[1:], room / file_name], room)
        self.assertEqual(said, 'hello\n\n')

    def expect_other(self, *arguments):
        if not pages.given.languages:
            self.skipTest('no --languages')
        self.expect_hello(*arguments)

    def test_python(self):
        self.expect_hello('python', 'client.py', [sys.executable])

    def test_erlang(self):
        self.expect_other('erlang', 'client.escript', ['escript'])

    def test_go(self):
        self.expect_other('go', 'client.go', ['go', 'run'])

    def test_java(self):
        self.expect_other('java', 'Client.java', ['java'])

    def test_rust(self):
        if shutil.which('rustc') is None:
            self.skipTest('no rustc')
        build_and_run = 'rustc --edition 2021 -o rust_client "$0" && ./rust_client'
        self.expect_other('rust', 'client.rs', ['sh', '-c', build_and_run])
