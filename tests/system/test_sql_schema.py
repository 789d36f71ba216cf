"""New volumes have the tables of a stock client; our functions bear what a stock client wrote."""

import base64
import errno
import gzip
import json
import os

import pytest
from harness.check import assert_consistent
from harness.sql_volume import SqlVolume
from harness.volume import FIXTURES, TRASH_INODE, fixture_names

ROOT = 1
TYPES = {"file": 1, "dir": 2, "symlink": 3, "fifo": 4, "block": 5, "char": 6,
         "socket": 7}


@pytest.fixture(scope="module")
def stock(cluster):
    """A volume that a stock client made, as it left it."""
    name = cluster.create_database()
    cluster.psql(name, gzip.decompress((FIXTURES / "plain" / "dump.sql.gz").read_bytes()))
    yield name
    cluster.drop_database(name)


@pytest.fixture
def ours(cluster, database):
    volume = SqlVolume(cluster, database)
    yield volume
    volume.close()


CATALOG = {
    "columns": "SELECT c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod),"
               " a.attnotnull, pg_get_expr(d.adbin, d.adrelid), a.attstorage, a.attidentity"
               " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
               " LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum"
               " WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace"
               " AND a.attnum > 0 AND NOT a.attisdropped ORDER BY 1, 2",
    "indexes": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1",
    "constraints": "SELECT conrelid::regclass::text, conname, contype, pg_get_constraintdef(oid)"
                   " FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2",
    "sequences": "SELECT s.sequencename, s.data_type::text, s.start_value, s.increment_by,"
                 " s.min_value, s.max_value, s.cycle, s.cache_size, d.refobjid::regclass::text,"
                 " d.refobjsubid FROM pg_sequences s JOIN pg_depend d ON d.deptype = 'a'"
                 " AND d.objid = format('public.%I', s.sequencename)::regclass"
                 " WHERE s.schemaname = 'public' ORDER BY 1",
    "tables": "SELECT relname, relkind, relpersistence, relreplident, relhasrules, relhastriggers,"
              " reloptions FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1",
    "functions": "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
}


@pytest.mark.parametrize("part", CATALOG)
def test_the_tables_are_those_of_a_stock_client(cluster, stock, ours, part):
    assert ours.query(CATALOG[part]) == cluster.query(stock, CATALOG[part])


@pytest.mark.parametrize("trash_days", [0, 1])
def test_a_new_volume_holds_what_a_stock_client_leaves_after_format(cluster, database, trash_days):
    volume = SqlVolume(cluster, database, trash_days)
    assert dict(volume.query("SELECT name, value FROM jfs_counter")) == {
        "nextInode": 2, "nextChunk": 1, "nextSession": 0, "usedSpace": 0, "totalInodes": 0,
        "nextCleanupSlices": 0}
    nodes = volume.query("SELECT inode, type, flags, mode, uid, gid, nlink, length, rdev, parent,"
                         " access_acl_id, default_acl_id, tier_id FROM jfs_node ORDER BY 1")
    root = (ROOT, 2, 0, 0o777, 0, 0, 2, 4096, 0, 1, 0, 0, 0)
    trash = (TRASH_INODE, 2, 0, 0o555, 0, 0, 2, 4096, 0, 1, 0, 0, 0)
    assert nodes == ([root, trash] if trash_days else [root])
    assert volume.value("SELECT count(*) FROM jfs_node WHERE atime <> mtime OR mtime <> ctime"
                        " OR abs(mtime - extract(epoch FROM now()) * 1e6) > 60e6") == 0
    rows = {table: len(lines) for table, lines in volume.contents().items() if lines}
    # A stock client counts them at its first flush, and what is pending then twice.
    assert rows == {"jfs_counter": 6, "jfs_node": len(nodes), "jfs_setting": 1, "jfs_dir_stats": 1}
    assert volume.query("SELECT * FROM jfs_dir_stats") == [(ROOT, 0, 0, 0)]
    assert json.loads(volume.value("SELECT value FROM jfs_setting"))["TrashDays"] == trash_days
    volume.close()


# ---- volumes that a stock client wrote

STATES = [(name, "") for name in fixture_names()] + [("live", "-live")]


@pytest.fixture(params=STATES, ids=lambda state: "".join(state))
def written(request, cluster, database):
    variant, suffix = request.param
    source = FIXTURES / variant
    cluster.psql(database, gzip.decompress((source / f"dump{suffix}.sql.gz").read_bytes()))
    volume = SqlVolume(cluster, database, is_new=False)
    listing = [json.loads(line) for line in open(source / f"tree{suffix}.jsonl", encoding="utf-8")]
    yield volume, listing
    volume.close()


