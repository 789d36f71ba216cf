"""flock and fcntl locks from two mounts of one volume: the cases of the Connectathon suite's tlock,
and what only two mounts can show."""

import contextlib
import errno
import fcntl
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request

import pytest

from harness.locker import F_OFD_SETLK, READ, UNLOCK, WRITE, Locker
from harness.locking import refused, two_lockers
from harness.port import Port
from harness.volume import ENDED, Volume
from harness.wait import wait_for

MAX = (1 << 63) - 1
EX, SH, UN, NB = fcntl.LOCK_EX, fcntl.LOCK_SH, fcntl.LOCK_UN, fcntl.LOCK_NB


@pytest.fixture(scope="module")
def mounts(session_directory, cluster):
    workdir = session_directory / "locks"
    workdir.mkdir()
    volume = Volume(cluster, cluster.create_database(), "vol", workdir).format()
    with volume.mount() as one, volume.mount() as two:
        yield volume, one, two
    assert volume.value("SELECT count(*) FROM jfs_plock") == 0
    assert volume.value("SELECT count(*) FROM jfs_flock") == 0


@pytest.fixture
def pair(mounts, request):
    """A process with a file open at each mount."""
    _, one, two = mounts
    name = request.node.name.replace("/", " ")[:60]
    with two_lockers(one, two, name) as lockers:
        yield lockers


# ---- tlock: what parent and child do there is done here by processes at two mounts

@pytest.mark.parametrize("start, length", [(0, 1), (0, 0), (1, 0), (1, 1), (MAX, 1), (MAX - 1, 2)])
def test_1_nothing_is_in_the_way_of_a_test_on_an_unlocked_file(pair, start, length):
    first, second = pair
    assert first.test("f", WRITE, start, length) == [UNLOCK]
    assert second.test("f", READ, start, length) == [UNLOCK]


@pytest.mark.parametrize("held, ranges", [
    ((0, 0), {(0, 1): False, (0, 0): False, (1 << 40, 1): False, (MAX, 1): False}),
    ((1, 0), {(0, 1): True, (0, 0): False, (1, 1): False, (MAX, 0): False}),
    ((0, 1), {(0, 1): False, (0, 0): False, (1, 1): True, (1, 0): True, (MAX, 1): True}),
    ((10, 10), {(0, 10): True, (9, 2): False, (19, 1): False, (20, 0): True, (0, 0): False}),
    ((MAX, 0), {(0, MAX): True, (MAX, 1): False, (0, 0): False}),
    (((5 << 30) + 1, 1), {(0, (5 << 30) + 1): True, ((5 << 30) + 1, 1): False,
                          ((5 << 30) + 2, 0): True}),
])
def test_2_to_5_a_lock_excludes_what_it_covers_and_nothing_else(pair, held, ranges):
    first, second = pair
    first.lock("f", WRITE, *held)
    for range_, is_free in ranges.items():
        if is_free:
            second.lock("f", WRITE, *range_)
            second.lock("f", UNLOCK, *range_)
        else:
            refused(second.lock, "f", WRITE, *range_)
            refused(second.lock, "f", READ, *range_)
    first.lock("f", UNLOCK)
    second.lock("f", WRITE)


def test_6_a_test_tells_the_range_and_no_pid_of_another_mount(pair):
    first, second = pair
    first.lock("f", WRITE, 7, 13)
    assert second.test("f", READ) == [WRITE, 7, 13, 0]
    first.lock("f", READ, 7, 13)
    assert second.test("f", READ) == [UNLOCK]
    assert second.test("f", WRITE, 19, 5) == [READ, 7, 13, 0]
    first.lock("f", READ, 30)
    assert second.test("f", WRITE, 50, 1) == [READ, 30, 0, 0]


