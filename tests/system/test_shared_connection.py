"""Many operations of a mount share few connections: all are sent at once, and none is mixed up.

The server is kept from answering by a lock on a table, so that what is on its way is certain.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from harness.check import assert_consistent
from harness.wait import wait_for

COUNT = 16
HOUR = [word for cache in ("attr", "entry", "dir-entry") for word in (f"--{cache}-cache", "1h")]
# Enough that some are shared although nobody joins the long calls of the background.
FEW = ("--meta-conns", "4", "--no-bgjob")


@pytest.fixture
def files(volume):
    """Names of files, each of another length and, for kernels that look up one name of a directory
    at a time, in a directory of its own."""
    with volume.mount() as mount:
        for number in range(COUNT):
            mount.path(f"d{number}").mkdir()
            mount.path(f"d{number}", "f").write_bytes(b"x" * number)
    return [f"d{number}/f" for number in range(COUNT)]


@contextmanager
def locked(volume, table):
    with volume.cluster.connect(volume.database) as db:
        db.execute("BEGIN")
        db.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        try:
            yield db
        finally:
            db.execute("ROLLBACK")


def end_backends(volume):
    volume.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                 " WHERE application_name LIKE 'tarn mount%%' AND datname = current_database()")


def learn_directories(mount, files):
    for name in files:
        os.stat(mount.path(name).parent)


def wait_for_calls(proxy, verb, count):
    wait_for(f"{count} calls of {verb} are on their way",
             lambda: len(proxy.exchanges(f"tarn_1.{verb}(")) >= count)
    assert proxy.connection_count() <= 4, proxy.exchanges()


@pytest.mark.parametrize("is_cut", [False, True], ids=["answered", "cut"])
def test_reads_are_sent_together_and_each_gets_its_own_answer(volume, proxy, files, is_cut):
    with volume.mount(*FEW, *HOUR, url=volume.url_by(proxy)) as mount, \
            ThreadPoolExecutor(COUNT) as threads:
        learn_directories(mount, files)
        proxy.forget()
        with locked(volume, "jfs_edge"):
            asked = [threads.submit(os.stat, mount.path(name)) for name in files]
            wait_for_calls(proxy, "lookup", COUNT)
            if is_cut:
                end_backends(volume)
                wait_for_calls(proxy, "lookup", COUNT + 1)
        assert [stat.result().st_size for stat in asked] == list(range(COUNT))


@pytest.mark.parametrize("is_cut", [False, True], ids=["answered", "cut"])
def test_changes_are_sent_together_and_each_is_done_once(volume, proxy, is_cut):
    with volume.mount(*FEW, *HOUR, url=volume.url_by(proxy)) as mount, \
            ThreadPoolExecutor(COUNT) as threads:
        tops = [mount.path(f"t{number}") for number in range(COUNT)]
        for top in tops:
            # The kernel knows the names, so that no lookup comes to wait behind a change.
            top.mkdir()
            (top / "f").touch()
        proxy.forget()
        with locked(volume, "tarn.slot"):
            asked = [threads.submit((top / "f").unlink) for top in tops]
            wait_for_calls(proxy, "unlink", COUNT)
            if is_cut:
                end_backends(volume)
                wait_for_calls(proxy, "unlink", COUNT + 1)
        for removed in asked:
            removed.result()
        assert [os.listdir(top) for top in tops] == [[]] * COUNT
    assert_consistent(volume)


def test_a_refused_call_leaves_those_beside_it_alone(volume, proxy, files):
    with volume.mount(*FEW, *HOUR, url=volume.url_by(proxy)) as mount, \
            ThreadPoolExecutor(COUNT) as threads:
        learn_directories(mount, files)
        proxy.forget()
        names = [name if number % 2 else name + "no" for number, name in enumerate(files)]
        with locked(volume, "jfs_edge"):
            asked = [threads.submit(os.stat, mount.path(name)) for name in names]
            wait_for_calls(proxy, "lookup", COUNT)
            # Breaks what is running: it is made again, and the others are not.
            volume.query("SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
                         " WHERE application_name LIKE 'tarn mount%%' AND state = 'active'")
            wait_for_calls(proxy, "lookup", COUNT + 1)
        for number, stat in enumerate(asked):
            if number % 2:
                assert stat.result().st_size == number
            else:
                assert isinstance(stat.exception(), FileNotFoundError)
