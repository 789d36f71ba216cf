"""What goes wrong before or beside the work: one clear line and a documented exit code each."""

import errno
import os
import shutil
import socket

import pytest

from harness.cluster import Cluster
from harness.process import run
from harness.volume import (DENIED, FAILED, NOT_FORMATTED, STORE, UNREACHABLE, USAGE, Volume,
                            is_mounted, tarn)
from harness.wait import wait_for

PASSWORD = "s3cret-Pa55"


@pytest.fixture(scope="module")
def locked_cluster(session_directory):
    """A cluster that wants a password over TCP."""
    made = Cluster(session_directory / "pg-locked", "locked", password=PASSWORD)
    made.create()
    yield made
    made.destroy()


def refused(code, *arguments, words=(), env=None):
    """Run tarn; it must end with the code and one line on stderr that has the words in it."""
    done = tarn(*arguments, check=False, env=env, timeout=60)
    lines = done.stderr.strip().splitlines()
    codes = code if isinstance(code, tuple) else (code,)
    assert done.returncode in codes, f"exit code {done.returncode}: {done.stderr}"
    assert len(lines) == 1, f"not one line:\n{done.stderr}"
    for word in words:
        assert word.lower() in lines[0].lower(), f"no \"{word}\" in: {lines[0]}"
    return lines[0]


@pytest.fixture
def point(workdir):
    """A directory to mount on."""
    made = workdir / "mnt"
    made.mkdir()
    return made


def commands(url, workdir, point):
    """The commands that open a volume."""
    return [["mount", url, point, "--cache-dir", workdir / "cache"], ["info", url, "/"],
            ["status", url], ["primary", "adopt", url], ["primary", "status", url],
            ["mirror", "status", url], ["syncer", "status", url]]


@pytest.mark.parametrize("url", ["not-a-url", "postgres://", "postgres://h:port/db",
                                 "redis://127.0.0.1/1", "postgres://u@127.0.0.1:99999/db",
                                 "postgres://u@[::1/db", "postgres://u%zz@127.0.0.1/db"])
def test_a_malformed_url(programs, workdir, point, url):
    (workdir / "bucket").mkdir()
    for command in [["format", url, "vol", "--bucket", f"{workdir}/bucket/"],
                    *commands(url, workdir, point)]:
        # To info, what has no "://" is a path.
        is_path = command[0] == "info" and "://" not in url
        refused(FAILED if is_path else USAGE, *command)
    assert not is_mounted(point)


def test_a_wrong_password_is_named_and_never_shown(programs, locked_cluster, workdir, point):
    database = locked_cluster.create_database()
    (workdir / "bucket").mkdir()
    url = locked_cluster.url(database, password="wr0ng-Pa55")
    for command in [["format", url, "vol", "--bucket", f"{workdir}/bucket/"],
                    *commands(url, workdir, point)]:
        line = refused(DENIED, *command, words=["password"])
        assert "wr0ng" not in line


def test_the_password_may_come_from_the_environment(programs, locked_cluster, workdir):
    database = locked_cluster.create_database()
    volume = Volume(locked_cluster, database, "vol", workdir).format()
    bare = f"postgres://tarn@127.0.0.1:{locked_cluster.port}/{database}"
    refused(DENIED, "status", bare, env={"META_PASSWORD": "wr0ng"})
    with volume.mount(url=bare, env={"META_PASSWORD": PASSWORD}) as mount:
        mount.path("f").write_text("in")
        with open(f"/proc/{mount.process.pid}/cmdline", "rb") as file:
            assert PASSWORD.encode() not in file.read()


def test_a_password_in_the_url_is_not_left_in_sight(programs, locked_cluster, workdir):
    database = locked_cluster.create_database()
    volume = Volume(locked_cluster, database, "vol", workdir).format()
    with volume.mount() as mount:
        with open(f"/proc/{mount.process.pid}/cmdline", "rb") as file:
            assert PASSWORD.encode() not in file.read()
        assert PASSWORD not in mount.process.log()
        info = volume.value("SELECT convert_from(info, 'UTF8') FROM jfs_session2")
        assert PASSWORD not in info
    assert PASSWORD not in tarn("status", volume.url).stdout


def test_an_unformatted_database(programs, cluster, database, workdir, point):
    for command in commands(cluster.url(database), workdir, point):
        refused(NOT_FORMATTED, *command)


def test_a_database_that_does_not_exist(programs, cluster, workdir):
    refused((UNREACHABLE, NOT_FORMATTED, DENIED), "status", cluster.url("no_such_database"),
            words=["no_such_database"])


def test_nobody_listens(programs, workdir, point):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"postgres://tarn@127.0.0.1:{held.getsockname()[1]}/db"
        for command in commands(url, workdir, point):
            refused(UNREACHABLE, *command)


def test_a_missing_bucket(volume, workdir, point):
    shutil.rmtree(volume.bucket)
    refused(STORE, "mount", volume.url, point, "--cache-dir", workdir / "cache",
            words=[str(volume.bucket)])
    assert not is_mounted(point)


def test_the_bucket_of_another_volume(volume, cluster, workdir, point):
    other = Volume(cluster, cluster.create_database(), "vol", workdir,
                   bucket=workdir / "other").format()
    refused(STORE, "mount", volume.url, point, "--bucket", f"{other.bucket}/",
            "--cache-dir", workdir / "cache")
    cluster.drop_database(other.database)


