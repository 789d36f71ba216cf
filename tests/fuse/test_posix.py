"""What the kernel lets through to us is refused with the codes that POSIX and Linux name."""

import errno
import os
import stat

import pytest

from harness.check import assert_consistent
from harness.syscalls import (FALLOC_COLLAPSE_RANGE, FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE,
                              RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT, fallocate,
                              renameat2)
from harness.volume import Volume


@pytest.fixture(params=["1", "0"], ids=["trash", "no trash"])
def top(request, programs, cluster, database, workdir):
    volume = Volume(cluster, database, "vol", workdir).format("--trash-days", request.param)
    with volume.mount() as mount:
        base = mount.path("base")
        populate(base)
        yield base
    assert_consistent(volume)


def populate(base):
    base.mkdir()
    (base / "file").write_bytes(b"content")
    (base / "dir").mkdir()
    (base / "full").mkdir()
    (base / "full" / "inner").mkdir()
    (base / "full" / "name").touch()
    (base / "sym").symlink_to("file")
    os.mkfifo(base / "fifo")


def allocate(path, *arguments):
    """fallocate of a file that is open only for this."""
    with open(path, "r+b") as file:
        fallocate(file.fileno(), *arguments)


REFUSALS = [
    ("mkdir of a name that exists", errno.EEXIST, lambda t: os.mkdir(t / "file")),
    ("mknod of a name that exists", errno.EEXIST, lambda t: os.mkfifo(t / "dir")),
    ("symlink over a name", errno.EEXIST, lambda t: os.symlink("x", t / "sym")),
    ("exclusive create of a name", errno.EEXIST,
     lambda t: os.open(t / "file", os.O_CREAT | os.O_EXCL)),
    ("link over a name", errno.EEXIST, lambda t: os.link(t / "file", t / "dir")),
    ("link of a directory", errno.EPERM, lambda t: os.link(t / "dir", t / "new")),
    ("a name that is not there", errno.ENOENT, lambda t: os.stat(t / "none")),
    ("unlink of nothing", errno.ENOENT, lambda t: os.unlink(t / "none")),
    ("rmdir of nothing", errno.ENOENT, lambda t: os.rmdir(t / "none")),
    ("rename of nothing", errno.ENOENT, lambda t: os.rename(t / "none", t / "new")),
    ("exchange with nothing", errno.ENOENT,
     lambda t: renameat2(t / "file", t / "none", RENAME_EXCHANGE)),
    ("create below a file", errno.ENOTDIR, lambda t: (t / "file" / "x").touch()),
    ("rmdir of a file", errno.ENOTDIR, lambda t: os.rmdir(t / "file")),
    ("rename of a directory over a file", errno.ENOTDIR,
     lambda t: os.rename(t / "dir", t / "file")),
    ("rename of a file over a directory", errno.EISDIR, lambda t: os.rename(t / "file", t / "dir")),
    ("unlink of a directory", errno.EISDIR, lambda t: os.unlink(t / "dir")),
    ("opening a directory for writing", errno.EISDIR, lambda t: os.open(t / "dir", os.O_RDWR)),
    ("rmdir of a full directory", errno.ENOTEMPTY, lambda t: os.rmdir(t / "full")),
    ("rename over a full directory", errno.ENOTEMPTY, lambda t: os.rename(t / "dir", t / "full")),
    ("rename into its own child", errno.EINVAL,
     lambda t: os.rename(t / "full", t / "full" / "inner" / "x")),
    ("exchange with its own child", errno.EINVAL,
     lambda t: renameat2(t / "full", t / "full" / "inner", RENAME_EXCHANGE)),
    ("rename noreplace over a name", errno.EEXIST,
     lambda t: renameat2(t / "file", t / "sym", RENAME_NOREPLACE)),
    ("rename with whiteout", errno.EINVAL,
     lambda t: renameat2(t / "file", t / "new", RENAME_WHITEOUT)),
    ("a name of 256 bytes", errno.ENAMETOOLONG, lambda t: (t / ("n" * 256)).touch()),
    ("readlink of a file", errno.EINVAL, lambda t: os.readlink(t / "file")),
    ("an attribute that is not there", errno.ENODATA, lambda t: os.getxattr(t / "file", "user.no")),
    ("removing an attribute that is not there", errno.ENODATA,
     lambda t: os.removexattr(t / "file", "user.no")),
    ("replacing an attribute that is not there", errno.ENODATA,
     lambda t: os.setxattr(t / "file", "user.no", b"1", os.XATTR_REPLACE)),
    ("collapsing a range", errno.EOPNOTSUPP,
     lambda t: allocate(t / "file", FALLOC_COLLAPSE_RANGE, 0, 4096)),
    ("punching without keep-size", errno.EOPNOTSUPP,
     lambda t: allocate(t / "file", FALLOC_PUNCH_HOLE, 0, 4096)),
    ("fallocate of no bytes", errno.EINVAL, lambda t: allocate(t / "file", 0, 0, 0)),
    ("fallocate of a negative offset", errno.EINVAL,
     lambda t: allocate(t / "file", FALLOC_KEEP_SIZE, -1, 4)),
    ("a size beyond the format", errno.EFBIG, lambda t: os.truncate(t / "file", (1 << 57) + 1)),
    ("a negative size", errno.EINVAL, lambda t: os.truncate(t / "file", -1)),
    ("truncating a directory", errno.EISDIR, lambda t: os.truncate(t / "dir", 0)),
]


