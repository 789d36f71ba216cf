"""The functions on sessions, ids and accounting, and the fence around a session that has ended."""

import json
import random
import threading
import time

import psycopg
import pytest

from harness.check import assert_consistent, problems
from harness.sql_file import FileSession, file_sessions
from harness.sql_volume import SqlVolume
from harness.volume import TRASH_INODE, Restored

OK, EROFS, ESTALE = 0, 30, 116
ROOT, FILE, DIRECTORY, DEEP = 1, 100, 101, 102


@pytest.fixture
def volume(cluster, database):
    """Without trash, so that what is unlinked is gone."""
    made = SqlVolume(cluster, database, trash_days=0)
    made.db.execute("UPDATE jfs_counter SET value = 1000 WHERE name = 'nextInode'")
    yield made
    made.close()


@pytest.fixture
def sessions(volume):
    with file_sessions(volume) as make:
        yield make


@pytest.fixture
def session(sessions):
    return sessions()


def set_site(volume, role, state="serving", is_ready=False):
    volume.db.execute(
        "INSERT INTO tarn.local_site (name, role, state, local_bucket, origin_bucket, primary_url,"
        " ready_at) VALUES ('here', %s, %s, 'file:///l/', 'file:///o/', 'postgres://p/d', %s)"
        " ON CONFLICT (only_row) DO UPDATE SET role = EXCLUDED.role, ready_at = EXCLUDED.ready_at",
        [role, state, "now" if is_ready else None])


def change_format(volume, **members):
    row = json.loads(volume.value("SELECT value FROM jfs_setting"))
    volume.db.execute("UPDATE jfs_setting SET value = %s", [json.dumps({**row, **members})])


def counter(volume, name):
    return volume.value("SELECT value FROM jfs_counter WHERE name = %s", [name])


# ---- volume

def test_volume_tells_a_mount_everything(volume, session):
    volume.db.execute("COMMENT ON SCHEMA tarn_1 IS 'digest'")
    row = session.read("volume")
    assert json.loads(row.format)["Name"] == "vol"
    assert (row.site, row.role, row.is_ready, row.epoch) == (None, None, None, None)
    assert row.api == "digest"
    set_site(volume, "primary")
    volume.db.execute("INSERT INTO tarn.site VALUES ('here', 'primary', 7, '1'),"
                      " ('there', 'mirror', 7, '2')")
    row = session.read("volume")
    assert (row.site, row.role, row.state, row.epoch) == ("here", "primary", "serving", 7)
    assert (row.local_bucket, row.origin_bucket) == ("file:///l/", "file:///o/")
    assert (row.primary_url, row.is_ready) == ("postgres://p/d", True)
    set_site(volume, "mirror")
    assert session.read("volume").is_ready is False
    set_site(volume, "mirror", is_ready=True)
    assert session.read("volume").is_ready is True
    volume.db.execute("DELETE FROM jfs_setting")
    assert session.read("volume").format is None


# ---- sessions

def test_a_session_is_a_row_that_ends_by_the_clock_of_the_database(volume, session):
    before = int(time.time())
    sid = session.read("session_open", b'{"Version":"1"}', 60).sid
    expire, info = volume.query("SELECT expire, info FROM jfs_session2 WHERE sid = %s", [sid])[0]
    assert before + 59 <= expire <= time.time() + 61
    assert bytes(info) == b'{"Version":"1"}'
    assert counter(volume, "nextSession") == sid


def test_a_session_number_that_is_taken_is_passed_over(volume, session):
    taken = counter(volume, "nextSession") + 1
    volume.db.execute("INSERT INTO jfs_session2 VALUES (%s, 0, NULL), (%s, 0, NULL)",
                      [taken, taken + 1])
    assert session.read("session_open", b"{}", 60).sid == taken + 2
    volume.db.execute("DELETE FROM jfs_counter WHERE name = 'nextSession'")
    assert session.read("session_open", b"{}", 60).sid == taken + 3


def test_a_mirror_opens_no_session_and_gives_no_ids(volume, session):
    set_site(volume, "mirror", is_ready=True)
    before = volume.contents()
    assert session.read("session_open", b"{}", 60) == {"err": EROFS, "sid": None}
    assert session.rows("alloc", "nextInode", 10) == []
    assert volume.contents() == before


