"""A stock client's volume is adopted, joined, promoted, and written by the stock client again."""

import pytest

from harness.roles import assert_same_sites, promote, role, wait_same
from harness.site import Mirror
from harness.tree import assert_same, populate, read_tree
from harness.volume import tarn
from stock_client import StockVolume


@pytest.fixture
def volume(programs, stock_program, cluster, database, workdir):
    return StockVolume(stock_program, cluster, database, "vol", workdir)


def test_a_promoted_volume_is_written_by_stock_clients(volume, mirror_cluster, workdir):
    volume.stock_format()
    with volume.stock_mount() as here:
        populate(here.directory)
    tarn("primary", "adopt", volume.url, "--name", "home")
    mirror = Mirror(mirror_cluster, volume, workdir)
    mirror.join()
    mirror.sync_once()
    there = StockVolume(volume.program, mirror.cluster, mirror.database, "vol", workdir / "there")
    there.workdir.mkdir()
    try:
        here = volume.stock_mount().start()
        here.path("during").write_bytes(b"d" * 100_000)
        wait_same(volume, mirror)
        promote(mirror)
        # It survives, and is refused: before, during and after the fence.
        with pytest.raises(OSError):
            here.path("refused").write_bytes(b"x")
        here.abandon()
        assert role(mirror) == "primary"
        # Its bucket is the new primary's by the format row alone; what it lacks comes first.
        tarn("syncer", "run", mirror.url, "--once", timeout=120)
        with there.stock_mount() as now:
            assert now.path("during").read_bytes() == b"d" * 100_000
            now.path("by-stock").write_bytes(b"s" * 300_000)
            now.path("dir").rename(now.path("moved-by-stock"))
        with mirror.mount() as now:
            assert now.path("by-stock").read_bytes() == b"s" * 300_000
            now.path("by-tarn").write_bytes(b"t" * 300_000)
        with there.stock_mount("--read-only", "--hide-internal") as stock, mirror.mount("--read-only") as ours:
            assert_same(read_tree(stock.directory), read_tree(ours.directory))
        assert "ERROR" not in there.stock("fsck", there.url)
        assert_same_sites(mirror, volume)
    finally:
        mirror_cluster.drop_database(mirror.database)
