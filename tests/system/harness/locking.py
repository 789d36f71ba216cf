"""What tests of locks share: two processes at two mounts, and what a refusal is."""

import contextlib
import errno

import pytest

from .locker import Locker
from .wait import wait_for


@contextlib.contextmanager
def two_lockers(one, two, name):
    """A process at each of two mounts; both have the same new file open as "f"."""
    one.path(name).touch()
    wait_for("the file is seen", two.path(name).exists)
    with Locker() as first, Locker() as second:
        first.open("f", one.path(name))
        second.open("f", two.path(name))
        yield first, second


def refused(operation, *arguments, codes=(errno.EAGAIN, errno.EACCES)):
    """The operation fails; by default because somebody else holds the lock."""
    with pytest.raises(OSError) as caught:
        operation(*arguments)
    assert caught.value.errno in codes, caught.value
