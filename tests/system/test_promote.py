"""Promotion: planned and by force, interrupted anywhere, and back again; no number is given out twice."""

import json
import os
import threading

import psycopg
import pytest

from harness.roles import (EPOCH_BITS, Asked, assert_same_sites, counters, epoch, highest,
                           mirror_agent, primary_agent, promote, promote_json, role, wait_same)
from harness.site import Daemon, Mirror
from harness.volume import BIN, DONE, FAILED, NOT_READY, tarn
from harness.wait import wait_for

IS_LONG = bool(os.environ.get("TARN_LONG"))
STEPS = ["prepare", "fence", "drain", "slots", "switch", "mark", "demote", "finish"]


class Writer(threading.Thread):
    """Writes files and syncs each; what was acknowledged is in `kept`. Ends at the first error."""

    def __init__(self, directory, label):
        super().__init__(daemon=True)
        self.directory, self.label = directory, label
        self.kept, self.error = {}, None
        self.stop_wanted = threading.Event()

    def run(self):
        number = 0
        while not self.stop_wanted.is_set():
            name, content = f"{self.label}-{number}", os.urandom(2000 + number)
            try:
                fd = os.open(self.directory / name, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o644)
                try:
                    os.write(fd, content)
                    os.fsync(fd)
                finally:
                    os.close(fd)
            except OSError as failure:
                self.error = failure
                return
            self.kept[name] = content
            number += 1

    def check(self, directory):
        for name, content in self.kept.items():
            assert (directory / name).read_bytes() == content, name


def wait_for_more(writers, count):
    before = [len(writer.kept) for writer in writers]
    wait_for("every writer goes on", lambda: all(
        len(writer.kept) > n + count or writer.error for writer, n in zip(writers, before)), 120)


def agents_end(*agents):
    for agent in agents:
        if agent.is_running():
            agent.process.kill()


def is_fenced(site):
    return site.cluster.value("postgres", "SELECT count(*) > 0 FROM pg_db_role_setting s"
                              " JOIN pg_database d ON d.oid = s.setdatabase WHERE d.datname = %s"
                              " AND 'default_transaction_read_only=on' = ANY (s.setconfig)",
                              [site.database])


def test_a_planned_promotion_loses_nothing_and_goes_back(primary, mirror):
    mirror.sync_once()
    with mirror.mount("--read-only") as there:
        here = primary.mount().start()
        writers = [Writer(here.directory, f"w{n}") for n in range(2)]
        for writer in writers:
            writer.start()
        wait_for("some files", lambda: all(len(w.kept) > 15 for w in writers), 60)
        seen = promote_json(mirror)
        for writer in writers:
            writer.stop_wanted.set()
        here.abandon()
        for writer in writers:
            writer.join(60)
        wait_for("the last file is seen at the mirror's mount",
                 lambda: all((there.directory / n).exists() for w in writers for n in w.kept), 20)
    assert seen["promoted"] and seen["epoch"] == 1
    assert [s["step"] for s in seen["steps"]][-1] == "next"
    assert (role(mirror), role(primary)) == ("primary", "mirror")
    assert not is_fenced(primary)
    # Stock clients connect again and write on, as if nothing had happened.
    for text in ("UPDATE jfs_node SET mode = mode", "INSERT INTO jfs_session2 VALUES (1, 1, '')"):
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            primary.query(text)
    wait_for("the agents notice", lambda: not mirror.agent.is_running()
             and not primary.agent.is_running(), 30)
    assert mirror.agent.process.wait() == DONE and "PROMOTED" in mirror.agent.process.log()
    assert primary.agent.process.wait() == DONE and "mirror now" in primary.agent.process.log()

    before = highest(mirror)
    agent, follower = primary_agent(mirror, "b"), mirror_agent(primary, "a")
    with mirror.mount() as now:
        for writer in writers:
            writer.check(now.directory)
        now.path("after").write_bytes(b"a" * 5000)
        os.symlink("x", now.path("link"))
        os.setxattr(now.path("after"), "user.x", b"1")
        assert os.stat(now.path("after")).st_ino >= 1 << EPOCH_BITS
    assert (highest(mirror)[0] >> EPOCH_BITS, highest(mirror)[1] >> EPOCH_BITS) == (1, 1)
    assert before[0] < 1 << EPOCH_BITS
    assert mirror.expected_blocks() - mirror.blocks().keys(), "the test needs blocks to fetch"
    done = tarn("syncer", "run", mirror.url, "--once", timeout=120)
    assert done.returncode == DONE and not mirror.expected_blocks() - mirror.blocks().keys()
    assert_same_sites(mirror, primary)

    # And back, from the other end.
    done = tarn("mirror", "demote", mirror.url, "--to", primary.url, timeout=180)
    assert (role(primary), role(mirror)) == ("primary", "mirror"), done.stdout
    assert epoch(primary) == 8 and counters(primary)["nextChunk"] == 8 << EPOCH_BITS
    with primary.mount() as now:
        for writer in writers:
            writer.check(now.directory)
        now.path("back").write_bytes(b"b" * 5000)
    assert_same_sites(primary, mirror)
    agents_end(agent, follower)


