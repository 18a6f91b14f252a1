"""Yes/no judge: a causal LM completes a question with Yes or No, and the log-odds are the score.

The item comes first in the prompt, so all pairs of an item share a prefix. It is encoded once; its
keys and values are cached for the users' suffixes (if the model supports a cache).

Both answers are predicted from the same hidden state, so the softmax over the vocabulary cancels:
log p(Yes) - log p(No) = h . (w_Yes - w_No).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from warmstart.errors import ConfigError
from warmstart.lm.load import LanguageModel
from warmstart.lm.texts import token_ids
from warmstart.simulate.funnel.judge import Judge, JudgeConfig, PairBatcher
from warmstart.simulate.funnel.training_pairs import Pairs

_ITEM = "New item: {}\n"
_HISTORY = "This person chose: {}"
_QUESTION = "\nWill they choose the new item too? Answer Yes or No.\nAnswer:"
_ANSWERS = (" Yes", " No")


class YesNoJudge(Judge):
    """Prompts a causal LM with the question whether the user will choose the item.

    Raises:
        ConfigError: the LM has no vocabulary head, or Yes and No begin with the same token.
    """

    def __init__(self, lm: LanguageModel, config: JudgeConfig, rng: np.random.Generator) -> None:
        super().__init__(lm, config, rng)
        find_head: Any = getattr(lm.with_head, "get_output_embeddings", lambda: None)
        head = find_head()
        if lm.spec.kind != "causal" or head is None:
            raise ConfigError(
                f"LM {lm.spec.source!r} has no vocabulary head; a yes/no judge needs a causal LM"
            )
        yes, no = (ids[0] for ids in token_ids(lm, _ANSWERS, special=False))
        if yes == no:
            raise ConfigError(
                f"LM {lm.spec.source!r}: a yes/no judge needs different first tokens of Yes and "
                f"No, both begin with token {yes}"
            )
        self.direction = (head.weight[yes] - head.weight[no]).float()
        bias = getattr(head, "bias", None)
        self.bias = 0.0 if bias is None else float(bias[yes] - bias[no])

    def head_parameters(self) -> dict[str, nn.Parameter]:
        return {}

    def prepare(self, pairs: Pairs) -> "_Prompts":
        return _Prompts(self, pairs)


class _Prompts(PairBatcher):
    """Prompts in two parts: a prefix with the item, a suffix with the user's history and question.

    The item may take a third of the token limit. The history is cut to fit into the rest; the
    question is never cut.
    """

    def __init__(self, judge: YesNoJudge, pairs: Pairs) -> None:
        self.judge, lm = judge, judge.lm
        self.items = pairs.items
        limit = lm.spec.max_tokens
        texts = [_ITEM.format(text) for text in pairs.texts]
        self.prefixes = [ids[: limit // 3] for ids in token_ids(lm, texts, special=True)]
        (question,) = token_ids(lm, [_QUESTION], special=False)
        histories = [
            _HISTORY.format("; ".join(pairs.history_texts(row))) for row in range(len(pairs))
        ]
        self.suffixes = [
            history[: max(limit - len(self.prefixes[item]) - len(question), 0)] + question
            for item, history in zip(
                pairs.items, token_ids(lm, histories, special=False), strict=True
            )
        ]

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """Iterate over all rows once; a batch holds pairs of one item, to share its prefix."""
        order = np.argsort(self.items, kind="stable")
        cuts = np.flatnonzero(np.diff(self.items[order])) + 1
        for rows in np.split(order, cuts):
            yield from np.array_split(rows, -(-len(rows) // size)) if len(rows) else []

    def shuffled(self, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        order = rng.permutation(len(self.items))
        return iter(np.array_split(order, max(1, -(-len(order) // size))))

    def log_odds(self, rows: np.ndarray) -> Tensor:
        items = np.unique(self.items[rows])
        share_prefix = len(items) == 1 and not torch.is_grad_enabled()
        hidden = self._with_shared_prefix(int(items[0]), rows) if share_prefix else self._full(rows)
        return hidden.float() @ self.judge.direction + self.judge.bias

    def _full(self, rows: np.ndarray) -> Tensor:
        """Return the hidden states of the last tokens, with every prompt encoded in full."""
        prompts = [self.prefixes[self.items[row]] + self.suffixes[row] for row in rows]
        ids, mask, last = _padded(prompts, self.judge.lm)
        states = self.judge.tunable.body(input_ids=ids, attention_mask=mask, use_cache=False)
        return states.last_hidden_state[torch.arange(len(ids)), last]

    def _with_shared_prefix(self, item: int, rows: np.ndarray) -> Tensor:
        """As ``_full``, for pairs of one item, whose common prefix is encoded once."""
        body, device = self.judge.tunable.body, self.judge.lm.device
        prefix = torch.tensor([self.prefixes[item]], device=device)
        cache = body(input_ids=prefix, use_cache=True).past_key_values
        if cache is None:  # the model does not support a cache
            return self._full(rows)
        cache.batch_repeat_interleave(len(rows))
        ids, mask, last = _padded([self.suffixes[row] for row in rows], self.judge.lm)
        states = body(
            input_ids=ids,
            attention_mask=torch.cat([mask.new_ones(len(rows), prefix.shape[1]), mask], dim=1),
            position_ids=prefix.shape[1] + torch.arange(ids.shape[1], device=device)[None],
            past_key_values=cache,
            use_cache=True,
        )
        return states.last_hidden_state[torch.arange(len(ids)), last]


def _padded(prompts: list[list[int]], lm: LanguageModel) -> tuple[Tensor, Tensor, Tensor]:
    """Return ids and mask, int64 (batch, tokens), padded on the right, and last positions."""
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    ids = torch.full((len(prompts), int(lengths.max())), lm.pad_id)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.tensor(prompt)
    mask = (torch.arange(ids.shape[1])[None] < lengths[:, None]).long()
    return ids.to(lm.device), mask.to(lm.device), (lengths - 1).to(lm.device)
