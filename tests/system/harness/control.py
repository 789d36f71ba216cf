"""Conversations with a mount through its .control, byte by byte."""

import json
import os
import struct

from .wait import wait_for

RMR, LEGACY, FILL, INFO, CLONE, SUMMARY, COMPACT = range(1002, 1009)


class Talk:
    def __init__(self, directory):
        self.fd = os.open(directory / ".control", os.O_RDWR)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)

    def send(self, command, body):
        os.write(self.fd, struct.pack(">II", command, len(body)) + body)

    def answer(self):
        """The errno, or the document."""
        seen = b""

        def ended():
            nonlocal seen
            seen += os.read(self.fd, 1 << 17)
            while seen[:1] == b"\xfe" and len(seen) >= 17:
                seen = seen[17:]
            if seen[:1] == b"\xff":
                return len(seen) >= 5 and len(seen) - 5 >= struct.unpack(">I", seen[1:5])[0]
            return bool(seen) and seen[:1] != b"\xfe"
        wait_for("the mount has answered", ended, 60, interval=0.002)
        return json.loads(seen[5:]) if seen[:1] == b"\xff" else seen[0]
