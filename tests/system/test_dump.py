"""`tarn dump` and `tarn load`: a volume out of its database and into another."""

import gzip
import json
import os
import subprocess

import pytest
from harness.check import assert_consistent
from harness.metadata import assert_loaded, decorate, give_acls, rows_of, setting_of
from harness.quotas import assert_dir_quotas, assert_owners
from harness.tree import assert_same, populate, read_tree
from harness.volume import BIN, FAILED, NOT_FORMATTED, TRASH_INODE, USAGE, Volume, tarn, tarn_json
from harness.wait import wait_for


@pytest.fixture
def other(volume, cluster, workdir):
    """Another database for the same bucket."""
    name = cluster.create_database()
    yield Volume(cluster, name, volume.name, workdir, bucket=volume.bucket)
    cluster.drop_database(name)


def tables(volume):
    return volume.value("SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname LIKE 'jfs%'")


def furnish(volume):
    """A volume with everything in it; its rows, and its tree."""
    with volume.mount() as mount:
        populate(mount.directory)
        decorate(mount)
    for target, limits in ((("--path", "/a"), ("--inodes", 5000)),
                           (("--path", "/a/b"), ("--capacity", "1T")),
                           (("--uid", 1000), ("--inodes", 77)), (("--gid", 50), ("--capacity", 9))):
        tarn("quota", "set", volume.url, *target, *limits)
    with volume.mount("--read-only", "--hide-internal") as mount:
        return read_tree(mount.directory, also=[".trash"])


@pytest.mark.parametrize("name", ["meta.json", "meta.json.gz"])
def test_a_volume_is_the_same_after_a_dump_and_a_load(volume, other, workdir, name):
    tree = furnish(volume)
    give_acls(volume)
    rows, setting = rows_of(volume), setting_of(volume)
    counters = dict(volume.query("SELECT name, value FROM jfs_counter"))
    done = tarn_json("dump", volume.url, workdir / name)
    assert done["entries"] > 700 and done["corrupt_entries"] == 0
    assert os.stat(workdir / name).st_mode & 0o777 == 0o600
    assert sorted(os.listdir(workdir)) == sorted({*os.listdir(workdir)} - {f"{name}.tmp"})

    loaded = tarn_json("load", other.url, workdir / name)
    assert loaded["entries"] == done["entries"]
    assert_loaded(rows, other)
    assert setting_of(other) == setting
    after = dict(other.query("SELECT name, value FROM jfs_counter"))
    for counter in ("nextInode", "nextChunk", "nextSession", "nextTrash", "usedSpace",
                    "totalInodes"):
        assert after[counter] == counters[counter], counter
    other.query("UPDATE jfs_node SET access_acl_id = 0, default_acl_id = 0 RETURNING 1")
    tarn("primary", "adopt", other.url)
    assert_dir_quotas(other)
    assert_owners(other)
    with other.mount("--hide-internal") as mount:
        assert_same(tree, read_tree(mount.directory, also=[".trash"]))
        (mount.directory / "new").write_bytes(b"x" * 100000)
    assert_consistent(other)


def test_a_dump_says_nothing_that_json_does_not_know(volume, workdir):
    """The document is plain JSON, in the order that readers which do not seek rely on."""
    furnish(volume)
    tarn("dump", volume.url, workdir / "meta.json.gz")
    with gzip.open(workdir / "meta.json.gz", "rt", encoding="utf-8") as file:
        document = json.load(file)
    assert list(document) == ["Setting", "Counters", "Sustained", "DelFiles", "Quotas",
                              "GroupQuotas", "UserQuotas", "FSTree", "Trash"]

    def check(entry):
        assert list(entry)[0] == "attr"
        if entry["attr"]["type"] == "directory":
            assert list(entry)[-1] == "entries"
            for child in entry["entries"].values():
                check(child)
    check(document["FSTree"])
    check(document["Trash"])
    odd = document["FSTree"]["entries"]["odd"]["entries"]
    assert "100%2541%25" in odd and "%FF%FE%20not%20text" in odd


def test_a_part_of_a_volume_becomes_a_volume(volume, other, workdir):
    furnish(volume)
    with volume.mount("--read-only", "--hide-internal") as mount:
        part = read_tree(mount.path("odd"))
    done = subprocess.run([BIN / "tarn", "dump", volume.url, "--subdir", "/odd"],
                          capture_output=True, check=True)
    assert b"dumped" in done.stderr
    done = subprocess.run([BIN / "tarn", "load", other.url], input=done.stdout,
                          capture_output=True, check=True)
    assert b"tarn primary adopt" in done.stdout
    tarn("primary", "adopt", other.url)
    with other.mount("--read-only", "--hide-internal") as mount:
        seen = read_tree(mount.directory)
    for tree in (part, seen):
        for record in tree.values():
            record["nlink"] = None  # other names of a file may be outside
        tree["/"] = None
    assert seen == part
    assert tarn("dump", volume.url, "--subdir", "/nowhere", workdir / "x",
                check=False).returncode == FAILED
    assert not (workdir / "x").exists() and not (workdir / "x.tmp").exists()


