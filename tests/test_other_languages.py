# SPDX-License-Identifier: MIT
"""Real peers in other languages against our two examples, and our examples against them.

usage: test_other_languages.py ECHO_SERVER CHAT_CLIENT ROOM [unittest's arguments]

Each peer is a small program in peers/, written as its language does it. What needs a compiler is
built in ROOM. A peer whose tool is missing is left out; without any, the status is 77. They know:

  serve            an echo server on a free port of 127.0.0.1, which it prints; to "leave" it
                   closes without an answer, to "cut" it sends a part of a message and closes
  talk PORT WORD…  sends messages, COUNTxLENGTH each word, half-closes when all are said, and
                   expects the same back and then a clean end. It reads while it writes
  leave PORT       says hello, hears it, and closes
  cut PORT         sends a part of a message, and closes
  version          prints what it is
  reframe          only where a library does other framings as well: to each line of standard
                   input, WIDTH ORDER COUNTING BYTES, prints how many messages these are, the
                   messages, and their bytes as it writes them itself
"""

import contextlib
import faulthandler
import fcntl
import glob
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import unittest

sys.dont_write_bytecode = True  # the source folder stays as it is

from chat_helpers import Program, Server, chat, programs, run, serve

PEERS = pathlib.Path(__file__).resolve().parent / "peers"
JARS = "/usr/share/java/netty-{}.jar"
CRATES = "/usr/share/cargo/registry"
BUILD_S = 900  # a compiler's time, on a loaded machine

MANY = 5000
PART = "inside a message, after 10 of its 100 bytes"  # what all of them cut off alike

MANIFEST = """[package]
name = "length_delimited"
version = "0.0.0"
edition = "2021"

[[bin]]
name = "length_delimited"
path = "{}"

[dependencies]
bytes = "1"
futures-util = {{ version = "0.3", default-features = false, features = ["sink"] }}
tokio = {{ version = "1", features = ["io-util", "net", "rt"] }}
tokio-util = {{ version = "0.7", features = ["codec"] }}

[workspace]
"""

room = None  # where peers are built


class Missing(Exception):
    """What a peer needs is not here."""


def tool(name):
    path = shutil.which(name)
    if path is None:
        raise Missing(f"no {name}")
    return path


def build(*command, **variables):
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=BUILD_S)
    if done.returncode != 0:
        raise AssertionError(f"{command}:\n{done.stdout}{done.stderr}")


def erlang():
    return [tool("escript"), PEERS / "packet4.escript"]


def golang():
    out = room / "binary_go"
    variables = {"CGO_ENABLED": "0", "GO111MODULE": "off", "GOCACHE": str(room / "go-cache")}
    build(tool("go"), "build", "-o", out, PEERS / "binary.go", **variables)
    return [out]


def asyncio():
    return [sys.executable, "-B", PEERS / "streams.py"]


def twisted():
    """Debian's is for Debian's Python, which another may hide."""
    for python in sys.executable, "/usr/bin/python3":
        with contextlib.suppress(OSError):
            if run(python, "-c", "import twisted")[0] == 0:
                return [python, "-B", PEERS / "int32.py"]
    raise Missing("no Twisted")


def tokio():
    """With Debian's compiler, for Debian's crates are as old as it is. Nothing is fetched."""
    cargo, rustc = "/usr/bin/cargo", "/usr/bin/rustc"
    if not (os.path.exists(cargo) and os.path.exists(rustc) and glob.glob(CRATES + "/tokio-util*")):
        raise Missing("no cargo, rustc or tokio-util of Debian's")
    tool("cc")  # it links
    manifest = room / "Cargo.toml"
    manifest.write_text(MANIFEST.format(PEERS / "length_delimited.rs"), encoding="utf-8")
    build(cargo, "build", "--offline", "--quiet", "--manifest-path", manifest, "--target-dir",
          room / "target", "--config", 'source.crates-io.replace-with="debian"',
          "--config", f'source.debian.directory="{CRATES}"',
          CARGO_HOME=str(room / "cargo-home"), RUSTC=rustc)
    return [room / "target" / "debug" / "length_delimited"]


def netty():
    parts = "buffer", "codec", "common", "handler", "resolver", "transport"
    jars = [JARS.format(part) for part in parts]
    java, javac = tool("java"), tool("javac")
    if not all(map(os.path.exists, jars)):
        raise Missing("no Netty")
    build(javac, "-cp", ":".join(jars), "-d", room, PEERS / "LengthField.java")
    quick = "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx256m"
    return [java, *quick, "-cp", ":".join([*jars, str(room)]), "LengthField"]


def in_words(messages):
    """What a peer that has had such messages back prints."""
    return b"%d messages, %d bytes\n" % (len(messages), sum(messages))


