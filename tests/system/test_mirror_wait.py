"""tarn mirror wait: what a pipeline relies on between a training job and a roll-out."""

import json
import threading

import pytest

from harness import load
from harness.process import Process
from harness.site import Mirror
from harness.volume import BIN, DONE, FAILED, NOT_READY, UNREACHABLE, USAGE, tarn, tarn_json
from harness.wait import wait_for

TIMED_OUT = 10


def wait_here(mirror, *arguments, **options):
    options.setdefault("check", False)
    return tarn("mirror", "wait", *arguments, mirror.url, **options)


def refused(done, code, *words):
    assert done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}"
    for word in words:
        assert word in done.stderr.strip().splitlines()[-1], done.stderr


def mark(primary, name):
    return tarn("primary", "mark", name, primary.url).stdout.strip()


def nodes(mirror):
    return mirror.value("SELECT count(*) FROM jfs_node WHERE inode > 1")


def test_a_wait_ends_when_all_of_now_is_here(primary, mirror, link):
    with primary.mount() as here:
        for number in range(3):
            link.delay(0.3)  # whoever does not wait, looks too early
            here.path(f"f{number}").write_text("x")
            done = wait_here(mirror, "--until-now", "--timeout", "60", "--json")
            assert done.returncode == DONE, done.stderr
            seen = json.loads(done.stdout)
            assert seen["arrived"] and seen["marker"] == "wait/away" and seen["value"] == number + 1
            assert mirror.value("SELECT count(*) FROM jfs_edge WHERE name = %s",
                                [f"f{number}".encode()]) == 1


def test_a_marker_stands_for_what_was_before_it(primary, mirror, link):
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


def test_a_wait_for_now_needs_the_primary_and_survives_its_absence(primary, mirror, link):
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


def test_a_path_is_waited_for_with_its_blocks(primary, mirror, workdir):
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


def test_blocks_are_waited_for_under_load(primary, mirror):
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


def test_a_wait_survives_a_restart_of_either_server(primary, mirror, workdir):
    with primary.mount() as here:
        here.path("f").write_bytes(load.content(1, 1000))
    waiting = Process([BIN / "tarn-mirror", "wait", "--path", "f", "--data", mirror.url],
                      workdir / "wait.log")
    wait_for("it waits", lambda: mirror.value("SELECT value FROM tarn.mark WHERE name = 'wait/away'"))
    mirror.cluster.restart("immediate")
    primary.cluster.restart("immediate")
    mirror.start_syncer()
    assert waiting.wait(90) == DONE, waiting.log()
    assert any(name.endswith("_0_1000") for name in mirror.blocks())


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


def test_a_marker_that_went_with_its_primary_is_not_waited_for(primary, mirror, link):
    """The wait has its value of one primary, and the mirror hears of the next."""
    mirror.wait_caught_up()
    wait_here(mirror, "--until-now")
    refused_at = []

    def hear():
        wait_for("the wait's marker is made", lambda: primary.value(
            "SELECT value FROM tarn.mark WHERE name = 'wait/away'") == 2)
        # As the row would be that a promoted mirror went on with.
        mirror.query("UPDATE tarn.mark SET epoch = 1 WHERE name = 'wait/away'")
    mirror.query("ALTER SUBSCRIPTION tarn_away DISABLE")
    thread = threading.Thread(target=hear)
    thread.start()
    refused_at.append(wait_here(mirror, "--until-now", "--timeout", "60"))
    thread.join()
    refused(refused_at[0], NOT_READY, "replaced")
    mirror.query("UPDATE tarn.mark SET epoch = 0 WHERE name = 'wait/away'")
    mirror.query("ALTER SUBSCRIPTION tarn_away ENABLE")


@pytest.mark.parametrize("program,verb", [("mirror", "wait"), ("primary", "mark")])
def test_waiting_explains_itself(programs, program, verb):
    done = tarn(program, verb, "--help")
    assert "Exit codes" in done.stdout and "--json" in done.stdout
