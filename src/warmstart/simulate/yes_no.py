"""A judge on a causal LM: asked in words, it answers Yes or No; the log-odds are kept.

The item comes first in the prompt, so the candidates of one item share the beginning. It is read
once and its keys and values are kept while the users are read (where the model has such a cache).

Both answers come from the same hidden state, so the softmax over the vocabulary cancels:
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
from warmstart.simulate.judge import Judge, JudgeConfig, Prepared
from warmstart.simulate.questions import Questions

_ITEM = "New item: {}\n"
_HISTORY = "This person chose: {}"
_QUESTION = "\nWill they choose the new item too? Answer Yes or No.\nAnswer:"
_ANSWERS = (" Yes", " No")


class YesNoJudge(Judge):
    """Asks in words.

    Raises:
        ConfigError: the LM has no vocabulary head, or Yes and No begin alike in it.
    """

    def __init__(self, lm: LanguageModel, config: JudgeConfig, rng: np.random.Generator) -> None:
        super().__init__(lm, config, rng)
        find_head: Any = getattr(lm.full, "get_output_embeddings", lambda: None)
        head = find_head()
        if lm.spec.kind != "causal" or head is None:
            raise ConfigError(f"LM {lm.spec.source!r} has no vocabulary head to say Yes or No with")
        yes, no = (ids[0] for ids in token_ids(lm, _ANSWERS, special=False))
        if yes == no:
            raise ConfigError(f"LM {lm.spec.source!r}: Yes and No begin with the same token {yes}")
        self.direction = (head.weight[yes] - head.weight[no]).float()
        bias = getattr(head, "bias", None)
        self.shift = 0.0 if bias is None else float(bias[yes] - bias[no])

    def head_parameters(self) -> dict[str, nn.Parameter]:
        return {}

    def prepare(self, questions: Questions) -> "_Prompts":
        return _Prompts(self, questions)


class _Prompts(Prepared):
    """Prompts in two pieces: what is said of the item, what is said of the user and asked.

    The item may fill a third of what the LM reads; the user's items are cut to what is left; the
    question always stays.
    """

    def __init__(self, judge: YesNoJudge, questions: Questions) -> None:
        self.judge, lm = judge, judge.lm
        self.items = questions.items
        limit = lm.spec.max_tokens
        texts = [_ITEM.format(text) for text in questions.texts]
        self.heads = [ids[: limit // 3] for ids in token_ids(lm, texts, special=True)]
        (question,) = token_ids(lm, [_QUESTION], special=False)
        histories = [
            _HISTORY.format("; ".join(questions.history(row))) for row in range(len(questions))
        ]
        self.tails = [
            history[: max(limit - len(self.heads[item]) - len(question), 0)] + question
            for item, history in zip(
                questions.items, token_ids(lm, histories, special=False), strict=True
            )
        ]

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """The questions about one item together."""
        order = np.argsort(self.items, kind="stable")
        cuts = np.flatnonzero(np.diff(self.items[order])) + 1
        for rows in np.split(order, cuts):
            yield from np.array_split(rows, -(-len(rows) // size)) if len(rows) else []

    def shuffled(self, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        order = rng.permutation(len(self.items))
        return iter(np.array_split(order, max(1, -(-len(order) // size))))

    def log_odds(self, rows: np.ndarray) -> Tensor:
        items = np.unique(self.items[rows])
        shared = len(items) == 1 and not torch.is_grad_enabled()
        hidden = self._after_head(int(items[0]), rows) if shared else self._whole(rows)
        return hidden.float() @ self.judge.direction + self.judge.shift

    def _whole(self, rows: np.ndarray) -> Tensor:
        """Hidden states of the last tokens, the prompts read as a whole."""
        prompts = [self.heads[self.items[row]] + self.tails[row] for row in rows]
        ids, mask, last = _padded(prompts, self.judge.lm)
        states = self.judge.tunable.body(input_ids=ids, attention_mask=mask, use_cache=False)
        return states.last_hidden_state[torch.arange(len(ids)), last]

    def _after_head(self, item: int, rows: np.ndarray) -> Tensor:
        """The same, the common beginning read once."""
        body, device = self.judge.tunable.body, self.judge.lm.device
        head = torch.tensor([self.heads[item]], device=device)
        cache = body(input_ids=head, use_cache=True).past_key_values
        if cache is None:  # a model without one
            return self._whole(rows)
        cache.batch_repeat_interleave(len(rows))
        ids, mask, last = _padded([self.tails[row] for row in rows], self.judge.lm)
        states = body(
            input_ids=ids,
            attention_mask=torch.cat([mask.new_ones(len(rows), head.shape[1]), mask], dim=1),
            position_ids=head.shape[1] + torch.arange(ids.shape[1], device=device)[None],
            past_key_values=cache,
            use_cache=True,
        )
        return states.last_hidden_state[torch.arange(len(ids)), last]


def _padded(prompts: list[list[int]], lm: LanguageModel) -> tuple[Tensor, Tensor, Tensor]:
    """Ids and mask, int64 (batch, tokens), padded on the right; the place of the last token."""
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    ids = torch.full((len(prompts), int(lengths.max())), lm.pad_id)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.tensor(prompt)
    mask = (torch.arange(ids.shape[1])[None] < lengths[:, None]).long()
    return ids.to(lm.device), mask.to(lm.device), (lengths - 1).to(lm.device)
