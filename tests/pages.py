# SPDX-License-Identifier: MIT
"""The pages of the documentation as the checks read them: links, spans, tables, code."""

import os
import pathlib
import re
import socket
import subprocess
import textwrap
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
HEADERS = sorted((ROOT / 'include' / 'tcpmsg').glob('*.h'))
PAGES = sorted(ROOT.glob('*.md')) + sorted((ROOT / 'docs').glob('*.md'))
WAIT_S = 30

# What README's programs are written for; a test puts a free one in its place.
ADDRESS = re.compile(r'127\.0\.0\.1((?:["\'], |:))5000')

WARNINGS = ['-std=c11', '-D_GNU_SOURCE', '-Wall', '-Wextra', '-Werror']

# A block of C that is no whole program stands in a function, with what the text speaks of.
FRAGMENT = '''
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tcpmsg/tcpmsg.h>
'''
IN_FUNCTION = '''
int fragment(tcpmsg_conn *conn, tcpmsg_listener *listener);
int fragment(tcpmsg_conn *conn, tcpmsg_listener *listener)
{
    (void)conn;
    (void)listener;
    {
%s
    }
    return 0;
}
'''

# What the check was called with: cc, library, languages.
given = None


def text_of(path):
    return path.read_text(encoding='utf-8')


def blocks(path, language):
    """The fenced code blocks of a page in one language; in a list they stand indented."""
    fence = re.compile(rf'^( *)```{language}\n(.*?)^\1```$', re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(body) for _, body in fence.findall(text_of(path))]


def prose(path):
    """A page without its fenced blocks."""
    return re.sub(r'^( *)```.*?^\1```$', '', text_of(path), flags=re.MULTILINE | re.DOTALL)


def spans(path):
    return re.findall(r'`([^`\n]+)`', prose(path))


def table_under(path, *heads):
    """The rows of the tables that have these columns, without backticks."""
    rows, inside = [], False
    for line in text_of(path).splitlines():
        cells = [cell.strip().replace('`', '') for cell in line.strip('|').split('|')]
        if not line.startswith('|'):
            inside = False
        elif cells == list(heads):
            inside = True
        elif inside and not set(line) <= set('|- '):
            rows.append(cells)
    return rows


def anchor(heading):
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r'[^\w\- ]', '', heading.replace('`', '').lower()).replace(' ', '-')


def is_program(source):
    return re.search(r'^int main\(', source, re.MULTILINE) is not None


def as_unit(source):
    """A block of C as something that compiles."""
    if is_program(source):
        return source
    at_file_scope = re.search(r'^\{', source, re.MULTILINE)
    return FRAGMENT + (source if at_file_scope else IN_FUNCTION % source)


def sanitizers_of(library):
    """The flags that a program needs to be linked with a library that was built with them."""
    marks = {'address': b'__asan_init', 'thread': b'__tsan_init', 'undefined': b'__ubsan_handle'}
    symbols = library.read_bytes()
    return [f'-fsanitize={name}' for name, mark in marks.items() if mark in symbols]


def compile_c(source, output=None):
    """Compiles to a program, or without an output only checks."""
    command = given.cc + WARNINGS + ['-I', str(ROOT / 'include'), '-x', 'c', '-']
    if output is None:
        command += ['-fsyntax-only', '-Wno-unused']
    else:
        library = pathlib.Path(given.library).resolve()
        command += ['-x', 'none', str(library), f'-Wl,-rpath,{library.parent}', '-o', str(output)]
        command += sanitizers_of(library)
    return subprocess.run(command, input=source, text=True, capture_output=True)


def free_port():
    """Below the range that the system hands out, so that no other test is given it meanwhile."""
    for attempt in range(1000):
        port = 20000 + (os.getpid() * 7 + attempt) % 10000
        with socket.socket() as probe:
            try:
                probe.bind(('127.0.0.1', port))
                return port
            except OSError:
                continue
    raise OSError('no free port')


def wait_until_listening(server, port):
    deadline = time.monotonic() + WAIT_S
    while server.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(('127.0.0.1', port)) == 0:
                return
        time.sleep(0.01)
    raise AssertionError(f'the server does not listen: {server.returncode}')


def with_port(source, port):
    """A program as it stands, but for the port."""
    changed, count = ADDRESS.subn(rf'127.0.0.1\g<1>{port}', source)
    assert count == 1, 'the program has one address'
    return changed


def build(source, port, program):
    made = compile_c(with_port(source, port), program)
    assert made.returncode == 0, made.stderr
    return program


def readme_programs():
    """The servers, and the clients."""
    sources = [source for source in blocks(ROOT / 'README.md', 'c') if is_program(source)]
    servers = [source for source in sources if 'tcpmsg_listen(' in source]
    return servers, [source for source in sources if source not in servers]


def start_server(room, test, which=0):
    """One of README's echo servers, for as long as the test runs; its port."""
    port = free_port()
    program = build(readme_programs()[0][which], port, room / f'server{which}')
    server = subprocess.Popen([program])
    test.addCleanup(server.wait)
    test.addCleanup(server.kill)
    wait_until_listening(server, port)
    return port


def run(command, room):
    """Its standard output."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=4 * WAIT_S, cwd=room)
    assert done.returncode == 0, done.stderr
    return done.stdout
