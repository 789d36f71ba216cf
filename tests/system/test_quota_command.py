"""`tarn quota` and `tarn config` on volumes that are in use."""

import errno
import json
import os
import random

import pytest
from harness.check import assert_consistent
from harness.quotas import assert_dir_quotas, assert_owners
from harness.volume import BIN, FAILED, NOT_FORMATTED, STORE, TRASH_INODE, USAGE, tarn, tarn_json
from harness.wait import wait_for

KIB = 1 << 10


def quota(volume, word, *options, **more):
    return tarn_json("quota", word, volume.url, *options, **more)["quotas"]


def row_of(volume):
    return json.loads(volume.value("SELECT value FROM jfs_setting WHERE name = 'format'"))


def fill(path, size):
    with open(path, "wb") as file:
        file.write(b"x" * size)


# ---- quota

def test_a_directory_gets_a_quota_and_its_mounts_keep_to_it(volume):
    with volume.mount() as mount:
        os.makedirs(mount.path("a", "b"))
        fill(mount.path("a", "b", "f"), 5000)
        (shown,) = quota(volume, "set", "--path", "/a", "--capacity", "64K", "--inodes", "5")
        # What is there is counted at once, flushed or not.
        assert shown == {"path": "/a", "max_space": 64 * KIB, "max_inodes": 5,
                         "used_space": 4096 + 8192, "used_inodes": 2}
        with pytest.raises(OSError) as refused:
            for number in range(20):
                fill(mount.path("a", "b", f"big{number}"), 40000)
                wait_for("usage is flushed", lambda n=number: quota(
                    volume, "get", "--path", "a")[0]["used_inodes"] == 3 + n)
        assert refused.value.errno == errno.EDQUOT
        quota(volume, "set", "--path", "/a", "--capacity", "0")
        fill(mount.path("a", "big"), 100000)
    (shown,) = quota(volume, "check", "--path", "/a")
    assert (shown["max_space"], shown["max_inodes"]) == (0, 5)
    assert_dir_quotas(volume)
    assert_consistent(volume)


def test_a_missing_directory_is_made_when_asked(volume):
    assert tarn("quota", "set", volume.url, "--path", "/x/y", "--inodes", 9,
                check=False).returncode == FAILED
    (shown,) = quota(volume, "set", "--path", "/x/y/", "--inodes", 9, "--create")
    assert (shown["path"], shown["max_inodes"], shown["max_space"]) == ("/x/y", 9, -1)
    assert_consistent(volume)
    assert volume.value("SELECT count(*) FROM jfs_session2") == 0


def test_users_and_groups_are_counted_from_their_first_quota_on(volume):
    with volume.mount() as mount:
        fill(mount.path("f"), 5000)
        os.chown(mount.path("f"), 1000, 50)
        os.mkdir(mount.path("d"))
        assert tarn("quota", "check", volume.url, check=False).returncode == USAGE
        (shown,) = quota(volume, "set", "--uid", 1000, "--inodes", 10)
        assert (shown["uid"], shown["used_space"], shown["used_inodes"]) == (1000, 8192, 1)
        assert row_of(volume)["UserGroupQuota"] is True
        fill(mount.path("g"), 100)
        os.chown(mount.path("g"), 1000, 50)
        os.link(mount.path("g"), mount.path("h"))
        os.unlink(mount.path("f"))
    assert_owners(volume)
    assert quota(volume, "check", "--gid", 50) == []
    (shown,) = quota(volume, "list")
    assert (shown["uid"], shown["used_inodes"]) == (1000, 2)
    volume.query("UPDATE jfs_user_group_quota SET used_space = 7 RETURNING 1")
    done = tarn("quota", "check", volume.url, check=False)
    assert done.returncode == FAILED and "uid:1000" in done.stdout
    tarn("quota", "check", volume.url, "--repair")
    assert_owners(volume)
    tarn("quota", "delete", volume.url, "--uid", 1000)
    assert quota(volume, "list") == []
    assert volume.value("SELECT used_inodes FROM jfs_user_group_quota"
                        " WHERE (qtype, qkey) = (1, 1000)") == 2


def test_a_quota_that_is_wrong_is_found_and_repaired(volume):
    with volume.mount() as mount:
        os.mkdir(mount.path("d"))
        fill(mount.path("d", "f"), 9000)
    quota(volume, "set", "--path", "/d")
    volume.query("UPDATE jfs_dir_quota SET used_inodes = 77 RETURNING 1")
    assert tarn("quota", "check", volume.url, "--path", "/d", check=False).returncode == FAILED
    quota(volume, "check", "--path", "/d", "--repair")
    assert quota(volume, "check", "--path", "/d")[0]["used_inodes"] == 1
    tarn("quota", "del", volume.url, "--path", "/d")
    assert volume.value("SELECT count(*) FROM jfs_dir_quota") == 0
    assert volume.value("SELECT dir_quota FROM tarn.volume_flags") is False


