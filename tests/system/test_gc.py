"""tarn gc: finds what leaked, deletes that and nothing else, and nothing at all when in doubt."""

import json
import os
import threading
import time

import pytest

from harness.check import assert_consistent
from harness.process import run
from harness.volume import BIN, FAILED, NOT_READY, STORE, UNREACHABLE, tarn, tarn_json
from harness.wait import wait_for

HOUR = 3600


def gc(volume, *options, skip=0, env=None, check=True):
    """The report of a run; skip: JFS_GC_SKIPPEDTIME."""
    done = run([BIN / "tarn", "gc", volume.url, "--json", *options], check=check,
               env={"JFS_GC_SKIPPEDTIME": str(skip), **(env or {})}, timeout=120)
    return json.loads(done.stdout) if done.returncode == 0 else done


def plant(volume, slice_id, indx=0, size=4096, age=2 * HOUR):
    """An object that nobody asks for."""
    directory = volume.bucket / volume.name / "chunks" / str(slice_id // 10**6) / str(
        slice_id // 1000)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{slice_id}_{indx}_{size}"
    path.write_bytes(b"x" * size)
    os.utime(path, (time.time() - age,) * 2)
    return path


@pytest.fixture
def filled(volume):
    """A volume with some files, at rest; its slice counter has moved on."""
    with volume.mount() as mount:
        for i in range(20):
            mount.path(f"f{i}").write_bytes(os.urandom(20_000))
        mount.path("big").write_bytes(os.urandom(9 << 20))
    return volume


def test_a_clean_volume_has_nothing_leaked(filled):
    report = gc(filled)
    assert report["leaked"]["objects"] == 0
    assert report["valid"]["objects"] == len(filled.blocks())


def test_leaked_objects_are_found_and_deleted_and_all_others_stay(filled):
    good = filled.blocks()
    unknown = plant(filled, 3000)
    used = filled.value("SELECT min(chunkid) FROM jfs_chunk_ref WHERE refs > 0 AND size = 20000")
    too_far = plant(filled, used, indx=1)
    wrong_size = plant(filled, used, indx=0, size=19_999)
    foreign = filled.bucket / filled.name / "chunks" / "0" / "0" / "notes.txt"
    foreign.write_text("mine")

    report = gc(filled)
    assert report["leaked"]["objects"] == 3 and report["foreign"]["objects"] == 1
    assert unknown.exists(), "without --delete nothing is written"

    report = gc(filled, "--delete")
    assert report["deleted"]["objects"] == 3
    assert not unknown.exists() and not too_far.exists() and not wrong_size.exists()
    assert foreign.exists() and filled.blocks() == good
    assert gc(filled)["leaked"]["objects"] == 0


def test_young_objects_and_later_numbers_stay(filled):
    young = plant(filled, 3000, age=60)
    later = plant(filled, filled.value("SELECT value FROM jfs_counter WHERE name = 'nextChunk'"))
    report = gc(filled, "--delete", skip=HOUR)
    assert report["leaked"]["objects"] == 0
    gc(filled, "--delete", skip=0)
    assert later.exists() and not young.exists()


def test_while_sessions_exist_the_hour_stands(filled):
    young = plant(filled, 3000, age=60)
    with filled.mount() as mount:
        report = gc(filled, "--delete", skip=0)
        assert report["skipped_seconds"] == HOUR and young.exists()
        assert mount.path("big").stat().st_size == 9 << 20
    gc(filled, "--delete", skip=0)
    assert not young.exists()


def test_a_listing_that_fails_deletes_nothing(filled):
    leaked = plant(filled, 3000)
    failed = gc(filled, "--delete", env={"TARN_FAULT": "list:unavailable:1"}, check=False)
    assert failed.returncode == UNREACHABLE and "nothing is deleted" in failed.stderr
    assert leaked.exists()


def test_a_directory_that_cannot_be_listed_deletes_nothing(filled):
    leaked = plant(filled, 3000)
    deep = filled.bucket / filled.name / "chunks" / "9"
    # A listing that meets a tree deeper than any key gives up, after it has shown the rest.
    for _ in range(70):
        deep = deep / "d"
    deep.mkdir(parents=True)
    failed = gc(filled, "--delete", check=False)
    assert failed.returncode != 0 and "nothing is deleted" in failed.stderr
    assert leaked.exists()


def test_another_volumes_bucket_is_not_touched(filled):
    leaked = plant(filled, 3000)
    identity = filled.bucket / filled.name / "juicefs_uuid"
    mine = identity.read_bytes()
    identity.write_text("11111111-2222-4333-8444-555555555555")
    failed = gc(filled, "--delete", check=False)
    assert failed.returncode == STORE and leaked.exists()
    identity.write_bytes(mine)
    gc(filled, "--delete")
    assert not leaked.exists()


def test_a_database_that_is_behind_its_bucket_deletes_nothing(filled):
    leaked = plant(filled, 3000)
    mark = filled.bucket / filled.name / "tarn" / "epoch"
    mark.parent.mkdir(exist_ok=True)
    system = filled.value("SELECT system_identifier FROM tarn.site")
    mark.write_text(json.dumps({"epoch": 7, "system_identifier": system, "timeline": 1,
                                "next_chunk": 10**6}))
    failed = gc(filled, "--delete", check=False)
    assert failed.returncode == FAILED and "behind its bucket" in failed.stderr
    assert leaked.exists()


def test_a_lost_count_is_no_order_to_delete_data(filled):
    good = filled.blocks()
    with filled.cluster.connect(filled.database) as db:
        db.execute("DELETE FROM jfs_chunk_ref WHERE chunkid IN"
                   " (SELECT chunkid FROM jfs_chunk_ref ORDER BY size DESC LIMIT 3)")
        db.execute("UPDATE jfs_chunk_ref SET size = 12345 WHERE chunkid ="
                   " (SELECT min(chunkid) FROM jfs_chunk_ref)")
    report = gc(filled, "--delete")
    assert report["leaked"]["objects"] == 0
    assert filled.blocks() == good


def test_a_read_only_role_is_enough_to_look(filled):
    with filled.cluster.connect(filled.database) as db:
        db.execute("CREATE ROLE looker LOGIN")
        db.execute("GRANT pg_read_all_data TO looker")
        db.execute("GRANT USAGE ON SCHEMA tarn, tarn_1 TO looker")
        db.execute("ALTER ROLE looker SET default_transaction_read_only = on")
    try:
        url = filled.cluster.url(filled.database, user="looker")
        assert "0 leaked" in tarn("gc", url).stdout
    finally:
        with filled.cluster.connect(filled.database) as db:
            db.execute("DROP OWNED BY looker")
            db.execute("DROP ROLE looker")


def test_a_writer_beside_it_loses_nothing(volume):
    """Collections in a row, asked to spare no second, beside a mount that writes and overwrites."""
    stop = threading.Event()
    wrong = []

    def write(mount, number):
        kept = {}
        while not stop.is_set():
            name = f"w{number}-{len(kept) % 30}"
            data = os.urandom(5000 + len(kept))
            mount.path(name).write_bytes(data)
            kept[name] = data
        wrong.extend(n for n, d in kept.items() if mount.path(n).read_bytes() != d)

    with volume.mount() as mount:
        threads = [threading.Thread(target=write, args=(mount, i)) for i in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(5):
            gc(volume, "--delete", skip=0)
        stop.set()
        for thread in threads:
            thread.join()
    assert not wrong
    assert not volume.expected_blocks() - volume.blocks().keys()
    assert_consistent(volume)


def test_what_waits_is_deleted_and_crowded_chunks_are_compacted(volume):
    with volume.mount("--no-bgjob") as mount:
        with open(mount.path("f"), "wb") as file:
            for i in range(4):  # a reader compacts from five records on
                file.seek(i * 1000)
                file.write(bytes([i]) * 1000)
                os.fsync(file.fileno())
        mount.path("gone").write_bytes(b"x" * 5000)
        mount.path("gone").unlink()
        expected = mount.path("f").read_bytes()
    records = "SELECT octet_length(slices) / 24 FROM jfs_chunk ORDER BY 1 DESC LIMIT 1"
    assert volume.value(records) >= 2
    with volume.cluster.connect(volume.database) as db:
        db.execute("UPDATE jfs_edge SET name = '2001-01-01-01' WHERE parent = 9223372032828243968")
        db.execute("INSERT INTO jfs_chunk_ref VALUES (900, 4096, 0)")
    pending = plant(volume, 900)

    report = gc(volume)
    assert report["trash_entries"] == 1 and report["unreferenced_slices"]["objects"] == 1
    report = gc(volume, "--compact")
    assert report["compacted_chunks"] == 1 and volume.value(records) == 1
    report = gc(volume, "--delete")
    assert report["purged"] > 0 and report["trash_entries"] == 0 and not pending.exists()
    assert report["compacted"]["objects"] > 0, "what was replaced waits as long as the trash does"
    assert volume.value("SELECT count(*) FROM jfs_delfile") == 0
    with volume.mount() as mount:
        assert mount.path("f").read_bytes() == expected
        assert not mount.path("gone").exists()
    assert gc(volume)["leaked"]["objects"] == 0
    assert tarn("fsck", volume.url, "--checksum", "--settle", "0s").returncode == 0


def test_while_the_agent_runs_the_hour_stands(primary):
    wait_for("the agent runs",
             lambda: tarn_json("primary", "status", primary.url)["agent_running"])
    young = plant(primary, 3000, age=60)
    with primary.cluster.connect(primary.database) as db:
        db.execute("UPDATE jfs_counter SET value = 5000 WHERE name = 'nextChunk'")
    assert gc(primary, "--delete", skip=0)["skipped_seconds"] == HOUR, "it may be compacting"
    assert young.exists()
    primary.agent.stop()
    # The agent is known by a lock that goes when PostgreSQL has noticed its end.
    wait_for("the hour is over",
             lambda: gc(primary, "--delete", skip=0)["skipped_seconds"] == 0)
    assert not young.exists()


def test_an_object_waits_for_a_mirror_that_is_behind(primary, mirror, link):
    leaked = plant(primary, 3000)
    wait_for("slice numbers were handed out", lambda: primary.value(
        "UPDATE jfs_counter SET value = greatest(value, 5000) WHERE name = 'nextChunk'"
        " RETURNING true"))
    link.refuse()
    failed = gc(primary, "--delete", "--mirror-wait", "1s", check=False)
    assert failed.returncode == UNREACHABLE and "away" in failed.stderr
    assert leaked.exists()
    link.accept()
    gc(primary, "--delete")
    assert not leaked.exists()
    # One that was silent for longer than deletions wait is waited for no longer.
    leaked = plant(primary, 3001)
    link.refuse()
    with primary.cluster.connect(primary.database) as db:
        db.execute("UPDATE tarn.follower SET moved_at = now() - interval '8 days',"
                   " confirmed = pg_current_wal_lsn() + 1000000")
    gc(primary, "--delete", "--mirror-wait", "1s")
    assert not leaked.exists()
    link.accept()
    refused = gc(mirror, "--delete", check=False)
    assert refused.returncode == NOT_READY
