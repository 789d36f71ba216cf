"""The fixtures of the system tests, for mounts of a fresh volume."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "system"))

from harness.fixtures import *  # noqa: E402,F401,F403
from harness.volume import Volume  # noqa: E402


@pytest.fixture
def plain_volume(programs, cluster, database, workdir):
    """A volume without trash: an unlinked file has no name left, as on a local file system."""
    return Volume(cluster, database, "vol", workdir).format("--trash-days", "0")
