"""What the sanitizers say of the programs under test, however those were started and ended.

A report on the stderr of a daemon reaches a log that nobody reads, and the exit code of a program
that is killed says nothing. So every program of a sanitizer's build writes its reports to files of
one directory, and a file there fails the test that is running.
"""

import os
from pathlib import Path

from .process import take_undefined
from .volume import BUILD

IS_SANITIZED = BUILD.name in ("asan", "tsan")
_OPTIONS = {
    "ASAN_OPTIONS": "detect_stack_use_after_return=1:strict_string_checks=1:suppressions="
                    f"{Path(__file__).with_name('asan.supp')}",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "second_deadlock_stack=1",
}


def direct_reports(directory):
    """Have the programs that are started from now on report to files in the directory."""
    place = Path(directory)
    place.mkdir()
    place.chmod(0o777)  # some of them run as another account
    for name, options in _OPTIONS.items():
        given = os.environ.get(name, "")
        os.environ[name] = f"{options}:{given}:log_path={place}/report"
    return place


def take_reports(directory):
    """The text of the reports since the last call."""
    found = [take_undefined()]
    for file in sorted(Path(directory).iterdir()):
        found.append(file.read_text(encoding="utf-8", errors="replace"))
        file.unlink()
    return "\n".join(text for text in found if text)
