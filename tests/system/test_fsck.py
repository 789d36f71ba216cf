"""tarn fsck: every kind of damage is named, what is promised is mended, data are never harmed."""

import json
import os
import threading
from pathlib import Path

import pytest

from harness.check import assert_consistent, problems
from harness.process import run
from harness.volume import BIN, DONE, NOT_READY, Restored, fixture_names, tarn

LEFT, REPAIRED = 8, 9


class Check:
    """One run: its exit code, the problems by kind, the sums.

    settle: at rest nothing is on its way, so there is nothing to wait for.
    """

    def __init__(self, volume, *options, settle="0s"):
        done = run([BIN / "tarn", "fsck", volume.url, "--json", "--settle", settle, *options],
                   check=False, timeout=120)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert lines, f"{done.returncode} {done.stderr}"
        self.code, self.sums, self.found = done.returncode, lines[-1], lines[:-1]
        self.kinds = sorted({line["kind"] for line in self.found})

    def inodes(self, kind):
        return {line["inode"] for line in self.found if line["kind"] == kind}


def damage(volume, text, parameters=None):
    with volume.cluster.connect(volume.database) as db:
        return db.execute(text, parameters)


@pytest.fixture
def filled(volume):
    """dir/f0…f9, dir/sub/deep/x, a hard link, a symbolic link; unmounted."""
    with volume.mount() as mount:
        mount.path("dir/sub/deep").mkdir(parents=True)
        for i in range(10):
            mount.path(f"dir/f{i}").write_bytes(os.urandom(10_000 + i))
        mount.path("dir/sub/deep/x").write_bytes(os.urandom(5 << 20))
        os.link(mount.path("dir/f0"), mount.path("dir/sub/hard"))
        os.symlink("f1", mount.path("dir/soft"))
    return volume


def ino(volume, path):
    return json.loads(tarn("info", volume.url, path, "--json").stdout)["inode"]


def block_path(volume, name):
    return next((volume.bucket / volume.name / "chunks").rglob(name))


def test_a_healthy_volume_is_clean(filled):
    for options in ([], ["--checksum"], ["--path", "/"], ["--path", "/dir", "--recursive"]):
        check = Check(filled, *options)
        assert (check.code, check.found) == (DONE, []), options
    assert Check(filled).sums["blocks"] == len(filled.blocks())


def test_a_lost_block_names_its_file(filled):
    big = ino(filled, "/dir/sub/deep/x")
    name = next(n for n in filled.blocks() if n.endswith("_1_1048576"))
    block_path(filled, name).unlink()
    for options in ([], ["--path", "/dir", "--recursive"], ["--checksum"]):
        check = Check(filled, *options)
        assert check.code == LEFT and check.kinds == ["broken file", "lost block"], options
        assert check.inodes("broken file") == {big}
        assert check.sums["lost_blocks"] == 1 and check.sums["broken_files"] == 1
    assert next(p for p in check.found if p["kind"] == "broken file")["path"] == "/dir/sub/deep/x"
    shown = run([BIN / "tarn", "fsck", filled.url], check=False)
    assert shown.returncode == LEFT and "/dir/sub/deep/x" in shown.stdout and name in shown.stdout


def test_a_block_that_is_cut_is_found_by_its_size_and_a_flipped_bit_by_its_sum(filled):
    names = sorted(filled.blocks())
    cut, flipped = block_path(filled, names[0]), block_path(filled, names[-1])
    data = cut.read_bytes()
    cut.write_bytes(data[:-1])
    assert Check(filled).kinds == ["block size", "broken file"]
    cut.write_bytes(data)
    bad = bytearray(flipped.read_bytes())
    bad[100] ^= 1
    flipped.write_bytes(bad)
    assert Check(filled).code == DONE, "a sum is only compared when it is asked for"
    assert Check(filled, "--checksum").kinds == ["bad block", "broken file"]


def test_missing_sums_are_filled_from_what_is_in_the_bucket(filled):
    before = filled.query("SELECT slice, size, sums FROM tarn.block_sum ORDER BY slice")
    damage(filled, "DELETE FROM tarn.block_sum")
    check = Check(filled, "--checksum")
    assert check.code == DONE and check.sums["slices_without_sums"] == len(before)
    assert Check(filled, "--checksum", "--repair").sums["sums_kept"] == len(before)
    assert filled.query("SELECT slice, size, sums FROM tarn.block_sum ORDER BY slice") == before


