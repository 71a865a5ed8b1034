#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Holds a listening socket, and keeps a server running that has it as its descriptor 3.

SIGHUP puts a new process in the old one's place; one that has ended by itself is replaced a second
later; SIGTERM and SIGINT stop both. Whatever happens to servers, clients find the socket open.

usage: supervise.py HOST:PORT COMMAND...        supervise.py 127.0.0.1:5000 echo_server fd:3
"""

import os
import signal
import socket
import subprocess
import sys
import time

FD = 3
SIGNALS = {signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGTERM}


def start(command):
    return subprocess.Popen(
        command,
        pass_fds=[FD],
        preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS),
    )


def stop(server):
    server.terminate()
    return server.wait()


def supervise(command):
    server = start(command)
    while True:
        number = signal.sigwait(SIGNALS)
        if number == signal.SIGHUP:
            old, server = server, start(command)
            stop(old)
        elif number != signal.SIGCHLD:
            return stop(server)
        elif server.poll() is not None:
            time.sleep(1)
            server = start(command)


def main(address, *command):
    host, port = address.rsplit(":", 1)
    door = socket.create_server((host, int(port)), backlog=4096)
    os.dup2(door.fileno(), FD)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    print(f"listening on {host}:{door.getsockname()[1]}", flush=True)
    return supervise(command)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
