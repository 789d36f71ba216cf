"""The functions of the upkeep: who may do a job, what goes away, and what must not."""

import json
import struct
import time

import pytest

from harness.check import assert_consistent
from harness.sql_file import CHUNK, Model, file_sessions, sums_of
from harness.sql_volume import SCHEMA, SqlVolume
from harness.volume import TRASH_INODE

ROOT, FILE, OTHER, DIRECTORY = 1, 100, 101, 102
EEXIST, ESTALE = 17, 116
HOUR = 3600


# To make a database takes a second, and to drop it another: one is made, and emptied for each test.
EACH_TABLE = """
DO $$ DECLARE _table regclass; _name name; BEGIN
    FOR _table, _name IN SELECT oid, relname FROM pg_class WHERE relkind = 'r' AND relnamespace IN
                                ('public'::regnamespace, 'tarn'::regnamespace) LOOP
        %s;
    END LOOP;
END $$"""
RESET = EACH_TABLE % """EXECUTE format('DELETE FROM %1$s; INSERT INTO %1$s TABLE seed.%2$I', _table,
                                       _name)"""


@pytest.fixture(scope="module")
def made_volume(cluster):
    name = cluster.create_database()
    made = SqlVolume(cluster, name)
    set_format(made, TrashDays=0)
    for file in ("50_primary", "53_heal", "70_upkeep", "72_margin", "74_trash_upkeep",
                 "75_compact"):
        made.db.execute((SCHEMA / "api" / f"{file}.sql").read_text(encoding="utf-8"))
    made.db.execute("UPDATE jfs_counter SET value = 1000 WHERE name = 'nextInode'")
    made.db.execute("INSERT INTO tarn.local_site (name, role, state) VALUES ('home', 'primary', '')")
    made.db.execute("CREATE SCHEMA seed")
    made.db.execute(EACH_TABLE % "EXECUTE format('CREATE TABLE seed.%2$I AS TABLE %1$s', _table, _name)")
    yield made
    made.close()
    cluster.drop_database(name)


@pytest.fixture
def volume(made_volume):
    """Without trash for now; a primary."""
    made_volume.db.execute(RESET)
    return made_volume


@pytest.fixture
def sessions(volume):
    with file_sessions(volume) as make:
        yield make


@pytest.fixture
def session(sessions):
    return sessions()


def set_format(volume, **settings):
    row = json.loads(volume.value("SELECT value FROM jfs_setting WHERE name = 'format'"))
    volume.db.execute("UPDATE jfs_setting SET value = %s WHERE name = 'format'",
                      [json.dumps({**row, **settings})])


def configure(volume, session, **settings):
    set_format(volume, **settings)
    session.read("flags_refresh")


def refs(volume):
    return dict(volume.query("SELECT chunkid, refs FROM jfs_chunk_ref"))


def doomed(volume):
    return {row[0] for row in volume.query("SELECT slice FROM tarn.doomed")}


def take(session, limit=1000, lease=60):
    return {row.slice for row in session.rows("doomed_take", limit, lease)}


def delete_all(session):
    """What a client does whose store removes everything."""
    gone = take(session)
    assert session.read("doomed_done", sorted(gone)).removed == len(gone)
    return gone


def stored(volume, ino, indx=0):
    value = volume.value("SELECT slices FROM jfs_chunk WHERE inode = %s AND indx = %s", [ino, indx])
    return bytes(value) if value is not None else None


def is_gate_open(volume, gate):
    return volume.value("SELECT value FROM jfs_counter WHERE name = %s", [gate])


# ---- whose turn it is


def test_one_of_two_clients_does_a_job_and_the_gate_is_the_one_of_stock_clients(volume, sessions):
    first, second = sessions(), sessions()
    begin = ("job_begin", "files", "lastCleanupFiles", 3240)
    assert first.read(*begin, "a:1").is_ours
    assert not second.read(*begin, "b:1").is_ours
    assert abs(is_gate_open(volume, "lastCleanupFiles") - time.time()) < 60
    # An answer that was lost is asked for again, and a later beginning is another one.
    assert first.read(*begin, "a:1").is_ours
    assert not first.read(*begin, "a:2").is_ours
    volume.db.execute("UPDATE jfs_counter SET value = value - 3240")
    assert second.read(*begin, "b:2").is_ours
    first.read("job_end", "files", "a:1", True, 5, None)  # too late: the run is another's
    second.read("job_end", "files", "b:2", True, 7, None)
    assert volume.value("SELECT items FROM tarn.upkeep_run WHERE job = 'files'") == 7


