"""The functions on names, one at a time: what they do and refuse, and what a repeated call does.

Races are in test_sql_races.py, random sequences against a model in test_sql_model.py.
"""

import errno

import pytest
from harness.check import assert_consistent
from harness.sql_volume import Books, SqlVolume
from harness.volume import TRASH_INODE

ROOT = 1
FILE, DIRECTORY, SYMLINK, FIFO, BLOCK, CHAR, SOCKET = range(1, 8)
IMMUTABLE, APPEND, SKIP_TRASH = 1, 2, 0x20
NOREPLACE, EXCHANGE, WHITEOUT, RESTORE = 1, 2, 4, 32
LONG = b"n" * 255


def opened_volume(cluster, database, trash_days):
    volume = SqlVolume(cluster, database, trash_days)
    session = volume.session()
    yield session
    session.close()
    volume.close()


@pytest.fixture
def s(cluster, database):
    """A session on a volume that keeps its trash."""
    yield from opened_volume(cluster, database, 1)


@pytest.fixture
def bare(cluster, database):
    """A session on a volume without trash."""
    yield from opened_volume(cluster, database, 0)


def err(reply, code):
    """The reply refuses with this code and says nothing else."""
    assert errno.errorcode.get(reply.err, "ok") == errno.errorcode[code]
    assert set(reply.values()) == {code, None}


def ok(reply):
    assert reply.err == 0, errno.errorcode[reply.err]
    return reply


def set_flags(session, ino, flags):
    session.volume.db.execute("UPDATE jfs_node SET flags = %s WHERE inode = %s", [flags, ino])


def set_length(session, ino, length):
    session.volume.db.execute("UPDATE jfs_node SET length = %s WHERE inode = %s", [length, ino])


def age(session, ino):
    """Let the directory's times be old, so that the next change updates them."""
    session.volume.db.execute("UPDATE jfs_node SET mtime = 1, ctime = 1, mtimensec = 9,"
                              " ctimensec = 9 WHERE inode = %s", [ino])


def hour(session):
    return session.volume.value("SELECT inode FROM jfs_edge WHERE parent = %s", [TRASH_INODE])


def trashed(session):
    """Names and inodes in the trash."""
    return {bytes(name): ino for name, ino in session.volume.query(
        "SELECT name, inode FROM jfs_edge WHERE parent > %s", [TRASH_INODE])}


# ---------------------------------------------------------------------------------------- create

def test_a_new_file_has_what_the_format_says(s):
    made = ok(s.create(ROOT, b"f", 10, mode=0o7666, umask=0o022, uid=7, gid=8))
    assert (made.ino, made.type, made.mode, made.uid, made.gid) == (10, FILE, 0o7644, 7, 8)
    assert (made.nlink, made.length, made.parent, made.rdev, made.flags) == (1, 0, ROOT, 0, 0)
    assert made.atime == made.mtime == made.ctime
    assert made.atimensec == made.mtimensec == made.ctimensec == 0
    assert made.usage == [4096, 1, ROOT, 0, 4096, 1]
    now = s.volume.value("SELECT extract(epoch FROM clock_timestamp()) * 1e6")
    assert 0 <= now - made.mtime < 60e6
    seen = s.lookup(ROOT, b"f")
    assert seen == {**made, "usage": None} == s.read("getattr", 10)


def test_a_new_directory_counts_at_its_parent_and_gets_statistics(s):
    made = ok(s.mkdir(ROOT, b"d", 10))
    assert (made.nlink, made.length, made.usage) == (2, 4096, [4096, 1, ROOT, 0, 4096, 1])
    assert s.read("getattr", ROOT).nlink == 3
    assert s.volume.query("SELECT * FROM jfs_dir_stats ORDER BY 1") == [
        (ROOT, 0, 0, 0), (10, 0, 0, 0)]


def test_a_symlink_ignores_mode_and_umask(s):
    made = ok(s.create(ROOT, b"l", 10, SYMLINK, mode=0o600, umask=0o77, target=b"to/\xff"))
    assert (made.mode, made.length) == (0o777, 4)
    assert s.read("readlink", 10) == {"err": 0, "target": b"to/\xff"}


@pytest.mark.parametrize("kind", [FIFO, BLOCK, CHAR, SOCKET])
def test_special_files_keep_their_device_number(s, kind):
    made = ok(s.create(ROOT, b"x", 10, kind, rdev=0x12345678))
    assert made.rdev == (0x12345678 if kind in (BLOCK, CHAR) else 0)
    assert (made.type, made.length, made.nlink) == (kind, 0, 1)


def test_setgid_is_handed_down(s):
    ok(s.mkdir(ROOT, b"d", 10, mode=0o2775, gid=50))
    assert s.mkdir(10, b"sub", 11, gid=9)["gid"] == 50
    assert s.read("getattr", 11).mode == 0o2755
    assert s.create(10, b"f", 12, gid=9, mode=0o644)["gid"] == 50
    assert s.read("getattr", 12).mode == 0o644
    # 02010 files: root and members keep the bit, others lose it.
    assert s.create(10, b"r", 13, gid=9, uid=0, mode=0o2755).mode == 0o2755
    assert s.create(10, b"m", 14, gid=50, uid=5, mode=0o2755).mode == 0o2755
    assert s.create(10, b"o", 15, gid=9, uid=5, mode=0o2755).mode == 0o755
    assert s.create(10, b"x", 16, gid=9, uid=5, mode=0o2745).mode == 0o2745
    assert s.create(ROOT, b"p", 17, gid=9, uid=5, mode=0o2755).mode == 0o2755


def test_skip_trash_and_tier_are_inherited_but_no_other_flag(s):
    ok(s.mkdir(ROOT, b"d", 10))
    s.volume.db.execute("UPDATE jfs_node SET flags = %s, tier_id = 3 WHERE inode = 10",
                        [SKIP_TRASH | APPEND | 4])
    made = ok(s.create(10, b"f", 11))
    assert (made.flags, made.tier) == (SKIP_TRASH, 3)