def test_a_test_tells_the_pid_on_the_same_mount(pair, mounts):
    first, _ = pair
    with Locker() as neighbour:
        neighbour.open("f", os.readlink(f"/proc/{first.pid}/fd/3"))
        first.lock("f", WRITE)
        assert neighbour.test("f", WRITE) == [WRITE, 0, 0, first.pid]


def test_7_locks_of_one_process_are_split_joined_and_changed(pair):
    first, second = pair
    first.lock("f", WRITE, 0, 100)
    first.lock("f", UNLOCK, 40, 20)
    second.lock("f", WRITE, 40, 20)
    refused(second.lock, "f", READ, 39, 1)
    refused(second.lock, "f", READ, 60, 1)
    refused(first.lock, "f", READ, 30, 20)
    second.lock("f", READ, 40, 20)
    first.lock("f", READ, 0, 100)
    second.lock("f", READ, 0, 200)
    refused(first.lock, "f", WRITE, 0, 1)
    second.lock("f", UNLOCK)
    first.lock("f", WRITE, 0, 1)
    assert second.test("f", READ, 0, 200) == [WRITE, 0, 1, 0]


def test_8_a_read_lock_is_upgraded_when_nobody_else_reads(pair):
    first, second = pair
    first.lock("f", READ)
    second.lock("f", READ)
    refused(first.lock, "f", WRITE)
    second.close("f")
    first.lock("f", WRITE)


def test_9_a_wait_ends_when_the_other_unlocks(pair):
    first, second = pair
    first.lock("f", WRITE)
    second.start("wait", "f", WRITE)
    assert first.test("f", WRITE) == [UNLOCK]
    assert second.is_waiting()
    first.lock("f", UNLOCK)
    second.answer()
    refused(first.lock, "f", READ)


def test_10_and_the_lock_of_a_process_that_exits_is_free(pair):
    first, second = pair
    first.lock("f", WRITE)
    second.start("wait", "f", READ)
    assert second.is_waiting()
    first.kill()
    second.answer()


def test_11_any_close_of_the_file_lets_the_locks_of_the_process_go(pair):
    first, second = pair
    first.duplicate("f", "again")
    first.lock("f", WRITE)
    first.close("again")
    second.lock("f", WRITE)


def test_12_wrong_modes_and_ranges_are_refused(pair, mounts):
    first, _ = pair
    path = os.readlink(f"/proc/{first.pid}/fd/3")
    first.open("r", path, os.O_RDONLY)
    first.open("w", path, os.O_WRONLY)
    refused(first.lock, "r", WRITE, codes=[errno.EBADF])
    refused(first.lock, "w", READ, codes=[errno.EBADF])
    refused(first.lock, "f", WRITE, -1, 1, codes=[errno.EINVAL])
    refused(first.lock, "f", 9, codes=[errno.EINVAL])


def test_13_and_14_data_written_under_a_lock_is_read_under_the_next(pair):
    """Both keep the file open: neither an open nor the attribute timeout makes it so."""
    first, second = pair
    for turn in range(40):
        writer, reader = (first, second) if turn % 2 else (second, first)
        text = f"{turn:08}" * 700
        writer.wait("f", WRITE)
        writer.write("f", 0, text)
        writer.lock("f", UNLOCK)
        reader.wait("f", READ)
        assert reader.read("f", 0, len(text)) == text
        reader.lock("f", UNLOCK)


def test_a_counter_under_a_lock_loses_no_step(mounts):
    _, one, two = mounts
    one.path("counter").write_text("0")
    wait_for("the file is seen", two.path("counter").exists)
    script = """if 1:
        import fcntl, os, sys
        fd = os.open(sys.argv[1], os.O_RDWR)
        for _ in range(100):
            getattr(fcntl, sys.argv[2])(fd, fcntl.LOCK_EX)
            n = int(os.pread(fd, 20, 0)) + 1
            os.pwrite(fd, b"%d" % n, 0)
            getattr(fcntl, sys.argv[2])(fd, fcntl.LOCK_UN)
    """
    for total, verb in ((400, "lockf"), (800, "flock")):
        children = [subprocess.Popen([sys.executable, "-c", script, mount.path("counter"), verb])
                    for mount in (one, two) for _ in range(2)]
        assert [child.wait(120) for child in children] == [0] * 4
        assert two.path("counter").read_text() == str(total)


