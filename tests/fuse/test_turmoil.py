"""Everything at once on two mounts, and the end in the middle of it: what was confirmed is there.

Writers break their files into many slices, so that compaction and deletion follow them all the
time; tools talk to .control meanwhile; others crowd the same directories, wait for each other's
locks, read the internal files. Then the mounts are told to end while all of this runs. For
sanitizers above all; TARN_LONG=1 makes it two minutes.
"""

import fcntl
import os
import random
import signal
import subprocess
import threading
import time

import pytest

from crowd import Worker, scramble
from harness.check import assert_consistent
from harness.volume import BIN, ENDED
from harness.wait import wait_for

SEED = int(os.environ.get("TARN_TEST_SEED", "1"))
SECONDS = 120 if os.environ.get("TARN_LONG") else 2
LENGTH = 1 << 20


class Writer(threading.Thread):
    """Writes one file in small pieces and makes them durable now and then.

    A byte that was durable has that value later, or one that was written after it.
    """

    def __init__(self, path, seed, ending):
        super().__init__(daemon=True)
        self.path, self.chance, self.ending = path, random.Random(seed), ending
        self.durable = bytearray(LENGTH)
        self.later = {}  # block: the contents that it may have by now instead
        self.is_begun = False  # the file is durable, with zeros
        self.wrong = None

    def run(self):
        try:
            with open(self.path, "w+b", buffering=0) as file:
                os.ftruncate(file.fileno(), LENGTH)
                os.fsync(file.fileno())
                self.is_begun = True
                while not self.ending.is_set():
                    self._round(file.fileno())
        except OSError as problem:
            if problem.errno not in ENDED:
                self.wrong = f"{self.path}: {problem}"
        except AssertionError as problem:
            self.wrong = str(problem)

    def _round(self, file):
        for _ in range(self.chance.randrange(1, 12)):
            block = self.chance.randrange(LENGTH // 4096)
            data = bytes([self.chance.randrange(256)]) * 4096
            self.later.setdefault(block, []).append(data)
            os.pwrite(file, data, block * 4096)
        os.fsync(file)
        for block, written in self.later.items():
            self.durable[block * 4096:(block + 1) * 4096] = written[-1]
        self.later.clear()
        if self.chance.random() < 0.2:
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            assert self._read(file) == self.durable, f"{self.path} has other bytes"

    @staticmethod
    def _read(file):
        """All of it, or the error with which it ends: the first read may stop short of that."""
        seen = b""
        while part := os.pread(file, LENGTH - len(seen), len(seen)):
            seen += part
        return seen

    def check(self, path):
        seen = path.read_bytes()
        assert len(seen) == LENGTH
        for block in range(LENGTH // 4096):
            part = seen[block * 4096:(block + 1) * 4096]
            if part != self.durable[block * 4096:(block + 1) * 4096]:
                assert part in self.later.get(block, []), f"block {block} of {path} is another's"


class Tools(threading.Thread):
    """Runs one command of ours again and again; fails only of what the others do meanwhile."""

    def __init__(self, ending, *arguments, before=()):
        super().__init__(daemon=True)
        self.ending, self.before, self.arguments = ending, before, arguments
        self.done = 0

    def run(self):
        number = 0
        while not self.ending.is_set():
            number += 1
            for arguments in (self.before, self.arguments):
                words = [str(word).replace("%", str(number)) for word in arguments]
                if words and self._run(words) == 0 and arguments is self.arguments:
                    self.done += 1

    @staticmethod
    def _run(words):
        return subprocess.run([BIN / "tarn", *words], capture_output=True, timeout=120,
                              check=False).returncode


class Repeated(threading.Thread):
    """Does something again and again; what goes wrong with it is not this test's question."""

    def __init__(self, ending, act, *arguments):
        super().__init__(daemon=True)
        self.ending, self.act, self.arguments = ending, act, arguments

    def run(self):
        while not self.ending.is_set():
            try:
                self.act(*self.arguments)
            except OSError:
                time.sleep(0.01)


def take_locks(path):
    """In turn with everybody else who does."""
    with open(path, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        fcntl.lockf(file, fcntl.LOCK_EX, 10, 5)
        time.sleep(0.001)


def make_and_remove(path):
    """In the directory where the tools make and remove theirs."""
    path.write_bytes(b"x")
    path.unlink()


def read_internal(top):
    """Three pieces of the access log, which never ends, and the short files."""
    with open(top / ".accesslog", "rb", buffering=0) as log:
        for _ in range(3):
            log.read(4096)
            (top / ".stats").read_bytes()
            (top / ".config").read_bytes()


@pytest.mark.limit(600)
@pytest.mark.parametrize("end", ["terminate", "force"])
def test_an_end_in_the_middle_of_everything_keeps_what_was_durable(plain_volume, end):
    ending = threading.Event()
    mounts = [plain_volume.mount().start() for _ in range(2)]
    top = mounts[0].path("top")
    for number in range(4):
        (top / str(number)).mkdir(parents=True)
    (top / "kept").mkdir()
    writers = [Writer(mounts[number % 2].path("top", "kept", str(number)), SEED * 10 + number,
                      ending) for number in range(4)]
    tools = [Tools(ending, "rmr", top / "copy%", before=("clone", top / "kept", top / "copy%")),
             Tools(ending, "compact", top / "kept"),
             Tools(ending, "warmup", mounts[1].path("top")),
             Tools(ending, "info", "-r", mounts[1].path("top")),
             Tools(ending, "summary", top)]
    others = [Repeated(ending, take_locks, mounts[number % 2].path("top", "lock"))
              for number in range(4)]
    others += [Repeated(ending, read_internal, mount.directory) for mount in mounts]
    others += [Repeated(ending, make_and_remove, mounts[number % 2].path("top", f"brief{number}"))
               for number in range(6)]
    for thread in writers + tools + others:
        thread.start()
    crowd = [Worker(scramble, str(mounts[number % 2].path("top")), SEED * 20 + number, SECONDS + 2)
             for number in range(4)]
    time.sleep(SECONDS)
    wait_for("each file is begun", lambda: all(writer.is_begun for writer in writers), 120)
    wait_for("each tool has done something", lambda: all(tool.done for tool in tools), 120)
    if end == "force":
        ending.set()  # a detached mount lives on for whoever has files open in it
    for mount in mounts:
        if end == "force":
            subprocess.run([BIN / "tarn", "umount", "--force", mount.directory], check=True,
                           capture_output=True, timeout=120)
        else:
            mount.process.send(signal.SIGTERM)
    time.sleep(0.5)
    ending.set()
    for mount in mounts:
        code = mount.process.wait(60)
        assert code == 0, f"{mount.directory} ended with {code}\n{mount.process.log_tail()}"
    for worker in crowd:
        worker.met(60)
    for thread in writers + tools + others:
        thread.join(120)
        assert not thread.is_alive(), "a request was never answered"
    assert not [writer.wrong for writer in writers if writer.wrong]
    with plain_volume.mount() as cold:
        for number, writer in enumerate(writers):
            writer.check(cold.path("top", "kept", str(number)))
    assert_consistent(plain_volume)