def test_running_mounts_follow_a_planned_promotion_and_back(primary, mirror):
    """Writers at both sites never see an error, and all that they were told to be stored is there."""
    mirror.sync_once()
    patient = ("--wait-primary", "60")
    # Straight to the primary: the proxy runs in this process, where a writer may hold it up.
    with primary.mount(*patient) as here, \
            mirror.mount(*patient, "--primary", primary.url) as there:
        writers = [Writer(here.directory, "here"), Writer(there.directory, "there")]
        for writer in writers:
            writer.start()
        agents, sites = [], [primary, mirror]
        for turn in range(2):
            wait_for_more(writers, 10)
            promote(sites[1])
            sites.reverse()
            agents += [primary_agent(sites[0], f"p{turn}"), mirror_agent(sites[1], f"m{turn}")]
            wait_for_more(writers, 10)
        for writer in writers:
            writer.stop_wanted.set()
            writer.join(60)
            assert writer.error is None, writer.error
    agents_end(*agents)
    with sites[0].mount("--read-only") as now:
        for writer in writers:
            writer.check(now.directory)
    for site in sites:
        tarn("syncer", "run", site.url, "--once", timeout=120)
        assert not site.expected_blocks() - site.blocks().keys(), "a block is in one bucket alone"
    assert_same_sites(*sites)


def test_a_promotion_killed_before_any_step_is_finished_by_the_next(primary, mirror):
    """Back and forth: the sites change roles each time, and nothing is lost on the way."""
    sites = [primary, mirror]
    names = set()
    for step in STEPS if IS_LONG else ["slots", "mark", "demote"]:
        with sites[0].mount() as here:
            here.path(f"before-{step}").write_text(step)
        names.add(f"before-{step}")
        asked = Asked(sites[1])
        assert asked.to(step), asked.said
        asked.kill()
        done = promote(sites[1])
        assert role(sites[1]) == "primary" and role(sites[0]) == "mirror", done.stdout
        sites.reverse()
        with sites[0].mount("--read-only") as here:
            assert names <= set(os.listdir(here.directory))
        wait_same(*sites)
    assert promote(sites[0]).stdout.startswith("done")
    assert_same_sites(*sites)


def test_a_promotion_is_undone_before_the_switch(primary, mirror):
    seen = promote_json(mirror, "--check")
    assert not seen["promoted"] and all(f["level"] != "problem" for f in seen["findings"])
    assert not is_fenced(primary)
    asked = Asked(mirror)
    assert asked.to("switch"), asked.said
    assert is_fenced(primary)
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        primary.query("UPDATE jfs_node SET mode = mode")
    asked.kill()
    promote(mirror, "--abort")
    assert (role(primary), role(mirror)) == ("primary", "mirror")
    assert not is_fenced(primary)
    assert mirror.query("SELECT slot_name FROM pg_replication_slots WHERE database = %s",
                        [mirror.database]) == []
    with primary.mount() as here:
        here.path("goes-on").write_text("x")
    assert_same_sites(primary, mirror)
    done = promote(mirror, "--abort", check=False)
    assert done.returncode != DONE and "nothing" not in done.stdout


def test_a_promotion_that_cannot_drain_gives_the_writers_back(primary, mirror, link):
    link.hold()
    done = promote(mirror, "--timeout", "2s", "--primary", primary.url, check=False)
    link.release()
    link.cut()
    assert done.returncode == FAILED or done.returncode == 3, done.stderr
    assert "all is as before" in done.stderr
    assert role(primary) == "primary" and not is_fenced(primary)
    with primary.mount() as here:
        here.path("f").write_text("x")


