"""tarn-mirror: joining under load and through kills, the states of the agent, leaving.

The load is SQL, so that every published table changes; each test ends with equal row digests of all
of them at both sites. What a mount shows is tested in test_mirror.py.
"""

import contextlib
import json
import os
import random
import threading
import time

import pytest

from harness.process import Process
from harness.site import Mirror
from harness.volume import (BIN, DENIED, DONE, FAILED, NOT_FORMATTED, NOT_READY, STORE, UNREACHABLE,
                            USAGE, Restored, Volume, tarn, tarn_json)
from harness.wait import stays, wait_for


def mirror_command(*arguments, **options):
    options.setdefault("check", False)
    return tarn("mirror", *arguments, **options)


def refused(done, code, *words):
    assert done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}"
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0], lines[0]


class Writer(threading.Thread):
    """Inserts, updates and deletes rows of every kind of identity until told to stop."""

    def __init__(self, volume):
        super().__init__(daemon=True)
        self.volume = volume
        self.random = random.Random(1)
        self.transactions = 0
        self.problem = None
        self._end = threading.Event()

    def run(self):
        try:
            with self.volume.cluster.connect(self.volume.database) as db:
                while not self._end.is_set():
                    with db.transaction():
                        self._step(db)
                    self.transactions += 1
        except Exception as problem:  # shown by finish()
            self.problem = problem

    def _step(self, db):
        number = 1 << 30 | self.random.randrange(5000)
        name = f"n{self.random.randrange(500)}".encode()
        db.execute("INSERT INTO jfs_node (inode, type, flags, mode, uid, gid, atime, mtime, ctime,"
                   " nlink, length, parent) VALUES (%s, 1, 0, 420, 0, 0, 1, 1, 1, 1, 0, 1)"
                   " ON CONFLICT (inode) DO UPDATE SET mtime = jfs_node.mtime + 1", [number])
        db.execute("INSERT INTO jfs_edge (parent, name, inode, type) VALUES (1, %s, %s, 1)"
                   " ON CONFLICT (parent, name) DO UPDATE SET inode = excluded.inode",
                   [name, number])
        db.execute("INSERT INTO jfs_chunk (inode, indx, slices) VALUES (%s, 0, %s)"
                   " ON CONFLICT (inode, indx) DO UPDATE SET slices ="
                   " substr(jfs_chunk.slices || excluded.slices, 1, 960)", [number, b"\1" * 24])
        db.execute("INSERT INTO jfs_xattr (inode, name, value) VALUES (%s, 'user.a', '1')"
                   " ON CONFLICT (inode, name) DO UPDATE SET value = jfs_xattr.value || '2'"
                   " WHERE length(jfs_xattr.value) < 50", [number])
        db.execute("INSERT INTO jfs_chunk_ref (chunkid, size, refs) VALUES (%s, 4096, 1)"
                   " ON CONFLICT (chunkid) DO UPDATE SET refs = jfs_chunk_ref.refs + 1", [number])
        if self.random.random() < 0.3:
            for table, key in (("jfs_edge", "parent = 1 AND inode"), ("jfs_chunk", "inode"),
                               ("jfs_xattr", "inode"), ("jfs_node", "inode"),
                               ("jfs_chunk_ref", "chunkid")):
                db.execute(f"DELETE FROM {table} WHERE {key} = %s", [number])

    def begin(self):
        self.start()
        wait_for("some history", lambda: self.transactions > 100 or self.problem)
        return self

    def finish(self):
        self._end.set()
        self.join(30)
        assert not self.is_alive()
        if self.problem:
            raise self.problem


def digests(volume, tables):
    """{table: digest of its rows}; columns by name, because their order may differ."""
    found = {}
    for table in tables:
        columns = ", ".join(f'"{name}"' for (name,) in volume.query(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
            " AND NOT attisdropped ORDER BY attname", [table]))
        found[table] = volume.query(
            f"SELECT count(*), md5(coalesce(string_agg(md5(t::text), '' ORDER BY t::text), ''))"
            f" FROM (SELECT {columns} FROM {table}) t")[0]
    return found


