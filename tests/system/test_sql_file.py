"""The functions on contents, attributes and extended attributes, called as mounts call them."""

import random
import struct
import threading

import psycopg
import pytest

from harness.check import assert_consistent, space
from harness.sql_file import (ATIME, ATIME_NOW, BY_HANDLE, CHUNK, FLAGS, GID, KEEP_SIZE, KILL_SUID,
                              LENGTH, MODE, MTIME, MTIME_NOW, NOW, PUNCH, UID, ZERO, FileSession,
                              Model, Slice, file_sessions, sums_of, unpack_sums)
from harness.sql_volume import SqlVolume
from harness.volume import TRASH_INODE, Restored

OK, EPERM, ENOENT, E2BIG, EEXIST, ENODEV, EISDIR = 0, 1, 2, 7, 17, 19, 21
EINVAL, EFBIG, ERANGE, ENODATA, ENOTSUP = 22, 27, 34, 61, 95

ROOT, NOBODY = 1, 999_999
FILE, DIRECTORY, SYMLINK, FIFO, IMMUTABLE, APPEND_ONLY = range(100, 106)
LENGTH_MAX = 1 << 57


@pytest.fixture
def volume(cluster, database):
    made = SqlVolume(cluster, database)
    made.db.execute("UPDATE jfs_counter SET value = 1000 WHERE name = 'nextInode'")
    yield made
    made.close()


@pytest.fixture
def sessions(volume):
    with file_sessions(volume) as make:
        yield make


@pytest.fixture
def tree(sessions):
    """A session, and one inode of each kind in the root."""
    session = sessions()
    session.create(ROOT, b"file", FILE)
    session.mkdir(ROOT, b"dir", DIRECTORY)
    session.create(ROOT, b"link", SYMLINK, 3, mode=0o777, target=b"x")
    session.create(ROOT, b"fifo", FIFO, 4)
    session.create(ROOT, b"immutable", IMMUTABLE)
    session.create(ROOT, b"append", APPEND_ONLY)
    assert session.setattr(IMMUTABLE, FLAGS, flags=1).err == OK
    assert session.setattr(APPEND_ONLY, FLAGS, flags=2).err == OK
    return session


def attributes(session, ino):
    row = session.read("getattr", ino)
    return {k: v for k, v in row.items() if k != "usage"}


def assert_answers_with_the_node(session, reply):
    assert reply.err == OK
    assert {k: v for k, v in reply.items() if k != "usage"} == attributes(session, reply.ino)


# ---- refusals

@pytest.mark.parametrize("ino, error", [
    (NOBODY, ENOENT), (DIRECTORY, EINVAL), (SYMLINK, EINVAL), (FIFO, EINVAL)])
def test_open_refuses_what_is_no_regular_file(tree, ino, error):
    row = tree.read("open", ino, False)
    assert row.err == error
    assert {v for k, v in row.items() if k != "err"} == {None}


def test_open_for_writing_refuses_immutable_files_and_those_in_the_trash(tree):
    assert tree.read("open", IMMUTABLE, True).err == EPERM
    assert tree.read("open", IMMUTABLE, False).err == OK
    assert tree.read("open", APPEND_ONLY, True).err == OK
    tree.unlink(ROOT, b"file")
    assert attributes(tree, FILE)["parent"] > TRASH_INODE
    assert tree.read("open", FILE, True).err == EPERM
    assert tree.read("open", FILE, False).err == OK


@pytest.mark.parametrize("ino, error", [
    (NOBODY, ENOENT), (DIRECTORY, EPERM), (SYMLINK, EPERM), (IMMUTABLE, EPERM)])
def test_write_refuses(volume, tree, ino, error):
    before = volume.contents()
    assert tree.write_at(ino, 0, b"x").err == error
    after = volume.contents()
    assert {t for t in after if after[t] != before[t]} <= {"jfs_counter"}


@pytest.mark.parametrize("bad", [
    {"indx": -1}, {"pos": -1}, {"pos": CHUNK}, {"pos": CHUNK - 1}, {"id": 0}, {"id": -1},
    {"data": b""}, {"indx": None}, {"id": None}])
