"""ColdLLM's judge: a tuned language model gives the log-odds that a user interacts with an item.

There are two judges; the kind of the language model decides which one is used:

``CrossEncoder``  an encoder encodes the item and the user's history as one text; a small head takes
                  its vector and the features of the pair.
``YesNoJudge``    a causal LM completes a yes/no question; the log-odds are log p(Yes) - log p(No).
                  The prompt prefix shared by all pairs of an item is encoded once.

Both are tuned by LoRA on labelled pairs (``simulate.funnel.training_pairs``). Log-odds rank users;
the plain Yes or No of the public code hardly does, since 86 % of all pairs got a Yes.
"""

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
from warmstart.core import FitContext, LMRole
from warmstart.lm.load import LanguageModel
from warmstart.lm.lora import LoRAConfig, TunableLM
from warmstart.simulate.funnel.training_pairs import Pairs
from warmstart.train import Schedule, TorchTrainee, train_stage
from warmstart.train.seed import torch_seed

logger = logging.getLogger(__name__)

_HELD_OUT = 10  # every tenth item is held out of tuning


class JudgeConfig(Config):
    """Settings of the judge.

    Attributes:
        lm: which language model judges. "encoder" is the one of the texts, which reads item and
            user together (or, if it is a causal LM, is asked in words); "causal" is the LM of
            ``fit(lm=)``, which is asked in words, as in the paper.
        lora: shape of the adapter; rank 0 keeps the LM frozen.
        history_length: L, the number of items of the user's history in the judge's input.
        training_items: maximum number of warm items in the training pairs; sampled from more.
        hard_pairs, random_pairs: maximum number of training pairs per item and label; see
            ``simulate.funnel.training_pairs``.
        hard_pool: number of users at the top of the filter's ranking from which hard pairs are
            drawn. With 200 a regression on similarities had a higher AUC in ColdLLM's published
            pairs than with 20: .703 against .683 (docs/log.md).
        epochs: number of tuning epochs. A tenth of the items is held out; the epoch with the
            highest likelihood of their labels is kept, or the untuned start if its likelihood is
            higher. On CiteULike-a one epoch raised the held-out AUC from .767 to .788
            (docs/log.md).
        batch_size: pairs per step and per forward pass.
        learning_rate: learning rate of the adapter.
        head_learning_rate: learning rate of the head.
    """

    lm: LMRole = "encoder"
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
    """Computes the log-odds of an interaction for pairs of an item and a user.

    Args:
        lm: the language model; its weights stay unchanged.
        config: settings of the judge.
        rng: draws the initial trainable parameters.
    """

    def __init__(self, lm: LanguageModel, config: JudgeConfig, rng: np.random.Generator) -> None:
        self.lm, self.config = lm, config
        self.tunable = TunableLM(lm, config.lora, rng)

    @abstractmethod
    def prepare(self, pairs: Pairs) -> "PairBatcher":
        """Tokenise pairs, to be scored in batches."""

    @abstractmethod
    def head_parameters(self) -> dict[str, nn.Parameter]:
        """Return the trainable parameters outside the adapter, by name."""

    def initialise(self, pairs: Pairs, labels: np.ndarray) -> None:  # noqa: B027
        """Initialise the trainable parameters before tuning. The default does nothing.

        Args:
            pairs: the training pairs.
            labels: their labels, bool, shape (pairs,).
        """

    def log_odds(self, pairs: Pairs) -> np.ndarray:
        """Compute log-odds, float32, shape (pairs,), of each pair independently of the others."""
        result = np.empty(len(pairs), np.float32)
        batcher = self.prepare(pairs)
        with torch.inference_mode():
            for rows in batcher.batches(self.config.batch_size):
                result[rows] = batcher.log_odds(rows).float().cpu().numpy()
        return result

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """Return the parameters of adapter and head, by name."""
        adapter = {f"lora.{k}": v for k, v in self.tunable.adapter_parameters().items()}
        return adapter | {f"head.{k}": v for k, v in self.head_parameters().items()}

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays that ``restore`` needs."""
        return {
            name: weight.detach().float().cpu().numpy().copy()
            for name, weight in self.trainable_parameters().items()
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Set the trainable parameters to ``state``.

        Raises:
            KeyError: ``state`` lacks a parameter.
        """
        with torch.no_grad():
            for name, weight in self.trainable_parameters().items():
                weight.copy_(torch.from_numpy(np.asarray(state[name])))


