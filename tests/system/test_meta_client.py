"""The metadata client against a line that loses answers and a server that comes and goes."""

import threading

import pytest

from harness.probe import Probe, Refused, probe_once
from harness.wait import wait_for

ROOT, FILE, DIRECTORY = 1, 1, 2
# Of a client that gives up while its test looks on: long for what succeeds, however busy the machine.
PATIENCE_MS = "3000"


class Site:
    """A volume of its own, its server and a proxy in front of it."""

    def __init__(self, cluster, database, proxy):
        self.cluster, self.database, self.proxy = cluster, database, proxy
        self.url = cluster.url(database)
        self.by_proxy = cluster.url(database, port=proxy.port)

    def value(self, text, parameters=None):
        return self.cluster.value(self.database, text, parameters)

    def query(self, text, parameters=None):
        return self.cluster.query(self.database, text, parameters)

    def counters(self):
        return dict(self.query("SELECT name, value FROM jfs_counter"
                               " WHERE name IN ('usedSpace', 'totalInodes')"))

    def nodes(self):
        """What the counters have to say, counted from the nodes."""
        inodes, space = self.query(
            "SELECT count(*), coalesce(sum(CASE WHEN type = 1 THEN tarn_1.space(length)"
            " ELSE 4096 END), 0)::int8 FROM jfs_node WHERE inode NOT IN (1, tarn_1.trash())")[0]
        return {"usedSpace": space, "totalInodes": inodes}


@pytest.fixture
def site(cluster, database, proxy):
    answer, text = probe_once(cluster.url(database), "format", "vol", "/nowhere/")
    assert answer["ok"], text
    return Site(cluster, database, proxy)