def test_write_refuses_a_slice_that_the_format_cannot_hold(volume, tree, bad):
    good = tree.slice(0, b"good")
    before = volume.contents()
    wrong = Slice(0, 0, 12345, b"xx")._replace(**bad)
    assert tree.write(FILE, good, wrong).err == EINVAL
    assert volume.contents() == before


def test_write_refuses_what_cannot_be_sums(tree):
    for sums in (b"", b"12345", b"1234" * 1025, None):
        reply = tree.change("write", FILE, [0], [0], [77], [5], NOW, 0, False, [sums])
        assert reply.err == EINVAL


def test_a_slice_id_used_twice_fails_loudly_and_changes_nothing(volume, tree):
    tree.write(FILE, Slice(0, 0, 500, b"first"))
    before = volume.contents()
    with pytest.raises(psycopg.errors.UniqueViolation):
        tree.write(FILE, Slice(0, 0, 500, b"again"))
    assert volume.contents() == before


@pytest.mark.parametrize("ino, mask, more, error", [
    (NOBODY, MODE, {}, ENOENT),
    (IMMUTABLE, MODE, {}, EPERM), (IMMUTABLE, UID, {}, EPERM), (IMMUTABLE, LENGTH, {}, EPERM),
    (IMMUTABLE, MTIME_NOW, {}, EPERM), (IMMUTABLE, FLAGS, {"flags": 0}, OK),
    (APPEND_ONLY, MODE, {}, EPERM), (APPEND_ONLY, GID, {}, EPERM), (APPEND_ONLY, LENGTH, {}, EPERM),
    (APPEND_ONLY, MTIME, {}, EPERM), (APPEND_ONLY, ATIME | MTIME_NOW, {}, EPERM),
    (APPEND_ONLY, ATIME_NOW | MTIME_NOW, {}, OK),
    (APPEND_ONLY, ATIME | ATIME_NOW | MTIME | MTIME_NOW, {}, OK),
    (FILE, UID, {"uid": 1 << 31}, EINVAL), (FILE, GID, {"gid": (1 << 32) - 2}, EINVAL),
    (FILE, UID | GID, {"uid": (1 << 31) - 1, "gid": (1 << 31) - 1}, OK),
    (FILE, LENGTH, {"length": -1}, EINVAL), (FILE, LENGTH, {"length": LENGTH_MAX + 1}, EFBIG),
    (FILE, LENGTH, {"length": LENGTH_MAX}, OK),
    (DIRECTORY, LENGTH, {}, EISDIR), (SYMLINK, LENGTH, {}, EINVAL), (FIFO, LENGTH, {}, EINVAL),
    (FILE, FLAGS, {"flags": 1, "caller": 1000}, EPERM),
    (FILE, FLAGS, {"flags": 32, "caller": 1000}, EPERM),
    (TRASH_INODE, MODE, {}, EPERM)])
def test_setattr_refusals(volume, tree, ino, mask, more, error):
    before = volume.contents()
    assert tree.setattr(ino, mask, **more).err == error
    assert (volume.contents() == before) == (error != OK)


def test_setattr_by_path_refuses_what_lies_in_the_trash_but_an_open_handle_goes_on(tree):
    tree.write_at(FILE, 0, b"temporary")
    tree.unlink(ROOT, b"file")
    hour = attributes(tree, FILE)["parent"]
    assert tree.truncate(FILE, 3).err == EPERM
    assert tree.setattr(hour, MODE, mode=0o777).err == EPERM
    assert tree.truncate(FILE, 3, BY_HANDLE).length == 3
    assert tree.setattr(FILE, MODE | BY_HANDLE, mode=0o600).mode == 0o600
    assert tree.write_at(FILE, 3, b"more").length == 7
    assert tree.fallocate(FILE, 0, 0, 10).length == 10


