#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Holds README and its translation against each other, and against what the examples print.

usage: check_readme.py [ECHO_SERVER CHAT_CLIENT]
"""

import pathlib
import re
import subprocess
import sys
import unittest

from pages import ROOT, prose, spans, text_of

ENGLISH = ROOT / 'README.md'
CHINESE = ROOT / 'README.zh-CN.md'

programs = {}


def fenced(page):
    """The blocks of a page in their order: (language, text)."""
    return re.findall(r'^ *```(\w*)\n(.*?)^ *```$', text_of(page), re.MULTILINE | re.DOTALL)


def headings(page):
    return [len(marks) for marks in re.findall(r'^(#+) ', prose(page), re.MULTILINE)]


def targets(page):
    """Where its links lead; a page's own parts are named in its language."""
    found = sorted(re.findall(r'\]\(([^)\s#]+)[^)\s]*\)', prose(page)))
    found.remove((CHINESE if page == ENGLISH else ENGLISH).name)
    return found


def numbers(page):
    return sorted(re.findall(r'\d[\d.,]*\d|\d', prose(page)))


def tables(page):
    """The columns of each row of each table."""
    return [line.count('|') for line in prose(page).splitlines() if line.startswith('|')]


class Translation(unittest.TestCase):
    def test_the_code_is_the_same(self):
        self.assertGreater(len(fenced(ENGLISH)), 10)
        self.assertEqual(fenced(CHINESE), fenced(ENGLISH))

    def test_the_parts_are_the_same(self):
        self.assertEqual(headings(CHINESE), headings(ENGLISH))
        self.assertEqual(tables(CHINESE), tables(ENGLISH))

    def test_the_links_are_the_same(self):
        self.assertEqual(targets(CHINESE), targets(ENGLISH))

    def test_the_names_are_the_same(self):
        self.assertEqual(sorted(spans(CHINESE)), sorted(spans(ENGLISH)))

    def test_the_figures_are_the_same(self):
        self.assertEqual(numbers(CHINESE), numbers(ENGLISH))


class Help(unittest.TestCase):
    def test_it_is_what_the_examples_print(self):
        if not programs:
            self.skipTest('the examples are not built')
        shown = [re.match(r'\$ build/examples/(\w+) --help\n(.*)', text, re.DOTALL)
                 for _, text in fenced(ENGLISH)]
        shown = {found[1]: found[2] for found in shown if found}
        self.assertEqual(set(shown), set(programs))
        for name, program in programs.items():
            said = subprocess.run([program, '--help'], capture_output=True, text=True, check=True)
            self.assertEqual(shown[name], said.stdout)


if __name__ == '__main__':
    programs = {pathlib.Path(path).name: path for path in sys.argv[1:]}
    unittest.main(argv=sys.argv[:1])
