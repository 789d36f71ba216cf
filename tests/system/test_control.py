"""The internal files of a mount, and the tools that talk to it through them."""

import errno
import json
import os
import stat
import struct
import subprocess
import threading
import time

import pytest

from harness.check import assert_consistent
from harness.control import CLONE, FILL, INFO, RMR, Talk
from harness.sanitizers import IS_SANITIZED
from harness.tree import PORTABLE, assert_same, populate, read_tree
from harness.volume import BIN, TRASH_INODE, Volume, tarn, tarn_json
from harness.wait import wait_for

FIRST = 0x7FFFFFFF00000000
NOBODY = 65534


def refused(code, call, *arguments, **more):
    with pytest.raises(OSError) as caught:
        call(*arguments, **more)
    assert caught.value.errno == code, caught.value


def as_nobody(*arguments):
    """Run a command of ours as somebody without privileges; what it printed, and how it ended."""
    return subprocess.run([BIN / "tarn", *map(str, arguments)], user=NOBODY, group=NOBODY,
                          extra_groups=[], capture_output=True, text=True, timeout=60, check=False)


def test_internal_files_are_where_tools_look_for_them(volume):
    with volume.mount(shows_internal=True) as mount:
        top = mount.directory
        os.mkdir(top / "d")
        assert {".accesslog", ".stats", ".config", ".trash", "d"} == set(os.listdir(top))
        assert os.listdir(top / "d") == []
        for name, number, mode in ((".accesslog", 1, 0o400), (".control", 2, 0o666),
                                   (".stats", 3, 0o444), (".config", 4, 0o400)):
            st = os.stat(top / name)
            assert (st.st_ino, stat.S_IMODE(st.st_mode)) == (FIRST + number, mode)
            refused(errno.EPERM, os.unlink, top / name)
            refused(errno.EPERM, os.rename, top / name, top / "other")
            refused(errno.EPERM, os.chmod, top / name, 0o777)
            refused(errno.EPERM, os.link, top / name, top / "other")
        assert os.stat(top / ".trash").st_ino == TRASH_INODE
        assert os.stat(top / "d" / ".control").st_ino == FIRST + 2
        assert not (top / "d" / ".stats").exists()
        refused(errno.EACCES, os.open, top / ".stats", os.O_RDWR)
        refused(errno.EEXIST, os.mkdir, top / ".config")
        values = dict(line.split(" ") for line in (top / ".stats").read_text().splitlines())
        assert float(values["juicefs_memory"]) > 1e6
        assert "tarn_meta_exchanges_total" in values
        config = json.loads((top / ".config").read_text())
        assert config["Meta"]["Sid"] > 0 and config["Format"]["Name"] == volume.name
        assert as_nobody("info", top).returncode == 0
        assert subprocess.run(["cat", top / ".config"], user=NOBODY, capture_output=True,
                              check=False).returncode != 0


def test_internal_files_can_have_a_prefix_and_be_hidden(volume):
    with volume.mount("--prefix-internal", shows_internal=True) as mount:
        assert ".jfs.stats" in os.listdir(mount.directory)
    with volume.mount("--prefix-internal", "--hide-internal") as mount:
        (mount.directory / "f").write_text("x")
        assert os.listdir(mount.directory) == ["f"]
        assert (mount.directory / ".jfs.config").exists()
        assert not (mount.directory / ".config").exists()
        assert os.stat(mount.directory / ".jfs.trash").st_ino == TRASH_INODE
        assert tarn_json("info", mount.directory / "f")["Summary"]["Files"] == 1


def test_secrets_are_not_in_the_config(volume):
    url = volume.url.replace("@", ":hunter2@", 1)
    volume.query("UPDATE jfs_setting SET value = (value::jsonb || '{\"SecretKey\": \"topsecret\","
                 " \"KeyEncrypted\": false}')::text RETURNING 1")
    with volume.mount(url=url) as mount:
        text = (mount.directory / ".config").read_text()
    assert json.loads(text)["Format"]["SecretKey"] == "removed"
    assert "hunter2" not in text and "topsecret" not in text


