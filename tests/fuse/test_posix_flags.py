"""Immutable and append-only files and directories refuse what ext4 refuses, and nothing else."""

import errno
import mmap
import os

import pytest

from harness.syscalls import (FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FS_APPEND, FS_IMMUTABLE,
                              FS_SECRM, fallocate, get_flags, get_fsxattr, opened, set_flags,
                              set_fsxattr)

FS_XFLAG_IMMUTABLE, FS_XFLAG_APPEND = 0x08, 0x10

NOTHING = 0
EPERM = errno.EPERM

# What is tried, and the errno for an immutable and for an append-only one.
OF_A_FILE = {
    "open for reading": (NOTHING, NOTHING, lambda p: touch(p, os.O_RDONLY)),
    "open for writing": (EPERM, EPERM, lambda p: touch(p, os.O_WRONLY)),
    "open for appending": (EPERM, NOTHING, lambda p: touch(p, os.O_WRONLY | os.O_APPEND)),
    "open and truncate": (EPERM, EPERM, lambda p: touch(p, os.O_WRONLY | os.O_TRUNC)),
    "append": (EPERM, NOTHING, lambda p: append(p)),
    "truncate": (EPERM, EPERM, lambda p: os.truncate(p, 3)),
    "extend": (EPERM, EPERM, lambda p: os.truncate(p, 300)),
    "chmod": (EPERM, EPERM, lambda p: os.chmod(p, 0o600)),
    "chown": (EPERM, EPERM, lambda p: os.chown(p, 1, 1)),
    "set times": (EPERM, EPERM, lambda p: os.utime(p, (5, 5))),
    "times of now": (EPERM, NOTHING, lambda p: os.utime(p)),
    "set an attribute": (EPERM, EPERM, lambda p: os.setxattr(p, "user.b", b"2")),
    "remove an attribute": (EPERM, EPERM, lambda p: os.removexattr(p, "user.a")),
    "read an attribute": (NOTHING, NOTHING, lambda p: os.getxattr(p, "user.a")),
    "link": (EPERM, EPERM, lambda p: os.link(p, f"{p}-2")),
    "rename": (EPERM, EPERM, lambda p: os.rename(p, f"{p}-2")),
    "be replaced": (EPERM, EPERM, lambda p: replace(p)),
    "unlink": (EPERM, EPERM, lambda p: os.unlink(p)),
}
OF_A_DIRECTORY = {
    "list": (NOTHING, NOTHING, lambda p: os.listdir(p)),
    "create": (EPERM, NOTHING, lambda p: touch(f"{p}/new", os.O_WRONLY | os.O_CREAT)),
    "mkdir": (EPERM, NOTHING, lambda p: os.mkdir(f"{p}/newdir")),
    "symlink": (EPERM, NOTHING, lambda p: os.symlink("x", f"{p}/newsym")),
    "link into": (EPERM, NOTHING, lambda p: os.link(f"{p}-file", f"{p}/newlink")),
    "rename into": (EPERM, NOTHING, lambda p: os.rename(f"{p}-file2", f"{p}/newname")),
    "write to a file in it": (NOTHING, NOTHING, lambda p: touch(f"{p}/in", os.O_RDWR | os.O_TRUNC)),
    "unlink": (EPERM, EPERM, lambda p: os.unlink(f"{p}/in")),
    "rename within": (EPERM, EPERM, lambda p: os.rename(f"{p}/in", f"{p}/in2")),
    "rename out of": (EPERM, EPERM, lambda p: os.rename(f"{p}/in", f"{p}-in")),
    "replace in it": (EPERM, EPERM, lambda p: os.rename(f"{p}-file", f"{p}/in")),
    "rmdir in it": (EPERM, EPERM, lambda p: os.rmdir(f"{p}/inner")),
    "chmod": (EPERM, EPERM, lambda p: os.chmod(p, 0o700)),
    "rename itself": (EPERM, EPERM, lambda p: os.rename(p, f"{p}-2")),
    "rmdir itself": (EPERM, EPERM, lambda p: os.rmdir(p)),
}


def touch(path, flags):
    with opened(path, flags):
        pass


def append(path):
    with opened(path, os.O_WRONLY | os.O_APPEND) as file:
        os.write(file, b"more")


def replace(path):
    other = f"{path}-other"
    touch(other, os.O_WRONLY | os.O_CREAT)
    os.rename(other, path)


def outcome(action, path):
    try:
        action(path)
    except OSError as refusal:
        return refusal.errno
    return NOTHING


@pytest.fixture
def top(shared_top):
    return shared_top


def make_file(path):
    path.write_bytes(b"content")
    os.setxattr(path, "user.a", b"1")
    return str(path)