# ---- flock

def test_flock_excludes_between_mounts_and_ends_with_the_last_close(pair):
    first, second = pair
    first.flock("f", EX | NB)
    refused(second.flock, "f", SH | NB)
    first.duplicate("f", "again")
    first.close("f")
    refused(second.flock, "f", SH | NB)
    first.close("again")
    wait_for("the lock is free", lambda: flock_is_free(second, SH))


def flock_is_free(locker, kind):
    try:
        locker.flock("f", kind | NB)
    except OSError as error:
        assert error.errno == errno.EAGAIN
        return False
    return True


def test_flock_is_kept_by_a_child_of_its_holder(pair):
    first, second = pair
    first.flock("f", EX)
    child = first.fork("f")
    first.close("f")
    refused(second.flock, "f", SH | NB)
    first.reap(child)
    wait_for("the lock is free", lambda: flock_is_free(second, EX))


def test_two_that_upgrade_a_flock_do_not_wait_for_each_other(pair):
    first, second = pair
    first.flock("f", SH)
    second.flock("f", SH)
    refused(first.flock, "f", EX | NB)
    first.start("flock", "f", EX)
    second.start("flock", "f", EX)
    wait_for("one has it", lambda: first.is_waiting() != second.is_waiting())
    winner, other = (second, first) if first.is_waiting() else (first, second)
    winner.answer()
    winner.flock("f", UN)
    other.answer()


def test_a_lock_of_an_open_file_description_ends_with_its_last_close(pair):
    first, second = pair
    first.lock("f", WRITE, 0, 0, F_OFD_SETLK)
    path = os.readlink(f"/proc/{first.pid}/fd/3")
    first.open("other", path)
    first.close("other")
    refused(second.lock, "f", WRITE)
    first.close("f")
    wait_for("the lock is free", lambda: plock_is_free(second))


def plock_is_free(locker):
    return locker.test("f", WRITE) == [UNLOCK]


# ---- waiting

@pytest.mark.parametrize("how", ["alarm", "SIGINT", "SIGKILL"])
def test_a_wait_can_be_interrupted(pair, how):
    first, second = pair
    first.lock("f", WRITE)
    if how == "alarm":
        refused(second.alarm, "f", WRITE, 0.2, codes=[errno.EINTR])
    else:
        second.start("wait", "f", WRITE)
        time.sleep(0.1)
        assert second.is_waiting()
        second.send(getattr(signal, how))
        second.waiter.join(30)
        assert not second.is_waiting(), "the wait goes on"
    assert first.test("f", WRITE) == [UNLOCK]
    first.lock("f", UNLOCK)
    first.lock("f", WRITE)


def test_readers_that_wait_get_it_together(mounts):
    _, one, two = mounts
    lockers = [Locker() for _ in range(8)]
    try:
        for number, locker in enumerate(lockers):
            locker.open("f", (one, two)[number % 2].path("together"))
        lockers[0].flock("f", EX)
        for locker in lockers[1:]:
            locker.start("flock", "f", SH)
        lockers[0].flock("f", UN)
        for locker in lockers[1:]:
            locker.answer()
    finally:
        for locker in lockers:
            locker.kill()


def test_two_that_wait_for_each_other_stop_nobody_else(pair, mounts):
    _, one, _ = mounts
    first, second = pair
    first.lock("f", WRITE, 0, 1)
    second.lock("f", WRITE, 1, 1)
    first.start("wait", "f", WRITE, 1, 1)
    second.start("wait", "f", WRITE, 0, 1)
    one.path("meanwhile").write_text("x")
    assert first.is_waiting() and second.is_waiting()
    second.kill()
    first.answer()


