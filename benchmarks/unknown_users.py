"""Quality for users who were not in training and are asked for by their history.

    python benchmarks/unknown_users.py citeulike-a --methods 'cf_only[ease],item_knn,text_ridge'
    python benchmarks/unknown_users.py ml-100k --protocol next-item --methods sasrec --json OUT.json

A tenth of the users with a test query is drawn, or with ``--folds`` several tenths in turn. Each
method is fitted twice, on all users and without the drawn ones, who take no part in the choices on
validation either. The queries are those of the drawn users; "trained" asks the first model by user,
"by history" the second one by the history alone, and the difference is paired over users, with its
95 % bootstrap interval. By next-item, the history goes on after training, so both get it.
Popularity, which knows nobody, is the floor.
"""

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

import warmstart as ws
from warmstart.data.queries import Queries
from warmstart.data.tasks import ranking_task
from warmstart.evaluation.significance import intervals, paired_intervals
from warmstart.experiment.spec import read_experiment
from warmstart.methods import build
from warmstart.rank import rank_task

METRIC = "ndcg@20"


def parts(split, fold, seed):
    """All training data, those without a tenth of the users, validation, and their test queries."""
    train, task = split.train, split.tasks("test")["all"]
    users = np.random.default_rng(seed).permutation(np.unique(task.users))
    drawn = users[fold::10]
    kept = ~np.isin(train.interactions.users, drawn)
    without = replace(train, interactions=train.interactions.where(kept))
    valid = {
        name: task.take(~np.isin(task.users, drawn))
        for name, task in split.validation().items()
        if ranking_task({name: task}, name)
    }
    return train, without, valid, task.take(np.isin(task.users, drawn))


def qualities(spec, data, seed, lm):
    """The metric of each query, trained and by history: float64, shape (queries, 1) each."""
    train, without, valid, task = data
    histories = task.queries.histories
    if histories is None:
        histories = train.histories.take(task.users)
    asked = replace(task, queries=Queries.of_histories(histories), groups=task.users)
    if len(histories.items) == len(train.histories.take(task.users).items):
        task = replace(task, queries=Queries.of_users(task.users))
    for fitted_on, query in ((train, task), (without, asked)):
        model = build(spec.method, spec.full_settings)
        model.fit(fitted_on, valid=valid, encoder=lm, rng=seed)
        yield rank_task(model.score, query, 20).per_query(METRIC)[:, None]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="folder of a data set")
    parser.add_argument("--protocol", default="user-random", choices=["user-random", "next-item"])
    parser.add_argument("--methods", default="cf_only[ease],cf_only[ials],item_knn,text_ridge")
    parser.add_argument("--folds", type=int, default=1, help="tenths of the users drawn in turn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    seed, lm, rows = arguments.seed, ws.load_encoder(), []
    split = ws.split(ws.read_dataset(arguments.data), arguments.protocol, seed=seed)
    print(f"{METRIC:16}  {'trained':23}  {'by history':23}  by history - trained")
    for spec in read_experiment(None, ["popular," + arguments.methods]).method:
        found = [
            list(qualities(spec, parts(split, fold, seed), seed, lm))
            for fold in range(arguments.folds)
        ]
        trained, by_history = (np.concatenate(values) for values in zip(*found, strict=True))
        row = {
            "trained": intervals(trained)[0],
            "by_history": intervals(by_history)[0],
            "difference": paired_intervals(by_history, trained)[0],
        }
        cells = [f"{one.value:7.4f} [{one.low:.4f}, {one.high:.4f}]" for one in row.values()]
        print(f"{spec.display_name:16}  {'  '.join(cells)}", flush=True)
        rows.append({name: asdict(one) for name, one in row.items()})
        rows[-1] |= {"method": spec.display_name, "queries": len(trained)}
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
