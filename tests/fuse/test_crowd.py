"""Many clients in the same few directories: no loop, no deadlock, no error, exact counters; and
memory that stays flat.

TARN_LONG=1: a minute of cycles, two minutes of crowd with no operation over two seconds, and a
million operations of one mount.
"""

import os

import pytest

from crowd import SPAWN, Worker, embrace, nest, scramble
from harness.check import assert_consistent
from harness.process import run
from harness.sanitizers import IS_SANITIZED
from harness.volume import BIN

IS_LONG = bool(os.environ.get("TARN_LONG"))
NO_TIMEOUTS = ["--attr-cache", "0", "--entry-cache", "0", "--dir-entry-cache", "0"]
CLIENTS = 16


@pytest.fixture
def pair(volume):
    with volume.mount(*NO_TIMEOUTS) as one, volume.mount(*NO_TIMEOUTS) as two:
        one.path("top").mkdir()
        yield one, two
    assert_consistent(volume)


def unreachable(volume):
    """Directories that no way from the root leads to."""
    return [row[0] for row in volume.query(
        "WITH RECURSIVE below(inode) AS (SELECT 1::bigint UNION SELECT e.inode FROM jfs_edge e"
        " JOIN below b ON e.parent = b.inode WHERE e.type = 2)"
        " SELECT inode FROM jfs_node WHERE type = 2 AND inode < 9000000000000000000"
        " AND inode NOT IN (SELECT inode FROM below)")]


def test_two_directories_moved_into_each_other_make_no_loop(volume, pair):
    rounds = 5000 if IS_LONG else 150
    for number in range(rounds):
        for name in "ab":
            pair[0].path("top", f"{name}{number}").mkdir()
    barrier = SPAWN.Barrier(2)
    workers = [Worker(embrace, str(mount.path("top")), mine, other, barrier, rounds)
               for mount, mine, other in ((pair[0], "a", "b"), (pair[1], "b", "a"))]
    met = [worker.met(600) for worker in workers]
    assert not met[0].wrong + met[1].wrong
    assert met[0].done["move"] + met[1].done["move"] == rounds, "one of two moves succeeds"
    assert not unreachable(volume)
    assert len(os.listdir(pair[0].path("top"))) == rounds


@pytest.mark.limit(600)
def test_directories_moved_about_by_two_mounts_stay_a_tree(volume, pair):
    for number in range(10):
        pair[0].path("top", f"d{number}").mkdir()
    seconds = 60 if IS_LONG else 4
    workers = [Worker(nest, str(pair[number % 2].path("top")), number, seconds)
               for number in range(4)]
    met = [worker.met(seconds + 200) for worker in workers]
    assert not [line for each in met for line in each.wrong]
    assert sum(each.done["move"] for each in met) > 0
    assert not unreachable(volume)
    names = [name for _, names, _ in os.walk(pair[1].path("top")) for name in names]
    assert sorted(names) == sorted(f"d{number}" for number in range(10))


@pytest.mark.limit(900)
def test_sixteen_clients_in_the_same_directories(volume, capsys):
    seconds = 120 if IS_LONG else 5
    mounts = [volume.mount().start() for _ in range(CLIENTS)]
    for number in range(4):
        mounts[0].path("top", str(number)).mkdir(parents=True)
    workers = [Worker(scramble, str(mount.path("top")), number, seconds)
               for number, mount in enumerate(mounts)]
    met = [worker.met(seconds + 300) for worker in workers]
    slowest = max(each.slowest for each in met)
    with capsys.disabled():
        print(f"\n{CLIENTS} clients: {sum(sum(each.done.values()) for each in met)} operations,"
              f" {sum(sum(each.lost.values()) for each in met)} lost a race,"
              f" the slowest took {slowest[0]:.2f} s ({slowest[1]})")
    assert not [line for each in met for line in each.wrong]
    if IS_LONG and not IS_SANITIZED:
        assert slowest[0] <= 2.0, slowest
    for mount in mounts:
        mount.unmount()
    assert_consistent(volume)


@pytest.mark.skipif(IS_SANITIZED, reason="a sanitizer's build has other costs")
@pytest.mark.limit(3600)
def test_memory_is_flat_over_many_operations(plain_volume, capsys):
    """Each pass makes, looks at, moves and removes; what the first took is enough for all."""
    threads, count = 8, 100
    works = ["create", *["stat"] * 12, "rename", "unlink"]
    passes = 1_000_000 // (threads * count * len(works)) + 1 if IS_LONG else 4
    sizes = []
    with plain_volume.mount(*NO_TIMEOUTS) as mount:
        for _ in range(passes):
            for work in works:
                run([BIN / "meta_load", work, mount.directory, threads, count], timeout=300)
            sizes.append(mount.process.resident_bytes())
    first = max(sizes[:2])
    with capsys.disabled():
        print(f"\n{passes * len(works) * threads * count} operations: resident"
              f" {sizes[0] >> 20} MiB after the first pass, {sizes[-1] >> 20} MiB after the last")
    assert sizes[-1] <= first + ((2 << 20) if IS_LONG else (16 << 20))
