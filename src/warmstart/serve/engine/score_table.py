"""The scores of all served items: the warm items of the fit, then all others.

A warm item of the training data keeps the score of the fit. Every other item has two scores: a cold
score from its text, and an observed score from the users who clicked it since the fit. With c
clicks, they are combined by shrinkage:

    t        = n0 / (n0 + c)                                   n0 = prior_strength, a pseudo-count
    score_ui = t (cold_ui - penalty_i) + (1 - t) observed_ui

An item thus starts at its cold score, moves with every click and approaches its observed score; no
click makes it jump. ``penalty`` caps the exposure of an item without clicks (``exposure``). Two
cases follow from what a method can do:

- If a click tells the method nothing about other users, the observed score is the cold score:
  clicks only lift the penalty.
- If there is no cold score, the observed score counts alone, and without clicks there is none.

The other items are in segments: those of the training data, those of a snapshot (``snapshot``), and
new ones, which are appended. Only numbers of a row change in place; an item with a new text gets a
new row, and its old row dies. One thread changes a table while others compute lists from it.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from warmstart.retrieval.table import VectorTable
from warmstart.servable import ItemEncoding, ItemRows, QueryStates, Servable, take_rows
from warmstart.serve.engine.candidates import Candidates, best_products, best_rows
from warmstart.serve.engine.exposure import ExposureCap
from warmstart.serve.engine.growable import GrowableTable
from warmstart.serve.engine.segment import (
    COLD_ARRAYS,
    NEVER,
    ColdItem,
    Observed,
    Segment,
    cold_arrays,
    trained_rows,
)
from warmstart.serve.engine.warm_items import WarmItems

NOWHERE = -1  # the column of an item that is not in the table
_COLD_WEIGHT = 0.5  # an item is cold while its clicks weigh less than its text
_ATTEMPTS = 3  # to look again at items that have changed meanwhile
_MIN_CHANGED = 8192  # rows that are new, or dead, before a segment is made of the new ones


class ScoreTable:
    """Columns of scores: the warm items of the artefact, then cold items.

    Args:
        model: the served model; it is not changed.
        prior_strength: n0, the number of clicks that count as much as the cold score.
        max_exposure: fraction of users whose top 20 an item may enter before its first click.
        ties: order of each item of the catalogue among items with the same score, uint64.
        example: the encoding of an item; new ones have arrays of these shapes.
        threads: number of threads that compute the lists of one call.

    Attributes:
        warm: catalogue rows of the warm columns, int64.
        exposure: the cap on the exposure of cold items.
        as_products: whether the cold scores of the method are products of vectors.
    """

    def __init__(
        self,
        model: Servable,
        prior_strength: float,
        max_exposure: float,
        ties: np.ndarray,
        example: ItemEncoding,
        threads: int = 1,
    ) -> None:
        self._model, self._prior_strength, self._threads = model, prior_strength, threads
        fitted, cold = model.fitted, np.flatnonzero(~model.fitted.warm)
        self._warm = WarmItems(model, threads)
        self.warm, self._warm_bias = self._warm.rows, np.zeros(len(self._warm), np.float32)
        self._warm_ties = ties[self.warm]
        self.exposure = ExposureCap(model, self._warm, max_exposure)
        rows, has_score = trained_rows(model, cold)
        no_clicks = sparse.csr_matrix((0, len(fitted.user_ids)), dtype=np.float32)
        found = model.observed_rows(no_clicks)
        self._observed_names = tuple(found)
        penalties = self.exposure.penalties(rows) if rows else np.zeros(len(cold), np.float32)
        trained = GrowableTable(
            **cold_arrays(cold, ties[cold], has_score, penalties),
            **{f"rows.{name}": array for name, array in rows.items()},
        )
        start, self._n_fixed = len(self.warm), 1
        base = Segment(trained, start, self._products(rows))
        self.as_products = model.cold_vectors(take_rows(rows, slice(0))) is not None
        self._empty = {
            **{name: np.zeros(0, kind) for name, kind in COLD_ARRAYS.items()},
            **{f"rows.{name}": array[:0] for name, array in rows.items()},
            **{name: np.zeros((0, *array.shape), array.dtype) for name, array in example.items()},
        }
        tail = Segment(GrowableTable(**self._empty), start + len(cold), None)
        self.segments: tuple[Segment, ...] = (base, tail)
        self._observed = GrowableTable(slot=np.zeros(0, np.int64), **found)
        self._free: list[int] = []  # rows of it that no item uses any more
        self._n_stale = 0  # new rows that are no item's row any more
        columns = np.empty(len(fitted.warm), np.int64)
        columns[self.warm], columns[cold] = np.arange(start), start + np.arange(len(cold))
        self._columns = GrowableTable(column=columns)

    def _products(self, rows: ItemRows) -> VectorTable | None:
        vectors = self._model.cold_vectors(rows) if rows else None
        return None if vectors is None or not len(vectors) else VectorTable(vectors)

    @property
    def _tail(self) -> Segment:
        return self.segments[-1]

    # -- snapshots --

    @property
    def kept_arrays(self) -> list[str]:
        """Names of the arrays of a new item that a snapshot keeps."""
        return [
            "content",
            "has_score",
            "penalty",
            *(n for n in self._empty if n not in COLD_ARRAYS),
        ]

    @property
    def nbytes(self) -> int:
        """Memory of new items in bytes, but for those of the snapshot."""
        new = self.segments[self._n_fixed :]
        return self._observed.nbytes + sum(segment.nbytes for segment in new)

    @property
    def row_bytes(self) -> int:
        """Memory of one new item, in bytes."""
        arrays = self._empty.values()
        own = sum(array.dtype.itemsize * int(np.prod(array.shape[1:])) for array in arrays)
        return 2 * own  # rows move to a segment, whose vectors are rounded too

    @property
    def n_new(self) -> int:
        """Number of new items."""
        return sum(len(rows) for _, rows in self.current_rows())

    def current_rows(self) -> Iterator[tuple[Segment, np.ndarray]]:
        """New items by segment: the rows of those that are in the table."""
        for segment in self.segments[1:]:
            places = segment.start + np.arange(len(segment))
            slots = segment.table["slot"][: len(places)]
            yield segment, np.flatnonzero(self._columns["column"][slots] == places)

    def set_base(
        self,
        kept: Mapping[str, np.ndarray],
        first_slot: int,
        ties: np.ndarray,
        products: VectorTable | None,
    ) -> None:
        """Place the items of a snapshot, before any other new item.

        Args:
            kept: the arrays ``kept_arrays``.
            first_slot: slot of the first item; those of the others follow.
            ties: hashes of their names.
            products: vectors whose products are their cold scores.
        """
        slots, start = first_slot + np.arange(len(ties)), self.first_new
        static = cold_arrays(slots, ties, kept["has_score"], kept["penalty"], kept["content"])
        base = Segment(GrowableTable(**{**kept, **static}), start, products)
        tail = Segment(GrowableTable(**self._empty), base.end, None)
        self.segments, self._n_fixed = (self.segments[0], base, tail), 2
        columns = np.concatenate([self._columns["column"], base.start + np.arange(len(base))])
        self._columns = GrowableTable(column=columns)

    # -- places --

    @property
    def first_new(self) -> int:
        """The first column of items that are not, or no longer as, in the training data."""
        return self.segments[1].start

    @property
    def trained_in_place(self) -> np.ndarray:
        """Whether each item of the training data may be in lists with its text of then: bool."""
        found = np.zeros(len(self._model.fitted.warm), bool)
        trained = self.segments[0].table
        found[self.warm], found[trained["slot"]] = self._warm_bias == 0, self.segments[0].listed()
        return found

    def __len__(self) -> int:
        """Number of columns."""
        return self._tail.end

    def column(self, slot: int) -> int:
        """The column of an item; ``NOWHERE`` if it is not in the table."""
        is_known = 0 <= slot < len(self._columns)
        return int(self._columns["column"][slot]) if is_known else NOWHERE

    def columns(self, slots: np.ndarray) -> np.ndarray:
        """The columns of those items that are in the table."""
        columns = self._columns["column"]
        found = columns[slots[slots < len(columns)]]
        return found[found != NOWHERE]

    def contains(self, slots: np.ndarray) -> np.ndarray:
        """Whether each of some items is in the table: bool."""
        columns = self._columns["column"]
        found = slots < len(columns)  # those beyond are about to be added
        found[found] = columns[slots[found]] != NOWHERE
        return found

    def place(self, column: int) -> tuple[Segment, int]:
        """The segment and the row of a cold item."""
        segment = next(one for one in reversed(self.segments) if column >= one.start)
        return segment, column - segment.start

    def is_alive(self, slot: int) -> bool:
        """Whether an item may be in lists."""
        column = self.column(slot)
        if column < len(self.warm):
            return column != NOWHERE and self._warm_bias[column] == 0
        segment, row = self.place(column)
        return bool(segment.table["alive"][row])

    def _set_column(self, slot: int, column: int) -> None:
        while len(self._columns) <= slot:
            self._columns.append(column=NOWHERE)
        self._columns.set(slot, column=column)

    # -- changes --

    def add(
        self, slot: int, tie: int, content: int, item: ColdItem, encoding: ItemEncoding
    ) -> None:
        """Place an item with its text as it is now; its old row, if it has one, dies.

        An item that has a cold score already keeps it if the new text has none.
        """
        column, clicks = self.column(slot), {"prior_weight": 1, "observed": -1}
        if column != NOWHERE:
            old, row = self.place(column)
            if not item.has_score and (old.table["has_score"][row] or not item.rows):
                return
            clicks = {name: old.table[name][row] for name in clicks}
        rows = {f"rows.{name}": array for name, array in item.rows.items()}
        at = self._tail.table.append(
            slot=slot,
            tie=np.uint64(tie),
            content=np.uint64(content),
            alive=True,
            has_score=item.has_score,
            penalty=item.penalty,
            **clicks,
            **(rows if item.has_score else {}),  # NaN would spread
            **encoding,
        )
        self._set_bias(self._tail, at)
        self._set_column(slot, self._tail.start + at)
        if column != NOWHERE:  # last: whoever looks for the item meanwhile finds one of its rows
            self._abandon(column)

    def remove(self, slot: int) -> None:
        """Take an item out of the table."""
        column = self.column(slot)
        if column != NOWHERE:
            self._abandon(column)
            self._set_column(slot, NOWHERE)
            segment, row = self.place(column)
            if (at := int(segment.table["observed"][row])) >= 0:
                self._free.append(at)

    def set_alive(self, slot: int, *, alive: bool) -> None:
        """Leave an item of the training data out of all lists, or take it in again."""
        column = self.column(slot)
        if column < len(self.warm):
            self._warm_bias[column] = 0 if alive else NEVER
        else:
            segment, row = self.place(column)
            segment.table.set(row, alive=alive)
            self._set_bias(segment, row)

    def _abandon(self, column: int) -> None:
        segment, row = self.place(column)
        segment.table.set(row, stale=True, bias=NEVER)
        self._n_stale += column >= self.segments[self._n_fixed].start

    def _set_bias(self, segment: Segment, row: int) -> None:
        table = segment.table
        by_product = (
            table["alive"][row]
            and not table["stale"][row]
            and table["has_score"][row]
            and table["observed"][row] < 0
        )
        table.set(row, bias=-table["penalty"][row] if by_product else NEVER)

    def observe(self, clicks: sparse.csr_matrix, numbers: Sequence[int]) -> list[Observed]:
        """Compute what scoring items by their clicks needs. It is slow and changes nothing.

        Args:
            clicks: those by which they are scored, CSR, shape (items, n_users).
            numbers: number of all clicks by known users, of each item.
        """
        found = self._model.observed_rows(clicks) if self._observed_names else {}
        has_clicks = np.diff(clicks.indptr) > 0
        return [
            Observed(number, take_rows(found, at) if has_clicks[at] else {})
            for at, number in enumerate(numbers)
        ]

    def set_clicks(self, slot: int, observed: Observed) -> None:
        """Give a cold item its observed score; a warm item keeps that of the fit."""
        column = self.column(slot)
        if column < len(self.warm):
            return
        segment, row = self.place(column)
        at = int(segment.table["observed"][row])
        if at < 0 and observed.clicks:
            at = self._free.pop() if self._free else self._observed.append()
        if at >= 0:
            self._observed.set(at, slot=slot, **observed.rows)
        prior_weight = self._prior_strength / (self._prior_strength + observed.clicks)
        segment.table.set(row, prior_weight=prior_weight, observed=at)
        self._set_bias(segment, row)

    @property
    def needs_compaction(self) -> bool:
        """Whether ``compacted`` would save much time or memory."""
        total = sum(map(len, self.segments[self._n_fixed :]))
        grown = len(self._tail) > max(_MIN_CHANGED, (total - len(self._tail)) // 4)
        return grown or self._n_stale > max(_MIN_CHANGED, total - self._n_stale)

    def compacted(self) -> "ScoreTable":
        """A table with the same items, in which new ones have one segment, without dead rows."""
        new, start = self.segments[self._n_fixed :], self.segments[self._n_fixed].start
        columns = self._columns["column"].copy()
        taken = [one.table.taken(rows) for one, rows in self.current_rows() if one in new]
        sealed = GrowableTable(
            **{name: np.concatenate([arrays[name] for arrays in taken]) for name in self._empty}
        )
        table = copy.copy(self)
        table._n_stale = 0
        products = self._products(sealed.views("rows."))
        tail = Segment(GrowableTable(**self._empty), start + len(sealed), None)
        table.segments = (
            *self.segments[: self._n_fixed], Segment(sealed, start, products), tail
        )  # fmt: skip
        columns[sealed["slot"]] = start + np.arange(len(sealed))
        table._columns = GrowableTable(column=columns)
        return table

    # -- scores --

    def scores(self, states: QueryStates) -> np.ndarray:
        """Scores of all columns, float32, shape (queries, columns); NaN: in no list."""
        warm = self._warm.scores(states) + self._warm_bias
        warm[:, np.isneginf(self._warm_bias)] = np.nan
        cold = [self._cold_scores(states, segment) for segment in self.segments]
        return np.concatenate([warm, *cold], axis=1)

    def _cold_scores(
        self, states: QueryStates, segment: Segment, rows: np.ndarray | None = None
    ) -> np.ndarray:
        """Scores of some rows of a segment, or of all; NaN: in no list.

        Args:
            states: who asks.
            segment: the segment.
            rows: rows of items that may be in lists, unless they were deleted; None takes all rows,
                of which stale ones are in no list.
        """
        table, listed = segment.table, segment.listed()
        if rows is not None and not self.as_products:  # rows may be wide: they are not copied
            scores = self._all_scores(states, segment, len(table), slice(None))
            scores[:, ~table["alive"][: scores.shape[1]]] = np.nan
            return scores[:, rows]
        at: Any = slice(None) if rows is None else rows
        scores = self._all_scores(states, segment, len(listed) if rows is None else len(table), at)
        scores[:, ~(listed if rows is None else table["alive"][rows])] = np.nan
        return scores

    def _all_scores(
        self, states: QueryStates, segment: Segment, length: int, at: Any
    ) -> np.ndarray:
        """Scores of some of the first rows of a segment, deleted and stale or not."""
        arrays = segment.table.views(length=length)
        found = {name: arrays[name][at] for name in COLD_ARRAYS}
        weight, has_score = found["prior_weight"], found["has_score"]
        if cold := segment.table.views("rows.", length):
            scores = self._model.score_item_rows(states, take_rows(cold, at))
        else:
            scores = np.zeros((len(states), len(weight)), np.float32)
        scores -= found["penalty"] if self._observed_names else weight * found["penalty"]
        (clicked,) = np.nonzero((found["observed"] >= 0) & (weight < 1))
        if len(clicked) and self._observed_names:
            part = np.where(has_score, weight, 0)[clicked]
            used = found["observed"][clicked]
            by_clicks = {name: self._observed[name][used] for name in self._observed_names}
            observed = self._model.score_observed_rows(states, by_clicks)
            scores[:, clicked] = part * scores[:, clicked] + (1 - part) * observed
            has_score = has_score.copy()
            has_score[clicked] = True
        scores[:, ~has_score] = np.nan
        return scores

    def cold_scores_over_users(self, slot: int, users: np.ndarray) -> np.ndarray:
        """Cold scores of one item for these users, without penalty; NaN without a cold score."""
        segment, row = self.place(self.column(slot))
        rows = segment.table.views("rows.")
        if not rows or not segment.table["has_score"][row]:
            return np.full(len(users), np.nan, np.float32)
        states = self._model.user_states(users)
        return self._model.score_item_rows(states, take_rows(rows, slice(row, row + 1)))[:, 0]

    # -- the best items --

    def best(
        self, states: QueryStates, n_warm: int, n_cold: int, excluded: Sequence[np.ndarray]
    ) -> list[Candidates]:
        """Find the best items of each query.

        Args:
            states: who asks.
            n_warm: number of items wanted that are not cold.
            n_cold: number of cold items wanted.
            excluded: columns that each query leaves out.

        Returns:
            Candidates that include these for each query.
        """
        own = [columns[columns < len(self.warm)] for columns in excluded]
        best = self._warm.best(states, n_warm, self._warm_bias, own)
        parts = [[self._warm_candidates(*one) for one in best]]
        for segment in self.segments:
            wanted = _Wanted(states, segment, n_warm, n_cold, excluded)
            if not len(segment):
                continue
            found = self._best_by_products(wanted)
            parts += self._best_cold(wanted, None) if found is None else found
        return [Candidates.joined(of_query) for of_query in zip(*parts, strict=True)]

    def all_candidates(self, states: QueryStates) -> Candidates:
        """All items, for one query, but for those that may be in no list."""
        columns = np.arange(len(self.warm))
        parts = [self._warm_candidates(columns, self._warm.scores(states)[0])]
        for segment in self.segments:
            scores = self._cold_scores(states, segment)[0]
            parts.append(self._cold_candidates(segment, np.arange(len(scores)), scores))
        return Candidates.joined(parts)

    def candidates(self, states: QueryStates, slots: np.ndarray) -> Candidates:
        """Some items, for one query, but for those that may be in no list."""
        columns = self.columns(slots)
        found = self._candidates(states, columns)
        for _ in range(_ATTEMPTS):
            now = self.columns(slots)
            if np.array_equal(now, columns):
                break  # no item has moved meanwhile
            columns, found = now, self._candidates(states, now)
        return found

    def _candidates(self, states: QueryStates, columns: np.ndarray) -> Candidates:
        warm = columns[columns < len(self.warm)]
        parts = [self._warm_candidates(warm, self._warm.scores(states, warm)[0])]
        for segment in self.segments:
            rows = columns[(columns >= segment.start) & (columns < segment.end)] - segment.start
            if len(rows):
                scores = self._cold_scores(states, segment, rows)[0]
                parts.append(self._cold_candidates(segment, rows, scores))
        return Candidates.joined(parts)

    def _warm_candidates(self, columns: np.ndarray, scores: np.ndarray) -> Candidates:
        is_cold = np.zeros(len(columns), bool)
        slots, ties = self.warm[columns], self._warm_ties[columns]
        biased = scores + self._warm_bias[columns]
        return Candidates(slots, columns, biased, is_cold, ties).take(biased > NEVER)

    def _best_by_products(self, wanted: "_Wanted") -> list[list[Candidates]] | None:
        """The best items without clicks, then those with clicks; None if products do not tell."""
        segment, states = wanted.segment, wanted.states
        queries = None if segment.products is None else self._model.cold_queries(states)
        if segment.products is None or queries is None:
            return None
        rows, table = segment.table.views("rows."), segment.table

        def score(at: np.ndarray) -> np.ndarray:
            scores = self._model.score_item_rows(states, take_rows(rows, at))
            return scores - table["penalty"][at]

        found = best_products(
            segment.products, queries, wanted.n_cold, table["bias"], wanted.excluded, score,
            self._threads,
        )  # fmt: skip
        if found is None:
            return None
        listed = segment.listed()
        (clicked,) = np.nonzero(listed & (table["observed"][: len(listed)] >= 0))
        parts = [[self._cold_candidates(segment, *one) for one in found]]
        return parts + (self._best_cold(wanted, clicked) if len(clicked) else [])

    def _best_cold(self, wanted: "_Wanted", rows: np.ndarray | None) -> list[list[Candidates]]:
        """The best of some rows of a segment, or of all, from all their scores."""
        segment = wanted.segment
        scores = self._cold_scores(wanted.states, segment, rows)
        at = np.arange(scores.shape[1]) if rows is None else rows
        is_cold = segment.table["prior_weight"][at] > _COLD_WEIGHT
        cold, warm = np.flatnonzero(is_cold), np.flatnonzero(~is_cold)
        found = []
        for line, excluded in zip(scores, wanted.excluded, strict=True):
            line[np.isin(at, excluded)] = np.nan
            sides = ((warm, wanted.n_warm), (cold, wanted.n_cold))
            best = np.concatenate([side[best_rows(line[side], k)] for side, k in sides])
            found.append(self._cold_candidates(segment, at[best], line[best]))
        return [found]

    def _cold_candidates(
        self, segment: Segment, rows: np.ndarray, scores: np.ndarray
    ) -> Candidates:
        table, columns = segment.table, rows + segment.start
        is_cold, ties = table["prior_weight"][rows] > _COLD_WEIGHT, table["tie"][rows]
        found = Candidates(table["slot"][rows], columns, scores, is_cold, ties)
        return found.take(scores > NEVER)

    # -- one item --

    def describe(self, column: int) -> tuple[bool, float, float]:
        """What the score of an item is made of.

        Returns:
            Whether it can be scored: by the fit, by its text, or by its clicks; the weight of
            observed clicks; the penalty on its cold score. (True, 1, 0) for a warm item.
        """
        if column < len(self.warm):
            return True, 1.0, 0.0
        segment, row = self.place(column)
        table = segment.table
        has_score, weight = bool(table["has_score"][row]), float(1 - table["prior_weight"][row])
        clicked = bool(self._observed_names) and weight > 0
        if not has_score and self._observed_names:
            weight = float(clicked)
        return has_score or clicked, weight, float(table["penalty"][row])

    def counts(self) -> dict[str, int]:
        """Numbers of items, and of warm, cold (no clicks) and warming (clicked) ones."""
        warm = int((self._warm_bias == 0).sum())
        found = {"items": warm, "warm": warm, "cold": 0, "warming": 0}
        for segment in self.segments:
            listed = segment.listed()
            clicked = listed & (segment.table["prior_weight"][: len(listed)] < 1)
            found["items"] += int(listed.sum())
            found["warming"] += int(clicked.sum())
        found["cold"] = found["items"] - warm - found["warming"]
        return found


@dataclass(frozen=True)
class _Wanted:
    """What is asked of a segment; the arguments of ``ScoreTable.best``."""

    states: QueryStates
    segment: Segment
    n_warm: int
    n_cold: int
    columns: Sequence[np.ndarray]

    @property
    def excluded(self) -> list[np.ndarray]:
        """Rows that each query leaves out."""
        start, end = self.segment.start, self.segment.end
        return [one[(one >= start) & (one < end)] - start for one in self.columns]
