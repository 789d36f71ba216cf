"""A mirror is written to: changes go to the primary, once, and fail cleanly while it is away."""

import errno
import fcntl
import os
import signal
import threading
import time

import pytest

from harness import load
from harness.proxy import Proxy
from harness.site import assert_equal_sites
from harness.tree import populate
from harness.wait import wait_for

BACKGROUND = ("session_refresh", "usage_flush", "alloc(", "session_open", "place()")


@pytest.fixture
def line(cluster):
    """The way of the mirror's mounts to the primary; replication has its own."""
    made = Proxy(cluster.port)
    yield made
    made.close()


@pytest.fixture
def there(primary, mirror, line):
    """A mount at the mirror whose session has begun."""
    with mirror.mount("--primary", primary.url_by(line)) as mount:
        mount.path("first").touch()
        yield mount


def fails_with(number, act):
    with pytest.raises(OSError) as caught:
        act()
    assert caught.value.errno == number, caught.value


def append(path):
    with open(path, "ab") as file:
        file.write(b"hello")


def changes(line):
    """The functions called at the primary, but for what runs in the background."""
    calls = ["; ".join(e.texts) for e in line.exchanges()]
    return [call.split("tarn_1.")[1].split("(")[0] for call in calls
            if not any(word in call for word in BACKGROUND)]


def test_what_a_mirror_writes_is_at_both_sites_and_nothing_else_is(primary, mirror, line):
    with mirror.mount("--primary", primary.url_by(line)) as there:
        populate(there.directory)
        there.path("large").write_bytes(load.content(1, 9_000_000))
        assert there.path("large").read_bytes() == load.content(1, 9_000_000)
        assert not mirror.blocks(), "the mirror's own bucket is the syncer's to fill"
        assert primary.blocks().keys() >= primary.expected_blocks()
    assert_equal_sites(primary, mirror)
    mirror.start_syncer()
    mirror.wait_copied()


def test_each_change_is_one_exchange_with_the_primary(primary, mirror, line, there):
    for name in ("d", "d/e"):
        there.path(name).mkdir()
    for name in ("a", "b", "u", "from"):
        there.path(name).touch()
    there.path("data").write_bytes(b"x")
    for what, verb, act in [
            ("mkdir", "create", lambda: there.path("m").mkdir()),
            ("create", "create", lambda: os.close(os.open(there.path("c"), os.O_CREAT))),
            ("symlink", "create", lambda: os.symlink("x", there.path("s"))),
            ("link", "link", lambda: os.link(there.path("a"), there.path("l"))),
            ("unlink", "unlink", lambda: os.unlink(there.path("u"))),
            ("rmdir", "rmdir", lambda: there.path("d/e").rmdir()),
            ("rename", "rename", lambda: os.rename(there.path("from"), there.path("to"))),
            ("chmod", "setattr", lambda: os.chmod(there.path("a"), 0o600)),
            ("setxattr", "setxattr", lambda: os.setxattr(there.path("a"), "user.a", b"1")),
            ("write", "write", lambda: append(there.path("b")))]:
        mirror.wait_caught_up()
        os.stat(there.path("data"))
        line.forget()
        act()
        assert changes(line) == [verb], what


def test_locks_hold_between_the_sites(primary, mirror, there):
    mirror.wait_caught_up()
    with primary.mount() as here, open(there.path("first"), "r+b") as mine:
        fcntl.flock(mine, fcntl.LOCK_EX)
        fcntl.lockf(mine, fcntl.LOCK_EX)
        with open(here.path("first"), "r+b") as theirs:
            fails_with(errno.EAGAIN, lambda: fcntl.flock(theirs, fcntl.LOCK_EX | fcntl.LOCK_NB))
            fails_with(errno.EAGAIN, lambda: fcntl.lockf(theirs, fcntl.LOCK_EX | fcntl.LOCK_NB))
            fcntl.lockf(mine, fcntl.LOCK_UN)
            fcntl.flock(mine, fcntl.LOCK_UN)
            wait_for("the lock is free", lambda: flocks(theirs))


def flocks(file):
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False


