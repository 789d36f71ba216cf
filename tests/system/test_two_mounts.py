"""Two mounts of one volume: close-to-open, as between stock clients."""

import os
import time

import pytest

from harness.check import assert_consistent
from harness.tree import assert_same, read_tree
from harness.wait import wait_for

# Attributes and entries may be cached by the kernel for one second.
TIMEOUT_SECONDS = 1.0


@pytest.fixture
def pair(volume):
    with volume.mount() as one, volume.mount() as two:
        yield one, two
    assert_consistent(volume)


def test_what_was_closed_here_is_read_when_opened_there(pair):
    one, two = pair
    for generation in range(20):
        data = os.urandom(70_000 + generation)
        one.path("f").write_bytes(data)
        if generation == 0:
            wait_for("the new name is seen", two.path("f").exists)
        assert two.path("f").read_bytes() == data


def test_an_overwrite_of_the_same_length_is_seen_at_open(pair):
    one, two = pair
    one.path("f").write_bytes(b"a" * 10_000)
    wait_for("the file is seen", two.path("f").exists)
    assert two.path("f").read_bytes() == b"a" * 10_000
    for letter in (b"b", b"c", b"d"):
        with open(one.path("f"), "r+b") as file:
            file.write(letter * 10_000)
        assert two.path("f").read_bytes() == letter * 10_000


def test_a_page_cache_from_an_earlier_open_is_not_served_for_changed_data(pair):
    one, two = pair
    one.path("f").write_bytes(b"1" * (8 << 20))
    wait_for("the file is seen", two.path("f").exists)
    assert two.path("f").read_bytes() == b"1" * (8 << 20)
    with open(one.path("f"), "r+b") as file:
        file.seek(5 << 20)
        file.write(b"2")
    assert two.path("f").read_bytes()[5 << 20:(5 << 20) + 1] == b"2"


def test_truncate_and_grow_show_zeros_and_never_old_bytes(pair):
    one, two = pair
    one.path("f").write_bytes(b"x" * 300_000)
    wait_for("the file is seen", two.path("f").exists)
    assert two.path("f").read_bytes() == b"x" * 300_000
    os.truncate(one.path("f"), 100)
    os.truncate(one.path("f"), 200_000)
    assert two.path("f").read_bytes() == b"x" * 100 + b"\0" * 199_900


def test_names_made_and_removed_are_seen_within_the_timeouts(pair):
    one, two = pair
    for number in range(50):
        one.path(f"n{number}").touch()
    wait_for("the names are seen", lambda: len(os.listdir(two.directory)) == 50)
    for number in range(0, 50, 2):
        os.unlink(two.path(f"n{number}"))
    wait_for("the removals are seen", lambda: len(os.listdir(one.directory)) == 25)
    os.rename(one.path("n1"), one.path("renamed"))
    wait_for("the rename is seen", two.path("renamed").exists)
    wait_for("the old name is gone", lambda: not two.path("n1").exists())


def test_both_append_and_nothing_is_lost(pair):
    one, two = pair
    one.path("log").touch()
    wait_for("the file is seen", two.path("log").exists)
    for number in range(10):
        for mount in pair:
            with open(mount.path("log"), "ab") as file:
                file.write(f"{number}\n".encode())
    expected = "".join(f"{number}\n{number}\n" for number in range(10))
    assert one.path("log").read_text() == expected
    assert two.path("log").read_text() == expected


def test_only_one_of_two_exclusive_creates_wins(pair):
    one, two = pair
    for number in range(30):
        winners = 0
        for mount in pair if number % 2 else reversed(pair):
            try:
                os.close(os.open(mount.path(f"x{number}"), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                winners += 1
            except FileExistsError:
                pass
        assert winners == 1


def test_both_see_the_same_tree_in_the_end(pair):
    one, two = pair
    for number, mount in enumerate(pair):
        top = mount.path(f"from{number}")
        top.mkdir()
        for index in range(40):
            (top / f"f{index}").write_bytes(os.urandom(index * 1000))
    time.sleep(TIMEOUT_SECONDS * 1.1)
    assert_same(read_tree(one.directory), read_tree(two.directory))
