"""tarn restore: trees in the trash are rebuilt and put back; nothing is replaced. And tarn bench."""

import json
import os
import shutil

from harness.check import assert_consistent
from harness.process import run
from harness.tree import read_tree
from harness.volume import BIN, DONE, FAILED, tarn, tarn_json


def fill(top, files=30):
    for i in range(files):
        directory = top / f"d{i % 4}" / f"e{i % 3}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"f-{i}-x").write_bytes(os.urandom(1000 + i))


def hours(volume):
    return [bytes(name).decode() for (name,) in volume.query(
        "SELECT name FROM jfs_edge WHERE parent = 9223372032828243968 ORDER BY name")]


def assert_whole(volume):
    """Consistent, once directories that come from the trash, and lost their statistics there, are
    counted again."""
    tarn("fsck", volume.url, "--sync-dir-stat", "--settle", "0s")
    assert_consistent(volume)


def test_a_removed_tree_is_put_back_as_it_was(volume):
    with volume.mount() as mount:
        fill(mount.path("top"))
        before = read_tree(mount.path("top"))
        shutil.rmtree(mount.path("top"))
    report = tarn_json("restore", volume.url, *hours(volume), "--put-back")
    assert report["restored"] > 30 and report["conflicts"] == report["failed"] == 0
    with volume.mount() as mount:
        after = read_tree(mount.path("top"))
        assert {name for name in before} == {name for name in after}
        assert len(list(mount.path("top").rglob("f-*"))) == 30
        assert all(len(p.read_bytes()) == 1000 + int(p.name.split("-")[1])
                   for p in mount.path("top").rglob("f-*"))
    assert_whole(volume)


def test_without_put_back_the_tree_is_rebuilt_in_the_trash(volume):
    with volume.mount() as mount:
        fill(mount.path("top"))
        shutil.rmtree(mount.path("top"))
        report = tarn_json("restore", volume.url, *hours(volume))
        assert report["need_put_back"] == 1, "the top of the tree alone waits to be put back"
        assert not mount.path("top").exists()
        found = list(mount.path(".trash").rglob("f-*-x"))
        assert len(found) == 30
        assert all("/d" in str(path) and "/e" in str(path) for path in found)
    tarn_json("restore", volume.url, *hours(volume), "--put-back")
    with volume.mount() as mount:
        assert len(list(mount.path("top").rglob("f-*"))) == 30
    assert_whole(volume)


def test_nothing_is_replaced(volume):
    with volume.mount() as mount:
        mount.path("f").write_bytes(b"old")
        mount.path("f").unlink()
        mount.path("f").write_bytes(b"new")
    done = run([BIN / "tarn", "restore", volume.url, *hours(volume), "--put-back", "--json"],
               check=False)
    assert done.returncode == FAILED and json.loads(done.stdout)["conflicts"] == 1
    with volume.mount() as mount:
        assert mount.path("f").read_bytes() == b"new"
        mount.path("f").rename(mount.path("g"))
    assert tarn_json("restore", volume.url, *hours(volume), "--put-back")["restored"] == 1
    with volume.mount() as mount:
        assert mount.path("f").read_bytes() == b"old"
    assert_consistent(volume)


def test_an_hour_that_is_not_there_is_an_error(volume):
    done = run([BIN / "tarn", "restore", volume.url, "2001-01-01-01"], check=False)
    assert done.returncode == FAILED and "2001-01-01-01" in done.stderr


def test_bench_measures_and_leaves_nothing(volume):
    with volume.mount() as mount:
        arguments = [BIN / "tarn", "bench", mount.directory, "--big-file-size", "8M",
                     "--small-file-size", "4K", "--small-file-count", "10", "-p", "2"]
        environment = {"SKIP_DROP_CACHES": "true"}
        results = json.loads(run([*arguments, "--json"], env=environment).stdout)
        assert [line["item"] for line in results] == [
            "Write big file", "Read big file", "Write small file", "Read small file", "Stat file"]
        assert all(line["value"] > 0 for line in results)
        table = run(arguments, env=environment)
        assert table.returncode == DONE and "NumThreads: 2" in table.stdout
        assert "| Read small file" in table.stdout
        assert not [name for name in os.listdir(mount.directory) if name.startswith(".tarn")]
