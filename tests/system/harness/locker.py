"""Processes that lock files on command: each Locker is one, with descriptors of its own.

As a script it is such a process: a line of JSON comes in, one goes out.
"""

import contextlib
import fcntl
import json
import os
import signal
import struct
import subprocess
import sys
import threading

FLOCK = struct.Struct("hh4xqqi4x")
READ, WRITE, UNLOCK = fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK
F_OFD_SETLK = 37
PATIENCE = 60


class Locker:
    """Use as a context manager; verbs are the functions of Verbs below."""

    def __init__(self):
        self.child = subprocess.Popen([sys.executable, "-B", __file__], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, text=True)
        self.waiter, self.result = None, None

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.kill()

    @property
    def pid(self):
        return self.child.pid

    def __getattr__(self, verb):
        def call(*arguments):
            return self.start(verb, *arguments).answer()
        return call

    def start(self, verb, *arguments):
        """Begin a verb that may wait; answer() gives its result."""
        self.child.stdin.write(json.dumps([verb, *map(plain, arguments)]) + "\n")
        self.child.stdin.flush()
        self.result = None
        self.waiter = threading.Thread(target=self._read, daemon=True)
        self.waiter.start()
        return self

    def _read(self):
        self.result = self.child.stdout.readline()

    def is_waiting(self):
        return self.waiter.is_alive()

    def answer(self, timeout=PATIENCE):
        self.waiter.join(timeout)
        assert not self.waiter.is_alive(), "still waiting"
        assert self.result, "the process has ended"
        code, value = json.loads(self.result)
        if code:
            raise OSError(code, os.strerror(code))
        return value

    def send(self, signum):
        self.child.send_signal(signum)

    def kill(self):
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        for pipe in (self.child.stdin, self.child.stdout):
            with contextlib.suppress(OSError):
                pipe.close()


def plain(argument):
    return str(argument) if isinstance(argument, os.PathLike) else argument


class Verbs:
    """What a process can be told. Files are named by a word of the caller's."""

    def __init__(self):
        self.files = {}

    def open(self, name, path, flags=os.O_RDWR | os.O_CREAT):
        self.files[name] = os.open(path, flags, 0o644)

    def close(self, name):
        os.close(self.files.pop(name))

    def duplicate(self, name, other):
        self.files[other] = os.dup(self.files[name])

    def lock(self, name, kind, start=0, length=0, command=fcntl.F_SETLK):
        """fcntl without waiting."""
        fcntl.fcntl(self.files[name], command, FLOCK.pack(kind, 0, start, length, 0))

    def wait(self, name, kind, start=0, length=0):
        self.lock(name, kind, start, length, fcntl.F_SETLKW)

    def alarm(self, name, kind, seconds):
        """The same, interrupted by a timer: [errno of the wait]."""
        signal.signal(signal.SIGALRM, raise_interrupted)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            self.wait(name, kind)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def test(self, name, kind, start=0, length=0):
        """[type, start, length, pid] of what is in the way."""
        answer = fcntl.fcntl(self.files[name], fcntl.F_GETLK,
                             FLOCK.pack(kind, 0, start, length, 0))
        found, _, start, length, pid = FLOCK.unpack(answer)
        return [found] if found == UNLOCK else [found, start, length, pid]

    def flock(self, name, operation):
        fcntl.flock(self.files[name], operation)

    def write(self, name, offset, text):
        os.pwrite(self.files[name], text.encode(), offset)

    def read(self, name, offset, size):
        return os.pread(self.files[name], size, offset).decode()

    def fork(self, name):
        """A child that inherits the descriptors and keeps them: its pid."""
        child = os.fork()
        if child == 0:
            signal.pause()
            os._exit(0)
        return child

    def reap(self, child):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def raise_interrupted(_signum, _frame):
    raise InterruptedError(4, "interrupted")


def main():
    verbs = Verbs()
    for line in sys.stdin:
        verb, *arguments = json.loads(line)
        try:
            answer = [0, getattr(verbs, verb)(*arguments)]
        except OSError as error:
            answer = [error.errno, None]
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
