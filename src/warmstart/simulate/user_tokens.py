"""User tokens: a vocabulary of users over which a text's vector spreads a distribution.

    text --LM--> pooled vector --head--> query h --(h . E_u) * scale + b_u--> softmax over users

Against the public FilterLLM code (methods page, 3.4): the head is signed (no ReLU), the tokens have
their own width instead of the LM's, the logits have a learned scale, and an optional user bias
carries the users' activity. Over many users training samples the normaliser, and top-k reads the
table in blocks: no more than one block of logits exists at a time.
"""

import math
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from warmstart.errors import ArtefactError, ConfigError, DataError

_BLOCK = 65_536  # users whose logits exist at a time


@dataclass(frozen=True)
class PositivePairs:
    """The positive users of a batch of items, as parallel arrays.

    Attributes:
        rows: int64, positions in the batch, shape (pairs,).
        users: int64, shape (pairs,).
        weights: float32 above 0, shape (pairs,).
    """

    rows: Tensor
    users: Tensor
    weights: Tensor


class UserTokens(nn.Module):
    """Distribution over users for pooled text vectors.

    Args:
        table: initial user tokens, float32 of shape (n_users, width); see ``initial_tokens``.
        lm_width: width of the pooled text vectors.
        rng: draws the head's initial weights.
        head: "linear", or "two-layer": linear, GELU, linear.
        temperature: initial temperature of the logits.
        learn_temperature: whether training changes it.
        degrees: interactions of each user, shape (n_users,): makes a trained user bias that starts
            at log(degree + 1), the popularity prior; no bias where None.
    """

    def __init__(
        self,
        table: np.ndarray,
        lm_width: int,
        rng: np.random.Generator,
        *,
        head: Literal["linear", "two-layer"] = "linear",
        temperature: float = 0.1,
        learn_temperature: bool = True,
        degrees: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        if temperature <= 0:
            raise ConfigError(f"UserTokens: temperature must be above 0, got {temperature}")
        table = np.asarray(table, np.float32)
        if table.ndim != 2 or not np.isfinite(table).all():
            raise DataError(
                f"UserTokens: the table must be finite and of shape (users, width), got shape "
                f"{table.shape}"
            )
        self.lm_width = lm_width
        self.table = nn.Parameter(torch.from_numpy(table.copy()))
        self.head = _head(head, lm_width, table.shape[1], rng)
        log_scale = torch.tensor(-math.log(temperature))
        self.log_scale = nn.Parameter(log_scale, requires_grad=learn_temperature)
        self.bias: nn.Parameter | None = None
        if degrees is not None:
            prior = np.log(np.asarray(degrees, np.float32) + 1)
            self.bias = nn.Parameter(torch.from_numpy(prior - prior.mean()))

    @property
    def n_users(self) -> int:
        """Rows of the table."""
        return self.table.shape[0]

    @property
    def width(self) -> int:
        """Width of a user token."""
        return self.table.shape[1]

    def queries(self, pooled: Tensor) -> Tensor:
        """Head: unit text vectors (batch, lm_width) -> queries h (batch, width)."""
        # Entries of a unit vector shrink with its width; the head's usual initial weights and
        # learning rates want entries of size one.
        return self.head(pooled * math.sqrt(self.lm_width))

    def logits(self, queries: Tensor, users: Tensor | slice = slice(None)) -> Tensor:
        """Logits of the chosen users (all by default), shape (batch, chosen)."""
        table = self.table[users] if isinstance(users, slice) else self._rows(users)
        logits = queries @ table.T * self.log_scale.exp()
        return logits if self.bias is None else logits + self.bias[users]

    def loss(
        self,
        queries: Tensor,
        positives: PositivePairs,
        *,
        negatives: int = 0,
        proposal: Tensor | None = None,
        generator: torch.Generator | None = None,
        item_weights: Tensor | None = None,
    ) -> Tensor:
        """Text distribution loss of a batch; full softmax, or sampled with ``negatives`` > 0.

        Args:
            queries: h, shape (batch, width).
            positives: the users of each item.
            negatives: users drawn for the normaliser, shared by the batch.
            proposal: probabilities of the draw, shape (n_users,); uniform where None.
            generator: randomness of the draw, on the CPU; needed with ``negatives``.
            item_weights: see ``text_distribution_loss``.
        """
        if not negatives:
            logits = self.logits(queries)
            picked = logits[positives.rows, positives.users]
            log_normalisers = logits.logsumexp(1)
        else:
            if generator is None:
                raise ConfigError("UserTokens.loss: sampled negatives need a generator")
            candidates, log_weights, columns = _sample(
                positives.users, self.n_users, negatives, proposal, generator
            )
            logits = self.logits(queries, candidates)
            picked = logits[positives.rows, columns]
            log_normalisers = (logits + log_weights).logsumexp(1)
        return text_distribution_loss(
            picked, log_normalisers, positives.rows, positives.weights, item_weights=item_weights
        )

    @torch.no_grad()
    def log_normalisers(self, queries: Tensor, *, block: int = _BLOCK) -> Tensor:
        """Log of sum_u exp(logit_u) over all users, read in blocks; shape (batch,)."""
        total = queries.new_full((len(queries),), -math.inf)
        for start in range(0, self.n_users, block):
            logits = self.logits(queries, slice(start, start + block))
            total = torch.logaddexp(total, logits.logsumexp(1))
        return total

    @torch.no_grad()
    def log_probabilities(self, queries: Tensor, users: Tensor | slice = slice(None)) -> Tensor:
        """Log-probabilities of the chosen users under the softmax over all; (batch, chosen)."""
        return self.logits(queries, users) - self.log_normalisers(queries)[:, None]

    @torch.no_grad()
    def top_k(self, queries: Tensor, k: int, *, block: int = _BLOCK) -> tuple[Tensor, Tensor]:
        """The k likeliest users of each query and their log-probabilities, the likeliest first.

        Equal logits are ordered by user number, so the answer does not depend on ``block``.

        Returns:
            int64 users and float32 log-probabilities, each of shape (batch, k).

        Raises:
            DataError: k outside 1..n_users.
        """
        if not 1 <= k <= self.n_users:
            raise DataError(f"top_k: k must be within 1..{self.n_users} users, got {k}")
        best = queries.new_empty(len(queries), 0)
        users = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
        total = queries.new_full((len(queries),), -math.inf)
        for start in range(0, self.n_users, block):
            logits = self.logits(queries, slice(start, start + block))
            total = torch.logaddexp(total, logits.logsumexp(1))
            values, columns = _first_k(logits, min(k, logits.shape[1]))
            # The users of earlier blocks stand first, so a stable sort keeps ties in user order.
            merged, order = torch.cat([best, values], 1).sort(dim=1, descending=True, stable=True)
            best = merged[:, :k]
            users = torch.cat([users, columns + start], 1).gather(1, order[:, :k])
        return users, best - total[:, None]

    def state(self) -> dict[str, np.ndarray]:
        """All tensors as arrays, for an artefact."""
        return {name: tensor.cpu().numpy().copy() for name, tensor in self.state_dict().items()}

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray]) -> "UserTokens":
        """Rebuild from ``state``; the shapes say which head and whether there is a bias.

        Raises:
            ArtefactError: tensors are missing or do not fit.
        """
        try:
            two_layer = "head.2.weight" in state
            first = state["head.0.weight" if two_layer else "head.weight"]
            tokens = cls(
                state["table"],
                first.shape[1],
                np.random.default_rng(0),  # overwritten below
                head="two-layer" if two_layer else "linear",
                degrees=np.zeros(len(state["table"])) if "bias" in state else None,
            )
            tokens.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in state.items()})
        except (KeyError, RuntimeError, IndexError) as error:
            raise ArtefactError(f"the saved user tokens are damaged: {error}") from None
        return tokens

    def _rows(self, users: Tensor) -> Tensor:
        return functional.embedding(users, self.table)  # far cheaper backwards than indexing


