"""Options of a mount: those of JuiceFS's and mount(8)'s command lines, taken or refused clearly."""

import os

import pytest

from harness.volume import USAGE, tarn


def test_options_of_a_stock_command_line_are_accepted(volume):
    with volume.mount("--no-bgjob", "--enable-xattr", "--readdir-cache", "--heartbeat", "12s",
                      "-o", "rw,_netdev,nofail,allow_other,noatime,max-uploads=4") as mount:
        mount.path("file").write_text("text")
        os.setxattr(mount.path("file"), "user.a", b"1")


@pytest.mark.parametrize("option, said", [
    ("--writeback", "--writeback is not done here"),
    ("--storage=s3", "--storage cannot be changed"),
    ("--umask=0999", "--umask must be an octal number"),
])
def test_what_would_not_be_kept_is_refused_in_one_line(volume, option, said):
    point = volume.workdir / "refused"
    point.mkdir()
    done = tarn("mount", volume.url, point, option, check=False)
    assert done.returncode != 0 and said in done.stderr
    assert USAGE == 2 and "\n" not in done.stderr.strip()


def test_a_umask_of_the_mount_goes_before_the_callers(volume):
    with volume.mount("--umask", "027") as mount:
        old = os.umask(0o077)
        try:
            mount.path("dir").mkdir()
            mount.path("file").touch(0o666)
        finally:
            os.umask(old)
        assert os.stat(mount.path("dir")).st_mode & 0o777 == 0o750
        assert os.stat(mount.path("file")).st_mode & 0o777 == 0o640


def test_a_missing_name_is_remembered_only_when_asked(volume):
    with volume.mount("--negative-entry-cache", "600s") as mount, volume.mount() as other:
        assert not mount.path("name").exists() and not other.path("name").exists()
        other.path("name").touch()
        assert not mount.path("name").exists() and other.path("name").exists()
        mount.path("own").exists()
        mount.path("own").touch()
        assert mount.path("own").exists()