def path_of(entry):
    return (base64.b64decode(entry["path_b64"]) if "path_b64" in entry
            else os.fsencode(entry["path"]))


def test_every_path_of_a_stock_volume_is_found_with_its_attributes(written):
    volume, listing = written
    session = volume.session()
    for entry in listing:
        path = path_of(entry)
        found = session.read("resolve", ROOT, path)
        assert found.err == 0, path
        assert found == session.read("getattr", found.ino)
        if path == b"/.trash":  # the client makes up its times, size and mode at each mount
            assert found.ino == TRASH_INODE
            continue
        assert (found.ino, found.type, found.nlink) == (
            entry["ino"], TYPES[entry["type"]], entry["nlink"]), path
        assert (found.mode, found.uid, found.gid) == (
            int(str(entry["mode"]), 8) & 0o7777, entry["uid"], entry["gid"]), path
        for name in ("atime", "mtime", "ctime"):
            assert found[name] * 1000 + found[name + "nsec"] == entry[name + "_ns"], (path, name)
        if found.type in (1, 3):
            assert found.length == entry["size"], path
        if found.type in (5, 6):
            device = (os.minor(entry["rdev"]) & 0xff | os.major(entry["rdev"]) << 8
                      | (os.minor(entry["rdev"]) & ~0xff) << 12)
            assert found.rdev == device, path
        if found.type == 3:
            target = (base64.b64decode(entry["target_b64"]) if "target_b64" in entry
                      else os.fsencode(entry["target"]))
            assert session.read("readlink", found.ino) == {"err": 0, "target": target}


def test_listings_of_a_stock_volume_are_complete_and_in_order(written):
    volume, listing = written
    session = volume.session()
    inodes = {path_of(entry): entry["ino"] for entry in listing}
    children = {path: [] for path, entry in zip(inodes, listing) if TYPES[entry["type"]] == 2}
    for path in inodes:
        if path not in (b"/", b"/.trash"):
            parent, _, name = path.rpartition(b"/")
            children[parent or b"/"].append(name)
    for path, names in children.items():
        assert session.names(inodes[path]) == sorted(names)
        paged, after = [], b""
        while page := session.names(inodes[path], after, 7, True):
            paged += page
            after = page[-1]
        assert paged == sorted(names)
    for path, ino in inodes.items():
        told = bytes(session.read("path", ino).path)
        assert inodes.get(told) == ino, (path, told)


def test_plus_lists_the_attributes_that_getattr_gives(written):
    volume, listing = written
    session = volume.session()
    directories = [entry["ino"] for entry in listing if TYPES[entry["type"]] == 2]
    for directory in directories[:40]:
        for row in session.rows("readdir", directory, b"", 1000, True):
            name = row.pop("name")
            single = session.lookup(directory, bytes(name))
            assert single.pop("usage") is None
            assert row == single


def test_a_stock_volume_takes_every_change_of_names(written):
    """Each file, one after another, is linked, moved and removed; each directory in the end too."""
    volume, listing = written
    session = volume.session()
    session.db.execute("SET synchronous_commit = off")
    volume.db.execute("UPDATE jfs_counter SET value = 1099511627776 WHERE name = 'nextInode'")
    # EDQUOT where stock has left a quota full.
    allowed = {0, errno.EPERM, errno.ENOTEMPTY, errno.ENOENT, errno.EDQUOT}
    done = 0
    assert session.mkdir(ROOT, b"ours", 500000).err == 0
    for number, entry in enumerate(reversed(listing[-400:])):
        parent, name = session.read("resolve", ROOT, path_of(entry).rpartition(b"/")[0]), (
            path_of(entry).rpartition(b"/")[2])
        if path_of(entry).startswith(b"/.trash") or parent.err or not name:
            continue
        if TYPES[entry["type"]] == 2:
            replies = [session.create(entry["ino"], b"of tarn", 600000 + number),
                       session.unlink(entry["ino"], b"of tarn"), session.rmdir(parent.ino, name)]
        else:
            replies = [session.link(entry["ino"], 500000, b"%d" % number),
                       session.rename(parent.ino, name, 500000, name),
                       session.rename(500000, name, parent.ino, name),
                       session.unlink(parent.ino, name)]
        assert {reply.err for reply in replies} <= allowed, (entry, replies)
        done += sum(reply.err == 0 for reply in replies)
    assert done > 20
    assert_consistent(volume, with_stats=False)
