"""Lists with exactly K genres, on the windows of DLCRec: EASE, its rivals, what is attainable.

    python benchmarks/controlled_lists.py dlcrec-movie --json OUT.json

For K = 1 to 10, over the first genre of each item: EASE with a popularity term and ``exact_k``; the
same scores re-ranked without an exact number (``genre_rivals``); popularity by quotas; popularity
and random scores with ``exact_k``; and the oracle, the most hits that a list of K genres can have.

The score of EASE is history . B + a x popularity / its maximum, so that a history without any
training item has a list too. Its l2 and a are chosen on the validation windows by precision@10
without a control. The rows are added to OUT.json, see ``genre_lists``.
"""

import argparse
from itertools import product
from pathlib import Path

import numpy as np
from genre_lists import HITS, WANTED, K, Windows, add_rows, oracle, recommended, row, values_of
from genre_rivals import RERANKERS, Pools, chosen_quotas, weights_for

import warmstart as ws
from warmstart.config import Config
from warmstart.core import Recommender, Traits
from warmstart.data.readers.dlcrec import read_windows
from warmstart.data.splits.windows import windows

L2 = (5.0, 20.0, 50.0, 200.0)
WEIGHTS = (0.0, 0.02, 0.05, 0.1, 0.3, 1.0)


class Settings(Config):
    """Settings: l2 of EASE, and the weight of popularity."""

    l2: float = 50.0
    popularity_weight: float = 0.0


class EaseAndPopularity(Recommender):
    """EASE plus popularity."""

    name, config_type = "ease_and_popularity", Settings
    traits = Traits(
        reads=frozenset({"interactions"}), cold_items="none", answers=frozenset({"history"})
    )

    def _fit(self, data, context):
        backbone = {"kind": "ease", "l2": self.config.l2}
        self._ease = ws.CFOnly(backbone=backbone).fit(data)
        counts = np.bincount(data.interactions.items, minlength=data.n_items)
        self._popularity = (counts / counts.max()).astype(np.float32)

    def _score(self, queries, items):
        scores = np.nan_to_num(self._ease.score(queries, items))
        scores += np.float32(self.config.popularity_weight) * self._popularity[items]
        scores[:, ~self.fitted.warm[items]] = np.nan
        return scores

    def _state(self):
        raise NotImplementedError("a benchmark is not saved")

    def _restore(self, state, lm):
        raise NotImplementedError("a benchmark is not saved")


def chosen_ease(split, windows):
    """EASE with the settings of the best precision on these windows."""
    quality = {}
    for l2, weight in product(L2, WEIGHTS):
        model = EaseAndPopularity(l2=l2, popularity_weight=weight).fit(split.train)
        found = recommended(model, windows, None)
        quality[l2, weight] = values_of(found, windows, None)[HITS].mean()
    l2, weight = max(quality, key=quality.__getitem__)
    return EaseAndPopularity(l2=l2, popularity_weight=weight).fit(split.train)


class Table:
    """The rows of the test windows, each beside EASE with as many genres."""

    def __init__(self, ease, windows):
        self.windows, self.rows = windows, []
        self.ease = {
            k: values_of(recommended(ease, windows, k), windows, k) for k in (None, *WANTED)
        }
        for k, values in self.ease.items():
            self._add(row("ease + exact_k" if k else "ease", values, windows, k))

    def add(self, method, lists_of, weights=None):
        """Add the rows of ``lists_of(K)``."""
        for k in WANTED:
            values = values_of(lists_of(k), self.windows, k)
            chosen = {} if weights is None else {"weight": weights[k]}
            self._add(row(method, values, self.windows, k, self.ease[k], **chosen))

    def add_oracle(self):
        """Add the most hits that are possible."""
        for k in WANTED:
            self._add(row("oracle", {HITS: oracle(self.windows, k) / K}, self.windows, k))

    def _add(self, new):
        self.rows.append(new)
        shown = (f"{name} {x['value']:.4f}" for name, x in new["metrics"].items())
        print(f"{new['method']}, K = {new['n_genres']}: {', '.join(shown)}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with windows.jsonl and catalogue")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    split = windows(*read_windows(arguments.data))
    valid, test = Windows.of(split, "valid"), Windows.of(split, "test")
    ease = chosen_ease(split, valid)
    print(f"chosen: {ease.config}")
    table = Table(ease, test)
    table.add_oracle()
    pools = {"valid": Pools(ease, valid), "test": Pools(ease, test)}
    for name, (_, rerank) in RERANKERS.items():
        weights = weights_for(name, pools["valid"])
        lists_of = {x: pools["test"].lists(rerank, x) for x in set(weights.values())}
        table.add(f"ease + {name}", lambda k, w=weights, found=lists_of: found[w[k]], weights)
    quotas = chosen_quotas(split, valid)
    print(f"chosen: weight of the history in quotas {quotas.weight}")
    table.add("popular, quotas of genres", lambda k: quotas.lists(test, k))
    for model in (ws.Popular(), ws.Random()):
        model.fit(split.train)
        table.add(f"{model.name} + exact_k", lambda k, model=model: recommended(model, test, k))
    if arguments.json:
        chosen = {"ease": ease.config.model_dump(), "weight_in_quotas": quotas.weight}
        add_rows(arguments.json, table.rows, validation=chosen)


if __name__ == "__main__":
    main()
