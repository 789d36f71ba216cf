"""The settings that every operation asks for, and the form of change log entries."""

import json
import re

import pytest
from harness.sql_file import FileSession
from harness.sql_volume import SCHEMA, SqlVolume
from harness.volume import TRASH_INODE, tarn

ROOT = 1


@pytest.fixture
def volume(cluster, database):
    made = SqlVolume(cluster, database)
    yield made
    made.close()


def configure(volume, **settings):
    """What a stock `juicefs config` does: the format row is rewritten, nobody is told."""
    row = json.loads(volume.value("SELECT value FROM jfs_setting WHERE name = 'format'"))
    volume.db.execute("UPDATE jfs_setting SET value = %s WHERE name = 'format'",
                      [json.dumps({**row, **settings})])


def flags(session):
    return session.read("flags")


def test_settings_are_right_before_anybody_has_opened_a_session(volume):
    first = flags(volume.session())
    assert (first.trash_days, first.change_log, first.dir_stats, first.owner_quota) == (
        1, False, True, False)
    configure(volume, TrashDays=0, ChangeLog=True, UserGroupQuota=True, EnableACL=True,
              Capacity=1 << 40, Inodes=77)
    volume.db.execute("INSERT INTO jfs_dir_quota VALUES (1, 0, 0, 0, 0)")
    assert flags(volume.session()) == {
        "only_row": True, "trash_days": 0, "change_log": True, "dir_stats": True,
        "owner_quota": True, "acl": True, "dir_quota": True, "capacity": 1 << 40, "inodes": 77}


def test_a_change_by_a_stock_client_is_seen_with_the_next_heartbeat(volume):
    session = FileSession(volume)
    assert flags(session).trash_days == 1
    configure(volume, TrashDays=0)
    assert flags(session).trash_days == 1
    session.read("session_refresh", 0, 3600)  # a read-only client writes nothing
    assert flags(session).trash_days == 1
    session.read("session_refresh", session.sid, 3600)
    assert flags(session).trash_days == 0
    session.create(ROOT, b"file", 100)
    session.unlink(ROOT, b"file")
    assert volume.value("SELECT count(*) FROM jfs_edge WHERE parent = %s", [TRASH_INODE]) == 0


def test_a_new_session_sees_what_was_changed_while_nobody_was_there(volume):
    FileSession(volume).close()
    configure(volume, TrashDays=5)
    assert flags(FileSession(volume)).trash_days == 5


def test_a_heartbeat_without_news_writes_no_settings(volume):
    session = FileSession(volume)
    before = volume.value("SELECT xmin::text FROM tarn.volume_flags")
    session.read("session_refresh", session.sid, 3600)
    assert volume.value("SELECT xmin::text FROM tarn.volume_flags") == before


def test_a_refresh_that_waited_for_another_does_not_bring_back_the_past(volume):
    session, other = FileSession(volume), FileSession(volume)
    configure(volume, TrashDays=3)
    session.begin()
    session.read("flags_refresh")
    configure(volume, TrashDays=4)
    started = other.start("read", "flags_refresh").until_blocked()
    session.commit()
    started.answer()
    assert flags(session).trash_days == 4


@pytest.mark.parametrize("name, entry", [
    (b"plain-name_1.txt", "plain-name_1.txt"), (b"", ""), (b"a b|c", "a b|c"),
    (b'"%(),\\', "%22%25%28%29%2C%5C"), (b"\x01\x1f\x7f\xff", "%01%1F%7F%FF"),
    ("größe".encode(), "gr%C3%B6%C3%9Fe")])
def test_names_in_entries_are_escaped_as_stock_clients_do_it(volume, name, entry):
    assert volume.session().read("log_name", name) == {"log_name": entry}


def test_an_entry_has_time_session_and_operation(volume):
    volume.session().read("log_change", 7, 42, "RMDIR(1,a,0):5")
    (entry,) = volume.query("SELECT entry FROM jfs_change_log")[0]
    assert re.fullmatch(r"\d{10}\.\d{6}000\|RMDIR\(1,a,0\):5\|\(7,42\)", entry), entry


def test_adopt_upgrades_a_site_of_the_first_version(volume, cluster, programs):
    """programs: the built commands exist."""
    volume.db.execute("DROP SCHEMA tarn_1 CASCADE; DROP SCHEMA tarn CASCADE")
    volume.db.execute((SCHEMA / "site" / "0001_site.sql").read_text(encoding="utf-8"))
    tarn("primary", "adopt", cluster.url(volume.database))
    assert volume.value("SELECT trash_days FROM tarn.volume_flags") == 1
    assert volume.value("SELECT max(version) FROM tarn.migration") >= 2