@pytest.mark.limit(400)
def test_by_force_nothing_is_numbered_twice_and_the_difference_is_listed(primary, mirror, link,
                                                                        workdir):
    with primary.mount() as here:
        here.path("both").write_bytes(b"b" * 5000)
        here.path("old").write_text("x")
        wait_same(primary, mirror)
        mirror.sync_once()
        link.refuse()
        # What only the old primary will ever have.
        here.path("lost").write_bytes(b"l" * 5000)
        os.rename(here.path("old"), here.path("new"))
        os.unlink(here.path("both"))
    primary.agent.stop()
    primary.cluster.kill9()
    done = promote(mirror, "--force")
    for word in ("position", "NOT fenced", "revoke", "rejoin", "unknown"):
        assert word in done.stdout, done.stdout
    assert role(mirror) == "primary" and epoch(mirror) == 1

    primary.cluster.start()
    with mirror.mount() as now:
        now.path("here").write_bytes(b"h" * 5000)
        assert now.path("old").exists() and now.path("both").read_bytes() == b"b" * 5000
    # The old one comes back, and its bucket says that its time is over.
    refused = tarn("primary", "run", primary.url, check=False, timeout=60)
    assert refused.returncode == FAILED and "its epoch is over" in refused.stderr
    with primary.mount() as here:
        here.path("split").write_bytes(b"s" * 5000)
        ours = highest(primary)
    theirs = highest(mirror)
    assert all(a < 1 << bits <= b for a, b, bits in zip(ours[:2], theirs[:2], (40, 40)))

    saved = workdir / "differences.jsonl"
    done = tarn("mirror", "rejoin", primary.url, "--primary", mirror.url, "--save", saved,
                timeout=180)
    lines = [json.loads(line) for line in saved.read_text().splitlines()]
    # Exactly these, in the order of their commits; what went to the trash is another name by then.
    names = [(line["op"], *(bytes.fromhex(line[part]["name"][2:]).decode()
                            for part in ("key", "row") if part in line))
             for line in lines if line["table"] == "public.jfs_edge"]
    said = [name for name in names if name[-1] in ("lost", "new", "both", "split", "here")]
    assert said == [("insert", "lost"), ("update", "old", "new"), ("delete", "both"),
                    ("insert", "split")], names
    assert len({line["commit"] for line in lines}) == int(
        done.stdout.split("saved ")[1].split()[0])
    slices = {int(line["row"]["chunkid"]) for line in lines
              if line["table"] == "public.jfs_chunk_ref" and line["op"] == "insert"}
    assert len(slices) == 2 and not slices & {row[0] for row in mirror.query(
        "SELECT chunkid FROM jfs_chunk_ref")}

    assert role(primary) == "mirror" and not is_fenced(primary)
    with mirror.mount("--read-only") as now:
        assert set(os.listdir(now.directory)) == {"both", "old", "here"}
    assert_same_sites(mirror, primary)


def test_a_primary_restored_from_a_copy_of_before_refuses_to_run(primary, mirror):
    copy = f"{primary.database}_copy"
    primary.agent.stop()
    wait_same(primary, mirror)
    with primary.cluster.connect("postgres") as db:
        db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
                   " AND backend_type = 'client backend'", [primary.database])

        def copied():
            try:
                db.execute(f"CREATE DATABASE {copy} TEMPLATE {primary.database}")
                return True
            except psycopg.errors.ObjectInUse:
                db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                           " WHERE datname = %s", [primary.database])
                return False
        wait_for("the copy is made", copied, 60, interval=0.01)
    try:
        wait_same(primary, mirror)
        promote(mirror)
        refused = tarn("primary", "run", primary.cluster.url(copy), check=False, timeout=60)
        assert refused.returncode == FAILED and "--raise-epoch" in refused.stderr
    finally:
        primary.cluster.drop_database(copy)


def test_another_mirror_is_repointed_without_a_copy(primary, mirror, mirror_cluster, workdir):
    other = Mirror(mirror_cluster, primary, workdir, name="third").begin()
    with primary.mount() as here:
        here.path("f").write_bytes(b"f" * 5000)
    done = promote(mirror)
    assert "tarn mirror repoint" in done.stdout and "third" in done.stdout
    with mirror.mount() as here:
        here.path("g").write_bytes(b"g" * 5000)
    refused = tarn("mirror", "repoint", "--primary", mirror.url, other.url, check=False)
    assert refused.returncode == FAILED and "agent" in refused.stderr
    other.agent.stop()
    tarn("mirror", "repoint", "--primary", mirror.url, "--origin", f"file://{mirror.bucket}/",
         other.url, timeout=120)
    assert other.value("SELECT count(*) FROM pg_subscription_rel WHERE srsubstate <> 'r'") == 0
    assert_same_sites(mirror, other)
    assert primary.query("SELECT slot_name FROM pg_replication_slots WHERE database = %s",
                         [primary.database]) == []
    assert "already" in tarn("mirror", "repoint", "--primary", mirror.url, other.url).stdout
    mirror_cluster.drop_database(other.database)


