#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The static probes: those that docs/monitoring.md promises are in the library, or none is.

usage: check_probes.py PROJECT_DIR LIBRARY yes|no
"""

import pathlib
import re
import shutil
import subprocess
import sys

SKIPPED = 77


def in_library(library):
    notes = subprocess.check_output(['readelf', '-n', '-W', library], text=True)
    return set(re.findall(r'Provider: tcpmsg\s+Name: (\w+)', notes))


def main():
    project, library, built = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3] == 'yes'
    page = (project / 'docs' / 'monitoring.md').read_text()
    documented = set(re.findall(r'^\| `(\w+)` \| the (?:connection|loop) ', page, re.MULTILINE))
    source = ''.join(path.read_text() for path in sorted((project / 'src').glob('*.[ch]')))
    made = set(re.findall(r'^ +TM_PROBE\((\w+), ', source, re.MULTILINE))
    if not documented or documented != made:
        sys.exit(f'docs/monitoring.md has {sorted(documented)}, src/ {sorted(made)}')
    if not shutil.which('readelf'):
        print('readelf is not there')
        return SKIPPED
    found = in_library(library)
    wanted = made if built else set()
    if found != wanted:
        sys.exit(f'the library has {sorted(found)}, and should have {sorted(wanted)}')
    print(f'{len(found)} probes' if built else 'no probes, as <sys/sdt.h> was not there')
    return 0


sys.exit(main())
