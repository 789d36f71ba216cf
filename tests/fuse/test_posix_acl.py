"""POSIX ACLs do on a mount what they do on a local file system, seen through getfacl and setfacl."""

import errno
import os
import shutil
import subprocess

import pytest

from harness.process import run
from harness.syscalls import FS_APPEND, FS_IMMUTABLE, set_flags
from harness.users import outcome_as
from harness.volume import Volume

ALICE, BOB, CAROL = 1001, 1002, 1003
STAFF, GUESTS = 2000, 2001
SHARED_FORMAT = ["--enable-acl"]
EACCES, EPERM = errno.EACCES, errno.EPERM

pytestmark = pytest.mark.skipif(not shutil.which("setfacl"), reason="the acl tools are not installed")


def setfacl(*arguments):
    run(["setfacl", *arguments])


def getfacl(path):
    """The lines of the list, without comments."""
    text = run(["getfacl", "-pnc", path]).stdout
    return [line.split("\t")[0] for line in text.splitlines() if line and not line.startswith("#")]


@pytest.fixture
def volume(programs, cluster, database, workdir):
    return Volume(cluster, database, "vol", workdir).format("--enable-acl")


@pytest.fixture
def top(shared_top):
    return shared_top


@pytest.fixture
def local(tmp_path_factory):
    """A directory of a local file system that knows ACLs; it says what is right."""
    path = tmp_path_factory.mktemp("local")
    for directory in (path, path.parent, path.parent.parent):
        directory.chmod(0o777)
    (path / "probe").touch()
    probe = subprocess.run(["setfacl", "-m", "u:1:r", path / "probe"], capture_output=True,
                           check=False)
    if probe.returncode != 0:
        pytest.skip("the local file system has no ACLs to compare with")
    return path


def describe(path):
    """Mode and lists of everything below a directory."""
    found = {}
    for directory, names, files in os.walk(path):
        for name in names + files:
            entry = os.path.join(directory, name)
            kind = os.lstat(entry)
            found[os.path.relpath(entry, path)] = (oct(kind.st_mode), getfacl(entry))
    return found


# ---- the same on both

def both(top, local, action):
    """Do it here and there; everything must look alike."""
    for place in (top, local):
        action(place)
    (local / "probe").unlink(missing_ok=True)
    assert describe(top) == describe(local)


def test_lists_are_stored_and_shown(top, local):
    def action(place):
        for name in ("file", "plain", "removed"):
            (place / name).touch()
            os.chmod(place / name, 0o640)
        (place / "dir").mkdir(0o750)
        setfacl("-m", f"u:{ALICE}:rw,u:{BOB}:r,g:{STAFF}:rwx,o::x", place / "file")
        setfacl("-m", "u::rwx,g::rx,o::-", place / "plain")  # no more than a mode
        setfacl("-m", f"u:{ALICE}:rw", place / "removed")
        setfacl("-b", place / "removed")
        setfacl("-m", f"u:{ALICE}:rwx,d:u:{ALICE}:rwx,d:g:{STAFF}:r", place / "dir")
    both(top, local, action)
    assert "system.posix_acl_access" in os.listxattr(top / "file")
    assert "system.posix_acl_access" not in os.listxattr(top / "plain")


def test_chmod_changes_the_mask_and_the_mask_the_mode(top, local):
    def action(place):
        for number, mode in enumerate((0o000, 0o777, 0o640, 0o604, 0o460, 0o070, 0o4755)):
            path = place / f"file{number}"
            path.touch()
            os.chmod(path, 0o644)
            setfacl("-m", f"u:{ALICE}:rwx,g:{STAFF}:rw", path)
            os.chmod(path, mode)
            path = place / f"masked{number}"
            path.touch()
            setfacl("-m", f"u:{ALICE}:rwx,m::{mode >> 3 & 7:o}", path)
            path = place / f"mask-only{number}"
            path.touch()
            os.chmod(path, 0o750)
            setfacl("-n", "-m", "m::r", path)
            os.chmod(path, mode)
    both(top, local, action)


