"""Random file system operations: made from a seed, carried out in any directory, shrunk.

An operation is (whose turn, method of Side, its arguments...), all plain Python values, so that a
list of them can be printed, stored and carried out again:

    python3 tests/fuse/operations.py FILE NEW-DIRECTORY...

carries out the list in FILE, one operation in a line, and prints each with its outcome. The
directory is one that several mounts show when there are several, else everything happens in the
first. Run it once locally and once on the mounts: diff(1) shows where they part.
"""

import ast
import contextlib
import errno
import mmap
import os
import random
import stat
import sys
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "system"))

from harness.syscalls import (FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE,  # noqa: E402
                              RENAME_EXCHANGE, RENAME_NOREPLACE, fallocate, renameat2)

_DIRECTORIES = ["", "a", "b", "a/c", "b/d"]
_NAMES = ["x", "y", "z", "c", "d"]
_LARGEST = 300_000


class Side:
    """One tree, seen by way of one or several mounts, with the handles that are open in it.

    roots: the tree in each mount; operations take them by turn. counts_links: link counts are part
    of an outcome; in a volume with trash, what was unlinked keeps one.
    """

    def __init__(self, *roots, counts_links=True):
        self.roots, self.root = roots, roots[0]
        self.counts_links = counts_links
        self.root.mkdir()
        self.handles = {}

    def close(self):
        for handle in self.handles.values():
            os.close(handle)
        self.handles.clear()

    def run(self, operation):
        """The outcome of one operation, in a form that both sides can agree on."""
        turn, name, *arguments = operation
        self.root = self.roots[turn % len(self.roots)]
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
        # A directory that another mount moved must be looked at before it is renamed here, as mv(1)
        # does: the kernel answers ESTALE to a first look from inside a rename between directories.
        if len(self.roots) > 1:
            for path in (old, new):
                with contextlib.suppress(OSError):
                    os.lstat(self._at(path))
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
        links = st.st_nlink if self.counts_links else None
        return st.st_mode, links, st.st_uid, st.st_gid, size

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
            return zlib.crc32(os.pread(self.handles[slot], length, offset))
        return None

    def map_write(self, slot, offset, seed, length):
        """Write what lies within the file by way of a shared map."""
        if slot in self.handles:
            end = min(offset + length, os.fstat(self.handles[slot]).st_size)
            if end > offset:
                with mmap.mmap(self.handles[slot], end) as view:
                    view[offset:end] = random.Random(seed).randbytes(end - offset)

    def copy_range(self, source, offset, target, to, length):
        if source in self.handles and target in self.handles:
            return copy_range(self.handles[source], offset, self.handles[target], to, length)
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

    # Whole visits of a file, from open to close: what several mounts agree on.

    def _visit(self, path, flags, act):
        file = os.open(self._at(path), flags | os.O_NONBLOCK | os.O_NOFOLLOW, 0o644)
        try:
            return act(file) if stat.S_ISREG(os.fstat(file).st_mode) else "not a file"
        finally:
            os.close(file)

    def visit_create(self, path, flags):
        return self._visit(path, os.O_RDWR | os.O_CREAT | flags, lambda file: None)

    def visit_write(self, path, flags, offset, seed, length):
        data = random.Random(seed).randbytes(length)
        return self._visit(path, os.O_WRONLY | flags, lambda file: os.pwrite(file, data, offset))

    def visit_read(self, path, offset, length):
        return self._visit(path, os.O_RDONLY,
                           lambda file: zlib.crc32(os.pread(file, length, offset)))

    def visit_fallocate(self, path, mode, offset, length):
        return self._visit(path, os.O_RDWR, lambda file: fallocate(file, mode, offset, length))

    def visit_copy(self, source, offset, target, to, length):
        def copy_from(file):
            return self._visit(target, os.O_WRONLY,
                               lambda into: copy_range(file, offset, into, to, length))
        return self._visit(source, os.O_RDONLY, copy_from)


def copy_range(source, offset, target, to, length):
    """copy_file_range to its end, as cp(1) does; how many bytes that was."""
    done = 0
    while done < length:
        count = os.copy_file_range(source, target, length - done, offset + done, to + done)
        if count == 0:
            break
        done += count
    return done


