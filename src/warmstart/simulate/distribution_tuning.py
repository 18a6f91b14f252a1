"""Gradient-descent tuning of the user distribution: user tokens, head and optionally the LM."""

import math
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from warmstart.config import Config
from warmstart.data.dataset import Dataset
from warmstart.data.tasks import RankingTask
from warmstart.lm.load import LanguageModel
from warmstart.lm.lora import LoRAConfig, TunableLM
from warmstart.lm.texts import TokenizedTexts, tokenize
from warmstart.rank import TableScorer, mean_metric
from warmstart.simulate.memory_plan import TokenTuningPlan, token_tuning_plan
from warmstart.simulate.user_distribution import UserDistribution
from warmstart.simulate.user_tokens import (
    PositivePairs,
    UserTokens,
    behaviour_guided_loss,
    text_distribution_loss,
)
from warmstart.train import TorchTrainee, torch_generator
from warmstart.train.seed import torch_seed

METRIC = "ndcg@20"
TEMPERATURES = (100.0, 30.0, 10.0, 3.0, 1.0)
_HEAD_L2 = 10.0  # l2 of the regression in initialise_head, for unit text vectors


class TokenTuningConfig(Config):
    """Settings of user tokens and their tuning.

    Attributes:
        lm_tuning: "lora" tunes the LM through an adapter, "frozen" does not tune it; head and
            tokens are tuned either way. LoRA did not improve on the frozen LM on CiteULike-a
            validation (docs/results.md).
        lora: shape of the adapter, for "lora".
        width: width of a user token. The closed-form head, cut to rank 256, 512 or 1024, has a cold
            ndcg@20 of .247, .260 or .263 on CiteULike-a.
        head: "linear" or "two-layer" map from the text vector to the token space. Only a linear
            head starts from a closed form.
        temperature: initial temperature of the token logits, tuned with the tokens. With a ridge
            head and validation it is chosen on validation: the backbone has seen the training
            items, so tokens made from it look better on these than on new items.
        guidance_weight: weight of the behaviour-guided loss. The published weight is .0024 on this
            scale.
        negatives: users sampled per batch for the softmax normaliser; 0 sums over all users. Used
            without a ridge head only.
        epochs: maximum number of epochs; with validation the best one is kept, or the untuned start
            if it is better than every epoch. 0 turns tuning off.
        patience: epochs without a new best on the cold validation slice before tuning stops.
        batch_size: items per step.
        learning_rate: learning rate of the adapter.
        head_learning_rate: learning rate of head and temperature. It is small because the head's
            inputs are scaled by the root of the LM's width: at 3e-4 the first epoch made the
            distribution worse (docs/log.md).
        token_learning_rate: learning rate of user tokens and biases; small because a user has few
            interactions.
    """

    lm_tuning: Literal["frozen", "lora"] = "frozen"
    lora: LoRAConfig = Field(default_factory=LoRAConfig)
    width: int = Field(default=512, ge=1)
    head: Literal["linear", "two-layer"] = "linear"
    temperature: float = Field(default=10.0, gt=0)
    guidance_weight: float = Field(default=0.01, ge=0)
    negatives: int = Field(default=0, ge=0)
    epochs: int = Field(default=3, ge=0)
    patience: int = Field(default=2, ge=1)
    batch_size: int = Field(default=256, ge=1)
    learning_rate: float = Field(default=3e-4, gt=0)
    head_learning_rate: float = Field(default=2e-5, gt=0)
    token_learning_rate: float = Field(default=1e-4, ge=0)


def initialise_head(tokens: UserTokens, vectors: np.ndarray, guides: np.ndarray) -> None:
    """Initialise the linear head with the ridge regression of CF vectors on text vectors.

    Args:
        tokens: user tokens whose head is set in place.
        vectors: text vectors of the warm items, float32, shape (items, LM width).
        guides: CF vectors of the same items, float32, shape (items, at most token width).
    """
    inputs = vectors * np.float32(np.sqrt(vectors.shape[1]))  # as UserTokens.queries scales them
    gram = inputs.T @ inputs + _HEAD_L2 * vectors.shape[1] * np.eye(vectors.shape[1])
    weights = np.linalg.solve(gram, inputs.T @ guides).T
    with torch.no_grad():
        head = tokens.get_parameter("head.weight")
        # The guides do not determine rows beyond their width: these keep their random start.
        head[: len(weights)] = torch.from_numpy(weights.astype(np.float32))


