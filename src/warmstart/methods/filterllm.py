"""filterllm: one pass of a language model gives a distribution over all users.

"FilterLLM: Text-To-Distribution LLM for Billion-Scale Cold-Start Recommendation", KDD 2025
(arXiv 2502.16924). Every user is a token; the text of an item is read once; its likely users become
simulated interactions; they give the cold item its vector, and nothing else moves.

    interactions ──backbone──▶ users' and items' vectors ──────────────┐ first tokens, guidance
    text ──LM (LoRA or frozen)──▶ head ──▶ logits over user tokens ◀───┘
                                             │ softmax: the likeliest users, with weights
                                             ▼
                            fold-in with users frozen ──▶ vector of the cold item

Where it differs from paper and public code, and why:
- The guidance target is a constant. (There it is reassigned after freezing, and trains along.)
- The head is signed. (There a ReLU meets signed targets, and half of the space is lost.)
- The epoch that is best on cold validation items is kept, the start if none is better. (There the
  last.)
- Tokens have a width of their own. (There 4096, the LM's.)
- By default the distribution starts at the closed-form ridge of ``text_ridge`` (``ridge``), which
  the tokens correct; they are fitted to what the ridge predicts for an item left out, so they learn
  what it misses rather than what it has memorised. ``ridge=None`` leaves it out.
- By default a cold item is scored by its folded-in vector and by the distribution together
  (``cold_score``): a vector of the backbone's width cannot hold all that the distribution says.
"""

import hashlib
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from scipy import sparse
from torch import Tensor

from warmstart.backbones import Backbone, BackboneConfig
from warmstart.backbones.bpr import BprConfig
from warmstart.backbones.lightgcn import LightGcnConfig
from warmstart.core import FitContext, Traits
from warmstart.data.dataset import Dataset
from warmstart.data.interactions import Interactions
from warmstart.data.split import Slice
from warmstart.lm.lora import LoRAConfig, TunableEncoder, encode_with_adapter
from warmstart.lm.losses import behaviour_guided_loss, text_distribution_loss
from warmstart.lm.memory import MemoryPlan, memory_plan
from warmstart.lm.seed import torch_seed
from warmstart.lm.texts import TokenizedTexts, tokenize
from warmstart.lm.tokens import Positives, UserTokens, initial_tokens
from warmstart.lm.vectors import TextVectors
from warmstart.rank import mean_metric, top_k
from warmstart.simulate.audience import relative
from warmstart.simulate.distribution import ChanceConfig, UserDistribution, likely_users, under
from warmstart.simulate.refine import Candidates, RefineConfig, answers, calibrated
from warmstart.simulate.ridge import RidgeConfig, fit_ridge
from warmstart.simulate.taking_in import Reading, TakesIn
from warmstart.simulate.warmed import (
    ColdConfig,
    Warmed,
    collaborative_vectors,
    fit_backbone,
    warm_up,
)
from warmstart.train import Schedule, TorchTrainee, run_epochs, torch_generator

logger = logging.getLogger(__name__)

TEMPERATURES = (100.0, 30.0, 10.0, 3.0, 1.0)
# Settings that tuning does not depend on: variants that differ in them share one tuning.
_AFTER_TUNING = {"simulated_per_item", "sample", "audience", "chance", *ColdConfig.model_fields}
_HEAD_L2 = 10.0  # of the head's closed-form start, on unit vectors