@pytest.mark.parametrize("arguments, code", [
    (("set", "--inodes", "1"), USAGE), (("set", "--uid", "0", "--inodes", "1"), USAGE),
    (("set", "--uid", "1", "--gid", "1"), USAGE), (("frob",), USAGE),
    (("set", "--path", "/no", "--inodes", "1"), FAILED),
    (("set", "--path", "/.trash", "--inodes", "1"), FAILED),
    (("set", "--path", "/", "--capacity", "many"), USAGE)])
def test_bad_quotas_are_refused_in_one_line(volume, arguments, code):
    word, *options = arguments
    done = tarn("quota", word, volume.url, *options, check=False)
    assert done.returncode == code
    assert done.stderr.startswith("tarn quota: ") and done.stderr.count("\n") == 1
    assert volume.value("SELECT count(*) FROM jfs_dir_quota") == 0


def test_quotas_are_written_to_the_change_log(volume):
    tarn("config", volume.url, "--changelog")
    quota(volume, "set", "--path", "/", "--inodes", 100)
    tarn("quota", "delete", volume.url, "--path", "/")
    entries = [entry.split("|")[1] for (entry,) in volume.query(
        "SELECT entry FROM jfs_change_log ORDER BY id")]
    assert entries == ["SETQUOTA(0,1,-1,100)", "DELQUOTA(0,1)"]


def test_two_mounts_below_quotas_leave_exact_counts(volume):
    """Two mounts work and move things at once; what they were refused counts for nothing."""
    rng = random.Random(7)
    with volume.mount() as first, volume.mount() as second:
        for name in ("a", "b", "free"):
            os.makedirs(first.path(name, "in"))
        quota(volume, "set", "--path", "/a", "--inodes", 40)
        quota(volume, "set", "--path", "/a/in", "--capacity", "200K")
        quota(volume, "set", "--path", "/b")
        quota(volume, "set", "--gid", 0, "--inodes", 100000)
        wait_for("both mounts know", lambda: volume.value(
            "SELECT owner_quota AND dir_quota FROM tarn.volume_flags"))
        dirs = ["a", "a/in", "b", "b/in", "free", "free/in"]
        for _ in range(300):
            mount = rng.choice([first, second])
            one, two = (mount.path(rng.choice(dirs), f"n{rng.randrange(6)}") for _ in range(2))
            try:
                work = rng.randrange(6)
                if work == 0:
                    fill(one, rng.randrange(20000))
                elif work == 1:
                    os.mkdir(one)
                elif work == 2:
                    os.rename(one, two)
                elif work == 3:
                    os.unlink(one)
                elif work == 4:
                    os.truncate(one, rng.randrange(30000))
                else:
                    os.link(one, two)
            except OSError:
                pass
    assert_dir_quotas(volume)
    assert_owners(volume)
    assert_consistent(volume)


# ---- config

def test_settings_are_shown_without_secrets(volume):
    row = row_of(volume)
    volume.query("UPDATE jfs_setting SET value = %s RETURNING 1",
                 [json.dumps({**row, "SecretKey": "hush", "Unknown": [1, 2.50]}, indent=0)])
    shown = json.loads(tarn("config", volume.url).stdout)
    assert shown == {**row, "SecretKey": "removed", "Unknown": [1, 2.50]}


def test_settings_change_in_their_place_and_mounts_follow_at_once(volume):
    text = volume.value("SELECT value FROM jfs_setting WHERE name = 'format'")
    text = text.replace('"Name":', '"Strange": 1.500e2,\n"Name":')
    volume.query("UPDATE jfs_setting SET value = %s RETURNING 1", [text])
    done = tarn("config", volume.url, "--trash-days", 3, "--capacity", "1T", "--inodes", 5000,
                "--upload-limit", "2G", "--user-group-quota")
    assert "trash-days: 1 -> 3" in done.stdout and "capacity: 0 B -> 1.0 TiB" in done.stdout
    now = volume.value("SELECT value FROM jfs_setting WHERE name = 'format'")
    assert '"Strange": 1.500e2,\n' in now
    row = json.loads(now)
    assert (row["TrashDays"], row["Capacity"], row["Inodes"], row["UploadLimit"]) == (
        3, 1 << 40, 5000, 2000)
    assert volume.query("SELECT trash_days, inodes, owner_quota FROM tarn.volume_flags") == [
        (3, 5000, True)]
    assert tarn("config", volume.url, "--trash-days", 3).stdout == "Nothing changed.\n"
    tarn("config", volume.url, "--capacity", 0, "--inodes", 0, "--upload-limit", 0,
         "--user-group-quota=false", "--trash-days", 1)
    assert volume.value("SELECT value FROM jfs_setting WHERE name = 'format'") == text


def test_a_trash_is_made_when_there_is_to_be_one(volume):
    tarn("config", volume.url, "--trash-days", 0, "--yes")
    assert tarn("config", volume.url, "--trash-days", 0).stdout == "Nothing changed.\n"
    volume.query("DELETE FROM jfs_node WHERE inode = %s RETURNING 1", [TRASH_INODE])
    tarn("config", volume.url, "--trash-days", 2)
    assert volume.value("SELECT mode FROM jfs_node WHERE inode = %s", [TRASH_INODE]) == 0o555
    done = tarn("config", volume.url, "--trash-days", 0, check=False)
    assert done.returncode == FAILED and row_of(volume)["TrashDays"] == 2