def test_requests_come_in_pieces_and_garbage_is_refused(volume):
    with volume.mount() as mount:
        (mount.directory / "f").write_bytes(b"x" * 5000)
        with Talk(mount.directory) as talk:
            for byte in struct.pack(">IIQBBB", INFO, 11, 1, 1, 0, 1):
                os.write(talk.fd, bytes([byte]))
            assert talk.answer()["Summary"] == {"Length": 5000, "Size": 12288, "Files": 1, "Dirs": 1}
            # The same handle again: the answer lies behind the second request.
            talk.send(INFO, struct.pack(">QBBB", 1, 0, 0, 0))
            assert talk.answer()["Paths"] == ["/"]
            talk.send(4711, b"")
            assert talk.answer() == errno.EINVAL
            talk.send(RMR, struct.pack(">QB", 1, 200) + b"short")
            assert talk.answer() == errno.EINVAL
            os.write(talk.fd, struct.pack(">II", INFO, 4) + b"12345678")
            assert talk.answer() == errno.EIO
            refused(errno.EFBIG, os.write, talk.fd, struct.pack(">II", INFO, 0xFFFFFFFF))
            talk.send(INFO, struct.pack(">QBBB", 1, 0, 0, 0))
            assert talk.answer()["Failed"] is False
            talk.send(INFO, struct.pack(">QBBB", 424242, 0, 0, 0))
            assert talk.answer()["Failed"] is True
        before = resident(mount)
        pieces = [Talk(mount.directory) for _ in range(8)]
        with pytest.raises(OSError):
            for talk in pieces:
                os.write(talk.fd, struct.pack(">II", FILL, 40 << 20))
                for _ in range(39):
                    os.write(talk.fd, b"x" * (1 << 20))
        for talk in pieces:
            os.close(talk.fd)
        assert IS_SANITIZED or resident(mount) - before < 200 << 20