class FilterLLMConfig(ColdConfig):
    """Settings of filterllm; how cold items are scored is in ``ColdConfig``.

    Attributes:
        backbone: the CF model behind it, with its settings.
        tune: whether the LM is tuned (LoRA) or frozen; head and tokens are always tuned.
        lora: the adapter, for "lora".
        ridge: the closed-form start of the distribution; None starts from the tokens alone.
        width: of a user token.
        head: "linear" or "two-layer" map from the text vector to the token space.
        temperature: first temperature of the token logits; it is learned. With ``ridge`` it is
            chosen on validation: tokens from a backbone that has seen the training items look
            better on those than they are.
        sharpness: factor from ridge scores to logits, with ``ridge``.
        guidance: weight of the behaviour-guided loss.
        negatives: users sampled for the normaliser; 0 is the full softmax.
        epochs: the most epochs; with validation the best one is kept. 0 tunes nothing.
        patience: epochs without a new best on the cold validation slice before tuning stops.
        batch_size: items a step.
        learning_rate: of the adapter.
        head_learning_rate: of the head and the temperature; small, for the head's inputs are scaled
            by the root of the LM's width.
        token_learning_rate: of user tokens and biases; small, for each user has few interactions.
        simulated_per_item: users an item.
        sample: draw them from the distribution instead of taking the likeliest.
        audience: how many users an item is expected to have; scales the weights of simulated
            interactions. None is the mean of the warm items.
        chance: from the distribution to these weights; fitted on validation where there is one.
    """

    backbone: BackboneConfig = Field(default_factory=BprConfig, discriminator="kind")
    tune: Literal["frozen", "lora"] = "frozen"
    lora: LoRAConfig = Field(default_factory=LoRAConfig)
    ridge: RidgeConfig | None = Field(default_factory=RidgeConfig)
    width: int = Field(default=512, ge=1)
    head: Literal["linear", "two-layer"] = "linear"
    temperature: float = Field(default=10.0, gt=0)
    sharpness: float = Field(default=20.0, gt=0)
    guidance: float = Field(default=0.01, ge=0)
    negatives: int = Field(default=0, ge=0)
    epochs: int = Field(default=3, ge=0)
    patience: int = Field(default=2, ge=1)
    batch_size: int = Field(default=256, ge=1)
    learning_rate: float = Field(default=3e-4, gt=0)
    head_learning_rate: float = Field(default=2e-5, gt=0)
    token_learning_rate: float = Field(default=1e-4, ge=0)
    simulated_per_item: int = Field(default=50, ge=1)
    sample: bool = False
    audience: float | None = Field(default=None, gt=0)
    chance: ChanceConfig = Field(default_factory=ChanceConfig)


PAPER = FilterLLMConfig(
    backbone=LightGcnConfig(width=200),  # paper: LightGCN among three; width as ColdLLM's (code)
    tune="lora",
    lora=LoRAConfig(rank=8, alpha=32, dropout=0.1),  # code
    ridge=None,  # the paper has no closed-form start
    width=200,  # code: the LM's own width, 4096; here the backbone's
    head="linear",  # code: a square linear map, then ReLU; the ReLU is left out as a flaw
    temperature=1.0,  # code: no temperature (and none is chosen without a ridge)
    guidance=10 / 4096,  # code: 10, on a mean over 4096 dimensions; here a sum
    epochs=20,  # code
    batch_size=16,  # code, per device
    learning_rate=1e-4,  # code: one rate for all
    head_learning_rate=1e-4,
    token_learning_rate=1e-4,
    simulated_per_item=20,  # code: the top 20, although the paper says sampled
    cold_score="folded",  # paper: only the cold embedding is updated
)
"""The published settings, from the public code where the paper is silent (docs/papers.md)."""


