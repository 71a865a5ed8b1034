#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What many connections cost an echo server: memory while they are silent, and processor time.

For each server and number of connections, each time with a fresh process:
  silent    resident bytes a connection that has never sent anything
  after     ... that has sent one message and got its answer
  kernel    ... of the kernel's memory, both ends of the connection together
  idle ms   processor time of the server in the seconds after that, and
  wake-ups  how often it was woken in them
  in turn   messages a second when each connection sends one after the other, none is lost,
  at once   when each has one in flight all the time, and
  peak      the server's resident memory in MiB when it has had all that
"""

import argparse
import re
import statistics
import subprocess
import time

import echo_servers

SETTLE_S = 1  # the kernel frees sockets somewhat later



def slab():
    """The kernel's memory for sockets and the like, in bytes: of all programs together."""
    with open('/proc/meminfo', encoding='ascii') as lines:
        return int(re.search(r'^Slab:\s*(\d+)', lines.read(), re.M).group(1)) * 1024


class Crowd:
    """Connections that are open, and silent after `in_flight` messages, during the with block."""

    def __init__(self, server, connections, in_flight, size):
        self.server = server
        self.connections = connections
        self.process = subprocess.Popen(
            echo_servers.load_command(server.address, {
                'idle': True, 'connections': connections, 'in_flight': in_flight, 'size': size}),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        lines = [self.process.stdout.readline() for _ in range(2)]
        if not lines[1]:
            raise SystemExit('the load generator failed')
        self.server.wait_for(self.connections)
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def memory(command, connections, in_flight, arguments):
    """Bytes a connection, the server's and the kernel's; and the rest while it is idle."""
    with echo_servers.Server(command) as server:
        # One connection that comes and goes: what the first one costs is not the others'.
        echo_servers.load(server.address, seconds=1, size=arguments.size)
        server.wait_for(0)
        time.sleep(SETTLE_S)
        resident, kernel = server.resident(), slab()
        with Crowd(server, connections, in_flight, arguments.size):
            grown = (server.resident() - resident) / connections
            kernel = (slab() - kernel) / connections
            used, switches = sum(server.processor()), server.switches()
            time.sleep(arguments.idle_seconds)
            return {'bytes': grown, 'kernel': kernel,
                    'ms': 1e3 * (sum(server.processor()) - used),
                    'wake-ups': server.switches() - switches}


def traffic(command, connections, arguments):
    """All of them in turn, then all at once."""
    with echo_servers.Server(command) as server:
        turns = echo_servers.load(server.address, connections=connections, turns=2,
                                  size=arguments.size)
        once = echo_servers.load(server.address, connections=connections, seconds=3,
                                 size=arguments.size)
        for figures in turns, once:
            answers, _, asked = figures['answers'].partition(' of ')
            if answers != asked or int(figures['fewest answers on a connection']) < 1:
                raise SystemExit(f'{command[0]}: answers are missing')
        return {'turn': float(turns['messages a second']),
                'once': float(once['messages a second']), 'peak': server.resident() / (1 << 20)}


def run(name, command, connections, arguments):
    silent, after, busy = [], [], []
    for _ in range(arguments.rounds):
        silent.append(memory(command, connections, 0, arguments))
        after.append(memory(command, connections, 1, arguments))
        busy.append(traffic(command, connections, arguments))

    def middle(series, key):
        return statistics.median(figures[key] for figures in series)

    print(f'{name:10}{connections:>8}{middle(silent, "bytes"):>9,.0f}'
          f'{middle(after, "bytes"):>9,.0f}{middle(after, "kernel"):>9,.0f}'
          f'{middle(after, "ms"):>9,.0f}'
          f'{middle(after, "wake-ups"):>9,.0f}{middle(busy, "turn"):>10,.0f}'
          f'{middle(busy, "once"):>10,.0f}{middle(busy, "peak"):>8.1f}', flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--connections', nargs='+', type=int, default=[1000, 10000], metavar='N')
    parser.add_argument('--size', type=int, default=64, help='bytes of a message (64)')
    parser.add_argument('--idle-seconds', type=float, default=10)
    parser.add_argument('--rounds', type=int, default=1)
    echo_servers.add_arguments(parser)
    arguments = parser.parse_args()
    servers = echo_servers.commands(arguments.servers, arguments.server, arguments.threads)
    print(f'{"":10}{"conns":>8}{"silent":>9}{"after":>9}{"kernel":>9}{"idle ms":>9}'
          f'{"wake-ups":>9}{"in turn":>10}{"at once":>10}{"peak":>8}')
    for connections in arguments.connections:
        for name, command in servers.items():
            run(name, command, connections, arguments)


if __name__ == '__main__':
    main()
