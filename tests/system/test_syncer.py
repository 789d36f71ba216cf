"""The syncer brings every block to the mirror's bucket, once, verified, whatever happens to it."""

import errno
import os
import signal

import pytest

from harness import load
from harness.process import run
from harness.site import Mirror, assert_equal_sites, hide, reveal
from harness.tree import assert_same, read_tree
from harness.volume import NOT_READY, tarn, tarn_json
from harness.wait import wait_for


def fill(primary, count=60, size=300_000):
    """Files with known contents at the primary."""
    with primary.mount() as here:
        for number in range(count):
            here.path(f"f{number}").write_bytes(load.content(number, size + number))
        with open(here.path("big"), "wb") as file:
            file.write(load.content("big", 70 << 20))
        return read_tree(here.directory)


def objects(bucket):
    """{path below the bucket: bytes} of all blocks."""
    top = bucket / "vol" / "chunks"
    return {str(path.relative_to(top)): path.read_bytes()
            for path in sorted(top.rglob("*_*_*")) if path.is_file()}


def assert_copied(primary, mirror):
    """The mirror's bucket holds exactly the primary's blocks, byte for byte, and no order is left."""
    mirror.wait_caught_up()
    mirror.wait_copied()
    # A lease of somebody who died runs out first.
    wait_for("no order is left",
             lambda: not mirror.value("SELECT count(*) FROM tarn.slice_state"), 120)
    assert objects(mirror.bucket) == objects(primary.bucket)


def assert_serves_alone(primary, mirror, expected):
    """With the origin gone and a cold cache the mirror still reads everything."""
    hide(primary.bucket)
    try:
        with mirror.mount("--read-only") as there:
            assert_same(expected, read_tree(there.directory))
    finally:
        reveal(primary.bucket)


def test_blocks_are_copied_as_they_arrive_and_the_origin_is_not_needed(primary, mirror):
    mirror.start_syncer()
    expected = fill(primary)
    assert_copied(primary, mirror)
    assert_serves_alone(primary, mirror, expected)
    assert_equal_sites(primary, mirror)


def test_history_is_filled_in(primary, mirror_cluster, workdir):
    expected = fill(primary)
    mirror = Mirror(mirror_cluster, primary, workdir).begin()
    try:
        mirror.sync_once()
        assert_copied(primary, mirror)
        assert_serves_alone(primary, mirror, expected)
    finally:
        mirror.agent.stop()
        mirror_cluster.drop_database(mirror.database)


def test_before_the_copy_reads_come_from_the_origin(primary, mirror):
    expected = fill(primary, count=5)
    mirror.wait_caught_up()
    assert not mirror.blocks()
    with mirror.mount("--read-only") as there:
        assert_same(expected, read_tree(there.directory))


def test_a_block_that_is_nowhere_is_an_error_and_never_zeros(primary, mirror):
    fill(primary, count=2)
    mirror.wait_caught_up()
    hide(primary.bucket)
    try:
        with mirror.mount("--read-only") as there:
            with pytest.raises(OSError) as caught:
                there.path("f1").read_bytes()
            assert caught.value.errno == errno.EIO
            assert os.stat(there.path("f1")).st_size == 300_001
            reveal(primary.bucket)
            assert there.path("f1").read_bytes() == load.content(1, 300_001)
    finally:
        if not primary.bucket.exists():
            reveal(primary.bucket)


def test_several_syncers_share_the_work(primary, mirror):
    for _ in range(3):
        mirror.start_syncer("--workers", "4")
    fill(primary, count=150, size=50_000)
    assert_copied(primary, mirror)
    assert all(syncer.is_running() for syncer in mirror.syncers)
    assert_equal_sites(primary, mirror)


