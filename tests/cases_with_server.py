# SPDX-License-Identifier: MIT
"""The echo servers in others' loops, against raw sockets: the same is asked of each."""

import os
import resource
import signal
import socket
import tempfile
import threading
import unittest

from chat_helpers import PATIENCE, Peer, Server, frame, programs, run, wait_until

LARGE = 8 << 20
CALM = 20  # so many looks in a row that find a program asleep
REFUSALS = 50  # so many in a row: the server reads no more
ENOUGH = 128 << 20  # more than the system's buffers hold


def program(name):
    """Its path; skips the test where it was not built."""
    path = getattr(programs, name, None)
    if path is None:
        raise unittest.SkipTest(f"{name} was not built: its library is not there")
    return path


def bytes_of(number, length):
    """A message that looks like no other."""
    return (b"%d," % number * (length // 2 + 1))[:length]


STUFFING = bytes_of(7, 100_000)
SMALL = bytes_of(7, 1000)


def dial_unix(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    return Peer(sock)


def wait_until_asleep(running):
    """A program that has nothing to do, and does nothing: with a poll that is wrong it spins."""
    looks = 0

    def calm():
        nonlocal looks
        with open(f"/proc/{running.process.pid}/stat", encoding="ascii") as stat:
            looks = looks + 1 if stat.read().rsplit(")", 1)[1].split()[0] == "S" else 0
        return looks >= CALM

    if os.path.exists("/proc/self/stat"):
        wait_until(calm, "a program that sleeps")


class Meanwhile:
    """What is done by another thread, whose error is raised here."""

    def __init__(self, work, *arguments):
        self._error = None
        self._thread = threading.Thread(target=self._run, args=(work, arguments), daemon=True)
        self._thread.start()

    def _run(self, work, arguments):
        try:
            work(*arguments)
        except Exception as error:
            self._error = error

    def end(self):
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            raise AssertionError("it does not get on")
        if self._error:
            raise self._error


class Stuffed:
    """A client that talks without end and does not read, until the server reads no more of it."""

    def __init__(self, client, message):
        self._client = client
        self._stream = frame(message)
        self.sent = 0

    def say_some(self):
        """False when not a byte more was taken."""
        self._client.sock.setblocking(False)
        try:
            rest = self._stream[self.sent % len(self._stream) :]
            self.sent += self._client.sock.send(rest)
            return True
        except BlockingIOError:
            return False
        finally:
            self._client.sock.settimeout(PATIENCE)

    def begun(self):
        """So many messages, of which the last may be cut short."""
        return -(-self.sent // len(self._stream))

    def say_the_rest(self):
        """Of the message that was cut short."""
        self._client.raw(self._stream[self.sent % len(self._stream) or len(self._stream) :])


class Serving:
    """What each of the servers is asked to do."""

    name = ""

    def serve(self, **popen):
        return Server(program(self.name), **popen)

    def assert_echo(self, client, *messages):
        client.say(*messages)
        for message in messages:
            self.assertEqual(client.hear(), message)

    def stuff(self, client, other, message=STUFFING):
        """Until the server reads no more of it, while the other one has its echoes."""
        stuffed = Stuffed(client, message)
        refusals = 0
        while refusals < REFUSALS:
            refusals = 0 if stuffed.say_some() else refusals + 1
            if refusals:
                self.assert_echo(other, b"still here", b"x" * 10_000)
            self.assertLess(stuffed.sent, ENOUGH, "the server reads without an end")
        return stuffed

    def test_each_message_comes_back(self):
        with self.serve() as server, server.client() as client:
            for message in b"hello", b"", b"\0\xff\n", b"x" * 1_000_000:
                self.assert_echo(client, message)
            wait_until_asleep(server)
            self.assertEqual(server.stop(), 0)
            self.assertIsNone(client.hear())
            self.assertEqual(server.out.all().count(b"\n"), 1)
            self.assertEqual(server.err.all(), b"")

    def test_many_messages(self):
        messages = [b"%d" % number * (number % 50) for number in range(20_000)]
        with self.serve() as server, server.client() as client:
            saying = Meanwhile(client.say, *messages)
            self.assertEqual([client.hear() for _ in messages], messages)
            saying.end()

    def test_one_byte_at_a_time(self):
        with self.serve() as server, server.client() as client:
            for byte in frame(b"slowly") + frame(b""):
                client.raw(bytes([byte]))
            self.assertEqual([client.hear(), client.hear()], [b"slowly", b""])

    def test_several_clients_at_once(self):
        with self.serve() as server:
            clients = [server.client() for _ in range(100)]
            for turn in range(3):
                for number, client in enumerate(clients):
                    client.say(b"%d in turn %d" % (number, turn), b"", b"x" * 10_000)
                for number, client in reversed(list(enumerate(clients))):
                    said = b"%d in turn %d" % (number, turn)
                    heard = [client.hear() for _ in range(3)]
                    self.assertEqual(heard, [said, b"", b"x" * 10_000])
                for client in clients[::7]:
                    client.close()
                clients = [client for at, client in enumerate(clients) if at % 7]
            self.assertEqual(server.stop(), 0)
            for client in clients:
                self.assertIsNone(client.hear())

    def test_large_messages_both_ways_at_the_same_time(self):
        messages = [bytes_of(number, LARGE) for number in range(4)]
        with self.serve() as server:
            clients = [server.client() for _ in range(2)]
            saying = [Meanwhile(client.say, *messages) for client in clients]
            for message in messages:
                for client in clients:
                    self.assertTrue(client.hear() == message)
            for work in saying:
                work.end()
            self.assertEqual(server.stop(), 0)

    def test_who_has_ended_its_sending_gets_all_answers(self):
        """More of them than the system's buffers hold, to a client that begins to read late."""
        messages = [bytes_of(number, 1 << 20) for number in range(12)] + [b"", b"last"]
        with self.serve() as server, server.client(small=True) as client:

            def say():
                client.say(*messages)
                client.end_sending()

            saying = Meanwhile(say)
            self.assertEqual(client.hear(), messages[0])
            self.assertEqual(client.hear_all(), messages[1:])
            saying.end()
            self.assertEqual(server.stop(), 0)
            self.assertEqual(server.err.all(), b"")

    def test_who_ended_at_once(self):
        with self.serve() as server, server.client() as client:
            client.end_sending()
            self.assertIsNone(client.hear())
            with server.client() as another:
                self.assert_echo(another, b"hello")
            self.assertEqual(server.err.bytes(), b"")

    def test_a_client_that_stops_reading_holds_up_nobody(self):
        with self.serve() as server, server.client() as other:
            with server.client(small=True) as client:
                stuffed = self.stuff(client, other)
                wait_until_asleep(server)
                saying = Meanwhile(stuffed.say_the_rest)
                for _ in range(stuffed.begun()):
                    self.assertTrue(client.hear() == STUFFING)
                saying.end()
                self.assert_echo(other, b"and now")
            self.assert_echo(other, b"and now that it has left")
            self.assertEqual(server.stop(), 0)

    def test_small_messages_over_a_unix_socket(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "socket")
            with self.serve(address="unix:" + path) as server, dial_unix(path) as client:
                self.assertEqual(server.address, "unix:" + path)
                with dial_unix(path) as other:
                    stuffed = self.stuff(client, other, SMALL)
                wait_until_asleep(server)
                saying = Meanwhile(stuffed.say_the_rest)
                for _ in range(stuffed.begun()):
                    self.assertEqual(client.hear(), SMALL)
                saying.end()
                self.assertEqual(server.stop(), 0)
                self.assertFalse(os.path.exists(path))

    def test_a_stuffed_client_that_resets(self):
        """It is waited for room to write to, and nothing else: the reset has to be seen there."""
        with self.serve() as server, server.client() as other:
            client = server.client(small=True)
            self.stuff(client, other)
            client.reset()
            server.err.wait_for("reset")
            self.assert_echo(other, b"after")
            wait_until_asleep(server)
            self.assertEqual(server.stop(), 0)

    def assert_only_that_one_ends(self, misbehave, told):
        with self.serve() as server, server.client() as other, server.client() as client:
            self.assert_echo(other, b"before")
            misbehave(client)
            server.err.wait_for(told)
            self.assert_echo(other, b"after")
            with server.client() as another:
                self.assert_echo(another, b"new")
            self.assertEqual(server.stop(), 0)

    def test_nonsense(self):
        def misbehave(client):
            client.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            self.assertIsNone(client.hear())

        self.assert_only_that_one_ends(misbehave, "HTTP")

    def test_a_huge_length(self):
        def misbehave(client):
            client.raw(b"\xff\xff\xff\xff")
            self.assertIsNone(client.hear())

        self.assert_only_that_one_ends(misbehave, "4294967295")

    def test_answers_that_come_before_the_nonsense(self):
        def misbehave(client):
            client.raw(frame(b"one") + frame(b"") + b"GET / HTTP/1.1\r\n\r\n")
            self.assertEqual(client.hear_all(), [b"one", b""])

        self.assert_only_that_one_ends(misbehave, "HTTP")

    def test_half_a_message(self):
        def misbehave(client):
            client.raw(frame(b"whole") + frame(b"half a message")[:10])
            client.end_sending()
            self.assertEqual(client.hear_all(), [b"whole"])

        self.assert_only_that_one_ends(misbehave, "14")

    def test_a_reset(self):
        def misbehave(client):
            client.raw(frame(b"half a message")[:10])
            client.wait_until_delivered()
            client.reset()

        self.assert_only_that_one_ends(misbehave, "reset")

    def test_both_signals(self):
        for number in signal.SIGINT, signal.SIGTERM:
            with self.subTest(number), self.serve() as server:
                silent, half_said, stuffed = (server.client() for _ in range(3))
                for client in silent, half_said, stuffed:
                    self.assert_echo(client, b"hello")
                half_said.raw(frame(b"half a message")[:10])
                stuffed.say(b"x" * 100_000)
                self.assertEqual(server.stop(number), 0)
                for client in silent, half_said:
                    self.assertIsNone(client.hear())
                self.assertEqual(server.err.all(), b"")

    def test_an_address_that_is_taken_or_is_none(self):
        with self.serve() as server:
            for address in server.address, "nonsense":
                status, out, err = run(program(self.name), address)
                self.assertEqual((status, out), (1, b""))
                self.assertRegex(err, r"with_\w+: .*\n$")

    def test_out_of_descriptors(self):
        """Those who don't fit wait; they are served when others have left."""

        def limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))

        with self.serve(preexec_fn=limit) as server:
            clients = [server.client() for _ in range(30)]
            self.assert_echo(clients[0], b"first")
            wait_until_asleep(server)
            for client in clients:
                self.assert_echo(client, b"hello")
                client.close()
            self.assertEqual(server.stop(), 0)


class WithPoll(Serving, unittest.TestCase):
    name = "with_poll"

    def test_more_clients_than_it_has_places(self):
        """Of which it has 1000: the others wait, and one that leaves makes room for one."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard != resource.RLIM_INFINITY and hard < 2048:
            self.skipTest("not so many descriptors are allowed here")
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
        with self.serve() as server:
            clients = [server.client() for _ in range(1010)]
            for client in clients:
                client.say(b"hello")
            self.assertEqual(clients[999].hear(), b"hello")
            wait_until_asleep(server)
            clients[999].close()
            for client in clients[:999] + clients[1000:]:
                self.assertEqual(client.hear(), b"hello")
                client.close()
            self.assert_echo(server.client(), b"hello")
            self.assertEqual(server.stop(), 0)


class WithLibuv(Serving, unittest.TestCase):
    name = "with_libuv"


class WithLibevent(Serving, unittest.TestCase):
    name = "with_libevent"
