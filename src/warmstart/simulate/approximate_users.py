"""Simulate from an index of the users instead of from all of them."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from warmstart.abilities import simulated_frame, warn_of_no_text
from warmstart.arguments import whole_number
from warmstart.data.catalogue import Catalogue
from warmstart.errors import DataError, UnsupportedError
from warmstart.retrieval.approximate import ApproximateTable, has_index
from warmstart.retrieval.table import VectorTable
from warmstart.sampling import evenly_spaced
from warmstart.simulate.table_simulator import TableSimulator


class ApproximateUsers:
    """The users of a simulator, searched approximately.

    Args:
        model: a recommender that takes the likeliest users from a table.
        folder: of the index of its users; without one, an index is built and saved there.
        n_probes: lists of the index that each item reads; None keeps the setting of the index.

    Raises:
        ArtefactError: the folder has an index of other users, or other content.
        UnsupportedError: the recommender needs all users for each item, or the package faiss-cpu
            is not installed.
    """

    def __init__(self, model: Any, folder: Path, n_probes: int | None = None) -> None:
        self.model: Any = model
        table = model.user_table() if isinstance(model, TableSimulator) else None
        if not isinstance(table, VectorTable):
            raise UnsupportedError(
                f"{self.model.name} cannot simulate approximately: its users are no "
                "vectors, as those of text_ridge with rank or of ease_text with ridge.rank"
            )
        if self.model.needs_log_normalisers:
            raise UnsupportedError(
                f"{self.model.name} cannot simulate approximately: its weights are probabilities "
                "among all users, whose sum takes the exact search"
            )
        if n_probes is not None:
            n_probes = whole_number("simulate", "n_probes", n_probes, low=1)
        if has_index(folder):
            self.index = ApproximateTable.open(folder, table)
        else:
            self.index = ApproximateTable.build(table)
            self.index.save(folder)
        if n_probes is not None:
            self.index.n_probes = n_probes

    @property
    def settings(self) -> str:
        """Everything that results depend on besides the model."""
        return f"{self.index.config.model_dump_json()} n_probes={self.index.n_probes}"

    def simulate(self, items: Catalogue, k: int) -> pl.DataFrame:
        """As ``Simulates.simulate``, of new items."""
        warn_of_no_text(items.has_text, "nothing is simulated for an item without text")
        rows = np.flatnonzero(items.has_text)
        found = self.index.search(self._queries(items, rows), self._bounded(k))
        events = self.model.simulated(found)
        return simulated_frame(self.model.fitted, items.item_ids, rows, events)

    def recall(self, items: Catalogue, k: int, n_items: int) -> float:
        """The share of the exact users of some items, evenly spaced, that are found.

        Args:
            items: the items.
            k: users per item.
            n_items: the largest number of items.
        """
        rows = np.flatnonzero(items.has_text)
        some = evenly_spaced(len(rows), n_items)
        return self.index.recall(self._queries(items, rows[some]), self._bounded(k))

    def _queries(self, items: Catalogue, rows: np.ndarray) -> np.ndarray:
        return self.model.user_queries([items.texts[row] for row in rows])

    def _bounded(self, k: int) -> int:
        return min(whole_number("simulate", "k", k, low=1, error=DataError), len(self.index.table))
