#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the manual pages from the public headers' own comments.

usage: make.py FOLDER README HEADER...

FOLDER gets man3/ (a page for each function, or for those that share a comment, and for each
struct) and man7/ (the library); what was there before goes. The date is SOURCE_DATE_EPOCH's, or
that of the newest header.
"""

import datetime
import os
import pathlib
import re
import shutil
import sys

import headers
import mdoc

# A comment that begins so is about what stands before it, and goes on its page.
CONTINUES = re.compile(r'The same\b')
# What a call returns, rather than what it does.
RETURNS = re.compile(r'Returns?\b|0\b|TCPMSG_E\w+')
TITLES = {
    'conn.h': 'Connections',
    'error.h': 'Errors',
    'frame.h': 'The codec alone',
    'listener.h': 'Listeners',
    'loop.h': 'Loops',
    'options.h': 'Options',
    'version.h': 'Version',
}


def summary(paragraphs):
    """The first sentence as far as it says what a thing does, as for a NAME line."""
    first = mdoc.sentences(paragraphs[0])[0].rstrip('.')
    # A colon or semicolon in quotes or before no blank ends nothing.
    first = re.match(r'(?:"[^"]*"|[^;:"]|[;:](?=\S))*', first)[0].rstrip(' ,')
    first = first.replace('`', '')
    return first if re.match(r'[A-Z]{2}', first) else first[0].lower() + first[1:]


def list_of(entries, names, own=()):
    """A list of (macros of the head, paragraphs)."""
    lines = ['.Bl -tag -width Ds']
    for head, paragraphs in entries:
        lines.append(f'.It {head}')
        lines += text_of(paragraphs, names, own)
    return lines + ['.El']


def text_of(paragraphs, names, own=()):
    lines = []
    for paragraph in paragraphs:
        lines += (['.Pp'] if lines else []) + names.text(paragraph, own)
    return lines


class Page:
    """One file; it may have several names."""

    def __init__(self, manual, names, section, title):
        self.manual, self.names, self.section, self.title = manual, names, section, title
        self.lines = []
        self.see = {('tcpmsg', 7)} if section != 7 else set()

    def head(self, title):
        self.lines.append(f'.Sh {title}')

    def start(self, sentence):
        self.head('NAME')
        self.lines += [f'.Nm {name} ,' for name in self.names[:-1]] + [f'.Nm {self.names[-1]}']
        self.lines.append('.Nd ' + mdoc.escape(sentence).replace('"', '\\(dq'))
        if self.section == 3:
            self.head('LIBRARY')
            self.lines.append('libtcpmsg: whole messages over TCP (\\-ltcpmsg)')
        self.head('SYNOPSIS')
        self.lines.append('.In tcpmsg/tcpmsg.h')

    def errors(self, names):
        if names:
            self.head('ERRORS')
            self.lines += self.manual.table_of(names)

    def see_also(self):
        """All that the text names, and what was added; the page itself isn't."""
        for line in self.lines:
            for name, section in re.findall(r'\bXr (\w+) (\d)', line):
                self.see.add((name, int(section)))
        self.see -= {(name, self.section) for name in self.names}
        if self.section == 7:  # names all of them
            self.see = {(name, section) for name, section in self.see if section != 3}
        see = [f'.Xr {name} {section}'
               for name, section in sorted(self.see, key=lambda one: (one[1], one[0]))]
        if see:
            self.head('SEE ALSO')
            self.lines += [f'{line} ,' for line in see[:-1]] + see[-1:]

    def write(self, folder):
        self.see_also()
        room = folder / f'man{self.section}'
        room.mkdir(exist_ok=True)
        text = '\n'.join([f'.Dd {self.manual.date}', f'.Dt {self.title.upper()} {self.section}',
                          '.Os', *self.lines, ''])
        # Under each name; one that differs only in case can't have a file everywhere.
        for name in {name.lower() for name in self.names}:
            (room / f'{name}.{self.section}').write_text(text, encoding='utf-8')