def end_backends(site):
    """End every connection of the probes, and wait until they are gone."""
    what = "application_name = 'meta_probe' AND datname = current_database()"
    site.query(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {what}")
    wait_for("backends end", lambda: not site.query(
        f"SELECT 1 FROM pg_stat_activity WHERE {what}"))


# ---- exactly once


def test_each_mutation_is_done_once_though_its_answer_is_lost(site):
    with Probe(site.by_proxy, "--conns", "1") as ask:
        ino = ask("create", ROOT, "f", FILE)["ino"]
        directory = ask("create", ROOT, "d", DIRECTORY)["ino"]
        verbs = [
            ("create", ("create", ROOT, "g", FILE)),
            ("write", ("write", ino, 0, 0, 5000)),
            ("setattr", ("setattr", ino, "length=100", "mode=0600")),
            ("fallocate", ("fallocate", ino, 0, 0, 70000000)),
            ("link", ("link", ino, directory, "l")),
            ("rename", ("rename", ROOT, "g", directory, "h")),
            ("rename", ("rename", ROOT, "f", directory, "h", 2)),
            ("unlink", ("unlink", directory, "l", 0)),
            ("setxattr", ("setxattr", ino, "user.a", "v", 1)),
            ("removexattr", ("removexattr", ino, "user.a")),
            ("unlink", ("unlink", ROOT, "f", 0)),
            ("unlink", ("unlink", directory, "h", 0)),
            ("rmdir", ("rmdir", ROOT, "d")),
        ]
        for verb, words in verbs:
            before = site.value("SELECT max(op) FROM tarn.slot")
            site.proxy.lose_answer(f"tarn_1.{verb}(")
            ask.post(*words)
            site.proxy.wait_lost()
            assert ask.answer()["ok"], words
            assert site.value("SELECT max(op) FROM tarn.slot") == before + 1, words
        assert len(site.query("SELECT 1 FROM tarn.slot")) == 1
        ask("flush")
        assert site.counters() == site.nodes()
    assert site.query("SELECT 1 FROM tarn.slot") == []


def test_a_refusal_whose_answer_was_lost_is_the_same_refusal_again(site):
    with Probe(site.by_proxy) as ask:
        site.proxy.lose_answer("tarn_1.unlink(", then_refuse=True)
        ask.post("unlink", ROOT, "x", 0)
        site.proxy.wait_lost()
        with Probe(site.url) as other:
            other("create", ROOT, "x", FILE)
        site.proxy.accept()
        with pytest.raises(Refused) as refused:
            ask.answer()
        assert refused.value.errno == "ENOENT"
        assert ask("lookup", ROOT, "x")["ino"]


def test_the_number_of_an_op_given_up_is_never_used_again(site):
    """Had "second" the number of "first", it would be answered with the inode of "first"."""
    with Probe(site.by_proxy, "--timeout-ms", PATIENCE_MS, "--conns", "1") as ask:
        ask("create", ROOT, "zeroth", FILE)
        site.proxy.lose_answer("tarn_1.create(", then_refuse=True)
        ask.post("create", ROOT, "first", FILE)
        site.proxy.wait_lost()
        with pytest.raises(Refused) as refused:
            ask.answer()
        assert refused.value.code == "unavailable"
        site.proxy.accept()
        second = ask("create", ROOT, "second", FILE)
        assert second["ino"] == ask("lookup", ROOT, "second")["ino"]
        assert second["ino"] != ask("lookup", ROOT, "first")["ino"]
        lanes = site.query("SELECT lane, op FROM tarn.slot ORDER BY lane")
        assert lanes == [(1, 2), (2, 1)]


def test_what_was_given_up_is_counted_by_the_next_flush(site):
    with Probe(site.by_proxy, "--timeout-ms", "1500", "--conns", "1") as ask:
        site.proxy.lose_answer("tarn_1.create(", then_refuse=True)
        ask.post("create", ROOT, "first", FILE)
        site.proxy.wait_lost()
        with pytest.raises(Refused):
            ask.answer()
        site.proxy.accept()
        assert site.nodes()["totalInodes"] == 1 and site.counters()["totalInodes"] == 0
        for _ in range(2):
            ask("flush")
            assert site.counters() == site.nodes()


def test_what_was_given_up_on_its_way_is_never_done(site):
    """The request is stuck behind a lock for longer than anybody waits for it."""
    with Probe(site.by_proxy, "--timeout-ms", "1500", "--conns", "1") as ask:
        ino = ask("create", ROOT, "f", FILE)["ino"]
        with site.cluster.connect(site.database) as blocker:
            with blocker.transaction():
                blocker.execute("SELECT FROM jfs_node WHERE inode = %s FOR UPDATE", [ino])
                with pytest.raises(Refused):
                    ask("unlink", ROOT, "f", 0)
                ask("flush")
        wait_for("the request ends", lambda: not site.query(
            "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%%unlink%%' AND state = 'active'"
            " AND pid <> pg_backend_pid()"))
        assert ask("lookup", ROOT, "f")["ino"] == ino
        assert site.counters() == site.nodes()


def test_a_request_held_on_its_way_does_nothing_after_its_op_was_carried_out(site):
    """The first copy of a request is stuck behind a lock while the second one arrives."""
    with Probe(site.by_proxy, "--conns", "1") as ask:
        ino = ask("create", ROOT, "f", FILE)["ino"]
        with site.cluster.connect(site.database) as blocker:
            with blocker.transaction():
                blocker.execute("SELECT FROM jfs_node WHERE inode = %s FOR UPDATE", [ino])
                ask.post("unlink", ROOT, "f", 0)
                wait_for("the request waits for the lock", lambda: site.query(
                    "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))
                site.proxy.cut()
                wait_for("it was sent again", lambda: len(site.query(
                    "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")) == 2)
        assert ask.answer()["ok"]
        ask("create", ROOT, "f", FILE)
        wait_for("both copies end", lambda: not site.query(
            "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%%unlink%%' AND state = 'active'"
            " AND pid <> pg_backend_pid()"))
        assert ask("lookup", ROOT, "f")["ok"]


# ---- usage


def test_usage_is_counted_once_though_the_answer_of_its_flush_is_lost(site):
    with Probe(site.by_proxy) as ask:
        for i in range(20):
            ask("create", ROOT, f"f{i}", FILE)
        site.proxy.lose_answer("tarn_1.usage_flush(")
        ask.post("flush")
        site.proxy.wait_lost()
        ask.answer()
        assert site.counters() == site.nodes()


def test_usage_is_counted_once_when_its_flush_was_given_up_and_sent_again_later(site):
    with Probe(site.by_proxy, "--timeout-ms", PATIENCE_MS) as ask:
        ask("create", ROOT, "a", FILE)
        ask("create", ROOT, "a2", FILE)
        site.proxy.lose_answer("tarn_1.usage_flush(", then_refuse=True)
        ask.post("flush")
        site.proxy.wait_lost()
        with pytest.raises(Refused):
            ask.answer()
        assert site.counters() == site.nodes(), "the lost flush had been committed"
        site.proxy.accept()
        ask("create", ROOT, "b", FILE)
        assert ask("status")["pending_inodes"] == 3
        ask("flush")
        assert ask("status")["pending_inodes"] == 0
        assert site.counters() == site.nodes()


def test_usage_is_kept_while_the_server_cannot_be_reached(site):
    with Probe(site.by_proxy, "--timeout-ms", PATIENCE_MS) as ask:
        ask("create", ROOT, "a", FILE)
        site.proxy.refuse()
        with pytest.raises(Refused) as refused:
            ask("flush")
        assert refused.value.code == "unavailable"
        assert ask("status")["pending_inodes"] == 1
        site.proxy.accept()
        ask("flush")
        assert site.counters() == site.nodes()


# ---- sessions


def test_a_session_ended_by_another_fences_until_a_new_one_begins(site):
    with Probe(site.url) as ask:
        ask("create", ROOT, "a", FILE)
        sid = ask("status")["session"]
        site.query("DELETE FROM tarn.slot WHERE sid = %s RETURNING 1", [sid])
        site.query("DELETE FROM jfs_session2 WHERE sid = %s RETURNING 1", [sid])
        for _ in range(2):
            with pytest.raises(Refused) as refused:
                ask("create", ROOT, "b", FILE)
            assert refused.value.code == "stale"
        assert ask("lookup", ROOT, "a")["ok"], "reads go on"
        with pytest.raises(Refused) as refused:
            ask("refresh")
        assert refused.value.code == "stale"
        with pytest.raises(Refused):
            ask("create", ROOT, "b", FILE)
        ask("renew")
        assert ask("status")["session"] != sid
        ask("create", ROOT, "b", FILE)
        ask("refresh")
        ask("flush")
        assert site.counters() == site.nodes(), "what was pending went with the new session"


def test_a_refresh_notices_a_changed_format_and_another_volume(site):
    with Probe(site.url) as ask:
        assert not ask("refresh")["format_changed"]
        site.query("UPDATE jfs_setting SET value = replace(value, '\"TrashDays\": 1',"
                   " '\"TrashDays\": 7') RETURNING 1")
        assert ask("refresh")["format_changed"]
        assert not ask("refresh")["format_changed"]
        site.query("UPDATE jfs_setting SET value = regexp_replace(value, '\"UUID\": \"........',"
                   " '\"UUID\": \"00000000') RETURNING 1")
        with pytest.raises(Refused) as refused:
            ask("refresh")
        assert refused.value.code == "invalid"


def test_a_closed_handle_leaves_no_session_and_no_slot(site):
    with Probe(site.url) as ask:
        ask("create", ROOT, "a", FILE)
        info = site.query("SELECT convert_from(info, 'UTF8')::jsonb FROM jfs_session2")[0][0]
        assert info["Version"].startswith("1.4.1+tarn.")
        assert info["MountPoint"] == "/probe" and info["ProcessID"] == ask.child.pid
    assert site.query("SELECT 1 FROM jfs_session2") == []
    assert site.query("SELECT 1 FROM tarn.slot") == []
    assert site.counters() == site.nodes()


# ---- exchanges and connections


def test_the_first_use_of_a_statement_costs_no_exchange_more_than_the_second(site):
    with Probe(site.by_proxy, "--conns", "1") as ask:
        ask("new-slice")
        ask("create", ROOT, "first", FILE)  # takes a range of inodes as well
        site.proxy.forget()
        ask("lookup", ROOT, "first")
        assert len(site.proxy.exchanges()) == 1
        ask("create", ROOT, "a", FILE)
        ask("unlink", ROOT, "a", 0)
        ask("readdir", ROOT, 1)
        assert len(site.proxy.exchanges()) == 4


def test_a_handle_is_open_after_one_exchange(site):
    with Probe(site.by_proxy, "--read-only") as ask:
        assert ask("status")["exchanges"] == 1
        assert len(site.proxy.exchanges()) == 1


def test_calls_wait_for_a_server_that_restarts(site):
    with Probe(site.url) as ask:
        ask("create", ROOT, "a", FILE)
        site.cluster.restart()
        assert ask("lookup", ROOT, "a")["ok"]
        site.cluster.stop("immediate")
        ask.post("create", ROOT, "b", FILE)
        site.cluster.start()
        assert ask.answer()["ok"]
        assert ask("lookup", ROOT, "b")["ok"]


def test_connections_that_died_idle_are_replaced(site):
    with Probe(site.url) as ask:
        ask("status")  # the first connection, which is not retried, has been made
        for name in "abc":
            end_backends(site)
            ask("create", ROOT, name, FILE)
        names = [e["name"] for e in ask("readdir", ROOT, 0)["entries"]]
        assert names == ["a", "b", "c"]


def test_a_black_hole_is_noticed_by_the_deadline(site):
    with Probe(site.by_proxy, "--timeout-ms", PATIENCE_MS) as ask:
        ask("getattr", ROOT)
        site.proxy.hold()
        with pytest.raises(Refused) as refused:
            ask("getattr", ROOT)
        assert refused.value.code == "unavailable"
        site.proxy.release()
        assert ask("getattr", ROOT)["ok"]


def test_threads_that_are_cut_again_and_again_do_everything_once(site):
    ended = threading.Event()

    def cut():
        while not ended.wait(0.05):
            site.proxy.cut()
    with Probe(site.by_proxy, "--conns", "3") as ask:
        ask("status")
        cutter = threading.Thread(target=cut, daemon=True)
        cutter.start()
        try:
            assert ask("stress", 6, 15)["ok"]
        finally:
            ended.set()
            cutter.join()
        ask("flush")
        assert site.counters() == site.nodes()


def stumbling(site, losses):
    """Creating a file loses the connection so often, then meets a row of another, then succeeds."""
    site.query("DO $$ BEGIN CREATE SEQUENCE attempt; CREATE FUNCTION stumble() RETURNS trigger"
               " LANGUAGE plpgsql AS 'DECLARE n int8 := nextval(''attempt''); BEGIN"
               f" IF n <= {losses} THEN PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(9);"
               f" ELSIF n = {losses + 1} THEN RAISE unique_violation; END IF; RETURN NEW; END';"
               " CREATE TRIGGER stumble BEFORE INSERT ON jfs_node FOR EACH ROW"
               " EXECUTE FUNCTION stumble(); END $$")


def created_once(site, ask, losses):
    ask("create", ROOT, "a", FILE)
    assert site.value("SELECT last_value FROM attempt") == losses + 2
    assert [e["name"] for e in ask("readdir", ROOT, 0)["entries"]] == ["a"]


def test_connections_lost_before_leave_a_race_its_tries(site):
    """An attempt that was cut off may still be at work: the next meets its rows (SQLSTATE 23505)."""
    stumbling(site, losses=7)
    with Probe(site.url) as ask:
        created_once(site, ask, losses=7)


def test_a_race_whose_answer_has_lost_its_end_is_a_race(site):
    stumbling(site, losses=0)
    with Probe(site.by_proxy) as ask:
        ask("status")
        site.proxy.cut_before_ready(b"unique_violation")
        created_once(site, ask, losses=0)


# ---- refusals and limits


def test_capacity_and_inodes_are_limits(site):
    site.query("UPDATE jfs_setting SET value = replace(value, '\"EncryptAlgo\"',"
               " '\"Capacity\": 1048576,\n\"Inodes\": 3,\n\"EncryptAlgo\"') RETURNING 1")
    with Probe(site.url) as ask:
        ino = ask("create", ROOT, "a", FILE)["ino"]
        ask("write", ino, 0, 0, 1000000)
        with pytest.raises(Refused) as refused:
            ask("write", ino, 0, 1000000, 100000)
        assert refused.value.errno == "ENOSPC"
        ask("write", ino, 0, 0, 1000000), "what is there can be written over"
        ask("create", ROOT, "b", FILE)
        ask("create", ROOT, "c", FILE)
        with pytest.raises(Refused) as refused:
            ask("create", ROOT, "d", FILE)
        assert refused.value.errno == "ENOSPC"
        assert ask("statfs")["total_inodes"] == 3


def test_a_read_only_handle_writes_nothing(site):
    with Probe(site.url, "--read-only") as ask:
        for words in [("create", ROOT, "a", FILE), ("unlink", ROOT, "a", 0),
                      ("setattr", ROOT, "mode=0700"), ("setxattr", ROOT, "user.a", "b")]:
            with pytest.raises(Refused) as refused:
                ask(*words)
            assert refused.value.errno == "EROFS"
        ask("refresh")
    assert site.value("SELECT value FROM jfs_counter WHERE name = 'nextSession'") == 0


def test_a_database_that_became_read_only_refuses_with_erofs(site):
    with Probe(site.url) as ask:
        ask("create", ROOT, "a", FILE)
        with site.cluster.connect("postgres") as db:
            db.execute(f"ALTER DATABASE {site.database} SET default_transaction_read_only = on")
        end_backends(site)
        with pytest.raises(Refused) as refused:
            ask("create", ROOT, "b", FILE)
        assert refused.value.errno == "EROFS"
        assert ask("lookup", ROOT, "a")["ok"]
        with site.cluster.connect("postgres") as db:
            db.execute(f"ALTER DATABASE {site.database} RESET default_transaction_read_only")
        end_backends(site)
        ask("create", ROOT, "b", FILE)


@pytest.mark.parametrize("url, code, says", [
    ("mysql://u@h/d", "invalid", "postgres://"),
    ("postgres://tarn@127.0.0.1:{port}/d?colour=blue", "invalid", "not known"),
    ("postgres://tarn@127.0.0.1:{port}/nonesuch", "not found", "does not exist"),
    ("postgres://nobody@127.0.0.1:{port}/postgres", "denied", "nobody"),
    ("postgres://tarn@127.0.0.1:1/d", "unavailable", "refused"),
    ("postgres://tarn@127.0.0.1:{port}/postgres", "not found", "tarn format"),
])
def test_what_cannot_be_opened_says_why_in_one_line(cluster, url, code, says):
    answer, text = probe_once(url.format(port=cluster.port), "status")
    assert answer["code"] == code
    assert says in answer["text"]
    assert len(text.splitlines()) == 1


def test_a_volume_without_functions_asks_for_adoption(site):
    site.query("DO $$ BEGIN DROP SCHEMA tarn_1 CASCADE; END $$")
    answer, _ = probe_once(site.url, "status")
    assert answer["code"] == "stale" and "tarn primary adopt" in answer["text"]


def test_functions_that_vanish_are_a_failure_and_never_a_missing_file(site):
    with Probe(site.url) as ask:
        ask("create", ROOT, "a", FILE)
        site.query("DO $$ BEGIN ALTER SCHEMA tarn_1 RENAME TO away; END $$")
        for words in [("lookup", ROOT, "a"), ("resolve", ROOT, "a"), ("unlink", ROOT, "a", 0)]:
            with pytest.raises(Refused) as refused:
                ask(*words)
            assert refused.value.code == "unavailable" and refused.value.errno is None
        site.query("DO $$ BEGIN ALTER SCHEMA away RENAME TO tarn_1; END $$")
        assert ask("lookup", ROOT, "a")["ok"]


def test_the_password_is_taken_from_the_environment_and_shown_nowhere(cluster, site):
    secret = "Pw-7f3a-secret"
    with cluster.connect("postgres") as db:
        db.execute(f"DROP ROLE IF EXISTS keyed; CREATE ROLE keyed SUPERUSER LOGIN"
                   f" PASSWORD '{secret}'")
    url = f"postgres://keyed@127.0.0.1:{cluster.port}/{site.database}"
    answer, _ = probe_once(url, "status", env={"META_PASSWORD": secret})
    assert answer["ok"]
    for broken in (f"postgres://keyed:{secret}@127.0.0.1:1/x",
                   f"postgres://keyed:{secret}@127.0.0.1:{cluster.port}/nonesuch",
                   f"postgres://keyed:{secret}@127.0.0.1:{cluster.port}/x?password={secret}&colour=1",
                   f"postgres://keyed:{secret}@127.0.0.1:{cluster.port}:{secret}/x"):
        answer, text = probe_once(broken, "status", env={"META_PASSWORD": secret})
        assert not answer["ok"] and secret not in text


def test_functions_are_installed_anew_under_load_and_nobody_notices(site):
    with Probe(site.url, "--conns", "4") as ask:
        ask.post("stress", 4, 60)
        for _ in range(6):
            answer, text = probe_once(site.url, "install-api")
            assert answer["ok"], text
        assert ask.answer()["ok"]
        ask("flush")
        assert site.counters() == site.nodes()


def test_functions_installed_anew_keep_a_mirrors_trigger_and_serve_open_handles(site):
    site.query("SELECT tarn_1.slice_orders_begin()")
    with Probe(site.url) as ask:
        ask("create", ROOT, "a", FILE)
        # Any later difference in text: make it look as if another version were installed.
        site.query("DO $$ BEGIN COMMENT ON SCHEMA tarn_1 IS 'other'; END $$")
        answer, text = probe_once(site.url, "install-api")
        assert answer["ok"], text
        ask("create", ROOT, "b", FILE)
        assert ask("lookup", ROOT, "b")["ok"]
    assert site.query("SELECT tgenabled FROM pg_trigger WHERE tgname = 'tarn_slice_order'")[0][0] \
        in ("A", b"A")
