"""A volume is readable and writable by Tarn and by a stock JuiceFS client, in both directions, live."""

import os
import random
import time

import pytest

from harness.check import assert_consistent
from harness.process import run
from harness.site import Mirror
from harness.tree import assert_same, populate, read_tree
from harness.volume import tarn

FORMATS = {
    "plain": [],
    "small blocks": ["--block-size", "64K"],
    "zstd": ["--compress", "zstd"],
    "lz4": ["--compress", "lz4"],
    "hash prefix": ["--hash-prefix"],
    "no trash": ["--trash-days", "0"],
    "encrypted": ["--encrypt-rsa-key"],
}


@pytest.fixture(params=FORMATS.values(), ids=FORMATS.keys())
def options(request, workdir):
    if request.param != ["--encrypt-rsa-key"]:
        return request.param
    key = workdir / "key.pem"
    run(["openssl", "genrsa", "-out", key, "2048"])
    return ["--encrypt-rsa-key", str(key)]


def scribble(top, seed):
    """Overwrites, holes, truncations and renames: what leaves many slices behind."""
    chance = random.Random(seed)
    with open(top / "scribbled", "w+b") as file:
        for _ in range(60):
            file.seek(chance.randrange(3 << 20))
            file.write(chance.randbytes(chance.randrange(1, 100_000)))
            if chance.random() < 0.2:
                file.flush()
                os.fsync(file.fileno())
            if chance.random() < 0.1:
                file.truncate(chance.randrange(3 << 20))
    with open(top / "scribbled", "rb") as file:
        (top / "copy").write_bytes(file.read())
    for number in range(30):
        (top / f"small{number}").write_bytes(chance.randbytes(number * 137))
    os.replace(top / "small0", top / "small1")
    os.unlink(top / "small2")


def write_tree(mount, name):
    top = mount.path(name)
    top.mkdir()
    populate(top)
    scribble(top, name)
    return read_tree(top)


def assert_stock_is_content(volume):
    volume.assert_nothing_lost()
    volume.assert_nothing_leaked()
    assert_consistent(volume, with_stats=False)


def test_tarn_reads_and_extends_what_stock_wrote(volume, options):
    volume.stock_format(*options)
    with volume.stock_mount() as stock:
        by_stock = write_tree(stock, "stock")
    tarn("primary", "adopt", volume.url)
    with volume.mount() as ours:
        assert_same(by_stock, read_tree(ours.path("stock")))
        by_us = write_tree(ours, "tarn")
        scribble(ours.path("stock"), "again")
        by_both = read_tree(ours.path("stock"))
    with volume.stock_mount() as stock:
        assert_same(by_us, read_tree(stock.path("tarn")))
        assert_same(by_both, read_tree(stock.path("stock")))
    assert_stock_is_content(volume)


def test_stock_reads_and_extends_what_tarn_wrote(volume, options):
    volume.format(*options)
    with volume.mount() as ours:
        by_us = write_tree(ours, "tarn")
    with volume.stock_mount() as stock:
        assert_same(by_us, read_tree(stock.path("tarn")))
        by_stock = write_tree(stock, "stock")
        scribble(stock.path("tarn"), "again")
        by_both = read_tree(stock.path("tarn"))
    with volume.mount() as ours:
        assert_same(by_stock, read_tree(ours.path("stock")))
        assert_same(by_both, read_tree(ours.path("tarn")))
    assert_stock_is_content(volume)


def test_both_are_mounted_at_once(volume):
    volume.format()
    with volume.mount() as ours, volume.stock_mount() as stock:
        # Not in the root: a stock mount lists endless files there.
        ours.path("shared").mkdir()
        tops = (ours.path("shared"), stock.path("shared"))
        for number in range(10):
            here, there = tops[number % 2], tops[1 - number % 2]
            data = random.Random(number).randbytes(50_000 + number)
            (here / f"f{number}").write_bytes(data)
            assert (there / f"f{number}").read_bytes() == data
            (there / f"f{number}").write_bytes(data[::-1])
            # The kernel's attributes may be a second old.
            time.sleep(1.1)
            assert (here / f"f{number}").read_bytes() == data[::-1]
        os.rename(tops[0] / "f0", tops[0] / "renamed")
        os.unlink(tops[1] / "f1")
        time.sleep(1.1)
        assert_same(read_tree(tops[0]), read_tree(tops[1]))
    assert_stock_is_content(volume)


def test_what_one_deletes_the_other_finds_in_the_trash(volume):
    volume.format()
    with volume.mount() as ours, volume.stock_mount() as stock:
        for name in ("by-us", "by-stock"):
            ours.path(name).write_text(name)
        time.sleep(1.1)
        os.unlink(ours.path("by-us"))
        os.unlink(stock.path("by-stock"))
        time.sleep(1.1)
        for mount in (ours, stock):
            # Two directories, when the hour ends just now.
            kept = [name.split("-", 2)[2] for hour in os.listdir(mount.path(".trash"))
                    for name in os.listdir(mount.path(".trash", hour))]
            assert sorted(kept) == ["by-stock", "by-us"]
    assert_stock_is_content(volume)


def test_stock_mounts_a_mirror_read_only(volume, mirror_cluster, stock_program, workdir):
    volume.format()
    tarn("primary", "adopt", volume.url, "--name", "home")
    with volume.mount() as ours:
        by_us = write_tree(ours, "tarn")
    mirror = Mirror(mirror_cluster, volume, workdir).begin()
    try:
        mirror.sync_once()
        mirror.wait_caught_up()
        with volume.stock_mount("--read-only", "--no-bgjob", "--bucket", f"{mirror.bucket}/",
                                url=mirror.url) as stock:
            assert_same(by_us, read_tree(stock.path("tarn")))
    finally:
        mirror.agent.stop()
        mirror_cluster.drop_database(mirror.database)
