"""What a dump has to bring over: the rows of a volume's tables that files are made of."""

import json
import os
import struct
import subprocess
from collections import Counter

from .volume import TRASH_INODE

_COLUMNS = ("inode, type, flags, mode, uid, gid, atime, mtime, ctime, atimensec, mtimensec,"
            " ctimensec, nlink, length, coalesce(rdev, 0), coalesce(parent, 0),"
            " coalesce(tier_id, 0)")


def rows_of(volume):
    """{table: rows that can be compared}. Directories show no length, ACLs what they say."""
    rules = {row[0]: tuple(bytes(c) if isinstance(c, memoryview) else c for c in row[1:])
             for row in volume.query("SELECT id, owner, \"group\", mask, other,"
                                     " coalesce(named_users, ''), coalesce(named_groups, '')"
                                     " FROM jfs_acl")}
    nodes = {}
    for row in volume.query(f"SELECT {_COLUMNS}, access_acl_id, default_acl_id FROM jfs_node"):
        *plain, access, default = row
        nodes[row[0]] = (*plain, rules.get(access), rules.get(default))
    edges = sorted((parent, bytes(name), ino, kind) for parent, name, ino, kind in volume.query(
        "SELECT parent, name, inode, type FROM jfs_edge"))
    chunks = {(ino, indx): bytes(slices) for ino, indx, slices in volume.query(
        "SELECT c.inode, c.indx, c.slices FROM jfs_chunk c JOIN jfs_node n ON n.inode = c.inode"
        " WHERE n.nlink > 0 AND c.indx * 67108864::int8 < n.length AND length(c.slices) > 0")}
    return {
        "node": {ino: node for ino, node in nodes.items() if node[12] > 0}, "edge": edges,
        "chunk": chunks, "ref": references(chunks.values()),
        "symlink": sorted((ino, bytes(t)) for ino, t in volume.query("SELECT * FROM jfs_symlink")),
        "xattr": sorted((ino, name, bytes(value)) for ino, name, value in volume.query(
            "SELECT inode, name, value FROM jfs_xattr")),
        "quota": volume.query("SELECT inode, max_space, max_inodes FROM jfs_dir_quota ORDER BY 1"),
        "owner": volume.query("SELECT qtype, qkey, max_space, max_inodes FROM jfs_user_group_quota"
                              " WHERE (max_space, max_inodes) <> (-1, -1) ORDER BY 1, 2"),
    }


def references(chunks):
    """{(slice, size): how often the records name it}."""
    found = Counter()
    for records in chunks:
        for _, slice_id, size, _, _ in struct.iter_unpack("!IQIII", records):
            if slice_id:
                found[slice_id, size] += 1
    return found


def assert_loaded(before, volume, trash_root=True):
    """The volume holds what another had, and its references are exact."""
    after = rows_of(volume)
    if not trash_root:
        before["node"].pop(TRASH_INODE, None)
        after["node"].pop(TRASH_INODE, None)
    for table, rows in before.items():
        if isinstance(rows, dict) and after[table] != rows:
            keys = [key for key in rows.keys() | after[table].keys()
                    if rows.get(key) != after[table].get(key)]
            assert not keys, (table, [(key, rows.get(key), after[table].get(key))
                                      for key in keys[:3]])
        assert after[table] == rows, table
    counted = {(row[0], row[1]): row[2] for row in volume.query(
        "SELECT chunkid, size, refs FROM jfs_chunk_ref WHERE chunkid > 0")}
    assert counted == after["ref"]


def decorate(mount, for_stock=False):
    """What populate() does not make: names of any bytes, links, old times, trash.

    for_stock: without U+FFFD itself, of which a stock client's dump keeps one byte.
    """
    top = os.fsencode(str(mount.directory))
    odd = [b"with space", b'quote"back\\slash', b"100%41%", b"\xff\xfe not text", b"x" * 255,
           "größe\u2028".encode(), b"tab\tnewline\n", b"&<html>'"]
    odd += [] if for_stock else ["\ufffd".encode()]
    os.mkdir(os.path.join(top, b"odd"))
    for number, name in enumerate(odd):
        with open(os.path.join(top, b"odd", name), "wb") as file:
            file.write(b"y" * number * 1000)
        os.symlink(b"to " + name, os.path.join(top, b"odd", b"link%d" % number))
        os.setxattr(os.path.join(top, b"odd", name), b"user.\xc3\xa9 q", name * 3)
    os.makedirs(os.path.join(top, b"a", b"b", b"c"))
    os.link(os.path.join(top, b"odd", b"with space"), os.path.join(top, b"a", b"b", b"hard"))
    os.link(os.path.join(top, b"odd", b"with space"), os.path.join(top, b"a", b"hard"))
    os.mkfifo(os.path.join(top, b"a", b"fifo"))
    for number in range(700):  # more than a page
        with open(os.path.join(top, b"a", b"%d" % number), "wb"):
            pass
    os.chown(os.path.join(top, b"a", b"7"), 1000, 50)
    os.makedirs(os.path.join(top, b"gone"))
    with open(os.path.join(top, b"gone", b"file"), "wb") as file:
        file.write(b"z" * 5000)
    subprocess.run(["rm", "-r", os.path.join(top, b"gone")], check=True)
    os.utime(os.path.join(top, b"a", b"8"), ns=(-1, -123456789))


def give_acls(volume):
    """Two rules, one of them shared, by hand: mounts need ACLs switched on for that."""
    volume.query("INSERT INTO jfs_acl (owner, \"group\", mask, other, named_users, named_groups)"
                 " VALUES (7, 5, 7, 0, %s, %s), (7, 5, 65535, 4, '', '') RETURNING id",
                 [struct.pack("!IHIH", 1000, 7, 1001, 4), struct.pack("!IH", 50, 5)])
    volume.query("UPDATE jfs_node SET access_acl_id = 1 WHERE inode IN"
                 " (SELECT inode FROM jfs_edge WHERE name IN ('1', '2')) RETURNING 1")
    volume.query("UPDATE jfs_node SET default_acl_id = 2, access_acl_id = 1 WHERE inode IN"
                 " (SELECT inode FROM jfs_edge WHERE name = 'a') RETURNING 1")


def setting_of(volume):
    return json.loads(volume.value("SELECT value FROM jfs_setting WHERE name = 'format'"))
