"""MF-BPR: matrix factorisation that ranks interactions above sampled negatives.

Rendle, Freudenthaler, Gantner, Schmidt-Thieme, "BPR: Bayesian Personalized Ranking from Implicit
Feedback", UAI 2009. For each interaction (u, i) of weight w and sampled negatives j the loss is

    -w log( exp(s_ui / t) / (exp(s_ui / t) + sum_j exp(s_uj / t)) )  +  l2 / 2 sum |vectors|^2

With one negative and t = 1 this is BPR, with more negatives the sampled softmax. Scores are
s_ui = x_u.y_i; the last column of the item vectors is an item bias (1 for users with interactions).

Updates are plain SGD, parallel without locks *and* without races: each epoch splits users and warm
items at random into blocks. A round works on pairs of blocks that share neither users nor items,
and samples negatives from the item block of the pair. The result is the same for any number of
threads.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from pydantic import Field
from scipy import sparse

from warmstart.backbones.base import FactorTrainee, shape_of
from warmstart.backbones.negatives import below, draw_unseen, next_random, seen_filter
from warmstart.backbones.sampled_factor import SampledFactorBackbone, SampledFactorConfig
from warmstart.backbones.threads import Array, Float, Integer, inlined, kernel, over_rows

_BLOCKS = 4  # blocks of users and of items; also the maximum number of parallel threads
_DRAWN_AHEAD = 64  # steps whose negatives are drawn together


class BprConfig(SampledFactorConfig):
    """Settings of MF-BPR.

    Attributes:
        learning_rate: step size of plain SGD.
        l2: weight decay of the vectors that a step updates; the negatives of a step together get
            the decay of one item.
    """

    kind: Literal["bpr"] = "bpr"
    epochs: int = Field(default=60, ge=1)
    learning_rate: float = Field(default=0.2, gt=0)
    l2: float = Field(default=0.02, ge=0)


class Bpr(SampledFactorBackbone):
    """MF-BPR with SGD in numba; bit-identical for any number of threads."""

    name = "bpr"
    config_type = BprConfig

    def _trainee(self, train: sparse.csr_matrix, rng: np.random.Generator) -> FactorTrainee:
        return _Sgd(train, self.config, rng)


class _Sgd(FactorTrainee):
    """Trains one pass over the interactions per epoch."""

    def __init__(
        self, train: sparse.csr_matrix, config: BprConfig, rng: np.random.Generator
    ) -> None:
        self.config, self.train = config, train
        n_users, n_items = shape_of(train)
        self.rows = np.repeat(np.arange(n_users, dtype=np.int32), np.diff(train.indptr))
        self.warm = np.unique(train.indices)
        self.seen = seen_filter(train)
        scale = 0.1 / np.sqrt(config.width)
        self.users = rng.normal(0, scale, (n_users, config.width)).astype(np.float32)
        self.items = np.zeros((n_items, config.width), np.float32)
        self.items[self.warm] = rng.normal(0, scale, (len(self.warm), config.width))
        self.users[:, -1] = 1  # the bias column
        self.items[:, -1] = 0
        self.users[np.diff(train.indptr) == 0] = 0

    def vectors(self) -> tuple[np.ndarray, np.ndarray]:
        return self.users, self.items

    def state(self) -> dict[str, np.ndarray]:
        return {"users": self.users, "items": self.items}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self.users, self.items = state["users"], state["items"]

    def epoch(self, rng: np.random.Generator, epoch: int) -> Iterator[float]:
        config, train = self.config, self.train
        user_block = rng.integers(0, _BLOCKS, shape_of(train)[0], dtype=np.int32)
        shuffled = rng.permutation(self.warm).astype(np.int32)
        item_starts = np.linspace(0, len(shuffled), _BLOCKS + 1).astype(np.int64)
        item_block = np.zeros(shape_of(train)[1], np.int32)
        item_block[shuffled] = np.repeat(np.arange(_BLOCKS), np.diff(item_starts))
        order = np.empty(train.nnz, train.indptr.dtype)
        starts = _bucket(self.rows, train.indices, user_block, item_block, order)
        seeds = rng.integers(1, 2**63, _BLOCKS * _BLOCKS, dtype=np.uint64)
        losses = np.zeros(_BLOCKS * _BLOCKS)
        step = _pair_blocks if config.negatives == 1 else _softmax_blocks
        for shift in range(_BLOCKS):
            over_rows(
                step, _BLOCKS, shift, order, starts, shuffled, item_starts, seeds, self.rows,
                train.indices, train.data, train.indptr, self.seen, self.users, self.items,
                config.learning_rate, config.l2, config.negatives, config.temperature, losses,
            )  # fmt: skip
        yield float(losses.sum() / train.nnz)


@kernel
def _bucket(
    rows: Array, columns: Array, user_block: Array, item_block: Array, order: Array
) -> Array:
    """Sort positions of interactions by (user block, item block); return each pair's start."""
    starts = np.zeros(_BLOCKS * _BLOCKS + 1, np.int64)
    for k in range(len(rows)):
        starts[user_block[rows[k]] * _BLOCKS + item_block[columns[k]] + 1] += 1
    starts = np.cumsum(starts)
    free = starts[:-1].copy()
    for k in range(len(rows)):
        block = user_block[rows[k]] * _BLOCKS + item_block[columns[k]]
        order[free[block]] = k
        free[block] += 1
    return starts