def test_what_is_made_in_a_directory_inherits_its_default_list(top, local):
    def action(place):
        os.umask(0o022)
        for number, spec in enumerate((f"d:u:{ALICE}:rwx", f"d:u:{ALICE}:rwx,d:m::r",
                                       "d:u::rwx,d:g::rx,d:o::-", "d:u::r,d:g::-,d:o::w",
                                       f"d:g:{STAFF}:rwx,d:o::rwx")):
            base = place / f"dir{number}"
            base.mkdir()
            setfacl("-m", spec, base)
            for mode in (0o777, 0o666, 0o640, 0o000):
                os.close(os.open(base / f"file{mode:o}", os.O_CREAT | os.O_WRONLY, mode))
                os.mkdir(base / f"dir{mode:o}", mode)
                os.mkfifo(base / f"fifo{mode:o}", mode)
            os.makedirs(base / "a" / "b")
            (base / "a" / "b" / "deep").touch()
    both(top, local, action)


def test_malformed_lists_are_refused(top):
    (top / "file").touch()
    for value, expected in ((b"\2\0\0\0\1\0", errno.EINVAL), (b"\2\0\0\0" + bytes(8), errno.EINVAL),
                            (b"\3\0\0\0" + bytes(8), errno.EOPNOTSUPP)):
        with pytest.raises(OSError) as refusal:
            os.setxattr(top / "file", "system.posix_acl_access", value)
        assert refusal.value.errno == expected
    with pytest.raises(OSError) as refusal:  # only directories hand something down
        setfacl_default = b"\2\0\0\0" + b"".join(
            tag + b"\0\7\0\xff\xff\xff\xff" for tag in (b"\1", b"\4", b"\x20"))
        os.setxattr(top / "file", "system.posix_acl_default", setfacl_default)
    assert refusal.value.errno == EACCES
    with pytest.raises(OSError) as refusal:
        os.getxattr(top / "file", "system.posix_acl_access")
    assert refusal.value.errno == errno.ENODATA


# ---- who may what

CALLERS = {"owner": (ALICE, 3000, []), "named": (BOB, 3000, []), "group": (CAROL, STAFF, []),
           "by another group": (CAROL, 3000, [STAFF]), "named group": (CAROL, GUESTS, []),
           "both groups": (CAROL, STAFF, [GUESTS]), "stranger": (CAROL, 3000, []),
           "named in a group": (BOB, GUESTS, [])}


def permissions(path):
    """For each caller what access(2) and open(2) let through."""
    found = {}
    for who, (uid, gid, groups) in CALLERS.items():
        tried = []
        for flags in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
            tried.append(outcome_as(uid, gid, groups, lambda f=flags: os.close(os.open(path, f))))
        tried.append(outcome_as(uid, gid, groups, lambda: run_it(path)))
        found[who] = tried
    return found


def run_it(path):
    if not os.access(path, os.X_OK):
        raise PermissionError(EACCES, "not to be run")


def test_the_kernel_goes_by_the_lists_as_on_a_local_file_system(top, local):
    specs = ["u::rw,g::r,o::-", f"u::-,u:{BOB}:rw,g::r,o::r,m::rw", f"u::rwx,u:{BOB}:rwx,g::-,o::r,m::r",
             f"u::r,g::rw,g:{GUESTS}:x,o::rwx,m::rwx", f"u::r,u:{BOB}:-,g::r,g:{GUESTS}:w,o::r,m::rw",
             f"u::r,g:{GUESTS}:rwx,g::rwx,m::-,o::-"]
    for number, spec in enumerate(specs):
        for place in (top, local):
            path = place / f"file{number}"
            path.touch()
            os.chown(path, ALICE, STAFF)
            setfacl("--set", spec, path)
        assert permissions(top / f"file{number}") == permissions(local / f"file{number}"), spec


def test_only_the_owner_sets_a_list(top):
    (top / "file").touch()
    os.chown(top / "file", ALICE, ALICE)
    spec = ["setfacl", "-m", f"u:{BOB}:r", str(top / "file")]

    def change():
        if subprocess.run(spec, capture_output=True, check=False).returncode != 0:
            raise PermissionError(EPERM, "refused")
    assert outcome_as(BOB, BOB, [], change) == EPERM
    assert outcome_as(ALICE, ALICE, [], change) == 0
    assert f"user:{BOB}:r--" in getfacl(top / "file")


