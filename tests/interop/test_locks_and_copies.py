"""Locks that a stock client and ours hold exclude each other, their records are the same to the
byte, and each reads what the other has copied."""

import fcntl
import os
import random
import subprocess

import pytest

from harness.check import assert_consistent
from harness.locker import READ, UNLOCK, WRITE, Locker
from harness.locking import refused, two_lockers
from harness.wait import wait_for
from stock_client import StockVolume

EX, SH, UN, NB = fcntl.LOCK_EX, fcntl.LOCK_SH, fcntl.LOCK_UN, fcntl.LOCK_NB
MAX = (1 << 63) - 1
CHUNK = 64 << 20


@pytest.fixture(scope="module")
def both(stock_program, session_directory, cluster):
    workdir = session_directory / "interop locks"
    workdir.mkdir()
    volume = StockVolume(stock_program, cluster, cluster.create_database(), "vol",
                         workdir).stock_format_and_adopt()
    with volume.stock_mount("--enable-xattr") as stock, volume.mount() as ours:
        yield volume, stock, ours
    volume.assert_nothing_lost()
    assert_consistent(volume, with_stats=False)


@pytest.fixture(params=["stock holds", "ours holds"])
def pair(request, both):
    _, stock, ours = both
    holder, other = (stock, ours) if request.param == "stock holds" else (ours, stock)
    name = request.node.name.replace("/", " ")
    with two_lockers(holder, other, name) as lockers:
        yield lockers


def test_fcntl_locks_exclude_each_other(pair):
    first, second = pair
    first.lock("f", WRITE, 10, 10)
    first.lock("f", READ, 100)
    assert second.test("f", READ) == [WRITE, 10, 10, 0]
    refused(second.lock, "f", READ, 19, 1)
    refused(second.lock, "f", WRITE, 1 << 40, 1)
    second.lock("f", WRITE, 20, 80)
    second.lock("f", READ, 1 << 40, 1)
    refused(first.lock, "f", WRITE, 100)
    first.lock("f", UNLOCK)
    second.lock("f", WRITE)


def test_flock_excludes_each_other(pair):
    first, second = pair
    first.flock("f", SH)
    second.flock("f", SH | NB)
    refused(second.flock, "f", EX | NB)
    second.flock("f", UN)
    first.flock("f", EX)
    refused(second.flock, "f", SH | NB)


@pytest.mark.parametrize("verb", ["wait", "flock"])
def test_a_wait_ends_when_the_other_client_lets_go(pair, verb):
    first, second = pair
    ask = (WRITE,) if verb == "wait" else (EX,)
    getattr(first, verb)("f", *ask)
    second.start(verb, "f", *ask)
    first.open("beside", os.readlink(f"/proc/{first.pid}/fd/3"))
    assert second.is_waiting()
    first.kill()
    second.answer()


def test_records_are_the_same_to_the_byte(both):
    """One process does the same to a file at each client."""
    volume, stock, ours = both
    chance = random.Random(7)
    with Locker() as process:
        process.open("stock", stock.path("records-stock"))
        process.open("ours", ours.path("records-ours"))
        for _ in range(150):
            kind = chance.choice([READ, WRITE, UNLOCK])
            start = chance.choice([chance.randrange(60), MAX - chance.randrange(60)])
            length = chance.choice([0, chance.randrange(1, 40)])
            length = min(length, MAX - start + 1) if length else 0
            for name in ("stock", "ours"):
                process.lock(name, kind, start, length)
            found = {name: volume.query(
                "SELECT records FROM jfs_plock p JOIN jfs_edge e ON e.inode = p.inode"
                " WHERE e.name = %s", [f"records-{name}".encode()]) for name in ("stock", "ours")}
            assert found["stock"] == found["ours"]


def test_each_reads_what_the_other_has_copied(both):
    _, stock, ours = both
    chance = random.Random(3)
    source = bytearray(CHUNK + 70000)
    with open(stock.path("source"), "wb") as file:
        for _ in range(12):
            at = chance.choice([0, CHUNK - 9000, CHUNK]) + chance.randrange(9000)
            data = chance.randbytes(chance.randrange(1, 20000))
            file.seek(at)
            file.write(data)
            source[at:at + len(data)] = data
            os.fsync(file.fileno())
        file.truncate(len(source))
    wait_for("the file is seen", ours.path("source").exists)
    for number, mount in enumerate((stock, ours)):
        wanted = bytearray(CHUNK + 200000)
        with open(mount.path("source"), "rb") as src, \
             open(mount.path(f"target{number}"), "w+b") as dst:
            dst.truncate(len(wanted))
            for _ in range(10):
                low = chance.choice([0, CHUNK - 9000]) + chance.randrange(9000)
                at = chance.choice([0, CHUNK - 30000, CHUNK]) + chance.randrange(30000)
                length = chance.randrange(1, min(50000, len(source) - low))
                done = 0
                while done < length:
                    done += os.copy_file_range(src.fileno(), dst.fileno(), length - done,
                                               low + done, at + done)
                wanted[at:at + length] = source[low:low + length]
        for reader in (stock, ours):
            wait_for("the file is seen", reader.path(f"target{number}").exists)
            assert reader.path(f"target{number}").read_bytes() == bytes(wanted)
    for name in ("source", "target0"):
        os.unlink(ours.path(name))
    wait_for("it is gone", lambda: not stock.path("source").exists())


def test_a_counter_under_a_lock_loses_no_step_when_the_file_is_opened_anew(both):
    """A stock mount promises close-to-open only: so each step opens the file."""
    _, stock, ours = both
    stock.path("counter").write_text("0")
    wait_for("the file is seen", ours.path("counter").exists)
    script = """if 1:
        import fcntl, os, sys
        lock = os.open(sys.argv[1] + ".lock", os.O_RDWR | os.O_CREAT)
        for _ in range(40):
            fcntl.lockf(lock, fcntl.LOCK_EX)
            with open(sys.argv[1], "r+") as file:
                n = int(file.read()) + 1
                file.seek(0)
                file.write(str(n))
            fcntl.lockf(lock, fcntl.LOCK_UN)
    """
    stock.path("counter.lock").touch()
    wait_for("the file is seen", ours.path("counter.lock").exists)
    children = [subprocess.Popen(["/usr/bin/python3", "-c", script, mount.path("counter")])
                for mount in (stock, ours)]
    assert [child.wait(120) for child in children] == [0, 0]
    assert ours.path("counter").read_text() == "80"
