"""What a directory tree shows, as data: one record for each path, comparable and digestible.

The records are those of tests/data/fixtures (tree.jsonl), so that a listing made by a stock
JuiceFS client can be held against a mount of ours.
"""

import base64
import hashlib
import json
import os
import stat

_TYPES = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "symlink", stat.S_IFIFO: "fifo",
          stat.S_IFBLK: "block", stat.S_IFCHR: "char", stat.S_IFSOCK: "socket"}
ALL = ("ino", "type", "mode", "uid", "gid", "nlink", "size", "rdev", "mtime_ns", "ctime_ns",
       "atime_ns", "sha256", "target", "xattrs")
# What two different file systems can agree on.
PORTABLE = ("type", "mode", "uid", "gid", "rdev", "mtime_ns", "sha256", "target", "xattrs")


def _text(raw):
    """A string that keeps every byte."""
    return os.fsdecode(raw)


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _xattrs(path):
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return {}
    return {name: base64.b64encode(os.getxattr(path, name, follow_symlinks=False)).decode()
            for name in names if not name.startswith("system.posix_acl_")}


def record(path, with_data=True):
    """The record of one path."""
    st = os.lstat(path)
    kind = _TYPES[stat.S_IFMT(st.st_mode)]
    made = {"ino": st.st_ino, "type": kind, "mode": f"{stat.S_IMODE(st.st_mode):04o}",
            "uid": st.st_uid, "gid": st.st_gid, "nlink": st.st_nlink, "size": st.st_size,
            "rdev": st.st_rdev, "mtime_ns": st.st_mtime_ns, "ctime_ns": st.st_ctime_ns,
            "atime_ns": st.st_atime_ns}
    if kind == "file" and with_data:
        made["sha256"] = sha256_of(path)
    if kind == "symlink":
        made["target"] = _text(os.readlink(path))
    if kind in ("file", "dir", "symlink"):
        found = _xattrs(path)
        if found:
            made["xattrs"] = found
    return made


def read_tree(root, with_data=True, also=()):
    """{path: record} of root and all below. also: names under root that are not listed (.trash)."""
    root = os.fsencode(root)
    tree, pending = {}, [b"/"]
    while pending:
        path = pending.pop()
        full = root + path if path != b"/" else root
        made = record(full, with_data)
        tree[_text(path)] = made
        if made["type"] == "dir":
            names = set(os.listdir(full))
            if path == b"/":
                names |= {os.fsencode(name) for name in also}
            pending.extend((b"" if path == b"/" else path) + b"/" + name for name in names)
    return tree


def load_listing(file_name):
    """The {path: record} of a tree.jsonl."""
    tree = {}
    with open(file_name, encoding="utf-8") as file:
        for line in file:
            made = json.loads(line)
            path = _text(base64.b64decode(made["path_b64"])) if "path_b64" in made else made["path"]
            if "target_b64" in made:
                made["target"] = _text(base64.b64decode(made["target_b64"]))
            tree[path] = made
    return tree


def differences(expected, seen, members=ALL, most=20):
    """Lines that say how two trees differ; none when they are equal in these members.

    A member that is null in the expected record is not compared.
    """
    lines = [f"missing: {path!r}" for path in sorted(expected.keys() - seen.keys())]
    lines += [f"not expected: {path!r}" for path in sorted(seen.keys() - expected.keys())]
    for path in sorted(expected.keys() & seen.keys()):
        want, got = expected[path], seen[path]
        for member in members:
            if member in want and want[member] is None:
                continue
            if want.get(member) != got.get(member):
                lines.append(f"{path!r}: {member} is {got.get(member)!r}, not {want.get(member)!r}")
    if len(lines) > most:
        lines[most:] = [f"… and {len(lines) - most} more"]
    return lines


def assert_same(expected, seen, members=ALL):
    lines = differences(expected, seen, members)
    assert not lines, "\n".join(["the trees differ:", *lines])


def digest(tree, members=ALL):
    """One hash over a tree."""
    total = hashlib.sha256()
    for path in sorted(tree):
        kept = {member: tree[path].get(member) for member in members}
        total.update(json.dumps([path, kept], sort_keys=True).encode())
    return total.hexdigest()


def populate(top):
    """A bit of everything."""
    (top / "dir" / "deep").mkdir(parents=True)
    (top / "empty").touch()
    (top / "dir" / "text").write_text("hello\n")
    (top / "dir" / "blocks").write_bytes(os.urandom(9 << 20))
    with open(top / "sparse", "wb") as file:
        file.seek((70 << 20) + 3)
        file.write(b"end")
        file.truncate(80 << 20)
    (top / "dir" / "link").symlink_to("text")
    os.link(top / "dir" / "text", top / "dir" / "deep" / "hard")
    os.mkfifo(top / "fifo", 0o640)
    os.chmod(top / "dir" / "text", 0o4751)
    os.utime(top / "empty", ns=(1_600_000_000_123_456_789, 1_500_000_000_987_654_321))
    os.setxattr(top / "dir", "user.colour", b"blue\0sky")
    os.rename(top / "dir" / "blocks", top / "moved")
    (top / "gone").write_text("x")
    os.unlink(top / "gone")
    (top / "gone-dir").mkdir()
    os.rmdir(top / "gone-dir")