def test_create_refuses(s):
    ok(s.mkdir(ROOT, b"d", 10))
    ok(s.create(ROOT, b"f", 11, mode=0o640))
    there = s.create(ROOT, b"f", 12)
    assert (there.err, there.ino, there.mode, there.usage) == (errno.EEXIST, 11, 0o640, None)
    assert s.mkdir(ROOT, b"d", 12).err == errno.EEXIST
    err(s.create(99, b"x", 12), errno.ENOENT)
    err(s.create(11, b"x", 12), errno.ENOTDIR)
    err(s.create(10, b"n" * 256, 12), errno.ENAMETOOLONG)
    for name in (b"", b"a/b", b"a\0b"):
        err(s.create(10, name, 12), errno.EINVAL)
    err(s.create(10, b".", 12), errno.EEXIST)
    err(s.create(10, b"..", 12), errno.EEXIST)
    err(s.create(10, b"x", 12, SYMLINK, target=b""), errno.EINVAL)
    err(s.create(10, b"x", 12, SYMLINK, target=b"a\0"), errno.EINVAL)
    err(s.create(10, b"x", 12, SYMLINK, target=b"t" * 4097), errno.ENAMETOOLONG)
    err(s.create(10, b"x", 12, 0), errno.EINVAL)
    err(s.create(10, b"x", 12, 8), errno.EINVAL)
    err(s.create(10, b"x", 12, uid=2**31), errno.EINVAL)
    err(s.create(10, b"x", 12, gid=2**32 - 2), errno.EINVAL)
    err(s.create(10, b"x", 12, CHAR, rdev=2**31), errno.EINVAL)
    err(s.create(ROOT, b".trash", 12), errno.EPERM)
    err(s.create(TRASH_INODE, b"x", 12), errno.EPERM)
    assert s.names(10) == []
    assert s.volume.value("SELECT count(*) FROM jfs_node WHERE inode = 12") == 0
    ok(s.create(10, LONG, 12, SYMLINK, target=b"t" * 4096))
    assert s.names(10) == [LONG]


def test_large_owners_fit_where_the_columns_were_widened(s):
    s.volume.db.execute("ALTER TABLE jfs_node ALTER uid TYPE bigint, ALTER gid TYPE bigint")
    assert ok(s.create(ROOT, b"f", 11, uid=2**32 - 2, gid=2**31)).uid == 2**32 - 2
    err(s.create(ROOT, b"g", 12, uid=2**32), errno.EINVAL)
    assert s.lookup(ROOT, b"f").gid == 2**31


def test_a_column_that_a_newer_client_adds_does_not_disturb_a_running_mount(s):
    for ino in range(10, 20):
        ok(s.create(ROOT, b"%d" % ino, ino))
    s.volume.db.execute("ALTER TABLE jfs_node ADD newer int, ADD newest text")
    s.volume.db.execute("ALTER TABLE jfs_edge ADD newer int")
    ok(s.create(ROOT, b"f", 20))
    ok(s.rename(ROOT, b"f", ROOT, b"10"))
    ok(s.link(20, ROOT, b"g"))
    assert ok(s.unlink(ROOT, b"10")).nlink == 2
    assert s.lookup(ROOT, b"g").ino == 20


def test_an_immutable_directory_takes_no_names_and_an_append_only_one_does(s):
    ok(s.mkdir(ROOT, b"d", 10))
    ok(s.create(10, b"old", 11))
    set_flags(s, 10, IMMUTABLE)
    err(s.create(10, b"x", 12), errno.EPERM)
    assert s.create(10, b"old", 12).err == errno.EEXIST
    err(s.link(11, 10, b"x"), errno.EPERM)
    err(s.unlink(10, b"old"), errno.EPERM)
    set_flags(s, 10, APPEND)
    ok(s.create(10, b"new", 12))
    err(s.unlink(10, b"new"), errno.EPERM)
    err(s.rename(10, b"new", ROOT, b"out"), errno.EPERM)
    err(s.rename(10, b"new", 10, b"other"), errno.EPERM)


def test_null_columns_of_an_upgraded_volume_read_as_zero(s):
    ok(s.mkdir(ROOT, b"d", 10))
    s.volume.db.execute("UPDATE jfs_node SET rdev = NULL, access_acl_id = NULL,"
                        " default_acl_id = NULL, tier_id = NULL WHERE inode = 10")
    ok(s.create(10, b"f", 11))
    seen = s.read("getattr", 10)
    assert (seen.rdev, seen.access_acl, seen.default_acl, seen.tier) == (0, 0, 0, 0)
    ok(s.unlink(10, b"f"))
    ok(s.rename(ROOT, b"d", ROOT, b"e"))


# ---- times of directories

def changes(s):
    """Each kind of change to directory 10, whose children f and sub stand ready."""
    return {
        "create": lambda: s.create(10, b"n", 20), "mkdir": lambda: s.mkdir(10, b"n", 20),
        "link": lambda: s.link(12, 10, b"n"), "unlink": lambda: s.unlink(10, b"f"),
        "rmdir": lambda: s.rmdir(10, b"sub"), "rename": lambda: s.rename(10, b"f", 10, b"g"),
        "move in": lambda: s.rename(ROOT, b"o", 10, b"o"),
        "move out": lambda: s.rename(10, b"f", ROOT, b"f"),
        "exchange": lambda: s.rename(ROOT, b"o", 10, b"f", EXCHANGE),
    }


@pytest.mark.parametrize("change", changes(None))
def test_a_directory_shows_that_it_changed(s, change):
    ok(s.mkdir(ROOT, b"d", 10))
    ok(s.create(10, b"f", 11))
    ok(s.create(ROOT, b"o", 12))
    ok(s.mkdir(10, b"sub", 13))
    age(s, 10)
    ok(changes(s)[change]())
    after = s.read("getattr", 10)
    assert after.mtime == after.ctime > 1
    assert after.mtimensec == after.ctimensec == 0
    # Within 100 ms the times alone are left as they are, to spare the row.
    version = "SELECT xmin FROM jfs_node WHERE inode = 10"
    s.volume.db.execute("UPDATE jfs_node SET mtime = (extract(epoch FROM clock_timestamp()) * 1e6)"
                        "::int8, ctime = 5 WHERE inode = 10")
    before = s.volume.value(version)
    quick = s.create(10, b"again", 30)
    if quick.ctime - s.read("getattr", 10).mtime < 100000:
        assert s.volume.value(version) == before
        assert s.read("getattr", 10).ctime == 5
    ok(s.mkdir(10, b"and again", 31))
    assert s.read("getattr", 10).ctime > 5, "a change of nlink is always shown"


# ------------------------------------------------------------------------------------------ link

def test_a_second_name_makes_the_parent_unknown_for_good(s):
    ok(s.mkdir(ROOT, b"d", 10))
    ok(s.create(ROOT, b"f", 11))
    set_length(s, 11, 5000)
    second = ok(s.link(11, 10, b"g"))
    assert (second.nlink, second.parent, second.usage) == (2, 0, [0, 0, 10, 5000, 8192, 1])
    assert second.ctime >= second.mtime
    assert s.lookup(10, b"g").ino == 11
    set_flags(s, 11, SKIP_TRASH)
    one = ok(s.unlink(ROOT, b"f"))
    assert (one.nlink, one.parent, one.usage) == (1, 0, [0, 0, ROOT, -5000, -8192, -1])
    assert ok(s.rename(10, b"g", ROOT, b"g")).parent == 0


