"""Names and directories at their limits: every byte, many entries, entries that come and go."""

import contextlib
import errno
import os
import re
import threading

import pytest

from harness.check import assert_consistent
from harness.sanitizers import IS_SANITIZED
from harness.wait import wait_for

LONG = bool(os.environ.get("TARN_LONG"))
MANY = 1_000_000 if LONG else 100_000


# ---- names

def names_of_every_byte():
    """Each byte but / and NUL in a name of 255 bytes, and at its start and end."""
    for byte in range(1, 256):
        if byte == ord("/"):
            continue
        one = bytes([byte])
        if one != b".":
            yield one
        yield one * 255
        yield one + b"x" * 253 + one


def test_names_of_every_byte_round_trip(plain_volume):
    names = sorted(set(names_of_every_byte()))
    with plain_volume.mount() as mount, plain_volume.mount() as other:
        top = os.fsencode(mount.path("dir"))
        os.mkdir(top)
        for name in names:
            os.close(os.open(top + b"/" + name, os.O_CREAT | os.O_EXCL, 0o644))
        assert sorted(os.listdir(top)) == names
        there = os.fsencode(other.path("dir"))
        assert sorted(os.listdir(there)) == names
        for name in names:
            os.rename(there + b"/" + name, there + b"/" + b"." + name[:254])
        assert sorted(os.listdir(there)) == sorted({b"." + name[:254] for name in names})
        for name in os.listdir(there):
            os.unlink(there + b"/" + name)
        os.rmdir(there)
    assert_consistent(plain_volume)


# ---- size

def fill(volume, directory, count):
    """Entries made by rows, many times faster than by calls."""
    first = volume.value(f"UPDATE jfs_counter SET value = value + {count}"
                         f" WHERE name = 'nextInode' RETURNING value - {count}")
    volume.query(f"""
        WITH made AS (SELECT n, {first} + n - 1 AS ino FROM generate_series(1, {count}) AS n),
             nodes AS (INSERT INTO jfs_node (inode, type, flags, mode, uid, gid, atime, mtime, ctime,
                           atimensec, mtimensec, ctimensec, nlink, length, rdev, parent,
                           access_acl_id, default_acl_id, tier_id)
                       SELECT ino, 1, 0, 420, 0, 0, 1, 1, 1, 0, 0, 0, 1, 0, 0, {directory}, 0, 0, 0
                         FROM made),
             edges AS (INSERT INTO jfs_edge (parent, name, inode, type)
                       SELECT {directory}, convert_to('entry-' || n, 'UTF8'), ino, 1 FROM made),
             stats AS (UPDATE jfs_dir_stats SET used_inodes = used_inodes + {count},
                              used_space = used_space + 4096::int8 * {count}
                        WHERE inode = {directory}),
             space AS (UPDATE jfs_counter SET value = value + 4096::int8 * {count}
                        WHERE name = 'usedSpace'),
             total AS (UPDATE jfs_counter SET value = value + {count} WHERE name = 'totalInodes')
        SELECT 1""")


def resident_kib(process):
    with open(f"/proc/{process.child.pid}/status", encoding="ascii") as status:
        return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1))


def test_a_large_directory_is_listed_in_bounded_memory(plain_volume):
    with plain_volume.mount() as mount:
        mount.path("large").mkdir()
        number = os.stat(mount.path("large")).st_ino
    fill(plain_volume, number, MANY)
    with plain_volume.mount() as mount:
        mount.path("small").mkdir()
        os.listdir(mount.path("small"))
        before = resident_kib(mount.process)
        seen = set()
        with os.scandir(mount.path("large")) as entries:
            for entry in entries:
                seen.add(entry.name)
        assert len(seen) == MANY
        # Two pages of entries, and the name at the start of each page that has been passed.
        assert IS_SANITIZED or resident_kib(mount.process) - before < 16 << 10


