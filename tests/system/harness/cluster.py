"""A private PostgreSQL cluster: own directory, own port, own unprivileged account.

Nothing of the machine's other clusters is touched. A cluster is cheap to restart and to kill, and
costs about two seconds to make, so tests of one file share it and take a new database each.
"""

import contextlib
import os
import pwd
import re
import shutil
import signal
import subprocess
import threading
import uuid

import psycopg
from psycopg import sql

from .port import Port
from .process import Process
from .wait import wait_for

BINARIES = os.environ.get("TARN_TEST_PG_BIN", "/usr/lib/postgresql/15/bin")
SUPERUSER = "tarn"
_initdb_lock = threading.Lock()

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "wal_level": "logical",
    "wal_writer_delay": "10ms",
    "max_wal_senders": 20,
    "max_replication_slots": 20,
    "max_logical_replication_workers": 20,
    "max_worker_processes": 40,
    "max_sync_workers_per_subscription": 4,
    "wal_retrieve_retry_interval": "500ms",
    "wal_receiver_timeout": "5s",
    "wal_sender_timeout": "5s",
    "max_connections": 200,
    "shared_buffers": "64MB",
    "deadlock_timeout": "200ms",
    "fsync": "on",
    "synchronous_commit": "on",
    "max_wal_size": "1GB",
    "log_line_prefix": "%m [%p] %a %d ",
    "log_min_messages": "warning",
    "timezone": "UTC",
}


def account():
    """The unprivileged account that owns clusters, or None when we are unprivileged ourselves."""
    return pwd.getpwnam("postgres") if os.geteuid() == 0 else None


