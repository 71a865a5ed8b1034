#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Holds the coverage of src/: every line is reached, and every branch that no list excuses.

usage: check_coverage.py PROJECT_DIR LIST COVERAGE.json...

Each COVERAGE.json is gcovr's, of one build; the builds count together. LIST (tests/branches.txt)
has a paragraph for each line of src/ with a branch that nothing reaches:

    file: the line's text
        why, in as many lines as it takes

A reason that begins with "By chance:" is of a branch that some runs reach; any other has to be
true: an entry whose branches are all reached fails, too. The branches of an assert are not counted:
no run that goes on takes one of them.
"""

import json
import pathlib
import re
import sys
from collections import defaultdict

BY_CHANCE = 'By chance:'
ASSERT = re.compile(r'\s*assert\(')


def read_list(path):
    """{(file, text): reason}"""
    entries = {}
    for paragraph in re.split(r'\n\s*\n', path.read_text(encoding='utf-8')):
        lines = [line for line in paragraph.splitlines() if not line.startswith('#')]
        if not lines:
            continue
        name, _, text = lines[0].partition(': ')
        entries[name, text.strip()] = ' '.join(line.strip() for line in lines[1:])
    return entries


def merge(counts, branches):
    """A line's branches of two builds: one by one, where the compiler made as many of them."""
    if len(counts) != len(branches):
        return max(counts, branches, key=len)
    return [one + other for one, other in zip(counts, branches)]


def read_coverage(paths):
    """{file: {line: [count, [count of each branch]]}}"""
    files = defaultdict(dict)
    for path in paths:
        for file in json.loads(path.read_text(encoding='utf-8'))['files']:
            lines = files[pathlib.PurePath(file['file']).name]
            for line in file['lines']:
                if line.get('gcovr/noncode') or line.get('gcovr/excluded'):
                    continue
                branches = [branch['count'] for branch in line['branches']]
                count, before = lines.get(line['line_number'], (0, branches))
                if line['line_number'] in lines:
                    branches = merge(before, branches)
                lines[line['line_number']] = [count + line['count'], branches]
    return files


class Report:
    def __init__(self, entries):
        self.entries = entries
        self.wrong = []
        self.missed = set()
        self.seen = set()
        self.lines = self.branches = self.reached_lines = self.reached_branches = 0

    def take(self, name, number, text, count, branches):
        self.lines += 1
        self.reached_lines += count > 0
        if count == 0:
            self.wrong.append(f'src/{name}:{number}: not reached: {text.strip()}')
        if ASSERT.match(text):
            return
        missed = sum(branch == 0 for branch in branches)
        self.branches += len(branches)
        self.reached_branches += len(branches) - missed
        key = name, text.strip()
        self.seen.add(key)
        if missed:
            self.missed.add(key)
            if key not in self.entries and count > 0:
                self.wrong.append(f'src/{name}:{number}: {missed} of {len(branches)} branches '
                                  f'not reached, and not listed: {text.strip()}')

    def end(self):
        for (name, text), reason in self.entries.items():
            if not reason:
                self.wrong.append(f'listed without a reason: {name}: {text}')
            elif (name, text) not in self.seen:
                self.wrong.append(f'listed, but there is no such line: {name}: {text}')
            elif (name, text) not in self.missed and not reason.startswith(BY_CHANCE):
                self.wrong.append(f'listed, but all of it is reached: {name}: {text}')


def main(project, listed, *coverage):
    report = Report(read_list(pathlib.Path(listed)))
    files = read_coverage([pathlib.Path(path) for path in coverage])
    for name, lines in sorted(files.items()):
        texts = (pathlib.Path(project) / 'src' / name).read_text(encoding='utf-8').splitlines()
        for number, (count, branches) in sorted(lines.items()):
            report.take(name, number, texts[number - 1], count, branches)
    report.end()
    for what in report.wrong:
        print(what)
    print(f'{report.reached_lines} of {report.lines} lines, {report.reached_branches} of '
          f'{report.branches} branches; {len(report.missed & set(report.entries))} lines have '
          'branches that nothing reaches, with a reason')
    return 1 if report.wrong or not report.lines else 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
