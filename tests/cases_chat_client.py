# SPDX-License-Identifier: MIT
"""chat_client where its standard input is no terminal."""

import os
import random
import socket
import subprocess
import tempfile
import threading
import unittest

from chat_helpers import PATIENCE, Host, chat, frame, programs, run, serve, wait_until

MEGABYTES_10 = 10 * 1024 * 1024


class Piped(unittest.TestCase):
    """chat_client < file | cmp - file"""

    def assert_same(self, data):
        with tempfile.TemporaryDirectory() as folder, serve() as server:
            path = os.path.join(folder, "file")
            with open(path, "wb") as file:
                file.write(data)
            script = '"$0" "$1" < "$2" | cmp - "$2"'
            done = subprocess.run(
                ["sh", "-c", script, programs.chat_client, server.address, path],
                capture_output=True,
                timeout=PATIENCE,
            )
            self.assertEqual((done.stdout, done.stderr, done.returncode), (b"", b"", 0))

    def test_small_files(self):
        files = {
            "empty": b"",
            "one line": b"hello\n",
            "no newline at the end": b"hello\nworld",
            "one byte": b"x",
            "one newline": b"\n",
            "empty lines": b"\n\n\na\n\n",
            "CRLF": b"one\r\ntwo\r\n\r\n",
            "NUL": b"\0\n\0\0\na\0b\n",
            "UTF-8": "Grüße\n世界\n😀\n".encode(),
            "exit": b"exit\nexit\nstill here\n",
            "control characters": b"\033[2J\007\n\x9b\n",
            "every byte": bytes(range(256)) * 3,
        }
        for name, data in files.items():
            with self.subTest(name):
                self.assert_same(data)

    def test_10_mb_of_short_lines(self):
        some = random.Random(1)
        lines = (b"%x" % some.getrandbits(some.randrange(1, 200)) for _ in range(450_000))
        self.assert_same(b"\n".join(lines)[:MEGABYTES_10] + b"\n")

    def test_a_million_empty_lines(self):
        self.assert_same(b"\n" * 1_000_000)

    def test_10_mb_in_one_line(self):
        self.assert_same(random.Random(2).randbytes(MEGABYTES_10).replace(b"\n", b" ") + b"\n")

    def test_10_mb_in_one_line_without_a_newline(self):
        self.assert_same(random.Random(3).randbytes(MEGABYTES_10).replace(b"\n", b" "))

    def test_lines_of_all_lengths(self):
        some = random.Random(4)
        lines = []
        while sum(map(len, lines)) < MEGABYTES_10:
            length = some.choice([0, 1, 80, 4095, 4096, 65532, 65536, 65537, 1 << 20])
            lines.append(some.randbytes(length).replace(b"\n", b" "))
        self.assert_same(b"\n".join(lines))

    def test_each_answer_comes_at_once(self):
        with serve() as server, chat(server.address) as client:
            for line in b"one\n", b"\n", b"two\n":
                before = len(client.out.bytes())
                client.say(line)
                wait_until(lambda: len(client.out.bytes()) > before, "the answer")
            client.end_input()
            self.assertEqual(client.status(), 0)
            self.assertEqual(client.out.all(), b"one\n\ntwo\n")

    def test_what_still_comes_after_the_end_is_printed(self):
        with Host() as host, chat(host.address) as client:
            server = host.accept()
            client.say("question\n")
            client.end_input()
            self.assertEqual(server.hear_all(), [b"question"])
            server.say(b"first", b"second")
            client.out.wait_for("second\n")
            self.assertIsNone(client.process.poll())
            server.say(b"third")
            server.close()
            self.assertEqual(client.status(), 0)
            self.assertEqual(client.out.all(), b"first\nsecond\nthird\n")
            self.assertEqual(client.err.all(), b"")

    def test_a_server_that_reads_nothing_until_it_has_said_all(self):
        with Host() as host, chat(host.address) as client:
            server = host.accept()
            writer = threading.Thread(target=lambda: client.say(b"x" * MEGABYTES_10 + b"\n"))
            writer.start()
            server.say(*[b"y" * 1_000_000] * 10)
            self.assertEqual(server.hear(), b"x" * MEGABYTES_10)
            writer.join(PATIENCE)
            client.end_input()
            server.close()
            client.status()
            self.assertEqual(len(client.out.all()), 10 * 1_000_001)