class Manual:
    def __init__(self, readme, paths, date):
        self.readme, self.date = readme, date
        self.headers = headers.read(paths)
        self.names = mdoc.Names(self.headers)
        self.errors = [error for header in self.headers for error in header.errors]
        self.structs = [struct for header in self.headers for struct in header.structs]
        self.calls = {}  # a function's name: the groups of its page
        for header in self.headers:
            for topic in topics(header):
                for name in (one.name for group in topic for one in group.functions):
                    self.calls[name] = topic

    def pages(self):
        yield self.library()
        done = []
        for topic in self.calls.values():
            if topic not in done:
                done.append(topic)
                yield self.functions(topic)
        for struct in self.structs:
            yield self.struct(struct)

    def functions(self, topic):
        calls = [one for group in topic for one in group.functions]
        own = [one.name for one in calls]
        page = Page(self, own, 3, own[0])
        page.start(summary(topic[0].paragraphs))
        for one in calls:
            page.lines += prototype(one)
        page.head('DESCRIPTION')
        returned = []
        for group in topic:
            does, returns = apart(group.paragraphs, self.names)
            if group is not topic[0]:
                page.lines += ['.Pp', f'.Fn {group.functions[0].name} :']
            page.lines += text_of(does, self.names, own)
            returned += returns
        if returned:
            page.head('RETURN VALUES')
            page.lines += self.names.text(' '.join(returned), own)
        page.errors(self.errors_of(topic))
        page.see |= {(struct.name, 3) for struct in self.structs for one in calls
                     if re.search(rf'\b{struct.name}\b', ' '.join(one.arguments))}
        return page

    def errors_of(self, topic):
        """Those that the comments name, and those of the call that they say is alike."""
        text = ' '.join(part for group in topic for part in group.paragraphs)
        found = self.names.errors_in(text)
        for name in re.findall(r'Returns[^.]* as (tcpmsg_\w+)', text):
            found |= self.errors_of(self.calls[name])
        for words in re.findall(r'\bwithout ((?:TCPMSG_)?E[A-Z]+)', text):
            found -= self.names.errors_in(words)
        return found

    def struct(self, struct):
        page = Page(self, [struct.name] + [name for name, _ in struct.macros], 3, struct.name)
        page.start(summary(struct.paragraphs))
        page.lines += ['.Bd -literal', f'typedef struct {struct.name} {{']
        page.lines += [f'    {mdoc.escape(declaration)};' for declaration, _ in struct.members]
        page.lines += [f'}} {struct.name};', '.Ed']
        page.head('DESCRIPTION')
        page.lines += text_of(struct.paragraphs, self.names)
        page.lines += list_of([(f'Vt {mdoc.quote(declaration)}', paragraphs)
                               for declaration, paragraphs in struct.members], self.names)
        for _, paragraphs in struct.macros:
            page.lines += ['.Pp', *text_of(paragraphs, self.names)]
        page.see |= {(name, 3) for name, topic in self.calls.items()
                     if any(struct.name in word for group in topic for one in group.functions
                            if one.name == name for word in one.arguments)}
        return page

    def library(self):
        page = Page(self, ['tcpmsg'], 7, 'tcpmsg')
        first, *rest = mdoc.sentences(' '.join(self.header('tcpmsg.h').preface))
        page.start(first.partition(': ')[2].rstrip('.'))
        page.lines.append('.Dl cc program.c $(pkg-config \\-\\-cflags \\-\\-libs tcpmsg)')
        page.head('DESCRIPTION')
        page.lines += self.names.text(' '.join(rest))
        for header in self.headers:
            self.part(page, header)
        page.head('EXAMPLES')
        page.lines += examples(self.readme, self.names)
        return page

    def header(self, name):
        return next(header for header in self.headers if header.name == name)

    def table_of(self, names):
        return list_of([(f'Bq Er {name}', paragraphs)
                        for name, _, paragraphs, _ in self.errors if name in names], self.names)

    def part(self, page, header):
        """What one header has, in tcpmsg(7)."""
        entries = [(f'Vt {mdoc.quote(shown)}', text) for _, shown, text in header.types]
        for topic in topics(header):
            calls = [f'Xr {one.name} 3' for group in topic for one in group.functions]
            entries.append((' , '.join(calls), [capital(summary(topic[0].paragraphs))]))
        entries += [(f'Xr {struct.name} 3', [capital(summary(struct.paragraphs))])
                    for struct in header.structs]
        if not entries:
            return
        page.lines += [f'.Ss {TITLES.get(header.name, header.name)}', f'.In tcpmsg/{header.name}']
        if header.preface:
            page.lines += ['.Pp', *text_of(header.preface, self.names)]
        page.lines += list_of(entries, self.names)
        for group in header.constants:
            if group.paragraphs:
                page.lines += ['.Pp', *text_of(group.paragraphs, self.names)]
            page.lines += list_of([(f'Dv {name} No = {mdoc.quote(value.strip("()"))}', paragraphs)
                                   for name, value, paragraphs in group.items], self.names)
        if header.errors:
            page.lines += ['.Pp', *text_of(header.about_errors, self.names)]
            page.lines += self.table_of([error[0] for error in header.errors])


def capital(sentence):
    return sentence[0].upper() + sentence[1:] + '.'


def topics(header):
    """The groups of functions of a header, those together that make one page."""
    found = []
    for group in header.functions:
        if found and CONTINUES.match(group.paragraphs[0]):
            found[-1].append(group)
        else:
            found.append([group])
    return found


def prototype(call):
    lines = [f'.Ft {mdoc.quote(call.type)}', f'.Fo {call.name}']
    lines += [f'.Fa {mdoc.quote(argument)}' for argument in call.arguments or ['void']]
    return lines + ['.Fc']


def apart(paragraphs, names):
    """What a call does, and what it returns: from the sentences of its comment."""
    does, returns = [], []
    for number, paragraph in enumerate(paragraphs):
        kept = []
        for place, sentence in enumerate(mdoc.sentences(paragraph)):
            told = RETURNS.match(sentence) or len(names.errors_in(sentence)) > 1
            first = number == 0 and place == 0
            (returns if told and not first else kept).append(sentence)
        does += [' '.join(kept)] if kept else []
    return does, returns


def examples(readme, names):
    """README's programs, each under the paragraph or the heading that leads to it."""
    text = readme.read_text(encoding='utf-8')
    lines = []
    for lead, code in re.findall(r'([^\n]*)\n\n```c\n(.*?)^```$', text, re.M | re.S):
        if 'int main(' not in code:
            continue
        lines += ['.Pp'] if lines else []
        lines += names.text(re.sub(r'^#+ (.*)', r'\1:', lead).replace('`', ''))
        lines += ['.Bd -literal -offset indent',
                  *(mdoc.escape(line) for line in code.rstrip('\n').split('\n')), '.Ed']
    return lines


def date_of(paths):
    seconds = os.environ.get('SOURCE_DATE_EPOCH') or max(path.stat().st_mtime for path in paths)
    day = datetime.datetime.fromtimestamp(float(seconds), datetime.timezone.utc)
    return f'{day:%B} {day.day}, {day.year}'


def main(folder, readme, *paths):
    paths = [pathlib.Path(path) for path in paths]
    manual = Manual(pathlib.Path(readme), paths, date_of(paths))
    for name in ('man3', 'man7'):
        shutil.rmtree(pathlib.Path(folder) / name, ignore_errors=True)
    for page in manual.pages():
        page.write(pathlib.Path(folder))


if __name__ == '__main__':
    main(*sys.argv[1:])