@pytest.mark.parametrize("name, code, operation", REFUSALS, ids=[r[0] for r in REFUSALS])
def test_refused(shared_top, name, code, operation):
    before = snapshot(shared_top)
    with pytest.raises(OSError) as caught:
        operation(shared_top)
    assert caught.value.errno == code, os.strerror(caught.value.errno)
    assert snapshot(shared_top) == before


def snapshot(top):
    return sorted((str(path), os.lstat(path).st_nlink, os.lstat(path).st_size)
                  for path in [top, *top.rglob("*")])


@pytest.fixture(scope="module")
def shared_top(session_directory, cluster):
    """One mount for all refusals: none of them changes anything."""
    workdir = session_directory / "posix"
    workdir.mkdir()
    volume = Volume(cluster, cluster.create_database(), "vol", workdir).format()
    with volume.mount() as mount:
        base = mount.path("base")
        populate(base)
        yield base
    assert_consistent(volume)


def test_an_attribute_is_created_once(top):
    os.setxattr(top / "file", "user.k", b"1", os.XATTR_CREATE)
    with pytest.raises(FileExistsError):
        os.setxattr(top / "file", "user.k", b"2", os.XATTR_CREATE)
    os.setxattr(top / "file", "user.empty", b"")
    assert sorted(os.listxattr(top / "file")) == ["user.empty", "user.k"]
    assert os.getxattr(top / "file", "user.empty") == b""


def as_user(uid, operation, gid=None):
    """Run operation() in a child as another user; give the errno, 0 for success."""
    child = os.fork()
    if child == 0:
        code = 0
        try:
            os.setgroups([])
            os.setgid(uid if gid is None else gid)
            os.setuid(uid)
            operation()
        except OSError as problem:
            code = problem.errno
        except BaseException:
            code = 255
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_permissions_of_another_user(top):
    os.chmod(top, 0o755)
    os.chmod(top / "file", 0o600)
    assert as_user(1000, lambda: (top / "file").read_bytes()) == errno.EACCES
    assert as_user(1000, lambda: (top / "new").touch()) == errno.EACCES
    assert as_user(1000, lambda: os.unlink(top / "file")) == errno.EACCES
    assert as_user(1000, lambda: os.chmod(top / "file", 0o777)) == errno.EPERM
    assert as_user(1000, lambda: os.chown(top / "file", 1000, 1000)) == errno.EPERM
    os.chown(top / "file", 1000, 1000)
    assert as_user(1000, lambda: (top / "file").read_bytes()) == 0
    assert as_user(1000, lambda: os.chown(top / "file", 1001, -1)) == errno.EPERM
    assert as_user(1000, lambda: os.access(top / "file", os.W_OK) or os._exit(1)) == 0