class ClientTrouble(unittest.TestCase):
    """A sentence on standard error, and status 1."""

    def assert_told(self, client, *parts):
        self.assertEqual(client.status(), 1)
        told = client.err.all().decode()
        self.assertRegex(told, r"\Achat_client: .*\n\Z")
        for part in parts:
            self.assertIn(part, told)

    def test_refused(self):
        with socket.socket() as taken:  # bound, and nobody listens
            taken.bind(("127.0.0.1", 0))
            with chat("127.0.0.1:%d" % taken.getsockname()[1]) as client:
                self.assert_told(client, "refused")
                self.assertEqual(client.out.all(), b"")

    def test_the_server_leaves(self):
        with Host() as host, chat(host.address) as client:
            host.accept().close()
            self.assert_told(client, "ended the connection")  # though its input goes on

    def test_reset(self):
        with Host() as host, chat(host.address) as client:
            host.accept().reset()
            self.assert_told(client, "reset")

    def test_cut_off_inside_a_message(self):
        with Host() as host, chat(host.address) as client:
            server = host.accept()
            client.end_input()
            server.raw(frame(b"whole") + frame(b"half a message")[:10])
            server.close()
            self.assert_told(client)
            self.assertEqual(client.out.all(), b"whole\n")

    def test_another_protocol(self):
        with Host() as host, chat(host.address) as client:
            server = host.accept()
            server.raw(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            self.assert_told(client, "HTTP")

    def test_killed_server(self):
        with serve() as server, chat(server.address) as client:
            client.say("hello\n")
            client.out.wait_for("hello\n")
            server.process.kill()
            self.assert_told(client)

    def test_a_line_over_the_limit(self):
        with serve() as server, chat("--max-message", "10", server.address) as client:
            client.say("0123456789a\n")
            self.assert_told(client, "too long")

    def test_an_endless_line_is_not_kept(self):
        with serve() as server, open("/dev/zero", "rb") as zeros:
            status = subprocess.run(
                [programs.chat_client, "--max-message=1000000", server.address],
                stdin=zeros,
                capture_output=True,
                timeout=PATIENCE,
            )
            self.assertEqual((status.returncode, status.stdout), (1, b""))

    def test_a_message_over_the_limit(self):
        with Host() as host, chat("--max-message=10", host.address) as client:
            host.accept().say(b"0123456789a")
            self.assert_told(client, "11", "10")

    def test_standard_output_is_gone(self):
        for lines in 1, 100_000:
            with self.subTest(lines), serve() as server:
                reading, writing = os.pipe()
                client = subprocess.Popen(
                    [programs.chat_client, server.address],
                    stdin=subprocess.PIPE,
                    stdout=writing,
                    stderr=subprocess.PIPE,
                )
                os.close(writing)
                os.close(reading)
                _, err = client.communicate(b"hello\n" * lines, PATIENCE)
                self.assertEqual(client.returncode, 1)
                self.assertIn(b"standard output", err)

    def test_standard_streams_that_are_full_or_closed(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full")
        for redirection, status in (
            ("< /dev/null > /dev/null", 0),
            ("<&-", 0),
            (">&-", 1),
            ("> /dev/full", 1),
            ("< /", 1),
            ("2>&- > /dev/full", 1),
        ):
            with self.subTest(redirection), serve() as server:
                done = subprocess.run(
                    ["sh", "-c", f'"$0" "$1" {redirection}', programs.chat_client, server.address],
                    input=b"hello\n",
                    capture_output=True,
                    timeout=PATIENCE,
                )
                self.assertEqual(done.returncode, status, done.stderr)
                self.assertEqual(done.stderr.count(b"\n"), status and "2>" not in redirection)
