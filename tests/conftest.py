"""Fixtures that all tests share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of the public data sets. Without it the tests that need them are skipped."""
    root = Path(os.environ.get("WARMSTART_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (root / "citeulike-a" / "coldllm_split").is_dir():
        pytest.skip(f"the public data sets are not in {root}; set WARMSTART_DATA")
    return root


@pytest.fixture
def two_threads():
    """Let torch use two threads, whatever the machine or the environment says."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)