@contextlib.contextmanager
def measured(volume):
    """A mount of its own, and a function that reads one of its metrics."""
    with contextlib.closing(Port()) as port:
        address = f"127.0.0.1:{port.number}"

        def metric(name):
            with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as answer:
                lines = answer.read().decode().splitlines()
            return next(float(line.split()[1]) for line in lines if line.startswith(name + " "))
        with volume.mount("--metrics", address) as mount:
            yield mount, metric


def lock_once(path):
    with open(path, "rb") as file:
        fcntl.flock(file, EX)


def test_two_hundred_that_wait_stop_nobody_else(mounts):
    volume, _, two = mounts
    with measured(volume) as (mount, metric), Locker() as holder:
        mount.path("crowded").touch()
        wait_for("the file is seen", two.path("crowded").exists)
        holder.open("f", two.path("crowded"))
        holder.flock("f", EX)
        waiters = [threading.Thread(target=lock_once, args=[mount.path("crowded")], daemon=True)
                   for _ in range(200)]
        for waiter in waiters:
            waiter.start()
        wait_for("all of them wait", lambda: metric("tarn_lock_waiting") == 200, 60)
        for number in range(50):
            mount.path(f"beside{number}").write_text("x")
            assert mount.path(f"beside{number}").read_text() == "x"
        assert metric("tarn_lock_waiting") == 200
        holder.flock("f", UN)
        for waiter in waiters:
            waiter.join(120)
            assert not waiter.is_alive()
        assert metric("tarn_lock_waiting") == 0 and metric("tarn_lock_waits_total") >= 200
        wait_for("no lock is left", lambda: metric("tarn_lock_held") == 0)


# ---- the end of a mount and of a session

def test_a_mount_ends_while_somebody_waits(mounts):
    volume, one, _ = mounts
    mount = volume.mount().start()
    with Locker() as holder, Locker() as waiting:
        try:
            one.path("ends").touch()
            wait_for("the file is seen", mount.path("ends").exists)
            holder.open("f", one.path("ends"))
            holder.lock("f", WRITE)
            waiting.open("f", mount.path("ends"))
            waiting.start("wait", "f", WRITE)
            time.sleep(0.1)
            assert waiting.is_waiting()
            mount.terminate()
            refused(waiting.answer, codes=ENDED)
        finally:
            mount.abandon()


def test_locks_of_a_mount_that_was_killed_are_free_when_its_session_has_expired(mounts):
    volume, one, _ = mounts
    mount = volume.mount().start()
    with Locker() as holder, Locker() as heir:
        mount.path("killed").touch()
        wait_for("the file is seen", one.path("killed").exists)
        holder.open("f", mount.path("killed"))
        heir.open("f", one.path("killed"))
        holder.flock("f", EX)
        holder.lock("f", WRITE)
        (sid,) = volume.query("SELECT DISTINCT sid FROM jfs_plock")[0]
        mount.kill9()
        refused(heir.lock, "f", WRITE)
        refused(heir.flock, "f", EX | NB)
        # A minute passes, and the jobs of another client see it.
        volume.query("UPDATE jfs_session2 SET expire = 1 WHERE sid = %s RETURNING 1", [sid])
        heir.start("wait", "f", WRITE).answer(60)
        heir.flock("f", EX | NB)


