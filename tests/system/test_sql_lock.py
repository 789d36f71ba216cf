"""The lock functions: record arithmetic against a map of bytes and stock's rules, and races."""

import errno
import random
import struct

import pytest
from harness.sql_volume import ok

ROOT = 1
READ, WRITE, UNLOCK = range(3)
EOF = 0x7FFFFFFFFFFFFFFF
RECORD = struct.Struct("!IIqq")


@pytest.fixture
def volume(emptied_volume):
    return emptied_volume


@pytest.fixture
def two(volume):
    first, second = volume.session(), volume.session()
    ok(first.create(ROOT, b"file", 100))
    yield first, second
    first.close(), second.close()


def setlk(session, kind, start, end=EOF, owner=7, pid=1, ino=100, op=None):
    return session.change("setlk", ino, owner, kind, start, end, pid, op=op)


def flock(session, kind, owner=7, ino=100, op=None):
    return session.change("flock", ino, owner, kind, op=op)


def unpack(records):
    return list(RECORD.iter_unpack(bytes(records)))


def plocks(volume, ino=100):
    return {(sid, owner): unpack(records) for sid, owner, records in volume.query(
        "SELECT sid, owner, records FROM jfs_plock WHERE inode = %s", [ino])}


def flocks(volume, ino=100):
    return {(sid, owner): chr(kind) for sid, owner, kind in volume.query(
        "SELECT sid, owner, ltype FROM jfs_flock WHERE inode = %s", [ino])}


# ---- arithmetic

def stock_update(records, kind, pid, start, end):
    """What stock clients make of their records: the new range is cut at the borders of the old
    ones, and of neighbours that are alike two become one, but never three."""
    pieces = []
    edges = sorted({start, end + 1} | {r[2] for r in records} | {r[3] + 1 for r in records})
    for low, high in zip(edges, edges[1:]):
        old = next((r for r in records if r[2] <= low and high - 1 <= r[3]), None)
        if start <= low and high - 1 <= end:
            pieces.append((kind, pid, low, high - 1))
        elif old:
            pieces.append((old[0], old[1], low, high - 1))
    found, at = [], 0
    pieces = [piece for piece in pieces if piece[0] != UNLOCK]
    while at < len(pieces):
        this = pieces[at]
        follower = pieces[at + 1] if at + 1 < len(pieces) else None
        if follower and this[:2] == follower[:2] and this[3] + 1 == follower[2]:
            this = (*this[:3], follower[3])
            at += 1
        found.append(this)
        at += 1
    return found


def test_ranges_are_as_a_map_of_bytes_and_records_as_stock_leaves_them(volume):
    chance = random.Random(4)
    size = 40
    for _ in range(30):
        records, model = [], [None] * size
        for _ in range(25):
            start = chance.randrange(size)
            end = chance.randrange(start, size)
            kind, pid = chance.choice([READ, WRITE, UNLOCK]), chance.choice([1, 2])
            packed = b"".join(RECORD.pack(*record) for record in records)
            after = unpack(volume.value("SELECT tarn_1.plock_update(%s, %s, %s, %s, %s)",
                                        [packed, kind, pid, start, end]))
            assert after == stock_update(records, kind, pid, start, end)
            model[start:end + 1] = [None if kind == UNLOCK else (kind, pid)] * (end + 1 - start)
            held = [None] * size
            for record in after:
                assert held[record[2]:record[3] + 1] == [None] * (record[3] + 1 - record[2])
                held[record[2]:record[3] + 1] = [record[:2]] * (record[3] + 1 - record[2])
            assert held == model
            assert [r[2] for r in after] == sorted(r[2] for r in after)
            records = after


