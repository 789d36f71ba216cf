"""The functions on names when two sessions meet: orders that are forced, then many at once."""

import errno
import random
import threading

import pytest
from harness.check import assert_consistent
from harness.sql_volume import Books, SqlVolume, ok
from harness.volume import TRASH_INODE

ROOT = 1
EXCHANGE = 2


@pytest.fixture(params=[0, 1], ids=["no trash", "trash"])
def volume(request, cluster, database):
    made = SqlVolume(cluster, database, request.param)
    yield made
    made.close()


@pytest.fixture
def two(volume):
    first, second = volume.session(), volume.session()
    yield first, second
    first.close(), second.close()


def meet(first, one, second, other):
    """one() runs and holds its locks, other() must wait for it, then both are committed."""
    first.begin()
    a = one()
    started = second.start(*other).until_blocked()
    first.commit()
    return a, started.answer()


# ---- two sessions in a forced order

def test_create_in_a_directory_that_is_being_removed(two):
    a, b = two
    ok(a.mkdir(ROOT, b"d", 10))
    removed, created = meet(a, lambda: a.rmdir(ROOT, b"d"), b, ("create", 10, b"f", 11))
    assert (removed.err, created.err) == (0, errno.ENOENT)
    assert a.volume.value("SELECT count(*) FROM jfs_edge WHERE parent = 10") == 0


@pytest.mark.parametrize("what", ["create", "link", "rename"])
def test_rmdir_of_a_directory_that_is_getting_a_name(two, what):
    a, b = two
    ok(a.mkdir(ROOT, b"d", 10))
    ok(a.create(ROOT, b"f", 11))
    # Times so young that the parent's row is not written: only the key share holds it.
    a.volume.db.execute("UPDATE jfs_node SET mtime = (extract(epoch FROM clock_timestamp()) * 1e6)"
                        "::int8 WHERE inode = 10")
    do = {"create": lambda: a.create(10, b"x", 12), "link": lambda: a.link(11, 10, b"x"),
          "rename": lambda: a.rename(ROOT, b"f", 10, b"x")}[what]
    done, removed = meet(a, do, b, ("rmdir", ROOT, b"d"))
    assert (done.err, removed.err) == (0, errno.ENOTEMPTY)
    assert b.names(10) == [b"x"]


def test_two_create_the_same_name(two):
    a, b = two
    first, second = meet(a, lambda: a.create(ROOT, b"f", 10), b, ("create", ROOT, b"f", 11))
    assert (first.err, second.err, second.ino) == (0, errno.EEXIST, 10)
    assert a.volume.value("SELECT count(*) FROM jfs_node WHERE inode = 11") == 0


def test_create_of_a_name_whose_maker_gives_up(two):
    a, b = two
    a.begin()
    ok(a.create(ROOT, b"f", 10))
    started = b.start("create", ROOT, b"f", 11).until_blocked()
    a.db.execute("ROLLBACK")
    assert ok(started.answer()).ino == 11


def test_create_of_a_name_that_is_being_removed(two):
    a, b = two
    ok(a.create(ROOT, b"f", 10))
    _, made = meet(a, lambda: ok(a.unlink(ROOT, b"f")), b, ("create", ROOT, b"f", 11))
    assert ok(made).ino == 11
    assert b.lookup(ROOT, b"f").ino == 11


def test_two_unlink_the_same_name(two):
    a, b = two
    ok(a.create(ROOT, b"f", 10))
    first, second = meet(a, lambda: a.unlink(ROOT, b"f"), b, ("unlink", ROOT, b"f"))
    assert (first.err, second.err) == (0, errno.ENOENT)


def test_unlink_of_a_name_that_is_made_anew_meanwhile(two):
    a, b = two
    ok(a.create(ROOT, b"f", 10))
    ok(a.create(ROOT, b"g", 11))
    # b has read the edge to 10 and waits for that inode; afterwards the name leads to 11.
    _, gone = meet(a, lambda: ok(a.rename(ROOT, b"g", ROOT, b"f")), b, ("unlink", ROOT, b"f"))
    assert ok(gone).ino == 11
    assert b.lookup(ROOT, b"f").err == errno.ENOENT


