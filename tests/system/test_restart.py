"""PostgreSQL is restarted and killed under load: operations wait and go on, nothing is lost or doubled."""

import pytest

from harness import load
from harness.check import assert_consistent
from harness.locker import UNLOCK, WRITE
from harness.locking import two_lockers
from harness.site import assert_equal_sites
from harness.wait import wait_for

WAYS = ["fast", "immediate", "kill9"]


def bounce(cluster, way):
    if way == "kill9":
        cluster.kill9()
        cluster.start()
    else:
        cluster.restart(way)


def progress(workers, more, timeout=120):
    goal = sum(worker.operations for worker in workers) + more

    def reached():
        for worker in workers:
            assert worker.problem is None, f"a worker met {worker.problem!r}"
        return sum(worker.operations for worker in workers) >= goal
    wait_for(f"{more} more operations", reached, timeout)


@pytest.mark.parametrize("way", WAYS)
def test_the_primary_postgresql_comes_back_under_load(volume, way):
    with volume.mount() as mount:
        workers = load.begin(mount.directory, 3, largest=200_000)
        for _ in range(3):
            progress(workers, 30)
            bounce(volume.cluster, way)
        progress(workers, 30)
        load.finish(workers)
        for worker in workers:
            worker.check(mount.directory)
    with volume.mount() as cold:
        for worker in workers:
            worker.check(cold.directory)
    assert_consistent(volume)


@pytest.mark.parametrize("way", WAYS)
def test_locks_and_those_who_wait_for_them_outlast_a_restart(volume, way):
    with volume.mount() as one, volume.mount() as two, \
            two_lockers(one, two, "f") as (holder, heir):
        holder.lock("f", WRITE)
        heir.start("wait", "f", WRITE)
        bounce(volume.cluster, way)
        one.path("back").touch()
        assert heir.is_waiting()
        holder.lock("f", UNLOCK)
        heir.answer()
        assert holder.test("f", WRITE) == [WRITE, 0, 0, 0]


@pytest.mark.parametrize("way", WAYS)
def test_the_primary_restarts_while_a_mirror_follows(primary, mirror, way):
    with primary.mount() as mount:
        workers = load.begin(mount.directory, 2, largest=100_000)
        progress(workers, 20)
        bounce(primary.cluster, way)
        progress(workers, 20)
        load.finish(workers)
    assert_equal_sites(primary, mirror)
    with mirror.mount("--read-only") as there:
        for worker in workers:
            worker.check(there.directory)


@pytest.mark.parametrize("way", WAYS)
def test_the_mirror_restarts_under_load(primary, mirror, way):
    with primary.mount() as mount, mirror.mount("--read-only") as there:
        workers = load.begin(mount.directory, 2, largest=100_000)
        progress(workers, 20)
        bounce(mirror.cluster, way)
        progress(workers, 20)
        load.finish(workers)
        mirror.wait_caught_up()
        wait_for("the mirror's mount shows the workers",
                 lambda: all((there.directory / w.directory.name).exists() for w in workers))
    assert_equal_sites(primary, mirror)
