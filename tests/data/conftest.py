"""A cache of its own for a test; a toy data set; the real data sets, if any."""

import os
from pathlib import Path

import pytest
from toy_copies import Toy


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """Prepared data go to `cache` below tmp_path."""
    monkeypatch.setenv("SIB_JAX_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def real_data():
    """The folder of real data sets, where this machine has one."""
    if not os.environ.get("SIB_JAX_DATA"):
        pytest.skip("SIB_JAX_DATA names no folder of real data sets")
    return Path(os.environ["SIB_JAX_DATA"])


@pytest.fixture(scope="session")
def toy():
    return Toy()
