#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Holds the house of docs/design.md: which file of src/ may know of which, and how long it may be.

usage: check_floors.py PROJECT_DIR
"""

import pathlib
import re
import sys

FLOORS = [
    {
        'buffer', 'bytes', 'counter', 'error', 'frame', 'guess', 'hints', 'log', 'message',
        'options', 'probe', 'settings', 'story', 'timers', 'version',
    },
    {
        'address', 'clock', 'mutex', 'outbox', 'poller', 'poller_epoll', 'poller_kqueue', 'poller_poll',
        'pool', 'proxy', 'resolve', 'socket', 'socket_info', 'socket_nap', 'wake', 'worker',
    },
    {
        'conn', 'conn_client', 'conn_close', 'conn_in', 'conn_info', 'conn_kept', 'conn_out',
        'conn_recv', 'conn_send', 'conn_wait', 'conn_why', 'conn_write',
    },
    {'accept', 'dial', 'dialer', 'listen', 'listener', 'listener_unix', 'race'},
    {
        'loop', 'loop_accept', 'loop_add', 'loop_budget', 'loop_calls', 'loop_dial', 'loop_end',
        'loop_in', 'loop_meet', 'loop_member', 'loop_options', 'loop_stats', 'loop_thread',
        'loop_time',
    },
]

# Floor 0 compiles where there is no network at all.
SOCKET_HEADERS = re.compile(
    r'sys/(socket|un|ioctl|epoll|event|eventfd)\.h|(netinet|arpa|net|linux)/.*|netdb\.h|poll\.h'
)

# The one seam, where tests fail, shorten and delay each of these.
SOCKET_CALLS = {
    'socket', 'socketpair', 'bind', 'listen', 'accept', 'accept4', 'connect', 'send', 'sendto',
    'sendmsg', 'sendmmsg', 'recv', 'recvfrom', 'recvmsg', 'recvmmsg', 'shutdown', 'setsockopt',
    'getsockopt', 'getsockname', 'getpeername', 'poll', 'ppoll', 'select', 'pselect', 'ioctl',
}
STREAM_CALLS = {'read', 'readv', 'write', 'writev'}
WAKE_CALLS = {'eventfd', 'pipe', 'pipe2'} | STREAM_CALLS
EPOLL_CALLS = {'epoll_create1', 'epoll_ctl', 'epoll_wait'}
KQUEUE_CALLS = {'kqueue', 'kevent'}
SEAMS = {
    'socket': SOCKET_CALLS | STREAM_CALLS,
    'socket_info': SOCKET_CALLS,
    'socket_nap': SOCKET_CALLS,
    'wake': WAKE_CALLS,
    'poller_poll': {'poll'},
    'poller_epoll': EPOLL_CALLS,
    'poller_kqueue': KQUEUE_CALLS | {'poll'},
}

FILE_LINES = 420
FUNCTION_LINES = 60

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)
CALL = re.compile(r'(?<![\w.>])(\w+)\s*\(')
# Comments, strings and characters; a comment stays as its line ends.
QUIET = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)


def floor_of(name):
    for number, names in enumerate(FLOORS):
        if name in names:
            return number
    return None


def code_of(text):
    return QUIET.sub(lambda found: '\n' * found.group().count('\n'), text)


def includes_wrong(floor, text):
    for quote, header in INCLUDE.findall(text):
        if quote == '<':
            if floor == 0 and SOCKET_HEADERS.fullmatch(header):
                yield f'floor 0 includes <{header}>'
        else:
            other = floor_of(pathlib.Path(header).stem)
            if other is None:
                yield f'includes "{header}", which is on no floor'
            elif other > floor:
                yield f'is on floor {floor} and includes "{header}" of floor {other}'


def calls_wrong(name, code):
    guarded = SOCKET_CALLS | WAKE_CALLS | EPOLL_CALLS | KQUEUE_CALLS
    allowed = SEAMS.get(name, set())
    for number, line in enumerate(code.splitlines(), 1):
        for call in CALL.findall(line):
            if call in guarded and call not in allowed:
                yield f'line {number} calls {call}(), which belongs in socket*.c'


def functions_of(code):
    """Each function's first line and length; the house style puts its end in column 0."""
    start = None
    for number, line in enumerate(code.splitlines(), 1):
        if re.match(r'\w.*\(', line):
            start = number
        elif line == '}' and start:
            yield start, number - start + 1
            start = None


def sizes_wrong(code):
    lines = len(code.splitlines())
    if lines > FILE_LINES:
        yield f'has {lines} lines, over {FILE_LINES}'
    for start, length in functions_of(code):
        if length > FUNCTION_LINES:
            yield f'line {start}: a function of {length} lines, over {FUNCTION_LINES}'


def file_wrong(path):
    floor = floor_of(path.stem)
    if floor is None:
        yield 'is on no floor: give it one in check_floors.py and docs/design.md'
        return
    text = path.read_text(encoding='utf-8')
    code = code_of(text)
    yield from includes_wrong(floor, text)
    yield from calls_wrong(path.stem, code)
    yield from sizes_wrong(code)


def unlisted(tests):
    """A test program that the build does not know of would never fail."""
    build = (tests / 'meson.build').read_text(encoding='utf-8')
    for path in sorted(tests.glob('test_*.c')):
        name = path.stem.removeprefix('test_')
        if not re.search(rf"^  '{name}': '\w+',$", build, re.MULTILINE):
            yield f'{path.name}: has no line in tests/meson.build'


def main(project):
    paths = sorted((project / 'src').rglob('*.[ch]'))
    wrong = [f'{path.name}: {what}' for path in paths for what in file_wrong(path)]
    wrong += unlisted(project / 'tests')
    print('\n'.join(wrong) or f'{len(paths)} files, each on its floor')
    return 1 if wrong or not paths else 0


if __name__ == '__main__':
    sys.exit(main(pathlib.Path(sys.argv[1])))
