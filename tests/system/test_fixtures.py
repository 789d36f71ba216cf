"""Volumes that a stock JuiceFS client wrote: Tarn must show the very same tree.

Each one is restored, adopted, mounted read-only with its bucket overridden, and compared with the
listing that the stock client made through its own mount. Then Tarn writes to the copy and the
metadata must still be consistent.
"""

import os

import pytest

from harness.check import assert_consistent
from harness.tree import assert_same, load_listing, read_tree
from harness.volume import NOT_FORMATTED, Restored, fixture_names, tarn

STATES = [(name, False) for name in fixture_names()] + [("live", True)]


@pytest.fixture(params=STATES, ids=lambda state: state[0] + ("-mounted" if state[1] else ""))
def restored(request, programs, cluster, workdir):
    variant, live = request.param
    volume = Restored(cluster, variant, workdir, live=live).restore().adopt()
    yield volume
    cluster.drop_database(volume.database)


def expected_of(restored):
    """The listing; the size 0 of /.trash is made up by the stock client, as its times are."""
    listing = load_listing(restored.listing())
    if "/.trash" in listing:
        listing["/.trash"]["size"] = None
    return listing


def read_all(mount):
    """Everything that tree.jsonl lists: the trash too, which is not in the root's listing."""
    return read_tree(mount.directory, also=[".trash"] if mount.path(".trash").exists() else [])


def test_the_tree_is_the_one_the_stock_client_showed(restored):
    with restored.mount("--read-only") as mount:
        assert_same(expected_of(restored), read_all(mount))


def test_writing_to_it_keeps_the_rest_and_the_metadata_whole(restored):
    expected = expected_of(restored)
    with restored.mount() as mount:
        top = mount.path("tarn was here")
        top.mkdir()
        (top / "new").write_bytes(os.urandom(3 << 20))
        os.link(top / "new", top / "second")
        written = read_tree(top)
    with restored.mount("--read-only") as mount:
        again = read_all(mount)
        assert_same(written, read_tree(mount.path("tarn was here")))
    kept = {path: made for path, made in again.items() if not path.startswith("/tarn was here")}
    for root in (expected["/"], kept["/"]):
        for member in ("mtime_ns", "ctime_ns", "nlink"):
            root.pop(member)
    assert_same(expected, kept)
    assert_consistent(restored, with_stats=False)


def test_a_volume_is_not_mounted_before_it_was_adopted(programs, cluster, workdir):
    volume = Restored(cluster, "notrash", workdir).restore()
    (workdir / "mnt").mkdir()
    done = tarn("mount", volume.url, workdir / "mnt", "--bucket", volume.bucket_argument,
                "--read-only", check=False)
    assert done.returncode == NOT_FORMATTED
    assert "adopt" in done.stderr and len(done.stderr.strip().splitlines()) == 1
    cluster.drop_database(volume.database)


def test_an_encrypted_volume_stays_closed_without_its_passphrase(programs, cluster, workdir):
    volume = Restored(cluster, "aes256gcm-rsa", workdir).restore().adopt()
    (workdir / "mnt").mkdir()
    done = tarn("mount", volume.url, workdir / "mnt", "--bucket", volume.bucket_argument,
                "--read-only", env={"JFS_RSA_PASSPHRASE": "wrong"}, check=False)
    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) == 1
    assert volume.info["passphrase"] not in done.stderr
    cluster.drop_database(volume.database)
