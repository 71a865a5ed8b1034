#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compiles each public header alone, as C11, C17 and C++17, without a warning."""

import argparse
import pathlib
import subprocess
import sys

WARNINGS = ['-Wall', '-Wextra', '-Wpedantic', '-Werror', '-fsyntax-only']


def complaint(compiler, language, standard, include, header):
    # Twice: an include guard that is missing or shared shows here.
    source = f'#include <{header}>\n#include <{header}>\ntypedef int not_empty;\n'
    command = compiler + ['-x', language, f'-std={standard}', '-I', str(include), *WARNINGS, '-']
    result = subprocess.run(command, input=source, text=True, capture_output=True)
    return f'{header} as {standard}:\n{result.stderr}' if result.returncode else ''


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('include', type=pathlib.Path)
    parser.add_argument('--c', nargs='+', required=True, help='the C compiler')
    parser.add_argument('--cpp', nargs='+', help='the C++ compiler')
    given = parser.parse_args()

    ways = [(given.c, 'c', 'c11'), (given.c, 'c', 'c17')]
    if given.cpp:
        ways.append((given.cpp, 'c++', 'c++17'))
    headers = sorted(path.relative_to(given.include) for path in given.include.rglob('*.h'))
    wrong = [
        text
        for header in headers
        for way in ways
        if (text := complaint(*way, given.include, header))
    ]
    print('\n'.join(wrong) or f'{len(headers)} headers, {len(ways)} languages, no warning')
    return 1 if wrong or not headers else 0


if __name__ == '__main__':
    sys.exit(main())
