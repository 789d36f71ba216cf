"""tarn mirror wait: what a pipeline relies on between a training job and a roll-out.

Most tests share one pair of sites, so that names and markers are each test's own.
"""

import json
import os
import tempfile
import threading
from pathlib import Path

import pytest

from harness import load
from harness.process import Process
from harness.proxy import Proxy
from harness.site import Mirror, Primary
from harness.volume import BIN, DONE, FAILED, NOT_READY, UNREACHABLE, USAGE, tarn, tarn_json
from harness.wait import wait_for
from test_mirror_join import stop_agent

TIMED_OUT = 10
LONG = pytest.mark.skipif(not os.environ.get("TARN_LONG"), reason="TARN_LONG is not set")


class Pair:
    """A primary and a mirror behind a link."""

    def __init__(self, cluster, mirror_cluster, workdir):
        self.primary = Primary(cluster, "vol", workdir).begin()
        self.link = Proxy(cluster.port)
        self.mirror = Mirror(mirror_cluster, self.primary, workdir, name="paired",
                             link=self.link).begin()

    def rest(self):
        """As a test finds it: the line is whole, and no syncer runs."""
        self.link.release()
        self.link.accept()
        self.link.delay(0)
        for syncer in self.mirror.syncers:
            if syncer.is_running():
                syncer.kill9()
        self.mirror.syncers.clear()

    def end(self):
        self.mirror.agent.kill9()
        self.primary.agent.kill9()
        self.link.close()
        for site in (self.mirror, self.primary):
            site.cluster.drop_database(site.database)


@pytest.fixture(scope="module")
def pair_of_module(cluster, mirror_cluster, session_directory):
    workdir = Path(tempfile.mkdtemp(prefix="w-", dir=session_directory))
    workdir.chmod(0o755)
    made = Pair(cluster, mirror_cluster, workdir)
    yield made
    made.end()


@pytest.fixture
def pair(pair_of_module):
    yield pair_of_module
    pair_of_module.rest()


def wait_here(mirror, *arguments, **options):
    options.setdefault("check", False)
    return tarn("mirror", "wait", *arguments, mirror.url, **options)


def refused(done, code, *words):
    assert done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}"
    for word in words:
        assert word in done.stderr.strip().splitlines()[-1], done.stderr


def mark(primary, name):
    return tarn("primary", "mark", name, primary.url).stdout.strip()


def test_a_wait_ends_when_all_of_now_is_here(pair):
    primary, mirror, link = pair.primary, pair.mirror, pair.link
    with primary.mount() as here:
        for number in range(3):
            link.delay(0.3)  # whoever does not wait, looks too early
            here.path(f"now{number}").write_text("x")
            done = wait_here(mirror, "--until-now", "--timeout", "60", "--json")
            assert done.returncode == DONE, done.stderr
            seen = json.loads(done.stdout)
            assert seen["arrived"] and seen["marker"] == "wait/paired"
            assert seen["value"] == mirror.value("SELECT value FROM tarn.mark WHERE name = 'wait/paired'")
            assert mirror.value("SELECT count(*) FROM jfs_edge WHERE name = %s",
                                [f"now{number}".encode()]) == 1


def test_a_marker_stands_for_what_was_before_it(pair):
    primary, mirror, link = pair.primary, pair.mirror, pair.link
    mirror.wait_caught_up()
    link.refuse()
    with primary.mount() as here:
        here.path("trained").write_text("x")
    first = mark(primary, "v7")
    assert first == "v7:1" and mark(primary, "v7") == "v7:2"
    refused(wait_here(mirror, "--marker", first, "--timeout", "1"), TIMED_OUT, "wait/v7")
    done = wait_here(mirror, "--marker", "v7", "--timeout", "1", "--json")
    assert done.returncode == TIMED_OUT and json.loads(done.stdout)["arrived"] is False
    waiting = Process([BIN / "tarn-mirror", "wait", "--marker", "v7:2", mirror.url],
                      mirror.workdir / "wait.log")
    link.accept()
    assert waiting.wait(60) == DONE, waiting.log()
    assert mirror.value("SELECT count(*) FROM jfs_edge WHERE name = 'trained'") == 1
    assert wait_here(mirror, "--marker", first).returncode == DONE
    seen = tarn_json("primary", "mark", "v7", primary.url)
    assert seen["marker"] == "v7:3" and seen["value"] == 3


def test_a_wait_for_now_needs_the_primary_and_survives_its_absence(pair):
    primary, mirror, link = pair.primary, pair.mirror, pair.link
    link.refuse()
    refused(wait_here(mirror, "--until-now", "--timeout", "2"), TIMED_OUT, "primary")
    waiting = Process([BIN / "tarn-mirror", "wait", "--until-now", mirror.url],
                      mirror.workdir / "wait.log")
    link.accept()
    assert waiting.wait(60) == DONE, waiting.log()
    # A black hole, in the middle of it.
    link.hold()
    refused(wait_here(mirror, "--until-now", "--timeout", "3"), TIMED_OUT)
    link.release()
    link.cut()
    done = wait_here(mirror, "--until-now", "--timeout", "60", "--primary", primary.url)
    assert done.returncode == DONE, done.stderr


