"""What a mirror shows, checked against histories of clients at both sites.

Clients record what they asked, what they were answered and when. With --freshness session each client
must see its own changes and never go back; with strict all clients together must have seen one order of
everything. The line is slow meanwhile, and apply at the mirror stops and goes on. The same with eventual
must be found out, or the checker would be worth nothing.
"""

import contextlib
import errno
import fcntl
import os
import random
import threading

import pytest

from harness import history
from harness.proxy import Proxy
from harness.wait import stays, wait_for

NO_CACHE = ("--attr-cache", "0", "--entry-cache", "0", "--dir-entry-cache", "0")
CLIENTS = 2  # at each site
ROUNDS = 120 if os.environ.get("TARN_LONG") else 6


@pytest.fixture
def line(cluster):
    """The way of the mirror's mounts to the primary, slower than that of replication or faster."""
    made = Proxy(cluster.port)
    yield made
    made.close()


class Apply:
    """Replication at the mirror, stopped and going on."""

    def __init__(self, mirror):
        self.mirror = mirror

    def set(self, what):
        name = self.mirror.value("SELECT subscription FROM tarn.local_site")
        with self.mirror.cluster.connect(self.mirror.database) as db:
            db.execute(f"ALTER SUBSCRIPTION {name} {what}")

    def worker(self):
        return self.mirror.value("SELECT count(*) FROM pg_stat_subscription WHERE pid IS NOT NULL"
                                 " AND relid IS NULL AND subname ="
                                 " (SELECT subscription FROM tarn.local_site)")

    def stop(self):
        self.set("DISABLE")
        wait_for("apply has stopped", lambda: not self.worker())

    def go_on(self):
        self.set("ENABLE")

    @contextlib.contextmanager
    def stopped(self):
        self.stop()
        try:
            yield
        finally:
            self.go_on()

    def flap(self, ended):
        while not ended.wait(0.4):
            self.stop()
            ended.wait(0.5)
            self.go_on()


@pytest.fixture
def apply(mirror):
    return Apply(mirror)


class Client:
    """One program at one mount."""

    def __init__(self, name, mount, seen):
        self.name, self.mount, self.seen = name, mount, seen
        self.random = random.Random(name)

    def record(self, objects, *operation, act):
        return self.seen[objects].record(self.name, operation, act)

    # ---- the objects

    def write(self, value):
        def act():
            fresh = self.mount.path(f".{self.name}")
            fresh.write_text(value)
            os.rename(fresh, self.mount.path("register"))
        self.record("register", "write", value, act=act)

    def read(self):
        self.record("register", "read", act=lambda: self.mount.path("register").read_text())

    def append(self, line):
        """Under a lock, because the kernel decides where the end of the file is."""
        def act():
            with open(self.mount.path("lock"), "r+b") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                with open(self.mount.path("log"), "a", encoding="ascii") as file:
                    file.write(line + "\n")
        self.record("log", "append", line, act=act)

    def read_log(self):
        self.record("log", "read", act=lambda: tuple(
            self.mount.path("log").read_text().split()))

    def create(self, name):
        def act():
            try:
                os.close(os.open(self.mount.path("dir", name), os.O_CREAT | os.O_EXCL))
                return "made"
            except FileExistsError:
                return "EEXIST"
        self.record("directory", "create", name, act=act)

    def rename(self, old, new):
        def act():
            try:
                os.rename(self.mount.path("dir", old), self.mount.path("dir", new))
                return "done"
            except FileNotFoundError:
                return "ENOENT"
        self.record("directory", "rename", old, new, act=act)

    def list(self):
        self.record("directory", "list",
                    act=lambda: frozenset(os.listdir(self.mount.path("dir"))))

    def one_round(self, number):
        name = self.random.choice("abcd")
        for act in self.random.sample([
                lambda: self.write(f"{self.name}.{number}"), self.read,
                lambda: self.append(f"{self.name}.{number}"), self.read_log, self.read_log,
                lambda: self.create(name), lambda: self.rename(name, self.random.choice("abcd")),
                self.list, self.list], 9):
            act()


MACHINES = {"register": (history.register, "first"), "log": (history.log, ()),
            "directory": (history.directory, frozenset())}


def begin(mount):
    mount.path("register").write_text("first")
    mount.path("log").touch()
    mount.path("lock").touch()
    mount.path("dir").mkdir()


