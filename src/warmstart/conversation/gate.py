"""Adapt by gate: the score of a query as a weighted sum of parts, with weights of its own.

    score(q, i) = sum over parts p of w_p(q) z_p(q, i),        log w_p(q) = a_p + c_p . f(q)

z_p is the score of a part, divided by its spread. "Reindex-Then-Adapt" (arXiv 2405.12119) has two
parts and one learned number for all queries; here are as many parts as are scored, and their
weights may depend on the query (the authors' future work): on how many items it mentions and how
many turns it has. Each way of asking has weights of its own: words and mentioned items, words
alone, and mentioned items alone, as for a plain list.

Learned on training dialogues that the parts did not see (``folds``), since a recommender that has
seen a dialogue would be trusted too much: c and a first guess of a by the likelihood of what was
recommended, then each weight in turn by ndcg@50. The likelihood is about all items; what is ranked
low has as much to say in it as what is listed.
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

FEATURES = ("log_mentions", "log_turns")
"""What the weights of a query may depend on."""

_STEPS = 200  # of L-BFGS at most
_CUTOFF = 50  # of the search's metric; a shorter list has too few of the targets to tell
_FACTORS = (0.35, 0.5, 0.7, 1.4, 2.0, 2.8)
_ROUNDS = 3
_HIDDEN = -1e9
_SMALLEST = 1e-6
_LARGEST = 8.0  # logarithm of a weight


class GateConfig(Config):
    """Settings of the gate.

    Attributes:
        kind: "constant" (one weight for each part), "query" (weights depend on the query) or
            "equal" (all spreads alike, nothing is learned).
        penalty: squared penalty of the numbers by which a weight depends on the query.
        folds: parts of the training dialogues of which each in turn is scored by parts that were
            fitted to the others.
        negatives: items that are drawn for each request beside its target, in a larger catalogue.
    """

    kind: Literal["constant", "query", "equal"] = "constant"
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
    columns = (np.log1p(mentions), np.log(turns))
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
            candidates, parts); -inf for a candidate that is not ranked.
        features: of the requests, float32, shape (requests, ``FEATURES``).
        config: the settings.
        left_out: parts whose weight is 0.
    """
    used = np.flatnonzero([name not in left_out for name in names])
    allowed: np.ndarray = np.isfinite(scores[:, :, 0])
    scores = np.where(allowed[:, :, None], scores, 0)
    spread = np.array([_spread(scores[:, :, part], allowed) for part in range(len(names))])
    scales = np.where(spread > _SMALLEST, 1 / np.maximum(spread, _SMALLEST), 0).astype(np.float32)
    constant = np.full(len(names), -np.inf, np.float32)
    by_feature = np.zeros((len(names), len(FEATURES)), np.float32)
    constant[used] = 0
    gate = Gate(tuple(names), scales, constant, by_feature)
    if config.kind == "equal" or not len(scores):
        return gate
    if config.kind == "query":
        parts = torch.from_numpy(scores[:, :, used] * scales[used])
        found = _likeliest(parts, torch.from_numpy(allowed), torch.from_numpy(features), config)
        constant[used], by_feature[used] = found[0].numpy(), found[1].numpy()
    weighted = scores * gate.weights(features)[:, None]
    constant += np.log(_best_factors(weighted, allowed, used))
    return gate


def _spread(scores: np.ndarray, allowed: np.ndarray) -> float:
    """Mean standard deviation over the allowed candidates of a request."""
    if not allowed.any():
        return 1.0
    counts = np.maximum(allowed.sum(axis=1), 1)
    mean = (scores * allowed).sum(axis=1) / counts
    squares = (np.square(scores - mean[:, None]) * allowed).sum(axis=1) / counts
    return float(np.sqrt(squares).mean())


def _best_factors(parts: np.ndarray, allowed: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Search factors of the parts, one after the other, by ndcg@50: float32, shape (parts,).

    Args:
        parts: weighted scores, the target first, float32, shape (requests, candidates, parts).
        allowed: candidates that are ranked.
        used: parts that may be weighed.
    """
    factors = np.ones(parts.shape[2], np.float32)
    total = parts.sum(axis=2)
    best = _ndcg(total, allowed)
    for _ in range(_ROUNDS):
        for part in used:
            tried = {}
            for factor in _FACTORS:
                changed = total + np.float32(factor - 1) * factors[part] * parts[:, :, part]
                tried[factor] = _ndcg(changed, allowed), changed
            factor = max(tried, key=lambda own: tried[own][0])
            if tried[factor][0] > best:
                best, total = tried[factor]
                factors[part] *= factor
    return factors


def _ndcg(scores: np.ndarray, allowed: np.ndarray) -> float:
    """ndcg@50 of the first candidates; a tie is ranked in the middle."""
    target, others = scores[:, :1], allowed.copy()
    others[:, 0] = False
    above = ((scores > target) & others).sum(axis=1)
    rank = above + ((scores == target) & others).sum(axis=1) // 2
    return float(np.where((rank < _CUTOFF) & allowed[:, 0], 1 / np.log2(rank + 2), 0).mean())


def _likeliest(
    parts: Tensor, allowed: Tensor, features: Tensor, config: GateConfig
) -> tuple[Tensor, Tensor]:
    """Maximise the likelihood of the first candidates: a and c of the parts."""
    n_parts = parts.shape[2]
    constant = torch.zeros(n_parts, requires_grad=True)
    by_feature = torch.zeros(n_parts, features.shape[1], requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [constant, by_feature], max_iter=_STEPS, line_search_fn="strong_wolfe", history_size=20
    )
    target = torch.zeros(len(parts), dtype=torch.int64)

    def loss() -> Tensor:
        optimiser.zero_grad()
        weights = (constant + features @ by_feature.T).clamp(max=_LARGEST).exp()
        logits = torch.einsum("qcp,qp->qc", parts, weights).masked_fill(~allowed, _HIDDEN)
        value = functional.cross_entropy(logits, target)
        value = value + config.penalty * by_feature.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    return constant.detach(), by_feature.detach()