def test_link_refuses(s):
    ok(s.mkdir(ROOT, b"d", 10))
    ok(s.create(ROOT, b"f", 11))
    ok(s.create(ROOT, b"g", 12))
    there = s.link(11, ROOT, b"g")
    assert (there.err, there.ino) == (errno.EEXIST, 12)
    err(s.link(10, ROOT, b"e"), errno.EPERM)
    err(s.link(99, ROOT, b"e"), errno.ENOENT)
    err(s.link(11, 99, b"e"), errno.ENOENT)
    err(s.link(11, 12, b"e"), errno.ENOTDIR)
    err(s.link(11, 10, b"n" * 256), errno.ENAMETOOLONG)
    err(s.link(11, 10, b"a/b"), errno.EINVAL)
    err(s.link(11, 10, b".."), errno.EEXIST)
    err(s.link(11, ROOT, b".trash"), errno.EPERM)
    err(s.link(11, TRASH_INODE, b"e"), errno.EPERM)
    for flag in (IMMUTABLE, APPEND):
        set_flags(s, 11, flag)
        err(s.link(11, ROOT, b"e"), errno.EPERM)
        err(s.link(11, ROOT, b"g"), errno.EEXIST)


def test_a_file_that_is_only_open_gets_no_new_name(bare):
    ok(bare.create(ROOT, b"f", 10))
    assert ok(bare.unlink(ROOT, b"f", opened=[10])).nlink == 0
    err(bare.link(10, ROOT, b"again"), errno.ENOENT)


# ------------------------------------------------------------------------- unlink and rmdir: trash

def test_unlink_buries_the_file(s):
    ok(s.mkdir(ROOT, b"d", 10))
    ok(s.create(10, b"f", 11))
    set_length(s, 11, 4097)
    s.volume.db.execute("INSERT INTO jfs_xattr (inode, name, value) VALUES (11, 'user.a', 'v')")
    gone = ok(s.unlink(10, b"f"))
    grave = hour(s)
    assert grave == TRASH_INODE + 1
    assert (gone.nlink, gone.parent, gone.length) == (1, grave, 4097)
    assert gone.usage == [4096, 1, 10, -4097, -8192, -1, grave, 4097, 8192, 1]
    assert trashed(s) == {b"10-11-f": 11}
    assert s.volume.value("SELECT count(*) FROM jfs_xattr") == 1
    assert s.volume.value("SELECT count(*) FROM jfs_delfile") == 0
    err(s.lookup(10, b"f"), errno.ENOENT)
    # The second deletion of the hour makes no directory.
    ok(s.create(10, b"f", 12))
    again = ok(s.unlink(10, b"f"))
    if hour(s) == grave:
        assert again.usage == [0, 0, 10, 0, -4096, -1, grave, 0, 4096, 1]


def test_the_hour_is_named_in_utc_and_made_as_the_format_says(s):
    s.db.execute("SET timezone = 'Asia/Kathmandu'")
    ok(s.create(ROOT, b"f", 10))
    before = s.volume.value("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD-HH24')")
    ok(s.unlink(ROOT, b"f"))
    after = s.volume.value("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD-HH24')")
    ((name, ino, kind),) = s.volume.query(
        "SELECT name, inode, type FROM jfs_edge WHERE parent = %s", [TRASH_INODE])
    assert name.decode() in (before, after) and kind == DIRECTORY
    made = s.read("getattr", ino)
    assert (made.mode, made.uid, made.gid, made.nlink, made.length, made.parent) == (
        0o555, 0, 0, 2, 4096, TRASH_INODE)
    assert s.volume.value("SELECT value FROM jfs_counter WHERE name = 'nextTrash'") == 1
    assert s.volume.value("SELECT count(*) FROM jfs_dir_stats WHERE inode = %s", [ino]) == 1
    trash = s.volume.query("SELECT nlink, mtime = atime FROM jfs_node WHERE inode = %s",
                           [TRASH_INODE])
    assert trash == [(2, True)], "the trash itself is never touched"


def test_the_number_of_an_hour_continues_the_counter(s):
    s.volume.db.execute("INSERT INTO jfs_counter VALUES ('nextTrash', 1048576)")
    ok(s.create(ROOT, b"f", 10))
    ok(s.unlink(ROOT, b"f"))
    assert hour(s) == TRASH_INODE + 1048577


def test_ctime_of_a_directory_grows_also_after_a_clock_that_was_ahead(s):
    """A mount tells late answers from new ones by it."""
    ahead = 1 << 52
    s.volume.db.execute("UPDATE jfs_node SET ctime = %s, mtime = 1 WHERE inode = %s", [ahead, ROOT])
    ok(s.mkdir(ROOT, b"d", 10))
    made = s.read("getattr", ROOT)
    assert made.ctime == ahead + 1 and 1 < made.mtime < ahead
    ok(s.rmdir(ROOT, b"d"))
    assert s.read("getattr", ROOT).ctime == ahead + 2


def test_rmdir_buries_the_directory(s):
    ok(s.mkdir(ROOT, b"d", 10))
    s.volume.db.execute("INSERT INTO jfs_dir_quota VALUES (10, 1, 1, 0, 0)")
    gone = ok(s.rmdir(ROOT, b"d"))
    grave = hour(s)
    assert (gone.nlink, gone.parent) == (2, grave)
    assert gone.usage == [4096, 1, ROOT, 0, -4096, -1, grave, 0, 4096, 1]
    assert trashed(s) == {b"1-10-d": 10}
    assert s.read("getattr", ROOT).nlink == 2
    assert s.read("getattr", grave).nlink == 2, "directories inside do not count"
    assert s.volume.query("SELECT inode FROM jfs_dir_stats ORDER BY 1") == [(ROOT,), (grave,)]
    assert s.volume.query("SELECT inode FROM jfs_dir_quota") == []
    # Nothing can be made in it any more.
    err(s.create(10, b"x", 11), errno.ENOENT)
    ok(s.create(ROOT, b"f", 11))
    err(s.link(11, 10, b"x"), errno.ENOENT)
    err(s.rename(ROOT, b"f", 10, b"x"), errno.ENOENT)


def test_every_name_of_a_linked_file_is_a_link_in_the_trash_too(s):
    ok(s.create(ROOT, b"a", 10))
    ok(s.link(10, ROOT, b"b"))
    one = ok(s.unlink(ROOT, b"a"))
    assert (one.nlink, one.parent) == (2, 0)
    two = ok(s.unlink(ROOT, b"b"))
    assert (two.nlink, two.parent) == (2, 0)
    assert trashed(s) == {b"1-10-a": 10, b"1-10-b": 10}


