# SPDX-License-Identifier: MIT
"""What the tests of the two examples stand on: programs, sockets, a terminal. Every wait ends."""

import contextlib
import fcntl
import os
import select
import signal
import socket
import struct
import subprocess
import termios
import threading
import time
import types

PATIENCE = 60  # seconds, for what should take none: the machine may be loaded

programs = types.SimpleNamespace(echo_server="", chat_client="")  # their paths


def wait_until(true, what):
    """Waits for what has no descriptor to wait on."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain for {what}")
        time.sleep(0.01)


class Output:
    """What comes out of a program, collected by a thread."""

    def __init__(self, file):
        self._file = file
        self._bytes = bytearray()
        self._ended = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()

    def _collect(self):
        while chunk := self._file.read1(1 << 16):
            with self._news:
                self._bytes += chunk
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def bytes(self):
        with self._news:
            return bytes(self._bytes)

    def text(self):
        return self.bytes().decode(errors="replace")

    def wait_for(self, part):
        part = part.encode() if isinstance(part, str) else part
        with self._news:
            self._news.wait_for(lambda: part in self._bytes or self._ended, PATIENCE)
            if part not in self._bytes:
                raise AssertionError(f"waited in vain for {part!r} in {bytes(self._bytes)!r}")

    def all(self):
        """All of it, once it has ended."""
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            raise AssertionError(f"the output does not end: {self.bytes()[-200:]!r}")
        self._file.close()
        return self.bytes()


class Program:
    """A running program, its input and its two outputs."""

    def __init__(self, *command, **popen):
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **popen,
        )
        self.out = Output(self.process.stdout)
        self.err = Output(self.process.stderr)

    def say(self, data):
        self.process.stdin.write(data.encode() if isinstance(data, str) else data)
        self.process.stdin.flush()

    def end_input(self):
        self.process.stdin.close()

    def status(self):
        """Its exit status, when it has ended by itself."""
        return self.process.wait(PATIENCE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.out.all()
        said = self.err.all().decode(errors="replace")
        if any(report in said for report in ("Sanitizer:", "runtime error:")):
            raise AssertionError(said)


class Server(Program):
    """An echo_server on a port of its own."""

    def __init__(self, path, *options, address="127.0.0.1:0", **popen):
        super().__init__(path, *options, address, **popen)
        self._clients = []
        try:
            self.out.wait_for("\n")
            first = self.out.text().splitlines()[0]
            if not first.startswith("listening on "):
                raise AssertionError(f"the first line is {first!r}")
            self.address = first[len("listening on ") :]
        except AssertionError:
            self.__exit__()
            raise

    def client(self, **options):
        self._clients.append(Peer.dial(self.address, **options))
        return self._clients[-1]

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.status()

    def __exit__(self, *error):
        for client in self._clients:
            client.close()
        super().__exit__(*error)


def serve(*options, **popen):
    return Server(programs.echo_server, *options, **popen)


def chat(*arguments, **popen):
    return Program(programs.chat_client, *arguments, **popen)


def run(*command, **options):
    """A program that needs nobody: its status, output and errors."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, **options
    )
    return done.returncode, done.stdout, done.stderr.decode()


def frame(message):
    return struct.pack(">I", len(message)) + message


