"""Volumes by the real programs: formatting, mounting, restoring one that a stock client wrote."""

import contextlib
import errno
import gzip
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

from .process import Process, run
from .wait import wait_for

REPOSITORY = Path(__file__).resolve().parents[3]
BUILD = Path(os.environ.get("TARN_BUILD", REPOSITORY / "build" / "dev")).resolve()
BIN = BUILD / "bin"
FIXTURES = REPOSITORY / "tests" / "data" / "fixtures"

# Exit codes of every program (fs/base/conf.h).
DONE, FAILED, USAGE, UNREACHABLE, DENIED, NOT_FORMATTED, NOT_READY, STORE = range(8)

TRASH_INODE = 0x7FFFFFFF10000000

# What a program may get from a mount that ends: of what it asks too late, and of what the kernel
# still held when the connection went.
ENDED = (errno.ENOTCONN, errno.ECONNABORTED)

_BLOCK = re.compile(r"^(\d+)_(\d+)_(\d+)$")


def tarn(*arguments, **options):
    """Run `tarn …` to its end."""
    return run([BIN / "tarn", *arguments], **options)


def tarn_json(*arguments, **options):
    return json.loads(tarn(*arguments, "--json", **options).stdout)


def is_mounted(directory):
    wanted = os.fsencode(str(directory)).replace(b" ", b"\\040")
    with open("/proc/self/mountinfo", "rb") as file:
        return any(line.split()[4] == wanted for line in file)


class Mount:
    """`tarn mount` in the foreground, as a child with a log file."""

    def __init__(self, url, directory, *options, env=None, log=None):
        self.url = url
        self.directory = Path(directory)
        self.options = [str(option) for option in options]
        self.env = env
        self.log_path = str(log or f"{directory}.log")
        self.process = None
        self.seconds_to_ready = None

    def start(self, timeout=60.0):
        self.directory.mkdir(parents=True, exist_ok=True)
        begun = time.monotonic()
        self.process = Process([BIN / "tarn", "mount", self.url, self.directory, *self.options],
                               self.log_path, env=self.env)

        def serving():
            assert self.process.is_running(), (
                f"mount ended with {self.process.child.returncode}\n{self.process.log_tail()}")
            return is_mounted(self.directory)
        wait_for(f"{self.directory} is mounted", serving, timeout, interval=0.002)
        os.stat(self.directory)
        self.seconds_to_ready = time.monotonic() - begun
        return self

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        if kind is None:
            self.unmount()
        else:
            self.abandon()

    def path(self, *names):
        return self.directory.joinpath(*names)

    def unmount(self):
        """A clean end by `tarn umount`; the daemon's exit code must be 0."""
        tarn("umount", self.directory)
        code = self.process.wait(60)
        assert code == DONE, f"mount ended with {code}\n{self.process.log_tail()}"
        assert not is_mounted(self.directory)

    def terminate(self):
        """A clean end by SIGTERM."""
        code = self.process.stop(signal.SIGTERM, 60)
        assert code == DONE, f"mount ended with {code}\n{self.process.log_tail()}"
        wait_for("the mount point is free", lambda: not is_mounted(self.directory))

    def kill9(self):
        """The daemon dies on the spot; the dead mount point is taken away."""
        self.process.kill()
        detach(self.directory)

    def abandon(self):
        if self.process and self.process.is_running():
            self.process.kill()
        detach(self.directory)


def detach(directory):
    """Take away a mount, dead or alive, without waiting for anybody."""
    for _ in range(10):
        if not is_mounted(directory):
            return
        if subprocess.run(["umount", "-l", str(directory)], capture_output=True,
                          check=False).returncode != 0:
            subprocess.run(["fusermount3", "-uz", str(directory)], capture_output=True, check=False)


