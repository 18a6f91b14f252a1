"""What some recommenders can do beyond scoring: add items, simulate interactions."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from scipy import sparse

from warmstart.core import Recommender
from warmstart.data.catalogue import Catalogue
from warmstart.data.ids import ExternalId, id_column
from warmstart.data.interactions import Interactions
from warmstart.data.readers.files import read_items
from warmstart.errors import DataError, UnsupportedError


class AddsItems(ABC):
    """The ability to add items after ``fit``, without retraining."""

    @abstractmethod
    def _add_texts(self, texts: Sequence[str]) -> None:
        """Extend the method's own state by one item per text."""

    def add_items(self, new: Catalogue | Any) -> pl.DataFrame:
        """Make new items recommendable now; the scores of all other items stay as they are.

        Args:
            new: items that are not in the catalogue yet: a frame, the path of a csv, jsonl or
                parquet file, or a Catalogue; see ``warmstart.read_items``.

        Returns:
            Columns item, row (int32).

        Raises:
            DataError: an item is already in the catalogue, or cannot be read.
        """
        assert isinstance(self, Recommender)
        fitted = self.fitted
        if not isinstance(new, Catalogue):
            new = read_items(new, fitted.catalogue.text_columns, fitted.catalogue.item_ids)
        start = len(fitted.catalogue)
        catalogue = fitted.catalogue.extended(new)
        if len(new):
            self._add_texts(new.texts)
        fitted.catalogue = catalogue
        fitted.warm = np.concatenate([fitted.warm, np.zeros(len(new), bool)])
        fitted.seen = sparse.csr_matrix(
            (fitted.seen.data, fitted.seen.indices, fitted.seen.indptr),
            shape=(len(fitted.user_ids), len(catalogue)),
        )
        rows = np.arange(start, len(catalogue), dtype=np.int32)
        return pl.DataFrame({"item": id_column(new.item_ids, rows - start), "row": rows})


class Simulates(ABC):
    """The ability to name the likely users of a text."""

    @abstractmethod
    def simulate_texts(self, texts: Sequence[str], k: int) -> Interactions:
        """The k likeliest users of each text.

        Returns:
            Interactions whose ``items`` are positions in ``texts``, k a text, the likeliest first,
            with provenance and weight.
        """

    def simulate(self, items: Catalogue | Sequence[ExternalId], k: int = 20) -> pl.DataFrame:
        """The k likeliest users of each item, whether it is in the catalogue or not.

        Args:
            items: ids of the catalogue, or items of one's own.
            k: users an item.

        Returns:
            Columns item, user, weight (float32 in (0, 1]), rank (from 1), provenance, and one for
            each kind of evidence of the simulator (float32).

        Raises:
            DataError: an unknown item id, or k outside 1..number of users.
        """
        assert isinstance(self, Recommender)
        fitted = self.fitted
        if not 1 <= k <= len(fitted.user_ids):
            raise DataError(f"simulate: k must be within 1..{len(fitted.user_ids)} users, got {k}")
        if isinstance(items, Catalogue):
            ids, rows, texts = items.item_ids, np.arange(len(items)), items.texts
        else:
            ids = fitted.catalogue.item_ids
            rows = ids.known_rows(items)
            texts = [fitted.catalogue.texts[row] for row in rows]
        events = self.simulate_texts(texts, k)
        return pl.DataFrame(
            {
                "item": id_column(ids, rows[events.items]),
                "user": id_column(fitted.user_ids, events.users),
                "weight": events.weights,
                "rank": np.tile(np.arange(1, k + 1, dtype=np.int32), len(texts)),
                "provenance": pl.repeat(events.provenance, len(events), eager=True),
                **events.evidence,
            }
        )


def require(model: Recommender, ability: type, verb: str) -> Any:
    """``model``, if it has the ability.

    Raises:
        UnsupportedError: naming the method and the verb.
    """
    if not isinstance(model, ability):
        raise UnsupportedError(f"{model.name} cannot {verb}")
    return model
