#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Instructions that the library's own code takes for a message of 64 bytes, sent with TCPMSG_MORE
and received by view, as callgrind counts them: the same each time for the same compiler.

usage: instructions.py PROGRAM    (bench/instructions of a build)
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

BATCH = 1000
FEW, MANY = 2, 12
CALLS = ('tcpmsg_recv_view', 'tcpmsg_send')

# The library's own lines, wherever it lies: a folder may bear its name too.
LINE = re.compile(r'^ *([\d,]+) +\S*?:(\w+)\S* +\[(?:.*/)?libtcpmsg\.[^/]*\]$', re.MULTILINE)


def counted(program, batches):
    """Function -> instructions, of what the library has."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder, 'callgrind')
        # Nothing of the user's own settings, nor debug information from the network.
        valgrind = ['valgrind', '-q', '--command-line-only=yes', '--vgdb=no', '--tool=callgrind',
                    f'--callgrind-out-file={out}']
        subprocess.run([*valgrind, program, str(batches)], check=True,
                       env=dict(os.environ, DEBUGINFOD_URLS=''))
        text = subprocess.run(['callgrind_annotate', '--threshold=100', '--show-percs=no', out],
                              check=True, stdout=subprocess.PIPE, text=True).stdout
    found = {}
    for count, name in LINE.findall(text):
        found[name] = found.get(name, 0) + int(count.replace(',', ''))
    for name in CALLS:
        if name not in found:
            raise SystemExit(f'{name} was not counted')
    return found


def each(program):
    """Function -> instructions a message."""
    few, many = counted(program, FEW), counted(program, MANY)
    messages = BATCH * (MANY - FEW)
    costs = {name: (count - few.get(name, 0)) / messages for name, count in many.items()}
    return {name: cost for name, cost in costs.items() if cost >= 0.05}


def show(costs):
    for name, cost in sorted(costs.items(), key=lambda item: -item[1]):
        print(f'{cost:8.1f}  {name}')
    print(f'instructions a message: {sum(costs.values()):.1f}')


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    show(each(sys.argv[1]))


if __name__ == '__main__':
    main()
