"""User tokens: one trained vector per user; a text's vector gives a softmax over all of them.

    text --LM--> pooled vector --head--> query h --(h . E_u) * scale + b_u--> softmax over users

Unlike in the public FilterLLM code, the head is signed (no ReLU), the tokens have their own width
instead of the LM's, the logits have a learned scale, and an optional user bias carries the users'
activity. For many users, training and top-k process the table in blocks, so that only one block of
logits is in memory; training can sample the normaliser instead, and share the table between
processes.
"""

import math
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from warmstart.errors import ConfigError, DataError
from warmstart.train.blocked_softmax import BlockUpdate, FixedLogits, blocked_softmax
from warmstart.train.module_arrays import damaged_arrays, load_arrays, module_arrays
from warmstart.train.sampled_softmax import Sampling, gather_rows
from warmstart.train.table_part import TablePart

_BLOCK = 65_536  # users per block of logits, in inference
DENSE_USERS = 65_536
"""Up to this many users, training computes the logits of all at once, and validation scores all."""


@dataclass(frozen=True)
class PositivePairs:
    """The positive users of a batch of items, as parallel arrays.

    Attributes:
        rows: int64, position of the item in the batch, shape (pairs,).
        users: int64, row number of the user, shape (pairs,).
        weights: float32 above 0, shape (pairs,).
    """

    rows: Tensor
    users: Tensor
    weights: Tensor


