"""A mirror that does not follow: each fault ends with equal rows, or in exactly the state promised."""

import os
import shutil

import psycopg
import pytest

from harness.cluster import Cluster
from harness.process import Process
from harness.site import Mirror, Primary
from harness.volume import BIN, DONE, FAILED, NOT_READY, tarn, tarn_json
from harness.wait import stays, wait_for
from test_mirror_join import (Writer, assert_equal_tables, mirror_command, slots, state, stop_agent,
                              wait_state)

LONG = pytest.mark.skipif(not os.environ.get("TARN_LONG"), reason="TARN_LONG=1 runs it")


def lost_by(mirror):
    return mirror.value("SELECT lost_by FROM tarn.local_site")


def detail(mirror):
    return mirror.value("SELECT detail FROM tarn.local_site") or ""


def database_oid(mirror):
    return mirror.cluster.value("postgres", "SELECT oid FROM pg_database WHERE datname = %s",
                                [mirror.database])


def is_reseeded(mirror, old_oid):
    """Another database has the name, it follows, and nothing is left to do."""
    if database_oid(mirror) in (None, old_oid):
        return False
    try:
        return (state(mirror) == "FOLLOWING"
                and mirror.value("SELECT count(*) FROM tarn.reseed") == 0)
    except psycopg.Error:  # a session that is ended while names are exchanged
        return False


def databases(mirror):
    return [name for (name,) in mirror.cluster.query(
        "postgres", "SELECT datname FROM pg_database WHERE datname LIKE %s ORDER BY 1",
        [f"{mirror.database}%"])]


def drop_slot(primary, name="tarn_away"):
    """As a person would who takes it for a left-over."""
    with primary.cluster.connect(primary.database) as db:
        def dropped():
            db.execute("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots"
                       " WHERE slot_name = %s AND active", [name])
            try:
                db.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
                           " WHERE slot_name = %s", [name])
                return True
            except psycopg.errors.ObjectInUse:
                return False
        wait_for("the slot is dropped", dropped)


def set_server(cluster, name, value):
    """A setting of a server that takes a reload; None: as it was."""
    with cluster.connect("postgres") as db:
        if value is None:
            db.execute(f"ALTER SYSTEM RESET {name}")
        else:
            db.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        db.execute("SELECT pg_reload_conf()")


# ---- a new copy beside the one that serves


def test_a_lost_slot_is_answered_by_a_new_copy_beside_the_one_that_serves(primary, mirror):
    role = f"reader_of_{mirror.database}"
    with primary.mount() as here, mirror.mount("--read-only") as there:
        here.path("before").write_bytes(b"b" * 10_000)
        mirror.wait_caught_up()
        wait_for("the file is seen", there.path("before").exists)
        mirror.query(f"CREATE ROLE {role}")
        mirror.query(f"GRANT SELECT ON jfs_node TO {role}")
        mirror.query(f"ALTER DATABASE {mirror.database} SET statement_timeout = '54321s'")
        old = database_oid(mirror)
        writer = Writer(primary).begin()
        drop_slot(primary)
        here.path("after").write_bytes(b"a" * 10_000)
        wait_for("it is copied anew", lambda: is_reseeded(mirror, old), 120)
        assert there.path("before").read_bytes() == b"b" * 10_000
        wait_for("what was written since is seen", there.path("after").exists)
        assert there.path("after").read_bytes() == b"a" * 10_000
        writer.finish()
    assert_equal_tables(primary, mirror)
    assert databases(mirror) == [mirror.database]
    assert slots(primary) == ["tarn_away"]
    assert mirror.value("SELECT has_table_privilege(%s, 'jfs_node', 'SELECT')", [role])
    assert mirror.value("SHOW statement_timeout") == "54321s"
    said = mirror.agent.process.log()
    for word in ("state LOST", "state REJOINING", "state FOLLOWING", "slot at the primary is gone"):
        assert word in said, word


