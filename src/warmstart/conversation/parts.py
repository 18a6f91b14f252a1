"""The parts of the score of rta: what they learn from, and their scores of the items of the fit."""

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from scipy import sparse

from warmstart.backbones.next_item import (
    NextItemModel,
    fit_next_item,
    next_item_state,
    restore_next_item,
)
from warmstart.conversation.bias import FittedBias, fit_bias, recency
from warmstart.conversation.co_mention import CoMentions, fit_co_mentions
from warmstart.conversation.gate import FEATURES
from warmstart.conversation.query_regression import QueryRegression, fit_query_regression
from warmstart.conversation.settings import RTAConfig
from warmstart.conversation.similar_requests import SimilarRequests
from warmstart.core import FitContext
from warmstart.data.dataset import Dataset
from warmstart.data.histories import Histories
from warmstart.errors import DataError
from warmstart.fitted import Fitted
from warmstart.storage import nest, unnest


@dataclass(frozen=True)
class Asked:
    """Queries as the parts read them.

    Attributes:
        histories: the mentioned items.
        features: what the weights of the parts depend on; see ``gate.features_of``.
        texts: unit vectors of the newest turns, float32, shape (queries, width); zeros for a query
            without words.
        lm_states: states of the causal LM, float32, shape (queries, width of the LM); zeros for a
            query without words, of width 0 without an LM.
    """

    histories: Histories
    features: np.ndarray
    texts: np.ndarray
    lm_states: np.ndarray

    def __len__(self) -> int:
        return len(self.histories)

    def take(self, rows: np.ndarray) -> "Asked":
        """Select queries by position."""
        return Asked(
            self.histories.take(rows), self.features[rows], self.texts[rows], self.lm_states[rows]
        )

    def without_words(self) -> "Asked":
        """The same queries by the mentioned items alone."""
        features = self.features.copy()
        features[:, FEATURES.index("log_turns")] = 0
        zeros = np.zeros_like(self.texts), np.zeros_like(self.lm_states)
        return Asked(self.histories, features, *zeros)

    def without_mentions(self) -> "Asked":
        """The same queries by their words alone."""
        features = self.features.copy()
        features[:, FEATURES.index("log_mentions")] = 0
        nothing = self.histories.where(np.zeros(len(self.histories.items), bool))
        return Asked(nothing, features, self.texts, self.lm_states)


@dataclass(frozen=True)
class ItemVectors:
    """What content scores are products with, of all items of a catalogue.

    Attributes:
        texts: unit text vectors, float32, shape (n_items, width).
        lm: vectors of the titles, float32, shape (n_items, width of the LM); width 0 without an LM.
    """

    texts: np.ndarray
    lm: np.ndarray


@dataclass(frozen=True)
class Learning:
    """What the parts learn from.

    Attributes:
        data: items, and who mentioned which.
        asked: the training requests.
        targets: what each was answered with, int32, shape (requests,).
        dialogues: the dialogue of each, int32, in the order of time.
        genres: which items have which genres, CSR, shape (n_items, genres).
        items: vectors of the items.
    """

    data: Dataset
    asked: Asked
    targets: np.ndarray
    dialogues: np.ndarray
    genres: sparse.csr_matrix
    items: ItemVectors


