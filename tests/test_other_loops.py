# SPDX-License-Identifier: MIT
"""The examples with others' loops: test_other_loops.py PROGRAM... -- [unittest's arguments].

A PROGRAM that was not built is not among them: its tests are skipped.
"""

import faulthandler
import os
import sys
import unittest

sys.dont_write_bytecode = True  # the source folder stays as it is

from cases_with_glib import WithGlib
from cases_with_openssl import WithOpenssl
from cases_with_server import WithLibevent, WithLibuv, WithPoll
from chat_helpers import programs

if __name__ == "__main__":
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    for path in sys.argv[1:split]:
        setattr(programs, os.path.basename(path), os.path.abspath(path))
    faulthandler.dump_traceback_later(800, exit=True)  # a last guard: each wait has its own limit
    unittest.main(argv=[sys.argv[0], *sys.argv[split + 1 :]])
