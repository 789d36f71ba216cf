"""A stock client and ours work on one volume at the same time, and both find it whole afterwards.

Four processes crowd the same directories, two by way of each client, each with names of its own;
half-way they take over each other's names. Two more do random operations in a sub-tree of their own
and keep a shadow of it on a local file system. At the end both clients show the same tree, which
holds what the shadows hold; stock fsck and gc find nothing lost or leaked; and counters and
directory statistics equal a recount.

Names of their own, because two stock clients that race for one name already answer EIO and leave
wrong link counts and statistics; what ours does there is in the last test. Links with names that
nobody renames over, because a stock client answers EIO after 40 s when the trash of the hour has
that name of the same file already; what ours does then is in the last test, too.

TARN_LONG=1: five minutes on each volume.
"""

import json
import os
import stat
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fuse"))

from crowd import Worker, scramble  # noqa: E402
from harness.check import assert_consistent  # noqa: E402
from harness.process import run  # noqa: E402
from harness.quotas import assert_dir_quotas, assert_owners  # noqa: E402
from harness.tree import ALL, PORTABLE, assert_same, differences, read_tree  # noqa: E402
from harness.volume import tarn, tarn_json  # noqa: E402
from operations import Side, first_disagreement, make_operations  # noqa: E402

IS_LONG = bool(os.environ.get("TARN_LONG"))
SECONDS = 300 if IS_LONG else 4
KERNEL_FORGETS = 1.2  # seconds after which a mount asks for names and attributes again
SEED = int(os.environ.get("TARN_TEST_SEED", "1"))
VOLUMES = {
    "plain": [],
    "zstd": ["--compress", "zstd"],
    "lz4": ["--compress", "lz4"],
    "encrypted": ["--encrypt-rsa-key"],
    "hash prefix": ["--hash-prefix"],
    "no trash": ["--trash-days", "0"],
    "quotas": [],
    "ACL": ["--enable-acl"],
}
QUOTAS = [("--path", "/crowd", "--create", "--capacity", "100"),
          ("--path", "/own", "--create", "--inodes", "1000000"),
          ("--uid", "1000", "--capacity", "100"), ("--gid", "0", "--inodes", "1000000")]
# What a shadow on another file system can agree on; times differ by nature.
COMPARED = tuple(member for member in PORTABLE if member != "mtime_ns")


@pytest.fixture(params=VOLUMES)
def shared(request, volume, workdir):
    """Formatted by us or by stock, in turns."""
    options = VOLUMES[request.param]
    if options == ["--encrypt-rsa-key"]:
        run(["openssl", "genrsa", "-out", workdir / "key.pem", "2048"])
        options = [*options, workdir / "key.pem"]
    if list(VOLUMES).index(request.param) % 2:
        volume.format(*options)
    else:
        volume.stock_format_and_adopt(*options)
    if request.param == "quotas":
        for quota in QUOTAS:
            tarn("quota", "set", volume.url, *quota)
    return volume


def below(name, tree):
    """The records of a tree as they are called in the volume, where it is /name."""
    return {f"/{name}{path.rstrip('/')}": made for path, made in tree.items()}


class OwnedSide(Side):
    """Gives files and directories to others, and nothing else: with a symlink or a fifo a stock client
    forgets to move what its owners' quotas count."""

    def chown(self, path, uid, gid):
        if stat.S_IFMT(os.lstat(self._at(path)).st_mode) in (stat.S_IFREG, stat.S_IFDIR):
            super().chown(path, uid, gid)


def shadowed(mounted, shadow, seed, seconds):
    """Random operations on both sides until the time is over; the first outcome that differs.

    Only whole visits of files: with trash, who has an unlinked file open may not write it any more.
    """
    end, rounds = time.monotonic() + seconds, 0
    Path(mounted).mkdir()
    Path(shadow).mkdir()
    while time.monotonic() < end:
        one = OwnedSide(Path(mounted) / str(rounds), counts_links=False)
        other = OwnedSide(Path(shadow) / str(rounds), counts_links=False)
        operations = make_operations(seed * 1000 + rounds, 300, mounts=2)
        problem = first_disagreement(operations, one, other)
        if problem:
            return f"round {rounds}: {problem}"
        rounds += 1
    return None


def crowd_in(mounts, owners, seconds, with_acls=False, links="n"):
    """One process for each mount of the list in the shared directories; what went wrong by whom."""
    workers = [Worker(scramble, str(mount.path("crowd")), SEED * 10 + number, seconds, owner,
                      with_acls, links)
               for number, (mount, owner) in enumerate(zip(mounts, owners))]
    return [worker.met(seconds + 120).wrong for worker in workers]


