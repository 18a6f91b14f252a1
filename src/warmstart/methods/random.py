"""random: scores every pair at random. The floor of every table."""

import zlib

import numpy as np

from warmstart.abilities import AddsItems
from warmstart.config import Config
from warmstart.core import FitContext, LanguageModels, Recommender, Traits
from warmstart.data.catalogue import Catalogue
from warmstart.data.dataset import Dataset
from warmstart.data.queries import Queries

_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


class RandomConfig(Config):
    """Empty: random has no settings."""


class Random(Recommender, AddsItems):
    """Scores each pair by a hash of seed, query and item, so that scores are repeatable.

    A known user counts by the row number, any other query by its history and text.
    """

    name = "random"
    config_type = RandomConfig
    traits = Traits(
        reads=frozenset(), cold_items="prior", answers=frozenset({"user", "history", "text"})
    )

    def _fit(self, data: Dataset, context: FitContext) -> None:
        self._seed = np.uint64(context.rng.integers(2**63))

    def _score(self, queries: Queries, items: np.ndarray) -> np.ndarray:
        """As ``Recommender.score``; scores are uniform in [0, 1)."""
        with np.errstate(over="ignore"):  # the hash is arithmetic modulo 2^64 (splitmix64)
            rows = _numbers(queries) * _MIX[0] + self._seed
            mixed = rows[:, None] * _MIX[1] + items.astype(np.uint64) * _MIX[2]
            for factor, shift in ((_MIX[1], 30), (_MIX[2], 27)):
                mixed = (mixed ^ (mixed >> np.uint64(shift))) * factor
            mixed ^= mixed >> np.uint64(31)
        return ((mixed >> np.uint64(40)).astype(np.float32)) / np.float32(2**24)

    def _add_items(self, items: Catalogue) -> None:
        """Do nothing: any row number has a score."""

    def _state(self) -> dict[str, np.ndarray]:
        return {"seed": np.array([self._seed], np.uint64)}

    def _restore(self, state: dict[str, np.ndarray], models: LanguageModels) -> None:
        self._seed = state["seed"][0]


def _numbers(queries: Queries) -> np.ndarray:
    """A number for each query, equal for equal queries: uint64, shape (queries,)."""
    numbers = queries.users.astype(np.uint64)
    for at in np.flatnonzero(queries.users < 0).tolist():
        history = b"" if queries.histories is None else queries.histories[at].tobytes()
        text = "" if queries.texts is None else queries.texts[at]
        numbers[at] = 2**32 + zlib.crc32(text.encode("utf-8", "surrogatepass"), zlib.crc32(history))
    return numbers