class DistributionTrainee(TorchTrainee):
    """Trains on the warm items with the distribution loss plus the behaviour-guided loss.

    Args:
        distribution: the distribution whose tokens are tuned in place.
        data: texts and training interactions.
        rows: row numbers of the warm items.
        vectors: their text vectors by the frozen LM, float32, shape (items, LM width).
        guides: their CF vectors, constants, float32, shape (items, at most token width).
        tunable: the LM to tune as well; None keeps it frozen.
        config: learning rates, batch size and weight of the guidance.
    """

    def __init__(
        self,
        distribution: UserDistribution,
        data: Dataset,
        rows: np.ndarray,
        vectors: np.ndarray,
        guides: np.ndarray,
        tunable: TunableLM | None,
        config: TokenTuningConfig,
    ) -> None:
        self.distribution, self.tunable, self.config = distribution, tunable, config
        self.vectors, self.guides = vectors, torch.from_numpy(guides)
        self.targets = data.matrix.T.tocsr()[rows]
        self.tokenized: TokenizedTexts | None = None
        named = dict(distribution.tokens.named_parameters())
        table = {name: weight for name, weight in named.items() if name in {"table", "bias"}}
        head = {name: weight for name, weight in named.items() if name not in table}
        adapter: dict[str, torch.nn.Parameter] = {}
        if tunable is not None:
            texts = [data.catalogue.texts[row] for row in rows]
            self.tokenized = tokenize(tunable.lm, texts)
            adapter = tunable.adapter_parameters()
        groups = [
            {"params": list(table.values()), "lr": config.token_learning_rate},
            {"params": list(head.values()), "lr": config.head_learning_rate},
            {"params": list(adapter.values()), "lr": config.learning_rate},
        ]
        optimiser = torch.optim.AdamW(groups, weight_decay=0.0)
        super().__init__({**table, **head, **adapter}, optimiser)

    def epoch(self, rng: np.random.Generator, epoch: int) -> Iterator[float]:
        generator = torch_generator(rng)
        with torch_seed(rng):
            if self.tunable is not None:
                self.tunable.train()
            for batch in self._batches(rng):
                yield self.step(self._loss(batch, generator))
            if self.tunable is not None:
                self.tunable.eval()

    def _batches(self, rng: np.random.Generator) -> Iterator[np.ndarray]:
        if self.tokenized is not None:
            rows = np.arange(len(self.vectors))
            yield from self.tokenized.shuffled_batches(rows, self.config.batch_size, rng)
            return
        order = rng.permutation(len(self.vectors))
        yield from np.array_split(order, max(1, len(order) // self.config.batch_size))

    def _loss(self, batch: np.ndarray, generator: torch.Generator) -> Tensor:
        tokens, ridge = self.distribution.tokens, self.distribution.ridge
        if self.tunable is None or self.tokenized is None:
            pooled = torch.from_numpy(self.vectors[batch])
        else:
            pooled = self.tunable(self.tokenized.batch(batch, self.tunable.lm.device)).cpu()
        queries = tokens.queries(pooled)
        targets = self.targets[batch].tocoo()
        positives = PositivePairs(
            torch.from_numpy(targets.row.astype(np.int64)),
            torch.from_numpy(targets.col.astype(np.int64)),
            torch.from_numpy(targets.data),
        )
        if ridge is None:
            loss = tokens.loss(
                queries, positives, negatives=self.config.negatives, generator=generator
            )
        else:
            left_out = torch.from_numpy(ridge.leave_one_out(self.vectors, self.targets, batch))
            logits = tokens.logits(queries)
            logits = logits + left_out * self.distribution.ridge_logit_scale
            loss = text_distribution_loss(
                logits[positives.rows, positives.users],
                logits.logsumexp(1),
                positives.rows,
                positives.weights,
            )
        guides = self.guides[torch.from_numpy(batch)]
        guided = behaviour_guided_loss(queries[:, : guides.shape[1]], guides)
        return loss + self.config.guidance_weight * guided

    def validator(
        self, frozen: np.ndarray, data: Dataset, task: RankingTask
    ) -> Callable[[], float]:
        """Return a function that computes the distribution's present ndcg@20 on a slice.

        Args:
            frozen: text vectors of the catalogue by the frozen LM, float32, (n_items, LM width).
            data: holds the texts of the catalogue.
            task: the cold validation slice.
        """
        ridge = self.distribution.ridge
        vectors = frozen[task.candidates]
        texts = [data.catalogue.texts[item] for item in task.candidates]
        fixed = 0.0 if ridge is None else ridge.predict(vectors)
        scale = self.distribution.ridge_logit_scale
        tokens_alone = UserDistribution(self.distribution.tokens, None, scale)

        def quality() -> float:
            tuned = vectors if self.tunable is None else self.tunable.encode(texts)
            table = TableScorer(task.candidates, tokens_alone.user_scores(vectors, tuned) + fixed)
            return mean_metric(table.score, task, METRIC)

        return quality

    def choose_temperature(self, validate: Callable[[], float]) -> float:
        """Set the initial temperature to the best of ``TEMPERATURES`` on validation; return it."""
        tokens = self.distribution.tokens

        def quality_at(temperature: float) -> float:
            with torch.no_grad():
                tokens.log_scale.fill_(-math.log(temperature))
            return validate()

        best = max(TEMPERATURES, key=quality_at)
        quality_at(best)
        return best

    def memory(self, lm: LanguageModel, data: Dataset) -> TokenTuningPlan:
        """Compute the memory plan of this tuning."""
        frozen = LoRAConfig(rank=0)
        return token_tuning_plan(
            lm,
            frozen if self.tunable is None else self.config.lora,
            n_users=data.n_users,
            token_width=self.config.width,
            batch_size=self.config.batch_size,
            tokens=int(self.tokenized.lengths.max()) if self.tokenized is not None else 1,
            two_layer=self.config.head == "two-layer",
            # Beside a ridge the loss is over all users.
            negatives=self.config.negatives if self.distribution.ridge is None else 0,
        )