def test_of_two_who_look_at_the_same_moment_one_begins(volume, sessions):
    first, second = sessions(), sessions()
    first.begin()
    assert first.read("job_begin", "trash", "lastCleanupTrash", 3240, "a:1").is_ours
    waiting = second.start("read", "job_begin", "trash", "lastCleanupTrash", 3240, "b:1")
    waiting.until_blocked()
    first.commit()
    assert not waiting.answer().is_ours
    first.begin()
    assert first.read("job_begin", "sums", None, 60, "a:2").is_ours
    waiting = second.start("read", "job_begin", "sums", None, 60, "b:2").until_blocked()
    first.commit()
    assert not waiting.answer().is_ours


def test_a_mirror_does_no_job_and_deletes_nothing(volume, session):
    session.create(ROOT, b"f", FILE)
    session.write_at(FILE, 0, b"x" * 100)
    session.unlink(ROOT, b"f")
    session.read("chunks_drop", 0, FILE, 10)
    volume.db.execute("UPDATE tarn.local_site SET role = 'mirror'")
    assert not session.read("job_begin", "files", "lastCleanupFiles", 0, "a:1").is_ours
    assert is_gate_open(volume, "lastCleanupFiles") is None
    assert take(session) == set()


# ---- sessions


def test_a_silent_session_is_ended_with_its_locks_lanes_and_unlinked_files(volume, sessions):
    lost, other = sessions(), sessions()
    lost.create(ROOT, b"f", FILE)
    lost.write_at(FILE, 0, b"x" * 5000)
    lost.unlink(ROOT, b"f", opened=[FILE])
    lost.flush()
    volume.db.execute("INSERT INTO jfs_flock (inode, sid, owner, ltype) VALUES (1, %s, 1, 87)",
                      [lost.sid])
    volume.db.execute("UPDATE jfs_session2 SET expire = 5 WHERE sid = %s", [lost.sid])
    assert [row.sid for row in other.rows("stale_sessions", 10)] == [lost.sid]
    assert other.read("session_reap", lost.sid).is_reaped
    assert not other.read("session_reap", lost.sid).is_reaped
    for table in ("jfs_flock", "jfs_sustained"):
        assert volume.value(f"SELECT count(*) FROM {table}") == 0
    assert volume.query("SELECT inode FROM jfs_delfile") == [(FILE,)]
    assert lost.mkdir(ROOT, b"d", DIRECTORY).err == 116  # ESTALE: fenced
    assert other.read("chunks_drop", 0, FILE, 10).is_done
    delete_all(other)
    assert_consistent(volume)


def test_a_session_that_is_heard_of_in_time_is_left_alone(volume, sessions):
    session, other = sessions(), sessions()
    volume.db.execute("UPDATE jfs_session2 SET expire = tarn_1.clock_s() - 60 WHERE sid = %s",
                      [session.sid])
    session.begin()
    session.read("session_refresh", session.sid, 60)
    reaper = other.start("read", "session_reap", session.sid).until_blocked()
    session.commit()
    assert not reaper.answer().is_reaped
    assert session.mkdir(ROOT, b"d", DIRECTORY).err == 0


def test_lanes_that_a_stock_reaper_left_go_and_the_others_stay(volume, sessions):
    gone, alive = sessions(), sessions()
    gone.mkdir(ROOT, b"a", 200)
    alive.mkdir(ROOT, b"b", 201)
    volume.db.execute("DELETE FROM jfs_session2 WHERE sid = %s", [gone.sid])
    assert alive.read("orphan_lanes").lanes == 1
    assert volume.query("SELECT sid FROM tarn.slot") == [(alive.sid,)]
    assert alive.read("orphan_lanes").lanes == 0


