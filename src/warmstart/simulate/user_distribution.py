"""A distribution over all users for a text: FilterLLM's output, with a closed-form start.

    text ──LM (tuned)───▶ vector ──head──▶ h ──▶ h·E_u / temperature + b_u ─┐
    text ──LM (frozen)──▶ vector ──ridge──▶ ridge_logit_scale x ridge(u) ───┴─▶ softmax over users

The ridge head (``simulate.ridge``) is solved first; the user tokens E, tuned by gradient descent,
are added to it. Without a ridge head this is the published model, its known flaws repaired.
"""

import numpy as np
import torch

from warmstart.simulate.ridge import RidgeConfig, RidgeHead
from warmstart.simulate.user_tokens import UserTokens
from warmstart.storage import nest, unnest


class UserDistribution:
    """User tokens and a closed-form ridge head.

    Args:
        tokens: the learned part.
        ridge: the closed-form part; None for the tokens alone.
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
        """Logits on the scale of ridge scores, without user biases and per-item constants.

        Args:
            frozen: text vectors of the frozen LM, float32, shape (items, width).
            tuned: text vectors of the tuned LM (the same vectors if it is not tuned).
            users: int32 rows; all users if None.

        Returns:
            float32, shape (items, users).
        """
        with torch.inference_mode():
            chosen = slice(None) if users is None else torch.from_numpy(users.astype(np.int64))
            queries = self.tokens.queries(torch.from_numpy(tuned))
            logits = self.tokens.logits(queries, chosen)
            # What h gives to all users alike cancels in the softmax, so no training ever set it;
            # between items it would be noise.
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
        """Log p(user | text) from scores of all users, float32, shape (items, n_users)."""
        logits = user_scores * np.float32(self.ridge_logit_scale)
        if self.tokens.bias is not None:
            logits += self.tokens.bias.detach().numpy()
        logits -= logits.max(1, keepdims=True)
        logits -= np.log(np.exp(logits).sum(1, keepdims=True))
        return logits

    def state(self) -> dict[str, np.ndarray]:
        """Arrays that ``restore`` needs."""
        arrays = nest("tokens", self.tokens.state())
        arrays["ridge_logit_scale"] = np.array([self.ridge_logit_scale])
        if self.ridge is not None:
            arrays |= nest("ridge", self.ridge.state())
        return arrays

    @classmethod
    def restore(cls, ridge: RidgeConfig | None, state: dict[str, np.ndarray]) -> "UserDistribution":
        """Rebuild from ``state``."""
        tokens = UserTokens.from_state(unnest("tokens", state))
        head = None if ridge is None else RidgeHead.restore(ridge, unnest("ridge", state))
        return cls(tokens, head, float(state["ridge_logit_scale"][0]))
