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
from warmstart.data.queries import Queries
from warmstart.lm.causal import CausalLM, CausalReference
from warmstart.lm.title_scores import title_scores


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
        scores_by_lm=True,
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
        scores = title_scores(
            causal, asked, titles, end=prompts.end, depth=self.config.depth,
            beam=self.config.beam, per_token=self.config.per_token, not_searched=queries.histories,
        )  # fmt: skip
        return scores[:, items]

    def _add_items(self, items: Catalogue) -> None:
        """Nothing is kept of items but the catalogue."""

    def _state(self) -> dict[str, np.ndarray]:
        return {}

    def _restore(self, state: dict[str, np.ndarray], models: LanguageModels) -> None:
        self._reference = CausalReference(self.fitted.lms["causal"], models.causal)
