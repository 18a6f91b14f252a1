"""Microseconds to take one new item into a collaborative model, by its simulated users.

    python benchmarks/fold_in.py --users 1e4,1e5,1e6 --json fold-in.json

The backbones are fitted for one epoch to planted interactions, since what fold-in takes does not
depend on how well they are fitted. Each new item has ``--audience`` users. Medians over calls, each
with items of its own: of one item alone, and of 256 at once, per item. FilterLLM publishes 120 ms
for this step, for a billion users (on its own machine).
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
from environment import environment
from pydantic import TypeAdapter
from scipy import sparse

from warmstart.backbones import BackboneConfig, build

KINDS = {"ials": {}, "bpr": {}, "lightgcn": {"batch_size": 2**20}}  # few passes over the graph


def planted(n_users, n_items, per_user, rng):
    """Interactions in which items have a log-normal popularity."""
    weights = rng.lognormal(size=n_items)
    items = rng.choice(n_items, n_users * per_user, p=weights / weights.sum())
    users = np.repeat(np.arange(n_users), per_user)
    ones = np.ones(len(items), np.float32)
    matrix = sparse.csr_matrix((ones, (users, items)), shape=(n_users, n_items))
    matrix.data[:] = 1
    return matrix


def audiences(n_items, n_users, size, rng):
    users = np.concatenate([rng.choice(n_users, size, replace=False) for _ in range(n_items)])
    starts = np.arange(0, n_items * size + 1, size)
    ones = np.ones(len(users), np.float32)
    return sparse.csr_matrix((ones, users, starts), shape=(n_items, n_users))


def microseconds(backbone, n_users, batch, audience, rounds, rng):
    times = []
    for number in range(rounds + 2):  # the first two are not timed
        clicks = audiences(batch, n_users, audience, rng)
        started = time.perf_counter()
        backbone.fold_in(clicks)
        if number > 1:
            times.append(time.perf_counter() - started)
    return 1e6 * statistics.median(times) / batch


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", default="1e4,1e5,1e6")
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--audience", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    records = []
    for n_users in (int(float(users)) for users in options.users.split(",")):
        rng = np.random.default_rng(0)
        matrix = planted(n_users, options.items, 10, rng)
        for kind, own in KINDS.items():
            settings = {"kind": kind, "width": options.width, "epochs": 1, **own}
            backbone = build(TypeAdapter(BackboneConfig).validate_python(settings))
            backbone.fit(matrix, rng=np.random.default_rng(0))
            record = {"users": n_users, "backbone": kind, "width": options.width} | {
                f"microseconds_batch_{batch}": microseconds(
                    backbone, n_users, batch, options.audience, options.rounds, rng
                )
                for batch in (1, 256)
            }
            records.append(record)
            print(record, flush=True)
    if options.json:
        written = {"environment": environment(), "audience": options.audience, "records": records}
        options.json.write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    main()