def test_names_that_are_cut_alike_lose_a_link(s):
    first, second = b"x" * 250 + b"1", b"x" * 250 + b"2"
    ok(s.create(ROOT, first, 10))
    ok(s.link(10, ROOT, second))
    assert ok(s.unlink(ROOT, first)).nlink == 2
    last = ok(s.unlink(ROOT, second))
    assert last.nlink == 1
    assert last.usage == [0, 0, ROOT, 0, -4096, -1]
    assert list(trashed(s)) == [b"1-10-" + b"x" * 250]


def test_skip_trash_is_obeyed(s):
    ok(s.create(ROOT, b"f", 10))
    ok(s.mkdir(ROOT, b"d", 11))
    set_flags(s, 10, SKIP_TRASH)
    set_flags(s, 11, SKIP_TRASH)
    assert ok(s.unlink(ROOT, b"f")).usage == [-4096, -1, ROOT, 0, -4096, -1]
    assert ok(s.rmdir(ROOT, b"d")).usage == [-4096, -1, ROOT, 0, -4096, -1]
    assert hour(s) is None


def test_only_root_deletes_in_the_trash_and_then_for_good(s):
    ok(s.create(ROOT, b"f", 10))
    ok(s.mkdir(ROOT, b"d", 11))
    set_length(s, 10, 10)
    ok(s.unlink(ROOT, b"f"))
    ok(s.rmdir(ROOT, b"d"))
    grave = hour(s)
    err(s.unlink(grave, b"1-10-f", uid=5), errno.EPERM)
    err(s.rmdir(grave, b"1-11-d", uid=5), errno.EPERM)
    err(s.rename(grave, b"1-10-f", ROOT, b"f", uid=5), errno.EPERM)
    gone = ok(s.unlink(grave, b"1-10-f"))
    assert (gone.nlink, gone.usage) == (0, [-4096, -1, grave, -10, -4096, -1])
    assert s.volume.query("SELECT inode, length FROM jfs_delfile") == [(10, 10)]
    assert ok(s.rmdir(grave, b"1-11-d")).usage == [-4096, -1, grave, 0, -4096, -1]
    assert s.read("getattr", grave).nlink == 2
    name = s.volume.value("SELECT name FROM jfs_edge WHERE parent = %s", [TRASH_INODE])
    err(s.rmdir(TRASH_INODE, name), errno.EPERM)
    err(s.rename(TRASH_INODE, name, ROOT, b"x"), errno.EPERM)
    err(s.rmdir(ROOT, b".trash"), errno.EPERM)
    err(s.unlink(ROOT, b".trash"), errno.EPERM)
    err(s.rename(ROOT, b".trash", ROOT, b"x"), errno.EPERM)


def test_root_takes_things_out_of_the_trash(s):
    ok(s.create(ROOT, b"f", 10))
    ok(s.mkdir(ROOT, b"d", 11))
    ok(s.unlink(ROOT, b"f"))
    ok(s.rmdir(ROOT, b"d"))
    grave = hour(s)
    # Another client makes the flag 32 when it restores: into a directory that is itself in trash.
    err(s.rename(grave, b"1-10-f", 11, b"f", NOREPLACE), errno.ENOENT)
    assert ok(s.rename(grave, b"1-10-f", 11, b"f", NOREPLACE | RESTORE)).parent == 11
    back = ok(s.rename(grave, b"1-11-d", ROOT, b"d"))
    assert (back.parent, back.usage) == (ROOT, [0, 0, grave, 0, -4096, -1, ROOT, 0, 4096, 1])
    assert s.read("getattr", ROOT).nlink == 3
    err(s.rename(ROOT, b"d", grave, b"x"), errno.EPERM)
    err(s.rename(ROOT, b"d", TRASH_INODE, b"x"), errno.EPERM)
    ok(s.create(ROOT, b"g", 12))
    ok(s.unlink(ROOT, b"g"))
    err(s.rename(grave, b"1-12-g", ROOT, b"d", EXCHANGE), errno.EPERM)
    assert s.lookup(11, b"f").ino == 10


def test_what_is_put_together_in_the_trash_is_counted_once(s):
    """A late change of the remover comes between a restore and what the restore brings in."""
    ok(s.mkdir(ROOT, b"top", 10))
    ok(s.mkdir(10, b"d", 11))
    ok(s.create(11, b"f", 12))
    late = [0, 0, 11, 0, -4096, -1]
    assert ok(s.unlink(11, b"f")).usage[2:6] == late[2:]
    ok(s.rmdir(10, b"d"))
    ok(s.rmdir(ROOT, b"top"))
    grave = hour(s)
    ok(s.rename(grave, b"10-11-d", 10, b"d", NOREPLACE | RESTORE))
    gained = ok(s.rename(grave, b"11-12-f", 11, b"f", NOREPLACE | RESTORE)).usage
    ok(s.change("usage_flush", late))
    ok(s.change("usage_flush", gained))
    assert s.volume.query("SELECT inode FROM jfs_dir_stats WHERE inode IN (10, 11)") == [], (
        "two directories above it one was thrown away")
    ok(s.rename(grave, b"1-10-top", ROOT, b"top", NOREPLACE | RESTORE))
    assert [s.read("recount", ino).recount for ino in (10, 11, 10)] == [True, True, False]
    assert s.volume.query("SELECT inode, used_space, used_inodes FROM jfs_dir_stats"
                          " WHERE inode IN (10, 11) ORDER BY 1") == [(10, 4096, 1), (11, 4096, 1)]


# ------------------------------------------------------------------- unlink and rmdir: no trash

def test_unlink_without_trash_leaves_the_data_to_delfile(bare):
    ok(bare.create(ROOT, b"f", 10))
    set_length(bare, 10, 4097)
    bare.volume.db.execute("INSERT INTO jfs_xattr (inode, name, value) VALUES (10, 'user.a', 'v')")
    gone = ok(bare.unlink(ROOT, b"f"))
    assert (gone.ino, gone.nlink, gone.length) == (10, 0, 4097)
    assert gone.usage == [-8192, -1, ROOT, -4097, -8192, -1]
    rest = {table: lines for table, lines in bare.volume.contents().items() if lines}
    assert rest.keys() == {"jfs_setting", "jfs_counter", "jfs_node", "jfs_delfile",
                           "jfs_dir_stats", "jfs_session2"}
    ((ino, length, expire),) = bare.volume.query("SELECT * FROM jfs_delfile")
    assert (ino, length) == (10, 4097)
    assert abs(expire - bare.volume.value("SELECT extract(epoch FROM now())::int8")) < 60
    err(bare.read("getattr", 10), errno.ENOENT)


@pytest.mark.parametrize("kind", [SYMLINK, FIFO, CHAR, SOCKET])
def test_unlink_of_other_kinds_leaves_nothing(bare, kind):
    before = bare.volume.contents()
    ok(bare.create(ROOT, b"x", 10, kind, rdev=5, target=b"target"))
    assert ok(bare.unlink(ROOT, b"x", opened=[10])).usage == [-4096, -1, ROOT, 0, -4096, -1]
    after = bare.volume.contents()
    before.pop("jfs_node"), after.pop("jfs_node")
    assert before == after


