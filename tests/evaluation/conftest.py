"""A small data set with two groups of users and items, split at random, and scorers for it."""

from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest

from warmstart.data.catalogue import Catalogue
from warmstart.data.dataset import Dataset
from warmstart.data.ids import Ids
from warmstart.data.interactions import Interactions
from warmstart.data.splits.cold import ColdSplit
from warmstart.data.splits.random_cold import random_cold


@dataclass
class Table:
    """A scorer that reads its scores from a table."""

    name: str
    scores: np.ndarray

    def score(self, queries, items):
        return self.scores[np.ix_(queries.users, items)]


def small_split(n_users=80, n_items=120, seed=0) -> ColdSplit:
    """Build a split whose users prefer items of the same half, popular ones (low rows) more."""
    rng = np.random.default_rng(seed)
    likes = 4 / (1 + np.arange(n_items)) ** 0.5 * rng.uniform(0.1, 0.6, (n_users, 1))
    likes = np.where(same_half(n_users, n_items), likes, likes / 20)
    users, items = np.nonzero(rng.random((n_users, n_items)) < likes)
    names = [f"i{i}" for i in range(n_items)]
    catalogue = Catalogue(
        Ids(names, "item"), tuple(names), None, pl.DataFrame({"title": names}), ("title",)
    )
    dataset = Dataset(
        "small",
        Ids([f"u{u}" for u in range(n_users)], "user"),
        catalogue,
        Interactions.from_arrays(users, items),
    )
    return random_cold(dataset, seed=3)


def same_half(n_users, n_items):
    return (np.arange(n_users)[:, None] % 2) == (np.arange(n_items)[None, :] % 2)


@pytest.fixture(scope="session")
def split() -> ColdSplit:
    return small_split()


@pytest.fixture(scope="session")
def scorers(split) -> dict[str, Table]:
    """good scores by half and popularity, noisy adds noise, warm_only gives NaN to cold items."""
    rng = np.random.default_rng(1)
    shape = (split.dataset.n_users, split.dataset.n_items)
    popular = 1 / (1 + np.arange(shape[1])) ** 0.5
    good = same_half(*shape) + popular + rng.random(shape) * 0.1
    noisy = good + rng.normal(size=shape)
    warm_only = np.where(split.train.warm[None, :], good, np.nan)
    tables = {"good": good, "noisy": noisy, "chance": rng.random(shape), "warm_only": warm_only}
    return {name: Table(name, table.astype(np.float32)) for name, table in tables.items()}