# What is done to the volume, which kinds are named, and whether --repair mends all of it.
DAMAGES = {
    "nlink of a file": ("UPDATE jfs_node SET nlink = 7 WHERE type = 1 AND nlink = 2",
                        ["nlink"], True),
    "nlink of a directory": ("UPDATE jfs_node SET nlink = 9 WHERE inode ="
                             " (SELECT inode FROM jfs_edge WHERE name = 'sub')", ["nlink"], True),
    "parent of a directory": ("UPDATE jfs_node SET parent = 1 WHERE inode ="
                              " (SELECT inode FROM jfs_edge WHERE name = 'deep')",
                              ["parent"], True),
    "parent of a file": ("UPDATE jfs_node SET parent = 1 WHERE inode ="
                         " (SELECT inode FROM jfs_edge WHERE name = 'f3')", ["parent"], True),
    "an ACL that does not exist": ("UPDATE jfs_node SET access_acl_id = 77 WHERE inode ="
                                   " (SELECT inode FROM jfs_edge WHERE name = 'f3')",
                                   ["acl"], True),
    "type of an entry": ("UPDATE jfs_edge SET type = 3 WHERE name = 'f4'", ["type"], True),
    "an inode without a name": ("DELETE FROM jfs_edge WHERE name = 'f5'",
                                ["orphan", "stats"], True),
    "a directory without a name": ("DELETE FROM jfs_edge WHERE name = 'deep'",
                                   ["nlink", "orphan", "stats"], True),
    "a file's node is gone": ("DELETE FROM jfs_node WHERE inode ="
                              " (SELECT inode FROM jfs_edge WHERE name = 'f6')",
                              ["entry", "stats", "stray chunk", "usage"], True),
    "a directory's node is gone": ("DELETE FROM jfs_node WHERE inode ="
                                   " (SELECT inode FROM jfs_edge WHERE name = 'sub')",
                                   ["entry", "lost", "stats", "usage"], True),
    "a symbolic link's node is gone": ("DELETE FROM jfs_node WHERE type = 3",
                                       ["entry", "stats", "symlink", "usage"], True),
    "an attribute of nobody": ("INSERT INTO jfs_xattr (inode, name, value)"
                               " VALUES (99999, 'user.x', 'y')", ["xattr"], True),
    "a target of nobody": ("INSERT INTO jfs_symlink VALUES (99999, 'x')", ["symlink"], True),
    "a link without a target": ("DELETE FROM jfs_symlink", ["target"], False),
    "a reference too many": ("UPDATE jfs_chunk_ref SET refs = refs + 1 WHERE chunkid ="
                             " (SELECT min(chunkid) FROM jfs_chunk_ref)", ["refs"], True),
    "a reference too few": ("UPDATE jfs_chunk_ref SET refs = 0 WHERE chunkid ="
                            " (SELECT max(chunkid) FROM jfs_chunk_ref)", ["refs"], True),
    "a lost count": ("DELETE FROM jfs_chunk_ref WHERE chunkid ="
                     " (SELECT max(chunkid) FROM jfs_chunk_ref)", ["refs"], True),
    "half a record": ("UPDATE jfs_chunk SET slices = slices || '\\x00'::bytea WHERE id ="
                      " (SELECT max(id) FROM jfs_chunk)", ["malformed chunk"], False),
    "a record beyond its chunk": ("UPDATE jfs_chunk SET slices = overlay(slices PLACING"
                                  " '\\x7f000000'::bytea FROM 1) WHERE id ="
                                  " (SELECT max(id) FROM jfs_chunk)", ["malformed chunk"], False),
    "statistics of a directory": ("UPDATE jfs_dir_stats SET used_space = used_space + 4096,"
                                  " used_inodes = 3 WHERE used_inodes > 5", ["stats"], True),
    "counters of the volume": ("UPDATE jfs_counter SET value = value + 5 WHERE name IN"
                               " ('usedSpace', 'totalInodes')", ["usage"], True),
    "a quota that counts wrong": ("INSERT INTO jfs_dir_quota SELECT inode, 1 << 30, 1000, 5, 5"
                                  " FROM jfs_edge WHERE name = 'sub'", ["quota"], True),
}


