"""Sum up JUnit files of ctest and of the pytest runs inside it, and say so in one last line.

A ctest test that is a pytest file counts as the tests in it (results/NAME.xml beside the ctest
file); one that failed without saying which of its tests did counts as one failure. Exits 1 when
anything failed or nothing ran.
"""

import sys
import xml.etree.ElementTree as xml
from pathlib import Path


def outcomes(file):
    """Yield (name, "passed" | "failed" | "skipped", reason) of each test case of a JUnit file."""
    for case in xml.parse(file).getroot().iter("testcase"):
        name = f"{case.get('classname', '')}::{case.get('name')}".lstrip(":")
        bad = [part for part in case if part.tag in ("failure", "error")]
        skips = [part for part in case if part.tag == "skipped"]
        if bad or case.get("status") == "fail":
            yield name, "failed", bad[0].get("message", "") if bad else ""
        elif skips or case.get("status") in ("notrun", "disabled"):
            yield name, "skipped", skips[0].get("message", "") if skips else ""
        else:
            yield name, "passed", ""


def inner(file, name):
    """The outcomes of the pytest file behind a ctest test, or None if there is none."""
    path = file.parent / "results" / f"{name.split('::')[-1]}.xml"
    try:
        return list(outcomes(path))
    except (FileNotFoundError, xml.ParseError):
        return None


def collect(file):
    for name, outcome, reason in outcomes(file):
        cases = inner(file, name)
        if cases is None:
            yield name, outcome, reason
            continue
        yield from cases
        if outcome == "failed" and all(case[1] != "failed" for case in cases):
            yield name, "failed", "ended badly though no test in it failed"


def main(files):
    found = []
    for file in map(Path, files):
        try:
            found += collect(file)
        except (FileNotFoundError, xml.ParseError) as problem:
            found.append((str(file), "failed", f"no results: {problem}"))
    for wanted in ("skipped", "failed"):
        for name, outcome, reason in found:
            if outcome == wanted:
                print(f"{outcome}: {name}: {reason.splitlines()[0] if reason else ''}")
    count = {kind: sum(case[1] == kind for case in found)
             for kind in ("passed", "failed", "skipped")}
    print(f"{count['passed']} passed, {count['failed']} failed, {count['skipped']} skipped")
    return 1 if count["failed"] or not count["passed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