class Maker:
    """Arguments by chance, and how often each operation comes."""

    def __init__(self, seed):
        self.chance = random.Random(seed)

    def path(self):
        place = self.chance.choice(_DIRECTORIES)
        name = self.chance.choice(_NAMES)
        return f"{place}/{name}" if place else name

    def slot(self):
        return self.chance.randrange(4)

    def size(self):
        return self.chance.choice([0, 1, 4096, self.chance.randrange(_LARGEST),
                                   self.chance.randrange(_LARGEST)])

    def seed(self):
        return self.chance.randrange(1 << 30)

    def allocation(self):
        return self.chance.choice([0, FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE,
                                   FALLOC_ZERO_RANGE, FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE])

    def names(self):
        chance, path, size = self.chance, self.path, self.size
        return {
            "mkdir": (6, lambda: (path(), chance.choice([0o755, 0o700, 0o2775]))),
            "rmdir": (3, lambda: (path(),)),
            "unlink": (5, lambda: (path(),)),
            "rename": (8, lambda: (path(), path(), chance.choice([0, 0, RENAME_NOREPLACE,
                                                                  RENAME_EXCHANGE]))),
            "link": (4, lambda: (path(), path())),
            "symlink": (2, lambda: (chance.choice(["x", "../y", "none", "a" * 300]), path())),
            "fifo": (1, lambda: (path(),)),
            "chmod": (3, lambda: (path(), chance.choice([0o600, 0o644, 0o4755, 0o1777, 0]))),
            "chown": (2, lambda: (path(), chance.choice([0, 1000, 70000]),
                                  chance.choice([0, 1000]))),
            "truncate": (4, lambda: (path(), size())),
            "setxattr": (3, lambda: (path(), f"user.{chance.choice('pq')}",
                                     chance.randbytes(chance.randrange(200)),
                                     chance.choice([0, os.XATTR_CREATE, os.XATTR_REPLACE]))),
            "removexattr": (1, lambda: (path(), f"user.{chance.choice('pq')}")),
            "listdir": (3, lambda: (chance.choice(_DIRECTORIES),)),
            "stat": (5, lambda: (path(),)),
        }

    def handles(self):
        slot, size, chance = self.slot, self.size, self.chance
        return {
            "open": (14, lambda: (slot(), self.path(), chance.choice(
                [os.O_RDWR, os.O_RDWR | os.O_CREAT, os.O_RDWR | os.O_CREAT | os.O_EXCL,
                 os.O_RDWR | os.O_CREAT | os.O_TRUNC]))),
            "shut": (3, lambda: (slot(),)),
            "write": (16, lambda: (slot(), size(), self.seed(), size() // 4)),
            "map_write": (3, lambda: (slot(), size(), self.seed(), size() // 4)),
            "read": (10, lambda: (slot(), size(), size())),
            "fsync": (2, lambda: (slot(),)),
            "fstat": (4, lambda: (slot(),)),
            "ftruncate": (3, lambda: (slot(), size())),
            "fallocate": (4, lambda: (slot(), self.allocation(), size(), size() + 1)),
            "copy_range": (4, lambda: (slot(), size(), slot(), size(), size())),
        }

    def visits(self):
        path, size, chance = self.path, self.size, self.chance
        return {
            "visit_create": (14, lambda: (path(), chance.choice([0, os.O_EXCL, os.O_TRUNC]))),
            "visit_write": (14, lambda: (path(), chance.choice([0, 0, os.O_APPEND]), size(),
                                         self.seed(), size() // 4)),
            "visit_read": (12, lambda: (path(), size(), size())),
            "visit_fallocate": (4, lambda: (path(), self.allocation(), size(), size() + 1)),
            "visit_copy": (4, lambda: (path(), size(), path(), size(), size())),
        }


def make_operations(seed, count, mounts=1):
    """A list of operations; for several mounts those that do not depend on what one caches."""
    maker = Maker(seed)
    makers = {**maker.names(), **(maker.visits() if mounts > 1 else maker.handles())}
    weights = [weight for weight, _ in makers.values()]
    start = [(0, "mkdir", name, 0o755) for name in _DIRECTORIES if name]
    return start + [(maker.chance.randrange(mounts), name, *makers[name][1]())
                    for name in maker.chance.choices(list(makers), weights, k=count)]


def first_disagreement(operations, one, other):
    """Carry them out on two sides; what the first differing outcome is, or None."""
    for index, operation in enumerate(operations):
        got, want = one.run(operation), other.run(operation)
        if got != want:
            return f"operation {index} {operation}: {got!r}, locally {want!r}"
    return None


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


def load(file):
    """A stored list."""
    with open(file, encoding="utf-8") as lines:
        return [ast.literal_eval(line.strip().rstrip(",")) for line in lines]


def store(operations, file):
    with open(file, "w", encoding="utf-8") as lines:
        lines.writelines(f"{operation},\n" for operation in operations)


def replay(file, *directories):
    side = Side(*map(Path, directories))
    for operation in load(file):
        print(operation, "->", repr(side.run(operation)))
    side.close()


if __name__ == "__main__":
    replay(*sys.argv[1:])