def test_an_open_file_outlives_its_last_name(bare):
    ok(bare.create(ROOT, b"f", 10))
    ok(bare.link(10, ROOT, b"g"))
    bare.volume.db.execute("INSERT INTO jfs_xattr (inode, name, value) VALUES (10, 'user.a', 'v')")
    assert ok(bare.unlink(ROOT, b"f", opened=[10])).nlink == 1
    assert bare.volume.query("SELECT * FROM jfs_sustained") == []
    kept = ok(bare.unlink(ROOT, b"g", opened=[9, 10]))
    assert (kept.nlink, kept.usage) == (0, [0, 0, ROOT, 0, -4096, -1])
    assert bare.volume.query("SELECT sid, inode FROM jfs_sustained") == [(bare.sid, 10)]
    assert bare.volume.query("SELECT * FROM jfs_xattr") == []
    assert bare.volume.query("SELECT * FROM jfs_delfile") == []
    assert bare.read("getattr", 10).nlink == 0


def test_unlink_and_rmdir_refuse(s):
    ok(s.mkdir(ROOT, b"d", 10))
    ok(s.create(ROOT, b"f", 11))
    ok(s.create(10, b"in", 12))
    before = s.volume.contents()
    err(s.unlink(ROOT, b"d"), errno.EPERM)
    err(s.rmdir(ROOT, b"f"), errno.ENOTDIR)
    err(s.rmdir(ROOT, b"d"), errno.ENOTEMPTY)
    err(s.rmdir(ROOT, b"."), errno.EINVAL)
    err(s.rmdir(ROOT, b".."), errno.ENOTEMPTY)
    for verb in (s.unlink, s.rmdir):
        err(verb(ROOT, b"x"), errno.ENOENT)
        err(verb(99, b"x"), errno.ENOENT)
        err(verb(11, b"x"), errno.ENOTDIR)
        err(verb(ROOT, b"n" * 256), errno.ENAMETOOLONG)
        err(verb(ROOT, b""), errno.EINVAL)
    assert s.volume.contents() == before
    ok(s.mkdir(ROOT, b"e", 13))
    for flag in (IMMUTABLE, APPEND):
        set_flags(s, 11, flag)
        set_flags(s, 13, flag)
        err(s.unlink(ROOT, b"f"), errno.EPERM)
        err(s.rmdir(ROOT, b"e"), errno.EPERM)


@pytest.mark.parametrize("kind", [FILE, DIRECTORY])
def test_an_entry_without_its_inode_can_be_removed(s, kind):
    ok(s.create(ROOT, b"x", 10, kind))
    s.volume.db.execute("DELETE FROM jfs_node WHERE inode = 10")
    err(s.lookup(ROOT, b"x"), errno.ENOENT)
    err(s.rename(ROOT, b"x", ROOT, b"y"), errno.ENOENT)
    (listed,) = s.rows("readdir", ROOT, b"", 10, True)
    assert (listed.err, bytes(listed.name), listed.ino, listed.type, listed.mode) == (
        0, b"x", 10, kind, None)
    there = s.create(ROOT, b"x", 11)
    assert (there.err, there.ino, there.type, there.mode) == (errno.EEXIST, 10, kind, None)
    gone = ok(s.unlink(ROOT, b"x") if kind == FILE else s.rmdir(ROOT, b"x"))
    assert (gone.ino, gone.nlink, gone.usage) == (10, 0, [0, 0, ROOT, 0, -4096, -1])
    assert s.names(ROOT) == []
    assert s.volume.query("SELECT * FROM jfs_delfile") == []


# ---------------------------------------------------------------------------------------- rename

def test_rename_moves_within_and_between_directories(s):
    ok(s.mkdir(ROOT, b"d", 10))
    ok(s.create(ROOT, b"f", 11))
    set_length(s, 11, 10000)
    within = ok(s.rename(ROOT, b"f", ROOT, b"g"))
    assert (within.ino, within.parent, within.usage) == (11, ROOT, [0, 0])
    between = ok(s.rename(ROOT, b"g", 10, LONG))
    assert (between.parent, between.nlink) == (10, 1)
    assert between.usage == [0, 0, ROOT, -10000, -12288, -1, 10, 10000, 12288, 1]
    assert between.ctime > within.mtime
    assert s.names(ROOT) == [b"d"] and s.names(10) == [LONG]


def test_a_moved_directory_takes_its_link_along(s):
    ok(s.mkdir(ROOT, b"a", 10))
    ok(s.mkdir(ROOT, b"b", 11))
    ok(s.mkdir(10, b"x", 12))
    moved = ok(s.rename(10, b"x", 11, b"y"))
    assert (moved.parent, moved.nlink) == (11, 2)
    assert [s.read("getattr", ino).nlink for ino in (ROOT, 10, 11)] == [4, 2, 3]


def test_rename_over_a_file_buries_it(s):
    ok(s.mkdir(ROOT, b"d", 10))
    ok(s.create(ROOT, b"new", 11))
    ok(s.create(10, b"old", 12))
    set_length(s, 12, 7)
    moved = ok(s.rename(ROOT, b"new", 10, b"old"))
    grave = hour(s)
    assert (moved.ino, moved.parent) == (11, 10)
    assert trashed(s) == {b"10-12-old": 12}
    assert s.read("getattr", 12).parent == grave
    assert moved.usage[:2] == [4096, 1]
    assert sorted(moved.usage[at:at + 4] for at in range(2, len(moved.usage), 4)) == sorted([
        [10, -7, -4096, -1], [grave, 7, 4096, 1], [ROOT, 0, -4096, -1], [10, 0, 4096, 1]])


def test_rename_over_a_file_without_trash(bare):
    ok(bare.create(ROOT, b"new", 10))
    ok(bare.create(ROOT, b"old", 11))
    ok(bare.link(11, ROOT, b"other"))
    assert ok(bare.rename(ROOT, b"new", ROOT, b"old")).usage == [0, 0, ROOT, 0, -4096, -1]
    assert bare.read("getattr", 11).nlink == 1
    moved = ok(bare.rename(ROOT, b"old", ROOT, b"other", opened=[11]))
    assert moved.usage == [0, 0, ROOT, 0, -4096, -1]
    assert bare.volume.query("SELECT sid, inode FROM jfs_sustained") == [(bare.sid, 11)]
    ok(bare.create(ROOT, b"last", 12))
    moved = ok(bare.rename(ROOT, b"other", ROOT, b"last"))
    assert moved.usage == [-4096, -1, ROOT, 0, -4096, -1]
    assert bare.volume.query("SELECT inode FROM jfs_delfile") == [(12,)]
    assert bare.names(ROOT) == [b"last"]


