#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Holds the words against the code: README, docs/ and the comments of the public headers.

usage: check_docs.py --cc cc [--library libtcpmsg.so] [--languages]

Without --library nothing is run, only compiled. --languages runs the clients of docs/protocol.md
in every language whose tool is there; Python always.
"""

import argparse
import os
import pathlib
import re
import sys
import tempfile
import unittest

import pages
from check_floors import FLOORS
from check_protocol import Languages, Vectors  # noqa: F401: unittest finds them here
from pages import HEADERS, PAGES, ROOT, blocks, prose, spans, table_under, text_of

CMAKE_PACKAGE = ROOT / 'cmake' / 'tcpmsgConfig.cmake.in'
API_WORDS = set(re.findall(r'\w+', ' '.join(map(text_of, [*HEADERS, CMAKE_PACKAGE]))))

DECLARATION = re.compile(r'^TCPMSG_API [^;]*?(tcpmsg_\w+)\([^;]*;$', re.MULTILINE)
STRUCT = re.compile(r'^typedef struct \w+ \{\n(.*?)^\} (\w+);', re.MULTILINE | re.DOTALL)
DEFINE = re.compile(r'^#define (TCPMSG_\w+)\b(.*)$', re.MULTILINE)


class Links(unittest.TestCase):
    def test_relative_links_resolve(self):
        for page in PAGES:
            for target in re.findall(r'\]\(([^)\s]+)\)', prose(page)):
                if re.match(r'\w+:', target):
                    continue
                name, _, part = target.partition('#')
                there = (page.parent / name).resolve() if name else page
                with self.subTest(page=page.name, target=target):
                    self.assertTrue(there.exists(), 'no such file')
                    if part:
                        heads = re.findall(r'^#+ (.*)$', prose(there), re.MULTILINE)
                        self.assertIn(part, [pages.anchor(head) for head in heads])

    def test_commands_are_there_and_can_be_run(self):
        for page in PAGES:
            for command in set(re.findall(r'(?<![\w.])\./((?:scripts|bench)/\w+)', text_of(page))):
                with self.subTest(page=page.name, command=command):
                    self.assertTrue(os.access(ROOT / command, os.X_OK))

    def test_files_named_are_there(self):
        known = r'(?:src|tests|docs|examples|scripts|include|bench|pkgconfig|\.ci)/'
        for page in PAGES:
            for name in spans(page):
                if re.fullmatch(known + r'[\w./]*', name):
                    with self.subTest(page=page.name, name=name):
                        self.assertTrue((ROOT / name).exists())

    def test_tests_named_are_there(self):
        page = ROOT / 'docs' / 'tcp.md'
        source = text_of(ROOT / 'tests' / 'test_tcp.c')
        named = set(re.findall(r'\(`(\w+)`\)', prose(page)))
        named |= {row[2] for row in table_under(page, 'state', 'who is in it', 'test')}
        self.assertGreater(len(named), 10)
        for name in named:
            with self.subTest(name=name):
                self.assertIn(f'cmocka_unit_test({name})', source)

    def test_the_floors_of_the_design_are_those_that_are_checked(self):
        page = ROOT / 'docs' / 'design.md'
        rows = table_under(page, 'floor', 'files in src/', 'what lives there')
        self.assertEqual([set(re.findall(r'\w+', row[1])) for row in rows], FLOORS)

    def test_options_of_the_examples_exist(self):
        sources = ''.join(text_of(path) for path in (ROOT / 'examples').glob('*.c'))
        for page in PAGES:
            for span in spans(page):
                if re.match(r'--\w', span):
                    with self.subTest(page=page.name, option=span):
                        self.assertIn(span.split()[0].split('=')[0], sources)


class Headers(unittest.TestCase):
    def test_names_in_the_pages_exist(self):
        for page in PAGES:
            for name in set(re.findall(r'\b(?:tcpmsg|TCPMSG)_\w+', text_of(page))):
                with self.subTest(page=page.name, name=name):
                    self.assertIn(name, API_WORDS)

    def test_every_function_is_documented(self):
        """A comment right above it, or above the group of declarations that it stands in."""
        for header in HEADERS:
            text = text_of(header)
            for found in DECLARATION.finditer(text):
                above = text[:found.start()].split('\n\n')[-1].rstrip()
                with self.subTest(header=header.name, function=found[1]):
                    self.assertRegex(above, r'^\s*/\*')

    def test_every_field_is_documented(self):
        """A comment behind the field, or above it."""
        for header in HEADERS:
            for body, name in STRUCT.findall(text_of(header)):
                # A comment of several lines counts as one.
                whole = re.sub(r'/\*.*?\*/', '/* */', body, flags=re.DOTALL)
                lines = [line for line in whole.split('\n') if line.strip()]
                for above, line in zip([''] + lines, lines):
                    with self.subTest(struct=name, field=line.strip()):
                        self.assertTrue('/*' in line or above.strip().startswith('/*'))

    def test_every_flag_and_constant_is_documented(self):
        """A comment behind each of a paragraph, or one above them all."""
        for header in HEADERS:
            text = text_of(header)
            for found in DEFINE.finditer(text):
                if not found[2].strip() or f'#undef {found[1]}' in text:
                    continue  # an include guard, or a passing help
                above = text[:found.start()].split('\n\n')[-1]
                behind = re.search(r'^#define.*/\*', above, re.MULTILINE)
                with self.subTest(header=header.name, name=found[1]):
                    self.assertTrue('/*' in found[2] or ('/*' in above and not behind))

    def test_every_error_is_documented(self):
        table = text_of(ROOT / 'include' / 'tcpmsg' / 'error.h')
        lines = table.splitlines()
        rows = [at for at, line in enumerate(lines) if re.match(r'\s+X\(TCPMSG_\w+, -\d+,', line)]
        self.assertEqual(len(rows), 21)
        for at in rows:
            with self.subTest(error=lines[at].strip()):
                self.assertRegex(lines[at - 1], r'/\* .* \*/')


class Code(unittest.TestCase):
    def test_blocks_of_c_compile(self):
        for page in PAGES:
            for number, source in enumerate(blocks(page, 'c'), 1):
                with self.subTest(page=page.name, block=number):
                    made = pages.compile_c(pages.as_unit(source))
                    self.assertEqual(made.returncode, 0, made.stderr)


class Programs(unittest.TestCase):
    def test_the_clients_of_the_readme_talk_to_its_servers(self):
        if not pages.given.library:
            self.skipTest('no --library')
        servers, clients = pages.readme_programs()
        self.assertEqual((len(servers), len(clients)), (2, 1))
        with tempfile.TemporaryDirectory() as name:
            room = pathlib.Path(name)
            for which in range(len(servers)):
                port = pages.start_server(room, self, which)
                client = pages.build(clients[0], port, room / 'client')
                self.assertEqual(pages.run([client], room), 'hello\n')


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--cc', nargs='+', default=['cc'], help='the C compiler')
    parser.add_argument('--library', help='the shared library')
    parser.add_argument('--languages', action='store_true')
    pages.given = parser.parse_args()
    unittest.main(argv=[sys.argv[0]])


if __name__ == '__main__':
    main()
