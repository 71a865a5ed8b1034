# SPDX-License-Identifier: MIT
"""echo_server --reply: an operator, and clients."""

import signal
import threading
import unittest

from chat_helpers import PATIENCE, chat, serve


class Reply(unittest.TestCase):
    def meet(self, server, *clients):
        """Each is heard before the operator speaks."""
        for client in clients:
            client.say(b"hello")
            server.out.wait_for(f"{client.name()}: hello\n")

    def test_two_clients(self):
        with serve("--reply") as server, server.client() as one, server.client() as two:
            self.meet(server, one, two)
            one.say(b"", b"\033]0;title\007")
            server.out.wait_for(f"{one.name()}: \n{one.name()}: ^[]0;title^G\n")
            server.say("welcome\n\nGrüße\n")
            for client in one, two:
                heard = [client.hear() for _ in range(3)]
                self.assertEqual(heard, [b"welcome", b"", "Grüße".encode()])
            one.close()
            server.say("one of you left\n")
            self.assertEqual(two.hear(), b"one of you left")
            server.say("good bye\nexit\nnobody reads this\n")
            self.assertEqual(two.hear_all(), [b"good bye"])
            self.assertEqual(server.status(), 0)

    def test_with_the_client_of_ours(self):
        with serve("--reply") as server, chat(server.address) as client:
            client.say("question\n")
            server.out.wait_for(": question\n")
            server.say("answer\n")
            client.out.wait_for("answer\n")
            client.end_input()
            self.assertEqual(client.status(), 0)
            self.assertEqual(client.out.all(), b"answer\n")

    def test_the_end_of_the_input_stops_it(self):
        with serve("--reply") as server, server.client() as client:
            self.meet(server, client)
            server.say("last words, no newline")
            server.end_input()
            self.assertEqual(client.hear_all(), [b"last words, no newline"])
            self.assertEqual(server.status(), 0)

    def test_a_signal_stops_it(self):
        with serve("--reply") as server, server.client() as client:
            self.meet(server, client)
            self.assertEqual(server.stop(signal.SIGINT), 0)
            self.assertIsNone(client.hear())

    def test_what_was_received_is_shown(self):
        with serve("--reply") as server, server.client() as client:
            self.meet(server, client)
            client.say(*(b"%d" % number for number in range(1000)))
            client.wait_until_delivered()
            self.assertEqual(server.stop(), 0)
            self.assertIn(f"{client.name()}: 999\n".encode(), server.out.all())

    def test_a_client_that_does_not_read_holds_nobody_up(self):
        line = b"x" * 100_000
        with serve("--reply") as server:
            with server.client(small=True) as deaf, server.client() as other:
                self.meet(server, deaf, other)
                for _ in range(200):
                    server.say(line + b"\n")
                    self.assertEqual(other.hear(), line)
                server.err.wait_for(f"{deaf.name()}: cut off")
                server.say("exit\n")
                self.assertEqual(server.status(), 0)

    def test_much_at_once_reaches_who_reads(self):
        """Typed faster than any client reads: the operator waits, and nobody is cut off."""
        lines = [b"%d" % number + b"x" * 1000 for number in range(20_000)]
        with serve("--reply", "--threads=2") as server:
            clients = [server.client() for _ in range(3)]
            self.meet(server, *clients)
            heard = [[] for _ in clients]
            readers = [
                threading.Thread(target=lambda all=all, client=client: all.extend(client.hear_all()))
                for all, client in zip(heard, clients)
            ]
            for reader in readers:
                reader.start()
            server.say(b"\n".join(lines) + b"\nexit\n")
            for reader in readers:
                reader.join(PATIENCE)
            self.assertEqual(server.status(), 0)
            self.assertNotIn(b"cut off", server.err.all())
            self.assertEqual([len(all) for all in heard], [len(lines)] * 3)
            self.assertEqual(heard, [lines] * 3)

    def test_a_signal_stops_it_while_somebody_does_not_read(self):
        with serve("--reply") as server, server.client(small=True) as deaf:
            self.meet(server, deaf)
            writer = threading.Thread(target=self.say_for_ever, args=(server,))
            writer.start()
            server.err.wait_for("cut off")
            self.assertEqual(server.stop(), 0)
            writer.join(PATIENCE)
            self.assertFalse(writer.is_alive())

    def say_for_ever(self, server):
        try:
            while True:
                server.say(b"x" * 100_000 + b"\n")
        except OSError:
            pass  # the server has left

    def test_a_line_over_the_limit(self):
        with serve("--reply", "--max-message=10") as server, server.client() as client:
            self.meet(server, client)
            server.say("0123456789\n0123456789a\nabc\n")
            self.assertEqual([client.hear(), client.hear()], [b"0123456789", b"abc"])
            server.err.wait_for("too long")
