"""tarn-primary: a new volume, a stock client's volume adopted, and the agent through what befalls it."""

import json
import os
import signal
import socket
import urllib.error
import urllib.request

import pytest

from harness.port import Port
from harness.process import Process
from harness.volume import (BIN, DENIED, DONE, FAILED, NOT_FORMATTED, STORE, UNREACHABLE, USAGE,
                            Restored, Volume, tarn, tarn_json)
from harness.wait import stays, wait_for

SLICE_ID_HIGH = 8 << 40  # the first epoch after 0 that the first primary may begin


def refused(done, code, *words):
    """The command failed with this code and said why in one line of stderr."""
    assert done.returncode == code, f"{done.returncode}: {done.stdout}{done.stderr}"
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0], lines[0]


def primary(*arguments, **options):
    options.setdefault("check", False)
    return tarn("primary", *arguments, **options)


def identities(volume):
    """{table: index} of every table that is identified by an index."""
    return dict(volume.query(
        "SELECT c.relname, x.relname FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid"
        " AND i.indisreplident JOIN pg_class x ON x.oid = i.indexrelid WHERE c.relreplident = 'i'"))


def published(volume):
    return {f"{schema}.{table}" for schema, table in volume.query(
        "SELECT schemaname, tablename FROM pg_publication_tables WHERE pubname = 'tarn'")}


