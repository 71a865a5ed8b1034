# SPDX-License-Identifier: MIT
"""A peer with asyncio's streams: readexactly. What it is asked for is in test_other_languages.py."""

import asyncio
import struct
import sys

from messages import messages_of

LIMIT = 16 * 1024 * 1024


def frame(message):
    return struct.pack(">I", len(message)) + message


async def receive(reader):
    """The next message, or None at a clean end; IncompleteReadError at an end inside a message."""
    try:
        prefix = await reader.readexactly(4)
    except asyncio.IncompleteReadError as cut_off:
        if cut_off.partial:
            raise
        return None
    (length,) = struct.unpack(">I", prefix)
    if length > LIMIT:
        raise ValueError(f"a message of {length} bytes, the limit is {LIMIT}")
    return await reader.readexactly(length)


async def echo(reader, writer):
    while (message := await receive(reader)) not in (None, b"leave"):
        if message == b"cut":
            writer.write(frame(bytes(100))[:14])
            break
        writer.write(frame(message))
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def serve():
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    print("listening on 127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def send_all(writer, messages):
    for message in messages:
        writer.write(frame(message))
        await writer.drain()
    writer.write_eof()


async def talk(reader, writer, *words):
    messages = messages_of(words)
    sending = asyncio.create_task(send_all(writer, messages))
    for number, message in enumerate(messages):
        assert await receive(reader) == message, f"answer {number} is another"
    assert await receive(reader) is None
    await sending
    print(f"{len(messages)} messages, {sum(map(len, messages))} bytes")


async def leave(reader, writer):
    writer.write(frame(b"hello"))
    assert await receive(reader) == b"hello"


async def cut(_, writer):
    writer.write(frame(bytes(100))[:14])


async def dial(scene, port, *words):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
    await scene(reader, writer, *words)
    writer.close()
    await writer.wait_closed()


def main(word, *arguments):
    if word == "version":
        print("Python", sys.version.split()[0])
    elif word == "serve":
        asyncio.run(serve())
    else:
        scenes = {"talk": talk, "leave": leave, "cut": cut}
        asyncio.run(dial(scenes[word], *arguments))


if __name__ == "__main__":
    main(*sys.argv[1:])
