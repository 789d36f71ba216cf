"""A page of a directory that was read before a change of this mount never undoes it in the kernel.

The kernel may believe what it is told for an hour here, so that nothing is right by expiry alone.
"""

import os

import pytest

HOUR = [word for cache in ("attr", "entry", "dir-entry") for word in (f"--{cache}-cache", "1h")]
COUNT = 700  # two pages; the kernel takes some 400 entries at a time


@pytest.fixture
def top(volume):
    with volume.mount() as mount:
        mount.path("top").mkdir()
        for number in range(COUNT):
            mount.path("top", f"{number:03}").write_bytes(b"old")
    with volume.mount("--no-bgjob", *HOUR) as mount:
        yield mount.path("top")


def list_and_meanwhile(top, change):
    """Look at every entry, as ls -l does, and make a change when the page is here."""
    with os.scandir(top) as entries:
        for count, entry in enumerate(entries):
            if count == 1:
                change()
            try:
                entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                pass  # it may be one of those that the change removed


def test_what_was_written_keeps_its_length(top):
    list_and_meanwhile(top, lambda: (top / "650").write_bytes(b"much longer than before"))
    assert os.stat(top / "650").st_size == 23
    assert (top / "650").read_bytes() == b"much longer than before"


def test_what_is_written_and_not_closed_keeps_its_length(top):
    with open(top / "650", "r+b", buffering=0) as file:
        list_and_meanwhile(top, lambda: file.write(b"much longer than before"))
        assert os.fstat(file.fileno()).st_size == 23
        assert file.seek(0) == 0 and file.read() == b"much longer than before"


def test_a_removed_name_is_gone(top):
    list_and_meanwhile(top, (top / "650").unlink)
    assert not (top / "650").exists()
    (top / "650").touch(exist_ok=False)


def test_a_renamed_file_has_its_new_name_only(top):
    list_and_meanwhile(top, lambda: (top / "650").rename(top / "moved"))
    assert not (top / "650").exists()
    assert (top / "moved").read_bytes() == b"old"


def test_a_replaced_file_is_the_new_one(top):
    list_and_meanwhile(top, lambda: (top / "655").rename(top / "650"))
    (top / "655").write_bytes(b"another")
    assert (top / "650").read_bytes() == b"old"
    assert os.stat(top / "650").st_ino != os.stat(top / "655").st_ino


def test_modes_and_links_are_those_of_the_last_change(top):
    def change():
        (top / "650").chmod(0o600)
        os.link(top / "651", top.parent / "another name")
        os.truncate(top / "652", 1)

    list_and_meanwhile(top, change)
    assert os.stat(top / "650").st_mode & 0o777 == 0o600
    assert os.stat(top / "651").st_nlink == 2
    assert os.stat(top / "652").st_size == 1