@kernel
def _pair_blocks(
    first: Integer, last: Integer, shift: Integer, order: Array, starts: Array, shuffled: Array,
    item_starts: Array, seeds: Array, rows: Array, columns: Array, weights: Array, indptr: Array,
    seen: Array, users: Array, items: Array, rate: Float, l2: Float, negatives: Integer,
    temperature: Float, losses: Array,
) -> None:  # fmt: skip
    """As ``_softmax_blocks``, for one negative.

    Vectors are indexed, not sliced: a slice counts references, in a number that threads share, and
    one step would wait for it as long as for its arithmetic.
    """
    candidates = np.empty((_DRAWN_AHEAD, 2), np.int32)
    found = np.empty(_DRAWN_AHEAD, np.int32)
    shrink = np.float32(rate * l2)
    for user_block in range(first, last):
        item_block = (user_block + shift) % _BLOCKS
        block = user_block * _BLOCKS + item_block
        begin, end = starts[block], starts[block + 1]
        random = _shuffle(order, begin, end, np.uint64(seeds[block]))
        for at in range(begin, end, _DRAWN_AHEAD):
            steps = min(_DRAWN_AHEAD, end - at)
            random = _draw(
                candidates, found, order, at, steps, rows, seen, indptr, columns, shuffled,
                item_starts[item_block], item_starts[item_block + 1], random,
            )  # fmt: skip
            for n in range(steps):
                if found[n] == 1:
                    continue  # the user has (nearly) every item of this block
                k = order[at + n]
                losses[block] += weights[k] * _pair_step(
                    users, int(rows[k]), items, candidates[n, 0], candidates[n, 1], temperature,
                    np.float32(rate * weights[k] / temperature), shrink,
                )  # fmt: skip


@kernel
def _softmax_blocks(
    first: Integer, last: Integer, shift: Integer, order: Array, starts: Array, shuffled: Array,
    item_starts: Array, seeds: Array, rows: Array, columns: Array, weights: Array, indptr: Array,
    seen: Array, users: Array, items: Array, rate: Float, l2: Float, negatives: Integer,
    temperature: Float, losses: Array,
) -> None:  # fmt: skip
    """Run SGD on user blocks ``first`` to ``last - 1``, each paired with a different item block."""
    candidates = np.empty((_DRAWN_AHEAD, negatives + 1), np.int32)
    found = np.empty(_DRAWN_AHEAD, np.int32)
    descent = np.empty(negatives + 1, np.float32)
    change = np.empty(users.shape[1], np.float32)
    shrink = np.float32(rate * l2)
    for user_block in range(first, last):
        item_block = (user_block + shift) % _BLOCKS
        block = user_block * _BLOCKS + item_block
        begin, end = starts[block], starts[block + 1]
        random = _shuffle(order, begin, end, np.uint64(seeds[block]))
        for at in range(begin, end, _DRAWN_AHEAD):
            steps = min(_DRAWN_AHEAD, end - at)
            random = _draw(
                candidates, found, order, at, steps, rows, seen, indptr, columns, shuffled,
                item_starts[item_block], item_starts[item_block + 1], random,
            )  # fmt: skip
            for n in range(steps):
                if found[n] == 1:
                    continue
                k = order[at + n]
                x, drawn = users[rows[k]], candidates[n, : found[n]]
                loss = _softmax_step(x, items, drawn, descent, temperature)
                step = np.float32(rate * weights[k] / temperature)
                _update(x, items, drawn, descent, step, shrink, change)
                losses[block] += weights[k] * loss


