"""The fixtures of the system tests, for mounts of a fresh volume."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "system"))

from harness.check import assert_consistent  # noqa: E402
from harness.fixtures import *  # noqa: E402,F401,F403
from harness.volume import Volume  # noqa: E402


@pytest.fixture(scope="module")
def shared_mount(request, session_directory, cluster):
    """One mount for the tests of a module, which each take a directory: see shared_top. The module
    may say in SHARED_FORMAT how its volume is formatted. Consistent at the end."""
    workdir = session_directory / request.module.__name__
    workdir.mkdir()
    workdir.chmod(0o755)
    volume = Volume(cluster, cluster.create_database(), "vol", workdir)
    volume.format(*getattr(request.module, "SHARED_FORMAT", ["--trash-days", "0"]))
    with volume.mount() as mount:
        yield mount
    assert_consistent(volume)


@pytest.fixture
def shared_top(shared_mount, request):
    """A fresh directory of the shared mount, open to everybody."""
    path = shared_mount.path(f"top{len(os.listdir(shared_mount.directory))}")
    path.mkdir()
    path.chmod(0o777)
    return path


@pytest.fixture
def plain_volume(programs, cluster, database, workdir):
    """A volume without trash: an unlinked file has no name left, as on a local file system."""
    return Volume(cluster, database, "vol", workdir).format("--trash-days", "0")
