"""ColdLLM's judge: the log-odds that a user would interact with an item, by a tuned language model.

One interface, two forms; which of them follows from the kind of the language model:

``CrossEncoder``  an encoder reads the item and the user's items as one text; a small head reads
                  its vector beside the similarities that chose those items.
``YesNoJudge``    a causal LM is asked in words; log p(Yes) - log p(No) is the answer. What all
                  questions about one item have in common is read once.

Both are tuned by LoRA on questions with known answers (``simulate.questions``). The answer stays a
number: a bare Yes, as in the public code, was given to 86 % of all pairs.
"""

import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np
import torch
from pydantic import Field
from scipy.special import log_expit
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn import functional

from warmstart.config import Config
from warmstart.core import FitContext
from warmstart.lm.load import LanguageModel
from warmstart.lm.lora import LoRAConfig, TunableEncoder
from warmstart.lm.seed import torch_seed
from warmstart.simulate.questions import Questions
from warmstart.train import Schedule, TorchTrainee, run_epochs

logger = logging.getLogger(__name__)

_HELD_OUT = 10  # one in so many items


class JudgeConfig(Config):
    """Settings of the judge.

    Attributes:
        lora: the adapter; rank 0 leaves the LM as it is.
        shown: L, how many of their items a user is shown by.
        items: warm items that training questions are about; drawn where there are more.
        hard, random: training questions an item and answer, see ``simulate.questions``.
        depth: how far down the filter's ranking hard questions come from.
        epochs: how often training questions are read. A tenth of the items is held out of them, and
            the epoch whose log-odds fit these best is kept; the start counts as an epoch.
        batch_size: questions a step, and a forward pass.
        learning_rate: of the adapter.
        head_learning_rate: of the head.
    """

    lora: LoRAConfig = Field(default_factory=LoRAConfig)
    shown: int = Field(default=5, ge=1)
    items: int = Field(default=4000, ge=1)
    hard: int = Field(default=2, ge=0)
    random: int = Field(default=1, ge=1)
    depth: int = Field(default=200, ge=1)
    epochs: int = Field(default=1, ge=0)
    batch_size: int = Field(default=64, ge=1)
    learning_rate: float = Field(default=2e-4, gt=0)
    head_learning_rate: float = Field(default=1e-3, gt=0)


