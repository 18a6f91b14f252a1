"""``EventSplit``: held-out interactions, asked for by their user or by the history before them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from warmstart.data.dataset import Dataset
from warmstart.data.histories import Histories
from warmstart.data.queries import Queries
from warmstart.data.splits.base import Mask, Part, Protocol, Split, last_times, training_data
from warmstart.data.splits.candidates import Candidates
from warmstart.data.splits.part_codes import CODE_OF, HISTORY, LEFT_OUT, PART_NAMES, TRAIN, VALID
from warmstart.data.splits.sequences import before, pairs_of
from warmstart.data.tasks import RankingTask, Task

POPULAR_SHARE = 0.35
"""Share of the items in each of the slices "warm" and "cold" by clicks, as A-LLMRec reports."""


@dataclass(frozen=True, repr=False)
class EventSplit(Split):
    """A split in which each interaction has one part.

    Under ``next-item``, every held-out interaction is a query of its own, whose history is what its
    user had before it. Under ``user-random`` and ``windows``, each user asks once for all their
    held-out items, with the history that is neither validation nor test.

    Slices: "all", every query; "cold_users", the queries of users who train no model, if others are
    asked for too; "warm" and "cold", the queries for warm and for cold items. With
    ``cold_candidates``, cold items have no training interaction, and each of the two slices ranks
    its own items. Otherwise, under ``next-item``, "warm" and "cold" are the queries for the items
    with the most and the fewest training interactions, 35 % of the items each, among the candidates
    of "all". A slice without queries is left out.

    Attributes:
        dataset: users and catalogue, with all interactions.
        protocol: the protocol that drew the parts.
        parts: int8, shape (interactions,): the part of each interaction; see ``part_codes``.
        cold_users: int32, ascending: users with queries who have no training interaction; they are
            asked for by history only.
        cold_candidates: part -> items without training interaction to rank, int32, ascending; None
            if the protocol has no such items. With them, only warm items and these are candidates;
            without, the whole catalogue is. On test across domains, these items alone are.
        candidates: frozen candidates; None ranks in full. Then slices differ in their queries only.
        manifest: see ``Split``.
    """

    dataset: Dataset
    protocol: Protocol
    parts: np.ndarray
    cold_users: np.ndarray
    cold_candidates: Mapping[Part, np.ndarray] | None = None
    candidates: Candidates | None = None
    manifest: dict[str, Any] = field(default_factory=dict)

    def _train(self) -> Dataset:
        events = self.dataset.interactions.where(self.parts == TRAIN)
        until = None
        if self.protocol != "user-random":
            until = last_times(events, self.dataset.n_users)
        return training_data(self.dataset, events, until)

    @property
    def masks(self) -> tuple[Mask, ...]:
        """Masks: "all", the history of who asks, validation items too; "train"; "none".

        The events of a held-out window train nothing, so ``windows`` has no mask "train".
        """
        return ("all", "none") if self.protocol == "windows" else ("all", "train", "none")

    @property
    def metric_suffix(self) -> str:
        return "" if self.candidates is None else f"~{self.candidates.name}"

    def tasks(self, part: Part, mask: Mask | None = None) -> dict[str, Task]:
        mask = self._check_words(part, mask)
        one_each = self.protocol == "next-item"
        task = self._by_event(part, mask) if one_each else self._by_user(part, mask)
        if self.candidates is not None:
            task = replace(task, candidates=self.candidates.items[part])
        slices: dict[str, RankingTask] = {"all": task}
        if one_each:
            slices |= self._by_target(task, part)
        cold = task.queries.users < 0
        if cold.any() and not cold.all():
            slices["cold_users"] = task.slice("cold_users", cold)
        return dict(slices)

    def _by_event(self, part: Part, mask: Mask) -> RankingTask:
        """One query per held-out interaction."""
        sequences, parts = self._sequences
        events = np.flatnonzero(parts == CODE_OF[part])
        histories, rows = before(sequences, events)
        masked = histories
        if mask == "train":
            masked = histories.where(parts[rows] == TRAIN)
        targets = sequences.items[events]
        shape = (len(events), self.dataset.n_items)
        relevance = sparse.csr_matrix(
            (np.ones(len(events), bool), targets, np.arange(len(events) + 1)), shape
        )
        return self._task(part, sequences.queries[events], histories, masked, relevance, mask)

    def _by_user(self, part: Part, mask: Mask) -> RankingTask:
        """One query per user with held-out interactions."""
        sequences, parts = self._sequences

        def chosen(users: np.ndarray, *codes: int) -> Histories:
            return sequences.where(np.isin(parts, codes)).take(users)

        users = np.unique(sequences.queries[parts == CODE_OF[part]])
        histories = chosen(users, TRAIN, HISTORY)
        known = [TRAIN]
        if mask == "all":
            known += [HISTORY, VALID] if part == "test" else [HISTORY]
        relevance = pairs_of(chosen(users, CODE_OF[part]), self.dataset.n_items)
        return self._task(part, users, histories, chosen(users, *known), relevance, mask)

    def _task(
        self,
        part: Part,
        users: np.ndarray,
        histories: Histories,
        masked: Histories,
        relevance: sparse.csr_matrix,
        mask: Mask,
    ) -> RankingTask:
        """Collect a task over all candidates; ``masked`` are the events to leave out."""
        users = users.astype(np.int32)
        rows = np.where(np.isin(users, self.cold_users), np.int32(-1), users)
        pairs = pairs_of(masked, self.dataset.n_items)
        if mask == "none":
            pairs = sparse.csr_matrix(pairs.shape, dtype=bool)
        return RankingTask(
            "all",
            Queries(rows, histories),
            self._pool(part),
            relevance,
            pairs,
            groups=users,
        )

    def _pool(self, part: Part) -> np.ndarray:
        if self.cold_candidates is None:
            return np.arange(self.dataset.n_items, dtype=np.int32)
        if part == "test" and self.manifest.get("cross_domain") is not None:
            return self.cold_candidates[part]
        return np.union1d(self._warm, self.cold_candidates[part]).astype(np.int32)

    def _by_target(self, task: RankingTask, part: Part) -> dict[str, RankingTask]:
        """The queries for warm and for cold items."""
        targets = task.relevance.indices
        if self.cold_candidates is None:
            few, many = _outer_groups(self.clicks)
            wanted = {"warm": self.clicks[targets] >= many, "cold": self.clicks[targets] <= few}
            pools = {}
        else:
            is_cold = np.isin(targets, self.cold_candidates[part])
            wanted = {"warm": ~is_cold, "cold": is_cold}
            pools = {"warm": self._warm, "cold": self.cold_candidates[part]}
        slices = {}
        for name, rows in wanted.items():
            if rows.any():
                slices[name] = task.slice(name, rows)
                if pools and self.candidates is None:
                    slices[name] = replace(slices[name], candidates=pools[name], part_of=None)
        return slices

    @cached_property
    def clicks(self) -> np.ndarray:
        """Number of training interactions of each item: int64, shape (n_items,)."""
        items = self.dataset.interactions.items[self.parts == TRAIN]
        return np.bincount(items, minlength=self.dataset.n_items)

    @cached_property
    def _warm(self) -> np.ndarray:
        return np.flatnonzero(self.clicks).astype(np.int32)

    @cached_property
    def _sequences(self) -> tuple[Histories, np.ndarray]:
        """What each user had, oldest first, without left-out events; the part of each event."""
        events = self.dataset.interactions
        order = np.argsort(events.users, kind="stable")
        order = order[self.parts[order] != LEFT_OUT]
        kept = events.where(order)
        return Histories.from_interactions(kept, self.dataset.n_users), self.parts[order]

    def _hash(self) -> str:
        digest = hashlib.sha256(f"{self.protocol} {self.dataset.hash}".encode())
        events = self.dataset.interactions
        order = np.argsort(events.users, kind="stable")
        digest.update(events.order_hash.encode() + self.parts[order].tobytes())
        digest.update(self.cold_users.astype(np.int32).tobytes())
        for part, cold in sorted((self.cold_candidates or {}).items()):
            items = np.sort(cold).astype(np.int32)
            digest.update(f"{part} {len(items)}".encode() + items.tobytes())
        digest.update(b"full" if self.candidates is None else self.candidates.hash.encode())
        return digest.hexdigest()

    def part_counts(self) -> dict[str, dict[str, int]]:
        events = self.dataset.interactions
        counts = {}
        for code, name in enumerate(PART_NAMES):
            part = events.where(self.parts == code)
            if len(part) or code != HISTORY:
                counts[name] = {
                    "interactions": len(part),
                    "users": len(np.unique(part.users)),
                    "items": len(np.unique(part.items)),
                }
        return counts


def _outer_groups(clicks: np.ndarray) -> tuple[float, float]:
    """Find the most clicks of a cold item and the fewest of a warm one.

    The cold items are the 35 % of the items with the fewest training interactions, the warm items
    the 35 % with the most; all items with the number at the border belong to the group, so that no
    order of equal items matters. Items without training interaction are cold, but do not count for
    the shares. If both borders are equal, there are no groups.
    """
    known = np.sort(clicks[clicks > 0])
    size = max(1, round(POPULAR_SHARE * len(known)))
    if not len(known) or known[size - 1] >= known[-size]:
        return -1, np.inf
    return float(known[size - 1]), float(known[-size])
