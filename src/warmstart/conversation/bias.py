"""Adapt by bias: shift a content score to what a platform's dialogues recommend.

    score'(q, i) = m_i s(q, i) + a_i,        s(q, i) = sum over parts p of t_p s_p(q, i)

    a_i = own_i + mean over the genres g of i of shared_g,      log m_i likewise

Learned by maximum likelihood of a softmax over the items, as "Reindex-Then-Adapt" (He et al., 2025,
arXiv 2405.12119) does. Differences, with reasons: the multiplier is pulled to 1 (the public code
pulls it to 0, which erases scores); both are shrunk towards what the item's genres share, so that
an item which nobody has mentioned has them too; old dialogues may count less (``half_life``), since
what is popular changes; and the softmax is over all items, so there is no sampling to correct.

With a score of zero the optimum of a_i is the log popularity, and in general
log p_data(i) - log p_model(i) + const.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from pydantic import Field
from scipy import sparse
from torch.nn import functional

from warmstart.backbones.propagation import to_torch
from warmstart.config import Config

_MULTIPLIED = ("multiplicative", "both")
_RATE = 0.2  # of Adam
_REQUESTS_AT_ONCE = 4096
_EQUAL = 1e-6  # a smaller spread is rounding
_SMALLEST = 1e-30  # sum of the weights of a step, in which all dialogues may be old
_SCORES_AT_ONCE = 2**25  # 128 MB per part

ContentScores: TypeAlias = Callable[[np.ndarray], Sequence[np.ndarray]]
"""Takes positions of requests, and scores all items by each part: float32, (requests, n_items)."""


class BiasConfig(Config):
    """Settings of the bias.

    Attributes:
        kind: "additive", "multiplicative", "both" or "absent".
        item_penalty: squared penalty of an item's own bias, relative to the mean log-likelihood of
            a request. Small: what is often recommended shall be so.
        genre_penalty: the same of what a genre shares.
        half_life: dialogues after which one counts half; None counts all alike. The training
            dialogues stand in the order of time.
        steps: of Adam, on up to 4,096 requests each, fewer in a catalogue of more than 8,192 items.
    """

    kind: Literal["additive", "multiplicative", "both", "absent"] = "additive"
    item_penalty: float = Field(default=1e-3, ge=0)
    genre_penalty: float = Field(default=1e-4, ge=0)
    half_life: float | None = Field(default=None, gt=0)
    steps: int = Field(default=100, ge=1)


@dataclass(frozen=True)
class FittedBias:
    """A learned bias.

    Attributes:
        temperatures: t_p of each part, float32, shape (parts,); 0 for one that is left out.
        own: own_i of the additive bias and of the log multiplier, float32, shape (n_items, 2).
        shared: the same of the genres, float32, shape (genres, 2).
    """

    temperatures: np.ndarray
    own: np.ndarray
    shared: np.ndarray

    def of_genres(self, genres: sparse.csr_matrix) -> np.ndarray:
        """What items have by their genres: float32, shape (items, 2); 0 for items without any.

        Args:
            genres: which items have which genres of the fit, CSR, shape (items, genres).
        """
        return np.asarray(shares(genres) @ self.shared, dtype=np.float32)

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays of an artefact."""
        return {"temperatures": self.temperatures, "own": self.own, "shared": self.shared}

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray]) -> "FittedBias":
        """Rebuild from ``state``."""
        return cls(**state)


def fit_bias(
    content: ContentScores,
    targets: np.ndarray,
    weights: np.ndarray,
    warm: np.ndarray,
    genres: sparse.csr_matrix,
    config: BiasConfig,
    rng: np.random.Generator,
) -> FittedBias:
    """Learn a bias, and the temperature of each part of the score.

    Args:
        content: scores the items for requests; a part of zeros gets the temperature 1.
        targets: what each request was answered with, int32, shape (requests,).
        weights: of the requests, float32, shape (requests,); see ``recency``.
        warm: items that may have a bias of their own, bool, shape (n_items,): that nobody mentioned
            an item yet is no sign against it, as it is none against an item that is added later.
        genres: which items have which genres, CSR, shape (n_items, genres).
        config: the settings.
        rng: draws the requests of a step if there are more than one step takes.
    """
    n_items, n_genres = genres.get_shape()
    share = to_torch(shares(genres), torch.device("cpu"))
    size = min(_REQUESTS_AT_ONCE, max(1, _SCORES_AT_ONCE // n_items), len(targets))
    rows = rng.choice(len(targets), size, replace=False)
    parts = torch.from_numpy(np.stack(content(rows)))
    scales = torch.tensor([_factor_to_one(part) for part in parts])
    log_t = torch.zeros(len(parts), requires_grad=True)
    own = torch.zeros(n_items, 2, requires_grad=True)
    shared = torch.zeros(n_genres, 2, requires_grad=True)
    has_own = torch.from_numpy(warm)[:, None]
    learned = torch.tensor([config.kind in ("additive", "both"), config.kind in _MULTIPLIED])
    optimiser = torch.optim.Adam([log_t, own, shared], lr=_RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.05, config.steps)
    for step in range(config.steps):
        if step and size < len(targets):
            rows = rng.choice(len(targets), size, replace=False)
            parts = torch.from_numpy(np.stack(content(rows)))
        optimiser.zero_grad()
        both = (own * has_own + share @ shared) * learned
        scores = torch.einsum("p,pqi->qi", scales * log_t.exp(), parts)
        logits = scores * both[:, 1].exp() + both[:, 0]
        weight = torch.from_numpy(weights[rows])
        wanted = torch.from_numpy(targets[rows].astype(np.int64))
        loss = (functional.cross_entropy(logits, wanted, reduction="none") * weight).sum()
        loss = loss / weight.sum().clamp(min=_SMALLEST)
        loss = loss + config.item_penalty * own.square().sum() / n_items
        loss = loss + config.genre_penalty * shared.square().sum()
        loss.backward()
        optimiser.step()
        schedule.step()
    temperatures, own, shared = scales * log_t.exp(), own * has_own * learned, shared * learned
    return FittedBias(temperatures.detach().numpy(), own.detach().numpy(), shared.detach().numpy())


def _factor_to_one(scores: torch.Tensor) -> float:
    """What gives scores a mean standard deviation of one over the items; 1 for equal ones."""
    spread = float(scores.std(dim=1).mean()) if scores.shape[1] > 1 else 0.0
    return 1 / spread if spread > _EQUAL else 1.0


def recency(dialogues: np.ndarray, half_life: float | None) -> np.ndarray:
    """Weights of requests by the age of their dialogue: float32, shape (requests,).

    Args:
        dialogues: the number of the dialogue of each request, in the order of time.
        half_life: dialogues after which one counts half; None gives ones.
    """
    if half_life is None or not len(dialogues):
        return np.ones(len(dialogues), np.float32)
    age = dialogues.max() - dialogues
    return np.exp2(-age / half_life).astype(np.float32)


def shares(genres: sparse.csr_matrix) -> sparse.csr_matrix:
    """Divide each item's row among its genres: float32 CSR, shape (items, genres)."""
    counts = np.maximum(genres.getnnz(axis=1), 1)
    return sparse.csr_matrix(sparse.diags_array((1 / counts).astype(np.float32)) @ genres)