def test_rename_over_an_empty_directory(s):
    ok(s.mkdir(ROOT, b"a", 10))
    ok(s.mkdir(ROOT, b"b", 11))
    ok(s.mkdir(10, b"x", 12))
    s.volume.db.execute("INSERT INTO jfs_dir_quota VALUES (11, 1, 1, 0, 0)")
    ok(s.rename(10, b"x", ROOT, b"b"))
    assert [s.read("getattr", ino).nlink for ino in (ROOT, 10)] == [4, 2]
    assert trashed(s) == {b"1-11-b": 11}
    assert s.volume.query("SELECT * FROM jfs_dir_quota") == []
    ok(s.rename(ROOT, b"a", ROOT, b"b"))
    assert s.read("getattr", ROOT).nlink == 3


def test_two_names_of_one_inode_are_left_alone(s):
    ok(s.create(ROOT, b"a", 10))
    ok(s.link(10, ROOT, b"b"))
    before = s.volume.contents()
    same = ok(s.rename(ROOT, b"a", ROOT, b"b"))
    assert (same.ino, same.nlink) == (10, 2)
    ok(s.rename(ROOT, b"a", ROOT, b"a"))
    ok(s.rename(ROOT, b"a", ROOT, b"b", EXCHANGE))
    err(s.rename(ROOT, b"a", ROOT, b"b", NOREPLACE), errno.EEXIST)
    assert s.volume.contents() == before


def test_exchange(s):
    ok(s.mkdir(ROOT, b"a", 10))
    ok(s.mkdir(ROOT, b"b", 11))
    ok(s.create(10, b"f", 12))
    ok(s.mkdir(11, b"d", 13))
    ok(s.create(13, b"inside", 14))
    set_length(s, 12, 5)
    swapped = ok(s.rename(10, b"f", 11, b"d", EXCHANGE))
    assert (swapped.ino, swapped.parent) == (12, 11)
    assert s.lookup(10, b"f").ino == 13 and s.lookup(10, b"f").parent == 10
    assert s.lookup(11, b"d").ino == 12
    assert [s.read("getattr", ino).nlink for ino in (10, 11)] == [3, 2]
    moves = sorted(swapped.usage[at:at + 4] for at in range(2, len(swapped.usage), 4))
    assert moves == sorted([[10, -5, -4096, -1], [11, 5, 4096, 1], [10, 0, 4096, 1],
                            [11, 0, -4096, -1]])
    # In one directory nothing but the edges changes.
    ok(s.create(10, b"g", 15))
    assert ok(s.rename(10, b"f", 10, b"g", EXCHANGE)).usage == [0, 0]
    assert s.lookup(10, b"g").ino == 13 and s.lookup(10, b"f").ino == 15
    assert s.volume.query("SELECT name, type FROM jfs_edge WHERE parent = 10 ORDER BY 1") == [
        (b"f", FILE), (b"g", DIRECTORY)]


def test_rename_refuses(s):
    ok(s.mkdir(ROOT, b"a", 10))
    ok(s.mkdir(10, b"b", 11))
    ok(s.mkdir(11, b"c", 12))
    ok(s.create(ROOT, b"f", 13))
    ok(s.create(ROOT, b"g", 14))
    ok(s.mkdir(ROOT, b"e", 15))
    before = s.volume.contents()
    err(s.rename(ROOT, b"x", ROOT, b"y"), errno.ENOENT)
    err(s.rename(99, b"x", ROOT, b"y"), errno.ENOENT)
    err(s.rename(ROOT, b"f", 99, b"y"), errno.ENOENT)
    err(s.rename(13, b"x", ROOT, b"y"), errno.ENOTDIR)
    err(s.rename(ROOT, b"f", 14, b"y"), errno.ENOTDIR)
    err(s.rename(ROOT, b"f", ROOT, b"g", NOREPLACE), errno.EEXIST)
    err(s.rename(ROOT, b"f", ROOT, b"x", EXCHANGE), errno.ENOENT)
    err(s.rename(ROOT, b"f", ROOT, b"e"), errno.EISDIR)
    err(s.rename(ROOT, b"e", ROOT, b"f"), errno.ENOTDIR)
    err(s.rename(ROOT, b"e", ROOT, b"a"), errno.ENOTEMPTY)
    err(s.rename(ROOT, b"a", 10, b"x"), errno.EINVAL)
    err(s.rename(ROOT, b"a", 12, b"x"), errno.EINVAL)
    err(s.rename(ROOT, b"a", 11, b"c", EXCHANGE), errno.EINVAL)
    err(s.rename(11, b"c", ROOT, b"a", EXCHANGE), errno.EINVAL)
    err(s.rename(11, b"c", ROOT, b"a"), errno.ENOTEMPTY)
    for flags in (WHITEOUT, NOREPLACE | EXCHANGE, NOREPLACE | WHITEOUT, RESTORE, 8, -1):
        err(s.rename(ROOT, b"f", ROOT, b"x", flags), errno.EINVAL)
    err(s.rename(ROOT, b"f", ROOT, b"n" * 256), errno.ENAMETOOLONG)
    err(s.rename(ROOT, b"f", ROOT, b"a/b"), errno.EINVAL)
    err(s.rename(ROOT, b"a", ROOT, b".."), errno.EBUSY)
    err(s.rename(ROOT, b".", ROOT, b"x"), errno.EBUSY)
    err(s.rename(ROOT, b"f", ROOT, b".trash"), errno.EPERM)
    assert s.volume.contents() == before


@pytest.mark.parametrize("flag", [IMMUTABLE, APPEND])
def test_rename_honours_flags(s, flag):
    for ino, name in enumerate([b"d", b"e"], 10):
        ok(s.mkdir(ROOT, name, ino))
        ok(s.create(ino, b"f", ino + 10))
    for guarded in (10, 20, 21):
        set_flags(s, guarded, flag)
        err(s.rename(10, b"f", 11, b"f"), errno.EPERM)
        err(s.rename(10, b"f", 11, b"f", EXCHANGE), errno.EPERM)
        set_flags(s, guarded, 0)
    set_flags(s, 11, flag)
    err(s.rename(10, b"f", 11, b"f"), errno.EPERM)
    if flag == APPEND:
        ok(s.rename(10, b"f", 11, b"new"))
    else:
        err(s.rename(10, b"f", 11, b"new"), errno.EPERM)


# ----------------------------------------------------------------------------------------- reads

