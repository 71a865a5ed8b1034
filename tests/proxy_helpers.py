# SPDX-License-Identifier: MIT
"""Programs between a client and a server, each with a configuration of its own."""

import os
import pathlib
import socket

from chat_helpers import Program, wait_until


def write_configuration(folder, text, name="configuration"):
    path = os.path.join(folder, name)
    pathlib.Path(path).write_text(text, encoding="utf-8")
    return path


def free_port():
    """One that nobody has, for who can't be handed a socket."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def is_reachable(address):
    host, port = address.rsplit(":", 1)
    with socket.socket() as sock:
        return sock.connect_ex((host, int(port))) == 0


class Proxy(Program):
    """One that listens at an address, once it is made."""

    def __init__(self, address, *command, **popen):
        super().__init__(*command, **popen)
        self.address = address
        try:
            wait_until(
                lambda: self.process.poll() is not None or is_reachable(address), command[0]
            )
            if self.process.poll() is not None:
                raise AssertionError(self.err.all().decode(errors="replace"))
        except AssertionError:
            super().__exit__()
            raise

    def __exit__(self, *error):
        self.process.terminate()  # and with it the processes that it has started
        self.status()
        super().__exit__(*error)