def test_entries_that_stay_are_listed_once_while_others_come_and_go(plain_volume):
    with plain_volume.mount() as mount, plain_volume.mount() as other:
        top, there = mount.path("dir"), other.path("dir")
        top.mkdir()
        stay = {f"stay-{n:04}" for n in range(2000)}
        for name in stay:
            (top / name).touch()
        is_done = threading.Event()

        def churn():
            n = 0
            while not is_done.is_set():
                n += 1
                for prefix in ("a", "stay-1000-", "z"):
                    (there / f"{prefix}{n}").touch()
                    os.rename(there / f"{prefix}{n}", there / f"m{prefix}{n}")
                    (there / f"m{prefix}{n}").unlink()
        worker = threading.Thread(target=churn)
        worker.start()
        try:
            for _ in range(5):
                with os.scandir(top) as entries:
                    names = [entry.name for entry in entries]
                assert len(names) == len(set(names))
                assert stay <= set(names)
        finally:
            is_done.set()
            worker.join()
    assert_consistent(plain_volume)


def test_a_directory_can_be_emptied_while_it_is_listed(plain_volume):
    with plain_volume.mount() as mount:
        top = mount.path("dir")
        top.mkdir()
        for n in range(1300):
            (top / f"{n:05}").touch()
        handle = os.open(top, os.O_RDONLY)
        with os.scandir(handle) as entries:
            for entry in entries:
                os.unlink(entry.name, dir_fd=handle)
        os.close(handle)
        assert os.listdir(top) == []
        top.rmdir()


# ---- open files that lose their names

@pytest.mark.parametrize("trash_days", ["0", "1"], ids=["no trash", "trash"])
def test_an_open_file_survives_its_name_for_whoever_removed_it(cluster, database, workdir, programs,
                                                               trash_days):
    from harness.volume import Volume
    volume = Volume(cluster, database, "vol", workdir).format("--trash-days", trash_days)
    with volume.mount() as mount, volume.mount() as other:
        mount.path("file").write_bytes(b"content" * 100000)
        file = os.open(mount.path("file"), os.O_RDWR)
        elsewhere = os.open(other.path("file"), os.O_RDONLY)
        mount.path("file").unlink()
        os.pwrite(file, b"CONTENT", 0)
        os.fsync(file)
        assert os.pread(file, 14, 0) == b"CONTENTcontent"
        assert os.fstat(file).st_size == 700000
        if trash_days == "1":
            assert os.pread(elsewhere, 7, 350000) == b"content"
        os.close(elsewhere)
        os.close(file)
    assert volume.value("SELECT count(*) FROM jfs_sustained") == 0
    assert_consistent(volume)


def test_without_trash_another_mount_gets_errors_but_never_wrong_bytes(plain_volume):
    """What the runbook says of a file that somebody else has removed."""
    content = bytes(range(256)) * 40000
    with plain_volume.mount() as mount, plain_volume.mount("--cache-size", "0") as other:
        mount.path("file").write_bytes(content)
        elsewhere = os.open(other.path("file"), os.O_RDWR)
        assert os.pread(elsewhere, 1000, 0) == content[:1000]
        mount.path("file").unlink()
        wait_for("its data has been deleted", lambda: not plain_volume.blocks(), 60)

        refusals = set()
        for offset in range(0, len(content), 100_000):
            try:
                got = os.pread(elsewhere, 1000, offset)
                assert got == content[offset:offset + 1000]
            except OSError as refusal:
                refusals.add(refusal.errno)
        assert refusals and refusals <= {errno.EIO, errno.ENOENT}
        with pytest.raises(FileNotFoundError):
            wait_for("the attributes are asked for again",
                     lambda: os.fstat(elsewhere) is None)
        os.pwrite(elsewhere, b"too late", 0)
        with pytest.raises(OSError) as refusal:
            os.fsync(elsewhere)
        assert refusal.value.errno == errno.ESTALE
        close_quietly(elsewhere)


def close_quietly(descriptor):
    with contextlib.suppress(OSError):
        os.close(descriptor)