def test_who_comes_from_the_primary_before_still_learns_what_was_done(volume, sessions):
    """Its sessions stayed behind. What it was not answered must neither be lost nor done again."""
    before, reaped = sessions(), sessions()
    for name, session in ((b"a", before), (b"b", reaped)):
        assert session.mkdir(ROOT, name, 200 + session.sid).err == 0
    volume.db.execute("DELETE FROM jfs_session2 WHERE sid = %s", [before.sid])
    volume.db.execute("INSERT INTO tarn.promotion (id, kind, old_site, old_system, epoch, switched_at)"
                      " VALUES (1, 'planned', 'x', '1', 1, now())")
    assert before.read("orphan_lanes").lanes == 0
    assert before.read("session_close", reaped.sid).err == 0
    for name, session in ((b"a", before), (b"b", reaped)):
        assert session.mkdir(ROOT, name, 200 + session.sid, op=session.op).err == 0
    assert reaped.mkdir(ROOT, b"b2", 300).err == ESTALE
    volume.db.execute("UPDATE tarn.promotion SET switched_at = now() - interval '61 min'")
    assert before.read("orphan_lanes").lanes == 1
    assert before.mkdir(ROOT, b"a", 200 + before.sid, op=before.op).err == ESTALE


# ---- files and slices


def test_a_removed_file_lets_go_of_each_reference_as_often_as_it_is_named(volume, session):
    for name, ino in ((b"f", FILE), (b"g", OTHER)):
        session.create(ROOT, name, ino)
    session.write_at(FILE, 0, b"a" * 10)
    session.write_at(FILE, CHUNK, b"b" * 10)
    shared, own = sorted(refs(volume))
    # The first slice is named twice more: in another chunk of the file, and in the other file.
    for ino, indx in ((FILE, 2), (OTHER, 0)):
        volume.db.execute("INSERT INTO jfs_chunk (inode, indx, slices) VALUES (%s, %s, %s)",
                          [ino, indx, stored(volume, FILE)])
    volume.db.execute("UPDATE jfs_chunk_ref SET refs = 3 WHERE chunkid = %s", [shared])
    session.unlink(ROOT, b"f")
    assert session.read("chunks_drop", 0, FILE, 1) == {"err": 0, "chunks": 1, "is_done": False}
    assert refs(volume) == {shared: 2, own: 1}
    assert session.read("chunks_drop", 0, FILE, 5) == {"err": 0, "chunks": 2, "is_done": True}
    assert refs(volume) == {shared: 1, own: 0}
    assert session.read("chunks_drop", 0, FILE, 5) == {"err": 0, "chunks": 0, "is_done": True}
    assert volume.value("SELECT count(*) FROM jfs_delfile") == 0
    assert doomed(volume) == {own}
    assert delete_all(session) == {own}
    assert volume.query("SELECT slice FROM tarn.block_sum") == [(shared,)]
    session.flush()
    assert_consistent(volume)


def test_a_file_that_lives_keeps_its_chunks_whatever_the_list_of_removed_files_says(volume, session):
    session.create(ROOT, b"f", FILE)
    session.write_at(FILE, 0, b"a" * 10)
    volume.db.execute("INSERT INTO jfs_delfile VALUES (%s, 10, 0)", [FILE])
    assert session.read("chunks_drop", 0, FILE, 5).err == EEXIST
    assert len(stored(volume, FILE)) == 24


def test_removed_files_are_listed_by_age_and_in_order(volume, session):
    now = volume.value("SELECT tarn_1.clock_s()")
    for ino, age in ((5, 0), (6, 4000), (7, 3500), (8, 9000)):
        volume.db.execute("INSERT INTO jfs_delfile VALUES (%s, 0, %s)", [ino, now - age])
    assert [row.ino for row in session.rows("dying_files", HOUR, 0, 10)] == [6, 8]
    assert [row.ino for row in session.rows("dying_files", 0, 5, 2)] == [6, 7]


def test_a_slice_with_a_reference_is_never_handed_out(volume, session):
    session.create(ROOT, b"f", FILE)
    session.write_at(FILE, 0, b"a" * 10)
    (used,) = refs(volume)
    volume.db.execute("INSERT INTO tarn.doomed (slice, size) VALUES (%s, 10), (777, 5)", [used])
    assert take(session) == set()
    assert doomed(volume) == set()
    # Not even to somebody who says that its objects are gone.
    assert session.read("doomed_done", [used]).removed == 0
    assert refs(volume) == {used: 1}


