#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the shared library offers and what it needs.

It exports exactly the functions that the public headers declare, which the version script lists;
it needs libc alone; a release never aborts, prints or sets a signal handler.

usage: check_symbols.py LIBRARY INCLUDE_DIR VERSION_SCRIPT [--release]
"""

import pathlib
import re
import subprocess
import sys

# libpthread is libc's own, and apart from it only before glibc 2.34.
LIBC = re.compile(r'(libc|libpthread|ld-[\w-]+|ld-linux[\w-]*)\.so(\.\d+)?')

FORBIDDEN = re.compile(
    r'abort|exit|_exit|_Exit|quick_exit|__assert\w*'
    r'|(__)?v?f?d?printf(_chk)?|f?puts|f?putc|putchar|perror|fwrite|syslog|psignal'
    r'|signal|bsd_signal|sysv_signal|__sysv_signal|sigaction|raise|environ|setlocale'
)

# The version script's own name is a symbol too.
VERSION = 'LIBTCPMSG_0.1'

DECLARATION = re.compile(r'\b(tcpmsg_\w+)\s*\(')
COMMENT = re.compile(r'/\*.*?\*/', re.DOTALL)


def symbols(library, which):
    """The dynamic symbols' names: `--defined-only` or `--undefined-only`."""
    output = subprocess.check_output(['nm', '-D', '-P', which, library], text=True)
    return {line.split()[0].split('@')[0] for line in output.splitlines()}


def needed(library):
    output = subprocess.check_output(['readelf', '-d', '-W', library], text=True)
    return re.findall(r'\(NEEDED\).*\[(.*)\]', output)


def declared(include):
    names = set()
    for header in pathlib.Path(include).rglob('*.h'):
        text = COMMENT.sub('', header.read_text(encoding='utf-8'))
        code = [line for line in text.splitlines() if not line.startswith('#')]
        names.update(DECLARATION.findall('\n'.join(code)))
    return names


def listed(version_script):
    text = COMMENT.sub('', pathlib.Path(version_script).read_text(encoding='utf-8'))
    return set(re.findall(r'(\S+);', text.split('local:')[0]))


def differences(expected, found, what):
    for name in sorted(expected - found):
        yield f'{name} is declared in a public header, and not {what}'
    for name in sorted(found - expected):
        yield f'{name} is {what}, and declared in no public header'


def check(library, include, version_script, release):
    """A list of what is wrong."""
    public = declared(include)
    exported = symbols(library, '--defined-only') - {VERSION}
    wrong = list(differences(public, exported, 'exported'))
    wrong += differences(public, listed(version_script), 'in the version script')
    wrong += [f'needs {name}' for name in needed(library) if not LIBC.fullmatch(name)]
    if release:
        undefined = sorted(symbols(library, '--undefined-only'))
        wrong += [f'a release calls {name}' for name in undefined if FORBIDDEN.fullmatch(name)]
    return wrong


def main(arguments):
    wrong = check(*arguments[:3], release='--release' in arguments)
    print('\n'.join(wrong) or f'exports the {len(declared(arguments[1]))} functions, needs libc')
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
