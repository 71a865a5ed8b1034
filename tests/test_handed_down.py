# SPDX-License-Identifier: MIT
"""Servers that get their sockets from somebody else, as docs/handed-down.md says:
test_handed_down.py ECHO_SERVER DOCS_DIR --library LIBRARY [--cc CC...] [unittest's arguments]."""

import argparse
import configparser
import contextlib
import faulthandler
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

sys.dont_write_bytecode = True  # the source folder stays as it is

import pages
from chat_helpers import PATIENCE, Peer, Program, programs, serve, wait_until
from proxy_helpers import free_port, write_configuration
from test_in_front import Client

ATTEMPTS = 10  # to have a port that was free a moment ago
WAITING = 50  # clients that connect while no server runs

docs = pathlib.Path()
built = pathlib.Path()  # where echo_each is


def folder():
    return docs / "handed-down"


def with_paths(text):
    """What is installed on a user's machine, as it is here."""
    return text.replace("/usr/local/bin/echo_server", programs.echo_server).replace(
        "/usr/local/bin/echo_each", str(built / "echo_each")
    )


def unit(name):
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str
    parser.read_string(with_paths((folder() / name).read_text(encoding="utf-8")))
    return parser


def dial_unix(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(PATIENCE)
    sock.connect(path)
    return Peer(sock)


def talk(test, client):
    messages = [b"hello", b"", b"x" * 300_000]
    for message in messages:
        client.say(message)
        test.assertEqual(client.hear(), message)
    client.say(*messages)
    client.end_sending()
    test.assertEqual(client.hear_all(), messages)


def talk_each_to_its_own(test, dial, server):
    """Clients of a server that makes a process for each."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(dial()) for _ in range(5)]
        wait_until(lambda: len(children_of(server)) == 5, "five processes")
        for client in reversed(clients):
            talk(test, client)
    wait_until(lambda: not children_of(server), "their end")


def children_of(process):
    path = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(child) for child in path.read_text(encoding="ascii").split()]


class Activated(Program):
    """systemd's own stand-in for itself, told what the units tell systemd."""

    def __init__(self, door, service, address=None):
        listen = address or door["Socket"]["ListenStream"]
        options = ["-l", listen]
        if door["Socket"].get("Accept") == "yes":
            options.append("-a")
        if service["Service"].get("StandardInput") == "socket":
            options.append("--inetd")
        command = service["Service"]["ExecStart"].split()
        super().__init__("systemd-socket-activate", *options, *command)
        self.address = listen
        try:
            self.err.wait_for("Listening on ")
        except AssertionError:
            super().__exit__()
            raise


def activated(door, service):
    """At a free port in the place of the unit's."""
    for attempt in range(ATTEMPTS):
        try:
            return Activated(door, service, f"127.0.0.1:{free_port()}")
        except AssertionError as error:
            if attempt == ATTEMPTS - 1 or "in use" not in str(error):
                raise


@unittest.skipUnless(shutil.which("systemd-socket-activate"), "there is no systemd-socket-activate")
class UnderSystemd(unittest.TestCase):
    def test_the_first_client_starts_the_server_and_is_answered(self):
        with activated(unit("echo.socket"), unit("echo.service")) as server:
            self.assertNotIn("listening", server.out.text())
            with Peer.dial(server.address) as client:
                talk(self, client)
            server.out.wait_for(f"listening on {server.address}\n")
            with Peer.dial(server.address) as client:
                talk(self, client)
            server.process.terminate()
            self.assertEqual(server.status(), 0)

    def test_at_a_unix_socket(self):
        with tempfile.TemporaryDirectory() as room:
            path = os.path.join(room, "socket")
            with Activated(unit("echo.socket"), unit("echo.service"), path) as server:
                with dial_unix(path) as client:
                    talk(self, client)
                server.process.terminate()
                self.assertEqual(server.status(), 0)
            self.assertTrue(os.path.exists(path))  # systemd's, and not the server's to remove

    def test_a_process_for_each_connection(self):
        with activated(unit("echo-each.socket"), unit("echo-each@.service")) as server:
            talk_each_to_its_own(self, lambda: Peer.dial(server.address), server.process)
            server.process.terminate()
            server.status()

    def test_the_listening_socket_as_standard_input(self):
        service = unit("echo.service")
        service["Service"]["ExecStart"] = f"{programs.echo_server} fd:0"
        service["Service"]["StandardInput"] = "socket"
        with activated(unit("echo.socket"), service) as server:
            with Peer.dial(server.address) as client:
                talk(self, client)
            server.process.terminate()
            self.assertEqual(server.status(), 0)


@unittest.skipUnless(shutil.which("systemd-analyze"), "there is no systemd-analyze")
class Units(unittest.TestCase):
    def test_systemd_has_nothing_to_say_of_them(self):
        with tempfile.TemporaryDirectory() as room:
            units = [path for path in folder().iterdir() if path.suffix in (".service", ".socket")]
            self.assertEqual(len(units), 4)
            for path in units:
                write_configuration(room, with_paths(path.read_text(encoding="utf-8")), path.name)
            done = subprocess.run(
                ["systemd-analyze", "verify", *(os.path.join(room, path.name) for path in units)],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE,
                check=False,
            )
            self.assertEqual((done.returncode, done.stdout), (0, ""))


inetd = shutil.which("inetutils-inetd", path=os.environ.get("PATH", "") + ":/usr/sbin")


@unittest.skipUnless(inetd, "there is no inetutils-inetd")
class UnderInetd(unittest.TestCase):
    def setUp(self):
        room = tempfile.TemporaryDirectory()
        self.addCleanup(room.cleanup)
        for _ in range(ATTEMPTS):
            self.start(room.name)
            said = self.inetd.err.text
            wait_until(lambda: "bind failed" in said() or said().count("registered ") == 2, "inetd")
            if "bind failed" not in said():
                break
            self.stop()
        self.addCleanup(self.stop)

    def start(self, room):
        text = with_paths((folder() / "inetd.conf").read_text(encoding="utf-8"))
        self.each, self.one = (f"127.0.0.1:{free_port()}" for _ in range(2))
        text = text.replace("127.0.0.1:5000", self.each).replace("127.0.0.1:5001", self.one)
        text = text.replace(" nobody ", f" {pwd.getpwuid(os.getuid()).pw_name} ")
        path = write_configuration(room, text)
        self.inetd = Program(inetd, "--debug", "--pidfile", os.path.join(room, "pid"), path)

    def stop(self):
        """And with it the servers that it has started."""
        for child in children_of(self.inetd.process):
            os.kill(child, signal.SIGKILL)
        self.inetd.__exit__()

    def dial(self, address):
        client = Peer.dial(address)
        self.addCleanup(client.close)
        return client

    def test_a_process_for_each_connection(self):
        talk_each_to_its_own(self, lambda: Peer.dial(self.each), self.inetd.process)

    def test_one_server_for_all_and_another_when_it_has_ended(self):
        for _ in range(2):
            clients = [self.dial(self.one) for _ in range(3)]
            for client in reversed(clients):
                client.say(b"hello")
                self.assertEqual(client.hear(), b"hello")
            servers = children_of(self.inetd.process)
            self.assertEqual(len(servers), 1)
            os.kill(servers[0], signal.SIGTERM)
            self.assertEqual([client.hear_all() for client in clients], [[]] * 3)
            wait_until(lambda: not children_of(self.inetd.process), "inetd to see the end")


class Restarted(unittest.TestCase):
    def setUp(self):
        self.door = socket.create_server(("127.0.0.1", 0), backlog=4 * WAITING)
        self.addCleanup(self.door.close)
        self.fd = self.door.fileno()

    def serve(self):
        return serve(address=f"fd:{self.fd}", pass_fds=[self.fd])

    def test_who_connects_while_no_server_runs_is_answered_by_the_next(self):
        for _ in range(3):
            with self.serve() as server:
                with server.client() as client:
                    client.say(b"hello")
                    self.assertEqual(client.hear(), b"hello")
                self.assertEqual(server.stop(), 0)
                address = server.address
            with contextlib.ExitStack() as stack:
                clients = [stack.enter_context(Peer.dial(address)) for _ in range(WAITING)]
                for number, client in enumerate(clients):
                    client.say(b"%d" % number, b"x" * 10_000)
                clients[0].end_sending()
                server = stack.enter_context(self.serve())
                self.assertEqual(server.address, address)
                for number, client in enumerate(clients):
                    self.assertEqual(client.hear(), b"%d" % number)
                    self.assertEqual(client.hear(), b"x" * 10_000)
                self.assertEqual(clients[0].hear_all(), [])

    def test_a_server_that_was_killed_leaves_the_queue_as_it_is(self):
        with self.serve() as server:
            server.process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, server.process.pid, os.WSTOPPED | os.WNOWAIT)
            clients = [server.client() for _ in range(WAITING)]
            for number, client in enumerate(clients):
                client.say(b"%d" % number)
            server.process.kill()
            server.status()
            with self.serve():
                for number, client in enumerate(clients):
                    self.assertEqual(client.hear(), b"%d" % number)


