"""Calls made as another user, in a child process."""

import contextlib
import os


def outcome_as(uid, gid, groups, action):
    """Run action() as that user: 0, or the errno with which it was refused."""
    child = os.fork()
    if child == 0:
        code = 255
        with contextlib.suppress(BaseException):
            os.setgroups(groups)
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            try:
                action()
                code = 0
            except OSError as refusal:
                code = refusal.errno
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code != 255, "the action did not even run"
    return code
