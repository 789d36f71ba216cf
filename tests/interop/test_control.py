"""The tools of a stock client work against a mount of ours, through its internal files."""

import json
import os
import subprocess

import pytest

from harness.check import assert_consistent
from harness.process import run
from harness.tree import PORTABLE, assert_same, populate, read_tree
from harness.volume import tarn, tarn_json
from harness.wait import wait_for

MIB = 1 << 20


@pytest.fixture
def volume(volume):
    return volume.stock_format_and_adopt("--block-size", "1M")


def stock_fails(volume, *arguments):
    done = subprocess.run([volume.program, *map(str, arguments)], capture_output=True, text=True,
                          timeout=120, check=False)
    assert done.returncode != 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_stock_rmr_clone_info_and_summary_work_against_our_mount(volume):
    with volume.mount() as mount:
        top = mount.directory
        os.mkdir(top / "tree")
        populate(top / "tree")
        (top / "tree" / "big").write_bytes(os.urandom(3 * MIB + 5))

        before = read_tree(top / "tree")
        volume.stock("clone", "-p", top / "tree", top / "copy")
        assert_same(read_tree(top / "tree"), read_tree(top / "copy"), PORTABLE)
        assert "exist" in stock_fails(volume, "clone", top / "tree", top / "copy")

        said = volume.stock("info", top / "copy" / "big")
        assert "length: 3.00 MiB (3145733 Bytes)" in said and "path: /copy/big" in said
        assert said.count("_1048576") == 3 and "_3_5" in said
        assert "sliceId" in volume.stock("info", "--raw", top / "copy" / "big")
        counted = sum(len(files) for _, _, files in os.walk(top / "copy"))
        said = volume.stock("info", "-r", "--strict", top / "copy")
        assert f"files: {counted}" in said, said

        table = volume.stock("summary", "--strict", "--csv", top / "copy").splitlines()
        assert "PATH,SIZE,DIRS,FILES" in table
        assert any(line.startswith("big,") for line in table)

        volume.stock("rmr", top / "copy")
        assert not (top / "copy").exists()
        assert_same(before, read_tree(top / "tree"))
    assert_consistent(volume)
    assert "leaked" not in volume.stock("fsck", volume.url)


def test_stock_warmup_fills_checks_and_evicts_our_disk_cache(volume, workdir):
    with volume.mount() as mount:
        os.mkdir(mount.directory / "d")
        for number in range(4):
            (mount.directory / "d" / f"f{number}").write_bytes(os.urandom(2 * MIB))
    cache = workdir / "fresh"

    def cached():
        return sum(name.count("_") == 2 for _, _, files in os.walk(cache) for name in files)

    with volume.mount(cache=cache) as mount:
        target = mount.directory / "d"
        assert "0 B of 8.0 MiB" in volume.stock("warmup", "--check", target)
        assert "4 files (8.0 MiB bytes)" in volume.stock("warmup", target)
        assert cached() == 8
        assert "(100.0%) cached" in volume.stock("warmup", "--check", target)
        volume.stock("warmup", "--evict", target / "f0")
        assert cached() == 6
        volume.stock("warmup", "--background", target)
        wait_for("the background has warmed it", lambda: cached() == 8)


def test_stock_stats_and_profile_read_our_files(volume, workdir):
    with volume.mount() as mount:
        (mount.directory / "f").write_bytes(b"x" * 10000)
        table = volume.stock("stats", "-c", "1", "--no-color", mount.directory)
        assert "fuse" in table and "meta" in table
        config = json.loads((mount.directory / ".config").read_text())
        assert config["Format"]["Name"] == "vol" and config["Mountpoint"] == str(mount.directory)
        assert config["Pid"] == mount.process.child.pid or config["Pid"] > 1

        log = workdir / "access.log"
        with open(log, "wb") as out:
            reader = subprocess.Popen(["cat", mount.directory / ".accesslog"], stdout=out)
            wait_for("the log is read", lambda: log.stat().st_size > 0)
            os.rename(mount.directory / "f", mount.directory / "g")
            wait_for("the line is there", lambda: b"rename (1,f,1,g,0) - OK <" in log.read_bytes())
            reader.terminate()
            reader.wait(30)
        said = run([volume.program, "profile", "--interval", "0", log], timeout=60).stdout
        assert "rename" in said, said


def test_our_tools_work_against_a_stock_mount(volume):
    with volume.stock_mount() as mount:
        top = mount.directory
        os.mkdir(top / "tree")
        populate(top / "tree")
        (top / "tree" / "big").write_bytes(os.urandom(3 * MIB + 5))
        before = read_tree(top / "tree")
        assert tarn_json("clone", "-p", top / "tree", top / "copy")["cloned"] == len(before)
        assert_same(before, read_tree(top / "copy"), PORTABLE)

        said = tarn_json("info", top / "copy" / "big")
        assert said["Summary"]["Length"] == 3 * MIB + 5 and len(said["Objects"]) == 4
        assert "_3_5" in tarn("info", top / "copy" / "big").stdout
        counted = sum(len(files) for _, _, files in os.walk(top / "copy"))
        assert tarn_json("summary", "--strict", top / "copy")["Files"] == counted
        assert "PATH" in tarn("summary", top / "copy").stdout

        assert tarn_json("warmup", top / "copy")["files"] > 3
        assert tarn_json("warmup", "--check", top / "copy")["missing"] == 0
        tarn("warmup", "--evict", top / "copy")
        assert tarn_json("warmup", "--check", top / "copy")["missing"] > 3 * MIB
        tarn("compact", top / "copy")
        assert tarn_json("stats", top)["juicefs_memory"] > 0
        tarn("rmr", top / "copy")
        assert not (top / "copy").exists()