def test_locks_that_were_lost_with_the_session_are_refused_until_the_file_is_closed(mounts):
    volume, _, two = mounts
    with volume.mount() as mount, Locker() as holder, Locker() as other:
        mount.path("lost").touch()
        wait_for("the file is seen", two.path("lost").exists)
        holder.open("f", mount.path("lost"))
        holder.open("g", mount.path("unlocked"))
        other.open("f", two.path("lost"))
        holder.lock("f", WRITE)
        (sid,) = volume.query("SELECT DISTINCT sid FROM jfs_plock")[0]
        volume.query("SELECT tarn_1.session_close(%s)", [sid])
        other.lock("f", WRITE)

        def is_refused():
            """ESTALE until the mount has noticed, at a heartbeat."""
            with pytest.raises(OSError) as caught:
                holder.lock("f", UNLOCK, 0, 1)
            assert caught.value.errno in (errno.ESTALE, errno.EIO)
            return caught.value.errno == errno.EIO
        wait_for("the loss is noticed", is_refused)
        refused(holder.lock, "f", WRITE, codes=[errno.EIO])
        refused(holder.test, "f", WRITE, codes=[errno.EIO])
        other.lock("f", UNLOCK)
        refused(holder.lock, "f", READ, codes=[errno.EIO])
        assert volume.query("SELECT * FROM jfs_plock") == []
        wait_for("a new session has begun", lambda: can_lock(holder, "g"))
        holder.close("f")
        holder.open("f", mount.path("lost"))
        holder.lock("f", WRITE)


def can_lock(locker, name):
    try:
        locker.lock(name, WRITE)
    except OSError as error:
        assert error.errno == errno.ESTALE
        return False
    return True


def test_a_read_only_mount_gives_no_lock(mounts):
    volume, one, _ = mounts
    one.path("read only").touch()
    with volume.mount("--read-only") as mount, Locker() as locker:
        locker.open("f", mount.path("read only"), os.O_RDONLY)
        refused(locker.lock, "f", READ, codes=[errno.EROFS])
        refused(locker.flock, "f", SH, codes=[errno.EROFS])
        locker.close("f")


# ---- programs that rely on it

COUNT_UP = """if 1:
    import os, random, sqlite3, sys, time
    path, number, rounds, mode = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]

    def transact(database, turn):
        database.execute("BEGIN IMMEDIATE")
        (value,) = database.execute("SELECT value FROM counter").fetchone()
        database.execute("UPDATE counter SET value = ?", [value + 1])
        database.execute("INSERT INTO entry VALUES (?, ?, ?)", [number, turn, os.urandom(2000)])
        database.execute("COMMIT")

    def with_journal():
        database = sqlite3.connect(path, timeout=120, isolation_level=None)
        database.execute(f"PRAGMA journal_mode = {mode}")
        for turn in range(rounds):
            transact(database, turn)
        database.close()

    def with_wal():
        turn = 0
        while turn < rounds:
            database = sqlite3.connect(path, timeout=0, isolation_level=None)
            try:
                database.execute("PRAGMA locking_mode = EXCLUSIVE")
                transact(database, turn)
                turn += 1
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise
            database.close()
            time.sleep(random.random() / 50)

    with_wal() if mode == "wal" else with_journal()
"""


@pytest.mark.parametrize("mode", ["delete", "persist", "wal"])
def test_sqlite_with_writers_on_two_mounts(mounts, mode):
    """WAL's index is memory that two machines cannot share: there each writer takes the whole
    database while it has it open, and lets go at once when the other was quicker."""
    _, one, two = mounts
    rounds = 500 if os.environ.get("TARN_LONG") else 25
    name = f"{mode}.sqlite"
    database = sqlite3.connect(one.path(name))
    database.execute(f"PRAGMA journal_mode = {mode}")
    database.executescript("CREATE TABLE counter(value); INSERT INTO counter VALUES (0);"
                           "CREATE TABLE entry(number, turn, data)")
    database.close()
    wait_for("the database is seen", two.path(name).exists)
    writers = [subprocess.Popen([sys.executable, "-c", COUNT_UP, mount.path(name), str(number),
                                 str(rounds), mode]) for number, mount in enumerate((one, two))]
    assert [writer.wait(300) for writer in writers] == [0, 0]
    for mount in (one, two):
        database = sqlite3.connect(mount.path(name))
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute("SELECT value FROM counter").fetchone() == (2 * rounds,)
        assert database.execute("SELECT count(*) FROM entry").fetchone() == (2 * rounds,)
        database.close()