def test_what_one_has_taken_no_other_gets_until_he_gives_it_back(volume, sessions):
    first, second = sessions(), sessions()
    volume.db.execute("INSERT INTO jfs_chunk_ref VALUES (7, 10, 0), (8, 10, -1), (9, 10, 1)")
    assert first.read("doomed_scan", 100).found == 2
    assert first.read("doomed_scan", 100).found == 0
    assert take(first, limit=1) == {7}
    assert take(second) == {8}
    assert take(first) == set()
    first.read("doomed_left", [7], 0)
    assert take(second) == {7}
    assert second.read("doomed_done", [7, 8]).removed == 2
    assert refs(volume) == {9: 1}


def test_nothing_is_deleted_before_a_mirror_has_passed_and_a_lost_one_is_given_up(volume, session):
    volume.db.execute("INSERT INTO tarn.site VALUES ('away', 'mirror', 0, '1')")
    volume.db.execute("INSERT INTO jfs_chunk_ref VALUES (7, 10, 0)")
    session.read("doomed_scan", 100)
    assert take(session) == set()
    (follower,) = session.rows("followers")
    assert (follower.site, follower.is_awaited) == ("away", True)
    assert take(session) == set()  # it has no slot: nobody knows where it is
    volume.db.execute("UPDATE tarn.follower SET moved_at = now() - interval '8 days'")
    assert not session.rows("followers")[0].is_awaited
    assert take(session) == {7}
    volume.db.execute("UPDATE tarn.doomed SET leased_until = '-infinity'")
    session.read("keep_window_set", 9 * 86400)
    assert take(session) == set()
    volume.db.execute("DELETE FROM tarn.site WHERE name = 'away'")  # it has left
    assert take(session) == {7}


def test_sums_of_slices_that_a_stock_client_deleted_are_swept(volume, session):
    volume.db.execute("INSERT INTO jfs_chunk_ref SELECT i, 10, 1 FROM generate_series(1, 9) i")
    volume.db.execute("INSERT INTO tarn.block_sum SELECT i, 10, '\\x00000000'"
                      " FROM generate_series(1, 9) i")
    volume.db.execute("DELETE FROM jfs_chunk_ref WHERE chunkid IN (2, 3, 9)")
    at, removed = 0, 0
    while at is not None:
        page = session.read("sums_sweep", at, 4)
        at, removed = page.next, removed + page.removed
    assert removed == 3
    assert volume.value("SELECT array_agg(slice ORDER BY slice) FROM tarn.block_sum") == [
        1, 4, 5, 6, 7, 8]


# ---- the trash


def make_old(volume, days):
    """All hours of the trash were that many days ago."""
    volume.db.execute(
        "UPDATE jfs_edge SET name = convert_to(to_char(now() AT TIME ZONE 'UTC' - %s * interval"
        " '1 day', 'YYYY-MM-DD-HH24'), 'UTF8') WHERE parent = %s", [days, TRASH_INODE])


def fill_trash(session, count):
    for number in range(count):
        session.create(ROOT, b"f%d" % number, 300 + number)
        session.write_at(300 + number, 0, b"a" * (4000 + number))
        session.unlink(ROOT, b"f%d" % number)
    session.create(ROOT, b"linked", 900)
    session.link(900, ROOT, b"stays")
    session.unlink(ROOT, b"linked")
    session.mkdir(ROOT, b"d", 901)
    session.rmdir(ROOT, b"d")
    session.flush()


def purge(session, root, limit, verb="tree_purge"):
    removed, is_empty = 0, False
    while not is_empty:
        page = session.read(verb, root, limit)
        removed, is_empty = removed + page.removed, page.is_empty
        assert page.removed or is_empty, "no progress"
    return removed