def test_a_person_can_ask_for_a_new_copy_and_keep_the_old_one(primary, mirror):
    stop_agent(mirror)
    old = database_oid(mirror)
    primary.query("INSERT INTO jfs_xattr (inode, name, value) VALUES (1, 'user.a', '1')")
    done = mirror_command("reseed", "--keep-old", mirror.url, timeout=120)
    assert done.returncode == DONE, done.stderr
    assert database_oid(mirror) != old
    left = [name for name in databases(mirror) if name != mirror.database]
    assert len(left) == 1 and "_lost_" in left[0]
    mirror.agent.start()
    assert_equal_tables(primary, mirror)
    mirror.cluster.drop_database(left[0])


@LONG
@pytest.mark.limit(900)
def test_a_reseed_that_is_killed_at_any_step_is_gone_on_with(primary, mirror, workdir):
    stop_agent(mirror)
    writer = Writer(primary).begin()
    for attempt, moment in enumerate(["copying the mirror anew", "making slot", "subscribed",
                                      "is copied", "is consistent", "exchange"]):
        asked = Process([BIN / "tarn-mirror", "reseed", mirror.url], workdir / f"reseed-{attempt}.log")
        wait_for(f"\"{moment}\" or the end",
                 lambda: moment in asked.log() or not asked.is_running(), 120, interval=0.001)
        asked.kill()
        wait_for("the mirror can be read", lambda: mirror.value("SELECT 1 FROM jfs_node LIMIT 1"))
    done = mirror_command("reseed", mirror.url, timeout=240)
    assert done.returncode == DONE, done.stderr
    writer.finish()
    mirror.agent.start()
    assert_equal_tables(primary, mirror)
    assert databases(mirror) == [mirror.database]


@LONG
@pytest.mark.limit(600)
@pytest.mark.parametrize("side", ["primary", "mirror"])
def test_a_server_that_is_killed_during_a_reseed_delays_it(primary, mirror, side):
    old = database_oid(mirror)
    writer = Writer(primary).begin()
    writer.finish()
    drop_slot(primary)
    wait_state(mirror, "REJOINING")
    cluster = (primary if side == "primary" else mirror).cluster
    cluster.kill9()
    cluster.start()
    wait_for("it is copied anew", lambda: is_reseeded(mirror, old), 240)
    assert_equal_tables(primary, mirror)


# ---- what PostgreSQL does not tell


def test_a_slot_that_was_made_again_without_a_missing_beat_is_noticed(primary, mirror):
    mirror.without_reseed()
    wait_state(mirror, "FOLLOWING")
    wait_for("the slot is remembered", lambda: (mirror.value(
        "SELECT slot_count FROM tarn.primary_memory") or 0) > 3)
    primary.agent.stop()  # no beat is lost, because there is none
    mirror.agent.stop()
    mirror.query("ALTER SUBSCRIPTION tarn_away DISABLE")
    drop_slot(primary)
    primary.query("INSERT INTO tarn.job VALUES (1, 'lost', '', '{}')")
    primary.query("SELECT pg_create_logical_replication_slot('tarn_away', 'pgoutput')")
    mirror.query("ALTER SUBSCRIPTION tarn_away ENABLE")
    mirror.agent.start()
    wait_state(mirror, "LOST")
    assert lost_by(mirror) == "slot" and "made again" in detail(mirror)
    wait_for("it is left at the last good point",
             lambda: not mirror.value("SELECT subenabled FROM pg_subscription"))
    primary.agent.start()