@kernel
def _draw(
    candidates: Array, found: Array, order: Array, at: Integer, steps: Integer, rows: Array,
    seen: Array, indptr: Array, columns: Array, shuffled: Array, first: Integer, last: Integer,
    random: Integer,
) -> Integer:  # fmt: skip
    """Fill a row of ``candidates`` for each step: its item, then negatives; return the next state.

    They are drawn for several steps together: drawing branches in ways that a processor cannot
    foresee, and between steps that would keep it from beginning one before the last has ended.
    ``found`` gets how much of each row is filled.
    """
    for n in range(steps):
        k = order[at + n]
        candidates[n, 0], found[n] = columns[k], 1
        for _ in range(candidates.shape[1] - 1):
            item, random = draw_unseen(
                int(rows[k]), seen, indptr, columns, shuffled, first, last - first, random
            )
            if item < 0:
                break
            candidates[n, found[n]] = item
            found[n] += 1
    return random


@kernel
def _shuffle(order: Array, begin: Integer, end: Integer, random: Integer) -> Integer:
    """Shuffle ``order[begin:end]`` and return the next random state."""
    for k in range(end - begin - 1, 0, -1):
        random = next_random(random)
        other = begin + below(random, k + 1)
        order[begin + k], order[other] = order[other], order[begin + k]
    return random


@inlined
def _pair_step(
    users: Array, user: Integer, items: Array, positive: Integer, negative: Integer,
    temperature: Float, step: Float, shrink: Float,
) -> Float:  # fmt: skip
    """Update for one negative, and return -log sigmoid of the margin: BPR.

    What ``_softmax_step`` and ``_update`` do for two candidates, in two passes over the vectors.
    """
    width = users.shape[1]
    margin = np.float32(0)
    for j in range(width):
        margin += users[user, j] * (items[positive, j] - items[negative, j])
    margin /= np.float32(temperature)
    small = np.exp(-np.abs(margin))
    descent = step * (small if margin > 0 else np.float32(1)) / (np.float32(1) + small)
    keep = np.float32(1) - shrink
    for j in range(width):
        x, y, z = users[user, j], items[positive, j], items[negative, j]
        users[user, j] = keep * x + descent * (y - z)
        items[positive, j] = keep * y + descent * x
        items[negative, j] = keep * z - descent * x
    users[user, width - 1] = 1  # the bias column
    return np.log(np.float32(1) + small) + max(-margin, np.float32(0))


@inlined
def _softmax_step(
    x: Array, items: Array, candidates: Array, descent: Array, temperature: Float
) -> Float:
    """Return -log softmax of the first candidate.

    ``descent`` is set to minus the gradient with respect to the scores / temperature.
    """
    top = np.float32(-np.inf)
    for c in range(len(candidates)):
        y = items[candidates[c]]
        score = np.float32(0)
        for j in range(len(x)):
            score += x[j] * y[j]
        descent[c] = score / np.float32(temperature)
        top = max(top, descent[c])
    loss, total = top - descent[0], np.float32(0)
    for c in range(len(candidates)):
        descent[c] = np.exp(descent[c] - top)
        total += descent[c]
    for c in range(len(candidates)):
        descent[c] = -descent[c] / total
    descent[0] += np.float32(1)
    return loss + np.log(total)


@inlined
def _update(
    x: Array,
    items: Array,
    candidates: Array,
    descent: Array,
    step: Float,
    shrink: Float,
    change: Array,
) -> None:
    """Update the items with the old user vector and the user with the old item vectors."""
    width = len(x)
    for j in range(width):
        change[j] = -shrink * x[j]
    for c in range(len(candidates)):
        y, s = items[candidates[c]], step * descent[c]
        decay = np.float32(1) - (shrink if c == 0 else shrink / (len(candidates) - 1))
        for j in range(width):
            change[j] += s * y[j]
            y[j] = decay * y[j] + s * x[j]
    for j in range(width - 1):  # the bias column of a user stays 1
        x[j] += change[j]