class Peer:
    """A raw socket, which knows how messages are framed."""

    def __init__(self, sock):
        self.sock = sock
        self.sock.settimeout(PATIENCE)
        self._rest = bytearray()

    @classmethod
    def dial(cls, address, small=False):
        host, port = address.rsplit(":", 1)
        sock = socket.socket()
        if small:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(PATIENCE)
        try:
            sock.connect((host, int(port)))
        except OSError:
            sock.close()
            raise
        return cls(sock)

    def name(self):
        return "%s:%d" % self.sock.getsockname()

    def raw(self, data):
        self.sock.sendall(data)

    def say(self, *messages):
        self.raw(b"".join(map(frame, messages)))

    def hear(self):
        """The next message; None at a clean end."""
        head = self._take(4)
        if head is None:
            return None
        message = self._take(struct.unpack(">I", head)[0])
        if message is None:
            raise AssertionError("the end came between a prefix and its message")
        return message

    def hear_all(self):
        """Every message up to a clean end."""
        messages = []
        while (message := self.hear()) is not None:
            messages.append(message)
        return messages

    def _take(self, count):
        while len(self._rest) < count:
            chunk = self.sock.recv(1 << 16)
            if not chunk:
                if self._rest:
                    raise AssertionError(f"cut off after {bytes(self._rest)[:40]!r}")
                return None if count else b""
            self._rest += chunk
        taken = bytes(self._rest[:count])
        del self._rest[:count]
        return taken

    def wait_until_delivered(self):
        """Until the other side's system has acknowledged all that was sent (SIOCOUTQ, tcp(7))."""
        def unsent():
            return struct.unpack("i", fcntl.ioctl(self.sock, termios.TIOCOUTQ, b"\0" * 4))[0]

        wait_until(lambda: unsent() == 0, "the acknowledgement")

    def end_sending(self):
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Host:
    """A server whose every byte is the test's."""

    def __init__(self):
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.sock.settimeout(PATIENCE)
        self.address = "127.0.0.1:%d" % self.sock.getsockname()[1]
        self._clients = []

    def accept(self):
        self._clients.append(Peer(self.sock.accept()[0]))
        return self._clients[-1]

    def close(self):
        for client in self._clients:
            client.close()
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Terminal:
    """A pseudo-terminal with a program on it, and what a person would see there."""

    def __init__(self, *command, columns=80, kind="xterm"):
        self._columns = columns
        self.output = bytearray()
        self._master, self._slave = os.openpty()
        os.set_blocking(self._master, False)
        size = struct.pack("HHHH", 24, columns, 0, 0)
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, size)
        self.before = termios.tcgetattr(self._slave)
        self.process = subprocess.Popen(
            command,
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            env={**os.environ, "TERM": kind},
        )

    def mode(self):
        return termios.tcgetattr(self._slave)

    def restored(self):
        return self.mode() == self.before

    def type(self, keys):
        """Types; reads at the same time, as a terminal does that is not to stand still."""
        keys = keys.encode() if isinstance(keys, str) else keys
        deadline = time.monotonic() + PATIENCE
        while keys:
            if time.monotonic() > deadline:
                raise AssertionError("the program takes no more keys")
            _, writable, _ = select.select([self._master], [self._master], [], 1)
            self._read()
            if writable:
                with contextlib.suppress(BlockingIOError):
                    keys = keys[os.write(self._master, keys[:256]) :]

    def _read(self):
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self._master, 1 << 16):
                self.output += chunk

    def rows(self):
        """The rows on the screen, of what the examples use of a terminal: CR, LF and ESC [ K."""
        rows, column = [""], 0
        text = self.output.decode(errors="replace")
        at = 0
        while at < len(text):
            if text.startswith("\033[K", at):
                rows[-1] = rows[-1][:column]
                at += 3
                continue
            character = text[at]
            at += 1
            if character == "\r":
                column = 0
            elif character == "\n":
                rows.append("")
                column = 0
            elif character >= " " or character == "\t":
                if column == self._columns:
                    rows.append("")
                    column = 0
                rows[-1] = rows[-1][:column].ljust(column) + character + rows[-1][column + 1 :]
                column += 1
            else:
                raise AssertionError(f"a control character on the terminal: {character!r}")
        return rows

    def wait_for(self, true, what):
        """Until what is on the screen is as it should be."""
        deadline = time.monotonic() + PATIENCE
        while not true(self.rows()):
            if time.monotonic() > deadline:
                raise AssertionError(f"waited in vain for {what}; the screen: {self.rows()!r}")
            select.select([self._master], [], [], 0.1)
            self._read()

    def wait_for_row(self, row):
        self.wait_for(lambda rows: row in rows, repr(row))

    def wait_for_last_row(self, row):
        self.wait_for(lambda rows: rows[-1] == row, repr(row))

    def status(self):
        """Its exit status, when it has ended by itself; all of its output is there then."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                raise AssertionError(f"the program does not end; the screen: {self.rows()!r}")
            select.select([self._master], [], [], 0.02)
            self._read()
        self._read()
        return self.process.returncode

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)
        os.close(self._slave)
