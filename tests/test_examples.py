# SPDX-License-Identifier: MIT
"""The two examples as programs: test_examples.py ECHO_SERVER CHAT_CLIENT [unittest's arguments]."""

import faulthandler
import os
import sys
import unittest

sys.dont_write_bytecode = True  # the source folder stays as it is

from cases_chat_client import ClientTrouble, Piped
from cases_command_line import CommandLine
from cases_echo_server import Echo, Misbehaviour, Options, Scarcity, Stopping
from cases_reply import Reply
from cases_terminal import OnTerminal
from chat_helpers import programs

if __name__ == "__main__":
    programs.echo_server, programs.chat_client = map(os.path.abspath, sys.argv[1:3])
    faulthandler.dump_traceback_later(800, exit=True)  # a last guard: each wait has its own limit
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
