"""tarn destroy: a volume is gone for good, but only the right one and only when nobody uses it."""

import json
import os

from harness.process import run
from harness.volume import BIN, DONE, FAILED, NOT_FORMATTED, tarn


def uuid_of(volume):
    return json.loads(volume.value("SELECT value FROM jfs_setting WHERE name = 'format'"))["UUID"]


def destroy(volume, uuid, *options):
    return run([BIN / "tarn", "destroy", volume.url, uuid, *options], check=False)


def objects(volume):
    return sorted(path for path in volume.bucket.rglob("*") if path.is_file())


def test_a_volume_is_destroyed_and_nothing_is_left(volume):
    with volume.mount() as mount:
        for i in range(10):
            mount.path(f"f{i}").write_bytes(os.urandom(10_000))
    other = volume.bucket / "other" / "kept"
    other.parent.mkdir()
    other.write_text("of somebody else")
    uuid = uuid_of(volume)
    done = destroy(volume, uuid, "-y", "--json")
    assert done.returncode == DONE and json.loads(done.stdout)["deleted_objects"] >= 10
    assert objects(volume) == [other]
    assert volume.query("SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
                        " WHERE relname LIKE 'jfs%' OR nspname LIKE 'tarn%'") == []
    assert run([BIN / "tarn", "status", volume.url], check=False).returncode == NOT_FORMATTED
    volume.format()
    with volume.mount() as mount:
        assert not mount.path("f0").exists()


def test_what_is_in_use_or_not_meant_stays(volume):
    uuid = uuid_of(volume)
    with volume.mount() as mount:
        mount.path("f").write_bytes(b"precious")
        refused = destroy(volume, uuid, "-y")
        assert refused.returncode == FAILED and str(mount.directory) in refused.stderr
    before = objects(volume)
    for arguments in (["00000000-0000-4000-8000-000000000000", "--force"], [uuid]):
        assert destroy(volume, *arguments).returncode == FAILED
    assert objects(volume) == before
    with volume.mount() as mount:
        assert mount.path("f").read_bytes() == b"precious"


def test_a_volume_with_a_mirror_stays(primary, mirror):
    uuid = uuid_of(primary)
    for site, word in ((primary, "away"), (mirror, "mirror leave")):
        refused = destroy(site, uuid, "-y")
        assert refused.returncode == FAILED and word in refused.stderr
    tarn("status", primary.url)
