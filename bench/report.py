#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs all benchmarks of a build in one run, and writes the tables of docs/benchmarks.md and the
charts beside it.

usage: report.py BUILD [--rounds N] [--only SECTION...] [--dry]
"""

import argparse
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import tempfile
import time

import charts
import echo_servers
import echo_throughput
import instructions
import series
import tables

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / 'docs' / 'benchmarks.md'
RATE = 'messages a second'
US = 'microseconds a message'
SIZES = {'64 B': 64, '1 KiB': 1 << 10, '64 KiB': 64 << 10, '1 MiB': 1 << 20}
LIBRARIES = {'libtcpmsg': 'tcpmsg', 'nng': 'nng', 'nanomsg': 'nanomsg', 'libzmq': 'zmq'}
STARTS = 200
IDLE = 9000
THREADED_ROWS = ('64x16x64', '1000x1x64', '16x4x64K')

# name -> (title, program, way); the first is what the others are compared with.
ONE_WAY = {
    'floor': ('bare `send` of ready-packed 256 KiB blocks (the floor)', 'one_way', 'floor'),
    'sendmsg': ('bare `sendmsg`, one call a message', 'one_way', 'sendmsg'),
    'more': ('**ours, `TCPMSG_MORE`**, received by view', 'one_way', 'more'),
    'recv': ('ours, `TCPMSG_MORE`, received into a buffer', 'one_way', 'recv'),
    'each': ('ours, no flag', 'one_way', 'each'),
    'threads': ('ours, no flag, 4 threads on one connection', 'one_way', 'threads'),
    'loop': ("**ours, no flag, from another thread into a loop's connection**", 'one_way', 'loop'),
    'zmq': ('libzmq, PUSH and PULL', 'peer_zmq', 'one-way'),
    'nanomsg': ('nanomsg, pair', 'peer_nanomsg', 'one-way'),
    'nng': ('nng, pair', 'peer_nng', 'one-way'),
}
ROUND_TRIP = {
    'blocking': ('bare sockets that block', 'round_trip', 'blocking'),
    'ours': ('**ours**', 'round_trip', 'ours'),
    'loop': ('ours, both sides in a loop', 'round_trip', 'loop'),
    'spinning': ('bare sockets that spin', 'round_trip', 'spinning'),
    'ours-spin': ('**ours, `spin_us = 1000`** (beside the spinning ones)', 'round_trip',
                  'ours-spin'),
    'zmq': ('libzmq, REQ and REP', 'peer_zmq', 'round-trip'),
    'nanomsg': ('nanomsg, pair', 'peer_nanomsg', 'round-trip'),
    'nng': ('nng, pair', 'peer_nng', 'round-trip'),
}
CONNECTIONS = {
    'bare': ('bare sockets', 'connections', 'bare'),
    'shutdown': ('bare sockets, `shutdown` before `close`', 'connections', 'shutdown'),
    'ours': ('**ours**', 'connections', 'ours'),
}


class Run:
    """What the sections share: where the programs are, how often they run, what came out."""

    def __init__(self, build, rounds):
        self.bench = build / 'bench'
        self.library = build / 'src' / 'libtcpmsg.so'
        self.rounds = rounds
        self.texts = {}
        self.figures = {}

    def show(self, name, text):
        """A table that was measured in rounds."""
        self.texts[name] = f'{text}\n\n{self.rounds} rounds.'

    def built(self, ways):
        return {name: way for name, way in ways.items() if (self.bench / way[1]).exists()}

    def measure_ways(self, section, ways, size):
        """All ways at one size, in turn."""
        def one(way):
            _, program, name = way
            return series.run([self.bench / program, name, '--size', str(size)])

        def tell(number, name):
            series.progress(f'{section}, {size} bytes: round {number} of {self.rounds}, {name}')

        return series.measure_in_turn(ways, self.rounds, one, tell)


# What these are compared with, instead of the first way.
BESIDE = {'ours-spin': 'spinning'}


def compared(run, section, ways, sizes, key, digits):
    """Each way at each size: a median, and the ratio to the first way."""
    measured = {label: run.measure_ways(section, ways, size) for label, size in sizes.items()}
    first = next(iter(ways))
    rows = []
    for name, (title, _, _) in ways.items():
        cells = [title]
        for label in sizes:
            each = measured[label]
            ratio = series.ratio(each[name], each[BESIDE.get(name, first)], key)
            cells.append(f'{series.median(each[name], key):,.{digits}f} ({ratio:.2f})')
        rows.append(cells)
    run.figures[section] = {
        label: {name: series.median(each[name], key) for name in ways}
        for label, each in measured.items()}
    return measured, tables.markdown(['', *sizes], rows)


def used_table(ways, measured):
    """Microseconds of the processor for a message, at one size."""
    columns = ['sender, user', 'sender, system', 'receiver, user', 'receiver, system']
    rows = [[title, *(f'{series.median(measured[name], column):.3f}' for column in columns)]
            for name, (title, _, _) in ways.items()]
    return tables.markdown(['', *columns], rows)


def one_way(run):
    ways = run.built(ONE_WAY)
    measured, table = compared(run, 'one way', ways, SIZES, RATE, 0)
    run.show('one-way', table)
    run.texts['one-way-processor'] = used_table(ways, measured['64 B'])


def round_trip(run):
    ways = run.built(ROUND_TRIP)
    sizes = {label: SIZES[label] for label in ('64 B', '64 KiB')}
    _, table = compared(run, 'round trip', ways, sizes, US, 1)
    run.show('round-trip', table)


def connections(run):
    ways = run.built(CONNECTIONS)
    _, table = compared(run, 'connections', ways, {'a second': 64}, RATE, 0)
    run.show('connections', table)


def echo_table(run, threads):
    """Echo servers on every row: messages a second, and microseconds of the processor."""
    names = [name for name in echo_servers.PROGRAMS if name != 'poll']
    if threads > 1:
        names = [name for name in names if name in echo_servers.THREADED]
    servers = echo_servers.commands(names, [], threads, missing_is_fine=True)
    given = argparse.Namespace(pin=threads == 1, seconds=1)
    rates, used, medians = [], [], {}
    for label, row in echo_throughput.ROWS.items():
        if threads > 1 and label not in THREADED_ROWS:
            continue

        def tell(number, name, label=label):
            series.progress(f'echo, {threads} threads, {label}: round {number} of {run.rounds}, '
                            f'{name}')

        measured = series.measure_in_turn(
            servers, run.rounds,
            lambda command, row=row: echo_throughput.measure(command, row, given), tell)
        first = measured[next(iter(servers))]
        rates.append([label, *(f'{series.median(each, RATE):,.0f} '
                               f'({series.ratio(each, first, RATE):.2f})'
                               for each in measured.values())])
        used.append([label, *(f'{series.median(each, "user us"):.2f} + '
                              f'{series.median(each, "system us"):.2f}'
                              for each in measured.values())])
        medians[label] = {name: series.median(each, RATE) for name, each in measured.items()}
    heads = ['connections x in flight x size', *servers]
    return tables.markdown(heads, rates), tables.markdown(heads, used), medians


def echo(run):
    table, run.texts['echo-processor'], run.figures['echo'] = echo_table(run, 1)
    run.show('echo', table)


def echo_threads(run):
    texts = []
    for threads in (2, 4):
        table, _, _ = echo_table(run, threads)
        texts.append(f'{threads} threads:\n\n{table}')
    run.show('echo-threads', '\n\n'.join(texts))


def idle(run):
    series.progress('idle connections')
    done = subprocess.run([run.bench / 'idle_memory', '--connections', str(IDLE)],
                          stdout=subprocess.PIPE, text=True, check=True)
    rows = re.findall(r'^(\S.*?) {2,}([\d.]+) +([\d.]+)$', done.stdout, re.M)
    run.texts['idle'] = tables.markdown(
        [f'{IDLE} connections in one loop, bytes each', "malloc's", 'resident'], rows)


def own_code(run):
    series.progress('instructions')
    if not shutil.which('valgrind'):
        run.texts['instructions'] = 'valgrind was not there: not counted.'
        return
    costs = instructions.each(run.bench / 'instructions')
    rows = [[f'`{name}`', f'{cost:.1f}'] for name, cost in
            sorted(costs.items(), key=lambda item: -item[1]) if cost >= 1]
    rows.append(['all of it', f'**{sum(costs.values()):.0f}**'])
    run.texts['instructions'] = tables.markdown(['', 'instructions a message'], rows)


def library_of(program):
    """The file of the library that a start program is linked with."""
    listed = subprocess.run(['ldd', program], stdout=subprocess.PIPE, text=True, check=True).stdout
    for word in re.findall(r'=> (\S*lib(?:tcpmsg|nng|nanomsg|zmq)\.so\S*)', listed):
        return pathlib.Path(word).resolve(), len(listed.splitlines())
    raise SystemExit(f'{program} is linked with no library')


def stripped_size(library):
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder, 'library')
        subprocess.run(['strip', '--strip-unneeded', '-o', copy, library], check=True)
        return copy.stat().st_size


def start_us(program):
    begun = time.monotonic()
    for _ in range(STARTS):
        os.waitpid(os.posix_spawn(program, [str(program)], os.environ), 0)
    return {'us': 1e6 * (time.monotonic() - begun) / STARTS}


def size_and_start(run):
    programs = {'nothing': run.bench / 'start'}
    for name, short in LIBRARIES.items():
        program = run.bench / f'start_{short}'
        if program.exists():
            programs[name] = program
    measured = series.measure_in_turn(
        programs, run.rounds, start_us, lambda number, name: series.progress(f'start: {name}'))
    rows = []
    for name, program in programs.items():
        if name == 'nothing':
            size, objects = '', ''
        else:
            library, objects = library_of(program)
            size = f'{stripped_size(library):,}'
        rows.append([name, size, objects, f'{series.median(measured[name], "us"):,.0f}'])
    run.show('size', tables.markdown(
        ['linked with', 'bytes, stripped', 'objects to load', 'microseconds to start and end'],
        rows))


SECTIONS = {
    'one-way': one_way,
    'round-trip': round_trip,
    'connections': connections,
    'echo': echo,
    'echo-threads': echo_threads,
    'idle': idle,
    'instructions': own_code,
    'size': size_and_start,
}


def machine():
    text = pathlib.Path('/proc/cpuinfo').read_text()
    model = re.search(r'^model name\s*: (.*)$', text, re.M)
    compiler = subprocess.run(['cc', '--version'], stdout=subprocess.PIPE, text=True).stdout
    control = pathlib.Path('/proc/sys/net/ipv4/tcp_congestion_control').read_text().strip()
    return (f'{len(os.sched_getaffinity(0))} processors ({model.group(1) if model else "?"}), '
            f'{platform.system()} {platform.release().split("-")[0]}, '
            f'{compiler.splitlines()[0]}, a release build, over 127.0.0.1, '
            f'TCP congestion control {control}.')


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('build', type=pathlib.Path)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--only', nargs='+', choices=SECTIONS, default=list(SECTIONS),
                        metavar='SECTION', help='of ' + ', '.join(SECTIONS))
    parser.add_argument('--dry', action='store_true', help='print the tables, write no file')
    given = parser.parse_args()
    run = Run(given.build.resolve(), given.rounds)
    echo_servers.HERE = run.bench
    for name in given.only:
        SECTIONS[name](run)
    run.texts['machine'] = machine()
    series.progress('')
    if given.dry:
        print('\n\n'.join(f'{name}\n\n{text}' for name, text in run.texts.items()))
        return
    PAGE.write_text(tables.filled_in(PAGE.read_text(), run.texts))
    charts.draw(run.figures, PAGE.parent / 'figures')
    (given.build / 'figures.json').write_text(json.dumps(run.figures, indent=1))


if __name__ == '__main__':
    main()
