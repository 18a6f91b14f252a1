"""rta on ReDial: the bias of other items, drift, and the cost of one turn.

    python benchmarks/redial_split.py redial --out S
    python benchmarks/rta.py S --json OUT.json
    python benchmarks/rta.py S --lm --run RUN --json OUT.json    (with SmolLM2; reads what RUN has)

bias      the words with the learned bias, with that of other items (permuted), and without
drift     the test dialogues in the order of their ids: the last 40 % ask, and the bias is learned
          from the first 30 %, the next 30 %, both, and both where old ones count less
turn      from a message to a list of ten of 2,476 items, one at a time, in this process: the
          mentioned items are recognised, the language models run, all items are scored

Intervals resample dialogues.
"""

import argparse
import json
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from environment import environment

import warmstart as ws
from warmstart.data.splits.files import load_split
from warmstart.data.splits.part_codes import TEST, TRAIN, VALID
from warmstart.evaluation.significance import intervals, paired_intervals
from warmstart.rank import rank_task
from warmstart.run import Run

METRIC = "recall@10"
OFF = dict.fromkeys(("lm", "query_regression", "mentioned", "co_mention", "similar_requests"))
WORDS = {**OFF, "mentioned_texts": False}


def by_dialogue(model, task):
    """recall@10 of each dialogue, float64, shape (dialogues, 1), and its number of requests."""
    values = rank_task(model.score, task, 50).per_query(METRIC)
    _, rows = np.unique(task.groups, return_inverse=True)
    counts = np.bincount(rows).astype(float)
    return (np.bincount(rows, weights=values) / counts)[:, None], counts[:, None]


def table(models, task, against):
    """Mean and interval of each model, and the difference from one of them."""
    found = {name: by_dialogue(model, task) for name, model in models.items()}
    rows = []
    for name, (values, weights) in found.items():
        row = {"scorer": name, METRIC: asdict(intervals(values, weights)[0])}
        if name != against:
            row["gap"] = asdict(paired_intervals(values, found[against][0], weights)[0])
        rows.append(row)
        print(name, row, flush=True)
    return rows


def with_other_bias(model, rng):
    """The same model with the bias of other items."""
    made = model.__copy__()
    order = rng.permutation(len(model.fitted.catalogue))
    made._rows = {**model._rows, "biases": model._rows["biases"][order]}
    return made


def biases(split, encoder, rng):
    """What a bias adds to the words, and that of other items."""
    fits = {
        "words": {**WORDS, "bias": {"kind": "absent"}},
        "words + bias": WORDS,
        "rta without the LM": {"lm": None},
    }
    models = {
        name: ws.RTA(**settings).fit(split.train, valid=split.validation(), encoder=encoder)
        for name, settings in fits.items()
    }
    for name in ("words + bias", "rta without the LM"):
        models[f"{name}, of other items"] = with_other_bias(models[name], rng)
    return table(models, split.tasks("test")["all"], "words + bias"), models["rta without the LM"]


def drift(split, encoder):
    """Which dialogues a bias is best learned from."""
    rows = np.flatnonzero(split.parts == TEST)
    ids = [split.dialogues.ids[row] for row in rows]
    rows = rows[np.argsort([int(one) for one in ids], kind="stable")]
    old, new, asks = np.split(rows, [int(0.3 * len(rows)), int(0.6 * len(rows))])

    def learned_from(some, half_life=None):
        parts = np.full(len(split.parts), VALID, np.int8)
        parts[some], parts[asks] = TRAIN, TEST
        own = replace(split, parts=parts)
        settings = {**WORDS, "bias": {"half_life": half_life}}
        return ws.RTA(**settings).fit(own.train, encoder=encoder), own

    both = np.concatenate([old, new])
    fits = {
        "the older dialogues": learned_from(old),
        "the newer ones": learned_from(new),
        "both": learned_from(both),
        "both, half_life 400": learned_from(both, 400),
        "both, half_life 100": learned_from(both, 100),
    }
    task = next(iter(fits.values()))[1].tasks("test")["all"]
    return table({name: model for name, (model, _) in fits.items()}, task, "the older dialogues")


def turns(model, queries, n):
    """Milliseconds from a message to a list, one at a time."""
    rows, seconds = np.linspace(0, len(queries) - 1, n).astype(int), []
    model.recommend(texts=[queries.texts[0]], k=10)
    for row in rows:
        started = time.perf_counter()
        model.recommend(texts=[queries.texts[row]], k=10)
        seconds.append(time.perf_counter() - started)
    plain = []
    for history in [list(map(int, queries.histories[row])) for row in rows]:
        ids = model.fitted.catalogue.item_ids.take(np.array(history or [0], np.int32))
        started = time.perf_counter()
        model.recommend(histories=[list(ids)], k=10)
        plain.append(time.perf_counter() - started)
    return {
        "turns": n,
        **{
            f"{name} p{q}": round(1000 * float(np.percentile(values, q)), 1)
            for name, values in (("turn", seconds), ("plain list", plain))
            for q in (50, 99)
        },
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("split", type=Path)
    parser.add_argument("--lm", action="store_true", help="measure a turn with the causal LM alone")
    parser.add_argument("--run", type=Path, help="keeps what the LM computes")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    split, rng = load_split(options.split), np.random.default_rng(0)
    queries = split.tasks("test")["all"].queries
    encoder = ws.load_encoder()
    found = {"environment": environment()}
    if options.lm:
        model = ws.RTA().fit(
            split.train, valid=split.validation(), encoder=encoder,
            lm=ws.load_causal_lm(), run=Run(options.run),
        )  # fmt: skip
        model._titles_of_lm.cache = encoder.cache = None
        found["turn with the LM"] = turns(model, queries, 60)
    else:
        found["bias"], model = biases(split, encoder, rng)
        found["drift"] = drift(split, encoder)
        encoder.cache = None
        found["turn without the LM"] = turns(model, queries, 300)
    print(json.dumps(found, indent=1))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
