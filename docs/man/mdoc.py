# SPDX-License-Identifier: MIT
"""A comment's plain text as mdoc(7): names become macros, a sentence begins a line."""

import re
import textwrap

WIDTH = 78

# Behind these a word may follow on the same line, and the sentence goes on.
SENTENCE_END = re.compile(r'(?<=[.?!])(?<!e\.g\.)(?<!i\.e\.)([)"]*) +')
WORD = re.compile(r'''
    (?P<before>[("\[]*)
    (?P<name>`[^`]+` | [A-Za-z]\w*\(\d\) | [a-z]+\.h | \w+)
    (?P<behind>[^\w`]*|'s[^\w`]*)
''', re.VERBOSE)
DELIMITERS = set('.,:;)]?!')


def escape(text):
    """For a line of text."""
    text = text.replace('\\', '\\e')
    text = re.sub(r'(?<![\w-])-(?=[\d\w])', r'\\-', text)
    text = ''.join(c if c < '\x7f' else f'\\[u{ord(c):04X}]' for c in text)
    return '\\&' + text if text[:1] in ("'", '.') else text


def quote(text):
    """As one argument of a macro."""
    text = escape(text).replace('"', '\\(dq')
    return f'"{text}"' if ' ' in text else text


def sentences(paragraph):
    return re.sub(SENTENCE_END, r'\1\n', paragraph).split('\n')


class Names:
    """What each name in a text is, so that it is set as such."""

    def __init__(self, headers):
        functions = [group for header in headers for group in header.functions]
        structs = [struct for header in headers for struct in header.structs]
        self.headers = {header.name for header in headers}
        self.errors = {error[0] for header in headers for error in header.errors}
        self.pages = {one.name for group in functions for one in group.functions}
        self.pages |= {struct.name for struct in structs}
        self.types = {one[0] for header in headers for one in header.types}
        self.members = {re.search(r'(\w+)(?:\)\(.*|\[\d*\])?$', declaration)[1]
                        for struct in structs for declaration, _ in struct.members}
        self.constants = {item[0] for header in headers for group in header.constants
                          for item in group.items}
        self.constants |= {macro for struct in structs for macro, _ in struct.macros}
        self.constants.add('NULL')

    def error(self, word):
        """The error that a word stands for: EINVAL is TCPMSG_EINVAL."""
        for name in (word, 'TCPMSG_' + word):
            if name in self.errors:
                return name
        return None

    def macro(self, word, own):
        """What sets a word, or None; `own` are the functions of the page itself."""
        manual = re.fullmatch(r'(\w+)\((\d)\)', word)
        if manual:
            return f'Xr {manual[1]} {manual[2]}'
        if word.startswith('`'):
            return f'Fa {quote(word[1:-1])}'
        if word in own:
            return f'Fn {word}'
        if word in self.pages:
            return f'Xr {word} 3'
        if self.error(word):
            return f'Er {self.error(word)}'
        if word in self.constants:
            return f'Dv {word}'
        if word in self.types:
            return f'Vt {word}'
        if '_' in word and word in self.members:
            return f'Va {word}'
        return f'In tcpmsg/{word}' if word in self.headers else None

    def line(self, word, own):
        """A word as a line of its own, or None when it is only a word."""
        found = WORD.fullmatch(word)
        macro = found and self.macro(found['name'], own)
        if not macro:
            return None
        before, behind = found['before'], found['behind']
        if behind.startswith("'s"):
            macro, behind = f"{macro} Ns 's", behind[2:]
        if before:
            macro = f'Pf {quote(before)} {macro}'
        if set(behind) <= DELIMITERS:
            return '.' + ' '.join([macro, *behind])
        return f'.{macro} Ns {quote(behind)}'

    def text(self, paragraph, own=()):
        """A paragraph's lines."""
        lines = []
        for sentence in sentences(paragraph):
            plain = []
            for word in sentence.split():
                line = self.line(word, own)
                if line is None:
                    plain.append(word)
                    continue
                lines += wrap(plain) + [line]
                plain = []
            lines += wrap(plain)
        return lines

    def errors_in(self, text):
        found = (self.error(word) for word in re.findall(r'\b(?:TCPMSG_)?E[A-Z]+\b', text))
        return {name for name in found if name}


def wrap(words):
    """Words as lines of text, none of which is taken for a request."""
    lines = textwrap.wrap(' '.join(words), WIDTH, break_long_words=False, break_on_hyphens=False)
    return [escape(line) for line in lines]
