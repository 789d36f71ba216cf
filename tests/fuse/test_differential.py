"""The same random operations on a local file system and on mounts: the same results, the same tree.

A run is a list of operations made from a seed (operations.py). Each is carried out on both sides
and the outcomes (value or errno) are compared at once; at the end the trees are compared, and again
after a remount with a cold cache. When they differ the list is shrunk, shown and stored for replay.

TARN_TEST_SEED changes the seeds, TARN_TEST_ROUNDS the number of runs; TARN_LONG=1 makes them long.
"""

import os
from multiprocessing import get_context

import pytest

from harness.check import assert_consistent
from harness.tree import differences, read_tree
from harness.volume import BUILD
from operations import Side, first_disagreement, load, make_operations, shrink, store

SEED = int(os.environ.get("TARN_TEST_SEED", "1"))
IS_LONG = bool(os.environ.get("TARN_LONG"))
ROUNDS = int(os.environ.get("TARN_TEST_ROUNDS", "50" if IS_LONG else "6"))
LENGTH = 2000 if IS_LONG else 400
PROCESSES = 8
COMPARED = ("type", "mode", "uid", "gid", "nlink", "rdev", "sha256", "target", "xattrs")
# Every operation asks PostgreSQL, so that two mounts see the same moment.
NO_TIMEOUTS = ["--attr-cache", "0", "--entry-cache", "0", "--dir-entry-cache", "0"]


def first_difference(operations, local, *mounted):
    """Carry out both; None when they agree, else what differs. Both sides stay for inspection."""
    ours, theirs = Side(*mounted), Side(local)
    try:
        problem = first_disagreement(operations, ours, theirs)
    finally:
        ours.close()
        theirs.close()
    if problem:
        return problem
    return "\n".join(differences(read_tree(local), read_tree(mounted[0]), COMPARED)) or None


def fail_with(seed, problem, operations, differ):
    """Shrink, store, and say how to do it again."""
    shortest = shrink(operations, differ)
    (BUILD / "results").mkdir(exist_ok=True)
    stored = BUILD / "results" / f"operations-{seed}.txt"
    store(shortest, stored)
    pytest.fail(f"seed {seed}: {problem}\nshrunk to (replay: tests/fuse/operations.py {stored}):\n"
                + stored.read_text(encoding="utf-8") + f"which says: {differ(shortest)}")


def compare(volume, workdir, seed, mount_count, *options):
    """One run by way of so many mounts of the volume, and a look by a cold one."""
    operations = make_operations(seed, LENGTH, mount_count)
    local = workdir / "local"
    local.mkdir()
    mounts = [volume.mount(*options) for _ in range(mount_count)]
    for mount in mounts:
        mount.start()
    serial = 0

    def differ(candidate):
        nonlocal serial
        serial += 1
        return first_difference(candidate, local / str(serial),
                                *(mount.path(str(serial)) for mount in mounts))
    problem = differ(operations)
    if problem:
        fail_with(seed, problem, operations, differ)
    for mount in mounts:
        mount.unmount()
    with volume.mount() as cold:
        lines = differences(read_tree(local / "1"), read_tree(cold.path("1")), COMPARED)
        assert not lines, "after a remount:\n" + "\n".join(lines)
    assert_consistent(volume)


@pytest.mark.limit(1200)
@pytest.mark.parametrize("seed", range(SEED * 1000, SEED * 1000 + ROUNDS))
def test_random_operations_agree_with_a_local_file_system(plain_volume, workdir, seed):
    compare(plain_volume, workdir, seed, 1)


@pytest.mark.limit(1200)
@pytest.mark.parametrize("seed", range(SEED * 2000, SEED * 2000 + ROUNDS // 2))
def test_two_mounts_agree_with_one_local_file_system(plain_volume, workdir, seed):
    compare(plain_volume, workdir, seed, 2, *NO_TIMEOUTS)


def _stress(seed, count, local, mounted, pipe):
    """One process of the storm: its own sub-tree, on both sides."""
    try:
        pipe.send(first_difference(make_operations(seed, count), local, mounted))
    except BaseException as problem:
        pipe.send(f"{type(problem).__name__}: {problem}")


@pytest.mark.limit(1800)
def test_a_storm_of_processes_leaves_what_a_shadow_tree_holds(plain_volume, workdir):
    """As fsstress: many processes at once on two mounts, each with a shadow of what it does."""
    spawn = get_context("spawn")
    local = workdir / "local"
    local.mkdir()
    count = 20_000 if IS_LONG else 400
    with plain_volume.mount() as one, plain_volume.mount() as two:
        workers = []
        for number in range(PROCESSES):
            here, there = spawn.Pipe(False)
            mount = (one, two)[number % 2]
            process = spawn.Process(
                target=_stress, daemon=True,
                args=(SEED * 3000 + number, count, local / str(number), mount.path(str(number)),
                      there))
            process.start()
            workers.append((number, process, here))
        problems = [(number, here.recv()) for number, _, here in workers]
        for _, process, _ in workers:
            process.join(60)
    found = [f"process {number}: {problem}" for number, problem in problems if problem]
    assert not found, "\n".join(found)
    with plain_volume.mount() as cold:
        lines = differences(read_tree(local), read_tree(cold.directory), COMPARED)
        # The root is not the same directory.
        assert not [line for line in lines if not line.startswith("'/':")], "\n".join(lines)
    assert_consistent(plain_volume)


def test_the_shrinker_finds_the_one_bad_operation():
    operations = list(range(100))
    assert shrink(operations, lambda some: 42 in some) == [42]


def test_a_stored_list_is_the_list(workdir):
    operations = make_operations(SEED, 50, 2)
    store(operations, workdir / "operations.txt")
    assert load(workdir / "operations.txt") == operations
