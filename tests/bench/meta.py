"""Metadata operations of Tarn and of a stock JuiceFS client on the same PostgreSQL.

tests/bench/run meta [--quick] [--only WORK,...] [--rounds N] [--bucket memory|disk]
                     [--sync disk|none]

Each round carries out every work by both, one right after the other, in turns who is first; with
1, 4 and 16 threads, next to PostgreSQL and with 30 ms of round trip to it. A number of the table is
the median of the rounds, a ratio is that of the medians, and its spread is the smallest and largest
ratio of one round. Both volumes have trash, as a new volume has.

Names and attributes that the kernel may keep for a second have expired when stat, read, rename,
unlink or list begin: what is measured is the client and not the kernel. Both buckets are in memory
unless --bucket says disk: how a store syncs is not what is compared here.

PostgreSQL is on disk, with fsync: there both wait as long for the disk at each change, which no
client can help. --sync none puts the cluster into memory, without fsync, and so leaves what is the
clients' own; a server whose disk has a battery behind its cache lies between the two.
"""

import argparse
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from contestants import Stock, Tarn, has_rmr
from meta_report import as_markdown, summary
from harness import process
from harness.cluster import Cluster
from harness.process import Process, run
from harness.volume import BIN
from harness.wait import wait_for

RTT_MS = 30
TTL_SECONDS = 1.1
LISTED = 10_000
FILE_WORKS = ["create", "write", "stat", "read", "setattr", "link", "rename", "unlink"]
TREE_WORKS = ["list", "mkdir", "rm -r", "rmr", "git checkout"]


class Profile:
    """How much of what is done at one distance.

    counts: {threads: operations of each}. directories: of the tree; it holds 4 files in each.
    """

    def __init__(self, name, rounds, counts, directories, checkout):
        self.name, self.rounds, self.counts = name, rounds, counts
        self.directories, self.checkout = directories, checkout


FULL = [Profile("local", 5, {1: 200, 4: 100, 16: 40}, 85, 300),
        Profile("30 ms", 3, {1: 8, 4: 6, 16: 4}, 5, 20)]
QUICK = [Profile("local", 3, {1: 100, 4: 50, 16: 20}, 21, 100),
         Profile("30 ms", 1, {1: 6, 16: 3}, 5, 10)]


class DelayLine:
    """The relay that gives every byte half the round trip, each way."""

    def __init__(self, target_port, workdir):
        log = workdir / "delay_line.log"
        self.process = Process([BIN / "delay_line", target_port, RTT_MS / 2], log)
        self.port = int(wait_for("the relay listens", lambda: self.process.log().strip()))


def make_repository(directory, files):
    """A repository whose working tree has so many files of 1 to 16 KiB, ten in a directory."""
    chance = random.Random(files)
    tree = directory / "tree"
    for number in range(files):
        path = tree / f"d{number // 10}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(chance.randrange(1024, 16384)))
    author = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "files"]):
        run(["git", *author, *command], cwd=tree)
    return tree / ".git"