class UserTokens(nn.Module):
    """Softmax distribution over users for pooled text vectors.

    Args:
        table: initial user tokens, float32 of shape (n_users, width); see ``initial_tokens``.
        lm_width: width of the pooled text vectors.
        rng: draws the head's initial weights.
        head: "linear", or "two-layer": linear, GELU, linear.
        temperature: initial temperature of the logits.
        learn_temperature: whether training changes the temperature.
        degrees: number of interactions of each user, shape (n_users,). Adds a trained user bias
            that starts at the centred log(degree + 1), an activity prior. None adds no bias.

    Raises:
        ConfigError: ``temperature`` is not above 0, or ``head`` is unknown.
        DataError: ``table`` is not a finite matrix.
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
        """Number of users, the rows of the table."""
        return self.table.shape[0]

    @property
    def width(self) -> int:
        """Width of a user token."""
        return self.table.shape[1]

    def queries(self, pooled: Tensor) -> Tensor:
        """Map unit text vectors (batch, lm_width) to queries h (batch, width) by the head."""
        # Entries of a unit vector shrink with its width; the head's initial weights and learning
        # rates assume entries of size one.
        return self.head(pooled * math.sqrt(self.lm_width))

    def logits(self, queries: Tensor, users: Tensor | slice = slice(None)) -> Tensor:
        """Return the logits of some users (all by default), shape (batch, users)."""
        table = self.table[users] if isinstance(users, slice) else self._rows(users)
        logits = queries @ table.T * self.log_scale.exp()
        return logits if self.bias is None else logits + self.bias[users]

    def loss(
        self,
        queries: Tensor,
        positives: PositivePairs,
        *,
        offset: Tensor | FixedLogits | None = None,
        sampling: Sampling | None = None,
        item_weights: Tensor | None = None,
        update: BlockUpdate | None = None,
        part: TablePart | None = None,
    ) -> Tensor:
        """Compute the text distribution loss of a batch, with a full or a sampled softmax.

        Up to 65,536 users the logits of all users are computed at once, for more in blocks, so that
        memory does not depend on the number of users. Numbers differ in their last bits only.

        Args:
            queries: h, shape (batch, width).
            positives: the positive users of each item.
            offset: constant logits that are added: of shape (batch, n_users), or, with memory that
                does not depend on the number of users, as a product.
            sampling: how to sample the normaliser; None sums over all users.
            item_weights: see ``text_distribution_loss``.
            update: updates the table during the backward pass, see ``blocked_softmax``; not with
                ``sampling`` or a matrix as ``offset``.
            part: the part of the table that this process holds, if several processes share it; all
                call this method with the same arguments.
        """
        part = part or TablePart(self.table, self.bias)
        queries_of_part, scale = queries, self.log_scale.exp()
        if part.ranks is not None:
            queries_of_part, scale = part.ranks.spread(queries * scale), torch.ones(())
        if sampling is not None:
            found = self._sampled(queries_of_part * scale, positives, offset, sampling, part)
        else:
            found = self._full(queries_of_part, scale, positives, offset, update, part)
        picked, log_normalisers = found
        return text_distribution_loss(
            picked, log_normalisers, positives.rows, positives.weights, item_weights=item_weights
        )

    def _full(
        self,
        queries: Tensor,
        scale: Tensor,
        positives: PositivePairs,
        offset: Tensor | FixedLogits | None,
        update: BlockUpdate | None,
        part: TablePart,
    ) -> tuple[Tensor, Tensor]:
        """Return the logits of the positive pairs and the log-normalisers, over all users."""
        held, places = part.find(positives.users)
        pairs = positives.rows[held], places[held]
        many = self.n_users > DENSE_USERS or update is not None
        if isinstance(offset, FixedLogits) or (offset is None and many):
            fixed = None
            if offset is not None:
                fixed = FixedLogits(offset.queries, offset.table[part.rows])
            picked, normalisers = blocked_softmax(
                queries * scale, part.table, *pairs, bias=part.bias, fixed=fixed, update=update
            )
        else:
            logits = queries @ part.table.T * scale
            if part.bias is not None:
                logits = logits + part.bias
            if offset is not None:
                logits = logits + offset[:, part.rows]
            picked, normalisers = logits[pairs], logits.logsumexp(1)
        return part.combine(picked, held, normalisers)

    def _sampled(
        self,
        queries: Tensor,
        positives: PositivePairs,
        offset: Tensor | FixedLogits | None,
        sampling: Sampling,
        part: TablePart,
    ) -> tuple[Tensor, Tensor]:
        """As ``_full``, with a sample of the users; queries are scaled."""
        sample = sampling.draw(positives.users)
        held, places = part.find(sample.rows)
        users, places = sample.rows[held], places[held]
        position = held.cumsum(0) - 1  # of a sampled user among those that this process holds
        pair_held = held[sample.columns]
        gather = gather_rows if sampling.sparse else _indexed
        bias = sample.log_weights[held]
        if part.bias is not None:
            bias = bias + gather(part.bias, places)
        fixed = None
        if isinstance(offset, FixedLogits):
            fixed = FixedLogits(offset.queries, offset.table[users])
        elif offset is not None:
            identity = torch.eye(len(queries), dtype=queries.dtype)
            fixed = FixedLogits(identity, offset[:, users].T)
        picked, normalisers = blocked_softmax(
            queries,
            gather(part.table, places),
            positives.rows[pair_held],
            position[sample.columns[pair_held]],
            bias=bias,
            fixed=fixed,
        )
        return part.combine(picked, pair_held, normalisers)

    @torch.no_grad()
    def log_normalisers(self, queries: Tensor, *, block: int = _BLOCK) -> Tensor:
        """Return log sum_u exp(logit_u) over all users, computed in blocks; shape (batch,)."""
        total = queries.new_full((len(queries),), -math.inf)
        for start in range(0, self.n_users, block):
            logits = self.logits(queries, slice(start, start + block))
            total = torch.logaddexp(total, logits.logsumexp(1))
        return total

    @torch.no_grad()
    def log_probabilities(self, queries: Tensor, users: Tensor | slice = slice(None)) -> Tensor:
        """Return log-probabilities of some users, shape (batch, users); the softmax is over all."""
        return self.logits(queries, users) - self.log_normalisers(queries)[:, None]

    @torch.no_grad()
    def top_k(self, queries: Tensor, k: int, *, block: int = _BLOCK) -> tuple[Tensor, Tensor]:
        """Return each query's k likeliest users and their log-probabilities, likeliest first.

        Equal logits are ordered by user number, so the result does not depend on ``block``.

        Returns:
            int64 users and float32 log-probabilities, each of shape (batch, k).

        Raises:
            DataError: ``k`` is outside 1..n_users.
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
            # Users of earlier blocks come first, so a stable sort keeps ties in user order.
            merged, order = torch.cat([best, values], 1).sort(dim=1, descending=True, stable=True)
            best = merged[:, :k]
            users = torch.cat([users, columns + start], 1).gather(1, order[:, :k])
        return users, best - total[:, None]

    def state(self) -> dict[str, np.ndarray]:
        """Return copies of all tensors as arrays, by name."""
        return module_arrays(self)

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray]) -> "UserTokens":
        """Rebuild user tokens from ``state``; its names determine the head and the user bias.

        Raises:
            ArtefactError: a tensor is missing or has a wrong shape.
        """
        with damaged_arrays("user tokens"):
            two_layer = "head.2.weight" in state
            first = state["head.0.weight" if two_layer else "head.weight"]
            tokens = cls(
                state["table"],
                first.shape[1],
                np.random.default_rng(0),  # the drawn weights are overwritten below
                head="two-layer" if two_layer else "linear",
                degrees=np.zeros(len(state["table"])) if "bias" in state else None,
            )
            load_arrays(tokens, state)
        return tokens

    def _rows(self, users: Tensor) -> Tensor:
        return _indexed(self.table, users)