@pytest.mark.parametrize("ino, mode, off, size, error", [
    (NOBODY, 0, 0, 1, ENOENT), (DIRECTORY, 0, 0, 1, EISDIR), (FIFO, 0, 0, 1, ENODEV),
    (FILE, 0, -1, 1, EINVAL), (FILE, 0, 0, 0, EINVAL), (FILE, 0, 0, -1, EINVAL),
    (FILE, 2, 0, 1, ENOTSUP), (FILE, 8, 0, 1, ENOTSUP), (FILE, 0x20, 0, 1, ENOTSUP),
    (FILE, PUNCH | ZERO, 0, 1, ENOTSUP),
    (FILE, 0, LENGTH_MAX, 1, EFBIG), (FILE, 0, 1, (1 << 63) - 1, EFBIG),
    (FILE, 0, LENGTH_MAX - 1, 1, OK),
    (IMMUTABLE, 0, 0, 1, EPERM), (APPEND_ONLY, PUNCH, 0, 1, EPERM), (APPEND_ONLY, 0, 0, 1, OK)])
def test_fallocate_refusals(volume, tree, ino, mode, off, size, error):
    before = volume.contents()
    assert tree.fallocate(ino, mode, off, size).err == error
    assert (volume.contents() == before) == (error != OK)


def test_slices_of_a_missing_inode(tree):
    assert tree.rows("slices", NOBODY, 0, 16) == [
        {"err": ENOENT, "indx": None, "records": None, "sums": None}]
    assert tree.rows("slices", FILE, 0, 16) == []


# ---- attributes

@pytest.mark.parametrize("mode, after", [
    (0o6755, 0o755), (0o6745, 0o2745), (0o2755, 0o755), (0o4700, 0o700), (0o1777, 0o1777)])
def test_suid_goes_by_chown_and_by_writing_when_asked(tree, mode, after):
    def prepare():
        assert tree.setattr(FILE, MODE, mode=mode).mode == mode
    prepare()
    assert tree.setattr(FILE, UID | GID, uid=5, gid=6).mode == after
    prepare()
    assert tree.write_at(FILE, 0, b"x").mode == mode
    assert tree.write_at(FILE, 0, b"x", kill_suid=True).mode == after
    prepare()
    assert tree.truncate(FILE, 100).mode == mode
    assert tree.truncate(FILE, 50, KILL_SUID).mode == after


def test_chown_of_a_directory_leaves_setgid(tree):
    tree.setattr(DIRECTORY, MODE, mode=0o6777)
    assert tree.setattr(DIRECTORY, UID, uid=7).mode == 0o6777


def test_one_setattr_changes_several_things(tree):
    before = attributes(tree, FILE)
    reply = tree.setattr(FILE, MODE | UID | GID | LENGTH | ATIME | MTIME, mode=0o640, uid=11,
                         gid=12, length=9000, atime=-5, atimensec=3, mtime=NOW, mtimensec=999)
    assert_answers_with_the_node(tree, reply)
    assert (reply.mode, reply.uid, reply.gid, reply.length) == (0o640, 11, 12, 9000)
    assert (reply.atime, reply.atimensec, reply.mtime, reply.mtimensec) == (-5, 3, NOW, 999)
    assert reply.ctime > before["ctime"]
    assert reply.usage == [12288 - 4096, 0, ROOT, 9000, 12288 - 4096, 0]


def test_times_by_the_clock_of_the_database(volume, tree):
    start = volume.value("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8")
    reply = tree.setattr(FILE, ATIME_NOW | MTIME | MTIME_NOW, mtime=5)
    end = volume.value("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8")
    assert start <= reply.atime == reply.mtime == reply.ctime <= end


def test_a_truncation_takes_the_time_it_is_given_or_now(tree):
    assert tree.truncate(FILE, 5, MTIME, mtime=NOW, mtimensec=7).mtime == NOW
    assert attributes(tree, FILE)["mtimensec"] == 7
    assert tree.truncate(FILE, 6, MTIME | MTIME_NOW, mtime=NOW + 1).mtime > NOW + 1
    reply = tree.truncate(FILE, 7, ATIME, atime=NOW)
    assert (reply.atime, reply.mtime > NOW) == (NOW, True)


def test_a_column_that_a_newer_client_adds_under_way_does_not_matter(volume, tree):
    tree.write_at(FILE, 0, b"x")
    tree.read("open", FILE, True)
    volume.db.execute("ALTER TABLE jfs_node ADD future int4")
    assert_answers_with_the_node(tree, tree.write_at(FILE, 0, b"x"))
    assert_answers_with_the_node(tree, tree.setattr(FILE, MODE, mode=0o600))
    assert tree.read("open", FILE, True).mode == 0o600


