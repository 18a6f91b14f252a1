"""The methods of docs/adding-a-method.md with one fault each, for every kind of question."""

from dataclasses import replace

import numpy as np

from tests.contract.documented import Agreement, NextItem, WordVotes
from tests.contract.planted import Parity

# -- order --


class ReadsBackwards(NextItem):
    """Takes the oldest item of a history for the last one."""

    def _score_histories(self, histories, items):
        first = histories.offsets[:-1]
        oldest = type(histories)(np.arange(len(histories) + 1), histories.items[first])
        return super()._score_histories(oldest, items)


class ReadsSets(NextItem):
    """Knows the successors, but not which item of a history is the last."""

    def _score_histories(self, histories, items):
        scores = histories.matrix(len(self._follows)) @ self._follows[:, items]
        scores[:, ~self.fitted.warm[items]] = np.nan
        return scores


class PeeksAtLongerHistories(NextItem):
    """Puts the item first that comes next in a longer history of the batch."""

    def _score_histories(self, histories, items):
        scores = super()._score_histories(histories, items)
        walks = [histories[query].tolist() for query in range(len(histories))]
        for query, walk in enumerate(walks):
            for other in walks:
                if len(other) > len(walk) and other[: len(walk)] == walk:
                    scores[query, items == other[len(walk)]] += 100
        return scores


# -- texts --


class VotesAgainst(WordVotes):
    def _score(self, queries, items):
        return -super()._score(queries, items)


class IgnoresWords(WordVotes):
    """Reads the words of the mentioned items only."""

    def _score(self, queries, items):
        histories, texts = queries.histories, self.fitted.catalogue.texts
        known = [[] if histories is None else histories[query] for query in range(len(queries))]
        said = tuple(" ".join(texts[item] for item in mentioned) for mentioned in known)
        return super()._score(replace(queries, texts=said), items)


class AnswersTheFirstQuery(WordVotes):
    """Gives all queries of a batch the answer to the first one."""

    def _score(self, queries, items):
        return np.repeat(super()._score(queries, items)[:1], len(queries), axis=0)


# -- control --


class IgnoresControl(Parity):
    def top_items(self, queries, candidates, k, **options):
        return super().top_items(replace(queries, controls=None), candidates, k, **options)


class ListsSeenItems(Parity):
    """Forgets what users have seen if their list has a control."""

    def top_items(self, queries, candidates, k, *, masked=None, **options):
        masked = None if queries.controls else masked
        return super().top_items(queries, candidates, k, masked=masked, **options)


class ListsTheWorst(Parity):
    """Meets controls by the items that users like least."""

    def _controlled_list(self, query, items, scores, k):
        return super()._controlled_list(query, items, -scores, k)


class ListsTooManyGenres(Parity):
    """Lists a further genre beside the named ones."""

    def _controlled_list(self, query, items, scores, k):
        control = query.controls[0]
        if control.genres is not None:
            names = (*control.genres, *({"Short", "Long"} - set(control.genres)))
            query = query.with_control(control.model_copy(update={"genres": names}))
        return super()._controlled_list(query, items, scores, k)


class CalibratesNothing(Parity):
    def _controlled_list(self, query, items, scores, k):
        if query.controls[0].calibrate:
            return np.argsort(-scores, kind="stable")[:k]
        return super()._controlled_list(query, items, scores, k)


# -- labels --


class PredictsDislikes(Agreement):
    def _predict(self, queries, items):
        return 1 - super()._predict(queries, items)


class PredictsCertainty(Agreement):
    """Ranks as well as before, but has no doubts."""

    def _predict(self, queries, items):
        found = super()._predict(queries, items)
        return np.where(found > 0.5, 0.99, 0.01).astype(np.float32) + (found - 0.5) / 100


class ReadsUserAndItemIds(Agreement):
    """Derives the parities of users and items from their ids."""

    def _predict(self, queries, items):
        users = self.fitted.user_ids.take(queries.users)
        named = self.fitted.catalogue.item_ids.take(items)
        numbers = [int(str(u)[-3:]) + int(str(i)[-3:]) for u, i in zip(users, named, strict=True)]
        return np.where(np.array(numbers) % 2, 0.2, 0.8).astype(np.float32)


class PeeksAtLaterRatings(Agreement):
    """Finds the rating to predict in the history of a later query of the same user."""

    def _predict(self, queries, items):
        found, rated = super()._predict(queries, items), queries.histories
        if rated is None:
            return found
        liked, owner = rated.liked(self._threshold), queries.users[rated.queries]
        known = dict(zip(zip(owner, rated.items, strict=True), liked, strict=True))
        pairs = enumerate(zip(queries.users, items, strict=True))
        return np.array([known.get(pair, found[row]) for row, pair in pairs], np.float32)


class PredictsRelativeToTheBatch(Agreement):
    """Moves the probabilities of a batch so that their mean is one half."""

    def _predict(self, queries, items):
        found = super()._predict(queries, items)
        return np.clip(found - found.mean() + 0.5, 0, 1) if len(found) else found


class TakesAnyNumberOfItems(Agreement):
    """Predicts for as many pairs as there are both queries and items."""

    def predict_proba(self, queries, items):
        n = min(len(queries), len(items))
        return super().predict_proba(queries.take(np.arange(n)), items[:n])
