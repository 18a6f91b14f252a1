"""Gradient-descent tuning of the user distribution: user tokens, head and optionally the LM."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, TypeVar

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
    DENSE_USERS,
    PositivePairs,
    UserTokens,
    behaviour_guided_loss,
)
from warmstart.train import TorchTrainee, torch_generator
from warmstart.train.blocked_softmax import FixedLogits
from warmstart.train.ranks import Ranks
from warmstart.train.row_wise import RowWiseAdamW
from warmstart.train.sampled_softmax import Proposal, Sampling
from warmstart.train.seed import torch_seed
from warmstart.train.sharded_module import ShardedModule, part_like, whole
from warmstart.train.table_part import TablePart

T = TypeVar("T")

METRIC = "ndcg@20"
TEMPERATURES = (100.0, 30.0, 10.0, 3.0, 1.0)
_LARGE_TABLE = 2**28  # numbers of a table from which its optimiser is row-wise: 1 GB
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
        negatives: users sampled per batch for the softmax normaliser; 0 sums over all users.
        proposal_exponent: users are sampled in proportion to (interactions + 1) ^ this; 0 samples
            uniformly. At 1, the default, the terms of the normaliser are equal when tuning starts,
            since a user's bias starts at log(interactions + 1).
        table_optimiser: how user tokens and biases are updated. "adamw" keeps two numbers for each
            of a token's; "row-wise" keeps one per user (``train.row_wise``), and no gradient has
            the size of the table. "auto" is "row-wise" if the table is larger than 1 GB, where
            AdamW would take 3 GB more, and 5 GB during its update.
        shard_lm: with "lora", under ``torchrun``: divide the LM's weights between the processes
            (FSDP) instead of copying them. It has no effect on a process on its own.
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
    proposal_exponent: float = Field(default=1.0, ge=0)
    table_optimiser: Literal["auto", "adamw", "row-wise"] = "auto"
    shard_lm: bool = False
    epochs: int = Field(default=3, ge=0)
    patience: int = Field(default=2, ge=1)
    batch_size: int = Field(default=256, ge=1)
    learning_rate: float = Field(default=3e-4, gt=0)
    head_learning_rate: float = Field(default=2e-5, gt=0)
    token_learning_rate: float = Field(default=1e-4, ge=0)

    def updates_row_wise(self, n_users: int) -> bool:
        """Whether the table of this many users is updated by the row-wise optimiser."""
        if self.table_optimiser == "auto":
            return n_users * self.width > _LARGE_TABLE
        return self.table_optimiser == "row-wise"


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

    Under ``torchrun`` all processes train together: each updates its own rows of the user table,
    and the LM reads its own part of each batch. Before a validation, for a checkpoint, and in
    ``finish`` every process gets the whole table.

    Args:
        distribution: the distribution whose tokens are tuned in place.
        data: texts and training interactions.
        rows: row numbers of the warm items.
        vectors: their text vectors by the frozen LM, float32, shape (items, LM width).
        guides: their CF vectors, constants, float32, shape (items, at most token width).
        tunable: the LM to tune as well; None keeps it frozen.
        config: learning rates, batch size and weight of the guidance.

    Attributes:
        sharded: the tuned network, if its weights are divided between the processes.
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
        self.ranks = Ranks.current()
        self._part = self._own_part()
        tokens = distribution.tokens
        table = {"table": self._part.table}
        if self._part.bias is not None:
            table["bias"] = self._part.bias
        named = dict(tokens.named_parameters())
        head = {name: weight for name, weight in named.items() if name not in table}
        adapter: dict[str, torch.nn.Parameter] = {}
        self.sharded: ShardedModule | None = None
        if tunable is not None:
            texts = [data.catalogue.texts[row] for row in rows]
            self.tokenized = tokenize(tunable.lm, texts)
            if config.shard_lm and self.ranks is not None:
                self.sharded = ShardedModule(tunable.body)
            adapter = tunable.adapter_parameters()
        self._adapter = list(adapter.values())
        self.row_wise = config.updates_row_wise(tokens.n_users)
        groups = [
            {
                "params": list(table.values()),
                "lr": config.token_learning_rate,
                "row_wise": self.row_wise,
            },
            {"params": list(head.values()), "lr": config.head_learning_rate},
            {"params": self._adapter, "lr": config.learning_rate},
        ]
        optimiser = RowWiseAdamW(groups)
        self._fused = optimiser.fused(*self._table) if self.row_wise else None
        self._proposal: Proposal | None = None
        if config.negatives:
            weights = None
            if config.proposal_exponent:
                counts = torch.from_numpy(data.matrix.getnnz(axis=1))
                weights = (counts + 1.0) ** config.proposal_exponent
            self._proposal = Proposal(tokens.n_users, weights)
        super().__init__({**table, **head, **adapter}, optimiser)

    def _own_part(self) -> TablePart:
        """The rows of the user table that this process updates; they share the table's memory."""
        tokens = self.distribution.tokens
        if self.ranks is None:
            return TablePart(tokens.table, tokens.bias)
        for tensor in (*tokens.parameters(), self.guides):  # in case the processes differ in a bit
            self.ranks.broadcast_(tensor.detach())
        rows = self.ranks.rows(tokens.n_users)
        table = torch.nn.Parameter(tokens.table.detach()[rows])
        bias = None if tokens.bias is None else torch.nn.Parameter(tokens.bias.detach()[rows])
        return TablePart(table, bias, self.ranks, rows)

    @property
    def _table(self) -> tuple[Tensor, Tensor | None]:
        return self._part.table, self._part.bias

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
        tokens = self.distribution.tokens
        queries = tokens.queries(self._pooled(batch))
        targets = self.targets[batch].tocoo()
        positives = PositivePairs(
            torch.from_numpy(targets.row.astype(np.int64)),
            torch.from_numpy(targets.col.astype(np.int64)),
            torch.from_numpy(targets.data),
        )
        sampling = None
        if self._proposal is not None:
            sampling = Sampling(self.config.negatives, self._proposal, generator, self.row_wise)
        loss = tokens.loss(
            queries,
            positives,
            offset=self._left_out(batch),
            sampling=sampling,
            update=self._fused,
            part=self._part,
        )
        guides = self.guides[torch.from_numpy(batch)]
        guided = behaviour_guided_loss(queries[:, : guides.shape[1]], guides)
        return loss + self.config.guidance_weight * guided

    def _pooled(self, batch: np.ndarray) -> Tensor:
        """Encode a batch of items, with a gradient if the LM is tuned; shape (batch, LM width)."""
        if self.tunable is None or self.tokenized is None:
            return torch.from_numpy(self.vectors[batch])
        device = self.tunable.lm.device
        if self.ranks is None:
            return self.tunable(self.tokenized.batch(batch, device)).cpu()
        own = self.ranks.share(len(batch))
        # Without a text of its own a process reads another's, since all must run a divided network.
        texts = batch[own] if own.stop > own.start else batch[:1]
        pooled = self.tunable(self.tokenized.batch(texts, device)).cpu()
        return self.ranks.batched(pooled[: own.stop - own.start], own, len(batch))

    def _left_out(self, batch: np.ndarray) -> Tensor | FixedLogits | None:
        """The ridge's leave-one-out predictions for items of the training, as logits."""
        ridge, scale = self.distribution.ridge, self.distribution.ridge_logit_scale
        if ridge is None:
            return None
        if ridge.user_table is None:
            return torch.from_numpy(ridge.leave_one_out(self.vectors, self.targets, batch)) * scale
        features = ridge.leave_one_out_features(self.vectors, batch)
        return FixedLogits(torch.from_numpy(features) * scale, torch.from_numpy(ridge.user_table))

    def _update(self) -> None:
        if self.ranks is not None and self.sharded is None:
            self.ranks.average_([w.grad for w in self._adapter if w.grad is not None])
        super()._update()

    # -- what processes that train together exchange --

    def agreed(self, value: T) -> T:
        return value if self.ranks is None else self.ranks.agreed(value)

    def _gather_table(self) -> None:
        """Complete the whole table, whose other rows have been updated by other processes."""
        if self.ranks is not None:
            for whole_table in (self.distribution.tokens.table, self.distribution.tokens.bias):
                if whole_table is not None:
                    self.ranks.gather_rows_(whole_table.detach())

    def _export(self, parameter: Tensor, value: Tensor) -> np.ndarray:
        if self.ranks is not None and value.ndim and self._is_of_table(parameter):
            gathered = value.new_empty(self.distribution.tokens.n_users, *value.shape[1:])
            gathered[self._part.rows] = value
            value = self.ranks.gather_rows_(gathered)
        return super()._export(parameter, whole(value))

    def _import(self, parameter: Tensor, array: np.ndarray) -> Tensor:
        if array.ndim and self._is_of_table(parameter):
            array = array[self._part.rows]
        return part_like(array, parameter)

    def _is_of_table(self, parameter: Tensor) -> bool:
        return any(parameter is part for part in self._table)

    def without_whole_lm(self) -> AbstractContextManager[None]:
        """Free the LM's whole weights inside the block, if they are divided between processes."""
        return nullcontext() if self.sharded is None else self.sharded.without_whole_weights()

    def finish(self) -> TunableLM | None:
        """Complete the whole table in every process; return the tuned LM as a whole."""
        self._gather_table()
        if self.sharded is None or self.tunable is None:
            return self.tunable
        tuned = TunableLM(self.tunable.lm, self.tunable.config, np.random.default_rng(0))
        tuned.load_adapter(self.tunable.adapter())
        return tuned

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
        # Of many users only those are scored who ask.
        users = None if data.n_users <= DENSE_USERS else np.unique(task.queries.users)
        fixed = 0.0 if ridge is None else ridge.predict(vectors, users)
        scale = self.distribution.ridge_logit_scale
        tokens_alone = UserDistribution(self.distribution.tokens, None, scale)

        def quality() -> float:
            self._gather_table()
            tuned = vectors if self.tunable is None else self.tunable.encode(texts)
            scores = tokens_alone.user_scores(vectors, tuned, users) + fixed
            table = TableScorer(task.candidates, scores, users)
            return self.agreed(mean_metric(table.score, task, METRIC))

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
            row_wise=self.row_wise,
            dense_offset=isinstance(self._left_out(np.arange(1)), Tensor),
            # The positive users of a batch are among the sampled ones.
            sampled=self.config.negatives and self.config.negatives + self._most_positives(),
            processes=1 if self.ranks is None else self.ranks.size,
        )

    def _most_positives(self) -> int:
        """The most positive pairs that a batch can have."""
        counts = np.sort(np.diff(self.targets.indptr))
        return int(counts[-self.config.batch_size :].sum())
