#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Builds the Debian packages from a copy of the tree, has lintian look at them, and uses them.

usage: check_debian.py PROJECT_DIR [--with-tests]

Nothing is installed. --with-tests has the build run the tests, as Debian's own would.
"""

import glob
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from check_install import PROGRAM, check_talks, run

TOOLS = ['dpkg-buildpackage', 'dh', 'lintian', 'meson', 'mandoc']
WANTED = {
    'libtcpmsg0': ['usr/lib/*/libtcpmsg.so.0', 'usr/lib/*/libtcpmsg.so.0.*'],
    'libtcpmsg-dev': [
        'usr/include/tcpmsg/tcpmsg.h', 'usr/lib/*/cmake/tcpmsg/tcpmsgConfig.cmake',
        'usr/lib/*/libtcpmsg.a', 'usr/lib/*/libtcpmsg.so', 'usr/lib/*/pkgconfig/tcpmsg.pc',
        'usr/share/doc/libtcpmsg-dev/html/tcpmsg.7.html', 'usr/share/man/man3/tcpmsg_dial.3.gz',
        'usr/share/man/man7/tcpmsg.7.gz',
    ],
}


def why_not():
    """What keeps it from being built here, or None."""
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        return ', '.join(missing)
    done = subprocess.run(['dpkg-checkbuilddeps'], capture_output=True, text=True)
    return done.stderr.strip() if done.returncode else None


def versions():
    with open('meson.build', encoding='utf-8') as file:
        ours = re.search(r"version: '([\d.]+)'", file.read())[1]
    return ours, run('dpkg-parsechangelog', '-S', 'Version').strip()


def build(source, tree, with_tests):
    skipped = shutil.ignore_patterns('.git', 'build*', '__pycache__', 'subprojects')
    shutil.copytree(source, tree, ignore=skipped)
    options = 'parallel=2' if with_tests else 'nocheck parallel=2'
    said = run('dpkg-buildpackage', '-us', '-uc', cwd=tree,
               env=dict(os.environ, DEB_BUILD_OPTIONS=options))
    if with_tests:
        print('\n'.join(re.findall(r'^(?:Ok|Fail|Skipped): .*$', said, re.MULTILINE)))
    changes, = tree.parent.glob('*.changes')
    run('lintian', '--allow-root', '--fail-on', 'error,warning', changes)


def unpack(room):
    root = room / 'root'
    for name, files in WANTED.items():
        package, = room.glob(f'{name}_*.deb')
        run('dpkg-deb', '-x', package, room / name)
        missing = [file for file in files if not glob.glob(str(room / name / file))]
        if missing:
            sys.exit(f'{package.name} lacks {missing}')
        shutil.copytree(room / name, root, symlinks=True, dirs_exist_ok=True)
    return root


def use(room, root, version):
    """A program is built with what the packages have."""
    pkgconfig, = root.glob('usr/lib/*/pkgconfig')
    environment = dict(
        os.environ,
        PKG_CONFIG_LIBDIR=str(pkgconfig),
        PKG_CONFIG_SYSROOT_DIR=str(root),
        PKG_CONFIG_ALLOW_SYSTEM_CFLAGS='1',
        PKG_CONFIG_ALLOW_SYSTEM_LIBS='1',
        LD_LIBRARY_PATH=str(pkgconfig.parent),
    )
    (room / 'program.c').write_text(PROGRAM, encoding='utf-8')
    words = run('pkg-config', '--cflags', '--libs', 'tcpmsg', env=environment).split()
    run('cc', room / 'program.c', '-o', room / 'program', *words)
    check_talks(room / 'program', version, env=environment)


def main(source, *flags):
    source = pathlib.Path(source).resolve()
    os.chdir(source)
    reason = why_not()
    if reason:
        print(f'skipped, for want of {reason}')
        return
    ours, packaged = versions()
    if ours != packaged:
        sys.exit(f'meson.build has version {ours}, debian/changelog {packaged}')
    with tempfile.TemporaryDirectory() as name:
        room = pathlib.Path(name)
        build(source, room / f'libtcpmsg-{ours}', '--with-tests' in flags)
        use(room, unpack(room), ours)
    print(f'{", ".join(WANTED)}: {ours}, lintian finds nothing')


if __name__ == '__main__':
    main(*sys.argv[1:])
