"""A mutation whose COMMIT's answer was lost is asked again and is not done twice.

One client works through a proxy. The proxy lets the request reach PostgreSQL, waits until it is
committed, loses the answer and refuses everybody. Meanwhile another client re-creates the name (or
sets the value) that the mutation was about. Then the line comes back and the first client repeats
its operation: it must be told of its own success, and nothing of the other's may be touched.
"""

import os
import stat
import struct
import threading

import pytest

from harness.check import assert_consistent
from harness.syscalls import RENAME_EXCHANGE, RENAME_NOREPLACE, renameat2
from harness.volume import Volume
from harness.wait import wait_for

OTHER = b"the other client's bytes"


class Stage:
    """The two clients and the line of the first one."""

    def __init__(self, volume, proxy, ours, theirs):
        self.volume, self.proxy, self.ours, self.theirs = volume, proxy, ours, theirs

    def lose(self, verb, operation, meanwhile):
        """Run operation() at our client with its answer lost; meanwhile() acts at the other."""
        outcome = {}

        def work():
            try:
                outcome["value"] = operation()
            except OSError as problem:
                outcome["error"] = problem
        self.proxy.lose_answer(f"tarn_1.{verb}(", then_refuse=True)
        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        self.proxy.wait_lost()
        try:
            meanwhile()
        finally:
            self.proxy.accept()
        worker.join(60)
        assert not worker.is_alive(), "the operation did not end after the line came back"
        if "error" in outcome:
            raise outcome["error"]
        return outcome.get("value")

    def a(self, name):
        """The path at our client."""
        return self.ours.path(name)

    def b(self, name):
        """The path at the other client."""
        return self.theirs.path(name)

    def others_file(self, name):
        self.b(name).write_bytes(OTHER)

    def records_of(self, inode):
        """(id, size) of every slice record of a file, and its reference counts."""
        found = []
        for (packed,) in self.volume.query(
                "SELECT slices FROM jfs_chunk WHERE inode = %s ORDER BY indx", [inode]):
            found += [(r[1], r[2]) for r in struct.iter_unpack("!IQIII", bytes(packed)) if r[1]]
        return found


@pytest.fixture(params=["0", "1"], ids=["no trash", "trash"])
def stage(request, programs, cluster, database, workdir, proxy):
    volume = Volume(cluster, database, "vol", workdir).format("--trash-days", request.param)
    with volume.mount("--meta-conns", "1", url=volume.url_by(proxy)) as ours, \
            volume.mount() as theirs:
        yield Stage(volume, proxy, ours, theirs)
    assert_consistent(volume)
    with volume.mount() as fresh:
        for name in os.listdir(fresh.directory):
            os.lstat(fresh.path(name))


def test_open_with_create(stage):
    def create():
        return os.open(stage.a("x"), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)

    def meanwhile():
        os.unlink(stage.b("x"))
        stage.others_file("x")
    os.close(stage.lose("create", create, meanwhile))
    assert stage.b("x").read_bytes() == OTHER


def test_mkdir(stage):
    def meanwhile():
        os.rmdir(stage.b("d"))
        stage.b("d").mkdir()
        stage.others_file("d/f")
    stage.lose("create", stage.a("d").mkdir, meanwhile)
    assert stage.b("d/f").read_bytes() == OTHER
    # The other client may believe for a second what it knew before our mkdir.
    wait_for("the links of the root", lambda: os.stat(stage.theirs.directory).st_nlink == 3)


def test_mknod(stage):
    def meanwhile():
        os.unlink(stage.b("p"))
        stage.others_file("p")
    stage.lose("create", lambda: os.mkfifo(stage.a("p")), meanwhile)
    assert stage.b("p").read_bytes() == OTHER


def test_symlink(stage):
    def meanwhile():
        os.unlink(stage.b("l"))
        os.symlink("theirs", stage.b("l"))
    stage.lose("create", lambda: os.symlink("ours", stage.a("l")), meanwhile)
    assert os.readlink(stage.b("l")) == "theirs"


