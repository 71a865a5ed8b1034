# SPDX-License-Identifier: MIT
"""A peer with Twisted: Int32StringReceiver. What it is asked for is in test_other_languages.py."""

import sys

import twisted
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory
from twisted.protocols.basic import Int32StringReceiver
from zope.interface import implementer

from messages import messages_of

failed = []


@implementer(IHalfCloseableProtocol)
class Peer(Int32StringReceiver):
    """Without half-closes, Twisted would drop the answers when the other side has said all."""

    MAX_LENGTH = 16 * 1024 * 1024

    def connectionMade(self):
        self.transport.setTcpNoDelay(True)

    def readConnectionLost(self):
        self.transport.loseConnection()  # once all is sent

    def writeConnectionLost(self):
        pass

    def cut(self):
        self.transport.write(b"\0\0\0\x64" + b"0123456789")
        self.transport.loseConnection()


class Echo(Peer):
    def stringReceived(self, message):
        if message == b"cut":
            self.cut()
        elif message == b"leave":
            self.transport.loseConnection()
        else:
            self.sendString(message)


class Client(Peer):
    """Sends its messages, and expects each of them back."""

    def __init__(self, messages):
        self.messages = messages
        self.answers = 0
        self.bytes_left = sum(4 + len(message) for message in messages)

    def connectionMade(self):
        super().connectionMade()
        for message in self.messages:
            self.sendString(message)

    def stringReceived(self, message):
        if self.answers == len(self.messages) or message != self.messages[self.answers]:
            self.fail(f"answer {self.answers} is another")
        self.answers += 1

    def dataReceived(self, data):
        self.bytes_left -= len(data)
        super().dataReceived(data)

    def connectionLost(self, reason):
        # What it has of a message at the end, Twisted drops without a word.
        if self.bytes_left != 0 or self.answers != len(self.messages):
            self.fail(f"{self.answers} of {len(self.messages)} answers: {reason.value}")
        if reactor.running:
            reactor.stop()

    def fail(self, why):
        failed.append(why)
        self.transport.abortConnection()


class Talk(Client):
    def connectionMade(self):
        super().connectionMade()
        self.transport.loseWriteConnection()


class Leave(Client):
    def stringReceived(self, message):
        super().stringReceived(message)
        self.transport.loseConnection()


class Cut(Client):
    def connectionMade(self):
        super().connectionMade()
        self.cut()


def dial(client, port):
    def refused(reason):
        failed.append(str(reason.value))
        reactor.stop()

    factory = Factory.forProtocol(lambda: client)
    TCP4ClientEndpoint(reactor, "127.0.0.1", port).connect(factory).addErrback(refused)
    reactor.run()
    if failed:
        sys.exit(failed[0])


def serve():
    port = reactor.listenTCP(0, Factory.forProtocol(Echo), interface="127.0.0.1")
    print("listening on 127.0.0.1:%d" % port.getHost().port, flush=True)
    reactor.run()


def main(word, *arguments):
    if word == "version":
        print("Twisted", twisted.__version__)
    elif word == "serve":
        serve()
    elif word == "talk":
        messages = messages_of(arguments[1:])
        dial(Talk(messages), int(arguments[0]))
        print(f"{len(messages)} messages, {sum(map(len, messages))} bytes")
    elif word == "leave":
        dial(Leave([b"hello"]), int(arguments[0]))
    elif word == "cut":
        dial(Cut([]), int(arguments[0]))


if __name__ == "__main__":
    main(*sys.argv[1:])