@pytest.mark.parametrize("old, change, new", [
    ([], (WRITE, 3, 10, 19), [(WRITE, 3, 10, 19)]),
    ([], (READ, 3, 0, EOF), [(READ, 3, 0, EOF)]),
    ([(READ, 3, 0, EOF)], (UNLOCK, 3, 0, EOF), []),
    ([(READ, 3, 0, EOF)], (UNLOCK, 3, EOF, EOF), [(READ, 3, 0, EOF - 1)]),
    ([(READ, 3, 0, EOF)], (WRITE, 3, 5 << 32, 6 << 32),
     [(READ, 3, 0, (5 << 32) - 1), (WRITE, 3, 5 << 32, 6 << 32), (READ, 3, (6 << 32) + 1, EOF)]),
    ([(READ, 3, 5, EOF)], (READ, 3, 0, EOF), [(READ, 3, 0, EOF)]),
    ([(READ, 3, 0, 4)], (READ, 3, 5, EOF), [(READ, 3, 0, EOF)]),
])
def test_the_ends_of_the_range_of_offsets(volume, old, change, new):
    packed = b"".join(RECORD.pack(*record) for record in old)
    after = volume.value("SELECT tarn_1.plock_update(%s, %s, %s, %s, %s)", [packed, *change])
    assert unpack(after) == new


# ---- fcntl

def test_a_lock_excludes_and_a_disjoint_range_does_not(volume, two):
    first, second = two
    assert ok(setlk(first, WRITE, 10, 19)).ino == 100
    assert plocks(volume) == {(first.sid, 7): [(WRITE, 1, 10, 19)]}
    assert setlk(second, READ, 19, 30).err == errno.EAGAIN
    ok(setlk(second, READ, 20, 30))
    assert setlk(first, WRITE, 0, EOF).err == errno.EAGAIN
    ok(setlk(first, READ, 0, EOF))
    ok(setlk(first, UNLOCK, 0))
    assert plocks(volume) == {(second.sid, 7): [(READ, 1, 20, 30)]}
    ok(setlk(second, UNLOCK, 0))
    assert plocks(volume) == {}


def test_owners_of_one_session_exclude_each_other(two):
    first, _ = two
    ok(setlk(first, WRITE, 0, owner=-1))
    assert setlk(first, WRITE, 0, owner=1).err == errno.EAGAIN
    ok(setlk(first, WRITE, 0, owner=-1))


def test_getlk_names_what_is_in_the_way_and_the_pid_only_to_its_own_session(two):
    first, second = two
    ok(setlk(first, WRITE, 10, 19, pid=4711))
    here = first.read("getlk", first.sid, 100, 8, READ, 0, EOF)
    assert (here.err, here.type, here.pid, here.first, here.last) == (0, WRITE, 4711, 10, 19)
    there = second.read("getlk", second.sid, 100, 7, READ, 0, EOF)
    assert (there.type, there.pid, there.first, there.last) == (WRITE, 0, 10, 19)
    assert first.read("getlk", first.sid, 100, 7, WRITE, 0, EOF).type == UNLOCK
    assert second.read("getlk", second.sid, 100, 7, WRITE, 20, EOF).type == UNLOCK


def test_a_repeated_operation_answers_the_same_and_changes_nothing(volume, two):
    first, second = two
    granted = ok(setlk(first, WRITE, 0))
    refused = setlk(second, WRITE, 0)
    assert refused.err == errno.EAGAIN
    assert setlk(first, WRITE, 0, op=first.op) == granted
    ok(setlk(first, UNLOCK, 0))
    assert setlk(second, WRITE, 0, op=second.op) == refused
    ok(setlk(first, UNLOCK, 0, op=first.op))
    assert plocks(volume) == {}


def test_what_is_not_there_or_makes_no_sense_is_refused(two):
    first, _ = two
    assert setlk(first, WRITE, 0, ino=999).err == errno.ENOENT
    assert flock(first, WRITE, ino=999).err == errno.ENOENT
    assert setlk(first, 3, 0).err == errno.EINVAL
    assert setlk(first, READ, 9, 8).err == errno.EINVAL
    assert flock(first, 3).err == errno.EINVAL
    ok(setlk(first, UNLOCK, 0, ino=999))
    ok(flock(first, UNLOCK, ino=999))


# ---- flock

def test_flock_is_shared_or_exclusive_and_changes_both_ways(volume, two):
    first, second = two
    ok(flock(first, READ))
    ok(flock(second, READ))
    assert flock(first, WRITE).err == errno.EAGAIN
    assert flocks(volume) == {(first.sid, 7): "R", (second.sid, 7): "R"}
    ok(flock(second, UNLOCK))
    ok(flock(first, WRITE))
    assert flocks(volume) == {(first.sid, 7): "W"}
    assert flock(second, READ).err == errno.EAGAIN
    ok(flock(first, READ))
    ok(flock(second, READ))
    ok(flock(first, UNLOCK))
    ok(flock(second, UNLOCK))
    assert flocks(volume) == {}