def assert_equal_tables(primary, mirror):
    tables = [f"{schema}.{table}" for schema, table in primary.query(
        "SELECT schemaname, tablename FROM pg_publication_tables WHERE pubname = 'tarn'"
        " AND (schemaname, tablename) <> ('tarn', 'heartbeat')")]
    assert len(tables) > 20
    mirror.wait_caught_up(90)

    def differing():
        # The primary's agent goes on with its jobs, which write too.
        here, there = digests(mirror, tables), digests(primary, tables)
        return [table for table in tables if here[table] != there[table]]
    try:
        wait_for("equal rows at both sites", lambda: not differing())
    except AssertionError as late:
        raise AssertionError(f"{late}: {differing()}") from None


def state(mirror):
    return mirror.value("SELECT state FROM tarn.local_site")


def is_site(mirror):
    return (mirror.value("SELECT to_regclass('tarn.local_site') IS NOT NULL")
            and mirror.value("SELECT count(*) FROM tarn.local_site") == 1)


def slots(primary):
    return [name for (name,) in primary.query(
        "SELECT slot_name FROM pg_replication_slots WHERE database = %s", [primary.database])]


def is_ready(mirror):
    return mirror.value("SELECT ready_at IS NOT NULL FROM tarn.local_site")


def wait_state(mirror, wanted, timeout=60):
    try:
        wait_for(f"state {wanted}", lambda: state(mirror) == wanted, timeout)
    except AssertionError as late:
        raise AssertionError(f"{late}: {mirror.query('SELECT * FROM tarn.local_site')}") from None


def stop_agent(mirror):
    """A program that has not begun yet cannot end cleanly."""
    wait_for("the agent has begun", lambda: "state" in mirror.agent.process.log())
    mirror.agent.stop()


@pytest.fixture
def joiner(primary, mirror_cluster, workdir):
    """A mirror that has not joined yet."""
    made = Mirror(mirror_cluster, primary, workdir)
    made.bucket.mkdir()
    yield made
    if made.agent.is_running():
        made.agent.kill9()
    mirror_cluster.drop_database(made.database)


def join_arguments(mirror, **changes):
    given = {"primary": mirror.primary_url, "name": mirror.site_name,
             "origin": f"{mirror.primary.bucket}/", "bucket": f"{mirror.bucket}/", **changes}
    return [word for name, value in given.items() for word in (f"--{name}", value)] + [mirror.url]


# ---- join


@contextlib.contextmanager
def held_copy(primary, joiner, workdir):
    """A join that has subscribed and whose copy of one table cannot end in here."""
    with primary.cluster.connect(primary.database) as there, \
            joiner.cluster.connect(joiner.database) as db:
        there.execute("BEGIN")
        there.execute("SELECT txid_current()")  # holds up the slot
        joining = Process([BIN / "tarn-mirror", "join", *join_arguments(joiner)],
                          workdir / "join.log")
        wait_for("it has the lock", lambda: "making slot" in joining.log())
        db.execute("BEGIN")
        db.execute("LOCK TABLE tarn.mark IN SHARE MODE")
        there.execute("ROLLBACK")
        wait_for("it has subscribed", lambda: "subscribed" in joining.log())
        yield joining
        db.execute("ROLLBACK")


def test_a_join_under_write_load_ends_with_equal_rows(primary, joiner):
    writer = Writer(primary).begin()
    joiner.join()
    assert is_ready(joiner) and state(joiner) == "FOLLOWING"
    before = writer.transactions
    wait_for("more is written", lambda: writer.transactions > before + 200)
    writer.finish()
    assert_equal_tables(primary, joiner)
    # History by the cursor, and what came later by the trigger.
    assert joiner.value("SELECT count(*) FROM tarn.cursor WHERE name = 'backfill'") == 1
    assert joiner.value("SELECT count(*) FROM tarn.slice_state") > 0
    assert joiner.value("SELECT tgenabled FROM pg_trigger WHERE tgname = 'tarn_slice_order'") == "A"


