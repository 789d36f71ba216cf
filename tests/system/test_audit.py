"""An audit names what differs from the primary, and that alone, while both sites are at work."""

import json
import os
import re
import threading
import time

import pytest

from harness import load
from harness.process import Process
from harness.site import Mirror, Primary, assert_equal_sites
from harness.fixtures import process_end
from harness.tree import populate
from harness.volume import BIN, DONE, NOT_READY, UNREACHABLE, tarn
from harness.wait import wait_for

DIFFERENT, REPAIRED = 8, 9
APPLY_ERRORS = "SELECT coalesce(sum(apply_error_count), 0) FROM pg_stat_subscription_stats"

# A value of each type, from a number; rows made of them are nobody's but these tests'.
LITERALS = {"integer": "{}", "bigint": "{}", "text": "'audit-{}'", "character varying": "'audit-{}'",
            "bytea": "decode(lpad('{}', 8, '0'), 'hex')", "boolean": "true", "jsonb": "'{{\"n\": {}}}'",
            "timestamp with time zone": "'2020-01-01'::timestamptz + {} * interval '1 s'",
            "pg_lsn": "'0/{}'", "reply": "NULL"}


@pytest.fixture(scope="module")
def sites(cluster, mirror_cluster, session_directory):
    """A primary and a mirror that follows it, for the tests that leave both equal."""
    workdir = session_directory / "audit"
    workdir.mkdir()
    primary = Primary(cluster, "vol", workdir).begin()
    mirror = Mirror(mirror_cluster, primary, workdir).begin()
    yield primary, mirror
    process_end(mirror)
    process_end(primary)
    mirror_cluster.drop_database(mirror.database)
    cluster.drop_database(primary.database)


@pytest.fixture
def agents(sites):
    """The agents of both sites run; a test before this one may have seen them end."""
    for site in sites:
        if not site.agent.is_running():
            site.agent.start()
    return sites


def audit(mirror, *options, expect=DONE, pace=100):
    """(what was found, the sums) of one audit."""
    done = tarn("mirror", "audit", mirror.url, "--json", "--pace", str(pace), *options, check=False,
                timeout=120)
    assert done.returncode == expect, f"ended with {done.returncode}\n{done.stdout}{done.stderr}"
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return lines[:-1], lines[-1]


def assert_named(findings, made):
    """Exactly these (table, kind, key) were found."""
    seen = named(findings)
    assert seen == made, f"not found: {sorted(made - seen)}; found besides: {sorted(seen - made)}"


def named(findings):
    return {(found["table"], found["kind"], tuple(json.loads(found["key"]))) for found in findings}


class Table:
    """One published table: how its rows are made and told apart."""

    def __init__(self, db, relation):
        self.relation = relation
        self.columns = dict(db.execute(
            "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = %s::regclass"
            " AND attnum > 0 AND NOT attisdropped ORDER BY attnum", [relation]).fetchall())
        self.key = [name for (name,) in db.execute(
            "SELECT a.attname FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey::int2[])"
            " WITH ORDINALITY AS k (n, p) JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.n"
            " JOIN pg_class c ON c.oid = i.indrelid WHERE i.indrelid = %s::regclass"
            " AND CASE c.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END ORDER BY k.p",
            [relation]).fetchall()]

    def literal(self, column, number):
        if (self.relation, column) == ("tarn.site", "role"):
            return "'mirror'"
        return LITERALS[self.columns[column]].format(number)

    def insert(self, db, number):
        db.execute(f"INSERT INTO {self.relation} ({', '.join(map(quoted, self.columns))}) VALUES"
                   f" ({', '.join(self.literal(c, number) for c in self.columns)})")

    def where(self, number):
        return " AND ".join(f"{quoted(c)} = {self.literal(c, number)}" for c in self.key)

    def delete(self, db, number):
        db.execute(f"DELETE FROM {self.relation} WHERE {self.where(number)}")

    def change(self, db, number):
        """Another value in the last column that may have one. Not by an UPDATE: of a heartbeat, that
        would be one that was left out."""
        column = [c for c in self.columns if c not in self.key + ["id", "reply", "role"]][-1]
        self.delete(db, number)
        db.execute(f"INSERT INTO {self.relation} ({', '.join(map(quoted, self.columns))}) VALUES"
                   f" ({', '.join(self.literal(c, number + 50 * (c == column)) for c in self.columns)})")

    def key_of(self, db, number):
        shown = ", ".join(f"({self.literal(c, number)})::{self.columns[c]}::text" for c in self.key)
        return tuple(db.execute(f"SELECT ARRAY[{shown}]").fetchone()[0])


