"""ColdLLM's judge: the log-odds that a user would interact with an item, by a tuned language model.

One interface with two forms; the kind of the language model decides between them:

``CrossEncoder``  an encoder reads the item and the user's history as one text; a small head reads
                  its vector and the features of the pair.
``YesNoJudge``    a causal LM is asked in words; the result is log p(Yes) - log p(No). The prompt
                  prefix that all pairs of one item share is read once.

Both are tuned by LoRA on labelled pairs (``simulate.funnel.pairs``). The result stays a number: a
plain Yes, as in the public code, was the answer for 86 % of all pairs.
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
from warmstart.simulate.funnel.pairs import Pairs
from warmstart.train import Schedule, TorchTrainee, run_epochs
from warmstart.train.seed import torch_seed

logger = logging.getLogger(__name__)

_HELD_OUT = 10  # one in so many items


class JudgeConfig(Config):
    """Settings of the judge.

    Attributes:
        lora: the adapter; rank 0 leaves the LM frozen.
        history_length: L, the number of items of a user's history that the judge reads.
        training_items: number of warm items in the training pairs; drawn if there are more.
        hard_pairs, random_pairs: training pairs per item and label; see ``simulate.funnel.pairs``.
        hard_pool: hard pairs come from this many users at the top of the filter's ranking.
        epochs: of tuning. A tenth of the items is held out, and the epoch whose log-odds fit their
            labels best is kept; the start counts as an epoch.
        batch_size: pairs a step, and a forward pass.
        learning_rate: of the adapter.
        head_learning_rate: of the head.
    """

    lora: LoRAConfig = Field(default_factory=LoRAConfig)
    history_length: int = Field(default=5, ge=1)
    training_items: int = Field(default=4000, ge=1)
    hard_pairs: int = Field(default=2, ge=0)
    random_pairs: int = Field(default=1, ge=1)
    hard_pool: int = Field(default=200, ge=1)
    epochs: int = Field(default=1, ge=0)
    batch_size: int = Field(default=64, ge=1)
    learning_rate: float = Field(default=2e-4, gt=0)
    head_learning_rate: float = Field(default=1e-3, gt=0)


class Judge(ABC):
    """Log-odds of an interaction.

    Args:
        lm: the language model; it stays unchanged.
        config: settings.
        rng: draws the initial trainable parameters.
    """

    def __init__(self, lm: LanguageModel, config: JudgeConfig, rng: np.random.Generator) -> None:
        self.lm, self.config = lm, config
        self.tunable = TunableEncoder(lm, config.lora, rng)

    @abstractmethod
    def prepare(self, pairs: Pairs) -> "PairBatcher":
        """Tokenise pairs."""

    @abstractmethod
    def head_parameters(self) -> dict[str, nn.Parameter]:
        """The trainable parameters outside the adapter."""

    def start(self, pairs: Pairs, labels: np.ndarray) -> None:  # noqa: B027
        """Initialise the trainable parameters before tuning. The default does nothing.

        Args:
            pairs: the training pairs.
            labels: bool, shape (pairs,).
        """

    def log_odds(self, pairs: Pairs) -> np.ndarray:
        """float32, shape (pairs,); the value of a pair does not depend on the other pairs."""
        result = np.empty(len(pairs), np.float32)
        batcher = self.prepare(pairs)
        with torch.inference_mode():
            for rows in batcher.batches(self.config.batch_size):
                result[rows] = batcher.log_odds(rows).float().cpu().numpy()
        return result

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """The parameters of adapter and head, by name."""
        adapter = {f"lora.{k}": v for k, v in self.tunable.adapter_parameters().items()}
        return adapter | {f"head.{k}": v for k, v in self.head_parameters().items()}

    def state(self) -> dict[str, np.ndarray]:
        """Arrays that ``restore`` needs."""
        return {
            name: weight.detach().float().cpu().numpy().copy()
            for name, weight in self.trainable_parameters().items()
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Set the trainable parameters to ``state``.

        Raises:
            KeyError: a tensor is missing.
        """
        with torch.no_grad():
            for name, weight in self.trainable_parameters().items():
                weight.copy_(torch.from_numpy(np.asarray(state[name])))