class Bench:
    def __init__(self, arguments, workdir, memory):
        self.workdir, self.only = workdir, arguments.only
        settings = {"shared_buffers": "256MB", "max_wal_size": "4GB", "log_min_messages": "error",
                    "fsync": "on" if arguments.sync == "disk" else "off"}
        place = workdir if arguments.sync == "disk" else memory
        self.cluster = Cluster(place / "pg", "bench", settings=settings).create()
        bucket = memory if arguments.bucket == "memory" else workdir / "buckets"
        stock = Stock(self.cluster, workdir, bucket, Path(os.environ["TARN_STOCK_JUICEFS"]))
        self.both = [Tarn(self.cluster, workdir, bucket), stock]
        self.touched = {}
        self.samples = []
        self.serial = 0

    # ---- one measurement

    def measure(self, who, profile, work, threads, act):
        """Note what act() took; it gives its operations and seconds."""
        before = who.cpu()
        made = act()
        after = who.cpu()
        self.samples.append({
            "distance": profile.name, "work": work, "threads": threads, "who": who.name,
            "round": self.serial, **made,
            "mount_cpu_seconds": round(after[0] - before[0], 3),
            "postgres_cpu_seconds": round(after[1] - before[1], 3)})

    def in_turn(self):
        """Both, each first every other round."""
        return self.both if self.serial % 2 else self.both[::-1]

    def expire(self, who, kind):
        """Wait until the kernel has forgotten these names of a mount."""
        rest = self.touched.get((who.name, kind), 0) + TTL_SECONDS - time.monotonic()
        if rest > 0:
            time.sleep(rest)

    def touch(self, who, kind):
        self.touched[who.name, kind] = time.monotonic()

    @staticmethod
    def load(work, directory, threads, count):
        directory.mkdir(exist_ok=True)
        return json.loads(run([BIN / "meta_load", work, directory, threads, count],
                              timeout=900).stdout)

    @staticmethod
    def timed(operations, act):
        def measured():
            begun = time.monotonic()
            act()
            return {"operations": operations, "seconds": time.monotonic() - begun}
        return measured

    # ---- the works

    def file_works(self, profile, threads, count):
        for work in FILE_WORKS:
            kind = "w" if work in ("write", "read", "link") else "c"
            for who in self.in_turn():
                place = who.path(f"{profile.name}-{threads}-{self.serial}")
                self.expire(who, kind)
                self.measure(who, profile, work, threads,
                             lambda: self.load(work, place, threads, count))
                self.touch(who, kind)

    def tree_works(self, profile, repository):
        wanted = [work for work in TREE_WORKS if work != "rmr" or has_rmr()]
        for work in wanted:
            if self.only and work not in self.only:
                continue
            for who in self.in_turn():
                self.prepare(who, profile, work)
                self.expire(who, "tree")
                self.measure(who, profile, work, 1, self.tree_work(who, profile, work, repository))
                self.touch(who, "tree")

    def tree_place(self, who, profile, work):
        return who.path(f"tree-{profile.name}-{work}-{self.serial}")

    def prepare(self, who, profile, work):
        place = self.tree_place(who, profile, work)
        if work in ("rm -r", "rmr"):
            self.load("mkdir", place, 1, profile.directories)
            self.load("fill", place, 1, profile.directories)
            self.touch(who, "tree")
        elif work != "list":
            place.mkdir()

    def tree_work(self, who, profile, work, repository):
        """What is measured, as a function without arguments."""
        place = self.tree_place(who, profile, work)
        entries = profile.directories * 5
        if work == "list":
            return lambda: self.load("list", who.path("listed"), 1, 1)
        if work == "mkdir":
            return lambda: self.load("mkdir", place, 1, profile.directories)
        if work == "rm -r":
            return self.timed(entries, lambda: run(["rm", "-r", place], timeout=900))
        if work == "rmr":
            return self.timed(entries, lambda: who.remove_tree(place))
        index = self.workdir / f"index-{who.name}-{self.serial}"
        command = ["git", f"--git-dir={repository}", f"--work-tree={place}", "checkout", "-q", "-f",
                   "HEAD", "--", "."]
        return self.timed(profile.checkout, lambda: run(command, timeout=900, cwd=place,
                                                        env={"GIT_INDEX_FILE": str(index)}))

    # ---- the whole

    def run(self, profiles):
        for who in self.both:
            who.mount()
            self.load("create", who.path("listed"), 1, LISTED)
        for profile in profiles:
            if profile.name != "local":
                self.move_away()
            (self.workdir / profile.name).mkdir()
            repository = make_repository(self.workdir / profile.name, profile.checkout)
            for _ in range(profile.rounds):
                self.one_round(profile, repository)
        for who in self.both:
            who.unmount()

    def move_away(self):
        """From now on a round trip to PostgreSQL takes its time."""
        line = DelayLine(self.cluster.port, self.workdir)
        for who in self.both:
            who.unmount()
            who.mount(port=line.port)

    def one_round(self, profile, repository):
        self.serial += 1
        begun = time.monotonic()
        if not self.only or set(self.only) & set(FILE_WORKS):
            for threads, count in profile.counts.items():
                self.file_works(profile, threads, count)
        self.tree_works(profile, repository)
        print(f"{profile.name}: round {self.serial} took {time.monotonic() - begun:.0f} s",
              file=sys.stderr, flush=True)

    def close(self):
        process.kill_all()
        self.cluster.destroy()


def facts(bench, arguments, load_before, seconds):
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True,
                            cwd=Path(__file__).parent, check=False).stdout.strip()
    return {"commit": commit, "peer": bench.both[1].version(), "cores": os.cpu_count(),
            "kernel": platform.release(), "rtt_ms": RTT_MS, "sync": arguments.sync,
            "load_before": round(load_before, 2),
            "is_noisy": load_before >= 0.3, "took_seconds": round(seconds)}


def parse():
    parser = argparse.ArgumentParser(prog="tests/bench/run meta", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer of everything")
    parser.add_argument("--only", type=lambda text: text.split(","),
                        help="of the works on trees only these; file works all or none")
    parser.add_argument("--rounds", type=int, help="rounds at each distance")
    parser.add_argument("--distance", choices=["local", "30 ms"], help="this one alone")
    parser.add_argument("--bucket", choices=["memory", "disk"], default="memory")
    parser.add_argument("--sync", choices=["disk", "none"], default="disk")
    parser.add_argument("--output", type=Path, default=BIN.parent,
                        help="directory of meta.json and meta.md")
    return parser.parse_args()


def chosen(arguments):
    profiles = [p for p in (QUICK if arguments.quick else FULL)
                if arguments.distance in (None, p.name)]
    for profile in profiles:
        profile.rounds = arguments.rounds or profile.rounds
    return profiles


def main():
    arguments = parse()
    load_before, begun = os.getloadavg()[0], time.monotonic()
    workdir = Path(tempfile.mkdtemp(prefix="tarn-bench-"))
    memory = Path(tempfile.mkdtemp(prefix="tarn-bench-", dir="/dev/shm"))
    for directory in (workdir, memory):
        directory.chmod(0o755)
    bench = Bench(arguments, workdir, memory)
    try:
        bench.run(chosen(arguments))
        result = {"facts": facts(bench, arguments, load_before, time.monotonic() - begun),
                  "samples": bench.samples, "summary": summary(bench.samples)}
        text = as_markdown(result)
        (arguments.output / "meta.json").write_text(json.dumps(result, indent=1) + "\n")
        (arguments.output / "meta.md").write_text(text)
        print(text)
    finally:
        bench.close()
        shutil.rmtree(workdir, ignore_errors=True)
        shutil.rmtree(memory, ignore_errors=True)


if __name__ == "__main__":
    main()
