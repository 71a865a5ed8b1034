# SPDX-License-Identifier: MIT
"""Starts the echo servers and the load generator, and reads what a server used."""

import os
import pathlib
import re
import select
import shlex
import subprocess
import time

import series

HERE = pathlib.Path(__file__).resolve().parent
TICKS = os.sysconf('SC_CLK_TCK')
START_S = 10
END_S = 10
SETTLE_S = 20
# Some of the servers, and what --server adds, are not always built.
PROGRAMS = {
    'raw': 'echo_raw',
    'tcpmsg': 'echo_tcpmsg --threads {threads}',
    'poll': 'echo_tcpmsg --poll --threads {threads}',
    'libuv': 'echo_libuv',
    'libevent': 'echo_libevent',
    'go': 'echo_go --threads {threads}',
    'tokio': 'echo_tokio --threads {threads}',
    'erlang': 'echo_erlang --threads {threads}',
}
USUAL = ('raw', 'tcpmsg', 'libuv', 'libevent', 'go', 'tokio', 'erlang')
# These have a --threads of their own.
THREADED = ('tcpmsg', 'go', 'erlang', 'tokio')


def commands(names, added, threads, missing_is_fine=False):
    """Which servers to run: name to command line. `added`: "NAME=COMMAND", run with an address."""
    found = {}
    for name in names or USUAL:
        program, *options = PROGRAMS[name].format(threads=threads).split()
        if (HERE / program).exists():
            found[name] = [str(HERE / program), *options]
        elif names and not missing_is_fine:
            raise SystemExit(f'{HERE / program} has not been built')
    for text in added:
        name, _, command = text.partition('=')
        found[name] = shlex.split(command)
    return found


def add_arguments(parser):
    parser.add_argument('--servers', nargs='+', choices=PROGRAMS, metavar='NAME', default=[],
                        help='of ' + ', '.join(PROGRAMS))
    parser.add_argument('--server', action='append', default=[], metavar='NAME=COMMAND',
                        help='one more: it gets an address to listen on, and prints it')
    parser.add_argument('--threads', type=int, default=1, help='of those that can have several (1)')


def on_processor(number):
    """For Popen: the program stays on one processor, if there is a number."""
    return None if number is None else lambda: os.sched_setaffinity(0, {number})


class Server:
    """A server that runs as long as the with block."""

    def __init__(self, command, processor=None):
        self.process = subprocess.Popen(
            [*command, '127.0.0.1:0'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            preexec_fn=on_processor(processor))
        self.proc = pathlib.Path('/proc', str(self.process.pid))

    def __enter__(self):
        line = ''
        if select.select([self.process.stdout], [], [], START_S)[0]:
            line = self.process.stdout.readline().decode()
        found = re.search(r'127\.0\.0\.1:\d+', line)
        if not found:
            self.__exit__()
            raise SystemExit(f'{self.process.args[0]} does not say where it listens')
        self.address = found.group()
        self.at_start = self.sockets()
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def processor(self):
        """Seconds of processor time, the user's and the system's, in steps of 10 ms."""
        fields = (self.proc / 'stat').read_text().rpartition(')')[2].split()
        return int(fields[11]) / TICKS, int(fields[12]) / TICKS

    def resident(self):
        """Bytes."""
        status = (self.proc / 'status').read_text()
        return int(re.search(r'VmRSS:\s*(\d+) kB', status).group(1)) * 1024

    def switches(self):
        """How often its threads went to sleep, all together."""
        total = 0
        for task in (self.proc / 'task').iterdir():
            text = (task / 'status').read_text()
            total += int(re.search(r'^voluntary_ctxt_switches:\s*(\d+)', text, re.M).group(1))
        return total

    def sockets(self):
        total = 0
        for link in (self.proc / 'fd').iterdir():
            try:
                total += os.readlink(link).startswith('socket:')
            except FileNotFoundError:
                pass
        return total

    def wait_for(self, connections):
        """Until it has accepted so many connections, or has so many left."""
        deadline = time.monotonic() + SETTLE_S
        while self.sockets() != self.at_start + connections:
            if time.monotonic() > deadline:
                raise SystemExit(f'{self.process.args[0]} has {self.sockets() - self.at_start} '
                                 f'connections instead of {connections}')
            time.sleep(0.02)


def load_command(address, options):
    words = [str(HERE / 'echo_load')]
    for name, value in options.items():
        words.append('--' + name.replace('_', '-'))
        if value is not True:
            words.append(str(value))
    return [*words, address]


def load(address, processor=None, **options):
    """Runs the load generator, and returns its figures."""
    return series.run(load_command(address, options), seconds=None,
                      preexec_fn=on_processor(processor))