def test_ids_need_a_wide_column_to_be_large(volume, tree, sessions):
    top = (1 << 32) - 2
    assert tree.setattr(FILE, UID | GID, uid=top, gid=1).err == EINVAL
    volume.db.execute("ALTER TABLE jfs_node ALTER uid TYPE int8, ALTER gid TYPE int8")
    later = sessions()
    assert_answers_with_the_node(later, later.setattr(FILE, UID | GID, uid=top, gid=top))
    assert attributes(later, FILE)["uid"] == top
    assert later.write_at(FILE, 0, b"x").gid == top
    assert later.read("open", FILE, True).uid == top


def test_a_negative_id_is_the_large_one_that_it_stands_for_and_stays(volume, tree):
    volume.db.execute("UPDATE jfs_node SET uid = -2 WHERE inode = %s", [FILE])
    reply = tree.setattr(FILE, MODE, mode=0o600, caller=(1 << 32) - 2)
    assert (reply.err, reply.uid) == (OK, (1 << 32) - 2)
    assert tree.setattr(FILE, FLAGS, flags=32, caller=(1 << 32) - 2).flags == 32
    assert volume.value("SELECT uid FROM jfs_node WHERE inode = %s", [FILE]) == -2


def test_truncation_to_the_same_length_changes_nothing(volume, tree):
    tree.write_at(FILE, 0, b"five!")
    before = volume.contents()
    assert_answers_with_the_node(tree, tree.truncate(FILE, 5))
    assert volume.contents() == before
    assert tree.truncate(FILE, 5, MODE, mode=0o600).mode == 0o600
    assert tree.truncate(FILE, 0).length == 0
    assert_answers_with_the_node(tree, tree.truncate(FILE, 0))


def test_every_change_of_data_moves_mtime_on_even_when_the_clock_stands(tree):
    seen = set()

    def note(reply):
        assert reply.err == OK
        stamp = (reply.mtime, reply.mtimensec)
        assert not seen or stamp > max(seen)
        seen.add(stamp)
    for _ in range(1100):
        note(tree.write(FILE, tree.slice(0, b"x"), mtime=NOW, mtimensec=5))
    note(tree.write_at(FILE, 0, b"y", mtime=NOW - 10))
    for change in (lambda: tree.truncate(FILE, 9), lambda: tree.truncate(FILE, 0),
                   lambda: tree.fallocate(FILE, 0, 0, 5), lambda: tree.fallocate(FILE, ZERO, 0, 5)):
        note(change())


def test_a_write_brings_a_future_mtime_back(tree):
    tree.setattr(FILE, MTIME, mtime=NOW + 10**15)
    assert tree.write_at(FILE, 0, b"x", mtime=NOW).mtime == NOW


def test_only_root_and_only_the_owner_set_flags(tree):
    tree.setattr(FILE, UID, uid=1000)
    assert tree.setattr(FILE, FLAGS, flags=32, caller=1001).err == EPERM
    assert tree.setattr(FILE, FLAGS, flags=32, caller=1000).flags == 32
    assert tree.setattr(FILE, FLAGS, flags=33, caller=1000).err == EPERM
    assert tree.setattr(FILE, FLAGS, flags=33).flags == 33
    assert tree.setattr(FILE, FLAGS, flags=32, caller=1000).err == EPERM
    assert tree.setattr(FILE, FLAGS, flags=0).flags == 0


# ---- contents

def random_offset(rng, length):
    """Mostly at chunk borders and near the end: there the mistakes are."""
    near = rng.choice([0, 0, CHUNK, 2 * CHUNK, 3 * CHUNK, length, rng.randrange(4 * CHUNK)])
    return max(0, near + rng.randint(-40, 40))


