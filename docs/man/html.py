#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes HTML of the manual pages, with links between them.

usage: html.py MANDOC FOLDER MAN_FOLDER...

MAN_FOLDER is man3 or man7; FOLDER is made new.
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile

# A page that is none of ours is the system's.
ELSEWHERE = 'https://man7.org/linux/man-pages/man%S/%N.%S.html'


def main(mandoc, folder, *rooms):
    folder = pathlib.Path(folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    pages = [page for room in rooms for page in sorted(pathlib.Path(room).iterdir())]
    with tempfile.TemporaryDirectory() as name:
        for page in pages:  # side by side: mandoc takes those it sees for ours
            shutil.copy(page, name)
        for page in pages:
            command = [mandoc, '-Thtml', f'-Oman=%N.%S.html;{ELSEWHERE}', page.name]
            made = subprocess.run(command, cwd=name, check=True, stdout=subprocess.PIPE)
            (folder / f'{page.name}.html').write_bytes(made.stdout)


if __name__ == '__main__':
    main(*sys.argv[1:])
