"""Random sequences of calls, each compared with a model: the answer, and every row it leaves.

A failure prints the seed and the calls that led to it.
"""

import copy
import errno
import os
import random

import pytest
from harness.check import problems, space
from harness.sql_volume import Books, Reply, SqlVolume
from namespace_model import (APPEND, DIRECTORY, EXCHANGE, FILE, IMMUTABLE, NOREPLACE, RESTORE, ROOT,
                             SKIP_TRASH, SYMLINK, TRASH, Model, Refused)

STEPS = int(os.environ.get("TARN_TEST_STEPS", "400"))
SEEDS = int(os.environ.get("TARN_TEST_SEEDS", "2"))
NAMES = [b"a", b"b", b"c", b"\xff", b"x" * 254 + b"1", b"x" * 254 + b"2"]


class Player:
    """Chooses steps, makes them in the model and in the database, and compares."""

    def __init__(self, volume, seed, trash_days):
        self.volume, self.session = volume, volume.session()
        self.session.db.execute("SET synchronous_commit = off")
        self.dice = random.Random(seed)
        self.model = Model(trash_days)
        self.books = Books(volume)
        self.next_ino = 10
        self.log = []

    # ---- choices: mostly what exists, in a small world where things meet

    def some_directory(self):
        known = [ino for ino, node in self.model.nodes.items() if node.kind == DIRECTORY]
        return self.dice.choice(known + [self.some_inode()])

    def some_inode(self):
        return self.dice.choice(list(self.model.nodes) + [ROOT, 999999])

    def some_entry(self):
        """Where something is, or may be."""
        if self.model.entries and self.dice.random() < 0.8:
            return self.dice.choice(list(self.model.entries))
        return self.some_directory(), self.dice.choice(NAMES)

    def some_opened(self):
        return [ino for ino, node in self.model.nodes.items()
                if node.kind == FILE and ino % 3 == 0]

    def some_uid(self):
        return self.dice.choice([0, 0, 0, 5])

    def step(self):
        kind = self.dice.choices(
            ["create", "link", "unlink", "rmdir", "rename", "flags", "length"],
            [30, 10, 12, 10, 30, 3, 5])[0]
        getattr(self, kind)()

    # ---- steps

    def create(self):
        kind = self.dice.choice([FILE, FILE, DIRECTORY, DIRECTORY, SYMLINK, 4])
        parent, name = self.some_directory(), self.dice.choice(NAMES)
        ino, self.next_ino = self.next_ino, self.next_ino + 1
        self.both("create", (parent, name, ino, kind),
                  lambda: self.session.create(parent, name, ino, kind, target=b"target"))

    def link(self):
        ino, parent, name = self.some_inode(), self.some_directory(), self.dice.choice(NAMES)
        self.both("link", (ino, parent, name), lambda: self.session.link(ino, parent, name))

    def unlink(self):
        (parent, name), uid, opened = self.some_entry(), self.some_uid(), self.some_opened()
        self.both("remove", (parent, name, uid, False, opened),
                  lambda: self.session.unlink(parent, name, uid=uid, opened=opened))

    def rmdir(self):
        (parent, name), uid = self.some_entry(), self.some_uid()
        self.both("remove", (parent, name, uid, True),
                  lambda: self.session.rmdir(parent, name, uid=uid))

    def rename(self):
        parent1, name1 = self.some_entry()
        parent2, name2 = (self.some_entry() if self.dice.random() < 0.5
                          else (self.some_directory(), self.dice.choice(NAMES)))
        flags = self.dice.choice([0, 0, 0, NOREPLACE, EXCHANGE, EXCHANGE, NOREPLACE | RESTORE, 4])
        uid, opened = self.some_uid(), self.some_opened()
        self.both("rename", (parent1, name1, parent2, name2, flags, uid, opened),
                  lambda: self.session.rename(parent1, name1, parent2, name2, flags, uid=uid,
                                              opened=opened))

    def flags(self):
        """chattr, by hand; mostly taken back so that the world does not freeze."""
        for ino, node in self.model.nodes.items():
            if ino < TRASH and (node.flags or self.dice.random() < 0.05):
                node.flags = self.dice.choice([0, 0, IMMUTABLE, APPEND, SKIP_TRASH])
                self.volume.db.execute("UPDATE jfs_node SET flags = %s WHERE inode = %s",
                                       [node.flags, ino])

    def length(self):
        """A write, by hand: in this part of the file only the length matters."""
        ino = self.some_inode()
        node = self.model.nodes.get(ino)
        if node is None or node.kind != FILE or node.nlink == 0:
            return
        new = self.dice.randrange(20000)
        more, room = new - node.length, space(new) - space(node.length)
        usage = [room, 0]
        for (parent, _), child in self.model.entries.items():
            usage += [parent, more, room, 0] if child == ino else []
        self.books.enter(Reply(usage=usage))
        node.length = new
        self.volume.db.execute("UPDATE jfs_node SET length = %s WHERE inode = %s", [new, ino])

    # ---- both worlds

    def both(self, verb, arguments, call):
        self.log.append((verb, *arguments))
        before = self.volume.value("SELECT max(inode) FROM jfs_node")
        reply = call()
        self.books.enter(reply)
        # A new hour directory gets the next number; else the latest is that of this hour.
        after = self.volume.value("SELECT max(inode) FROM jfs_node WHERE inode > %s", [TRASH])
        self.model.hour = after or before
        trial = copy.deepcopy(self.model)
        try:
            getattr(trial, verb)(*arguments)
            self.model, wanted = trial, 0
        except Refused as refused:
            wanted = refused.code
        names = errno.errorcode
        assert names.get(reply.err, 0) == names.get(wanted, 0), self.log[-1]
        self.compare()

    def compare(self):
        model = self.model
        nodes = {ino: (node.kind, node.nlink, node.parent, node.length, node.flags)
                 for ino, node in model.nodes.items()}
        found = {row[0]: row[1:] for row in self.volume.query(
            "SELECT inode, type, nlink, parent, length, flags FROM jfs_node")}
        assert found == nodes, self.log[-1]
        edges = {(parent, bytes(name)): (ino, kind) for parent, name, ino, kind in
                 self.volume.query("SELECT parent, name, inode, type FROM jfs_edge")}
        hours = {key for key in edges if key[0] == TRASH}
        assert {key: value[0] for key, value in edges.items() if key not in hours} == model.entries
        assert {edges[key][0] for key in hours} == {ino for ino in nodes if ino > TRASH}
        assert all(nodes[ino][0] == kind for ino, kind in edges.values())
        assert {ino for (ino,) in self.volume.query("SELECT inode FROM jfs_sustained")} == (
            model.sustained)
        assert dict(self.volume.query("SELECT inode, length FROM jfs_delfile")) == model.deleted
        assert {ino for (ino,) in self.volume.query("SELECT inode FROM jfs_symlink")} == {
            ino for ino, node in model.nodes.items() if node.kind == SYMLINK}

    def settle(self):
        self.books.settle()
        self.volume.db.execute(  # what no change has touched since it came back from the trash
            "INSERT INTO jfs_dir_stats SELECT inode, 0, 0, 0 FROM jfs_node d WHERE type = 2 AND"
            " NOT EXISTS (SELECT FROM jfs_edge WHERE parent = inode) AND inode < %s AND parent < %s"
            " ON CONFLICT DO NOTHING", [TRASH, TRASH])
        lines = problems(self.volume)
        assert not lines, lines[:10]


@pytest.mark.parametrize("trash_days", [0, 1], ids=["no trash", "trash"])
@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_calls_do_what_the_model_does(cluster, database, seed, trash_days):
    volume = SqlVolume(cluster, database, trash_days)
    player = Player(volume, seed, trash_days)
    try:
        for number in range(1, STEPS + 1):
            player.step()
            if number % 50 == 0:
                player.settle()
    except AssertionError:
        print(f"seed {seed}, trash {trash_days}, after {len(player.log)} calls; the last:")
        print(*player.log[-8:], sep="\n")
        raise
    player.session.close()
    volume.close()
