"""coldllm: a filter shortlists users, a language model judges them, a backbone folds the item in.

"Large Language Model Simulator for Cold-Start Recommendation", WSDM 2025 (arXiv 2402.09176).

    text ──LM──▶ vector ──coupled filter──▶ shortlist: the top K of all users
                                               │ each with the L items most similar to the new one
    text ───────────────────LM (LoRA)──▶ judge ▶ log-odds of an interaction
                                               │ filter and judge stacked: a probability for each
                            fold-in with users frozen ──▶ vector of the cold item

Differences from paper and public code, with reasons:
- The judge's log-odds are kept and stacked with the filter's score. (The public judge gives a plain
  Yes or No, and 86 % of all pairs got a Yes.)
- A user is described by the items most similar to the new item, as in the paper. (The code takes
  the user's first 19 items.)
- The judge is trained on users from the top of the filter's ranking as well as on random ones.
  (The code samples random negatives only, but applies the judge at the top.) No held-out pair is
  used. (In the code 36 % of the hard targets were held out.)
- Only cold vectors are updated; ``update="retrain"`` is the variant of the public code.
- The number of simulated users is chosen on validation.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field
from scipy import sparse

from warmstart.backbones import Backbone, BackboneConfig, FactorBackbone
from warmstart.backbones.bpr import BprConfig
from warmstart.backbones.fit import fit_backbone
from warmstart.backbones.ngcf import NgcfConfig
from warmstart.core import FitContext, LanguageModels, LMRole, Traits
from warmstart.data.dataset import Dataset
from warmstart.data.interactions import Interactions, concatenate
from warmstart.lm.causal import CausalReference
from warmstart.lm.text_vectors import TextVectors
from warmstart.servable import ItemEncoding, item_blocks
from warmstart.shards import Shards
from warmstart.simulate.funnel.coupled_filter import FilterConfig
from warmstart.simulate.funnel.funnel import Funnel, FunnelConfig, fit_funnel, relative_to_best
from warmstart.simulate.funnel.judge import JudgeConfig
from warmstart.simulate.funnel.select import SelectConfig, Shortlist, select
from warmstart.simulate.funnel.towers import BehaviourTowerConfig, ContentTowerConfig
from warmstart.simulate.hybrid import HybridConfig, HybridScorer, fit_hybrid
from warmstart.simulate.simulator import Simulator
from warmstart.simulate.user_scores import UserScores
from warmstart.storage import nest, unnest

_SHORTLIST_FIELDS = ("users", "scores", "log_odds")


class ColdLLMConfig(FunnelConfig, HybridConfig):
    """Settings of coldllm; see also ``FunnelConfig`` and ``HybridConfig``.

    Attributes:
        backbone: kind and settings of the CF model.
        update: "fold_in" updates cold vectors only; "retrain" trains the backbone again on observed
            plus simulated interactions, as the public code does.
    """

    backbone: BackboneConfig = Field(default_factory=BprConfig)
    update: Literal["fold_in", "retrain"] = "fold_in"


PAPER = ColdLLMConfig(
    backbone=NgcfConfig(width=200, layers=3, loss="bpr", normalised=False, temperature=1.0),  # code
    filter=FilterConfig(
        ridge=None,  # the paper has no closed form
        content_tower=ContentTowerConfig(  # code: 4096 - 2048 - 200, as many negatives as positives
            width=200, hidden=2048, negatives=1, epochs=30, batch_size=128, learning_rate=1e-5
        ),
        behaviour_tower=BehaviourTowerConfig(width=200, hidden=200),  # ALDI's, in ColdRec
        content_weight=0.5,  # code: a plain sum; here of standardised scores, weight validated
    ),
    shortlist_size=20,  # code
    judge=JudgeConfig(
        history_length=10,  # code: 4 to 9 in training, 19 in inference; the paper's is not known
        hard_pairs=0,
        random_pairs=1,  # code: one of each label; there per user, here per item
        batch_size=16,  # not known
        learning_rate=1e-4,  # not known
    ),
    select=SelectConfig(rank_by="judge"),  # paper: the judge's Yes decides
    update="retrain",  # code; the paper updates cold vectors only
    cold_score="fold_in",
)
"""Published settings; from the public code where the paper gives none (docs/papers.md)."""


class ColdLLM(Simulator):
    """Simulates users by a funnel of filter and judge, and folds the item into any backbone."""

    name = "coldllm"
    config_type = ColdLLMConfig
    traits = Traits(
        reads=frozenset({"interactions", "texts"}),
        cold_items="simulated",
        needs=frozenset({"encoder"}),
    )

    @property
    def needs(self) -> frozenset[LMRole]:
        """As ``Recommender.needs``: the text encoder, and the causal LM if it is the judge."""
        judge = self.config.judge
        return self.traits.needs if judge is None else self.traits.needs | {judge.lm}

    def _fit(self, data: Dataset, context: FitContext) -> None:
        cold, ridge = np.flatnonzero(~data.warm), self.config.filter.ridge
        self.config.check_table(self.name, len(cold), data.n_users)
        if ridge is not None:
            width = context.encoder.width
            ridge.check_size(self.name, int(data.warm.sum()), data.n_users, width)
        backbone = fit_backbone(self.config.backbone, data, context)
        choices = self.fitted.choices
        choices["backbone"] = backbone.choices
        with context.run.stage("encode"):
            self._texts = TextVectors.from_texts(data.catalogue.texts, context.encoder)
        self._funnel, chosen = fit_funnel(
            self.config, self.name, backbone, self._texts, data, context
        )
        choices |= chosen
        self._store_shortlist(self._judge_shortlist(cold, data, context))
        task = context.task("cold")
        if task is not None:
            with context.run.stage("select"):
                self._funnel.select = self._funnel.choose_selection(
                    backbone, cold, self._shortlist, data, task
                )
            choices["select"] = self._funnel.select.model_dump(mode="json")
        trained = None
        if self.config.update == "retrain":
            backbone = self._retrained(backbone.chosen_config, cold, data, context)
            trained = backbone.vectors[1][cold] if isinstance(backbone, FactorBackbone) else None
        with context.run.stage("simulate"):
            self._hybrid, chosen = fit_hybrid(
                self.config,
                backbone,
                lambda rows: self._simulate_as_cold(rows, cold, data),
                data,
                context.valid,
                trained,
            )
            choices |= chosen

    # -- stages of fit --

    def _judge_shortlist(self, rows: np.ndarray, data: Dataset, context: FitContext) -> Shortlist:
        """Return judged shortlists of cold items of the catalogue; a run stores them in shards."""
        k = min(self.config.shortlist_size, data.n_users)
        if not len(rows):
            return Shortlist.empty(k)
        texts = [data.catalogue.texts[row] for row in rows]
        vectors = self._texts.rows[rows]
        config = self.config
        judge = None if config.judge is None else config.judge.model_dump_json()
        settings = [config.filter.model_dump_json(), judge, data.hash, config.shortlist_size]
        parts = f"{settings} {context.encoder.lm.fingerprint} {self._funnel.hash()}"
        key = hashlib.sha256(parts.encode()).hexdigest()
        labels = [
            f"{row} {text}".encode("utf-8", "surrogatepass") for row, text in enumerate(texts)
        ]

        def work(positions: np.ndarray) -> pl.DataFrame:
            found = self._funnel.shortlist(vectors[positions], [texts[at] for at in positions])
            return pl.DataFrame(
                {
                    "position": np.repeat(positions, k),
                    **{name: array.ravel() for name, array in found.state().items()},
                }
            )

        with context.run.stage("judge", key, code=__name__) as folder:
            item_keys = [hashlib.sha256(label).hexdigest() for label in labels]
            frame = Shards(folder, key).run(item_keys, work, "items")
        columns = (frame[name].to_numpy() for name in _SHORTLIST_FIELDS)
        return Shortlist(*(column.reshape(len(rows), k).copy() for column in columns))

    def _retrained(
        self, config: BackboneConfig, cold: np.ndarray, data: Dataset, context: FitContext
    ) -> Backbone:
        """Train the backbone again on observed and simulated interactions.

        ``config`` holds the number of epochs that was chosen on observed interactions.
        """
        events = relative_to_best(select(self._funnel.select, self._shortlist, self.name))
        simulated = Interactions.from_arrays(
            events.users, cold[events.items], weights=events.weights, provenance=self.name
        )
        both = concatenate([data.interactions, simulated])
        without_validation = replace(context, valid=None)
        return fit_backbone(config, data.with_interactions(both), without_validation)

    # -- a new item --

    def _simulate_as_cold(
        self, rows: np.ndarray, cold: np.ndarray, data: Dataset
    ) -> tuple[sparse.csr_matrix, UserScores]:
        shortlist = None
        if not data.warm[rows].any():
            shortlist = self._shortlist.take(np.searchsorted(cold, rows))
        return self._funnel.score_as_cold(rows, shortlist, data)

    def _store_shortlist(self, shortlist: Shortlist) -> None:
        """Store the shortlists of the cold items of the fit, to be found by row and by text."""
        self._shortlist = shortlist
        cold = np.flatnonzero(~self.fitted.warm)[: len(shortlist.users)]
        texts = self.fitted.catalogue.texts
        self._position_of_text = {texts[row]: position for position, row in enumerate(cold)}

    @property
    def shortlist(self) -> Shortlist:
        """Judged shortlists of the cold items of the fit, in row order."""
        return self._shortlist

    @property
    def funnel(self) -> Funnel:
        """The fitted funnel of filter, judge and selection."""
        return self._funnel

    def encode_texts(self, texts: Sequence[str]) -> ItemEncoding:
        """As ``Simulator.encode_texts``: text vectors, shortlists, and the judge's log-odds."""
        vectors, n_users = self._texts.encode(texts), len(self.fitted.user_ids)
        parts = [
            Shortlist.empty(min(self.config.shortlist_size, n_users)).state(),
            *(
                self._funnel.shortlist(vectors[rows], texts[rows]).state()
                for rows in item_blocks(len(texts), n_users)
            ),
        ]
        shortlist = {
            name: np.concatenate([part[name] for part in parts]) for name in _SHORTLIST_FIELDS
        }
        return {"vectors": vectors, **shortlist}

    def simulate_encoded(self, encoding: ItemEncoding) -> tuple[sparse.csr_matrix, UserScores]:
        """As ``Simulator.simulate_encoded``."""
        user_scores = self._funnel.coupled.user_scores(encoding["vectors"])
        return self._funnel.simulate(_shortlist_of(encoding), user_scores)

    def top_users(self, encoding: ItemEncoding, user_scores: UserScores, k: int) -> Interactions:
        """As ``Simulator.top_users``."""
        return select(self._funnel.select, _shortlist_of(encoding), self.name, k)

    @property
    def has_calibrated_probabilities(self) -> bool:
        """As ``Simulator.has_calibrated_probabilities``."""
        coefficients = {"intercept", "filter_coefficient", "judge_coefficient"}
        default = SelectConfig().model_dump(include=coefficients)
        return self._funnel.select.model_dump(include=coefficients) != default

    def simulate_texts(self, texts: Sequence[str], k: int) -> Interactions:
        """As ``Simulates.simulate_texts``; weights are probabilities of an interaction.

        Evidence: filter_score (in standard deviations) and judge_log_odds (0 without a judge).
        """
        positions = [self._position_of_text.get(text) for text in texts]
        if None in positions or k > self.config.shortlist_size:
            shortlist = self._funnel.shortlist(self._texts.encode(texts), texts, k)
        else:
            shortlist = self._shortlist.take(np.array(positions, np.int64))
        return select(self._funnel.select, shortlist, self.name, k)

    # -- scores and state --

    def _state(self) -> dict[str, np.ndarray]:
        return {
            "vectors": self._texts.rows,
            **self._hybrid.state(),
            **self._funnel.state(),
            **nest("shortlist", self._shortlist.state()),
        }

    def _restore(self, state: dict[str, np.ndarray], models: LanguageModels) -> None:
        fitted = self.fitted
        self._texts = TextVectors(state["vectors"], fitted.lms["encoder"], models.encoder)
        self._hybrid = HybridScorer.restore(self.config.backbone, state)
        causal = fitted.lms.get("causal")
        self._funnel = Funnel.restore(
            self.config,
            self.name,
            state,
            self._texts,
            fitted.positives,
            fitted.catalogue.texts,
            None if causal is None else CausalReference(causal, models.causal),
        )
        self._funnel.select = self.chosen.select  # pyright: ignore[reportAttributeAccessIssue]
        shortlist = unnest("shortlist", state)
        self._store_shortlist(Shortlist(*(shortlist[name] for name in _SHORTLIST_FIELDS)))


def _shortlist_of(encoding: ItemEncoding) -> Shortlist:
    return Shortlist(*(encoding[name] for name in _SHORTLIST_FIELDS))