def test_a_killed_syncer_leaves_only_whole_blocks_and_the_next_one_finishes(primary, mirror):
    expected = fill(primary, count=200, size=200_000)
    mirror.wait_caught_up()
    total = len(mirror.expected_blocks())
    for part in (1, 2, 3):
        syncer = mirror.start_syncer("--workers", "2")
        wait_for("some blocks are copied", lambda: len(mirror.blocks()) >= total * part // 5, 60)
        syncer.kill9()
        assert_whole(mirror)
        forget_leases(mirror)
    mirror.start_syncer()
    assert_copied(primary, mirror)
    assert_serves_alone(primary, mirror, expected)


def assert_whole(mirror):
    """No block is shorter than its name says (plain volumes: object bytes are block bytes)."""
    for name, size in mirror.blocks().items():
        assert size == int(name.split("_")[2]), f"{name} has {size} bytes"


def forget_leases(mirror):
    """As if the lease time had passed."""
    with mirror.cluster.connect(mirror.database) as db:
        db.execute("UPDATE tarn.slice_state SET leased_until = now() - interval '1 second'"
                   " WHERE leased_until IS NOT NULL")


def test_a_stalled_syncer_that_wakes_up_cannot_commit_with_its_old_lease(primary, mirror):
    fill(primary, count=200, size=200_000)
    mirror.wait_caught_up()
    total = len(mirror.expected_blocks())
    stalled = mirror.start_syncer("--workers", "2")
    wait_for("it has begun", lambda: len(mirror.blocks()) >= total // 10, 60)
    stalled.process.send(signal.SIGSTOP)
    forget_leases(mirror)
    mirror.start_syncer()
    assert_copied(primary, mirror)
    stalled.process.send(signal.SIGCONT)
    with primary.mount() as here:
        here.path("one more").write_bytes(b"x" * 100_000)
    assert_copied(primary, mirror)
    assert_equal_sites(primary, mirror)


def test_a_stalled_syncer_that_wakes_up_after_a_removal_leaves_nothing(primary, mirror):
    with primary.mount() as here:
        here.path("big").write_bytes(load.content("big", 60 << 20))
    mirror.wait_caught_up()
    # Slow enough to be stopped in the middle, however busy the machine is with other things.
    stalled = mirror.start_syncer("--workers", "1",
                                  env={"TARN_FAULT": "get:delay:1,head:delay:1,put:delay:1"})
    wait_for("it has begun", lambda: len(mirror.blocks()) >= 1, interval=0.001)
    stalled.process.send(signal.SIGSTOP)
    forget_leases(mirror)
    mirror.start_syncer()
    assert_copied(primary, mirror)
    with primary.cluster.connect(primary.database) as db:
        db.execute("DELETE FROM jfs_chunk_ref")
    mirror.wait_caught_up()
    wait_for("the slice is removed", lambda: not mirror.blocks(), 60)
    stalled.process.send(signal.SIGCONT)
    wait_for("it has noticed", lambda: "another worker" in stalled.process.log(), 60)
    wait_for("what it stored late is removed", lambda: not mirror.blocks() and not mirror.value(
        "SELECT count(*) FROM tarn.slice_state"), 60)


def test_a_fence_is_not_given_out_twice(primary, mirror):
    fill(primary, count=1)
    mirror.wait_caught_up()
    lease = "SELECT slice, fence FROM tarn_1.slice_lease(1, 60) WHERE want = %s"
    ((slice_id, first),) = mirror.query(lease, ["copy"])
    assert mirror.value("SELECT tarn_1.slice_done(%s, %s, 'copy')", [slice_id, first]) == "done"
    mirror.query("UPDATE tarn.slice_state SET not_before = now() + interval '1 hour'")
    delete_slices(primary, [slice_id])
    mirror.wait_caught_up()
    ((again, second),) = mirror.query(lease, ["delete"])
    assert (again, second != first) == (slice_id, True)
    assert not mirror.value("SELECT tarn_1.slice_fail(%s, %s, 'late', 1)", [slice_id, first])


def test_a_slice_that_is_deleted_while_it_waits_leaves_nothing(primary, mirror):
    fill(primary, count=10)
    mirror.wait_caught_up()
    doomed = [row[0] for row in primary.query(
        "SELECT chunkid FROM jfs_chunk_ref ORDER BY chunkid LIMIT 5")]
    delete_slices(primary, doomed)
    mirror.wait_caught_up()
    mirror.start_syncer()
    wait_for("no order is left", lambda: not mirror.value("SELECT count(*) FROM tarn.slice_state"),
             60)
    mirror.wait_copied()
    left = {int(name.split("_")[0]) for name in mirror.blocks()}
    assert not left & set(doomed)


def test_a_deleted_slice_loses_its_local_blocks(primary, mirror):
    fill(primary, count=10)
    mirror.start_syncer()
    assert_copied(primary, mirror)
    doomed = [row[0] for row in primary.query(
        "SELECT chunkid FROM jfs_chunk_ref ORDER BY chunkid LIMIT 5")]
    delete_slices(primary, doomed)
    wait_for("the local blocks are gone", lambda: not (
        {int(name.split("_")[0]) for name in mirror.blocks()} & set(doomed)), 60)
    # A lease of somebody who died runs out first.
    wait_for("no order is left",
             lambda: not mirror.value("SELECT count(*) FROM tarn.slice_state"), 120)


def delete_slices(primary, slices):
    """What garbage collection does in the end: the objects, then the reference rows."""
    for name in primary.blocks():
        if int(name.split("_")[0]) in slices:
            for path in primary.bucket.rglob(name):
                path.unlink()
    with primary.cluster.connect(primary.database) as db:
        db.execute("DELETE FROM jfs_chunk_ref WHERE chunkid = ANY(%s)", [slices])


def test_a_damaged_origin_block_is_not_copied(primary, mirror):
    fill(primary, count=3)
    mirror.wait_caught_up()
    name = next(name for name in primary.blocks() if name.endswith("_300001"))
    (damaged,) = primary.bucket.rglob(name)
    good = damaged.read_bytes()
    damaged.write_bytes(good[:1000] + bytes([good[1000] ^ 1]) + good[1001:])
    mirror.start_syncer()
    others = mirror.expected_blocks() - {name}
    wait_for("the other blocks are copied", lambda: not others - mirror.blocks().keys(), 60)
    wait_for("the order has failed at least once",
             lambda: mirror.value("SELECT max(attempts) FROM tarn.slice_state"), 60)
    assert name not in mirror.blocks()
    damaged.write_bytes(good)
    with mirror.cluster.connect(mirror.database) as db:
        db.execute("UPDATE tarn.slice_state SET not_before = now()")
    assert_copied(primary, mirror)


def test_sums_that_make_no_sense_are_a_listed_failure(primary, mirror):
    with primary.mount() as here:
        here.path("f").write_bytes(load.content(1, 100_000))
    mirror.wait_caught_up()
    with mirror.cluster.connect(mirror.database) as db:
        db.execute("UPDATE tarn.block_sum SET sums = '\\x010203'")
    mirror.start_syncer()
    wait_for("the order is listed as failing",
             lambda: mirror.value("SELECT last_error FROM tarn.slice_state"), 60)
    assert "malformed" in mirror.value("SELECT last_error FROM tarn.slice_state")
    assert not mirror.blocks()


def test_the_mirror_postgresql_restarts_under_the_syncer(primary, mirror):
    mirror.start_syncer()
    fill(primary, count=100, size=100_000)
    mirror.cluster.restart("immediate")
    assert_copied(primary, mirror)
    assert_equal_sites(primary, mirror)


def test_a_full_local_bucket_is_waited_out(primary, mirror_cluster, workdir):
    disk = workdir / "small"
    disk.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", disk])
    mirror = Mirror(mirror_cluster, primary, workdir)
    mirror.bucket = disk / "bucket"
    mirror.begin()
    try:
        with primary.mount() as here:
            for number in range(6):
                here.path(f"f{number}").write_bytes(load.content(number, 2 << 20))
        mirror.wait_caught_up()
        syncer = mirror.start_syncer()
        wait_for("it has met the full disk",
                 lambda: mirror.value("SELECT max(attempts) FROM tarn.slice_state"), 60)
        assert syncer.is_running()
        assert_whole(mirror)
        run(["mount", "-o", "remount,size=64m", disk])
        with mirror.cluster.connect(mirror.database) as db:
            db.execute("UPDATE tarn.slice_state SET not_before = now()")
        assert_copied(primary, mirror)
    finally:
        mirror.end()
        mirror_cluster.drop_database(mirror.database)
        run(["umount", "-l", disk], check=False)


def test_the_status_counts_what_is_left(primary, mirror):
    fill(primary, count=20)
    mirror.wait_caught_up()
    before = tarn_json("syncer", "status", mirror.url)
    mirror.sync_once()
    after = tarn_json("syncer", "status", mirror.url)
    assert before != after
    assert tarn("syncer", "status", mirror.url).stdout.strip()
    assert tarn("syncer", "status", primary.url, check=False).returncode == NOT_READY


def test_writing_goes_on_while_everything_follows(primary, mirror):
    mirror.start_syncer()
    with primary.mount() as here:
        workers = load.begin(here.directory, 3, largest=300_000)
        wait_for("enough was written", lambda: sum(w.operations for w in workers) > 300, 120)
        load.finish(workers)
    mirror.wait_caught_up()
    mirror.wait_copied()
    with mirror.mount("--read-only") as there:
        expected = read_tree(there.directory)
        for worker in workers:
            worker.check(there.directory)
    assert_serves_alone(primary, mirror, expected)
    assert_equal_sites(primary, mirror)
