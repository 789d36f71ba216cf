"""Quotas of directories, users and groups in the functions that mounts call."""

import json
import random

import pytest
from harness.quotas import assert_dir_quotas, assert_owners, below
from harness.sql_file import GID, LENGTH, UID, ZERO, FileSession
from harness.sql_volume import SqlVolume
from harness.volume import TRASH_INODE

OK, EEXIST, EDQUOT = 0, 17, 122
ROOT, TOP, INNER, FREE = 1, 100, 101, 102


@pytest.fixture
def volume(cluster, database):
    made = SqlVolume(cluster, database)
    made.db.execute("UPDATE jfs_counter SET value = 100000 WHERE name = 'nextInode'")
    yield made
    made.close()


@pytest.fixture
def s(volume):
    """A session, and the directories /top/inner and /free."""
    session = FileSession(volume)
    session.mkdir(ROOT, b"top", TOP)
    session.mkdir(TOP, b"inner", INNER)
    session.mkdir(ROOT, b"free", FREE)
    session.flush()
    yield session
    session.close()


def limit(session, ino, max_space=0, max_inodes=0):
    below_space, below_entries = below(session.volume, ino)
    session.volume.db.execute(
        "INSERT INTO jfs_dir_quota VALUES (%s, %s, %s, %s, %s) ON CONFLICT (inode) DO UPDATE"
        " SET max_space = EXCLUDED.max_space, max_inodes = EXCLUDED.max_inodes",
        [ino, max_space, max_inodes, below_space, below_entries])
    session.read("flags_refresh")


def limit_owner(session, kind, owner, max_space=-1, max_inodes=-1):
    configure(session, UserGroupQuota=True)
    session.volume.db.execute(
        "INSERT INTO jfs_user_group_quota VALUES (%s, %s, %s, %s, 0, 0)"
        " ON CONFLICT (qtype, qkey) DO UPDATE"
        " SET max_space = EXCLUDED.max_space, max_inodes = EXCLUDED.max_inodes",
        [kind, owner, max_space, max_inodes])


def configure(session, **settings):
    row = json.loads(session.volume.value("SELECT value FROM jfs_setting WHERE name = 'format'"))
    session.volume.db.execute("UPDATE jfs_setting SET value = %s WHERE name = 'format'",
                              [json.dumps({**row, **settings})])
    session.read("flags_refresh")


def make(session, parent, name, ino, **more):
    reply = session.create(parent, name, ino, **more)
    session.flush()
    return reply


# ---- limits of directories

def test_a_quota_counts_what_is_below_and_not_the_directory_itself(s):
    limit(s, TOP, max_inodes=3)
    assert make(s, TOP, b"a", 200).err == OK
    assert make(s, INNER, b"b", 201).err == OK
    for parent in (TOP, INNER):
        assert make(s, parent, b"c", 202).err == EDQUOT
        assert s.mkdir(parent, b"c", 202).err == EDQUOT
    assert make(s, FREE, b"c", 202).err == OK
    s.unlink(TOP, b"a")
    s.flush()
    assert make(s, INNER, b"c", 203).err == OK
    assert_dir_quotas(s.volume)


def test_a_name_that_is_taken_is_told_before_the_quota(s):
    make(s, TOP, b"a", 200)
    limit(s, TOP, max_inodes=1)
    reply = s.create(TOP, b"a", 201)
    assert (reply.err, reply.ino) == (EEXIST, 200)
    assert s.link(200, TOP, b"a").err == EEXIST


@pytest.mark.parametrize("quotas", [(0, 0), (-1, -1), (-5, 0)])
def test_a_quota_without_limits_refuses_nothing_and_counts(s, quotas):
    limit(s, TOP, *quotas)
    assert make(s, INNER, b"a", 200).err == OK
    assert s.write_at(200, 0, b"x" * 100000).err == OK
    s.flush()
    assert_dir_quotas(s.volume)


@pytest.mark.parametrize("grow", [
    lambda s, ino: s.write_at(ino, 8000, b"x" * 1000),
    lambda s, ino: s.truncate(ino, 9000),
    lambda s, ino: s.fallocate(ino, 0, 0, 9000),
    lambda s, ino: s.fallocate(ino, ZERO, 0, 9000)])
