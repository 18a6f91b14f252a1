"""A judge on an encoder: item and history are read as one text."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from warmstart.lm.load import LanguageModel
from warmstart.lm.seed import torch_seed
from warmstart.lm.texts import TokenizedTexts, tokenize
from warmstart.simulate.judge import Judge, JudgeConfig, Prepared
from warmstart.simulate.questions import Questions

_HIDDEN = 64  # units between the vector and the answer


class CrossEncoder(Judge):
    """Reads "item [SEP] the user's items"; its head also sees how similar these are.

    The head's inputs are the pooled vector, the similarities that chose the user's items, and how
    many items the user has: what the text alone says badly or, being cut at L items, not at all.
    """

    def __init__(self, lm: LanguageModel, config: JudgeConfig, rng: np.random.Generator) -> None:
        super().__init__(lm, config, rng)
        with torch_seed(rng):
            self.head = nn.Sequential(
                nn.Linear(lm.width + config.shown + 1, _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, 1)
            ).to(lm.device)
        self.separator = f" {getattr(lm.tokenizer, 'sep_token', None) or '|'} "

    def head_parameters(self) -> dict[str, nn.Parameter]:
        return dict(self.head.named_parameters())

    def prepare(self, questions: Questions) -> "_Joined":
        texts = [
            f"{questions.texts[item]}{self.separator}{'; '.join(questions.history(row))}"
            for row, item in enumerate(questions.items)
        ]
        facts = np.column_stack([questions.similarities, questions.activity])
        return _Joined(self, tokenize(self.lm, texts), torch.from_numpy(facts))

    def answer(self, vectors: Tensor, facts: Tensor) -> Tensor:
        """The head; vectors (batch, width) of unit length, facts (batch, L + 1)."""
        # Entries of a unit vector are of size width^-1/2, the facts of size 1.
        scaled = vectors * vectors.shape[1] ** 0.5
        return self.head(torch.cat([scaled, facts], dim=1)).squeeze(1)


class _Joined(Prepared):
    def __init__(self, judge: CrossEncoder, tokens: TokenizedTexts, facts: Tensor) -> None:
        self.judge, self.tokens, self.facts = judge, tokens, facts

    def batches(self, size: int) -> Iterator[np.ndarray]:
        return self.tokens.sorted_batches(size)

    def shuffled(self, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        return self.tokens.shuffled_batches(np.arange(len(self.tokens)), size, rng)

    def log_odds(self, rows: np.ndarray) -> Tensor:
        device = self.judge.lm.device
        vectors = self.judge.tunable(self.tokens.batch(rows, device))
        return self.judge.answer(vectors, self.facts[torch.from_numpy(rows)].to(device))
