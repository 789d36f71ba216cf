"""What the functions on names must do, said once more in Python, for one caller at a time.

The model keeps nodes and entries as dictionaries; a refusal is raised. It is written from the
format's description, not from the SQL.
"""

import errno
from dataclasses import dataclass, field

ROOT = 1
TRASH = 0x7FFFFFFF10000000
FILE, DIRECTORY, SYMLINK = 1, 2, 3
IMMUTABLE, APPEND, SKIP_TRASH = 1, 2, 0x20
NOREPLACE, EXCHANGE, RESTORE = 1, 2, 32


class Refused(Exception):
    def __init__(self, code):
        super().__init__(errno.errorcode[code])
        self.code = code


@dataclass
class Node:
    kind: int
    parent: int
    nlink: int = 1
    length: int = 0
    flags: int = 0


@dataclass
class Model:
    trash_days: int
    hour: int = 0  # the trash directory of now, set by the test before each step
    nodes: dict = field(default_factory=dict)
    entries: dict = field(default_factory=dict)  # (directory, name) -> inode
    sustained: set = field(default_factory=set)
    deleted: dict = field(default_factory=dict)  # inode -> length, as jfs_delfile

    def __post_init__(self):
        self.nodes[ROOT] = Node(DIRECTORY, ROOT, 2, 4096)
        if self.trash_days:
            self.nodes[TRASH] = Node(DIRECTORY, ROOT, 2, 4096)

    # ---- what is asked

    def children(self, directory):
        return [name for parent, name in self.entries if parent == directory]

    def directory(self, ino):
        node = self.nodes.get(ino)
        if node is None:
            raise Refused(errno.ENOENT)
        if node.kind != DIRECTORY:
            raise Refused(errno.ENOTDIR)
        return node

    def place(self, ino, restore=False):
        """A directory in which something may be made."""
        if ino >= TRASH:
            raise Refused(errno.EPERM)
        node = self.nodes.get(ino)
        if node is not None and node.parent > TRASH and not restore:
            raise Refused(errno.ENOENT)
        return self.directory(ino)

    def is_above(self, ancestor, ino):
        while ino not in (ROOT, TRASH):
            if ino == ancestor:
                return True
            ino = self.nodes[ino].parent
        return ino == ancestor

    # ---- what is done

    def create(self, parent, name, ino, kind):
        directory = self.place(parent)
        if (parent, name) in self.entries:
            raise Refused(errno.EEXIST)
        if directory.flags & IMMUTABLE:
            raise Refused(errno.EPERM)
        length = {DIRECTORY: 4096, SYMLINK: 6}.get(kind, 0)
        self.nodes[ino] = Node(kind, parent, 2 if kind == DIRECTORY else 1, length,
                               directory.flags & SKIP_TRASH)
        self.entries[parent, name] = ino
        directory.nlink += kind == DIRECTORY

    def link(self, ino, parent, name):
        directory = self.place(parent)
        node = self.nodes.get(ino)
        if node is None or node.nlink == 0:
            raise Refused(errno.ENOENT)
        if (parent, name) in self.entries:
            raise Refused(errno.EEXIST)
        guarded = node.flags & (IMMUTABLE | APPEND) or directory.flags & IMMUTABLE
        if node.kind == DIRECTORY or guarded:
            raise Refused(errno.EPERM)
        self.entries[parent, name] = ino
        node.nlink += 1
        node.parent = 0

    def remove(self, parent, name, uid, is_rmdir, opened=()):
        if parent == TRASH or parent > TRASH and uid:
            raise Refused(errno.EPERM)
        directory = self.directory(parent)
        if (parent, name) not in self.entries:
            raise Refused(errno.ENOENT)
        ino = self.entries[parent, name]
        node = self.nodes[ino]
        if is_rmdir and node.kind != DIRECTORY:
            raise Refused(errno.ENOTDIR)
        if not is_rmdir and node.kind == DIRECTORY:
            raise Refused(errno.EPERM)
        if (directory.flags | node.flags) & (IMMUTABLE | APPEND):
            raise Refused(errno.EPERM)
        if is_rmdir and self.children(ino):
            raise Refused(errno.ENOTEMPTY)
        self.discard(parent, name, opened)

    def discard(self, parent, name, opened):
        """Take an entry away, and the inode to the trash or out of the world."""
        ino = self.entries.pop((parent, name))
        node = self.nodes[ino]
        if node.kind == DIRECTORY and parent < TRASH:
            self.nodes[parent].nlink -= 1
        grave = self.hour, (b"%d-%d-" % (parent, ino) + name)[:255]
        to_trash = self.trash_days and parent < TRASH and not node.flags & SKIP_TRASH
        if to_trash and not (grave in self.entries and node.nlink > 1):
            if self.hour not in self.nodes:
                self.nodes[self.hour] = Node(DIRECTORY, TRASH, 2, 4096)
            self.entries[grave] = ino
            if node.parent > 0:
                node.parent = self.hour
            return
        if node.kind != DIRECTORY:
            node.nlink -= 1
            if node.nlink:
                return
        if node.kind == FILE and ino in opened:
            self.sustained.add(ino)
            return
        if node.kind == FILE:
            self.deleted[ino] = node.length
        del self.nodes[ino]

    def rename(self, parent1, name1, parent2, name2, flags, uid, opened=()):
        if flags not in (0, NOREPLACE, EXCHANGE, NOREPLACE | RESTORE):
            raise Refused(errno.EINVAL)
        if parent1 == TRASH or parent2 >= TRASH:
            raise Refused(errno.EPERM)
        if parent1 > TRASH and (uid or flags == EXCHANGE):
            raise Refused(errno.EPERM)
        first = self.directory(parent1)
        second = self.place(parent2, restore=flags == NOREPLACE | RESTORE)
        ino = self.entries.get((parent1, name1))
        target = self.entries.get((parent2, name2))
        if ino is None:
            raise Refused(errno.ENOENT)
        if target is not None and flags & NOREPLACE:
            raise Refused(errno.EEXIST)
        if target is None and flags == EXCHANGE:
            raise Refused(errno.ENOENT)
        node, old = self.nodes[ino], self.nodes.get(target)
        if parent1 != parent2:
            if node.kind == DIRECTORY and self.is_above(ino, parent2):
                raise Refused(errno.EINVAL)
            if flags == EXCHANGE and old.kind == DIRECTORY and self.is_above(target, parent1):
                raise Refused(errno.EINVAL)
        if ino == target:
            return
        guarded = first.flags | node.flags | (old.flags if old else 0)
        if guarded & (IMMUTABLE | APPEND) or second.flags & IMMUTABLE or (
                old and second.flags & APPEND):
            raise Refused(errno.EPERM)
        if old and flags != EXCHANGE:
            if node.kind == DIRECTORY != old.kind:
                raise Refused(errno.ENOTDIR)
            if old.kind == DIRECTORY != node.kind:
                raise Refused(errno.EISDIR)
            if self.children(target):
                raise Refused(errno.ENOTEMPTY)
            self.discard(parent2, name2, opened)
        self.reparent(parent1, ino, parent2)
        if flags == EXCHANGE:
            self.reparent(parent2, target, parent1)
            self.entries[parent1, name1] = target
        else:
            del self.entries[parent1, name1]
        self.entries[parent2, name2] = ino

    def reparent(self, old, ino, new):
        node = self.nodes[ino]
        if node.parent > 0:
            node.parent = new
        if node.kind == DIRECTORY and old != new:
            self.nodes[new].nlink += 1
            if old < TRASH:
                self.nodes[old].nlink -= 1