def test_an_old_hour_of_the_trash_goes_with_all_that_is_in_it_and_every_count_is_right(
        volume, session):
    configure(volume, session, TrashDays=1)
    fill_trash(session, 20)
    assert session.rows("trash_due") == []
    make_old(volume, 3)
    ((hour, _),) = [row.values() for row in session.rows("trash_due")]
    assert not session.read("trash_hour_drop", hour).is_dropped
    assert session.read("tree_purge", hour, 7) == {"removed": 7, "is_empty": False}
    assert_consistent(volume)
    assert purge(session, hour, 7) == 15
    assert session.read("trash_hour_drop", hour).is_dropped
    assert not session.read("trash_hour_drop", hour).is_dropped
    assert volume.value("SELECT nlink FROM jfs_node WHERE inode = 900") == 1
    assert volume.value("SELECT count(*) FROM jfs_delfile") == 20
    for row in session.rows("dying_files", 0, 0, 100):
        assert session.read("chunks_drop", 0, row.ino, 10).is_done
    delete_all(session)
    assert refs(volume) == {}
    assert_consistent(volume)


def put_together(volume, session):
    """A tree of four inodes in an hour of the trash that is due, as `juicefs restore` without
    --put-back leaves it, and a file beside it. The hour."""
    configure(volume, session, TrashDays=1)
    session.mkdir(ROOT, b"top", 200)
    session.mkdir(200, b"a", 201)
    session.mkdir(201, b"b", 202)
    session.create(202, b"f", 203)
    session.create(200, b"g", 204)
    session.create(ROOT, b"x", 205)
    session.unlink(ROOT, b"x")
    session.flush()
    hour = volume.value("SELECT inode FROM jfs_edge WHERE parent = %s", [TRASH_INODE])
    volume.db.execute("UPDATE jfs_edge SET parent = %s WHERE name = 'top'", [hour])
    volume.db.execute("UPDATE jfs_node SET parent = %s WHERE inode = 200", [hour])
    volume.db.execute("UPDATE jfs_node SET nlink = nlink - 1 WHERE inode = 1")
    make_old(volume, 3)
    return hour


def test_nothing_is_purged_of_what_is_taken_out_of_the_trash_meanwhile(volume, sessions):
    session, purger = sessions(), sessions()
    hour = put_together(volume, session)
    session.begin()
    assert session.rename(hour, b"top", ROOT, b"saved").err == 0
    purging = purger.start("read", "tree_purge", hour, 100).until_blocked()
    session.commit()
    assert purging.answer() == {"removed": 1, "is_empty": True}
    assert session.names(200) == [b"a", b"g"] and session.names(202) == [b"f"]
    session.flush()
    assert_consistent(volume, with_stats=False)  # the hour was not counted


def test_what_is_being_purged_is_taken_out_of_the_trash_with_what_is_left(volume, sessions):
    session, purger = sessions(), sessions()
    hour = put_together(volume, session)
    assert session.rename(hour, volume.value(
        "SELECT name FROM jfs_edge WHERE inode = 205"), ROOT, b"x").err == 0
    purger.begin()
    assert purger.read("tree_purge", hour, 1).removed == 1
    saving = session.start("rename", hour, b"top", ROOT, b"saved").until_blocked()
    purger.commit()
    assert saving.answer().err == 0
    assert purger.read("tree_purge", hour, 100) == {"removed": 0, "is_empty": True}
    assert session.names(200) == [b"a", b"g"] and session.names(202) == []
    session.flush()
    assert_consistent(volume, with_stats=False)  # the hour was not counted


def test_a_tree_that_was_put_together_inside_the_trash_is_emptied_bottom_up(volume, session):
    hour = put_together(volume, session)
    assert purge(session, hour, 2) == 6
    assert session.read("trash_hour_drop", hour).is_dropped
    assert volume.query("SELECT inode FROM jfs_node ORDER BY 1") == [(1,), (TRASH_INODE,)]
    assert dict(volume.query("SELECT name, value FROM jfs_counter WHERE name IN"
                             " ('usedSpace', 'totalInodes')")) == {"usedSpace": 0, "totalInodes": 0}


