"""``ColdSplit``: parts of warm and of cold items, and the slices to rank."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from scipy import sparse

from warmstart.data.dataset import Dataset
from warmstart.data.interactions import Interactions, concatenate
from warmstart.data.queries import Queries
from warmstart.data.splits.base import Mask, Part, Protocol, Split, check_word, training_data
from warmstart.data.tasks import RankingTask, Task, Validation

SliceName: TypeAlias = Literal["cold", "warm", "overall"]
SLICES: tuple[SliceName, ...] = get_args(SliceName)


@dataclass(frozen=True, repr=False)
class ColdSplit(Split):
    """Five disjoint parts of a data set's interactions, with cold items apart.

    Attributes:
        dataset: users and catalogue, with all interactions.
        protocol: the protocol that drew the parts.
        train_interactions: training interactions; an item without any is cold.
        warm_valid, warm_test: held-out interactions of warm items.
        cold_valid, cold_test: interactions of cold items.
        cold_candidates: part ("valid", "test") -> cold items to rank, int32.
        overall_users: users of the overall slice: "both" (those with a cold and a warm positive,
            as in published random-cold results) or "any" (those with any positive).
        manifest: how the split was made: ``seed`` or ``cutoffs``; ``left_out``, reason -> number of
            interactions in none of the parts; ``notes``, other counts and known defects.

    The parts and the left-out interactions add up to the interactions of ``dataset``;
    ``check_split`` checks this and the other rules.
    """

    dataset: Dataset
    protocol: Protocol
    train_interactions: Interactions
    warm_valid: Interactions
    warm_test: Interactions
    cold_valid: Interactions
    cold_test: Interactions
    cold_candidates: Mapping[str, np.ndarray]
    overall_users: Literal["both", "any"]
    manifest: dict[str, Any] = field(default_factory=dict)

    def _train(self) -> Dataset:
        train, until = self.train_interactions, None
        if train.times is not None and self.dataset.clock == "unix":
            until = np.full(self.dataset.n_users, train.times.max(initial=-1))
        return training_data(self.dataset, train, until)

    @property
    def masks(self) -> tuple[Mask, ...]:
        """Masks: "all" and "train"; see ``slice``."""
        return ("all", "train")

    @property
    def parts(self) -> dict[str, Interactions]:
        """The interactions of the five parts, by part name."""
        return {
            "train": self.train_interactions,
            "warm_valid": self.warm_valid,
            "warm_test": self.warm_test,
            "cold_valid": self.cold_valid,
            "cold_test": self.cold_test,
        }

    def slice(self, part: Part, name: SliceName, mask: Mask = "all") -> RankingTask:
        """Build one ranking task (docs/evaluation.md defines the slices and masks).

        Candidates by ``name``: "cold", the cold items of ``cold_candidates[part]``; "warm", the
        items with a training interaction; "overall", both.

        Masked pairs by ``mask``, never ground truth: "train", the user's training positives; "all",
        under random-cold every other positive of the user in the whole data set, under time-cold
        the training positives and, on "test", the validation positives. On "valid", mask "all" of
        random-cold reads test labels; use it only to reproduce published figures.

        Raises:
            ConfigError: an unknown part, name or mask.
        """
        mask = self._check_words(part, mask)
        check_word("slice", name, SLICES)
        cold, warm = self.parts[f"cold_{part}"], self.parts[f"warm_{part}"]
        if name == "overall":
            truth = concatenate([cold, warm])
            users = np.unique(truth.users)
            if self.overall_users == "both":
                users = np.intersect1d(cold.users, warm.users)
        else:
            truth = cold if name == "cold" else warm
            users = np.unique(truth.users)
        seen = self._seen(part, mask)
        masked = seen.where(~np.isin(seen.keys, truth.keys))
        return RankingTask(
            name,
            Queries.of_users(users),
            self._candidates(part, name),
            _pairs(truth, users, self.dataset.n_items),
            _pairs(masked, users, self.dataset.n_items),
        )

    def tasks(self, part: Part, mask: Mask | None = None) -> dict[str, Task]:
        mask = self._check_words(part, mask)
        return {name: self.slice(part, name, mask) for name in SLICES}

    def validation(self) -> Validation:
        """Build the validation slices with mask "train", so that no test label is read.

        Under random-cold, ``slice("valid", ...)`` also ranks the cold items of the test part, as
        published figures do. Their positives count as misses there, so a choice would favour what
        ranks popular items low. Here the cold candidates are those of validation only; the slice
        "overall" says how many the test part ranks (``cold_items``), which no label is read for.
        """
        cold = self.cold_candidates["valid"]
        if self.protocol == "random-cold":
            cold = np.unique(self.cold_valid.items)
        own = replace(self, cold_candidates={**self.cold_candidates, "valid": cold})
        tasks = {name: own.slice("valid", name, "train") for name in SLICES}
        n_cold = len(self.cold_candidates["test"])
        return {**tasks, "overall": replace(tasks["overall"], cold_items=n_cold)}

    def _candidates(self, part: Part, name: SliceName) -> np.ndarray:
        cold = np.sort(self.cold_candidates[part]).astype(np.int32)
        warm = np.unique(self.train_interactions.items)
        return {"cold": cold, "warm": warm, "overall": np.union1d(cold, warm)}[name]

    def _seen(self, part: Part, mask: Mask) -> Interactions:
        if mask == "train":
            return self.train_interactions
        if self.protocol == "random-cold":
            return self.dataset.interactions
        if part == "valid":
            return self.train_interactions
        return concatenate([self.train_interactions, self.warm_valid, self.cold_valid])

    def _hash(self) -> str:
        digest = hashlib.sha256(f"{self.protocol} {self.overall_users}".encode())
        digest.update(self.dataset.hash.encode())
        for name, part in self.parts.items():
            digest.update(f"{name} {part.hash}".encode())
        for part in get_args(Part):
            candidates = np.sort(self.cold_candidates[part]).astype(np.int32)
            digest.update(f"{part} {len(candidates)}".encode() + candidates.tobytes())
        return digest.hexdigest()

    def part_counts(self) -> dict[str, dict[str, int]]:
        return {
            name: {
                "interactions": len(part),
                "users": len(np.unique(part.users)),
                "items": len(np.unique(part.items)),
            }
            for name, part in self.parts.items()
        }


def _pairs(events: Interactions, users: np.ndarray, n_items: int) -> sparse.csr_matrix:
    """Convert the pairs of ``users`` (ascending) to bool CSR, shape (len(users), n_items)."""
    rows = np.searchsorted(users, events.users)
    rows = np.minimum(rows, max(len(users) - 1, 0))
    kept = users[rows] == events.users if len(users) else np.zeros(len(events), bool)
    rows, items = rows[kept], events.items[kept]
    pairs = sparse.csr_matrix((np.ones(len(rows), bool), (rows, items)), (len(users), n_items))
    pairs.sort_indices()
    return pairs
