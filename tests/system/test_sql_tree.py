"""The functions on trees: a repeated call changes nothing twice, and the books stay exact."""

import pytest

from harness.check import assert_consistent
from harness.sql_volume import SCHEMA, SqlVolume
from harness.volume import TRASH_INODE

ROOT = 1
SKIP_TRASH, DETACHED = 1, 2
PRESERVE = 2


@pytest.fixture(params=[0, 1], ids=["no trash", "trash"])
def s(request, cluster, database):
    volume = SqlVolume(cluster, database, request.param)
    for file in ("61_tree", "62_clone"):
        volume.db.execute((SCHEMA / "api" / f"{file}.sql").read_text(encoding="utf-8"))
    session = volume.session()
    yield session
    session.close()
    volume.close()


def tree(s):
    """/top with two files, a hard link between its two directories, and a file in the deeper one."""
    s.mkdir(ROOT, b"top", 100)
    s.create(100, b"a", 101)
    s.create(100, b"b", 102)
    s.mkdir(100, b"d", 103)
    s.mkdir(103, b"e", 104)
    s.create(104, b"c", 105)
    s.link(101, 104, b"hard")


def rmr(s, parent, directory, *, limit=100, mode=0, uid=0, op=None):
    return s.change("rmr", parent, directory, limit, mode, uid, [uid], [], op=op)


def remove_all(s, parent, directory, mode=0):
    """What a client does, one step after the other; each answer is asked for twice."""
    while True:
        first = rmr(s, parent, directory, limit=2, mode=mode)
        assert first.err == 0
        assert rmr(s, parent, directory, limit=2, mode=mode, op=s.op) == first
        if first.is_gone:
            return
        for child in first.dirs or []:
            remove_all(s, directory, child, mode)


def nodes(s):
    return {row[0] for row in s.volume.query("SELECT inode FROM jfs_node WHERE inode < %s",
                                             [TRASH_INODE])}


def test_a_tree_is_removed_once_however_often_each_step_is_sent(s):
    tree(s)
    remove_all(s, ROOT, 100)
    trashed = s.volume.value("SELECT count(*) FROM jfs_edge WHERE parent > %s", [TRASH_INODE])
    assert nodes(s) - {ROOT} == ({100, 101, 102, 103, 104, 105} if trashed else set())
    assert_consistent(s.volume, with_stats=False)
    assert s.volume.value("SELECT nlink FROM jfs_node WHERE inode = 1") == 2


def test_past_the_trash_nothing_is_left_and_only_root_goes_there(s):
    tree(s)
    assert rmr(s, ROOT, 100, mode=SKIP_TRASH, uid=1).err == 1
    remove_all(s, ROOT, 100, SKIP_TRASH)
    assert nodes(s) == {ROOT}


def test_a_directory_that_was_moved_away_is_left_alone(s):
    tree(s)
    s.rename(100, b"d", ROOT, b"saved")
    assert rmr(s, 100, 103).err == 2
    assert {103, 104, 105} <= nodes(s)


def clone_all(s, src, dst, numbers):
    after = b""
    while True:
        arguments = (src, dst, after, [next(numbers) for _ in range(2)], PRESERVE, 0, 0, [0])
        first = s.change("clone_entries", *arguments)
        assert first.err == 0
        assert s.change("clone_entries", *arguments, op=s.op) == first
        for at in range(0, len(first.dirs or []), 2):
            clone_all(s, *first.dirs[at:at + 2], numbers)
        if first.seen < 2:
            return
        after = bytes(first.last)


def begin_clone(s, op=None):
    return s.change("clone", 100, ROOT, b"copy", 500, PRESERVE, 0, 0, [0], 4096, 7, op=op)


def test_a_tree_is_cloned_once_however_often_each_step_is_sent(s):
    tree(s)
    s.volume.db.execute("UPDATE jfs_node SET length = 5 WHERE inode = 102")
    s.volume.db.execute("INSERT INTO jfs_chunk_ref VALUES (7, 5, 1)")
    s.volume.db.execute("INSERT INTO jfs_chunk (inode, indx, slices) VALUES (102, 0,"
                        " tarn_1.record(0, 7, 5))")
    begun = begin_clone(s)
    assert begun.err == 0 and begin_clone(s, op=s.op) == begun
    clone_all(s, 100, 500, iter(range(600, 700)))
    assert s.volume.value("SELECT refs FROM jfs_chunk_ref WHERE chunkid = 7") == 2
    assert s.lookup(ROOT, b"copy").err == 2
    attached = s.change("attach", 500, ROOT, b"copy")
    assert attached.err == 0 and s.change("attach", 500, ROOT, b"copy", op=s.op) == attached
    assert s.names(500) == s.names(100)
    assert_consistent(s.volume, with_stats=False)
    assert s.volume.value("SELECT count(*) FROM jfs_detached_node") == 0


