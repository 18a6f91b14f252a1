"""A method that is asked in words, and the same with one fault each."""

from copy import copy

import numpy as np

from warmstart.config import Config
from warmstart.conversation.query_texts import newest_turns
from warmstart.conversation.recommender import ConversationRecommender
from warmstart.core import Traits
from warmstart.data.histories import Histories


class NoSettings(Config):
    """No settings."""


class SharedWords(ConversationRecommender):
    """Scores an item by the words that its text shares with the newest turns."""

    name = "shared_words"
    config_type = NoSettings
    traits = Traits(reads=frozenset({"texts"}), cold_items="content", answers=frozenset({"text"}))

    def _fit(self, data, context):
        self._remember(data.catalogue.texts)

    def _remember(self, texts):
        self._words = [frozenset(text.split()) for text in texts]

    def _score(self, queries, items):
        scores = np.zeros((len(queries), len(items)), np.float32)
        for query, text in enumerate(queries.texts):
            said = set(newest_turns(text).split())
            scores[query] = [len(said & self._words[item]) for item in items]
        return scores

    def _add_items(self, items):
        self._words = [*self._words, *(frozenset(text.split()) for text in items.texts)]

    def _state(self):
        return {"nothing": np.zeros(1)}

    def _restore(self, state, models):
        self._remember(self.fitted.catalogue.texts)


class RecognisesAnyOrder(SharedWords):
    """Gives mentioned items in the order of the catalogue."""

    def _find_mentions(self, texts):
        found = super()._find_mentions(texts)
        return Histories.from_lists([np.sort(found[query]) for query in range(len(found))])


class RecognisesExactCaseOnly(SharedWords):
    def _find_mentions(self, texts):
        found, names = super()._find_mentions(texts), self.fitted.catalogue.names
        kept = [[i for i in found[q] if names[i] in text] for q, text in enumerate(texts)]
        return Histories.from_lists(kept)


class ForgetsTheLastMention(SharedWords):
    """Lists the item that was mentioned last again."""

    def top_items(self, queries, candidates, k, *, masked=None, **options):
        if masked is not None and queries.histories is not None:
            masked = masked.tolil()
            for query in range(len(queries)):
                masked[query, np.isin(candidates, queries.histories[query][-1:])] = False
            masked = masked.tocsr()
        return super().top_items(queries, candidates, k, masked=masked, **options)


class NeverRepeats(SharedWords):
    """Leaves mentioned items out even if they may be listed again."""

    def _score(self, queries, items):
        scores = super()._score(queries, items)
        found = self._find_mentions(queries.texts)
        for query in range(len(queries)):
            scores[query, np.isin(items, found[query])] = np.nan
        return scores


class MixesMentions(SharedWords):
    """Leaves out what the others of a batch mention, too."""

    def _find_mentions(self, texts):
        everything = np.unique(super()._find_mentions(texts).items)
        return Histories.from_lists([everything] * len(texts))


class AnswersTheBatch(SharedWords):
    """Adds the scores of the query before."""

    def _score(self, queries, items):
        scores = super()._score(queries, items)
        return scores + np.roll(scores, 1, axis=0)


class AsksForOldItems(SharedWords):
    """Ranks new items by nothing."""

    def _add_items(self, items):
        self._words = [*self._words, *[frozenset()] * len(items)]


class PutsNewItemsLast(SharedWords):
    """Ranks new items by the words, but after all others."""

    def _score(self, queries, items):
        scores = super()._score(queries, items)
        scores[:, ~self.fitted.warm[items]] -= 100
        return scores


class KnowsOldTitlesOnly(SharedWords):
    """Recognises no title of an added item."""

    def _find_mentions(self, texts):
        found = super()._find_mentions(texts)
        return found.where(self.fitted.warm[found.items])


class ObeysInstructions(SharedWords):
    """Forgets the rules of a list whose text says so."""

    def top_items(self, queries, candidates, k, *, masked=None, **options):
        if any("may be listed again" in text for text in queries.texts):
            masked = None
        return super().top_items(queries, candidates, k, masked=masked, **options)


class ReadsIdsAsTitles(SharedWords):
    """Takes the id of an item in a text for a mention."""

    def _find_mentions(self, texts):
        found, ids = super()._find_mentions(texts), self.fitted.catalogue.item_ids.values
        named = [[row for row, item in enumerate(ids) if item in text] for text in texts]
        return Histories.from_lists([[*found[query], *named[query]] for query in range(len(texts))])


class RemembersInstructions(SharedWords):
    """Reads what one user said in the texts of all others from then on."""

    _said = ""

    def _score(self, queries, items):
        told = [text for text in queries.texts if "every other user" in text]
        self._said += " ".join(
            text.splitlines()[-1].replace("numbers", "one three") for text in told
        )
        asked = copy(queries)
        object.__setattr__(asked, "texts", tuple(f"{text} {self._said}" for text in queries.texts))
        return super()._score(asked, items)