def test_a_file_grows_up_to_the_quota_of_every_directory_that_has_its_names(s, grow):
    make(s, TOP, b"a", 200)
    s.write_at(200, 0, b"x" * 8000)
    s.link(200, FREE, b"other")
    s.flush()
    limit(s, FREE, max_space=8192)
    before = s.contents(200)
    assert grow(s, 200).err == EDQUOT
    assert s.contents(200) == before
    limit(s, FREE, max_space=12288)
    assert grow(s, 200).err == OK
    s.flush()
    assert_dir_quotas(s.volume)


def test_writing_in_a_file_that_does_not_grow_asks_no_quota(s):
    make(s, TOP, b"a", 200)
    s.write_at(200, 0, b"x" * 8192)
    s.flush()
    limit(s, TOP, max_space=4096, max_inodes=1)
    assert s.write_at(200, 100, b"y" * 100).err == OK
    assert s.truncate(200, 5000).err == OK
    assert s.truncate(200, 8192).err == OK


def test_a_hard_link_counts_like_another_file_in_the_directory(s):
    make(s, FREE, b"a", 200)
    s.write_at(200, 0, b"x" * 8000)
    limit(s, TOP, max_space=4096)
    assert s.link(200, INNER, b"l").err == EDQUOT
    limit(s, TOP, max_space=4096 + 8192, max_inodes=1)
    assert s.link(200, INNER, b"l").err == EDQUOT
    limit(s, TOP, max_space=4096 + 8192, max_inodes=2)
    assert s.link(200, INNER, b"l").err == OK
    s.flush()
    assert_dir_quotas(s.volume)


def test_a_move_is_held_against_quotas_that_do_not_cover_it_already(s):
    """/top holds /top/inner with 3 entries below; /free may take fewer."""
    s.mkdir(INNER, b"d", 300)
    make(s, 300, b"f", 301)
    s.write_at(301, 0, b"x" * 5000)
    make(s, INNER, b"f", 302)
    limit(s, TOP, max_space=1, max_inodes=1)  # exceeded, but nothing is added to it below
    limit(s, FREE, max_inodes=1)
    assert s.rename(INNER, b"f", TOP, b"f").err == OK
    assert s.rename(INNER, b"d", TOP, b"d").err == OK
    assert s.rename(TOP, b"d", FREE, b"d").err == EDQUOT
    assert s.rename(TOP, b"inner", FREE, b"inner").err == OK
    s.flush()
    assert s.rename(TOP, b"f", FREE, b"f").err == EDQUOT
    limit(s, FREE, max_space=4096 + 4096 + 8192 - 1)
    assert s.rename(TOP, b"d", FREE, b"d").err == EDQUOT
    limit(s, FREE, max_space=4096 + 4096 + 8192)
    assert s.rename(TOP, b"d", FREE, b"d").err == OK
    s.flush()
    assert_dir_quotas(s.volume)


def test_an_exchange_is_held_against_the_quotas_of_both_places(s):
    make(s, TOP, b"big", 200)
    s.write_at(200, 0, b"x" * 50000)
    make(s, FREE, b"small", 201)
    limit(s, FREE, max_space=8192)
    assert s.rename(TOP, b"big", FREE, b"small", 2).err == EDQUOT
    assert s.rename(FREE, b"small", TOP, b"big", 2).err == EDQUOT


def test_a_tree_out_of_the_trash_is_held_against_the_quota(s):
    s.mkdir(TOP, b"d", 300)
    s.flush()
    s.rmdir(TOP, b"d")
    s.flush()
    limit(s, TOP, max_inodes=1)
    (hour, name), = s.volume.query("SELECT parent, name FROM jfs_edge WHERE inode = 300")
    assert s.rename(hour, bytes(name), TOP, b"back").err == EDQUOT
    limit(s, TOP, max_inodes=2)
    assert s.rename(hour, bytes(name), TOP, b"back").err == OK
    s.flush()
    assert_dir_quotas(s.volume)


def test_quotas_of_directories_are_out_of_force_without_directory_statistics(s):
    limit(s, TOP, max_inodes=1)
    configure(s, DirStats=False)
    reply = s.create(TOP, b"a", 200)
    assert reply.err == OK
    assert -3 not in reply.usage