def initial_tokens(
    user_vectors: np.ndarray, item_vectors: np.ndarray, width: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Compute initial user tokens and guidance targets from a backbone's vectors.

    Vectors wider than a token are projected onto the users' first principal directions (uncentred;
    the same for users and items, which keeps their inner products best). Narrower vectors keep
    their dimensions, and the tokens get extra ones, small and random, for the LM to use; the
    targets do not cover these. Users and items are each scaled to a root mean square length of one,
    so that temperature and guidance weight do not depend on the backbone.

    Args:
        user_vectors: shape (n_users, d).
        item_vectors: shape (n_items, d).
        width: width of a token.
        rng: draws the extra dimensions.

    Returns:
        float32 tokens (n_users, width) and float32 targets (n_items, min(d, width)).

    Raises:
        DataError: the vectors of users and items differ in width.
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
        largest = np.abs(basis).argmax(0)  # signs are arbitrary; fixing them makes runs repeatable
        basis = basis * np.sign(basis[largest, np.arange(width)])
        users, items = users @ basis, items @ basis
    users, items = _unit_scale(users), _unit_scale(items)
    extra_width = width - users.shape[1]
    extra = rng.normal(0, 0.1 / math.sqrt(width), (len(users), extra_width))
    tokens = np.concatenate([users, extra], 1)
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
    """Make a linear layer that maps unit-variance inputs to unit-variance outputs."""
    # skip_init draws nothing from torch's global random state.
    layer = cast(nn.Linear, nn.utils.skip_init(nn.Linear, inputs, outputs))
    weights = rng.normal(0, 1 / math.sqrt(inputs), (outputs, inputs)).astype(np.float32)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weights))
        layer.bias.zero_()
    return layer


def _indexed(table: Tensor, users: Tensor) -> Tensor:
    """Gather rows of a matrix or entries of a vector, with a dense gradient."""
    # The backward pass of embedding is much faster than that of indexing.
    return functional.embedding(users, table) if table.ndim == 2 else table[users]


def _first_k(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest values of each row and their columns, ties in column order."""
    values, columns = logits.topk(k, 1)
    if bool(((logits >= values[:, -1:]).sum(1) > k).any()):  # on a tie topk may pick any
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

    L = mean_i w_i sum_u q_iu (log Z_i - l_iu), with sum_u q_iu = 1. Apart from log Z only the
    logits l of positive pairs are needed, so the full and the sampled softmax share this function.

    Args:
        logits: l of the positive pairs, shape (pairs,).
        log_normalisers: log Z of each item, shape (batch,).
        rows: int64, position of each pair's item in the batch, shape (pairs,).
        weights: weights of the pairs, above 0; normalised per item they are q; shape (pairs,).
        item_weights: w, normalised here to mean 1, shape (batch,); None weights items equally.

    Returns:
        A scalar.
    """
    totals = log_normalisers.new_zeros(len(log_normalisers)).index_add(0, rows, weights)
    targets = weights / totals[rows]
    losses = log_normalisers.new_zeros(len(log_normalisers)).index_add(
        0, rows, targets * (log_normalisers[rows] - logits)
    )
    if item_weights is None:
        return losses.mean()
    return (losses * item_weights).sum() / item_weights.sum()


def behaviour_guided_loss(queries: Tensor, targets: Tensor) -> Tensor:
    """Squared distance between the projected text and the item's frozen CF vector.

    L = mean_i ||h_i - e_i||^2: summed over the dimensions, so that its scale does not fall with the
    width. (The public code also averages over 4096 dimensions: its lambda = 10 is 10 / 4096 here.)

    Args:
        queries: h, shape (batch, width).
        targets: e, shape (batch, width); constants.

    Raises:
        ConfigError: ``targets`` requires a gradient; training could then move e to h, which makes
            the loss meaningless.
    """
    if targets.requires_grad:
        raise ConfigError("behaviour_guided_loss: targets must be frozen, but require a gradient")
    return (queries - targets).square().sum(1).mean()
