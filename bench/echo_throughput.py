#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How many messages a second echo servers answer, in turn, under one load generator.

Each round measures every server once on a row (connections x messages in flight x size), each as
a fresh process; rounds begin with another server each time. Beside the medians stand the median
of the ratios to the first server, taken round by round, the microseconds of processor time that
the server spent on a message, and how busy the load generator was (1.00: it is the limit).
"""

import argparse
import statistics

import echo_servers
from series import measure_in_turn, median, ratio

ROWS = {
    '1x64x64': (1, 64, 64),
    '64x1x64': (64, 1, 64),
    '64x16x64': (64, 16, 64),
    '1000x1x64': (1000, 1, 64),
    '1x16x64K': (1, 16, 64 << 10),
    '16x4x64K': (16, 4, 64 << 10),
    '1x4x1M': (1, 4, 1 << 20),
}
ROUND_TRIP = '1x1x64'


def measure(command, row, arguments, **more):
    """One server, once: messages a second, its microseconds a message, the generator's load."""
    connections, in_flight, size = row
    server_on, load_on = (0, 1) if arguments.pin else (None, None)
    with echo_servers.Server(command, server_on) as server:
        before = server.processor()
        figures = echo_servers.load(
            server.address, load_on, connections=connections, in_flight=in_flight, size=size,
            seconds=arguments.seconds, **more)
        user, system = (after - at_start for after, at_start in zip(server.processor(), before))
    answers, _, asked = figures['answers'].partition(' of ')
    if answers != asked:
        raise SystemExit(f'{command[0]}: answers are missing')
    figures['user us'] = 1e6 * user / int(answers)
    figures['system us'] = 1e6 * system / int(answers)
    figures['us'] = figures['user us'] + figures['system us']
    return figures


def run_row(name, row, servers, arguments):
    series = measure_in_turn(servers, arguments.rounds,
                             lambda command: measure(command, row, arguments))
    floor = next(iter(series.values()))
    rate = 'messages a second'
    print(f'\n{name} B: connections x messages in flight x size, {arguments.rounds} rounds')
    print(f'{"":12}{rate:>20}{"min":>12}{"max":>12}{"ratio":>8}{"us/message":>12}{"load":>7}')
    for server, figures in series.items():
        rates = [float(figure[rate]) for figure in figures]
        print(f'{server:12}{statistics.median(rates):>20,.0f}{min(rates):>12,.0f}'
              f'{max(rates):>12,.0f}{ratio(figures, floor, rate):>8.2f}'
              f'{median(figures, "us"):>12.2f}'
              f'{median(figures, "load on one processor"):>7.2f}', flush=True)
    return series


def run_round_trip(servers, arguments):
    series = measure_in_turn(
        servers, arguments.rounds,
        lambda command: measure(command, (1, 1, 64), arguments, percentiles=True))
    floor = next(iter(series.values()))
    print(f'\n{ROUND_TRIP} B: microseconds of a round trip, {arguments.rounds} rounds')
    print(f'{"":12}{"median":>10}{"99th":>10}{"ratio":>8}')
    for server, figures in series.items():
        print(f'{server:12}{median(figures, "median us"):>10.1f}'
              f'{median(figures, "99th percentile us"):>10.1f}'
              f'{ratio(figures, floor, "median us"):>8.2f}', flush=True)


def print_summary(results):
    """The table of all rows: each server's median, and its ratio to the first."""
    rate = 'messages a second'
    names = list(next(iter(results.values())))
    print('\n| connections x in flight x size | ' + ' | '.join(names) + ' |')
    print('|---' * (len(names) + 1) + '|')
    for row, series in results.items():
        floor = series[names[0]]
        cells = [f'{median(series[name], rate):,.0f} ({ratio(series[name], floor, rate):.2f})'
                 for name in names]
        print(f'| {row} | ' + ' | '.join(cells) + ' |')


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rows', nargs='+', choices=[*ROWS, ROUND_TRIP], metavar='ROW',
                        default=[*ROWS, ROUND_TRIP], help='of ' + ', '.join([*ROWS, ROUND_TRIP]))
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--seconds', type=int, default=1, help='of each measurement (1)')
    parser.add_argument('--pin', action='store_true',
                        help='the server on processor 0, the load generator on processor 1')
    echo_servers.add_arguments(parser)
    return parser.parse_args()


def main():
    arguments = parse()
    servers = echo_servers.commands(arguments.servers, arguments.server, arguments.threads)
    results = {}
    for name in arguments.rows:
        if name == ROUND_TRIP:
            run_round_trip(servers, arguments)
        else:
            results[name] = run_row(name, ROWS[name], servers, arguments)
    if results:
        print_summary(results)


if __name__ == '__main__':
    main()
