"""Several mirrors of one primary, and a mirror of a mirror."""

import json
import os

import pytest

from harness import load
from harness.site import Mirror, assert_equal_sites
from harness.volume import DONE, NOT_FORMATTED, tarn, tarn_json
from harness.wait import stays, wait_for
from test_mirror_join import (Writer, assert_equal_tables, digests, join_arguments, mirror_command,
                              refused, slots, stop_agent, wait_state)


LONG = pytest.mark.skipif(not os.environ.get("TARN_LONG"), reason="TARN_LONG is not set")


class Chained(Mirror):
    """A mirror that follows another one."""

    def __init__(self, cluster, source, workdir, name):
        super().__init__(cluster, source.primary, workdir, name=name)
        self.source = source

    def join(self):
        self.bucket.mkdir(parents=True, exist_ok=True)
        tarn("mirror", "join", *join_arguments(self)[:-1], "--source", self.source.url, self.url,
             timeout=120)
        return self


@pytest.fixture
def chained(mirror, workdir):
    """A mirror of the mirror, in another database of the same server."""
    made = Chained(mirror.cluster, mirror, workdir, "far").begin()
    yield made
    if made.agent.is_running():
        made.agent.kill9()
    for syncer in made.syncers:
        syncer.kill9()
    made.cluster.drop_database(made.database)


def assert_both_equal(primary, mirror, chained):
    """Digests of all three sites; the marker of each says when to look."""
    for made in (mirror, chained):
        done = mirror_command("wait", "--until-now", "--timeout", "90", made.url)
        assert done.returncode == DONE, done.stderr
    tables = [f"{schema}.{table}" for schema, table in primary.query(
        "SELECT schemaname, tablename FROM pg_publication_tables WHERE pubname = 'tarn'"
        " AND (schemaname, tablename) NOT IN (('tarn', 'heartbeat'), ('tarn', 'mark'))")]
    assert len(tables) > 20
    for made in (mirror, chained):
        wait_for("equal rows at all sites",
                 lambda made=made: digests(made, tables) == digests(primary, tables), 30)


def test_two_mirrors_join_under_load_and_one_leaves(primary, mirror, mirror_cluster, workdir):
    writer = Writer(primary).begin()
    other = Mirror(mirror_cluster, primary, workdir, name="other").begin()
    assert sorted(slots(primary)) == ["tarn_away", "tarn_other"]
    writer.finish()
    assert_equal_tables(primary, mirror)
    assert_equal_tables(primary, other)
    assert {slot["site"] for slot in tarn_json("primary", "status", primary.url)["slots"]} == {
        "away", "other"}
    wait_state(other, "FOLLOWING")
    stop_agent(other)
    assert mirror_command("leave", other.url).returncode == DONE
    assert slots(primary) == ["tarn_away"]
    Writer(primary).begin().finish()
    assert_equal_tables(primary, mirror)
    mirror_cluster.drop_database(other.database)


def test_a_mirror_of_a_mirror_joins_under_load(primary, mirror, workdir):
    writer = Writer(primary).begin()
    chained = Chained(mirror.cluster, mirror, workdir, "far").begin()
    try:
        writer.finish()
        assert_both_equal(primary, mirror, chained)
        assert slots(primary) == ["tarn_away"] and slots(mirror) == ["tarn_far"]
        wait_state(chained, "FOLLOWING")
        # Writes still go to the primary; it is followed by way of the mirror.
        seen = chained.status()
        assert seen["primary_url"].endswith(f"/{primary.database}")
        assert seen["source_url"].endswith(f"/{mirror.database}")
        assert seen["lag"]["system_identifier"] == primary.value(
            "SELECT system_identifier::text FROM pg_control_system()")
        assert seen["lag"]["timeline"] == 1 and seen["lag"]["epoch"] == 0
        assert chained.agent.is_running()
        stop_agent(chained)
        # Leaving takes away the slot at the mirror and the name at the primary.
        done = mirror_command("leave", chained.url)
        assert done.returncode == DONE, done.stderr
        assert slots(mirror) == []
        assert sorted(primary.query("SELECT name FROM tarn.site")) == [("away",), ("home",)]
        assert primary.value("SELECT count(*) FROM tarn.follower_report") == 0
    finally:
        mirror.cluster.drop_database(chained.database)


