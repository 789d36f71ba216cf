"""Files without a name: O_TMPFILE, named later by linkat, gone with their last handle or their mount."""

import errno
import os
import platform
import re

import pytest

from harness.check import assert_consistent
from harness.syscalls import link_descriptor
from harness.users import outcome_as
from harness.wait import wait_for

KERNEL = tuple(int(part) for part in re.findall(r"\d+", platform.release())[:2])

pytestmark = pytest.mark.skipif(KERNEL < (6, 1), reason="this kernel has no O_TMPFILE for FUSE")


@pytest.fixture
def mount(volume):
    with volume.mount() as mounted:
        mounted.path("dir").mkdir()
        yield mounted
    assert_consistent(volume)


def nodes(volume):
    return volume.value("SELECT count(*) FROM jfs_node WHERE type = 1")


def test_a_file_without_a_name_is_written_read_and_gone(volume, mount):
    file = os.open(mount.path("dir"), os.O_TMPFILE | os.O_RDWR, 0o640)
    os.write(file, b"content" * 100000)
    os.fsync(file)
    assert os.pread(file, 7, 350000) == b"content"
    found = os.fstat(file)
    assert found.st_nlink == 0 and found.st_mode == 0o100640 and found.st_size == 700000
    assert os.listdir(mount.path("dir")) == []
    assert nodes(volume) == 1
    os.close(file)
    wait_for("the file is gone", lambda: nodes(volume) == 0)
    assert volume.value("SELECT count(*) FROM jfs_sustained") == 0


def test_it_can_be_given_a_name(volume, mount):
    file = os.open(mount.path("dir"), os.O_TMPFILE | os.O_RDWR, 0o644)
    os.write(file, b"content")
    link_descriptor(file, mount.path("dir", "name"))
    assert os.fstat(file).st_nlink == 1
    assert mount.path("dir", "name").read_bytes() == b"content"
    os.write(file, b" and more")
    os.link(mount.path("dir", "name"), mount.path("second"))
    os.close(file)
    assert mount.path("second").read_bytes() == b"content and more"
    assert volume.value("SELECT count(*) FROM jfs_sustained") == 0
    with volume.mount() as again:
        assert again.path("dir", "name").read_bytes() == b"content and more"


def test_it_never_replaces_a_name(mount):
    mount.path("taken").write_text("here first")
    file = os.open(mount.path("dir"), os.O_TMPFILE | os.O_WRONLY)
    with pytest.raises(FileExistsError):
        link_descriptor(file, mount.path("taken"))
    os.close(file)
    assert mount.path("taken").read_text() == "here first"


def test_with_o_excl_it_stays_without_a_name(mount):
    file = os.open(mount.path("dir"), os.O_TMPFILE | os.O_WRONLY | os.O_EXCL)
    with pytest.raises(FileNotFoundError):
        link_descriptor(file, mount.path("name"))
    os.close(file)


def test_it_belongs_to_its_maker_in_a_directory_he_may_write_to(mount):
    os.chmod(mount.path("dir"), 0o2777)
    os.chown(mount.path("dir"), 0, 2000)

    def make(mode):
        file = os.open(mount.path("dir"), os.O_TMPFILE | os.O_WRONLY, mode)
        link_descriptor(file, mount.path("dir", "name"))
    os.umask(0o027)
    os.chmod(mount.path("dir"), 0o777 | 0o2000)
    assert outcome_as(1001, 1001, [], lambda: make(0o666)) == 0
    found = os.stat(mount.path("dir", "name"))
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (1001, 2000, 0o640)
    os.chmod(mount.path("dir"), 0o755)
    assert outcome_as(1001, 1001, [], lambda: make(0o666)) == errno.EACCES


def test_a_killed_mount_leaves_nothing_behind(volume, mount):
    file = os.open(mount.path("dir"), os.O_TMPFILE | os.O_RDWR)
    os.write(file, b"lost" * 1000)
    os.fsync(file)
    # A crash may lose the last second of accounting, which is not what is looked at here.
    wait_for("usage is flushed", lambda: volume.value(
        "SELECT value FROM jfs_counter WHERE name = 'totalInodes'") == 2)
    mount.kill9()
    with pytest.raises(OSError):
        os.close(file)
        os.stat(mount.path("dir"))
    volume.query("UPDATE jfs_session2 SET expire = 0 RETURNING sid")
    with volume.mount() as other:
        wait_for("the dead session's file is gone", lambda: nodes(volume) == 0, 90)
        assert os.listdir(other.path("dir")) == []
    mount.start()


def test_a_read_only_mount_makes_none(volume, mount):
    with volume.mount("--read-only") as other, pytest.raises(OSError) as refusal:
        os.open(other.path("dir"), os.O_TMPFILE | os.O_RDWR)
    assert refusal.value.errno == errno.EROFS
