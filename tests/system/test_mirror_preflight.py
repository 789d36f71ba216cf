"""Joining by roles that may little, through TLS and a passfile, and what the check before it names.

One cluster stands for the strict administrator: passwords and client certificates, and settings that
the tests make too small.
"""

import glob
import json
import os
import subprocess
import threading

import psycopg
import pytest

from harness.cluster import Cluster, account
from harness.process import Process
from harness.site import Mirror, Primary
from harness.volume import BIN, DENIED, DONE, FAILED, NOT_FORMATTED, tarn
from harness.wait import wait_for
from test_mirror_join import (assert_equal_tables, join_arguments, joiner, mirror_command,  # noqa: F401
                              refused, slots, stop_agent)

CANARY = "canary-5ecret"


def own_file(path, mode=0o600):
    """PostgreSQL's account reads it, nobody else may."""
    owner = account()
    if owner:
        os.chown(path, owner.pw_uid, owner.pw_gid)
    os.chmod(path, mode)
    return path


def make_certificates(directory):
    """A CA of our own, a certificate of the server for localhost, and one of the client repl."""
    directory.mkdir(mode=0o755)

    def openssl(*arguments):
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True,
                       cwd=directory)
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", 2, "-subj", "/CN=our-ca",
            "-keyout", "ca.key", "-out", "ca.crt")
    for name, subject in (("server", "/CN=localhost"), ("repl", "/CN=repl")):
        (directory / f"{name}.ext").write_text("subjectAltName=DNS:localhost\n")
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", subject, "-keyout", f"{name}.key",
                "-out", f"{name}.csr")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key",
                "-CAcreateserial", "-days", 2, "-extfile", f"{name}.ext", "-out", f"{name}.crt")
        own_file(directory / f"{name}.key")
    return directory


class Strict:
    """A cluster with passwords and TLS, and a volume whose mirrors come as the role repl."""

    def __init__(self, directory):
        self.certificates = make_certificates(directory / "strict-certificates")
        self.cluster = Cluster(directory / "pg-strict", "pg-strict", password="owner-pw", settings={
            "ssl": "on", "ssl_ca_file": self.certificates / "ca.crt",
            "ssl_cert_file": self.certificates / "server.crt",
            "ssl_key_file": self.certificates / "server.key"}).create()
        self.query("postgres", f"CREATE ROLE repl LOGIN PASSWORD '{CANARY}'")
        with open(f"{self.cluster.data}/pg_hba.conf", encoding="ascii") as file:
            rest = file.read()
        with open(f"{self.cluster.data}/pg_hba.conf", "w", encoding="ascii") as file:
            file.write("hostssl all repl 127.0.0.1/32 scram-sha-256 clientcert=verify-ca\n"
                       "host all repl 127.0.0.1/32 reject\n" + rest)
        self.query("postgres", "SELECT pg_reload_conf()")

    def query(self, database, text):
        return self.cluster.query(database, text)

    def repl_url(self, database, mode="verify-full", extra=""):
        place = self.certificates
        return (f"postgres://repl@localhost:{self.cluster.port}/{database}?sslmode={mode}"
                f"&sslrootcert={place}/ca.crt&sslcert={place}/repl.crt&sslkey={place}/repl.key{extra}")

    def passfile(self, directory):
        path = directory / "passfile"
        path.write_text(f"localhost:{self.cluster.port}:*:repl:{CANARY}\n")
        return own_file(path)

    def set(self, **settings):
        """Restart with other settings; None: as before."""
        with self.cluster.connect("postgres") as db:
            for name, value in settings.items():
                db.execute(f"ALTER SYSTEM RESET {name}" if value is None
                           else f"ALTER SYSTEM SET {name} = '{value}'")
        self.cluster.restart("fast")


@pytest.fixture(scope="module")
def strict(session_directory):
    made = Strict(session_directory)
    yield made
    made.cluster.destroy()