def test_while_the_primary_is_away_changes_fail_at_once_and_reads_go_on(primary, mirror, line,
                                                                       there):
    there.path("f").write_bytes(b"f" * 1000)
    mirror.wait_caught_up()
    assert there.path("f").read_bytes() == b"f" * 1000
    file = open(there.path("f"), "r+b", buffering=0)  # noqa: SIM115
    line.refuse()
    for act in (lambda: there.path("d").mkdir(), lambda: os.unlink(there.path("f")),
                lambda: os.chmod(there.path("f"), 0), lambda: file.write(b"more"),
                lambda: there.path("f").write_bytes(b"g"),
                lambda: fcntl.flock(file, fcntl.LOCK_EX)):
        fails_with(errno.EROFS, act)
    assert there.path("f").read_bytes() == b"f" * 1000
    assert sorted(os.listdir(there.directory)) == ["f", "first"]
    line.accept()
    wait_for("changes are taken again", lambda: makes(there.path("d")))
    file.write(b"more")
    file.close()
    assert there.path("f").read_bytes() == b"more" + b"f" * 996
    assert_equal_sites(primary, mirror)


def makes(path):
    try:
        path.mkdir()
        return True
    except OSError as refused:
        assert refused.errno == errno.EROFS
        return False


def test_a_change_waits_for_the_primary_as_long_as_it_is_told(primary, mirror, line):
    with mirror.mount("--primary", primary.url_by(line), "--wait-primary", "60s") as there:
        there.path("before").touch()
        line.refuse()
        making = threading.Thread(target=there.path("d").mkdir)
        making.start()
        making.join(1)
        assert making.is_alive()
        line.accept()
        making.join(60)
        assert there.path("d").is_dir()
    with mirror.mount("--primary", primary.url_by(line), "--wait-primary", "1s") as there:
        there.path("again").touch()
        line.refuse()
        begun = time.monotonic()
        fails_with(errno.EROFS, there.path("e").mkdir)
        assert time.monotonic() - begun >= 1
        line.accept()


def test_a_mirror_is_mounted_while_the_primary_is_away(primary, mirror, line):
    with primary.mount() as here:
        here.path("f").write_text("f")
    mirror.wait_caught_up()
    line.refuse()
    with mirror.mount("--primary", primary.url_by(line)) as there:
        assert there.path("f").read_text() == "f"
        fails_with(errno.EROFS, there.path("d").mkdir)
        line.accept()
        wait_for("changes are taken", lambda: makes(there.path("d")))


@pytest.mark.parametrize("verb, act, undone", [
    ("create", lambda top: top.joinpath("new").mkdir(), lambda top: top.joinpath("new").is_dir()),
    ("unlink", lambda top: top.joinpath("old").unlink(),
     lambda top: not top.joinpath("old").exists()),
    ("write", lambda top: top.joinpath("old").write_bytes(b"data"),
     lambda top: top.joinpath("old").read_bytes() == b"data"),
])
def test_a_change_whose_answer_was_lost_is_done_once(primary, line, there, verb, act, undone):
    there.path("old").touch()
    line.lose_answer(f"tarn_1.{verb}(")
    act(there.directory)
    line.wait_lost()
    assert undone(there.directory)
    assert len(line.exchanges(f"tarn_1.{verb}(")) >= 2


def test_what_may_have_been_done_is_never_refused(primary, line, there):
    """The answer is lost and the line with it: EROFS would say that nothing was done."""
    line.lose_answer("tarn_1.create(", then_refuse=True)
    outcome = []
    making = threading.Thread(target=lambda: outcome.append(makes(there.path("d"))))
    making.start()
    line.wait_lost()
    making.join(1)
    assert making.is_alive()
    line.accept()
    making.join(60)
    assert outcome == [True]