def test_refresh_extends_the_session_and_reads_the_volume(volume, session):
    volume.db.execute("UPDATE jfs_session2 SET expire = %s", [int(time.time()) - 600])
    volume.db.execute("UPDATE jfs_counter SET value = 77 WHERE name = 'usedSpace'")
    row = session.read("session_refresh", session.sid, 60)
    assert (row.err, row.used_space, row.used_inodes) == (OK, 77, 0)
    assert json.loads(row.format)["Name"] == "vol"
    assert volume.value("SELECT expire FROM jfs_session2") > time.time() + 50
    volume.db.execute("DELETE FROM jfs_session2")
    row = session.read("session_refresh", session.sid, 60)
    assert row == {"err": ESTALE, "format": None, "used_space": None, "used_inodes": None}
    assert volume.value("SELECT count(*) FROM jfs_session2") == 0


def test_refresh_without_a_session_writes_nothing(session):
    session.db.execute("SET default_transaction_read_only = on")
    assert session.read("session_refresh", 0, 60).err == OK
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        session.read("session_open", b"{}", 60)


def test_close_takes_everything_of_the_session_and_nothing_else(volume, session, sessions):
    other = sessions()
    for number, owner in enumerate((session, other)):
        owner.create(ROOT, b"f%d" % number, FILE + number)
        owner.write_at(FILE + number, 0, b"x" * 5000)
        assert owner.unlink(ROOT, b"f%d" % number, opened=[FILE + number]).nlink == 0
        owner.setxattr(FILE + number, "user.late", b"1")
        owner.flush()
        volume.db.execute("INSERT INTO jfs_flock (inode, sid, owner, ltype) VALUES (1, %s, 1, 82)",
                          [owner.sid])
        volume.db.execute("INSERT INTO jfs_plock (inode, sid, owner, records)"
                          " VALUES (1, %s, 1, '')", [owner.sid])
    used = counter(volume, "usedSpace")
    assert session.read("session_close", session.sid).err == OK
    for table in ("public.jfs_session2", "public.jfs_flock", "public.jfs_plock",
                  "public.jfs_sustained", "tarn.slot"):
        assert volume.query(f"SELECT sid FROM {table}") == [(other.sid,)], table
    assert volume.query("SELECT inode FROM jfs_node WHERE inode >= 100") == [(FILE + 1,)]
    assert volume.query("SELECT inode FROM jfs_xattr") == [(FILE + 1,)]
    (gone,) = volume.query("SELECT inode, length, expire FROM jfs_delfile")
    assert gone[:2] == (FILE, 5000) and abs(gone[2] - time.time()) < 60
    assert counter(volume, "usedSpace") == used - 8192
    assert counter(volume, "totalInodes") == 1
    assert_consistent(volume)
    before = volume.contents()
    assert session.read("session_close", session.sid).err == OK
    assert volume.contents() == before


def test_release_lets_a_kept_inode_go(volume, session, sessions):
    other = sessions()
    session.create(ROOT, b"f", FILE)
    session.write_at(FILE, 0, b"x" * 5000)
    before = volume.contents()
    assert session.release(FILE).usage is None
    assert volume.contents() == before
    assert session.unlink(ROOT, b"f", opened=[FILE]).usage[:2] == [0, 0]
    assert other.release(FILE).usage is None
    assert session.write_at(FILE, 5000, b"x" * 5000).usage == [4096, 0]
    assert session.release(FILE).usage == [-12288, -1]
    assert session.release(FILE).usage is None
    assert volume.query("SELECT inode, length FROM jfs_delfile") == [(FILE, 10000)]
    assert volume.value("SELECT count(*) FROM jfs_sustained") == 0
    assert session.read("open", FILE, False).err == 2
    session.flush()
    assert_consistent(volume)


# ---- the fence

def test_after_close_every_operation_is_refused_also_in_a_new_lane(volume, session):
    session.create(ROOT, b"f", FILE)
    assert session.setxattr(FILE, "user.a", b"1").err == OK
    session.read("session_close", session.sid)
    before = volume.contents()
    # The same operation once more, the next one, and the first of a lane that never was.
    assert session.setxattr(FILE, "user.a", b"2", op=session.op).err == ESTALE
    assert session.setxattr(FILE, "user.a", b"2").err == ESTALE
    first = session.read("setxattr", session.sid, 9, 1, FILE, "user.a", b"2", 0)
    assert first.err == ESTALE
    assert {v for k, v in first.items() if k != "err"} == {None}
    assert volume.contents() == before
    assert volume.value("SELECT count(*) FROM tarn.slot") == 0


def test_a_session_that_a_stock_client_has_cleaned_up_is_refused(volume, session):
    session.create(ROOT, b"f", FILE)
    volume.db.execute("DELETE FROM jfs_session2 WHERE sid = %s", [session.sid])
    assert session.setxattr(FILE, "user.a", b"1").err == ESTALE
    assert session.read("setxattr", session.sid, 9, 1, FILE, "user.a", b"2", 0).err == ESTALE
    assert volume.value("SELECT count(*) FROM jfs_xattr") == 0