class PairBatcher(ABC):
    """Tokenised pairs."""

    @abstractmethod
    def batches(self, size: int) -> Iterator[np.ndarray]:
        """All rows once, in batches with little padding."""

    @abstractmethod
    def shuffled(self, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """All rows once, in random batches."""

    @abstractmethod
    def log_odds(self, rows: np.ndarray) -> Tensor:
        """Of a batch, shape (rows,), with gradient."""


class JudgeTrainee(TorchTrainee):
    """One epoch over labelled pairs: binary cross entropy of the log-odds."""

    def __init__(self, judge: Judge, pairs: Pairs, labels: np.ndarray) -> None:
        config, self.judge = judge.config, judge
        self.batcher = judge.prepare(pairs)
        self.labels = torch.from_numpy(labels.astype(np.float32)).to(judge.lm.device)
        groups = [
            {"params": [*judge.head_parameters().values()], "lr": config.head_learning_rate},
            {
                "params": [*judge.tunable.adapter_parameters().values()],
                "lr": config.learning_rate,
            },
        ]
        super().__init__(
            judge.trainable_parameters(),
            torch.optim.AdamW([group for group in groups if group["params"]], weight_decay=0.0),
        )

    def epoch(self, rng: np.random.Generator, epoch: int) -> Iterator[float]:
        with torch_seed(rng):
            self.judge.tunable.train()
            for number, rows in enumerate(self.batcher.shuffled(self.judge.config.batch_size, rng)):
                loss = functional.binary_cross_entropy_with_logits(
                    self.batcher.log_odds(rows), self.labels[torch.from_numpy(rows)]
                )
                self.optimiser.zero_grad()
                loss.backward()
                self.optimiser.step()
                if number % 50 == 0:
                    logger.info("judge: step %d, loss %.3f", number, loss.item())
                yield loss.item()
            self.judge.tunable.eval()


def tune_judge(judge: Judge, pairs: Pairs, labels: np.ndarray, context: FitContext) -> int:
    """Tune a judge on labelled pairs.

    Args:
        judge: tuned in place.
        pairs: to train on.
        labels: bool, shape (pairs,).
        context: of the fit.

    Returns:
        The epoch whose parameters the judge holds; 0 if no epoch was better than the start.
    """
    config = judge.config
    if not config.epochs:
        return 0
    rng = context.rng.spawn(1)[0]
    seed = int(rng.integers(2**63))
    key = hashlib.sha256(f"{config.model_dump_json()} {judge.lm.fingerprint} {seed}".encode())
    features = (pairs.similarities, pairs.activity, pairs.evidence)
    for array in (pairs.items, pairs.users, pairs.history, *features, labels):
        key.update(array.tobytes())
    is_held_out = np.isin(pairs.items, np.unique(pairs.items)[::_HELD_OUT])
    held_out, held_out_labels = pairs.at(np.flatnonzero(is_held_out)), labels[is_held_out]

    def validate() -> float:
        log_odds = judge.log_odds(held_out)
        logger.info("judge: held-out auc %.4f", auc(log_odds, held_out_labels))
        return log_likelihood(log_odds, held_out_labels)

    training = np.flatnonzero(~is_held_out)
    judge.start(pairs.at(training), labels[training])
    start, untuned = judge.state(), validate()
    logger.info("judge: log-likelihood %.4f before tuning", untuned)
    with context.run.stage("judge-tuning", key.hexdigest()) as folder:
        result = run_epochs(
            JudgeTrainee(judge, pairs.at(training), labels[training]),
            Schedule(config.epochs, 1, config.epochs, "log-likelihood"),
            np.random.default_rng(seed),
            validate=validate,
            folder=folder,
            settings=key.hexdigest(),
        )
    if result.metric is not None and result.metric < untuned:  # no epoch was better
        judge.restore(start)
        return 0
    return result.epochs


def log_likelihood(log_odds: np.ndarray, labels: np.ndarray) -> float:
    """Mean log-probability of the labels; unlike the AUC it depends on where zero lies.

    Args:
        log_odds: float, shape (pairs,).
        labels: bool, shape (pairs,).
    """
    return float(log_expit(np.where(labels, log_odds, -log_odds)).mean())


def auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Area under the ROC curve, ties counting half; NaN if one label is missing.

    Args:
        scores: float, shape (pairs,).
        labels: bool, shape (pairs,).
    """
    n_positive, n_negative = int(labels.sum()), int((~labels).sum())
    if not n_positive or not n_negative:
        return float("nan")
    above = rankdata(scores)[labels].sum() - n_positive * (n_positive + 1) / 2
    return float(above / (n_positive * n_negative))
