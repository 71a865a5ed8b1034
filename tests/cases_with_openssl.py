# SPDX-License-Identifier: MIT
"""The codec under TLS: the example's server and client, with each other and with Python's ssl."""

import os
import shutil
import ssl
import subprocess
import tempfile
import unittest

from cases_with_server import LARGE, bytes_of, program
from chat_helpers import PATIENCE, Host, Program, Server, frame

CA, SERVER, CLIENT, ELSEWHERE, STRANGER = "ca", "server", "client", "elsewhere", "stranger"


class WithOpenssl(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.program = program("with_openssl")
        if shutil.which("openssl") is None:
            raise unittest.SkipTest("there is no openssl(1) to make certificates with")
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.certify(CA)
        cls.certify(SERVER, "IP:127.0.0.1,DNS:localhost", issuer=CA)
        cls.certify(CLIENT, "DNS:client", issuer=CA)
        cls.certify(ELSEWHERE, "DNS:elsewhere.example", issuer=CA)
        cls.certify(STRANGER, "IP:127.0.0.1")

    @classmethod
    def file(cls, name, kind):
        return os.path.join(cls.folder.name, f"{name}.{kind}")

    @classmethod
    def certify(cls, name, names=None, issuer=None):
        """A key and a certificate, which it signs itself if there is no issuer."""
        key, certificate = cls.file(name, "key"), cls.file(name, "pem")
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"]
        command += ["ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
        command += ["-keyout", key, "-out", certificate]
        if names:
            command += ["-addext", "subjectAltName=" + names]
        if issuer:
            command += ["-CA", cls.file(issuer, "pem"), "-CAkey", cls.file(issuer, "key")]
            command += ["-addext", "basicConstraints=critical,CA:FALSE"]
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)

    def files(self, name, authority=CA):
        return self.file(name, "pem"), self.file(name, "key"), self.file(authority, "pem")

    def serve(self, name=SERVER):
        return Server(self.program, "server", *self.files(name))

    def client(self, server, name=CLIENT, authority=CA):
        return Program(self.program, "client", *self.files(name, authority), server.address)

    def peer(self, server, name=CLIENT):
        """Python's own TLS, as a client."""
        context = ssl.create_default_context(cafile=self.file(CA, "pem"))
        if name:
            context.load_cert_chain(self.file(name, "pem"), self.file(name, "key"))
        plain = server.client()
        plain.sock = context.wrap_socket(plain.sock, server_hostname="127.0.0.1")
        return plain

    def assert_echo(self, client, *messages):
        client.say(*messages)
        for message in messages:
            self.assertTrue(client.hear() == message)

    def assert_serves(self, server):
        with self.peer(server) as client:
            self.assert_echo(client, b"hello")

    def test_the_two_sides(self):
        lines = [b"hello", b"", "Grüße, 世界".encode(), bytes_of(1, LARGE), b"the last"]
        with self.serve() as server, self.client(server) as chat:
            chat.say(b"hello\n")
            chat.out.wait_for(b"hello\n")
            for line in lines[1:]:
                chat.say(line + b"\n")
            chat.end_input()
            self.assertEqual(chat.status(), 0)
            self.assertTrue(chat.out.all() == b"".join(line + b"\n" for line in lines))
            self.assertEqual((chat.err.all(), server.err.bytes()), (b"", b""))

    def test_nothing_to_say(self):
        with self.serve() as server, self.client(server) as chat:
            chat.end_input()
            self.assertEqual((chat.status(), chat.err.all()), (0, b""))

    def test_on_the_wire_is_what_everybody_frames(self):
        with self.serve() as server, self.peer(server) as client:
            messages = [b"%d" % number * (number % 50) for number in range(3000)]
            self.assert_echo(client, *messages)
            self.assert_echo(client, bytes_of(1, LARGE), b"", b"x")
            for byte in frame(b"slowly") + frame(b""):
                client.raw(bytes([byte]))
            self.assertEqual([client.hear(), client.hear()], [b"slowly", b""])

    def test_several_clients_at_once(self):
        with self.serve() as server:
            clients = [self.peer(server) for _ in range(10)]
            for number, client in enumerate(clients):
                client.say(b"%d" % number, bytes_of(number, 100_000))
            for number, client in reversed(list(enumerate(clients))):
                heard = [client.hear(), client.hear()]
                self.assertEqual(heard, [b"%d" % number, bytes_of(number, 100_000)])

    def test_an_end_is_clean_only_with_a_close_notify(self):
        with self.serve() as server:
            with self.peer(server) as client:
                self.assert_echo(client, b"hello")
                client.sock.unwrap().close()
            self.assert_serves(server)
            with self.peer(server) as client:
                self.assert_echo(client, b"hello")
                client.end_sending()  # of TCP
                server.err.wait_for("lost")
            with self.peer(server) as client:
                client.raw(frame(b"half a message")[:10])
                client.sock.unwrap().close()
                server.err.wait_for("inside a message")
            self.assert_serves(server)

    def test_nonsense_inside_of_tls(self):
        with self.serve() as server:
            for nonsense in b"GET / HTTP/1.1\r\n\r\n", b"\xff\xff\xff\xff":
                with self.peer(server) as client:
                    client.raw(nonsense)
                    server.err.wait_for("too long")
                self.assert_serves(server)

    def test_nonsense_outside_of_it(self):
        with self.serve() as server:
            for nonsense in frame(b"hello"), b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 1000:
                with server.client() as client:
                    client.raw(nonsense)
                    server.err.wait_for("a client was lost")
                self.assert_serves(server)

    def test_the_server_wants_a_certificate_of_its_authority(self):
        with self.serve() as server:
            for name in None, STRANGER:
                with self.subTest(name), self.assertRaises((ssl.SSLError, ConnectionError)):
                    client = self.peer(server, name)  # TLS 1.3: a client learns of it by reading
                    client.say(b"hello")
                    client.hear()
            with self.client(server, STRANGER) as chat:
                chat.say("hello\n")
                self.assertEqual(chat.status(), 1)
                self.assertEqual(chat.out.all(), b"")
            self.assert_serves(server)

    def test_the_client_wants_the_certificate_of_the_host(self):
        for name in ELSEWHERE, STRANGER:
            with self.subTest(name), self.serve(name) as server, self.client(server) as chat:
                self.assertEqual(chat.status(), 1)
                chat.err.wait_for("certificate verify failed")

    def test_the_client_wants_it_by_name_as_well(self):
        with self.serve() as server:
            server.address = server.address.replace("127.0.0.1", "localhost")
            with self.client(server) as chat:
                chat.say("hello\n")
                chat.end_input()
                self.assertEqual((chat.status(), chat.out.all()), (0, b"hello\n"))

    def test_a_server_that_speaks_no_tls(self):
        with Host() as host, self.client(host) as chat, host.accept() as peer:
            peer.say(b"hello")
            self.assertEqual(chat.status(), 1)
            chat.err.wait_for("can't connect")
