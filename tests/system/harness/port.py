"""Ports of 127.0.0.1 that belong to one test."""

import socket


class Port:
    """A free port, kept until close(), for whoever listens on it now and again.

    A socket is bound to it and never listens. So nobody is given it as a free one, who connects
    meanwhile is refused, and a program that sets SO_REUSEADDR (all of ours, and PostgreSQL) can
    listen on it, end, and listen again.
    """

    def __init__(self):
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number = self._socket.getsockname()[1]

    def close(self):
        self._socket.close()