def quoted(name):
    return f'"{name}"'


def tables_of(db):
    return [Table(db, relation) for (relation,) in db.execute(
        "SELECT n.nspname || '.' || c.relname FROM tarn_1.published_tables() t"
        " JOIN pg_class c ON c.oid = t.relation JOIN pg_namespace n ON n.oid = c.relnamespace"
        " ORDER BY 1").fetchall()]


def tamper(primary, mirror):
    """In every published table: a row that is lost, one that is changed, one that was added here."""
    made = set()
    with primary.cluster.connect(primary.database) as there:
        tables = tables_of(there)
        for table in tables:
            for number in (90000001, 90000002, 90000003):
                table.insert(there, number)
    mirror.wait_caught_up()
    with mirror.cluster.connect(mirror.database) as here:
        for table in tables:
            table.delete(here, 90000001)
            table.change(here, 90000002)
            table.insert(here, 90000004)
            made |= {(table.relation, kind, table.key_of(here, number)) for kind, number in
                     (("missing", 90000001), ("changed", 90000002), ("extra", 90000004))}
    return tables, made


def clear(primary, mirror, tables):
    """The rows of tamper() go from both sites, and the orders that they were."""
    with primary.cluster.connect(primary.database) as there:
        for table in tables:
            for number in (90000001, 90000002, 90000003):
                table.delete(there, number)
    mirror.wait_caught_up()
    mirror.query("DELETE FROM tarn.slice_state WHERE slice > 90000000")


def test_equal_sites_are_equal(agents):
    primary, mirror = agents
    with primary.mount() as here:
        populate(here.directory)
    with primary.cluster.connect(primary.database) as db:
        tables = tables_of(db)
        rows = sum(db.execute(f"SELECT count(*) FROM {t.relation}").fetchone()[0] for t in tables)
    found, sums = audit(mirror)
    assert not found and sums["different"] == 0
    assert sums["tables"] == len(tables) and sums["rows"] >= rows > 40
    shown = mirror.status()["audit"]["rows"]
    assert shown["different"] == 0 and shown["compared"] == sums["rows"]


def test_every_tampered_row_is_named_under_load_and_then_repaired(agents):
    primary, mirror = agents
    primary.agent.stop()  # it would tidy such rows up
    with primary.mount("--no-bgjob") as here:
        workers = load.begin(here.directory, 2, largest=20_000)
        wait_for("some history", lambda: sum(w.operations for w in workers) > 30, 60)
        tables, made = tamper(primary, mirror)
        found, sums = audit(mirror, expect=DIFFERENT)
        assert_named(found, made)
        assert sums["different"] == len(made) and sums["repaired"] == 0
        found, sums = audit(mirror, "--repair", expect=REPAIRED)
        assert_named(found, made)
        assert all(one["repaired"] for one in found)
        found, sums = audit(mirror)
        assert not found, found
        load.finish(workers)
    clear(primary, mirror, tables)
    primary.agent.start()
    wait_for("the mirror follows", lambda: mirror.status()["state"] == "FOLLOWING")
    assert_equal_sites(primary, mirror)


def test_no_row_that_is_on_its_way_is_called_different(agents):
    primary, mirror = agents
    rounds = 100 if os.environ.get("TARN_LONG") else 6
    with primary.mount() as here:
        here.path("alarm").mkdir()
        workers = load.begin(here.path("alarm"), 3, largest=5_000)
        for _ in range(rounds):
            found, sums = audit(mirror)
            assert not found, found
        assert sum(w.operations for w in workers) > 0
        load.finish(workers)