class Cluster:
    """directory is made by us; password: host connections need it (scram), else they are trusted."""

    def __init__(self, directory, name, password=None, settings=None):
        self.directory = str(directory)
        self.name = name
        self.password = password
        self.settings = {**_SETTINGS, **(settings or {})}
        self.data = os.path.join(self.directory, "data")
        self.log_path = os.path.join(self.directory, "postgres.log")
        self._kept_port = Port()
        self.port = self._kept_port.number
        self.process = None

    # ---- life

    def create(self):
        os.makedirs(self.directory, mode=0o755)
        owner = account()
        if owner:
            os.chown(self.directory, owner.pw_uid, owner.pw_gid)
        self._tool("initdb", "-D", self.data, "-U", SUPERUSER, "--no-sync", "--auth=trust",
                   "--encoding=UTF8", "--locale=C")
        method = "scram-sha-256" if self.password else "trust"
        hba = ["local all all trust", "local replication all trust",
               f"host all all 127.0.0.1/32 {method}", f"host replication all 127.0.0.1/32 {method}"]
        self._write("pg_hba.conf", "\n".join(hba) + "\n")
        lines = [f"{key} = '{value}'" for key, value in self.settings.items()]
        self._write("postgresql.conf", "\n".join(lines) + "\n")
        self.start()
        if self.password:
            with self.connect("postgres") as db:
                db.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                    sql.Identifier(SUPERUSER), sql.Literal(self.password)))
        return self

    def start(self):
        """Start and wait until it answers. The port stays the same over restarts."""
        def begin():
            if self.process is None or not self.process.is_running():
                # After a kill -9 the old backends may hold the shared memory for a moment.
                self.process = Process(
                    [os.path.join(BINARIES, "postgres"), "-D", self.data, "-p", self.port,
                     "-k", self.directory], self.log_path, user=account(), cwd=self.directory)
            try:
                self.connect("postgres").close()
                return True
            except psycopg.OperationalError:
                return False
        wait_for(f"cluster \"{self.name}\" answers", begin, timeout=120, interval=0.05)
        return self

    def stop(self, mode="fast"):
        number = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode]
        self.process.stop(number, timeout=60)

    def restart(self, mode="fast"):
        self.stop(mode)
        self.start()

    def kill9(self):
        """Kill the postmaster alone; its children notice and end by themselves."""
        self.process.kill()

    def destroy(self):
        if self.process and self.process.is_running():
            self.stop("immediate")
        self._kept_port.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    # ---- databases

    def create_database(self, name=None):
        name = name or f"t_{uuid.uuid4().hex[:12]}"
        with self.connect("postgres") as db:
            db.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return name

    def drop_database(self, name):
        """Drop a database with whatever hangs on it: connections, subscriptions, slots."""
        if not self.process.is_running():
            self.start()
        with self.connect("postgres") as db:
            known = db.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
        if not known:
            return
        with self.connect(name) as db:
            for (subscription,) in db.execute(
                    "SELECT subname FROM pg_subscription WHERE subdbid ="
                    " (SELECT oid FROM pg_database WHERE datname = current_database())").fetchall():
                quoted = sql.Identifier(subscription)
                db.execute(sql.SQL("ALTER SUBSCRIPTION {} DISABLE").format(quoted))
                db.execute(sql.SQL("ALTER SUBSCRIPTION {} SET (slot_name = NONE)").format(quoted))
                db.execute(sql.SQL("DROP SUBSCRIPTION {}").format(quoted))
        with self.connect("postgres") as db:

            def dropped():
                try:
                    # Each time: a site that still follows this one comes back.
                    db.execute("SELECT pg_terminate_backend(active_pid, 1000)"
                               " FROM pg_replication_slots WHERE database = %s AND active", [name])
                    db.execute("SELECT pg_drop_replication_slot(slot_name)"
                               " FROM pg_replication_slots WHERE database = %s", [name])
                    db.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(
                        sql.Identifier(name)))
                    return True
                except (psycopg.errors.ObjectInUse, psycopg.errors.UndefinedObject):
                    return False
            wait_for(f"database {name} is dropped", dropped)

    def connect(self, database, **options):
        """A psycopg connection over the Unix socket, in autocommit."""
        return psycopg.connect(host=self.directory, port=self.port, user=SUPERUSER,
                               dbname=database, autocommit=True, connect_timeout=10, **options)

    def url(self, database, port=None, user=SUPERUSER, password=None):
        """The URL of a database over TCP; port: of a proxy in front of the cluster."""
        password = self.password if password is None else password
        secret = f":{password}" if password else ""
        return f"postgres://{user}{secret}@127.0.0.1:{port or self.port}/{database}"

    def query(self, database, text, parameters=None):
        """The rows of one statement on a connection of its own."""
        with self.connect(database) as db:
            cursor = db.execute(text, parameters)
            return cursor.fetchall() if cursor.description else []

    def value(self, database, text, parameters=None):
        rows = self.query(database, text, parameters)
        return rows[0][0] if rows else None

    def psql(self, database, script, timeout=120):
        """Feed a script of any size to psql, stopping at the first error."""
        done = subprocess.run(
            [os.path.join(BINARIES, "psql"), "-qX", "-v", "ON_ERROR_STOP=1", "-h", self.directory,
             "-p", str(self.port), "-U", SUPERUSER, "-d", database],
            input=script, capture_output=True, timeout=timeout, check=False)
        assert done.returncode == 0, done.stderr.decode(errors="replace")

    @contextlib.contextmanager
    def statements(self, database):
        """Collect what the server logs as executed in a database while the block runs."""
        with self.connect("postgres") as db:
            db.execute(sql.SQL("ALTER DATABASE {} SET log_statement = 'all'").format(
                sql.Identifier(database)))
            seen = []
            start = os.path.getsize(self.log_path)
            try:
                yield seen
            finally:
                db.execute(sql.SQL("ALTER DATABASE {} RESET log_statement").format(
                    sql.Identifier(database)))
                seen.extend(self._logged(start, database))

    def _logged(self, start, database):
        pattern = re.compile(rf" \[\d+\] .* {re.escape(database)} LOG:  (?:statement|execute [^:]*): (.*)")
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            file.seek(start)
            return [found.group(1) for found in map(pattern.search, file) if found]

    # ---- inside

    def _write(self, name, text):
        path = os.path.join(self.data, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def _tool(self, name, *arguments):
        owner = account()
        options = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []} if owner else {}
        with _initdb_lock:
            done = subprocess.run([os.path.join(BINARIES, name), *arguments], capture_output=True,
                                  text=True, cwd=self.directory, check=False, timeout=120, **options)
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