def test_what_was_done_before_a_move_is_counted_where_it_was_done(s):
    """The flush comes after the directory has gone elsewhere."""
    limit(s, TOP)
    limit(s, FREE)
    s.create(INNER, b"a", 200)
    s.rename(TOP, b"inner", FREE, b"inner")
    s.create(INNER, b"b", 201)
    s.flush()
    assert_dir_quotas(s.volume)


def test_without_quotas_nothing_about_them_is_answered(s):
    assert s.create(TOP, b"a", 200).usage == [4096, 1, TOP, 0, 4096, 1]


# ---- limits of owners

def test_owners_have_limits_of_their_own(s):
    limit_owner(s, 1, 1000, max_inodes=1)
    limit_owner(s, 2, 50, max_space=8192)
    assert make(s, TOP, b"a", 200, uid=1000, gid=7).err == OK
    assert make(s, TOP, b"b", 201, uid=1000, gid=7).err == EDQUOT
    assert make(s, TOP, b"b", 201, uid=0, gid=50).err == OK
    assert s.write_at(201, 0, b"x" * 9000).err == EDQUOT
    assert s.write_at(201, 0, b"x" * 5000).err == OK
    s.flush()
    assert make(s, TOP, b"c", 202, uid=0, gid=50).err == EDQUOT
    assert make(s, TOP, b"c", 202, uid=0, gid=0).err == OK


def test_the_group_that_is_inherited_is_the_one_that_pays(s):
    limit_owner(s, 2, 50, max_inodes=1)
    make(s, TOP, b"a", 200, gid=50)
    s.volume.db.execute("UPDATE jfs_node SET mode = 1517, gid = 50 WHERE inode = %s", [INNER])
    assert make(s, INNER, b"b", 201, gid=7).err == EDQUOT
    assert make(s, TOP, b"b", 201, gid=7).err == OK


def test_a_link_needs_room_for_an_inode_of_its_owners_but_counts_for_none(s):
    limit_owner(s, 1, 1000, max_inodes=2)
    make(s, TOP, b"a", 200, uid=1000)
    assert s.link(200, FREE, b"l").err == OK
    make(s, TOP, b"b", 201, uid=1000)
    assert s.link(200, FREE, b"m").err == EDQUOT


def test_owner_limits_are_out_of_force_when_they_are_not_counted(s):
    limit_owner(s, 1, 1000, max_inodes=1)
    make(s, TOP, b"a", 200, uid=1000)
    configure(s, UserGroupQuota=False)
    reply = make(s, TOP, b"b", 201, uid=1000)
    assert reply.err == OK and -1 not in reply.usage


def test_owners_pay_for_what_they_own_until_it_is_really_gone(s):
    configure(s, UserGroupQuota=True)
    s.setattr(TOP, UID, uid=0)

    def counts():
        s.flush()
        return {tuple(k): tuple(v) for k, v in {
            (kind, key): used for kind, key, *used in s.volume.query(
                "SELECT qtype, qkey, used_space, used_inodes FROM jfs_user_group_quota"
                " WHERE used_space <> 0 OR used_inodes <> 0")}.items()}
    s.create(TOP, b"a", 200, uid=1000, gid=50)
    s.write_at(200, 0, b"x" * 5000)
    assert counts() == {(1, 1000): (8192, 1), (2, 50): (8192, 1)}
    s.link(200, TOP, b"l")
    s.setattr(200, UID | GID | LENGTH, uid=1001, gid=50, length=9000)
    assert counts() == {(1, 1001): (12288, 1), (2, 50): (12288, 1)}
    s.setattr(200, GID, gid=51)
    assert counts() == {(1, 1001): (12288, 1), (2, 51): (12288, 1)}
    s.create(TOP, b"s", 201, 3, uid=1000, gid=50, target=b"x")
    s.unlink(TOP, b"s")
    s.unlink(TOP, b"l")
    s.unlink(TOP, b"a")
    assert counts() == {(1, 1000): (4096, 1), (2, 50): (4096, 1), (1, 1001): (12288, 1),
                        (2, 51): (12288, 1)}
    hour = s.volume.value("SELECT inode FROM jfs_edge WHERE parent = %s", [TRASH_INODE])
    for (name,) in s.volume.query("SELECT name FROM jfs_edge WHERE parent = %s", [hour]):
        s.unlink(hour, bytes(name))
    assert counts() == {}