@pytest.mark.parametrize("lane", [0, 5])
def test_close_waits_for_what_is_in_flight_and_then_nothing_follows(volume, session, sessions,
                                                                    lane):
    """Lane 0 has a slot row already; lane 5 makes its own in the operation that is in flight."""
    reaper = sessions()
    session.create(ROOT, b"f", FILE)
    session.create(ROOT, b"g", FILE + 1)
    op = session.op + 1 if lane == 0 else 1
    session.begin()
    assert session.read("unlink", session.sid, lane, op, ROOT, b"f", 0, [FILE]).err == OK
    closing = reaper.start("read", "session_close", session.sid).until_blocked()
    session.commit()
    assert closing.answer().err == OK
    # What was committed first has been cleaned up too, and what comes now is too late.
    assert volume.value("SELECT count(*) FROM jfs_sustained") == 0
    assert volume.query("SELECT inode FROM jfs_delfile") == [(FILE,)]
    assert session.read("unlink", session.sid, lane, op + 1, ROOT, b"g", 0, []).err == ESTALE
    assert session.read("unlink", session.sid, lane + 1, 1, ROOT, b"g", 0, []).err == ESTALE
    assert session.lookup(ROOT, b"g").err == OK


def test_an_operation_that_meets_a_close_in_flight_is_refused(volume, session, sessions):
    reaper = sessions()
    session.create(ROOT, b"f", FILE)
    reaper.begin()
    reaper.read("session_close", session.sid)
    late = session.start("read", "setxattr", session.sid, 5, 1, FILE, "user.a", b"1",
                         0).until_blocked()
    reaper.commit()
    assert late.answer().err == ESTALE
    assert volume.value("SELECT count(*) FROM jfs_xattr") == 0


def test_a_session_that_was_silent_for_most_of_an_hour_is_over_though_nobody_ended_it(
        volume, session):
    session.create(ROOT, b"f", FILE)
    volume.db.execute("UPDATE jfs_session2 SET expire = %s", [int(time.time()) - 50 * 60])
    for lane, op in ((0, 2), (1, 1)):
        reply = session.read("setxattr", session.sid, lane, op, FILE, "user.a", b"1", 0)
        assert reply.err == ESTALE, lane
    assert session.read("session_refresh", session.sid, 60).err == ESTALE
    assert session.mkdir(ROOT, b"d", 102).err == ESTALE  # which asks for lane and settings at once
    assert volume.value("SELECT count(*) FROM jfs_xattr") == 0


def test_operations_must_follow_one_another(volume, session):
    session.create(ROOT, b"f", FILE)
    session.setxattr(FILE, "user.b", b"1")
    before = volume.contents()
    for lane, op in [(0, -1), (0, 0), (0, 1), (0, 4), (7, 0), (7, 2)]:
        reply = session.read("setxattr", session.sid, lane, op, FILE, "user.a", b"1", 0)
        assert reply.err == ESTALE, (lane, op)
    assert volume.contents() == before


# ---- ids

def test_ids_are_never_given_twice(volume, sessions):
    ranges, errors = {"nextInode": [], "nextChunk": []}, []

    def run(number):
        try:
            session, rng = FileSession(volume), random.Random(number)
            for _ in range(40):
                name, count = rng.choice(list(ranges)), rng.randint(1, 5000)
                first = session.read("alloc", name, count).first
                ranges[name].append((first, first + count))
            session.close()
        except BaseException as error:  # pylint: disable=broad-except
            errors.append(error)

    def run_stock():
        with volume.cluster.connect(volume.database) as db:
            for _ in range(40):
                with db.transaction():
                    (first,) = db.execute("SELECT value FROM jfs_counter WHERE name = 'nextChunk'"
                                          " FOR UPDATE").fetchone()
                    db.execute("UPDATE jfs_counter SET value = %s WHERE name = 'nextChunk'",
                               [first + 4096])
                ranges["nextChunk"].append((first, first + 4096))

    threads = [threading.Thread(target=run, args=[n]) for n in range(6)]
    threads.append(threading.Thread(target=run_stock))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    for name, found in ranges.items():
        found.sort()
        assert all(a[1] <= b[0] for a, b in zip(found, found[1:])), name
        assert found[-1][1] == counter(volume, name)


def test_ids_that_mean_something_else_are_not_given(volume, session):
    volume.db.execute("UPDATE jfs_counter SET value = 0")
    assert session.read("alloc", "nextInode", 10).first == 2
    assert session.read("alloc", "nextChunk", 10).first == 1
    assert session.rows("alloc", "usedSpace", 10) == []
    assert session.rows("alloc", "nextInode", 0) == []
    assert session.rows("alloc", "nextInode", -5) == []
    assert counter(volume, "nextInode") == 12


