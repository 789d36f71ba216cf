"""Contents of files through the SQL functions, without a bucket: slices are kept in memory.

A file is modelled as its length and the bytes that are not zero, so that files of many chunks cost
nothing. Written bytes are never zero.
"""

import struct
import zlib
from collections import Counter, namedtuple
from contextlib import contextmanager

from .sql_volume import SqlSession, split_usage

CHUNK = 64 << 20
SUM = 256 << 10
NOW = 1_700_000_000_000_000

Slice = namedtuple("Slice", "indx pos id data")

MODE, UID, GID, LENGTH, ATIME, MTIME = 1, 2, 4, 8, 16, 32
ATIME_NOW, MTIME_NOW, FLAGS, KILL_SUID, BY_HANDLE = 64, 128, 256, 512, 1024

KEEP_SIZE, PUNCH, ZERO = 1, 3, 16


def sums_of(data):
    """As many sums as the data need; which checksum it is does not matter to SQL."""
    return b"".join(struct.pack("!I", zlib.crc32(data[at:at + SUM]))
                    for at in range(0, len(data), SUM))


class Model:
    """What a file must read as."""

    def __init__(self):
        self.length = 0
        self.bytes = {}

    def write(self, offset, data):
        self.bytes.update(enumerate(data, offset))
        self.length = max(self.length, offset + len(data))

    def zero(self, start, end):
        for at in [at for at in self.bytes if start <= at < end]:
            del self.bytes[at]

    def truncate(self, length):
        self.zero(length, max(length, self.length))
        self.length = length


def overlay(records, data_of):
    """The bytes of a chunk that are not zero, by the rules of the volume format §7.2."""
    found = {}
    for pos, slice_id, size, off, length in struct.iter_unpack("!IQIII", records):
        assert length > 0 and pos + length <= CHUNK and off + length <= max(size, length)
        for at in [at for at in found if pos <= at < pos + length]:
            del found[at]
        if slice_id == 0:
            assert (size, off) == (0, 0)
            continue
        assert size == len(data_of[slice_id])
        found.update(enumerate(data_of[slice_id][off:off + length], pos))
    return found


def unpack_sums(packed):
    """[(slice id, size, bytes of its sums)] of the column "sums"."""
    found, at = [], 0
    packed = bytes(packed or b"")
    while at < len(packed):
        slice_id, size, count = struct.unpack_from("!QII", packed, at)
        found.append((slice_id, size, packed[at + 16:at + 16 + 4 * count]))
        at += 16 + 4 * count
    assert at == len(packed)
    return found


class FileSession(SqlSession):
    """A session that was opened by its function, with the verbs for files.

    data is {slice id: bytes}, shared by all sessions of a volume. The usage of every answer is
    gathered, as a mount does, until it is flushed.
    """

    def __init__(self, volume, data=None, ttl=3600):
        super().__init__(volume, None)
        self.sid = self.read("session_open", b"{}", ttl).sid
        self.data = {} if data is None else data
        self.usage = Counter()

    def change(self, verb, *arguments, op=None, **more):
        reply = super().change(verb, *arguments, op=op, **more)
        if op is None and reply.usage:
            self.usage.update({("volume", i): n for i, n in enumerate(reply.usage[:2])})
            for at in range(2, len(reply.usage), 4):
                key, deltas = split_usage(reply.usage[at:at + 4])
                self.usage.update({(key, i): n for i, n in enumerate(deltas)})
        return reply

    def slice(self, offset, data):
        """A slice of a new id for data at an offset of a file; it must not cross a chunk."""
        slice_id = self.read("alloc", "nextChunk", 1).first
        self.data[slice_id] = bytes(data)
        assert offset % CHUNK + len(data) <= CHUNK
        return Slice(offset // CHUNK, offset % CHUNK, slice_id, bytes(data))

    def write(self, ino, *slices, mtime=NOW, mtimensec=0, kill_suid=False, op=None):
        return self.change("write", ino, [s.indx for s in slices], [s.pos for s in slices],
                           [s.id for s in slices], [len(s.data) for s in slices], mtime, mtimensec,
                           kill_suid, [sums_of(s.data) for s in slices], op=op)

    def write_at(self, ino, offset, data, **more):
        return self.write(ino, self.slice(offset, data), **more)

    def setattr(self, ino, mask, *, mode=0, uid=0, gid=0, flags=0, length=0, atime=0, atimensec=0,
                mtime=0, mtimensec=0, caller=0, op=None):
        return self.change("setattr", ino, mask, mode, uid, gid, flags, length, atime, atimensec,
                           mtime, mtimensec, caller, caller, op=op)

    def truncate(self, ino, length, mask=0, **more):
        return self.setattr(ino, LENGTH | mask, length=length, **more)

    def fallocate(self, ino, mode, offset, length, op=None):
        return self.change("fallocate", ino, mode, offset, length, op=op)

    def release(self, ino, op=None):
        return self.change("release", ino, op=op)

    def setxattr(self, ino, name, value, flags=0, op=None):
        return self.change("setxattr", ino, name, value, flags, op=op)

    def removexattr(self, ino, name, op=None):
        return self.change("removexattr", ino, name, op=op)

    def flush(self, usage=None, op=None):
        """Bring usage in, or what was gathered since the last time."""
        if usage is None:
            usage = self._gathered()
        return self.change("usage_flush", usage, op=op)

    def _gathered(self):
        gathered, self.usage = self.usage, Counter()
        usage = [gathered["volume", 0], gathered["volume", 1]]
        for key in sorted({key[0] for key in gathered} - {"volume"}):
            usage += [*key, *(gathered[key, i] for i in range(4 - len(key)))]
        return usage

    def contents(self, ino):
        """What a reader sees: (length, bytes that are not zero), read as a client reads."""
        opened = self.read("open", ino, False)
        assert opened.err == 0
        found, last = {}, (opened.length + CHUNK - 1) // CHUNK
        for first in range(0, max(last, 1), 16):
            for row in self.rows("slices", ino, first, 16):
                assert row.err == 0
                if row.indx == 0:
                    assert (row.records, row.sums) == (opened.records, opened.sums)
                self._check_sums(bytes(row.records), row.sums)
                chunk = overlay(bytes(row.records), self.data)
                found.update((row.indx * CHUNK + at, byte) for at, byte in chunk.items())
        return opened.length, {at: b for at, b in found.items() if at < opened.length}

    def _check_sums(self, records, packed):
        named = {r[1] for r in struct.iter_unpack("!IQIII", records)} - {0}
        assert unpack_sums(packed) == [
            (i, len(self.data[i]), sums_of(self.data[i])) for i in sorted(named)]

    def assert_reads_as(self, ino, model):
        length, found = self.contents(ino)
        assert length == model.length
        assert found == model.bytes


@contextmanager
def file_sessions(volume):
    """Makes sessions that share one store of slices, and closes them."""
    made, data = [], {}

    def make():
        made.append(FileSession(volume, data))
        return made[-1]
    yield make
    for session in made:
        session.close()
