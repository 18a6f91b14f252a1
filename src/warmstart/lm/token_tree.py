"""Read many continuations of a prompt that share their beginnings: each token once.

The tokens after a prompt form a tree. All tokens of one depth are read in one pass, as if they were
one text; a mask lets each of them attend to the prompt and to the tokens on its own way from the
root. So the keys and values of a prompt, which are much longer than those of its continuations,
are kept once and never copied. (Masks of this kind: Miao et al., "SpecInfer", ASPLOS 2024, "tree
attention".)
"""

from typing import Any

import torch
from torch import Tensor

from warmstart.errors import UnsupportedError
from warmstart.lm.causal import CausalLM
from warmstart.lm.texts import TokenBatch


class TokenTree:
    """Trees of tokens after the prompts of a batch; begins with the prompts alone.

    Args:
        model: a causal LM whose layers attend to all tokens, and which keeps keys and values.
        batch: the prompts, padded on the right.

    Attributes:
        states: of the newest tokens, at first of the last token of each prompt, in the LM's type,
            shape (batch, tokens, width).

    Raises:
        UnsupportedError: the model keeps no keys and values, or attends only to the newest tokens.
    """

    def __init__(self, model: CausalLM, batch: TokenBatch) -> None:
        self._body = model.lm.body
        read = self._body(input_ids=batch.ids, attention_mask=batch.mask.long(), use_cache=True)
        self._cache: Any = read.past_key_values
        layers = getattr(self._cache, "layers", [])
        if not layers or any(getattr(layer, "is_sliding", False) for layer in layers):
            raise UnsupportedError(
                f"LM {model.lm.spec.source!r} cannot read trees of tokens: its layers must keep "
                "keys and values of all tokens"
            )
        self._lengths, self._prompt = batch.mask.sum(1), batch.mask[:, None]
        rows = torch.arange(len(batch.ids), device=batch.ids.device)
        self._ends: Tensor = read.last_hidden_state[rows, self._lengths - 1][:, None]
        self.states, self._visible, self._depth = self._ends, self._prompt, 0

    def restart(self) -> None:
        """Forget all tokens after the prompts."""
        n_read = self._visible.shape[2] - self._prompt.shape[2]
        if n_read:
            self._cache.crop(-n_read)
        self.states, self._visible, self._depth = self._ends, self._prompt, 0

    def grow(self, parents: Tensor, tokens: Tensor) -> None:
        """Read one more token after some of the newest ones; these are the newest then.

        Args:
            parents: position of the token before each among the newest, int64, shape (batch, new).
            tokens: token ids, int64, shape (batch, new).
        """
        n_rows, n_new = tokens.shape
        wide = parents[:, :, None].expand(-1, -1, self._visible.shape[2])
        own = torch.eye(n_new, dtype=torch.bool, device=tokens.device).expand(n_rows, -1, -1)
        self._visible = torch.cat([self._visible.gather(1, wide), own], dim=2)
        mask = torch.zeros(self._visible.shape, dtype=self.states.dtype, device=tokens.device)
        mask = mask.masked_fill(~self._visible, torch.finfo(mask.dtype).min)
        places = (self._lengths + self._depth)[:, None].expand(-1, n_new)
        self.states = self._body(
            input_ids=tokens,
            attention_mask=mask[:, None],
            position_ids=places,
            past_key_values=self._cache,
            use_cache=True,
        ).last_hidden_state
        self._depth += 1
