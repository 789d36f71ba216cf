"""What a mirror costs and gives: replication lag, catch-up, reads beside a far primary, writes to it.

tests/bench/run mirror [--quick] [--rate OPS] [--output DIR]

Two PostgreSQL clusters of this machine are the two sites, on disk with fsync. Lag: while files are
made at the primary at a steady rate, a probe commits and looks how long it takes until a statement
at the mirror sees it, and until a mount of the mirror shows a new name. Catch-up: apply is stopped,
files are made as fast as the primary commits, apply is let go. Reads: two mirrors of one primary,
one of them 80 ms away, do the same in turns. Writes: mounts of mirrors 30 and 80 ms away, beside a
stock client that is pointed straight at the far PostgreSQL (where TARN_STOCK_JUICEFS names one).
Audit: what comparing everything costs the primary.
"""

import argparse
import json
import multiprocessing
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from contestants import Stock, cpu_seconds
from mirror_report import as_markdown
from harness import process
from harness.cluster import Cluster
from harness.process import Process, run
from harness.site import Mirror, Primary
from harness.volume import BIN, tarn
from harness.wait import wait_for

TTL_SECONDS = 1.1
READS = ["stat", "list", "read"]


class Line:
    """A relay to a port that gives every byte half the round trip, each way."""

    def __init__(self, target_port, rtt_ms, workdir):
        self.process = Process([BIN / "delay_line", target_port, rtt_ms / 2],
                               workdir / f"delay_line-{rtt_ms}.log")
        self.port = int(wait_for("the relay listens", lambda: self.process.log().strip()))


def make_steadily(directory, rate, end, made):
    """Make empty files in a directory of one's own at this rate, or as near to it as can be."""
    directory.mkdir()
    begun = time.monotonic()
    for number in range(1 << 30):
        if end.is_set():
            return
        due = begun + number / rate
        if due > time.monotonic():
            time.sleep(due - time.monotonic())
        os.close(os.open(directory / str(number), os.O_CREAT | os.O_WRONLY))
        made.value += 1


class Load:
    """Writers at a mount of the primary, together at a rate."""

    def __init__(self, directory, rate, writers=4):
        self.end = multiprocessing.Event()
        self.made = [multiprocessing.Value("q", 0) for _ in range(writers)]
        self.processes = [
            multiprocessing.Process(target=make_steadily, daemon=True,
                                    args=(directory / f"load{n}", rate / writers, self.end, made))
            for n, made in enumerate(self.made)]

    def __enter__(self):
        for worker in self.processes:
            worker.start()
        self.begun = time.monotonic()
        return self

    def __exit__(self, *ignored):
        self.seconds = time.monotonic() - self.begun
        self.end.set()
        for worker in self.processes:
            worker.join(30)

    def rate(self):
        return round(sum(made.value for made in self.made) / self.seconds)