def initial_tokens(
    user_vectors: np.ndarray, item_vectors: np.ndarray, width: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """User tokens and guidance targets of one width from a backbone's vectors.

    A wider backbone is cut to the directions in which its users vary most (uncentred principal
    components, the same for users and items, so their inner products survive best). A narrower one
    keeps its dimensions, and the tokens get further ones, small and random, for the LM to use: the
    targets say nothing about those. Users and items are each scaled to a root mean square length
    of one, so that temperature and guidance weight do not depend on the backbone.

    Args:
        user_vectors: shape (n_users, d).
        item_vectors: shape (n_items, d).
        width: of a token.
        rng: draws the further dimensions.

    Returns:
        float32 tokens (n_users, width) and float32 targets (n_items, min(d, width)).
    """
    users = np.asarray(user_vectors, np.float64)
    items = np.asarray(item_vectors, np.float64)
    if users.ndim != 2 or items.ndim != 2 or users.shape[1] != items.shape[1]:
        raise DataError(
            f"initial_tokens: user and item vectors must have one width, got shapes "
            f"{users.shape} and {items.shape}"
        )
    if width < users.shape[1]:
        _, directions = np.linalg.eigh(users.T @ users)  # ascending
        basis = directions[:, ::-1][:, :width]
        largest = np.abs(basis).argmax(0)  # signs are arbitrary: fix them, so that runs repeat
        basis = basis * np.sign(basis[largest, np.arange(width)])
        users, items = users @ basis, items @ basis
    users, items = _unit_scale(users), _unit_scale(items)
    missing = width - users.shape[1]
    further = rng.normal(0, 0.1 / math.sqrt(width), (len(users), missing))
    tokens = np.concatenate([users, further], 1)
    return tokens.astype(np.float32), items.astype(np.float32)


def _unit_scale(vectors: np.ndarray) -> np.ndarray:
    length = np.sqrt(np.square(vectors).sum(1).mean()) if len(vectors) else 0.0
    return vectors / length if length > 0 else vectors


def _head(kind: str, lm_width: int, width: int, rng: np.random.Generator) -> nn.Module:
    if kind == "linear":
        return _linear(lm_width, width, rng)
    if kind == "two-layer":
        hidden = max(lm_width, width)
        return nn.Sequential(_linear(lm_width, hidden, rng), nn.GELU(), _linear(hidden, width, rng))
    raise ConfigError(f"UserTokens: head must be 'linear' or 'two-layer', got {kind!r}")


def _linear(inputs: int, outputs: int, rng: np.random.Generator) -> nn.Linear:
    """A linear layer that keeps unit-variance inputs at a total length of one."""
    # skip_init draws nothing from torch's own state.
    layer = cast(nn.Linear, nn.utils.skip_init(nn.Linear, inputs, outputs))
    weights = rng.normal(0, 1 / math.sqrt(inputs), (outputs, inputs)).astype(np.float32)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weights))
        layer.bias.zero_()
    return layer


