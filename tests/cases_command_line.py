# SPDX-License-Identifier: MIT
"""What both examples make of their arguments."""

import unittest

from chat_helpers import programs, run


class CommandLine(unittest.TestCase):
    def both(self):
        return programs.echo_server, programs.chat_client

    def test_help_goes_to_standard_output(self):
        for program in self.both():
            status, out, err = run(program, "--help")
            self.assertEqual((status, err), (0, ""))
            self.assertTrue(out.startswith(b"Usage: "))
            for option in b"--max-message", b"--help", b"--version":
                self.assertIn(option, out)

    def test_version(self):
        for program in self.both():
            status, out, err = run(program, "--version")
            self.assertEqual((status, err), (0, ""))
            self.assertRegex(out.decode(), r"^[a-z_]+, libtcpmsg \d+\.\d+\.\d+\n$")

    def test_nonsense_is_refused_with_a_hint(self):
        nonsense = [
            ["--nonsense"],
            ["-x"],
            ["--max-message"],
            ["--max-message", "many"],
            ["--max-message", "0"],
            ["--max-message", "-5"],
            ["--max-message", "12x"],
            ["--max-message="],
            ["--max-message=99999999999999999999"],
            ["--max-messages", "5"],
            ["127.0.0.1:1", "127.0.0.1:2"],
        ]
        for program in self.both():
            for arguments in nonsense:
                status, out, err = run(program, *arguments)
                self.assertEqual((status, out), (2, b""), arguments)
                self.assertEqual(err.count("\n"), 1, err)
                self.assertIn("--help", err)

    def test_what_is_no_address(self):
        for program in self.both():
            for address in "nonsense", "127.0.0.1:70000", "--", "":
                arguments = ["--", address] if address == "--" else [address]
                status, out, err = run(program, *arguments)
                self.assertEqual((status, out), (1, b""))
                self.assertEqual(err.count("\n"), 1, err)
