"""What options of a mount change in what programs see: its root, df, access times."""

import os
import time

import pytest

from harness.check import assert_consistent
from harness.volume import tarn
from harness.wait import wait_for

DAY = 86400


# ---- --subdir

def test_a_missing_subdir_is_made_and_is_a_root_like_any_other(volume):
    with volume.mount("--subdir", "/a/b//c") as inner, volume.mount() as outer:
        inner.path("file").write_text("text")
        assert outer.path("a/b/c/file").read_text() == "text"
        assert os.stat(outer.path("a")).st_mode & 0o7777 == 0o777
        assert os.stat(inner.directory).st_ino == 1
        with os.scandir(inner.directory) as entries:
            assert [entry.name for entry in entries] == ["file"]
        assert os.stat(inner.path("..")).st_dev == os.stat(inner.directory.parent).st_dev
        assert not inner.path(".trash").exists() and outer.path(".trash").exists()
    assert_consistent(volume)


def test_a_read_only_mount_makes_no_subdir(volume):
    point = volume.workdir / "point"
    point.mkdir()
    done = tarn("mount", volume.url, point, "--read-only", "--subdir", "none", check=False)
    assert done.returncode != 0 and 'could not find subdir "none"' in done.stderr
    assert volume.value("SELECT count(*) FROM jfs_edge") == 0


def test_a_subdir_that_is_a_file_is_refused(volume):
    with volume.mount() as mount:
        mount.path("file").touch()
    point = volume.workdir / "point"
    point.mkdir()
    done = tarn("mount", volume.url, point, "--subdir", "file", check=False)
    assert done.returncode != 0 and '"file" is not a directory' in done.stderr


# ---- df

def limit(volume, inode, space, inodes, used_space=0, used_inodes=0):
    volume.query("INSERT INTO jfs_dir_quota (inode, max_space, max_inodes, used_space, used_inodes)"
                 " VALUES (%s, %s, %s, %s, %s) RETURNING inode",
                 (inode, space, inodes, used_space, used_inodes))
    volume.value("SELECT tarn_1.flags_refresh()::text")


def test_df_shows_the_quota_of_a_directory_and_of_a_subdir(volume):
    with volume.mount() as mount:
        mount.path("limited/inner").mkdir(parents=True)
        limit(volume, os.stat(mount.path("limited")).st_ino, 100 << 20, 50, 10 << 20, 5)
        limit(volume, os.stat(mount.path("limited/inner")).st_ino, 0, 10, 1 << 20, 2)

        whole = os.statvfs(mount.directory)
        assert whole.f_blocks * whole.f_frsize >= 1 << 50
        shown = os.statvfs(mount.path("limited"))
        assert shown.f_blocks * 4096 == 100 << 20 and shown.f_bavail * 4096 == 90 << 20
        assert shown.f_files == 50 and shown.f_ffree == 45
        # Of what limits the inner one, the room is the least and the use its own.
        shown = os.statvfs(mount.path("limited/inner"))
        assert shown.f_bavail * 4096 == 90 << 20 and shown.f_blocks * 4096 == 91 << 20
        assert shown.f_ffree == 8 and shown.f_files == 10
    with volume.mount("--subdir", "limited") as mount:
        assert os.statvfs(mount.directory).f_files == 50


def test_fast_statfs_does_not_ask(volume, proxy):
    with volume.mount("--fast-statfs", url=volume.url_by(proxy)) as mount:
        mount.path("file").write_bytes(b"x" * 10000)
        used = []

        def grown():
            shown = os.statvfs(mount.directory)
            used.append((shown.f_blocks - shown.f_bfree) * 4096)
            return used[-1] >= 12288
        wait_for("df knows of the file", grown)
        proxy.forget()
        for _ in range(10):
            os.statvfs(mount.directory)
        assert proxy.exchanges("tarn_1.statfs") == []


# ---- access times

@pytest.fixture
def times(plain_volume):
    """Makes a file and a directory with old times in a mount of that mode."""
    def make(*options):
        mount = plain_volume.mount("--attr-cache", "0", *options).start()
        mount.path("file").write_bytes(b"content")
        mount.path("dir").mkdir()
        mount.path("dir", "entry").touch()
        mounts.append(mount)
        return mount
    mounts = []
    make.volume = plain_volume
    yield make
    for mount in mounts:
        mount.unmount()


def set_age(path, atime_age, mtime_age):
    now = time.time()
    os.utime(path, (now - atime_age, now - mtime_age))


def is_touched(mount, name, read):
    before = os.stat(mount.path(name))
    read(mount.path(name))
    after = os.stat(mount.path(name))
    assert (after.st_mtime_ns, after.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)
    return after.st_atime_ns > before.st_atime_ns


READS = [("file", lambda path: path.read_bytes()), ("dir", os.listdir)]


@pytest.mark.parametrize("name, read", READS, ids=["file", "directory"])
def test_reading_leaves_access_times_alone_by_default(times, name, read):
    mount = times()
    set_age(mount.path(name), 10 * DAY, 5)
    assert not is_touched(mount, name, read)


@pytest.mark.parametrize("name, read", READS, ids=["file", "directory"])
def test_relatime_follows_the_rule_of_linux(times, name, read):
    mount = times("--atime-mode", "relatime")
    set_age(mount.path(name), 10, 5)  # read before the last change
    assert is_touched(mount, name, read)
    assert not is_touched(mount, name, read)


@pytest.mark.parametrize("name, read", READS, ids=["file", "directory"])
def test_strictatime_touches_at_most_each_second(times, name, read):
    mount = times("--atime-mode", "strictatime")
    set_age(mount.path(name), 10, 20)
    assert is_touched(mount, name, read)
    inode = os.stat(mount.path(name)).st_ino
    for column in ("atime", "mtime", "ctime"):
        age = 5 if column == "atime" else 9
        set_time(times, inode, column, age)
    assert is_touched(mount, name, read)


def set_time(times, inode, column, age):
    """Times as another client left them some seconds ago; ctime cannot be set from a mount."""
    times.volume.query(f"UPDATE jfs_node SET {column} = {int((time.time() - age) * 1e6)}"
                       f" WHERE inode = {inode} RETURNING inode")


def test_an_unknown_atime_mode_is_refused(volume):
    point = volume.workdir / "point"
    point.mkdir()
    done = tarn("mount", volume.url, point, "--atime-mode", "often", check=False)
    assert done.returncode != 0 and "noatime, relatime or strictatime" in done.stderr
