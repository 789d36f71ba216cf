"""The upkeep of a volume: what was removed goes away, chunks are compacted, and nothing else does."""

import contextlib
import fcntl
import hashlib
import os
import random
from pathlib import Path

import pytest

from harness.check import assert_consistent
from harness.process import run
from harness.site import Primary, hide, reveal
from harness.volume import TRASH_INODE, tarn, tarn_json
from harness.wait import wait_for

MIB = 1 << 20
GATES = ("lastCleanupSessions", "lastCleanupFiles", "nextCleanupSlices", "lastCleanupTrash",
         "lastCleanupChangelog")


def make_volume(cluster, workdir, *options):
    primary = Primary(cluster, "vol", workdir)
    primary.format(*options)
    return primary


def make_volume_on_tmpfs(cluster, workdir, mib):
    volume = Primary(cluster, "vol", workdir)
    volume.bucket.mkdir()
    run(["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", volume.bucket])
    return volume.format("--trash-days", "0")


def open_gates(volume):
    """Every job is due: the next client that looks does it."""
    for gate in GATES:
        volume.query("INSERT INTO jfs_counter (name, value) VALUES (%s, 0)"
                     " ON CONFLICT (name) DO UPDATE SET value = 0 RETURNING 1", [gate])
    volume.query("UPDATE tarn.upkeep_run SET started_at = '-infinity' RETURNING 1")


def last_run(volume, job):
    return volume.value("SELECT ended_at FROM tarn.upkeep_run WHERE job = %s AND is_ok", [job])


def run_jobs(volume, *names, env=None, timeout=60):
    """Have an agent do these jobs, all of them without a failure, and end."""
    before = {name: last_run(volume, name) for name in names}
    open_gates(volume)
    volume.agent.env = env
    volume.begin_agent()
    wait_for(f"jobs {names} have run", lambda: all(
        last_run(volume, name) not in (None, before[name]) for name in names), timeout)
    volume.end()


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


