"""No operation takes more than one exchange with PostgreSQL once its connection is warm.

Counted by a proxy that reads the protocol: an exchange is what a client sends up to a Sync, with
its answer. Left out are id-range refills and what runs in the background. Requests that the kernel
makes by itself are operations of their own: the lookup of a name it does not know, and the getattr
of what it has known for a second.
"""

import fcntl
import os
import time

import pytest

from harness.syscalls import (FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, RENAME_EXCHANGE,
                              RENAME_NOREPLACE, fallocate, renameat2)
from harness.volume import tarn

BACKGROUND = ("session_refresh", "usage_flush", "alloc(", "volume(")


@pytest.fixture
def counted(volume, proxy):
    """A mount through the proxy, with one connection that has run every function once."""
    with volume.mount("--meta-conns", "1", "--no-bgjob", url=volume.url_by(proxy)) as mount:
        exercise(mount.path("warm-up"))
        yield Counted(mount, proxy)


@pytest.fixture
def patient(volume, proxy):
    """The same for a kernel that may believe what it was told for an hour."""
    hour = [word for cache in ("attr", "entry", "dir-entry") for word in (f"--{cache}-cache", "1h")]
    with volume.mount("--meta-conns", "1", "--no-bgjob", *hour,
                      url=volume.url_by(proxy)) as mount:
        exercise(mount.path("warm-up"))
        yield Counted(mount, proxy)