def percentiles(samples):
    ordered = sorted(samples)
    return {"p50_ms": round(ordered[len(ordered) // 2] * 1000, 2),
            "p99_ms": round(ordered[len(ordered) * 99 // 100] * 1000, 2), "samples": len(ordered)}


def lag_in_database(primary, mirror, samples):
    """From the end of a COMMIT until a new statement at the mirror sees what it wrote."""
    seen = []
    with primary.cluster.connect(primary.database) as there, \
            mirror.cluster.connect(mirror.database) as here:
        for number in range(samples):
            there.execute("INSERT INTO tarn.mark (name, value) VALUES ('bench', %s)"
                          " ON CONFLICT (name) DO UPDATE SET value = excluded.value", [number])
            begun = time.monotonic()
            while here.execute("SELECT value FROM tarn.mark WHERE name = 'bench'"
                               ).fetchone() != (number,):
                pass
            seen.append(time.monotonic() - begun)
            time.sleep(0.01)
        there.execute("DELETE FROM tarn.mark WHERE name = 'bench'")
    return percentiles(seen)


def lag_in_mount(here, there, samples):
    """From the return of a create at the primary until a mount of the mirror shows the name."""
    here.path("lag").mkdir()
    wait_for("the directory is seen", there.path("lag").exists)
    seen = []
    for number in range(samples):
        os.close(os.open(here.path("lag", str(number)), os.O_CREAT | os.O_WRONLY))
        begun = time.monotonic()
        name = there.path("lag", str(number))
        while not os.path.exists(name):
            pass
        seen.append(time.monotonic() - begun)
        time.sleep(0.01)
    return percentiles(seen)


def load_tool(work, directory, threads, count):
    directory.mkdir(exist_ok=True)
    return json.loads(run([BIN / "meta_load", work, directory, threads, count], timeout=900).stdout)


class Bench:
    def __init__(self, arguments, workdir):
        self.workdir, self.quick, self.rate = workdir, arguments.quick, arguments.rate
        settings = {"shared_buffers": "256MB", "max_wal_size": "4GB", "log_min_messages": "error"}
        self.here = Cluster(workdir / "pg-primary", "primary", settings=settings).create()
        self.there = Cluster(workdir / "pg-mirror", "mirror", settings=settings).create()
        self.primary = Primary(self.here, "vol", workdir).begin()
        self.lines = {}
        self.mirrors = []

    def mirror(self, rtt_ms):
        """A mirror that is so far away from the primary."""
        line = Line(self.here.port, rtt_ms, self.workdir) if rtt_ms else None
        made = Mirror(self.there, self.primary, self.workdir, name=f"away{rtt_ms}", link=line).begin()
        self.mirrors.append(made)
        return made

    # ---- replication

    def lag(self, mirror):
        samples = 200 if self.quick else 1000
        with self.primary.mount() as here, mirror.mount("--read-only") as there:
            with Load(here.directory, self.rate) as load:
                time.sleep(1)
                result = {"database": lag_in_database(self.primary, mirror, samples),
                          "mount": lag_in_mount(here, there, samples)}
        return {"operations_per_second": load.rate(), **result}

    def catch_up(self, mirror):
        count = 150 if self.quick else 1500
        subscription = "tarn_" + mirror.site_name
        with self.primary.mount() as here:
            mirror.wait_caught_up()
            mirror.query(f"ALTER SUBSCRIPTION {subscription} DISABLE")
            made = load_tool("create", here.path("behind"), 16, count)
            mirror.query(f"ALTER SUBSCRIPTION {subscription} ENABLE")
            begun = time.monotonic()
            mirror.wait_caught_up(600)
            seconds = time.monotonic() - begun
        primary, caught = made["operations"] / made["seconds"], made["operations"] / seconds
        return {"operations": made["operations"], "primary_per_second": round(primary),
                "catch_up_per_second": round(caught), "ratio": round(caught / primary, 2)}

    # ---- reads

    def reads(self, near, far):
        """Milliseconds for an operation, at a mirror next to the primary and at one 80 ms away."""
        count, rounds = (100, 2) if self.quick else (400, 5)
        with self.primary.mount() as here:
            load_tool("create", here.path("many"), 1, count)
            load_tool("write", here.path("many"), 1, count)
        samples = {(name, work): [] for name in ("0 ms", "80 ms") for work in READS}
        for mirror in (near, far):
            mirror.wait_caught_up()
            mirror.sync_once()
        with near.mount("--read-only") as first, far.mount("--read-only") as second:
            both = [("0 ms", first), ("80 ms", second)]
            for _, mounted in both:
                load_tool("read", mounted.path("many"), 1, count)  # the blocks are in the cache now
            for number in range(rounds):
                time.sleep(TTL_SECONDS)
                for work in READS:
                    for name, mounted in both if number % 2 else both[::-1]:
                        made = load_tool(work, mounted.path("many"), 1, 1 if work == "list" else count)
                        samples[name, work].append(made["seconds"] * 1000 / made["operations"])
        return {work: {name: round(median(samples[name, work]), 4) for name in ("0 ms", "80 ms")}
                for work in READS}

    # ---- writes

    def writes(self, mirror, rtt_ms):
        """Operations a second of one thread at a mount of the mirror; None: it mounts read-only."""
        count = 20 if self.quick else 100
        result = {}
        mounted = mirror.mount()
        try:
            mounted.start()
        except AssertionError:
            mounted.abandon()
            return None
        try:
            place = mounted.path(f"writes{rtt_ms}")
            for work in ("create", "write", "rename", "unlink"):
                made = load_tool(work, place, 1, count)
                result[work] = round(made["operations"] / made["seconds"], 1)
        except (AssertionError, OSError):
            mounted.abandon()
            return None
        mounted.unmount()
        return result

    def stock_writes(self, rtt_ms):
        """The same by a stock client at the far PostgreSQL."""
        program = os.environ.get("TARN_STOCK_JUICEFS")
        if not program:
            return None
        place = self.workdir / f"stock{rtt_ms}"
        stock = Stock(self.here, place, place, Path(program))
        stock.mount(port=Line(self.here.port, rtt_ms, place).port)
        count, result = 10 if self.quick else 30, {}
        for work in ("create", "write", "rename", "unlink"):
            made = load_tool(work, stock.path("writes"), 1, count)
            result[work] = round(made["operations"] / made["seconds"], 1)
        stock.unmount()
        return result

    # ---- the audit

    def audit(self, mirror):
        """The CPU time of the primary's PostgreSQL for one audit at the default pace."""
        rows = 300_000 if self.quick else 3_000_000
        self.primary.query("INSERT INTO jfs_detached_node SELECT 1000000 + n, n"
                           f" FROM generate_series(1, {rows}) n")
        mirror.wait_caught_up(600)
        self.primary.query("VACUUM (ANALYZE) jfs_detached_node")
        self.primary.query("CHECKPOINT")
        time.sleep(5)
        idle = self.idle_cpu()
        before, begun = cpu_seconds(self.here.process.pid), time.monotonic()
        sums = json.loads(tarn("mirror", "audit", mirror.url, "--json", timeout=3600).stdout)
        seconds = time.monotonic() - begun
        used = cpu_seconds(self.here.process.pid) - before - idle * seconds
        return {"rows": sums["rows"], "seconds": round(seconds, 1),
                "core_percent": round(100 * used / seconds, 1),
                "said_percent": round(100 * sums["primary_busy_seconds"] / seconds, 1)}

    def idle_cpu(self):
        """What the primary's PostgreSQL takes of a core while nothing is asked of it."""
        before = cpu_seconds(self.here.process.pid)
        time.sleep(5)
        return (cpu_seconds(self.here.process.pid) - before) / 5

    # ---- the whole

    def run(self):
        near = self.mirror(0)
        result = {"lag": self.lag(near)}
        result["catch_up"] = self.catch_up(near)
        result["audit"] = self.audit(near)
        far = self.mirror(80)
        result["reads"] = self.reads(near, far)
        result["writes"] = {}
        for rtt_ms, mirror in ((30, None), (80, far)):
            (self.workdir / f"stock{rtt_ms}").mkdir()
            result["writes"][f"{rtt_ms} ms"] = {
                "tarn": self.writes(mirror or self.mirror(rtt_ms), rtt_ms),
                "stock": self.stock_writes(rtt_ms)}
        return result

    def close(self):
        process.kill_all()
        for cluster in (self.here, self.there):
            cluster.destroy()


def facts(load_before, seconds, rate):
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True,
                            cwd=Path(__file__).parent, check=False).stdout.strip()
    return {"commit": commit, "cores": os.cpu_count(), "kernel": platform.release(),
            "asked_rate": rate, "load_before": round(load_before, 2),
            "is_noisy": load_before >= 0.3, "took_seconds": round(seconds)}


def parse():
    parser = argparse.ArgumentParser(prog="tests/bench/run mirror", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer of everything")
    parser.add_argument("--rate", type=int, default=1000, help="operations a second while lag is measured")
    parser.add_argument("--output", type=Path, default=BIN.parent,
                        help="directory of mirror.json and mirror.md")
    return parser.parse_args()


def main():
    arguments = parse()
    load_before, begun = os.getloadavg()[0], time.monotonic()
    workdir = Path(tempfile.mkdtemp(prefix="tarn-bench-"))
    workdir.chmod(0o755)
    bench = Bench(arguments, workdir)
    try:
        result = bench.run()
        result["facts"] = facts(load_before, time.monotonic() - begun, arguments.rate)
        text = as_markdown(result)
        (arguments.output / "mirror.json").write_text(json.dumps(result, indent=1) + "\n")
        (arguments.output / "mirror.md").write_text(text)
        print(text)
    finally:
        bench.close()
        shutil.rmtree(workdir, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
