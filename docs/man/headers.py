# SPDX-License-Identifier: MIT
"""The public headers, read as the manual that they are: what is declared, under which comment."""

import re
from dataclasses import dataclass, field

# What a header is made of. A comment speaks of what follows it without an empty line between.
PIECE = re.compile(
    r'(?P<comment>/\*.*?\*/[ \t]*\n)'
    r'|(?P<struct>typedef struct \w+ \{\n.*?^\} \w+;\n)'
    r'|(?P<enum>(?:typedef )?enum(?: \w+)? \{\n.*?^\}[ \w]*;\n)'
    r'|(?P<type>typedef [^;{]*;\n)'
    r'|(?P<function>TCPMSG_API\s[^;]*;\n)'
    r'|(?P<define>\#define\s(?:[^\n]*\\\n)*[^\n]*\n)'
    r'|(?P<empty>[ \t]*\n)'
    r'|(?P<other>[^\n]*\n)',
    re.MULTILINE | re.DOTALL,
)
FUNCTION = re.compile(r'TCPMSG_API\s+(?:TCPMSG_MUST_CHECK\s+)?(.*?)(\w+)\((.*)\);', re.DOTALL)
MEMBER = re.compile(r'(?P<comment>/\*.*?\*/)|(?P<declaration>[^;/]+;)', re.DOTALL)
CONSTANT = re.compile(r'\#define (\w+)[ \t]+(\([^)]*\)|\S+)[ \t]*(/\*.*\*/)?\n')
ENUMERATOR = re.compile(r'^ +(\w+) = ([^,/\n]+?),?[ \t]*(/\*.*\*/)?$', re.MULTILINE)
ERROR = re.compile(r'/\*(.*?)\*/\s*X\((\w+), (-\d+), "(.*?)"\)', re.DOTALL)


@dataclass
class Function:
    name: str
    type: str
    arguments: list  # declarations

    @classmethod
    def read(cls, text):
        kind, name, rest = FUNCTION.match(text).groups()
        return cls(name, squeeze(kind), split_arguments(squeeze(rest)))


@dataclass
class Functions:
    """Those that share a comment."""

    paragraphs: list
    functions: list = field(default_factory=list)


@dataclass
class Struct:
    name: str
    paragraphs: list
    members: list = field(default_factory=list)  # (declaration, paragraphs)
    macros: list = field(default_factory=list)  # (name, paragraphs): what makes one


@dataclass
class Constants:
    """Those of one paragraph, and the comment above them all."""

    paragraphs: list
    items: list = field(default_factory=list)  # (name, value, paragraphs)


@dataclass
class Header:
    name: str
    preface: list = field(default_factory=list)  # paragraphs
    types: list = field(default_factory=list)  # (name, declaration, paragraphs): without members
    functions: list = field(default_factory=list)
    structs: list = field(default_factory=list)
    constants: list = field(default_factory=list)
    errors: list = field(default_factory=list)  # (name, number, paragraphs, sentence)
    about_errors: list = field(default_factory=list)


def squeeze(text):
    """A declaration on one line, stars beside the name."""
    return re.sub(r'\* (?=[\w*])', '*', ' '.join(text.split()))


def split_arguments(text):
    """At the commas that stand in no parentheses."""
    if text == 'void':
        return []
    depth, words = 0, ['']
    for letter in text:
        depth += (letter == '(') - (letter == ')')
        if letter == ',' and depth == 0:
            words.append('')
        else:
            words[-1] += letter
    return [word.strip() for word in words]


def paragraphs_of(comment):
    """A comment's text: paragraphs, each on one line."""
    text = re.sub(r'^\s*/\*|\*/\s*$', '', comment.strip())
    text = re.sub(r'^[ \t]*\* ?', '', text, flags=re.MULTILINE)
    return [' '.join(part.split()) for part in re.split(r'\n[ \t]*\n', text) if part.strip()]


def read_members(body):
    """A struct's members; the comment of each stands behind it, or above."""
    members, pending, end = [], [], 0
    for piece in MEMBER.finditer(body):
        if piece['declaration']:
            members.append((squeeze(piece['declaration']).rstrip(';'), pending))
            pending = []
        elif members and '\n' not in body[end:piece.start()]:
            members[-1] = (members[-1][0], paragraphs_of(piece['comment']))
        else:
            pending = paragraphs_of(piece['comment'])
        end = piece.end()
    return members


class Reader:
    def __init__(self, name, text):
        self.header = Header(name)
        self.comment = []  # above what comes next
        self.group = None  # what the paragraph has so far of its kind
        for piece in PIECE.finditer(text):
            getattr(self, 'take_' + piece.lastgroup)(piece[0])

    def take_comment(self, text):
        if 'SPDX' not in text:
            self.comment, self.group = paragraphs_of(text), None

    def take_empty(self, _):
        if self.comment and self.group is None:
            self.header.preface += self.comment
        self.comment, self.group = [], None

    def take_other(self, text):
        if not text.startswith('#if') and not text.startswith('#endif'):
            self.take_empty(text)

    def take_struct(self, text):
        name = re.search(r'\} (\w+);', text)[1]
        body = text[text.index('{') + 1:text.rindex('}')]
        self.header.structs.append(Struct(name, self.comment, read_members(body)))
        self.group = self.header.structs[-1]

    def take_type(self, text):
        text = squeeze(text).rstrip(';')
        name = re.search(r'\(\*(\w+)\)\(|(\w+)$', text)
        name = name[1] or name[2]
        shown = name if text == f'typedef struct {name} {name}' else text
        self.header.types.append((name, shown, self.comment))
        self.group = self.header.types[-1]

    def take_function(self, text):
        if not isinstance(self.group, Functions):
            self.group = Functions(self.comment)
            self.header.functions.append(self.group)
        self.group.functions.append(Function.read(text))

    def take_enum(self, text):
        items = ENUMERATOR.findall(text)
        if items:
            self.add_constants(items)

    def take_define(self, text):
        flat = text.replace('\\\n', '\n')
        if ERROR.search(flat):
            self.header.about_errors = self.comment
            self.header.errors = [(name, number, paragraphs_of(comment), sentence)
                                  for comment, name, number, sentence in ERROR.findall(flat)]
            self.group = self.header.errors
        elif re.match(r'#define \w+\(', text):
            self.take_macro(text)
        elif CONSTANT.match(text) and '__attribute__' not in text:
            self.add_constants([CONSTANT.match(text).groups()])

    def take_macro(self, text):
        name = re.match(r'#define (\w+)', text)[1]
        for struct in self.header.structs:
            if f'sizeof({struct.name})' in text:
                struct.macros.append((name, self.comment))
                self.group = struct

    def add_constants(self, items):
        if not isinstance(self.group, Constants):
            self.group = Constants(self.comment)
            self.header.constants.append(self.group)
        for name, value, comment in items:
            self.group.items.append((name, value, paragraphs_of(comment or '')))


def read(paths):
    """The headers, each a file's name and what it has."""
    return [Reader(path.name, path.read_text(encoding='utf-8')).header for path in paths]