def test_a_primary_that_went_back_is_not_followed_nor_copied_before_its_epoch_is_raised(
        primary, mirror):
    wait_state(mirror, "FOLLOWING")
    wait_for("the primary is remembered",
             lambda: mirror.value("SELECT count(*) FROM tarn.primary_memory"))
    old = database_oid(mirror)
    # As if the mirror had seen a position that a restored primary has not reached.
    mirror.query("UPDATE tarn.primary_memory SET lsn = lsn + 1000000000")
    wait_state(mirror, "LOST")
    assert lost_by(mirror) == "went_back" and "older state" in detail(mirror)
    stays("nothing is copied", lambda: state(mirror) == "LOST", 2)
    done = mirror_command("status", "--json", mirror.url)
    assert done.returncode == NOT_READY and '"lost_by": "went_back"' in done.stdout
    primary.agent.stop()
    tarn("primary", "adopt", "--raise-epoch", primary.url)
    primary.agent.start()
    wait_for("it is copied anew", lambda: is_reseeded(mirror, old), 120)
    assert_equal_tables(primary, mirror)


@LONG
@pytest.mark.limit(600)
def test_a_primary_restored_from_an_older_copy_of_its_files(programs, session_directory,
                                                            mirror_cluster, workdir):
    cluster = Cluster(session_directory / "pg-restored", "pg-restored").create()
    try:
        primary = Primary(cluster, "vol", workdir).begin()
        mirror = Mirror(mirror_cluster, primary, workdir, name="after").begin()
        Writer(primary).begin().finish()
        primary.agent.stop()
        cluster.stop()
        shutil.copytree(cluster.data, cluster.data + ".old", symlinks=True,
                        copy_function=_copy_owned)
        cluster.start()
        primary.agent.start()
        Writer(primary).begin().finish()
        mirror.wait_caught_up()
        old = database_oid(mirror)
        primary.agent.stop()
        cluster.stop()
        shutil.rmtree(cluster.data)
        os.rename(cluster.data + ".old", cluster.data)
        _own_like(cluster.directory, cluster.data)
        cluster.start()
        wait_state(mirror, "LOST")
        assert lost_by(mirror) == "went_back"
        tarn("primary", "adopt", "--raise-epoch", primary.url)
        primary.agent.start()
        Writer(primary).begin().finish()
        wait_for("it is copied anew", lambda: is_reseeded(mirror, old), 240)
        assert_equal_tables(primary, mirror)
        mirror.agent.stop()
        assert mirror_command("leave", mirror.url).returncode == DONE
        primary.agent.stop()
        mirror_cluster.drop_database(mirror.database)
    finally:
        cluster.destroy()


def _copy_owned(source, target):
    shutil.copy2(source, target)
    status = os.stat(source)
    os.chown(target, status.st_uid, status.st_gid)
    return target


def _own_like(like, directory):
    """Directories that were made by copytree() belong to us."""
    status = os.stat(like)
    for root, _, _ in os.walk(directory):
        os.chown(root, status.st_uid, status.st_gid)
        os.chmod(root, 0o700)


@LONG
@pytest.mark.limit(600)
def test_a_slot_beyond_its_limit_is_lost_and_the_mirror_copied_anew(programs, session_directory,
                                                                    mirror_cluster, workdir):
    cluster = Cluster(session_directory / "pg-small", "pg-small", settings={
        "max_slot_wal_keep_size": "32MB", "max_wal_size": "32MB", "min_wal_size": "32MB"}).create()
    try:
        primary = Primary(cluster, "vol", workdir).begin()
        mirror = Mirror(mirror_cluster, primary, workdir, name="small").begin()
        old = database_oid(mirror)
        mirror.query("ALTER SUBSCRIPTION tarn_small DISABLE")
        with cluster.connect(primary.database) as db:
            for _ in range(20):
                db.execute("CREATE TEMP TABLE IF NOT EXISTS waste (x text)")
                db.execute("SELECT pg_switch_wal()")
                db.execute("SELECT pg_logical_emit_message(false, 'x', repeat('x', 8000000))")
                db.execute("CHECKPOINT")
        wait_for("the primary is alarmed", lambda: "until slot tarn_small is lost" in
                 primary.agent.process.log() or "is lost" in primary.agent.process.log())
        wait_for("it is copied anew", lambda: is_reseeded(mirror, old), 240)
        assert_equal_tables(primary, mirror)
        mirror.agent.stop()
        assert mirror_command("leave", mirror.url).returncode == DONE
        primary.agent.stop()
        mirror_cluster.drop_database(mirror.database)
    finally:
        cluster.destroy()


