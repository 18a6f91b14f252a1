"""Added vocabulary: tokens of users and items beside the words of a frozen causal LM.

The base model is not changed. An added token has one trainable row, which is its input vector and,
as the tied head does for words, scores it as the next token. In token ids, added token n stands as
vocabulary size + n.
"""

import numpy as np
import torch
from torch import Tensor, nn

from warmstart.errors import DataError
from warmstart.lm.causal import CausalLM
from warmstart.lm.prompts import SLOT


class AddedVocabulary(nn.Module):
    """Rows of added tokens.

    Args:
        model: the causal LM that they are added to.
        rows: the vectors at the start, float32, shape (tokens, width).

    Raises:
        DataError: the rows have another width than the model's input vectors.
    """

    def __init__(self, model: CausalLM, rows: np.ndarray) -> None:
        super().__init__()
        width = model.lm.width
        if rows.ndim != 2 or rows.shape[1] != width:
            raise DataError(
                f"added vocabulary: rows have shape {rows.shape}, allowed: (tokens, {width})"
            )
        self.first = model.n_tokens
        self.rows = nn.Parameter(torch.from_numpy(rows.astype(np.float32)).to(model.lm.device))

    def as_slots(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Replace added tokens by slots, for the methods of ``CausalLM``.

        Args:
            ids: int64, shape (batch, tokens).

        Returns:
            The ids with ``SLOT`` at added tokens, and the rows of these, shape (slots, width).
        """
        added = ids >= self.first
        return ids.masked_fill(added, SLOT), self.rows[ids[added] - self.first]

    def logits(self, states: Tensor) -> Tensor:
        """Compute the logits of the added tokens alone: float32, shape (..., tokens)."""
        return states.float() @ self.rows.T


def random_rows(model: CausalLM, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw rows with the mean and the covariance's diagonal of the words' vectors.

    Returns:
        float32, shape (n, width).
    """
    words = model.words().detach().float().cpu().numpy()
    return rng.normal(words.mean(axis=0), words.std(axis=0), (n, words.shape[1])).astype(np.float32)
