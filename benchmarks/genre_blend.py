"""EASE plus what the catalogue says of the items of a history: texts, genres, years.

    python benchmarks/genre_blend.py dlcrec-movie --json OUT.json

score = z(EASE) + weight x (z(text) + z(genres) + z(year)), z within the warm items of a query:

- text: cosine to the mean text vector of the history, vectors centred at the mean of the warm items
- genres: mean over the item's genres of log(share in the history / share in training), smoothed
- year: log(density of the history's years / that of training), Gaussians of 3 years; the year is
  the last one in parentheses in the title

EASE may have the text vectors as further rows of X, times the root of ``text_rows``, so that items
with similar texts count as bought together: Jeunen, Van Balen and Goethals, "Closed-Form Models for
Collaborative Filtering with Side-Information", RecSys 2020.

The settings are chosen by the mean precision@10 over K = 1 to 10 on the validation windows, for
three rows: EASE alone, without content; with content scores; and with text rows too. The rows are
added to those of ``controlled_lists``.
"""

import argparse
import re
from itertools import product
from pathlib import Path

import numpy as np
from controlled_lists import Table, chosen_ease
from genre_lists import WANTED, K, Windows, add_rows, recommended

import warmstart as ws
from warmstart.config import Config
from warmstart.core import Recommender, Traits
from warmstart.data.readers.dlcrec import read_windows
from warmstart.data.splits.windows import windows
from warmstart.rerank.candidates import best_of_genre_sets
from warmstart.rerank.single_genre import best_of_single_genres

L2, WEIGHTS, TEXT_ROWS = (100.0, 200.0, 400.0), (0.0, 0.3, 0.5, 0.7, 1.0), (0.0, 3.0, 10.0, 30.0)
_YEAR = re.compile(r"\((\d{4})\)")
_FIRST_YEAR, _LAST_YEAR, _WIDTH = 1890, 2030, 3.0
_GENRE_PRIOR, _YEAR_PRIOR = 0.1, 0.02  # weight of the shares in training


class Settings(Config):
    """Settings: l2 of EASE, the weight of its text rows, and that of each content score."""

    l2: float = 200.0
    text_rows: float = 0.0
    weight: float = 0.5


class EaseAndContent(Recommender):
    """EASE plus texts, genres and years."""

    name, config_type = "ease_and_content", Settings
    traits = Traits(
        reads=frozenset({"interactions", "texts", "attributes"}),
        cold_items="none",
        answers=frozenset({"history"}),
        needs=frozenset({"encoder"}),
    )

    def _fit(self, data, context):
        trained = data.interactions.items
        vectors = context.models.encoder.encode(data.catalogue.texts)
        vectors = vectors - vectors[data.warm].mean(axis=0)
        self._vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        self._rows, self._inverse, self._residual = _solved(
            data.matrix, self._vectors, self.config.l2, self.config.text_rows
        )
        genres = data.catalogue.attribute(data.catalogue.genre_column).matrix
        self._genres = genres.toarray().astype(np.float32)
        self._share = self._genres[trained].mean(axis=0) + 0.01
        self._years = years_of(data.catalogue.columns["title"])
        grid = np.arange(_LAST_YEAR - _FIRST_YEAR)
        near = np.exp(-(((grid[:, None] - grid) / _WIDTH) ** 2) / 2)
        self._near = near / near.sum(axis=1, keepdims=True)
        self._density = self._near[self._years[trained]].mean(axis=0) + 1e-6

    def _score_histories(self, histories, items):
        warm = self.fitted.warm[items]
        scores = np.full((len(histories), len(items)), np.nan, np.float32)
        total = _standard(self._ease(histories)[:, items[warm]])
        if self.config.weight:
            for content in self._contents(histories, items[warm]):
                total += np.float32(self.config.weight) * _standard(content)
        scores[:, warm] = total
        return scores

    def _ease(self, histories):
        """Scores of items outside the history: float64, shape (histories, n_items)."""
        overlap = histories.matrix(len(self.fitted.catalogue)) @ self._rows.T
        return (overlap @ self._inverse) @ self._rows / self._residual

    def _contents(self, histories, items):
        """Yield the scores by text, genres and years, float32, shape (histories, items)."""
        yield histories.mean(self._vectors) @ self._vectors[items].T
        prior = _GENRE_PRIOR * self._share
        lift = np.log((histories.mean(self._genres) + prior) / (self._share + prior))
        own = self._genres[items]
        yield lift @ (own / np.maximum(own.sum(axis=1, keepdims=True), 1)).T
        density = histories.mean(self._near[self._years].astype(np.float32))
        prior = _YEAR_PRIOR * self._density
        yield np.log((density + prior) / self._density)[:, self._years[items]]

    def _state(self):
        raise NotImplementedError("a benchmark is not saved")

    def _restore(self, state, lm):
        raise NotImplementedError("a benchmark is not saved")


