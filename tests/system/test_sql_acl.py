"""Access control lists: rules are set, inherited, kept in step with the mode, and judged."""

import errno
import itertools
import struct

import psycopg
import pytest
from harness.sql_file import FLAGS, GID, MODE, FileSession
from harness.sql_volume import SqlVolume

ROOT, DIR, FILE = 1, 10, 11
ACCESS, DEFAULT = 1, 2
UNSET = 0xFFFF
ALICE, BOB, STAFF, GUESTS = 1000, 1001, 100, 101


def encode(owner, group, mask, other, users=(), groups=()):
    packed = struct.pack("!4H", owner, group, mask, other)
    for entries in (users, groups):
        packed += struct.pack("!I", len(entries))
        packed += b"".join(struct.pack("!IH", *entry) for entry in entries)
    return packed


@pytest.fixture
def s(cluster, database):
    volume = SqlVolume(cluster, database)
    volume.db.execute("UPDATE jfs_setting SET value = replace(value, '\"DirStats\"',"
                      " '\"EnableACL\": true, \"DirStats\"')")
    session = FileSession(volume)
    assert session.mkdir(ROOT, b"d", DIR, uid=ALICE, gid=STAFF).err == 0
    assert session.create(ROOT, b"f", FILE, mode=0o640, uid=ALICE, gid=STAFF).err == 0
    yield session
    volume.close()


def set_rule(s, ino, kind, rule, uid=0, gids=()):
    return s.change("setfacl", ino, kind, rule, uid, list(gids))


def rule_of(s, ino, kind=ACCESS):
    found = s.read("getfacl", ino, kind)
    return bytes(found.rule) if found.err == 0 else found.err


def rows(s):
    return s.volume.value("SELECT count(*) FROM jfs_acl")


def test_an_access_rule_shows_its_mask_in_the_mode(s):
    rule = encode(6, 4, 5, 1, [(BOB, 7)], [(GUESTS, 2)])
    reply = set_rule(s, FILE, ACCESS, rule)
    assert (reply.err, reply.mode, reply.access_acl) == (0, 0o651, 1)
    assert rule_of(s, FILE) == rule
    assert rule_of(s, FILE, DEFAULT) == errno.ENODATA
    assert s.read("acl_rule", 1) == {"err": 0, "rule": rule}


def test_a_minimal_access_rule_is_the_mode(s):
    s.setattr(FILE, MODE, mode=0o4640)
    reply = set_rule(s, FILE, ACCESS, encode(7, 5, UNSET, 0))
    assert (reply.err, reply.mode, reply.access_acl) == (0, 0o4750, 0)
    assert (rule_of(s, FILE), rows(s)) == (errno.ENODATA, 0)


def test_parts_that_are_not_set_come_from_the_mode(s):
    set_rule(s, FILE, ACCESS, encode(UNSET, UNSET, 7, UNSET, [(BOB, 4)]))
    assert rule_of(s, FILE) == encode(6, 4, 7, 0, [(BOB, 4)])


@pytest.mark.parametrize("rule", [None, encode(UNSET, UNSET, UNSET, UNSET)])
def test_a_rule_that_is_removed_leaves_the_mode(s, rule):
    set_rule(s, FILE, ACCESS, encode(6, 4, 5, 1, [(BOB, 7)]))
    reply = set_rule(s, FILE, ACCESS, rule)
    assert (reply.err, reply.mode, reply.access_acl) == (0, 0o651, 0)
    assert rule_of(s, FILE) == errno.ENODATA


def test_rules_that_say_the_same_share_a_row(s):
    rule = encode(6, 4, 5, 1, [(BOB, 7)])
    for ino in (FILE, DIR):
        assert set_rule(s, ino, ACCESS, rule).access_acl == 1
    assert set_rule(s, DIR, DEFAULT, rule).default_acl == 1
    assert set_rule(s, FILE, ACCESS, encode(6, 4, 5, 1, [], [(BOB, 7)])).access_acl == 2
    assert rows(s) == 2


def test_the_same_rule_again_changes_nothing(s):
    rule = encode(6, 4, 5, 1, [(BOB, 7)])
    first = set_rule(s, FILE, ACCESS, rule)
    assert set_rule(s, FILE, ACCESS, rule) == first


def test_chmod_moves_the_mask_and_not_the_group(s):
    set_rule(s, FILE, ACCESS, encode(6, 4, 5, 1, [(BOB, 7)]))
    reply = s.setattr(FILE, MODE, mode=0o2770)
    assert (reply.mode, reply.access_acl) == (0o2770, 2)
    assert rule_of(s, FILE) == encode(7, 4, 7, 0, [(BOB, 7)])
    assert s.setattr(FILE, MODE, mode=0o651).access_acl == 1