def make_directory(path):
    path.mkdir()
    (path / "in").write_bytes(b"content")
    (path / "inner").mkdir()
    for name in ("file", "file2"):
        path.with_name(f"{path.name}-{name}").touch()
    return str(path)


@pytest.mark.parametrize("flag, column", [(FS_IMMUTABLE, 0), (FS_APPEND, 1)],
                         ids=["immutable", "append-only"])
@pytest.mark.parametrize("make, table", [(make_file, OF_A_FILE), (make_directory, OF_A_DIRECTORY)],
                         ids=["file", "directory"])
def test_refusals_are_those_of_ext4(top, make, table, flag, column):
    wrong = {}
    for number, (what, row) in enumerate(table.items()):
        path = make(top / str(number))
        set_flags(path, flag)
        if outcome(row[2], path) != row[column]:
            wrong[what] = outcome(row[2], path)
        if os.path.exists(path):
            set_flags(path, 0)
    assert not wrong


def test_flags_read_back_in_both_forms(top):
    path = top / "file"
    path.touch()
    for old_form, xfs_form in [(FS_IMMUTABLE, FS_XFLAG_IMMUTABLE), (FS_APPEND, FS_XFLAG_APPEND)]:
        set_flags(path, old_form)
        assert get_flags(path) == old_form and get_fsxattr(path)[0] == xfs_form
        set_flags(path, 0)
        set_fsxattr(path, xfs_form)
        assert get_flags(path) == old_form
        set_fsxattr(path, 0)
        assert get_flags(path) == 0


def test_the_form_of_xfs_keeps_what_it_cannot_say(top):
    path = top / "file"
    path.touch()
    set_flags(path, FS_SECRM)
    set_fsxattr(path, FS_XFLAG_APPEND)
    assert get_flags(path) == FS_SECRM | FS_APPEND


def test_flags_that_are_not_kept_are_refused(top):
    path = top / "file"
    path.touch()
    with pytest.raises(OSError) as refusal:
        set_flags(path, 0x08)  # synchronous updates
    assert refusal.value.errno == errno.EOPNOTSUPP
    with pytest.raises(OSError):
        set_fsxattr(path, 0, extsize=4096)


def test_only_root_sets_immutable(top):
    path = top / "file"
    path.touch()
    os.chown(path, 1000, 1000)
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(1000)
        os.setuid(1000)
        os._exit(outcome(lambda p: set_flags(p, FS_IMMUTABLE), path))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == EPERM
    assert get_flags(path) == 0


def test_a_handle_from_before_writes_no_more_to_an_immutable_file(top):
    path = top / "file"
    with opened(path, os.O_RDWR | os.O_CREAT) as file:
        os.write(file, b"kept")
        set_flags(path, FS_IMMUTABLE)
        for change in (lambda: os.write(file, b"lost"), lambda: os.ftruncate(file, 0),
                       lambda: fallocate(file, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 0, 2)):
            with pytest.raises(PermissionError):
                change()
        assert os.pread(file, 10, 0) == b"kept"
        set_flags(path, 0)
        os.write(file, b" again")
    assert path.read_bytes() == b"kept again"


def test_an_append_only_file_grows_by_appending_alone(top):
    path = top / "file"
    path.write_bytes(b"first")
    with opened(path, os.O_RDWR) as before:
        set_flags(path, FS_APPEND)
        with opened(path, os.O_RDWR | os.O_APPEND) as file:
            os.write(file, b" second")
            with pytest.raises(PermissionError):
                fallocate(file, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 0, 2)
            os.set_blocking(file, True)
            with pytest.raises(OSError):
                with mmap.mmap(file, 0) as pages:
                    pages[0:1] = b"X"
                    pages.flush()
        os.pwrite(before, b"F", 0)  # ext4 lets a handle from before go on, too
    assert path.read_bytes() == b"First second"
    set_flags(path, 0)


def test_the_other_mount_learns_of_flags(volume):
    with volume.mount() as one, volume.mount() as other:
        one.path("file").write_bytes(b"text")
        set_flags(one.path("file"), FS_IMMUTABLE)
        with pytest.raises(PermissionError):
            touch(other.path("file"), os.O_WRONLY)
        assert get_flags(other.path("file")) == FS_IMMUTABLE
        set_flags(other.path("file"), 0)
        one.path("file").unlink()


def test_chattr_s_deletes_without_the_trash(volume):
    with volume.mount() as mount:
        mount.path("dir").mkdir()
        set_flags(mount.path("dir"), FS_SECRM)
        mount.path("dir", "file").touch()
        assert get_flags(mount.path("dir", "file")) == FS_SECRM
        mount.path("dir", "file").unlink()
        assert not list(mount.path(".trash").glob("*/*"))
