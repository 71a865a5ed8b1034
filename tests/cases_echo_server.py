# SPDX-License-Identifier: MIT
"""echo_server, against raw sockets."""

import itertools
import os
import resource
import signal
import socket
import subprocess
import tempfile
import threading
import unittest

from chat_helpers import PATIENCE, Peer, chat, frame, programs, run, serve


class Echo(unittest.TestCase):
    def test_each_message_comes_back(self):
        with serve() as server, server.client() as client:
            messages = [b"hello", b"", b"\0\xff\n", "Grüße, 世界".encode(), b"x" * 1_000_000]
            for message in messages:
                client.say(message)
                self.assertEqual(client.hear(), message)
            self.assertEqual(server.stop(), 0)
            self.assertIsNone(client.hear())
            self.assertEqual(server.out.all().count(b"\n"), 1)
            self.assertEqual(server.err.all(), b"")

    def test_what_was_sent_before_the_end_is_answered(self):
        messages = [b"%d" % number for number in range(5000)]
        with serve() as server, server.client() as client:
            client.say(*messages)
            client.end_sending()
            self.assertEqual(client.hear_all(), messages)

    def test_one_byte_at_a_time(self):
        with serve() as server, server.client() as client:
            client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in frame(b"slowly") + frame(b""):
                client.raw(bytes([byte]))
            self.assertEqual([client.hear(), client.hear()], [b"slowly", b""])

    def test_many_at_once(self):
        with serve() as server:
            clients = [server.client() for _ in range(100)]
            for number, client in enumerate(clients):
                client.say(b"%d" % number)
            for number, client in reversed(list(enumerate(clients))):
                self.assertEqual(client.hear(), b"%d" % number)
            self.assertEqual(server.stop(), 0)
            for client in clients:
                self.assertIsNone(client.hear())

    def test_unix_socket(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "socket")
            with serve(address="unix:" + path) as server:
                self.assertEqual(server.address, "unix:" + path)
                with chat(server.address) as client:
                    client.say("one\ntwo\n")
                    client.end_input()
                    self.assertEqual(client.status(), 0)
                    self.assertEqual(client.out.all(), b"one\ntwo\n")
                self.assertEqual(server.stop(), 0)
                self.assertFalse(os.path.exists(path))

    def test_verbose_shows_who_says_what(self):
        with serve("--verbose") as server, server.client() as one, server.client() as two:
            one.say("Grüße\tan alle".encode())
            self.assertEqual(one.hear(), "Grüße\tan alle".encode())
            two.say(b"\033[2J\r\n\x7f \xc2\x9b1m \xff\x9b")
            two.hear()
            server.out.wait_for(f"{one.name()}: Grüße\tan alle\n")
            server.out.wait_for(f"{two.name()}: ^[[2J^M^J^? ?1m ??\n")

    def test_a_port_in_use(self):
        with serve() as server:
            status, out, err = run(programs.echo_server, server.address)
            self.assertEqual((status, out), (1, b""))
            self.assertRegex(err, r"^echo_server: .*\n$")

    def test_standard_output_may_go_away(self):
        reading, writing = os.pipe()
        server = subprocess.Popen(
            [programs.echo_server, "--verbose", "127.0.0.1:0"],
            stdin=subprocess.DEVNULL,
            stdout=writing,
            stderr=subprocess.DEVNULL,
        )
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        os.close(writing)
        with open(reading, "rb") as output:
            address = output.readline().decode().split()[-1]
        with Peer.dial(address) as client:
            client.say(b"still here?")
            self.assertEqual(client.hear(), b"still here?")
        server.terminate()
        self.assertEqual(server.wait(PATIENCE), 0)