def test_a_file_that_replaces_another_takes_from_that_ones_owner(s):
    configure(s, UserGroupQuota=True, TrashDays=0)
    s.create(FREE, b"a", 200, uid=1000, gid=50)
    s.create(FREE, b"b", 201, uid=1001, gid=51)
    s.write_at(201, 0, b"x" * 5000)
    s.rename(FREE, b"a", FREE, b"b")
    s.flush()
    assert s.volume.query("SELECT qkey, used_space FROM jfs_user_group_quota"
                          " WHERE used_space <> 0 ORDER BY 1, 2") == [(50, 4096), (1000, 4096)]


@pytest.mark.parametrize("end", ["release", "session_close"])
def test_an_open_file_is_paid_for_until_its_last_close(s, end):
    configure(s, UserGroupQuota=True, TrashDays=0)
    s.create(FREE, b"a", 200, uid=1000, gid=50)
    s.unlink(FREE, b"a", opened=[200])
    s.truncate(200, 5000)
    s.flush()
    query = "SELECT sum(used_space), sum(used_inodes) FROM jfs_user_group_quota"
    assert s.volume.query(query) == [(2 * 8192, 2)]
    if end == "release":
        s.release(200)
        s.flush()
    else:
        s.read("session_close", s.sid)
    assert s.volume.query(query) == [(0, 0)]


# ---- the books

@pytest.mark.parametrize("trash_days", [0, 1])
@pytest.mark.parametrize("seed", range(2))
def test_counters_are_what_a_count_gives_after_anything(s, seed, trash_days):
    """Any operations in any order; flushes come when they come, and limits refuse some."""
    configure(s, UserGroupQuota=True, TrashDays=trash_days)
    rng = random.Random(seed)
    s.volume.db.execute("INSERT INTO jfs_user_group_quota SELECT t, 0, -1, -1, 3 * 4096, 3"
                        " FROM generate_series(1, 2) AS t")
    limit(s, TOP, max_inodes=25)
    limit(s, INNER, max_space=40 * 4096)
    limit(s, ROOT)
    limit_owner(s, 1, 1, max_inodes=12)
    dirs, files, next_ino = {ROOT, TOP, INNER, FREE}, set(), 1000
    names = [b"n%d" % i for i in range(8)]
    refused = 0
    for _ in range(400):
        parent, name = rng.choice(sorted(dirs)), rng.choice(names)
        owner = {"uid": rng.randrange(3), "gid": rng.randrange(3)}
        what = rng.randrange(10)
        next_ino += 1
        if what < 3:
            reply = s.create(parent, name, next_ino, rng.choice([1, 1, 1, 3]), target=b"x", **owner)
            files |= {next_ino} if reply.err == OK else set()
        elif what == 3:
            reply = s.mkdir(parent, name, next_ino, **owner)
            dirs |= {next_ino} if reply.err == OK else set()
        elif what == 4:
            reply = s.rename(parent, name, rng.choice(sorted(dirs)), rng.choice(names),
                             rng.choice([0, 0, 1, 2]))
        elif what == 5:
            reply = s.unlink(parent, name)
        elif what == 6:
            reply = s.rmdir(parent, name)
        elif not files:
            continue
        elif what == 7:
            reply = s.write_at(rng.choice(sorted(files)), rng.randrange(20000), b"x" * 3000)
        elif what == 8:
            reply = s.setattr(rng.choice(sorted(files)), rng.choice([UID, GID, LENGTH]),
                              length=rng.randrange(30000), **owner)
        else:
            reply = s.link(rng.choice(sorted(files)), parent, name)
        refused += reply.err == EDQUOT
        if rng.random() < 0.1:
            s.flush()
        dirs = {d for (d,) in s.volume.query(
            "SELECT inode FROM jfs_node WHERE type = 2 AND inode < %s AND parent < %s",
            [TRASH_INODE, TRASH_INODE])}
        files = {f for (f,) in s.volume.query("SELECT inode FROM jfs_node WHERE type = 1")}
    s.flush()
    assert refused > 5
    assert_dir_quotas(s.volume)
    assert_owners(s.volume)
