"""copy_file_range, SEEK_DATA and SEEK_HOLE against a map of bytes, around the borders of chunks."""

import errno
import os
import random
import subprocess

import pytest

from harness.check import assert_consistent
from harness.syscalls import FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, fallocate
from harness.volume import Volume

CHUNK = 64 << 20
HOT = [0, 3000, CHUNK - 40, CHUNK, 2 * CHUNK - 10, 2 * CHUNK + 300, 5 * CHUNK]


@pytest.fixture(scope="module")
def mount(session_directory, cluster):
    workdir = session_directory / "copy"
    workdir.mkdir()
    volume = Volume(cluster, cluster.create_database(), "vol", workdir).format()
    with volume.mount() as made:
        yield made
    assert_consistent(volume)


class Mirror:
    """A file on the mount, and what it must be: its length and the bytes that are data."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self.length, self.data = 0, {}

    def write(self, at, data):
        assert os.pwrite(self.fd, data, at) == len(data)
        self.data.update(enumerate(data, at))
        self.length = max(self.length, at + len(data))

    def forget(self, low, high):
        for at in [at for at in self.data if low <= at < high]:
            del self.data[at]

    def truncate(self, length):
        os.ftruncate(self.fd, length)
        self.forget(length, max(length, self.length))
        self.length = length

    def punch(self, at, length):
        fallocate(self.fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, at, length)
        self.forget(at, at + length)

    def copy_to(self, other, low, at, length):
        """A copy within a file makes its source longer: no more than was there at the beginning."""
        length = max(0, min(length, self.length - low))
        copied = 0
        while copied < length:
            n = os.copy_file_range(self.fd, other.fd, length - copied, low + copied, at + copied)
            assert n > 0
            copied += n
        found = {i - low + at: byte for i, byte in self.data.items() if low <= i < low + copied}
        other.forget(at, at + copied)
        other.data.update(found)
        if copied:
            other.length = max(other.length, at + copied)

    def check(self):
        assert os.fstat(self.fd).st_size == self.length
        for hot in HOT:
            low = max(0, hot - 200)
            wanted = bytes(self.data.get(at, 0)
                           for at in range(low, max(low, min(hot + 400, self.length))))
            assert os.pread(self.fd, 600, low)[:len(wanted)] == wanted
            for at in (low, hot, hot + 17):
                self.check_seek(at)

    def seek(self, at, whence):
        """The length for ENXIO."""
        try:
            return os.lseek(self.fd, at, whence)
        except OSError as error:
            assert error.errno == errno.ENXIO
            return self.length

    def check_seek(self, at, is_exact=False):
        """A compaction may have made data of a hole between two pieces, never a hole of data."""
        data, hole = self.seek(at, os.SEEK_DATA), self.seek(at, os.SEEK_HOLE)
        if at >= self.length:
            assert data == hole == self.length
            return
        first_data = min((i for i in self.data if i >= at), default=self.length)
        first_hole = next(i for i in range(at, self.length + 1) if i not in self.data)
        if is_exact:
            assert (data, hole) == (first_data, first_hole)
        else:
            assert at <= data <= first_data
            assert first_hole <= hole <= self.length and hole not in self.data


@pytest.mark.parametrize("seed", range(int(os.environ.get("TARN_LONG", "0")) * 40 + 3))
def test_random_copies_and_seeks(mount, seed):
    chance = random.Random(seed)
    files = [Mirror(mount.path(f"copied{seed}-{number}")) for number in range(2)]

    def spot():
        return max(0, chance.choice(HOT) + chance.randrange(-20, 60))

    for _ in range(80):
        file, other = chance.choice(files), chance.choice(files)
        verb = chance.choice(["write"] * 3 + ["copy"] * 4 + ["truncate", "punch", "check", "sync"])
        if verb == "write":
            file.write(spot(), bytes(chance.randrange(1, 256)
                                     for _ in range(chance.randrange(1, 200))))
        elif verb == "truncate":
            file.truncate(spot())
        elif verb == "punch":
            file.punch(spot(), chance.randrange(1, 400))
        elif verb == "sync":
            os.fsync(file.fd)
        elif verb == "check":
            file.check()
        else:
            low, at = spot(), spot()
            length = chance.choice([chance.randrange(1, 400), CHUNK, 2 * CHUNK + 1])
            if file is not other or low + length <= at or at + length <= low:
                file.copy_to(other, low, at, length)
    for file in files:
        file.check()
        os.close(file.fd)


def test_seeks_find_every_border(mount):
    """Few records in each chunk: nothing is compacted."""
    file = Mirror(mount.path("borders"))
    file.truncate(6 * CHUNK + 5)
    for at, size in ((10, 20), (CHUNK - 5, 10), (2 * CHUNK, 7), (4 * CHUNK + 100, 50)):
        file.write(at, b"d" * size)
    file.punch(15, 5)
    file.punch(2 * CHUNK, 3)
    for border in (0, 10, 15, 20, 30, CHUNK - 5, CHUNK, CHUNK + 5, 2 * CHUNK, 2 * CHUNK + 3,
                   2 * CHUNK + 7, 3 * CHUNK, 4 * CHUNK, 4 * CHUNK + 100, 4 * CHUNK + 150,
                   5 * CHUNK, 6 * CHUNK, 6 * CHUNK + 5, 9 * CHUNK):
        for at in range(max(0, border - 1), border + 2):
            file.check_seek(at, is_exact=True)
    os.close(file.fd)


def test_a_range_copied_onto_itself_is_refused(mount):
    file = Mirror(mount.path("self"))
    file.write(0, b"x" * 1000)
    with pytest.raises(OSError) as caught:
        os.copy_file_range(file.fd, file.fd, 600, 0, 500)
    assert caught.value.errno == errno.EINVAL
    file.copy_to(file, 0, 500, 500)
    assert os.copy_file_range(file.fd, file.fd, 100, 950, 5000) == 50
    assert os.copy_file_range(file.fd, file.fd, 100, 6000, 7000) == 0
    file.data.update({5000 + at: ord("x") for at in range(50)})
    file.length = 5050
    file.check()
    os.close(file.fd)


def test_a_sparse_file_is_copied_and_searched_in_few_steps(mount):
    """The hole of 16 000 chunks is one step of a search; a copy takes one for each GiB."""
    file, end = Mirror(mount.path("sparse")), 1 << 40
    file.write(10, b"begin")
    file.truncate(end)
    file.write(end - 3, b"end")
    assert os.lseek(file.fd, 15, os.SEEK_DATA) == end - 3
    assert os.lseek(file.fd, 0, os.SEEK_HOLE) == 0
    assert os.lseek(file.fd, 10, os.SEEK_HOLE) == 15
    other = Mirror(mount.path("sparse copy"))
    file.copy_to(other, 0, 0, 20 << 30)
    file.copy_to(other, end - (20 << 30), 20 << 30, 1 << 40)
    assert os.pread(other.fd, 5, 10) == b"begin"
    assert os.pread(other.fd, 9, (40 << 30) - 3) == b"end"
    assert os.lseek(other.fd, 15, os.SEEK_DATA) == (40 << 30) - 3
    os.close(file.fd), os.close(other.fd)


def test_a_copy_of_a_large_file_moves_no_byte(mount):
    data = os.urandom(1 << 20)
    with open(mount.path("large"), "wb") as file:
        for _ in range(40):
            file.write(data)
    blocks = count_blocks(mount)
    subprocess.run(["cp", "--reflink=never", "--sparse=never", mount.path("large"),
                    mount.path("large copy")], check=True)
    assert subprocess.run(["cmp", mount.path("large"), mount.path("large copy")],
                          check=False).returncode == 0
    os.unlink(mount.path("large"))
    assert mount.path("large copy").read_bytes() == data * 40
    assert count_blocks(mount) >= blocks


def count_blocks(mount):
    bucket = mount.directory.parent / "bucket-vol"
    return sum(len(files) for _, _, files in os.walk(bucket))
