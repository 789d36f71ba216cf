"""kill -9 of the client in the middle of writing: every fsynced file is there afterwards.

A file counts as promised only after fsync(file) and fsync(directory) returned. After the kill the
volume is mounted again with the old cache directory, and then once more with an empty one, so that
all bytes come from the bucket.
"""

import os
import random

import pytest

from harness import load
from harness.check import assert_consistent
from harness.volume import Volume
from harness.wait import wait_for

SEED = int(os.environ.get("TARN_TEST_SEED", "1"))


@pytest.mark.parametrize("round", range(3))
def test_fsynced_files_survive_a_killed_client(volume, workdir, round):
    chance = random.Random(SEED * 100 + round)
    cache = workdir / "cache"
    mount = volume.mount(cache=cache).start()
    workers = load.begin(mount.directory, 4, expect_death=True, largest=6 << 20)
    goal = chance.randrange(60, 200)
    wait_for("the load has run for a while",
             lambda: sum(worker.operations for worker in workers) >= goal, 120)
    mount.kill9()
    load.finish(workers)
    assert sum(len(worker.promised) for worker in workers) > 10
    with volume.mount(cache=cache) as again:
        for worker in workers:
            worker.check(again.directory)
    with volume.mount() as cold:
        for worker in workers:
            worker.check(cold.directory)
    assert not volume.expected_blocks() - volume.blocks().keys(), "metadata without its blocks"
    assert_consistent(volume, with_stats=False)


def test_a_client_killed_with_an_unlinked_open_file_leaves_it_recorded(programs, cluster, database,
                                                                     workdir):
    volume = Volume(cluster, database, "vol", workdir).format("--trash-days", "0")
    mount = volume.mount().start()
    file = open(mount.path("f"), "wb")
    file.write(b"x" * 100_000)
    file.flush()
    os.fsync(file.fileno())
    os.unlink(mount.path("f"))
    assert volume.value("SELECT count(*) FROM jfs_sustained") == 1
    mount.kill9()
    with pytest.raises(OSError):
        os.fsync(file.fileno())
    with pytest.raises(OSError):
        file.close()
    with volume.mount() as again:
        assert os.listdir(again.directory) == []
    assert_consistent(volume, with_stats=False)


def test_a_kill_during_one_big_write_leaves_a_prefix(volume):
    mount = volume.mount().start()
    data = load.content("big", 48 << 20)
    with pytest.raises(OSError):
        with open(mount.path("big"), "wb", buffering=0) as file:
            for start in range(0, len(data), 1 << 20):
                file.write(data[start:start + (1 << 20)])
                if start == 40 << 20:
                    mount.process.kill()
    mount.abandon()
    with volume.mount() as again:
        kept = again.path("big").read_bytes()
    assert kept == data[:len(kept)]


def test_the_mount_point_can_be_used_again_after_a_kill(volume):
    first = volume.mount().start()
    first.path("f").write_text("before")
    first.kill9()
    second = volume.mount()
    second.directory = first.directory
    with second:
        assert second.path("f").read_text() == "before"
