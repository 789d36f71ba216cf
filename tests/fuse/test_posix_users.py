"""Users who act as others (squash), are called otherwise (--map-ids), or are in many groups."""

import errno
import os
import signal

import pytest

from harness.users import outcome_as
from harness.volume import tarn
from harness.wait import wait_for

ALICE, BOB, STAFF = 1001, 1002, 2000
EACCES, EPERM, DONE = errno.EACCES, errno.EPERM, 0


def as_user(uid, action, gid=None, groups=()):
    return outcome_as(uid, gid or uid, list(groups), action)


def owner(path):
    found = os.lstat(path)
    return found.st_uid, found.st_gid


# ---- squash

@pytest.fixture
def open_mount(volume):
    """A plain mount beside, through which root prepares what others meet."""
    with volume.mount("--attr-cache", "0") as mount:
        os.chmod(mount.directory, 0o777)
        yield mount


def test_squashed_root_is_a_user_like_others(volume, open_mount):
    with volume.mount("--root-squash", f"{ALICE}:{STAFF}") as mount:
        mount.path("mine").mkdir()
        mount.path("mine", "file").write_text("text")
        assert owner(mount.path("mine", "file")) == (ALICE, STAFF)

        bobs = open_mount.path("bobs")
        bobs.mkdir()
        (bobs / "secret").write_text("text")
        for path in (bobs / "secret", bobs):
            os.chown(path, BOB, BOB)
            os.chmod(path, 0o700)
        there = mount.path("bobs")
        refused = {
            "list": lambda: os.listdir(there),
            "look into": lambda: os.stat(there / "secret"),
            "create": lambda: (there / "new").touch(),
            "mkdir": lambda: (there / "newdir").mkdir(),
            "symlink": lambda: os.symlink("x", there / "newsym"),
            "unlink": lambda: os.unlink(there / "secret"),
            "rename into": lambda: os.rename(mount.path("mine", "file"), there / "file"),
            "link into": lambda: os.link(mount.path("mine", "file"), there / "file"),
        }
        assert {what: errno_of(act) for what, act in refused.items()} == dict.fromkeys(refused,
                                                                                       EACCES)
        assert errno_of(lambda: os.chmod(there, 0o777)) == EPERM
        assert errno_of(lambda: os.chown(mount.path("mine", "file"), BOB, -1)) == EPERM
        assert errno_of(lambda: os.utime(there, (5, 5))) == EPERM
        assert errno_of(lambda: os.setxattr(there, "user.a", b"1")) == EACCES


def test_squashed_root_opens_what_everybody_may(volume, open_mount):
    for name, mode in (("read", 0o604), ("write", 0o602), ("none", 0o600)):
        open_mount.path(name).write_text("text")
        open_mount.path(name).chmod(mode)
    with volume.mount("--root-squash", str(ALICE)) as mount:
        def tried(name, flags):
            return errno_of(lambda: os.close(os.open(mount.path(name), flags)))
        assert tried("read", os.O_RDONLY) == DONE and tried("read", os.O_RDWR) == EACCES
        assert tried("write", os.O_WRONLY) == DONE and tried("write", os.O_RDONLY) == EACCES
        assert tried("none", os.O_RDONLY) == EACCES
        assert tried("read", os.O_WRONLY | os.O_TRUNC) == EACCES
        assert errno_of(lambda: os.truncate(mount.path("read"), 0)) == EACCES
        assert open_mount.path("read").read_text() == "text"
        # Others keep who they are.
        assert as_user(BOB, lambda: mount.path("bobs").touch()) == DONE
        assert owner(mount.path("bobs"))[0] == BOB


def test_a_sticky_directory_protects_from_squashed_root(volume, open_mount):
    sticky = open_mount.path("sticky")
    sticky.mkdir()
    sticky.chmod(0o1777)
    (sticky / "bobs").touch()
    os.chown(sticky / "bobs", BOB, BOB)
    with volume.mount("--root-squash", str(ALICE)) as mount:
        mount.path("sticky", "own").touch()
        assert errno_of(lambda: os.unlink(mount.path("sticky", "bobs"))) == EPERM
        assert errno_of(lambda: os.rename(mount.path("sticky", "own"),
                                          mount.path("sticky", "bobs"))) == EPERM
        mount.path("sticky", "own").unlink()


def test_everybody_squashed_shares_one_users_files(volume, open_mount):
    with volume.mount("--all-squash", f"{ALICE}:{STAFF}") as mount:
        assert as_user(BOB, lambda: mount.path("file").write_text("text")) == DONE
        os.chmod(mount.path("file"), 0o600)
        assert owner(mount.path("file")) == (ALICE, STAFF)
        assert as_user(4711, lambda: mount.path("file").read_text()) == DONE
        assert as_user(4711, lambda: mount.path("file").unlink()) == DONE
        open_mount.path("roots").touch(0o600)
        os.chmod(open_mount.path("roots"), 0o600)
        assert as_user(4711, lambda: mount.path("roots").read_text()) == EACCES
        assert as_user(4711, lambda: os.access(mount.path("roots"), os.R_OK) or fail()) == EACCES