def test_what_is_made_inherits_the_default_rule_and_not_the_umask(s):
    rule = encode(7, 5, 7, 4, [(BOB, 6)])
    set_rule(s, DIR, DEFAULT, rule)
    child = s.create(DIR, b"f", 20, mode=0o664, umask=0o077)
    assert (child.mode, child.default_acl) == (0o664, 0)
    assert rule_of(s, 20) == encode(6, 5, 6, 4, [(BOB, 6)])
    sub = s.mkdir(DIR, b"d", 21, mode=0o1770, umask=0o077)
    assert (sub.mode, rule_of(s, 21, DEFAULT)) == (0o1770, rule)
    assert rule_of(s, 21) == encode(7, 5, 7, 0, [(BOB, 6)])
    link = s.create(DIR, b"l", 22, 3, mode=0o777, umask=0o077, target=b"t")
    assert (link.mode, link.access_acl, link.default_acl) == (0o777, 0, 0)


def test_a_minimal_default_rule_only_limits_the_mode(s):
    set_rule(s, DIR, DEFAULT, encode(7, 5, UNSET, 0))
    child = s.create(DIR, b"f", 20, mode=0o666, umask=0o022)
    assert (child.mode, child.access_acl) == (0o640, 0)
    sub = s.mkdir(DIR, b"d", 21, mode=0o777, umask=0o022)
    assert (sub.mode, sub.access_acl, rule_of(s, 21, DEFAULT)) == (
        0o750, 0, encode(7, 5, UNSET, 0))


def test_a_stranger_to_the_group_takes_setgid_away_with_a_rule(s):
    rule = encode(7, 5, 5, 0, [(BOB, 5)])
    s.setattr(FILE, MODE, mode=0o2770)
    assert set_rule(s, FILE, ACCESS, rule, ALICE, [STAFF]).mode == 0o2750
    assert set_rule(s, FILE, ACCESS, rule, ALICE, [GUESTS]).mode == 0o750


def test_setgid_is_given_by_members_of_the_group_only(s):
    def chmod(caller, gids):
        return s.change("setattr", FILE, MODE, 0o2755, 0, 0, 0, 0, 0, 0, 0, 0, caller, gids[0],
                        gids[1:]).mode
    assert chmod(ALICE, [GUESTS]) == 0o755
    assert chmod(ALICE, [GUESTS, STAFF]) == 0o2755
    assert chmod(0, [0]) == 0o2755


def test_a_file_in_a_setgid_directory_keeps_setgid_for_members_only(s):
    s.setattr(DIR, MODE, mode=0o2777)

    def make(name, ino, uid, gids):
        return s.change("create", DIR, name, ino, 1, 0o2755, 0, uid, GUESTS, 0, b"", gids)
    stranger, member = make(b"a", 20, BOB, []), make(b"b", 21, BOB, [5, STAFF])
    assert (stranger.mode, stranger.gid) == (0o755, STAFF)
    assert (member.mode, member.gid) == (0o2755, STAFF)
    assert make(b"c", 22, 0, []).mode == 0o2755


@pytest.mark.parametrize("rule", [b"", b"x" * 16, encode(7, 7, 7, 7)[:-1], encode(7, 7, 7, 7) + b"x",
                                  encode(7, 7, 7, 7, [(1, 7)])[:-6],
                                  struct.pack("!4HII", 7, 7, 7, 7, 0xFFFFFFFF, 0)])
def test_bytes_that_are_no_rule_are_refused(s, rule):
    assert set_rule(s, FILE, ACCESS, rule).err == errno.EINVAL


def test_refusals(s):
    rule = encode(7, 5, 5, 0, [(BOB, 5)])
    assert set_rule(s, FILE, 3, rule).err == errno.EINVAL
    assert set_rule(s, 99, ACCESS, rule).err == errno.ENOENT
    assert set_rule(s, FILE, ACCESS, rule, BOB).err == errno.EPERM
    assert set_rule(s, FILE, DEFAULT, rule).err == errno.EACCES
    assert set_rule(s, FILE, DEFAULT, None).err == 0
    s.setattr(FILE, FLAGS, flags=1)
    assert set_rule(s, FILE, ACCESS, rule).err == errno.EPERM
    s.setattr(FILE, FLAGS, flags=0)
    s.volume.db.execute("UPDATE tarn.volume_flags SET acl = false")
    assert set_rule(s, FILE, ACCESS, rule).err == errno.EOPNOTSUPP
    assert s.read("getfacl", 99, ACCESS).err == errno.ENOENT


