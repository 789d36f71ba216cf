"""ACLs and flags that one client sets, the other one shows and obeys."""

import errno
import os
import shutil
import time

import pytest

from harness.check import assert_consistent
from harness.process import run
from harness.syscalls import FS_APPEND, FS_IMMUTABLE, get_flags, set_flags
from harness.users import outcome_as
from harness.volume import tarn

ALICE, BOB, STAFF = 1001, 1002, 2000
ATTRIBUTES_AGE = 1.2  # of a stock client's kernel


def getfacl(path):
    text = run(["getfacl", "-pnc", path]).stdout
    return [line.split("\t")[0] for line in text.splitlines() if line and not line.startswith("#")]


def make(top):
    top.mkdir()
    os.chmod(top, 0o777)
    run(["setfacl", "-m", f"d:u:{ALICE}:rwx,d:g:{STAFF}:rx,d:m::rx", top])
    os.umask(0o022)
    for number, mode in enumerate((0o777, 0o640, 0o604)):
        os.close(os.open(top / f"inherits{number}", os.O_CREAT | os.O_WRONLY, mode))
        (top / f"dir{number}").mkdir(mode)
        path = top / f"named{number}"
        path.touch()
        run(["setfacl", "-m", f"u:{BOB}:rw,g:{STAFF}:r", path])
        os.chmod(path, mode)
    run(["setfacl", "-b", top / "named0"])


def describe(top):
    return {name: (oct(os.stat(top / name).st_mode), getfacl(top / name))
            for name in sorted(os.listdir(top))}


@pytest.mark.skipif(not shutil.which("setfacl"), reason="the acl tools are not installed")
@pytest.mark.parametrize("is_stock_first", [True, False], ids=["stock formats", "tarn formats"])
def test_lists_mean_the_same_to_both(volume, is_stock_first):
    if is_stock_first:
        volume.stock_format("--enable-acl")
        with volume.stock_mount():
            pass
        tarn("primary", "adopt", volume.url)
    else:
        volume.format("--enable-acl")
    with volume.mount() as ours, volume.stock_mount() as stock:
        make(ours.path("by-us"))
        make(stock.path("by-stock"))
        time.sleep(ATTRIBUTES_AGE)
        assert describe(ours.path("by-us")) == describe(stock.path("by-stock"))
        assert describe(stock.path("by-us")) == describe(ours.path("by-us"))
        assert describe(ours.path("by-stock")) == describe(stock.path("by-stock"))
        # Each one changes what the other one has made.
        run(["setfacl", "-m", f"u:{ALICE}:-", ours.path("by-stock", "named1")])
        run(["setfacl", "-m", f"u:{ALICE}:-", stock.path("by-us", "named1")])
        os.chmod(ours.path("by-stock", "named2"), 0o660)
        os.chmod(stock.path("by-us", "named2"), 0o660)
        time.sleep(ATTRIBUTES_AGE)
        assert describe(stock.path("by-us")) == describe(ours.path("by-stock"))
        for mount in (ours, stock):
            for top in ("by-us", "by-stock"):
                written, hidden = mount.path(top, "named2"), mount.path(top, "named1")
                assert outcome_as(BOB, BOB, [], lambda p=written: p.write_text("x")) == 0
                assert outcome_as(ALICE, ALICE, [], lambda p=hidden: p.read_text()) == errno.EACCES
    assert_consistent(volume, with_stats=False)
    volume.assert_nothing_lost()


def test_flags_bind_both(volume):
    volume.format()
    with volume.mount() as ours, volume.stock_mount("--enable-ioctl") as stock:
        for here, there in ((ours, stock), (stock, ours)):
            ours.path("file").write_text("text")
            time.sleep(ATTRIBUTES_AGE)
            for flag, flags in ((FS_IMMUTABLE, os.O_WRONLY), (FS_APPEND, os.O_WRONLY)):
                set_flags(here.path("file"), flag)
                time.sleep(ATTRIBUTES_AGE)
                assert get_flags(there.path("file")) == flag
                with pytest.raises(PermissionError):
                    os.close(os.open(there.path("file"), flags))
                with pytest.raises(PermissionError):
                    there.path("file").unlink()
                set_flags(here.path("file"), 0)
                time.sleep(ATTRIBUTES_AGE)
            ours.path("file").unlink()
            time.sleep(ATTRIBUTES_AGE)