def work_on_both(ours, stock, shadows, with_acls):
    """What went wrong, as lines."""
    for number in range(4):
        ours.path("crowd", str(number)).mkdir(parents=True)
        if with_acls and number % 2:
            run(["setfacl", "-m", "d:u:1000:rwx,d:g:2000:rx", ours.path("crowd", str(number))])
    ours.path("own").mkdir(exist_ok=True)
    time.sleep(KERNEL_FORGETS)
    owners = [Worker(shadowed, str(mount.path("own", name)), str(shadows / name), SEED, SECONDS)
              for name, mount in (("tarn", ours), ("stock", stock))]
    wrong = crowd_in([ours, stock, ours, stock], "abcd", SECONDS / 2, with_acls, "l")
    time.sleep(KERNEL_FORGETS)
    wrong += crowd_in([ours, stock, ours, stock], "badc", SECONDS / 2, with_acls, "l")
    wrong.append([line for line in (worker.met(SECONDS + 120) for worker in owners) if line])
    return sum(wrong, [])


def listing_of_acls(mount):
    """What getfacl shows of everything in the crowded directories."""
    return run(["getfacl", "-Rpn", "."], cwd=mount.path("crowd")).stdout


@pytest.mark.limit(1200)
def test_both_at_once(shared, workdir, request):
    with_acls = request.node.callspec.params["shared"] == "ACL"
    shadows = workdir / "shadows"
    shadows.mkdir()
    with shared.mount() as ours, shared.stock_mount() as stock:
        wrong = work_on_both(ours, stock, shadows, with_acls)
    assert not wrong, "\n".join(wrong)
    with shared.mount() as ours:
        by_us, acls = read_tree(ours.directory), with_acls and listing_of_acls(ours)
    with shared.stock_mount("--read-only") as stock:
        # Not from the root: a stock mount lists endless files there.
        by_stock = {**below("crowd", read_tree(stock.path("crowd"))),
                    **below("own", read_tree(stock.path("own")))}
        assert not with_acls or sorted(listing_of_acls(stock).split("\n\n")) == sorted(
            acls.split("\n\n"))
    by_us.pop("/")
    assert_same(by_stock, by_us, [member for member in ALL
                                  if member != "sha256" or not stock_reads_badly(shared)])
    own = {path: made for path, made in by_us.items() if path.startswith("/own")}
    lines = differences(below("own", read_tree(shadows)), own, COMPARED)
    assert not lines, "\n".join(lines)
    assert_nothing_lost_or_leaked(shared)
    assert_exact(shared)


def stock_reads_badly(volume):
    """With zstd a stock client shows bytes of its decoder where a hole follows data.

    It does so in files that it wrote itself. What we read is held against the shadows.
    """
    return '"Compression": "zstd"' in volume.value("SELECT value FROM jfs_setting"
                                                   " WHERE name = 'format'")


def assert_nothing_lost_or_leaked(volume):
    """Both programs look at both sides: every block is there, and nothing else is."""
    volume.assert_nothing_lost()
    volume.assert_nothing_leaked()
    recount_what_stock_alone_did(volume)
    report = tarn_json("gc", volume.url, env={"JFS_GC_SKIPPEDTIME": "0"}, timeout=300)
    assert report["leaked"]["objects"] == 0


def recount_what_stock_alone_did(volume):
    """Our fsck finds nothing but statistics of directories in which a stock client worked alone.

    It adds the length of a symlink's target for each further name, and what is written to a file
    with several names to those directories that have one a moment later.
    """
    done = tarn("fsck", volume.url, "--settle", "0", "--sync-dir-stat", "--json", check=False,
                timeout=300)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert found, done.stderr
    ours = [problem for problem in found[:-1] if problem["kind"] != "stats"
            or not problem["path"].startswith(("/own/stock/", "/.trash/"))]
    assert not ours, ours


def assert_exact(volume):
    """Counters, directory statistics and the usage of quotas equal a recount."""
    assert_consistent(volume)
    assert_dir_quotas(volume)
    if volume.value("SELECT count(*) FROM jfs_user_group_quota"):
        assert_owners(volume)


def test_races_for_one_name_leave_us_without_errors(volume):
    volume.format()
    with volume.mount() as ours, volume.stock_mount() as stock:
        for number in range(4):
            ours.path("crowd", str(number)).mkdir(parents=True)
        time.sleep(KERNEL_FORGETS)
        wrong = crowd_in([ours, stock, ours, stock], [""] * 4, SECONDS)
    assert not wrong[0] + wrong[2]
