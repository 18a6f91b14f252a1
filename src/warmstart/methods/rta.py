"""rta: a conversation in, a ranked list of the whole catalogue out, in one step.

He, Xie, Steck, Liang, Jha, Kallus, McAuley, "Reindex-Then-Adapt: Improving Large Language Models
for Conversational Recommendation" (WSDM 2025, arXiv 2405.12119). A frozen causal LM reads the
dialogue; a small network makes one vector of each title (reindex), so one product scores all items;
a bias and a gate fit the scores to what the platform's dialogues recommend (adapt).

    dialogue ──causal LM──▶ state ──┐
             ──text encoder──▶ vector ├─▶ content ──bias──┐
    mentioned items ──their texts──┘                      ├──gate──▶ score
             ──recommender, co-mentions──────────────────┤
    similar training requests ────────────────────────────┘

An item that nobody has mentioned is scored by its title, its text and the bias of its genres; what
is learned by item speaks through warm items with similar texts.

Differences from paper and public code, with reasons:
- The bias is shrunk towards the item's genres and the multiplier to 1; see ``conversation.bias``.
- The gate weighs several parts, may depend on the query, and learns from dialogues that the parts
  did not see; see ``conversation.gate``.
- The text encoder is a second form of the query. Similar requests are a part of the score.
- Of a long dialogue the newest turns are read. (The code keeps the oldest.)
- Items mentioned before are left out of lists.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from scipy import sparse

from warmstart.conversation.fit import WAYS, Gates, ItemTerms, fit, part_names, products, terms_of
from warmstart.conversation.gate import Gate, features_of
from warmstart.conversation.lm_rows import state_cache
from warmstart.conversation.parts import Asked, ItemVectors, Learning, Parts
from warmstart.conversation.query_texts import newest_turns
from warmstart.conversation.recommender import ConversationRecommender
from warmstart.conversation.reindex import fit_reindex
from warmstart.conversation.settings import RTAConfig
from warmstart.conversation.stand_ins import StandIns, nearest_warm
from warmstart.conversation.title_index import TitleIndex
from warmstart.core import FitContext, LanguageModels, LMRole, Traits
from warmstart.data.catalogue import Catalogue
from warmstart.data.dataset import Dataset
from warmstart.data.histories import Histories
from warmstart.data.queries import Queries
from warmstart.lm.causal import CausalLM
from warmstart.lm.text_vectors import TextVectors
from warmstart.servable import ItemEncoding, ItemRows, QueryStates, ServesConversations, take_rows
from warmstart.similar_users import SimilarUsers
from warmstart.storage import nest, unnest

__all__ = ["RTA", "RTAConfig"]


@dataclass(frozen=True)
class RTAStates:
    """Who asks.

    Attributes:
        content: vectors whose products with those of items are the weighted content score.
        by_item: weighted scores of the items of the fit, float32, shape (queries, n_items).
        bias: weight of the bias, float32, shape (queries,).
    """

    content: ItemVectors
    by_item: np.ndarray
    bias: np.ndarray


class RTA(ConversationRecommender, ServesConversations):
    """Recommends in a conversation: by its words, and by the items that it mentions."""

    name = "rta"
    config_type = RTAConfig
    traits = Traits(
        reads=frozenset({"interactions", "dialogues", "texts", "attributes"}),
        cold_items="content",
        answers=frozenset({"history", "text"}),
        needs=frozenset({"encoder", "causal"}),
    )

    @property
    def needs(self) -> frozenset[LMRole]:
        """The causal LM is not needed without the part "lm"."""
        return frozenset({"encoder"}) if self.config.lm is None else self.traits.needs

    def _fit(self, data: Dataset, context: FitContext) -> None:
        catalogue, requests = data.catalogue, self._training_requests(data)
        with context.run.stage("encode"):
            self._texts = TextVectors.from_texts(catalogue.texts, context.encoder)
        self._titles_of_lm = self._fit_titles(catalogue, requests.queries, context)
        with context.run.stage("read"):
            asked = self._read(requests.queries)
        self._genre_names = _genre_names(catalogue)
        genres = _genre_matrix(catalogue, self._genre_names)
        titles = np.zeros((len(catalogue), 0), np.float32)
        if self._titles_of_lm is not None:
            titles = self._titles_of_lm.item_vectors
        items = ItemVectors(self._texts.rows, titles)
        learning = Learning(data, asked, requests.targets, requests.dialogues, genres, items)
        self._parts, self._gates, self.fitted.choices = fit(self.config, learning, context)
        self._rows = _as_rows(terms_of(self._parts, learning))

    def _fit_titles(
        self, catalogue: Catalogue, asked: Queries, context: FitContext
    ) -> TitleIndex | None:
        """Reindex the titles of the items; None without a causal LM."""
        rng = context.rng.spawn(1)[0]
        if self.config.lm is None:
            return None
        causal = cast(CausalLM, context.causal)
        cache = state_cache(causal, context.encoder)
        return fit_reindex(self.config.lm, causal, catalogue, asked, context.run, rng, cache)

    def _read(self, queries: Queries) -> Asked:
        """Run the language models over queries."""
        n = len(queries)
        histories = queries.histories or Histories.from_lists([[]] * n)
        texts = queries.texts or ("",) * n
        states = np.zeros((n, 0), np.float32)
        if self._titles_of_lm is not None:
            states = self._titles_of_lm.query_states(texts)
        newest = [newest_turns(text, self.config.turns) for text in texts]
        return Asked(histories, features_of(queries), self._texts.encode(newest), states)

    def _read_histories(self, histories: Histories) -> Asked:
        """As ``_read`` for queries without words; runs no language model."""
        features = features_of(Queries.of_histories(histories))
        widths = (self._rows[name].shape[1] for name in ("text_vectors", "title_vectors"))
        return Asked(
            histories, features, *(np.zeros((len(histories), w), np.float32) for w in widths)
        )

    # -- who asks --

    def _states(self, asked: Asked) -> RTAStates:
        weights = self._gates.weights(asked)
        vectors = ItemVectors(self._rows["text_vectors"], self._rows["title_vectors"])
        bias, *others = weights.T[:, :, None]
        content = ItemVectors(np.zeros_like(asked.texts), np.zeros_like(asked.lm_states))
        by_item = np.zeros((len(asked), self._parts.n_items), np.float32)
        of_content, of_items = np.split(np.array(others), [len(self._parts.by_content)])
        for weight, own in zip(of_content, self._parts.queries(asked, vectors), strict=True):
            content = ItemVectors(content.texts + weight * own.texts, content.lm + weight * own.lm)
        for weight, scores in zip(of_items, self._parts.score_by_item(asked), strict=True):
            by_item += weight * scores
        return RTAStates(content, by_item, bias[:, 0])

    def conversation_states(self, texts: Sequence[str], histories: Histories) -> QueryStates:
        asked = self._read(Queries.of_texts(texts, histories))
        return QueryStates(len(texts), ((self._states(asked), None),))

    def _user_states(self, users: np.ndarray) -> RTAStates:
        return self._states(self._read_histories(self.fitted.histories.take(users)))

    def _history_states(self, histories: Histories, similar: SimilarUsers) -> RTAStates:
        return self._states(self._read_histories(histories))

    @property
    def counts_in_histories(self) -> np.ndarray:
        """Warm items, and those with a text."""
        return self.fitted.warm | self.fitted.catalogue.has_text

    def _score(self, queries: Queries, items: np.ndarray) -> np.ndarray:
        if queries.texts is None:
            return super()._score(queries, items)
        asked = self._read(queries.with_histories(queries.histories_or(self.fitted.histories)))
        return self._score_states(QueryStates(len(queries), ((self._states(asked), None),)), items)

    # -- items --

    def warm_items(self, items: np.ndarray) -> ItemRows:
        return take_rows(self._rows, items)

    def _score_warm(self, states: RTAStates, items: ItemRows) -> np.ndarray:
        return self._score_item_rows(states, items)

    def cold_rows(self, items: np.ndarray) -> ItemRows:
        return take_rows(self._rows, items)

    def can_score(self, rows: ItemRows) -> np.ndarray:
        return np.asarray(rows["text_vectors"].any(axis=1))

    def _score_item_rows(self, states: RTAStates, rows: ItemRows) -> np.ndarray:
        vectors = ItemVectors(rows["text_vectors"], rows["title_vectors"])
        content = products(states.content, vectors)
        bias, factor = rows["biases"].T
        stand_ins = StandIns(rows["stand_ins"], rows["stand_in_weights"])
        return content * factor + stand_ins.mean(states.by_item) + states.bias[:, None] * bias

    def encode_items(self, items: Catalogue, *, audience: int = 0) -> tuple[ItemEncoding, ItemRows]:
        genres = _genre_matrix(items, self._genre_names)
        own = self._parts.bias.of_genres(genres)
        titles = np.zeros((len(items), 0), np.float32)
        if self._titles_of_lm is not None:
            titles = self._titles_of_lm.encode_titles(items.names)
        encoding = {
            "vectors": self._texts.encode(items.texts),
            "title_vectors": titles,
            "biases": np.stack([own[:, 0], np.exp(own[:, 1])], axis=1),
        }
        return encoding, self.item_rows(encoding)

    def item_rows(self, encoding: ItemEncoding) -> ItemRows:
        fitted, n = self.fitted, self._parts.n_items
        stand_ins = nearest_warm(
            encoding["vectors"], self._rows["text_vectors"][:n], fitted.warm[:n],
            self.config.stand_ins,
        )  # fmt: skip
        return {
            "text_vectors": encoding["vectors"],
            "title_vectors": encoding["title_vectors"],
            "biases": encoding["biases"],
            "stand_ins": stand_ins.items,
            "stand_in_weights": stand_ins.weights,
        }

    @property
    def text_vectors(self) -> np.ndarray:
        return self._rows["text_vectors"]

    def _add_items(self, items: Catalogue) -> None:
        _, rows = self.encode_items(items)
        self._rows = {name: np.concatenate([own, rows[name]]) for name, own in self._rows.items()}

    # -- artefact --

    def _state(self) -> dict[str, np.ndarray]:
        titles = {} if self._titles_of_lm is None else self._titles_of_lm.state()
        titles.pop("item_vectors", None)  # in the rows
        gates: dict[str, np.ndarray] = {}
        for way, gate in zip(WAYS, self._gates.gates, strict=True):
            gates |= nest(way, gate.state())
        return {
            **nest("titles", titles),
            **nest("items", self._rows),
            **nest("parts", self._parts.state()),
            **gates,
            "genres": np.frombuffer(json.dumps(self._genre_names).encode(), np.uint8),
        }

    def _restore(self, state: dict[str, np.ndarray], models: LanguageModels) -> None:
        self._rows = unnest("items", state)
        vectors = self._rows["text_vectors"]
        self._texts = TextVectors(vectors, self.fitted.lms["encoder"], models.encoder)
        self._titles_of_lm = self._restored_titles(state, models)
        self._genre_names = tuple(json.loads(state["genres"].tobytes()))
        self._parts = Parts.from_state(unnest("parts", state), self.config, self.fitted)
        names = part_names(self._parts)
        self._gates = Gates(tuple(Gate.from_state(unnest(way, state), names) for way in WAYS))

    def _restored_titles(
        self, state: dict[str, np.ndarray], models: LanguageModels
    ) -> TitleIndex | None:
        if self.config.lm is None:
            return None
        arrays = {**unnest("titles", state), "item_vectors": self._rows["title_vectors"]}
        causal, encoder = cast(CausalLM | None, models.causal), models.encoder
        cache = state_cache(causal, encoder) if causal and encoder else None
        return TitleIndex.from_state(
            arrays, self.config.lm.aggregator, self.config.lm.prompts, self.fitted.lms["causal"],
            causal, cache,
        )  # fmt: skip


def _as_rows(terms: ItemTerms) -> ItemRows:
    return {
        "text_vectors": terms.vectors.texts,
        "title_vectors": terms.vectors.lm,
        "biases": np.stack([terms.bias, terms.factor], axis=1),
        "stand_ins": terms.stand_ins.items,
        "stand_in_weights": terms.stand_ins.weights,
    }


def _genre_names(catalogue: Catalogue) -> tuple[str, ...]:
    """The genres of a catalogue; none without a column of them."""
    column = catalogue.genre_column
    return () if column is None else catalogue.attribute(column).values


def _genre_matrix(items: Catalogue, names: tuple[str, ...]) -> sparse.csr_matrix:
    """Which items have which of these genres."""
    if items.genre_column is None:
        return sparse.csr_matrix((len(items), len(names)), dtype=np.float32)
    found = items.attribute(items.genre_column).matrix_of(names)
    return sparse.csr_matrix(found, dtype=np.float32)