@pytest.fixture
def volume(programs, strict, workdir):
    """A primary of the strict cluster, and repl may follow it."""
    made = Primary(strict.cluster, "vol", workdir)
    made.begin()
    wait_for("its agent beats", lambda: made.value("SELECT seq FROM tarn.heartbeat"))
    strict.query("postgres", "ALTER ROLE repl REPLICATION")
    strict.query(made.database, "GRANT USAGE ON SCHEMA public, tarn, tarn_1 TO repl;"
                                "GRANT SELECT ON ALL TABLES IN SCHEMA public, tarn TO repl")
    yield made
    made.agent.stop()
    strict.cluster.drop_database(made.database)


@pytest.fixture
def target(volume, mirror_cluster, workdir):
    made = Mirror(mirror_cluster, volume, workdir)
    made.bucket.mkdir()
    yield made
    mirror_cluster.drop_database(made.database)


def findings(*arguments, **options):
    """{topic: [finding]} of a check that changes nothing."""
    done = mirror_command("join", *arguments, "--check", "--json", **options)
    found = {}
    for finding in json.loads(done.stdout):
        found.setdefault(finding["topic"], []).append(finding)
    return found


def the_problem(found, topic, *words):
    """The one problem of that topic; it says what, and how it is mended."""
    problems = [f for f in found[topic] if f["level"] == "problem"]
    assert problems, found
    text = str(problems)
    for word in words:
        assert word in text, problems
    assert all(f.get("mend") for f in problems), problems


# ---- roles, TLS, passfile


def test_a_role_that_may_replicate_and_read_joins_through_tls(strict, volume, target, workdir):
    passfile = strict.passfile(workdir)
    url = strict.repl_url(volume.database)
    arguments = [*join_arguments(target, primary=url), "--primary-passfile", str(passfile)]
    with_password = {"META_PASSWORD": "of-the-mirror"}  # must not be tried at the primary
    done = mirror_command("join", *arguments, env=with_password, timeout=120)
    assert done.returncode == DONE, done.stdout + done.stderr
    assert "line to the primary is encrypted" in done.stdout
    with volume.mount() as here:
        here.path("f").write_text("x")
    assert_equal_tables(volume, target)
    assert target.value("SELECT subconninfo LIKE '%%passfile=%%' AND subconninfo LIKE"
                        " '%%sslmode=verify-full%%' FROM pg_subscription WHERE subname = 'tarn_away'")
    assert target.value("SELECT count(*) FROM pg_subscription WHERE subconninfo LIKE %s",
                        [f"%{CANARY}%"]) == 0
    seen = json.loads(mirror_command("status", "--json", target.url).stdout)
    assert seen["primary"]["reached"] and seen["primary_url"].startswith("postgres://repl@localhost")
    done = mirror_command("wait", "--until-now", "--timeout", "60", target.url)
    assert done.returncode == DONE, done.stderr
    # Functions that are installed anew stay his to use.
    strict.query(volume.database, "COMMENT ON SCHEMA tarn_1 IS 'older'")
    tarn("primary", "adopt", volume.url)
    assert mirror_command("wait", "--until-now", "--timeout", "60", target.url).returncode == DONE
    done = mirror_command("leave", target.url)
    assert done.returncode == DONE, done.stderr
    assert slots(volume) == []
    assert volume.query("SELECT name FROM tarn.site") == [("home",)]


def test_tls_that_cannot_be_trusted_is_refused(strict, volume, target, workdir):
    env = {"TARN_PRIMARY_PASSWORD": CANARY}
    wrong = make_certificates(workdir / "others")
    url = strict.repl_url(volume.database).replace(f"{strict.certificates}/ca.crt", f"{wrong}/ca.crt")
    done = mirror_command("join", *join_arguments(target, primary=url), env=env)
    assert done.returncode != DONE and "primary" in done.stderr and "certificate" in done.stderr
    by_number = strict.repl_url(volume.database).replace("@localhost", "@127.0.0.1")
    assert mirror_command("join", *join_arguments(target, primary=by_number), env=env).returncode != DONE
    plain = f"postgres://repl@localhost:{strict.cluster.port}/{volume.database}?sslmode=disable"
    assert mirror_command("join", *join_arguments(target, primary=plain), env=env).returncode == DENIED