class Misbehaviour(unittest.TestCase):
    """What breaks one connection breaks only that one."""

    def assert_only_that_one_ends(self, misbehave, told, *options):
        with serve(*options) as server, server.client() as other, server.client() as client:
            other.say(b"before")
            self.assertEqual(other.hear(), b"before")
            name = client.name()
            misbehave(client)
            server.err.wait_for(f"{name}: ")
            for part in told:
                server.err.wait_for(part)
            other.say(b"after")
            self.assertEqual(other.hear(), b"after")
            with server.client() as another:
                another.say(b"new")
                self.assertEqual(another.hear(), b"new")
            self.assertEqual(server.stop(), 0)

    def test_http(self):
        def misbehave(client):
            client.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            self.assertIsNone(client.hear())

        self.assert_only_that_one_ends(misbehave, ["HTTP", "1195725856", "16777216"])

    def test_a_huge_length(self):
        def misbehave(client):
            client.raw(b"\xff\xff\xff\xff")
            self.assertIsNone(client.hear())

        self.assert_only_that_one_ends(misbehave, ["4294967295"])

    def test_over_max_message(self):
        def misbehave(client):
            client.say(b"x" * 1000)
            self.assertEqual(client.hear(), b"x" * 1000)
            client.say(b"x" * 1001)
            self.assertIsNone(client.hear())

        self.assert_only_that_one_ends(misbehave, ["1001", "1000"], "--max-message=1000")

    def test_half_a_message(self):
        def misbehave(client):
            client.raw(frame(b"half a message")[:10])
            client.end_sending()
            self.assertIsNone(client.hear())

        self.assert_only_that_one_ends(misbehave, ["14"])

    def test_a_reset(self):
        def misbehave(client):
            client.raw(frame(b"half a message")[:10])
            client.wait_until_delivered()
            client.reset()

        self.assert_only_that_one_ends(misbehave, ["reset"])

    def test_answers_that_come_before_the_nonsense(self):
        with serve() as server, server.client() as client:
            client.raw(frame(b"one") + frame(b"two") + b"GET / HTTP/1.1\r\n" + b"x" * 100_000)
            self.assertEqual(client.hear_all(), [b"one", b"two"])


class Scarcity(unittest.TestCase):
    def test_out_of_descriptors(self):
        """Those who don't fit wait; they are served when others have left."""
        def limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))

        with serve(preexec_fn=limit) as server:
            clients = [server.client() for _ in range(30)]
            clients[0].say(b"first")
            self.assertEqual(clients[0].hear(), b"first")
            for client in clients:
                client.say(b"hello")
                self.assertEqual(client.hear(), b"hello")
                client.close()
            self.assertEqual(server.stop(), 0)

    def test_out_of_threads(self):
        """Threads' stacks so large that the address space does not hold them all."""
        def limit():
            resource.setrlimit(resource.RLIMIT_STACK, (256 << 20, resource.RLIM_INFINITY))
            resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))

        if run(programs.echo_server, "--version", preexec_fn=limit)[0] != 0:
            self.skipTest("can't run in a small address space")
        for options in ["--threads=20"], ["--threads=20", "--reply"]:
            status, _, err = run(
                programs.echo_server, *options, "127.0.0.1:0", preexec_fn=limit
            )
            self.assertEqual(status, 1)
            self.assertEqual(err, "echo_server: out of memory\n")