def run(primary, mirror, line, apply, options, rounds=ROUNDS):
    """Clients at both sites at work; gives what they saw of each object."""
    seen = {name: history.History() for name in MACHINES}
    ended = threading.Event()
    failures = []

    def work(client):
        try:
            for number in range(rounds):
                client.one_round(number)
        except BaseException as failure:  # pylint: disable=broad-except
            failures.append(f"{client.name}: {failure!r}")

    with primary.mount(*NO_CACHE) as here:
        begin(here)
        mirror.wait_caught_up()
        line.delay(0.01)
        with mirror.mount("--primary", primary.url_by(line), *options) as there:
            clients = [Client(f"{site}{n}", mount, seen) for n in range(CLIENTS)
                       for site, mount in (("p", here), ("m", there))]
            threads = [threading.Thread(target=work, args=(client,)) for client in clients]
            flapping = threading.Thread(target=apply.flap, args=(ended,))
            for thread in [flapping, *threads]:
                thread.start()
            for thread in threads:
                thread.join()
            ended.set()
            flapping.join()
    assert not failures
    return seen


def breaches_of_order(seen):
    found = []
    for name, (step, start) in MACHINES.items():
        if not history.linearizable(seen[name].events, step, start):
            found.append(f"no order explains the {name}: {seen[name].events}")
    return found


def breaches_of_sessions(seen):
    clients = {event.client for event in seen["log"].events}
    return [breach for client in sorted(clients)
            for breach in history.session_breaches(seen["log"].of(client))]


@pytest.mark.limit(600)
def test_strict_reads_of_all_clients_are_in_one_order(primary, mirror, line, apply):
    seen = run(primary, mirror, line, apply, ["--freshness", "strict"])
    assert not breaches_of_order(seen)
    assert not breaches_of_sessions(seen)


@pytest.mark.limit(600)
def test_a_session_never_goes_back_and_sees_what_it_did(primary, mirror, line, apply):
    seen = run(primary, mirror, line, apply, ["--freshness", "session", *NO_CACHE])
    assert not breaches_of_sessions(seen)
    appended = [e.operation[1] for e in seen["log"].events if e.operation[0] == "append"]
    with primary.mount() as here:
        # Who appends has the lock and must see what was appended under it before: nothing is lost.
        assert sorted(here.path("log").read_text().split()) == sorted(appended)


def test_the_checker_finds_a_mirror_that_shows_what_is_old(primary, mirror, line, apply):
    seen = {name: history.History() for name in MACHINES}
    with primary.mount(*NO_CACHE) as here:
        begin(here)
        mirror.wait_caught_up()
        with mirror.mount("--freshness", "eventual", "--primary", primary.url_by(line),
                          *NO_CACHE) as there, apply.stopped():
            client, other = Client("m", there, seen), Client("p", here, seen)
            client.append("mine")
            client.read_log()
            other.write("second")
            client.read()
            other.create("a")
            client.list()
    assert breaches_of_sessions(seen)
    assert len(breaches_of_order(seen)) == 3


def test_histories_that_no_order_explains_are_told_from_those_that_one_does():
    def event(asked, answered, operation, answer=None):
        return history.Event("c", operation, answer, asked, answered)
    concurrent = [event(0, 3, ("write", "b")), event(1, 2, ("read",), "a"),
                  event(2.5, 4, ("read",), "b")]
    back = [event(0, 9, ("write", "b")), event(1, 2, ("read",), "b"), event(3, 4, ("read",), "a")]
    late = [event(0, 1, ("write", "b")), event(2, 3, ("read",), "a")]
    assert history.linearizable(concurrent, history.register, "a")
    assert not history.linearizable(back, history.register, "a")
    assert not history.linearizable(late, history.register, "a")


# ---- one by one ----

def test_own_changes_are_seen_while_nothing_arrives(primary, mirror, line, apply):
    with mirror.mount("--primary", primary.url_by(line)) as there, apply.stopped():
        there.path("d").mkdir()
        there.path("d/f").write_text("mine")
        assert there.path("d/f").read_text() == "mine"
        assert os.listdir(there.path("d")) == ["f"]
        os.rename(there.path("d/f"), there.path("d/g"))
        assert not there.path("d/f").exists()
        with pytest.raises(FileExistsError):
            there.path("d").mkdir()