def test_the_trash_and_the_secrets_can_be_left_out(volume, other, workdir):
    furnish(volume)
    tarn("config", volume.url, "--access-key", "me", "--encrypt-secret",
         env={"TARN_SECRET_KEY": "hush"})
    done = tarn("dump", volume.url, workdir / "meta.json", "--skip-trash")
    assert "secret keys were left out" in done.stderr
    document = json.loads((workdir / "meta.json").read_text())
    assert "Trash" not in document and document["Setting"]["SecretKey"] == "removed"
    done = tarn("load", other.url, workdir / "meta.json")
    assert "--secret-key" in done.stdout
    tarn("primary", "adopt", other.url)
    assert tarn("status", other.url, check=False).returncode != 0
    tarn("config", other.url, env={"TARN_SECRET_KEY": "hush"})
    tarn("status", other.url)
    assert_consistent(other)
    tarn("dump", volume.url, workdir / "kept.json", "--keep-secret-key")
    assert json.loads((workdir / "kept.json").read_text())["Setting"] == setting_of(volume)


def test_a_load_that_is_killed_leaves_an_empty_database(volume, other, workdir):
    with volume.mount() as mount:
        for number in range(3000):
            mount.path(f"f{number}").touch()
    tarn("dump", volume.url, workdir / "meta.json")
    text = (workdir / "meta.json").read_bytes()
    child = subprocess.Popen([BIN / "tarn", "load", other.url], stdin=subprocess.PIPE,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    child.stdin.write(text[:-1000])
    child.stdin.flush()
    wait_for("rows are on their way", lambda: other.query(
        "SELECT 1 FROM pg_stat_activity WHERE application_name = 'tarn load'"
        " AND query LIKE '%%load_edges%%'"))
    child.kill()
    child.wait()
    child.stdin.close()
    wait_for("the transaction is gone", lambda: not other.query(
        "SELECT 1 FROM pg_stat_activity WHERE application_name = 'tarn load'"))
    assert tables(other) == 0
    tarn("load", other.url, workdir / "meta.json")
    assert other.value("SELECT count(*) FROM jfs_node") == volume.value(
        "SELECT count(*) FROM jfs_node")


def test_only_an_empty_database_is_loaded_into(volume, other, workdir):
    tarn("dump", volume.url, workdir / "meta.json")
    done = tarn("load", volume.url, workdir / "meta.json", check=False)
    assert done.returncode == FAILED and "not empty" in done.stderr
    tarn("load", other.url, workdir / "meta.json")
    done = tarn("load", other.url, workdir / "meta.json", check=False)
    assert done.returncode == FAILED and "not empty" in done.stderr
    assert tarn("dump", other.url, workdir / "x", check=False).returncode == NOT_FORMATTED


def renumber(dump, name, as_directory, number=1):
    """Give an entry of /dir the inode of /dir, or that number."""
    document = json.loads(dump)
    directory = document["FSTree"]["entries"]["dir"]
    directory["entries"][name]["attr"]["inode"] = (
        directory["attr"]["inode"] if as_directory else number)
    return json.dumps(document).encode()


@pytest.mark.parametrize("broken", [
    lambda d: b"", lambda d: b"[]", lambda d: b"{}", lambda d: d[:len(d) // 2],
    lambda d: d + b"x", lambda d: d.replace(b'"Counters"', b'"Kounters"'),
    lambda d: d.replace(b'"attr"', b'"xattr"', 1), lambda d: d.replace(b'"directory"', b'"dir"'),
    lambda d: d.replace(b'"entries"', b'"attr"', 1), lambda d: d.replace(b'"len":', b'"len":9'),
    lambda d: d.replace(b'"inode":', b'"inode":-'), lambda d: d.replace(b'"text"', b'"a%2Fb"'),
    lambda d: d.replace(b'"BlockSize": 4096', b'"BlockSize": 4097'),
    lambda d: d.replace(b'"FSTree"', b'"Tree"'), lambda d: gzip.compress(d)[:-20],
    lambda d: d.replace(b'"text"', b'".."'), lambda d: renumber(d, "text", "dir"),
    lambda d: renumber(d, "inner", "dir"), lambda d: renumber(d, "inner", None),
    lambda d: renumber(d, "text", None, 1 << 63), lambda d: renumber(d, "text", None, 10**40),
    lambda d: renumber(d, "text", None, TRASH_INODE + 7),
    lambda d: json.dumps({**json.loads(d), "DelFiles": [{"inode": 1, "expire": 1}]}).encode(),
    lambda d: d.replace(b'"inner":', b'"x":{"a":' * 100_000)],
    ids=lambda b: None)
def test_what_is_no_whole_dump_is_refused_and_loads_nothing(volume, other, workdir, broken):
    with volume.mount() as mount:
        mount.path("dir").mkdir()
        mount.path("dir", "inner").mkdir()
        mount.path("dir", "text").write_bytes(b"hello")
    tarn("dump", volume.url, workdir / "meta.json")
    whole = (workdir / "meta.json").read_bytes()
    changed = broken(whole)
    assert changed != whole
    (workdir / "broken.json").write_bytes(changed)
    done = tarn("load", other.url, workdir / "broken.json", check=False)
    assert done.returncode in (FAILED, USAGE), done.stdout
    assert done.stderr.startswith("tarn load: ") and done.stderr.count("\n") == 1, done.stderr
    assert tables(other) == 0


def test_a_file_that_lives_is_not_deleted_because_the_dump_lists_it_as_removed(
        volume, other, workdir):
    with volume.mount() as mount:
        mount.path("f").write_bytes(b"hello")
        ino = os.stat(mount.path("f")).st_ino
    volume.query("INSERT INTO jfs_delfile (inode, length, expire) VALUES (%s, 5, 1) RETURNING 1",
                 [ino])
    tarn("dump", volume.url, workdir / "meta.json")
    tarn("load", other.url, workdir / "meta.json")
    assert other.value("SELECT count(*) FROM jfs_delfile") == 0
    assert other.value("SELECT count(*) FROM jfs_chunk WHERE inode = %s", [ino]) == 1


def test_a_dump_goes_on_with_a_damaged_entry_left_out(volume, workdir):
    with volume.mount() as mount:
        mount.path("kept").touch()
        mount.path("lost").touch()
    volume.query("DELETE FROM jfs_node WHERE inode = (SELECT inode FROM jfs_edge"
                 " WHERE name = 'lost') RETURNING 1")
    done = tarn_json("dump", volume.url, workdir / "meta.json")
    assert done["corrupt_entries"] == 1
    assert list(json.loads((workdir / "meta.json").read_text())["FSTree"]["entries"]) == ["kept"]


def test_a_cycle_of_directories_beside_the_tree_does_not_hold_up_a_dump(volume, workdir):
    with volume.mount() as mount:
        os.makedirs(mount.path("a", "b"))
    a, b = (volume.value("SELECT inode FROM jfs_edge WHERE name = %s", [n]) for n in (b"a", b"b"))
    volume.query("UPDATE jfs_edge SET parent = %s WHERE inode = %s RETURNING 1", [b, a])
    tarn("dump", volume.url, workdir / "meta.json")
    volume.query("UPDATE jfs_edge SET inode = 1 WHERE inode = %s RETURNING 1", [b])


def test_the_binary_form_is_refused_with_a_sentence(volume, workdir):
    for word in ("dump", "load"):
        done = tarn(word, volume.url, workdir / "x", "--binary", check=False)
        assert done.returncode == USAGE and "binary form" in done.stderr


@pytest.mark.skipif(not os.environ.get("TARN_LONG"), reason="TARN_LONG is not set")
@pytest.mark.limit(3600)
def test_a_million_files_need_no_more_memory_than_a_few(volume, other, workdir):
    volume.query("INSERT INTO jfs_node SELECT i, 1, 0, 420, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0,"
                 " 0, 0 FROM generate_series(1000, 1000999) i RETURNING 1")
    volume.query("INSERT INTO jfs_edge (parent, name, inode, type) SELECT 1,"
                 " convert_to('f' || i, 'UTF8'), i, 1 FROM generate_series(1000, 1000999) i"
                 " RETURNING 1")
    for arguments in (("dump", volume.url), ("load", other.url)):
        done = subprocess.run(["/usr/bin/time", "-f", "%M", BIN / "tarn", *arguments,
                               workdir / "meta.json.gz"], capture_output=True, text=True,
                              check=True)
        assert int(done.stderr.split()[-1]) < 100_000, done.stderr
    assert other.value("SELECT count(*) FROM jfs_node") == volume.value(
        "SELECT count(*) FROM jfs_node")
