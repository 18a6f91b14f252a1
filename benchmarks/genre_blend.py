"""EASE plus what the catalogue says of the items of a history: texts, genres, years.

    python benchmarks/genre_blend.py dlcrec-movie --json OUT.json

score = z(EASE) + weight x (z(text) + z(genres) + z(year)), z within the warm items of a query:

- text: cosine to the mean text vector of the history, vectors centred at the mean of the warm items
- genres: mean over the item's genres of log(share in the history / share in training), smoothed
- year: log(density of the history's years / that of training), Gaussians of 3 years; the year is
  the last one in parentheses in the title

The l2 of EASE and the weight are chosen by the mean precision@10 at K = 2, 5 and 8 on the
validation windows; the row with weight 0 is EASE alone with the l2 that is best so. The rows are
added to those of ``controlled_lists``.
"""

import argparse
import re
from pathlib import Path

import numpy as np
from controlled_lists import Table, chosen_ease
from genre_lists import HITS, Windows, add_rows, recommended, values_of

import warmstart as ws
from warmstart.config import Config
from warmstart.core import Recommender, Traits
from warmstart.data.readers.dlcrec import read_windows
from warmstart.data.splits.windows import windows

L2, WEIGHTS, CHOSEN_AT = (50.0, 100.0, 200.0, 400.0), (0.0, 0.2, 0.3, 0.4, 0.5, 0.7), (2, 5, 8)
_YEAR = re.compile(r"\((\d{4})\)")
_FIRST_YEAR, _LAST_YEAR, _WIDTH = 1890, 2030, 3.0
_GENRE_PRIOR, _YEAR_PRIOR = 0.1, 0.02  # weight of the shares in training


class Settings(Config):
    """Settings: l2 of EASE, and the weight of each content score."""

    l2: float = 200.0
    weight: float = 0.4


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
        self._ease = ws.CFOnly(backbone={"kind": "ease", "l2": self.config.l2}).fit(data)
        trained = data.interactions.items
        vectors = context.models.encoder.encode(data.catalogue.texts)
        vectors = vectors - vectors[data.warm].mean(axis=0)
        self._vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        genres = data.catalogue.attribute(data.catalogue.genre_column).matrix
        self._genres = genres.toarray().astype(np.float32)
        self._share = self._genres[trained].mean(axis=0) + 0.01
        self._years = years_of(data.catalogue.columns["title"])
        grid = np.arange(_LAST_YEAR - _FIRST_YEAR)
        near = np.exp(-(((grid[:, None] - grid) / _WIDTH) ** 2) / 2)
        self._near = near / near.sum(axis=1, keepdims=True)
        self._density = self._near[self._years[trained]].mean(axis=0) + 1e-6

    def _score_histories(self, histories, items):
        queries = ws.Queries(np.full(len(histories), -1, np.int32), histories)
        warm = self.fitted.warm[items]
        scores = np.full((len(histories), len(items)), np.nan, np.float32)
        total = _standard(np.nan_to_num(self._ease.score(queries, items[warm])))
        if self.config.weight:
            for content in self._contents(histories, items[warm]):
                total += np.float32(self.config.weight) * _standard(content)
        scores[:, warm] = total
        return scores

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


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with windows.jsonl and catalogue")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    split = windows(*read_windows(arguments.data))
    valid, test = Windows.of(split, "valid"), Windows.of(split, "test")
    encoder, quality = ws.load_encoder(), {}
    for l2 in L2:
        model = EaseAndContent(l2=l2).fit(split.train, encoder=encoder)
        for weight in WEIGHTS:
            model.config = Settings(l2=l2, weight=weight)
            found = {k: values_of(recommended(model, valid, k), valid, k) for k in CHOSEN_AT}
            quality[l2, weight] = np.mean([x[HITS].mean() for x in found.values()])
            print(f"l2 {l2}, weight {weight}: {quality[l2, weight]:.5f}", flush=True)
    table, chosen = Table(chosen_ease(split, valid), test), {}
    table.rows.clear()
    for name, weights in (("ease, l2 for K", WEIGHTS[:1]), ("ease and content", WEIGHTS[1:])):
        pairs = [pair for pair in quality if pair[1] in weights]
        l2, weight = max(pairs, key=quality.__getitem__)
        chosen[name] = {"l2": l2, "weight": weight, "validation": quality[l2, weight]}
        model = EaseAndContent(l2=l2, weight=weight).fit(split.train, encoder=encoder)
        table.add(f"{name} + exact_k", lambda k, model=model: recommended(model, test, k))
    print(chosen)
    if arguments.json:
        add_rows(arguments.json, table.rows, **chosen)


if __name__ == "__main__":
    main()