def crowd(volume, size=MIB, count=12, seed=2):
    """A file with many records, written by a mount that leaves them; its digest."""
    with volume.mount("--no-bgjob") as mount:
        mount.path("f").write_bytes(random.Random(seed).randbytes(size))
        overwrite(mount.path("f"), count, seed, size, at_most=size // 4)
    with volume.mount("--read-only") as mount:
        return digest(mount.path("f"))


def assert_reads_as(volume, expected):
    with volume.mount("--read-only") as mount:
        assert digest(mount.path("f")) == expected


def test_500_small_overwrites_become_few_records_and_read_the_same(cluster, workdir):
    volume = make_volume(cluster, workdir, "--trash-days", "0")
    with volume.mount() as mount:
        path = mount.path("f")
        path.write_bytes(random.Random(1).randbytes(MIB))
        overwrite(path, 500, seed=2)
        before = digest(path)
        wait_for("the chunk has few records", lambda: max(records(volume, "f")) < 200)
    run_jobs(volume, "compaction")
    run_jobs(volume, "slices")
    wait_gone(volume)
    assert_reads_as(volume, before)
    assert_consistent(volume)


def test_a_reader_has_a_crowded_chunk_compacted_and_the_trash_keeps_what_it_replaced(
        cluster, workdir):
    volume = make_volume(cluster, workdir)
    before = crowd(volume)
    was = records(volume, "f")
    with volume.mount() as mount:
        assert digest(mount.path("f")) == before
        wait_for("the chunk is compacted", lambda: records(volume, "f") == [1])
        assert digest(mount.path("f")) == before
    assert was[0] == 13
    assert volume.value("SELECT octet_length(slices) / 12 FROM jfs_delslices") == 13
    assert volume.blocks().keys() == volume.expected_blocks()
    assert_consistent(volume)


@pytest.mark.skipif(not os.environ.get("TARN_LONG"), reason="stores 3000 blocks: TARN_LONG=1")
def test_thousands_of_writes_to_one_chunk_outrun_nobody(cluster, workdir):
    volume = make_volume(cluster, workdir, "--trash-days", "0")
    shadow, rng = workdir / "shadow", random.Random(3)
    with volume.mount() as mount:
        for path in (shadow, mount.path("f")):
            path.write_bytes(bytes(8 * MIB))
        with open(shadow, "r+b", buffering=0) as one, \
                open(mount.path("f"), "r+b", buffering=0) as other:
            for number in range(3000):
                at, data = rng.randrange(8 * MIB - 3000), rng.randbytes(rng.randrange(1, 3000))
                for file in (one, other):
                    os.pwrite(file.fileno(), data, at)
                if number % 300 == 299:
                    os.fsync(other.fileno())
        assert digest(mount.path("f")) == digest(shadow)
    assert_reads_as(volume, digest(shadow))
    run_jobs(volume, "compaction")
    assert max(records(volume, "f")) < 100
    run_jobs(volume, "slices")
    assert_reads_as(volume, digest(shadow))
    wait_gone(volume)
    assert_consistent(volume)


def test_an_agent_that_dies_while_it_deletes_leaves_the_rest_to_the_next(cluster, workdir):
    volume = make_volume(cluster, workdir)
    with volume.mount() as mount:
        for number in range(40):
            mount.path(f"f{number}").write_bytes(os.urandom(10_000))
            mount.path(f"f{number}").unlink()
    volume.query("UPDATE jfs_edge SET name = '2020-01-01-00' WHERE parent = %s RETURNING 1",
                 [TRASH_INODE])
    open_gates(volume)
    volume.agent.env = {"TARN_FAULT": "remove:delay:1"}
    volume.begin_agent()
    wait_for("it has begun to delete", lambda: len(volume.blocks()) < 40, interval=0.005)
    volume.agent.kill9()
    volume.query("UPDATE tarn.doomed SET leased_until = '-infinity' RETURNING 1")
    run_jobs(volume, "trash", "slices", "files")
    wait_gone(volume)
    assert volume.value("SELECT count(*) FROM jfs_chunk_ref") == 0
    assert_consistent(volume)


def test_a_compactor_that_dies_leaves_the_file_as_it_was(cluster, workdir):
    volume = make_volume(cluster, workdir, "--trash-days", "0", "--block-size", "64K")
    before = crowd(volume, size=4 * MIB, count=8)
    was = records(volume, "f"), volume.expected_blocks()
    slow = volume.mount(env={"TARN_FAULT": "put:delay:1"}).start()
    assert digest(slow.path("f")) == before
    wait_for("it has stored something", lambda: volume.blocks().keys() - was[1])
    slow.kill9()
    assert (records(volume, "f"), volume.expected_blocks()) == was
    assert_reads_as(volume, before)
    assert_consistent(volume)
    with volume.mount() as mount:  # somebody else does it
        assert digest(mount.path("f")) == before
        wait_for("the chunk is compacted", lambda: records(volume, "f") < was[0])
    assert_reads_as(volume, before)
    assert_consistent(volume)


def test_two_compactors_and_a_writer_at_the_same_chunk_lose_nothing(cluster, workdir):
    volume = make_volume(cluster, workdir, "--trash-days", "0")
    shadow = workdir / "shadow"
    with volume.mount() as one, volume.mount() as two, volume.mount("--no-bgjob") as writer:
        for path in (shadow, writer.path("f")):
            path.write_bytes(random.Random(1).randbytes(MIB))
        for turn in range(12):
            for path in (shadow, writer.path("f")):
                overwrite(path, 6, seed=turn)
            for mount in (one, two):
                mount.path("f").read_bytes()
        wait_for("compactors have been there", lambda: max(records(volume, "f")) < 60)
    assert_reads_as(volume, digest(shadow))
    run_jobs(volume, "slices")
    wait_gone(volume)
    assert_consistent(volume)


def test_a_reader_with_an_old_list_of_slices_goes_on_after_their_objects_are_deleted(
        cluster, workdir):
    volume = make_volume(cluster, workdir, "--trash-days", "0")
    before = crowd(volume, size=8 * MIB, count=8)
    was = volume.blocks().keys()
    with volume.mount("--read-only", "--cache-size", "0") as reader, \
            open(reader.path("f"), "rb", buffering=0) as file:
        head = file.read(4096)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        with volume.mount() as mount:
            assert digest(mount.path("f")) == before
            wait_for("the old objects are deleted", lambda: not was & volume.blocks().keys())
        rest = b"".join(iter(lambda: file.read(65536), b""))
    assert hashlib.sha256(head + rest).hexdigest() == before


def test_a_full_bucket_stops_compaction_and_nothing_else(cluster, workdir):
    volume = make_volume_on_tmpfs(cluster, workdir, 12)
    before = crowd(volume, size=3 * MIB, count=6)
    was = records(volume, "f")
    filler = volume.bucket / "filler"
    with contextlib.suppress(OSError), open(filler, "wb") as file:
        for _ in range(64):
            file.write(bytes(MIB))
    with volume.mount() as mount:
        assert digest(mount.path("f")) == before
        wait_for("a compaction was in vain",
                 lambda: "stays as it is" in Path(mount.log_path).read_text())
        assert records(volume, "f") == was
    filler.unlink()
    run_jobs(volume, "slices")
    wait_gone(volume)
    with volume.mount() as mount:
        assert digest(mount.path("f")) == before
        wait_for("the chunk is compacted", lambda: records(volume, "f") < was)
    assert_reads_as(volume, before)
    assert_consistent(volume)


def test_a_store_that_fails_now_and_then_delays_deletion_and_compaction_only(cluster, workdir):
    volume = make_volume(cluster, workdir, "--trash-days", "0")
    before = crowd(volume)
    faults = {"TARN_FAULT": "remove:unavailable:0.3,put:lost:0.2,get:unavailable:0.2"}
    with volume.mount(env=faults) as mount:
        for number in range(10):
            mount.path(f"g{number}").write_bytes(os.urandom(100_000))
            mount.path(f"g{number}").unlink()
        assert digest(mount.path("f")) == before
        wait_for("the chunk is compacted", lambda: records(volume, "f") == [1])
    run_jobs(volume, "slices", env=faults)
    wait_gone(volume)
    assert_reads_as(volume, before)
    assert_consistent(volume)


def test_with_the_bucket_away_nothing_is_forgotten(cluster, workdir):
    volume = make_volume(cluster, workdir, "--trash-days", "0")
    with volume.mount() as mount:
        mount.path("f").write_bytes(os.urandom(100_000))
        hide(volume.bucket)
        volume.bucket.mkdir()  # as a directory that is not mounted
        mount.path("f").unlink()
        wait_for("the slice is doomed", lambda: volume.value("SELECT count(*) FROM tarn.doomed"))
        wait_for("somebody has looked", lambda: volume.value(
            "SELECT leased_until > '-infinity' FROM tarn.doomed"))
        assert volume.value("SELECT refs FROM jfs_chunk_ref") == 0
        volume.bucket.rmdir()
        reveal(volume.bucket)
    volume.query("UPDATE tarn.doomed SET leased_until = '-infinity' RETURNING 1")
    run_jobs(volume, "slices")
    wait_gone(volume)
    assert volume.value("SELECT count(*) FROM jfs_chunk_ref") == 0


def test_an_old_hour_of_the_trash_goes_with_its_objects(cluster, workdir):
    volume = make_volume(cluster, workdir)
    with volume.mount() as mount:
        for number in range(20):
            mount.path(f"f{number}").write_bytes(os.urandom(50_000))
        mount.path("kept").write_bytes(b"kept")
        for number in range(20):
            mount.path(f"f{number}").unlink()
    volume.query("UPDATE jfs_edge SET name = '2020-01-01-00' WHERE parent = %s RETURNING 1",
                 [TRASH_INODE])
    run_jobs(volume, "trash")
    wait_gone(volume)
    assert len(volume.blocks()) == 1
    assert_consistent(volume)
    status = {job["job"]: job for job in tarn_json("status", volume.url)["upkeep"]["jobs"]}
    assert status["trash"]["ok"]
    assert status["trash"]["items"] >= 20
    assert "trash" in tarn("status", volume.url).stdout


def test_what_a_killed_mount_held_is_let_go_of(cluster, workdir):
    volume = make_volume(cluster, workdir, "--trash-days", "0")
    mount = volume.mount().start()
    with contextlib.suppress(OSError), open(mount.path("f"), "wb", buffering=0) as file:
        file.write(os.urandom(100_000))
        os.fsync(file.fileno())
        fcntl.flock(file, fcntl.LOCK_EX)
        mount.path("f").unlink()
        wait_for("usage is flushed", lambda: volume.value(
            "SELECT value FROM jfs_counter WHERE name = 'totalInodes'") == 1)
        assert volume.value("SELECT count(*) FROM jfs_sustained") == 1
        mount.process.kill()
    mount.kill9()
    volume.query("UPDATE jfs_session2 SET expire = 1 RETURNING 1")
    run_jobs(volume, "sessions")
    wait_gone(volume)
    for table in ("jfs_session2", "jfs_sustained", "jfs_flock", "tarn.slot", "jfs_chunk_ref"):
        assert volume.value(f"SELECT count(*) FROM {table}") == 0, table
    assert_consistent(volume)


@pytest.mark.skipif(not os.environ.get("TARN_LONG"), reason="takes two minutes: TARN_LONG=1")
def test_wrong_statistics_of_a_directory_are_mended_after_a_while(cluster, workdir):
    volume = make_volume(cluster, workdir)
    with volume.mount() as mount:
        mount.path("d").mkdir()
        mount.path("d", "f").write_bytes(b"x" * 10_000)
    volume.query("UPDATE jfs_dir_stats SET used_space = 5, used_inodes = 77 RETURNING 1")
    run_jobs(volume, "dir-stats", timeout=180)
    assert_consistent(volume)


# ---- mirrors


def test_what_a_mirror_may_still_need_is_deleted_when_it_has_caught_up(primary, mirror, link):
    primary.query("UPDATE jfs_setting SET value = replace(value, '\"TrashDays\": 1',"
                  " '\"TrashDays\": 0') RETURNING 1")
    with primary.mount() as here:
        here.path("f").write_bytes(os.urandom(300_000))
        here.path("kept").write_bytes(b"kept")
        expected = digest(here.path("f"))
        mirror.wait_caught_up()
        was = primary.blocks().keys()
        link.refuse()
        here.path("f").unlink()
        wait_for("its slice is doomed", lambda: primary.value("SELECT count(*) FROM tarn.doomed"))
        wait_for("and has been looked at more than once", lambda: primary.value(
            "SELECT before IS NOT NULL FROM tarn.follower"))
        with mirror.mount("--read-only") as there:
            assert digest(there.path("f")) == expected
        assert primary.blocks().keys() == was
        link.accept()
        wait_for("the objects are deleted", lambda: len(primary.blocks()) == 1, 60)
        wait_for("nothing is doomed",
                 lambda: not primary.value("SELECT count(*) FROM tarn.doomed"))


def test_a_mirror_that_is_lost_for_long_is_not_waited_for_any_more(primary, mirror, link):
    with primary.mount() as here:
        here.path("f").write_bytes(os.urandom(300_000))
        mirror.wait_caught_up()
        link.refuse()
        primary.query("UPDATE jfs_chunk_ref SET refs = 0 RETURNING 1")
        primary.query("INSERT INTO tarn.doomed (slice, size) SELECT chunkid, size"
                      " FROM jfs_chunk_ref RETURNING 1")
        wait_for("it was looked at", lambda: primary.value("SELECT count(*) FROM tarn.follower"))
        assert len(primary.blocks()) == 1
        # Eight days later: whoever looks finds that it has not moved.
        primary.query("UPDATE tarn.follower SET moved_at = moved_at - interval '8 days',"
                      " confirmed = 'FFFFFFFF/0' RETURNING 1")
        wait_for("the object is deleted", lambda: not primary.blocks(), 60)
        wait_for("somebody says so", lambda: "do not wait for it any more" in Path(
            primary.agent.log).read_text(), 60)
