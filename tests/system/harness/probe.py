"""The metadata client without FUSE around it: meta_probe, asked line by line."""

import json
import os
import subprocess

from .volume import BIN

PROGRAM = BIN / "meta_probe"


class Refused(Exception):
    """The verb failed; answer has code, errno and text."""

    def __init__(self, answer):
        super().__init__(answer.get("text"))
        self.answer = answer
        self.code = answer["code"]
        self.errno = answer.get("errno")


class Probe:
    """One handle with its session. Files that it makes are removed with the database."""

    def __init__(self, url, *options, env=None):
        self.child = subprocess.Popen(
            [str(PROGRAM), *options, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, env={**os.environ, **(env or {})})

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind:
            self.child.kill()
        self.child.stdin.close()
        code = self.child.wait(60)
        self.child.stdout.close()
        assert kind or code == 0, f"meta_probe ended with {code}"

    def post(self, *words):
        """Begin a verb; answer() waits for its end."""
        self.child.stdin.write(" ".join(str(w) for w in words) + "\n")
        self.child.stdin.flush()

    def answer(self):
        line = self.child.stdout.readline()
        assert line, "meta_probe has died"
        answer = json.loads(line)
        if not answer["ok"]:
            raise Refused(answer)
        return answer

    def __call__(self, *words):
        self.post(*words)
        return self.answer()


def probe_once(url, *words, env=None):
    """Run meta_probe with one verb; gives the answer whether it is good or not."""
    done = subprocess.run([str(PROGRAM), url, *[str(w) for w in words]], capture_output=True,
                          text=True, timeout=120, check=False, env={**os.environ, **(env or {})})
    assert done.stdout, done.stderr
    return json.loads(done.stdout), done.stdout + done.stderr