class Agent(Process):
    """`tarn-primary run` with its HTTP service on a port of its own."""

    def __init__(self, url, log, *options):
        self._kept_port = Port()
        self.port = self._kept_port.number
        super().__init__([BIN / "tarn-primary", "run", url, "--metrics", f"127.0.0.1:{self.port}",
                          *options], log)

    def get(self, path):
        """(HTTP status, body); (0, "") while nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.read().decode()
        except OSError:
            return 0, ""

    def wait_ready(self, timeout=60):
        def ready():
            assert self.is_running(), self.log_tail()
            return self.get("/readyz")[0] == 200
        wait_for("the agent is ready", ready, timeout)
        return self


@pytest.fixture
def agent(volume, workdir):
    made = Agent(volume.url, workdir / "agent.log").wait_ready()
    yield made
    if made.is_running():
        made.stop()


# ---- format


def test_a_new_volume_is_a_primary_at_once(volume):
    assert volume.query("SELECT name, role, state FROM tarn.local_site") == [
        ("primary", "primary", "PRIMARY")]
    assert identities(volume) == {"jfs_edge": "UQE_jfs_edge_edge",
                                  "jfs_xattr": "UQE_jfs_xattr_name",
                                  "jfs_chunk": "UQE_jfs_chunk_chunk"}
    row = json.loads(volume.value("SELECT value FROM jfs_setting WHERE name = 'format'"))
    assert (volume.bucket / "vol" / "juicefs_uuid").read_text() == row["UUID"]


def test_every_option_of_format_reaches_the_format_row(programs, cluster, database, workdir):
    made = Volume(cluster, database, "opts", workdir)
    made.format("--block-size", "256K", "--compress", "zstd", "--hash-prefix", "--capacity", "3",
                "--inodes", "1000", "--trash-days", "0", "--site", "paris")
    row = json.loads(made.value("SELECT value FROM jfs_setting WHERE name = 'format'"))
    assert (row["BlockSize"], row["Compression"], row["HashPrefix"]) == (256, "zstd", True)
    assert (row["Capacity"], row["Inodes"], row["TrashDays"]) == (3 << 30, 1000, 0)
    assert made.value("SELECT name FROM tarn.local_site") == "paris"


def test_the_identity_object_of_an_encrypted_volume_is_encrypted(programs, cluster, database,
                                                                 workdir):
    made = Volume(cluster, database, "secret", workdir)
    key = Restored(cluster, "aes256gcm-rsa", workdir / "unused")
    os.environ.update(key.env)
    try:
        made.format("--encrypt-rsa-key", key.source / "key.pem")
    finally:
        for name in key.env:
            os.environ.pop(name)
        cluster.drop_database(key.database)
    stored = (made.bucket / "secret" / "juicefs_uuid").read_bytes()
    row = json.loads(made.value("SELECT value FROM jfs_setting WHERE name = 'format'"))
    assert row["UUID"].encode() not in stored
    assert "PRIVATE KEY" not in json.dumps(row)


def test_format_does_not_touch_what_is_there(volume, cluster, workdir):
    before = volume.value("SELECT value FROM jfs_setting WHERE name = 'format'")
    done = primary("format", volume.url, "vol", "--bucket", f"{workdir}/elsewhere/")
    refused(done, FAILED, "already holds the volume")
    assert not (workdir / "elsewhere").exists()
    other = cluster.create_database()
    done = primary("format", cluster.url(other), "vol", "--bucket", f"{volume.bucket}/")
    refused(done, STORE, "already holds objects")
    assert cluster.query(other, "SELECT relname FROM pg_class WHERE relname LIKE 'jfs%'") == []
    cluster.drop_database(other)
    assert volume.value("SELECT value FROM jfs_setting WHERE name = 'format'") == before


def test_format_refuses_what_cannot_be_a_volume(programs, cluster, database, workdir):
    url = cluster.url(database)
    refused(primary("format", url, "NO", "--bucket", workdir / "b"), USAGE, "name")
    refused(primary("format", url, "vol"), USAGE, "--bucket")
    refused(primary("format", url, "vol", "--bucket", workdir / "no" / "b"), STORE, "bucket")
    refused(primary("format", "postgres://nobody@127.0.0.1:1/x", "vol", "--bucket",
                    workdir / "b"), UNREACHABLE)
    assert cluster.query(database, "SELECT relname FROM pg_class WHERE relname LIKE 'jfs%'") == []
    assert not (workdir / "no").exists()


# ---- adopt


@pytest.mark.parametrize("variant", ["plain", "upgraded", "notrash"])
def test_a_stock_volume_is_adopted_and_left_as_it_is(programs, cluster, workdir, variant):
    made = Restored(cluster, variant, workdir).restore()
    names = [row[0] for row in made.query(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND relkind = 'r' ORDER BY 1")]

    def contents():
        return {name: made.value(f"SELECT md5(coalesce(string_agg(t::text, '' ORDER BY t::text), ''))"
                                 f" FROM public.{name} t") for name in names}
    before = contents()
    first = json.loads(primary("adopt", made.url, "--name", "home", "--json").stdout)
    assert first["adopted"] and first["steps"]
    assert contents() == before
    assert {"public.jfs_node", "public.jfs_edge", "tarn.heartbeat", "tarn.slot"} <= published(made)
    assert not {"public.jfs_session2", "public.jfs_flock", "public.jfs_plock",
                "public.jfs_sustained", "public.jfs_change_log",
                "public.jfs_delegation_token", "tarn.local_site"} & published(made)
    assert set(identities(made)) == {"jfs_edge", "jfs_xattr", "jfs_chunk"}
    trash = [f for f in first["findings"] if f["topic"] == "trash"]
    assert [f["level"] for f in trash] == ["advice" if variant == "notrash" else "ok"]

    def state():
        return made.query("SELECT s::text FROM tarn.site s"
                          " UNION ALL SELECT l::text FROM tarn.local_site l"
                          " UNION ALL SELECT h::text FROM tarn.heartbeat h"
                          " UNION ALL SELECT oid::text FROM pg_publication"
                          " UNION ALL SELECT oid::text FROM pg_proc WHERE proname = 'lookup'")
    settled = state()
    again = json.loads(primary("adopt", made.url, "--json").stdout)
    assert again["adopted"] and again["steps"] == []
    assert state() == settled
    cluster.drop_database(made.database)


def test_adopt_says_what_stands_against_it_and_changes_nothing(programs, cluster, workdir):
    made = Restored(cluster, "plain", workdir).restore()
    made.query('DROP INDEX "UQE_jfs_edge_edge"')
    done = primary("adopt", made.url)
    refused(done, FAILED, "jfs_edge")
    mend = [line.split("mend with: ")[1] for line in done.stdout.splitlines()
            if line.startswith("problem")]
    assert made.value("SELECT to_regnamespace('tarn') IS NULL")
    made.query(mend[0])
    assert primary("adopt", made.url).returncode == DONE
    cluster.drop_database(made.database)


def test_adopt_refuses_a_database_without_a_volume(programs, cluster, database):
    refused(primary("adopt", cluster.url(database)), NOT_FORMATTED, "holds no volume")


def test_adopt_refuses_a_volume_with_a_prefix_and_says_why(programs, cluster, workdir):
    made = Restored(cluster, "notrash", workdir).restore()
    for (name,) in made.query("SELECT relname FROM pg_class WHERE relkind = 'r'"
                              " AND relname LIKE 'jfs\\_%'"):
        made.query(f"ALTER TABLE public.{name} RENAME TO {name.replace('jfs_', 'jfs_x_')}")
    refused(primary("adopt", made.url), NOT_FORMATTED, "prefix")
    cluster.drop_database(made.database)


def test_adopt_refuses_tables_of_an_old_client(programs, cluster, workdir):
    made = Restored(cluster, "notrash", workdir).restore()
    made.query("ALTER TABLE jfs_node DROP COLUMN tier_id")
    refused(primary("adopt", made.url), NOT_FORMATTED, "jfs_node.tier_id")
    cluster.drop_database(made.database)


def test_adopt_needs_the_owner_of_the_tables(volume, cluster):
    cluster.query("postgres", "CREATE ROLE stranger LOGIN")
    try:
        refused(primary("adopt", cluster.url(volume.database, user="stranger")), DENIED, "stranger")
    finally:
        wait_for("its session is gone", lambda: not cluster.value(
            "postgres", "SELECT count(*) FROM pg_stat_activity WHERE usename = 'stranger'"))
        cluster.query("postgres", "DROP ROLE stranger")


def test_a_primary_is_renamed_only_while_it_has_no_mirror(volume):
    assert primary("adopt", volume.url, "--name", "paris").returncode == DONE
    assert volume.value("SELECT site FROM tarn.heartbeat") == "paris"
    volume.query("INSERT INTO tarn.site VALUES ('tokyo', 'mirror', 0, '1')")
    done = primary("adopt", volume.url, "--name", "berlin")
    refused(done, FAILED, "has mirrors")
    assert volume.value("SELECT name FROM tarn.local_site") == "paris"


# ---- run


def test_the_heartbeat_has_no_gap_and_one_row(agent, volume):
    """Every beat is noted by the database: who only looks now and then may miss some."""
    volume.query("CREATE TABLE public.beat (seq int8, at timestamptz DEFAULT clock_timestamp());"
                 "CREATE FUNCTION public.note_beat() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN"
                 " INSERT INTO public.beat (seq) VALUES (NEW.seq); RETURN NULL; END';"
                 "CREATE TRIGGER note_beat AFTER INSERT OR UPDATE ON tarn.heartbeat FOR EACH ROW"
                 " EXECUTE FUNCTION public.note_beat()")
    wait_for("four beats", lambda: volume.value("SELECT count(*) FROM public.beat") >= 4)
    seen = [seq for (seq,) in volume.query("SELECT seq FROM public.beat ORDER BY at")]
    assert seen == list(range(seen[0], seen[0] + len(seen)))
    assert volume.value("SELECT count(*) FROM tarn.heartbeat") == 1


def test_quotas_are_metrics_of_the_agent(volume, workdir):
    inodes = {}
    with volume.mount() as mount:
        for name, limit in (("space", ["--capacity", "1"]), ("names", ["--inodes", "10"])):
            mount.path(name).mkdir()
            mount.path(name, "f").write_text("x")
            inodes[name] = os.stat(mount.path(name)).st_ino
            tarn("quota", "set", volume.url, "--path", f"/{name}", *limit)
    agent = Agent(volume.url, workdir / "agent.log").wait_ready()
    try:
        def shown():
            lines = agent.get("/metrics")[1].splitlines()
            pairs = (line.split() for line in lines if line.startswith("tarn_quota"))
            return {name: int(value) for name, value in pairs}
        space, names = (f'{{inode="{inodes[name]}"}}' for name in ("space", "names"))
        expected = {
            "tarn_quotas": 2,
            f"tarn_quota_max_space_bytes{space}": 1 << 30, f"tarn_quota_used_space_bytes{space}": 4096,
            f"tarn_quota_used_inodes{space}": 1,
            f"tarn_quota_max_inodes{names}": 10, f"tarn_quota_used_space_bytes{names}": 4096,
            f"tarn_quota_used_inodes{names}": 1}
        wait_for("the quotas are shown", lambda: shown() == expected)
        tarn("quota", "delete", volume.url, "--path", "/space")
        wait_for("one is gone", lambda: space not in agent.get("/metrics")[1]
                 and shown()["tarn_quotas"] == 1)
    finally:
        agent.stop()


def test_the_agent_shows_itself(agent, volume):
    status = json.loads(agent.get("/v1/status")[1])
    assert status["state"] == "PRIMARY" and status["epoch_object_ok"]
    assert "tarn_heartbeat_seq" in agent.get("/metrics")[1]
    assert agent.get("/healthz")[0] == 200
    assert tarn_json("primary", "status", volume.url)["agent_running"]
    mark = json.loads((volume.bucket / "vol" / "tarn" / "epoch").read_text())
    assert mark["epoch"] == 0
    assert mark["system_identifier"] == volume.value(
        "SELECT system_identifier::text FROM pg_control_system()")


def test_the_agent_logs_as_it_is_told(volume, workdir):
    agent = Agent(volume.url, workdir / "json.log", "--log-format", "json").wait_ready()
    assert agent.stop() == DONE
    assert all(json.loads(line) for line in agent.log().splitlines())
    refused(primary("run", "--log-level", "loud", volume.url), USAGE, "loud")


def test_one_agent_works_and_the_next_takes_over(agent, volume, workdir):
    second = Agent(volume.url, workdir / "second.log")
    wait_for("the second agent waits", lambda: "WAITING" in second.get("/v1/status")[1])
    stays("only one is ready", lambda: second.get("/readyz")[0] == 503, 2)
    agent.kill()
    second.wait_ready()
    assert second.stop() == DONE


@pytest.mark.parametrize("way", ["fast", "immediate", "kill"])
def test_the_agent_survives_a_restart_of_postgresql(agent, volume, cluster, way):
    if way == "kill":
        cluster.kill9()
    else:
        cluster.stop(way)
    wait_for("the agent is not ready", lambda: agent.get("/readyz")[0] == 503)
    assert agent.get("/healthz")[0] == 200
    cluster.start()
    agent.wait_ready(60)
    before = volume.value("SELECT seq FROM tarn.heartbeat")
    wait_for("it beats again", lambda: volume.value("SELECT seq FROM tarn.heartbeat") > before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_agent_cleanly(agent, number):
    assert agent.stop(number) == DONE


def test_the_agent_tells_systemd(volume, workdir):
    path = str(workdir / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(path)
        notify.settimeout(60)
        agent = Process([BIN / "tarn-primary", "run", volume.url], workdir / "n.log",
                        env={"NOTIFY_SOCKET": path})
        assert b"READY=1" in notify.recv(4096)
        agent.stop()
        assert b"STOPPING=1" in notify.recv(4096)


def test_a_slot_is_watched(agent, volume):
    volume.query("SELECT pg_create_logical_replication_slot('tarn_tokyo', 'pgoutput')")
    volume.query("CREATE TABLE noise AS SELECT g FROM generate_series(1, 100000) g")

    def slot():
        found = json.loads(agent.get("/v1/status")[1])["slots"]
        return found and found[0]["lag_bytes"] > 1 << 20 and found[0]
    seen = wait_for("the lag is seen", slot)
    assert seen["site"] == "tokyo" and not seen["active"] and seen["wal_status"] == "reserved"
    assert 'tarn_slot_lag_bytes{slot="tarn_tokyo"}' in agent.get("/metrics")[1]
    assert "is away" in agent.log()
    volume.query("SELECT pg_drop_replication_slot('tarn_tokyo')")
    wait_for("the slot is forgotten",
             lambda: "tarn_slot_lag_bytes{" not in agent.get("/metrics")[1])


def test_a_database_behind_its_bucket_is_refused_until_its_epoch_is_raised(volume, workdir):
    Agent(volume.url, workdir / "a.log").wait_ready().stop()
    path = volume.bucket / "vol" / "tarn" / "epoch"
    mark = json.loads(path.read_text())
    # What a newer life of this database has written, before it was restored from a backup.
    path.write_text(json.dumps({**mark, "next_chunk": mark["next_chunk"] + 4096}))
    behind = Agent(volume.url, workdir / "b.log")
    assert behind.wait() != DONE
    assert "behind its bucket" in behind.log() and "--raise-epoch" in behind.log()
    assert primary("adopt", volume.url, "--raise-epoch").returncode == DONE
    counters = dict(volume.query("SELECT name, value FROM jfs_counter"))
    assert counters["nextChunk"] == counters["nextInode"] == SLICE_ID_HIGH
    assert counters["nextSession"] == 8 << 32
    Agent(volume.url, workdir / "c.log").wait_ready().stop()
    with volume.mount() as here:
        here.path("f").write_text("x")
        assert os.stat(here.path("f")).st_ino >= SLICE_ID_HIGH
    assert volume.value("SELECT min(chunkid) FROM jfs_chunk_ref") >= SLICE_ID_HIGH


def test_a_copy_of_the_database_in_another_cluster_is_refused(volume, workdir):
    Agent(volume.url, workdir / "a.log").wait_ready().stop()
    path = volume.bucket / "vol" / "tarn" / "epoch"
    mark = json.loads(path.read_text())
    path.write_text(json.dumps({**mark, "system_identifier": "1"}))
    other = Agent(volume.url, workdir / "b.log")
    assert other.wait() != DONE
    assert "another PostgreSQL cluster" in other.log()


def test_the_agent_beats_on_while_the_bucket_is_away(volume, workdir):
    hidden = volume.bucket.with_name("hidden")
    volume.bucket.rename(hidden)
    agent = Agent(volume.url, workdir / "a.log")
    wait_for("it beats", lambda: volume.value("SELECT seq FROM tarn.heartbeat") > 1)
    wait_for("it tells so", lambda: json.loads(agent.get("/v1/status")[1] or "{}").get(
        "epoch_object_ok") is False)
    hidden.rename(volume.bucket)
    wait_for("the object is written", (volume.bucket / "vol" / "tarn" / "epoch").exists)
    agent.stop()


def test_run_and_status_refuse_what_is_not_adopted(programs, cluster, workdir):
    made = Restored(cluster, "notrash", workdir).restore()
    refused(primary("run", made.url), NOT_FORMATTED, "adopt")
    refused(primary("status", made.url), NOT_FORMATTED, "adopt")
    refused(primary("run", "postgres://nobody@127.0.0.1:1/x"), UNREACHABLE)
    refused(primary("run", "mysql://x"), USAGE)
    cluster.drop_database(made.database)


@pytest.mark.parametrize("command", ["format", "adopt", "run", "status"])
def test_every_command_explains_itself(programs, command):
    done = primary(command, "--help")
    assert done.returncode == DONE and "META-URL" in done.stdout and "Exit codes" in done.stdout
    assert primary(command, "--nonsense").returncode == USAGE