def test_what_was_synced_survives_the_death_of_a_mount_at_the_mirror(primary, mirror, line):
    mount = mirror.mount("--primary", primary.url_by(line)).start()
    done = []

    def work():
        for number in range(10_000):
            try:
                with open(mount.path(f"f{number}"), "wb") as file:
                    file.write(load.content(number, 20_000))
                    os.fsync(file.fileno())
            except OSError:
                return
            done.append(number)
    worker = threading.Thread(target=work)
    worker.start()
    wait_for("some files are written", lambda: len(done) > 20)
    mount.kill9()
    worker.join(60)
    with primary.mount() as here:
        for number in done:
            assert here.path(f"f{number}").read_bytes() == load.content(number, 20_000)
    assert_equal_sites(primary, mirror)


def test_a_mount_that_was_paused_past_its_session_is_fenced(primary, there):
    file = open(there.path("first"), "r+b", buffering=0)  # noqa: SIM115
    file.write(b"buffered")
    os.kill(there.process.pid, signal.SIGSTOP)
    sid = primary.value("SELECT max(sid) FROM jfs_session2")
    primary.query("SELECT * FROM tarn_1.session_close(%s)", [sid])
    os.kill(there.process.pid, signal.SIGCONT)
    fails_with(errno.ESTALE, lambda: os.fsync(file.fileno()))
    with pytest.raises(OSError):
        file.close()
    wait_for("a new session has begun", lambda: primary.value(
        "SELECT max(sid) FROM jfs_session2") not in (None, sid), 30)
    wait_for("changes are taken again", lambda: can_make(there.path("d")), 30)
    assert primary.value("SELECT length FROM jfs_node WHERE inode > 1 AND type = 1") == 0


def can_make(path):
    try:
        path.mkdir()
        return True
    except OSError:
        return False


# ---- roles ----

def promote_by_hand(primary, mirror):
    """What a planned promotion does to the two databases, in its smallest form."""
    with primary.cluster.connect(primary.database) as old, \
            mirror.cluster.connect(mirror.database) as new:
        old.execute(f"ALTER DATABASE {primary.database} SET default_transaction_read_only = on")
        old.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
                    " AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
                    [primary.database])
        mirror.wait_caught_up()
        name = mirror.value("SELECT subscription FROM tarn.local_site")
        new.execute(f"ALTER SUBSCRIPTION {name} DISABLE")
        new.execute(f"ALTER SUBSCRIPTION {name} SET (slot_name = NONE)")
        new.execute(f"DROP SUBSCRIPTION {name}")
        new.execute("UPDATE tarn.site SET role = CASE name WHEN %s THEN 'primary' ELSE 'mirror' END",
                    [mirror.site_name])
        new.execute("UPDATE tarn.local_site SET role = 'primary', primary_url = NULL,"
                    " local_bucket = NULL")
        new.execute("SELECT * FROM tarn_1.raise_epoch(0)")
        old.execute("SET default_transaction_read_only = off")
        old.execute("UPDATE tarn.local_site SET role = 'mirror', primary_url = %s, ready_at = now(),"
                    " origin_bucket = NULL", [mirror.url])
        old.execute("UPDATE tarn.site SET role = CASE name WHEN %s THEN 'primary' ELSE 'mirror' END",
                    [mirror.site_name])


def test_mounts_of_both_sites_follow_when_the_mirror_becomes_the_primary(primary, mirror, line):
    with primary.mount() as here, mirror.mount("--primary", primary.url_by(line)) as there:
        there.path("theirs").mkdir()
        here.path("ours").mkdir()
        pending = open(there.path("pending"), "wb", buffering=0)  # noqa: SIM115
        pending.write(b"written before, stored after")
        primary.end()
        mirror.agent.stop()
        promote_by_hand(primary, mirror)
        pending.close()
        there.path("theirs/after").mkdir()
        here.path("ours/after").mkdir()
        for name in ("theirs/after", "ours/after", "pending"):
            assert mirror.value("SELECT count(*) FROM jfs_edge WHERE name = %s",
                                [os.path.basename(name).encode()]) >= 1
        assert there.path("pending").read_bytes() == b"written before, stored after"
        assert mirror.value("SELECT min(sid) FROM jfs_session2") > 1 << 32
        assert primary.value("SELECT count(*) FROM jfs_edge WHERE name = 'after'") == 0
    with primary.cluster.connect("postgres") as db:
        db.execute(f"ALTER DATABASE {primary.database} RESET default_transaction_read_only")