def test_a_refusal_tells_of_what_others_did_and_is_not_forgotten(primary, mirror, line, apply):
    with primary.mount() as here, mirror.mount("--primary", primary.url_by(line)) as there:
        with apply.stopped():
            here.path("theirs").write_text("theirs")
            assert not there.path("theirs").exists()
            with pytest.raises(FileExistsError):
                os.open(there.path("theirs"), os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            assert there.path("theirs").read_text() == "theirs"
            # And a look at the primary is not taken back by a look here.
            here.path("later").touch()
            assert there.path("later").exists()


def test_what_is_owed_and_cannot_be_asked_fails_and_is_never_stale(primary, mirror, line, apply):
    with primary.mount() as here, mirror.mount("--primary", primary.url_by(line), *NO_CACHE) as there:
        here.path("old").write_text("old")
        mirror.wait_caught_up()
        with apply.stopped():
            line.forget()
            there.path("mine").touch()
            # What was seen at the primary meanwhile is proven by a barrier, made within a second.
            os.stat(there.path("mine"))
            wait_for("a barrier is made", lambda: line.exchanges("tarn_1.barrier("))
            wait_for("nothing more was seen since", lambda: is_barrier_last(line))
            stays("and nothing is", lambda: is_barrier_last(line), 1.5)
            line.refuse()
            with pytest.raises(OSError) as caught:
                os.stat(there.path("mine"))
            assert caught.value.errno == errno.EIO
        wait_for("it has arrived", there_is(there.path("mine")))
        assert there.path("old").read_text() == "old"
        line.accept()


def is_barrier_last(line):
    calls = [str(e) for e in line.exchanges()
             if "usage_flush" not in str(e) and "session_refresh" not in str(e)]
    return "tarn_1.barrier(" in calls[-1]


def there_is(path):
    def look():
        try:
            return path.exists()
        except OSError:
            return False
    return look


def test_strict_sees_what_the_other_site_has_just_done(primary, mirror, line, apply):
    options = ["--freshness", "strict", "--read-only", "--primary", primary.url_by(line)]
    with primary.mount() as here, mirror.mount(*options) as there:
        for number in range(20):
            here.path("f").write_text(str(number))
            assert there.path("f").read_text() == str(number)
        with apply.stopped():
            here.path("f").write_text("last")
            assert there.path("f").read_text() == "last"


def test_one_barrier_serves_all_reads_that_began_before_it(primary, mirror, line):
    with primary.mount() as here:
        for number in range(32):
            here.path(f"f{number}").touch()
    mirror.wait_caught_up()
    with mirror.mount("--freshness", "strict", "--read-only", "--primary",
                      primary.url_by(line)) as there:
        files = [os.open(there.path(f"f{n}"), os.O_RDONLY) for n in range(32)]
        line.delay(0.25)
        line.forget()
        readers = [threading.Thread(target=os.fstat, args=(file,)) for file in files]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        assert 1 <= len(line.exchanges("tarn_1.barrier(")) <= 8
        line.delay(0)
        for file in files:
            os.close(file)


def test_a_mount_that_changes_nothing_costs_the_primary_nothing(primary, mirror, line, mirror_line):
    with primary.mount() as here:
        here.path("f").write_text("x" * 5000)
    mirror.wait_caught_up()
    with mirror.mount("--primary", primary.url_by(line), url=mirror.url_by(mirror_line)) as there:
        os.stat(there.path("f"))
        there.path("f").read_bytes()
        os.listdir(there.directory)
        assert not line.exchanges()
        assert line.connection_count() == 0
        assert not mirror_line.exchanges("is_here")


@pytest.fixture
def mirror_line(mirror_cluster):
    """The way to the mirror's own PostgreSQL, to count what passes."""
    made = Proxy(mirror_cluster.port)
    yield made
    made.close()


def test_once_all_has_arrived_a_read_is_one_exchange_with_the_mirror(primary, mirror, line,
                                                                     mirror_line):
    with mirror.mount("--primary", primary.url_by(line), "--meta-conns", "1", *NO_CACHE,
                      url=mirror.url_by(mirror_line)) as there:
        there.path("d").mkdir()
        there.path("d/f").write_text("x")
        mirror.wait_caught_up()
        os.stat(there.path("d/f"))
        mirror.wait_caught_up()
        os.stat(there.path("d/f"))
        line.forget()
        mirror_line.forget()
        os.listxattr(there.path("d/f"))
        far = [e for e in line.exchanges() if "usage_flush" not in str(e)
               and "session_refresh" not in str(e)]
        assert not far
        assert len(mirror_line.exchanges("tarn_1.listxattr(")) == 1


def test_every_read_sees_the_snapshot_of_its_statement(volume):
    """The proof and the data are one only for functions that are STABLE."""
    reads = ["is_here", "getattr", "lookup", "resolve", "readdir", "readlink", "access", "open",
             "slices", "getxattr", "listxattr", "acl_rule", "statfs", "statfs_at", "next_chunk",
             "tree_sums", "paths"]
    known = dict(volume.query("SELECT proname, provolatile FROM pg_proc"
                              " WHERE pronamespace = 'tarn_1'::regnamespace AND proname = ANY(%s)",
                              [reads]))
    assert known == {name: "s" for name in reads}
