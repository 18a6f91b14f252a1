"""A distribution over all users for a text: FilterLLM's output, with a closed-form start.

    text ──LM (tuned)───▶ vector ──head──▶ h ──▶ τ h·E_u + b_u ─┐
    text ──LM (frozen)──▶ vector ──ridge──▶ s x ridge(u) ───────┴─▶ softmax over users

The ridge (``simulate.ridge``) is solved first; the user tokens E, tuned by gradient, add to it.
Without a ridge this is the published model, its known flaws mended.
"""

import math

import numpy as np
import torch
from pydantic import Field
from scipy.special import expit

from warmstart.config import Config
from warmstart.data.interactions import Interactions
from warmstart.errors import ConfigError
from warmstart.lm.tokens import UserTokens
from warmstart.rank import top_k
from warmstart.simulate.ridge import RidgeConfig, TextRidge

_SMALLEST = np.float32(1e-6)  # a weight must be positive for the pair to be an interaction at all


class UserDistribution:
    """User tokens beside a closed-form head.

    Args:
        tokens: the learned part.
        ridge: the closed-form part; None for the tokens alone.
        sharpness: s, the factor from ridge scores to logits.
    """

    def __init__(self, tokens: UserTokens, ridge: TextRidge | None, sharpness: float) -> None:
        self.tokens = tokens
        self.ridge = ridge
        self.sharpness = sharpness

    def affinities(
        self, frozen: np.ndarray, tuned: np.ndarray, users: np.ndarray | None = None
    ) -> np.ndarray:
        """Logits in units of the ridge, without what is common to a user or to an item's users.

        Args:
            frozen: text vectors of the frozen LM, float32, shape (items, width).
            tuned: text vectors of the tuned LM (the same where it is not tuned), likewise.
            users: int32 rows; all where None.

        Returns:
            float32, shape (items, users).
        """
        with torch.inference_mode():
            chosen = slice(None) if users is None else torch.from_numpy(users.astype(np.int64))
            queries = self.tokens.queries(torch.from_numpy(tuned))
            logits = self.tokens.logits(queries, chosen)
            # What h gives to all users alike cancels in the softmax, so no training ever set it;
            # between items it would be noise.
            alike = queries @ self.tokens.table.mean(0) * self.tokens.log_scale.exp()
            logits = logits - alike[:, None]
            if self.tokens.bias is not None:
                logits = logits - self.tokens.bias[chosen]
        learned = logits.numpy() / np.float32(self.sharpness)
        if self.ridge is None:
            return learned
        learned += self.ridge.predict(frozen, users)
        return learned

    def log_probabilities(self, affinities: np.ndarray) -> np.ndarray:
        """Log p(user | text) from affinities over all users, float32, shape (items, n_users)."""
        logits = affinities * np.float32(self.sharpness)
        if self.tokens.bias is not None:
            logits += self.tokens.bias.detach().numpy()
        logits -= logits.max(1, keepdims=True)
        logits -= np.log(np.exp(logits).sum(1, keepdims=True))
        return logits

    def state(self) -> dict[str, np.ndarray]:
        """Arrays for the artefact."""
        arrays = {f"tokens.{name}": array for name, array in self.tokens.state().items()}
        arrays["sharpness"] = np.array([self.sharpness])
        if self.ridge is not None:
            arrays |= {f"ridge.{name}": array for name, array in self.ridge.state().items()}
        return arrays

    @classmethod
    def restore(cls, ridge: RidgeConfig | None, state: dict[str, np.ndarray]) -> "UserDistribution":
        """The object that gave ``state``."""
        tokens = UserTokens.from_state(under("tokens.", state))
        head = None if ridge is None else TextRidge.restore(ridge, under("ridge.", state))
        return cls(tokens, head, float(state["sharpness"][0]))


class ChanceConfig(Config):
    """From the distribution p over users to the chance that a user is among an item's audience.

    The chance is sigma(intercept + slope x log(audience x p)); without validation audience x p in
    odds, so that small ones stay as they are.

    Attributes:
        intercept, slope: fitted on validation where there is one.
    """

    intercept: float = 0.0
    slope: float = Field(default=1.0, ge=0)


def likely_users(
    log_probabilities: np.ndarray,
    k: int,
    *,
    audience: float,
    chance: ChanceConfig,
    provenance: str,
    rng: np.random.Generator | None = None,
) -> Interactions:
    """Simulated interactions: for each item its k likeliest users, or k drawn users.

    A weight is the chance that the user is among the item's audience; see ``ChanceConfig``.

    Args:
        log_probabilities: float32, shape (items, n_users).
        k: users an item.
        audience: how many users an item is expected to have.
        chance: from the distribution to a chance.
        provenance: name of the simulator.
        rng: draw k different users from the distribution (Gumbel top-k) rather than take the top.

    Returns:
        items x k interactions whose ``items`` are rows of ``log_probabilities``, the best first.

    Raises:
        ConfigError: k is larger than the number of users.
    """
    n_items, n_users = log_probabilities.shape
    if k > n_users:
        raise ConfigError(f"{provenance}: k must be within 1..{n_users} users, got {k}")
    keys = np.ascontiguousarray(log_probabilities)
    if rng is not None:
        keys = keys + rng.gumbel(size=keys.shape).astype(np.float32)
    users, _ = top_k(keys, k)
    expected = np.take_along_axis(log_probabilities, users, axis=1) + math.log(audience)
    chances = expit(chance.intercept + chance.slope * expected)
    return Interactions.of(
        users.ravel(),
        np.repeat(np.arange(n_items), k),
        weights=np.clip(chances, _SMALLEST, 1).ravel().astype(np.float32),
        provenance=provenance,
    )


def under(prefix: str, state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays whose names begin with ``prefix``, without it."""
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