def test_a_sticky_directory_protects_the_names_of_others(top):
    os.chmod(top, 0o1777)
    os.chown(top / "file", 1000, 1000)
    assert as_user(1001, lambda: os.unlink(top / "file")) == errno.EPERM
    assert as_user(1001, lambda: os.rename(top / "file", top / "mine")) == errno.EPERM
    assert as_user(1000, lambda: os.unlink(top / "file")) == 0


def test_suid_and_sgid_go_away_when_they_must(top):
    os.chmod(top, 0o777)
    os.chown(top / "file", 1000, 1000)
    os.chmod(top / "file", 0o6755)
    assert as_user(1000, lambda: (top / "file").write_bytes(b"changed")) == 0
    assert stat.S_IMODE(os.stat(top / "file").st_mode) == 0o755
    os.chmod(top / "file", 0o6755)
    assert as_user(1000, lambda: os.chown(top / "file", -1, 1000)) == 0
    assert stat.S_IMODE(os.stat(top / "file").st_mode) == 0o755


def test_a_setgid_directory_hands_down_its_group(top):
    os.chown(top / "dir", 0, 1234)
    os.chmod(top / "dir", 0o2777)
    (top / "dir" / "f").touch()
    (top / "dir" / "d").mkdir()
    assert os.stat(top / "dir" / "f").st_gid == 1234
    made = os.stat(top / "dir" / "d")
    assert made.st_gid == 1234 and made.st_mode & stat.S_ISGID


def test_times_change_when_they_should(top):
    path = top / "file"
    os.utime(path, ns=(5, 7))
    made = os.stat(path)
    assert (made.st_atime_ns, made.st_mtime_ns) == (5, 7)
    path.write_bytes(b"longer content")
    later = os.stat(path)
    assert later.st_mtime_ns > 7 and later.st_ctime_ns > made.st_ctime_ns
    os.chmod(path, 0o600)
    last = os.stat(path)
    assert last.st_mtime_ns == later.st_mtime_ns and last.st_ctime_ns > later.st_ctime_ns


def test_every_byte_may_stand_in_a_name(top):
    names = [bytes([byte]) + b"x" for byte in range(1, 256) if byte != 0x2f]
    names += [b"'); DROP TABLE jfs_node;--", b"%s%n$1\\", b"n" * 255, "ü".encode() * 127]
    place = os.fsencode(top / "dir")
    for name in names:
        os.close(os.open(place + b"/" + name, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    assert sorted(os.listdir(place)) == sorted(names)
    for name in names:
        os.unlink(place + b"/" + name)
    assert os.listdir(place) == []


def test_a_directory_can_be_emptied_while_it_is_read(top):
    for number in range(3000):
        os.mknod(top / "dir" / f"{number:05}")
    seen = 0
    with os.scandir(top / "dir") as entries:
        for entry in entries:
            os.unlink(entry.path)
            seen += 1
    assert seen == 3000
    os.rmdir(top / "dir")


def test_link_counts_follow(top):
    assert os.stat(top).st_nlink == 4
    os.rename(top / "full" / "inner", top / "dir" / "inner")
    assert os.stat(top / "full").st_nlink == 2 and os.stat(top / "dir").st_nlink == 3
    os.link(top / "file", top / "second")
    assert os.stat(top / "file").st_nlink == 2
    os.unlink(top / "file")
    os.rename(top / "second", top / "dir" / "second")
    assert (top / "dir" / "second").read_bytes() == b"content"


def test_a_linked_file_may_lose_the_same_name_again_and_again(top):
    """Within the hour, too, in which the trash has that name of it already."""
    for act in (os.unlink, lambda name: os.rename(top / "other", name)):
        for _ in range(2):
            os.link(top / "file", top / "second")
            (top / "other").touch()
            act(top / "second")
            (top / "second").unlink(missing_ok=True)
    assert (top / "file").read_bytes() == b"content"
