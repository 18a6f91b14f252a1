"""The funnel of ColdLLM: filter, judge and selection as one simulator of a new item's users.

vector ──coupled filter──▶ shortlist: the K best of all users
│ each with the L items of their history most like the new one
text ─────────────────judge──▶ log-odds of each shortlisted user
│ filter and judge stacked: a probability for each
select ──▶ simulated interactions
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
from warmstart.data.splits.cold import Validation
from warmstart.lm.load import LanguageModel
from warmstart.lm.text_vectors import TextVectors
from warmstart.rank import TableScorer, mean_metric
from warmstart.simulate.funnel.coupled_filter import CoupledFilter, FilterConfig, fit_filter
from warmstart.simulate.funnel.cross_encoder import CrossEncoder
from warmstart.simulate.funnel.judge import Judge, JudgeConfig, tune_judge
from warmstart.simulate.funnel.pairs import PairBuilder, training_pairs
from warmstart.simulate.funnel.select import (
    SelectConfig,
    Shortlist,
    fit_coefficients,
    labels_on,
    select,
    with_judge,
)
from warmstart.simulate.funnel.yes_no import YesNoJudge
from warmstart.simulate.fusion import METRIC
from warmstart.simulate.hybrid import item_blocks, scores_over_users
from warmstart.storage import nest, unnest

logger = logging.getLogger(__name__)

USERS_PER_ITEM = (3, 5, 7, 10, 15, 20, 30, 50)
JUDGE_WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0)


class FunnelConfig(Config):
    """Settings of the funnel.

    Attributes:
        filter: from all users to the shortlist.
        shortlist_size: K, the number of users that the filter passes on for each item.
        judge: the language model's part; None leaves the filter alone.
        select: from the shortlist to simulated interactions.
    """

    filter: FilterConfig = Field(default_factory=FilterConfig)
    shortlist_size: int = Field(default=20, ge=1)
    judge: JudgeConfig | None = Field(default_factory=JudgeConfig)
    select: SelectConfig = Field(default_factory=SelectConfig)


class Funnel:
    """Filter, judge and selection.

    Args:
        config: settings.
        name: the provenance of simulated interactions.
        coupled: the fitted filter.
        texts: text vectors of the catalogue; loads the language model when it is needed.
        seen: training interactions, CSR, shape (n_users, n_items).
        catalogue_texts: of the catalogue.
        judge: the tuned judge, or its saved state; neither if there is no judge.

    Attributes:
        select: ``config.select``, later with what validation chose.
    """

    def __init__(
        self,
        config: FunnelConfig,
        name: str,
        coupled: CoupledFilter,
        texts: TextVectors,
        seen: sparse.csr_matrix,
        catalogue_texts: Sequence[str],
        judge: Judge | dict[str, np.ndarray] | None = None,
    ) -> None:
        self.config, self.name, self.coupled = config, name, coupled
        self.select = config.select
        self._texts, self._seen, self._catalogue_texts = texts, seen, catalogue_texts
        self._judge = judge
        self._pairs: PairBuilder | None = None

    # -- a new item --

    def shortlist(self, vectors: np.ndarray, texts: Sequence[str], k: int = 0) -> Shortlist:
        """The shortlists of new items, judged; of ``k`` users if that is more than configured.

        Args:
            vectors: text vectors, float32, shape (items, LM width).
            texts: of the items.
            k: users an item.
        """
        user_scores = self.coupled.user_scores(vectors)
        users, scores = self.coupled.shortlist(user_scores, max(k, self.config.shortlist_size))
        items = np.repeat(np.arange(len(texts), dtype=np.int32), users.shape[1])
        log_odds = self.judge_pairs(items, users.ravel(), vectors, texts)
        return Shortlist(users, scores, log_odds.reshape(users.shape))

    def judge_pairs(
        self, items: np.ndarray, users: np.ndarray, vectors: np.ndarray, texts: Sequence[str]
    ) -> np.ndarray:
        """The judge's log-odds of pairs of a new item and a user.

        Args:
            items: positions in ``texts``, int32, shape (pairs,).
            users: rows, int32, shape (pairs,).
            vectors: text vectors of the items, float32, shape (items, LM width).
            texts: of the items.

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
    ) -> tuple[sparse.csr_matrix, np.ndarray]:
        """Simulated interactions to fold in, and user scores with the judge's log-odds.

        Args:
            shortlist: of some items.
            user_scores: the filter's, of all users, float32, shape (items, n_users).

        Returns:
            CSR and float32, both of the shape of ``user_scores``.
        """
        events = relative_to_best(select(self.select, shortlist, self.name))
        matrix = as_matrix(events, *user_scores.shape)
        if self._judge_ranks(self.select):
            user_scores = with_judge(self.select.judge_weight, shortlist, user_scores)
        return matrix, user_scores

    def score_as_cold(
        self, rows: np.ndarray, shortlist: Shortlist | None, data: Dataset
    ) -> tuple[sparse.csr_matrix, np.ndarray]:
        """As ``simulate``, for items of the catalogue, all cold or all warm.

        Warm ones take the place of cold ones if there are none, to estimate standard deviations;
        without a ``shortlist`` the judge is not asked.
        """
        user_scores = self.coupled.score_as_cold(self._texts.rows, rows, data)
        if shortlist is None:
            users, scores = self.coupled.shortlist(user_scores, self.config.shortlist_size)
            shortlist = Shortlist.without_judge(users, scores)
        return self.simulate(shortlist, user_scores)

    # -- choices on validation --

    def choose_selection(
        self, backbone: Backbone, cold: np.ndarray, shortlist: Shortlist, data: Dataset,
        valid: Validation,
    ) -> SelectConfig:  # fmt: skip
        """Choose coefficients, judge weight and number of users on the cold validation slice.

        Args:
            backbone: fitted.
            cold: rows of the cold items, ascending.
            shortlist: of these items, judged.
            data: catalogue and training interactions.
            valid: validation slices.
        """
        task = valid["cold"]
        candidates = shortlist.at(np.searchsorted(cold, task.candidates))
        labelled, labels = labels_on(task, candidates.users, data.n_users)
        chosen = fit_coefficients(self.config.select, candidates.at(labelled), labels)

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

        def quality_of_fold_in(users_per_item: int) -> float:
            events = relative_to_best(select(chosen, candidates, self.name, users_per_item))
            matrix = as_matrix(events, len(task.candidates), data.n_users)
            return quality(scores_over_users(backbone, backbone.fold_in(matrix), data.n_users))

        most = candidates.users.shape[1]
        numbers = sorted({min(number, most) for number in USERS_PER_ITEM})
        return chosen.model_copy(update={"users_per_item": max(numbers, key=quality_of_fold_in)})

    def _judge_ranks(self, config: SelectConfig) -> bool:
        """Whether the judge reorders a user's own list."""
        return self.config.judge is not None and config.rank_by != "filter"

    # -- judge and state --

    def pair_builder(self, config: JudgeConfig) -> PairBuilder:
        """Built when first needed: a model that only recommends needs none."""
        if self._pairs is None:
            length = config.history_length
            self._pairs = PairBuilder(self._seen, self._texts.rows, self._catalogue_texts, length)
        return self._pairs

    def _loaded_judge(self) -> Judge | None:
        config = self.config.judge
        if config is not None and isinstance(self._judge, dict):  # loaded from an artefact
            state, lm = self._judge, self._texts.encoder.lm
            self._judge = new_judge(lm, config, np.random.default_rng(0))
            self._judge.restore(state)
        return self._judge if isinstance(self._judge, Judge) else None

    def tune_judge(self, data: Dataset, context: FitContext) -> None:
        """Tune a judge on pairs of warm items, if the configuration asks for one."""
        config = self.config.judge
        if config is None:
            return
        rng = context.rng.spawn(1)[0]
        judge = new_judge(context.lm.lm, config, rng)
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
        """sha256 over filter and judge: all that a shortlist depends on beside its items."""
        digest = hashlib.sha256()
        for state in (self.coupled.state(), self._judge_state()):
            for array in state.values():
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def _judge_state(self) -> dict[str, np.ndarray]:
        return self._judge.state() if isinstance(self._judge, Judge) else self._judge or {}

    def state(self) -> dict[str, np.ndarray]:
        """Arrays that ``restore`` needs."""
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
    ) -> "Funnel":
        """Rebuild from ``state``; the other arguments are those of the class."""
        coupled = CoupledFilter.restore(config.filter, unnest("filter", state))
        judge = unnest("judge", state)
        return cls(config, name, coupled, texts, seen, catalogue_texts, judge)


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
        config: settings.
        name: the provenance of simulated interactions.
        backbone: fitted.
        texts: text vectors of the catalogue.
        data: catalogue and training interactions.
        context: of the fit.

    Returns:
        The funnel, and the chosen settings; those of the selection are chosen later.
    """
    coupled, chosen = fit_filter(config.filter, backbone, texts.rows, data, context)
    funnel = Funnel(config, name, coupled, texts, data.matrix, data.catalogue.texts)
    funnel.tune_judge(data, context)
    return funnel, {"filter": chosen}


def new_judge(lm: LanguageModel, config: JudgeConfig, rng: np.random.Generator) -> Judge:
    """An untuned judge of the form that fits the language model."""
    return (YesNoJudge if lm.spec.kind == "causal" else CrossEncoder)(lm, config, rng)


def relative_to_best(events: Interactions) -> Interactions:
    """Simulated interactions with weights divided by that of the item's likeliest user."""
    best = np.zeros(int(events.items.max(initial=-1)) + 1, np.float32)
    np.maximum.at(best, events.items, events.weights)
    return replace(events, weights=events.weights / best[events.items])


def as_matrix(events: Interactions, n_items: int, n_users: int) -> sparse.csr_matrix:
    """Interactions as CSR, shape (n_items, n_users)."""
    return sparse.csr_matrix(events.matrix(n_users, n_items).T)
