"""Processes that crowd the same directories by way of different mounts, and what they met."""

import errno
import os
import random
import struct
import time
from collections import Counter
from multiprocessing import get_context

SPAWN = get_context("spawn")
# What one may get when another was faster. ESTALE: of the kernel, for a directory that another
# mount moved, when the first look at its new place comes from inside a rename. EPERM: a file that
# another mount has unlinked is in the trash, where nothing changes.
_RACES = {errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY, errno.EISDIR, errno.ENOTDIR, errno.EINVAL,
          errno.ESTALE, errno.ELOOP, errno.EPERM}


class Met:
    """What one process did: operations, those that lost a race, what should not be, the slowest."""

    def __init__(self):
        self.done, self.lost, self.wrong = Counter(), Counter(), []
        self.slowest = (0.0, "")

    def timed(self, name, act):
        begun = time.monotonic()
        try:
            act()
            self.done[name] += 1
        except OSError as problem:
            if problem.errno in _RACES:
                self.lost[name] += 1
            else:
                self.wrong.append(f"{name}: {problem}")
        self.slowest = max(self.slowest, (time.monotonic() - begun, name))


def _write(path, length):
    with open(path, "wb") as file:
        file.write(b"x" * length)


def _set_acl(path, chance):
    """Give a file the access control list of one more user."""
    entries = [(0x01, 6, -1), (0x02, chance.randrange(8), chance.choice([1000, 2000, 3000])),
               (0x04, 4, -1), (0x10, chance.randrange(8), -1), (0x20, chance.randrange(8), -1)]
    os.setxattr(path, "system.posix_acl_access", struct.pack("<I", 2) + b"".join(
        struct.pack("<HHi", *entry) for entry in entries))


def scramble(top, seed, seconds, owner="", with_acls=False, links="n"):
    """Create, rename, link and remove in the same few directories for so long.

    owner: makes the names its own, so that processes meet in directories and not in files.
    links: what the names of links begin with; another letter than "n" keeps them from renames.
    """
    chance, met = random.Random(seed), Met()

    def path(kind):
        return f"{top}/{chance.randrange(4)}/{kind}{owner}{chance.randrange(30)}"
    acts = {
        "create": lambda: os.close(os.open(path("n"), os.O_CREAT | os.O_EXCL | os.O_WRONLY)),
        "write": lambda: _write(path("n"), chance.randrange(20_000)),
        "rename": lambda: os.rename(path("n"), path("n")),
        "unlink": lambda: os.unlink(path(chance.choice(["n", links]))),
        "link": lambda: os.link(path("n"), path(links)),
        "truncate": lambda: os.truncate(path("n"), chance.randrange(50_000)),
        "chmod": lambda: os.chmod(path("n"), chance.choice([0o600, 0o644])),
        "mkdir": lambda: os.mkdir(path("d")),
        "rmdir": lambda: os.rmdir(path("d")),
        "move a directory": lambda: os.rename(path("d"), path("d")),
        "list": lambda: os.listdir(f"{top}/{chance.randrange(4)}"),
    }
    if with_acls:
        acts["set an ACL"] = lambda: _set_acl(path("n"), chance)
    names, end = list(acts), time.monotonic() + seconds
    while time.monotonic() < end:
        name = chance.choice(names)
        met.timed(name, acts[name])
    return met


def _walk_down(top, chance):
    """A directory somewhere below."""
    path = top
    while chance.random() < 0.75:
        names = os.listdir(path)
        if not names:
            break
        path = f"{path}/{chance.choice(names)}"
    return path


def nest(top, seed, seconds):
    """Move directories into each other for so long."""
    chance, met = random.Random(seed), Met()

    def move():
        source, target = _walk_down(top, chance), _walk_down(top, chance)
        if source != top:
            os.rename(source, f"{target}/{os.path.basename(source)}")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        met.timed("move", move)
    return met


def embrace(top, mine, other, barrier, rounds):
    """In each round move directory mine<n> into other<n>, while the neighbour does the reverse."""
    met = Met()
    for number in range(rounds):
        barrier.wait(60)
        met.timed("move", lambda: os.rename(f"{top}/{mine}{number}",
                                            f"{top}/{other}{number}/{mine}{number}"))
    return met


def _run(pipe, work, arguments):
    try:
        pipe.send(work(*arguments))
    except BaseException as problem:
        pipe.send(problem)


class Worker:
    """work(*arguments) in a process of its own."""

    def __init__(self, work, *arguments):
        self._pipe, far_end = SPAWN.Pipe(False)
        self._process = SPAWN.Process(target=_run, args=(far_end, work, arguments), daemon=True)
        self._process.start()

    def met(self, timeout):
        if not self._pipe.poll(timeout):
            self._process.kill()
            raise AssertionError(f"a process hangs for {timeout:g} s")
        answer = self._pipe.recv()
        self._process.join(10)
        if isinstance(answer, BaseException):
            raise answer
        return answer
