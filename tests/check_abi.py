#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What has changed in the binary interface since the last release: abidiff(1) says it.

tests/abi/ has that release's: libtcpmsg.abi, as abidw(1) writes it, with only what a program can
see; and constants.txt, the numbers that a program is compiled with. What CONTRIBUTING.md ("The
interface") lets a release add is named, and passes; whatever else has changed fails.

usage: check_abi.py [--library LIBRARY] [--cc CC...] [--meson MESON...]
       check_abi.py --record        writes tests/abi/ anew: before a release, and with it
"""

import argparse
import copy
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree

sys.dont_write_bytecode = True  # the source folder stays as it is

ROOT = pathlib.Path(__file__).resolve().parent.parent
HEADERS = sorted((ROOT / 'include' / 'tcpmsg').glob('*.h'))
RECORD = ROOT / 'tests' / 'abi'
SKIPPED = 77

# Where things are is not the interface, nor is the machine, as long as its sizes are the same.
ABIDW = [
    'abidw', '--no-corpus-path', '--no-comp-dir-path', '--no-show-locs', '--no-elf-needed',
    '--no-architecture', '--no-parameter-names', '--type-id-style', 'hash',
]
ABIDIFF = ['abidiff', '--no-architecture', '--fail-no-debug-info']

STRUCT = re.compile(r'^typedef struct (\w+) \{', re.MULTILINE)
# A constant has a value that begins on its line, and is no macro of code.
CONSTANT = re.compile(r'^#define (TCPMSG_\w+) +[-(\d]|^ +(?:X\()?(TCPMSG_\w+)(?:,| =) -?\d',
                      re.MULTILINE)
VERSION = re.compile(r'TCPMSG_VERSION_\w+')

# Filled by the library up to the size that a call says; the others that may grow begin with it.
FILLED = re.compile(r'tcpmsg_(\w+_)?info|tcpmsg_stats')


def run(*command, **more):
    done = subprocess.run([str(word) for word in command], text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **more)
    if done.returncode:
        sys.exit(f'$ {" ".join(map(str, command))}\n{done.stdout}')
    return done.stdout


def has_debug_info(library):
    return '.debug_info' in run('readelf', '-S', '-W', library)


def built(meson, room):
    """A library with debug information, as meson.build makes it."""
    run(*meson, 'setup', room / 'build', ROOT, '--buildtype=debug', '-Dtests=disabled',
        '-Dexamples=disabled', '-Ddocs=disabled')
    run(*meson, 'compile', '-C', room / 'build', 'tcpmsg:shared_library')
    return room / 'build' / 'src' / 'libtcpmsg.so'


def public_structs():
    return {name for header in HEADERS for name in STRUCT.findall(header.read_text())}


def hide_private(corpus):
    """What stands in no public header is only a name."""
    shown = public_structs()
    for struct in corpus.iter('class-decl'):
        name = struct.get('name')
        if name.startswith('tcpmsg_') and name not in shown:
            struct[:] = []
            struct.attrib.pop('size-in-bits', None)
            struct.set('is-declaration-only', 'yes')


def only_public(corpus):
    """The exported functions and the types that they lead to, as one unit, in a lasting order."""
    hide_private(corpus)
    units = corpus.findall('abi-instr')
    declared = [item for unit in units for item in unit]
    functions = [item for item in declared if item.get('elf-symbol-id')]
    types = {}
    for item in declared:
        if item.get('id') and item.get('is-declaration-only') != 'yes':
            types[item.get('id')] = item
    for item in declared:
        if item.get('id'):
            types.setdefault(item.get('id'), item)

    wanted, waiting = {}, list(functions)
    while waiting:
        for part in waiting.pop().iter():
            for reference in ('type-id', 'naming-typedef-id'):
                name = part.get(reference)
                if name in types and name not in wanted:
                    wanted[name] = types[name]
                    waiting.append(types[name])

    unit = copy.copy(units[0])
    unit.set('path', 'include/tcpmsg/tcpmsg.h')
    unit[:] = [wanted[name] for name in sorted(wanted)]
    unit.extend(sorted(functions, key=lambda function: function.get('name')))
    for other in units:
        corpus.remove(other)
    corpus.append(unit)


def interface_of(library):
    corpus = ElementTree.fromstring(run(*ABIDW, library))
    only_public(corpus)
    return corpus


def constants(compiler, room):
    """The headers' numbers by their names, as a compiler sees them."""
    found = [a or b for header in HEADERS for a, b in CONSTANT.findall(header.read_text())]
    lines = [f'    printf("%s %ld\\n", "{name}", (long){name});' for name in found]
    source = ['#include <stdio.h>', '#include <tcpmsg/tcpmsg.h>', 'int main(void)', '{',
              *lines, '    return 0;', '}', '']
    run(*compiler, '-std=c11', '-I', ROOT / 'include', '-x', 'c', '-', '-o', room / 'constants',
        input='\n'.join(source))
    return dict(line.split() for line in run(room / 'constants').splitlines())


def version_of(numbers):
    return '.'.join(numbers[f'TCPMSG_VERSION_{part}'] for part in ('MAJOR', 'MINOR', 'PATCH'))


def record(library, numbers):
    RECORD.mkdir(exist_ok=True)
    corpus = interface_of(library)
    ElementTree.indent(corpus)
    text = ElementTree.tostring(corpus, encoding='unicode')
    (RECORD / 'libtcpmsg.abi').write_text(text + '\n', encoding='utf-8')
    lines = [f'{name} {number}\n' for name, number in numbers.items()]
    (RECORD / 'constants.txt').write_text(''.join(lines), encoding='utf-8')
    print(f'recorded as the interface of {version_of(numbers)}')


def recorded():
    """The last release's interface, and its numbers."""
    text = (RECORD / 'constants.txt').read_text(encoding='utf-8')
    numbers = dict(line.split() for line in text.splitlines())
    return ElementTree.parse(RECORD / 'libtcpmsg.abi').getroot(), numbers


def symbols(corpus):
    return {symbol.get('name'): symbol for symbol in corpus.iter('elf-symbol')}


def structs(corpus):
    return {item.get('name'): item for item in corpus.iter('class-decl') if len(item)}


def members(struct):
    """Where each field is, and its name."""
    return [(int(member.get('layout-offset-in-bits')), member.find('var-decl').get('name'))
            for member in struct.findall('data-member')]


def may_grow(struct):
    return members(struct)[0] == (0, 'size') or FILLED.fullmatch(struct.get('name'))


def take_out_functions(old, new):
    """Those that have been added; yields their symbols."""
    known = symbols(old)
    for parent in list(new.iter()):
        for item in list(parent):
            name = item.get('name')
            if item.tag == 'elf-symbol' and name not in known:
                yield item
            if item.tag in ('elf-symbol', 'function-decl') and name not in known:
                parent.remove(item)


def take_out_fields(old, new):
    """Those at the ends of structs that may grow; yields their names. A field in what was padding
    stays, and so is told as a change: the bytes there are anything in an older program."""
    for name, before in structs(old).items():
        now = structs(new).get(name)
        if now is None or not may_grow(before):
            continue
        count, size = len(members(before)), int(before.get('size-in-bits'))
        if members(now)[:count] != members(before):
            continue
        added = members(now)[count:]
        if not added or any(offset < size for offset, _ in added):
            continue
        yield from (f'{name}.{field}' for _, field in added)
        for member in now.findall('data-member')[count:]:
            now.remove(member)
        now.set('size-in-bits', before.get('size-in-bits'))


def take_out_allowed(old, new, is_same_version):
    """Leaves in `new` what has to be as it was; the additions, and what is wrong with them."""
    added, wrong = [], []
    versions = {symbol.get('version') for symbol in old.iter('elf-symbol')}
    for symbol in take_out_functions(old, new):
        name, version = symbol.get('name'), symbol.get('version')
        added.append(f'{name}, under {version}')
        if version in versions and not is_same_version:
            wrong.append(f'{name} is new, and stands under {version}, which was released without')
    added += take_out_fields(old, new)
    return added, wrong


def changed_constants(old, new):
    for name, number in old.items():
        if not VERSION.fullmatch(name) and new.get(name) != number:
            yield f'{name} was {number}, and is {new.get(name, "no more")}'


def abidiff(old, new, room):
    """What it says of what is not allowed; nothing where there is no such thing."""
    names = []
    for name, corpus in (('old.abi', old), ('new.abi', new)):
        ElementTree.ElementTree(corpus).write(room / name, encoding='unicode')
        names.append(room / name)
    told = subprocess.run([*ABIDIFF, *names], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    if told.returncode:
        yield told.stdout.strip() or f'abidiff ends with {told.returncode}'


def compare(before, now, room):
    """The additions, and what is wrong. Each is an interface with its numbers."""
    (old, old_numbers), (new, numbers) = before, now
    new = copy.deepcopy(new)
    is_same_version = version_of(old_numbers) == version_of(numbers)
    added, wrong = take_out_allowed(old, new, is_same_version)
    added += [name for name in numbers if name not in old_numbers]
    wrong += changed_constants(old_numbers, numbers)
    wrong += abidiff(old, new, room)
    return added, wrong


def check(library, numbers, room):
    before = recorded()
    added, wrong = compare(before, (interface_of(library), numbers), room)
    print(f'compared with the interface of {version_of(before[1])}')
    print('\n'.join(f'added: {name}' for name in added) or 'nothing is added')
    if not wrong:
        return 0
    print('\n'.join(wrong))
    print('CONTRIBUTING.md, "The interface", says what may change, and when.')
    return 1


def why_not(given):
    for tool in ('abidw', 'abidiff', 'readelf', given.meson[0]):
        if not shutil.which(tool):
            return f'{tool} is not there'
    return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--record', action='store_true')
    parser.add_argument('--library', type=pathlib.Path)
    parser.add_argument('--cc', nargs='+', default=['cc'])
    parser.add_argument('--meson', nargs='+', default=['meson'])
    given = parser.parse_args()
    if (reason := why_not(given)):
        print(reason)
        return SKIPPED
    with tempfile.TemporaryDirectory() as name:
        room = pathlib.Path(name)
        library = given.library
        if library is None or not has_debug_info(library):
            library = built(given.meson, room)
        if 'ELF64' not in run('readelf', '-h', library):
            print('the record is for machines of 64 bits')
            return SKIPPED
        numbers = constants(given.cc, room)
        if given.record:
            record(library, numbers)
            return 0
        return check(library, numbers, room)


if __name__ == '__main__':
    sys.exit(main())
