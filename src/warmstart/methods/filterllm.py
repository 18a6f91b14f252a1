"""filterllm: one pass of a language model gives a distribution over all users.

"FilterLLM: Text-To-Distribution LLM for Billion-Scale Cold-Start Recommendation", KDD 2025
(arXiv 2502.16924). Every user is a token. The LM encodes the text of an item once; the item's
likely users become simulated interactions; folding these in gives the cold item its vector, and no
other vector changes.

    interactions ──backbone──▶ vectors of users and items ─────────────┐ initial tokens, guidance
    text ──LM (LoRA or frozen)──▶ head ──▶ logits over user tokens ◀───┘
                                             │ softmax: the likeliest users, with weights
                                             ▼
                            fold-in with users frozen ──▶ vector of the cold item

Differences from paper and public code, with reasons:
- The guidance target is constant. (The code reassigns it after freezing, so it is trained too.)
- The head is signed. (The code's ReLU cannot match signed targets and loses half of the space.)
- The best epoch on cold validation items is kept, or the start if no epoch is better. (The code
  keeps the last epoch.)
- Tokens have a width of their own. (The code uses the LM's width, 4096.)
- By default the distribution starts at the closed-form ridge head of ``text_ridge`` (``ridge``),
  and the tokens correct it. They are fitted to its leave-one-out predictions, so that they correct
  its errors on new items, not on memorised ones. ``ridge=None`` uses the tokens alone.
- By default a cold item's score combines its folded-in vector and the distribution
  (``cold_score``): a vector of the backbone's width cannot hold the whole distribution.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from pydantic import Field
from scipy import sparse

from warmstart.backbones import Backbone, BackboneConfig
from warmstart.backbones.bpr import BprConfig
from warmstart.backbones.fit import fit_backbone
from warmstart.backbones.lightgcn import LightGcnConfig
from warmstart.backbones.vectors import collaborative_vectors
from warmstart.core import FitContext, LanguageModels, Traits
from warmstart.data.dataset import Dataset
from warmstart.data.interactions import Interactions
from warmstart.data.tasks import RankingTask
from warmstart.lm.lora import LoRAConfig, TunableLM, encode_with_adapter
from warmstart.lm.text_vectors import TextVectors
from warmstart.rank import top_k
from warmstart.retrieval.found import Found
from warmstart.retrieval.table import VectorTable
from warmstart.servable import ItemEncoding
from warmstart.simulate.distribution_tuning import (
    METRIC,
    DistributionTrainee,
    TokenTuningConfig,
    initialise_head,
)
from warmstart.simulate.funnel.select import (
    SelectConfig,
    Shortlist,
    fit_coefficients,
    labels_on,
)
from warmstart.simulate.hybrid import HybridConfig, HybridScorer, fit_hybrid
from warmstart.simulate.ridge import RidgeConfig, VectorRidgeConfig, fit_ridge
from warmstart.simulate.simulator import Simulator
from warmstart.simulate.table_simulator import TableSimulator
from warmstart.simulate.top_users import PlattConfig, likely_users, relative_weights
from warmstart.simulate.user_distribution import UserDistribution, keeps_products
from warmstart.simulate.user_scores import UserScores, found_users
from warmstart.simulate.user_tokens import UserTokens, initial_tokens
from warmstart.storage import nest, unnest
from warmstart.train import Schedule, train_stage

# Tuning does not depend on these settings, so variants that differ in them alone share one tuning.
_AFTER_TUNING = {
    "users_per_item",
    "sample_users",
    "audience_size",
    "platt",
    *HybridConfig.model_fields,
}


class FilterLLMConfig(TokenTuningConfig, HybridConfig):
    """Settings of filterllm; see also ``TokenTuningConfig`` and ``HybridConfig``.

    Attributes:
        backbone: kind and settings of the CF model.
        ridge: settings of the closed-form start of the distribution; None starts from the tokens
            alone, which over-fit a log of CiteULike-a's size (docs/decisions.md).
        ridge_logit_scale: factor from ridge scores to logits, used with ``ridge``.
        users_per_item: number of simulated users per item. With 50 fold-in had the best cold
            ndcg@20 on CiteULike-a validation: .2339, against .2198 with 20 and .2305 with 100
            (docs/log.md).
        sample_users: sample users from the distribution instead of taking the likeliest.
        audience_size: expected number of users of an item; scales the probabilities of simulated
            interactions. None uses the mean over warm items.
        platt: maps the distribution to these probabilities; fitted on validation if given.
    """

    backbone: BackboneConfig = Field(default_factory=BprConfig)
    ridge: VectorRidgeConfig | None = Field(default_factory=RidgeConfig)
    ridge_logit_scale: float = Field(default=20.0, gt=0)
    users_per_item: int = Field(default=50, ge=1)
    sample_users: bool = False
    audience_size: float | None = Field(default=None, gt=0)
    platt: PlattConfig = Field(default_factory=PlattConfig)


PAPER = FilterLLMConfig(
    backbone=LightGcnConfig(width=200),  # paper: LightGCN among three; width as ColdLLM's (code)
    lm_tuning="lora",
    lora=LoRAConfig(rank=8, alpha=32, dropout=0.1),  # code
    ridge=None,  # the paper has no closed-form start
    width=200,  # code: the LM's own width, 4096; here the backbone's
    head="linear",  # code: a square linear map, then ReLU; the ReLU is left out as a flaw
    temperature=1.0,  # code: no temperature (only with a ridge head is one chosen)
    guidance_weight=10 / 4096,  # code: 10, on a mean over 4096 dimensions; here a sum
    epochs=20,  # code
    batch_size=16,  # code, per device
    learning_rate=1e-4,  # code: one rate for all
    head_learning_rate=1e-4,
    token_learning_rate=1e-4,
    users_per_item=20,  # code: the top 20, although the paper samples
    cold_score="fold_in",  # paper: only the cold embedding is updated
)
"""Published settings; from the public code where the paper gives none (docs/papers.md)."""


class FilterLLM(Simulator, TableSimulator):
    """Simulates users by a distribution over all users, and folds the item into any backbone."""

    name = "filterllm"
    config_type = FilterLLMConfig
    traits = Traits(
        reads=frozenset({"interactions", "texts"}),
        cold_items="simulated",
        needs=frozenset({"encoder"}),
    )

    def _fit(self, data: Dataset, context: FitContext) -> None:
        self._check_sizes(data, context.encoder.width)
        backbone = fit_backbone(self.config.backbone, data, context)
        self.fitted.choices["backbone"] = backbone.choices
        self._seed = int(context.rng.integers(2**63))
        mean_audience = len(data.interactions) / int(data.warm.sum())
        self._audience_size = self.config.audience_size or mean_audience
        with context.run.stage("encode"):
            self._texts = TextVectors.from_texts(data.catalogue.texts, context.encoder)
        self._fit_distribution(backbone, data, context)
        self._platt = self.config.platt
        cold_task = context.task("cold")
        if cold_task is not None:
            self._platt = self._fit_platt(cold_task, data.n_users)
            self.fitted.choices["platt"] = self._platt.model_dump()
        with context.run.stage("simulate"):
            self._hybrid, chosen = fit_hybrid(
                self.config,
                backbone,
                partial(self._simulate_as_cold, data=data),
                data,
                context.valid,
            )
            self.fitted.choices |= chosen

    # -- stages of fit --

    def _check_sizes(self, data: Dataset, lm_width: int) -> None:
        """Refuse what would not fit in memory before any work."""
        config, ridge = self.config, self.config.ridge
        width = data.n_users
        if ridge is not None:
            ridge.check_size(self.name, int(data.warm.sum()), data.n_users, lm_width)
        if keeps_products(ridge, data.n_users):
            width = config.width + (0 if ridge is None else ridge.rank or 0)
        config.check_table(self.name, int((~data.warm).sum()), width)

    def _fit_distribution(self, backbone: Backbone, data: Dataset, context: FitContext) -> None:
        """Fit the ridge in closed form, then tune the tokens (and the LM) by gradient descent."""
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
                initialise_head(tokens, vectors, guides)
        scale = config.ridge_logit_scale if ridge is not None else 1.0
        distribution = UserDistribution(tokens, ridge, scale)
        tunable = None
        if config.lm_tuning == "lora":
            tunable = TunableLM(context.encoder.lm, config.lora, context.rng.spawn(1)[0])
        trainee = DistributionTrainee(distribution, data, rows, vectors, guides, tunable, config)
        self._distribution, self._adapter = distribution, {}
        self._tune(trainee, data, context)
        self._tuned, tunable = self._texts.rows, trainee.finish()
        if tunable is not None:
            self._adapter = tunable.adapter()
            with context.run.stage("encode"):
                lm, texts = context.encoder, data.catalogue.texts
                self._tuned = tunable.encode(
                    texts, folder=lm.folder, use_cache=lm.cache is not None
                )

    def _tune(self, trainee: DistributionTrainee, data: Dataset, context: FitContext) -> None:
        config = self.config
        if not config.epochs:
            return
        lm = context.encoder.lm
        advice = "lower batch_size or width, or sample negatives"
        trainee.memory(lm, data).check(f"{self.name}: tuning", lm.device, advice)
        validate = validated_on = None
        task, warm_task = context.task("cold"), context.task("warm", "all")
        if task is not None:
            # The backbone, on which tuning depends, was validated on the warm slice.
            validated_on = task.hash + ("" if warm_task is None else warm_task.hash)
            validate = trainee.validator(self._texts.rows, data, task)
            if config.ridge is not None:
                self.fitted.choices["temperature"] = trainee.choose_temperature(validate)
        settings = config.model_dump_json(exclude=_AFTER_TUNING)
        with trainee.without_whole_lm():
            result = train_stage(
                context.run,
                "tune",
                trainee,
                Schedule(config.epochs, 1, config.patience, f"cold {METRIC}", keep_start=True),
                context.rng.spawn(1)[0],
                depends_on=[settings, data.hash, context.encoder.lm.fingerprint],
                validate=validate,
                validated_on=validated_on,
                code=__name__,
            )
        if result.metric is not None:
            self.fitted.choices["epochs"] = result.best_epoch

    def _fit_platt(self, task: RankingTask, n_users: int) -> PlattConfig:
        """Fit probabilities to the labels of the likeliest users of cold validation items."""
        rows, k = task.candidates, min(self.config.users_per_item, n_users)
        scores = self._distribution.scores(self._texts.rows[rows], self._tuned[rows])
        if scores.users is not None:
            found = self._distribution.search(scores, k)
            users, top = found.rows.astype(np.int32), found.log_probabilities
        else:
            users, top = top_k(self._distribution.log_probabilities(scores.values), k)
        top = top + np.float32(math.log(self._audience_size))
        labelled, labels = labels_on(task, users, n_users)
        shortlist = Shortlist.without_judge(users, top).take(labelled)
        found = fit_coefficients(SelectConfig(rank_by="filter"), shortlist, labels)
        return PlattConfig(intercept=found.intercept, slope=found.filter_coefficient)

    # -- a new item --

    def _simulate_as_cold(
        self, rows: np.ndarray, data: Dataset
    ) -> tuple[sparse.csr_matrix, UserScores]:
        """Simulate interactions of catalogue items, warm ones as if cold; with user scores."""
        distribution, vectors = self._distribution, self._texts.rows
        scores, ridge = distribution.scores(vectors[rows], self._tuned[rows]), distribution.ridge
        if ridge is not None and data.warm[rows].all():
            if scores.users is not None:
                position = (np.cumsum(data.warm) - 1)[rows]
                left_out = ridge.leave_one_out_features(vectors[data.warm], position)
                scores = distribution.product_scores(self._tuned[rows], left_out)
            else:
                as_cold = ridge.score_as_cold(vectors, rows, data)
                scores = UserScores(scores.values + (as_cold - ridge.predict(vectors[rows])))
        return self._to_fold_in(scores), scores

    def _to_fold_in(self, scores: UserScores) -> sparse.csr_matrix:
        """Simulate interactions to fold in from user scores, CSR, shape (items, n_users).

        Sampled users get the weight 1. Likeliest users get weights in proportion to their scores,
        the first of them 1: probabilities are too small beside fold-in's regulariser (docs/log.md).
        """
        n_users, distribution = len(self.fitted.user_ids), self._distribution
        k = min(self.config.users_per_item, n_users)
        if scores.users is not None:
            found = distribution.search(scores, k, self._sampling_seed)
            events, top = self.simulated(found), distribution.without_bias(found)
        else:
            events = self._simulated(scores, k)
            top = scores.values[events.items, events.users].reshape(len(scores), k)
        weights = relative_weights(top).ravel()
        if self.config.sample_users:
            weights = np.ones(len(events), np.float32)
        matrix = replace(events, weights=weights).matrix(n_users, len(scores))
        return sparse.csr_matrix(matrix.T)

    @property
    def _sampling_seed(self) -> int | None:
        return self._seed if self.config.sample_users else None

    def _simulated(self, scores: UserScores, k: int) -> Interactions:
        if scores.users is not None:
            return self.simulated(self._distribution.search(scores, k, self._sampling_seed))
        return likely_users(
            self._distribution.log_probabilities(scores.values),
            min(k, scores.values.shape[1]),
            audience_size=self._audience_size,
            platt=self._platt,
            provenance=self.name,
            rng=np.random.default_rng(self._seed) if self.config.sample_users else None,
        )

    def user_table(self) -> VectorTable | None:
        """As ``TableSimulator.user_table``: there is one with ``ridge.rank``."""
        return self._distribution.table if self._distribution.is_product else None

    def user_queries(self, texts: Sequence[str]) -> np.ndarray:
        """As ``TableSimulator.user_queries``."""
        return self._distribution.queries(self._distribution.scores(*self._vectors(texts)))

    def sampling_keys_of(self, queries: np.ndarray) -> np.ndarray | None:
        """As ``TableSimulator.sampling_keys_of``, for ``sample_users``."""
        seed = self._sampling_seed
        return None if seed is None else self._distribution.sampling_keys(queries, seed)

    def simulated(self, found: Found) -> Interactions:
        """As ``TableSimulator.simulated``; weights are probabilities of an interaction."""
        log_expected = found.log_probabilities + math.log(self._audience_size)
        return found_users(found, self._platt.probability(log_expected), self.name)

    def encode_texts(self, texts: Sequence[str]) -> ItemEncoding:
        """As ``Simulator.encode_texts``: text vectors of the frozen LM, and of a tuned LM."""
        vectors, tuned = self._vectors(texts)
        return {"vectors": vectors, **({"tuned": tuned} if self._adapter else {})}

    def simulate_encoded(self, encoding: ItemEncoding) -> tuple[sparse.csr_matrix, UserScores]:
        """As ``Simulator.simulate_encoded``."""
        vectors = encoding["vectors"]
        scores = self._distribution.scores(vectors, encoding.get("tuned", vectors))
        return self._to_fold_in(scores), scores

    def top_users(self, encoding: ItemEncoding, user_scores: UserScores, k: int) -> Interactions:
        """As ``Simulator.top_users``."""
        return self._simulated(user_scores, k)

    @property
    def has_calibrated_probabilities(self) -> bool:
        """As ``Simulator.has_calibrated_probabilities``."""
        return self._platt != PlattConfig()

    def simulate_texts(self, texts: Sequence[str], k: int) -> Interactions:
        """As ``Simulates.simulate_texts``; weights are probabilities of an interaction."""
        return self._simulated(self._distribution.scores(*self._vectors(texts)), k)

    def _vectors(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Encode texts by the frozen and by the tuned LM; the same arrays without an adapter."""
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

    # -- scores and state --

    def _state(self) -> dict[str, np.ndarray]:
        return {
            "vectors": self._texts.rows,
            "audience_size": np.array([self._audience_size]),
            "seed": np.array([self._seed], np.int64),
            **self._hybrid.state(),
            **nest("adapter", self._adapter),
            **self._distribution.state(),
        }

    def _restore(self, state: dict[str, np.ndarray], models: LanguageModels) -> None:
        self._texts = TextVectors(state["vectors"], self.fitted.lms["encoder"], models.encoder)
        self._audience_size = float(state["audience_size"][0])
        self._platt = self.chosen.platt  # pyright: ignore[reportAttributeAccessIssue]
        self._seed = int(state["seed"][0])
        self._adapter = unnest("adapter", state)
        self._distribution = distribution = UserDistribution.restore(self.config.ridge, state)
        users = distribution.user_vectors if distribution.is_product else None
        self._hybrid = HybridScorer.restore(self.config.backbone, state, users)
