"""Adapt by gate: the score of a query as a weighted sum of parts, with weights of its own.

    score(q, i) = sum over parts p of w_p(q) z_p(q, i),        log w_p(q) = a_p + c_p . f(q)

z_p is the score of a part, divided by its spread. "Reindex-Then-Adapt" (arXiv 2405.12119) has two
parts and one learned number for all queries; here are as many parts as are scored, and their
weights may depend on the query (the authors' future work): on whether it mentions items, on how
many, and on how many turns it has. Queries without words, as of a plain list, have weights of their
own, and those parts that read words are left out.

Learned by the likelihood of what was recommended, on training dialogues that the parts did not see
(``folds``): a recommender that has seen a dialogue would be trusted too much.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from warmstart.config import Config
from warmstart.data.queries import Queries

FEATURES = ("no_mentions", "log_mentions", "log_turns")
"""What the weights of a query may depend on."""

_STEPS = 200  # of L-BFGS at most
_SMALLEST = 1e-6
_LARGEST = 8.0  # logarithm of a weight


class GateConfig(Config):
    """Settings of the gate.

    Attributes:
        kind: "query" (weights depend on the query), "constant" (one weight for each part) or
            "equal" (all spreads alike, nothing is learned).
        penalty: squared penalty of the numbers by which a weight depends on the query.
        folds: parts of the training dialogues of which each in turn is scored by parts that were
            fitted to the others.
        negatives: items that are drawn for each request beside its target, in a larger catalogue.
    """

    kind: Literal["query", "constant", "equal"] = "query"
    penalty: float = Field(default=0.01, ge=0)
    folds: int = Field(default=4, ge=2)
    negatives: int = Field(default=4096, ge=1)


@dataclass(frozen=True)
class Gate:
    """Learned weights.

    Attributes:
        parts: names of the parts.
        scales: factors that give each part a spread of one, float32, shape (parts,).
        constant: a of each part, float32, shape (parts,); -inf for a part that is left out.
        by_feature: c of each part, float32, shape (parts, features).
    """

    parts: tuple[str, ...]
    scales: np.ndarray
    constant: np.ndarray
    by_feature: np.ndarray

    def weights(self, features: np.ndarray) -> np.ndarray:
        """Weights of the parts, scales included: float32, shape (queries, parts)."""
        logs = np.minimum(self.constant + features @ self.by_feature.T, _LARGEST)
        return np.where(self.constant > -np.inf, np.exp(logs), 0) * self.scales

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays of an artefact, without the names of the parts."""
        return {
            "scales": self.scales,
            "constant": self.constant,
            "by_feature": self.by_feature,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray], parts: tuple[str, ...]) -> "Gate":
        """Rebuild from ``state``."""
        return cls(parts, state["scales"], state["constant"], state["by_feature"])


def features_of(queries: Queries) -> np.ndarray:
    """What the weights of queries depend on: float32, shape (queries, ``FEATURES``)."""
    mentions = np.zeros(len(queries)) if queries.histories is None else queries.histories.lengths
    turns = np.ones(len(queries))
    if queries.texts is not None:
        turns = np.array([text.count("\n") + 1 for text in queries.texts])
    columns = (mentions == 0, np.log1p(mentions), np.log(turns))
    return np.stack(columns, axis=1).astype(np.float32)


def fit_gate(
    names: Sequence[str],
    scores: np.ndarray,
    features: np.ndarray,
    config: GateConfig,
    *,
    left_out: Sequence[str] = (),
) -> Gate:
    """Learn the weights of parts.

    Args:
        names: of the parts.
        scores: of the candidates of requests, the target first, float32, shape (requests,
            candidates, parts).
        features: of the requests, float32, shape (requests, ``FEATURES``).
        config: the settings.
        left_out: parts whose weight is 0.
    """
    used = np.array([name not in left_out for name in names])
    spread = scores.std(axis=1).mean(axis=0) if len(scores) else np.ones(len(names))
    scales = np.where(spread > _SMALLEST, 1 / np.maximum(spread, _SMALLEST), 0).astype(np.float32)
    constant = np.zeros(len(names), np.float32)
    by_feature = np.zeros((len(names), len(FEATURES)), np.float32)
    if config.kind != "equal" and len(scores):
        fixed = None if config.kind == "query" else torch.zeros(int(used.sum()), len(FEATURES))
        parts = torch.from_numpy(scores[:, :, used] * scales[used])
        found = _likeliest(parts, torch.from_numpy(features), config.penalty, fixed)
        constant[used], by_feature[used] = found[0].numpy(), found[1].numpy()
    constant[~used] = -np.inf
    return Gate(tuple(names), scales, constant, by_feature)


def _likeliest(
    parts: Tensor, features: Tensor, penalty: float, fixed: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Maximise the likelihood of the first candidates: a and c of the parts."""
    n_parts = parts.shape[2]
    constant = torch.zeros(n_parts, requires_grad=True)
    by_feature = torch.zeros(n_parts, features.shape[1], requires_grad=fixed is None)
    learned = [constant, *([by_feature] if fixed is None else [])]
    optimiser = torch.optim.LBFGS(
        learned, max_iter=_STEPS, line_search_fn="strong_wolfe", history_size=20
    )
    target = torch.zeros(len(parts), dtype=torch.int64)

    def loss() -> Tensor:
        optimiser.zero_grad()
        weights = (constant + features @ by_feature.T).clamp(max=_LARGEST).exp()
        logits = torch.einsum("qcp,qp->qc", parts, weights)
        value = functional.cross_entropy(logits, target) + penalty * by_feature.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    return constant.detach(), by_feature.detach()