def test_the_hour_of_the_trash_is_compared_as_utc_and_only_hours_are_touched(volume, session):
    def due(days):
        configure(volume, session, TrashDays=days)
        return [row.ino - TRASH_INODE for row in session.rows("trash_due")]
    names = volume.query("SELECT to_char(now() AT TIME ZONE 'UTC' - i * interval '1 hour',"
                         " 'YYYY-MM-DD-HH24') FROM unnest('{1,3,25,27,49}'::int[]) i")
    for number, (name,) in enumerate([*names, ("2020-01-01",), ("not an hour",)], 1):
        volume.db.execute("INSERT INTO jfs_edge (parent, name, inode, type) VALUES (%s, %s, %s, 2)",
                          [TRASH_INODE, name.encode(), TRASH_INODE + number])
    assert due(0) == [2, 3, 4, 5]
    assert due(1) == [4, 5]
    assert due(2) == []
    session.db.execute("SET timezone = 'Asia/Tokyo'")
    assert due(1) == [4, 5]


def test_replaced_slices_are_let_go_when_they_are_older_than_the_trash(volume, session):
    configure(volume, session, TrashDays=1)
    volume.db.execute("INSERT INTO jfs_chunk_ref VALUES (1, 10, 1), (2, 20, 2), (3, 30, 1)")
    now = volume.value("SELECT tarn_1.clock_s()")
    packed = struct.pack("!QIQI", 1, 10, 2, 20)
    volume.db.execute("INSERT INTO jfs_delslices VALUES (50, %s, %s), (51, %s, %s)", [
        now - 86400 - 5, packed, now - 86400 + 60, struct.pack("!QI", 3, 30)])
    assert session.read("delayed_expire", 10).expired == 1
    assert session.read("delayed_expire", 10).expired == 0
    assert refs(volume) == {1: 0, 2: 1, 3: 1}
    assert doomed(volume) == {1}
    configure(volume, session, TrashDays=0)
    assert session.read("delayed_expire", 10).expired == 1
    assert doomed(volume) == {1, 3}


def test_a_tree_that_was_never_attached_goes_after_a_day_and_an_attached_one_stays(volume, session):
    session.mkdir(ROOT, b"lost", 200)
    session.create(200, b"f", 201)
    session.write_at(201, 0, b"x" * 10)
    session.mkdir(ROOT, b"attached", 202)
    session.create(202, b"g", 203)
    session.flush()
    volume.db.execute("DELETE FROM jfs_edge WHERE name = 'lost'")
    volume.db.execute("UPDATE jfs_node SET nlink = nlink - 1 WHERE inode = 1")
    volume.db.execute("UPDATE jfs_dir_stats SET used_space = used_space - 4096,"
                      " used_inodes = used_inodes - 1 WHERE inode = 1")
    now = volume.value("SELECT tarn_1.clock_s()")
    volume.db.execute("INSERT INTO jfs_detached_node VALUES (200, %s), (202, %s)",
                      [now - 86300, now - 86500])
    assert [row.ino for row in session.rows("detached_due", 86400, 10)] == [202]
    for root in (200, 202):
        purge(session, root, 5, "detached_purge")
        assert session.read("detached_drop", root).is_dropped == (root == 200)
    assert volume.value("SELECT count(*) FROM jfs_detached_node") == 0
    assert volume.value("SELECT array_agg(inode ORDER BY inode) FROM jfs_node WHERE inode < 1000"
                        ) == [1, 202, 203]
    session.read("chunks_drop", 0, 201, 10)
    delete_all(session)
    assert_consistent(volume)


# ---- statistics of directories


def test_statistics_are_mended_when_they_and_the_count_are_as_they_were(volume, session):
    session.mkdir(ROOT, b"d", DIRECTORY)
    session.create(DIRECTORY, b"f", FILE)
    session.write_at(FILE, 0, b"x" * 5000)
    session.mkdir(ROOT, b"right", 300)
    session.flush()
    assert [row.dir for row in session.rows("dir_stats_differ", 0, 10)] == [0]
    volume.db.execute("UPDATE jfs_dir_stats SET used_space = 77 WHERE inode = %s", [DIRECTORY])
    wrong, end = session.rows("dir_stats_differ", 0, 10)
    assert session.rows("dir_stats_differ", end.next, 10) == []
    seen = [wrong[name] for name in ("dir", "has_length", "has_space", "has_entries", "length",
                                     "space", "entries")]
    assert seen == [DIRECTORY, 5000, 77, 1, 5000, 8192, 1]
    # Somebody has changed the directory since, and flushed or not: it is looked at another time.
    session.create(DIRECTORY, b"g", OTHER)
    assert not session.read("dir_stats_mend", *seen).is_mended
    session.unlink(DIRECTORY, b"g")
    session.flush()
    volume.db.execute("UPDATE jfs_dir_stats SET used_space = 78 WHERE inode = %s", [DIRECTORY])
    assert not session.read("dir_stats_mend", *seen).is_mended
    volume.db.execute("UPDATE jfs_dir_stats SET used_space = 77 WHERE inode = %s", [DIRECTORY])
    assert session.read("dir_stats_mend", *seen).is_mended
    assert_consistent(volume)


