"""Two sites that change roles: each is a Volume, and either may be the primary."""

import os
import subprocess

from .site import Daemon
from .tree import assert_same, digest, read_tree
from .volume import BIN, tarn, tarn_json
from .wait import wait_for

EPOCH_BITS = 40


def role(site):
    return site.value("SELECT role FROM tarn.local_site")


def epoch(site):
    return site.value("SELECT s.epoch FROM tarn.site s JOIN tarn.local_site l USING (name)")


def counters(site):
    return dict(site.query("SELECT name, value FROM jfs_counter"))


def highest(site):
    """The highest inode, slice and session that this database knows of."""
    return site.query(
        "SELECT (SELECT max(inode) FROM jfs_node WHERE inode < 9223372032828243968),"
        " (SELECT max(chunkid) FROM jfs_chunk_ref), (SELECT max(sid) FROM jfs_session2)")[0]


def promote(site, *options, **more):
    return tarn("mirror", "promote", *options, site.url, timeout=180, **more)


def promote_json(site, *options):
    return tarn_json("mirror", "promote", *options, site.url, timeout=180)


def primary_agent(site, label):
    return Daemon("tarn-primary", ["run", site.url], site.workdir / f"primary-{label}.log").start()


def mirror_agent(site, label):
    return Daemon("tarn-mirror", ["run", site.url], site.workdir / f"mirror-{label}.log").start()


def wait_same(primary, mirror, timeout=60):
    """Wait until the mirror holds what the primary has committed by now: by a marker in the data."""
    value = primary.value("SELECT value FROM tarn_1.mark('test')")
    wait_for("the mirror has the marker", lambda: (mirror.value(
        "SELECT value FROM tarn.mark WHERE name = 'test'") or 0) >= value, timeout)


def assert_same_sites(primary, mirror):
    """Both show the same tree, data included, and the same rows of every published table."""
    wait_same(primary, mirror)
    with primary.mount("--read-only") as here, mirror.mount("--read-only") as there:
        ours, theirs = read_tree(here.directory), read_tree(there.directory)
    assert_same(ours, theirs)
    assert digest(ours) == digest(theirs)
    tables = [row[0] for row in primary.query(
        "SELECT relation::text FROM tarn_1.replicated_tables() AS r"
        " WHERE relation::text NOT IN ('tarn.heartbeat', 'tarn.mark')")]
    for table in tables:
        text = f"SELECT md5(coalesce(string_agg(t::text, E'\\n' ORDER BY t::text), '')) FROM {table} t"
        assert primary.value(text) == mirror.value(text), f"{table} differs"


class Asked:
    """`tarn mirror promote --ask`, which waits for us before each step."""

    def __init__(self, site, *options):
        self.child = subprocess.Popen(
            [BIN / "tarn", "mirror", "promote", "--ask", *options, site.url], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=os.environ)
        self.said = []

    def to(self, step):
        """Let it go on until it asks about this step; False: it has ended before."""
        for line in self.child.stdout:
            self.said.append(line)
            if not line.startswith("next     ") or "; Enter goes on" not in line:
                continue
            if line.startswith(f"next     {step}:"):
                return True
            self.child.stdin.write("\n")
            self.child.stdin.flush()
        return False

    def kill(self):
        self.child.kill()
        self.child.wait(30)
        self.child.stdin.close()
        self.child.stdout.close()
