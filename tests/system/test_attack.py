"""Attempts to lose bytes through the real programs. Each was found by losing some."""

import contextlib
import errno
import fcntl
import os
import struct
import time
from pathlib import Path

import pytest

from harness.check import assert_consistent
from harness.control import CLONE, COMPACT, INFO, RMR, SUMMARY, Talk
from harness.site import hide, reveal
from harness.users import outcome_as
from harness.volume import tarn
from harness.wait import wait_for

# How long the kernel may keep attributes, and a little.
ATTRIBUTES_EXPIRED = 1.2
HOUR_US = 3_600_000_000


def test_a_commit_whose_answer_stays_lost_is_found_out_by_the_next_fsync(volume, proxy):
    with volume.mount("--meta-timeout", "4s", url=volume.url_by(proxy)) as mount:
        with open(mount.path("f"), "wb", buffering=0) as file:
            file.write(b"a" * 5000)
            os.fsync(file.fileno())
            # The first statistics of a directory are counted, and then hold what comes next, too.
            wait_for("the directory's statistics are made",
                     lambda: volume.value("SELECT count(*) FROM jfs_dir_stats WHERE inode = 1"))
            file.write(b"b" * 5000)
            proxy.lose_answer("tarn_1.write", then_refuse=True)
            with pytest.raises(OSError):
                os.fsync(file.fileno())
            proxy.wait_lost()
            proxy.accept()
            file.write(b"c" * 5000)
            os.fsync(file.fileno())
        assert mount.path("f").read_bytes() == b"a" * 5000 + b"b" * 5000 + b"c" * 5000
    assert volume.value("SELECT octet_length(slices) / 24 FROM jfs_chunk") == 3
    assert_consistent(volume)


def test_what_a_commit_used_is_counted_though_its_answer_stays_lost_to_the_last_close(volume, proxy):
    with volume.mount("--meta-timeout", "2s", url=volume.url_by(proxy)) as mount:
        with open(mount.path("f"), "wb", buffering=0) as file:
            file.write(b"a" * 50000)
            proxy.lose_answer("tarn_1.write", then_refuse=True)
            with pytest.raises(OSError):
                os.fsync(file.fileno())
            proxy.wait_lost()
            with contextlib.suppress(OSError):
                file.close()
        wait_for("the last close gives up", lambda: "they could not be stored" in Path(
            mount.log_path).read_text(encoding="utf-8"), 60)
        proxy.accept()
        wait_for("it is counted", lambda: volume.value(
            "SELECT value FROM jfs_counter WHERE name = 'usedSpace'") == 13 * 4096, timeout=30)
    assert volume.value("SELECT length FROM jfs_node WHERE type = 1") == 50000
    assert_consistent(volume)


@pytest.mark.parametrize("may_wait", [False, True], ids=["try", "wait"])
def test_a_lock_whose_answer_stays_lost_does_not_linger(volume, proxy, may_wait):
    """The program was told a failure, and goes on with the file open."""
    with (volume.mount("--meta-timeout", "2s", url=volume.url_by(proxy)) as mount,
          open(mount.path("f"), "wb", buffering=0) as file):
        proxy.lose_answer("tarn_1.flock", then_refuse=True)
        with pytest.raises(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | (0 if may_wait else fcntl.LOCK_NB))
        proxy.wait_lost()
        assert volume.value("SELECT count(*) FROM jfs_flock") == 1, "nobody knows of it"
        proxy.accept()
        wait_for("it is let go", lambda: volume.value("SELECT count(*) FROM jfs_flock") == 0,
                 timeout=30)
        fcntl.flock(file, fcntl.LOCK_EX)
        assert volume.value("SELECT count(*) FROM jfs_flock") == 1


def append(file, letter):
    file.write(letter * 100)
    os.fsync(file.fileno())
    time.sleep(ATTRIBUTES_EXPIRED)


def test_appends_go_to_the_end_after_a_client_whose_clock_is_ahead(volume):
    with volume.mount() as mount:
        with open(mount.path("f"), "ab", buffering=0) as file:
            append(file, b"a")
            volume.query("UPDATE jfs_node SET ctime = ctime + %s WHERE type = 1", [HOUR_US])
            os.stat(mount.path("f"))
            for letter in (b"b", b"c", b"d"):
                append(file, letter)
        assert mount.path("f").read_bytes() == b"".join(x * 100 for x in (b"a", b"b", b"c", b"d"))


