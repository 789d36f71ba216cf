"""pjdfstest, the POSIX test suite: every file of a checkout that PJDFSTEST_DIR names.

The checkout is built by whoever brings it (autoreconf -ifs && ./configure && make pjdfstest). Run
as root.
"""

import os
from pathlib import Path

import pytest

from harness.process import run
from harness.volume import Volume

SUITE = os.environ.get("PJDFSTEST_DIR")
FILES = sorted(Path(SUITE).glob("tests/*/*.t")) if SUITE else []

pytestmark = pytest.mark.skipif(not SUITE, reason="PJDFSTEST_DIR is not set: pjdfstest not run")


@pytest.fixture(scope="module", params=[[], ["--enable-acl"]], ids=["plain", "acl"])
def mounted(request, session_directory, cluster):
    workdir = session_directory / f"pjdfstest{len(request.param)}"
    workdir.mkdir()
    workdir.chmod(0o755)
    # Without trash: link counts of open, unlinked files must be 0.
    volume = Volume(cluster, cluster.create_database(), "vol", workdir).format("--trash-days", "0",
                                                                           *request.param)
    with volume.mount() as mount:
        yield mount


@pytest.mark.parametrize("file", FILES or [None],
                         ids=lambda f: f"{f.parent.name}/{f.stem}" if f else "all")
def test_file(mounted, file):
    place = mounted.path(f"{file.parent.name}-{file.stem}")
    place.mkdir()
    done = run(["prove", "-q", file], timeout=900, check=False, cwd=place)
    assert done.returncode == 0, done.stdout + done.stderr
