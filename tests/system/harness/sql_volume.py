"""A volume made of the SQL files alone, and sessions that call its functions as a mount would.

Every session runs with an empty search_path, as the functions must bear it.
"""

import errno
import json
import threading

import psycopg

from .volume import REPOSITORY, TRASH_INODE
from .wait import wait_for

SCHEMA = REPOSITORY / "schema"
# What mounts call. The functions of the services (50 and up) have their own tests.
MOUNT_FUNCTIONS = "[0-4]*.sql"


class Reply(dict):
    """The columns of an answer, by name: reply.err, reply.ino, …"""

    __getattr__ = dict.__getitem__


class SqlVolume:
    """is_new: make the JuiceFS tables too; else the database holds a volume already."""

    def __init__(self, cluster, database, trash_days=1, is_new=True):
        self.cluster, self.database = cluster, database
        self.db = cluster.connect(database)
        if is_new:
            self._format(trash_days)
        for path in sorted((SCHEMA / "site").glob("*.sql")):
            self.db.execute(path.read_text(encoding="utf-8"))
        for path in sorted((SCHEMA / "api").glob(MOUNT_FUNCTIONS)):
            self.db.execute(path.read_text(encoding="utf-8"))
        self._sids = 1000

    def _format(self, trash_days):
        format_row = {"Name": "vol", "UUID": "00000000-0000-4000-8000-000000000000",
                      "TrashDays": trash_days, "MetaVersion": 1, "DirStats": True}
        with self.db.transaction():
            for path in sorted((SCHEMA / "volume").glob("*.sql")):
                self.db.execute(path.read_text(encoding="utf-8"))
            self.db.execute("SELECT pg_temp.seed_volume(%s)", [json.dumps(format_row, indent=0)])

    def session(self):
        self._sids += 1
        self.db.execute("INSERT INTO public.jfs_session2 VALUES (%s, 4000000000, '{}')",
                        [self._sids])
        return SqlSession(self, self._sids)

    def query(self, text, parameters=None):
        return self.db.execute(text, parameters).fetchall()

    def value(self, text, parameters=None):
        rows = self.query(text, parameters)
        return rows[0][0] if rows else None

    def contents(self):
        """Every row of the volume's tables, to see that nothing has changed."""
        tables = [name for (name,) in self.query(
            "SELECT relname FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace = 'public'::regnamespace AND relname LIKE 'jfs%' ORDER BY 1")]
        return {name: sorted(map(repr, self.query(f"SELECT * FROM public.{name}")))
                for name in tables}

    def empty(self):
        """As it was made, for another test: a database of its own takes a second."""
        for table in ("tarn.slot", "tarn.block_sum", "public.jfs_flock", "public.jfs_plock",
                      "public.jfs_chunk", "public.jfs_chunk_ref", "public.jfs_change_log",
                      "public.jfs_edge", "public.jfs_session2"):
            self.db.execute(f"DELETE FROM {table}")
        self.db.execute("DELETE FROM public.jfs_node WHERE inode BETWEEN 2 AND 1000000000")
        self.db.execute("DELETE FROM public.jfs_dir_stats WHERE inode BETWEEN 2 AND 1000000000")
        self.db.execute("UPDATE public.jfs_counter SET value = 0"
                        " WHERE name IN ('usedSpace', 'totalInodes')")
        self.db.execute("UPDATE public.jfs_setting SET value = value::jsonb - 'ChangeLog'"
                        " WHERE name = 'format'")
        self.db.execute("SELECT tarn_1.flags_refresh()")
        return self

    def close(self):
        self.db.close()


def ok(reply):
    assert reply.err == 0, errno.errorcode[reply.err]
    return reply


# One of two in a deadlock, and the slower of two attempts at one operation.
UNDONE = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)


