#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Instructions that the library's own code takes for a message of 64 bytes, sent with TCPMSG_MORE
and received by view, as callgrind counts them: the same each time for the same compiler.

usage: instructions.py PROGRAM    (bench/instructions of a build)
"""

import pathlib
import re
import subprocess
import sys
import tempfile

BATCH = 1000
FEW, MANY = 2, 12


def counted(program, batches):
    """Function -> instructions, of what the library has."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder, 'callgrind')
        subprocess.run(['valgrind', '-q', '--tool=callgrind', f'--callgrind-out-file={out}',
                        program, str(batches)], check=True)
        text = subprocess.run(['callgrind_annotate', '--threshold=100', '--show-percs=no', out],
                              check=True, stdout=subprocess.PIPE, text=True).stdout
    found = {}
    for count, name in re.findall(r'^ *([\d,]+) +\S*?:(\w+)\S* +\[\S*libtcpmsg\S*\]$', text, re.M):
        found[name] = found.get(name, 0) + int(count.replace(',', ''))
    if not found:
        raise SystemExit('nothing was counted in the library')
    return found


def each(program):
    """Function -> instructions a message."""
    few, many = counted(program, FEW), counted(program, MANY)
    messages = BATCH * (MANY - FEW)
    costs = {name: (count - few.get(name, 0)) / messages for name, count in many.items()}
    return {name: cost for name, cost in costs.items() if cost >= 0.05}


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    costs = each(sys.argv[1])
    for name, cost in sorted(costs.items(), key=lambda item: -item[1]):
        print(f'{cost:8.1f}  {name}')
    print(f'instructions a message: {sum(costs.values()):.1f}')


if __name__ == '__main__':
    main()