@pytest.mark.parametrize("what", ["link", "unlink"])
def test_link_and_unlink_of_one_file(two, what):
    a, b = two
    ok(a.create(ROOT, b"f", 10))
    link, unlink = ("link", 10, ROOT, b"g"), ("unlink", ROOT, b"f")
    first, second = (link, unlink) if what == "link" else (unlink, link)
    done, after = meet(a, lambda: getattr(a, first[0])(*first[1:]), b, second)
    assert done.err == 0
    node = b.read("getattr", 10)
    if node.err:
        assert (what, after.err) == ("unlink", errno.ENOENT), "the last name was gone first"
    else:
        names = a.volume.value("SELECT count(*) FROM jfs_edge WHERE inode = 10")
        assert (after.err, node.nlink, node.parent) == (0, names, 0)


def test_two_move_directories_into_each_other(two):
    a, b = two
    ok(a.mkdir(ROOT, b"a", 10))
    ok(a.mkdir(ROOT, b"b", 11))
    first, second = meet(a, lambda: a.rename(ROOT, b"a", 11, b"a"), b,
                         ("rename", ROOT, b"b", 10, b"b"))
    assert (first.err, second.err) == (0, errno.EINVAL)
    assert bytes(b.read("path", 10).path) == b"/b/a"


def test_two_move_directories_below_each_other(two):
    """No row is common to the two: only the lock of the volume keeps a cycle away."""
    a, b = two
    ok(a.mkdir(ROOT, b"a", 10))
    ok(a.mkdir(ROOT, b"b", 11))
    ok(a.mkdir(10, b"x", 12))
    ok(a.mkdir(11, b"y", 13))
    first, second = meet(a, lambda: a.rename(ROOT, b"a", 13, b"a"), b,
                         ("rename", ROOT, b"b", 12, b"b"))
    assert (first.err, second.err) == (0, errno.EINVAL)
    assert bytes(b.read("path", 12).path) == b"/b/y/a/x"


def test_two_rename_the_same_name(two):
    a, b = two
    ok(a.create(ROOT, b"f", 10))
    first, second = meet(a, lambda: a.rename(ROOT, b"f", ROOT, b"x"), b,
                         ("rename", ROOT, b"f", ROOT, b"y"))
    assert (first.err, second.err) == (0, errno.ENOENT)
    assert b.names(ROOT) == [b"x"]


@pytest.mark.parametrize("to", [b"new", b"there"])
def test_rename_of_a_name_that_a_stock_client_is_renaming(two, to):
    """A stock rename takes the edge without a lock on the node."""
    a, b = two
    ok(a.create(ROOT, b"f", 10))
    ok(a.create(ROOT, b"there", 11))
    a.begin()
    a.db.execute("DELETE FROM public.jfs_edge WHERE parent = 1 AND name = 'f'")
    a.db.execute("INSERT INTO public.jfs_edge (parent, name, inode, type)"
                 " VALUES (1, 'theirs', 10, 1)")
    started = b.start("rename", ROOT, b"f", ROOT, to).until_blocked()
    a.commit()
    assert started.answer().err == errno.ENOENT
    assert b.names(ROOT) == [b"theirs", b"there"]


def test_rename_to_a_name_that_appears_meanwhile(two):
    a, b = two
    ok(a.create(ROOT, b"f", 10))
    _, moved = meet(a, lambda: ok(a.create(ROOT, b"g", 11)), b, ("rename", ROOT, b"f", ROOT, b"g"))
    assert ok(moved).ino == 10
    assert b.names(ROOT) == [b"g"]
    assert b.lookup(ROOT, b"g").ino == 10
    node = b.read("getattr", 11)
    assert node.err == errno.ENOENT or node.parent > TRASH_INODE


def test_noreplace_of_a_name_that_appears_meanwhile(two):
    a, b = two
    ok(a.create(ROOT, b"f", 10))
    _, refused = meet(a, lambda: ok(a.create(ROOT, b"g", 11)), b,
                      ("rename", ROOT, b"f", ROOT, b"g", 1))
    assert refused.err == errno.EEXIST
    assert b.names(ROOT) == [b"f", b"g"]


