"""The funnel of ColdLLM: filter, judge and selection, which together simulate a new item's users.

    vector ──coupled filter──▶ shortlist: the top K of all users
                                  │ each with the L items of the history most similar to the new one
    text ─────────────────judge──▶ log-odds of each shortlisted user
                                  │ filter and judge stacked: a probability for each
                         select ──▶ simulated interactions

The shortlist bounds the cost: the judge scores K pairs per item instead of one per user.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import Field
from scipy import sparse

from warmstart.backbones import Backbone
from warmstart.config import Config
from warmstart.core import FitContext
from warmstart.data.dataset import Dataset
from warmstart.data.interactions import Interactions
from warmstart.data.tasks import RankingTask
from warmstart.lm.causal import CausalReference
from warmstart.lm.load import LanguageModel
from warmstart.lm.text_vectors import TextVectors
from warmstart.rank import TableScorer, mean_metric
from warmstart.servable import item_blocks
from warmstart.simulate.funnel.coupled_filter import CoupledFilter, FilterConfig, fit_filter
from warmstart.simulate.funnel.cross_encoder import CrossEncoder
from warmstart.simulate.funnel.judge import Judge, JudgeConfig, tune_judge
from warmstart.simulate.funnel.select import (
    SelectConfig,
    Shortlist,
    fit_coefficients,
    labels_on,
    select,
    with_judge,
)
from warmstart.simulate.funnel.training_pairs import PairBuilder, training_pairs
from warmstart.simulate.funnel.yes_no import YesNoJudge
from warmstart.simulate.fusion import METRIC
from warmstart.simulate.hybrid import scores_over_users
from warmstart.simulate.user_scores import UserScores
from warmstart.storage import nest, unnest

logger = logging.getLogger(__name__)

USERS_PER_ITEM = (3, 5, 7, 10, 15, 20, 30, 50)
JUDGE_WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0)


class FunnelConfig(Config):
    """Settings of the funnel.

    Attributes:
        filter: settings of the filter, which reduces all users to the shortlist.
        shortlist_size: K, the number of users per item that the filter passes to the judge. 20 is
            the number in ColdLLM's public code. The judge's cost is proportional to it.
        judge: settings of the judge; None uses the filter alone.
        select: settings of the selection of simulated interactions from the shortlist.
    """

    filter: FilterConfig = Field(default_factory=FilterConfig)
    shortlist_size: int = Field(default=20, ge=1)
    judge: JudgeConfig | None = Field(default_factory=JudgeConfig)
    select: SelectConfig = Field(default_factory=SelectConfig)


class Funnel:
    """The fitted filter, judge and selection.

    Args:
        config: settings of the funnel.
        name: provenance of simulated interactions.
        coupled: the fitted filter.
        texts: text vectors of the catalogue, with the text encoder, loaded on first use.
        seen: training interactions, CSR, shape (n_users, n_items).
        catalogue_texts: texts of the catalogue.
        causal: the causal LM, for a judge that is one.
        judge: the tuned judge, or its saved state; None without a judge.

    Attributes:
        select: settings of the selection: ``config.select`` until a fit sets what validation chose.
    """

    def __init__(
        self,
        config: FunnelConfig,
        name: str,
        coupled: CoupledFilter,
        texts: TextVectors,
        seen: sparse.csr_matrix,
        catalogue_texts: Sequence[str],
        causal: CausalReference | None = None,
        judge: Judge | dict[str, np.ndarray] | None = None,
    ) -> None:
        self.config, self.name, self.coupled = config, name, coupled
        self.select = config.select
        self._texts, self._seen, self._catalogue_texts = texts, seen, catalogue_texts
        self._causal, self._judge = causal, judge
        self._pairs: PairBuilder | None = None

    # -- a new item --

    def shortlist(self, vectors: np.ndarray, texts: Sequence[str], k: int = 0) -> Shortlist:
        """Shortlist users of new items, and score them by the judge.

        Args:
            vectors: text vectors of the items, float32, shape (items, LM width).
            texts: texts of the items.
            k: users per item, if more than ``shortlist_size``.
        """
        user_scores = self.coupled.user_scores(vectors)
        users, scores = self.coupled.shortlist(user_scores, max(k, self.config.shortlist_size))
        items = np.repeat(np.arange(len(texts), dtype=np.int32), users.shape[1])
        log_odds = self.judge_pairs(items, users.ravel(), vectors, texts)
        return Shortlist(users, scores, log_odds.reshape(users.shape))

    def judge_pairs(
        self, items: np.ndarray, users: np.ndarray, vectors: np.ndarray, texts: Sequence[str]
    ) -> np.ndarray:
        """Compute the judge's log-odds for pairs of a new item and a user.

        Args:
            items: positions in ``texts``, int32, shape (pairs,).
            users: row numbers, int32, shape (pairs,).
            vectors: text vectors of the items, float32, shape (items, LM width).
            texts: texts of the items.

        Returns:
            float32, shape (pairs,); zeros without a judge.
        """
        judge = self._loaded_judge() if len(texts) else None
        if judge is None:
            return np.zeros(len(items), np.float32)
        pairs = self.pair_builder(judge.config).new_item_pairs(items, users, vectors, texts)
        return judge.log_odds(pairs)

    def simulate(
        self, shortlist: Shortlist, user_scores: np.ndarray
    ) -> tuple[sparse.csr_matrix, UserScores]:
        """Return simulated interactions to fold in, and user scores that include the judge.

        Args:
            shortlist: shortlists of some items.
            user_scores: the filter's scores of all users, float32, shape (items, n_users).

        Returns:
            Interactions as CSR, and user scores, float32; both have the shape (items, n_users).
        """
        events = relative_to_best(select(self.select, shortlist, self.name))
        matrix = as_matrix(events, *user_scores.shape)
        if self._judge_ranks(self.select):
            user_scores = with_judge(self.select.judge_weight, shortlist, user_scores)
        return matrix, UserScores(user_scores)

    def score_as_cold(
        self, rows: np.ndarray, shortlist: Shortlist | None, data: Dataset
    ) -> tuple[sparse.csr_matrix, UserScores]:
        """As ``simulate``, for the items at ``rows`` of the catalogue, all cold or all warm.

        Warm items are scored only to estimate standard deviations in a catalogue without cold
        items; ``shortlist=None`` then shortlists them without the judge.
        """
        user_scores = self.coupled.score_as_cold(self._texts.rows, rows, data)
        if shortlist is None:
            users, scores = self.coupled.shortlist(user_scores, self.config.shortlist_size)
            shortlist = Shortlist.without_judge(users, scores)
        return self.simulate(shortlist, user_scores)

    # -- choices on validation --

    def choose_selection(
        self, backbone: Backbone, cold: np.ndarray, shortlist: Shortlist, data: Dataset,
        task: RankingTask,
    ) -> SelectConfig:  # fmt: skip
        """Choose coefficients, judge weight and number of users on the cold validation slice.

        Args:
            backbone: the fitted backbone; the number of users is chosen by its fold-in.
            cold: row numbers of the cold items, ascending.
            shortlist: judged shortlists of the cold items.
            data: catalogue and training interactions.
            task: the cold validation slice.
        """
        candidates = shortlist.take(np.searchsorted(cold, task.candidates))
        labelled, labels = labels_on(task, candidates.users, data.n_users)
        chosen = fit_coefficients(self.config.select, candidates.take(labelled), labels)

        def quality(scores: np.ndarray) -> float:
            return mean_metric(TableScorer(task.candidates, scores).score, task, METRIC)

        if self._judge_ranks(chosen):
            user_scores = self.coupled.score_as_cold(self._texts.rows, task.candidates, data)
            qualities = {
                weight: quality(with_judge(weight, candidates, user_scores))
                for weight in JUDGE_WEIGHTS
            }
            weight = max(JUDGE_WEIGHTS, key=qualities.__getitem__)
            chosen = chosen.model_copy(update={"judge_weight": weight})
        if chosen.expected_interactions is not None:
            return chosen

        all_users = np.arange(data.n_users, dtype=np.int32)

        def quality_of_fold_in(users_per_item: int) -> float:
            events = relative_to_best(select(chosen, candidates, self.name, users_per_item))
            matrix = as_matrix(events, len(task.candidates), data.n_users)
            return quality(scores_over_users(backbone, backbone.fold_in(matrix), all_users))

        most = candidates.users.shape[1]
        numbers = sorted({min(number, most) for number in USERS_PER_ITEM})
        return chosen.model_copy(update={"users_per_item": max(numbers, key=quality_of_fold_in)})

    def _judge_ranks(self, config: SelectConfig) -> bool:
        """Whether the judge's log-odds are added to the user scores."""
        return self.config.judge is not None and config.rank_by != "filter"

    # -- judge and state --

    def pair_builder(self, config: JudgeConfig) -> PairBuilder:
        """Return the pair builder; built on first use, since recommending does not need it."""
        if self._pairs is None:
            length = config.history_length
            self._pairs = PairBuilder(self._seen, self._texts.rows, self._catalogue_texts, length)
        return self._pairs

    def _loaded_judge(self) -> Judge | None:
        """Return the judge, restored from its saved state on first use; None without a judge."""
        config = self.config.judge
        if config is not None and isinstance(self._judge, dict):  # loaded from an artefact
            state = self._judge
            self._judge = new_judge(self._judge_lm(config), config, np.random.default_rng(0))
            self._judge.restore(state)
        return self._judge if isinstance(self._judge, Judge) else None

    def _judge_lm(self, config: JudgeConfig) -> LanguageModel:
        if config.lm == "causal":
            assert self._causal is not None, "``fit`` has checked that it was given"
            return self._causal.lm
        return self._texts.encoder.lm

    def tune_judge(self, data: Dataset, context: FitContext) -> None:
        """Tune the judge, if one is configured, on pairs of warm items and users."""
        config = self.config.judge
        if config is None:
            return
        rng = context.rng.spawn(1)[0]
        judge = new_judge(self._judge_lm(config), config, rng)
        warm = np.flatnonzero(data.warm).astype(np.int32)
        items = np.sort(rng.choice(warm, min(config.training_items, len(warm)), replace=False))
        with context.run.stage("pairs"):
            ranked = []
            for block in item_blocks(len(items), data.n_users):
                scores = self.coupled.score_as_cold(self._texts.rows, items[block], data)
                ranked.append(self.coupled.shortlist(scores, config.hard_pool)[0])
            pairs, labels = training_pairs(
                self.pair_builder(config),
                data,
                np.concatenate(ranked),
                items,
                rng,
                hard=config.hard_pairs,
                random=config.random_pairs,
            )
        logger.info("judge: %d pairs, %.1f %% positive", len(labels), 100 * labels.mean())
        epochs = tune_judge(judge, pairs, labels, context)
        logger.info("judge: %d epochs", epochs)
        self._judge = judge

    def hash(self) -> str:
        """Return the sha256 of filter and judge, which determine shortlists."""
        config = self.config.judge
        models = "" if config is None else self._judge_lm(config).fingerprint
        digest = hashlib.sha256(models.encode())
        for state in (self.coupled.state(), self._judge_state()):
            for array in state.values():
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def _judge_state(self) -> dict[str, np.ndarray]:
        return self._judge.state() if isinstance(self._judge, Judge) else self._judge or {}

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays that ``restore`` needs."""
        return {**nest("filter", self.coupled.state()), **nest("judge", self._judge_state())}

    @classmethod
    def restore(
        cls,
        config: FunnelConfig,
        name: str,
        state: dict[str, np.ndarray],
        texts: TextVectors,
        seen: sparse.csr_matrix,
        catalogue_texts: Sequence[str],
        causal: CausalReference | None,
    ) -> "Funnel":
        """Rebuild a funnel from ``state``; the other arguments are as for the class."""
        coupled = CoupledFilter.restore(config.filter, unnest("filter", state))
        judge = unnest("judge", state)
        return cls(config, name, coupled, texts, seen, catalogue_texts, causal, judge)


def fit_funnel(
    config: FunnelConfig,
    name: str,
    backbone: Backbone,
    texts: TextVectors,
    data: Dataset,
    context: FitContext,
) -> tuple[Funnel, dict[str, Any]]:
    """Fit the filter, then tune the judge.

    Args:
        config: settings of the funnel.
        name: provenance of simulated interactions.
        backbone: the fitted backbone.
        texts: text vectors of the catalogue.
        data: catalogue and training interactions.
        context: language model, validation slices, random generator and run of the fit.

    Returns:
        The funnel, and the chosen settings, without those of the selection: ``choose_selection``
        needs judged shortlists.
    """
    coupled, chosen = fit_filter(config.filter, backbone, texts.rows, data, context)
    causal = context.models.causal
    funnel = Funnel(
        config,
        name,
        coupled,
        texts,
        data.matrix,
        data.catalogue.texts,
        None if causal is None else CausalReference(causal.spec, causal),
    )
    funnel.tune_judge(data, context)
    return funnel, {"filter": chosen}


def new_judge(lm: LanguageModel, config: JudgeConfig, rng: np.random.Generator) -> Judge:
    """Make an untuned judge: ``YesNoJudge`` on a causal LM, ``CrossEncoder`` on an encoder."""
    return (YesNoJudge if lm.spec.kind == "causal" else CrossEncoder)(lm, config, rng)


def relative_to_best(events: Interactions) -> Interactions:
    """Divide each weight by that of the item's likeliest user.

    Probabilities are too small beside the regulariser of fold-in (docs/log.md).
    """
    best = np.zeros(int(events.items.max(initial=-1)) + 1, np.float32)
    np.maximum.at(best, events.items, events.weights)
    return replace(events, weights=events.weights / best[events.items])


def as_matrix(events: Interactions, n_items: int, n_users: int) -> sparse.csr_matrix:
    """Return interactions as CSR, shape (n_items, n_users)."""
    return sparse.csr_matrix(events.matrix(n_users, n_items).T)
