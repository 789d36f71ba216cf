"""Programs that ask much of a file system do their work on a mount: git, SQLite and PostgreSQL.

TARN_LONG=1 gives them more to do.
"""

import multiprocessing
import os
import pwd
import random
import shutil
import signal
import sqlite3
import subprocess

import psycopg
import pytest

from harness.cluster import BINARIES
from harness.check import assert_consistent
from harness.process import Process, run
from harness.tree import assert_same, read_tree
from harness.volume import REPOSITORY
from harness.wait import wait_for

IS_LONG = bool(os.environ.get("TARN_LONG"))
_spawn = multiprocessing.get_context("spawn")


def needs(program, package):
    return pytest.mark.skipif(not shutil.which(program, path=f"{os.environ['PATH']}:{BINARIES}"),
                              reason=f"{program} is not installed (package {package})")


# ---- git


def git(*arguments, cwd):
    return run(["git", "-c", "user.name=tarn", "-c", "user.email=tarn@localhost",
                "-c", "gc.autoDetach=false", "-c", "safe.directory=*", *arguments], cwd=cwd,
               timeout=600).stdout


def make_history(directory, commits):
    """A local repository of small files that come, change and go."""
    chance = random.Random(1)
    directory.mkdir()
    git("init", "-q", "-b", "main", cwd=directory)
    for number in range(commits):
        for _ in range(10):
            path = directory / f"d{chance.randrange(8)}" / f"f{chance.randrange(40)}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(chance.randbytes(chance.randrange(1, 8000)))
        git("add", "-A", cwd=directory)
        git("commit", "-qm", f"commit {number}", cwd=directory)
    return directory


@needs("git", "git")
def test_git_clones_packs_and_checks_out(volume, workdir):
    source = make_history(workdir / "source", 30)
    with volume.mount() as mount:
        clone = mount.path("clone")
        git("clone", "-q", "--no-local", REPOSITORY if IS_LONG else source, clone, cwd=workdir)
        git("fsck", "--full", "--strict", cwd=clone)
        last = git("rev-parse", "HEAD", cwd=clone)
        git("checkout", "-q", "HEAD~5", cwd=clone)
        git("checkout", "-q", last.strip(), cwd=clone)
        (clone / "new").write_text("new")
        git("add", "-A", cwd=clone)
        git("commit", "-qm", "by us", cwd=clone)
        git("gc", "-q", "--prune=now", "--aggressive", cwd=clone)
        git("fsck", "--full", "--strict", cwd=clone)
        assert git("status", "--porcelain", cwd=clone) == ""
        before = read_tree(clone)
    with volume.mount() as cold:
        clone = cold.path("clone")
        assert_same(before, read_tree(clone))
        git("fsck", "--full", "--strict", cwd=clone)
    assert_consistent(volume)


# ---- SQLite


def _count_up(path, number, rounds):
    database = sqlite3.connect(path, timeout=300, isolation_level=None)
    for turn in range(rounds):
        database.execute("BEGIN IMMEDIATE")
        (value,) = database.execute("SELECT value FROM counter").fetchone()
        database.execute("UPDATE counter SET value = ?", [value + 1])
        database.execute("INSERT INTO entry VALUES (?, ?, ?)", [number, turn, os.urandom(2000)])
        database.execute("COMMIT")
    database.close()