def test_directory_statistics_are_begun_anew_and_not_ended_under_quotas(volume):
    quota(volume, "set", "--path", "/", "--inodes", 100)
    assert tarn("config", volume.url, "--dir-stats=false", check=False).returncode == USAGE
    tarn("quota", "delete", volume.url, "--path", "/")
    tarn("config", volume.url, "--no-dir-stats")
    assert "DirStats" not in row_of(volume)
    volume.query("UPDATE jfs_dir_stats SET used_space = 12345 RETURNING 1")
    tarn("config", volume.url, "--dir-stats")
    assert volume.value("SELECT count(*) FROM jfs_dir_stats WHERE used_space = 12345") == 0


@pytest.mark.parametrize("options", [
    ("--min-client-version", "1.0.0"), ("--min-client-version", "new"), ("--trash-days", "-1"),
    ("--capacity", "lots"), ("--inodes", "x"), ("--upload-limit", "fast"),
    ("--max-client-version", "1.3.0"), ("--min-client-version", "9.0.0"), ("--frob", "1")])
def test_settings_that_make_no_sense_change_nothing(volume, options):
    before = volume.value("SELECT value FROM jfs_setting WHERE name = 'format'")
    done = tarn("config", volume.url, *options, check=False)
    assert done.returncode in (FAILED, USAGE) and done.stderr.startswith("tarn config: ")
    assert volume.value("SELECT value FROM jfs_setting WHERE name = 'format'") == before


def test_acls_are_for_good(volume):
    tarn("config", volume.url, "--enable-acl")
    row = row_of(volume)
    assert row["EnableACL"] is True and row["MinClientVersion"] == "1.2.0-A"
    assert tarn("config", volume.url, "--enable-acl=false", check=False).returncode == USAGE


def test_clients_that_would_be_locked_out_are_named(volume):
    volume.query("INSERT INTO jfs_session2 VALUES (77, 4000000000, %s) RETURNING 1", [
        b'{"Version": "1.1.2+x", "HostName": "elder", "ProcessID": 12}'])
    done = tarn("config", volume.url, "--enable-acl", check=False)
    assert done.returncode == FAILED and "host elder pid 12" in done.stderr
    assert row_of(volume)["EnableACL"] is False
    tarn("config", volume.url, "--enable-acl", "--yes")


def test_a_bucket_is_tried_before_it_is_written_down(volume, workdir):
    before = row_of(volume)["Bucket"]
    missing = workdir / "nowhere"
    assert tarn("config", volume.url, "--bucket", missing, check=False).returncode == STORE
    assert row_of(volume)["Bucket"] == before
    moved = workdir / "moved"
    os.rename(before, moved)
    tarn("config", volume.url, "--bucket", moved)
    assert row_of(volume)["Bucket"] == f"{moved}/"
    assert not list(moved.glob("*/testing/*"))
    other = moved / volume.name / "juicefs_uuid"
    other.write_text("11111111-2222-4333-8444-555555555555")
    os.symlink(moved, workdir / "again")
    assert tarn("config", volume.url, "--bucket", workdir / "again",
                check=False).returncode == STORE


def test_secrets_come_from_the_environment_and_are_wrapped(volume):
    tarn("config", volume.url, "--access-key", "me", "--encrypt-secret",
         env={"TARN_SECRET_KEY": "hush-hush", "TARN_CAPACITY": "7T"})
    row = row_of(volume)
    assert row["KeyEncrypted"] is True and row["AccessKey"] == "me"
    assert row["SecretKey"] != "hush-hush" and "Capacity" not in row
    assert tarn("status", volume.url).returncode == 0  # it unwraps


def test_a_secret_on_the_command_line_is_not_shown_by_ps(volume):
    """The command waits for its answer, and its arguments are read meanwhile."""
    tarn("config", volume.url, "--trash-days", 5)
    reader, writer = os.pipe()
    child = os.posix_spawn(
        BIN / "tarn", ["tarn", "config", volume.url, "--secret-key", "hush-hush",
                       "--session-token=more-hush", "--secret_key=hush-again",
                       "-o", "force=false,session_token=hush-too", "--trash-days", "0"], dict(os.environ),
        file_actions=[(os.POSIX_SPAWN_DUP2, reader, 0)])
    try:
        def arguments():
            with open(f"/proc/{child}/cmdline", "rb") as file:
                return file.read()
        wait_for("the secrets are hidden", lambda: b"*********" in arguments()
                 and b"hush" not in arguments())
        os.write(writer, b"n\n")
    finally:
        os.close(writer)
        os.close(reader)
        os.waitpid(child, 0)
    assert row_of(volume)["TrashDays"] == 5


def test_a_database_without_a_volume_is_told_apart(cluster, database, programs):
    """programs: the built commands exist."""
    for word in (("config",), ("quota", "list")):
        done = tarn(*word, cluster.url(database), check=False)
        assert done.returncode == NOT_FORMATTED, done.stderr