def test_a_missing_mount_point_and_a_file_in_its_place(volume, workdir):
    (workdir / "file").touch()
    for wrong in ("file", "nowhere"):
        refused((FAILED, USAGE), "mount", volume.url, workdir / wrong, words=[wrong])


def test_formatting_twice_or_with_a_bad_name_or_size(volume, workdir):
    refused((FAILED, USAGE), "format", volume.url, "another", "--bucket", f"{volume.bucket}/")
    assert "\"vol\"" in volume.value("SELECT value FROM jfs_setting WHERE name = 'format'")
    for wrong in (["Bad_Name!"], ["x"], ["vol", "--block-size", "3M"], ["vol", "--shards", "1000"],
                  ["vol", "--compress", "rar"], ["vol", "--no-such-option", "1"]):
        refused(USAGE, "format", volume.url, *wrong, "--bucket", f"{workdir}/b/")


def test_unknown_words_and_missing_arguments(programs):
    for wrong in (["no-such-command"], ["mount"], ["format", "postgres://h/db"], ["mirror", "join"],
                  ["mirror", "no-such"], ["umount"]):
        refused(USAGE, *wrong)


def test_umount_of_what_is_not_mounted(programs, workdir):
    (workdir / "plain").mkdir()
    refused((FAILED, USAGE), "umount", workdir / "plain", words=["plain"])


@pytest.fixture
def small_disk(workdir):
    """A tmpfs of 24 MiB for a bucket."""
    disk = workdir / "small"
    disk.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", disk])
    yield disk
    run(["umount", "-l", disk], check=False)


def test_a_full_bucket_is_enospc_and_recovers(programs, cluster, database, workdir, small_disk):
    volume = Volume(cluster, database, "vol", workdir, bucket=small_disk / "b").format()
    with volume.mount() as mount:
        mount.path("early").write_bytes(b"e" * (8 << 20))
        (small_disk / "ballast").write_bytes(b"0" * (8 << 20))
        with pytest.raises(OSError) as caught:
            with open(mount.path("late"), "wb") as file:
                file.write(b"l" * (20 << 20))
                file.flush()
                os.fsync(file.fileno())
        assert caught.value.errno == errno.ENOSPC
        assert mount.path("early").read_bytes() == b"e" * (8 << 20)
        os.unlink(small_disk / "ballast")
        mount.path("after").write_bytes(b"a" * (4 << 20))
    with volume.mount() as mount:
        assert mount.path("early").read_bytes() == b"e" * (8 << 20)
        assert mount.path("after").read_bytes() == b"a" * (4 << 20)
    assert not volume.expected_blocks() - volume.blocks().keys()


def fill_up(directory):
    """Leave no byte free."""
    handle = os.open(directory / "ballast", os.O_CREAT | os.O_WRONLY)
    with pytest.raises(OSError):
        while os.write(handle, b"0" * 4096):
            pass
    os.close(handle)


def test_a_full_disk_at_format(programs, cluster, database, workdir, small_disk):
    (small_disk / "b").mkdir()
    fill_up(small_disk)
    refused((FAILED, STORE), "format", cluster.url(database), "vol", "--bucket",
            f"{small_disk}/b/")


def test_a_full_cache_disk_is_bypassed(volume, workdir, small_disk):
    data = os.urandom(40 << 20)
    with volume.mount(cache=small_disk / "cache") as mount:
        mount.path("f").write_bytes(data)
    with volume.mount(cache=small_disk / "cache") as mount:
        fill_up(small_disk)
        assert mount.path("f").read_bytes() == data


def test_a_vanished_bucket_is_eio_and_heals(volume):
    with volume.mount("--cache-size", "0") as mount:
        mount.path("f").write_bytes(b"x" * 100_000)
    with volume.mount() as mount:
        os.rename(volume.bucket, f"{volume.bucket}.away")
        with pytest.raises(OSError) as caught:
            mount.path("f").read_bytes()
        assert caught.value.errno == errno.EIO
        os.rename(f"{volume.bucket}.away", volume.bucket)
        assert mount.path("f").read_bytes() == b"x" * 100_000


def test_a_flipped_bit_is_never_served(volume, workdir):
    cache = workdir / "cache"
    data = os.urandom(1 << 20)
    with volume.mount(cache=cache) as mount:
        mount.path("f").write_bytes(data)
    for path in [p for p in cache.rglob("*") if p.is_file() and p.stat().st_size >= 1 << 20]:
        flip(path)
    with volume.mount(cache=cache) as mount:
        assert mount.path("f").read_bytes() == data
    (name,) = volume.blocks()
    (block,) = [p for p in volume.bucket.rglob(name)]
    flip(block)
    with volume.mount() as mount:
        with pytest.raises(OSError) as caught:
            mount.path("f").read_bytes()
        assert caught.value.errno == errno.EIO
        wait_for("the log names the block", lambda: name in mount.process.log())


def flip(path):
    with open(path, "r+b") as file:
        file.seek(300_000)
        byte = file.read(1)[0]
        file.seek(300_000)
        file.write(bytes([byte ^ 1]))
