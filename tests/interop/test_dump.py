"""Dumps of either client are loaded by the other; quotas and settings of either hold for both."""

import errno
import gzip
import json
import os
import random
import time

import pytest
from harness.check import assert_consistent
from harness.metadata import assert_loaded, decorate, give_acls, rows_of, setting_of
from harness.process import run
from harness.quotas import assert_dir_quotas, assert_owners
from harness.tree import ALL, assert_same, populate, read_tree
from harness.volume import tarn, tarn_json
from harness.wait import wait_for
from stock_client import StockVolume

# Stock clients do not give a file's atime back to the nanosecond that a mount of theirs shows.
COMPARED = tuple(member for member in ALL if member != "atime_ns")
HEARTBEAT = 13  # seconds after which a stock mount has read settings and quotas again


@pytest.fixture
def other(volume, cluster, workdir):
    """Another database for the same bucket."""
    name = cluster.create_database()
    yield StockVolume(volume.program, cluster, name, "vol", workdir, volume.bucket)
    cluster.drop_database(name)


def furnish(volume, is_old_kept=False):
    """A bit of everything."""
    with volume.mount() as mount:
        populate(mount.directory)
        decorate(mount, for_stock=True)
    if not is_old_kept:  # a time before 1970, which is written in two ways
        volume.query("UPDATE jfs_node SET atime = 1, mtime = 1, atimensec = 0, mtimensec = 0"
                     " WHERE mtime < 0 RETURNING 1")
    tarn("quota", "set", volume.url, "--path", "/a", "--inodes", 5000)
    tarn("quota", "set", volume.url, "--uid", 1000, "--inodes", 77)
    give_acls(volume)


def _differing(one, two, path):
    """Where two documents differ, so that a failure can be read."""
    if isinstance(one, dict) and isinstance(two, dict):
        return [line for key in sorted(one.keys() | two.keys())
                for line in _differing(one.get(key), two.get(key), f"{path}/{key}")][:5]
    return [] if one == two else [(path, one, two)]


@pytest.mark.parametrize("name", ["meta.json", "meta.json.gz"])
def test_a_stock_client_loads_our_dump(volume, other, workdir, name):
    volume.format()
    furnish(volume)
    rows = rows_of(volume)
    tarn("dump", volume.url, workdir / name)
    other.stock("load", other.url, workdir / name)
    assert_loaded(rows, other)
    assert setting_of(other).items() >= setting_of(volume).items()
    for each in (volume, other):
        each.query("UPDATE jfs_node SET access_acl_id = 0, default_acl_id = 0 RETURNING 1")
    with volume.mount("--read-only") as mount:
        tree = read_tree(mount.path("a")) | read_tree(mount.path("odd"))
    with other.stock_mount("--read-only") as mount:
        assert_same(tree, read_tree(mount.path("a")) | read_tree(mount.path("odd")), COMPARED)
    other.assert_nothing_lost()


@pytest.mark.parametrize("fast", [[], ["--fast"]], ids=["", "fast"])
def test_we_load_the_dump_of_a_stock_client(volume, other, workdir, fast):
    volume.stock_format_and_adopt()
    furnish(volume, is_old_kept=True)
    rows = rows_of(volume)
    volume.stock("dump", volume.url, workdir / "meta.json.gz", "--keep-secret-key", *fast)
    tarn("load", other.url, workdir / "meta.json.gz")
    assert_loaded(rows, other)
    tarn("primary", "adopt", other.url)
    assert_dir_quotas(other)
    assert_owners(other)
    assert_consistent(other)
    other.assert_nothing_lost()


def test_both_dumps_of_a_volume_say_the_same(volume, workdir):
    """Member for member, but for what stock clients leave out of the head."""
    volume.stock_format_and_adopt()
    furnish(volume)
    tarn("dump", volume.url, workdir / "ours.json.gz")
    volume.stock("dump", volume.url, workdir / "theirs.json.gz")
    ours, theirs = (json.loads(gzip.open(workdir / f"{who}.json.gz").read())
                    for who in ("ours", "theirs"))
    for document in (ours, theirs):
        document["Counters"].pop("lastChangelog", None)
    for part in ours.keys() | theirs.keys():
        assert _differing(ours.get(part), theirs.get(part), part) == []