def test_what_a_role_lacks_at_the_primary_is_named(strict, volume, target):
    env = {"TARN_PRIMARY_PASSWORD": CANARY}
    arguments = join_arguments(target, primary=strict.repl_url(volume.database))
    strict.query(volume.database, "REVOKE SELECT ON jfs_node, tarn.slot FROM repl;"
                                  "ALTER ROLE repl NOREPLICATION")
    the_problem(findings(*arguments, env=env), "privileges", "jfs_node", "tarn.slot",
                "GRANT SELECT", "ALTER ROLE repl REPLICATION")
    strict.query(volume.database, "REVOKE USAGE ON SCHEMA tarn_1 FROM repl")
    the_problem(findings(*arguments, env=env), "privileges", "GRANT USAGE ON SCHEMA")
    refused(mirror_command("join", *arguments, env=env), DENIED, "functions")
    # Nor does such a role write there by what is meant for mirrors.
    strict.query(volume.database, "GRANT USAGE ON SCHEMA tarn_1 TO repl")
    for call in ("mark('x')", "register('x', 'y')", "unregister('x')", "follower_report('x', '0/0')"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            with volume.cluster.connect(volume.database) as db:
                db.execute("SET SESSION AUTHORIZATION repl")
                db.execute(f"SELECT * FROM tarn_1.{call}")


def test_secrets_are_nowhere(strict, volume, target):
    """Not with a log that keeps everything, nor for whoever looks at activity, argv and views."""
    database, cluster = target.database, target.cluster
    cluster.query(database, f"ALTER DATABASE {database} SET log_statement = 'all';"
                            f"ALTER DATABASE {database} SET log_min_duration_statement = 0;"
                            f"ALTER DATABASE {database} SET log_duration = on;"
                            f"ALTER DATABASE {database} SET log_parameter_max_length_on_error = -1")
    arguments = join_arguments(target, primary=strict.repl_url(volume.database))
    seen, end = [], threading.Event()

    def watch():
        with cluster.connect("postgres") as db:
            while not end.wait(0.005):
                seen.extend(text for (text,) in db.execute(
                    "SELECT query FROM pg_stat_activity WHERE query LIKE %s AND pid <>"
                    " pg_backend_pid()", [f"%{CANARY}%"]))
                for path in glob.glob("/proc/[0-9]*/cmdline"):
                    try:
                        with open(path, "rb") as file:
                            if CANARY.encode() in file.read():
                                seen.append(path)
                    except OSError:
                        pass
    watcher = threading.Thread(target=watch)
    watcher.start()
    done = mirror_command("join", *arguments, env={"TARN_PRIMARY_PASSWORD": CANARY}, timeout=120)
    end.set()
    watcher.join()
    assert done.returncode == DONE, done.stdout + done.stderr
    assert seen == []
    # A subscription that fails does not say with what it was tried.
    with pytest.raises(psycopg.Error) as caught:
        with cluster.connect(database) as db:
            db.execute("SET log_statement = 'none'; SET log_min_duration_statement = -1;"
                       " SET log_parameter_max_length_on_error = 0")
            db.execute("SELECT tarn_1.subscribe(%s)", [f"postgres://u:{CANARY}@127.0.0.1:1/y"])
    assert CANARY not in f"{caught.value}{caught.value.diag.context}{caught.value.diag.message_detail}"
    for text in (done.stdout, done.stderr, mirror_command("status", target.url).stdout):
        assert CANARY not in text
    for log in (cluster.log_path, volume.cluster.log_path):
        with open(log, encoding="utf-8", errors="replace") as file:
            text = file.read()
        assert CANARY not in text
    with open(cluster.log_path, encoding="utf-8", errors="replace") as file:
        assert "tarn_1.mirror_begin" in file.read(), "the log keeps everything else"
    # It is where PostgreSQL needs it, and there it is the superuser's alone.
    assert CANARY in target.value("SELECT subconninfo FROM pg_subscription WHERE subname = 'tarn_away'")
    assert not target.value("SELECT has_column_privilege('public', 'pg_subscription', 'subconninfo',"
                            " 'SELECT')")
    for relation in ("tarn.local_site", "tarn.site", "public.jfs_setting"):
        assert target.value(f"SELECT count(*) FROM {relation} t WHERE t::text LIKE %s",
                            [f"%{CANARY}%"]) == 0
    assert mirror_command("leave", target.url).returncode == DONE


class Owned(Mirror):
    """A mirror whose commands come as a role that owns the database and no more."""

    @property
    def url(self):
        return self.cluster.url(self.database, user="plain_owner")


def test_a_role_that_may_not_subscribe_is_helped_by_one_statement(strict, volume, mirror_cluster,
                                                                  workdir):
    passfile = strict.passfile(workdir)
    target = Owned(mirror_cluster, volume, workdir)
    target.bucket.mkdir()
    cluster, database = target.cluster, target.database
    cluster.query("postgres", "DROP ROLE IF EXISTS plain_owner; CREATE ROLE plain_owner LOGIN")
    cluster.query("postgres", f"ALTER DATABASE {database} OWNER TO plain_owner")
    env = {"TARN_PRIMARY_PASSWORD": CANARY}
    arguments = [*join_arguments(target, primary=strict.repl_url(volume.database)),
                 "--primary-passfile", str(passfile)]
    found = findings(*arguments, env=env)
    assert any(f["level"] == "advice" and "superuser" in f["finding"] for f in found["privileges"])
    joining = Process([BIN / "tarn-mirror", "join", *arguments], workdir / "join.log", env=env)
    wait_for("it asks", lambda: "CREATE SUBSCRIPTION" in joining.log(), 60)
    joining.kill()  # it is asked for again, and the answer is another join's
    joining = Process([BIN / "tarn-mirror", "join", *arguments], workdir / "again.log", env=env)
    statement = wait_for("it asks again", lambda: [
        line for line in joining.log().splitlines() if line.startswith("CREATE SUBSCRIPTION")], 60)[0]
    assert CANARY not in statement and "passfile" in statement
    cluster.query(database, statement)
    assert joining.wait(120) == DONE, joining.log()
    assert_equal_tables(volume, target)
    seen = mirror_command("status", "--json", target.url, env=env)
    assert seen.returncode == DONE, seen.stderr
    assert json.loads(seen.stdout)["primary"]["reached"]
    done = mirror_command("wait", "--until-now", "--timeout", "60", target.url, env=env)
    assert done.returncode == DONE, done.stderr
    refused(mirror_command("leave", target.url, env=env), DENIED, "DROP SUBSCRIPTION")
    for part in ("ALTER SUBSCRIPTION tarn_away DISABLE",
                 "ALTER SUBSCRIPTION tarn_away SET (slot_name = NONE)",
                 "DROP SUBSCRIPTION tarn_away"):
        cluster.query(database, part)
    done = mirror_command("leave", target.url, env=env)
    assert done.returncode == DONE, done.stderr
    assert slots(volume) == []
    # Somebody who may not even make tables.
    cluster.query("postgres", "DROP ROLE IF EXISTS nobody; CREATE ROLE nobody LOGIN")
    other = cluster.create_database()
    the_problem(findings(*arguments[:-3], "--primary-passfile", str(passfile),
                         cluster.url(other, user="nobody"), env=env), "privileges", "GRANT CREATE")
    cluster.drop_database(other)
    cluster.drop_database(database)


# ---- what the check names


def test_servers_without_room_are_named(strict, volume, target, cluster, workdir):
    volume.agent.stop()
    arguments = join_arguments(target)
    strict.set(wal_level="replica", max_replication_slots=1, max_slot_wal_keep_size="-1")
    found = findings(*arguments)
    the_problem(found, "wal_level", "replica", "restart")
    the_problem(found, "slots", "1 replication slots", "max_replication_slots")
    assert found["max_slot_wal_keep_size"][0]["level"] == "advice"
    refused(mirror_command("join", *arguments), FAILED, "wal_level")
    # The same server as a mirror.
    source = Primary(cluster, "vol2", workdir)
    source.format()
    there = strict.cluster.create_database()
    strict.set(wal_level=None, max_logical_replication_workers=0, max_replication_slots=0,
               max_sync_workers_per_subscription=1)
    found = findings(*join_arguments(target, primary=source.url)[:-1], strict.cluster.url(there))
    the_problem(found, "workers", "max_logical_replication_workers is 0")
    the_problem(found, "origins", "max_replication_slots")
    assert found["copy"][0]["level"] == "advice"
    strict.set(max_logical_replication_workers=None, max_replication_slots=None,
               max_sync_workers_per_subscription=None, max_slot_wal_keep_size=None)
    strict.cluster.drop_database(there)
    cluster.drop_database(source.database)
    volume.agent.start()
    found = findings(*arguments)
    assert "free at the mirror" in found["disk"][0]["finding"]
    assert not [f for topic in found.values() for f in topic if f["level"] == "problem"], found


def test_tables_that_cannot_be_followed_are_named(primary, joiner):
    arguments = join_arguments(joiner)
    primary.query("ALTER TABLE jfs_xattr REPLICA IDENTITY NOTHING")
    primary.query("ALTER PUBLICATION tarn DROP TABLE tarn.job")
    found = findings(*arguments)
    the_problem(found, "keys", "jfs_xattr", "adopt")
    the_problem(found, "primary", "tarn.job", "adopt")
    refused(mirror_command("join", *arguments), NOT_FORMATTED)
    tarn("primary", "adopt", primary.url)
    found = findings(*arguments)
    assert "keys" not in found


def test_a_slot_of_another_is_named(primary, joiner, cluster):
    other = cluster.create_database()
    cluster.query(other, "SELECT pg_create_logical_replication_slot('tarn_away', 'pgoutput')")
    the_problem(findings(*join_arguments(joiner)), "slot", other, "--name")
    cluster.query(other, "SELECT pg_drop_replication_slot('tarn_away')")
    primary.query("SELECT pg_create_logical_replication_slot('tarn_away', 'pgoutput')")
    assert findings(*join_arguments(joiner))["slot"][0]["level"] == "advice"
    joiner.join()
    assert slots(primary) == ["tarn_away"]
    cluster.drop_database(other)


def test_differences_of_a_mirror_that_is_there_are_named(primary, mirror):
    stop_agent(mirror)
    mirror.query("ALTER TABLE jfs_node ALTER COLUMN rdev TYPE bigint")
    mirror.query("ALTER TABLE jfs_chunk_ref DROP COLUMN refs")
    mirror.query("CREATE TABLE public.jfs_own (id int PRIMARY KEY)")
    found = findings(*join_arguments(mirror))
    the_problem(found, "schema", "rdev", "integer at the primary", "ALTER COLUMN",
                "column refs of public.jfs_chunk_ref is missing", "ADD COLUMN")
    assert any("jfs_own" in f["finding"] and f["level"] == "advice" for f in found["schema"])


def test_an_encoding_that_cannot_hold_the_names_is_named(primary, joiner, mirror_cluster):
    mirror_cluster.query("postgres", "CREATE DATABASE narrow ENCODING 'LATIN1' LC_COLLATE 'C'"
                                     " LC_CTYPE 'C' TEMPLATE template0")
    arguments = [*join_arguments(joiner)[:-1], mirror_cluster.url("narrow")]
    the_problem(findings(*arguments), "encoding", "LATIN1", "UTF8")
    mirror_cluster.drop_database("narrow")