def test_unlink(stage):
    stage.a("x").write_bytes(b"ours")
    stage.lose("unlink", lambda: os.unlink(stage.a("x")), lambda: stage.others_file("x"))
    assert stage.b("x").read_bytes() == OTHER


def test_rmdir(stage):
    stage.a("d").mkdir()
    stage.lose("rmdir", lambda: os.rmdir(stage.a("d")), lambda: stage.b("d").mkdir())
    assert stat.S_ISDIR(os.stat(stage.b("d")).st_mode)


def test_rename(stage):
    stage.a("from").write_bytes(b"ours")
    stage.lose("rename", lambda: os.rename(stage.a("from"), stage.a("to")),
               lambda: stage.others_file("from"))
    assert stage.b("from").read_bytes() == OTHER
    assert stage.b("to").read_bytes() == b"ours"


def test_rename_over_a_name_that_is_made_again(stage):
    stage.a("from").write_bytes(b"ours")
    stage.a("to").write_bytes(b"victim")

    def meanwhile():
        os.rename(stage.b("to"), stage.b("moved on"))
        stage.others_file("to")
        stage.others_file("from")
    stage.lose("rename", lambda: os.rename(stage.a("from"), stage.a("to")), meanwhile)
    assert stage.b("moved on").read_bytes() == b"ours"
    assert stage.b("to").read_bytes() == OTHER
    assert stage.b("from").read_bytes() == OTHER


def test_rename_noreplace(stage):
    stage.a("from").write_bytes(b"ours")
    stage.lose("rename", lambda: renameat2(stage.a("from"), stage.a("to"), RENAME_NOREPLACE),
               lambda: stage.others_file("from"))
    assert stage.b("from").read_bytes() == OTHER
    assert stage.b("to").read_bytes() == b"ours"


def test_rename_exchange(stage):
    stage.a("one").write_bytes(b"1")
    stage.a("two").write_bytes(b"2")

    def meanwhile():
        os.unlink(stage.b("one"))
        stage.others_file("one")
    stage.lose("rename", lambda: renameat2(stage.a("one"), stage.a("two"), RENAME_EXCHANGE),
               meanwhile)
    assert stage.b("two").read_bytes() == b"1"
    assert stage.b("one").read_bytes() == OTHER


def test_link(stage):
    stage.a("x").write_bytes(b"ours")

    def meanwhile():
        os.rename(stage.b("l"), stage.b("l2"))
        stage.others_file("l")
    stage.lose("link", lambda: os.link(stage.a("x"), stage.a("l")), meanwhile)
    assert stage.b("l").read_bytes() == OTHER
    assert os.stat(stage.b("x")).st_nlink == 2


def test_chmod(stage):
    stage.a("x").write_bytes(b"ours")

    def meanwhile():
        os.rename(stage.b("x"), stage.b("y"))
        stage.others_file("x")
        os.chmod(stage.b("y"), 0o640)
        os.chmod(stage.b("x"), 0o644)
    stage.lose("setattr", lambda: os.chmod(stage.a("x"), 0o600), meanwhile)
    assert stat.S_IMODE(os.stat(stage.b("x")).st_mode) == 0o644
    assert stat.S_IMODE(os.stat(stage.b("y")).st_mode) == 0o640


def test_truncate(stage):
    stage.a("x").write_bytes(b"ours" * 100)

    def meanwhile():
        os.rename(stage.b("x"), stage.b("y"))
        stage.others_file("x")
        stage.b("y").write_bytes(b"longer again")
    stage.lose("setattr", lambda: os.truncate(stage.a("x"), 10), meanwhile)
    assert stage.b("x").read_bytes() == OTHER
    assert stage.b("y").read_bytes() == b"longer again"


