"""copy_range against a map of bytes, with references and accounts exact; next_chunk."""

import errno
import random
import struct
from collections import Counter

import pytest
from harness.sql_file import CHUNK, PUNCH, FileSession, Model
from harness.sql_volume import ok

ROOT = 1
GIB = 1 << 30


@pytest.fixture
def volume(emptied_volume):
    return emptied_volume


@pytest.fixture
def session(volume):
    made = FileSession(volume)
    for name, ino in ((b"a", 100), (b"b", 101)):
        ok(made.create(ROOT, name, ino))
    yield made
    made.close()


def copy(session, src, off, dst, to, length, kill_suid=False, op=None):
    return session.change("copy_range", src, off, dst, to, length, kill_suid, op=op)


def copy_in_model(source, off, target, to, length):
    length = min(length, source.length - off)
    if length <= 0:
        return 0
    found = {at - off + to: byte for at, byte in source.bytes.items() if off <= at < off + length}
    target.zero(to, to + length)
    target.bytes.update(found)
    target.length = max(target.length, to + length)
    return length


def assert_references_exact(volume):
    """refs of each slice is the number of records that name it, and nothing else is counted."""
    named = Counter()
    for (slices,) in volume.query("SELECT slices FROM jfs_chunk"):
        named.update((r[1], r[2]) for r in struct.iter_unpack("!IQIII", bytes(slices)) if r[1])
    kept = {(i, size): refs for i, size, refs in volume.query(
        "SELECT chunkid, size, refs FROM jfs_chunk_ref")}
    assert kept == dict(named)


