#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Counts the instructions of our own code for a message of 64 bytes, and fails where they have
become more than is recorded here.

They are those of a release that is compiled here, however the build around was configured, and
another compiler makes another number of them: where the recorded one is missing, it is skipped.

usage: check_instructions.py PROJECT_DIR COMPILER...
"""

import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True  # the source folder stays as it is
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'bench'))

import instructions

# Instructions a message, and the major version of the gcc for x86-64 that makes so many.
RECORDED = 156.5
GCC = 12

MARGIN = 0.05
SKIPPED = 77

# As meson compiles a release, and without what some systems' gcc adds by itself.
RELEASE = [
    '-std=c11', '-O3', '-DNDEBUG', '-D_FILE_OFFSET_BITS=64', '-pthread',
    '-fcf-protection=none', '-fno-stack-protector', '-U_FORTIFY_SOURCE',
]
LIBRARY = ['-D_GNU_SOURCE', '-fvisibility=hidden', '-fPIC', '-shared']


def why_not(compiler):
    """Why the figure can't be had here, or would be another one; nothing where it can."""
    for tool in ('valgrind', 'callgrind_annotate'):
        if not shutil.which(tool):
            return f'{tool} is not there'
    shown = subprocess.run([*compiler, '-E', '-dM', '-x', 'c', '/dev/null'],
                           stdout=subprocess.PIPE, text=True, check=False).stdout
    macros = dict(re.findall(r'^#define (\w+) (.*)$', shown, re.MULTILINE))
    if platform.machine() != 'x86_64' or '__x86_64__' not in macros:
        return 'the record is for x86-64'
    if macros.get('__GNUC__') != str(GCC) or '__clang__' in macros:
        return f'the record is for gcc {GCC}'
    return None


def run(*command):
    if subprocess.run(command, check=False).returncode:
        sys.exit('it does not compile')


def compiled(project, compiler, room):
    """The program that callgrind runs, with a library of its own."""
    library, program = room / 'libtcpmsg.so', room / 'instructions'
    include, bench = project / 'include', project / 'bench'
    release = [*compiler, *RELEASE, '-I', include]
    sources = sorted((project / 'src').glob('*.c'))
    measured = [bench / 'instructions.c', bench / 'measure.c']
    run(*release, *LIBRARY, *sources, '-o', library)
    # By its path, and without a soname: it is found there, and nowhere else.
    run(*release, *measured, library, '-o', program)
    return program


def judge(total):
    """The exit status."""
    print(f'recorded, with gcc {GCC}: {RECORDED}')
    over = total / RECORDED - 1
    if over > MARGIN:
        print(f'over the record by {over:.1%}, and {MARGIN:.0%} is the margin')
        return 1
    if over < -MARGIN:
        print(f'under the record by {-over:.1%}: RECORDED can be lowered')
    return 0


def main(project, *compiler):
    reason = why_not(compiler)
    if reason:
        print(f'skipped: {reason}')
        return SKIPPED
    with tempfile.TemporaryDirectory() as room:
        costs = instructions.each(compiled(project, compiler, pathlib.Path(room)))
    instructions.show(costs)
    return judge(sum(costs.values()))


if __name__ == '__main__':
    sys.exit(main(pathlib.Path(sys.argv[1]), *sys.argv[2:]))
