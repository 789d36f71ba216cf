"""An operation is carried out once, and never after its session was ended, whatever it meets midway.

An operation is stopped midway by a row lock that it needs: it has looked at its lane by then and has
not stored its answer yet.
"""

import errno

import psycopg
import pytest
from harness.sql_volume import SqlVolume

ROOT = 1


class Stage:
    """ours is the session whose operation is stopped; again sends the same operation once more."""

    def __init__(self, volume):
        self.volume = volume
        self.ours, self.again, self.other = (volume.session() for _ in range(3))
        assert self.ours.create(ROOT, b"first", 10).err == 0
        self.again.sid, self.again.op = self.ours.sid, self.ours.op
        self.blocker = volume.session()

    def stop(self, inode=ROOT):
        self.blocker.begin()
        self.blocker.db.execute("SELECT FROM public.jfs_node WHERE inode = %s FOR UPDATE", [inode])

    def go_on(self):
        self.blocker.commit()

    def names(self):
        return self.other.names(ROOT)

    def end_as_stock(self):
        self.volume.db.execute("DELETE FROM jfs_session2 WHERE sid = %s", [self.ours.sid])

    def last_op(self):
        return self.volume.value("SELECT op FROM tarn.slot WHERE sid = %s", [self.ours.sid])


@pytest.fixture
def stage(cluster, database):
    volume = SqlVolume(cluster, database)
    yield Stage(volume)
    volume.close()


def test_of_two_attempts_at_once_one_is_carried_out_and_both_answer_the_same(stage):
    stage.stop()
    first = stage.ours.start("create", ROOT, b"new", 11).until_blocked()
    second = stage.again.start("create", ROOT, b"new", 11).until_blocked()
    stage.go_on()
    assert first.answer().err == 0
    assert first.answer() == second.answer()
    assert stage.names() == [b"first", b"new"]
    assert stage.volume.value("SELECT nlink FROM jfs_node WHERE inode = 11") == 1
    assert stage.last_op() == 2


def test_of_many_attempts_at_once_one_is_carried_out(stage):
    """Links, because a second one under another name would be seen in the count."""
    sessions = [stage.volume.session() for _ in range(6)]
    for session in sessions:
        session.sid, session.op = stage.ours.sid, stage.ours.op
    stage.stop(10)
    started = [session.start("link", 10, ROOT, b"name %d" % number)
               for number, session in enumerate(sessions)]
    for each in started:
        each.until_blocked()
    stage.go_on()
    answers = [each.answer() for each in started]
    assert all(answer == answers[0] for answer in answers) and answers[0].nlink == 2
    assert len(stage.names()) == 2 and stage.last_op() == 2


def test_the_slower_attempt_is_undone_and_told_to_ask_again(stage):
    stage.stop()
    slow = stage.ours.start("read", "create", stage.ours.sid, 0, 2, ROOT, b"slow", 11, 1, 0o644, 0,
                            0, 0, 0, b"").until_blocked()
    stage.volume.db.execute("UPDATE tarn.slot SET op = 2 WHERE sid = %s", [stage.ours.sid])
    stage.go_on()
    with pytest.raises(psycopg.errors.SerializationFailure):
        slow.answer()
    assert stage.names() == [b"first"]
    assert stage.volume.value("SELECT count(*) FROM jfs_node WHERE inode = 11") == 0


def test_what_is_midway_when_its_session_is_closed_is_undone(stage):
    stage.stop()
    midway = stage.ours.start("create", ROOT, b"late", 11).until_blocked()
    stage.other.read("session_close", stage.ours.sid)
    stage.go_on()
    assert midway.answer().err == errno.ESTALE
    assert stage.names() == [b"first"]
    assert stage.volume.value("SELECT count(*) FROM tarn.slot WHERE sid = %s",
                              [stage.ours.sid]) == 0


def test_a_first_operation_that_is_midway_holds_up_the_end_of_its_session(stage):
    """Its lane has no row that could be deleted under it."""
    stage.stop()
    midway = stage.ours.start("read", "create", stage.ours.sid, 5, 1, ROOT, b"new", 11, 1, 0o644, 0,
                              0, 0, 0, b"").until_blocked()
    closing = stage.other.start("read", "session_close", stage.ours.sid).until_blocked()
    stage.go_on()
    assert midway.answer().err == 0
    assert closing.answer().err == 0
    assert stage.names() == [b"first", b"new"]
    assert stage.volume.value("SELECT count(*) FROM tarn.slot WHERE sid = %s",
                              [stage.ours.sid]) == 0


def test_estale_beside_a_stock_reaper_means_that_no_attempt_was_or_will_be_carried_out(stage):
    """A stock client deletes the session's row and knows nothing of slots."""
    stage.stop()
    midway = stage.ours.start("create", ROOT, b"late", 11).until_blocked()
    stage.end_as_stock()
    assert stage.again.create(ROOT, b"late", 11).err == errno.ESTALE
    stage.go_on()
    assert midway.answer().err == errno.ESTALE
    assert stage.names() == [b"first"]


def test_an_attempt_that_was_faster_than_a_stock_reaper_gives_its_answer(stage):
    stage.ours.begin()
    done = stage.ours.create(ROOT, b"done", 11)
    stage.end_as_stock()
    again = stage.again.start("create", ROOT, b"done", 11).until_blocked()
    stage.ours.commit()
    assert again.answer() == done
    assert stage.again.unlink(ROOT, b"done").err == errno.ESTALE
    assert stage.names() == [b"done", b"first"]


def test_the_first_operation_of_a_lane_is_answered_after_a_stock_reaper_too(stage):
    done = stage.ours.read("create", stage.ours.sid, 7, 1, ROOT, b"done", 11, 1, 0o644, 0, 0, 0, 0,
                           b"")
    assert done.err == 0
    stage.end_as_stock()
    assert stage.again.read("create", stage.ours.sid, 7, 1, ROOT, b"done", 11, 1, 0o644, 0, 0, 0, 0,
                            b"") == done
