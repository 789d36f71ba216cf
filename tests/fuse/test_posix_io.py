"""One file by several ways at once: O_DIRECT, mapped pages, plain calls, and another mount."""

import errno
import mmap
import os
import random

import pytest

from harness.syscalls import (FALLOC_COLLAPSE_RANGE, FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE,
                              FALLOC_ZERO_RANGE, fallocate, opened)

SEED = int(os.environ.get("TARN_TEST_SEED", "1"))
SIZE = 1 << 20
FALLOC_INSERT_RANGE = 0x20


@pytest.fixture
def path(shared_top):
    return shared_top / "file"


def test_direct_plain_and_mapped_writes_of_one_file_agree(path):
    """Each way writes at random, unaligned places, and is read back by each other way."""
    rng = random.Random(SEED)
    expected = bytearray(rng.randbytes(SIZE))
    path.write_bytes(expected)
    with (opened(path, os.O_RDWR | os.O_DIRECT) as direct, opened(path, os.O_RDWR) as plain,
          mmap.mmap(plain, SIZE) as pages):
        def by_pages(offset, data):
            pages[offset:offset + len(data)] = data

        writers = [lambda o, d: os.pwrite(direct, d, o), lambda o, d: os.pwrite(plain, d, o),
                   by_pages]
        readers = [lambda o, n: os.pread(direct, n, o), lambda o, n: os.pread(plain, n, o),
                   lambda o, n: pages[o:o + n]]
        for step in range(300):
            offset, length = rng.randrange(SIZE - 1), rng.randrange(1, 20000)
            data = rng.randbytes(min(length, SIZE - offset))
            rng.choice(writers)(offset, data)
            expected[offset:offset + len(data)] = data
            at, size = rng.randrange(SIZE), rng.randrange(1, 40000)
            got = rng.choice(readers)(at, size)
            assert got == expected[at:at + size][:len(got)], f"step {step}, seed {SEED}"
            assert len(got) == min(size, SIZE - at)
        pages.flush()
    assert path.read_bytes() == expected


def test_a_direct_write_extends_and_appends(path):
    with opened(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT | os.O_APPEND) as file:
        for piece in (b"one", b"two" * 3000, b"3"):
            os.write(file, piece)
        assert os.fstat(file).st_size == 3 + 9000 + 1
    assert path.read_bytes() == b"one" + b"two" * 3000 + b"3"


def test_a_private_map_keeps_its_changes_to_itself(path):
    path.write_bytes(b"content" * 1000)
    with opened(path) as file, mmap.mmap(file, 0, flags=mmap.MAP_PRIVATE,
                                         prot=mmap.PROT_READ | mmap.PROT_WRITE) as pages:
        pages[0:7] = b"CHANGED"
        assert path.read_bytes()[:7] == b"content"
        assert pages[7:14] == b"content"


def test_a_shared_map_is_seen_by_another_mount_once_flushed(plain_volume):
    with plain_volume.mount() as mount, plain_volume.mount() as other:
        mount.path("file").write_bytes(bytes(10000))
        with opened(mount.path("file"), os.O_RDWR) as file, mmap.mmap(file, 10000) as pages:
            pages[5000:5007] = b"content"
            pages.flush()
            os.fsync(file)
            assert other.path("file").read_bytes()[5000:5007] == b"content"


def test_a_file_is_mapped_after_its_descriptor_is_closed(path):
    path.write_bytes(bytes(10000))
    with opened(path, os.O_RDWR) as file:
        pages = mmap.mmap(file, 10000)
    pages[9990:] = b"0123456789"
    pages.flush()
    pages.close()
    assert path.read_bytes()[-10:] == b"0123456789"


@pytest.mark.parametrize("mode, length, expected", [
    (0, 150, b"x" * 100 + bytes(100)),
    (FALLOC_KEEP_SIZE, 150, b"x" * 100),
    (FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 20, b"x" * 50 + bytes(20) + b"x" * 30),
    (FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 150, b"x" * 50 + bytes(50)),
    (FALLOC_ZERO_RANGE, 150, b"x" * 50 + bytes(150)),
    (FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE, 150, b"x" * 50 + bytes(50)),
])
def test_the_kinds_of_fallocate(path, mode, length, expected):
    path.write_bytes(b"x" * 100)
    with opened(path, os.O_RDWR) as file:
        fallocate(file, mode, 50, length)
        assert os.fstat(file).st_size == len(expected)
    assert path.read_bytes() == expected


@pytest.mark.parametrize("mode", [FALLOC_COLLAPSE_RANGE, FALLOC_INSERT_RANGE, FALLOC_PUNCH_HOLE])
def test_other_kinds_of_fallocate_are_not_supported(path, mode):
    path.write_bytes(b"x" * 100)
    with opened(path, os.O_RDWR) as file, pytest.raises(OSError) as refusal:
        fallocate(file, mode, 0, 50)
    assert refusal.value.errno == errno.EOPNOTSUPP
    assert path.read_bytes() == b"x" * 100
