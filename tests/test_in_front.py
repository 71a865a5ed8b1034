# SPDX-License-Identifier: MIT
"""echo_servers behind the proxies of docs/scaling.md, by the configurations that it shows:
test_in_front.py ECHO_SERVER DOCS_DIR [unittest's arguments]."""

import collections
import faulthandler
import os
import pathlib
import re
import shutil
import socket
import sys
import tempfile
import threading
import unittest

sys.dont_write_bytecode = True  # the source folder stays as it is

from chat_helpers import Peer, programs, serve, wait_until
from proxy_helpers import Proxy, free_port, write_configuration

ENOUGH = 3  # servers, as the configurations say
CLIENTS = 6
MESSAGES = 400  # of each client, at least
WINDOW = 8  # messages that a client has on their way

docs = pathlib.Path()


class Servers:
    """The three servers; each can be stopped and started again where it was."""

    def __init__(self):
        self.running = [serve("--proxy", "--verbose") for _ in range(ENOUGH)]
        self.logs = []

    def restart(self, number):
        server = self.running[number]
        if server.stop() != 0:
            raise AssertionError(server.err.text())
        self.logs.append(server.out.text())
        server.__exit__()
        self.running[number] = serve("--proxy", "--verbose", address=server.address)

    def log(self):
        """What all that ran have printed, each line "CLIENT: MESSAGE"."""
        return "".join(self.logs) + "".join(server.out.text() for server in self.running)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for server in self.running:
            server.__exit__(*error)


def with_addresses(name, servers):
    text = (docs / "scaling" / name).read_text(encoding="utf-8")
    for number, server in enumerate(servers.running):
        wanted = "127.0.0.1:%d" % (5001 + number)
        assert text.count(wanted) == 1
        text = text.replace(wanted, server.address)
    return text


class Client(threading.Thread):
    """Sends numbers, and again those that were not answered when its connection ended."""

    def __init__(self, address, name, over):
        super().__init__(daemon=True)
        self.address, self.label, self.over = address, name, over
        self.heard = []  # each with the name of the connection it came through
        self.connections = 0
        self.error = None

    def run(self):
        try:
            while len(self.heard) < MESSAGES or not self.over.is_set():
                self.talk()
        except Exception as error:  # told by the test, in its own thread
            self.error = error

    def talk(self):
        with Peer.dial(self.address) as peer:
            self.connections += 1
            waiting = collections.deque()
            following = len(self.heard)
            sending = True
            while sending or waiting:
                done = len(self.heard) >= MESSAGES and self.over.is_set()
                while sending and not done and len(waiting) < WINDOW:
                    message = b"%s %d" % (self.label.encode(), following)
                    try:
                        peer.say(message)
                    except OSError:
                        sending = False  # what was answered before is read still
                        break
                    waiting.append(message)
                    following += 1
                sending = sending and not done
                if not waiting:
                    return
                try:
                    answer = peer.hear()
                except OSError:
                    return
                if answer is None:
                    return
                if answer != waiting.popleft():
                    raise AssertionError(f"{answer!r} comes out of turn")
                self.heard.append((peer.name(), answer.decode()))


