"""The fixtures of the system tests, and a stock JuiceFS client."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "system"))

from harness.fixtures import *  # noqa: E402,F401,F403
from stock_client import StockVolume  # noqa: E402


@pytest.fixture(scope="session")
def stock_program():
    """The stock client that tests/interop/run has built."""
    path = os.environ.get("TARN_STOCK_JUICEFS")
    if not path:
        pytest.skip("TARN_STOCK_JUICEFS names no stock client; run tests/interop/run")
    return Path(path)


@pytest.fixture
def volume(programs, stock_program, cluster, database, workdir):
    """A volume that both clients can be pointed at, not formatted yet."""
    return StockVolume(stock_program, cluster, database, "vol", workdir)