@pytest.mark.parametrize("variant", ["plain", "upgraded"])
def test_the_tables_of_the_mirror_are_those_of_the_primary(programs, cluster, mirror_cluster,
                                                           workdir, variant):
    source = Restored(cluster, variant, workdir).restore()
    source.query("ALTER TABLE jfs_node ALTER COLUMN uid TYPE bigint")
    source.adopt()
    made = Mirror(mirror_cluster, source, workdir).join()

    def shape(volume):
        return (volume.query(
            "SELECT a.attrelid::regclass::text, a.attname, a.attnum,"
            " format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid)"
            " FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
            " LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)"
            " WHERE c.relname LIKE 'jfs%' AND a.attnum > 0 ORDER BY 1, 2"),
            volume.query("SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"),
            volume.query("SELECT relname, relreplident FROM pg_class WHERE relname LIKE 'jfs%'"
                         " AND relkind = 'r' ORDER BY 1"))
    assert shape(made) == shape(source)
    assert_equal_tables(source, made)
    mirror_cluster.drop_database(made.database)
    cluster.drop_database(source.database)


def test_both_databases_may_be_in_one_cluster(primary, cluster, workdir):
    made = Mirror(cluster, primary, workdir).join()
    writer = Writer(primary).begin()
    writer.finish()
    assert_equal_tables(primary, made)
    assert mirror_command("leave", made.url).returncode == DONE
    cluster.drop_database(made.database)


@pytest.mark.parametrize("seed", range(7, 27 if os.environ.get("TARN_LONG") else 8))
def test_a_killed_join_is_gone_on_with(primary, joiner, workdir, seed):
    writer = Writer(primary).begin()
    chance = random.Random(seed)
    # What the log says when it is killed, a random moment later; from the first check to the copy.
    moments = ["ok       server", "ok       bucket", "ok       bucket", "making slot", "making slot",
               "subscribed", "is copied"]
    for attempt, moment in enumerate(moments):
        joining = Process([BIN / "tarn-mirror", "join", *join_arguments(joiner)],
                          workdir / f"join-{attempt}.log")
        wait_for(f"\"{moment}\" or the end",
                 lambda: moment in joining.log() or not joining.is_running(), 60, interval=0.001)
        time.sleep(chance.uniform(0, 0.05))
        joining.kill()
        if is_site(joiner) and is_ready(joiner):
            assert mirror_command("leave", joiner.url).returncode == DONE
    joiner.join()
    writer.finish()
    assert is_ready(joiner)
    assert slots(primary) == ["tarn_away"]
    assert_equal_tables(primary, joiner)


@pytest.mark.parametrize("statement", ["volume_ddl", "register", "slot_make", "table_sizes", "mark("])
def test_a_join_that_loses_an_answer_of_the_primary_can_be_repeated(primary, joiner, link,
                                                                    statement):
    joiner.primary_url = primary.url_by(link)
    link.lose_answer(f"tarn_1.{statement}")
    mirror_command("join", *join_arguments(joiner), timeout=120)
    link.wait_lost()
    joiner.join()
    assert is_ready(joiner)
    assert_equal_tables(primary, joiner)


def test_the_agent_finishes_what_a_killed_join_began(primary, joiner, workdir):
    with held_copy(primary, joiner, workdir) as joining:
        joining.kill()
        joiner.agent.start()
        wait_for("it copies", lambda: state(joiner) == "COPYING")
        stays("it is not ready", lambda: not is_ready(joiner), 1)
    joiner.wait_ready()
    wait_state(joiner, "FOLLOWING")
    assert_equal_tables(primary, joiner)


def test_a_join_takes_its_lock_again_when_it_reconnects(primary, joiner, workdir):
    def holders():
        return {pid for (pid,) in joiner.query(
            "SELECT l.pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
            " WHERE l.locktype = 'advisory' AND l.granted AND d.datname = current_database()")}
    with held_copy(primary, joiner, workdir) as joining:
        first = holders().pop()
        joiner.query("SELECT pg_terminate_backend(%s)", [first])
        wait_for("it has the lock again", lambda: len(holders() - {first}) == 1)
    assert joining.wait(120) == DONE, joining.log()
    assert_equal_tables(primary, joiner)


