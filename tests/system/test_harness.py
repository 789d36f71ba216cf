"""The harness itself: a cluster that restarts, a proxy that loses exactly the answer it should."""

import psycopg
import pytest

from harness.process import run
from harness.sanitizers import take_reports
from harness.tree import digest, differences, read_tree
from harness.wait import wait_for


def connect(cluster, proxy, database):
    return psycopg.connect(cluster.url(database, port=proxy.port), autocommit=True)


def test_a_cluster_survives_restart_and_kill(cluster, database):
    with cluster.connect(database) as db:
        db.execute("CREATE TABLE kept (v int4)")
        db.execute("INSERT INTO kept VALUES (1)")
    cluster.restart("fast")
    cluster.restart("immediate")
    cluster.kill9()
    cluster.start()
    assert cluster.value(database, "SELECT v FROM kept") == 1


def test_a_lost_answer_is_committed_and_not_seen(cluster, database, proxy):
    with cluster.connect(database) as db:
        db.execute("CREATE TABLE seen (v int4)")
    db = connect(cluster, proxy, database)
    db.execute("SELECT 1")
    proxy.lose_answer("INSERT INTO seen")
    with pytest.raises(psycopg.OperationalError):
        db.execute("INSERT INTO seen VALUES (%s)", [7])
    proxy.wait_lost()
    assert cluster.value(database, "SELECT v FROM seen") == 7
    again = connect(cluster, proxy, database)
    again.execute("INSERT INTO seen VALUES (8)")
    again.close()


def test_exchanges_are_counted_by_statement(cluster, database, proxy):
    with connect(cluster, proxy, database) as db:
        for number in range(7):
            db.execute("SELECT %s::int4", [number], prepare=True)
    assert len(proxy.exchanges("SELECT $1::int4")) == 7


def test_a_refused_port_accepts_again(cluster, database, proxy):
    proxy.refuse()
    with pytest.raises(psycopg.OperationalError):
        connect(cluster, proxy, database)
    proxy.accept()
    connect(cluster, proxy, database).close()


def test_an_answer_is_cut_after_so_many_bytes(cluster, database, proxy):
    db = connect(cluster, proxy, database)
    proxy.cut_after(10_000)
    with pytest.raises(psycopg.OperationalError):
        db.execute("SELECT repeat('x', 100000)")
    wait_for("the link is gone", lambda: proxy.connection_count() == 0)


def test_the_statement_log_shows_what_was_executed(cluster, database):
    with cluster.statements(database) as seen:
        with cluster.connect(database) as db:
            db.execute("SELECT 'needle'")
    assert any("needle" in text for text in seen)


def test_trees_differ_by_one_byte(workdir):
    for name in ("a", "b"):
        (workdir / name / "d").mkdir(parents=True)
        (workdir / name / "d" / "f").write_bytes(b"same")
    members = ("type", "mode", "size", "sha256")
    one, two = read_tree(workdir / "a"), read_tree(workdir / "b")
    assert digest(one, members) == digest(two, members)
    (workdir / "b" / "d" / "f").write_bytes(b"sama")
    two = read_tree(workdir / "b")
    assert digest(one, members) != digest(two, members)
    assert len(differences(one, two, members)) == 1


def test_a_report_of_a_sanitizer_is_taken_once(workdir):
    (workdir / "report.7").write_text("ERROR: of process 7", encoding="ascii")
    run(["sh", "-c", "echo 'a.c:1:2: runtime error: signed integer overflow' >&2"])
    said = take_reports(workdir)
    assert "ERROR: of process 7" in said and "a.c:1:2" in said
    assert not take_reports(workdir)
