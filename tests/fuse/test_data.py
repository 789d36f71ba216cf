"""Bytes: random reads, writes, maps, holes, copies and truncations of one file; fio verifies too.

TARN_LONG=1: 100 000 operations with each of three seeds, and larger files for fio.
"""

import errno
import mmap
import os
import random
import shutil

import pytest

from harness.process import run
from harness.syscalls import FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE, fallocate
from harness.volume import Volume
from operations import copy_range

SEED = int(os.environ.get("TARN_TEST_SEED", "1"))
IS_LONG = bool(os.environ.get("TARN_LONG"))
CHUNK = 64 << 20
WINDOW = 3 << 20


class Exerciser:
    """What fsx does: one file, and in memory what it must hold.

    base: where the window of all operations begins, so that it can lie across a chunk's border.
    """

    def __init__(self, path, base, seed):
        self.path, self.base = path, base
        self.random = random.Random(seed)
        self.expected = bytearray()
        self.history = []
        self.file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if base:
            os.ftruncate(self.file, base)

    def run(self, count):
        steps = [self.write] * 5 + [self.read] * 5 + [self.map_write] * 3 + [self.map_read] * 3 + [
            self.truncate] * 2 + [self.copy] * 2 + [
                self.punch, self.zero, self.zero_within, self.allocate, self.reserve, self.reopen,
                self.sync, self.forget, self.append]
        for _ in range(count):
            self.random.choice(steps)()
        self.check_all()

    def close(self):
        os.close(self.file)

    def _range(self, end):
        """A random range within [0, end) of the window; short ones are as likely as long ones."""
        offset = self.random.randrange(end)
        length = 1 + self.random.randrange(min(end - offset, 1 << self.random.randrange(1, 20)))
        return offset, length

    def _note(self, *what):
        self.history.append(what)

    def _put(self, offset, data):
        if len(self.expected) < offset + len(data):
            self.expected.extend(bytes(offset + len(data) - len(self.expected)))
        self.expected[offset:offset + len(data)] = data

    def _check(self, offset, seen):
        want = bytes(self.expected[offset:offset + len(seen)])
        if seen != want:
            at = next(i for i in range(len(seen)) if seen[i] != want[i])
            recent = "\n".join(str(step) for step in self.history[-30:])
            pytest.fail(f"byte {offset + at} of the window is {seen[at]}, not {want[at]};"
                        f" the last operations:\n{recent}")

    def write(self):
        offset, length = self._range(WINDOW)
        data = self.random.randbytes(length)
        self._note("write", offset, length)
        assert os.pwrite(self.file, data, self.base + offset) == length
        self._put(offset, data)

    def append(self):
        length = self.random.randrange(1, 5000)
        if len(self.expected) + length < WINDOW:
            data = self.random.randbytes(length)
            self._note("append", length)
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND)
            os.write(handle, data)
            os.close(handle)
            self._put(len(self.expected), data)

    def read(self):
        offset, length = self._range(WINDOW)
        self._note("read", offset, length)
        seen = os.pread(self.file, length, self.base + offset)
        assert len(seen) == max(0, min(length, len(self.expected) - offset))
        self._check(offset, seen)

    def _mapped(self, use, protection):
        if not self.expected:
            return
        offset, length = self._range(len(self.expected))
        start = (self.base + offset) // mmap.PAGESIZE * mmap.PAGESIZE
        skip = self.base + offset - start
        with mmap.mmap(self.file, skip + length, mmap.MAP_SHARED, protection, offset=start) as view:
            use(view, skip, offset, length)

    def map_read(self):
        def use(view, skip, offset, length):
            self._note("map read", offset, length)
            self._check(offset, view[skip:skip + length])
        self._mapped(use, mmap.PROT_READ)

    def map_write(self):
        def use(view, skip, offset, length):
            data = self.random.randbytes(length)
            self._note("map write", offset, length)
            view[skip:skip + length] = data
            if self.random.random() < 0.5:
                view.flush()
            self._put(offset, data)
        self._mapped(use, mmap.PROT_READ | mmap.PROT_WRITE)

    def truncate(self):
        size = self.random.randrange(WINDOW)
        self._note("truncate", size)
        os.ftruncate(self.file, self.base + size)
        del self.expected[size:]
        self.expected.extend(bytes(size - len(self.expected)))

    def punch(self):
        offset, length = self._range(WINDOW)
        self._note("punch", offset, length)
        fallocate(self.file, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, self.base + offset, length)
        end = min(offset + length, len(self.expected))
        if end > offset:
            self.expected[offset:end] = bytes(end - offset)

    def copy(self):
        """copy_file_range within the file; where the ranges meet it is refused."""
        if not self.expected:
            return
        source, length = self._range(len(self.expected))
        target = self.random.randrange(WINDOW - length + 1)
        self._note("copy", source, target, length)
        if abs(source - target) < length:
            with pytest.raises(OSError) as caught:
                os.copy_file_range(self.file, self.file, length, self.base + source,
                                   self.base + target)
            assert caught.value.errno == errno.EINVAL
            return
        data = bytes(self.expected[source:source + length])
        done = copy_range(self.file, self.base + source, self.file, self.base + target, length)
        assert done == length
        self._put(target, data)

    def allocate(self):
        offset, length = self._range(WINDOW)
        self._note("allocate", offset, length)
        fallocate(self.file, 0, self.base + offset, length)
        if offset + length > len(self.expected):
            self.expected.extend(bytes(offset + length - len(self.expected)))

    def reserve(self):
        offset, length = self._range(WINDOW)
        self._note("reserve", offset, length)
        fallocate(self.file, FALLOC_KEEP_SIZE, self.base + offset, length)

    def zero_within(self):
        offset, length = self._range(WINDOW)
        self._note("zero within", offset, length)
        fallocate(self.file, FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE, self.base + offset, length)
        end = min(offset + length, len(self.expected))
        if end > offset:
            self.expected[offset:end] = bytes(end - offset)

    def zero(self):
        offset, length = self._range(WINDOW)
        self._note("zero", offset, length)
        fallocate(self.file, FALLOC_ZERO_RANGE, self.base + offset, length)
        self._put(offset, bytes(length))

    def sync(self):
        self._note("sync")
        os.fsync(self.file)

    def reopen(self):
        self._note("reopen")
        os.close(self.file)
        self.file = os.open(self.path, os.O_RDWR)

    def forget(self):
        """Drop the kernel's pages, so that the next read asks the mount."""
        self._note("forget")
        os.fsync(self.file)
        os.posix_fadvise(self.file, 0, 0, os.POSIX_FADV_DONTNEED)

    def check_all(self):
        size = os.fstat(self.file).st_size
        assert size == self.base + len(self.expected)
        self._check(0, os.pread(self.file, WINDOW, self.base))


