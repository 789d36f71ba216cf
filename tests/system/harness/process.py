"""Programs under test: started with a log file, ended by process id.

Every process that is still alive is killed when the registry is closed, so that a failing test
leaves nothing behind. A killed mount daemon also releases whoever waits in its mount point.
"""

import os
import signal
import subprocess
import threading

_registry = {}
_lock = threading.Lock()
# UBSan knows no file but stderr, where it shares the process with ASan.
_UNDEFINED = "runtime error: "
_undefined = []


class Process:
    """A long-running program with its output in a log file."""

    def __init__(self, arguments, log, env=None, user=None, cwd=None):
        self.arguments = [str(a) for a in arguments]
        self.log_path = str(log)
        options = {}
        if user is not None:
            options = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        with open(self.log_path, "ab") as out:
            self.child = subprocess.Popen(
                self.arguments, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=cwd,
                env={**os.environ, **(env or {})}, start_new_session=True, **options)
        # Open from now on: what it says can still be read when its test's directory is gone.
        self._said = open(self.log_path, encoding="utf-8", errors="replace")
        with _lock:
            _registry[self.child.pid] = self

    @property
    def pid(self):
        return self.child.pid

    def is_running(self):
        return self.child.poll() is None

    def send(self, number):
        if self.is_running():
            self.child.send_signal(number)

    def wait(self, timeout=60.0):
        """Wait for the end and give the exit code."""
        try:
            code = self.child.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.describe()} did not end within {timeout:g} s\n"
                                 f"{self.log_tail()}") from None
        with _lock:
            _registry.pop(self.child.pid, None)
        _look_for_undefined(self.log())
        return code

    def stop(self, number=signal.SIGTERM, timeout=60.0):
        self.send(number)
        return self.wait(timeout)

    def kill(self):
        self.send(signal.SIGKILL)
        return self.wait()

    def log(self):
        self._said.seek(0)
        return self._said.read()

    def log_tail(self, lines=30):
        return "\n".join(self.log().splitlines()[-lines:])

    def describe(self):
        return f"{' '.join(self.arguments[:3])} … (pid {self.pid})"

    def resident_bytes(self):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            for line in file:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        raise AssertionError(f"{self.describe()} has no resident memory: it has ended")


def _look_for_undefined(said):
    at = said.find(_UNDEFINED)
    if at >= 0:
        _undefined.append(said[max(0, at - 200):at + 2000])


def take_undefined():
    """What programs that have ended said of undefined behaviour since the last call."""
    taken = "\n".join(_undefined)
    _undefined.clear()
    return taken


def kill_all():
    """Kill whatever is still running; the answer names it."""
    with _lock:
        leftover = list(_registry.values())
    for process in leftover:
        process.kill()
    return [process.describe() for process in leftover]


def running():
    with _lock:
        return [process for process in _registry.values() if process.is_running()]


def run(arguments, timeout=120.0, env=None, check=True, cwd=None):
    """Run a program to its end. Both outputs are text; with check its failure is an assertion."""
    done = subprocess.run(
        [str(a) for a in arguments], timeout=timeout, env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL, cwd=cwd,
        capture_output=True, text=True, errors="replace")
    _look_for_undefined(done.stderr)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(str(a) for a in arguments)}\n"
                             f"exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done