# ---- the change log


def test_the_change_log_is_cut_by_age_and_by_lines(volume, session):
    configure(volume, session, ChangeLog=True, ChangeLogMaxAge=7200, ChangeLogMaxLines=0)
    now = volume.value("SELECT tarn_1.clock_s()")
    for age in (9000, 7300, 7100, 50, 10):
        volume.db.execute("INSERT INTO jfs_change_log (entry) VALUES (%s)",
                          [f"{now - age}.000000001|X()|(0,0)"])
    assert session.read("change_log_expire", 1).expired == 1
    assert session.read("change_log_expire", 10).expired == 1
    assert session.read("change_log_expire", 10).expired == 0
    configure(volume, session, ChangeLogMaxAge=0, ChangeLogMaxLines=2)
    assert session.read("change_log_expire", 10).expired == 1
    assert [row[0][:10] for row in volume.query("SELECT entry FROM jfs_change_log ORDER BY id")] == [
        str(now - 50), str(now - 10)]


def test_what_the_jobs_do_is_in_the_change_log_as_stock_clients_write_it(volume, session):
    configure(volume, session, ChangeLog=True)
    session.create(ROOT, b"f", FILE)
    session.write_at(FILE, 0, b"a" * 10)
    session.unlink(ROOT, b"f")
    (slice_id,) = refs(volume)
    volume.db.execute("DELETE FROM jfs_change_log")
    session.read("job_begin", "files", "lastCleanupFiles", 3240, "a:1")
    gate = is_gate_open(volume, "lastCleanupFiles")
    session.read("chunks_drop", session.sid, FILE, 10)
    delete_all(session)
    entries = [row[0].split("|")[1] for row in volume.query(
        "SELECT entry FROM jfs_change_log ORDER BY id")]
    assert entries == [f"SET(lastCleanupFiles,{gate})", f"DELCHUNK({FILE},0)",
                       f"DELETESLICE({slice_id},10)"]


# ---- compaction


def compact(session, ino, data, origin, skipped=0, pos=0, slice_id=None, indx=0, took=0):
    """Commit a slice in the place of the records in origin after the skipped ones, which were read
    so many seconds ago."""
    if slice_id is None:
        slice_id = session.read("alloc", "nextChunk", 1).first
        session.data[slice_id] = data
    begun = session.read("clock_s").clock_s - took
    done = session.read("compact", ino, indx, origin, skipped, pos, slice_id, len(data),
                        sums_of(data), begun).is_done
    return slice_id, done


def write_three(session):
    model = Model()
    session.create(ROOT, b"f", FILE)
    for offset, data in ((0, b"a" * 30), (10, b"b" * 10), (5, b"c" * 10)):
        session.write_at(FILE, offset, data)
        model.write(offset, data)
    return model, b"aaaaa" + b"c" * 10 + b"b" * 5 + b"a" * 10