def test_a_rule_that_is_missing_opens_nothing(s):
    s.volume.db.execute("UPDATE jfs_node SET access_acl_id = 7, default_acl_id = 7")
    op = s.op + 1
    for call in (lambda: s.create(DIR, b"f", 20, op=op),
                 lambda: s.setattr(FILE, MODE, mode=0o777, op=op),
                 lambda: s.read("access", FILE, BOB, [BOB], 4),
                 lambda: s.read("getfacl", FILE, ACCESS)):
        with pytest.raises(psycopg.Error) as raised:
            call()
        assert raised.value.sqlstate == "TN005"


def may(rule, uid, gids, want):
    """The order of acl(5), written another way than the function under test."""
    owner, group, mask, other, users, groups = rule
    if uid == ALICE:
        return owner & want == want
    if uid in dict(users):
        return dict(users)[uid] & mask & want == want
    matching = [bits for gid, bits in [(STAFF, group), *groups] if gid in gids]
    if matching:
        return any(bits & mask & want == want for bits in matching)
    return other & want == want


def test_permission_is_judged_by_the_list(s):
    for rule in [(7, 4, 7, 1, [(BOB, 6)], [(GUESTS, 3)]), (4, 7, 5, 0, [], [(GUESTS, 7), (5, 2)]),
                 (0, 0, 6, 7, [(BOB, 0), (1002, 7)], [])]:
        assert set_rule(s, FILE, ACCESS, encode(*rule)).err == 0
        for uid, gids, want in itertools.product(
                (ALICE, BOB, 1002, 1003), ([STAFF], [GUESTS], [5, GUESTS], [7], [7, STAFF, GUESTS]),
                range(8)):
            assert (s.read("access", FILE, uid, gids, want)["access"] == 0) == may(
                rule, uid, gids, want), (rule, uid, gids, want)


def test_a_repeated_call_answers_the_same_and_does_nothing(s):
    first = set_rule(s, FILE, ACCESS, encode(6, 4, 5, 1, [(BOB, 7)]))
    s.setattr(FILE, MODE, mode=0o600)
    before = s.volume.contents()
    assert s.change("setfacl", FILE, ACCESS, None, 0, [], op=s.op - 1).err == errno.ESTALE
    assert first.err == 0 and s.volume.contents() == before


# ---- files without a name

def tmpfile(s, ino=30, **more):
    more = {"mode": 0o644, "umask": 0, "uid": 0, "gid": 0, **more}
    return s.change("tmpfile", ROOT, ino, *more.values())


def test_a_file_without_a_name_is_written_and_then_linked(s):
    made = tmpfile(s, umask=0o27)
    assert (made.err, made.nlink, made.mode, made.usage) == (0, 0, 0o640, [4096, 1])
    assert s.names(ROOT) == [b"d", b"f"]
    assert s.write_at(30, 0, b"x" * 5000).usage == [4096, 0]
    linked = s.link(30, DIR, b"named")
    assert (linked.err, linked.nlink, linked.parent, linked.flags) == (0, 1, DIR, 0)
    assert linked.usage == [0, 0, DIR, 5000, 8192, 1]
    assert s.volume.value("SELECT count(*) FROM jfs_sustained") == 0
    assert s.release(30).err == 0 and s.lookup(DIR, b"named").ino == 30
    assert s.link(30, DIR, b"again").parent == 0


def test_a_file_without_a_name_goes_with_its_last_close_or_its_session(s):
    tmpfile(s)
    assert s.release(30).usage == [-4096, -1]
    tmpfile(s, 31)
    assert s.setattr(31, FLAGS, flags=32).flags == 1 << 30 | 32
    s.read("session_close", s.sid)
    assert s.volume.query("SELECT inode FROM jfs_delfile ORDER BY 1") == [(30,), (31,)]
    assert s.volume.value("SELECT count(*) FROM jfs_node WHERE inode IN (30, 31)") == 0


def test_a_file_without_a_name_obeys_its_directory(s):
    s.setattr(ROOT, MODE | GID, mode=0o2777, gid=STAFF)
    set_rule(s, ROOT, DEFAULT, encode(7, 5, 5, 0, [(BOB, 5)]))
    made = tmpfile(s, mode=0o666)
    assert (made.gid, made.mode) == (STAFF, 0o640)
    assert rule_of(s, 30) == encode(6, 5, 4, 0, [(BOB, 5)])
    s.setattr(ROOT, FLAGS, flags=1)
    assert tmpfile(s, 31).err == errno.EPERM
