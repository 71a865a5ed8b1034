# SPDX-License-Identifier: MIT
"""Whether check_abi.py sees what it is for: the recorded interface, changed, against itself."""

import copy
import pathlib
import shutil
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True  # the source folder stays as it is

import check_abi

SKIPPED = 77


def add_function(interface, name, version):
    """Another one like tcpmsg_pause."""
    corpus, _ = interface
    for parent in list(corpus.iter()):
        for item in parent:
            if item.get('name') == 'tcpmsg_pause':
                other = copy.deepcopy(item)
                other.set('name', name)
                if item.tag == 'elf-symbol':
                    other.set('version', version)
                else:
                    other.set('mangled-name', name)
                    other.set('elf-symbol-id', f'{name}@@{version}')
                parent.append(other)


def parameters(interface, name):
    function, = (item for item in interface[0].iter('function-decl') if item.get('name') == name)
    return function.findall('parameter')


def insert_field(interface, name, before=None):
    """An int and the room for it: before another field, or at the end."""
    struct = check_abi.structs(interface[0])[name]
    fields = struct.findall('data-member')
    width, = (field for field in check_abi.structs(interface[0])['tcpmsg_framing'].iter('var-decl')
              if field.get('name') == 'width')
    names = [field.find('var-decl').get('name') for field in fields]
    at = names.index(before) if before else len(fields)
    size = int(struct.get('size-in-bits'))
    new = copy.deepcopy(fields[0])
    offset = fields[at].get('layout-offset-in-bits') if before else str(size)
    new.set('layout-offset-in-bits', offset)
    new.find('var-decl').set('name', 'inserted')
    new.find('var-decl').set('type-id', width.get('type-id'))
    for field in fields[at:]:
        offset = int(field.get('layout-offset-in-bits'))
        field.set('layout-offset-in-bits', str(offset + 64))
    struct.insert(list(struct).index(fields[at]) if before else len(struct), new)
    struct.set('size-in-bits', str(size + 64))


class Compared(unittest.TestCase):
    def setUp(self):
        self.before = check_abi.recorded()
        self.now = copy.deepcopy(self.before)

    def compare(self):
        with tempfile.TemporaryDirectory() as name:
            return check_abi.compare(self.before, self.now, pathlib.Path(name))

    def expect_allowed(self, *added):
        self.assertEqual(self.compare(), (list(added), []))

    def expect_told(self, part):
        _, wrong = self.compare()
        self.assertIn(part, '\n'.join(wrong))

    def test_nothing_has_changed(self):
        self.expect_allowed()

    def test_a_function_is_added(self):
        add_function(self.now, 'tcpmsg_new', 'LIBTCPMSG_0.9')
        self.expect_allowed('tcpmsg_new, under LIBTCPMSG_0.9')

    def test_a_function_is_added_to_what_was_released(self):
        add_function(self.now, 'tcpmsg_new', 'LIBTCPMSG_0.1')
        self.now[1]['TCPMSG_VERSION_MINOR'] = '9'
        self.expect_told('tcpmsg_new is new, and stands under LIBTCPMSG_0.1')

    def test_a_function_is_removed(self):
        add_function(self.before, 'tcpmsg_old', 'LIBTCPMSG_0.1')
        self.expect_told('tcpmsg_old')

    def test_a_function_has_another_version(self):
        add_function(self.before, 'tcpmsg_old', 'LIBTCPMSG_0.1')
        add_function(self.now, 'tcpmsg_old', 'LIBTCPMSG_0.9')
        self.expect_told('tcpmsg_old')

    def test_an_argument_has_another_type(self):
        conn, fd = parameters(self.now, 'tcpmsg_attach')[:2]
        conn.set('type-id', fd.get('type-id'))
        self.expect_told('parameter 1 of type')

    def test_an_argument_is_added(self):
        parameters(self.before, 'tcpmsg_attach')[2].tag = 'removed'
        self.expect_told('was added')

    def test_fields_are_added_at_the_end_of_structs_that_may_grow(self):
        names = ['tcpmsg_callbacks', 'tcpmsg_info', 'tcpmsg_loop_options', 'tcpmsg_options']
        for name in names:
            insert_field(self.now, name)
        added, wrong = self.compare()
        self.assertEqual((sorted(added), wrong), ([f'{name}.inserted' for name in names], []))

    def test_a_field_is_added_in_the_middle(self):
        insert_field(self.now, 'tcpmsg_options', before='backlog')
        self.expect_told("'int inserted'")

    def test_a_field_is_added_in_the_padding(self):
        insert_field(self.now, 'tcpmsg_options')
        struct = check_abi.structs(self.now[0])['tcpmsg_options']
        struct.set('size-in-bits', str(int(struct.get('size-in-bits')) - 64))
        last = struct.findall('data-member')[-1]
        last.set('layout-offset-in-bits', str(int(struct.get('size-in-bits')) - 32))
        self.expect_told("'int inserted'")

    def test_a_field_is_removed(self):
        insert_field(self.before, 'tcpmsg_loop_options')
        self.expect_told("'int inserted'")

    def test_a_struct_grows_that_may_not(self):
        insert_field(self.now, 'tcpmsg_framing')
        self.expect_told("'int inserted'")

    def test_constants(self):
        self.now[1]['TCPMSG_ENEW'] = '-99'
        self.expect_allowed('TCPMSG_ENEW')
        self.now[1]['TCPMSG_PEEK'] = '8'
        del self.now[1]['TCPMSG_EOF']
        self.expect_told('TCPMSG_PEEK was 4, and is 8')
        self.expect_told('TCPMSG_EOF was -1, and is no more')

    def test_another_soname(self):
        self.now[0].set('soname', 'libtcpmsg.so.9')
        self.expect_told('SONAME')


if __name__ == '__main__':
    if not shutil.which('abidiff'):
        print('abidiff is not there')
        sys.exit(SKIPPED)
    unittest.main()