class SqlSession:
    """One session with one lane, on a connection of its own."""

    def __init__(self, volume, sid):
        self.volume, self.sid, self.op = volume, sid, 0
        self.db = volume.cluster.connect(volume.database)
        self.db.execute("SET search_path = ''")

    def rows(self, verb, *arguments):
        cursor = self.db.execute(
            f"SELECT * FROM tarn_1.{verb}({', '.join(['%s'] * len(arguments))})", arguments)
        names = [column.name for column in cursor.description]
        return [Reply(zip(names, row)) for row in cursor.fetchall()]

    def read(self, verb, *arguments):
        (row,) = self.rows(verb, *arguments)
        return row

    def change(self, verb, *arguments, op=None, races=UNDONE):
        """The next op of the lane, or op again, sent again after a race that undid it."""
        if op is None:
            self.op += 1
        while True:
            try:
                return self.read(verb, self.sid, 0, op or self.op, *arguments)
            except races:
                continue

    # The verbs, with what tests rarely care about left out.

    def create(self, parent, name, ino, kind=1, *, mode=0o644, umask=0, uid=0, gid=0, rdev=0,
               target=b"", op=None):
        return self.change("create", parent, name, ino, kind, mode, umask, uid, gid, rdev, target,
                           op=op)

    def mkdir(self, parent, name, ino, **more):
        return self.create(parent, name, ino, 2, **{"mode": 0o755, **more})

    def link(self, ino, parent, name, op=None):
        return self.change("link", ino, parent, name, op=op)

    def unlink(self, parent, name, *, uid=0, opened=(), op=None):
        return self.change("unlink", parent, name, uid, list(opened), op=op)

    def rmdir(self, parent, name, *, uid=0, op=None):
        return self.change("rmdir", parent, name, uid, op=op)

    def rename(self, parent1, name1, parent2, name2, flags=0, *, uid=0, opened=(), op=None):
        """A free name that somebody made meanwhile is a race, too."""
        return self.change("rename", parent1, name1, parent2, name2, flags, uid, list(opened),
                           op=op, races=(*UNDONE, psycopg.errors.UniqueViolation))

    def lookup(self, parent, name):
        return self.read("lookup", parent, name)

    def names(self, directory, after=b"", limit=100000, plus=False):
        return [bytes(row.name) for row in self.rows("readdir", directory, after, limit, plus)]

    # Two sessions at once.

    def begin(self):
        self.db.execute("BEGIN")

    def commit(self):
        self.db.execute("COMMIT")

    def start(self, verb, *arguments, **more):
        """Run a method of this session in a thread: Started.answer() waits for it."""
        return Started(self, verb, arguments, more)

    def is_blocked(self):
        return self.volume.value("SELECT cardinality(pg_blocking_pids(%s)) > 0",
                                 [self.db.info.backend_pid])

    def close(self):
        self.db.close()


class Started:
    def __init__(self, session, verb, arguments, more):
        self.session, self.result, self.error = session, None, None

        def run():
            try:
                self.result = getattr(session, verb)(*arguments, **more)
            except Exception as error:  # pylint: disable=broad-except
                self.error = error
        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def until_blocked(self):
        wait_for("the other session waits for a lock",
                 lambda: self.session.is_blocked() or not self.thread.is_alive(), interval=0.005)
        assert self.thread.is_alive(), "it did not have to wait"
        return self

    def answer(self):
        self.thread.join(60)
        assert not self.thread.is_alive(), "still waiting"
        if self.error:
            raise self.error
        return self.result


def split_usage(quadruple):
    """What a quadruple of a usage array is about, (inode,) or (mark, key), and its numbers."""
    size = 1 if quadruple[0] > 0 else 2
    return tuple(quadruple[:size]), quadruple[size:]


class Books:
    """Keeps the usage of answers and brings it into the tables, as a mount's flush does."""

    def __init__(self, volume):
        self.volume = volume
        self.sums = {}
        self.lock = threading.Lock()
        # Inode numbers of tests are below this.
        volume.db.execute("UPDATE jfs_counter SET value = 1099511627776 WHERE name = 'nextInode'")

    def enter(self, *replies):
        with self.lock:
            for reply in replies:
                usage = reply.usage or [0, 0]
                self._add("volume", usage[:2])
                for at in range(2, len(usage), 4):
                    self._add(*split_usage(usage[at:at + 4]))

    def _add(self, key, numbers):
        self.sums[key] = [a + b for a, b in zip(self.sums.get(key, [0] * 3), numbers)]

    def settle(self):
        """Write the sums down. A directory without a row is counted anew, if it is still there."""
        db = self.volume.db
        for name, delta in zip(("usedSpace", "totalInodes"), self.sums.pop("volume", [0, 0])):
            db.execute("UPDATE jfs_counter SET value = value + %s WHERE name = %s", [delta, name])
        for (ino,), sums in self.sums.items():
            assert ino != TRASH_INODE, "the trash itself has no statistics"
            done = db.execute(
                "UPDATE jfs_dir_stats SET data_length = data_length + %s, used_space = used_space"
                " + %s, used_inodes = used_inodes + %s WHERE inode = %s", [*sums, ino])
            if done.rowcount == 0:
                self._recount(ino)
        self.sums = {}

    def _recount(self, ino):
        self.volume.db.execute(
            "INSERT INTO jfs_dir_stats SELECT %s, coalesce(sum(n.length) FILTER (WHERE n.type = 1),"
            " 0), coalesce(sum(CASE n.type WHEN 1 THEN greatest((n.length + 4095) / 4096, 1) * 4096"
            " ELSE 4096 END), 0), count(*) FROM jfs_edge e JOIN jfs_node n ON n.inode = e.inode"
            " WHERE e.parent = %s HAVING EXISTS (SELECT FROM jfs_node WHERE inode = %s"
            " AND parent <= %s)", [ino, ino, ino, TRASH_INODE])