def exercise(top):
    """Every operation once, so that everything is prepared and id ranges are filled."""
    top.mkdir()
    one, two = top / "one", top / "two"
    one.write_bytes(b"x" * 5000)
    two.touch()
    one.read_bytes()
    os.chmod(one, 0o600)
    os.truncate(one, 100)
    with open(one, "r+b") as file:
        os.posix_fallocate(file.fileno(), 0, 1000)
    os.setxattr(one, "user.a", b"1")
    os.getxattr(one, "user.a")
    os.listxattr(one)
    os.removexattr(one, "user.a")
    os.symlink("one", top / "sym")
    os.readlink(top / "sym")
    os.link(one, top / "hard")
    os.listdir(top)
    os.statvfs(top)
    os.access(one, os.R_OK)
    with open(one, "r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        fcntl.flock(file, fcntl.LOCK_EX)
        os.copy_file_range(file.fileno(), file.fileno(), 10, 0, 5000)
    renameat2(one, two, RENAME_EXCHANGE)
    os.rename(one, two)
    os.unlink(two)
    (top / "d").mkdir()
    os.rmdir(top / "d")


class Counted:
    def __init__(self, mount, proxy):
        self.mount, self.proxy = mount, proxy

    def path(self, *names):
        return self.mount.path(*names)

    def age(self):
        """Let the kernel's one-second caches expire."""
        time.sleep(1.2)

    def run(self, operation):
        """The functions that operation() called, one text for each exchange."""
        self.proxy.forget()
        operation()
        calls = ["; ".join(e.texts) for e in self.proxy.exchanges()]
        return [call for call in calls if not any(word in call for word in BACKGROUND)]


def verbs(calls):
    return [call.split("tarn_1.")[1].split("(")[0] if "tarn_1." in call else call for call in calls]


def beside_lookups(calls):
    return [verb for verb in verbs(calls) if verb != "lookup"]


def beside_the_kernels_own(calls):
    return [verb for verb in verbs(calls) if verb not in ("lookup", "getattr")]


def mutations(top):
    """(name, operation, the one function it may call). Everything it needs was made before."""
    file = open(top / "opened", "r+b", buffering=0)
    return [
        ("mkdir", lambda: (top / "m").mkdir(), "create"),
        ("mknod", lambda: os.mkfifo(top / "p"), "create"),
        ("symlink", lambda: os.symlink("x", top / "s"), "create"),
        ("create", lambda: os.close(os.open(top / "c", os.O_CREAT | os.O_WRONLY)), "create"),
        ("link", lambda: os.link(top / "a", top / "l"), "link"),
        ("unlink", lambda: os.unlink(top / "u"), "unlink"),
        ("rmdir", lambda: os.rmdir(top / "r"), "rmdir"),
        ("rename", lambda: os.rename(top / "from", top / "to"), "rename"),
        ("rename over", lambda: os.rename(top / "from2", top / "over"), "rename"),
        ("rename to another directory", lambda: os.rename(top / "from3", top / "e" / "x"), "rename"),
        ("rename noreplace", lambda: renameat2(top / "from4", top / "to4", RENAME_NOREPLACE),
         "rename"),
        ("exchange", lambda: renameat2(top / "a", top / "b", RENAME_EXCHANGE), "rename"),
        ("chmod", lambda: os.chmod(top / "a", 0o640), "setattr"),
        ("chown", lambda: os.chown(top / "a", 5, 6), "setattr"),
        ("utimes", lambda: os.utime(top / "a", ns=(1, 2)), "setattr"),
        ("truncate", lambda: os.truncate(top / "a", 3), "setattr"),
        ("ftruncate", lambda: os.ftruncate(file.fileno(), 50), "setattr"),
        ("fallocate", lambda: fallocate(file.fileno(), 0, 0, 9000), "fallocate"),
        ("punch hole", lambda: fallocate(file.fileno(), FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 0, 100),
         "fallocate"),
        ("copy_file_range",
         lambda: os.copy_file_range(file.fileno(), file.fileno(), 4, 0, 100000), "copy_range"),
        ("fcntl lock", lambda: fcntl.lockf(file, fcntl.LOCK_EX), "setlk"),
        ("fcntl unlock", lambda: fcntl.lockf(file, fcntl.LOCK_UN), "setlk"),
        ("flock", lambda: fcntl.flock(file, fcntl.LOCK_SH), "flock"),
        ("flock upgrade", lambda: fcntl.flock(file, fcntl.LOCK_EX), "flock"),
        ("flock unlock", lambda: fcntl.flock(file, fcntl.LOCK_UN), "flock"),
        ("write and fsync", lambda: (file.write(b"new"), os.fsync(file.fileno())), "write"),
        ("setxattr", lambda: os.setxattr(top / "a", "user.k", b"v"), "setxattr"),
        ("removexattr", lambda: os.removexattr(top / "a", "user.k"), "removexattr"),
    ]


def test_each_mutation_is_one_exchange(counted):
    top = counted.path("top")
    top.mkdir()
    for name in ("a", "b", "u", "from", "from2", "from3", "from4", "over", "opened"):
        (top / name).write_bytes(b"data")
    for name in ("r", "e"):
        (top / name).mkdir()
    wrong = []
    for name, operation, verb in mutations(top):
        calls = beside_the_kernels_own(counted.run(operation))
        if calls != [verb]:
            wrong.append(f"{name}: {calls}, not one {verb}")
    assert not wrong, "\n".join(wrong)


def changes_in(top, away):
    """(name, operation, what it may call). The kernel drops what it knows of both directories."""
    file = top / "file"
    return [
        ("create", lambda: os.close(os.open(file, os.O_CREAT | os.O_WRONLY)), ["lookup", "create"]),
        ("mkdir", (top / "d").mkdir, ["lookup", "create"]),
        ("mkdir in what was just made", (top / "d" / "x").mkdir, ["lookup", "create"]),
        ("again", (top / "d" / "y").mkdir, ["lookup", "create"]),
        ("symlink", lambda: os.symlink("x", top / "s"), ["lookup", "create"]),
        ("link", lambda: os.link(file, top / "l"), ["lookup", "link"]),
        ("unlink", (top / "l").unlink, ["unlink"]),
        ("rename", lambda: os.rename(top / "s", top / "t"), ["lookup", "rename"]),
        ("rename to the other", lambda: os.rename(top / "t", away / "t"), ["lookup", "rename"]),
        ("rmdir", (top / "d" / "x").rmdir, ["rmdir"]),
        ("create after all", lambda: os.mkfifo(top / "p"), ["lookup", "create"]),
    ]


def test_what_a_change_did_to_its_directory_is_not_asked_for(patient, volume):
    top, away = patient.path("top"), patient.path("away")
    top.mkdir()
    away.mkdir()
    for name, operation, allowed in changes_in(top, away):
        assert verbs(patient.run(operation)) == allowed, name
        for directory in (top, away):
            seen = []
            assert patient.run(lambda: seen.append(os.stat(directory))) == [], name
            assert times_and_links(seen[0]) == stored(volume, seen[0].st_ino), name


def times_and_links(st):
    return st.st_mtime_ns // 1000, st.st_ctime_ns // 1000, st.st_nlink


def stored(volume, ino):
    return volume.query("SELECT mtime, ctime, nlink FROM jfs_node WHERE inode = %s", [ino])[0]


def test_what_is_not_known_of_a_directory_is_asked_for(patient, volume):
    top, away = patient.path("top"), patient.path("away")
    for directory in (top, away, top / "d", away / "e"):
        directory.mkdir()
    for operation in (lambda: os.rename(top / "d", away / "d"),
                      lambda: renameat2(away / "d", away / "e", RENAME_EXCHANGE),
                      lambda: renameat2(away / "d", top, RENAME_EXCHANGE)):
        operation()
        for directory in (top, away, away / "e"):
            st = os.stat(directory)
            assert times_and_links(st) == stored(volume, st.st_ino)


def test_create_write_and_close_are_two(counted):
    calls = counted.run(lambda: counted.path("new").write_bytes(b"x" * 4096))
    assert beside_the_kernels_own(calls) == ["create", "write"]


def test_locks_cost_nothing_to_who_has_none_and_one_exchange_at_the_end_of_who_has(counted):
    files = [open(counted.path(name), "w+b") for name in ("locked", "other")]
    fcntl.lockf(files[0], fcntl.LOCK_EX)
    assert counted.run(files[1].close) == []
    assert verbs(counted.run(files[0].close)) == ["setlk"]
    with open(counted.path("locked"), "r+b") as file:
        assert counted.run(lambda: fcntl.lockf(file, fcntl.LOCK_UN)) == []


def test_an_unknown_name_is_looked_up_once(patient):
    calls = verbs(patient.run(lambda: patient.path("no such name").exists()))
    assert calls == ["lookup"]


def test_stat_of_a_forgotten_name_is_one(counted):
    counted.path("f").write_bytes(b"x")
    counted.age()
    assert len(counted.run(lambda: os.stat(counted.path("f")))) <= 2, "root and name"
    counted.age()
    with open(counted.path("f"), "rb") as file:
        counted.age()
        assert verbs(counted.run(lambda: os.fstat(file.fileno()))) == ["getattr"]


def test_open_read_and_close_of_a_file_are_one_beside_the_lookup(patient):
    patient.path("f").write_bytes(b"x" * 4096)
    os.stat(patient.path("f"))
    calls = beside_lookups(patient.run(lambda: patient.path("f").read_bytes()))
    assert calls == ["open"]


def test_reading_later_chunks_takes_one_exchange_for_many(patient):
    with open(patient.path("big"), "wb") as file:
        file.seek(300 << 20)
        file.write(b"end")
    def read():
        with open(patient.path("big"), "rb") as file:
            while file.read(8 << 20):
                pass
    calls = beside_lookups(patient.run(read))
    assert calls.count("open") == 1
    assert len(calls) <= 1 + 5, f"{calls} for five chunks"


def test_a_directory_of_a_thousand_is_read_in_few_pages(counted):
    top = counted.path("many")
    top.mkdir()
    for number in range(1000):
        os.mknod(top / f"{number:04}")
    counted.age()
    calls = counted.run(lambda: sum(1 for entry in os.scandir(top)))
    pages = [verb for verb in verbs(calls) if verb == "readdir"]
    assert 1 <= len(pages) <= 2, f"{len(pages)} pages for 1000 names"
    assert len(calls) <= len(pages) + 2, f"more than the pages: {verbs(calls)}"


def test_a_listing_that_ends_early_costs_one_page_more_at_most(counted):
    top = counted.path("many")
    top.mkdir()
    for number in range(1000):
        os.mknod(top / f"{number:04}")
    counted.age()
    def peek():
        with os.scandir(top) as entries:
            next(entries)
    calls = verbs(counted.run(peek))
    assert calls.count("readdir") <= 2, calls


def test_a_directory_of_one_page_is_asked_for_once(counted):
    top = counted.path("few")
    top.mkdir()
    for number in range(100):
        os.mknod(top / f"{number:04}")
    counted.age()
    calls = verbs(counted.run(lambda: sum(1 for entry in os.scandir(top))))
    assert calls.count("readdir") == 1, calls


def test_small_reads_are_one_each(patient):
    patient.path("f").write_bytes(b"x")
    os.setxattr(patient.path("f"), "user.k", b"v")
    os.symlink("f", patient.path("s"))
    os.stat(patient.path("f"))
    os.lstat(patient.path("s"))
    for operation, allowed in [
            (lambda: os.getxattr(patient.path("f"), "user.k"), ["getxattr"]),
            (lambda: os.listxattr(patient.path("f")), ["listxattr"]),
            (lambda: os.readlink(patient.path("s")), ["readlink"]),
            (lambda: os.statvfs(patient.path()), ["statfs_at"])]:
        calls = beside_lookups(patient.run(operation))
        assert calls in (allowed, []), f"{calls}, not {allowed}"


def test_info_resolves_a_deep_path_in_few_exchanges(counted, volume):
    top = counted.path(*"abcdefghij")
    top.mkdir(parents=True)
    counted.proxy.forget()
    tarn("info", volume.url_by(counted.proxy), "/a/b/c/d/e/f/g/h/i/j")
    assert len(counted.proxy.exchanges("tarn_1.resolve(")) == 1


def test_the_server_agrees_with_the_proxy(counted, volume):
    """The statement log shows no BEGIN, COMMIT or second statement beside the function's call."""
    counted.path("d").mkdir()
    os.stat(counted.path("d"))
    with volume.cluster.statements(volume.database) as seen:
        # The setting is taken up by new connections only.
        counted.proxy.cut()
        exercise(counted.path("d", "again"))
    assert any("tarn_1.create(" in text for text in seen)
    assert not [text for text in seen if text.strip().upper().startswith(("BEGIN", "COMMIT"))]
