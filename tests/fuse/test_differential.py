"""The same random operations on a local file system and on a mount: the same results, the same tree.

A run is a list of operations made from a seed. Each is carried out on both sides and the outcomes
(value or errno) are compared at once; at the end the trees are compared, and again after a remount
with a cold cache. When they differ the list is shrunk before it is shown.

TARN_TEST_SEED changes the seeds, TARN_TEST_ROUNDS the number of runs.
"""

import errno
import os
import random
import stat

import pytest

from harness.check import assert_consistent
from harness.syscalls import (FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE,
                              RENAME_EXCHANGE, RENAME_NOREPLACE, fallocate, renameat2)
from harness.tree import differences, read_tree

SEED = int(os.environ.get("TARN_TEST_SEED", "1"))
ROUNDS = int(os.environ.get("TARN_TEST_ROUNDS", "8"))
LENGTH = 400
COMPARED = ("type", "mode", "uid", "gid", "nlink", "rdev", "sha256", "target", "xattrs")
_DIRECTORIES = ["", "a", "b", "a/c", "b/d"]
_NAMES = ["x", "y", "z", "c", "d"]
_LARGEST = 300_000


class Side:
    """One of the two trees, with the handles that are open in it."""

    def __init__(self, root):
        self.root = root
        self.root.mkdir()
        self.handles = {}

    def close(self):
        for handle in self.handles.values():
            os.close(handle)
        self.handles.clear()

    def run(self, operation):
        """The outcome of one operation, in a form that both sides can agree on."""
        name, *arguments = operation
        try:
            return getattr(self, name)(*arguments)
        except OSError as problem:
            return errno.errorcode[problem.errno]

    def _at(self, path):
        return self.root / path

    def mkdir(self, path, mode):
        os.mkdir(self._at(path), mode)

    def rmdir(self, path):
        os.rmdir(self._at(path))

    def unlink(self, path):
        os.unlink(self._at(path))

    def rename(self, old, new, flags):
        renameat2(self._at(old), self._at(new), flags)

    def link(self, old, new):
        os.link(self._at(old), self._at(new), follow_symlinks=False)

    def symlink(self, target, path):
        os.symlink(target, self._at(path))

    def fifo(self, path):
        os.mkfifo(self._at(path), 0o640)

    def chmod(self, path, mode):
        if not os.path.islink(self._at(path)):
            os.chmod(self._at(path), mode)

    def chown(self, path, uid, gid):
        os.chown(self._at(path), uid, gid, follow_symlinks=False)

    def truncate(self, path, size):
        if stat.S_ISREG(os.lstat(self._at(path)).st_mode):
            os.truncate(self._at(path), size)

    def setxattr(self, path, name, value, flags):
        if stat.S_ISREG(os.lstat(self._at(path)).st_mode):
            os.setxattr(self._at(path), name, value, flags)

    def removexattr(self, path, name):
        if stat.S_ISREG(os.lstat(self._at(path)).st_mode):
            os.removexattr(self._at(path), name)

    def listdir(self, path):
        return sorted(os.listdir(self._at(path)))

    def stat(self, path):
        st = os.lstat(self._at(path))
        size = st.st_size if not stat.S_ISDIR(st.st_mode) else None
        return st.st_mode, st.st_nlink, st.st_uid, st.st_gid, size

    def open(self, slot, path, flags):
        # Opening a fifo would wait for its other end, and a link's target may be one.
        made = os.open(self._at(path), flags | os.O_NONBLOCK | os.O_NOFOLLOW, 0o644)
        if not stat.S_ISREG(os.fstat(made).st_mode):
            os.close(made)
            return "not a file"
        self.shut(slot)
        self.handles[slot] = made
        return None

    def shut(self, slot):
        if slot in self.handles:
            os.close(self.handles.pop(slot))

    def write(self, slot, offset, seed, length):
        if slot in self.handles:
            return os.pwrite(self.handles[slot], random.Random(seed).randbytes(length), offset)
        return None

    def read(self, slot, offset, length):
        if slot in self.handles:
            return hash(os.pread(self.handles[slot], length, offset))
        return None

    def fsync(self, slot):
        if slot in self.handles:
            os.fsync(self.handles[slot])

    def fstat(self, slot):
        if slot in self.handles:
            st = os.fstat(self.handles[slot])
            return st.st_mode, st.st_nlink, st.st_size
        return None

    def ftruncate(self, slot, size):
        if slot in self.handles:
            os.ftruncate(self.handles[slot], size)

    def fallocate(self, slot, mode, offset, length):
        if slot in self.handles:
            fallocate(self.handles[slot], mode, offset, length)