def fail():
    raise PermissionError(EACCES, "no access")


def errno_of(action):
    try:
        action()
    except OSError as refusal:
        return refusal.errno
    return DONE


# ---- --map-ids

def test_names_are_mapped_in_every_direction(volume, open_mount, tmp_path):
    lines = tmp_path / "map"
    lines.write_text("user daemon 10001\ngroup daemon 10050\n")
    with volume.mount("--map-ids", lines, "--attr-cache", "0") as mount:
        assert as_user(1, lambda: mount.path("file").touch()) == DONE
        assert owner(mount.path("file")) == (1, 1)
        assert owner(open_mount.path("file")) == (10001, 10050)
        os.chown(mount.path("file"), 0, 0)
        assert owner(open_mount.path("file")) == (0, 0)
        os.chown(mount.path("file"), 1, 1)
        assert owner(open_mount.path("file")) == (10001, 10050)
        # Who owns a file in the volume owns it here, by the kernel's own check.
        os.chmod(mount.path("file"), 0o600)
        assert as_user(1, lambda: mount.path("file").read_text()) == DONE
        # The number that a line gives to daemon is nobody else's.
        assert as_user(10001, lambda: mount.path("other").touch()) == DONE
        assert owner(open_mount.path("other"))[0] == 65534
        os.chown(open_mount.path("other"), 1, 1)
        assert owner(mount.path("other")) == (65534, 65534)

        lines.write_text("user daemon 10002\ngroup daemon 10050\n")
        mount.process.child.send_signal(signal.SIGHUP)
        wait_for("the new mapping",
                 lambda: owner(mount.path("file"))[0] == 10001)


def test_a_map_that_cannot_be_used_is_refused(volume, tmp_path):
    point = volume.workdir / "point"
    point.mkdir()
    (tmp_path / "map").write_text("user daemon\n")
    for path, said in ((tmp_path / "map", "map:1"), (tmp_path / "none", "could not open")):
        done = tarn("mount", volume.url, point, "--map-ids", path, check=False)
        assert done.returncode != 0 and said in done.stderr


# ---- groups

@pytest.fixture
def shared(shared_top):
    os.chown(shared_top, 0, STAFF)
    os.chmod(shared_top, 0o2777)
    return shared_top


def make(path, mode):
    os.umask(0)
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, mode))


def test_a_setgid_directory_hands_down_its_group(shared):
    assert as_user(ALICE, lambda: make(shared / "file", 0o644)) == DONE
    assert owner(shared / "file") == (ALICE, STAFF)
    assert as_user(ALICE, lambda: os.mkdir(shared / "dir")) == DONE
    assert os.stat(shared / "dir").st_mode & 0o2000 and owner(shared / "dir")[1] == STAFF


@pytest.mark.parametrize("groups, keeps", [((), False), ((STAFF,), True),
                                           (tuple(range(3000, 3200)) + (STAFF,), True)],
                         ids=["stranger", "member", "member of many"])
def test_setgid_files_are_made_by_members_only(shared, groups, keeps):
    assert as_user(ALICE, lambda: make(shared / "file", 0o2775), groups=groups) == DONE
    assert bool(os.stat(shared / "file").st_mode & 0o2000) == keeps


@pytest.mark.parametrize("groups, keeps", [((), False), ((STAFF,), True)],
                         ids=["stranger", "member"])
def test_chmod_keeps_setgid_for_members_only(shared, groups, keeps):
    make(shared / "file", 0o755)
    os.chown(shared / "file", ALICE, STAFF)
    assert as_user(ALICE, lambda: os.chmod(shared / "file", 0o2755), groups=groups) == DONE
    assert bool(os.stat(shared / "file").st_mode & 0o2000) == keeps


@pytest.mark.parametrize("change", [
    lambda path: path.write_bytes(b"new"),
    lambda path: os.truncate(path, 1),
    lambda path: append(path),
], ids=["rewrite", "truncate", "append"])
def test_writing_takes_suid_away_as_on_ext4(shared, change):
    path = shared / "file"
    path.write_bytes(b"content")
    os.chmod(path, 0o6777)
    change(path)  # root keeps it
    assert os.stat(path).st_mode & 0o6000 == 0o6000
    assert as_user(ALICE, lambda: change(path)) == DONE
    assert os.stat(path).st_mode & 0o6000 == 0


def append(path):
    with open(path, "ab") as file:
        file.write(b"more")
