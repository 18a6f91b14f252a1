"""New items in the space of a model that ``implicit`` trained, beside the same backbone of ours.

    python benchmarks/imported_vectors.py SPLIT --json OUT.json [--items 1000] [--width 200]

Trains implicit's ALS on the training part of a random-cold SPLIT; alpha and regularisation are
chosen by its warm validation. ``--items`` of the cold test items are taken out of the catalogue.
Each method is fitted on the rest with the vectors as backbone ``imported``, then with our own
``ials`` of the same width; gets the items by ``add_items``; and is exported to parquet. The metric
ranks the new items by the dot products of the exported vectors alone; intervals are over users,
differences paired. text_ridge, which has no vectors, is scored as it is.
"""

import argparse
import json
import tempfile
import time
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
from implicit.als import AlternatingLeastSquares

import warmstart as ws
from warmstart.data.tasks import ranking_task
from warmstart.evaluation.significance import intervals, paired_intervals
from warmstart.methods import build
from warmstart.rank import by_user, mean_metric, rank_task

METRIC = "ndcg@20"
METHODS = {
    "filterllm": {"cold_score": "fold_in", "epochs": 0},  # there is no validation to stop it
    "coldllm, filter alone": {
        "filter": {"signals": "content"},
        "judge": None,
        "cold_score": "fold_in",
    },
    "text_to_vector": {},
}


def train_outside(split, width, grid):
    """ALS of implicit with the best settings on warm validation: vectors, settings, metric."""
    task = ranking_task(split.validation(), "warm", "all")
    best = (-1.0, {}, None)
    for alpha, l2 in grid:
        settings = {"alpha": alpha, "regularization": l2}
        model = AlternatingLeastSquares(
            factors=width, iterations=15, random_state=0, num_threads=0, **settings
        )
        model.fit(split.train.matrix, show_progress=False)
        users, items = model.user_factors, model.item_factors
        quality = mean_metric(by_user(lambda u, i, a=users, b=items: a[u] @ b[i].T), task, METRIC)
        print(f"implicit ALS, {settings}: warm validation {METRIC} {quality:.4f}", flush=True)
        if quality > best[0]:
            best = (quality, settings, (users, items))
    return best


def write(folder, ids, vectors):
    path = folder / f"{ids.kind}s.parquet"
    pl.DataFrame({ids.kind: ids.values, "vector": vectors.tolist()}).write_parquet(path)
    return str(path)


def without_items(split, rows):
    """The training part with these items taken out of the catalogue, and the items as a frame."""
    train = split.train
    ids, texts = train.catalogue.item_ids, train.catalogue.texts
    kept = np.setdiff1d(np.arange(train.n_items), rows)
    events = train.interactions
    data = ws.from_frames(
        {
            "user": train.user_ids.take(events.users),
            "item": ids.take(events.items),
        },
        {"item": ids.take(kept), "text": [texts[row] for row in kept]},
        name="without",
    )
    return data, {"item": ids.take(rows), "text": [texts[row] for row in rows]}


def exported_scores(folder, train):
    """The score function of vectors in a folder, by rows of the split."""
    found = {}
    for ids in (train.user_ids, train.catalogue.item_ids):
        table = pl.read_parquet(folder / f"{ids.kind}s.parquet", glob=False)
        vectors = np.array(table["vector"].to_list(), np.float32)
        rows = ids.rows(table[ids.kind].to_list())
        found[ids.kind] = np.zeros((len(ids), vectors.shape[1]), np.float32)
        found[ids.kind][rows] = vectors
    return found, lambda u, i: found["user"][u] @ found["item"][i].T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("split", type=Path)
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--width", type=int, default=200)
    parser.add_argument("--alphas", default="10,20,40")
    parser.add_argument("--l2s", default="3,10,30")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    split, encoder = ws.load_split(arguments.split), ws.load_encoder()
    task = split.slice("test", "cold")
    new = np.random.default_rng(0).choice(task.candidates, arguments.items, replace=False)
    new = np.sort(new).astype(np.int32)
    columns = np.zeros(split.train.n_items, bool)
    columns[new] = True
    relevance = task.relevance.multiply(columns).astype(bool).tocsr()
    relevance.eliminate_zeros()
    task = replace(task, candidates=new, relevance=relevance, part_of=None)
    task = task.take(np.diff(relevance.indptr) > 0)
    grid = list(
        product(*(map(float, values.split(",")) for values in (arguments.alphas, arguments.l2s)))
    )
    quality, settings, (users, items) = train_outside(split, arguments.width, grid)
    data, frame = without_items(split, new)
    values: dict[str, np.ndarray] = {}
    seconds: dict[str, float] = {}
    bitwise = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        files = {
            "users": write(folder, split.train.user_ids, users),
            "items": write(folder, split.train.catalogue.item_ids, items),
        }
        backbones = {
            "imported": {"kind": "imported", **files},
            "ials": {"kind": "ials", "width": arguments.width},
        }
        for (name, own), (kind, backbone) in product(METHODS.items(), backbones.items()):
            label = f"{name} [{kind}]"
            method = name.partition(",")[0]
            model = build(method, {"backbone": backbone, **own}).fit(data, encoder=encoder, rng=0)
            started = time.perf_counter()
            model.add_items(frame)
            seconds[label] = time.perf_counter() - started
            ws.export_vectors(model, folder / label)
            vectors, score = exported_scores(folder / label, split.train)
            if kind == "imported":
                warm = np.unique(split.train.interactions.items)
                known = np.unique(split.train.interactions.users)
                bitwise[label] = bool(
                    np.array_equal(vectors["item"][warm], items[warm])
                    and np.array_equal(vectors["user"][known], users[known])
                )
            values[label] = rank_task(by_user(score), task, 20).per_query(METRIC)
            print(f"{label}: {values[label].mean():.4f}", flush=True)
    ridge = build("text_ridge").fit(data, encoder=encoder)
    ridge.add_items(frame)
    at = ridge.fitted.catalogue.item_ids.rows(split.train.catalogue.item_ids.values)
    who = ridge.fitted.user_ids.rows(split.train.user_ids.values)

    def ridge_score(u, i):
        scores = np.zeros((len(u), len(i)), np.float32)
        seen = who[u] >= 0
        scores[seen] = ridge.score(ws.Queries.of_users(who[u][seen]), at[i])
        return scores

    values["text_ridge"] = rank_task(by_user(ridge_score), task, 20).per_query(METRIC)
    rows = []
    for label, found in values.items():
        own = values.get(label.replace("[imported]", "[ials]"), found)
        rows.append(
            {
                "method": label,
                METRIC: asdict(intervals(found[:, None])[0]),
                "minus_own_backbone": asdict(paired_intervals(found[:, None], own[:, None])[0]),
                "seconds_to_add": seconds.get(label),
                "warm_bitwise_equal": bitwise.get(label),
            }
        )
        interval = rows[-1][METRIC]
        print(f"{label:34} {interval['value']:.4f} [{interval['low']:.4f}, {interval['high']:.4f}]")
    result = {
        "new_items": len(new),
        "queries": len(task.queries),
        "outside": {"settings": settings, "width": arguments.width, "warm_validation": quality},
        "rows": rows,
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