def test_a_commit_that_is_seen_here_before_it_is_seen_there_is_no_difference(agents):
    """While a commit waits for a synchronous standby, a mirror has it and the primary hides it."""
    primary, mirror = agents
    with primary.cluster.connect(primary.database) as db:
        db.execute("INSERT INTO jfs_detached_node VALUES (7, 4000000001)")
        mirror.wait_caught_up()
        db.execute("ALTER SYSTEM SET synchronous_commit = local")
        db.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        db.execute("SELECT pg_reload_conf()")
        wait_for("the setting is known", lambda: primary.value("SHOW synchronous_commit") == "local")
        waiting = threading.Thread(target=primary.query, args=(
            "SET synchronous_commit = remote_write; UPDATE jfs_detached_node SET added = 4000000002",))
        waiting.start()
        try:
            seen_here = "SELECT added FROM jfs_detached_node WHERE inode = 7"
            wait_for("the mirror has it", lambda: mirror.value(seen_here) == 4000000002)
            assert primary.value(seen_here) == 4000000001
            found, sums = audit(mirror)
            assert not found and sums["moving"] == 1
        finally:
            db.execute("ALTER SYSTEM RESET ALL")
            db.execute("SELECT pg_reload_conf()")
            waiting.join()
        found, sums = audit(mirror)
        assert not found and sums["moving"] == 0
        db.execute("DELETE FROM jfs_detached_node")


def test_a_repair_takes_nothing_away_from_apply(agents):
    """Rows are changed, removed and made again at the primary while they are repaired here."""
    primary, mirror = agents
    stop = threading.Event()
    errors = mirror.value(APPLY_ERRORS)

    def write():
        with primary.cluster.connect(primary.database) as db:
            db.execute("INSERT INTO jfs_dir_stats SELECT 1000000 + n, 0, 0, 0 FROM generate_series(1, 40) n")
            while not stop.is_set():
                db.execute("UPDATE jfs_dir_stats SET used_space = used_space + 1 WHERE inode > 1000000 AND"
                           " inode % 4 = (random() * 3)::int")
                db.execute("DELETE FROM jfs_xattr WHERE inode = 1000000 + (random() * 20)::int")
                db.execute("INSERT INTO jfs_xattr (inode, name, value) SELECT 1000000 + n, 'user.x',"
                           " convert_to(random()::text, 'UTF8') FROM generate_series(1, 20) n"
                           " ON CONFLICT (inode, name) DO NOTHING")
                time.sleep(0.02)
            db.execute("DELETE FROM jfs_dir_stats WHERE inode = 1000001")
    writer = threading.Thread(target=write)
    writer.start()
    try:
        wait_for("rows are here", lambda: mirror.value("SELECT count(*) FROM jfs_xattr WHERE inode > 1000000"))
        with mirror.cluster.connect(mirror.database) as db:
            db.execute("SET lock_timeout = '20s'")
            for _ in range(4):
                db.execute("DELETE FROM jfs_dir_stats WHERE inode BETWEEN 1000001 AND 1000020")
                db.execute("UPDATE jfs_dir_stats SET data_length = 77 WHERE inode BETWEEN 1000021 AND 1000040")
                db.execute("DELETE FROM jfs_xattr WHERE inode BETWEEN 1000001 AND 1000010")
                done = tarn("mirror", "audit", mirror.url, "--repair", "--pace", "100", check=False,
                            timeout=120)
                # What moved all the while may be left; it is never made worse.
                assert done.returncode in (DONE, DIFFERENT, REPAIRED), done.stderr
    finally:
        stop.set()
        writer.join()
    audit_until_equal(mirror)
    assert mirror.value("SELECT subenabled FROM pg_subscription") is True
    assert mirror.value(APPLY_ERRORS) == errors
    primary.query("DELETE FROM jfs_dir_stats WHERE inode > 1000000")
    primary.query("DELETE FROM jfs_xattr WHERE inode > 1000000")