# ---- apply errors


def test_an_error_of_apply_is_shown_with_its_row_and_heals(primary, mirror):
    wait_state(mirror, "FOLLOWING")
    mirror.query("INSERT INTO jfs_xattr (inode, name, value) VALUES (77, 'user.own', 'mine')")
    primary.query("INSERT INTO jfs_xattr (inode, name, value) VALUES (77, 'user.own', 'theirs')")
    wait_state(mirror, "STALLED")
    wait_for("the error is shown", lambda: "Key (" in detail(mirror))
    for word in ("duplicate key", "already exists", "jfs_xattr", "transaction"):
        assert word in detail(mirror), detail(mirror)
    assert "Key (" in mirror_command("status", mirror.url).stdout
    mirror.query("DELETE FROM jfs_xattr WHERE inode = 77")
    wait_state(mirror, "FOLLOWING")
    assert_equal_tables(primary, mirror)


@LONG
@pytest.mark.limit(400)
def test_a_line_that_swallows_everything_is_left_whatever_the_servers_timeouts(primary, mirror, link):
    set_server(mirror.cluster, "wal_receiver_timeout", 0)
    try:
        wait_state(mirror, "FOLLOWING")
        link.hold()
        wait_state(mirror, "STALLED", 60)
        primary.query("INSERT INTO tarn.job VALUES (2, 'during', '', '{}')")
        wait_for("it gives up on the line",
                 lambda: "connecting anew" in mirror.agent.process.log(), 120)
        link.release()
        wait_state(mirror, "FOLLOWING", 120)
        assert_equal_tables(primary, mirror)
    finally:
        set_server(mirror.cluster, "wal_receiver_timeout", None)


# ---- tables that change


def test_columns_that_change_at_the_primary_are_followed_or_left_to_a_person(primary, mirror):
    primary.query("ALTER TABLE jfs_node ADD COLUMN fixed bigint NOT NULL DEFAULT 7")
    primary.query("ALTER TABLE jfs_node ADD COLUMN since timestamptz DEFAULT now()")
    primary.query("ALTER TABLE jfs_node ADD COLUMN note varchar(20), ADD COLUMN tags text[]")
    primary.query("ALTER TABLE jfs_symlink ALTER COLUMN inode TYPE bigint")
    primary.query("ALTER TABLE jfs_chunk_ref ALTER COLUMN size TYPE bigint")
    primary.query("ALTER TABLE jfs_xattr ADD COLUMN own integer GENERATED ALWAYS AS (1) STORED")
    Writer(primary).begin().finish()
    assert_equal_tables_but(primary, mirror, "jfs_xattr")
    assert mirror.value("SELECT format_type(atttypid, 0) FROM pg_attribute WHERE attname = 'size'"
                        " AND attrelid = 'jfs_chunk_ref'::regclass") in ("bigint", "integer")
    # A name that changes looks like one that went and one that came: nobody guesses.
    primary.query("ALTER TABLE jfs_xattr RENAME COLUMN value TO content")
    primary.query("INSERT INTO jfs_xattr (inode, name, content) VALUES (78, 'user.new', 'x')")
    wait_for("a person is asked", lambda: mirror.value("SELECT count(*) FROM tarn.mend_statement"))
    shown = mirror_command("status", mirror.url).stdout
    assert "RENAME COLUMN" in shown and "to do" in shown
    assert state(mirror) == "STALLED"
    mirror.query("ALTER TABLE jfs_xattr RENAME COLUMN value TO content")
    wait_state(mirror, "FOLLOWING")
    wait_for("nothing is left to do",
             lambda: mirror.value("SELECT count(*) FROM tarn.mend_statement") == 0)
    assert_equal_tables_but(primary, mirror, "jfs_xattr")