def test_reads_refuse(s):
    ok(s.create(ROOT, b"f", 10))
    err(s.lookup(ROOT, b"x"), errno.ENOENT)
    err(s.lookup(99, b"x"), errno.ENOENT)
    err(s.read("getattr", 99), errno.ENOENT)
    assert s.read("readlink", 10) == {"err": errno.EINVAL, "target": None}
    assert s.read("readlink", 99) == {"err": errno.ENOENT, "target": None}
    assert s.read("path", 99) == {"err": errno.ENOENT, "path": None}
    for directory, code in ((10, errno.ENOTDIR), (99, errno.ENOENT)):
        for plus in (False, True):
            (row,) = s.rows("readdir", directory, b"", 10, plus)
            assert set(row.values()) == {code, None}
    assert s.lookup(ROOT, b".trash").ino == TRASH_INODE


def test_resolve_walks(s):
    ok(s.mkdir(ROOT, b"a", 10))
    ok(s.mkdir(10, b"b", 11))
    ok(s.create(11, b"f", 12))
    ok(s.create(11, b"l", 13, SYMLINK, target=b"f"))
    for path, ino in {b"": 1, b"/": 1, b"..": 1, b"/../..": 1, b"a": 10, b"/a/": 10, b"a/b/f": 12,
                      b"//a//./b/../b/l": 13, b"a/b/..": 10, b"a/b/../..": 1,
                      b".trash": TRASH_INODE, b"/.trash/..": 1}.items():
        assert ok(s.read("resolve", ROOT, path)).ino == ino, path
    assert ok(s.read("resolve", 10, b"../..")).ino == 10, "the root of a walk is its limit"
    assert ok(s.read("resolve", 10, b"b/../../b")).ino == 11
    for path, code in {b"x": errno.ENOENT, b"a/x/y": errno.ENOENT, b"a/b/f/": errno.ENOTDIR,
                       b"a/b/f/x": errno.ENOTDIR, b"a/b/l/x": errno.ENOTDIR,
                       b"a/" + b"n" * 256: errno.ENAMETOOLONG, b"a/b/f/..": errno.ENOTDIR,
                       b"a/../" * 3000: errno.ENAMETOOLONG}.items():
        err(s.read("resolve", ROOT, path), code)
    assert ok(s.read("resolve", ROOT, b"a/../" * 2000 + b"a")).ino == 10


def test_pages_go_on_after_a_name_and_sort_by_bytes(s):
    names = [b"a", b"b", b"B", b"\xff", b"\xc3\xa4", b"a\x01", b"~", b"Z" * 255]
    for ino, name in enumerate(names, 10):
        ok(s.create(ROOT, name, ino))
    assert s.names(ROOT) == sorted(names)
    assert s.names(ROOT, b"a", 3) == sorted(names)[sorted(names).index(b"a") + 1:][:3]
    assert s.names(ROOT, b"aa", 1) == [b"b"]
    assert s.names(ROOT, b"\xff") == []


def test_a_large_directory_is_no_burden_to_pages_and_to_its_neighbours(s):
    s.volume.db.execute("INSERT INTO jfs_edge (parent, name, inode, type) SELECT 1,"
                        " int4send(i), i + 10, 1 FROM generate_series(1, 200000) i")
    s.volume.db.execute("INSERT INTO jfs_node SELECT i + 10, 1, 0, 420, 0, 0, 1, 1, 1, 0, 0, 0, 1,"
                        " 0, 0, 1, 0, 0, 0 FROM generate_series(1, 200000) i")
    s.volume.db.execute("ANALYZE")
    blocks = ("SELECT pg_stat_get_xact_blocks_fetched(r) FROM unnest(ARRAY['public.jfs_edge',"
              " 'public.jfs_node', 'public.jfs_node_pkey']::regclass[]) r")
    ok(s.mkdir(ROOT, b"empty", 9))
    for number in range(8):  # from the sixth call on the plan is a generic one
        ok(s.mkdir(ROOT, b"old", 300000 + 2 * number))
        ok(s.mkdir(9, b"new", 300001 + 2 * number))
        s.begin()
        before = s.db.execute(blocks).fetchall()
        assert len(s.names(ROOT, b"\0\1\0\0", 100, True)) == 100
        after = s.db.execute(blocks).fetchall()
        s.commit()
        assert sum(b[0] - a[0] for a, b in zip(before, after)) < 1500
        s.begin()
        before = s.db.execute(blocks).fetchall()
        ok(s.rename(9, b"new", ROOT, b"old"))
        ok(s.rmdir(ROOT, b"old"))
        after = s.db.execute(blocks).fetchall()
        s.commit()
        assert sum(b[0] - a[0] for a, b in zip(before, after)) < 300


def test_path_tells_where_an_inode_is(s):
    ok(s.mkdir(ROOT, b"a", 10))
    ok(s.create(10, b"\xff f", 11))
    assert s.read("path", ROOT) == {"err": 0, "path": b"/"}
    assert s.read("path", 11) == {"err": 0, "path": b"/a/\xff f"}
    ok(s.unlink(10, b"\xff f"))
    told = bytes(s.read("path", 11).path)
    assert told.startswith(b"/.trash/2") and told.endswith(b"/10-11-\xff f")
    assert ok(s.read("resolve", ROOT, told)).ino == 11


def test_a_cycle_ends_every_walk(s):
    ok(s.mkdir(ROOT, b"a", 10))
    ok(s.mkdir(10, b"b", 11))
    ok(s.mkdir(ROOT, b"c", 12))
    s.volume.db.execute("UPDATE jfs_edge SET parent = 11 WHERE inode = 10")
    s.volume.db.execute("UPDATE jfs_node SET parent = 11 WHERE inode = 10")
    assert s.read("path", 10) == {"err": errno.ELOOP, "path": None}
    err(s.rename(ROOT, b"c", 11, b"c"), errno.ELOOP)


def test_access(s):
    ok(s.create(ROOT, b"f", 10, mode=0o640, uid=5, gid=50))
    for uid, gids, mask, code in [
            (5, [], 6, 0), (5, [], 1, errno.EACCES), (6, [7, 50], 4, 0), (6, [50], 2, errno.EACCES),
            (6, [7], 4, errno.EACCES), (0, [], 6, 0), (0, [], 1, errno.EACCES), (6, [], 0, 0)]:
        assert s.read("access", 10, uid, gids, mask) == {"access": code}, (uid, gids, mask)
    assert s.read("access", ROOT, 0, [], 7).access == 0
    assert s.read("access", 99, 0, [], 0).access == errno.ENOENT


# ---------------------------------------------------------------------------------------- replay

