# SPDX-License-Identifier: MIT
"""What both peers in Python are to send: 3x100, say, are three messages of 100 bytes."""


def messages_of(words):
    pairs = [map(int, word.split("x")) for word in words]
    lengths = [length for count, length in pairs for _ in range(count)]
    wheel = bytes(range(251))
    return [
        (wheel * (length // 251 + 2))[number % 251 :][:length]
        for number, length in enumerate(lengths)
    ]
