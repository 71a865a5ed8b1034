# SPDX-License-Identifier: MIT
"""chat_client on a pseudo-terminal."""

import signal
import threading
import unittest

from chat_helpers import PATIENCE, Host, Terminal, frame, programs, serve, wait_until


class OnTerminal(unittest.TestCase):
    def terminal(self, address, *options, **kind):
        terminal = Terminal(programs.chat_client, *options, address, **kind)
        self.addCleanup(terminal.close)
        return terminal

    def ready(self, *options, **kind):
        """A client at its prompt, and the server it talks to, whose every byte is ours."""
        host = Host()
        self.addCleanup(host.close)
        terminal = self.terminal(host.address, *options, **kind)
        server = host.accept()
        terminal.wait_for_last_row("> ")
        return terminal, server

    def assert_restored(self, terminal):
        self.assertEqual(terminal.mode(), terminal.before)
        self.assertEqual(terminal.rows()[-1], "")  # the shell's prompt begins a row

    def test_a_chat(self):
        with serve() as server:
            terminal = self.terminal(server.address)
            terminal.wait_for_last_row("> ")
            terminal.type("hello\r")
            terminal.wait_for(lambda rows: rows[-3:] == ["> hello", "hello", "> "], "the echo")
            terminal.type("Grüße\r")
            terminal.wait_for(lambda rows: rows[-3:] == ["> Grüße", "Grüße", "> "], "the echo")
            terminal.type("exit\r")
            self.assertEqual(terminal.status(), 0)
            self.assert_restored(terminal)
            self.assertEqual(terminal.rows()[-2:], ["> exit", ""])

    def test_an_answer_in_the_middle_of_typing(self):
        terminal, server = self.ready()
        terminal.type("hel")
        terminal.wait_for_last_row("> hel")
        server.say(b"news", "Neuigkeiten für dich".encode())
        terminal.wait_for(
            lambda rows: rows[-3:] == ["news", "Neuigkeiten für dich", "> hel"], "the news"
        )
        terminal.type("lo\r")
        self.assertEqual(server.hear(), b"hello")
        terminal.wait_for(lambda rows: rows[-2:] == ["> hello", "> "], "the next prompt")
        terminal.type("exit\r")
        self.assertIsNone(server.hear())
        server.say(b"one more thing")
        server.close()
        self.assertEqual(terminal.status(), 0)
        self.assertEqual(terminal.rows()[-3:], ["> exit", "one more thing", ""])
        self.assert_restored(terminal)

    def test_editing(self):
        keys = {
            "abc\x7f\x7fxy\r": "axy",
            "aé€😀\x7f\x7f\r": "aé",
            "é\x08e\r": "e",
            "\x7f\x7fa\r": "a",
            "nonsense\x15sense\r": "sense",
            "one two  \x17three\r": "one three",
            "zwei für\x17\x17\x17eins\r": "eins",
            "a\033[Ab\033OCc\033[3~d\r": "abcd",
            "a\033xb\033\r": "ab",
            "tab\there\r": "tab\there",
            "not the end\x04 yet\r": "not the end yet",
            "\x01\x02quiet\x0b\r": "quiet",
            "\r": "",
            "not an exit \r": "not an exit ",
        }
        terminal, server = self.ready()
        for typed, message in keys.items():
            with self.subTest(typed):
                terminal.type(typed)
                self.assertEqual(server.hear().decode(), message)
        terminal.wait_for_last_row("> ")

    def test_bytes_that_are_no_utf8_go_through(self):
        terminal, server = self.ready()
        terminal.type(b"a\xff\x80\xc3\r")
        self.assertEqual(server.hear(), b"a\xff\x80\xc3")
        terminal.wait_for_row("> a???")
        terminal.type(b"a\xff\x80\xc3\x7f\x7fb\r")
        self.assertEqual(server.hear(), b"a\xffb")

    def test_control_characters_of_the_server_are_harmless(self):
        terminal, server = self.ready()
        server.say(b"\033[2J\033]0;title\007 a\r\nb \xc2\x9b1m \x9b \xed\xa0\x80 \x7f")
        terminal.wait_for_row("^[[2J^[]0;title^G a^M^Jb ?1m ? ??? ^?")

    def test_a_line_wider_than_the_terminal(self):
        terminal, server = self.ready(columns=20)
        line = "".join(chr(ord("a") + number % 26) for number in range(100))
        terminal.type(line)
        terminal.wait_for_last_row("> " + line[-17:])
        server.say(b"news")
        terminal.wait_for(lambda rows: rows[-2:] == ["news", "> " + line[-17:]], "the news")
        terminal.type("\x7f" * 90)
        terminal.wait_for_last_row("> " + line[:10])
        terminal.type("\x15" + "世" * 30)  # each takes two columns
        terminal.wait_for_last_row("> " + "世" * 8)
        terminal.type("\x15" + line + "\r")
        self.assertEqual(server.hear().decode(), line)
        whole = "> " + line
        rows = [whole[at : at + 20] for at in range(0, len(whole), 20)]
        terminal.wait_for(lambda shown: shown[-7:] == [*rows, "> "], "the line in its whole length")

    def test_a_terminal_without_room(self):
        terminal, server = self.ready(columns=3)
        terminal.type("hello\r")
        self.assertEqual(server.hear(), b"hello")

    def test_many_lines_pasted(self):
        terminal, server = self.ready()
        lines = [f"line {number} " + "x" * (number % 50) for number in range(2000)]
        terminal.type("".join(line + "\r" for line in lines))
        terminal.wait_for(lambda rows: rows[-2:] == ["> " + lines[-1], "> "], "the last line")
        for line in lines:
            self.assertEqual(server.hear().decode(), line)
        terminal.type("exit\r")
        self.assertIsNone(server.hear())

    def test_ctrl_d_ends_it(self):
        terminal, server = self.ready()
        terminal.type("\x04")
        self.assertIsNone(server.hear())
        server.close()
        self.assertEqual(terminal.status(), 0)
        self.assert_restored(terminal)

    def test_what_is_typed_after_the_end_is_not_sent(self):
        terminal, server = self.ready()
        terminal.type("one\rexit\rtwo\r")
        self.assertEqual(server.hear_all(), [b"one"])
        server.close()
        self.assertEqual(terminal.status(), 0)

    def test_the_terminal_is_restored_when_a_signal_ends_it(self):
        for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT:
            with self.subTest(number):
                terminal, _ = self.ready()
                self.assertNotEqual(terminal.mode(), terminal.before)
                terminal.type("half a line")
                terminal.wait_for_last_row("> half a line")
                if number == signal.SIGINT:
                    terminal.type("\x03")
                else:
                    terminal.process.send_signal(number)
                self.assertEqual(terminal.status(), -number)
                self.assert_restored(terminal)

    def test_ctrl_c_after_the_end(self):
        terminal, server = self.ready()
        terminal.type("exit\r")
        self.assertIsNone(server.hear())
        wait_until(terminal.restored, "the terminal to be restored")
        terminal.type("\x03")
        self.assertEqual(terminal.status(), -signal.SIGINT)

    def test_ctrl_z_gives_the_terminal_back_for_a_while(self):
        """With a shell that has job control."""
        script = '"$0" "$1"; echo suspended; read line; fg'
        host = Host()
        self.addCleanup(host.close)
        terminal = Terminal("sh", "-mc", script, programs.chat_client, host.address)
        self.addCleanup(terminal.close)
        server = host.accept()
        terminal.wait_for_last_row("> ")
        terminal.type("half\x1a")
        terminal.wait_for(lambda rows: rows[-3:] == ["> half", "suspended", ""], "the shell")
        self.assertEqual(terminal.mode(), terminal.before)
        terminal.type("\n")
        terminal.wait_for_last_row("> half")
        self.assertNotEqual(terminal.mode(), terminal.before)
        terminal.type(" and half\rexit\r")
        self.assertEqual(server.hear_all(), [b"half and half"])
        server.close()
        self.assertEqual(terminal.status(), 0)
        self.assert_restored(terminal)

    def test_ctrl_z_without_a_shell(self):
        terminal, server = self.ready()
        terminal.type("half\x1a and half\r")
        self.assertEqual(server.hear(), b"half and half")

    def test_the_server_leaves_in_the_middle_of_typing(self):
        terminal, server = self.ready()
        terminal.type("half a li")
        terminal.wait_for_last_row("> half a li")
        server.say(b"good bye")
        server.close()
        self.assertEqual(terminal.status(), 1)
        self.assertEqual(terminal.rows()[-3], "good bye")
        self.assertRegex(terminal.rows()[-2], "^chat_client: .*ended the connection")
        self.assert_restored(terminal)

    def test_a_flood_does_not_keep_the_user_from_leaving(self):
        terminal, server = self.ready()
        server.sock.settimeout(0.1)
        flood = frame(b"flood") * 10_000

        def pour():
            try:
                while True:
                    server.sock.send(flood)
            except OSError:
                pass  # the client has left, or has stopped reading

        thread = threading.Thread(target=pour)
        thread.start()
        terminal.wait_for_row("flood")
        terminal.type("\x03")
        self.assertEqual(terminal.status(), -signal.SIGINT)
        thread.join(PATIENCE)

    def test_a_line_over_the_limit_is_not_sent(self):
        terminal, server = self.ready("--max-message=10")
        terminal.type("0123456789a\r0123456789\r")
        self.assertEqual(server.hear(), b"0123456789")
        terminal.wait_for(lambda rows: any("too long" in row for row in rows), "a word")
        terminal.wait_for_last_row("> ")

    def test_a_terminal_that_can_do_nothing(self):
        for kind in "dumb", "":
            with self.subTest(kind), serve() as server:
                terminal = self.terminal(server.address, kind=kind)
                terminal.type("hello\n")
                terminal.wait_for(lambda rows: rows.count("hello") == 2, "typed, and its echo")
                self.assertNotIn(b"\033", terminal.output)
                terminal.type("exit\n")
                self.assertEqual(terminal.status(), 0)
                self.assert_restored(terminal)
