"""A split: what is trained on, what is validated and tested, and on which slices."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from scipy import sparse

from warmstart.data.dataset import Dataset
from warmstart.data.interactions import Interactions, concatenate

Protocol: TypeAlias = Literal["time-cold", "random-cold"]
Part: TypeAlias = Literal["valid", "test"]
Mask: TypeAlias = Literal["all", "train"]
SLICES = ("cold", "warm", "overall")


@dataclass(frozen=True)
class Slice:
    """One ranking task: for each user, rank the candidates; find the relevant ones.

    Attributes:
        name: "cold", "warm" or "overall".
        users: int32 ascending, shape (queries,).
        candidates: int32 ascending, shape (candidates,).
        relevance: bool CSR, shape (queries, n_items): ground truth, within the candidates.
        masked: bool CSR, shape (queries, n_items): pairs excluded from the ranking.
    """

    name: str
    users: np.ndarray
    candidates: np.ndarray
    relevance: sparse.csr_matrix
    masked: sparse.csr_matrix


Validation: TypeAlias = Mapping[str, Slice]


@dataclass(frozen=True)
class Split:
    """Five disjoint parts of a data set's interactions.

    Attributes:
        dataset: users and catalogue, with all interactions.
        protocol: how it was made.
        train: training interactions; an item without any is cold.
        warm_valid, warm_test: held-out interactions of warm items.
        cold_valid, cold_test: interactions of cold items.
        cold_candidates: for "valid" and "test", the cold items ranked, int32.
        overall_users: "both" (a cold and a warm positive: the legacy of random-cold) or "any".
        manifest: seed, cut-offs, counts, what was left out and why.
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

    @cached_property
    def train(self) -> Dataset:
        """The data set with the training interactions only."""
        return self.dataset.with_interactions(self.train_interactions)

    def validation(self) -> Validation:
        """The validation slices, masked by training positives only, so no test label is read."""
        return {name: self.slice("valid", name, "train") for name in SLICES}