@pytest.mark.parametrize("trash_days", [0, 1])
def test_compaction_replaces_the_records_it_read_and_keeps_head_and_tail(volume, session, trash_days):
    configure(volume, session, TrashDays=trash_days)
    model, _ = write_three(session)
    before = session.read("getattr", FILE)
    origin = stored(volume, FILE)
    tail = session.slice(2, b"t" * 3)
    session.write(FILE, tail)
    model.write(2, b"t" * 3)
    head, second, third = (struct.unpack_from("!Q", origin, at * 24 + 4)[0] for at in range(3))
    times = session.read("getattr", FILE)
    merged = b"c" * 10 + b"b" * 5
    new, done = compact(session, FILE, merged, origin, skipped=1, pos=5)
    assert done
    session.assert_reads_as(FILE, model)
    kept = stored(volume, FILE)
    assert (kept[:24], kept[48:]) == (origin[:24], stored(volume, FILE)[48:])
    assert struct.unpack("!IQIII", kept[24:48]) == (5, new, 15, 0, 15)
    assert session.read("getattr", FILE) == times != before
    if trash_days:
        assert refs(volume) == {head: 1, second: 1, third: 1, tail.id: 1, new: 1}
        assert bytes(volume.value("SELECT slices FROM jfs_delslices WHERE chunkid = %s", [new])
                     ) == struct.pack("!QIQI", second, 10, third, 10)
    else:
        assert refs(volume) == {head: 1, second: 0, third: 0, tail.id: 1, new: 1}
        assert delete_all(session) == {second, third}
    session.flush()
    assert_consistent(volume)


def test_the_same_compaction_sent_twice_is_done_once(volume, session):
    _, merged = write_three(session)
    origin = stored(volume, FILE)
    new, done = compact(session, FILE, merged, origin)
    after = volume.contents()
    assert compact(session, FILE, merged, origin, slice_id=new) == (new, done) == (new, True)
    assert volume.contents() == after


def test_of_two_compactions_at_once_one_is_for_nothing_and_its_slice_is_deleted(volume, sessions):
    first, second = sessions(), sessions()
    model, merged = write_three(first)
    origin = stored(volume, FILE)
    first.begin()
    new, done = compact(first, FILE, merged, origin)
    assert done
    other = second.start("read", "compact", FILE, 0, origin, 0, 0, 5000, len(merged),
                         sums_of(merged), time.time_ns() // 10**9).until_blocked()
    first.commit()
    assert not other.answer().is_done
    assert refs(volume)[5000] == 0
    assert 5000 in doomed(volume)
    first.assert_reads_as(FILE, model)
    delete_all(first)
    assert refs(volume) == {new: 1}
    # Its answer may have been lost.
    assert not second.read("compact", FILE, 0, origin, 0, 0, 5000, len(merged),
                           sums_of(merged), time.time_ns() // 10**9).is_done
    assert refs(volume)[new] == 1


def test_a_compaction_that_comes_after_a_gc_may_have_had_its_blocks_is_for_nothing(volume, session):
    model, merged = write_three(session)
    origin = stored(volume, FILE)
    assert session.read("chunk_records", FILE, 0, 100).begun >= time.time() - 60
    new, done = compact(session, FILE, merged, origin, took=HOUR)
    assert not done and new in doomed(volume)
    session.assert_reads_as(FILE, model)


def test_a_write_at_the_same_time_waits_and_stays_behind_the_compacted_records(volume, sessions):
    first, writer = sessions(), sessions()
    model, merged = write_three(first)
    first.begin()
    compact(first, FILE, merged, stored(volume, FILE))
    write = writer.start("write_at", FILE, 1, b"w").until_blocked()
    first.commit()
    assert write.answer().err == 0
    model.write(1, b"w")
    first.assert_reads_as(FILE, model)
    assert len(stored(volume, FILE)) == 48


def test_compaction_of_a_file_that_was_removed_meanwhile_leaves_only_a_doomed_slice(volume, session):
    _, merged = write_three(session)
    origin = stored(volume, FILE)
    session.unlink(ROOT, b"f")
    session.read("chunks_drop", 0, FILE, 10)
    new, done = compact(session, FILE, merged, origin)
    assert not done
    assert stored(volume, FILE) is None
    assert new in delete_all(session)
    assert refs(volume) == {}


def test_crowded_chunks_are_found_page_by_page(volume, session):
    for number in range(10):
        volume.db.execute("INSERT INTO jfs_chunk (inode, indx, slices) VALUES (%s, 0, %s)",
                          [500 + number, b"x" * 24 * (5 if number % 3 == 0 else 2)])
    at, found = 0, []
    for _ in range(20):
        rows = session.rows("crowded_chunks", at, 4, 5)
        found += [row.ino for row in rows if row.ino]
        if not rows:
            break
        at = max(row.id for row in rows)
    assert found == [500, 503, 506, 509]