def random_step(rng, session, ino, model):
    kind = rng.choices(["write", "many", "truncate", "fallocate"], [6, 2, 2, 2])[0]
    start, size = random_offset(rng, model.length), rng.randint(1, 60)
    if kind == "truncate":
        length = rng.choice([start, start, 0, model.length])
        reply = session.truncate(ino, length)
        model.truncate(length)
    elif kind == "fallocate":
        mode = rng.choice([0, KEEP_SIZE, PUNCH, ZERO, ZERO | KEEP_SIZE])
        size = rng.choice([size, CHUNK, 2 * CHUNK + 17])
        reply = session.fallocate(ino, mode, start, size)
        if mode in (PUNCH, ZERO, ZERO | KEEP_SIZE):
            model.zero(start, start + size)
        if not mode & KEEP_SIZE:
            model.length = max(model.length, start + size)
    else:
        slices = []
        for _ in range(1 if kind == "write" else rng.randint(2, 5)):
            start = random_offset(rng, model.length)
            for part in split(start, bytes(rng.randint(1, 255) for _ in range(rng.randint(1, 60)))):
                slices.append(session.slice(*part))
                model.write(*part)
        reply = session.write(ino, *slices)
    assert reply.err == OK
    assert reply.length == model.length


def split(start, data):
    """Slices end where chunks end."""
    here = CHUNK - start % CHUNK
    return [(start, data[:here])] + ([(start + here, data[here:])] if data[here:] else [])


@pytest.mark.parametrize("seed", range(6))
def test_random_changes_read_back_as_a_model_says(volume, tree, seed):
    rng, model = random.Random(seed), Model()
    if seed % 2:
        tree.link(FILE, DIRECTORY, b"second")
    for step in range(120):
        random_step(rng, tree, FILE, model)
        if step % 4 == 0:
            tree.assert_reads_as(FILE, model)
    tree.assert_reads_as(FILE, model)
    assert tree.flush().err == OK
    assert_consistent(volume)


def test_records_are_kept_as_the_format_wants_them(volume, tree):
    tree.write(FILE, Slice(0, 0, 1, b"hello"))
    assert bytes(volume.value("SELECT slices FROM jfs_chunk")) == bytes.fromhex(
        "00000000" "0000000000000001" "00000005" "00000000" "00000005")
    tree.fallocate(FILE, PUNCH, 1, 100)
    tree.truncate(FILE, 3 * CHUNK + 7)
    assert bytes(volume.value("SELECT slices FROM jfs_chunk"))[24:] == (
        struct.pack("!IQIII", 1, 0, 0, 0, 4) + struct.pack("!IQIII", 5, 0, 0, 0, CHUNK - 5))


def test_what_was_cut_off_never_comes_back(tree):
    model = Model()
    for offset in (10, CHUNK - 5, CHUNK + 3, 3 * CHUNK):
        for part in split(offset, b"secret-secret"):
            tree.write_at(FILE, *part)
    tree.truncate(FILE, 12)
    for part in [(10, b"se")]:
        model.write(*part)
    tree.assert_reads_as(FILE, model)
    tree.fallocate(FILE, 0, 0, 2 * CHUNK)
    model.length = 2 * CHUNK
    tree.assert_reads_as(FILE, model)
    tree.write_at(FILE, 3 * CHUNK + 100, b"end")
    model.write(3 * CHUNK + 100, b"end")
    tree.assert_reads_as(FILE, model)


def test_the_digest_is_of_all_slices_and_changes_with_any(tree):
    seen = set()

    def digest():
        found = bytes(tree.read("open", FILE, False).digest)
        assert len(found) == 16
        return found
    for offset in (0, 5 * CHUNK, 5 * CHUNK, CHUNK, 0):
        seen.add(digest())
        tree.write_at(FILE, offset, b"x")
    seen.add(digest())
    assert len(seen) == 6
    assert digest() in seen
    tree.setattr(FILE, MODE, mode=0o600)
    assert digest() in seen


def test_slices_gives_the_chunks_asked_for(tree):
    for indx in (0, 3, 4, 20):
        tree.write_at(FILE, indx * CHUNK, b"x")

    def indexes(first, count):
        return [row.indx for row in tree.rows("slices", FILE, first, count)]
    assert indexes(0, 16) == [0, 3, 4]
    assert indexes(4, 1) == [4]
    assert indexes(1, 2) == []
    assert indexes(4, 2**31 - 1) == [4, 20]