def rolling_restart(test, address, servers):
    over = threading.Event()
    clients = [Client(address, f"client{number}", over) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    for number in range(ENOUGH):
        before = [len(client.heard) for client in clients]
        wait_until(
            lambda: all(len(c.heard) > b + 50 or c.error for c, b in zip(clients, before)),
            "the clients to get on",
        )
        servers.restart(number)
    over.set()
    for client in clients:
        client.join(120)
        test.assertFalse(client.is_alive())
        test.assertIsNone(client.error)
        wanted = [f"{client.label} {number}" for number in range(len(client.heard))]
        test.assertEqual([message for _, message in client.heard], wanted)
    test.assertGreater(sum(client.connections for client in clients), CLIENTS)
    heard = {said for client in clients for said in client.heard}

    def logged():
        return re.findall(r"^(\S+): (client\d+ \d+)$", servers.log(), re.MULTILINE)

    wait_until(lambda: len(logged()) >= len(heard), "what the servers say of it, in their pipes")
    # What a server has answered, its client has heard, and from the client that it names.
    test.assertEqual(set(logged()) - heard, set())


def talk_through(test, address, servers):
    with Peer.dial(address) as client:
        messages = [b"hello", b"", b"x" * 3_000_000, b"bye"]
        for message in messages:
            client.say(message)
            test.assertEqual(client.hear(), message)
        test.assertIn(f"{client.name()}: hello\n", servers.log())
        client.say(*messages)
        client.end_sending()
        test.assertEqual(client.hear_all(), messages)


@unittest.skipUnless(shutil.which("haproxy"), "there is no haproxy")
class BehindHAProxy(unittest.TestCase):
    def proxy(self, servers, folder, change=lambda text: text):
        door = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(door.close)
        text = change(with_addresses("haproxy.cfg", servers))
        assert text.count("bind 127.0.0.1:5000") == 1
        text = text.replace("bind 127.0.0.1:5000", f"bind fd@{door.fileno()}")
        path = write_configuration(folder, text)
        address = "127.0.0.1:%d" % door.getsockname()[1]
        return Proxy(address, "haproxy", "-db", "-f", path, pass_fds=[door.fileno()])

    def test_the_client_is_named_and_answered(self):
        with tempfile.TemporaryDirectory() as folder, Servers() as servers:
            with self.proxy(servers, folder) as proxy:
                talk_through(self, proxy.address, servers)

    def test_by_version_1_of_the_header(self):
        def change(text):
            return text.replace("send-proxy-v2", "send-proxy")

        with tempfile.TemporaryDirectory() as folder, Servers() as servers:
            with self.proxy(servers, folder, change) as proxy:
                talk_through(self, proxy.address, servers)

    def test_with_a_checksum_and_more_in_the_header(self):
        def change(text):
            return text.replace(
                "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"
            ).replace("bind ", "unique-id-format %{+X}o%ci:%cp_%rt\n    bind ")

        with tempfile.TemporaryDirectory() as folder, Servers() as servers:
            with self.proxy(servers, folder, change) as proxy:
                talk_through(self, proxy.address, servers)

    def test_no_answer_is_lost_when_each_server_is_restarted_under_load(self):
        with tempfile.TemporaryDirectory() as folder, Servers() as servers:
            with self.proxy(servers, folder) as proxy:
                rolling_restart(self, proxy.address, servers)


def stream_module():
    """Where nginx can't do it without: the line that loads what can."""
    path = "/usr/lib/nginx/modules/ngx_stream_module.so"
    return f"load_module {path};\n" if os.path.exists(path) else ""


@unittest.skipUnless(shutil.which("nginx"), "there is no nginx")
class BehindNginx(unittest.TestCase):
    def proxy(self, servers, folder):
        address = f"127.0.0.1:{free_port()}"
        text = with_addresses("nginx.conf", servers)
        assert text.count("listen 127.0.0.1:5000") == 1
        text = text.replace("listen 127.0.0.1:5000", f"listen {address}")
        text = stream_module() + f"daemon off;\npid {folder}/pid;\n" + text
        path = write_configuration(folder, text)
        return Proxy(address, "nginx", "-c", path, "-p", folder, "-e", "stderr")

    def test_the_client_is_named_and_answered(self):
        with tempfile.TemporaryDirectory() as folder, Servers() as servers:
            with self.proxy(servers, folder) as proxy:
                talk_through(self, proxy.address, servers)

    def test_no_answer_is_lost_when_each_server_is_restarted_under_load(self):
        with tempfile.TemporaryDirectory() as folder, Servers() as servers:
            with self.proxy(servers, folder) as proxy:
                rolling_restart(self, proxy.address, servers)


if __name__ == "__main__":
    programs.echo_server = os.path.abspath(sys.argv[1])
    docs = pathlib.Path(sys.argv[2])
    faulthandler.dump_traceback_later(600, exit=True)  # a last guard: each wait has its own limit
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
