"""A mirror follows its primary: initial copy, cuts, restarts; equal digests on both sites at the end."""

import errno
import os
import threading

import pytest

from harness import load
from harness.process import Process
from harness.site import Mirror, assert_equal_sites
from harness.tree import assert_same, populate, read_tree
from harness.volume import BIN, DONE, NOT_READY, tarn, tarn_json
from harness.wait import stays, wait_for


def numbers(document, word):
    """Every number in a JSON document whose key contains the word."""
    found = []
    if isinstance(document, dict):
        for key, value in document.items():
            if word in key and isinstance(value, (int, float)) and not isinstance(value, bool):
                found.append(value)
            found += numbers(value, word)
    elif isinstance(document, list):
        for value in document:
            found += numbers(value, word)
    return found


def test_what_is_written_at_the_primary_appears_at_the_mirror(primary, mirror):
    with primary.mount() as here, mirror.mount("--read-only") as there:
        populate(here.directory)
        mirror.wait_caught_up()
        wait_for("the last name is seen", there.path("moved").exists)
        assert there.path("dir/text").read_text() == "hello\n"
        os.rename(here.path("dir"), here.path("renamed"))
        wait_for("the rename is seen", there.path("renamed/text").exists)
    assert_equal_sites(primary, mirror)


def test_history_is_copied_when_a_mirror_joins(primary, mirror_cluster, workdir):
    with primary.mount() as here:
        populate(here.directory)
        for number in range(300):
            here.path(f"old{number}").write_bytes(load.content(number, number * 100))
    mirror = Mirror(mirror_cluster, primary, workdir).begin()
    try:
        assert_equal_sites(primary, mirror)
    finally:
        mirror.agent.stop()
        mirror_cluster.drop_database(mirror.database)


def test_a_mirror_joins_under_load(primary, mirror_cluster, workdir):
    with primary.mount() as here:
        workers = load.begin(here.directory, 2, largest=50_000)
        wait_for("some history", lambda: sum(w.operations for w in workers) > 50, 60)
        mirror = Mirror(mirror_cluster, primary, workdir).begin()
        load.finish(workers)
    try:
        assert_equal_sites(primary, mirror)
        with mirror.mount("--read-only") as there:
            for worker in workers:
                worker.check(there.directory)
    finally:
        mirror.agent.stop()
        mirror_cluster.drop_database(mirror.database)


def test_a_mirror_is_not_mounted_before_it_is_consistent(primary, mirror_cluster, workdir):
    with primary.mount() as here:
        populate(here.directory)
    mirror = Mirror(mirror_cluster, primary, workdir)
    mirror.bucket.mkdir()
    (workdir / "early").mkdir()
    with primary.cluster.connect(primary.database) as db, \
            mirror.cluster.connect(mirror.database) as there:
        joining = Process([BIN / "tarn", "mirror", "join", "--primary", primary.url, "--name", "away",
                           "--bucket", f"{mirror.bucket}/", "--origin", f"{primary.bucket}/",
                           mirror.url], workdir / "join.log")
        wait_for("the subscription is made", lambda: there.execute(
            "SELECT count(*) FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database"
            " WHERE datname = current_database())").fetchone()[0], interval=0.001)
        # From now on nobody can copy the table while we hold it.
        db.execute("BEGIN")
        db.execute("LOCK TABLE tarn.job IN ACCESS EXCLUSIVE MODE")
        wait_for("the site is known", lambda: mirror.value(
            "SELECT to_regclass('tarn.local_site') IS NOT NULL")
            and mirror.value("SELECT count(*) FROM tarn.local_site"))
        done = tarn("mount", mirror.url, workdir / "early", "--read-only", "--cache-dir",
                    workdir / "early-cache", check=False)
        assert done.returncode == NOT_READY, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        db.execute("ROLLBACK")
    assert joining.wait(120) == DONE, joining.log()
    mirror.agent.start()
    mirror.wait_ready()
    assert_equal_sites(primary, mirror)
    mirror.agent.stop()
    mirror_cluster.drop_database(mirror.database)