def test_sums_come_back_as_they_were_given(volume, tree):
    sizes = [1, 262144, 262145, 700_000]
    for slice_id, size in zip((40, 20, 30, 10), sizes):
        data = bytes([slice_id]) * size
        tree.data[slice_id] = data
        tree.write(FILE, Slice(0, 0, slice_id, data))
    packed = unpack_sums(tree.read("open", FILE, False).sums)
    assert packed == [(i, len(tree.data[i]), sums_of(tree.data[i])) for i in (10, 20, 30, 40)]
    # A slice of a stock client has none, and one of another size says nothing.
    volume.db.execute("DELETE FROM tarn.block_sum WHERE slice = 20")
    volume.db.execute("UPDATE tarn.block_sum SET size = 2 WHERE slice = 40")
    assert [i for i, _, _ in unpack_sums(tree.read("open", FILE, False).sums)] == [10, 30]
    volume.db.execute("DELETE FROM tarn.block_sum")
    assert tree.read("open", FILE, False).sums is None


def test_usage_follows_every_link_and_stops_with_the_last(volume, tree):
    tree.write_at(FILE, 0, b"x" * 5000)
    assert tree.link(FILE, ROOT, b"twin").nlink == 2
    assert tree.link(FILE, DIRECTORY, b"other").nlink == 3
    assert tree.write_at(FILE, 5000, b"x" * 5000).usage == [
        4096, 0, ROOT, 10000, 8192, 0, DIRECTORY, 5000, 4096, 0]
    assert tree.write_at(FILE, 0, b"y").usage is None
    for name in (b"file", b"twin"):
        tree.unlink(ROOT, name)
    volume.db.execute("UPDATE jfs_setting SET value = replace(value, '\"TrashDays\": 1',"
                      " '\"TrashDays\": 0')")
    tree.read("flags_refresh")
    tree.unlink(DIRECTORY, b"other", opened=[FILE])
    volume.db.execute("UPDATE jfs_node SET nlink = 0 WHERE inode = %s", [FILE])
    assert tree.truncate(FILE, 0, BY_HANDLE).usage == [4096 - 12288, 0]


# ---- concurrency

def test_writers_at_once_lose_nothing(volume, sessions):
    make = sessions()
    make.create(ROOT, b"file", FILE)
    writers, count = [sessions() for _ in range(4)], 60
    errors = []

    def run(number):
        try:
            for i in range(count):
                reply = writers[number].write_at(FILE, (i % 3) * CHUNK + number * 1000 + i, b"x")
                assert reply.err == OK
        except BaseException as error:  # pylint: disable=broad-except
            errors.append(error)

    def run_stock():
        """A stock client's transaction, by the volume format §12.2."""
        try:
            with volume.cluster.connect(volume.database) as db:
                for i in range(count):
                    with db.transaction():
                        db.execute("SELECT 1 FROM jfs_node WHERE inode = %s FOR UPDATE", [FILE])
                        record = struct.pack("!IQIII", 9000 + i, 10**9 + i, 1, 0, 1)
                        db.execute("INSERT INTO jfs_chunk (inode, indx, slices) VALUES (%s, 1, %s)"
                                   " ON CONFLICT (inode, indx) DO UPDATE SET slices ="
                                   " jfs_chunk.slices || EXCLUDED.slices", [FILE, record])
                        db.execute("INSERT INTO jfs_chunk_ref VALUES (%s, 1, 1)", [10**9 + i])
                        db.execute("UPDATE jfs_node SET length = greatest(length, %s)"
                                   " WHERE inode = %s", [CHUNK + 9001 + i, FILE])
        except BaseException as error:  # pylint: disable=broad-except
            errors.append(error)

    threads = [threading.Thread(target=run, args=[n]) for n in range(4)]
    threads.append(threading.Thread(target=run_stock))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    found = [r[1] for (records,) in volume.query("SELECT slices FROM jfs_chunk ORDER BY indx")
             for r in struct.iter_unpack("!IQIII", bytes(records))]
    assert len(found) == len(set(found)) == 5 * count
    assert attributes(make, FILE)["length"] == 2 * CHUNK + 3000 + 59 + 1
    assert_consistent(volume, with_stats=False)


