"""The pytest fixtures of all system tests; a conftest.py takes them by `import *`."""

import os
import shutil
import signal
import tempfile
import threading
from pathlib import Path

import pytest

from . import process, sanitizers
from .cluster import Cluster
from .proxy import Proxy
from .site import Mirror, Primary
from .sql_volume import SqlVolume
from .volume import BIN, Volume, detach

# A test that takes longer has met a hang; killing the daemons turns that into an error.
LIMIT_SECONDS = float(os.environ.get("TARN_TEST_LIMIT", "240"))


def pytest_configure(config):
    config.addinivalue_line("markers", "limit(seconds): how long this test may take")


@pytest.fixture(scope="session")
def session_directory():
    """Short, because Unix sockets live below it; open, because PostgreSQL is another account."""
    path = Path(tempfile.mkdtemp(prefix="tarn-", dir=os.environ.get("TARN_TEST_DIR", "/tmp")))
    path.chmod(0o755)
    # Being told to end is no reason to leave clusters and mounts behind.
    signal.signal(signal.SIGTERM, _interrupt)
    yield path
    process.kill_all()
    if os.environ.get("TARN_TEST_KEEP"):
        print(f"\nkept {path}")
    else:
        shutil.rmtree(path, ignore_errors=True)


def _interrupt(number, frame):
    raise KeyboardInterrupt


def _cluster(directory, name):
    cluster = Cluster(directory / name, name)
    cluster.create()
    return cluster


@pytest.fixture(scope="session")
def cluster(session_directory):
    """The PostgreSQL of the primary site. A test may restart or kill it and leaves it running."""
    made = _cluster(session_directory, "pg1")
    yield made
    made.destroy()


@pytest.fixture(scope="module")
def volume_of_module(cluster):
    made = SqlVolume(cluster, cluster.create_database())
    yield made
    made.close()


@pytest.fixture
def emptied_volume(volume_of_module):
    """The SqlVolume that the tests of a file use one after another, each finding it empty."""
    return volume_of_module.empty()


@pytest.fixture(scope="session")
def mirror_cluster(session_directory):
    """The PostgreSQL of a mirror site."""
    made = _cluster(session_directory, "pg2")
    yield made
    made.destroy()


@pytest.fixture(scope="session", autouse=True)
def sanitizer_reports(session_directory):
    """Where the programs of a sanitizer's build report; None of another build."""
    if not sanitizers.IS_SANITIZED:
        yield None
        return
    place = sanitizers.direct_reports(session_directory / "reports")
    yield place
    said = sanitizers.take_reports(place)
    assert not said, f"a program that the tests shared ended with\n{said}"


@pytest.fixture(autouse=True)
def nothing_left_behind(request, sanitizer_reports):
    """After each test its programs have ended and nothing is mounted, whatever happened.

    A test that may take longer than others says so: @pytest.mark.limit(seconds).
    """
    marker = request.node.get_closest_marker("limit")
    limit_seconds = max(LIMIT_SECONDS, *marker.args) if marker else LIMIT_SECONDS
    before = {p.pid for p in process.running()}
    hung = []

    def release():
        for leftover in process.running():
            if "mount" in leftover.arguments:
                hung.append(leftover.describe())
                leftover.child.kill()
    watchdog = threading.Timer(limit_seconds, release)
    watchdog.start()
    yield
    watchdog.cancel()
    for leftover in process.running():
        is_server = leftover.arguments[0].endswith("/postgres")
        if leftover.pid not in before and not is_server:
            leftover.kill()
    said = sanitizers.take_reports(sanitizer_reports) if sanitizer_reports else ""
    assert not said, said
    assert not hung, f"the test hung for {limit_seconds:g} s; killed {hung}"


@pytest.fixture
def workdir(session_directory, request):
    """A directory of one test; whatever is mounted below it is taken away at the end."""
    path = Path(tempfile.mkdtemp(prefix="t-", dir=session_directory))
    path.chmod(0o755)
    yield path
    failed = getattr(request.node, "outcome_of_call", None) == "failed"
    for point in _mounts_below(path):
        detach(point)
    if failed:
        _show_logs(path)
    if not os.environ.get("TARN_TEST_KEEP"):
        shutil.rmtree(path, ignore_errors=True)


def _mounts_below(path):
    prefix = str(path) + "/"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        points = [line.split()[4].replace("\\040", " ") for line in file]
    return sorted((p for p in points if p.startswith(prefix)), reverse=True)


def _show_logs(path):
    for log in sorted(path.glob("*.log")):
        lines = log.read_text(errors="replace").splitlines()[-40:]
        print(f"---- {log.name}", *lines, sep="\n")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if call.when == "call":
        item.outcome_of_call = outcome.get_result().outcome


@pytest.fixture
def database(cluster):
    """The name of an empty database at the primary's cluster."""
    name = cluster.create_database()
    yield name
    cluster.drop_database(name)


@pytest.fixture
def programs():
    """Skip nothing: without the programs the tests cannot say anything and must fail."""
    assert (BIN / "tarn").exists(), f"there is no {BIN}/tarn; build first"
    return BIN


@pytest.fixture
def volume(programs, cluster, database, workdir):
    """A formatted volume, one day of trash, not mounted."""
    return Volume(cluster, database, "vol", workdir).format()


@pytest.fixture
def proxy(cluster):
    """A proxy in front of the primary's PostgreSQL."""
    made = Proxy(cluster.port)
    yield made
    made.close()


@pytest.fixture
def primary(programs, cluster, workdir):
    made = Primary(cluster, "vol", workdir).begin()
    yield made
    process_end(made)
    cluster.drop_database(made.database)


@pytest.fixture
def link(cluster):
    """A proxy on the way from the mirror to the primary's PostgreSQL."""
    made = Proxy(cluster.port)
    yield made
    made.close()


@pytest.fixture
def mirror(primary, mirror_cluster, workdir, link):
    """A mirror that follows; its syncer is not started."""
    made = Mirror(mirror_cluster, primary, workdir, link=link).begin()
    yield made
    process_end(made)
    mirror_cluster.drop_database(made.database)


def process_end(site):
    """End the daemons of a site after a test, which may have killed some of them."""
    for daemon in [site.agent, *getattr(site, "syncers", [])]:
        if daemon.is_running():
            daemon.process.kill()
