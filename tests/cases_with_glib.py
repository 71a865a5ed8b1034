# SPDX-License-Identifier: MIT
"""The client in GLib's loop, against a host that the test plays, and the servers of the others."""

import os
import signal
import socket
import tempfile
import unittest

from cases_with_server import LARGE, Meanwhile, bytes_of, program, wait_until_asleep
from chat_helpers import Host, Program, Server, programs, run


def client(address):
    return Program(program("with_glib"), address)


class UnixHost(Host):
    """The same at a Unix socket, where a message that has no room goes not even in part."""

    def __init__(self):  # not the other one's socket
        self._folder = tempfile.TemporaryDirectory()
        self.address = "unix:" + os.path.join(self._folder.name, "socket")
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(self.address[len("unix:") :])
        self.sock.listen()
        self._clients = []

    def close(self):
        super().close()
        self._folder.cleanup()


class WithGlib(unittest.TestCase):
    def test_lines_are_messages_and_messages_are_lines(self):
        with Host() as host, client(host.address) as chat, host.accept() as peer:
            for line in b"hello", b"", "Grüße, 世界".encode(), b"\0\xff":
                chat.say(line + b"\n")
                self.assertEqual(peer.hear(), line)
                peer.say(line)
                chat.out.wait_for(line + b"\n")
            chat.end_input()
            self.assertIsNone(peer.hear())
            peer.close()
            self.assertEqual(chat.status(), 0)
            self.assertEqual(chat.err.all(), b"")

    def test_the_end_of_the_input_ends_one_direction(self):
        with Host() as host, client(host.address) as chat, host.accept() as peer:
            chat.say("one\nwithout a newline")
            chat.end_input()
            self.assertEqual(peer.hear_all(), [b"one", b"without a newline"])
            peer.say(b"still", b"here")
            chat.out.wait_for("still\nhere\n")
            peer.close()
            self.assertEqual(chat.status(), 0)

    def assert_both_talk(self, *messages):
        """Each says all before it hears anything: the client's lines have no room to go."""

        def type_all():
            chat.say(lines)
            chat.end_input()

        lines = b"".join(message + b"\n" for message in messages)
        with Host() as host, client(host.address) as chat, host.accept() as peer:
            typing = Meanwhile(type_all)
            wait_until_asleep(chat)
            peer.say(*messages)
            for message in messages:
                self.assertTrue(peer.hear() == message)
            self.assertIsNone(peer.hear())
            typing.end()
            peer.end_sending()
            self.assertEqual(chat.status(), 0)
            self.assertTrue(chat.out.all() == lines)

    def test_a_host_that_reads_late(self):
        messages = [bytes_of(number, 1000) for number in range(20_000)]
        for host in Host(), UnixHost():
            with self.subTest(host.address), host, client(host.address) as chat:
                with host.accept() as peer:
                    typing = Meanwhile(chat.say, b"".join(line + b"\n" for line in messages))
                    wait_until_asleep(chat)
                    for message in messages:
                        self.assertEqual(peer.hear(), message)
                    typing.end()
                    chat.end_input()
                    self.assertIsNone(peer.hear())
                    peer.end_sending()
                    self.assertEqual(chat.status(), 0)

    def test_large_messages_both_ways_at_the_same_time(self):
        self.assert_both_talk(*(bytes_of(number, LARGE) for number in range(4)))

    def test_many_messages_both_ways_at_the_same_time(self):
        self.assert_both_talk(*(bytes_of(number, 1000) for number in range(20_000)))

    def test_the_server_leaves_first(self):
        for said, told in {b"": "ended", b"\0\0\0\x09half": "9", b"GET / HTTP/1.1": "HTTP"}.items():
            with self.subTest(said), Host() as host, client(host.address) as chat:
                with host.accept() as peer:
                    peer.raw(said)
                    peer.end_sending()
                    self.assertEqual(chat.status(), 1)
                    self.assertIn(told, chat.err.all().decode())

    def test_a_reset(self):
        with Host() as host, client(host.address) as chat:
            host.accept().reset()
            self.assertEqual(chat.status(), 1)
            chat.err.wait_for("reset")

    def test_messages_that_come_in_one_piece(self):
        messages = [b"%d" % number for number in range(5000)]
        with Host() as host, client(host.address) as chat, host.accept() as peer:
            peer.say(*messages)
            chat.out.wait_for(messages[-1] + b"\n")
            chat.end_input()
            self.assertIsNone(peer.hear())
            peer.end_sending()
            self.assertEqual(chat.status(), 0)
            self.assertEqual(chat.out.all(), b"\n".join(messages) + b"\n")

    def test_with_each_of_the_servers(self):
        lines = b"".join(b"line %d\n" % number for number in range(3000)) + b"x" * LARGE + b"\n"
        for name in "with_poll", "with_libuv", "with_libevent":
            path = getattr(programs, name, None)
            if path is None:
                continue
            with self.subTest(name), Server(path) as server, client(server.address) as chat:
                Meanwhile(chat.say, lines).end()
                chat.end_input()
                self.assertEqual(chat.status(), 0)
                self.assertTrue(chat.out.all() == lines)
                self.assertEqual(server.stop(), 0)

    def test_both_signals(self):
        for number in signal.SIGINT, signal.SIGTERM:
            with self.subTest(number), Host() as host, client(host.address) as chat:
                with host.accept() as peer:
                    chat.say("hello\n")
                    self.assertEqual(peer.hear(), b"hello")
                    chat.process.send_signal(number)
                    self.assertIsNone(peer.hear())
                    self.assertEqual(chat.status(), 1)

    def test_nobody_is_there(self):
        with socket.create_server(("127.0.0.1", 0)) as gone:
            address = "127.0.0.1:%d" % gone.getsockname()[1]
        status, out, err = run(program("with_glib"), address)
        self.assertEqual((status, out), (1, b""))
        self.assertIn(address, err)
