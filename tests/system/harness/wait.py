"""Wait for a condition with a deadline. Tests never sleep for a guessed time."""

import time


class Expired(AssertionError):
    """A condition did not become true in time."""


def wait_for(what, condition, timeout=60.0, interval=0.02):
    """Call condition() until its answer is true and give that answer; name `what` on expiry."""
    deadline = time.monotonic() + timeout
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise Expired(f"{what}: not within {timeout:g} s")
        time.sleep(interval)


def stays(what, condition, seconds):
    """Assert that condition() holds all the time for some seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition(), f"{what}: did not stay so for {seconds:g} s"
        time.sleep(0.02)