def test_the_bucket_of_a_mirror_has_the_shards_of_the_volume(programs, cluster, mirror_cluster,
                                                             workdir):
    source = Volume(cluster, cluster.create_database(), "vol", workdir)
    tarn("format", source.url, "vol", "--shards", "3", "--bucket", f"{workdir}/origin-%d/")
    made = Mirror(mirror_cluster, source, workdir)
    arguments = join_arguments(made, bucket=f"{workdir}/one/", origin=f"{workdir}/origin-%d/")
    refused(mirror_command("join", *arguments), STORE, "3 buckets")
    assert not (workdir / "one").exists()
    arguments = join_arguments(made, bucket=f"{workdir}/own-%d/", origin=f"{workdir}/origin-%d/")
    done = mirror_command("join", *arguments, timeout=120)
    assert done.returncode == DONE, done.stderr
    assert sorted(path.name for path in workdir.glob("own-*")) == ["own-0", "own-1", "own-2"]
    with source.mount() as here:
        for number in range(20):
            here.path(f"f{number}").write_bytes(b"x" * 10_000)
    made.wait_caught_up()
    made.sync_once()
    for number in range(3):
        assert any((workdir / f"own-{number}").rglob("*_0_10000"))
    assert mirror_command("leave", made.url).returncode == DONE
    mirror_cluster.drop_database(made.database)
    cluster.drop_database(source.database)


@pytest.mark.parametrize("side", ["primary", "mirror"])
def test_a_join_survives_a_restart_of_either_server(primary, joiner, workdir, side):
    with primary.cluster.connect(primary.database) as db:
        db.execute("INSERT INTO jfs_xattr (inode, name, value) SELECT g, 'user.b', repeat('x', 900)"
                   "::bytea FROM generate_series(1, 60000) g")
    joining = Process([BIN / "tarn-mirror", "join", *join_arguments(joiner)], workdir / "join.log")
    wait_for("it has subscribed", lambda: "subscribed" in joining.log())
    (primary if side == "primary" else joiner).cluster.restart("fast")
    assert joining.wait(120) == DONE, joining.log()
    assert_equal_tables(primary, joiner)


def test_joining_twice_changes_nothing(primary, joiner):
    joiner.join()
    before = joiner.query("SELECT * FROM tarn.local_site")
    again = mirror_command("join", *join_arguments(joiner))
    assert again.returncode == DONE and "already" in again.stdout
    assert joiner.query("SELECT * FROM tarn.local_site") == before
    assert_equal_tables(primary, joiner)


def test_join_refuses_what_cannot_become_this_mirror(primary, joiner, cluster, mirror_cluster,
                                                     workdir):
    refused(mirror_command("join", *join_arguments(joiner, name="Not a name")), USAGE, "--name")
    refused(mirror_command("join", joiner.url), USAGE, "--primary")
    refused(mirror_command("join", *join_arguments(joiner, bucket=f"{workdir}/no/where/")), STORE,
            "bucket")
    refused(mirror_command("join", *join_arguments(joiner, primary="postgres://x@127.0.0.1:1/y")),
            UNREACHABLE, "primary")
    refused(mirror_command("join", *join_arguments(joiner, name="home")), FAILED,
            'another site is called "home"')
    stock = Restored(cluster, "notrash", workdir).restore()
    refused(mirror_command("join", *join_arguments(joiner, primary=stock.url)), NOT_FORMATTED,
            "adopted")
    busy = mirror_command("join", *join_arguments(joiner)[:-1], stock.url)
    refused(busy, FAILED, "already holds a volume")
    refused(mirror_command("join", *join_arguments(joiner)[:-1], primary.url), FAILED,
            "is the primary")
    assert joiner.value("SELECT count(*) FROM pg_class WHERE relname LIKE 'jfs%'") == 0
    assert primary.value("SELECT count(*) FROM tarn.site") == 1
    cluster.drop_database(stock.database)


