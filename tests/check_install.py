#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Builds a release, installs it in a folder of its own, and uses it as a stranger would.

A ten-line program is compiled as C and as C++, through pkg-config and through CMake's package,
against the shared and the static library, and run; then another project takes the source as a meson
subproject.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import check_cmake
import check_symbols
import pages

PROGRAM = r'''
#include <tcpmsg/tcpmsg.h>
#include <stdio.h>

int main(void)
{
    char address[TCPMSG_ADDRESS_MAX], text[8] = "";
    tcpmsg_listener *listener = NULL;
    tcpmsg_conn *near_end = NULL, *far_end = NULL;
    if (tcpmsg_listen(&listener, "127.0.0.1:0", NULL) < 0) return 1;
    if (tcpmsg_listener_address(listener, address, sizeof address) < 0) return 2;
    if (tcpmsg_dial(&near_end, address, NULL) < 0) return 3;
    if (tcpmsg_accept(listener, &far_end, 0) < 0) return 4;
    if (tcpmsg_send(near_end, "hello", 5, 0) < 0) return 5;
    if (tcpmsg_recv(far_end, text, sizeof text, 0) != 5) return 6;
    if (tcpmsg_close(near_end) < 0 || tcpmsg_close(far_end) < 0) return 7;
    tcpmsg_listener_close(listener);
    return printf("%s %s %d.%d.%d\n", text, tcpmsg_version(), TCPMSG_VERSION_MAJOR,
                  TCPMSG_VERSION_MINOR, TCPMSG_VERSION_PATCH) < 0;
}
'''

CONSUMER = '''
project('consumer', 'c', meson_version: '>=1.0.0')
executable('program', 'program.c', dependencies: dependency('tcpmsg', fallback: 'tcpmsg'))
'''
WITH_A_WRAP = CONSUMER.replace(", fallback: 'tcpmsg'", '')


def run(*command, **more):
    result = subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **more,
    )
    if result.returncode:
        print('$', *command, f'\n{result.stdout}\n(exit status {result.returncode})')
        sys.exit(1)
    return result.stdout


def check_talks(program, version, **more):
    said = run(program, **more)
    expected = f'hello {version} {version}\n'
    if said != expected:
        sys.exit(f'{program} said {said!r}, not {expected!r}')
    print(f'{program.name}: {said}', end='')


class Installed:
    """The library in a prefix of its own, and what pkg-config says of it."""

    def __init__(self, source, meson, room):
        self.source, self.room, self.prefix = source, room, room / 'prefix'
        build = room / 'build'
        run(*meson, 'setup', build, source, '--prefix', self.prefix, '--libdir', 'lib',
            '-Dtests=disabled', '-Dexamples=disabled', '--fatal-meson-warnings')
        run(*meson, 'install', '-C', build)
        self.environment = dict(
            os.environ,
            PKG_CONFIG_PATH=str(self.prefix / 'lib' / 'pkgconfig'),
            LD_LIBRARY_PATH=str(self.prefix / 'lib'),
        )
        self.version = self.pkg_config('--modversion')[0]

    def pkg_config(self, *what):
        return run('pkg-config', *what, 'tcpmsg', env=self.environment).split()

    def check_symbols(self):
        wrong = check_symbols.check(
            self.prefix / 'lib' / 'libtcpmsg.so', self.prefix / 'include',
            self.source / 'src' / 'tcpmsg.map', release=True,
        )
        if wrong:
            sys.exit('\n'.join(wrong))

    def check_manual(self):
        """By name, as a user asks for them."""
        if not shutil.which('man'):
            print('man is missing: its pages are not looked up')
            return
        room = ['man', '-M', self.prefix / 'share' / 'man']
        for section, name in (('7', 'tcpmsg'), ('3', 'tcpmsg_dial'), ('3', 'tcpmsg_sendv')):
            if name not in run(*room, section, name, env=dict(os.environ, MANPAGER='cat')):
                sys.exit(f'man shows no {name}({section})')
        print('man: tcpmsg(7), tcpmsg_dial(3), tcpmsg_sendv(3)')

    def check_program(self, name, compiler, suffix, standard):
        source = self.room / f'program{suffix}'
        source.write_text(PROGRAM, encoding='utf-8')
        flags = self.pkg_config('--cflags')
        strict = [f'-std={standard}', '-Wall', '-Wextra', '-Wpedantic', '-Werror']

        shared = self.room / f'{name}_shared'
        run(*compiler, *strict, source, '-o', shared, *flags, *self.pkg_config('--libs'))
        check_talks(shared, self.version, env=self.environment)

        # The archive itself in the place of -ltcpmsg, for which the linker prefers the other.
        archive = str(self.prefix / 'lib' / 'libtcpmsg.a')
        words = self.pkg_config('--libs', '--static')
        words = [archive if word == '-ltcpmsg' else word for word in words]
        static = self.room / f'{name}_static'
        run(*compiler, *strict, source, '-o', static, *flags, *words)
        check_talks(static, self.version)


def check_subproject(source, meson, room, version):
    consumer = room / 'consumer'
    skipped = shutil.ignore_patterns('.git', 'build', '__pycache__')
    shutil.copytree(source, consumer / 'subprojects' / 'tcpmsg', ignore=skipped)
    (consumer / 'meson.build').write_text(CONSUMER, encoding='utf-8')
    (consumer / 'program.c').write_text(PROGRAM, encoding='utf-8')

    build = consumer / 'build'
    run(*meson, 'setup', build, consumer, '--fatal-meson-warnings', '--wrap-mode=forcefallback')
    run(*meson, 'compile', '-C', build)
    check_talks(build / 'program', version)
    extra = [*build.rglob('echo_server*'), *build.rglob('test_*')]
    if extra:
        sys.exit(f'a subproject builds {extra[0]}')

    # README's wrap file, for which what is to be fetched is there.
    wrap, = pages.blocks(source / 'README.md', 'ini')
    (consumer / 'subprojects' / 'tcpmsg.wrap').write_text(wrap, encoding='utf-8')
    (consumer / 'meson.build').write_text(WITH_A_WRAP, encoding='utf-8')
    said = run(*meson, 'setup', consumer / 'wrapped', consumer, '--fatal-meson-warnings',
               '--wrap-mode=forcefallback')
    if f'tcpmsg {version}' not in said or 'Dependency tcpmsg' not in said:
        sys.exit(f'the wrap file is not taken:\n{said}')


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('source', type=pathlib.Path)
    parser.add_argument('--meson', nargs='+', required=True)
    parser.add_argument('--c', nargs='+', required=True, help='the C compiler')
    parser.add_argument('--cpp', nargs='+', help='the C++ compiler')
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        room = pathlib.Path(name)
        installed = Installed(given.source, given.meson, room)
        installed.check_symbols()
        installed.check_manual()
        installed.check_program('c', given.c, '.c', 'c11')
        if given.cpp:
            installed.check_program('cpp', given.cpp, '.cpp', 'c++17')
        compilers = {'C': given.c, **({'CXX': given.cpp} if given.cpp else {})}
        check_cmake.check(installed, compilers, PROGRAM, run, check_talks)
        check_subproject(given.source, given.meson, room, installed.version)


if __name__ == '__main__':
    main()