def test_a_write_waits_for_a_stock_truncation_and_sees_its_length(volume, tree, sessions):
    other = sessions()
    tree.write_at(FILE, 0, b"0123456789")
    with volume.cluster.connect(volume.database) as stock, stock.transaction():
        stock.execute("SELECT 1 FROM jfs_node WHERE inode = %s FOR UPDATE", [FILE])
        waiting = other.start("write_at", FILE, 2, b"x").until_blocked()
        stock.execute("UPDATE jfs_node SET length = 1 WHERE inode = %s", [FILE])
    assert waiting.answer().length == 3


def test_a_file_removed_while_a_write_waits_is_gone(volume, tree, sessions):
    other = sessions()
    with volume.cluster.connect(volume.database) as stock, stock.transaction():
        stock.execute("SELECT 1 FROM jfs_node WHERE inode = %s FOR UPDATE", [FILE])
        writing = other.start("write_at", FILE, 2, b"x").until_blocked()
        stock.execute("DELETE FROM jfs_node WHERE inode = %s", [FILE])
    assert writing.answer().err == ENOENT
    assert volume.value("SELECT count(*) FROM jfs_chunk") == 0
    assert volume.value("SELECT count(*) FROM jfs_chunk_ref") == 0


# ---- extended attributes

def test_xattrs(volume, tree):
    assert tree.read("getxattr", FILE, "user.a").err == ENODATA
    assert tree.read("listxattr", FILE) == {"err": OK, "names": b""}
    assert tree.read("listxattr", NOBODY).err == ENOENT
    assert_answers_with_the_node(tree, tree.setxattr(FILE, "user.b", b"\0\xff"))
    assert tree.setxattr(FILE, "user.ä", b"").err == OK
    assert tree.setxattr(FILE, "user.b", b"again", 1).err == EEXIST
    assert tree.setxattr(FILE, "user.c", b"", 2).err == ENODATA
    assert tree.read("getxattr", FILE, "user.b") == {"err": OK, "value": b"\0\xff"}
    assert tree.setxattr(FILE, "user.b", b"new", 2).err == OK
    assert tree.setxattr(FILE, "user.a", b"1", 1).err == OK
    assert tree.read("getxattr", FILE, "user.b").value == b"new"
    assert bytes(tree.read("listxattr", FILE).names) == "user.a\0user.b\0user.ä\0".encode()
    before = volume.contents()
    assert tree.setxattr(FILE, "user.b", b"new").err == OK
    after = volume.contents()
    assert {t for t in after if after[t] != before[t]} == set()
    assert tree.removexattr(FILE, "user.b").err == OK
    assert tree.removexattr(FILE, "user.b").err == ENODATA
    assert bytes(tree.read("listxattr", FILE).names) == "user.a\0user.ä\0".encode()


@pytest.mark.parametrize("ino, name, size, flags, error", [
    (NOBODY, "user.a", 1, 0, ENOENT), (IMMUTABLE, "user.a", 1, 0, EPERM),
    (APPEND_ONLY, "user.a", 1, 0, EPERM), (FILE, "", 1, 0, ERANGE), (FILE, "x" * 256, 1, 0, ERANGE),
    (FILE, "ä" * 128, 1, 0, ERANGE), (FILE, "x" * 255, 1, 0, OK), (FILE, "user.a", 65537, 0, E2BIG),
    (FILE, "user.a", 65536, 0, OK), (FILE, "user.a", 1, 3, EINVAL), (FILE, "user.a", 1, 4, EINVAL),
    (DIRECTORY, "user.a", 1, 0, OK), (SYMLINK, "trusted.a", 1, 1, OK)])
def test_setxattr_refusals(volume, tree, ino, name, size, flags, error):
    before = volume.contents()
    assert tree.setxattr(ino, name, b"v" * size, flags).err == error
    assert (volume.contents() == before) == (error != OK)


def test_removexattr_refusals(tree):
    assert tree.removexattr(NOBODY, "user.a").err == ENOENT
    assert tree.removexattr(IMMUTABLE, "user.a").err == EPERM


def test_only_one_of_two_creates_an_xattr(volume, tree, sessions):
    other = sessions()
    tree.begin()
    assert tree.setxattr(FILE, "user.a", b"1", 1).err == OK
    waiting = other.start("setxattr", FILE, "user.a", b"2", 1).until_blocked()
    tree.commit()
    assert waiting.answer().err == EEXIST
    assert tree.read("getxattr", FILE, "user.a").value == b"1"


