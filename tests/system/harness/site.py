"""Sites: a primary with its daemon, a mirror with its daemon and its syncer."""

import shutil
from pathlib import Path

from .process import Process
from .tree import assert_same, digest, read_tree
from .volume import BIN, Volume, tarn, tarn_json
from .wait import wait_for


class Daemon:
    """A program of ours that runs until it is told to stop."""

    def __init__(self, program, arguments, log, env=None):
        self.program, self.arguments, self.log, self.env = program, arguments, log, env
        self.process = None

    def start(self):
        self.process = Process([BIN / self.program, *self.arguments], self.log, env=self.env)
        return self

    def is_running(self):
        return self.process is not None and self.process.is_running()

    def stop(self):
        if self.is_running():
            code = self.process.stop()
            assert code == 0, f"{self.program} ended with {code}\n{self.process.log_tail()}"

    def kill9(self):
        self.process.kill()


class Primary(Volume):
    """A formatted and adopted volume with `tarn primary run` beside it."""

    def __init__(self, cluster, name, workdir):
        super().__init__(cluster, cluster.create_database(), name, workdir)
        self.agent = Daemon("tarn-primary", ["run", self.url], self.workdir / "primary.log")

    def begin(self, *format_options):
        self.format(*format_options)
        tarn("primary", "adopt", self.url, "--name", "home")
        return self.begin_agent()

    def begin_agent(self):
        self.agent.start()
        return self

    def end(self):
        self.agent.stop()


class Mirror(Volume):
    """A mirror of a primary: its own database, its own bucket, the primary's as origin.

    link: a Proxy in front of the primary's PostgreSQL that replication goes through, or None.
    """

    def __init__(self, cluster, primary, workdir, name="away", link=None, with_bucket=True):
        super().__init__(cluster, cluster.create_database(), primary.name, workdir,
                         bucket=Path(workdir) / f"bucket-{name}")
        self.primary, self.site_name, self.with_bucket = primary, name, with_bucket
        self.primary_url = primary.url_by(link) if link else primary.url
        self.agent = Daemon("tarn-mirror", ["run", self.url], self.workdir / f"mirror-{name}.log")
        self.syncers = []

    def without_reseed(self):
        """The agent only says LOST from now on, and leaves the rest to a person."""
        if self.agent.is_running():
            wait_for("the agent has begun", lambda: "state" in self.agent.process.log())
            self.agent.stop()
        self.agent = Daemon("tarn-mirror", ["run", self.url, "--no-reseed"], self.agent.log).start()
        return self

    def join(self):
        arguments = ["--primary", self.primary_url, "--name", self.site_name,
                     "--origin", f"{self.primary.bucket}/"]
        if self.with_bucket:
            self.bucket.mkdir(parents=True, exist_ok=True)
            arguments += ["--bucket", f"{self.bucket}/"]
        tarn("mirror", "join", *arguments, self.url, timeout=120)
        return self

    def begin(self):
        self.join()
        self.agent.start()
        self.wait_ready()
        return self

    def wait_ready(self, timeout=60):
        wait_for("the mirror is ready",
                 lambda: self.value("SELECT ready_at IS NOT NULL FROM tarn.local_site"), timeout)

    def status(self):
        return tarn_json("mirror", "status", self.url)

    def start_syncer(self, *options, env=None):
        number = len(self.syncers) + 1
        syncer = Daemon("tarn-syncer", ["run", self.url, *options],
                        self.workdir / f"syncer-{self.site_name}-{number}.log", env=env).start()
        self.syncers.append(syncer)
        return syncer

    def sync_once(self, *options, **more):
        return tarn("syncer", "run", self.url, "--once", *options, timeout=300, **more)

    def wait_caught_up(self, timeout=60):
        """Wait until the mirror holds everything that is committed at the primary by now."""
        position = self.primary.value("SELECT pg_current_wal_insert_lsn()::text")
        wait_for("the mirror has caught up", lambda: self._has_passed(position), timeout)

    def _has_passed(self, position):
        """By the slot at the primary: what the mirror has confirmed as applied and flushed."""
        return self.primary.value(
            "SELECT bool_and(confirmed_flush_lsn >= %s::pg_lsn) FROM pg_replication_slots"
            " WHERE database = %s AND slot_type = 'logical' AND NOT temporary",
            [position, self.primary.database])

    def wait_copied(self, timeout=120):
        """Wait until every block that the metadata here names is in the local bucket."""
        def complete():
            return not self.expected_blocks() - self.blocks().keys()
        wait_for("every block is in the mirror's bucket", complete, timeout, interval=0.1)

    def end(self):
        for syncer in self.syncers:
            syncer.stop()
        self.agent.stop()


def assert_equal_sites(primary, mirror, with_data=True):
    """Both sites show the same tree: the end of every replication test. Gives the digest."""
    mirror.wait_caught_up()
    with primary.mount("--read-only") as here, mirror.mount("--read-only") as there:
        at_primary = read_tree(here.directory, with_data)
        at_mirror = read_tree(there.directory, with_data)
    assert_same(at_primary, at_mirror)
    assert digest(at_primary) == digest(at_mirror)
    return digest(at_primary)


def hide(directory):
    """Move a directory out of the way; the answer is where it is now."""
    hidden = Path(f"{directory}.hidden")
    shutil.move(directory, hidden)
    return hidden


def reveal(directory):
    shutil.move(f"{directory}.hidden", directory)
