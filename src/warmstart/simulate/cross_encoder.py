"""A judge on an encoder: item and history are read as one text."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from warmstart.lm.load import LanguageModel
from warmstart.lm.seed import torch_seed
from warmstart.lm.texts import TokenizedTexts, tokenize
from warmstart.simulate.judge import Judge, JudgeConfig, Prepared
from warmstart.simulate.logistic import logistic
from warmstart.simulate.questions import Questions
from warmstart.simulate.support import DEPTHS

_HIDDEN = 64  # units between the vector and the answer
_SMALLEST = 1e-6  # a fact that never changes has no spread


class CrossEncoder(Judge):
    """Reads "item [SEP] the user's items"; its head also sees some facts.

    The facts are the similarities that chose the user's items, how many items the user has, and
    the support by people with the same items: what the text alone says badly or, being cut at L
    items, not at all. Tuning starts from a logistic regression on them, with nothing from the
    text; without that start it lost to one of these similarities by itself.
    """

    def __init__(self, lm: LanguageModel, config: JudgeConfig, rng: np.random.Generator) -> None:
        super().__init__(lm, config, rng)
        with torch_seed(rng):
            last = nn.Linear(_HIDDEN, 1)
            n_facts = config.shown + 1 + len(DEPTHS)
            hidden = nn.Linear(lm.width + n_facts, _HIDDEN)
            self.text = nn.Sequential(hidden, nn.GELU(), last).to(lm.device)
            self.facts = nn.Linear(n_facts, 1).to(lm.device)
        with torch.no_grad():  # at first the text says nothing
            last.weight.zero_()
            last.bias.zero_()
        self.separator = f" {getattr(lm.tokenizer, 'sep_token', None) or '|'} "

    def head_parameters(self) -> dict[str, nn.Parameter]:
        parts = {"text": self.text, "facts": self.facts}
        return {
            f"{name}.{k}": weight
            for name, part in parts.items()
            for k, weight in part.named_parameters()
        }

    def start(self, questions: Questions, answers: np.ndarray) -> None:
        facts = _facts(questions)
        mean, spread = facts.mean(axis=0), facts.std(axis=0) + _SMALLEST
        inputs = np.column_stack([np.ones(len(facts)), (facts - mean) / spread])
        intercept, *weights = logistic(inputs, answers)
        scaled = np.array(weights) / spread
        with torch.no_grad():
            self.facts.weight.copy_(torch.from_numpy(scaled[None]))
            self.facts.bias.fill_(intercept - float(scaled @ mean))

    def prepare(self, questions: Questions) -> "_Joined":
        texts = [
            f"{questions.texts[item]}{self.separator}{'; '.join(questions.history(row))}"
            for row, item in enumerate(questions.items)
        ]
        return _Joined(self, tokenize(self.lm, texts), torch.from_numpy(_facts(questions)))

    def answer(self, vectors: Tensor, facts: Tensor) -> Tensor:
        """The head; vectors (batch, width) of unit length, facts (batch, facts)."""
        # Entries of a unit vector are of size width^-1/2, the facts of size 1.
        scaled = vectors * vectors.shape[1] ** 0.5
        said = self.text(torch.cat([scaled, facts], dim=1))
        return (said + self.facts(facts)).squeeze(1)


def _facts(questions: Questions) -> np.ndarray:
    """Float32, shape (questions, L + 1 + depths of support)."""
    return np.column_stack([questions.similarities, questions.activity, questions.support])


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
