"""Rivals of ``exact_k``: re-rankers that have no exact number of genres, and quotas of popularity.

The re-rankers choose from the 100 best items of a window, whose scores are scaled to [0, 1], by the
first genre of each item. Their weight is what brings the mean coverage of the validation windows
nearest to the wanted number; where two weights come equally near, the smaller one.
"""

import numpy as np
from genre_lists import HITS, WANTED, K, values_of

from warmstart.evaluation import lists
from warmstart.rerank.calibrated import calibrated
from warmstart.rerank.candidates import best_first
from warmstart.rerank.dpp import dpp
from warmstart.rerank.mmr import genre_count_mmr, mmr
from warmstart.rerank.similarity import jaccard_similarity
from warmstart.rerank.xquad import xquad

_POOL = 10 * K
_SHARES = (*np.arange(0, 0.2, 0.02), *np.arange(0.2, 1.001, 0.05))
_PENALTIES = (1e-4, *np.arange(0.01, 0.2, 0.015), *np.arange(0.2, 1.01, 0.1), 3.0)
# log det falls without bound where items of the list have the same genre
_VOLUMES = (0.0, *np.geomspace(0.001, 0.1, 20), 0.3)
_HISTORY_WEIGHTS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)

RERANKERS = {
    "mmr": (
        _SHARES,
        lambda s, g, h, w: mmr(s, jaccard_similarity(g), K, diversity=w),
    ),
    "genre_count_mmr": (
        _PENALTIES,
        lambda s, g, h, w: genre_count_mmr(s, g, K, penalty=w),
    ),
    "dpp": (
        _VOLUMES,
        lambda s, g, h, w: dpp(s, jaccard_similarity(g), K, diversity=w),
    ),
    "xquad": (
        _SHARES,
        lambda s, g, h, w: xquad(s, g, K, history_genres=h, diversity=w),
    ),
    "calibration": (
        _SHARES,
        lambda s, g, h, w: calibrated(s, g, K, history_genres=h, weight=w),
    ),
}
"""Name -> weights to try, (scores, genres, genres of the history, weight) -> positions."""


class Pools:
    """The best items of each window by a method's scores."""

    def __init__(self, model, windows):
        task = windows.task
        scores = model.score(task.queries, task.candidates)
        scores[task.masked[:, task.candidates].nonzero()] = np.nan
        self.windows, self.parts = windows, []
        for query, row in enumerate(scores):
            pool = best_first("pools", row)[:_POOL]
            best = row[pool].astype(np.float64)
            unit = ((best - best[-1]) / max(best[0] - best[-1], 1e-12)).astype(np.float32)
            items = task.candidates[pool]
            history = history_genres(windows, query)
            self.parts.append((items, unit, windows.first[items], history))

    def lists(self, rerank, weight):
        """The lists of a re-ranker with one weight."""
        found = np.full((len(self.parts), K), -1, np.int32)
        for query, (items, scores, genres, history) in enumerate(self.parts):
            chosen = rerank(scores, genres, history, float(weight))
            found[query, : len(chosen)] = items[chosen]
        return found


def weights_for(name, pools):
    """The weight of a re-ranker for each wanted number of genres, by mean coverage."""
    weights, rerank = RERANKERS[name]
    coverage = [
        lists.coverage(pools.lists(rerank, weight), pools.windows.first).mean()
        for weight in weights
    ]
    print(f"{name}: mean coverage {min(coverage):.2f} to {max(coverage):.2f} on validation")
    nearest = {k: int(np.argmin(np.abs(np.array(coverage) - k))) for k in WANTED}
    return {k: float(weights[place]) for k, place in nearest.items()}


class Quotas:
    """The most popular items of K genres, as many of each genre as the history suggests.

    Genres are ranked by weight x (their number in the history) / 10 + their share in training; the
    first K get a place each, the others are divided by the largest remainders of these numbers.
    """

    def __init__(self, train, first, weight):
        counts = np.bincount(train.interactions.items, minlength=train.n_items)
        self.order = np.argsort(-counts, kind="stable")
        self.share = (counts @ first) / counts.sum()
        self.weight = weight

    def lists(self, windows, n_genres):
        """The lists of all windows."""
        found = np.full((len(windows.task.queries), K), -1, np.int32)
        first = np.asarray(windows.first.argmax(axis=1)).ravel()
        for query in range(len(found)):
            wish = self.share + self.weight * history_genres(windows, query) / K
            genres = np.argsort(-wish, kind="stable")[:n_genres]
            seen = windows.task.masked[query].indices
            free = self.order[~np.isin(self.order, seen)]
            items = [
                free[first[free] == genre][:places]
                for genre, places in zip(genres, _divided(wish[genres]), strict=True)
            ]
            items = np.concatenate(items)
            found[query, : len(items)] = items
        return found


def chosen_quotas(split, windows):
    """Quotas with the weight of the best mean precision over all K on these windows."""
    quality = {}
    for weight in _HISTORY_WEIGHTS:
        quotas = Quotas(split.train, windows.first, weight)
        found = [values_of(quotas.lists(windows, k), windows, k)[HITS].mean() for k in WANTED]
        quality[weight] = np.mean(found)
    return Quotas(split.train, windows.first, max(quality, key=quality.__getitem__))


def history_genres(windows, query):
    """Number of items of each first genre in a history: float64, shape (genres,)."""
    items = windows.task.queries.histories[query]
    return np.asarray(windows.first[items].sum(axis=0), np.float64).ravel()


def _divided(wish):
    """Divide K places by largest remainders, one at least each: integers, shape (genres,)."""
    exact = wish / wish.sum() * (K - len(wish))
    places = np.floor(exact).astype(int)
    rest = K - len(wish) - places.sum()
    places[np.argsort(places - exact, kind="stable")[:rest]] += 1
    return places + 1
