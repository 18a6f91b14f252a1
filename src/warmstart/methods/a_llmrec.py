"""a_llmrec: a language model that reads the vectors of a collaborative model beside the words.

"Large Language Models meet Collaborative Filtering: An Efficient All-round LLM-based Recommender
System", KDD 2024 (arXiv 2404.11343). Stage 1 brings the vectors of items and of their texts
together; stage 2 lets a frozen causal LM read them in its prompt.

    interactions ──backbone──▶ E, states x ─┐                 ┌─▶ score of the backbone: x . E'
    texts ──encoder──▶ Q ──────────────────▶ alignment ─▶ e or q
                                                              └─▶ slots of the prompt ─▶ causal LM
    titles ───────────────────────────────────────────────────────▶ words of the prompt ─┘  │
                                         titles of candidates, or h . g over the catalogue ◀┘

An item with interactions has the joint vector e, one without has q, from its text in one pass.

Differences from paper and public code, with reasons:
- The backbone and the LM are in evaluation mode. (The code's backbone keeps its dropout of .5, so
  the LM learns from other states than it reads in use.)
- Padding is no target, and users with one training item train nothing. (The code trains on both.)
- The recommendation loss uses the product of state and vector. (The code uses its mean.)
- Candidates are compared by item, not by a title that occurs in an answer.
- A slot of the user stands after every item, not once at the start; so one pass trains all
  positions (the paper's A-LLMRec_all), and no state tells what it is to predict.
- By default a catalogue is ranked by inner products (``scoring``), after LLM-SRec (KDD 2025) by the
  same authors, since a question cannot hold it; and the score adds that of the aligned backbone,
  which the LM then need not repeat.
"""

import logging
from collections.abc import Sequence
from copy import copy
from typing import Any, Self, cast

import numpy as np

from warmstart.backbones.next_item import fit_next_item, next_item_state, restore_next_item
from warmstart.collaborative_lm.alignment import AlignmentConfig
from warmstart.collaborative_lm.fit import (
    fit_alignment,
    fit_prompts,
    restore_items,
    validation_tasks,
)
from warmstart.collaborative_lm.items import AlignedItems
from warmstart.collaborative_lm.model import PromptHistories, PromptModel, prompt_histories
from warmstart.collaborative_lm.network import PromptNetwork
from warmstart.collaborative_lm.prompts import PromptWriter
from warmstart.collaborative_lm.settings import PAPER, ALLMRecConfig, Scoring
from warmstart.collaborative_lm.titles import checked_answers, order_by_titles
from warmstart.collaborative_lm.weights import FittedWeights, fit_weights, parts_of
from warmstart.core import FitContext, LanguageModels, LMRole, Traits
from warmstart.data.catalogue import Catalogue
from warmstart.data.dataset import Dataset
from warmstart.data.histories import Histories
from warmstart.data.queries import Queries
from warmstart.errors import DataError, UnsupportedError
from warmstart.item_search import SMALLEST, ItemSearch
from warmstart.lm.causal import CausalLM, CausalReference
from warmstart.lm.encode import TextEncoder
from warmstart.lm.generate import end_token
from warmstart.lm.lora import TunableLM, encode_with_adapter
from warmstart.lm.text_vectors import TextVectors
from warmstart.process import check_process
from warmstart.rank import of_own_candidates
from warmstart.run import resumable_rows, stage_key
from warmstart.sampling import evenly_spaced
from warmstart.servable import ItemEncoding, ItemRows, ProductServable
from warmstart.similar_users import SimilarUsers
from warmstart.storage import nest, unnest

__all__ = ["PAPER", "ALLMRec"]

logger = logging.getLogger(__name__)

_SAMPLE_SIZE = 1000  # users that the variances of scores are computed on without validation
_BY_TITLES = ("likelihood", "generation")


