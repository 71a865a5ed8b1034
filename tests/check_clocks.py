#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Nothing in the library asks for the time of day, or waits for one.

usage: check_clocks.py LIBRARY SOURCE_FOLDER
"""

import pathlib
import re
import subprocess
import sys

# What tells the wall clock, or takes a moment of it: none of them lets its caller choose another.
WALL_CLOCKS = re.compile(
    r'(__)?(time|times|ftime|gettimeofday|settimeofday|timespec_get|clock_settime|stime|adjtime\w*'
    r'|(local|gm|mk|as)time(_r)?|timegm|ctime(_r)?|strftime|sem_timedwait|mq_timed\w+'
    r'|pthread_mutex_timedlock|pthread_rwlock_timed\w+|cnd_timedwait|mtx_timedlock)(64)?'
)
NAMES = re.compile(r'\bCLOCK_(?:REALTIME\w*|TAI)|\bFUTEX_CLOCK_REALTIME|\bTIME_UTC')
COMMENT = re.compile(r'/\*.*?\*/', re.DOTALL)

# Where there is no other clock for a condition: in short naps that the monotonic one judges.
ALLOWED = {('clock.c', 'CLOCK_REALTIME'): 1}


def called(library):
    output = subprocess.check_output(['nm', '-D', '-P', '--undefined-only', library], text=True)
    return sorted({line.split()[0].split('@')[0] for line in output.splitlines()})


def named(folder):
    """How often each file names a wall clock."""
    counts = {}
    for path in sorted(pathlib.Path(folder).glob('*.[ch]')):
        for name in NAMES.findall(COMMENT.sub('', path.read_text(encoding='utf-8'))):
            counts[path.name, name] = counts.get((path.name, name), 0) + 1
    return counts


def main(library, folder):
    names = called(library)
    wrong = [f'the library calls {name}' for name in names if WALL_CLOCKS.fullmatch(name)]
    if 'clock_gettime' not in names and 'clock_gettime64' not in names:
        wrong.append('the library asks no clock at all: this check has lost what it looks at')
    for (file, name), count in named(folder).items():
        if count > ALLOWED.get((file, name), 0):
            wrong.append(f'{file} names {name} {count} times')
    print('\n'.join(wrong) or f'of the {len(names)} functions that it calls, none is a wall clock')
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
