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
from warmstart.backbones.sampled_factor import SampledFactorBackbone, SampledFactorConfig
from warmstart.backbones.threads import Array, Float, Integer, inlined, kernel, over_rows

_BLOCKS = 4  # blocks of users and of items; also the maximum number of parallel threads
_TRIES = 100  # extra draws allowed for negatives; then the step uses those found so far


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
        order, starts = _bucket(self.rows, train.indices, user_block, item_block)
        seeds = rng.integers(1, 2**63, _BLOCKS * _BLOCKS, dtype=np.uint64)
        losses = np.zeros(_BLOCKS * _BLOCKS)
        for shift in range(_BLOCKS):
            over_rows(
                _step_blocks, _BLOCKS, shift, order, starts, shuffled, item_starts, seeds,
                self.rows, train.indices, train.data, train.indptr, self.users, self.items,
                config.learning_rate, config.l2, config.negatives, config.temperature, losses,
            )  # fmt: skip
        yield float(losses.sum() / train.nnz)


@kernel
def _bucket(rows: Array, columns: Array, user_block: Array, item_block: Array) -> tuple:
    """Return interaction positions sorted by (user block, item block) and each pair's start."""
    starts = np.zeros(_BLOCKS * _BLOCKS + 1, np.int64)
    for k in range(len(rows)):
        starts[user_block[rows[k]] * _BLOCKS + item_block[columns[k]] + 1] += 1
    starts = np.cumsum(starts)
    free = starts[:-1].copy()
    order = np.empty(len(rows), np.int64)
    for k in range(len(rows)):
        block = user_block[rows[k]] * _BLOCKS + item_block[columns[k]]
        order[free[block]] = k
        free[block] += 1
    return order, starts


@kernel
def _step_blocks(
    first: Integer, last: Integer, shift: Integer, order: Array, starts: Array, shuffled: Array,
    item_starts: Array, seeds: Array, rows: Array, columns: Array, weights: Array, indptr: Array,
    users: Array, items: Array, rate: Float, l2: Float, negatives: Integer, temperature: Float,
    losses: Array,
) -> None:  # fmt: skip
    """Run SGD on user blocks ``first`` to ``last - 1``, each paired with a different item block."""
    for user_block in range(first, last):
        item_block = (user_block + shift) % _BLOCKS
        block = user_block * _BLOCKS + item_block
        random = np.uint64(seeds[block])
        bucket = order[starts[block] : starts[block + 1]]
        pool = shuffled[item_starts[item_block] : item_starts[item_block + 1]]
        for k in range(len(bucket) - 1, 0, -1):
            random = _xorshift(random)
            other = _below(random, k + 1)
            bucket[k], bucket[other] = bucket[other], bucket[k]
        candidates = np.empty(negatives + 1, np.int32)
        descent = np.empty(negatives + 1, np.float32)
        change = np.empty(users.shape[1], np.float32)
        for k in bucket:
            user = rows[k]
            candidates[0] = columns[k]
            seen = columns[indptr[user] : indptr[user + 1]]
            found, random = _sample(pool, seen, candidates, random)
            if found == 1:
                continue  # no negative found: the user has (nearly) every item of this block
            x = users[user]
            losses[block] += weights[k] * _softmax_step(
                x, items, candidates[:found], descent, temperature
            )
            step, shrink = np.float32(rate * weights[k] / temperature), np.float32(rate * l2)
            _update(x, items, candidates[:found], descent, step, shrink, change)


@kernel
def _sample(pool: Array, seen: Array, candidates: Array, random: Integer) -> tuple:
    """Fill ``candidates[1:]`` with items of ``pool`` that are not in ``seen`` (sorted).

    Returns how much of ``candidates`` is filled and the next random state.
    """
    found = 1
    for _ in range(_TRIES + len(candidates)):
        if found == len(candidates):
            break
        random = _xorshift(random)
        item = pool[_below(random, len(pool))]
        if not _holds(seen, item):
            candidates[found] = item
            found += 1
    return found, random


@kernel
def _holds(seen: Array, item: Integer) -> bool:
    """Whether sorted ``seen`` contains ``item``; branch-free to avoid branch mispredictions."""
    low, length = 0, len(seen)
    while length > 1:
        half = length // 2
        low += half * (seen[low + half] <= item)
        length -= half
    return length == 1 and seen[low] == item


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


@kernel
def _xorshift(state: Integer) -> Integer:
    state = np.uint64(state)
    state ^= state << np.uint64(13)
    state ^= state >> np.uint64(7)
    state ^= state << np.uint64(17)
    return state


@kernel
def _below(random: Integer, n: Integer) -> Integer:
    """Map the upper bits of ``random`` to a number in 0..n-1."""
    return np.int64(((random >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32))