def test_no_xattr_is_left_of_a_file_that_is_removed_meanwhile(volume, tree):
    with volume.cluster.connect(volume.database) as stock, stock.transaction():
        stock.execute("SELECT 1 FROM jfs_node WHERE inode = %s FOR UPDATE", [FILE])
        setting = tree.start("setxattr", FILE, "user.a", b"1").until_blocked()
        stock.execute("DELETE FROM jfs_xattr WHERE inode = %s", [FILE])
        stock.execute("DELETE FROM jfs_node WHERE inode = %s", [FILE])
    assert setting.answer().err == ENOENT
    assert volume.value("SELECT count(*) FROM jfs_xattr") == 0


# ---- replay

def _changes(session):
    """One of each mutation, with what it needs to have been done before."""
    session.write_at(FILE, 0, b"0123456789")
    session.setxattr(FILE, "user.old", b"1")
    first, second = session.slice(5, b"abc"), session.slice(CHUNK, b"def")
    return [
        lambda op=None: session.write(FILE, first, second, op=op),
        lambda op=None: session.write(NOBODY, first, op=op),
        lambda op=None: session.truncate(FILE, 3, MTIME | MODE, mode=0o600, mtime=NOW, op=op),
        lambda op=None: session.setattr(FILE, ATIME_NOW | MTIME_NOW, op=op),
        lambda op=None: session.setattr(IMMUTABLE, MODE, op=op),
        lambda op=None: session.fallocate(FILE, ZERO, 1, 5000, op=op),
        lambda op=None: session.fallocate(FILE, 99, 1, 5000, op=op),
        lambda op=None: session.setxattr(FILE, "user.new", b"1", 1, op=op),
        lambda op=None: session.removexattr(FILE, "user.old", op=op),
        lambda op=None: session.flush([4096, 1, DIRECTORY, 5, 4096, 1], op=op),
        lambda op=None: session.release(FILE, op=op),
    ]


def test_every_mutation_replayed_answers_the_same_and_changes_nothing(volume, tree):
    for change in _changes(tree):
        first = change()
        between = volume.contents()
        sums = volume.query("SELECT * FROM tarn.block_sum ORDER BY slice")
        assert change(op=tree.op) == first
        assert volume.contents() == between
        assert volume.query("SELECT * FROM tarn.block_sum ORDER BY slice") == sums


def test_a_replay_answers_the_same_though_others_went_on(tree, sessions):
    other = sessions()
    first = tree.removexattr(FILE, "user.a")
    assert first.err == ENODATA
    other.setxattr(FILE, "user.a", b"theirs")
    assert tree.removexattr(FILE, "user.a", op=tree.op) == first
    assert other.read("getxattr", FILE, "user.a").value == b"theirs"


# ---- a volume that has been through an upgrade

def test_nulls_of_an_upgraded_volume_read_as_zero(cluster, workdir):
    stock = Restored(cluster, "upgraded", workdir).restore()
    volume = SqlVolume(cluster, stock.database, is_new=False)
    session = FileSession(volume)
    files = volume.query("SELECT inode, length, parent, tier_id FROM jfs_node WHERE type = 1")
    assert any(row[2] is None for row in files) or any(row[3] is None for row in files)
    for ino, length, parent, _ in files:
        row = session.read("open", ino, False)
        assert (row.err, row.length, row.parent) == (OK, length, parent or 0)
        assert None not in {v for k, v in row.items() if k not in ("records", "sums")}
        in_trash = (parent or 0) > TRASH_INODE
        reply = session.write_at(ino, length, b"more")
        if reply.err == EPERM:
            assert row.flags & 1
            continue
        assert reply.length == length + 4
        assert_answers_with_the_node(session, reply)
        links = volume.query("SELECT DISTINCT parent FROM jfs_edge WHERE inode = %s ORDER BY 1",
                             [ino])
        assert [(reply.usage[at],) for at in range(2, len(reply.usage), 4)] == links
        assert reply.usage[0] == space(length + 4) - space(length)
        if not in_trash and not row.flags & 2:
            assert_answers_with_the_node(session, session.truncate(ino, length))
    session.close()
    volume.close()
    cluster.drop_database(stock.database)
