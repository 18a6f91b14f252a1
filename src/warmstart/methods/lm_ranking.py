"""lm_ranking: the titles that a causal LM finds likeliest after a dialogue; nothing is trained.

    score = log p(title and its end | dialogue, question, "1.")

Zero-shot recommendation by a language model, with the likelihood of titles in place of free
writing, so that every answer is an item ("Large Language Models as Zero-Shot Conversational
Recommenders", CIKM 2023, arXiv 2308.10053, lets the model write and matches what it wrote). It is
the slow ranking that reindexing learns from (``conversation.reindex``), and its rival.

The best titles are found by a search in the trie of titles. All other items share one score below
theirs. Mentioned items take no place of the search: their likelihoods are computed one by one, as
those of all items are where ``depth`` reaches to the end of the catalogue.
"""

import numpy as np
from pydantic import Field

from warmstart.config import Config
from warmstart.conversation.dialogue_prompts import DialoguePrompts, PromptConfig
from warmstart.conversation.recommender import ConversationRecommender
from warmstart.core import FitContext, LanguageModels, Traits
from warmstart.data.catalogue import Catalogue
from warmstart.data.dataset import Dataset
from warmstart.data.histories import Histories
from warmstart.data.queries import Queries
from warmstart.lm.best_titles import best_titles
from warmstart.lm.causal import CausalLM, CausalReference
from warmstart.lm.texts import TokenizedTexts
from warmstart.lm.trie import Trie


class LMRankingConfig(Config):
    """Settings of lm_ranking.

    Attributes:
        depth: number of items that are ranked; all others share one score below theirs.
        beam: beginnings of titles that the search keeps; the list is exact if it is as wide as the
            catalogue.
        per_token: rank by the mean log-likelihood per token, not by the sum, which prefers short
            titles.
        prompts: the words of the prompts.
    """

    depth: int = Field(default=50, ge=1)
    beam: int = Field(default=200, ge=1)
    per_token: bool = False
    prompts: PromptConfig = PromptConfig()


class LMRanking(ConversationRecommender):
    """The likelihood of titles under a causal LM."""

    name = "lm_ranking"
    config_type = LMRankingConfig
    traits = Traits(
        reads=frozenset({"texts"}),
        cold_items="content",
        answers=frozenset({"text"}),
        needs=frozenset({"causal"}),
    )

    def _fit(self, data: Dataset, context: FitContext) -> None:
        self._reference = CausalReference(self.fitted.lms["causal"], context.models.causal)
        DialoguePrompts(self._reference.lm, self.config.prompts).of_dialogues([""])

    def _score(self, queries: Queries, items: np.ndarray) -> np.ndarray:
        texts = queries.texts or ("",) * len(queries)
        if not len(texts):
            return np.zeros((0, len(items)), np.float32)
        causal = CausalLM(self._reference.lm)
        prompts = DialoguePrompts(causal.lm, self.config.prompts)
        asked = prompts.of_dialogues(texts)
        titles = prompts.titles(self.fitted.catalogue.names)
        if self.config.depth >= len(titles):
            scores = np.empty((len(texts), len(titles)), np.float32)
            every = Histories.from_lists([items] * len(texts))
            self._score_each(scores, causal, asked, titles, prompts.end, every)
            return scores[:, items]
        mentioned = queries.histories or Histories.from_lists([[]] * len(texts))
        scores = self._searched(causal, asked, titles, prompts.end, mentioned)
        self._score_each(scores, causal, asked, titles, prompts.end, mentioned)
        return scores[:, items]

    def _searched(
        self,
        causal: CausalLM,
        asked: TokenizedTexts,
        titles: list[list[int]],
        end: int,
        mentioned: Histories,
    ) -> np.ndarray:
        """Scores of the best titles, and one score for the rest: float32, (queries, n_items)."""
        config = self.config
        best = best_titles(
            causal, asked, Trie(titles), k=config.depth, end=end, beam=config.beam,
            per_token=config.per_token, left_out=mentioned,
        )  # fmt: skip
        lowest = np.where(best.items >= 0, best.scores, np.inf).min(axis=1)
        rest = np.where(np.isfinite(lowest), lowest - 1, 0).astype(np.float32)
        scores = np.repeat(rest[:, None], len(titles), axis=1)
        rows, places = np.nonzero(best.items >= 0)
        scores[rows, best.items[rows, places]] = best.scores[rows, places]
        return scores

    def _score_each(
        self,
        scores: np.ndarray,
        causal: CausalLM,
        asked: TokenizedTexts,
        titles: list[list[int]],
        end: int,
        chosen: Histories,
    ) -> None:
        """Put the likelihoods of chosen items of each query into the scores, one by one."""
        rows = np.flatnonzero(chosen.lengths).tolist()
        if not rows:
            return
        prompts = TokenizedTexts(tuple(asked.ids[row] for row in rows), asked.pad_id, 0)
        items = [np.unique(chosen[row]) for row in rows]
        told = [[[*titles[item], end] for item in own] for own in items]
        found = causal.log_likelihoods(prompts, told)
        for row, own, ids, values in zip(rows, items, told, found, strict=True):
            lengths = [len(tokens) if self.config.per_token else 1 for tokens in ids]
            scores[row, own] = values / lengths

    def _add_items(self, items: Catalogue) -> None:
        """Nothing is kept of items but the catalogue."""

    def _state(self) -> dict[str, np.ndarray]:
        return {}

    def _restore(self, state: dict[str, np.ndarray], models: LanguageModels) -> None:
        self._reference = CausalReference(self.fitted.lms["causal"], models.causal)