@dataclass(frozen=True)
class Parts:
    """The fitted parts.

    Attributes:
        config: the settings.
        n_items: items of the fit.
        bias: temperatures of the content scores, and the bias.
        query_regression: from queries to texts of items; or None.
        mentioned: a recommender over the mentioned items; or None.
        co_mention: another one; or None.
        similar_requests: the training requests; or None.
    """

    config: RTAConfig
    n_items: int
    bias: FittedBias
    query_regression: QueryRegression | None
    mentioned: NextItemModel | None
    co_mention: CoMentions | None
    similar_requests: SimilarRequests | None

    @property
    def by_item(self) -> tuple[str, ...]:
        """Names of the parts that are learned by item, in the order of ``score_by_item``."""
        names = ("mentioned", "co_mention", "similar_requests")
        return tuple(name for name in names if getattr(self, name) is not None)

    def score_by_item(self, asked: Asked) -> list[np.ndarray]:
        """Score the items of the fit by each part in ``by_item``: float32, (queries, n_items)."""
        known = asked.histories.where(asked.histories.items < self.n_items)
        found = []
        if self.mentioned is not None:
            states = np.nan_to_num(self.mentioned.encode(known))
            found.append(states @ self._mentioned_vectors.T)
        if self.co_mention is not None:
            found.append(self.co_mention.score(known))
        if self.similar_requests is not None:
            scores, spoken = (
                np.zeros((len(asked), self.n_items), np.float32),
                asked.texts.any(axis=1),
            )
            scores[spoken] = self.similar_requests.score(asked.texts[spoken])
            found.append(scores)
        return found

    @cached_property
    def _mentioned_vectors(self) -> np.ndarray:
        """Item vectors of the recommender over the mentioned items; zeros for an item without."""
        assert self.mentioned is not None
        return np.nan_to_num(self.mentioned.item_vectors)

    @property
    def by_content(self) -> tuple[str, ...]:
        """Names of the parts that are products with vectors of items, as ``queries`` gives them."""
        return ("content", *(["query_regression"] if self.query_regression is not None else []))

    def queries(self, asked: Asked, items: ItemVectors) -> list[ItemVectors]:
        """For each part in ``by_content`` vectors of queries; their products with items are scores.

        Args:
            asked: the queries.
            items: vectors of the items, those that histories mention among them.
        """
        mean = asked.histories.mean(items.texts)
        text, mentioned, lm = self.bias.temperatures
        found = [ItemVectors(text * asked.texts + mentioned * mean, lm * asked.lm_states)]
        if self.query_regression is not None:
            mapped = self.query_regression.queries(asked.texts, mean, asked.lm_states)
            found.append(ItemVectors(mapped, np.zeros_like(asked.lm_states)))
        return found

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays of an artefact."""
        arrays = nest("bias", self.bias.state())
        if self.query_regression is not None:
            arrays |= nest("query_regression", self.query_regression.state())
        if self.mentioned is not None:
            arrays |= nest("mentioned", next_item_state(self.mentioned))
        if self.co_mention is not None:
            arrays |= nest("co_mention", self.co_mention.state())
        if self.similar_requests is not None:
            arrays["similar_requests.vectors"] = self.similar_requests.vectors
            arrays["similar_requests.targets"] = self.similar_requests.targets
        return arrays

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray], config: RTAConfig, fitted: Fitted) -> "Parts":
        """Rebuild from ``state``."""
        bias = FittedBias.from_state(unnest("bias", state))
        n_items = len(bias.own)
        regression = mentioned = co_mention = similar = None
        if config.query_regression is not None:
            regression = QueryRegression(**unnest("query_regression", state))
        if config.mentioned is not None:
            mentioned = restore_next_item(config.mentioned, unnest("mentioned", state), fitted)
        if config.co_mention is not None:
            co_mention = CoMentions.from_state(unnest("co_mention", state), config.co_mention)
        if config.similar_requests is not None:
            arrays = state["similar_requests.vectors"], state["similar_requests.targets"]
            similar = SimilarRequests(*arrays, n_items, config.similar_requests)
        return cls(config, n_items, bias, regression, mentioned, co_mention, similar)


def fit_parts(
    config: RTAConfig, learning: Learning, context: FitContext
) -> tuple[Parts, dict[str, Any]]:
    """Fit all parts.

    Returns:
        The parts, and the settings that validation chose.

    Raises:
        DataError: the recommender over the mentioned items cannot learn from the data.
    """
    data, asked, items = learning.data, learning.asked, learning.items
    rng, choices = context.rng.spawn(1)[0], {}
    regression = mentioned = co_mention = similar = None
    if config.mentioned is not None:
        try:
            mentioned, chosen = fit_next_item(config.mentioned, data, context)
        except DataError as error:
            raise DataError(f"rta: {error}; mentioned = none leaves this part out") from None
        choices = {"mentioned": chosen}
    known = data.warm | (np.bincount(learning.targets, minlength=data.n_items) > 0)
    with context.run.stage("bias"):
        bias = fit_bias(
            partial(content_scores, config, asked, items), learning.targets,
            recency(learning.dialogues, config.bias.half_life), known, learning.genres,
            config.bias, rng,
        )  # fmt: skip
        used = [config.text, config.mentioned_texts, bool(items.lm.shape[1])]
        bias = replace(bias, temperatures=bias.temperatures * np.array(used, np.float32))
    if config.query_regression is not None:
        with context.run.stage("regression"):
            mean = asked.histories.mean(items.texts)
            inputs, wanted = (asked.texts, mean, asked.lm_states), items.texts[learning.targets]
            regression = fit_query_regression(inputs, wanted, config.query_regression)
    with context.run.stage("counts"):
        if config.co_mention is not None:
            co_mention = fit_co_mentions(data.matrix, items.texts, config.co_mention)
        if config.similar_requests is not None:
            similar = SimilarRequests(
                asked.texts, learning.targets, data.n_items, config.similar_requests
            )
    fitted = Parts(config, data.n_items, bias, regression, mentioned, co_mention, similar)
    return fitted, choices


def content_scores(
    config: RTAConfig, asked: Asked, items: ItemVectors, rows: np.ndarray
) -> list[np.ndarray]:
    """Score all items by each form of content, for requests at ``rows``; zeros if not used."""
    some = asked.take(rows)
    zeros = np.zeros((len(rows), len(items.texts)), np.float32)
    return [
        some.texts @ items.texts.T if config.text else zeros,
        some.histories.mean(items.texts) @ items.texts.T if config.mentioned_texts else zeros,
        some.lm_states @ items.lm.T if items.lm.shape[1] else zeros,
    ]