def test_a_name_belongs_to_one_mirror(primary, joiner, mirror_cluster, workdir):
    joiner.join()
    other = Mirror(mirror_cluster, primary, workdir)
    refused(mirror_command("join", *join_arguments(other)), FAILED, "away")
    assert is_ready(joiner)
    mirror_cluster.drop_database(other.database)


def test_join_says_what_it_finds_and_check_changes_nothing(primary, joiner):
    done = mirror_command("join", *join_arguments(joiner), "--check", "--json")
    assert done.returncode == DONE
    topics = {finding["topic"] for finding in json.loads(done.stdout)}
    assert {"server", "privileges", "target", "clock", "primary", "slots", "bucket"} <= topics
    assert joiner.value("SELECT count(*) FROM pg_class WHERE relname LIKE 'jfs%'") == 0


# ---- run


def test_the_agent_names_its_states(primary, mirror):
    wait_state(mirror, "FOLLOWING")
    primary.agent.stop()
    wait_state(mirror, "STALLED")
    assert "heartbeat" in mirror.value("SELECT detail FROM tarn.local_site")
    primary.agent.start()
    wait_state(mirror, "FOLLOWING")
    assert mirror.value("SELECT detail FROM tarn.local_site") is None
    mirror.agent.stop()


def test_a_cut_line_stalls_and_heals(primary, mirror, link):
    writer = Writer(primary).begin()
    link.refuse()
    wait_state(mirror, "STALLED")
    link.accept()
    wait_state(mirror, "FOLLOWING")
    writer.finish()
    assert_equal_tables(primary, mirror)


@pytest.mark.parametrize("side", ["primary", "mirror"])
@pytest.mark.parametrize("way", ["fast", "immediate"])
def test_either_server_may_be_restarted(primary, mirror, side, way):
    (primary if side == "primary" else mirror).cluster.restart(way)
    before = mirror.value("SELECT max(seq) FROM tarn.heartbeat")
    wait_for("heartbeats arrive",
             lambda: mirror.value("SELECT max(seq) FROM tarn.heartbeat") > before + 1, 60)
    wait_state(mirror, "FOLLOWING")
    Writer(primary).begin().finish()
    assert_equal_tables(primary, mirror)


def test_a_column_added_at_the_primary_is_added_here(primary, mirror):
    primary.query("ALTER TABLE jfs_node ADD COLUMN birth_time bigint DEFAULT 7")
    primary.query("ALTER TABLE jfs_edge ADD COLUMN note text")
    writer = Writer(primary).begin()
    wait_for("the columns are here", lambda: mirror.value(
        "SELECT count(*) FROM pg_attribute WHERE attname IN ('birth_time', 'note')"
        " AND attrelid IN ('jfs_node'::regclass, 'jfs_edge'::regclass)") == 2, 60)
    writer.finish()
    assert_equal_tables(primary, mirror)
    assert "birth_time" in mirror.agent.process.log()


def test_a_table_published_since_the_join_is_followed(primary, mirror):
    """What `adopt` of a newer version does at the primary."""
    primary.query("CREATE TABLE public.jfs_later (id bigserial PRIMARY KEY, word text UNIQUE)")
    primary.query("INSERT INTO public.jfs_later (word) VALUES ('before')")
    primary.query("ALTER PUBLICATION tarn ADD TABLE public.jfs_later")
    wait_for("its rows are here", lambda: mirror.value("SELECT to_regclass('public.jfs_later')")
             and mirror.value("SELECT count(*) FROM public.jfs_later") == 1, 60)
    primary.query("INSERT INTO public.jfs_later (word) VALUES ('after')")
    assert_equal_tables(primary, mirror)
    # A table of our own comes with the program: told about, and followed once it is here.
    primary.query("CREATE TABLE tarn.later (id bigint PRIMARY KEY)")
    primary.query("INSERT INTO tarn.later VALUES (1)")
    primary.query("ALTER PUBLICATION tarn ADD TABLE tarn.later")
    wait_for("it is told", lambda: "newer version" in mirror.agent.process.log(), 60)
    wait_state(mirror, "FOLLOWING")
    mirror.query("CREATE TABLE tarn.later (id bigint PRIMARY KEY)")
    wait_for("its row is here", lambda: mirror.value("SELECT count(*) FROM tarn.later") == 1, 60)
    assert_equal_tables(primary, mirror)