def audit_until_equal(mirror):
    """Nothing moves any more: one repair is enough, and then there is nothing to find."""
    tarn("mirror", "audit", mirror.url, "--repair", "--pace", "100", check=False, timeout=120)
    found, _ = audit(mirror)
    assert not found, found


def test_columns_are_compared_by_name(agents):
    primary, mirror = agents
    with primary.cluster.connect(primary.database) as there, \
            mirror.cluster.connect(mirror.database) as here:
        try:
            here.execute("ALTER TABLE tarn.job ADD COLUMN b text, ADD COLUMN a int4, ADD COLUMN own int4")
            there.execute("ALTER TABLE tarn.job ADD COLUMN a int8, ADD COLUMN b text")
            there.execute("INSERT INTO tarn.job VALUES (1, 'n', 's', '{}', 5, 'x'), (2, 'n', 's', '{}', 6, 'y')")
            mirror.wait_caught_up()
            assert audit(mirror)[0] == []
            here.execute("UPDATE tarn.job SET b = 'z' WHERE id = 2")
            found, _ = audit(mirror, expect=DIFFERENT)
            assert [(f["key"], f["columns"], f["here"], f["primary"]) for f in found] == [
                ('["2"]', "b", "b=z", "b=y")]
            here.execute("ALTER TABLE tarn.job DROP COLUMN a")
            found, _ = audit(mirror, "--repair", expect=DIFFERENT)
            assert {(f["kind"], f["repaired"]) for f in found} == {("column", False), ("changed", True)}
        finally:
            here.execute("ALTER TABLE tarn.job ADD COLUMN IF NOT EXISTS a int4")
            there.execute("DELETE FROM tarn.job")
            mirror.wait_caught_up()
            for db in (here, there):
                db.execute("ALTER TABLE tarn.job DROP COLUMN a, DROP COLUMN b")
            here.execute("ALTER TABLE tarn.job DROP COLUMN own")


def begin_slow_audit(mirror, *options):
    """An audit that is slow enough to be interrupted; returns when it has noted a place."""
    before = mirror.value("SELECT max(touched_at) FROM tarn.audit_run")
    running = Process([BIN / "tarn", "mirror", "audit", mirror.url, "--pace", "1", *options],
                      mirror.workdir / "slow-audit.log")
    wait_for("it is on its way", lambda: not running.is_running() or mirror.value(
        "SELECT position IS NOT NULL AND touched_at > coalesce(%s, '-infinity'::timestamptz) FROM tarn.audit_run ORDER BY id DESC LIMIT 1",
        [before]), 60)
    assert running.is_running(), running.log()
    return running


