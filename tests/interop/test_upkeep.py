"""The upkeep of a volume beside a stock client: each compacts, deletes and takes turns as the other does."""

import hashlib
import os
import random

import pytest

from harness.check import assert_consistent
from harness.site import Daemon
from harness.volume import TRASH_INODE
from harness.wait import wait_for

MIB = 1 << 20


def overwrite(path, shadow, count, seed):
    """The same small writes to a file and to its shadow; each is a slice of its own."""
    chance = random.Random(seed)
    with open(path, "r+b", buffering=0) as file, open(shadow, "r+b", buffering=0) as other:
        for _ in range(count):
            at, data = chance.randrange(MIB), chance.randbytes(chance.randrange(1, 30_000))
            for one in (file, other):
                one.seek(at)
                one.write(data)
            os.fsync(file.fileno())


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def most_records(volume):
    return volume.value("SELECT max(octet_length(slices)) / 24 FROM jfs_chunk")


@pytest.mark.parametrize("options", [["--trash-days", "0"], [], ["--block-size", "64K"]],
                         ids=["no trash", "trash", "small blocks"])
def test_both_compact_the_same_chunk_while_both_write_it(volume, workdir, options):
    volume.format(*options)
    shadow = workdir / "shadow"
    with volume.mount() as ours, volume.stock_mount() as stock:
        os.mkdir(ours.path("d"))
        for path in (ours.path("d", "f"), shadow):
            path.write_bytes(random.Random(1).randbytes(MIB))
        for turn in range(6):
            overwrite((ours, stock)[turn % 2].path("d", "f"), shadow, 40, turn)
            wait_for("both read the same", lambda: {
                digest(mount.path("d", "f")) for mount in (ours, stock)} == {digest(shadow)})
        wait_for("somebody compacts", lambda: most_records(volume) < 60)
        assert digest(ours.path("d", "f")) == digest(shadow)
    for mount in (volume.mount(), volume.stock_mount()):
        with mount:
            assert digest(mount.path("d", "f")) == digest(shadow)
    assert_consistent(volume, with_stats=False)
    volume.assert_nothing_lost()
    volume.assert_nothing_leaked()


def test_after_our_jobs_stock_finds_nothing_to_do_and_the_gates_are_taken(volume, workdir):
    volume.format()
    with volume.mount("--no-bgjob") as ours:
        for number in range(20):
            ours.path(f"f{number}").write_bytes(os.urandom(50_000))
            ours.path(f"f{number}").unlink()
        ours.path("kept").write_bytes(b"kept")
    volume.query("UPDATE jfs_edge SET name = '2020-01-01-00' WHERE parent = %s RETURNING 1",
                 [TRASH_INODE])
    agent = Daemon("tarn-primary", ["run", volume.url], workdir / "primary.log").start()
    gates = ("lastCleanupSessions", "lastCleanupFiles", "nextCleanupSlices", "lastCleanupTrash",
             "lastCleanupChangelog")
    wait_for("every job has run", lambda: volume.value(
        "SELECT count(*) FROM jfs_counter WHERE name = ANY (%s) AND value > 0", [list(gates)]) == 5)
    wait_for("one block is left", lambda: len(volume.blocks()) == 1)
    wait_for("the trash is done", lambda: volume.value(
        "SELECT is_ok FROM tarn.upkeep_run WHERE job = 'trash'"))
    agent.stop()
    assert_consistent(volume)
    volume.assert_nothing_lost()
    volume.assert_nothing_leaked()


def test_what_stock_leaves_behind_our_jobs_delete(volume, workdir):
    volume.format("--trash-days", "0")
    with volume.stock_mount() as stock:
        os.mkdir(stock.path("d"))
        for number in range(5):
            stock.path("d", f"f{number}").write_bytes(os.urandom(50_000))
    # A stock client that died in the middle of a deletion.
    volume.query("UPDATE jfs_chunk_ref SET refs = 0 WHERE chunkid = (SELECT max(chunkid)"
                 " FROM jfs_chunk_ref) RETURNING 1")
    volume.query("DELETE FROM jfs_chunk WHERE id = (SELECT max(id) FROM jfs_chunk) RETURNING 1")
    last = volume.query("DELETE FROM jfs_edge WHERE name = 'f0' RETURNING inode")[0][0]
    volume.query("DELETE FROM jfs_node WHERE inode = %s RETURNING 1", [last])
    volume.query("INSERT INTO jfs_delfile VALUES (%s, 50000, 0) RETURNING 1", [last])
    agent = Daemon("tarn-primary", ["run", volume.url], workdir / "primary.log").start()
    wait_for("what nobody refers to is deleted", lambda: len(volume.blocks()) == 3)
    agent.stop()
    volume.assert_nothing_lost()
    volume.assert_nothing_leaked()