def test_quotas_are_counted_by_both_at_once(volume):
    """A stock mount and ours work below the same quotas; at rest the counts are exact."""
    volume.format()
    rng = random.Random(3)
    with volume.mount() as ours:
        for name in ("a", "b"):
            os.makedirs(ours.path(name, "in"))
        tarn("quota", "set", volume.url, "--path", "/a", "--inodes", 100000)
        # A stock client begins a quota with statistics, which lag behind by a flush.
        wait_for("statistics are flushed", lambda: volume.value(
            "SELECT sum(used_inodes) FROM jfs_dir_stats") == 4)
        volume.stock("quota", "set", volume.url, "--path", "/b", "--capacity", "10")
        volume.stock("quota", "set", volume.url, "--uid", "1000", "--inodes", "5000")
        wait_for("our mount knows", lambda: volume.value("SELECT owner_quota FROM"
                                                         " tarn.volume_flags"))
        with volume.stock_mount() as stock:
            time.sleep(1)
            for number in range(200):
                mount, own = rng.choice([(ours, "o"), (stock, "s")])
                path = mount.path(rng.choice(["a", "a/in", "b", "b/in"]), f"{own}{number % 9}")
                try:
                    if rng.random() < 0.6:
                        path.write_bytes(b"x" * rng.randrange(30000))
                        os.chown(path, 1000, 1000)
                    else:
                        os.unlink(path)
                except OSError as error:
                    assert error.errno in (errno.ENOENT,)
            time.sleep(4)
    assert_dir_quotas(volume)
    assert_owners(volume)
    assert_consistent(volume)


def test_a_quota_of_either_client_is_kept_by_the_other(volume):
    volume.stock_format_and_adopt()
    with volume.mount() as ours, volume.stock_mount() as stock:
        ours.path("by-us").mkdir()
        ours.path("by-stock").mkdir()
        tarn("quota", "set", volume.url, "--path", "/by-us", "--inodes", 1)
        volume.stock("quota", "set", volume.url, "--path", "/by-stock", "--inodes", "1")
        time.sleep(HEARTBEAT)
        for mount, directory in ((stock, "by-us"), (ours, "by-stock")):
            mount.path(directory, "one").touch()
            wait_for("it is counted", lambda d=directory: tarn_json(
                "quota", "get", volume.url, "--path", d)["quotas"][0]["used_inodes"] == 1)
            with pytest.raises(OSError) as refused:
                mount.path(directory, "two").touch()
            assert refused.value.errno == errno.EDQUOT
        assert "by-us" in volume.stock("quota", "list", volume.url)
    assert_dir_quotas(volume)


def test_a_stock_client_reads_the_settings_that_we_write(volume):
    volume.stock_format_and_adopt()
    tarn("config", volume.url, "--trash-days", 9, "--capacity", "3T", "--inodes", 12345,
         "--upload-limit", 100, "--enable-acl", "--user-group-quota")
    shown = volume.stock("config", volume.url)
    seen = json.loads(shown[shown.index("{"):shown.rindex("}") + 1])
    assert (seen["TrashDays"], seen["Capacity"], seen["Inodes"], seen["UploadLimit"],
            seen["EnableACL"], seen["UserGroupQuota"]) == (9, 3 << 40, 12345, 100, True, True)
    # And the row is what the client itself would have written.
    before = volume.value("SELECT value FROM jfs_setting")
    run([volume.program, "config", volume.url, "--yes", "--trash-days", "8"])
    run([volume.program, "config", volume.url, "--yes", "--trash-days", "9"])
    assert volume.value("SELECT value FROM jfs_setting") == before