@pytest.mark.parametrize("seed", range(6))
def test_random_copies_between_files_read_as_a_map_of_bytes(volume, session, seed):
    """Offsets lie around the borders of chunks, where records are cut."""
    chance = random.Random(seed)
    models = {100: Model(), 101: Model()}
    hot = [0, 40, CHUNK - 30, CHUNK, CHUNK + 25, 2 * CHUNK - 10, 3 * CHUNK]

    def spot():
        return max(0, chance.choice(hot) + chance.randrange(-20, 20))

    for _ in range(60):
        ino = chance.choice([100, 101])
        verb = chance.choice(["write", "write", "copy", "copy", "copy", "punch", "truncate"])
        if verb == "write":
            at = spot()
            data = bytes(chance.randrange(1, 256)
                         for _ in range(min(chance.randrange(1, 60), CHUNK - at % CHUNK)))
            ok(session.write_at(ino, at, data))
            models[ino].write(at, data)
        elif verb == "truncate":
            length = spot()
            ok(session.truncate(ino, length))
            models[ino].truncate(length)
        elif verb == "punch":
            at, length = spot(), chance.randrange(1, 80)
            ok(session.fallocate(ino, PUNCH, at, length))
            models[ino].zero(at, at + length)
        else:
            target = chance.choice([100, 101])
            off, to = spot(), spot()
            length = chance.choice([chance.randrange(0, 100), CHUNK, CHUNK + 50])
            if ino == target and off < to + length and to < off + length:
                assert copy(session, ino, off, target, to, length).err == errno.EINVAL
                continue
            reply = ok(copy(session, ino, off, target, to, length))
            assert reply.rdev == copy_in_model(models[ino], off, models[target], to, length)
            assert reply.length == models[target].length
    for ino, model in models.items():
        session.assert_reads_as(ino, model)
    assert_references_exact(volume)
    ok(session.flush())
    assert volume.value("SELECT value FROM jfs_counter WHERE name = 'usedSpace'") == sum(
        max(1, (m.length + 4095) // 4096) * 4096 for m in models.values())


def test_a_copy_is_replayed_once(volume, session):
    ok(session.write_at(100, 0, b"x" * 100))
    done = ok(copy(session, 100, 0, 101, 50, 100))
    assert done.rdev == 100 and done.length == 150
    assert copy(session, 100, 0, 101, 50, 100, op=session.op) == done
    assert_references_exact(volume)


def test_times_of_the_destination_change_and_of_the_source_do_not(session):
    ok(session.write_at(100, 0, b"x" * 100))
    source, before = session.read("getattr", 100), session.read("getattr", 101)
    after = ok(copy(session, 100, 0, 101, 0, 100))
    assert (after.mtime, after.mtimensec) > (before.mtime, before.mtimensec)
    assert session.read("getattr", 100) == source


def test_what_is_copied_stays_when_the_source_goes(volume, session):
    ok(session.write_at(100, 0, b"x" * 100))
    ok(copy(session, 100, 0, 101, 0, 100))
    ok(session.truncate(100, 0))
    model = Model()
    model.write(0, b"x" * 100)
    session.assert_reads_as(101, model)
    assert_references_exact(volume)


def test_refusals(volume, session):
    ok(session.write_at(100, 0, b"x" * 100))
    ok(session.mkdir(ROOT, b"dir", 102))
    before = volume.contents()
    assert copy(session, 999, 0, 101, 0, 1).err == errno.ENOENT
    assert copy(session, 100, 0, 999, 0, 1).err == errno.ENOENT
    assert copy(session, 102, 0, 101, 0, 1).err == errno.EINVAL
    assert copy(session, 100, 0, 102, 0, 1).err == errno.EINVAL
    assert copy(session, 100, -1, 101, 0, 1).err == errno.EINVAL
    assert copy(session, 100, 0, 100, 50, 60).err == errno.EINVAL
    assert copy(session, 100, 0, 101, 1 << 57, 1).err == errno.EFBIG
    assert ok(copy(session, 100, 100, 101, 0, 10)).rdev == 0
    assert ok(copy(session, 100, 0, 101, 0, 0)).rdev == 0
    assert volume.contents() == before
    for flag in (1, 2):
        volume.db.execute("UPDATE jfs_node SET flags = %s WHERE inode = 101", [flag])
        assert copy(session, 100, 0, 101, 0, 1).err == errno.EPERM


def test_a_slice_without_references_is_not_copied(volume, session):
    ok(session.write_at(100, 0, b"x" * 100))
    volume.db.execute("DELETE FROM jfs_chunk_ref")
    before = volume.contents()
    assert copy(session, 100, 0, 101, 0, 100).err == errno.EIO
    assert volume.contents() == before


def test_one_call_is_bounded_and_the_rest_follows(volume, session):
    ok(session.write_at(100, 10, b"x"))
    ok(session.truncate(100, 1 << 40))
    ok(session.write_at(100, (1 << 40) - 1, b"y"))
    assert ok(copy(session, 100, 0, 101, 0, 1 << 40)).rdev == GIB
    assert ok(copy(session, 100, (1 << 40) - 5, 101, GIB, 1 << 40)).rdev == 5
    model = Model()
    model.write(10, b"x")
    model.write(GIB + 4, b"y")
    session.assert_reads_as(101, model)
    assert volume.value("SELECT count(*) FROM jfs_chunk WHERE inode = 101") == 2


def test_many_records_are_copied_in_several_calls(volume, session):
    """Every second byte is another slice's, and a second chunk follows."""
    model, most = Model(), 2200
    slices = [session.slice(0, b"b" * most), session.slice(CHUNK, b"d" * 10)]
    for at in range(0, most, 2):
        slices.append(session.slice(at, b"c"))
    for piece in slices:
        model.write(piece.indx * CHUNK + piece.pos, piece.data)
    ok(session.write(100, *slices))
    target, done, calls = Model(), 0, 0
    while done < CHUNK + 10:
        done += ok(copy(session, 100, done, 101, done + 7, GIB)).rdev
        calls += 1
        assert calls < 10
    copy_in_model(model, 0, target, 7, CHUNK + 10)
    session.assert_reads_as(101, target)
    assert calls > 2
    assert_references_exact(volume)


def test_two_that_copy_crosswise_do_not_lock_each_other_out(volume, session):
    ok(session.write_at(100, 0, b"x" * 100))
    ok(session.write_at(101, 0, b"y" * 100))
    other = FileSession(volume, session.data)
    session.begin()
    ok(copy(session, 100, 0, 101, 200, 100))
    crossing = other.start("change", "copy_range", 101, 0, 100, 200, 100, False).until_blocked()
    session.commit()
    ok(crossing.answer())
    assert_references_exact(volume)
    other.close()


def test_the_change_log_has_the_entry_of_stock(volume, session):
    ok(session.write_at(100, 0, b"x" * 100))
    volume.db.execute("UPDATE jfs_setting SET value = jsonb_set(value::jsonb, '{ChangeLog}', 'true')"
                      " WHERE name = 'format'")
    volume.db.execute("SELECT tarn_1.flags_refresh()")
    ok(copy(session, 100, 10, 101, 5, 1000))
    entry = volume.value("SELECT entry FROM jfs_change_log ORDER BY id DESC LIMIT 1")
    assert entry.split("|")[1] == "COPYFILERANGE(100,10,101,5,90):95"


def test_next_chunk_skips_what_has_no_records(session):
    ok(session.write_at(100, 5 * CHUNK, b"x"))
    assert session.read("next_chunk", 100, 0).indx == 5
    assert session.read("next_chunk", 100, 5).indx == 5
    assert session.read("next_chunk", 100, 6).indx is None
    assert session.read("next_chunk", 999, 0).err == errno.ENOENT
