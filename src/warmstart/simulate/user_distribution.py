"""Probability distribution over all users for a text: FilterLLM's output, with a ridge start.

    text ──LM (tuned)───▶ vector ──head──▶ h ──▶ h·E_u / temperature + b_u ─┐
    text ──LM (frozen)──▶ vector ──ridge──▶ ridge_logit_scale x ridge(u) ───┴─▶ softmax over users

The ridge head (``simulate.ridge``) is solved first. The user tokens E are tuned by gradient descent
and their logits are added. Without a ridge head this is the published model with its known flaws
repaired.
"""

import numpy as np
import torch

from warmstart.simulate.ridge import RidgeConfig, RidgeHead
from warmstart.simulate.user_tokens import UserTokens
from warmstart.storage import nest, unnest


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
