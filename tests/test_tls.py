# SPDX-License-Identifier: MIT
"""TLS ended beside both programs, by the recipe of docs/tls.md: test_tls.py ECHO_SERVER CHAT_CLIENT
DOCS_DIR [unittest's arguments]."""

import contextlib
import faulthandler
import os
import pathlib
import shutil
import ssl
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True  # the source folder stays as it is

from chat_helpers import PATIENCE, Peer, chat, programs, serve
from proxy_helpers import Proxy, free_port, write_configuration

docs = pathlib.Path()


def make_certificates(folder):
    script = docs / "tls" / "certificates.sh"
    subprocess.run(
        ["sh", script.resolve()], cwd=folder, check=True, capture_output=True, timeout=PATIENCE
    )


def configuration(name, folder, **replaced):
    """A configuration of the docs with other addresses, and the folder's certificates."""
    text = (docs / "tls" / name).read_text(encoding="utf-8")
    for port, address in replaced.items():
        wanted = "127.0.0.1:" + port.removeprefix("port_")
        assert text.count(wanted) == 1, wanted
        text = text.replace(wanted, address)
    for file in ("server.pem", "client.pem", "ca.crt"):
        text = text.replace(f" {file}", f" {folder}/{file}")
    return write_configuration(folder, text, name)


def command_of(tool, path):
    return ["haproxy", "-db", "-f", path] if tool == "haproxy" else ["stunnel4", path]


class Way:
    """A server, TLS on its side, TLS on the client's side: where a client dials."""

    def __init__(self, tool, stack):
        ending = "cfg" if tool == "haproxy" else "conf"
        self.folder = stack.enter_context(tempfile.TemporaryDirectory())
        make_certificates(self.folder)
        self.server = stack.enter_context(serve("--proxy", "--verbose"))
        self.outside = f"127.0.0.1:{free_port()}"
        inside = f"127.0.0.1:{free_port()}"
        path = configuration(
            f"{tool}-server.{ending}",
            self.folder,
            port_5443=self.outside,
            port_5001=self.server.address,
        )
        stack.enter_context(Proxy(self.outside, *command_of(tool, path)))
        path = configuration(
            f"{tool}-client.{ending}", self.folder, port_5443=self.outside, port_5000=inside
        )
        self.inside = inside
        self.client_side = stack.enter_context(Proxy(inside, *command_of(tool, path)))


class ByTLS:
    """What is true of each tool."""

    tool = ""

    def setUp(self):
        if not shutil.which(command_of(self.tool, "")[0]):
            self.skipTest(f"there is no {self.tool}")
        stack = self.enterContext(contextlib.ExitStack())
        self.way = Way(self.tool, stack)

    def test_messages_go_there_and_back(self):
        messages = [b"hello", b"", b"x" * 3_000_000, *(b"%d" % n for n in range(2000))]
        with Peer.dial(self.way.inside) as client:
            for message in messages[:3]:
                client.say(message)
                self.assertEqual(client.hear(), message)
            client.say(*messages[3:])
            for message in messages[3:]:
                self.assertEqual(client.hear(), message)

    def test_a_chat(self):
        with chat(self.way.inside) as client:
            client.say("one\ntwo\n")
            client.out.wait_for("one\ntwo\n")
            client.end_input()
            self.assertEqual(client.status(), 0)
        self.way.server.out.wait_for(": two\n")

    def test_what_crosses_the_wire_is_TLS(self):
        context = ssl.create_default_context(cafile=f"{self.way.folder}/ca.crt")
        context.load_cert_chain(f"{self.way.folder}/client.pem")
        host, port = self.way.outside.rsplit(":", 1)
        with Peer.dial(f"{host}:{port}") as raw:
            with context.wrap_socket(raw.sock, server_hostname="server.example") as sock:
                self.assertEqual(sock.version(), "TLSv1.3")
                client = Peer(sock)
                client.say(b"hello")
                self.assertEqual(client.hear(), b"hello")
                self.way.server.out.wait_for(f"{client.name()}: hello\n")

    def refused(self, context):
        """Whether a client with these certificates gets no answer; TLS 1.3 tells it late."""
        with Peer.dial(self.way.outside) as raw:
            try:
                with context.wrap_socket(raw.sock, server_hostname="server.example") as sock:
                    client = Peer(sock)
                    client.say(b"let me in")
                    return client.hear() is None
            except OSError:
                return True

    def test_who_has_no_certificate_of_ours_stays_outside(self):
        context = ssl.create_default_context(cafile=f"{self.way.folder}/ca.crt")
        self.assertTrue(self.refused(context))
        with tempfile.TemporaryDirectory() as other:
            make_certificates(other)
            context.load_cert_chain(f"{other}/client.pem")
            self.assertTrue(self.refused(context))
        self.assertNotIn("let me in", self.way.server.out.text())

    def test_a_client_talks_to_no_other_server(self):
        with tempfile.TemporaryDirectory() as other:
            make_certificates(other)
            text = pathlib.Path(self.client_configuration()).read_text(encoding="utf-8")
            strange = f"127.0.0.1:{free_port()}"
            text = text.replace(self.way.inside, strange).replace(
                f"{self.way.folder}/", f"{other}/"
            )
            path = write_configuration(other, text)
            with Proxy(strange, *command_of(self.tool, path)):
                with Peer.dial(strange) as client:
                    with contextlib.suppress(OSError):
                        client.say(b"to whom?")
                        self.assertIsNone(client.hear())
        self.assertNotIn("to whom?", self.way.server.out.text())

    def test_a_half_closed_connection_gets_its_answers(self):
        messages = [b"%d" % number for number in range(1000)]
        with Peer.dial(self.way.inside) as client:
            client.say(*messages)
            client.end_sending()
            self.assertEqual(client.hear_all(), messages)

    def client_configuration(self):
        return f"{self.way.folder}/{self.tool}-client.{'cfg' if self.tool == 'haproxy' else 'conf'}"


class ByHAProxy(ByTLS, unittest.TestCase):
    tool = "haproxy"


class ByStunnel(ByTLS, unittest.TestCase):
    tool = "stunnel"


if __name__ == "__main__":
    programs.echo_server, programs.chat_client = map(os.path.abspath, sys.argv[1:3])
    docs = pathlib.Path(sys.argv[3])
    faulthandler.dump_traceback_later(600, exit=True)  # a last guard: each wait has its own limit
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]])