def make_operations(seed, count=LENGTH):
    chance = random.Random(seed)

    def path():
        place = chance.choice(_DIRECTORIES)
        name = chance.choice(_NAMES)
        return f"{place}/{name}" if place else name

    def slot():
        return chance.randrange(4)

    def size():
        return chance.choice([0, 1, 4096, chance.randrange(_LARGEST), chance.randrange(_LARGEST)])
    makers = {
        "mkdir": (6, lambda: (path(), chance.choice([0o755, 0o700, 0o2775]))),
        "rmdir": (3, lambda: (path(),)),
        "unlink": (5, lambda: (path(),)),
        "rename": (8, lambda: (path(), path(), chance.choice([0, 0, RENAME_NOREPLACE,
                                                              RENAME_EXCHANGE]))),
        "link": (4, lambda: (path(), path())),
        "symlink": (2, lambda: (chance.choice(["x", "../y", "none", "a" * 300]), path())),
        "fifo": (1, lambda: (path(),)),
        "chmod": (3, lambda: (path(), chance.choice([0o600, 0o644, 0o4755, 0o1777, 0]))),
        "chown": (2, lambda: (path(), chance.choice([0, 1000, 70000]), chance.choice([0, 1000]))),
        "truncate": (4, lambda: (path(), size())),
        "setxattr": (3, lambda: (path(), f"user.{chance.choice('pq')}",
                                 chance.randbytes(chance.randrange(200)),
                                 chance.choice([0, os.XATTR_CREATE, os.XATTR_REPLACE]))),
        "removexattr": (1, lambda: (path(), f"user.{chance.choice('pq')}")),
        "listdir": (3, lambda: (chance.choice(_DIRECTORIES),)),
        "stat": (5, lambda: (path(),)),
        "open": (14, lambda: (slot(), path(), chance.choice(
            [os.O_RDWR, os.O_RDWR | os.O_CREAT, os.O_RDWR | os.O_CREAT | os.O_EXCL,
             os.O_RDWR | os.O_CREAT | os.O_TRUNC]))),
        "shut": (3, lambda: (slot(),)),
        "write": (16, lambda: (slot(), size(), chance.randrange(1 << 30), size() // 4)),
        "read": (10, lambda: (slot(), size(), size())),
        "fsync": (2, lambda: (slot(),)),
        "fstat": (4, lambda: (slot(),)),
        "ftruncate": (3, lambda: (slot(), size())),
        "fallocate": (4, lambda: (slot(), chance.choice(
            [0, FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, FALLOC_ZERO_RANGE,
             FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE]), size(), size() + 1)),
    }
    names = list(makers)
    weights = [makers[name][0] for name in names]
    start = [("mkdir", name, 0o755) for name in _DIRECTORIES if name]
    return start + [(name, *makers[name][1]())
                    for name in chance.choices(names, weights, k=count)]


def first_difference(operations, local, mounted):
    """Carry out both; None when they agree, else what differs. Both sides stay for inspection."""
    ours, theirs = Side(mounted), Side(local)
    try:
        for index, operation in enumerate(operations):
            got, want = ours.run(operation), theirs.run(operation)
            if got != want:
                return f"operation {index} {operation}: {got!r}, locally {want!r}"
    finally:
        ours.close()
        theirs.close()
    lines = differences(read_tree(local), read_tree(mounted), COMPARED)
    return "\n".join(lines) or None


def shrink(operations, fails, most=80):
    """A shorter list that still fails: drop ever smaller parts as long as it goes on failing."""
    part, tries = max(1, len(operations) // 2), 0
    while tries < most:
        shorter, index = None, 0
        while index < len(operations) and tries < most:
            candidate = operations[:index] + operations[index + part:]
            tries += 1
            if candidate and fails(candidate):
                operations = shorter = candidate
            else:
                index += part
        if part == 1 and shorter is None:
            break
        part = max(1, part // 2) if shorter is None else part
    return operations


@pytest.mark.parametrize("seed", range(SEED * 1000, SEED * 1000 + ROUNDS))
def test_random_operations_agree_with_a_local_file_system(plain_volume, workdir, seed):
    operations = make_operations(seed)
    local = workdir / "local"
    local.mkdir()
    with plain_volume.mount() as mount:
        serial = 0

        def differ(candidate):
            nonlocal serial
            serial += 1
            return first_difference(candidate, local / str(serial), mount.path(str(serial)))
        problem = differ(operations)
        if problem:
            shortest = shrink(operations, differ)
            pytest.fail(f"seed {seed}: {problem}\nshrunk to:\n"
                        + "\n".join(f"    {operation}," for operation in shortest)
                        + f"\nwhich says: {differ(shortest)}")
    with plain_volume.mount() as cold:
        lines = differences(read_tree(local / "1"), read_tree(cold.path("1")), COMPARED)
        assert not lines, "after a remount:\n" + "\n".join(lines)
    assert_consistent(plain_volume)


def test_the_shrinker_finds_the_one_bad_operation():
    operations = list(range(100))
    assert shrink(operations, lambda some: 42 in some) == [42]