# Damage that touches what other damage touches too comes in a volume of its own.
ALONE = ["a file's node is gone", "a directory's node is gone", "a directory without a name",
         "a symbolic link's node is gone", "a link without a target", "half a record",
         "a record beyond its chunk"]
TOGETHER = [name for name in DAMAGES if name not in ALONE]
EACH = list(DAMAGES) if os.environ.get("TARN_LONG") else ALONE[:2]


def mend(volume):
    """Repair until there is nothing to repair: what one repair makes visible the next one mends."""
    for _ in range(3):
        if Check(volume, "--repair").code == DONE:
            break
    again = Check(volume)
    assert (again.code, again.found) == (DONE, [])
    assert_consistent(volume)
    with volume.mount() as mount:
        for top in filter(Path.exists, (mount.path("dir"), mount.path(".tarn-lost"))):
            for path in top.rglob("*"):
                if path.is_file() and not path.is_symlink():
                    path.read_bytes()


def test_every_kind_of_damage_is_named_and_mended(filled):
    wanted = set()
    for name in TOGETHER:
        text, kinds, _ = DAMAGES[name]
        assert damage(filled, text).rowcount > 0, name
        wanted.add(kinds[0])
    check = Check(filled)
    assert check.code == LEFT and set(check.kinds) >= wanted, check.kinds
    mend(filled)


def test_what_cannot_be_mended_is_named(filled):
    for name in ALONE[4:]:
        damage(filled, DAMAGES[name][0])
    for options in ([], ["--repair"]):
        check = Check(filled, *options)
        assert check.code == LEFT and set(check.kinds) >= {"target", "malformed chunk"}


@pytest.mark.parametrize("name", EACH)
def test_damage_is_named_and_mended(filled, name):
    text, kinds, is_mended = DAMAGES[name]
    assert damage(filled, text).rowcount > 0
    check = Check(filled)
    assert check.code == LEFT and set(check.kinds) <= set(kinds), check.found
    assert kinds[0] in check.kinds
    if is_mended:
        mend(filled)


def test_a_file_whose_inode_was_lost_comes_back_with_its_data(filled):
    with filled.mount("--read-only") as mount:
        data = mount.path("dir/sub/deep/x").read_bytes()
    damage(filled, "DELETE FROM jfs_node WHERE inode = %s", [ino(filled, "/dir/sub/deep/x")])
    Check(filled, "--repair")
    assert Check(filled, "--repair").code in (DONE, REPAIRED)
    with filled.mount("--read-only") as mount:
        assert mount.path("dir/sub/deep/x").read_bytes() == data


def test_a_circle_of_directories_is_found_and_put_where_it_can_be_reached(volume):
    """As two stock clients make it: each moves its directory into the other's sub-tree."""
    with volume.mount() as mount:
        mount.path("a/a1").mkdir(parents=True)
        mount.path("b/b1").mkdir(parents=True)
        mount.path("a/a1/inside").write_bytes(b"precious")
        numbers = {name: mount.path(name).stat().st_ino for name in ("a", "a/a1", "b", "b/b1")}
    for child, parent in (("a", "b/b1"), ("b", "a/a1")):
        damage(volume, "UPDATE jfs_edge SET parent = %s WHERE inode = %s",
               [numbers[parent], numbers[child]])
        damage(volume, "UPDATE jfs_node SET parent = %s WHERE inode = %s",
               [numbers[parent], numbers[child]])
        damage(volume, "UPDATE jfs_node SET nlink = nlink + 1 WHERE inode = %s", [numbers[parent]])
    damage(volume, "UPDATE jfs_node SET nlink = 2 WHERE inode = 1")
    damage(volume, "UPDATE jfs_dir_stats SET used_space = 0, used_inodes = 0 WHERE inode = 1")
    damage(volume, "UPDATE jfs_dir_stats SET used_space = 4096, used_inodes = 1 WHERE inode = %s",
           [numbers["b/b1"]])
    damage(volume, "UPDATE jfs_dir_stats SET used_space = 8192, used_inodes = 2 WHERE inode = %s",
           [numbers["a/a1"]])

    check = Check(volume)
    assert check.code == LEFT and check.inodes("cycle") == set(numbers.values())
    check = Check(volume, "--repair")
    assert check.code == REPAIRED
    assert Check(volume).found == []
    assert_consistent(volume)
    with volume.mount() as mount:
        found = list(mount.path(".tarn-lost").rglob("inside"))
        assert [path.read_bytes() for path in found] == [b"precious"]
        assert oct(mount.path(".tarn-lost").stat().st_mode & 0o7777) == oct(0o700)