def test_half_a_clone_goes_with_all_that_it_counted(s):
    tree(s)
    before = nodes(s)
    usage = [0, 0]
    for reply in (begin_clone(s),
                  s.change("clone_entries", 100, 500, b"", list(range(600, 610)), 0, 0, 0, [0])):
        usage = [a + b for a, b in zip(usage, reply.usage)]
    assert usage == [4 * 4096, 4]

    def remove(parent, directory):
        while True:
            reply = rmr(s, parent, directory, mode=SKIP_TRASH | DETACHED)
            usage[:] = [a + b for a, b in zip(usage, reply.usage)]
            if reply.is_gone:
                return
            for child in reply.dirs or []:
                remove(directory, child)
    remove(0, 500)
    assert usage == [0, 0] and nodes(s) == before
    assert rmr(s, 0, 500, mode=SKIP_TRASH | DETACHED).err == 2


def test_a_clone_that_took_so_long_that_cleaners_may_have_been_at_it_is_not_attached(s):
    tree(s)
    begin_clone(s)
    s.volume.db.execute("UPDATE jfs_detached_node SET added = added - 86000")
    assert s.change("attach", 500, ROOT, b"copy").err == 2
    assert s.lookup(ROOT, b"copy").err == 2


def test_who_must_not_make_a_thing_does_not_clone_it(s):
    tree(s)
    setuid, nobody = 0o4755, 65534
    s.volume.db.execute("UPDATE jfs_node SET mode = %s, flags = 1 WHERE inode = 101", [setuid])
    s.volume.db.execute("INSERT INTO jfs_xattr (inode, name, value) VALUES"
                        " (101, 'trusted.a', ''), (101, 'user.a', '')")
    s.create(100, b"disk", 106, 5, mode=0o666, rdev=2049)
    s.volume.db.execute("UPDATE jfs_node SET mode = 511 WHERE inode = 1")

    def clone(src, ino, mode, uid):
        err = s.change("clone", src, ROOT, b"copy%d" % ino, ino, mode, 0o22, uid, [uid], 0, 0).err
        made = s.read("getattr", ino)
        names = [name for (name,) in s.volume.query(
            "SELECT name FROM jfs_xattr WHERE inode = %s ORDER BY 1", [ino])]
        return (err, made.mode, made.uid, made.gid, made.flags, names)
    for mode in (0, PRESERVE):
        assert clone(101, 501 + mode, mode, nobody) == (0, 0o755, nobody, nobody, 0, ["user.a"])
        assert clone(106, 511 + mode, mode, nobody)[0] == 1
    assert s.change("clone", 100, ROOT, b"all", 530, 0, 0, nobody, [nobody], 0, 0).err == 0
    assert s.change("clone_entries", 100, 530, b"", list(range(600, 610)), 0, 0, nobody,
                    [nobody]).err == 1
    assert clone(101, 521, PRESERVE, 0) == (0, setuid, 0, 0, 1, ["trusted.a", "user.a"])
    # What belongs to somebody else does not become root's program.
    s.volume.db.execute("UPDATE jfs_node SET uid = 1000, gid = 1000 WHERE inode = 101")
    assert clone(101, 522, 0, 0)[:3] == (0, 0o755, 0)


def test_an_inode_is_reached_through_directories_that_may_be_searched(s):
    tree(s)
    s.volume.db.execute("UPDATE jfs_node SET mode = 448 WHERE inode = 103")

    def reach(ino, root=ROOT, uid=5):
        return s.read("reach", ino, root, uid, [uid]).reach
    assert reach(105) == reach(104) == 13 and reach(105, uid=0) == 0
    assert reach(103) == reach(101) == 0  # by its other name
    assert reach(105, 104) == 0 and reach(104, 104) == 0 and reach(102, 103) == 2
    assert reach(ROOT, 103) == reach(4242) == 2
    assert reach(101, 103, 0) == 0 and reach(100, 103, 0) == 2


def test_clones_are_refused_where_they_cannot_be(s):
    tree(s)
    for src, parent, name, code in ((100, 104, b"in", 22), (100, ROOT, b"top", 17),
                                    (4242, ROOT, b"x", 2), (100, 4242, b"x", 2),
                                    (100, 101, b"x", 20), (100, ROOT, b"a/b", 22),
                                    (100, ROOT, b".trash", 1), (100, TRASH_INODE, b"x", 1)):
        assert s.change("clone", src, parent, name, 900, 0, 0, 0, [0], 0, 0).err == code, name
    s.volume.db.execute("UPDATE jfs_node SET mode = 493 WHERE inode = 1")
    assert s.change("clone", 101, ROOT, b"x", 900, 0, 0, 5, [5], 0, 0).err == 13


def test_sums_are_those_of_a_count(s):
    tree(s)
    s.volume.db.execute("UPDATE jfs_node SET length = 5000 WHERE inode = 102")
    strict = {row.dir: row for row in s.rows("tree_sums", [100, 103, 104, 4242], True)}
    assert set(strict) == {100, 103, 104}
    assert (strict[100].files, strict[100].folders, strict[100].length, strict[100].space) == \
        (2, 1, 5000, 4096 + 8192 + 4096)
    assert strict[100].children == [103] and strict[104].children is None
    assert [bytes(row.path) for row in s.rows("paths", 101, 10)] == [b"/top/a", b"/top/d/e/hard"]