def assert_equal_tables_but(primary, mirror, table):
    """Equal rows, where one table has a column of its own at the primary."""
    primary.query(f"ALTER TABLE {table} DROP COLUMN IF EXISTS own")
    assert_equal_tables(primary, mirror)


def test_a_mirror_of_an_older_version_is_brought_up_first(primary, mirror):
    newest = primary.value("SELECT max(version) FROM tarn.migration")
    wait_for("the primary knows its version", lambda: primary.value(
        "SELECT max(version) FROM tarn.site_version") == newest)
    mirror.agent.stop()
    primary.query("UPDATE tarn.site_version SET version = 1")
    primary.query("UPDATE tarn.migration SET version = 0 WHERE version = %s", [newest])
    done = tarn("primary", "adopt", primary.url, check=False)
    assert done.returncode == FAILED
    assert 'mirror "away" has version 1' in done.stderr
    primary.query("UPDATE tarn.migration SET version = %s WHERE version = 0", [newest])
    # The agent of the new version brings what is missing, tables and functions.
    digest = mirror.value("SELECT obj_description('tarn_1'::regnamespace)")
    mirror.query("COMMENT ON SCHEMA tarn_1 IS 'older'")
    mirror.agent.start()
    wait_for("the functions are new",
             lambda: mirror.value("SELECT obj_description(to_regnamespace('tarn_1'))") == digest)
    wait_for("the primary hears of it", lambda: primary.value(
        "SELECT max(version) FROM tarn.site_version") == newest)
    assert tarn("primary", "adopt", primary.url, check=False).returncode == DONE
    assert_equal_tables(primary, mirror)


# ---- deletions


def test_a_mirror_that_was_given_up_says_so_until_it_has_caught_up(primary, mirror):
    wait_state(mirror, "FOLLOWING")
    mirror.query("ALTER SUBSCRIPTION tarn_away DISABLE")
    wait_state(mirror, "STALLED")
    # What doomed_take() notes when it hands out what a silent mirror has not passed.
    primary.query("INSERT INTO tarn.given_up VALUES"
                  " ('away', pg_current_wal_insert_lsn() + 10, clock_timestamp())")
    wait_state(mirror, "LOST")
    assert lost_by(mirror) == "given_up" and "may be gone" in detail(mirror)
    assert "GIVEN UP" in tarn("primary", "status", primary.url).stdout
    wait_for("the primary is loud", lambda: "is given up" in primary.agent.process.log())
    mirror.query("ALTER SUBSCRIPTION tarn_away ENABLE")
    wait_state(mirror, "FOLLOWING")
    assert_equal_tables(primary, mirror)


def test_both_sites_show_how_near_the_end_a_mirror_is(primary, mirror):
    wait_state(mirror, "FOLLOWING")
    wait_for("it is advised", lambda: "is unlimited" in primary.agent.process.log())
    assert "max_slot_wal_keep_size" in tarn("primary", "status", primary.url).stdout
    seen = tarn_json("primary", "status", primary.url)["slots"][0]
    assert 86400 * 0.9 < seen["deletion_margin_seconds"] <= 86400 and seen["limit_bytes"] is None
    healing = mirror.status()["healing"]
    assert 86400 * 0.9 < healing["deletion_margin_seconds"] <= 86400
    assert healing["statements"] == [] and healing["reseed"] is None
    set_server(primary.cluster, "max_slot_wal_keep_size", "64MB")
    try:
        wait_for("the limit is shown", lambda: tarn_json(
            "primary", "status", primary.url)["slots"][0]["limit_bytes"] == 64 << 20)
    finally:
        set_server(primary.cluster, "max_slot_wal_keep_size", None)