# ---- accounting

@pytest.fixture
def tree(session):
    """/d/e with a file in each of /, d and e; nothing is flushed yet."""
    session.mkdir(ROOT, b"d", DIRECTORY)
    session.mkdir(DIRECTORY, b"e", DEEP)
    for number, parent in enumerate((ROOT, DIRECTORY, DEEP)):
        session.create(parent, b"f", 200 + number)
        session.write_at(200 + number, 0, b"x" * 5000)
    return session


def test_a_flush_brings_the_accounts_to_what_counting_gives(volume, tree):
    assert problems(volume)
    assert tree.flush().err == OK
    assert_consistent(volume)
    assert counter(volume, "totalInodes") == 5
    assert tree.read("statfs") == {"used_space": 2 * 4096 + 3 * 8192, "used_inodes": 5}
    tree.unlink(DEEP, b"f")
    tree.rmdir(DIRECTORY, b"e")
    tree.truncate(201, 0)
    tree.flush()
    assert_consistent(volume)


def test_statistics_that_are_missing_are_counted_once(volume, tree):
    tree.flush()
    volume.db.execute("DELETE FROM jfs_dir_stats WHERE inode = %s", [DIRECTORY])
    tree.write_at(201, 5000, b"x" * 9000)
    tree.flush()
    assert_consistent(volume)


def test_a_directory_that_is_gone_gets_no_statistics(volume, session):
    session.flush([0, 0, 999, 5, 4096, 1])
    assert volume.value("SELECT count(*) FROM jfs_dir_stats WHERE inode = 999") == 0


@pytest.mark.parametrize("dir_stats", [False, None])
def test_a_volume_without_directory_statistics_gets_counters_only(volume, tree, dir_stats):
    row = json.loads(volume.value("SELECT value FROM jfs_setting"))
    row.pop("DirStats")
    if dir_stats is not None:
        row["DirStats"] = dir_stats
    volume.db.execute("UPDATE jfs_setting SET value = %s", [json.dumps(row)])
    tree.read("flags_refresh")
    before = volume.query("SELECT * FROM jfs_dir_stats ORDER BY 1")
    volume.db.execute("INSERT INTO jfs_dir_quota VALUES (1, 0, 0, 0, 0)")
    assert tree.flush([5 * 4096 + 3 * 4096, 5, ROOT, 5, 4096, 1, -3, ROOT, 4096, 1]).err == OK
    assert volume.query("SELECT * FROM jfs_dir_stats ORDER BY 1") == before
    assert volume.value("SELECT used_inodes FROM jfs_dir_quota") == 0
    assert counter(volume, "totalInodes") == 5


def test_quotas_of_all_directories_above_are_fed(volume, tree):
    tree.flush()
    for ino in (ROOT, DIRECTORY, DEEP):
        volume.db.execute("INSERT INTO jfs_dir_quota VALUES (%s, 0, 0, 0, 0)", [ino])
    tree.read("flags_refresh")
    for number, parent in enumerate((ROOT, DIRECTORY, DEEP)):
        tree.create(parent, b"new", 300 + number)
        tree.write_at(300 + number, 0, b"x" * 5000)
    tree.mkdir(DIRECTORY, b"dir", 310)
    tree.flush()

    def quotas():
        return volume.query("SELECT inode, used_space, used_inodes FROM jfs_dir_quota ORDER BY 1")
    assert quotas() == [(ROOT, 4096 + 3 * 8192, 4), (DIRECTORY, 4096 + 2 * 8192, 3),
                        (DEEP, 8192, 1)]
    tree.unlink(DEEP, b"new")
    tree.flush()
    assert quotas() == [(ROOT, 4096 + 2 * 8192, 3), (DIRECTORY, 4096 + 8192, 2), (DEEP, 0, 0)]


def test_a_circle_of_directories_does_not_hold_up_an_operation_below_it(volume, tree):
    tree.flush()
    volume.db.execute("INSERT INTO jfs_dir_quota VALUES (%s, 0, 0, 0, 0)", [ROOT])
    tree.read("flags_refresh")
    volume.db.execute("UPDATE jfs_node SET parent = %s WHERE inode = %s", [DEEP, DIRECTORY])
    assert tree.create(DEEP, b"new", 900).err == OK
    assert tree.flush().err == OK
    assert volume.value("SELECT used_inodes FROM jfs_dir_quota") == 0