def test_a_slot_made_again_by_hand_is_noticed(primary, mirror):
    """PostgreSQL itself goes on without an error; rows are missing."""
    mirror.without_reseed()
    mirror.query("ALTER SUBSCRIPTION tarn_away DISABLE")
    wait_for("the slot is free", lambda: not primary.value(
        "SELECT active FROM pg_replication_slots WHERE slot_name = 'tarn_away'"))
    primary.query("SELECT pg_drop_replication_slot('tarn_away')")
    primary.query("INSERT INTO tarn.job VALUES (1, 'lost', '', '{}')")
    seq = primary.value("SELECT seq FROM tarn.heartbeat")
    wait_for("beats are lost", lambda: primary.value("SELECT seq FROM tarn.heartbeat") > seq + 2)
    mirror.agent.stop()  # the trigger alone has to notice
    primary.query("SELECT pg_create_logical_replication_slot('tarn_away', 'pgoutput')")
    mirror.query("ALTER SUBSCRIPTION tarn_away ENABLE")
    wait_state(mirror, "LOST")
    assert "rows are missing" in mirror.value("SELECT detail FROM tarn.local_site")
    mirror.agent.start()
    stays("LOST does not go away", lambda: state(mirror) == "LOST", 3)
    assert "level=error" in mirror.agent.process.log()
    assert is_ready(mirror), "it stays readable"
    done = mirror_command("status", mirror.url)
    assert done.returncode == NOT_READY and "LOST" in done.stdout


def test_a_slot_that_is_gone_is_noticed(primary, mirror):
    mirror.without_reseed()
    wait_state(mirror, "FOLLOWING")
    primary.query("SELECT pg_terminate_backend(active_pid), pg_drop_replication_slot(slot_name)"
                  " FROM pg_replication_slots WHERE slot_name = 'tarn_away' AND NOT active")
    mirror.query("ALTER SUBSCRIPTION tarn_away DISABLE")
    wait_for("the slot is free", lambda: not primary.value(
        "SELECT bool_or(active) FROM pg_replication_slots WHERE slot_name = 'tarn_away'"))
    primary.query("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
                  " WHERE slot_name = 'tarn_away'")
    wait_state(mirror, "LOST")
    assert "gone" in mirror.value("SELECT detail FROM tarn.local_site")


def test_a_lost_mirror_is_seeded_again(primary, mirror):
    mirror.query("UPDATE tarn.local_site SET state = 'LOST'")
    stop_agent(mirror)
    assert mirror_command("leave", mirror.url).returncode == DONE
    mirror.join()
    mirror.agent.start()
    wait_state(mirror, "FOLLOWING")
    Writer(primary).begin().finish()
    assert_equal_tables(primary, mirror)


def test_the_status_has_what_an_operator_needs(primary, mirror):
    seen = mirror.status()
    assert (seen["site"], seen["role"], seen["ready"]) == ("away", "mirror", True)
    assert {"received_lsn", "applied_lsn", "bytes", "seconds"} <= seen["lag"].keys()
    assert seen["subscription"]["worker"] and seen["subscription"]["errors"] == 0
    assert seen["subscription"]["tables_ready"] == seen["subscription"]["tables_total"] > 20
    assert seen["primary"]["reached"] and seen["primary"]["slot"] == "reserved"
    assert seen["slices_waiting"] == 0
    assert "tarn@127.0.0.1" in seen["primary_url"]


def test_the_status_works_while_the_primary_is_down(primary, mirror):
    wait_state(mirror, "FOLLOWING")
    primary.cluster.stop("fast")
    try:
        seen = mirror.status()
        assert not seen["primary"]["reached"] and seen["ready"]
        age = seen["lag"]["seconds"]
        wait_for("the lag grows", lambda: mirror.status()["lag"]["seconds"] > age + 1)
    finally:
        primary.cluster.start()
    wait_state(mirror, "FOLLOWING")