def _solved(matrix, vectors, l2, text_rows):
    """EASE over rows: X, M = (XX' + l2)^-1, and 1 - x_i' M x_i for each column x_i."""
    rows = matrix.toarray().astype(np.float64)
    rows = rows[rows.any(axis=1)]
    if text_rows:
        rows = np.concatenate([rows, np.sqrt(text_rows) * vectors.T.astype(np.float64)])
    inverse = np.linalg.inv(rows @ rows.T + l2 * np.eye(len(rows)))
    return rows, inverse, 1 - ((inverse @ rows) * rows).sum(axis=0)


def years_of(titles):
    """The year of each title from ``_FIRST_YEAR``: int64; the middle one where there is none."""
    found = [_YEAR.findall(title or "") for title in titles]
    known = np.array([int(years[-1]) if years else -1 for years in found])
    known[known < 0] = int(np.median(known[known >= 0]))
    return np.clip(known, _FIRST_YEAR, _LAST_YEAR - 1) - _FIRST_YEAR


def _standard(scores):
    """z-scores of each query."""
    spread = scores.std(axis=1, keepdims=True)
    z = (scores - scores.mean(axis=1, keepdims=True)) / np.maximum(spread, 1e-9)
    return z.astype(np.float32)


def quality(model, valid):
    """The mean precision over all K; every list as ``exact_k`` makes it, but searched together."""
    task, hits = valid.task, 0
    scores = model.score(task.queries, task.candidates)
    scores[task.masked[:, task.candidates].nonzero()] = np.nan
    for query, row in enumerate(scores):
        best = best_of_genre_sets("quality", row, valid.first, K)
        best = best.where(best.genre_sets.any(axis=1)[best.groups])
        relevant = np.isin(best.positions, task.relevance[query].indices)
        for k in WANTED:
            hits += relevant[best_of_single_genres(best.scores, best.groups, k, K)].sum()
    return hits / (len(scores) * len(WANTED) * K)


def chosen(split, valid, encoder):
    """Settings and validation quality of each row, by name."""
    found = {}
    for l2, text_rows in product(L2, TEXT_ROWS):
        model = EaseAndContent(l2=l2, text_rows=text_rows).fit(split.train, encoder=encoder)
        for weight in WEIGHTS if text_rows else (*WEIGHTS, 1.5):
            model.config = Settings(l2=l2, text_rows=text_rows, weight=weight)
            found[model.config] = quality(model, valid)
            print(f"{model.config}: {found[model.config]:.5f}", flush=True)
    allowed = {
        "ease, l2 for K": lambda x: not x.weight and not x.text_rows,
        "ease and content": lambda x: not x.text_rows,
        "ease with text rows, and content": lambda x: True,
    }
    best = {
        name: max(filter(allows, found), key=found.__getitem__) for name, allows in allowed.items()
    }
    return {name: (settings, found[settings]) for name, settings in best.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with windows.jsonl and catalogue")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    split = windows(*read_windows(arguments.data))
    valid, test = Windows.of(split, "valid"), Windows.of(split, "test")
    encoder, facts = ws.load_encoder(), {}
    settings_of = chosen(split, valid, encoder)
    table = Table(chosen_ease(split, valid), test)
    table.rows.clear()
    for name, (settings, precision) in settings_of.items():
        facts[name] = {**settings.model_dump(), "validation": precision}
        model = EaseAndContent(settings).fit(split.train, encoder=encoder)
        table.add(f"{name} + exact_k", lambda k, model=model: recommended(model, test, k))
    print(facts)
    if arguments.json:
        add_rows(arguments.json, table.rows, chosen=facts)


if __name__ == "__main__":
    main()
