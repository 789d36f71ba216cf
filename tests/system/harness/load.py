"""A load whose outcome is known exactly: workers that write, fsync and note what must be there.

Contents are made from a seed, so that a byte that belongs elsewhere is recognised as such.

A worker is a process of its own. Were it a thread, whoever starts a program here (PostgreSQL, for
one) would first close copies of the worker's files, and that waits for the mount, which may be
waiting for that very PostgreSQL.
"""

import hashlib
import multiprocessing
import os
import random

_PERIOD = 65536
_spawn = multiprocessing.get_context("spawn")


def content(seed, length):
    """The bytes of the file with this seed."""
    block = hashlib.shake_128(str(seed).encode()).digest(_PERIOD)
    return (block * (length // _PERIOD + 1))[:length]


def fsync_directory(path):
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Ledger:
    """What one worker did.

    promised: {name: (seed, length)}, noted only after fsync of file and directory returned.
    started: the same for the last write that was begun.
    uncertain: names whose last operation had not returned when the worker ended.
    """

    def __init__(self):
        self.promised, self.started, self.uncertain = {}, {}, set()
        self.problem = None


class _Actor:
    """The operations of a worker; runs in its process."""

    def __init__(self, directory, number, largest):
        self.directory, self.largest = directory, largest
        self.random = random.Random(number)
        self.ledger = Ledger()
        self._number, self._serial = number, 0

    def step(self):
        choice = self.random.random()
        if choice < 0.6 or len(self.ledger.promised) < 3:
            self._write(self._fresh_name())
        elif choice < 0.75:
            self._replace(self._any_name())
        elif choice < 0.9:
            self._rename(self._any_name(), self._fresh_name())
        else:
            self._remove(self._any_name())

    def _fresh_name(self):
        self._serial += 1
        return f"f{self._serial}"

    def _any_name(self):
        return self.random.choice(sorted(self.ledger.promised))

    def _write(self, name):
        made = f"{self._number}/{name}/{self._serial}", self.random.randrange(self.largest)
        self.ledger.uncertain.add(name)
        self.ledger.started[name] = made
        with open(self.directory / name, "wb") as file:
            file.write(content(*made))
            file.flush()
            os.fsync(file.fileno())
        fsync_directory(self.directory)
        self.ledger.promised[name] = made
        self.ledger.uncertain.discard(name)

    def _replace(self, name):
        """The way editors and databases replace a file: write beside, fsync, rename over."""
        beside = f"{name}.new"
        self._write(beside)
        self._rename(beside, name)

    def _rename(self, old, new):
        self.ledger.uncertain |= {old, new}
        os.rename(self.directory / old, self.directory / new)
        fsync_directory(self.directory)
        made = self.ledger.promised.pop(old)
        self.ledger.promised[new] = self.ledger.started[new] = made
        self.ledger.uncertain -= {old, new}

    def _remove(self, name):
        self.ledger.uncertain.add(name)
        os.unlink(self.directory / name)
        fsync_directory(self.directory)
        del self.ledger.promised[name]
        self.ledger.uncertain.discard(name)


def _work(directory, number, largest, counter, end, pipe):
    actor = _Actor(directory, number, largest)
    try:
        directory.mkdir()
        while not end.is_set():
            actor.step()
            counter.value += 1
    except OSError as problem:
        actor.ledger.problem = problem
    pipe.send(actor.ledger)


class Writer:
    """A worker that makes, replaces, renames and removes files in a directory of its own."""

    def __init__(self, directory, number, largest=1 << 20, expect_death=False):
        self.directory = directory / f"w{number}"
        self.expect_death = expect_death
        self._counter, self._end = _spawn.Value("q", 0), _spawn.Event()
        self._pipe, far_end = _spawn.Pipe(False)
        self._process = _spawn.Process(
            target=_work, daemon=True,
            args=(self.directory, number, largest, self._counter, self._end, far_end))
        self._process.start()
        far_end.close()
        self._ledger = None

    @property
    def operations(self):
        return self._counter.value

    @property
    def problem(self):
        """What ended the worker before it was told to end, if anything did."""
        if self._ledger is None and self._pipe.poll():
            self._ledger = self._pipe.recv()
        return self._ledger.problem if self._ledger else None

    @property
    def promised(self):
        return self._ledger.promised

    def finish(self, timeout=120):
        self._end.set()
        if self._ledger is None:
            if not self._pipe.poll(timeout):
                self._process.kill()
                raise AssertionError(f"a worker hangs after {self.operations} operations")
            self._ledger = self._pipe.recv()
        self._process.join(10)
        if self._ledger.problem and not self.expect_death:
            raise self._ledger.problem

    def check(self, top):
        """Everything that was promised is there with its bytes, and nothing else is."""
        place = top / self.directory.name
        promised, uncertain = self._ledger.promised, self._ledger.uncertain
        seen = set(os.listdir(place))
        certain = promised.keys() - uncertain
        assert not certain - seen, f"lost: {sorted(certain - seen)} of {place}"
        assert not seen - certain - uncertain, (
            f"never made or removed: {sorted(seen - certain - uncertain)} in {place}")
        for name in certain:
            assert (place / name).read_bytes() == content(*promised[name]), f"wrong bytes: {name}"
        for name in uncertain & seen:
            self._check_uncertain(place / name, name)

    def _check_uncertain(self, path, name):
        """A file whose write was cut off holds its old bytes or a prefix of its new ones."""
        data = path.read_bytes()
        ledger = self._ledger
        known = [made for made in (ledger.promised.get(name), ledger.started.get(name)) if made]
        known += [ledger.promised[other] for other in ledger.uncertain if other in ledger.promised]
        assert any(data == content(*made)[:len(data)] for made in known), f"foreign bytes in {path}"


def begin(directory, count, **options):
    return [Writer(directory, number, **options) for number in range(count)]


def finish(workers):
    for worker in workers:
        worker.finish()