def test_flock_and_fcntl_do_not_see_each_other(two):
    first, second = two
    ok(flock(first, WRITE))
    ok(setlk(second, WRITE, 0))


# ---- at once

def test_of_two_that_lock_at_once_the_second_waits_for_the_node_and_is_refused(volume, two):
    first, second = two
    for verb in (setlk, flock):
        first.begin()
        extra = (0,) if verb is setlk else ()
        ok(verb(first, WRITE, *extra))
        waiting = second.start("change", "setlk" if verb is setlk else "flock", 100, 7, WRITE,
                               *((0, EOF, 1) if verb is setlk else ())).until_blocked()
        first.commit()
        assert waiting.answer().err == errno.EAGAIN
    assert len(plocks(volume)) == len(flocks(volume)) == 1


def test_many_at_once_never_hold_together(volume, two):
    """Each session counts a row of its own up and down while it holds the lock of a random range."""
    sessions = [volume.session() for _ in range(4)]
    volume.db.execute("CREATE TABLE public.held (sid int8, low int8, high int8, kind int4)")

    def work(session, seed):
        chance = random.Random(seed)
        for _ in range(40):
            low = chance.randrange(30)
            high, kind = low + chance.randrange(10), chance.choice([READ, WRITE])
            if setlk(session, kind, low, high).err:
                continue
            session.db.execute("INSERT INTO public.held VALUES (%s, %s, %s, %s)",
                               [session.sid, low, high, kind])
            assert session.db.execute(
                "SELECT count(*) FROM public.held WHERE sid <> %s AND low <= %s AND high >= %s"
                " AND (kind = 1 OR %s = 1)", [session.sid, high, low, kind]).fetchone() == (0,)
            session.db.execute("DELETE FROM public.held WHERE sid = %s", [session.sid])
            ok(setlk(session, UNLOCK, 0))

    run_together(sessions, work)
    assert plocks(volume) == {}


def run_together(sessions, work):
    class Worker:
        pass
    started = []
    for seed, session in enumerate(sessions):
        session.work = lambda session=session, seed=seed: work(session, seed)
        started.append(session.start("work"))
    for one in started:
        one.answer()
    for session in sessions:
        session.close()


# ---- waiting, and the end of a session

def test_lock_rows_tell_all_of_several_inodes(two):
    first, second = two
    ok(first.create(ROOT, b"other", 101))
    ok(flock(first, READ))
    ok(setlk(second, WRITE, 5, 6, ino=101, owner=-3))
    rows = first.rows("lock_rows", [100, 101, 102])
    assert sorted((r.ino, r.sid, r.owner, r.type) for r in rows) == [
        (100, first.sid, 7, READ), (101, second.sid, -3, None)]


def test_a_closed_session_holds_nothing(volume, two):
    first, second = two
    ok(flock(first, WRITE))
    ok(setlk(first, WRITE, 0))
    first.rows("session_close", first.sid)
    ok(flock(second, WRITE))
    ok(setlk(second, WRITE, 0))
    assert setlk(first, WRITE, 0, owner=9).err == errno.ESTALE


def test_the_change_log_has_the_entries_of_stock(volume, two):
    first, second = two
    volume.db.execute("UPDATE jfs_setting SET value = jsonb_set(value::jsonb, '{ChangeLog}', 'true')"
                      " WHERE name = 'format'")
    volume.db.execute("SELECT tarn_1.flags_refresh()")
    ok(setlk(first, WRITE, 0, owner=-2, pid=5))
    assert setlk(second, WRITE, 0).err == errno.EAGAIN
    ok(setlk(second, UNLOCK, 0))
    ok(setlk(first, UNLOCK, 3, 4, owner=-2, pid=5))
    ok(flock(first, READ))
    ok(flock(first, WRITE))
    ok(flock(first, UNLOCK))
    entries = [row[0].split("|")[1] for row in
               volume.query("SELECT entry FROM jfs_change_log ORDER BY id")]
    assert entries == [
        "SETLK(100,18446744073709551614,W,0,9223372036854775807,5)",
        "SETLK(100,18446744073709551614,U,3,4,5)",
        "FLOCK(100,7,R)", "FLOCK(100,7,W)", "FLOCK(100,7,U)"]