class PairBatcher(ABC):
    """Tokenised pairs, which a judge scores in batches."""

    @abstractmethod
    def batches(self, size: int) -> Iterator[np.ndarray]:
        """Iterate over all rows once, in batches with little padding."""

    @abstractmethod
    def shuffled(self, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Iterate over all rows once, in random batches."""

    @abstractmethod
    def log_odds(self, rows: np.ndarray) -> Tensor:
        """Compute the log-odds of a batch, shape (rows,), with gradient."""


class JudgeTrainee(TorchTrainee):
    """Trains a judge on labelled pairs with the binary cross entropy of its log-odds."""

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
                loss = self.step(
                    functional.binary_cross_entropy_with_logits(
                        self.batcher.log_odds(rows), self.labels[torch.from_numpy(rows)]
                    )
                )
                if number % 50 == 0:
                    logger.info("judge: step %d, loss %.3f", number, loss)
                yield loss
            self.judge.tunable.eval()


def tune_judge(judge: Judge, pairs: Pairs, labels: np.ndarray, context: FitContext) -> int:
    """Tune a judge on labelled pairs.

    Args:
        judge: the judge to tune, in place.
        pairs: pairs to train on; those of every tenth item are held out.
        labels: their labels, bool, shape (pairs,).
        context: random generator and run of the fit.

    Returns:
        The epoch whose parameters are kept; 0 is the untuned start.
    """
    config = judge.config
    if not config.epochs:
        return 0
    seed = int(context.rng.spawn(1)[0].integers(2**63))
    is_held_out = np.isin(pairs.items, np.unique(pairs.items)[::_HELD_OUT])
    held_out, held_out_labels = pairs.at(np.flatnonzero(is_held_out)), labels[is_held_out]

    def validate() -> float:
        log_odds = judge.log_odds(held_out)
        logger.info("judge: held-out auc %.4f", auc(log_odds, held_out_labels))
        return log_likelihood(log_odds, held_out_labels)

    training = np.flatnonzero(~is_held_out)
    judge.initialise(pairs.at(training), labels[training])
    features = (pairs.similarities, pairs.activity, pairs.evidence)
    arrays = (pairs.items, pairs.users, pairs.history, *features, labels)
    return train_stage(
        context.run,
        "judge-tuning",
        JudgeTrainee(judge, pairs.at(training), labels[training]),
        Schedule(config.epochs, 1, config.epochs, "log-likelihood", keep_start=True),
        np.random.default_rng(seed),
        depends_on=[config, judge.lm.fingerprint, *arrays],
        validate=validate,
        validated_on=f"every {_HELD_OUT}th item",
        code=__name__,
    ).best_epoch


def log_likelihood(log_odds: np.ndarray, labels: np.ndarray) -> float:
    """Mean log-probability of the labels. Unlike the AUC it depends on where zero log-odds lie.

    Args:
        log_odds: float, shape (pairs,).
        labels: bool, shape (pairs,).
    """
    return float(log_expit(np.where(labels, log_odds, -log_odds)).mean())


def auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Area under the ROC curve, where ties count half; NaN if all labels are equal.

    Args:
        scores: float, shape (pairs,).
        labels: bool, shape (pairs,).
    """
    n_positive, n_negative = int(labels.sum()), int((~labels).sum())
    if not n_positive or not n_negative:
        return float("nan")
    above = rankdata(scores)[labels].sum() - n_positive * (n_positive + 1) / 2
    return float(above / (n_positive * n_negative))