def test_owners_are_fed_where_the_volume_counts_them(volume, session):
    usage = [0, 0, -1, 1000, 12288, 3, -2, 50, 4096, 1, -2, 51, 8192, 2]
    session.flush(usage)
    assert volume.value("SELECT count(*) FROM jfs_user_group_quota") == 0
    change_format(volume, UserGroupQuota=True)
    session.read("flags_refresh")
    volume.db.execute("INSERT INTO jfs_user_group_quota VALUES (2, 51, 9, 9, 1, 1)")
    assert session.flush(usage).err == OK
    assert session.flush([0, 0]).err == OK
    assert volume.query("SELECT * FROM jfs_user_group_quota ORDER BY qtype, qkey") == [
        (1, 1000, -1, -1, 12288, 3), (2, 50, -1, -1, 4096, 1), (2, 51, 9, 9, 8193, 3)]


def test_missing_counters_are_made(volume, session):
    volume.db.execute("DELETE FROM jfs_counter WHERE name IN ('usedSpace', 'totalInodes')")
    assert session.read("statfs") == {"used_space": 0, "used_inodes": 0}
    session.flush([4096, 1])
    assert session.read("statfs") == {"used_space": 4096, "used_inodes": 1}
    assert session.flush([]).err == OK
    assert session.flush([0, 0]).err == OK


def test_flushes_at_once_neither_lose_nor_lock_each_other(volume, sessions):
    """Ours in any order of directories, beside a stock client's two transactions."""
    first = sessions()
    dirs = list(range(100, 130))
    for ino in dirs:
        first.mkdir(ROOT, b"%d" % ino, ino)
    first.flush()
    volume.db.execute("UPDATE jfs_dir_stats SET used_inodes = 0")
    volume.db.execute("INSERT INTO jfs_dir_quota VALUES (1, 0, 0, 0, 0), (100, 0, 0, 0, 0)")
    flushing, errors, rounds = [sessions() for _ in range(4)], [], 25
    deadlocks = volume.value("SELECT deadlocks FROM pg_stat_database"
                             " WHERE datname = current_database()")

    def run(number):
        try:
            rng = random.Random(number)
            for _ in range(rounds):
                rng.shuffle(dirs_of := list(dirs))
                usage = [n for ino in dirs_of for n in (ino, 1, 4096, 1)]
                usage += [-3, 1, 4096 * len(dirs), len(dirs), -3, 100, 4096, 1]
                assert flushing[number].flush([1, 1, *usage]).err == OK
        except BaseException as error:  # pylint: disable=broad-except
            errors.append(error)

    def run_stock():
        with volume.cluster.connect(volume.database) as db:
            for _ in range(rounds):
                with db.transaction():
                    for name in ("totalInodes", "usedSpace"):
                        db.execute("UPDATE jfs_counter SET value = value + 1 WHERE name = %s",
                                   [name])
                with db.transaction():
                    for ino in dirs:
                        db.execute("UPDATE jfs_dir_stats SET used_inodes = used_inodes + 1"
                                   " WHERE inode = %s", [ino])

    used = counter(volume, "usedSpace")
    threads = [threading.Thread(target=run, args=[n]) for n in range(4)]
    threads.append(threading.Thread(target=run_stock))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    assert volume.query("SELECT DISTINCT used_inodes FROM jfs_dir_stats WHERE inode >= 100") == [
        (5 * rounds,)]
    assert counter(volume, "usedSpace") == used + 5 * rounds
    assert volume.query("SELECT inode, used_inodes FROM jfs_dir_quota ORDER BY 1") == [
        (1, 4 * rounds * len(dirs)), (100, 4 * rounds)]
    volume.db.execute("SELECT pg_stat_force_next_flush()")
    assert volume.value("SELECT deadlocks FROM pg_stat_database"
                        " WHERE datname = current_database()") == deadlocks


def test_an_upgraded_volume_flushes_counters_only(cluster, workdir):
    stock = Restored(cluster, "upgraded", workdir).restore()
    volume = SqlVolume(cluster, stock.database, is_new=False)
    session = FileSession(volume)
    before = volume.contents()
    session.mkdir(ROOT, b"new", 1 << 30)
    session.flush()
    after = volume.contents()
    assert {t for t in after if after[t] != before[t]} == {
        "jfs_node", "jfs_edge", "jfs_dir_stats", "jfs_counter"}
    assert volume.query("SELECT data_length, used_space, used_inodes FROM jfs_dir_stats"
                        " WHERE inode = %s", [1 << 30]) == [(0, 0, 0)]
    assert session.read("session_close", session.sid).err == OK
    session.close()
    volume.close()
    cluster.drop_database(stock.database)