def test_a_path_is_waited_for_with_its_blocks(pair, workdir):
    primary, mirror = pair.primary, pair.mirror
    with primary.mount() as here:
        here.path("model/deep").mkdir(parents=True)
        here.path("model/deep/weights").write_bytes(load.content(1, 5 << 20))
        here.path("model/config").write_bytes(load.content(2, 1000))
        here.path("other").write_bytes(load.content(3, 3000))
    assert wait_here(mirror, "--path", "/model", "--timeout", "60").returncode == DONE
    refused(wait_here(mirror, "--path", "/model", "--data", "--timeout", "1"), TIMED_OUT, "slices")
    refused(wait_here(mirror, "--path", "model/no", "--timeout", "9"), FAILED, "model/no")
    waiting = Process([BIN / "tarn-mirror", "wait", "--path", "model/deep", "--data", mirror.url],
                      workdir / "wait.log")
    mirror.start_syncer()
    assert waiting.wait(60) == DONE, waiting.log()
    weights = {name for name in mirror.expected_blocks() if name.endswith(("4194304", "1048576"))}
    assert len(weights) == 2 and weights <= mirror.blocks().keys()


def test_everything_is_waited_for_with_its_blocks(primary, mirror_cluster, workdir):
    with primary.mount() as here:
        for number in range(50):
            here.path(f"old{number}").write_bytes(load.content(number, 100 + number))
        mirror = Mirror(mirror_cluster, primary, workdir).begin()
        for number in range(50, 60):
            here.path(f"new{number}").write_bytes(load.content(number, 100 + number))
        # History is not ordered before a syncer walks it.
        refused(wait_here(mirror, "--until-now", "--data", "--timeout", "1"), TIMED_OUT, "history")
        mirror.start_syncer()
        done = wait_here(mirror, "--until-now", "--data", "--json")
        assert done.returncode == DONE, done.stderr
        assert json.loads(done.stdout)["data"]["slices_waiting"] == 0
        assert not mirror.expected_blocks() - mirror.blocks().keys()
        # A block that the origin does not have is named when the time is over.
        mirror.syncers[0].stop()
        here.path("gone").write_bytes(load.content(99, 777))
        for path in primary.bucket.rglob("*_0_777"):
            path.unlink()
        assert wait_here(mirror, "--until-now").returncode == DONE
        mirror.start_syncer()
        wait_for("the copy has failed", lambda: mirror.value(
            "SELECT count(*) FROM tarn.slice_state WHERE last_error IS NOT NULL") == 1)
        done = wait_here(mirror, "--path", "gone", "--data", "--timeout", "1")
        refused(done, TIMED_OUT, "777")
    mirror.end()
    mirror_cluster.drop_database(mirror.database)


@LONG
def test_blocks_are_waited_for_under_load(pair):
    primary, mirror = pair.primary, pair.mirror
    mirror.start_syncer()
    with primary.mount() as here:
        workers = load.begin(here.directory, 2, largest=50_000)
        try:
            for number in range(3):
                name = f"model{number}"
                here.path(name).write_bytes(load.content(number, 300_000 + number))
                done = wait_here(mirror, "--path", name, "--data", "--timeout", "90")
                assert done.returncode == DONE, done.stderr
                size = f"_0_{300_000 + number}"
                assert any(block.endswith(size) for block in mirror.blocks())
        finally:
            load.finish(workers)


@LONG
def test_a_wait_survives_a_restart_of_either_server(pair, workdir):
    primary, mirror = pair.primary, pair.mirror
    with primary.mount() as here:
        here.path("kept").write_bytes(load.content(1, 1001))
    before = primary.value("SELECT coalesce(max(value), 0) FROM tarn.mark WHERE name = 'wait/paired'")
    waiting = Process([BIN / "tarn-mirror", "wait", "--path", "kept", "--data", mirror.url],
                      workdir / "wait.log")
    wait_for("it waits", lambda: primary.value(
        "SELECT coalesce(max(value), 0) FROM tarn.mark WHERE name = 'wait/paired'") > before)
    mirror.cluster.restart("immediate")
    primary.cluster.restart("immediate")
    mirror.start_syncer()
    assert waiting.wait(90) == DONE, waiting.log()
    assert any(name.endswith("_0_1001") for name in mirror.blocks())


