"""gc and fsck of both clients say the same of one volume, also after ours has repaired it."""

import json
import os
import re
import threading
import time

import pytest

from harness.check import assert_consistent
from harness.process import run
from harness.volume import BIN, tarn

SCANNED = re.compile(
    r"scanned (\d+) objects, (\d+) valid, (\d+) pending delete \((\d+) bytes\), (\d+) compacted"
    r" \((\d+) bytes\), (\d+) leaked \((\d+) bytes\).* (\d+) skipped")
LAYOUTS = {"plain": [], "hash": ["--hash-prefix"], "zstd": ["--compress", "zstd"]}


@pytest.fixture(params=LAYOUTS)
def shared(request, volume):
    """Written by both clients, overwritten, half of it removed; both are gone again."""
    volume.stock_format("--trash-days", "1", *LAYOUTS[request.param])
    with volume.stock_mount() as stock:
        fill(stock.directory, "s")
    tarn("primary", "adopt", volume.url)
    with volume.mount() as ours:
        fill(ours.directory, "o")
        for name in ("s0", "s1", "o0"):
            ours.path(name).unlink()
    return volume


def fill(directory, prefix):
    for i in range(6):
        (directory / f"{prefix}{i}").write_bytes(os.urandom(70_000 + i) * 3)
    (directory / f"{prefix}-big").write_bytes(os.urandom(9 << 20))
    with open(directory / f"{prefix}-cut", "wb") as file:
        for i in range(3):
            file.seek(i * 500)
            file.write(b"x" * 1000)
            file.flush()
            os.fsync(file.fileno())


def ours(volume, verb, *options, check=True):
    done = run([BIN / "tarn", verb, volume.url, *options], check=check,
               env={"JFS_GC_SKIPPEDTIME": "0"})
    return done.stdout


def stock(volume, verb, *options):
    return run([volume.program, verb, volume.url, *options], check=False,
               env={"JFS_GC_SKIPPEDTIME": "0"}, timeout=120)


def counts(text):
    return SCANNED.search(text).groups()


def test_both_scan_the_same(shared):
    assert counts(ours(shared, "gc")) == counts(stock(shared, "gc").stderr)
    assert json.loads(ours(shared, "fsck", "--json").splitlines()[-1])["problems"] == 0
    assert stock(shared, "fsck").returncode == 0


def test_what_one_calls_leaked_the_other_does_too(shared):
    for name in ("900_0_4096", "901_1_100"):
        path = shared.bucket / "vol" / "chunks"
        path /= f"{int(name[:3]) % 256:02X}/0" if has_hash(shared) else "0/0"
        path.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(b"x" * 100)
        os.utime(path / name, (time.time() - 7200,) * 2)
    found = counts(ours(shared, "gc"))
    assert found == counts(stock(shared, "gc").stderr) and found[6] == "2"
    ours(shared, "gc", "--delete")
    assert counts(stock(shared, "gc").stderr)[6] == "0"
    assert stock(shared, "fsck").returncode == 0


def has_hash(volume):
    return '"HashPrefix":true' in volume.value("SELECT value FROM jfs_setting").replace(" ", "")


def test_sums_of_stock_slices_are_filled_and_stock_agrees_after_a_repair(shared):
    sums = json.loads(ours(shared, "fsck", "--json", "--checksum", "--repair").splitlines()[-1])
    assert sums["sums_kept"] == sums["slices_without_sums"] > 0
    again = json.loads(ours(shared, "fsck", "--json", "--checksum").splitlines()[-1])
    assert again["slices_without_sums"] == 0 == again["problems"]

    with shared.cluster.connect(shared.database) as db:
        db.execute("UPDATE jfs_node SET nlink = 5 WHERE inode ="
                   " (SELECT inode FROM jfs_edge WHERE name = 'o2')")
        db.execute("UPDATE jfs_chunk_ref SET refs = refs + 1 WHERE chunkid ="
                   " (SELECT max(chunkid) FROM jfs_chunk_ref)")
        db.execute("UPDATE jfs_dir_stats SET used_space = 0 WHERE inode = 1")
        db.execute("DELETE FROM jfs_edge WHERE name = 'o3'")
    ours(shared, "fsck", "--repair", "--settle", "0s", check=False)
    assert stock(shared, "fsck").returncode == 0
    assert stock(shared, "fsck", "--path", "/", "--recursive").returncode == 0
    assert counts(ours(shared, "gc")) == counts(stock(shared, "gc").stderr)
    assert_consistent(shared)


def test_a_lost_block_is_lost_to_both(shared):
    gone = next((shared.bucket / "vol" / "chunks").rglob("*_1_4194304"))
    gone.unlink()
    mine = run([BIN / "tarn", "fsck", shared.url], check=False)
    theirs = stock(shared, "fsck")
    assert mine.returncode == 8 and theirs.returncode != 0
    inodes = re.findall(r"^broken file:\s+(\d+): /", mine.stdout, re.MULTILINE)
    assert len(inodes) == 1 and inodes[0] in theirs.stderr + theirs.stdout


def test_a_collection_beside_a_stock_writer_deletes_nothing_that_lives(volume):
    """Asked to spare no second while a stock client writes, overwrites and removes."""
    volume.stock_format_and_adopt("--trash-days", "0")
    kept, stop = {}, threading.Event()

    def write(directory):
        while not stop.is_set():
            name, data = f"f{len(kept) % 40}", os.urandom(30_000)
            (directory / name).write_bytes(data)
            kept[name] = data

    with volume.stock_mount() as mount:
        writer = threading.Thread(target=write, args=(mount.directory,))
        writer.start()
        for _ in range(6):
            ours(volume, "gc", "--delete")
        stop.set()
        writer.join()
        assert kept and all((mount.directory / n).read_bytes() == d for n, d in kept.items())
    assert stock(volume, "fsck").returncode == 0
    assert json.loads(ours(volume, "fsck", "--json").splitlines()[-1])["lost_blocks"] == 0