def _sample(
    positive_users: Tensor,
    n_users: int,
    negatives: int,
    proposal: Tensor | None,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Candidates for a sampled normaliser that is unbiased for Z.

    Every positive user of the batch counts once as itself. The rest of the sum is estimated from
    draws with replacement: a drawn user u stands for 1 / (negatives * Q(u)) users (the log-Q
    correction), and draws that hit a positive count nothing.

    Returns:
        int64 candidates, float32 log-weights of the same shape (-inf for a hit), and the column
        of each positive pair.
    """
    device = positive_users.device
    uniform = torch.full((n_users,), 1 / n_users)
    chances = uniform if proposal is None else proposal.float().cpu()
    chances = chances / chances.sum()
    drawn = torch.multinomial(chances, negatives, replacement=True, generator=generator)
    positive, columns = positive_users.unique(return_inverse=True)
    log_weights = -(chances[drawn] * negatives).log().to(device)
    drawn = drawn.to(device)
    log_weights[torch.isin(drawn, positive)] = -math.inf
    ones = log_weights.new_zeros(len(positive))
    return torch.cat([positive, drawn]), torch.cat([ones, log_weights]), columns


def _first_k(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest of each row, ties in column order."""
    values, columns = logits.topk(k, 1)
    if bool(((logits >= values[:, -1:]).sum(1) > k).any()):  # a tie at the edge: topk may pick any
        values, columns = logits.sort(dim=1, descending=True, stable=True)
        return values[:, :k], columns[:, :k]
    columns, order = columns.sort(1)
    values, order = values.gather(1, order).sort(dim=1, descending=True, stable=True)
    return values, columns.gather(1, order)


# -- the losses of FilterLLM (arXiv 2502.16924) --


def text_distribution_loss(
    logits: Tensor,
    log_normalisers: Tensor,
    rows: Tensor,
    weights: Tensor,
    *,
    item_weights: Tensor | None = None,
) -> Tensor:
    """Cross entropy of softmax(logits) against weighted multi-hot targets, averaged over items.

    L = mean_i w_i sum_u q_iu (log Z_i - l_iu), with sum_u q_iu = 1. Only the logits of positive
    pairs are needed beside log Z, so full and sampled softmax share it.

    Args:
        logits: of the positive pairs, shape (pairs,).
        log_normalisers: log Z of each item, shape (batch,).
        rows: int64, which item of the batch each pair belongs to, shape (pairs,).
        weights: positive weights of the pairs, normalised here within each item, shape (pairs,).
        item_weights: w, normalised here to mean 1; equal weights where None; shape (batch,).

    Returns:
        A scalar.
    """
    totals = log_normalisers.new_zeros(len(log_normalisers)).index_add(0, rows, weights)
    shares = weights / totals[rows]
    losses = log_normalisers.new_zeros(len(log_normalisers)).index_add(
        0, rows, shares * (log_normalisers[rows] - logits)
    )
    if item_weights is None:
        return losses.mean()
    return (losses * item_weights).sum() / item_weights.sum()


def behaviour_guided_loss(queries: Tensor, targets: Tensor) -> Tensor:
    """Squared distance between the projected text and the item's frozen CF vector.

    L = mean_i ||h_i - e_i||^2: summed over the dimensions, so its scale does not fall with the
    width. (The public code averages over 4096 dimensions too: its lambda = 10 is 10 / 4096 here.)

    Args:
        queries: h, shape (batch, width).
        targets: e, shape (batch, width); constants.

    Raises:
        ConfigError: the targets ask for a gradient; they could then move to h and void the loss.
    """
    if targets.requires_grad:
        raise ConfigError("behaviour_guided_loss: the target vectors must be frozen")
    return (queries - targets).square().sum(1).mean()
