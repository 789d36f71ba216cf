"""A load whose outcome is known exactly: workers that write, fsync and note what must be there.

Contents are made from a seed, so that a byte that belongs elsewhere is recognised as such.
"""

import hashlib
import os
import random
import threading

_PERIOD = 65536


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


class Writer(threading.Thread):
    """Makes, replaces, renames and removes files in a directory of its own until told to stop.

    promised: {name: (seed, length)}, noted only after fsync of file and directory returned.
    uncertain: names whose last operation had not returned when the worker ended.
    """

    def __init__(self, directory, number, largest=1 << 20, expect_death=False):
        super().__init__(daemon=True)
        self.directory = directory / f"w{number}"
        self.largest, self.expect_death = largest, expect_death
        self.random = random.Random(number)
        self.promised, self.uncertain, self.started = {}, set(), {}
        self.problem = None
        self.operations = 0
        self._number, self._serial = number, 0
        self._end = threading.Event()

    def run(self):
        try:
            self.directory.mkdir()
            while not self._end.is_set():
                self._step()
                self.operations += 1
        except OSError as problem:
            self.problem = problem

    def finish(self, timeout=120):
        self._end.set()
        self.join(timeout)
        assert not self.is_alive(), f"{self.name} hangs after {self.operations} operations"
        if not self.expect_death and self.problem:
            raise self.problem

    def _step(self):
        choice = self.random.random()
        if choice < 0.6 or len(self.promised) < 3:
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
        return self.random.choice(sorted(self.promised))

    def _write(self, name):
        seed, length = f"{self._number}/{name}/{self._serial}", self.random.randrange(self.largest)
        self.uncertain.add(name)
        self.started[name] = (seed, length)
        with open(self.directory / name, "wb") as file:
            file.write(content(seed, length))
            file.flush()
            os.fsync(file.fileno())
        fsync_directory(self.directory)
        self.promised[name] = (seed, length)
        self.uncertain.discard(name)

    def _replace(self, name):
        """The way editors and databases replace a file: write beside, fsync, rename over."""
        beside = f"{name}.new"
        self._write(beside)
        self._rename(beside, name)

    def _rename(self, old, new):
        self.uncertain |= {old, new}
        os.rename(self.directory / old, self.directory / new)
        fsync_directory(self.directory)
        self.promised[new] = self.promised.pop(old)
        self.started[new] = self.promised[new]
        self.uncertain -= {old, new}

    def _remove(self, name):
        self.uncertain.add(name)
        os.unlink(self.directory / name)
        fsync_directory(self.directory)
        del self.promised[name]
        self.uncertain.discard(name)

    def check(self, top):
        """Everything that was promised is there with its bytes, and nothing else is."""
        place = top / self.directory.name
        seen = set(os.listdir(place))
        certain = {name for name in self.promised if name not in self.uncertain}
        assert not certain - seen, f"lost: {sorted(certain - seen)} of {place}"
        assert not seen - certain - self.uncertain, (
            f"never made or removed: {sorted(seen - certain - self.uncertain)} in {place}")
        for name in certain:
            seed, length = self.promised[name]
            assert (place / name).read_bytes() == content(seed, length), f"wrong bytes: {name}"
        for name in self.uncertain & seen:
            self._check_uncertain(place / name, name)

    def _check_uncertain(self, path, name):
        """A file whose write was cut off holds its old bytes or a prefix of its new ones."""
        data = path.read_bytes()
        known = [made for made in (self.promised.get(name), self.started.get(name)) if made]
        known += [self.promised[n] for n in self.uncertain if n in self.promised]
        assert any(data == content(seed, length)[:len(data)] for seed, length in known), (
            f"foreign bytes in {path}")


def begin(directory, count, **options):
    workers = [Writer(directory, number, **options) for number in range(count)]
    for worker in workers:
        worker.start()
    return workers


def finish(workers):
    for worker in workers:
        worker.finish()
