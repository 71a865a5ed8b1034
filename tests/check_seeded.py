#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Each bug of tests/seeded can still be put back into the sources as they are, and says which
tests, that there are, catch it. That they do is shown by scripts/seeded.

usage: check_seeded.py PROJECT_DIR
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys

CAUGHT_BY = re.compile(r'^Caught-by: (.+)$', re.MULTILINE)
PATCHED = re.compile(r'^(?:---|\+\+\+) (?:[ab]/)?(\S+)', re.MULTILINE)


def applies(project, patch):
    # Where the project lies inside of another repository, git would take the paths for that one's.
    environment = dict(os.environ, GIT_CEILING_DIRECTORIES=str(project.parent))
    command = ['git', 'apply', '--check', '-p1', str(patch)]
    result = subprocess.run(
        command, cwd=project, env=environment, text=True, capture_output=True, check=False
    )
    return '' if result.returncode == 0 else f'does not apply:\n{result.stderr}'


def wrong_with(project, patch):
    text = patch.read_text(encoding='utf-8')
    head = text.partition('\n--- ')[0]
    names = CAUGHT_BY.findall(head)
    if not re.fullmatch(r'[a-z0-9_]+', patch.stem):
        yield 'has another name than snake_case'
    if len(names) != 1:
        yield 'has no line "Caught-by: ..." of its own'
    if not head.partition('Caught-by:')[0].strip():
        yield 'does not say what the bug is'
    for name in ' '.join(names).split():
        program = re.sub(r'_(epoll|poll)$', '', name)
        if not (project / 'tests' / f'test_{program}.c').exists():
            yield f'is caught by {name}, which there is not'
    for path in set(PATCHED.findall(text)):
        if not path.startswith('src/'):
            yield f'changes {path}, which is not the library'
    complaint = applies(project, patch)
    if complaint:
        yield complaint


def main(project):
    patches = sorted((project / 'tests' / 'seeded').glob('*.patch'))
    if not shutil.which('git'):
        print('there is no git to apply them with')
        return 77
    wrong = [f'{path.name} {what}' for path in patches for what in wrong_with(project, path)]
    print('\n'.join(wrong) or f'{len(patches)} bugs, each can be put back')
    return 1 if wrong or not patches else 0


if __name__ == '__main__':
    sys.exit(main(pathlib.Path(sys.argv[1]).resolve()))
