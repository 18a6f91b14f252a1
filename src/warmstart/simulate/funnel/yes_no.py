"""Yes/no judge: a causal LM completes a question with Yes or No, and the log-odds are the score.

The item comes first in the prompt, so all pairs of an item share a prefix. It is encoded once; its
keys and values are cached for the users' suffixes.

Both answers are predicted from the same hidden state, so the softmax over the vocabulary cancels:
log p(Yes) - log p(No) = h . (w_Yes - w_No).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from warmstart.errors import ConfigError
from warmstart.lm.causal import CausalLM
from warmstart.lm.load import LanguageModel
from warmstart.lm.texts import TokenizedTexts, token_ids
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
        head: Any = CausalLM(lm).head
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
        self.model = CausalLM(judge.tunable.tuned())
        self.items = pairs.items
        limit = lm.spec.max_tokens
        texts = [_ITEM.format(text) for text in pairs.texts]
        prefixes = [ids[: limit // 3] for ids in token_ids(lm, texts, special=True, plain=True)]
        self.prefixes = [np.asarray(ids, np.int32) for ids in prefixes]
        (question,) = token_ids(lm, [_QUESTION], special=False)
        histories = [
            _HISTORY.format("; ".join(pairs.history_texts(row))) for row in range(len(pairs))
        ]
        self.suffixes = [
            np.asarray(
                history[: max(limit - len(self.prefixes[item]) - len(question), 0)] + question,
                np.int32,
            )
            for item, history in zip(
                pairs.items, token_ids(lm, histories, special=False, plain=True), strict=True
            )
        ]

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """Iterate over all rows once; a batch holds pairs of one item, to share its prefix."""
        order = np.argsort(self.items, kind="stable")
        cuts = np.flatnonzero(np.diff(self.items[order])) + 1
        for rows in np.split(order, cuts):
            yield from np.array_split(rows, -(-len(rows) // size)) if len(rows) else []

    def shuffled(self, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        rows = np.arange(len(self.items))
        return self.texts(rows).shuffled_batches(rows, size, rng)

    def log_odds(self, rows: np.ndarray) -> Tensor:
        items = np.unique(self.items[rows])
        if len(items) == 1 and not torch.is_grad_enabled():
            suffixes = [self.suffixes[row] for row in rows]
            states = self.model.states_after(self.prefixes[items[0]], suffixes)
        else:
            batch = self.texts(rows).batch(np.arange(len(rows)), self.judge.lm.device)
            states = self.model.last_states(batch)
        return states.float() @ self.judge.direction + self.judge.bias

    def texts(self, rows: np.ndarray) -> TokenizedTexts:
        """The whole prompts of some pairs."""
        whole = (np.concatenate([self.prefixes[self.items[r]], self.suffixes[r]]) for r in rows)
        return TokenizedTexts(tuple(whole), self.judge.lm.pad_id, 0)
