"""Is a volume's metadata consistent with itself? What a stock `juicefs fsck` and `gc` rely on.

For volumes at rest: all mounts have ended cleanly, so every counter has been flushed.
"""

import struct
from collections import Counter

from .volume import TRASH_INODE

_DIRECTORY = 2


def space(length):
    """Bytes that a regular file occupies in the accounting (volume format §10)."""
    return 4096 if length <= 0 else (length + 4095) // 4096 * 4096


def problems(volume, with_stats=True):
    """Lines that name what is wrong; empty when all is well.

    with_stats: counters and directory statistics too; stock clients leave those approximate.
    """
    nodes = {row[0]: row[1:] for row in volume.query(
        "SELECT inode, type, nlink, length, parent FROM jfs_node")}
    edges = [(parent, bytes(name), inode, kind) for parent, name, inode, kind in volume.query(
        "SELECT parent, name, inode, type FROM jfs_edge")]
    sustained = {row[0] for row in volume.query("SELECT inode FROM jfs_sustained")}
    found = [*_edges(nodes, edges, sustained), *_links(nodes, edges, sustained),
             *_references(volume)]
    if with_stats:
        found += [*_counters(volume, nodes), *_dir_stats(volume, nodes, edges)]
    return found


def assert_consistent(volume, with_stats=True):
    lines = problems(volume, with_stats)
    assert not lines, "\n".join(["the metadata is not consistent:", *lines[:20]])


def _edges(nodes, edges, sustained):
    for parent, name, inode, kind in edges:
        if inode not in nodes:
            yield f"{name!r} in {parent} names inode {inode}, which does not exist"
        elif nodes[inode][0] != kind:
            yield f"{name!r} in {parent} has type {kind}, its inode has {nodes[inode][0]}"
        if parent not in nodes:
            yield f"{name!r} stands in directory {parent}, which does not exist"
    named = {edge[2] for edge in edges}
    for inode in nodes.keys() - named - {1, TRASH_INODE} - sustained:
        yield f"inode {inode} has no name"


def _links(nodes, edges, sustained):
    names = Counter(edge[2] for edge in edges)
    children = Counter(edge[0] for edge in edges if edge[3] == _DIRECTORY)
    for inode, (kind, nlink, _, _) in nodes.items():
        if inode >= TRASH_INODE or inode in sustained:
            continue
        want = 2 + children[inode] if kind == _DIRECTORY else names[inode]
        if nlink != want:
            yield f"inode {inode} has nlink {nlink}, not {want}"


def _references(volume):
    named = Counter()
    for inode, index, records in volume.query("SELECT inode, indx, slices FROM jfs_chunk"):
        if len(records) % 24:
            yield f"chunk {index} of inode {inode} has {len(records)} bytes of records"
        for position, slice_id, size, _, _ in struct.iter_unpack("!IQIII", bytes(records)):
            if position >= 1 << 26:
                yield f"chunk {index} of inode {inode} has a record at {position}"
            if slice_id:
                named[slice_id, size] += 1
    for (packed,) in volume.query("SELECT slices FROM jfs_delslices"):
        for slice_id, size in struct.iter_unpack("!QI", bytes(packed)):
            named[slice_id, size] += 1
    counted = {(row[0], row[1]): row[2] for row in volume.query(
        "SELECT chunkid, size, refs FROM jfs_chunk_ref") if row[2] > 0}
    pending = volume.value("SELECT count(*) FROM jfs_delfile")
    for key in named.keys() | counted.keys():
        if named[key] != counted.get(key, 0) and not (pending and key not in counted):
            yield (f"slice {key[0]} of {key[1]} bytes is named {named[key]} times,"
                   f" refs say {counted.get(key, 0)}")


def _counters(volume, nodes):
    counters = dict(volume.query("SELECT name, value FROM jfs_counter"))
    # An unlinked file that is still open is counted until its last close.
    counted = [nodes[inode] for inode in nodes if inode not in (1, TRASH_INODE)]
    used = sum(space(length) if kind == 1 else 4096 for kind, _, length, _ in counted)
    for name, want in (("totalInodes", len(counted)), ("usedSpace", used)):
        if counters.get(name, 0) != want:
            yield f"counter {name} is {counters.get(name)}, not {want}"
    highest = max((inode for inode in nodes if inode < TRASH_INODE), default=1)
    if counters["nextInode"] <= highest:
        yield f"nextInode is {counters['nextInode']}, but inode {highest} exists"
    last = volume.value("SELECT max(chunkid) FROM jfs_chunk_ref") or 0
    if counters["nextChunk"] <= last:
        yield f"nextChunk is {counters['nextChunk']}, but slice {last} exists"


def _dir_stats(volume, nodes, edges):
    length, used, count = Counter(), Counter(), Counter()
    for parent, _, inode, kind in edges:
        size = nodes[inode][2] if inode in nodes else 0
        length[parent] += size if kind == 1 else 0
        used[parent] += space(size) if kind == 1 else 4096
        count[parent] += 1
    for inode, has_length, has_used, has_count in volume.query(
            "SELECT inode, data_length, used_space, used_inodes FROM jfs_dir_stats"):
        want = length[inode], used[inode], count[inode]
        if (has_length, has_used, has_count) != want:
            yield f"dir_stats of {inode} are {(has_length, has_used, has_count)}, not {want}"
    for inode in nodes:
        # A directory in the trash has lost its row, and the root gets its own when it is counted.
        is_kept = inode not in (1, TRASH_INODE) and nodes[inode][3] <= TRASH_INODE
        if nodes[inode][0] == _DIRECTORY and is_kept and not volume.value(
                "SELECT 1 FROM jfs_dir_stats WHERE inode = %s", [inode]):
            yield f"directory {inode} has no dir_stats"