def test_what_a_client_whose_clock_is_behind_did_is_seen_through_an_open_file(volume):
    with volume.mount() as mount:
        with open(mount.path("f"), "ab", buffering=0) as file:
            append(file, b"a")
            volume.query("UPDATE jfs_node SET ctime = ctime - %s, mtime = mtime + 1, length = 50"
                         " WHERE type = 1", [HOUR_US])
            deadline = time.monotonic() + 40
            while os.stat(mount.path("f")).st_size != 50:
                assert time.monotonic() < deadline, "the change is never seen"
                time.sleep(1)


def test_a_database_that_is_away_loses_no_write(volume):
    with volume.mount("--meta-timeout", "4s") as mount:
        with open(mount.path("f"), "wb", buffering=0) as file:
            file.write(b"a" * 100)
            os.fsync(file.fileno())
            file.write(b"b" * 100)
            away = _take_away(volume)
            with pytest.raises(OSError, match="Input/output error"):
                os.fsync(file.fileno())
            with pytest.raises(OSError, match="Input/output error"):
                os.stat(mount.path("g"))
            _bring_back(volume, away)
            os.fsync(file.fileno())
        assert mount.path("f").read_bytes() == b"a" * 100 + b"b" * 100


def test_fsync_ends_while_the_bucket_is_away(volume):
    with volume.mount() as mount:
        with open(mount.path("f"), "wb", buffering=0) as file:
            os.fsync(file.fileno())
            hide(volume.bucket)
            # Slices of different ages, so that the background tries now one and now the other.
            for number in range(4):
                os.pwrite(file.fileno(), b"x" * 1000, number * 10_000)
                time.sleep(2.5)
            begun = time.monotonic()
            with pytest.raises(OSError, match="Input/output error"):
                os.fsync(file.fileno())
            assert time.monotonic() - begun < 60
            reveal(volume.bucket)
            os.fsync(file.fileno())
        kept = mount.path("f").read_bytes()
    assert [kept[n * 10_000:n * 10_000 + 1000] for n in range(4)] == [b"x" * 1000] * 4


def test_a_mount_left_running_while_its_mirror_is_seeded_again_reads_no_zeros(primary, mirror):
    with primary.mount() as here:
        for number in range(3):
            here.path(f"f{number}").write_bytes(b"x" * 100_000)
    mirror.wait_caught_up()
    with mirror.mount("--read-only") as there, open(there.path("f1"), "rb", buffering=0) as opened:
        mirror.agent.stop()
        tarn("mirror", "leave", mirror.url)
        # As it is in the middle of a join: the nodes are copied, the chunks are not.
        mirror.query("DELETE FROM jfs_chunk")
        time.sleep(ATTRIBUTES_EXPIRED)
        with pytest.raises(OSError, match="Input/output error"):
            there.path("f0").read_bytes()
        with pytest.raises(OSError, match="Input/output error"):
            there.path("f2").read_bytes()
        with contextlib.suppress(OSError):
            assert os.pread(opened.fileno(), 1000, 50_000) == b"x" * 1000
        mirror.begin()
        assert there.path("f2").read_bytes() == b"x" * 100_000


def test_who_is_squashed_is_so_in_control_requests_too(volume):
    with volume.mount() as plain, volume.mount("--root-squash", "1001:1001") as squashed:
        os.makedirs(plain.path("theirs", "inner"))
        plain.path("theirs", "inner", "f").write_text("x")
        for more in ((), ("--skip-trash",)):
            done = tarn("rmr", *more, squashed.path("theirs"), check=False)
            assert done.returncode == 1, done
        assert plain.path("theirs", "inner", "f").exists()
        tarn("clone", "-p", squashed.path("theirs"), squashed.path("mine"))
        assert os.stat(plain.path("mine", "inner", "f")).st_uid == 1001