def test_rename_over_a_directory_that_gets_a_child(two):
    a, b = two
    ok(a.mkdir(ROOT, b"a", 10))
    ok(a.mkdir(ROOT, b"b", 11))
    _, refused = meet(a, lambda: ok(a.create(11, b"x", 12)), b, ("rename", ROOT, b"a", ROOT, b"b"))
    assert refused.err == errno.ENOTEMPTY


def test_exchange_against_unlink(two):
    a, b = two
    ok(a.create(ROOT, b"f", 10))
    ok(a.create(ROOT, b"g", 11))
    _, gone = meet(a, lambda: ok(a.rename(ROOT, b"f", ROOT, b"g", EXCHANGE)), b,
                   ("unlink", ROOT, b"f"))
    assert ok(gone).ino == 11
    assert b.names(ROOT) == [b"g"] and b.lookup(ROOT, b"g").ino == 10


def test_two_make_the_first_deletion_of_the_hour(cluster, database):
    volume = SqlVolume(cluster, database, 1)
    a, b = volume.session(), volume.session()
    ok(a.create(ROOT, b"f", 10))
    ok(a.create(ROOT, b"g", 11))
    first, second = meet(a, lambda: a.unlink(ROOT, b"f"), b, ("unlink", ROOT, b"g"))
    hours = volume.query("SELECT inode FROM jfs_edge WHERE parent = %s", [TRASH_INODE])
    assert sum(reply.usage[1] for reply in (ok(first), ok(second))) == len(hours)
    assert {reply.parent for reply in (first, second)} == {ino for (ino,) in hours}
    a.close(), b.close(), volume.close()


def test_a_call_and_its_repetition_at_once(two):
    """The answer was lost while the first call still ran: the second waits and answers the same."""
    a, b = two
    ok(a.create(ROOT, b"f", 10))
    b.sid, b.op = a.sid, a.op
    first, second = meet(a, lambda: a.unlink(ROOT, b"f"), b, ("unlink", ROOT, b"f"))
    assert ok(first) == second
    assert a.op == b.op


def test_the_first_call_of_a_lane_and_its_repetition_at_once(two):
    a, b = two
    b.sid = a.sid
    first, second = meet(a, lambda: a.create(ROOT, b"f", 10), b, ("create", ROOT, b"f", 10))
    assert ok(first) == second


def test_the_end_of_a_session_waits_for_its_operation_and_fences_it(two):
    a, b = two
    ok(a.create(ROOT, b"f", 10))
    a.begin()
    ok(a.create(ROOT, b"g", 11))
    reaper = b.start("rows", "session_close", a.sid).until_blocked()
    a.commit()
    reaper.answer()
    assert a.unlink(ROOT, b"f").err == errno.ESTALE
    assert b.names(ROOT) == [b"f", b"g"]


# ---- many at once

def stock_create(db, parent, name, ino):
    """A create as a stock client does it: the parent is neither locked nor, here, updated."""
    with db.transaction():
        db.execute("SELECT * FROM jfs_node WHERE inode = %s", [parent])
        db.execute("INSERT INTO jfs_edge (parent, name, inode, type) VALUES (%s, %s, %s, 1)",
                   [parent, name, ino])
        db.execute("INSERT INTO jfs_node SELECT %s, 1, 0, 420, 0, 0, 1, 1, 1, 0, 0, 0, 1, 0, 0, %s,"
                   " 0, 0, 0", [ino, parent])
        db.execute("UPDATE jfs_node SET mtime = 5 WHERE inode = %s", [parent])