class Volume:
    """One volume at one PostgreSQL database, with its bucket directory."""

    def __init__(self, cluster, database, name, workdir, bucket=None):
        self.cluster, self.database, self.name = cluster, database, name
        self.workdir = Path(workdir)
        self.bucket = Path(bucket or self.workdir / f"bucket-{name}")
        self._mounts = 0

    @property
    def url(self):
        return self.cluster.url(self.database)

    def url_by(self, proxy):
        return self.cluster.url(self.database, port=proxy.port)

    def format(self, *options):
        self.bucket.mkdir(parents=True, exist_ok=True)
        tarn("format", self.url, self.name, "--bucket", f"{self.bucket}/", *options)
        return self

    def mount(self, *options, url=None, env=None, cache=None, shows_internal=False):
        """A Mount at a fresh directory with a cache of its own; start it with `with`. Its root lists
        what is in the volume alone, unless shows_internal."""
        if not shows_internal:
            options = ("--hide-internal", *options)
        self._mounts += 1
        label = f"{self.name}-{self.database}-{self._mounts}"
        cache = cache or self.workdir / f"cache-{label}"
        return Mount(url or self.url, self.workdir / f"mnt-{label}", "--cache-dir", cache, *options,
                     env=env, log=self.workdir / f"mount-{label}.log")

    def value(self, text, parameters=None):
        return self.cluster.value(self.database, text, parameters)

    def query(self, text, parameters=None):
        return self.cluster.query(self.database, text, parameters)

    def blocks(self, bucket=None):
        """{block name: size of its object} of everything below chunks/."""
        return bucket_blocks(bucket or self.bucket, self.name)

    def expected_blocks(self):
        """The names of the blocks that jfs_chunk_ref says exist."""
        block = json.loads(self.value("SELECT value FROM jfs_setting WHERE name = 'format'"))
        size_bytes = block["BlockSize"] * 1024
        names = set()
        for slice_id, size in self.query(
                "SELECT chunkid, size FROM jfs_chunk_ref WHERE refs > 0"):
            for index in range((size + size_bytes - 1) // size_bytes):
                length = min(size_bytes, size - index * size_bytes)
                names.add(f"{slice_id}_{index}_{length}")
        return names


def bucket_blocks(bucket, name):
    """Block objects of a file bucket; half-written temporaries are not blocks."""
    found = {}
    top = Path(bucket) / name / "chunks"
    for directory, _, files in os.walk(top):
        for file in files:
            if _BLOCK.match(file):
                with contextlib.suppress(FileNotFoundError):
                    found[file] = os.stat(os.path.join(directory, file)).st_size
    return found


def fixture_names():
    return sorted(path.name for path in FIXTURES.iterdir() if (path / "info.json").exists())


class Restored(Volume):
    """A volume of tests/data/fixtures in a database and a directory of its own."""

    def __init__(self, cluster, variant, workdir, live=False):
        self.variant, self.live = variant, live
        self.source = FIXTURES / variant
        self.info = json.loads((self.source / "info.json").read_text(encoding="utf-8"))
        super().__init__(cluster, cluster.create_database(), self.info["volume"], workdir)

    def restore(self):
        dump = self.source / ("dump-live.sql.gz" if self.live else "dump.sql.gz")
        self.cluster.psql(self.database, gzip.decompress(dump.read_bytes()))
        self.bucket.mkdir(parents=True)
        archives = ["objects.tar.zst"] + (["objects-live-extra.tar.zst"] if self.live else [])
        for archive in archives:
            run(["tar", "--zstd", "-xf", self.source / archive, "-C", self.bucket])
        return self

    def adopt(self):
        tarn("primary", "adopt", self.url, env=self.env)
        return self

    @property
    def env(self):
        return {"JFS_RSA_PASSPHRASE": self.info["passphrase"]} if self.info.get("passphrase") else {}

    @property
    def bucket_argument(self):
        """What --bucket must say: a pattern for a sharded volume."""
        return self.info["bucket_override"].replace("DIR", str(self.bucket))

    def mount(self, *options, **more):
        more.setdefault("env", self.env)
        # The fixtures' listings have no .accesslog, which never ends.
        return super().mount("--bucket", self.bucket_argument, "--hide-internal", *options, **more)

    def listing(self):
        return self.source / ("tree-live.jsonl" if self.live else "tree.jsonl")