def test_one_agent_works_at_a_time(primary, mirror, workdir):
    wait_for("the first works", lambda: "state FOLLOWING" in mirror.agent.log.read_text())
    second = Process([BIN / "tarn-mirror", "run", mirror.url], workdir / "second.log")
    wait_for("the second waits", lambda: "waiting for it to end" in second.log())
    assert second.stop() == DONE
    refused(mirror_command("leave", mirror.url), FAILED, "running")
    assert mirror.agent.is_running()


# ---- passwords


def test_a_password_is_stored_for_postgresql_alone(programs, mirror_cluster, session_directory,
                                                   workdir):
    from harness.cluster import Cluster
    from harness.site import Primary
    secret = "s3cret-pa$$ w%rd"
    cluster = Cluster(session_directory / "pg-secret", "pg-secret", password="x").create()
    try:
        with cluster.connect("postgres") as db:
            db.execute(f"ALTER ROLE tarn PASSWORD '{secret}'")
        source = Primary(cluster, "vol", workdir)
        bare = f"postgres://tarn@127.0.0.1:{cluster.port}/{source.database}"
        env = {"META_PASSWORD": secret}
        source.bucket.mkdir()
        tarn("format", bare, "vol", "--bucket", f"{source.bucket}/", env=env)
        made = Mirror(mirror_cluster, source, workdir)
        made.bucket.mkdir()
        arguments = join_arguments(made, primary=bare)
        refused(mirror_command("join", *arguments), DENIED)
        done = mirror_command("join", *arguments, env={"TARN_PRIMARY_PASSWORD": secret}, timeout=120)
        assert done.returncode == DONE, done.stderr
        assert_equal_tables(source, made)
        assert made.value("SELECT primary_url FROM tarn.local_site") == bare
        for text in (done.stdout, done.stderr, mirror_command("status", made.url).stdout):
            assert secret not in text and "s3cret" not in text
        for log in (cluster.log_path, mirror_cluster.log_path):
            with open(log, encoding="utf-8", errors="replace") as file:
                assert "s3cret" not in file.read()
        assert mirror_command("leave", made.url).returncode == DONE
        assert slots(source) == []
        mirror_cluster.drop_database(made.database)
    finally:
        cluster.destroy()


# ---- leave


def test_leave_takes_away_subscription_slot_and_name(primary, mirror):
    stop_agent(mirror)
    assert mirror_command("leave", mirror.url).returncode == DONE
    assert mirror.value("SELECT count(*) FROM pg_subscription") == 0
    assert slots(primary) == []
    assert primary.query("SELECT name FROM tarn.site") == [("home",)]
    assert state(mirror) == "LEFT" and not is_ready(mirror)


def test_leave_does_not_forget_a_primary_that_is_away(primary, mirror, link):
    stop_agent(mirror)
    link.refuse()
    refused(mirror_command("leave", mirror.url), UNREACHABLE, "--force")
    assert mirror.value("SELECT count(*) FROM pg_subscription") == 1
    done = mirror_command("leave", "--force", mirror.url)
    assert done.returncode == DONE and "pg_drop_replication_slot('tarn_away')" in done.stdout
    link.accept()


@pytest.mark.parametrize("command", ["run", "status", "reseed", "leave"])
def test_a_database_that_is_no_mirror_is_refused(primary, mirror_cluster, command):
    empty = mirror_cluster.create_database()
    refused(mirror_command(command, mirror_cluster.url(empty)), NOT_FORMATTED, "no mirror")
    refused(mirror_command(command, primary.url), NOT_READY, "is the primary")
    mirror_cluster.drop_database(empty)


@pytest.mark.parametrize("command", ["join", "run", "status", "reseed", "leave"])
def test_every_command_explains_itself(programs, command):
    done = mirror_command(command, "--help")
    assert done.returncode == DONE and "MIRROR-URL" in done.stdout and "Exit codes" in done.stdout
    assert mirror_command(command, "--nonsense").returncode == USAGE


def test_the_json_of_status_is_json(mirror):
    assert tarn_json("mirror", "status", mirror.url)["state"] in ("FOLLOWING", "STALLED")