def test_open_unlinked_files_and_what_is_being_cloned_are_no_orphans(filled):
    damage(filled, "UPDATE jfs_setting SET value = regexp_replace(value, '\"TrashDays\": ?1',"
                   " '\"TrashDays\":0')")
    damage(filled, "INSERT INTO jfs_node (inode, type, flags, mode, uid, gid, atime, mtime, ctime,"
                   " nlink, length, parent) VALUES (4711, 2, 0, 493, 0, 0, 0, 0, 0, 2, 4096, 1)")
    damage(filled, "INSERT INTO jfs_detached_node VALUES (4711, 0)")
    with filled.mount() as mount, open(mount.path("dir/f7"), "rb"):
        mount.path("dir/f7").unlink()
        assert filled.value("SELECT count(*) FROM jfs_sustained") == 1
        assert "orphan" not in Check(filled).kinds


@pytest.mark.parametrize("variant", fixture_names())
def test_volumes_of_every_kind_are_clean_as_stock_left_them(programs, cluster, workdir, variant):
    """Compressed, encrypted, sharded, with a hash prefix, old: every byte is read."""
    restored = Restored(cluster, variant, workdir).restore().adopt()
    more = {"env": restored.env, "timeout": 120, "check": False}
    arguments = [BIN / "tarn", "fsck", restored.url, "--bucket", restored.bucket_argument,
                 "--settle", "0s", "--json"]
    checked = [json.loads(line) for line in
               run([*arguments, "--checksum"], **more).stdout.splitlines()]
    # Stock clients leave accounts approximate: a clone's directories are not counted, for one.
    assert {line["kind"] for line in checked[:-1]} <= {"stats", "usage", "quota"}
    assert checked[-1]["blocks"] >= checked[-1]["slices"] > 0
    assert run([*arguments, "--sync-dir-stat"], **more).returncode in (DONE, REPAIRED)
    assert run(arguments, **more).returncode == DONE
    scanned = run([BIN / "tarn", "gc", restored.url, "--bucket", restored.bucket_argument],
                  **{**more, "env": {**restored.env, "JFS_GC_SKIPPEDTIME": "0"}})
    assert scanned.returncode == DONE and " 0 leaked" in scanned.stdout, scanned
    cluster.drop_database(restored.database)


def test_nothing_is_reported_beside_active_writers(volume):
    stop = threading.Event()

    def work(mount, number):
        top = mount.path(f"w{number}")
        top.mkdir()
        for i in range(100_000):
            if stop.is_set():
                return
            path = top / f"d{i % 5}"
            path.mkdir(exist_ok=True)
            (path / "new").write_bytes(os.urandom(3000))
            os.replace(path / "new", path / "kept")
            os.link(path / "kept", path / "more")
            os.unlink(path / "more")
            if i % 7 == 0:
                os.unlink(path / "kept")
                path.rmdir()

    with volume.mount() as mount:
        threads = [threading.Thread(target=work, args=(mount, i)) for i in range(3)]
        for thread in threads:
            thread.start()
        try:
            checks = [Check(volume, *options, settle="2500ms")
                      for options in ([], ["--repair", "--checksum"])]
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    for check in checks:
        assert check.found == [], json.dumps(check.found, indent=1)
    assert problems(volume) == []


def test_a_mirror_is_checked_and_not_repaired(primary, mirror):
    with primary.mount() as mount:
        mount.path("f").write_bytes(os.urandom(100_000))
    mirror.wait_caught_up()
    # Its blocks are not copied yet: they are read from the origin, and so are not lost.
    assert Check(mirror, "--checksum").found == []
    refused = run([BIN / "tarn", "fsck", mirror.url, "--repair"], check=False)
    assert refused.returncode == NOT_READY and "primary" in refused.stderr


def test_a_directory_with_a_lost_and_a_good_name_keeps_the_good_one(filled):
    damage(filled, "INSERT INTO jfs_edge (parent, name, inode, type)"
                   " SELECT 99999, 'elsewhere', inode, 2 FROM jfs_edge WHERE name = 'deep'")
    assert set(Check(filled).kinds) == {"lost", "names"}
    mend(filled)
    with filled.mount() as mount:
        assert mount.path("dir/sub/deep/x").exists()