class Supervised(unittest.TestCase):
    """By docs/handed-down/supervise.py, under load."""

    CLIENTS = 6

    def setUp(self):
        script = folder() / "supervise.py"
        command = [programs.echo_server, "fd:3"]
        self.supervisor = Program(sys.executable, script, "127.0.0.1:0", *command)
        self.addCleanup(self.stop)
        self.supervisor.out.wait_for("\n")
        self.address = self.supervisor.out.text().split("\n")[0][len("listening on ") :]
        self.over = threading.Event()
        self.clients = [
            Client(self.address, f"client{number}", self.over) for number in range(self.CLIENTS)
        ]

    def stop(self):
        self.supervisor.process.terminate()  # and with it the server
        status = self.supervisor.status()
        self.supervisor.__exit__()
        self.assertEqual(status, 0)

    def wait_for_server(self, count):
        """Until so many have said that they listen, after the supervisor itself."""
        line = f"listening on {self.address}\n"
        out = self.supervisor.out
        wait_until(lambda: out.text().count(line) == count + 1, f"server number {count}")

    def get_on(self):
        before = [len(client.heard) for client in self.clients]
        wait_until(
            lambda: all(len(c.heard) > b + 50 or c.error for c, b in zip(self.clients, before)),
            "the clients to get on",
        )

    def finish(self):
        self.over.set()
        for client in self.clients:
            client.join(120)
            self.assertFalse(client.is_alive())
            self.assertIsNone(client.error)
            wanted = [f"{client.label} {number}" for number in range(len(client.heard))]
            self.assertEqual([message for _, message in client.heard], wanted)
            self.assertGreater(client.connections, 1)

    def test_servers_are_replaced_and_killed_and_no_connection_is_refused(self):
        self.wait_for_server(1)
        for client in self.clients:
            client.start()
        for count in range(2, 5):
            self.get_on()
            self.supervisor.process.send_signal(signal.SIGHUP)
            self.wait_for_server(count)
        supervisor = self.supervisor.process
        wait_until(lambda: len(children_of(supervisor)) == 1, "the end of the old server")
        self.get_on()
        os.kill(children_of(supervisor)[0], signal.SIGKILL)
        self.wait_for_server(5)
        self.get_on()
        self.finish()


def build_echo_each(given):
    """The program of the page, as it stands there."""
    pages.given = given
    source, = filter(pages.is_program, pages.blocks(docs / "handed-down.md", "c"))
    made = pages.compile_c(source, built / "echo_each")
    if made.returncode != 0:
        sys.exit(made.stderr)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("echo_server")
    parser.add_argument("docs", type=pathlib.Path)
    parser.add_argument("--cc", nargs="+", default=["cc"])
    parser.add_argument("--library", required=True)
    arguments, rest = parser.parse_known_args()
    programs.echo_server = os.path.abspath(arguments.echo_server)
    docs = arguments.docs
    faulthandler.dump_traceback_later(600, exit=True)  # a last guard: each wait has its own limit
    with tempfile.TemporaryDirectory() as place:
        built = pathlib.Path(place)
        build_echo_each(arguments)
        unittest.main(argv=[sys.argv[0], *rest])