@pytest.mark.limit(3600)
@pytest.mark.parametrize("base", [0, CHUNK - WINDOW // 2], ids=["in a chunk", "across chunks"])
@pytest.mark.parametrize("seed", range(SEED * 100, SEED * 100 + (3 if IS_LONG else 2)))
@pytest.mark.parametrize("options", [[], ["--block-size", "64K", "--compress", "lz4"]],
                         ids=["4M blocks", "64K lz4 blocks"])
def test_a_file_holds_what_was_written(programs, cluster, database, workdir, base, seed, options):
    volume = Volume(cluster, database, "vol", workdir).format("--trash-days", "0", *options)
    with volume.mount() as mount:
        exerciser = Exerciser(mount.path("f"), base, seed)
        exerciser.run(100_000 if IS_LONG else 800)
        exerciser.close()
    with volume.mount() as cold:
        exerciser.path = cold.path("f")
        exerciser.file = os.open(exerciser.path, os.O_RDWR)
        exerciser.check_all()
        if base:
            assert os.pread(exerciser.file, 4096, 0) == bytes(4096)
        exerciser.close()


FIO = ["--size=512m" if IS_LONG else "--size=48m", "--numjobs=2", "--verify=crc32c",
       "--verify_fatal=1", "--do_verify=1", "--end_fsync=1", "--group_reporting",
       "--randrepeat=1", f"--randseed={SEED}"]


@pytest.mark.skipif(not shutil.which("fio"), reason="fio is not installed")
@pytest.mark.parametrize("kind", [
    ["--rw=randwrite", "--bsrange=4k-128k", "--ioengine=psync"],
    ["--rw=write", "--bs=1m", "--ioengine=psync"],
    ["--rw=randrw", "--bs=16k", "--ioengine=psync", "--fsync=64"],
    ["--rw=randwrite", "--bs=4k", "--ioengine=mmap", "--size=16m"],
], ids=["random", "sequential", "mixed", "mmap"])
def test_fio_verifies(plain_volume, workdir, kind):
    arguments = ["fio", "--name=v", *FIO, *kind]
    with plain_volume.mount() as mount:
        run([*arguments, f"--directory={mount.directory}"], timeout=200, cwd=workdir)
    with plain_volume.mount() as cold:
        if "--rw=randrw" not in kind:
            run([*arguments, f"--directory={cold.directory}", "--verify_only=1"], timeout=200,
                cwd=workdir)