class Options(unittest.TestCase):
    def test_threads_share_the_clients(self):
        for threads in 1, 4:
            with self.subTest(threads), serve("--threads", str(threads), "--verbose") as server:
                clients = [server.client() for _ in range(200)]
                for turn in range(3):
                    for number, client in enumerate(clients):
                        client.say(b"%d in turn %d" % (number, turn), b"x" * 10_000, b"")
                    for number, client in enumerate(clients):
                        heard = [client.hear() for _ in range(3)]
                        said = b"%d in turn %d" % (number, turn)
                        self.assertEqual(heard, [said, b"x" * 10_000, b""])
                        server.out.wait_for(f"{client.name()}: {said.decode()}\n")
                self.assertEqual(server.stop(), 0)
                for client in clients:
                    self.assertIsNone(client.hear())

    def test_over_max_conns_the_next_is_served_when_one_leaves(self):
        with serve("--max-conns", "2", "--verbose") as server:
            first, second, third, fourth = clients = [server.client() for _ in range(4)]
            for client in clients:
                client.say(b"hello")
            self.assertEqual([first.hear(), second.hear()], [b"hello", b"hello"])
            for leaving, waiting in (second, third), (first, fourth):
                # Those who are in are served once more, and still nobody has let this one in.
                leaving.say(b"again")
                self.assertEqual(leaving.hear(), b"again")
                self.assertNotIn(f"{waiting.name()}: connected", server.err.text())
                leaving.close()
                self.assertEqual(waiting.hear(), b"hello")
                server.err.wait_for(f"{waiting.name()}: connected\n")
            self.assertEqual(server.stop(), 0)

    def test_a_silent_client_is_ended(self):
        with serve("--idle-timeout", "100", "--verbose") as server:
            with server.client() as silent, server.client() as half_said:
                half_said.raw(frame(b"half a message")[:10])
                for client in silent, half_said:
                    self.assertIsNone(client.hear())
                    server.err.wait_for(f"{client.name()}: not a byte came or went for 100 ms\n")
            self.assertEqual(server.stop(), 0)

    def test_silence_is_told_only_when_verbose(self):
        with serve("--idle-timeout=100") as server, server.client() as client:
            self.assertIsNone(client.hear())
            self.assertEqual(server.stop(), 0)
            self.assertEqual(server.err.all(), b"")

    def test_nonsense_values(self):
        for option, values in {
            "--threads": ["0", "-1", "1025", "four", "4x", "", "1e3", "99999999999999999999"],
            "--idle-timeout": ["0", "-1", "2147483648", "10s", "0.5", ""],
            "--max-conns": ["0", "-1", "2147483648", "none", ""],
        }.items():
            for value in values:
                for arguments in [option, value], [f"{option}={value}"]:
                    status, out, err = run(programs.echo_server, *arguments)
                    self.assertEqual((status, out), (2, b""), arguments)
                    self.assertEqual(err.count("\n"), 1, err)
                    self.assertIn(option, err)
                    self.assertIn("--help", err)
        for arguments in ["--threads"], ["--threadsx=4"], ["--verbose=1"], ["--max-conns"]:
            self.assertEqual(run(programs.echo_server, *arguments)[:2], (2, b""), arguments)

    def test_the_help_tells_all(self):
        _, out, _ = run(programs.echo_server, "--help")
        for option in b"--threads N", b"--idle-timeout MS", b"milliseconds", b"--max-conns N":
            self.assertIn(option, out)

    def test_the_client_has_none_of_them(self):
        for option in "--threads", "--idle-timeout", "--max-conns":
            self.assertEqual(run(programs.chat_client, option, "4")[:2], (2, b""))


class Stopping(unittest.TestCase):
    def test_both_signals(self):
        for number in signal.SIGINT, signal.SIGTERM:
            with self.subTest(number), serve() as server, server.client() as client:
                client.say(b"hello")
                client.hear()
                self.assertEqual(server.stop(number), 0)
                self.assertIsNone(client.hear())

    def test_what_was_received_is_answered(self):
        messages = [b"%04d" % number * 5 for number in range(1000)]
        for _ in range(10):
            with serve() as server, server.client() as client:
                client.say(b"welcome me")
                client.hear()
                client.say(*messages)
                client.wait_until_delivered()
                server.process.send_signal(signal.SIGTERM)
                self.assertEqual(client.hear_all(), messages)
                self.assertEqual(server.status(), 0)

    def test_a_client_that_never_stops_talking(self):
        with serve() as server, server.client() as client:
            sent = itertools.count()
            stopped = threading.Event()

            def talk():
                try:
                    while not stopped.is_set():
                        client.say(*(b"%d" % next(sent) for _ in range(100)))
                except OSError:
                    pass  # the server has left

            thread = threading.Thread(target=talk)
            thread.start()
            heard = [client.hear() for _ in range(1000)]
            server.process.send_signal(signal.SIGTERM)
            try:
                while (message := client.hear()) is not None:
                    heard.append(message)
            except ConnectionResetError:
                pass  # it spoke to a server that had left
            stopped.set()
            thread.join(PATIENCE)
            self.assertEqual(server.status(), 0)
            self.assertEqual(heard, [b"%d" % number for number in range(len(heard))])
            self.assertLessEqual(len(heard), next(sent))

    def test_a_client_that_does_not_read(self):
        with serve() as server, server.client(small=True) as client:
            client.sock.settimeout(0.5)
            try:
                while True:
                    client.say(b"x" * 100_000)
            except TimeoutError:
                pass  # the server waits for us to read
            self.assertEqual(server.stop(), 0)

    def test_half_a_message_does_not_hold_it_up(self):
        with serve() as server, server.client() as client:
            client.raw(frame(b"whole") + frame(b"half a message")[:10])
            self.assertEqual(client.hear(), b"whole")
            self.assertEqual(server.stop(), 0)
            self.assertIsNone(client.hear())