@pytest.mark.parametrize("groups, keeps", [([], False), ([STAFF], True)], ids=["stranger", "member"])
def test_a_list_by_a_stranger_to_the_group_takes_setgid_away(top, groups, keeps):
    (top / "file").touch()
    os.chown(top / "file", ALICE, STAFF)
    os.chmod(top / "file", 0o2755)
    value = os.fsencode(f"u:{BOB}:r")

    def change():
        subprocess.run(["setfacl", "-m", value, str(top / "file")], check=True)
    assert outcome_as(ALICE, ALICE, groups, change) == 0
    assert bool(os.stat(top / "file").st_mode & 0o2000) == keeps


def test_a_change_by_one_mount_binds_the_other(volume):
    with volume.mount() as one, volume.mount("--attr-cache", "0") as other:
        os.chmod(one.directory, 0o777)
        path, there = one.path("file"), other.path("file")
        path.write_text("text")
        os.chmod(path, 0o600)
        assert outcome_as(BOB, BOB, [], lambda: there.read_text()) == EACCES
        setfacl("-m", f"u:{BOB}:r", path)
        assert outcome_as(BOB, BOB, [], lambda: there.read_text()) == 0
        setfacl("-b", path)
        assert outcome_as(BOB, BOB, [], lambda: there.read_text()) == EACCES


def test_rules_are_shared_and_asked_for_once(volume, proxy):
    with volume.mount(url=volume.url_by(proxy)) as mount:
        mount.path("dir").mkdir()
        for number in range(20):
            mount.path("dir", f"file{number}").touch()
            setfacl("-m", f"u:{BOB}:r", mount.path("dir", f"file{number}"))
        assert volume.value("SELECT count(*) FROM jfs_acl") == 1
        proxy.forget()
        for number in range(20):
            getfacl(mount.path("dir", f"file{number}"))
        assert len(proxy.exchanges("acl_rule")) <= 1
        # Where there is no list the attributes said so.
        os.chmod(mount.path("dir"), 0o700)
        proxy.forget()
        assert len(getfacl(mount.path("dir"))) == 3
        assert proxy.exchanges("facl") == [] and proxy.exchanges("acl_rule") == []


def test_squashed_callers_are_judged_by_the_lists_too(volume):
    with volume.mount() as mount, volume.mount("--all-squash", f"{BOB}:{GUESTS}") as squashed:
        os.chmod(mount.directory, 0o777)
        for name, spec, expected in (("a", f"u::-,u:{BOB}:r,g::-,o::-,m::r", 0),
                                     ("b", f"u::-,g:{GUESTS}:r,g::-,o::-,m::r", 0),
                                     ("c", f"u::-,g:{GUESTS}:-,g::-,o::r,m::r", EACCES)):
            mount.path(name).touch()
            setfacl("--set", spec, mount.path(name))
            there = squashed.path(name)
            assert outcome_as(4711, 4711, [], lambda: there.read_text()) == expected, spec


def test_without_the_setting_lists_are_not_supported(cluster, database, workdir, programs):
    plain = Volume(cluster, database, "vol", workdir).format()
    with plain.mount() as mount:
        mount.path("file").touch()
        done = run(["setfacl", "-m", f"u:{BOB}:r", mount.path("file")], check=False)
        assert done.returncode != 0 and "not supported" in done.stderr
        assert len(getfacl(mount.path("file"))) == 3


@pytest.mark.parametrize("flag", [FS_IMMUTABLE, FS_APPEND], ids=["immutable", "append-only"])
def test_a_file_that_may_not_change_keeps_its_list(top, flag):
    (top / "file").touch()
    setfacl("-m", f"u:{BOB}:r", top / "file")
    set_flags(top / "file", flag)
    for change in (["-m", f"u:{BOB}:rw"], ["-b"]):
        done = run(["setfacl", *change, top / "file"], check=False)
        assert done.returncode != 0 and "not permitted" in done.stderr
    set_flags(top / "file", 0)
    assert f"user:{BOB}:r--" in getfacl(top / "file")


def test_copies_and_archives_keep_lists(top, tmp_path):
    source = top / "source"
    source.mkdir()
    setfacl("-m", f"d:u:{ALICE}:rwx,u:{BOB}:rx", source)
    for name in ("one", "two"):
        (source / name).write_text(name)
        setfacl("-m", f"u:{BOB}:rw", source / name)
    run(["cp", "-a", source, top / "copy"])
    assert describe(top / "copy") == describe(source)
    assert getfacl(top / "copy") == getfacl(source)
