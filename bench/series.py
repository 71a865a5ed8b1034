# SPDX-License-Identifier: MIT
"""Rounds, medians and ratios: ways to do the same work are measured in turn, and compared with
what was measured beside them."""

import statistics
import subprocess
import sys


def in_turn(names, rounds):
    """Which comes next; each round begins one further."""
    names = list(names)
    for number in range(rounds):
        first = number % len(names)
        yield from names[first:] + names[:first]


def measure_in_turn(ways, rounds, measure, tell=None):
    """name -> figures of each round. `ways`: name -> what measure() takes; figures: a dict."""
    series = {name: [] for name in ways}
    for number, name in enumerate(in_turn(ways, rounds)):
        if tell:
            tell(number // len(ways) + 1, name)
        series[name].append(measure(ways[name]))
    return series


def median(series, key):
    return statistics.median(float(figures[key]) for figures in series)


def ratio(series, floor, key):
    """The median of the ratios of each round: two figures that were measured side by side."""
    pairs = zip(series, floor)
    return statistics.median(float(one[key]) / float(other[key]) for one, other in pairs)


def figures_of(text):
    """What the programs print: "name: value" lines."""
    return dict(line.split(': ', 1) for line in text.splitlines() if ': ' in line)


def run(command, seconds=120, **options):
    """Runs a program to its end; its figures."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=seconds, **options)
    if done.returncode != 0:
        raise SystemExit(f'{" ".join(map(str, command))} failed')
    return figures_of(done.stdout)


def progress(text):
    end = '\r' if sys.stderr.isatty() else '\n'
    print(f'{text:78}', end=end, file=sys.stderr, flush=True)