def answer_as(uid, directory, command, body):
    """What .control answers to somebody: an errno, 0 for a document, too."""
    def ask():
        with Talk(directory) as talk:
            talk.send(command, body)
            answer = talk.answer()
        if isinstance(answer, int) and answer:
            raise OSError(answer, "refused")
    return outcome_as(uid, uid, [], ask)


def test_control_requests_need_what_they_would_need_by_name(volume):
    """What can be told with stat needs the way there; a listing needs to read, compaction to write."""
    with volume.mount() as mount:
        os.makedirs(mount.path("d"))
        mount.path("d", "f").write_text("x")
        directory, file = (os.stat(mount.path(*at)).st_ino for at in (("d",), ("d", "f")))
        requests = {
            "info": (INFO, struct.pack(">QBBB", directory, 0, 0, 0)),
            "info -r": (INFO, struct.pack(">QBBB", directory, 1, 0, 0)),
            "info file": (INFO, struct.pack(">QBBB", file, 0, 0, 0)),
            "summary": (SUMMARY, struct.pack(">QBBB", directory, 2, 10, 0)),
            "compact": (COMPACT, struct.pack(">QH", file, 1))}

        def said(directory_mode, file_mode, uid=65534):
            os.chmod(mount.path("d"), directory_mode)
            os.chmod(mount.path("d", "f"), file_mode)
            return {what for what, request in requests.items()
                    if answer_as(uid, mount.directory, *request) == 0}
        assert said(0o711, 0o600) == {"info", "info file"}
        assert said(0o755, 0o644) == {"info", "info file", "info -r", "summary"}
        assert said(0o711, 0o602) == {"info", "info file", "compact"}
        assert said(0o700, 0o600, uid=0) == set(requests)


def test_control_requests_reach_no_further_than_paths_do(volume):
    with volume.mount() as mount, contextlib.ExitStack() as stack:
        os.makedirs(mount.path("open"))
        os.makedirs(mount.path("closed", "inner"))
        mount.path("closed", "inner", "f").write_text("x")
        os.chmod(mount.path("closed", "inner"), 0o777)
        os.chmod(mount.path("open"), 0o777)
        os.chmod(mount.path("closed"), 0o700)
        inner, opened = (os.stat(mount.path(*names)).st_ino
                         for names in (("closed", "inner"), ("open",)))
        file = os.stat(mount.path("closed", "inner", "f")).st_ino
        below = stack.enter_context(volume.mount("--subdir", "open")).directory

        def requests(onto):
            return {"rmr": (RMR, struct.pack(">QB1s", inner, 1, b"f")),
                    "clone": (CLONE, struct.pack(">QQQB1sHBB", file, inner, onto, 1, b"c", 0, 0, 1)),
                    "into": (CLONE, struct.pack(">QQQB1sHBB", onto, 1, inner, 1, b"c", 0, 0, 1)),
                    "info": (INFO, struct.pack(">QBBB", file, 0, 0, 0)),
                    "summary": (SUMMARY, struct.pack(">QBBB", inner, 2, 10, 0)),
                    "compact": (COMPACT, struct.pack(">QH", file, 1))}
        for uid, directory, onto, code in ((65534, mount.directory, opened, errno.EACCES),
                                           (0, below, 1, errno.ENOENT)):
            said = {what: answer_as(uid, directory, *request)
                    for what, request in requests(onto).items()}
            assert said == dict.fromkeys(said, code)
        assert answer_as(0, below, INFO, struct.pack(">QBBB", 1, 1, 0, 0)) == 0
        assert answer_as(65534, mount.directory, INFO, struct.pack(">QBBB", opened, 1, 0, 0)) == 0
        assert sorted(os.listdir(mount.path("closed", "inner"))) == ["f"]
        assert os.listdir(below) == []
    assert_consistent(volume)


def _take_away(volume):
    name, away = volume.database, volume.database + "_away"
    with volume.cluster.connect("postgres") as db:
        db.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                   [name])
        db.execute(f"ALTER DATABASE {name} RENAME TO {away}")
    return away


def _bring_back(volume, away):
    with volume.cluster.connect("postgres") as db:
        db.execute(f"ALTER DATABASE {away} RENAME TO {volume.database}")
        db.execute(f"ALTER DATABASE {volume.database} ALLOW_CONNECTIONS true")
