"""The ``Split``: training, validation and test parts, and the slices to rank."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from scipy import sparse

from warmstart.data.dataset import Dataset
from warmstart.data.interactions import Interactions, concatenate
from warmstart.errors import ConfigError

Protocol: TypeAlias = Literal["time-cold", "random-cold"]
Part: TypeAlias = Literal["valid", "test"]
SliceName: TypeAlias = Literal["cold", "warm", "overall"]
Mask: TypeAlias = Literal["all", "train"]
SLICES: tuple[SliceName, ...] = get_args(SliceName)


@dataclass(frozen=True)
class Slice:
    """One ranking task: rank the candidates for each user.

    Attributes:
        name: "cold", "warm" or "overall".
        users: int32, ascending, shape (queries,).
        candidates: int32, ascending, shape (candidates,).
        relevance: bool CSR, shape (queries, n_items): ground truth, among the candidates.
        masked: bool CSR, shape (queries, n_items): pairs excluded from the ranking.
    """

    name: str
    users: np.ndarray
    candidates: np.ndarray
    relevance: sparse.csr_matrix
    masked: sparse.csr_matrix

    @cached_property
    def hash(self) -> str:
        """sha256 of everything that a metric of the slice depends on."""
        digest = hashlib.sha256(self.name.encode())
        for array in (self.users, self.candidates):
            digest.update(array.tobytes() + b"|")
        for pairs in (self.relevance, self.masked):
            digest.update(pairs.indptr.tobytes() + pairs.indices.tobytes() + b"|")
        return digest.hexdigest()


Validation: TypeAlias = Mapping[str, Slice]


@dataclass(frozen=True, repr=False)
class Split:
    """Five disjoint parts of a data set's interactions.

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

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {len(part):,}" for name, part in self.parts.items())
        return f"Split({self.dataset.name!r}, {self.protocol}; interactions: {sizes})"

    @cached_property
    def train(self) -> Dataset:
        """The data set restricted to the training interactions."""
        below, train = self.dataset.below_threshold, self.train_interactions
        known = np.isin(below.items, train.items)
        if below.times is not None and train.times is not None and self.dataset.clock == "unix":
            known &= below.times <= train.times.max(initial=-1)
        return replace(self.dataset, interactions=train, below_threshold=below.where(known))

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

    def slice(self, part: Part, name: SliceName, mask: Mask = "all") -> Slice:
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
        _one_of("part", part, Part)
        _one_of("slice", name, SliceName)
        _one_of("mask", mask, Mask)
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
        return Slice(
            name,
            users,
            self._candidates(part, name),
            _pairs(truth, users, self.dataset.n_items),
            _pairs(masked, users, self.dataset.n_items),
        )

    def validation(self) -> Validation:
        """Build the validation slices with mask "train", so that no test label is read.

        Under random-cold, ``slice("valid", ...)`` also ranks the cold items of the test part, as
        published figures do. Their positives count as misses there, so a choice would favour what
        ranks popular items low. Here the cold candidates are those of validation only.
        """
        cold = self.cold_candidates["valid"]
        if self.protocol == "random-cold":
            cold = np.unique(self.cold_valid.items)
        own = replace(self, cold_candidates={**self.cold_candidates, "valid": cold})
        return {name: own.slice("valid", name, "train") for name in SLICES}

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

    @cached_property
    def hash(self) -> str:
        """sha256 of data set, parts and candidates; ``manifest`` does not enter it."""
        digest = hashlib.sha256(f"{self.protocol} {self.overall_users}".encode())
        digest.update(self.dataset.hash.encode())
        for name, part in self.parts.items():
            digest.update(f"{name} {part.hash}".encode())
        for part in get_args(Part):
            candidates = np.sort(self.cold_candidates[part]).astype(np.int32)
            digest.update(f"{part} {len(candidates)}".encode() + candidates.tobytes())
        return digest.hexdigest()

    def summary(self) -> dict[str, Any]:
        """Collect counts of the parts and slices, the hashes and the manifest, for printing."""
        parts = {
            name: {
                "interactions": len(part),
                "users": len(np.unique(part.users)),
                "items": len(np.unique(part.items)),
            }
            for name, part in self.parts.items()
        }
        slices = {}
        for part in get_args(Part):
            for name in SLICES:
                task = self.slice(part, name, "train")
                slices[f"{part} {name}"] = {
                    "users": len(task.users),
                    "pairs": int(task.relevance.nnz),
                    "candidates": len(task.candidates),
                }
        return {
            "data": {"name": self.dataset.name, "hash": self.dataset.hash, **self.dataset.counts},
            "protocol": self.protocol,
            "hash": self.hash,
            "parts": parts,
            "slices": slices,
            **self.manifest,
        }


def _one_of(what: str, value: str, allowed: Any) -> None:
    if value not in get_args(allowed):
        raise ConfigError(f"{what} {value!r}; allowed: {', '.join(get_args(allowed))}")


def _pairs(events: Interactions, users: np.ndarray, n_items: int) -> sparse.csr_matrix:
    """Convert the pairs of ``users`` (ascending) to bool CSR, shape (len(users), n_items)."""
    rows = np.searchsorted(users, events.users)
    rows = np.minimum(rows, max(len(users) - 1, 0))
    kept = users[rows] == events.users if len(users) else np.zeros(len(events), bool)
    rows, items = rows[kept], events.items[kept]
    pairs = sparse.csr_matrix((np.ones(len(rows), bool), (rows, items)), (len(users), n_items))
    pairs.sort_indices()
    return pairs
