"""Lists with exactly K genres from EASE with a popularity term, on the windows of DLCRec.

    python benchmarks/controlled_lists.py dlcrec-movie --json OUT.json

score = history . B + a x popularity / its maximum, so that a history without any training item has
a list too. EASE's l2 and a are chosen on the validation windows by precision@10 without a control.
The lists with K genres are chosen by ``rerank.exact_k`` over the first genre of each item.
"""

import argparse
import json
from itertools import product
from pathlib import Path

import numpy as np

import warmstart as ws
from warmstart.config import Config
from warmstart.core import Recommender, Traits
from warmstart.data.readers.dlcrec import read_windows
from warmstart.data.splits.windows import windows

L2 = (5.0, 20.0, 50.0, 200.0)
WEIGHTS = (0.0, 0.02, 0.05, 0.1, 0.3, 1.0)
METRIC = "precision@10"


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


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with windows.jsonl and catalogue")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    split = windows(*read_windows(arguments.data))
    valid = {}
    for l2, weight in product(L2, WEIGHTS):
        model = EaseAndPopularity(l2=l2, popularity_weight=weight).fit(split.train)
        valid[l2, weight] = ws.evaluate(model, split, part="valid").value("all", METRIC)
    l2, weight = max(valid, key=valid.__getitem__)
    print(f"chosen: l2 {l2}, popularity_weight {weight}, {METRIC} {valid[l2, weight]:.4f}")
    model, rows = EaseAndPopularity(l2=l2, popularity_weight=weight).fit(split.train), []
    for n_genres in (None, 2, 5, 8):
        control = None
        if n_genres is not None:
            control = ws.Control(n_genres=n_genres, first_genre_only=True)
        report = ws.evaluate(model, split, control=control)
        metrics = {metric: report.value("all", metric) for metric in report.metrics}
        rows.append({"n_genres": n_genres, **metrics})
        print(f"K = {n_genres}: " + ", ".join(f"{name} {x:.4f}" for name, x in metrics.items()))
    if arguments.json:
        chosen = {"l2": l2, "popularity_weight": weight, METRIC: valid[l2, weight]}
        arguments.json.write_text(json.dumps({"validation": chosen, "test": rows}, indent=1))


if __name__ == "__main__":
    main()