def test_a_wait_that_cannot_end_well_says_so(primary, mirror, mirror_cluster, workdir):
    refused(wait_here(mirror), USAGE, "--until-now")
    refused(wait_here(mirror, "--until-now", "--marker", "x"), USAGE, "exclude")
    for wrong in ("", ":1", "x:0", "x:y", "x:1z", "x" * 100):
        refused(wait_here(mirror, "--marker", wrong), USAGE, "marker")
    for wrong in ("", "a b", "a:b", "x" * 65):
        refused(tarn("primary", "mark", wrong, primary.url, check=False), USAGE, "name")
    refused(tarn("primary", "mark", "x", mirror.url, check=False), NOT_READY, "no primary")
    refused(tarn("mirror", "wait", "--until-now", "postgres://x@127.0.0.1:1/y", check=False),
            UNREACHABLE, "mirror")
    refused(tarn("mirror", "wait", "--until-now", primary.url, check=False), NOT_READY)
    mirror.query("UPDATE tarn.local_site SET state = 'LOST', detail = 'rows are missing'")
    refused(wait_here(mirror, "--until-now"), NOT_READY, "LOST", "rows are missing")
    cached = Mirror(mirror_cluster, primary, workdir, name="cached", with_bucket=False).join()
    refused(wait_here(cached, "--path", "/", "--data"), USAGE, "warmup")
    assert tarn("mirror", "leave", cached.url).returncode == DONE
    mirror_cluster.drop_database(cached.database)


def test_a_marker_that_went_with_its_primary_is_not_waited_for(pair):
    """The wait has its value of one primary, and the mirror hears of the next."""
    primary, mirror, link = pair.primary, pair.mirror, pair.link
    mirror.wait_caught_up()
    wait_here(mirror, "--until-now")
    value = mirror.value("SELECT value FROM tarn.mark WHERE name = 'wait/paired'")
    refused_at = []

    def hear():
        wait_for("the wait's marker is made", lambda: primary.value(
            "SELECT value FROM tarn.mark WHERE name = 'wait/paired'") > value)
        # As the row would be that a promoted mirror went on with.
        mirror.query("UPDATE tarn.mark SET epoch = 1 WHERE name = 'wait/paired'")
    mirror.query("ALTER SUBSCRIPTION tarn_paired DISABLE")
    thread = threading.Thread(target=hear)
    thread.start()
    refused_at.append(wait_here(mirror, "--until-now", "--timeout", "60"))
    thread.join()
    refused(refused_at[0], NOT_READY, "replaced")
    mirror.query("UPDATE tarn.mark SET epoch = 0 WHERE name = 'wait/paired'")
    mirror.query("ALTER SUBSCRIPTION tarn_paired ENABLE")


@pytest.mark.parametrize("program,verb", [("mirror", "wait"), ("primary", "mark")])
def test_waiting_explains_itself(programs, program, verb):
    done = tarn(program, verb, "--help")
    assert "Exit codes" in done.stdout and "--json" in done.stdout


# ---- what a bucket still holds


def test_blocks_that_ended_between_two_joins_are_removed(primary, mirror):
    """Nobody was there to hear of the deletion; the next join's syncer finds what is left."""
    with primary.mount() as here:
        here.path("kept").write_bytes(load.content(1, 5 << 20))
        here.path("ended").write_bytes(load.content(2, (4 << 20) + 777))
    mirror.wait_caught_up()
    mirror.sync_once()
    ended = {name for name in mirror.blocks() if name.endswith("_1_777")}
    assert len(ended) == 1
    stop_agent(mirror)
    assert tarn("mirror", "leave", mirror.url).returncode == DONE
    number = next(iter(ended)).split("_")[0]
    primary.query("DELETE FROM jfs_chunk_ref WHERE chunkid = %s", [int(number)])
    mirror.join()
    mirror.sync_once()
    assert ended <= mirror.blocks().keys(), "a young block may be on its way"
    assert mirror.value("SELECT count(*) FROM tarn.cursor WHERE name = 'sweep'") == 0
    for path in mirror.bucket.rglob("*_*_*"):
        os.utime(path, (1, 1))
    mirror.sync_once()
    assert mirror.blocks().keys() == mirror.expected_blocks()
    assert not [name for name in mirror.blocks() if name.startswith(f"{number}_")]
    assert mirror.value("SELECT done_at IS NOT NULL FROM tarn.cursor WHERE name = 'sweep'")


def test_the_lag_of_the_data_is_shown(pair):
    primary, mirror = pair.primary, pair.mirror
    mirror.wait_caught_up()
    mirror.sync_once()
    seen = mirror.status()
    assert seen["data"]["slices"] == 0 and seen["data"]["history"]["ordered"]
    assert seen["data"]["eta_seconds"] == 0
    with primary.mount() as here:
        here.path("lag1").write_bytes(load.content(1, 300_000))
        here.path("lag2").write_bytes(load.content(2, 200_000))
    assert wait_here(mirror, "--until-now").returncode == DONE
    seen = mirror.status()["data"]
    assert (seen["slices"], seen["bytes"]) == (2, 500_000)
    age = seen["oldest_seconds"]
    wait_for("it ages", lambda: mirror.status()["data"]["oldest_seconds"] > age)
    text = tarn("mirror", "status", mirror.url).stdout
    assert "2 slices" in text and "transactions" in text
    mirror.sync_once()
    assert mirror.status()["data"]["bytes"] == 0
