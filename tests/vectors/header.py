#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The vectors of this folder as C, for test_vectors.c, which declares what they are made of.

usage: header.py ENCODE.JSON DECODE.JSON STREAMS.JSON OUT.H
"""

import json
import pathlib
import sys


def of_framing(fields):
    width = 'TCPMSG_VARINT' if fields['width'] == 'varint' else fields['width']
    little = int(fields['byte_order'] == 'little')
    counts = int(fields['counts_prefix'])
    return f'{{.width = {width}, .little_endian = {little}, .counts_prefix = {counts}}}'


def of_bytes(text):
    """An array's initializer; it may not be empty, so nothing is one byte too many."""
    return '{' + ', '.join(f'0x{byte:02x}' for byte in bytes.fromhex(text) or b'\0') + '}'


def size_of(text):
    return len(text) // 2


def of_encode(framing, case):
    prefix = case.get('prefix', '')
    answer = case.get('error', size_of(prefix))
    return (f'{{{framing}, .length = UINT64_C({case["length"]}), .answer = {answer}, '
            f'.bytes = {of_bytes(prefix)}, .count = {size_of(prefix)}}}')


def of_decode(framing, case):
    answer = case.get('error', case.get('prefix_size', 0))
    return (f'{{{framing}, .length = UINT64_C({case.get("length", 0)}), .answer = {answer}, '
            f'.bytes = {of_bytes(case["bytes"])}, .count = {size_of(case["bytes"])}}}')


def cases_array(name, groups, of_case):
    lines = [of_case(of_framing(group['framing']), case)
             for group in groups for case in group['cases']]
    return f'static const struct prefix_vector {name}[] = {{\n' + ',\n'.join(lines) + '};\n'


def streams_arrays(groups):
    arrays, entries = [], []
    for group in groups:
        for stream in group['streams']:
            at = len(entries)
            sizes = [str(size_of(message)) for message in stream['messages']]
            arrays += [
                f'static const uint8_t wire_{at}[] = {of_bytes(stream["wire"])};',
                f'static const uint8_t said_{at}[] = {of_bytes("".join(stream["messages"]))};',
                f'static const size_t sizes_{at}[] = {{{", ".join(sizes) or 0}}};',
            ]
            entries.append(
                f'{{{json.dumps(stream["name"])}, {of_framing(group["framing"])}, '
                f'.max_message = {stream["max_message"]}, .sender = {int(stream["sender"])}, '
                f'.wire = wire_{at}, .wire_size = {size_of(stream["wire"])}, .said = said_{at}, '
                f'.sizes = sizes_{at}, .count = {len(sizes)}, .end = {stream["end"]}}}')
    return ('\n'.join(arrays) + '\nstatic const struct stream_vector streams[] = {\n'
            + ',\n'.join(entries) + '};\n')


def main(encode, decode, streams, out):
    encode, decode, streams = (json.loads(pathlib.Path(path).read_text(encoding='ascii'))
                               for path in (encode, decode, streams))
    text = (cases_array('encodings', encode, of_encode)
            + cases_array('decodings', decode, of_decode) + streams_arrays(streams))
    pathlib.Path(out).write_text(text, encoding='ascii')


if __name__ == '__main__':
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