def storm(volume, workers, step):
    """step(session, random, number) over and over in several sessions; gives all their replies."""
    replies, failures = [], []

    def work(number, session):
        dice = random.Random(number)
        try:
            session.db.execute("SET synchronous_commit = off")
            for turn in range(150):
                replies.append(step(session, dice, 1000 * (number + 1) + turn))
        except Exception as failure:  # pylint: disable=broad-except
            failures.append(failure)
    sessions = [volume.session() for _ in range(workers)]
    threads = [threading.Thread(target=work, args=item) for item in enumerate(sessions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    for session in sessions:
        session.close()
    assert not failures, failures
    return replies


def assert_sound(volume, books, replies):
    books.enter(*(reply for reply in replies if reply.err == 0))
    books.settle()
    assert_consistent(volume)
    session = volume.session()
    for (ino,) in volume.query("SELECT inode FROM jfs_node n WHERE nlink > 0"):
        assert session.read("path", ino).err == 0, f"inode {ino} cannot be reached"
    session.close()
    allowed = {0, errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY, errno.EISDIR, errno.ENOTDIR,
               errno.EINVAL, errno.EPERM}
    assert {reply.err for reply in replies} <= allowed


def test_a_storm_on_few_names(volume):
    books = Books(volume)
    session = volume.session()
    start = [ok(session.mkdir(ROOT, b"%d" % ino, ino)) for ino in (10, 11, 12)]
    session.close()
    names = [b"a", b"b", b"c"]

    def step(s, dice, ino):
        parent, other = dice.choices((10, 11, 12), k=2)
        name, second = dice.choices(names, k=2)
        match dice.randrange(7):
            case 0 | 1:
                return s.create(parent, name, ino)
            case 2:
                return s.mkdir(parent, name, ino)
            case 3:
                return s.unlink(parent, name, opened=[ino - 1, ino - 2])
            case 4:
                return s.rmdir(parent, name)
            case 5:
                found = s.lookup(parent, name)
                return s.link(found.ino, other, second) if found.err == 0 else found
            case _:
                return s.rename(parent, name, other, second, dice.choice((0, 0, 1, EXCHANGE)))
    assert_sound(volume, books, start + storm(volume, 6, step))


def test_a_storm_of_directories_moving_into_each_other(volume):
    books = Books(volume)
    session = volume.session()
    inodes = range(10, 18)
    start = [ok(session.mkdir(ROOT, b"%d" % ino, ino)) for ino in inodes]
    session.close()

    def step(s, dice, _):
        moved, into = dice.choices(inodes, k=2)
        now = s.read("getattr", moved).parent
        other = s.read("getattr", into).parent
        if dice.random() < 0.3:
            return s.rename(now, b"%d" % moved, other, b"%d" % into, EXCHANGE)
        return s.rename(now, b"%d" % moved, dice.choice((into, ROOT)), b"%d" % moved)
    assert_sound(volume, books, start + storm(volume, 4, step))


def test_create_against_rmdir_never_leaves_an_orphan(volume):
    books = Books(volume)

    def step(s, dice, ino):
        found = s.lookup(ROOT, b"d")
        if found.err:
            return s.mkdir(ROOT, b"d", ino)
        if dice.random() < 0.4:
            return s.rmdir(ROOT, b"d")
        made = s.create(found.ino, b"f%d" % ino, ino)
        if made.err == 0:
            books.enter(made)
            return s.unlink(found.ino, b"f%d" % ino)
        return made
    assert_sound(volume, books, storm(volume, 4, step))


def test_stock_clients_in_between(volume):
    """Creates as a stock client does them, in directories where we create, move and remove."""
    session = volume.session()
    ok(session.mkdir(ROOT, b"d", 10))
    ok(session.mkdir(ROOT, b"e", 11))
    session.close()
    stop = threading.Event()
    made, failures = [], []

    def stock():
        db = volume.cluster.connect(volume.database)
        ino = 500000
        while not stop.is_set():
            ino += 1
            try:
                stock_create(db, 10, b"s%d" % ino, ino)
                made.append(ino)
            except Exception as failure:  # pylint: disable=broad-except
                failures.append(failure)
                break
        db.close()
    thread = threading.Thread(target=stock)
    thread.start()

    def step(s, dice, ino):
        if dice.random() < 0.5:
            return s.create(10, b"o%d" % ino, ino)
        names = s.names(10, b"", 5)
        if not names:
            return s.lookup(10, b"x")
        return s.rename(10, names[0], 11, b"m%d" % ino) if dice.random() < 0.5 else s.unlink(
            10, names[-1])
    storm(volume, 3, step)
    stop.set()
    thread.join(30)
    assert made and not failures, failures
    assert_consistent(volume, with_stats=False)