class Scenes:
    """What each peer does with ours."""

    made = None  # its command, or why there is none

    def make(self):
        raise NotImplementedError

    def setUp(self):
        cls = type(self)
        if cls.made is None:
            try:
                cls.made = list(map(str, cls.make()))
            except (Missing, AssertionError, subprocess.SubprocessError) as trouble:
                cls.made = trouble  # which the next test would have again
        if isinstance(cls.made, Missing):
            self.skipTest(str(cls.made))
        if isinstance(cls.made, Exception):
            raise cls.made

    def peer(self, word, server, *words):
        """Runs it as a client, and returns what it printed."""
        port = server.address.rpartition(":")[2]
        status, out, err = run(*self.made, word, port, *words)
        self.assertEqual(status, 0, err)
        return out

    def talk(self, server, *pairs):
        lengths = [length for count, length in pairs for _ in range(count)]
        said = self.peer("talk", server, *(f"{count}x{length}" for count, length in pairs))
        self.assertEqual(said, in_words(lengths))

    def serve(self):
        return Server(*self.made, address="serve")

    def test_it_talks_to_our_server(self):
        with serve() as server:
            self.talk(server, (1, 0))
            self.talk(server, (1, 1), (3, 0), (1, 65536), (1, 1 << 20), (1, 5))
            self.talk(server, (MANY, 7), (1, 0), (MANY, 300))
            self.assertEqual(server.stop(), 0)
            self.assertEqual(server.err.all(), b"")

    def test_it_leaves_our_server(self):
        with serve("--verbose") as server:
            self.peer("leave", server)
            server.err.wait_for("the peer ended the connection\n")
            self.assertEqual(server.stop(), 0)

    def test_it_is_told_of_when_it_cuts(self):
        with serve() as server:
            self.peer("cut", server)
            server.err.wait_for(PART)
            self.talk(server, (10, 100))  # the others are served on
            self.assertEqual(server.stop(), 0)

    def test_our_client_talks_to_it(self):
        lines = [b"", b"x", b"", b"y" * 65536, b"z" * (1 << 20)]
        lines += [b"line %d" % number for number in range(MANY)]
        said = b"".join(line + b"\n" for line in lines)
        with self.serve() as server:
            for text in said, b"\n", b"":
                with chat(server.address) as client:
                    client.say(text)
                    client.end_input()
                    self.assertEqual((client.status(), client.err.all()), (0, b""))
                    self.assertEqual(client.out.all(), text)

    def expect_our_client_told(self, word, sentence):
        with self.serve() as server, chat(server.address) as client:
            client.say("hello\n")
            client.out.wait_for("hello\n")
            client.say(word + "\n")
            self.assertEqual(client.status(), 1)
            self.assertEqual(client.err.all(), b"chat_client: %s\n" % sentence.encode())
            self.assertEqual(client.out.all(), b"hello\n")

    def test_it_leaves_our_client(self):
        self.expect_our_client_told("leave", "the peer ended the connection")

    def test_it_cuts_off_our_client(self):
        self.expect_our_client_told("cut", "the peer ended the connection, " + PART)


class Reframes:
    """That others read and write the streams of vectors/ as they stand there."""

    widths = ()

    def lines_and_answers(self):
        groups = json.loads((PEERS.parent / "vectors" / "streams.json").read_text("ascii"))
        for group in groups:
            framing = group["framing"]
            counting = "counting" if framing["counts_prefix"] else "plain"
            for stream in group["streams"] if framing["width"] in self.widths else ():
                if stream["sender"]:
                    messages = stream["messages"]
                    wire = stream["wire"]
                    line = f"{framing['width']} {framing['byte_order']} {counting} {wire}"
                    yield line, f"{len(messages)} {','.join(messages)} {wire}"

    def test_it_reads_and_writes_the_vectors(self):
        lines, answers = zip(*self.lines_and_answers())
        with Program(*self.made, "reframe") as peer:
            peer.say("".join(line + "\n" for line in lines))
            peer.end_input()
            self.assertEqual(peer.status(), 0, peer.err.text())
            said = peer.out.all().decode().splitlines()
        self.assertGreater(len(lines), 100)
        self.assertEqual(said, list(answers))


class Erlang(Scenes, unittest.TestCase):
    make = staticmethod(erlang)


class Go(Scenes, unittest.TestCase):
    make = staticmethod(golang)


class Asyncio(Scenes, unittest.TestCase):
    make = staticmethod(asyncio)


class Twisted(Scenes, unittest.TestCase):
    make = staticmethod(twisted)


class TokioUtil(Scenes, Reframes, unittest.TestCase):
    widths = 1, 2, 3, 4, 8
    make = staticmethod(tokio)


class Netty(Scenes, Reframes, unittest.TestCase):
    widths = 1, 2, 3, 4, 8, "varint"
    make = staticmethod(netty)


def versions():
    """What was met, or why not."""
    for cls in Scenes.__subclasses__():
        if isinstance(cls.made, Missing):
            yield f"{cls.__name__}: {cls.made}"
        elif isinstance(cls.made, Exception) or cls.made is None:
            continue
        elif cls is TokioUtil:
            lock = (room / "Cargo.lock").read_text(encoding="utf-8")
            yield "tokio-util " + re.search(r'"tokio-util"\nversion = "(.*)"', lock)[1]
        else:
            yield run(*cls.made, "version")[1].decode().strip()


def main(echo_server, chat_client, folder, *arguments):
    global room
    programs.echo_server, programs.chat_client = map(os.path.abspath, (echo_server, chat_client))
    room = pathlib.Path(folder).resolve()
    room.mkdir(parents=True, exist_ok=True)
    faulthandler.dump_traceback_later(1700, exit=True)  # a last guard: each wait has its own limit
    with open(room / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run would build at the same place
        tests = unittest.main(argv=[sys.argv[0], *arguments], exit=False).result
    print("; ".join(versions()))
    if tests.testsRun == len(tests.skipped):
        return 77
    return 0 if tests.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