class FilterLLM(TakesIn):
    """Simulates the users of an item from its text, and folds it into any backbone."""

    name = "filterllm"
    config_type = FilterLLMConfig
    traits = Traits(
        reads=frozenset({"interactions", "texts"}), cold_items="simulated", needs_lm=True
    )

    def _fit(self, data: Dataset, context: FitContext) -> None:
        backbone = fit_backbone(self.config.backbone, data, context)
        self.fitted.choices["backbone"] = backbone.chosen.model_dump(mode="json")
        self._rng_seed = int(context.rng.integers(2**63))
        self._audience = self.config.audience or len(data.interactions) / int(data.warm.sum())
        with context.run.stage("encode"):
            self._texts = TextVectors.of(data.catalogue.texts, context.lm)
        self.config.check_table(self.name, int((~data.warm).sum()), data.n_users)
        self._learn_distribution(backbone, data, context)
        self._chance = self.config.chance
        if context.valid is not None:
            self._chance = self._calibrated(context.valid["cold"], data.n_users)
            self.fitted.choices["chance"] = self._chance.model_dump()
        with context.run.stage("simulate"):
            self._warmed, choices = warm_up(
                self.config, backbone, partial(self._as_if_new, data=data), data, context.valid
            )
            self.fitted.choices |= choices

    # -- stages of fit --

    def _learn_distribution(self, backbone: Backbone, data: Dataset, context: FitContext) -> None:
        """The distribution over users: ridge in closed form, then tokens (and LM) by gradient."""
        config, rows = self.config, np.flatnonzero(data.warm)
        vectors = self._texts.rows[rows]
        ridge = None
        if config.ridge is not None:
            ridge = fit_ridge(config.ridge, self._texts.rows, data, context)
        with context.run.stage("tokens"):
            users, items = collaborative_vectors(backbone, data.matrix, config.width)
            rng = context.rng.spawn(1)[0]
            table, guides = initial_tokens(users, items[rows], config.width, rng)
            tokens = UserTokens(
                table,
                vectors.shape[1],
                rng,
                head=config.head,
                temperature=config.temperature,
                degrees=data.matrix.getnnz(axis=1),
            )
            if config.head == "linear":
                _start_head(tokens, vectors, guides)
        sharpness = config.sharpness if ridge is not None else 1.0
        distribution = UserDistribution(tokens, ridge, sharpness)
        tunable = None
        if config.tune == "lora":
            tunable = TunableEncoder(context.lm.lm, config.lora, context.rng.spawn(1)[0])
        tuning = _Tuning(distribution, data, rows, vectors, guides, tunable, config)
        self._distribution, self._adapter = distribution, {}
        self._run_tuning(tuning, data, context)
        self._tuned = self._texts.rows
        if tunable is not None:
            self._adapter = tunable.adapter()
            with context.run.stage("encode"):
                lm, texts = context.lm, data.catalogue.texts
                self._tuned = tunable.encode(
                    texts, folder=lm.folder, use_cache=lm.cache is not None
                )

    def _run_tuning(self, tuning: "_Tuning", data: Dataset, context: FitContext) -> None:
        config = self.config
        if not config.epochs:
            return
        logger.info("memory of tuning:\n%s", tuning.memory(context.lm.lm, data).table())
        validate, validated = None, "not"
        if context.valid is not None:
            validated = context.valid["cold"].hash + context.valid["warm"].hash  # the backbone's
            validate = tuning.validation(self._texts.rows, data, context.valid["cold"])
            if config.ridge is not None:
                self.fitted.choices["temperature"] = tuning.choose_temperature(validate)
        parts = (
            config.model_dump_json(exclude=_AFTER_TUNING),
            data.hash,
            context.lm.lm.fingerprint,
            validated,
        )
        key = hashlib.sha256(f"{parts} {self._rng_seed}".encode())
        start = tuning.state()
        untuned = -math.inf if validate is None else validate()
        with context.run.stage("tune", key.hexdigest()) as folder:
            outcome = run_epochs(
                tuning,
                Schedule(config.epochs, 1, config.patience, "cold ndcg@20"),
                context.rng.spawn(1)[0],
                validate=validate,
                folder=folder,
                settings=key.hexdigest(),
            )
        if outcome.metric is not None:
            self.fitted.choices["epochs"] = outcome.epochs
            if outcome.metric < untuned:  # no epoch was better than the start
                tuning.restore(start)
                self.fitted.choices["epochs"] = 0

    def _calibrated(self, task: Slice, n_users: int) -> ChanceConfig:
        """Chances by how often the likeliest users of cold validation items were right."""
        rows = task.candidates
        direct = self._distribution.affinities(self._texts.rows[rows], self._tuned[rows])
        logits = self._distribution.log_probabilities(direct) + np.float32(math.log(self._audience))
        users, scores = top_k(logits, min(self.config.simulated_per_item, n_users))
        asked, truth = answers(task, users, n_users)
        named = Candidates(users, scores, np.zeros_like(scores)).at(asked)
        found = calibrated(RefineConfig(rank_by="filter"), named, truth)
        return ChanceConfig(intercept=found.intercept, slope=found.filter)

    # -- a new item --

    def _as_if_new(self, rows: np.ndarray, data: Dataset) -> tuple[sparse.csr_matrix, np.ndarray]:
        """Simulated interactions and affinities of items of the catalogue."""
        direct = self._distribution.affinities(self._texts.rows[rows], self._tuned[rows])
        ridge = self._distribution.ridge
        if ridge is not None and data.warm[rows].all():
            vectors = self._texts.rows
            direct += ridge.as_if_new(vectors, rows, data) - ridge.predict(vectors[rows])
        return self._named(direct), direct

    def _named(self, direct: np.ndarray) -> sparse.csr_matrix:
        """Simulated interactions to fold in, by items' affinities to all users; of the same shape.

        A drawn user counts 1; a likely one in proportion to the affinity, the likeliest 1. (Their
        chances would be too small beside the regulariser of fold-in: docs/log.md.)
        """
        events = self._simulated(direct, self.config.simulated_per_item)
        if self.config.sample:
            weights = np.ones(len(events), np.float32)
        else:
            weights = relative(direct[events.items, events.users].reshape(len(direct), -1)).ravel()
        matrix = replace(events, weights=weights).matrix(direct.shape[1], len(direct))
        return sparse.csr_matrix(matrix.T)

    def _simulated(self, direct: np.ndarray, k: int) -> Interactions:
        return likely_users(
            self._distribution.log_probabilities(direct),
            min(k, direct.shape[1]),
            audience=self._audience,
            chance=self._chance,
            provenance=self.name,
            rng=np.random.default_rng(self._rng_seed) if self.config.sample else None,
        )

    def read(self, texts: Sequence[str]) -> Reading:
        """As ``TakesIn.read``: vectors of the frozen and, if it was tuned, of the tuned LM."""
        vectors, tuned = self._vectors(texts)
        return {"vectors": vectors, **({"tuned": tuned} if self._adapter else {})}

    def place(self, reading: Reading) -> tuple[sparse.csr_matrix, np.ndarray]:
        """As ``TakesIn.place``."""
        vectors = reading["vectors"]
        direct = self._distribution.affinities(vectors, reading.get("tuned", vectors))
        return self._named(direct), direct

    def likeliest(self, reading: Reading, affinities: np.ndarray, k: int) -> Interactions:
        """As ``TakesIn.likeliest``."""
        return self._simulated(affinities, k)

    @property
    def calibrated(self) -> bool:
        """As ``TakesIn.calibrated``."""
        return self._chance != ChanceConfig()

    def simulate_texts(self, texts: Sequence[str], k: int) -> Interactions:
        """As ``Simulates.simulate_texts``; a weight is the chance to be among the audience."""
        return self._simulated(self._distribution.affinities(*self._vectors(texts)), k)

    def _vectors(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Vectors of the frozen and of the tuned LM."""
        frozen = self._texts.encode(texts)
        if not self._adapter:
            return frozen, frozen
        encoder, lora = self._texts.encoder, self.config.lora
        return frozen, encode_with_adapter(
            encoder.lm,
            lora,
            self._adapter,
            texts,
            folder=encoder.folder,
            use_cache=encoder.cache is not None,
        )

    # -- scores --

    def score(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """As ``Recommender.score``; the backbone's, or the scaled blend for a cold item."""
        return self._warmed.score(users, items, self.fitted.warm)

    # -- state --

    def _state(self) -> dict[str, np.ndarray]:
        return {
            "vectors": self._texts.rows,
            "audience": np.array([self._audience]),
            "seed": np.array([self._rng_seed], np.int64),
            **self._warmed.state(),
            **{f"adapter.{name}": array for name, array in self._adapter.items()},
            **self._distribution.state(),
        }

    def _restore(self, state: dict[str, np.ndarray], lm: Any | None) -> None:
        self._texts = TextVectors(state["vectors"], self.fitted.lm_spec or {}, lm)
        self._audience = float(state["audience"][0])
        self._chance = self.chosen.chance  # pyright: ignore[reportAttributeAccessIssue]
        self._rng_seed = int(state["seed"][0])
        self._warmed = Warmed.restore(self.config.backbone, state)
        self._adapter = under("adapter.", state)
        self._distribution = UserDistribution.restore(self.config.ridge, state)


def _start_head(tokens: UserTokens, vectors: np.ndarray, guides: np.ndarray) -> None:
    """Set the linear head to the ridge regression of the guides on the text vectors."""
    inputs = vectors * np.float32(np.sqrt(vectors.shape[1]))  # as UserTokens.queries scales them
    gram = inputs.T @ inputs + _HEAD_L2 * vectors.shape[1] * np.eye(vectors.shape[1])
    weights = np.linalg.solve(gram, inputs.T @ guides).T
    with torch.no_grad():
        head = tokens.get_parameter("head.weight")
        # Rows beyond the guides' width stay as they were drawn.
        head[: len(weights)] = torch.from_numpy(weights.astype(np.float32))


class _Tuning(TorchTrainee):
    """One epoch over the warm items: distribution loss and behaviour-guided loss.

    Args:
        distribution: its tokens are tuned in place.
        data: texts and interactions.
        rows: the warm items.
        vectors: their frozen text vectors, float32, shape (items, width).
        guides: their CF vectors, constants, float32, shape (items, at most token width).
        tunable: the LM to tune along; None leaves it frozen.
        config: rates and sizes.
    """

    def __init__(
        self,
        distribution: UserDistribution,
        data: Dataset,
        rows: np.ndarray,
        vectors: np.ndarray,
        guides: np.ndarray,
        tunable: TunableEncoder | None,
        config: FilterLLMConfig,
    ) -> None:
        self.distribution, self.tunable, self.config = distribution, tunable, config
        self.vectors, self.guides = vectors, torch.from_numpy(guides)
        self.targets = data.matrix.T.tocsr()[rows]
        self.tokenized: TokenizedTexts | None = None
        slow = {
            name: weight
            for name, weight in distribution.tokens.named_parameters()
            if name in {"table", "bias"}
        }
        head = {
            name: weight
            for name, weight in distribution.tokens.named_parameters()
            if name not in slow
        }
        adapter: dict[str, torch.nn.Parameter] = {}
        if tunable is not None:
            texts = [data.catalogue.texts[row] for row in rows]
            self.tokenized = tokenize(tunable.lm, texts)
            adapter = tunable.adapter_parameters()
        groups = [
            {"params": list(slow.values()), "lr": config.token_learning_rate},
            {"params": list(head.values()), "lr": config.head_learning_rate},
            {"params": list(adapter.values()), "lr": config.learning_rate},
        ]
        super().__init__({**slow, **head, **adapter}, torch.optim.AdamW(groups, weight_decay=0.0))

    def epoch(self, rng: np.random.Generator, epoch: int) -> Iterator[float]:
        generator = torch_generator(rng)
        with torch_seed(rng):
            if self.tunable is not None:
                self.tunable.train()
            for batch in self._batches(rng):
                loss = self._loss(batch, generator)
                self.optimiser.zero_grad()
                loss.backward()
                self.optimiser.step()
                yield loss.item()
            if self.tunable is not None:
                self.tunable.eval()

    def _batches(self, rng: np.random.Generator) -> Iterator[np.ndarray]:
        if self.tokenized is not None:
            every = np.arange(len(self.vectors))
            yield from self.tokenized.shuffled_batches(every, self.config.batch_size, rng)
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
        positives = Positives(
            torch.from_numpy(targets.row.astype(np.int64)),
            torch.from_numpy(targets.col.astype(np.int64)),
            torch.from_numpy(targets.data),
        )
        if ridge is None:
            loss = tokens.loss(
                queries, positives, negatives=self.config.negatives, generator=generator
            )
        else:
            left_out = ridge.leave_one_out(self.vectors, self.targets, batch)
            logits = tokens.logits(queries)
            logits = logits + torch.from_numpy(left_out) * self.distribution.sharpness
            loss = text_distribution_loss(
                logits[positives.rows, positives.users],
                logits.logsumexp(1),
                positives.rows,
                positives.weights,
            )
        guides = self.guides[torch.from_numpy(batch)]
        guided = behaviour_guided_loss(queries[:, : guides.shape[1]], guides)
        return loss + self.config.guidance * guided

    def validation(self, frozen: np.ndarray, data: Dataset, task: Slice) -> Callable[[], float]:
        """ndcg@20 of the distribution on the cold validation slice, as it stands when called."""
        ridge = self.distribution.ridge
        vectors = frozen[task.candidates]
        texts = [data.catalogue.texts[item] for item in task.candidates]
        fixed = 0.0 if ridge is None else ridge.predict(vectors)
        learned_only = UserDistribution(self.distribution.tokens, None, self.distribution.sharpness)

        def metric() -> float:
            tuned = vectors if self.tunable is None else self.tunable.encode(texts)
            affinities = learned_only.affinities(vectors, tuned) + fixed
            place = np.searchsorted(task.candidates, np.arange(task.candidates.max() + 1))
            return mean_metric(lambda u, i: affinities[place[i]][:, u].T, task, "ndcg@20")

        return metric

    def choose_temperature(self, validate: Callable[[], float]) -> float:
        """Start the tokens at the temperature of ``TEMPERATURES`` that validates best."""
        tokens = self.distribution.tokens

        def at(temperature: float) -> float:
            with torch.no_grad():
                tokens.log_scale.fill_(-math.log(temperature))
            return validate()

        best = max(TEMPERATURES, key=at)
        at(best)
        return best

    def memory(self, lm: Any, data: Dataset) -> MemoryPlan:
        """What tuning will need."""
        frozen = LoRAConfig(rank=0)
        return memory_plan(
            lm,
            frozen if self.tunable is None else self.config.lora,
            n_users=data.n_users,
            token_width=self.config.width,
            batch_size=self.config.batch_size,
            tokens=int(self.tokenized.lengths.max()) if self.tokenized is not None else 1,
            two_layer=self.config.head == "two-layer",
            negatives=self.config.negatives,
        )
