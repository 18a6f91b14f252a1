"""Segments of the index: cold items with what scoring them needs."""

from dataclasses import dataclass

import numpy as np

from warmstart.retrieval.table import VectorTable
from warmstart.servable import ItemRows, Servable
from warmstart.serve.engine.growable import GrowableTable, borrowed

NEVER = np.float32(-np.inf)
COLD_ARRAYS = {  # what every row of a segment has, beside its rows, vectors and likely users
    "slot": np.int64,
    "tie": np.uint64,  # hash of its name: the order of items with the same score
    "content": np.uint64,  # hash of what was written; 0 in the training data
    "alive": bool,  # False: the item was deleted
    "stale": bool,  # the item has moved to another row, or is gone
    "has_score": bool,
    "penalty": np.float32,
    "prior_weight": np.float32,  # t; 1 without clicks by known users
    "observed": np.int64,  # row of what scoring it by its clicks needs; -1 without clicks
    "bias": np.float32,  # -penalty; -inf if the row is not scored by its products
}


@dataclass(frozen=True)
class ColdItem:
    """A cold item to place: what scoring it needs, its penalty, and whether it has a cold score."""

    rows: ItemRows
    penalty: float
    has_score: bool


@dataclass(frozen=True)
class Observed:
    """The clicks on an item by known users: their number, and what scoring it by them needs."""

    clicks: int
    rows: ItemRows


class Segment:
    """Cold items in consecutive columns.

    Args:
        table: one row for each: the arrays of ``COLD_ARRAYS``, "rows.*", and the encoding
            ("vectors", and "audience" and "probabilities" if the method simulates users), which the
            segment of the training data does not have.
        start: column of the first.
        products: vectors whose products are the cold scores; None if all scores are computed.
    """

    def __init__(self, table: GrowableTable, start: int, products: VectorTable | None) -> None:
        self.table, self.start, self.products = table, start, products

    def __len__(self) -> int:
        return len(self.table)

    def listed(self) -> np.ndarray:
        """Whether each row, of those that there are now, may be in lists: bool.

        An item that moves gets its new row before the old one is stale. So whoever looks at this
        first, and at later segments afterwards, finds every item at least once.
        """
        stale = self.table["stale"].copy()
        return self.table["alive"][: len(stale)] & ~stale

    @property
    def nbytes(self) -> int:
        """Memory of the arrays in bytes."""
        return self.table.nbytes + (0 if self.products is None else self.products.nbytes)

    @property
    def end(self) -> int:
        """The column after the last one."""
        return self.start + len(self)


def cold_arrays(
    slots: np.ndarray,
    ties: np.ndarray,
    has_score: np.ndarray,
    penalties: np.ndarray,
    contents: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """The arrays of ``COLD_ARRAYS`` for items without clicks."""
    n = len(slots)
    return {
        "slot": slots,
        "tie": ties,
        "content": np.zeros(n, np.uint64) if contents is None else contents,
        "alive": np.ones(n, bool),
        "stale": np.zeros(n, bool),
        "has_score": has_score,
        "penalty": penalties,
        "prior_weight": np.ones(n, np.float32),
        "observed": np.full(n, -1),
        "bias": np.where(has_score, -penalties, NEVER).astype(np.float32),
    }


def trained_rows(model: Servable, cold: np.ndarray) -> tuple[ItemRows, np.ndarray]:
    """The rows of the cold items of the artefact, zeros without a score, and who has a score."""
    rows = {name: borrowed(array) for name, array in model.cold_rows(cold).items()}
    if not rows:
        return {}, np.zeros(len(cold), bool)
    has_score = model.can_score(rows)
    if "texts" in model.traits.reads:
        has_score = has_score & model.fitted.catalogue.has_text[cold]
    if not has_score.all():
        rows = {name: array.copy() for name, array in rows.items()}
        for array in rows.values():
            array[~has_score] = 0  # NaN would spread
    return rows, has_score