@LONG
def test_the_lag_of_a_chain_is_that_to_the_primary(primary, mirror, chained, link):
    wait_state(chained, "FOLLOWING")
    assert_both_equal(primary, mirror, chained)
    link.refuse()  # the mirror in the middle hears nothing more, and its mirror hears that
    before = chained.status()["lag"]
    with primary.mount() as here:
        for number in range(20):
            here.path(f"f{number}").write_text("x")

    def is_behind():
        lag = chained.status()["lag"]
        return (lag["bytes"] > before["bytes"] and lag["transactions"] > 40
                and lag["seconds"] > before["seconds"] + 1)
    wait_for("the lag grows", is_behind, 30)
    link.accept()
    assert_both_equal(primary, mirror, chained)
    wait_for("the lag is gone", lambda: chained.status()["lag"]["seconds"] < 5, 30)


def test_deletions_wait_for_a_mirror_of_a_mirror(primary, mirror, chained):
    """It has no slot at the primary, and reports by itself."""
    def confirmed():
        primary.query("SELECT tarn_1.followers_look()")
        return primary.value("SELECT before FROM tarn.follower WHERE site = 'far'")
    wait_for("it reports", confirmed, 30, interval=1.1)
    position = primary.value("SELECT pg_current_wal_lsn()")
    wait_for("it is past a position", lambda: not primary.query(
        "SELECT site FROM tarn_1.gc_mirrors_behind(%s) WHERE site = 'far'", [position]), 30)
    chained.query("ALTER SUBSCRIPTION tarn_far DISABLE")
    wait_for("its worker has ended", lambda: not chained.query(
        "SELECT pid FROM pg_stat_subscription WHERE subname = 'tarn_far' AND pid IS NOT NULL"), 30)
    position = primary.value("SELECT pg_current_wal_lsn()")
    assert mirror_command("wait", "--until-now", "--timeout", "60", mirror.url).returncode == DONE
    stays("it is waited for", lambda: primary.query(
        "SELECT site FROM tarn_1.gc_mirrors_behind(%s) WHERE site = 'far'", [position]), 6)
    chained.query("ALTER SUBSCRIPTION tarn_far ENABLE")
    wait_for("it is past it", lambda: not primary.query(
        "SELECT site FROM tarn_1.gc_mirrors_behind(%s) WHERE site = 'far'", [position]), 60)


@LONG
def test_blocks_and_waits_travel_both_hops(primary, mirror, chained):
    chained.start_syncer()
    with primary.mount() as here:
        here.path("model").write_bytes(load.content(1, 700_000))
        done = mirror_command("wait", "--path", "model", "--data", "--timeout", "90", chained.url)
        assert done.returncode == DONE, done.stderr
        assert any(name.endswith("_0_700000") for name in chained.blocks())
    marker = tarn("primary", "mark", "both", primary.url).stdout.strip()
    done = mirror_command("wait", "--marker", marker, "--timeout", "60", "--json", chained.url)
    assert done.returncode == DONE and json.loads(done.stdout)["arrived"]
    assert_equal_sites(primary, mirror)


@LONG
def test_every_server_of_a_chain_may_be_killed(primary, mirror, chained):
    writer = Writer(primary).begin()
    for cluster in (mirror.cluster, primary.cluster):
        if cluster is primary.cluster:
            writer.finish()
        cluster.restart("immediate")
    Writer(primary).begin().finish()
    assert_both_equal(primary, mirror, chained)
    wait_state(chained, "FOLLOWING")


def test_what_is_given_for_a_chain_is_checked(primary, mirror, cluster, workdir):
    made = Chained(mirror.cluster, mirror, workdir, "far")
    made.bucket.mkdir()
    arguments = join_arguments(made, primary=mirror.url)
    refused(mirror_command("join", *arguments), NOT_FORMATTED, 'is the mirror "away"')
    refused(mirror_command("join", "--source", mirror.url, *arguments), NOT_FORMATTED, "is a mirror")
    other = type(primary)(cluster, "vol2", workdir / "other")
    other.format()
    arguments = join_arguments(made, primary=other.url)
    refused(mirror_command("join", "--source", mirror.url, *arguments), NOT_FORMATTED,
            "another volume")
    mirror.cluster.drop_database(made.database)
    cluster.drop_database(other.database)