def test_sqlite_in_wal_mode_with_two_writers(volume):
    rounds = 2000 if IS_LONG else 150
    with volume.mount() as mount:
        path = mount.path("db.sqlite")
        database = sqlite3.connect(path)
        assert database.execute("PRAGMA journal_mode=WAL").fetchone() == ("wal",)
        database.executescript("CREATE TABLE counter(value); INSERT INTO counter VALUES (0);"
                               "CREATE TABLE entry(number, turn, data)")
        database.close()
        writers = [_spawn.Process(target=_count_up, args=(str(path), number, rounds), daemon=True)
                   for number in range(2)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(200)
            assert writer.exitcode == 0
    with volume.mount() as cold:
        database = sqlite3.connect(cold.path("db.sqlite"))
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute("SELECT value FROM counter").fetchone() == (2 * rounds,)
        assert database.execute("SELECT count(*) FROM entry").fetchone() == (2 * rounds,)
        database.close()
    assert_consistent(volume)


# ---- PostgreSQL


class Server:
    """A PostgreSQL whose data is on the mount, owned by an unprivileged account."""

    def __init__(self, data, workdir):
        self.data, self.sockets = data, workdir / "sockets"
        self.owner = pwd.getpwnam("postgres")
        self.log = workdir / "on-mount.log"
        self.sockets.mkdir()
        data.mkdir(mode=0o700)
        for path in (self.sockets, data):
            os.chown(path, self.owner.pw_uid, self.owner.pw_gid)
        self._as_owner("initdb", "-D", data, "-U", "postgres", "--auth=trust", "--encoding=UTF8",
                       "--locale=C")
        self.start()

    def _as_owner(self, program, *arguments):
        done = subprocess.run(
            [f"{BINARIES}/{program}", *map(str, arguments)], capture_output=True, text=True,
            user=self.owner.pw_uid, group=self.owner.pw_gid, extra_groups=[], cwd="/", timeout=600,
            check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self):
        self.process = Process(
            [f"{BINARIES}/postgres", "-D", self.data, "-k", self.sockets,
             "-c", "listen_addresses=", "-c", "shared_buffers=16MB"], self.log, user=self.owner,
            cwd="/")

        def answers():
            assert self.process.is_running(), self.process.log_tail()
            try:
                self.connect().close()
                return True
            except psycopg.OperationalError:
                return False
        wait_for("the server on the mount answers", answers, 120, interval=0.1)

    def connect(self):
        return psycopg.connect(host=str(self.sockets), user="postgres",
                               dbname="postgres", autocommit=True)

    def value(self, text):
        with self.connect() as db:
            return db.execute(text).fetchone()[0]

    def _pgbench(self, *arguments):
        return [f"{BINARIES}/pgbench", "-h", self.sockets, "-U", "postgres", "-n",
                *arguments, "postgres"]

    def fill(self):
        run(self._pgbench("-i", "-q"), timeout=600)

    def load(self):
        """Transactions of four clients, until the server goes away."""
        return Process(self._pgbench("-c", "4", "-T", "600"), f"{self.log}.pgbench")

    def history(self):
        return self.value("SELECT count(*) FROM pgbench_history")

    def is_balanced(self):
        """What every transaction of pgbench keeps."""
        return self.value("SELECT (SELECT sum(abalance) FROM pgbench_accounts)"
                          " = (SELECT sum(bbalance) FROM pgbench_branches)"
                          " AND (SELECT sum(abalance) FROM pgbench_accounts)"
                          " = (SELECT coalesce(sum(delta), 0) FROM pgbench_history)")


@needs("pgbench", "postgresql-15")
@pytest.mark.limit(1200)
def test_postgres_survives_an_immediate_stop_on_a_mount(volume, workdir):
    rounds, transactions = (6, 3000) if IS_LONG else (2, 100)
    with volume.mount() as mount:
        server = Server(mount.path("data"), workdir)
        server.fill()
        for _ in range(rounds):
            before = server.history()
            load = server.load()
            wait_for("transactions have committed",
                     lambda: server.history() >= before + transactions, 300, interval=0.2)
            committed = server.history()
            server.process.stop(signal.SIGQUIT, timeout=60)
            load.wait(60)
            server.start()
            assert server.history() >= committed
            assert server.is_balanced()
        server.process.stop(signal.SIGINT, timeout=120)
    with volume.mount() as cold:
        server.data = cold.path("data")
        server.start()
        assert server.history() >= committed
        assert server.is_balanced()
        server.process.stop(signal.SIGINT, timeout=120)
    assert_consistent(volume)