def test_a_lease_stops_a_primary_that_nobody_hears(primary, mirror, link):
    primary.agent.stop()
    agent = Daemon("tarn-primary", ["run", primary.url, "--lease", "3s"],
                   primary.workdir / "lease.log").start()
    with primary.mount() as here:
        here.path("f").write_text("x")
    link.refuse()
    wait_for("the primary is read-only", lambda: is_fenced(primary), 60)
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        primary.query("UPDATE jfs_node SET mode = mode")
    link.accept()
    wait_for("the primary is writable again", lambda: not is_fenced(primary), 60)
    with primary.mount() as here:
        here.path("g").write_text("x")
    assert_same_sites(primary, mirror)
    agent.stop()


# ---- numbers


def test_an_epoch_begins_above_every_number_that_is_known(volume):
    def after(text):
        volume.query(text)
        return volume.value("SELECT tarn_1.next_epoch(0)")
    assert after("SELECT 1") == 8
    assert volume.value("SELECT tarn_1.next_epoch(8)") == 16
    # A volume that was loaded from a dump counts far above its epoch.
    assert after("UPDATE jfs_counter SET value = 9::int8 << 40 WHERE name = 'nextChunk'") == 16
    assert after("INSERT INTO jfs_chunk_ref VALUES (17::int8 << 40, 1, 1)") == 24
    assert after("UPDATE jfs_counter SET value = 26::int8 << 32 WHERE name = 'nextSession'") == 32
    assert after("INSERT INTO tarn.slot VALUES (33::int8 << 32, 1, 1)") == 40
    assert after("SELECT setval('jfs_acl_id_seq', 41 << 20)") == 48
    assert after("INSERT INTO tarn.token (id, name, digest, scope)"
                 " VALUES (50 << 20, 't', '', '{}')") == 56
    volume.query("SELECT tarn_1.raise_epoch(0)")
    assert counters(volume)["nextInode"] == counters(volume)["nextChunk"] == 56 << 40
    assert counters(volume)["nextSession"] == 56 << 32 and counters(volume)["nextTrash"] == 56 << 20
    assert volume.value("SELECT nextval('jfs_acl_id_seq')") == (56 << 20) + 1
    with pytest.raises(psycopg.errors.RaiseException):
        volume.value("SELECT tarn_1.next_epoch(2047)")


def test_two_sites_never_begin_the_same_epoch(volume):
    """By force and at the same time, for instance, from the same knowledge."""
    owner = {}
    for number in range(8):
        if number:
            volume.query("SELECT tarn_1.register(%s, %s)", [f"s{number}", str(number)])
        name = f"s{number}" if number else "primary"
        volume.query("UPDATE tarn.local_site SET name = %s", [name])
        for above in (0, 5, 100, 1000):
            chosen = volume.value("SELECT tarn_1.next_epoch(%s)", [above])
            assert chosen > above and owner.setdefault(chosen, name) == name
    assert len(set(owner.values())) == 8 and len(owner) > 24


def test_every_sequence_is_moved_past_what_the_tables_hold(volume):
    volume.query("INSERT INTO jfs_edge (id, parent, name, inode, type) VALUES (700, 1, 'x', 2, 1)")
    volume.query("INSERT INTO jfs_xattr (id, inode, name, value) VALUES (50, 1, 'x', '')")
    volume.query("SELECT tarn_1.move_sequences()")
    assert volume.value("SELECT nextval('jfs_edge_id_seq')") == 701
    assert volume.value("SELECT nextval('jfs_xattr_id_seq')") == 51


@pytest.mark.parametrize("command", ["promote", "demote", "repoint", "rejoin"])
def test_every_command_explains_itself(programs, command):
    done = tarn("mirror", command, "--help")
    assert "URL" in done.stdout and "Exit codes" in done.stdout
    refused = tarn("mirror", command, "postgres://nobody@127.0.0.1:1/x", "--primary",
                   "postgres://nobody@127.0.0.1:1/x", check=False)
    assert refused.returncode != DONE and len(refused.stderr.strip().splitlines()) == 1


def test_a_site_that_is_not_ready_is_not_promoted(programs, cluster, volume):
    done = promote(volume, "--force", check=False)
    assert done.returncode == DONE and "already" in done.stdout
    volume.query("UPDATE tarn.local_site SET role = 'mirror', ready_at = NULL")
    done = promote(volume, "--force", check=False)
    assert done.returncode in (FAILED, NOT_READY) and "never been consistent" in done.stderr