def resident(mount):
    with open(f"/proc/{mount.process.child.pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096


def make_tree(top, width=3, files=20):
    for number in range(width):
        os.makedirs(top / f"d{number}" / "deep" / "er")
        for name in range(files):
            (top / f"d{number}" / f"f{name}").write_bytes(b"x" * name * 100)
            (top / f"d{number}" / "deep" / "er" / f"f{name}").write_bytes(b"y")
    os.symlink("nowhere", top / "link")
    os.link(top / "d0" / "f1", top / "d1" / "hard")


@pytest.mark.parametrize("trash_days", [0, 1])
def test_rmr_removes_a_tree_and_keeps_the_books(programs, cluster, database, workdir, trash_days):
    volume = Volume(cluster, database, "vol", workdir).format("--trash-days", str(trash_days))
    with volume.mount() as mount:
        os.mkdir(mount.directory / "tree")
        make_tree(mount.directory / "tree", width=2, files=260)
        (mount.directory / "file").write_text("x")
        held = open(mount.directory / "tree" / "d0" / "f7", "rb")
        said = tarn_json("rmr", mount.directory / "tree", mount.directory / "file")
        assert said["removed"] == 4 * 260 + 6 + 2 + 1 + 1, said
        assert os.listdir(mount.directory) == []
        assert held.read() == b"x" * 700
        held.close()
    assert_consistent(volume)
    trashed = volume.value("SELECT count(*) FROM jfs_edge WHERE parent > %s", [TRASH_INODE])
    assert (trashed == 0) == (trash_days == 0)
    if trash_days:
        with volume.mount() as mount:
            tarn("rmr", "--skip-trash", *[mount.directory / ".trash" / hour
                                         for hour in os.listdir(mount.directory / ".trash")])
        assert volume.value("SELECT count(*) FROM jfs_edge WHERE parent > %s", [TRASH_INODE]) == 0
        assert_consistent(volume)


def test_rmr_and_clone_ask_for_permission(volume):
    with volume.mount() as mount:
        top = mount.directory
        os.chmod(top, 0o755)
        os.makedirs(top / "theirs" / "inner")
        (top / "theirs" / "inner" / "f").write_text("x")
        assert "Permission denied" in as_nobody("rmr", top / "theirs").stderr
        os.chmod(top, 0o777)
        assert "Permission denied" in as_nobody("rmr", top / "theirs").stderr
        assert (top / "theirs" / "inner" / "f").exists()
        assert as_nobody("rmr", "--skip-trash", top / "theirs").returncode == 1
        os.chmod(top, 0o1777)
        (top / "file").write_text("x")
        assert "Permission denied" in as_nobody("rmr", top / "file").stderr

        os.chmod(top / "theirs" / "inner" / "f", 0o600)
        done = as_nobody("clone", top / "theirs", top / "mine")
        assert done.returncode == 1 and "Permission denied" in done.stderr
        assert not (top / "mine").exists()
        os.chmod(top / "theirs" / "inner" / "f", 0o644)
        assert as_nobody("clone", top / "theirs", top / "mine").returncode == 0
        assert os.stat(top / "mine" / "inner" / "f").st_uid == NOBODY
        os.mkdir(top / "closed", 0o755)
        assert "Permission denied" in as_nobody("clone", top / "file", top / "closed" / "copy").stderr
        assert as_nobody("rmr", top / "mine").returncode == 0
    assert_consistent(volume)
    assert volume.value("SELECT count(*) FROM jfs_detached_node") == 0


def test_clone_copies_everything_but_the_data(volume):
    with volume.mount() as mount:
        top = mount.directory
        os.mkdir(top / "tree")
        populate(top / "tree")
        make_tree(top / "tree", files=90)
        with open(top / "tree" / "written", "w+b") as file:
            for at in range(0, 3 << 20, 1 << 20):
                file.seek(at)
                file.write(os.urandom(1000))
            file.flush()
            said = tarn_json("clone", "-p", top / "tree", top / "copy")  # not synced yet
        # Every slice has a second owner now, but that of the file in the trash.
        assert volume.query("SELECT size FROM jfs_chunk_ref WHERE refs < 2") == [(1,)]
        before = read_tree(top / "tree")
        assert_same(before, read_tree(top / "copy"), PORTABLE)
        assert said["cloned"] == len(before)
        assert os.stat(top / "copy").st_nlink == os.stat(top / "tree").st_nlink

        tarn("clone", top / "tree" / "written", top / "one")
        assert (top / "one").read_bytes() == (top / "tree" / "written").read_bytes()
        for wrong, why in (((top / "tree", top / "one"), "exists"),
                           ((top / "tree", top / "tree" / "in"), "itself"),
                           ((top / "nothing", top / "two"), "nothing"),
                           ((top / "one", volume.workdir / "out"), "no mount")):
            done = subprocess.run([BIN / "tarn", "clone", *wrong], capture_output=True, text=True,
                                  check=False)
            assert done.returncode == 1 and why in done.stderr, done.stderr
        with Talk(top) as talk:
            tree = os.stat(top / "tree").st_ino
            talk.send(CLONE, struct.pack(">QQQB2sHBB", tree, 1, tree, 2, b"in", 0, 0, 4))
            assert talk.answer() == errno.EINVAL

        os.truncate(top / "copy" / "written", 5)
        tarn("rmr", "--skip-trash", top / "tree")
        assert (top / "one").stat().st_size > 2 << 20
        (top / "one").read_bytes()
    assert_consistent(volume)
    with volume.mount() as mount:
        (mount.directory / "one").read_bytes()


def test_half_a_clone_is_cleaned_up(volume):
    with volume.mount() as mount:
        top = mount.directory
        os.mkdir(top / "tree")
        make_tree(top / "tree")
        os.chmod(top / "tree" / "d2" / "f5", 0o600)
        os.chmod(top, 0o777)
        assert as_nobody("clone", top / "tree", top / "copy").returncode == 1
        assert volume.value("SELECT count(*) FROM jfs_detached_node") == 0
    assert_consistent(volume)


def test_info_and_summary_add_up(volume):
    with volume.mount() as mount:
        top = mount.directory
        os.mkdir(top / "tree")
        make_tree(top / "tree")
        sizes = [os.lstat(os.path.join(where, name)) for where, _, names in os.walk(top / "tree")
                 for name in names]
        dirs = sum(1 for _ in os.walk(top / "tree"))
        length = sum(st.st_size for st in sizes if stat.S_ISREG(st.st_mode))
        for flags in ([], ["--strict"]):
            said = tarn_json("info", "-r", *flags, top / "tree")["Summary"]
            assert (said["Files"], said["Dirs"], said["Length"]) == (len(sizes), dirs, length)
            tree = tarn_json("summary", "--entries", "2", *flags, top / "tree")
            assert (tree["Files"], tree["Dirs"], tree["Size"]) == (len(sizes), dirs, said["Size"])
            assert [c["Path"] for c in tree["Children"]][2] == "..."
            assert len(tree["Children"][0]["Children"]) == 3
        assert tarn_json("info", top / "tree")["Summary"]["Dirs"] == 4
        lines = tarn("summary", "--csv", "--depth", "1", top / "tree").stdout.splitlines()
        assert lines[0] == "PATH,SIZE,DIRS,FILES" and len(lines) == 6
        hard = tarn("info", top / "tree" / "d1" / "hard").stdout
        assert "/tree/d0/f1" in hard and "/tree/d1/hard" in hard and "objectName" in hard
        inode = os.stat(top / "tree").st_ino
        assert str(inode) in tarn("info", "-i", str(inode), cwd=top).stdout


def test_warmup_fills_checks_and_evicts(volume, workdir):
    with volume.mount() as mount:
        os.mkdir(mount.directory / "d")
        for name in "abc":
            (mount.directory / "d" / name).write_bytes(os.urandom(5 << 20))
    listing = workdir / "list"
    with volume.mount() as mount:
        target = mount.directory / "d"
        assert tarn_json("warmup", "--check", target)["missing"] == 15 << 20
        listing.write_text(f"{target}/a\n\n  {target}/b\n", encoding="utf-8")
        assert tarn_json("warmup", "--file", listing)["files"] == 2
        assert tarn_json("warmup", "--check", target)["missing"] == 5 << 20
        tarn("warmup", "--evict", target / "a")
        assert tarn_json("warmup", "--check", target)["missing"] == 10 << 20
        tarn("warmup", "-b", target)
        wait_for("all is warm", lambda: tarn_json("warmup", "--check", target)["missing"] == 0)
    for block in volume.bucket.rglob("*_4194304"):
        block.unlink()
    with volume.mount() as mount:
        target = mount.directory / "d"
        done = subprocess.run([BIN / "tarn", "warmup", target], capture_output=True, text=True,
                              check=False)
        assert done.returncode == 1 and "could not be fetched" in done.stderr


def test_compact_puts_slices_together(volume):
    with volume.mount("--no-bgjob") as mount:
        path = mount.directory / "f"
        for number in range(4):
            with open(path, "ab") as file:
                file.write(bytes([number]) * 1000)
                os.fsync(file.fileno())
        before = path.read_bytes()
        assert tarn_json("compact", mount.directory)["chunks"] == 1
        assert volume.value("SELECT length(slices) FROM jfs_chunk") == 24
        assert path.read_bytes() == before
    assert_consistent(volume)


def test_the_access_log_tells_what_happens_while_it_is_read(volume):
    with volume.mount() as mount:
        lines = []
        log = open(mount.directory / ".accesslog", "rb", buffering=0)

        def follow():
            while True:
                lines.append(log.read(65536))
                if b"mkdir (1,last,00755) - OK <" in b"".join(lines):
                    return
        reader = threading.Thread(target=follow)
        reader.start()
        wait_for("the log is read", lambda: lines)
        refused(errno.ENOENT, os.rmdir, mount.directory / "no\nline")
        (mount.directory / "f").write_bytes(b"x" * 10)
        os.mkdir(mount.directory / "last", 0o755)
        reader.join(60)
        assert not reader.is_alive(), b"".join(lines)
        log.close()
        text = b"".join(lines)
        assert b"lookup (1,no\\x0aline) - no such file or directory <" in text
        assert b",10,0,0) - OK <" in text


def test_stats_shows_a_live_table_and_every_metric(volume):
    with volume.mount() as mount:
        table = tarn("stats", "--count", "2", "--interval", "200ms", mount.directory).stdout
        assert "fuse" in table and len(table.splitlines()) == 4
        assert tarn_json("stats", mount.directory)["juicefs_cpu_usage"] > 0
        os.mkdir(mount.directory / "d")
        assert b"no mount" in subprocess.run([BIN / "tarn", "stats", mount.directory / "d"],
                                             capture_output=True, check=False).stderr


def test_closing_the_conversation_cancels_the_work(volume):
    with volume.mount() as mount:
        top = mount.directory
        os.mkdir(top / "tree")
        make_tree(top / "tree", width=2, files=30)
        with volume.cluster.connect(volume.database) as db, db.transaction():
            db.execute("SELECT 1 FROM jfs_node WHERE type = 1 FOR UPDATE")
            with Talk(top) as talk:
                talk.send(RMR, struct.pack(">QB4sBB", 1, 4, b"tree", 0, 1))
                time.sleep(0.2)
        assert (top / "tree").exists()
    assert_consistent(volume)
