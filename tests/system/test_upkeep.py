"""The upkeep of a volume: what was removed goes away, chunks are compacted, and nothing else does."""

import hashlib
import os
import random
import signal
import time

import pytest

from harness.check import assert_consistent
from harness.site import Daemon, Primary, hide, reveal
from harness.volume import tarn, tarn_json
from harness.wait import wait_for

MIB = 1 << 20
GATES = ("lastCleanupSessions", "lastCleanupFiles", "nextCleanupSlices", "lastCleanupTrash",
         "lastCleanupChangelog")


def make_volume(cluster, workdir, *options):
    primary = Primary(cluster, "vol", workdir)
    primary.format(*options)
    return primary


def open_gates(volume):
    """Every job is due: the next client that looks does it."""
    for gate in GATES:
        volume.query("INSERT INTO jfs_counter (name, value) VALUES (%s, 0)"
                     " ON CONFLICT (name) DO UPDATE SET value = 0 RETURNING 1", [gate])
    volume.query("UPDATE tarn.upkeep_run SET started_at = '-infinity' RETURNING 1")


def last_run(volume, job):
    return volume.value("SELECT ended_at FROM tarn.upkeep_run WHERE job = %s AND is_ok", [job])


def run_jobs(volume, *names, timeout=60):
    """Have the agent do these jobs now, without a failure."""
    before = {name: last_run(volume, name) for name in names}
    open_gates(volume)
    wait_for(f"jobs {names} have run", lambda: all(
        last_run(volume, name) not in (None, before[name]) for name in names), timeout)


def wait_gone(volume, timeout=60):
    """Wait until the bucket has exactly the blocks that the metadata names."""
    wait_for("the bucket has what is referenced, and no more",
             lambda: volume.blocks().keys() == volume.expected_blocks(), timeout, interval=0.1)


def records(volume, path_name):
    """Numbers of records of the chunks of a file."""
    return [row[0] for row in volume.query(
        "SELECT octet_length(c.slices) / 24 FROM jfs_chunk c JOIN jfs_edge e ON e.inode = c.inode"
        " WHERE e.name = %s ORDER BY c.indx", [path_name.encode()])]


def overwrite(path, count, seed, size=MIB, at_most=4096):
    """Small writes at random places, each a slice of its own."""
    rng = random.Random(seed)
    with open(path, "r+b", buffering=0) as file:
        for _ in range(count):
            file.seek(rng.randrange(size - at_most))
            file.write(rng.randbytes(rng.randrange(1, at_most)))
            os.fsync(file.fileno())


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_removed_files_leave_nothing_behind_soon_where_there_is_no_trash(cluster, workdir):
    volume = make_volume(cluster, workdir, "--trash-days", "0")
    with volume.mount() as mount:
        for number in range(30):
            mount.path(f"f{number}").write_bytes(os.urandom(300_000))
        mount.path("big").write_bytes(os.urandom(70 * MIB))
        mount.path("kept").write_bytes(b"kept")
        for number in range(29):
            mount.path(f"f{number}").unlink()
        mount.path("big").unlink()
        mount.path("new").write_bytes(b"new")
        mount.path("new").rename(mount.path("f29"))
        wait_for("no removed file has data",
                 lambda: not volume.value("SELECT count(*) FROM jfs_delfile"))
        wait_gone(volume)
        assert mount.path("kept").read_bytes() == b"kept"
    assert volume.value("SELECT count(*) FROM tarn.doomed") == 0
    assert volume.value("SELECT count(*) FROM tarn.block_sum") == 2
    assert_consistent(volume)


def test_500_small_overwrites_become_few_records_and_read_the_same(cluster, workdir):
    volume = make_volume(cluster, workdir, "--trash-days", "0").begin_agent()
    with volume.mount() as mount:
        path = mount.path("f")
        path.write_bytes(random.Random(1).randbytes(MIB))
        overwrite(path, 500, seed=2)
        before = digest(path)
        wait_for("the chunk has few records", lambda: max(records(volume, "f")) < 200)
        run_jobs(volume, "compaction", "slices")
        assert digest(path) == before
        wait_gone(volume)
    with volume.mount("--read-only") as mount:
        assert digest(mount.path("f")) == before
    volume.end()
    assert_consistent(volume)