class ALLMRec(ProductServable):
    """Ranks warm and new items by a language model that reads a collaborative model's vectors."""

    name = "a_llmrec"
    config_type = ALLMRecConfig
    traits = Traits(
        reads=frozenset({"order", "texts"}),
        cold_items="content",
        answers=frozenset({"user", "history"}),
        needs=frozenset({"encoder", "causal"}),
    )

    @property
    def needs(self) -> frozenset[LMRole]:
        """The causal LM is not needed if the aligned backbone alone ranks."""
        return frozenset({"encoder"}) if self.config.scoring == "alignment" else self.traits.needs

    @property
    def _prompts_lm(self) -> bool:
        return self.config.scoring != "alignment"

    def _fit(self, data: Dataset, context: FitContext) -> None:
        config = self.config
        self._check_causal(cast(CausalLM | None, context.models.causal))
        if self._prompts_lm and not config.retrieves and config.warm_weights.lm:
            logger.warning(
                'a_llmrec: tuning.epochs or tuning.retrieval_weight is 0, so the part "lm" of the '
                "score is not trained; leave it out by warm_weights.lm = 0 and cold_weights.lm = 0"
            )
        self._backbone, chosen = fit_next_item(config.backbone, data, context)
        choices: dict[str, Any] = {"backbone": chosen}
        rngs = context.rng.spawn(2)
        with context.run.stage("encode"):
            texts = context.encoder.encode(data.catalogue.texts)
        states = self._backbone.encode_events(data.histories)
        self._items, tuned, epochs = fit_alignment(
            config.alignment, self._backbone, states, data, texts, context, rngs[0],
            config.tuning.validation_queries,
        )  # fmt: skip
        choices |= {} if epochs is None else {"alignment": {"epochs": epochs}}
        self._keep_encoder(context.models, {} if tuned is None else tuned.adapter())
        self._prompts, self._text_states = None, np.zeros((data.n_items, 0), np.float32)
        if self._prompts_lm:
            causal = cast(CausalLM, context.causal)
            with context.run.stage("encode"):
                kept = context.encoder.cache is not None
                reader = TextEncoder(causal.lm, folder=context.encoder.folder, use_cache=kept)
                self._text_states = reader.encode(data.catalogue.texts)
            self._prompts, adapted, epochs = fit_prompts(
                config.tuning, self._backbone, states, self._items, data, self._text_states, causal,
                context, rngs[1],
            )  # fmt: skip
            self._lm_adapter = adapted.adapter()
            self._network_state = self._prompts.network.state()
            self._state_scale = self._prompts.state_scale
            choices |= {} if epochs is None else {"tuning": {"epochs": epochs}}
        with context.run.stage("weights"):
            choices |= self._fit_weights(data, context)
        self._item_rows = self._weighted_rows(self._items, self._text_states)
        self.fitted.choices = choices
        depends_on = [
            config.model_dump_json(exclude={"scoring"}), data.interactions.order_hash,
            self._item_rows,
        ]  # fmt: skip
        with context.run.stage("users", stage_key(depends_on), code=__name__) as folder:
            self._user_rows = resumable_rows(
                lambda some: np.nan_to_num(self._rows_of(data.histories.take(some))),
                data.n_users, folder,
            )  # fmt: skip

    def _check_causal(self, causal: CausalLM | None) -> None:
        """Check what the LM must be able to do, before anything is trained."""
        if causal is None or not self._prompts_lm:
            return
        config, writes = self.config, self.config.scoring in _BY_TITLES
        asks = writes or (config.tuning.epochs and config.tuning.question_rate)
        writer = PromptWriter(causal.lm, (), config.tuning)
        writer.check_length(config.tuning.n_candidates if asks else 0)
        if config.scoring == "generation":
            end_token(causal)

    def _fit_weights(self, data: Dataset, context: FitContext) -> dict[str, Any]:
        """Scale the parts of the scores, and choose their weights on validation."""
        config, warm = self.config, self._items.has_learned
        tasks = validation_tasks(context, warm, config.tuning.validation_queries)
        users = {
            name: self._rows_of(task.queries.histories_or(data.histories))
            for name, task in tasks.items()
        }
        sample = users.get("all")
        if sample is None:
            some = evenly_spaced(data.n_users, _SAMPLE_SIZE)
            sample = self._rows_of(data.histories.take(some))
        items = self._rows_of_items(self._items, self._text_states)
        start = config.warm_weights, config.cold_weights
        self._weights = fit_weights(tasks, users, sample, items, warm, self._parts, start)
        return self._weights.choices if tasks else {}

    # -- vectors whose products are scores --

    @property
    def _parts(self) -> dict[str, slice]:
        """The columns of the vectors that belong to each part of the score."""
        widths = {"backbone": self._items.scoring.shape[1]}
        if self._prompts_lm:
            widths["lm"] = self.config.tuning.head_width
        return parts_of({**widths, "text": self._items.texts.shape[1]})

    def _rows_of(self, histories: Histories) -> np.ndarray:
        """Vectors of histories, float32, shape (histories, all widths); NaN for unknown ones."""
        parts, found = self._parts, np.full((len(histories), self._width), np.nan, np.float32)
        told = self._told(histories)
        rows = np.flatnonzero(told.histories.lengths)
        if not len(rows):
            return found
        told = told.take(rows)
        found[rows, parts["backbone"]] = told.newest_states
        described = histories.where(self._items.has_text[histories.items]).take(rows)
        found[rows, parts["text"]] = described.mean(self._items.texts)
        if self._prompts_lm:
            found[rows, parts["lm"]] = self._prompted.user_rows(told)
        return found

    def _told(self, histories: Histories) -> PromptHistories:
        """What a prompt tells of histories: their newest known items, with states."""
        length = self.config.tuning.history_length
        return prompt_histories(self._backbone, self._items, histories, length)

    def _rows_of_items(self, items: AlignedItems, text_states: np.ndarray) -> np.ndarray:
        """Vectors of items before scales and weights, float32, shape (items, all widths)."""
        found = {"backbone": items.scoring, "text": items.texts}
        if self._prompts_lm:
            slots = items.slots_of(self.config.tuning.item_token)
            found["lm"] = self._prompted.item_rows(slots, text_states)
        return np.concatenate([found[name] for name in self._parts], axis=1)

    def _weighted_rows(self, items: AlignedItems, text_states: np.ndarray) -> np.ndarray:
        """Vectors of items whose products with those of histories are scores."""
        return self._weights.weigh(self._rows_of_items(items, text_states), items.has_learned)

    @property
    def _width(self) -> int:
        return next(reversed(self._parts.values())).stop

    # -- what is served --

    @property
    def _vectors_of_items(self) -> np.ndarray:
        return self._item_rows

    @property
    def counts_in_histories(self) -> np.ndarray:
        return self._items.known

    def _user_states(self, users: np.ndarray) -> np.ndarray:
        return self._user_rows[users]

    def _history_states(self, histories: Histories, similar: SimilarUsers) -> np.ndarray:
        return self._rows_of(histories)

    def encode_items(self, items: Catalogue, *, audience: int = 0) -> tuple[ItemEncoding, ItemRows]:
        encoding = {"vectors": self._encode(items.texts)}
        if self._prompts_lm:
            encoding["text_states"] = self._reader.encode(items.texts)
        return encoding, self.item_rows(encoding)

    def item_rows(self, encoding: ItemEncoding) -> ItemRows:
        items, n = self._items.new(encoding["vectors"]), len(encoding["vectors"])
        text_states = encoding.get("text_states", np.zeros((n, 0), np.float32))
        return {"vectors": self._weighted_rows(items, text_states)}

    @property
    def text_vectors(self) -> np.ndarray:
        return self._items.texts

    # -- titles --

    def _score(self, queries: Queries, items: np.ndarray) -> np.ndarray:
        scores = super()._score(queries, items)
        return self._by_titles(queries, np.broadcast_to(items, scores.shape), scores)

    def _score_own_candidates(self, queries: Queries, items: np.ndarray) -> np.ndarray:
        scores = of_own_candidates(super()._score)(queries, items)
        return self._by_titles(queries, items, scores)

    def item_search(self, candidates: np.ndarray, *, smallest: int = SMALLEST) -> ItemSearch | None:
        if self.config.scoring in _BY_TITLES:
            return None
        return super().item_search(candidates, smallest=smallest)

    def _by_titles(self, queries: Queries, items: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Order the best items of each query anew by their titles, where ``scoring`` says so."""
        scoring = self.config.scoring
        if scoring not in _BY_TITLES:
            return scores
        self._prompted.writer.check_length(self.config.tuning.n_candidates)
        histories = queries.histories_or(self.fitted.histories)
        told = self._told(histories)
        rows = np.flatnonzero(told.histories.lengths)
        had = histories.take(rows).matrix(len(self._items))
        asked, n = items[rows], self.config.tuning.n_candidates
        scores[rows] = order_by_titles(
            self._prompted, told.take(rows), asked, scores[rows],
            in_history=had[np.indices(asked.shape)[0], asked].toarray() > 0, n=n, scoring=scoring,
        )  # fmt: skip
        return scores

    def text_likelihoods(
        self, queries: Queries, question: str, answers: Sequence[str]
    ) -> np.ndarray:
        """Ask the LM a question about users, with their histories before it, and score answers.

        Args:
            queries: who asks.
            question: such as "The category that this customer likes most is:".
            answers: the texts to choose from, such as the names of categories; none is empty.

        Returns:
            Mean log-likelihood of a token of each answer, float32, shape (queries, answers); NaN
            for a query of which no item is known.

        Raises:
            DataError: an answer is empty, or there is none.
            UnsupportedError: the model was fitted without a causal LM.
        """
        check_process()
        if not isinstance(queries, Queries):
            raise DataError(f"text_likelihoods: queries are {queries!r}; allowed: Queries")
        self._check_answers(queries)
        if not self._prompts_lm:
            raise UnsupportedError(f"{self.name}: scoring = 'alignment' has no causal LM to ask")
        texts = checked_answers(question, answers)
        n_users = len(self.fitted.user_ids)
        if len(queries) and queries.users.max() >= n_users:
            raise DataError(
                f"text_likelihoods: user {queries.users.max()}; allowed: rows from 0 to "
                f"{n_users - 1}, or -1 for an unknown user"
            )
        found = np.full((len(queries), len(texts)), np.nan, np.float32)
        told = self._told(queries.histories_or(self.fitted.histories))
        rows = np.flatnonzero(told.histories.lengths)
        if len(rows):
            found[rows] = self._prompted.text_likelihoods(told.take(rows), question, texts)
        return found

    # -- language models, new items, artefact --

    def with_scoring(self, scoring: Scoring) -> Self:
        """Return the same fitted model with another way of scoring; see ``ALLMRecConfig``.

        Raises:
            ConfigError: there is no such way.
            UnsupportedError: the model was fitted with "alignment", so it has no causal LM, or
                ``scoring`` is "alignment", whose weights are others.
        """
        if (scoring == "alignment") == self._prompts_lm:
            raise UnsupportedError(
                f"{self.name}: scoring is {self.config.scoring!r}, got {scoring!r}; allowed: "
                "'retrieval', 'likelihood' and 'generation' in place of each other"
            )
        made = copy(self)
        settings = self.config.model_dump(mode="json")
        made.config = self.config_type.build({**settings, "scoring": scoring})
        return made

    @property
    def _prompted(self) -> PromptModel:
        """The prompted LM, loaded on first use."""
        if self._prompts is None:
            tuned = TunableLM(self._causal.lm, self.config.tuning.lora, np.random.default_rng(0))
            tuned.load_adapter(self._lm_adapter)
            titles, config = self.fitted.catalogue.names, self.config.tuning
            self._prompts = PromptModel(
                CausalLM(tuned.tuned()),
                PromptNetwork.from_state(self._network_state, config),
                PromptWriter(tuned.lm, titles, config),
                self._items.slots_of(self.config.tuning.item_token),
                self._text_states,
                self._state_scale,
            )
        return self._prompts

    @property
    def _reader(self) -> TextEncoder:
        """Computes states of the causal LM after texts, without its adapter."""
        return TextEncoder(self._causal.lm, use_cache=False)

    def _keep_encoder(self, models: LanguageModels, adapter: dict[str, np.ndarray]) -> None:
        """Remember the language models, which are loaded on first use if they are not given."""
        lms = self.fitted.lms
        self._texts = TextVectors(self._items.texts, lms["encoder"], models.encoder)
        if self._prompts_lm:
            self._causal = CausalReference(lms["causal"], models.causal)
        self._adapter = adapter

    def _encode(self, texts: Sequence[str]) -> np.ndarray:
        """Encode texts by the text encoder of stage 1."""
        if not self._adapter:
            return self._texts.encode(texts)
        config, lm = self.config.alignment, self._texts.encoder.lm
        assert isinstance(config, AlignmentConfig), "a regression trains no encoder"
        whole = config.text_encoder == "full"
        return encode_with_adapter(lm, config.lora, self._adapter, texts, whole=whole)

    def _add_items(self, items: Catalogue) -> None:
        encoding, rows = self.encode_items(items)
        self._items = self._items.extended(encoding["vectors"])
        states = encoding.get("text_states", np.zeros((len(items), 0), np.float32))
        self._text_states = np.concatenate([self._text_states, states])
        self._item_rows = np.concatenate([self._item_rows, rows["vectors"]])
        if self._prompts is not None:
            slots = self._items.slots_of(self.config.tuning.item_token)
            self._prompts = self._prompts.extended(items.names, slots, self._text_states)

    def _state(self) -> dict[str, np.ndarray]:
        arrays = {
            "user_rows": self._user_rows,
            "item_rows": self._item_rows,
            "text_vectors": self._items.texts,
            "text_states": self._text_states,
            **nest("weights", self._weights.state()),
            **nest("backbone", next_item_state(self._backbone)),
            **nest("alignment", self._items.alignment.state()),
            **nest("encoder", self._adapter),
        }
        if self._prompts_lm:
            arrays |= {
                "state_scale": np.array(self._state_scale),
                **nest("network", self._network_state),
                **nest("adapter", self._lm_adapter),
            }
        return arrays

    def _restore(self, state: dict[str, np.ndarray], models: LanguageModels) -> None:
        self._backbone = restore_next_item(
            self.config.backbone, unnest("backbone", state), self.fitted
        )
        self._items = restore_items(
            self.config.alignment, unnest("alignment", state), self._backbone.item_vectors,
            state["text_vectors"],
        )  # fmt: skip
        self._user_rows, self._item_rows = state["user_rows"], state["item_rows"]
        self._text_states, self._prompts = state["text_states"], None
        self._weights = FittedWeights.from_state(unnest("weights", state), self._parts)
        if self._prompts_lm:
            self._network_state = unnest("network", state)
            self._state_scale = float(state["state_scale"])
            self._lm_adapter = unnest("adapter", state)
        self._keep_encoder(models, unnest("encoder", state))
