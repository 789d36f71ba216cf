"""What our client notes in the change log of a volume is what a stock client notes for the same."""

import os
import re
import time

import pytest

from harness.syscalls import RENAME_EXCHANGE, RENAME_NOREPLACE, renameat2
from harness.volume import TRASH_INODE, tarn
from stock_client import StockVolume

# What belongs to a client and not to what is done with it.
OWN = re.compile(r"INCR_COUNTER|NEWSESSION|CLEANSESSION|SET\(|DIRSTAT|ACCESS|DELCHUNK|DELETESLICE"
                 r"|CLEANUP|COMPACTCHUNK")
ENTRY = re.compile(r"(\d+)\.(\d{9})\|(.*)\|\((\d+),(\d+)\)", re.DOTALL)


@pytest.fixture(params=["0", "1"], ids=["no trash", "trash"])
def make_volume(request, programs, stock_program, cluster, workdir):
    made = []

    def make(name):
        database = cluster.create_database()
        made.append(database)
        (workdir / name).mkdir()
        volume = StockVolume(stock_program, cluster, database, "vol", workdir / name)
        volume.stock_format("--trash-days", request.param, "--enable-acl")
        volume.stock("config", volume.url, "--changelog", "--yes")
        tarn("primary", "adopt", volume.url)
        return volume
    yield make
    for database in made:
        cluster.drop_database(database)


def write(path, data):
    with open(path, "r+b" if path.exists() else "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def steps(top):
    """One change each, or what is needed for the next. Between two of them more than the 100 ms pass
    within which the times of a directory are left alone, so that both clients touch it."""
    name = top / "file"
    strange = top / 'a,b (1) "x" 100% \\ größe'
    opened = {}

    def keep_open():
        opened["file"] = open(top / "kept", "r+b")

    yield lambda: (top / "dir").mkdir(0o750)
    yield lambda: os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o640))
    yield lambda: write(name, b"x" * 5000)
    yield lambda: write(name, b"y" * 100)
    yield lambda: os.chmod(name, 0o4755)
    yield lambda: os.chown(name, 1000, 100)
    yield lambda: os.utime(name, (1_600_000_000, 1_500_000_000))
    yield lambda: os.utime(name)
    yield lambda: os.truncate(name, 70_000_000)
    yield lambda: os.truncate(name, 10)
    yield lambda: os.setxattr(name, "user.k,1", b"v\x00(\xff")
    yield lambda: os.setxattr(name, "user.k,1", b"w", os.XATTR_REPLACE)
    yield lambda: os.removexattr(name, "user.k,1")
    yield lambda: write(strange, b"z")
    yield lambda: os.symlink("tar,get", top / "link")
    yield lambda: os.mkfifo(top / "fifo", 0o600)
    yield lambda: os.mknod(top / "null", 0o20666, os.makedev(1, 3))
    yield lambda: os.link(name, top / "second")
    yield lambda: os.rename(name, top / "dir" / "moved")
    yield lambda: os.rename(strange, top / "second")
    yield lambda: renameat2(top / "second", top / "link", RENAME_EXCHANGE)
    yield lambda: renameat2(top / "second", top / "free", RENAME_NOREPLACE)
    yield lambda: os.setxattr(top / "dir", "system.posix_acl_default", ACL)
    yield lambda: os.setxattr(top / "dir" / "moved", "system.posix_acl_access", ACL)
    yield lambda: os.chmod(top / "dir" / "moved", 0o600)
    yield lambda: os.close(os.open(top / "dir" / "heir", os.O_CREAT | os.O_WRONLY, 0o666))
    yield lambda: os.removexattr(top / "dir" / "moved", "system.posix_acl_access")
    yield lambda: write(top / "kept", b"open")
    yield keep_open
    yield lambda: os.unlink(top / "kept")
    yield lambda: opened["file"].close()
    yield lambda: os.unlink(top / "dir" / "moved")
    yield lambda: os.unlink(top / "dir" / "heir")
    yield lambda: os.rename(top / "dir", top / "again")
    yield lambda: os.rmdir(top / "again")
    yield lambda: os.unlink(top / "fifo")


# Version 2: user::rwx, user:1001:rw-, group::r-x, mask::rwx, other::r--
ACL = bytes.fromhex("02000000" "01000700ffffffff" "02000600e9030000" "04000500ffffffff"
                    "10000700ffffffff" "20000400ffffffff")


def entries(volume):
    found = [text for (text,) in volume.query("SELECT entry FROM jfs_change_log ORDER BY id")]
    parsed = []
    for text in found:
        match = ENTRY.fullmatch(text)
        assert match, text
        assert abs(int(match[1]) - time.time()) < 600, text
        if not OWN.match(match[3]):
            parsed.append(match[3])
    return parsed


def normal(text, names):
    """Without times and slices, with inodes as the order in which they appeared, and without what a
    stock client says of a trash that is not used: the hour, in every MOVE."""
    verb, rest = text.split("(", 1)
    inside, _, result = rest.rpartition(")")
    arguments = inside.split(",")

    def number(value):
        value = int(value)
        if value > TRASH_INODE:
            return "hour"
        return value if value < 2 else names.setdefault(value, f"#{len(names)}")
    if verb == "WRITE":
        arguments = [number(arguments[0]), *arguments[1:3], "slice", arguments[4]]
    elif verb == "SETATTR":
        arguments = [number(arguments[0]), *arguments[1:7], arguments[13]]
    elif verb == "CREATE" and int(arguments[0]) == TRASH_INODE:
        arguments = ["trash", *arguments[2:]]
        result = ":hour"
    elif verb == "MOVE":
        trash = number(arguments[6]) if int(arguments[5]) and arguments[4] != "2" else 0
        arguments = [number(arguments[0]), arguments[1], number(arguments[2]), arguments[3],
                     arguments[4], number(arguments[5]), trash]
        result = ":" + str(number(result[1:]))
    elif verb in ("CREATE", "UNLINK", "RMDIR"):
        arguments = [number(arguments[0]), *arguments[1:]]
        if verb != "CREATE":
            arguments[2] = number(arguments[2])
        result = ":" + str(number(result[1:]))
    elif verb == "LINK":
        arguments = [number(arguments[0]), number(arguments[1]), *arguments[2:]]
    elif verb == "DELSUSTAINED":
        arguments = [number(arguments[1])]
    else:
        arguments = [number(arguments[0]), *arguments[1:]]
    return f"{verb}({','.join(map(str, arguments))}){result}"


def played(volume, mount):
    """The entries of all steps, in a form that does not depend on who made them."""
    names, before = {}, len(entries(volume))
    for step in steps(mount.directory):
        time.sleep(0.15)
        step()
    return [normal(text, names) for text in entries(volume)[before:]]


def without_hours(told):
    """A stock client makes the hour of the trash before it knows whether it will be used."""
    return [text for text in told if not text.startswith("CREATE(trash")]


def test_entries_are_those_of_a_stock_client(make_volume):
    theirs, ours = make_volume("theirs"), make_volume("ours")
    with theirs.stock_mount() as mount:
        wanted = played(theirs, mount)
    with ours.mount() as mount:
        given = played(ours, mount)
    assert len(wanted) > 35, wanted
    assert without_hours(given) == without_hours(wanted)
    # Two, when the hour ends just now.
    hours = set(given).difference(without_hours(given))
    assert hours == set(wanted).difference(without_hours(wanted)), (given, wanted)
