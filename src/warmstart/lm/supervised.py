"""Supervised tuning of a causal LM: the next token, at the tokens that are to be learned.

An example is a prompt and its answer; only tokens of the answer are learned (``learned``). The
tokens of the prompt are read and get no gradient as targets.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from warmstart.config import Config
from warmstart.errors import DataError
from warmstart.lm.causal import CausalLM
from warmstart.lm.lora import TunableLM
from warmstart.lm.memory import tuning_plan
from warmstart.lm.texts import TokenizedTexts
from warmstart.train import StepConfig, TorchTrainee
from warmstart.train.seed import torch_seed


class SupervisedConfig(Config):
    """Settings of the tuning.

    Attributes:
        batch_size: examples per step.
        learning_rate: learning rate of AdamW.
        weight_decay: weight decay of AdamW.
        steps: clipping, accumulation, warm-up.
    """

    batch_size: int = Field(default=16, ge=1)
    learning_rate: float = Field(default=2e-4, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    steps: StepConfig = StepConfig(clip_norm=1.0)


@dataclass(frozen=True)
class Examples:
    """Token ids with a mask of what is learned.

    Attributes:
        texts: the token ids.
        learned: for each text bool, shape (tokens,); the first token is never learned, since
            nothing is before it.
    """

    texts: TokenizedTexts
    learned: tuple[np.ndarray, ...]

    @classmethod
    def of_answers(
        cls, prompts: TokenizedTexts, answers: Sequence[Sequence[int]], *, max_tokens: int
    ) -> "Examples":
        """Learn all tokens of an answer after each prompt.

        Raises:
            DataError: there is not one answer for each prompt, an answer is empty, or prompt and
                answer have more than ``max_tokens`` together; names the row.
        """
        if len(answers) != len(prompts):
            raise DataError(f"examples: {len(answers)} answers for {len(prompts)} prompts")
        rows, learned = [], []
        for row, (prompt, answer) in enumerate(zip(prompts.ids, answers, strict=True)):
            if not 0 < len(answer) <= max_tokens - len(prompt):
                raise DataError(
                    f"examples: row {row} has a prompt of {len(prompt)} and an answer of "
                    f"{len(answer)} tokens; allowed: an answer, and at most {max_tokens} together"
                )
            rows.append(np.concatenate([prompt, np.asarray(answer, np.int32)]))
            learned.append(np.arange(len(rows[-1])) >= len(prompt))
        return cls(TokenizedTexts(tuple(rows), prompts.pad_id, prompts.n_cut), tuple(learned))

    def __len__(self) -> int:
        return len(self.texts)


class SupervisedTuning(TorchTrainee):
    """Tunes the adapter of a causal LM by the mean of -log p over the learned tokens of a batch.

    Args:
        tunable: the model; only its adapter is trained.
        examples: the training examples.
        config: batches and optimiser.

    Raises:
        DataError: there are no examples.
        UnsupportedError: the tuning needs more memory than there is.
    """

    def __init__(self, tunable: TunableLM, examples: Examples, config: SupervisedConfig) -> None:
        self.tunable, self.examples, self.config = tunable, examples, config
        self.model = CausalLM(tunable.tuned())
        if len(examples) == 0:
            raise DataError("supervised tuning: there are no examples")
        size = min(config.batch_size, len(examples))
        learned = sorted((int(mask.sum()) for mask in examples.learned), reverse=True)
        plan = tuning_plan(
            *(tunable.lm, tunable.config),
            rows=size,
            tokens=int(examples.texts.lengths.max()),
            learned=sum(learned[:size]),
        )
        plan.check("supervised tuning", tunable.lm.device, "lower batch_size or max_tokens")
        parameters = tunable.adapter_parameters()
        optimiser = torch.optim.AdamW(
            parameters.values(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        super().__init__(parameters, optimiser, config.steps)

    def epoch(self, rng: np.random.Generator, epoch: int) -> Iterator[float]:
        rows = np.arange(len(self.examples))
        with torch_seed(rng):
            self.tunable.train()
            for batch in self.examples.texts.shuffled_batches(rows, self.config.batch_size, rng):
                yield self.step(self.loss(batch))
            self.tunable.eval()

    def loss(self, rows: np.ndarray) -> Tensor:
        """Compute the mean of -log p over the learned tokens of some examples: a scalar."""
        return -_learned_log_likelihoods(self.model, self.examples, rows).mean()

    @torch.inference_mode()
    def mean_loss(self, examples: Examples) -> float:
        """Compute the loss over all learned tokens of other examples, for early stopping.

        Raises:
            DataError: there is no learned token.
        """
        total = count = 0.0
        for rows in examples.texts.sorted_batches(self.config.batch_size):
            values = _learned_log_likelihoods(self.model, examples, rows)
            total, count = total - float(values.sum()), count + len(values)
        if not count:
            raise DataError("supervised tuning: the examples have no learned token")
        return total / count


def _learned_log_likelihoods(model: CausalLM, examples: Examples, rows: np.ndarray) -> Tensor:
    """Compute log p of every learned token of some examples: float32, shape (learned tokens,)."""
    batch = examples.texts.batch(rows, model.lm.device)
    learned = np.zeros(batch.ids.shape, bool)
    for place, row in enumerate(rows):
        learned[place, : len(examples.learned[row])] = examples.learned[row]
    wanted = torch.from_numpy(learned[:, 1:]).to(model.lm.device)
    states = model.hidden(batch)[:, :-1]
    return model.token_log_likelihoods(states[wanted], batch.ids[:, 1:][wanted])
