#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Holds the manual pages against the headers that they are made of, and against mdoc(7).

usage: check_man.py --pages FOLDER [--html FOLDER]

FOLDER has man3/ and man7/. What is declared is read here in a way of its own: the tool that makes
the pages could overlook it.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import unittest

from pages import HEADERS, ROOT, text_of

COMMENT = re.compile(r'/\*.*?\*/', re.DOTALL)
STRUCT = re.compile(r'typedef struct (\w+) \{(.*?)\} \1;', re.DOTALL)
NOT_FOUND = 'STYLE: referenced manual not found: '

given = None


def declared():
    """All the headers without a comment, a line that goes on being one line."""
    return COMMENT.sub('', '\n'.join(map(text_of, HEADERS)).replace('\\\n', ' '))


def exported():
    return re.findall(r'^\s+(tcpmsg_\w+);', text_of(ROOT / 'src' / 'tcpmsg.map'), re.MULTILINE)


def members():
    """(struct, member) of each struct that is not opaque."""
    for struct, body in STRUCT.findall(declared()):
        for declaration in body.split(';')[:-1]:
            yield struct, re.search(r'\(\*(\w+)\)|(\w+)(?:\[\d+\])?$', declaration.strip())


def constants():
    text = declared()
    yield from re.findall(r'^#define (TCPMSG_\w+) [\d("].*$', text, re.MULTILINE)
    yield from re.findall(r'^ +(TCPMSG_\w+) = ', text, re.MULTILINE)


def errors():
    return re.findall(r'X\((TCPMSG_E\w+), -\d+,', declared())


def pages():
    return sorted(given.pages.glob('man[37]/*'))


def page(name, section=3):
    path = given.pages / f'man{section}' / f'{name}.{section}'
    return text_of(path) if path.exists() else ''


def entry(text, head):
    """What a list says under a head."""
    found = re.search(rf'^\.It {head}\n(.*?)^\.(?:It|El)\b', text, re.MULTILINE | re.DOTALL)
    return found[1].strip() if found else ''


def letters(text):
    """A text without what only its setting adds: the short names, the sections, the quotes."""
    text = re.sub(r'TCPMSG_(?=E)|tcpmsg/|\([37]\)', '', text)
    return re.sub(r'[\W]+', '', text)


class Whole(unittest.TestCase):
    def test_every_public_function_has_a_page(self):
        names = exported()
        self.assertGreater(len(names), 40)
        for name in names:
            with self.subTest(function=name):
                self.assertTrue(re.search(rf'^\.Nm {name}(?: ,)?$', page(name), re.MULTILINE))
                self.assertTrue(re.search(rf'^\.Fo {name}$', page(name), re.MULTILINE))
                self.assertTrue(re.search(rf'\bXr {name} 3\b', page('tcpmsg', 7)))

    def test_every_field_has_its_place(self):
        found = list(members())
        self.assertGreater(len(found), 40)
        for struct, match in found:
            name = match[1] or match[2]
            with self.subTest(struct=struct, field=name):
                head = rf'Vt "[^\n]*\b{name}\b(?:\[\d+\]|\)\([^\n]*\))?"'
                self.assertNotEqual(entry(page(struct), head), '')

    def test_every_flag_and_constant_has_its_place(self):
        found = list(constants())
        self.assertIn('TCPMSG_PEEK', found)
        self.assertIn('TCPMSG_POLLER_POLL', found)
        for name in found:
            with self.subTest(name=name):
                self.assertTrue(f'\n.It Dv {name} No = ' in page('tcpmsg', 7))

    def test_every_error_has_its_place(self):
        found = errors()
        self.assertGreaterEqual(len(found), 21)
        for name in found:
            with self.subTest(error=name):
                self.assertNotEqual(entry(page('tcpmsg', 7), f'Bq Er {name}'), '')

    def test_the_errors_of_a_call_are_on_its_page(self):
        recv = set(re.findall(r'^\.It Bq Er (\w+)$', page('tcpmsg_recv'), re.MULTILINE))
        view = set(re.findall(r'^\.It Bq Er (\w+)$', page('tcpmsg_recv_view'), re.MULTILINE))
        self.assertIn('TCPMSG_ETRUNCATED', recv)
        self.assertEqual(recv - view, {'TCPMSG_EBUFSIZE'})

    def test_what_a_page_refers_to_is_there(self):
        headers = ''.join(map(text_of, HEADERS))
        for path in pages():
            for name, section in set(re.findall(r'\bXr (\w+) (\d)', text_of(path))):
                with self.subTest(page=path.name, name=name):
                    ours = (given.pages / f'man{section}' / f'{name}.{section}').exists()
                    self.assertTrue(ours or f'{name}({section})' in headers)


@unittest.skipUnless(shutil.which('mandoc'), 'mandoc is missing')
class Set(unittest.TestCase):
    def test_mandoc_finds_nothing_wrong(self):
        """But that it doesn't find the pages themselves, which are not installed yet."""
        done = subprocess.run(['mandoc', '-Tlint', *pages()], capture_output=True, text=True)
        found = [line for line in done.stdout.splitlines() if NOT_FOUND not in line]
        self.assertEqual(found, [])

    def test_every_sentence_of_the_headers_is_on_a_page(self):
        command = ['mandoc', '-Tutf8', *pages()]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        said = letters(re.sub(r'.\x08', '', said))
        for header in HEADERS:
            if header.name == 'export.h':
                continue
            for comment in COMMENT.findall(text_of(header))[1:]:
                text = re.sub(r'\\?\n[ \t]*\*?', ' ', comment[2:-2])
                for sentence in re.split(r'(?<=[.:;])\s+', text):
                    with self.subTest(header=header.name, sentence=sentence):
                        self.assertTrue(letters(sentence) in said)

    @unittest.skipUnless('--html' in sys.argv, 'no --html')
    def test_there_is_html_of_each_page_and_its_links_resolve(self):
        made = sorted(given.html.glob('*.html'))
        self.assertEqual([path.name for path in made],
                         sorted(f'{path.name}.html' for path in pages()))
        for path in made:
            for target in re.findall(r'href="([^"#:]+)"', text_of(path)):
                with self.subTest(page=path.name, target=target):
                    self.assertTrue((given.html / target).exists())


@unittest.skipUnless(shutil.which('man'), 'man is missing')
class Shown(unittest.TestCase):
    def test_man_shows_each_page_without_a_complaint(self):
        room = dict(os.environ, LC_ALL='C.UTF-8', MANPAGER='cat', MANWIDTH='80')
        done = subprocess.run(['man', '--warnings', '-l', *pages()], capture_output=True,
                              text=True, env=room)
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        for name in exported():
            self.assertTrue(name in done.stdout, name)


def main():
    global given
    parser = argparse.ArgumentParser()
    parser.add_argument('--pages', type=pathlib.Path, required=True)
    parser.add_argument('--html', type=pathlib.Path)
    given = parser.parse_args()
    unittest.main(argv=[sys.argv[0]])


if __name__ == '__main__':
    main()
