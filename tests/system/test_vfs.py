"""The vfs without FUSE: random operations by three threads against local files."""

import os
import subprocess

from harness.check import assert_consistent
from harness.volume import BIN


def test_random_operations_end_as_on_a_local_file_system(volume):
    environment = dict(os.environ, TARN_TEST_PG_URL=volume.url)
    done = subprocess.run([BIN / "vfs_torture"], env=environment, timeout=300,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_consistent(volume)
