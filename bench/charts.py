# SPDX-License-Identifier: MIT
"""Bar charts of the figures, as SVG: gnuplot draws them."""

import shutil
import subprocess

COLOURS = {'ours': '#1b6ac9', 'bare': '#9aa3ad', 'other': '#d9a03f'}
OURS = {'more', 'loop', 'tcpmsg', 'ours', 'ours-spin'}
BARE = {'floor', 'sendmsg', 'raw', 'blocking', 'spinning', 'bare'}
LABELS = {
    'floor': 'bare, packed', 'sendmsg': 'bare sendmsg', 'more': 'libtcpmsg, MORE',
    'loop': 'libtcpmsg, loop', 'zmq': 'libzmq', 'raw': 'bare bytes', 'tcpmsg': 'libtcpmsg',
    'blocking': 'bare, blocking', 'spinning': 'bare, spinning', 'ours': 'libtcpmsg',
    'ours-spin': 'libtcpmsg, spinning', 'tokio': 'tokio-util', 'erlang': 'Erlang', 'go': 'Go',
}
# file -> (section, which of its tables, title, what is left out)
CHARTS = {
    'one-way': ('one way', '64 B', 'One way, 64 bytes: million messages a second', 1e-6,
                {'recv', 'each', 'threads'}),
    'round-trip': ('round trip', '64 B', 'Round trip, 64 bytes: microseconds (less is better)', 1,
                   set()),
    'echo': ('echo', '64x16x64', 'Echo, 64 connections x 16 in flight, 64 bytes: '
             'million a second', 1e-6, set()),
    'echo-large': ('echo', '16x4x64K', 'Echo, 16 connections x 4 in flight, 64 KiB: '
                   'thousand a second', 1e-3, set()),
}


def colour(name):
    return COLOURS['ours' if name in OURS else 'bare' if name in BARE else 'other']


def script(title, bars, path):
    """One horizontal bar a name, the first on top."""
    most = max(value for _, value in bars)
    lines = [
        f'set terminal svg size 760,{60 + 34 * len(bars)} dynamic font "sans-serif,13" '
        'background "#ffffff"',
        f'set output "{path}"',
        f'set title "{title}"',
        'unset border', 'unset xtics', 'unset key', 'set style fill solid noborder',
        f'set yrange [{len(bars) - 0.4}:-0.6]', f'set xrange [0:{1.12 * most}]',
        'set ytics nomirror scale 0 (' + ', '.join(
            f'"{LABELS.get(name, name)}" {i}' for i, (name, _) in enumerate(bars)) + ')',
    ]
    for i, (name, value) in enumerate(bars):
        lines.append(f'set object {i + 1} rectangle from 0,{i - 0.35} to {value},{i + 0.35} '
                     f'fillcolor rgb "{colour(name)}"')
        lines.append(f'set label {i + 1} " {value:.3g}" at {value},{i} left')
    lines.append('plot -10 notitle')
    return '\n'.join(lines)


def draw(figures, folder):
    if not shutil.which('gnuplot'):
        print('gnuplot is not there: no charts')
        return
    folder.mkdir(exist_ok=True)
    for name, (section, table, title, scale, without) in CHARTS.items():
        values = figures.get(section, {}).get(table)
        if values:
            bars = [(way, value * scale) for way, value in values.items() if way not in without]
            subprocess.run(['gnuplot'], input=script(title, bars, folder / f'{name}.svg'),
                           text=True, check=True)
