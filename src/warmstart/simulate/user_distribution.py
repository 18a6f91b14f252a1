"""Probability distribution over all users for a text: FilterLLM's output, with a ridge start.

    text ──LM (tuned)───▶ vector ──head──▶ h ──▶ h·E_u / temperature + b_u ─┐
    text ──LM (frozen)──▶ vector ──ridge──▶ ridge_logit_scale x ridge(u) ───┴─▶ softmax over users

The ridge head (``simulate.ridge``) is solved first. The user tokens E are tuned by gradient descent
and their logits are added. Without a ridge head this is the published model with its known flaws
repaired.
"""

import zlib
from functools import cached_property

import numpy as np
import torch

from warmstart.retrieval.found import Found
from warmstart.retrieval.table import VectorTable, sampling_keys
from warmstart.simulate.ridge import RidgeConfig, RidgeHead
from warmstart.simulate.user_scores import UserScores
from warmstart.simulate.user_tokens import DENSE_USERS, UserTokens
from warmstart.storage import nest, unnest


def keeps_products(ridge: RidgeConfig | None, n_users: int) -> bool:
    """Whether user scores are kept as products of vectors, not as an array over users.

    They are with a ridge of low rank, and without a ridge where users are many.
    """
    return n_users > DENSE_USERS if ridge is None else ridge.rank is not None


class UserDistribution:
    """Maps text vectors to logits over users: user tokens plus a closed-form ridge head.

    Args:
        tokens: the part tuned by gradient descent.
        ridge: the closed-form part; None uses the tokens alone.
        ridge_logit_scale: factor from ridge scores to logits.
    """

    def __init__(
        self, tokens: UserTokens, ridge: RidgeHead | None, ridge_logit_scale: float
    ) -> None:
        self.tokens = tokens
        self.ridge = ridge
        self.ridge_logit_scale = ridge_logit_scale

    def user_scores(
        self, frozen: np.ndarray, tuned: np.ndarray, users: np.ndarray | None = None
    ) -> np.ndarray:
        """Return logits on the scale of ridge scores, without user biases and per-item constants.

        Args:
            frozen: text vectors of the frozen LM, float32, shape (items, width).
            tuned: text vectors of the tuned LM; the same vectors if the LM is not tuned.
            users: row numbers, int32; None scores all users.

        Returns:
            float32, shape (items, users).
        """
        with torch.inference_mode():
            chosen = slice(None) if users is None else torch.from_numpy(users.astype(np.int64))
            queries = self.tokens.queries(torch.from_numpy(tuned))
            logits = self.tokens.logits(queries, chosen)
            # A term that h adds to the logits of all users cancels in the softmax, so training
            # never determines it. Between items it would be noise (docs/log.md).
            common = queries @ self.tokens.table.mean(0) * self.tokens.log_scale.exp()
            logits = logits - common[:, None]
            if self.tokens.bias is not None:
                logits = logits - self.tokens.bias[chosen]
        learned = logits.numpy() / np.float32(self.ridge_logit_scale)
        if self.ridge is None:
            return learned
        learned += self.ridge.predict(frozen, users)
        return learned

    # -- many users: scores are products --

    @property
    def is_product(self) -> bool:
        """Whether the scores of all users are kept as products: see ``keeps_products``."""
        return keeps_products(
            None if self.ridge is None else self.ridge.config, self.tokens.n_users
        )

    def scores(self, frozen: np.ndarray, tuned: np.ndarray) -> UserScores:
        """As ``user_scores`` over all users, as products if ``is_product``."""
        if not self.is_product:
            return UserScores(self.user_scores(frozen, tuned))
        own = [] if self.ridge is None else [self.ridge.features(frozen)]
        return self.product_scores(tuned, *own)

    def product_scores(self, tuned: np.ndarray, *features: np.ndarray) -> UserScores:
        """As ``scores``, from the features of the ridge, if there is one; (items, rank)."""
        with torch.inference_mode():
            queries = self.tokens.queries(torch.from_numpy(tuned)) * self.tokens.log_scale.exp()
        learned = queries.numpy() / np.float32(self.ridge_logit_scale)
        return UserScores(np.concatenate([learned, *features], axis=1), self.user_vectors)

    @cached_property
    def user_vectors(self) -> np.ndarray:
        """Vectors of all users, float32, shape (n_users, width of the tokens + rank).

        Tokens less their mean: what a text adds to the logits of all users says nothing.
        """
        table = self.tokens.table.detach().numpy()
        own = [] if self.ridge is None else [self.ridge.user_weights().T]
        return np.concatenate([table - table.mean(axis=0), *own], axis=1)

    @cached_property
    def table(self) -> VectorTable:
        """The users, searched by logits; their biases are those of the tokens."""
        bias = self.tokens.bias
        return VectorTable(self.user_vectors, bias=None if bias is None else bias.detach().numpy())

    def search(self, scores: UserScores, k: int, seed: int | None = None) -> Found:
        """Find each item's k likeliest users, with log-normalisers over all users.

        Args:
            scores: products, as ``scores`` returns them.
            k: number of users.
            seed: samples k different users from the distribution instead, the same ones for the
                same text in any batch.
        """
        queries = self.queries(scores)
        keys = None if seed is None else self.sampling_keys(queries, seed)
        return self.table.search(queries, k, log_normalisers=True, keys=keys)

    def queries(self, scores: UserScores) -> np.ndarray:
        """Queries of ``table``, whose products are logits: float32, shape (items, width)."""
        return scores.values * np.float32(self.ridge_logit_scale)

    def sampling_keys(self, queries: np.ndarray, seed: int) -> np.ndarray:
        """Keys to sample users with, the same for the same query in any batch; (queries, 2)."""
        numbers = [zlib.crc32(np.ascontiguousarray(row).tobytes()) for row in queries]
        return sampling_keys(seed, np.array(numbers, np.int64))

    def without_bias(self, found: Found) -> np.ndarray:
        """The user scores of what a search has found: float32, (items, k)."""
        scores = found.scores
        if self.tokens.bias is not None:
            scores = scores - self.tokens.bias.detach().numpy()[found.rows]
        return scores / np.float32(self.ridge_logit_scale)

    def log_probabilities(self, user_scores: np.ndarray) -> np.ndarray:
        """Turn scores of all users into log p(user | text), float32, shape (items, n_users)."""
        logits = user_scores * np.float32(self.ridge_logit_scale)
        if self.tokens.bias is not None:
            logits += self.tokens.bias.detach().numpy()
        logits -= logits.max(1, keepdims=True)
        logits -= np.log(np.exp(logits).sum(1, keepdims=True))
        return logits

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays that ``restore`` needs."""
        arrays = nest("tokens", self.tokens.state())
        arrays["ridge_logit_scale"] = np.array([self.ridge_logit_scale])
        if self.ridge is not None:
            arrays |= nest("ridge", self.ridge.state())
        return arrays

    @classmethod
    def restore(cls, ridge: RidgeConfig | None, state: dict[str, np.ndarray]) -> "UserDistribution":
        """Rebuild a distribution from ``state``."""
        tokens = UserTokens.from_state(unnest("tokens", state))
        head = None if ridge is None else RidgeHead.restore(ridge, unnest("ridge", state))
        return cls(tokens, head, float(state["ridge_logit_scale"][0]))
