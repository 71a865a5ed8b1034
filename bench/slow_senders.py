#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""1000 peers that send a byte a second of a message that never gets whole, beside honest ones.

Tells when the server ends them (message_timeout_ms), and how long answers to an honest connection
take before they come and while they are there.
"""

import argparse
import select
import socket
import subprocess
import time

import echo_servers


def start_load(address, seconds):
    """One connection with one message in flight: tells how long answers take."""
    return subprocess.Popen(
        [str(echo_servers.HERE / 'echo_load'), '--percentiles', '--seconds', str(seconds),
         address], stdout=subprocess.PIPE, text=True)


def dial(address):
    host, port = address.split(':')
    peer = socket.create_connection((host, int(port)))
    peer.setblocking(False)
    return peer


def dribble(address, count, most_s):
    """Seconds that each connection lasted, from its first byte to the server's end."""
    lives = []
    begun = {}
    poller = select.poll()
    for _ in range(count):
        peer = dial(address)
        peer.send(b'\0\0\1\0')
        begun[peer.fileno()] = (peer, time.monotonic())
        poller.register(peer, select.POLLIN)
    next_byte = time.monotonic() + 1
    end = time.monotonic() + most_s
    while begun and time.monotonic() < end:
        for fd, _ in poller.poll(max(0, (next_byte - time.monotonic()) * 1000)):
            peer, since = begun.pop(fd)
            poller.unregister(fd)
            lives.append(time.monotonic() - since)
            peer.close()
        if time.monotonic() >= next_byte:
            next_byte += 1
            for peer, _ in begun.values():
                peer.send(b'x')
    return lives


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--connections', type=int, default=1000)
    parser.add_argument('--limit-ms', type=int, default=5000, help='message_timeout_ms (5000)')
    given = parser.parse_args()
    command = [str(echo_servers.HERE / 'echo_tcpmsg'), '--message-timeout', str(given.limit_ms)]
    with echo_servers.Server(command) as server:
        print('before:', start_load(server.address, 2).communicate()[0])
        beside = start_load(server.address, given.limit_ms // 1000 - 1)
        lives = dribble(server.address, given.connections, 3 * given.limit_ms / 1000)
        print('beside them:', beside.communicate()[0])
    print(f'ended: {len(lives)} of {given.connections}, after {min(lives):.2f} to '
          f'{max(lives):.2f} s where the limit is {given.limit_ms / 1000:.2f} s')


if __name__ == '__main__':
    main()
