"""The two that are compared: each a volume in a database of its own, mounted, with its CPU time.

Both use one PostgreSQL cluster with the same settings for durability, one kind of bucket, and what
each mounts with when nothing is said.
"""

import os
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "system"),
                str(Path(__file__).resolve().parents[1] / "interop")]

from harness.process import run  # noqa: E402
from harness.volume import BIN, Volume, tarn  # noqa: E402
from stock_client import StockVolume  # noqa: E402

_TICK = os.sysconf("SC_CLK_TCK")


def _stat_fields(pid):
    """The numbers of /proc/PID/stat from the parent on, or None when it has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return [int(field) for field in text.rpartition(")")[2].split()[1:]]


def cpu_seconds(pid):
    """CPU time of a process, of its live children and of those it has waited for."""
    total = 0
    for entry in os.listdir("/proc"):
        fields = _stat_fields(entry) if entry.isdigit() else None
        if fields and int(entry) == pid:
            total += sum(fields[9:13])
        elif fields and fields[0] == pid:
            total += sum(fields[9:11])
    return total / _TICK


class Contestant:
    """name: how the table calls it."""

    def __init__(self, name, volume):
        self.name, self.volume = name, volume
        self.mounted = None

    def mount(self, port=None):
        """Mount, by way of a port where something delays."""
        url = self.volume.cluster.url(self.volume.database, port=port)
        self.mounted = self._mount(url).start()

    def unmount(self):
        self.mounted.unmount()
        self.mounted = None

    def path(self, *names):
        return self.mounted.path(*names)

    def cpu(self):
        """CPU seconds so far: of the mount, and of PostgreSQL."""
        return (cpu_seconds(self.mounted.process.pid),
                cpu_seconds(self.volume.cluster.process.pid))


class Tarn(Contestant):
    def __init__(self, cluster, workdir, bucket):
        volume = Volume(cluster, cluster.create_database(), "tarn", workdir, bucket=bucket / "tarn")
        super().__init__("Tarn", volume.format())

    def _mount(self, url):
        return self.volume.mount(url=url)

    def remove_tree(self, directory):
        tarn("rmr", directory, timeout=600)

    @staticmethod
    def version():
        return tarn("--version").stdout.strip()


class Stock(Contestant):
    def __init__(self, cluster, workdir, bucket, program):
        volume = StockVolume(program, cluster, cluster.create_database(), "stock", workdir)
        volume.bucket = bucket / "stock"
        self.program = program
        super().__init__("stock", volume.stock_format())

    def _mount(self, url):
        return self.volume.stock_mount(url=url)

    def remove_tree(self, directory):
        run([self.program, "rmr", directory], timeout=600)

    def version(self):
        return run([self.program, "--version"]).stdout.strip()


def has_rmr():
    """Whether this build of ours has the command."""
    return run([BIN / "tarn", "rmr", "--help"], check=False).returncode == 0