def test_a_mirror_mount_is_read_only(primary, mirror):
    with primary.mount() as here:
        here.path("f").write_text("x")
    mirror.wait_caught_up()
    with mirror.mount("--read-only") as there:
        for change in (lambda: there.path("f").write_text("y"), lambda: there.path("d").mkdir(),
                       lambda: os.unlink(there.path("f")), lambda: os.chmod(there.path("f"), 0)):
            with pytest.raises(OSError) as caught:
                change()
            assert caught.value.errno == errno.EROFS
    assert mirror.value("SELECT count(*) FROM jfs_session2") == 0


def cut_and_heal(primary, mirror, cut, heal):
    with primary.mount() as here, mirror.mount("--read-only") as there:
        here.path("before").write_bytes(b"b" * 100_000)
        mirror.wait_caught_up()
        wait_for("the first file is seen", there.path("before").exists)
        cut()
        for number in range(100):
            here.path(f"during{number}").write_bytes(load.content(number, 1000))
        assert there.path("before").read_bytes() == b"b" * 100_000
        assert not there.path("during99").exists()
        wait_for("the lag is shown", lambda: max(numbers(mirror.status(), "second"), default=0) > 0)
        stays("reads go on", lambda: there.path("before").read_bytes() == b"b" * 100_000, 3)
        heal()
        mirror.wait_caught_up(90)
        wait_for("the last file is seen", there.path("during99").exists)
    assert_equal_sites(primary, mirror)


def test_a_cut_line_is_survived_and_caught_up(primary, mirror, link):
    cut_and_heal(primary, mirror, link.refuse, link.accept)


def test_a_black_hole_is_survived_and_caught_up(primary, mirror, link):
    def heal():
        link.release()
        link.cut()
    cut_and_heal(primary, mirror, link.hold, heal)


def test_a_flapping_line_loses_nothing(primary, mirror, link):
    stop = threading.Event()

    def flap():
        while not stop.wait(0.3):
            link.cut_after(20_000)
    flapper = threading.Thread(target=flap)
    with primary.mount() as here:
        workers = load.begin(here.directory, 2, largest=50_000)
        flapper.start()
        wait_for("enough was written", lambda: sum(w.operations for w in workers) > 150, 120)
        load.finish(workers)
        stop.set()
        flapper.join()
        link.cut()
    assert_equal_sites(primary, mirror)


def test_the_status_of_both_sites_shows_the_lag(primary, mirror):
    with primary.mount() as here:
        here.path("f").write_text("x")
    mirror.wait_caught_up()
    seen = mirror.status()
    assert numbers(seen, "byte"), f"no bytes in {seen}"
    assert numbers(seen, "second"), f"no seconds in {seen}"
    assert "lsn" in str(seen).lower(), f"no LSN in {seen}"
    text = tarn("mirror", "status", mirror.url).stdout
    assert mirror.site_name in text
    seen = tarn_json("primary", "status", primary.url)
    assert numbers(seen, "byte"), f"no slot lag in {seen}"


def test_adopting_and_joining_again_changes_nothing(primary, mirror):
    tarn("primary", "adopt", primary.url, "--name", "home")
    done = tarn("mirror", "join", "--primary", primary.url, "--name", "away", "--bucket",
                f"{mirror.bucket}/", mirror.url, check=False)
    assert len(done.stderr.strip().splitlines()) <= 1
    with primary.mount() as here:
        here.path("after").write_text("x")
    assert_equal_sites(primary, mirror)


def test_a_mirror_without_its_daemon_still_serves(primary, mirror):
    with primary.mount() as here:
        here.path("f").write_bytes(b"x" * 1000)
        mirror.wait_caught_up()
        mirror.agent.kill9()
        with mirror.mount("--read-only") as there:
            assert there.path("f").read_bytes() == b"x" * 1000
            here.path("g").write_bytes(b"y" * 1000)
            wait_for("the next file is seen", there.path("g").exists)
    mirror.agent.start()
    assert_equal_sites(primary, mirror)


def test_metadata_that_differs_would_be_noticed(primary, mirror):
    """The comparison at the end of these tests can fail."""
    with primary.mount() as here:
        here.path("f").write_text("x")
    mirror.wait_caught_up()
    with mirror.cluster.connect(mirror.database) as db:
        db.execute("UPDATE jfs_node SET mode = 511 WHERE type = 1")
    with primary.mount("--read-only") as here, mirror.mount("--read-only") as there:
        with pytest.raises(AssertionError):
            assert_same(read_tree(here.directory), read_tree(there.directory))
