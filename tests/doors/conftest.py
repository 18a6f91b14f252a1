"""The served model of the doors has a list column among its texts."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

import warmstart as ws
from tests.serve.fixtures import (
    lm_folder,
    model_folder,
    running,
    settings,
    toy_split,
)

__all__ = ["lm_folder", "model_folder", "running", "settings", "toy_split"]


@pytest.fixture(scope="session")
def toy_data() -> ws.Dataset:
    data = ws.synthetic(60, 80, rng=np.random.default_rng(0))
    old = data.catalogue
    genres = pl.Series("genres", [None] * len(old), dtype=pl.String)
    columns = old.columns.with_columns(genres)
    names = ("title", "genres", *(name for name in old.text_columns if name != "title"))
    return replace(data, catalogue=replace(old, columns=columns, text_columns=names))
