"""The main path in a minute: format, mount, use, unmount, mount again. Runs under ASan too."""

import errno
import json
import os
import stat

import pytest

from harness.check import assert_consistent
from harness.syscalls import RENAME_EXCHANGE, RENAME_NOREPLACE, renameat2
from harness.tree import assert_same, populate, read_tree
from harness.volume import is_mounted, tarn, tarn_json
from harness.wait import wait_for

def test_what_is_written_is_there_after_a_remount(volume):
    with volume.mount() as mount:
        populate(mount.directory)
        before = read_tree(mount.directory)
    with volume.mount() as mount:
        assert_same(before, read_tree(mount.directory))
    assert volume.blocks().keys() >= volume.expected_blocks()
    assert_consistent(volume)


def test_a_mount_ends_cleanly_on_sigterm(volume):
    mount = volume.mount().start()
    (mount.directory / "f").write_text("kept")
    mount.terminate()
    assert volume.value("SELECT count(*) FROM jfs_session2") == 0
    with volume.mount() as mount:
        assert (mount.directory / "f").read_text() == "kept"


def test_a_background_mount_is_ready_when_the_command_returns(volume, workdir):
    point = workdir / "mnt-background"
    point.mkdir()
    tarn("mount", volume.url, point, "--background", "--cache-dir", workdir / "cache-bg",
         "--log", workdir / "background.log")
    assert is_mounted(point)
    (point / "f").write_text("from the background")
    assert tarn_json("umount", point) == {"mountpoint": str(point), "unmounted": True, "stored": True}
    wait_for("the session has ended",
             lambda: volume.value("SELECT count(*) FROM jfs_session2") == 0)


def test_a_read_only_mount_refuses_every_change_and_writes_nothing(volume):
    with volume.mount() as mount:
        (mount.directory / "f").write_text("old")
    with volume.cluster.statements(volume.database) as seen, volume.mount("--read-only") as mount:
        assert (mount.directory / "f").read_text() == "old"
        refused = [
            lambda: (mount.directory / "f").write_text("new"),
            lambda: (mount.directory / "g").touch(),
            lambda: (mount.directory / "d").mkdir(),
            lambda: os.unlink(mount.directory / "f"),
            lambda: os.chmod(mount.directory / "f", 0o600),
            lambda: os.rename(mount.directory / "f", mount.directory / "h"),
            lambda: os.setxattr(mount.directory / "f", "user.x", b"1"),
        ]
        for change in refused:
            with pytest.raises(OSError) as caught:
                change()
            assert caught.value.errno == errno.EROFS
    assert volume.value("SELECT count(*) FROM jfs_session2") == 0
    assert not [text for text in seen if "session_open" in text]


def test_rename_knows_its_flags(volume):
    with volume.mount() as mount:
        one, two = mount.path("one"), mount.path("two")
        one.write_text("1")
        two.write_text("2")
        with pytest.raises(FileExistsError):
            renameat2(one, two, RENAME_NOREPLACE)
        renameat2(one, two, RENAME_EXCHANGE)
        assert (one.read_text(), two.read_text()) == ("2", "1")
        os.rename(one, two)
        assert two.read_text() == "2" and not one.exists()


def test_an_open_file_outlives_its_name(volume):
    with volume.mount() as mount:
        with open(mount.path("f"), "w+b") as file:
            file.write(b"a" * 100_000)
            file.flush()
            os.unlink(mount.path("f"))
            file.seek(0)
            assert file.read() == b"a" * 100_000
    assert_consistent(volume)


def test_deleted_things_go_to_the_trash(volume):
    with volume.mount() as mount:
        (mount.directory / "d").mkdir()
        (mount.directory / "d" / "f").write_text("kept a day")
        inode = os.stat(mount.directory / "d" / "f").st_ino
        parent = os.stat(mount.directory / "d").st_ino
        os.unlink(mount.directory / "d" / "f")
        trash = mount.directory / ".trash"
        (hour,) = os.listdir(trash)
        assert (trash / hour / f"{parent}-{inode}-f").read_text() == "kept a day"
        assert ".trash" not in os.listdir(mount.directory)


def test_statfs_and_info_and_status_tell_the_truth(volume):
    with volume.mount() as mount:
        before = os.statvfs(mount.directory)
        (mount.directory / "f").write_bytes(b"x" * (5 << 20))
        wait_for("statfs shows the file", lambda: os.statvfs(mount.directory).f_files
                 - os.statvfs(mount.directory).f_ffree == before.f_files - before.f_ffree + 1)
        status = tarn_json("status", volume.url)
        assert volume.name in json.dumps(status)
        assert str(mount.directory) in json.dumps(status)
        info = tarn_json("info", volume.url, "/f")
        assert str(os.stat(mount.directory / "f").st_ino) in json.dumps(info)


def test_every_command_explains_itself(programs):
    for command in (["format"], ["mount"], ["umount"], ["info"], ["status"], ["primary", "adopt"],
                    ["primary", "run"], ["mirror", "join"], ["mirror", "run"], ["mirror", "status"],
                    ["syncer", "run"], ["syncer", "status"]):
        text = tarn(*command, "--help").stdout
        assert "--" in text and len(text.splitlines()) > 5, f"{command} --help says {text!r}"


def test_types_and_modes_are_what_mknod_asked_for(volume):
    with volume.mount() as mount:
        os.mknod(mount.path("null"), 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        os.mknod(mount.path("sock"), 0o600 | stat.S_IFSOCK)
        made = os.lstat(mount.path("null"))
        assert stat.S_ISCHR(made.st_mode) and made.st_rdev == os.makedev(1, 3)
        assert stat.S_ISSOCK(os.lstat(mount.path("sock")).st_mode)