def test_commit_of_a_slice(stage):
    with open(stage.a("x"), "wb") as file:
        file.write(b"d" * 300_000)

        def meanwhile():
            os.rename(stage.b("x"), stage.b("y"))
            stage.others_file("x")

        def sync():
            file.flush()
            os.fsync(file.fileno())
        stage.lose("write", sync, meanwhile)
    assert stage.b("x").read_bytes() == OTHER
    assert stage.b("y").read_bytes() == b"d" * 300_000
    records = stage.records_of(os.stat(stage.b("y")).st_ino)
    assert len(records) == len(set(records)), "a slice was committed twice"


def test_fallocate(stage):
    stage.a("x").write_bytes(b"d" * 100_000)
    before = len(stage.records_of(os.stat(stage.b("x")).st_ino))
    with open(stage.a("x"), "r+b") as file:
        def meanwhile():
            os.rename(stage.b("x"), stage.b("y"))
            stage.others_file("x")
            os.truncate(stage.b("y"), 100_000)
        stage.lose("fallocate", lambda: os.posix_fallocate(file.fileno(), 0, 200_000), meanwhile)
    assert stage.b("x").read_bytes() == OTHER
    assert stage.b("y").read_bytes() == b"d" * 100_000
    assert len(stage.records_of(os.stat(stage.b("y")).st_ino)) == before


def test_setxattr(stage):
    stage.a("x").write_bytes(b"ours")

    def meanwhile():
        os.setxattr(stage.b("x"), "user.k", b"theirs", os.XATTR_REPLACE)
    stage.lose("setxattr", lambda: os.setxattr(stage.a("x"), "user.k", b"ours", os.XATTR_CREATE),
               meanwhile)
    assert os.getxattr(stage.b("x"), "user.k") == b"theirs"


def test_removexattr(stage):
    stage.a("x").write_bytes(b"ours")
    os.setxattr(stage.a("x"), "user.k", b"ours")
    stage.lose("removexattr", lambda: os.removexattr(stage.a("x"), "user.k"),
               lambda: os.setxattr(stage.b("x"), "user.k", b"theirs", os.XATTR_CREATE))
    assert os.getxattr(stage.b("x"), "user.k") == b"theirs"


def test_last_close_of_an_unlinked_file(stage):
    file = open(stage.a("x"), "w+b")
    file.write(b"ours")
    file.flush()
    os.fsync(file.fileno())
    os.unlink(stage.a("x"))
    with open(stage.a("y"), "wb"):
        pass
    if stage.volume.value("SELECT count(*) FROM jfs_sustained") == 0:
        file.close()  # With a trash the file has a name there: nothing is released.
        return
    stage.lose("release", file.close, lambda: stage.others_file("x"))
    assert stage.b("x").read_bytes() == OTHER


def test_a_refusal_is_repeated_as_a_refusal(stage):
    stage.a("d").mkdir()
    stage.a("d/f").touch()

    def meanwhile():
        os.unlink(stage.b("d/f"))
    with pytest.raises(OSError):
        stage.lose("rmdir", lambda: os.rmdir(stage.a("d")), meanwhile)
    assert stat.S_ISDIR(os.stat(stage.b("d")).st_mode)


def test_many_losses_in_a_row(stage):
    """Every fifth call of anything is lost while files come and go; nothing may be done twice."""
    def churn():
        for number in range(40):
            stage.a(f"n{number}").write_bytes(str(number).encode() * 100)
            os.rename(stage.a(f"n{number}"), stage.a(f"m{number}"))
            if number % 2:
                os.unlink(stage.a(f"m{number}"))
    stop = threading.Event()

    def spoil():
        while not stop.is_set():
            stage.proxy.lose_answer("tarn_1.", nth=5)
            try:
                stage.proxy.wait_lost(timeout=1)
            except AssertionError:
                continue
    spoiler = threading.Thread(target=spoil)
    spoiler.start()
    try:
        churn()
    finally:
        stop.set()
        spoiler.join()
        stage.proxy.stop_losing()
    assert sorted(os.listdir(stage.theirs.directory)) == sorted(f"m{n}" for n in range(0, 40, 2))
    for number in range(0, 40, 2):
        assert stage.b(f"m{number}").read_bytes() == str(number).encode() * 100