def test_an_interrupted_audit_goes_on_where_it_was(agents):
    primary, mirror = agents
    rows = 200_000
    primary.query(f"INSERT INTO jfs_detached_node SELECT n, 4000000000 FROM generate_series(1, {rows}) n")
    primary.query("INSERT INTO jfs_acl (id, owner) VALUES (77, 1)")
    mirror.wait_caught_up()
    mirror.query("UPDATE jfs_acl SET owner = 2 WHERE id = 77")
    slow = begin_slow_audit(mirror)
    slow.kill()
    wait_for("its lock is free", lambda: mirror.value(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 8") == 0)
    # What the first part has found is not forgotten, though it could not be found again.
    mirror.query("UPDATE jfs_acl SET owner = 1 WHERE id = 77")
    place = mirror.value("SELECT items FROM tarn.audit_run ORDER BY id DESC LIMIT 1")
    assert place > 0
    slow = begin_slow_audit(mirror, "--resume")
    primary.cluster.stop("immediate")
    assert slow.wait(60) == UNREACHABLE, slow.log()
    said = [line for line in slow.log().splitlines() if line.startswith("tarn mirror audit:")]
    assert len(said) == 1 and "the primary went away" in said[0], slow.log()
    primary.cluster.start()
    mirror.wait_caught_up(90)
    found, sums = audit(mirror, "--resume", expect=DIFFERENT)
    assert named(found) == {("public.jfs_acl", "changed", ("77",))}
    assert sums["rows"] >= rows
    assert mirror.value("SELECT ended_at IS NOT NULL FROM tarn.audit_run ORDER BY id DESC LIMIT 1")
    primary.query("DELETE FROM jfs_detached_node")
    primary.query("DELETE FROM jfs_acl WHERE id = 77")


def test_an_audit_of_a_mirror_that_does_not_follow_says_so(agents):
    primary, mirror = agents
    mirror.query("ALTER SUBSCRIPTION tarn_away DISABLE")
    try:
        primary.query("INSERT INTO jfs_detached_node VALUES (9, 4000000000)")
        done = tarn("mirror", "audit", mirror.url, "--wait", "1s", check=False)
        assert done.returncode == NOT_READY
        said = [line for line in done.stderr.splitlines() if line.startswith("tarn mirror audit:")]
        assert len(said) == 1 and "does not follow" in said[0], done.stderr
    finally:
        mirror.query("ALTER SUBSCRIPTION tarn_away ENABLE")
        primary.query("DELETE FROM jfs_detached_node")
    mirror.wait_caught_up()


def test_two_audits_at_once_are_refused(agents):
    _, mirror = agents
    with mirror.cluster.connect(mirror.database) as db:
        db.execute("SELECT pg_advisory_lock(hashtext('tarn'), 8)")
        done = tarn("mirror", "audit", mirror.url, check=False)
        assert done.returncode != DONE and "another audit" in done.stderr


def damage(mirror):
    """One block is lost, one cut short, one has a flipped byte, one belongs to nobody."""
    paths = sorted(path for path in (mirror.bucket / mirror.name / "chunks").rglob("*_*_*"))
    lost, short, flipped = paths[:3]
    lost.unlink()
    short.write_bytes(short.read_bytes()[:-1])
    data = bytearray(flipped.read_bytes())
    data[len(data) // 2] ^= 1
    flipped.write_bytes(data)
    number = mirror.value(
        "SELECT max(n) FROM generate_series(1, 999) n WHERE n < (SELECT value FROM jfs_counter"
        " WHERE name = 'nextChunk') AND NOT EXISTS (SELECT FROM jfs_chunk_ref WHERE chunkid = n)")
    unknown = mirror.bucket / mirror.name / "chunks/0/0" / f"{number}_0_10"
    unknown.parent.mkdir(parents=True, exist_ok=True)
    unknown.write_bytes(b"0123456789")
    os.utime(unknown, (time.time() - 10_000,) * 2)
    return lost, short, flipped, unknown


def test_objects_are_compared_with_slices(agents):
    primary, mirror = agents
    with primary.mount() as here:
        here.path("objects").mkdir()
        for number in range(8):
            here.path("objects", str(number)).write_bytes(load.content(number, 50_000))
    mirror.wait_caught_up()
    # What is ordered to be copied is on its way, not missing.
    assert audit(mirror, "--objects")[0] == []
    mirror.sync_once()
    mirror.wait_copied()
    assert audit(mirror, "--objects", "--checksum")[0] == []
    lost, short, flipped, unknown = damage(mirror)
    found, sums = audit(mirror, "--objects", expect=DIFFERENT)
    assert shown(found) == {("lost block", lost.name), ("block size", short.name),
                            ("unknown object", unknown.name)}
    found, sums = audit(mirror, "--objects", "--checksum", "--repair", expect=REPAIRED)
    assert {kind for kind, _ in shown(found)} == {"lost block", "block size", "unknown object", "bad block"}
    assert not unknown.exists()
    mirror.sync_once()
    found, sums = audit(mirror, "--objects", "--checksum")
    assert not found and sums["objects"] == len(mirror.expected_blocks())
    assert audit(mirror, "--objects", "--origin", "--checksum")[0] == []


def shown(findings):
    """(kind, the block's name) of each."""
    return {(f["kind"], re.search(r"\d+_\d+_\d+|$", f["key"]).group()) for f in findings}
