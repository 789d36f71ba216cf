"""flock and fcntl locks from two mounts of one volume: the cases of the Connectathon suite's tlock,
and what only two mounts can show."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time

import pytest

from harness.locker import F_OFD_SETLK, READ, UNLOCK, WRITE, Locker
from harness.volume import Volume
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
    one.path(name).touch()
    wait_for("the file is seen", two.path(name).exists)
    with Locker() as first, Locker() as second:
        first.open("f", one.path(name))
        second.open("f", two.path(name))
        yield first, second


def refused(operation, *arguments, codes=(errno.EAGAIN, errno.EACCES)):
    with pytest.raises(OSError) as caught:
        operation(*arguments)
    assert caught.value.errno in codes, caught.value


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
