"""Are the quotas of a volume at rest what a count gives? (volume format §10)"""

from .check import space
from .volume import TRASH_INODE


def below(volume, directory):
    """Space and entries below a directory, counted here."""
    used = entries = 0
    for child, kind, length in volume.query(
            "SELECT e.inode, n.type, n.length FROM jfs_edge e JOIN jfs_node n ON n.inode = e.inode"
            " WHERE e.parent = %s", [directory]):
        more = below(volume, child) if kind == 2 else (0, 0)
        used += (space(length) if kind == 1 else 4096) + more[0]
        entries += 1 + more[1]
    return used, entries


def assert_dir_quotas(volume):
    for ino, *used in volume.query("SELECT inode, used_space, used_inodes FROM jfs_dir_quota"):
        assert tuple(used) == below(volume, ino), ino


def owned(volume):
    """{(qtype, qkey): (space, inodes)} counted here; the hours of the trash are nobody's."""
    found = {}
    for kind, length, uid, gid in volume.query(
            "SELECT type, length, uid, gid FROM jfs_node WHERE inode > 1 AND inode < %s",
            [TRASH_INODE]):
        for key in ((1, uid), (2, gid)):
            was = found.get(key, (0, 0))
            found[key] = was[0] + (space(length) if kind == 1 else 4096), was[1] + 1
    return found


def assert_owners(volume):
    rows = {(kind, key): tuple(used) for kind, key, *used in volume.query(
        "SELECT qtype, qkey, used_space, used_inodes FROM jfs_user_group_quota")}
    counted = {key: used for key, used in rows.items() if used != (0, 0)}
    there = owned(volume)
    assert counted == there, f"counted {counted}, and there is {there}"