REPLAYS = {
    # name: (the call, what another session does before it is repeated)
    "create": (lambda s, op: s.create(ROOT, b"new", 50, op=op),
               lambda t: (t.unlink(ROOT, b"new"), t.create(ROOT, b"new", 60))),
    "mkdir": (lambda s, op: s.mkdir(ROOT, b"new", 50, op=op),
              lambda t: (t.rmdir(ROOT, b"new"), t.mkdir(ROOT, b"new", 60))),
    "symlink": (lambda s, op: s.create(ROOT, b"new", 50, SYMLINK, target=b"t", op=op),
                lambda t: (t.unlink(ROOT, b"new"),)),
    "link": (lambda s, op: s.link(11, ROOT, b"new", op=op),
             lambda t: (t.unlink(ROOT, b"new"), t.create(ROOT, b"new", 60))),
    "unlink": (lambda s, op: s.unlink(ROOT, b"f", op=op),
               lambda t: (t.create(ROOT, b"f", 60),)),
    "rmdir": (lambda s, op: s.rmdir(ROOT, b"d", op=op),
              lambda t: (t.mkdir(ROOT, b"d", 60),)),
    "rename": (lambda s, op: s.rename(ROOT, b"f", ROOT, b"g", op=op),
               lambda t: (t.create(ROOT, b"f", 60),)),
    "exchange": (lambda s, op: s.rename(ROOT, b"f", ROOT, b"g", EXCHANGE, op=op),
                 lambda t: ()),
    "refused create": (lambda s, op: s.create(ROOT, b"f", 50, op=op),
                       lambda t: (t.unlink(ROOT, b"f"),)),
    "refused unlink": (lambda s, op: s.unlink(ROOT, b"x", op=op),
                       lambda t: (t.create(ROOT, b"x", 60),)),
    "refused rmdir": (lambda s, op: s.rmdir(ROOT, b"x", op=op),
                      lambda t: (t.mkdir(ROOT, b"x", 60),)),
    "refused rename": (lambda s, op: s.rename(ROOT, b"x", ROOT, b"y", op=op),
                       lambda t: (t.create(ROOT, b"x", 60),)),
    "refused link": (lambda s, op: s.link(11, ROOT, b"g", op=op),
                     lambda t: (t.unlink(ROOT, b"g"),)),
}


@pytest.mark.parametrize("trash_days", [0, 1])
@pytest.mark.parametrize("verb", REPLAYS)
def test_a_repeated_call_answers_the_same_and_does_nothing(cluster, database, verb, trash_days):
    volume = SqlVolume(cluster, database, trash_days)
    first, other = volume.session(), volume.session()
    ok(first.mkdir(ROOT, b"d", 10))
    ok(first.create(ROOT, b"f", 11))
    ok(first.create(ROOT, b"g", 12))
    call, meanwhile = REPLAYS[verb]
    answer = call(first, None)
    assert (answer.err != 0) == verb.startswith("refused")
    for done in meanwhile(other):
        ok(done)
    before = volume.contents()
    # On another connection, as after a lost answer.
    first.close()
    first.db = cluster.connect(database)
    assert call(first, first.op) == answer
    assert call(first, first.op) == answer
    assert volume.contents() == before
    # The lane goes on where it was, and only there.
    err(first.create(ROOT, b"skipped", 70, op=first.op + 2), errno.ESTALE)
    err(first.create(ROOT, b"old", 70, op=first.op - 1), errno.ESTALE)
    assert volume.contents() == before
    ok(first.create(ROOT, b"next", 70))
    first.close(), other.close(), volume.close()


def test_a_session_that_was_ended_changes_nothing_more(s):
    ok(s.create(ROOT, b"f", 10))
    s.volume.db.execute("DELETE FROM jfs_session2")
    before = s.volume.contents()
    for call in (lambda: s.create(ROOT, b"x", 11), lambda: s.unlink(ROOT, b"f"),
                 lambda: s.rmdir(ROOT, b"f"), lambda: s.link(10, ROOT, b"y"),
                 lambda: s.rename(ROOT, b"f", ROOT, b"z")):
        s.op = 1
        err(call(), errno.ESTALE)
    # The reaper takes the lanes too; a first op does not make a new one.
    s.volume.db.execute("DELETE FROM tarn.slot")
    for s.op in (0, 1):
        err(s.create(ROOT, b"x", 11), errno.ESTALE)
    assert s.volume.contents() == before


# -------------------------------------------------------------------------------------- the books

def test_the_usage_of_answers_adds_up_to_what_is_there(s):
    books = Books(s.volume)
    books.enter(ok(s.mkdir(ROOT, b"d", 10)), ok(s.create(10, b"f", 11)), ok(s.link(11, ROOT, b"h")),
                ok(s.create(ROOT, b"l", 12, SYMLINK, target=b"x")), ok(s.mkdir(10, b"e", 13)),
                ok(s.rename(10, b"e", ROOT, b"e")), ok(s.rename(ROOT, b"l", 10, b"f")),
                ok(s.unlink(ROOT, b"h")), ok(s.rmdir(ROOT, b"e")))
    books.settle()
    assert_consistent(s.volume)


def subtree(s, directory):
    """Space and entries below a directory, counted here."""
    space = entries = 0
    for child, kind, length in s.volume.query(
            "SELECT e.inode, n.type, n.length FROM jfs_edge e JOIN jfs_node n ON n.inode = e.inode"
            " WHERE e.parent = %s", [directory]):
        below = subtree(s, child) if kind == DIRECTORY else (0, 0)
        space += (max(4096, -length // 4096 * -4096) if kind == FILE else 4096) + below[0]
        entries += 1 + below[1]
    return space, entries


def test_a_moved_tree_is_carried_from_quota_to_quota(s):
    """Three quotas, one above another; after each move and its flush they are what a count says."""
    def done(reply):
        ok(s.change("usage_flush", ok(reply).usage))
        for ino, *used in s.volume.query(
                "SELECT inode, used_space, used_inodes FROM jfs_dir_quota"):
            assert tuple(used) == subtree(s, ino), ino
    for ino, name in ((10, b"a"), (11, b"b"), (12, b"free")):
        done(s.mkdir(ROOT, name, ino))
    done(s.mkdir(10, b"in", 13))
    for ino in (ROOT, 10, 11, 13):
        s.volume.db.execute("INSERT INTO jfs_dir_quota VALUES (%s, 0, 0, %s, %s)",
                            [ino, *subtree(s, ino)])
    done(s.mkdir(13, b"tree", 20))
    done(s.create(20, b"f", 21))
    done(s.mkdir(20, b"sub", 22))
    done(s.create(22, b"g", 23))
    done(s.rename(13, b"tree", 10, b"tree"))
    done(s.rename(10, b"tree", 11, b"tree"))
    done(s.rename(11, b"tree", 12, b"tree"))
    done(s.rename(10, b"in", 11, b"in"))  # takes its own quota along
    done(s.rename(12, b"tree", 13, b"tree"))
    done(s.rename(11, b"in", 10, b"in"))
    done(s.mkdir(11, b"empty", 24))
    done(s.rename(10, b"in", 11, b"empty", EXCHANGE))
    done(s.rename(11, b"empty", 12, b"x"))