class Judge(ABC):
    """Log-odds of yes.

    Args:
        lm: the language model; it stays as it is.
        config: settings.
        rng: draws the first weights of what is tuned.
    """

    def __init__(self, lm: LanguageModel, config: JudgeConfig, rng: np.random.Generator) -> None:
        self.lm, self.config = lm, config
        self.tunable = TunableEncoder(lm, config.lora, rng)

    @abstractmethod
    def prepare(self, questions: Questions) -> "Prepared":
        """Tokenise questions."""

    @abstractmethod
    def head_parameters(self) -> dict[str, nn.Parameter]:
        """What is tuned beside the adapter."""

    def start(self, questions: Questions, answers: np.ndarray) -> None:  # noqa: B027
        """Bring what is tuned to where tuning starts; here it is there.

        Args:
            questions: to be tuned on.
            answers: bool, shape (questions,).
        """

    def log_odds(self, questions: Questions) -> np.ndarray:
        """Float32, shape (questions,); an answer does not depend on the other questions."""
        answers = np.empty(len(questions), np.float32)
        prepared = self.prepare(questions)
        with torch.inference_mode():
            for rows in prepared.batches(self.config.batch_size):
                answers[rows] = prepared.log_odds(rows).float().cpu().numpy()
        return answers

    def tuned_parameters(self) -> dict[str, nn.Parameter]:
        """All that is tuned."""
        adapter = {f"lora.{k}": v for k, v in self.tunable.adapter_parameters().items()}
        return adapter | {f"head.{k}": v for k, v in self.head_parameters().items()}

    def state(self) -> dict[str, np.ndarray]:
        """Arrays for the artefact."""
        return {
            name: weight.detach().float().cpu().numpy().copy()
            for name, weight in self.tuned_parameters().items()
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Take back what ``state`` gave.

        Raises:
            KeyError: a tensor is missing.
        """
        with torch.no_grad():
            for name, weight in self.tuned_parameters().items():
                weight.copy_(torch.from_numpy(np.asarray(state[name])))


class Prepared(ABC):
    """Tokenised questions."""

    @abstractmethod
    def batches(self, size: int) -> Iterator[np.ndarray]:
        """All rows once, in batches that waste little."""

    @abstractmethod
    def shuffled(self, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """All rows once, in random batches."""

    @abstractmethod
    def log_odds(self, rows: np.ndarray) -> Tensor:
        """Of a batch, shape (rows,), with gradient."""


class JudgeTrainee(TorchTrainee):
    """One epoch over questions with known answers: binary cross entropy of the log-odds."""

    def __init__(self, judge: Judge, questions: Questions, answers: np.ndarray) -> None:
        config, self.judge = judge.config, judge
        self.prepared = judge.prepare(questions)
        self.answers = torch.from_numpy(answers.astype(np.float32)).to(judge.lm.device)
        groups = [
            {"params": [*judge.head_parameters().values()], "lr": config.head_learning_rate},
            {
                "params": [*judge.tunable.adapter_parameters().values()],
                "lr": config.learning_rate,
            },
        ]
        super().__init__(
            judge.tuned_parameters(),
            torch.optim.AdamW([group for group in groups if group["params"]], weight_decay=0.0),
        )

    def epoch(self, rng: np.random.Generator, epoch: int) -> Iterator[float]:
        with torch_seed(rng):
            self.judge.tunable.train()
            for number, rows in enumerate(
                self.prepared.shuffled(self.judge.config.batch_size, rng)
            ):
                loss = functional.binary_cross_entropy_with_logits(
                    self.prepared.log_odds(rows), self.answers[torch.from_numpy(rows)]
                )
                self.optimiser.zero_grad()
                loss.backward()
                self.optimiser.step()
                if number % 50 == 0:
                    logger.info("judge: step %d, loss %.3f", number, loss.item())
                yield loss.item()
            self.judge.tunable.eval()


def tune_judge(judge: Judge, questions: Questions, answers: np.ndarray, context: FitContext) -> int:
    """Tune on questions with known answers.

    Args:
        judge: is tuned in place.
        questions: to train on.
        answers: bool, shape (questions,).
        context: the run.

    Returns:
        The epochs that it holds.
    """
    config = judge.config
    if not config.epochs:
        return 0
    rng = context.rng.spawn(1)[0]
    seed = int(rng.integers(2**63))
    key = hashlib.sha256(f"{config.model_dump_json()} {judge.lm.fingerprint} {seed}".encode())
    facts = (questions.similarities, questions.activity, questions.support)
    for array in (questions.items, questions.users, questions.shown, *facts, answers):
        key.update(array.tobytes())
    held_out = np.isin(questions.items, np.unique(questions.items)[::_HELD_OUT])
    asked, truth = questions.at(np.flatnonzero(held_out)), answers[held_out]

    def validate() -> float:
        log_odds = judge.log_odds(asked)
        logger.info("judge: held-out auc %.4f", auc(log_odds, truth))
        return log_likelihood(log_odds, truth)

    learned = np.flatnonzero(~held_out)
    judge.start(questions.at(learned), answers[learned])
    start, untuned = judge.state(), validate()
    logger.info("judge: log-likelihood %.4f before tuning", untuned)
    with context.run.stage("judge-tuning", key.hexdigest()) as folder:
        outcome = run_epochs(
            JudgeTrainee(judge, questions.at(learned), answers[learned]),
            Schedule(config.epochs, 1, config.epochs, "log-likelihood"),
            np.random.default_rng(seed),
            validate=validate,
            folder=folder,
            settings=key.hexdigest(),
        )
    if outcome.metric is not None and outcome.metric < untuned:  # no epoch was better
        judge.restore(start)
        return 0
    return outcome.epochs


def log_likelihood(log_odds: np.ndarray, truth: np.ndarray) -> float:
    """Mean log chance of the true answers; unlike the AUC it also sees where zero lies.

    Args:
        log_odds: float, shape (pairs,).
        truth: bool, shape (pairs,).
    """
    return float(log_expit(np.where(truth, log_odds, -log_odds)).mean())


def auc(scores: np.ndarray, truth: np.ndarray) -> float:
    """Chance that a true pair scores above a false one, ties counting half; NaN without either.

    Args:
        scores: float, shape (pairs,).
        truth: bool, shape (pairs,).
    """
    n_true, n_false = int(truth.sum()), int((~truth).sum())
    if not n_true or not n_false:
        return float("nan")
    above = rankdata(scores)[truth].sum() - n_true * (n_true + 1) / 2
    return float(above / (n_true * n_false))
