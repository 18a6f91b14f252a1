"""lm_ranking, the causal LM's own slow ranking, beside its rivals on the same few requests.

    python benchmarks/redial_split.py redial --out S
    python benchmarks/lm_ranking.py S --queries 100 --json OUT.json

A list takes the LM seconds, so the requests are drawn from those of the test part. Intervals
resample dialogues.
"""

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from environment import environment

import warmstart as ws
from warmstart.data.splits.files import load_split
from warmstart.evaluation.significance import intervals
from warmstart.rank import rank_task

METRICS = ("recall@1", "recall@5", "recall@10", "recall@20", "recall@50", "ndcg@10", "mrr@50")
WORDS = {"prompts": {"question": "List the titles of movies that fit, without other words."}}
METHODS = {
    "popular": lambda: ws.Popular(),
    "text_search": lambda: ws.TextSearch(),
    "lm_ranking": lambda: ws.LMRanking(),
    "lm_ranking, per token": lambda: ws.LMRanking(per_token=True),
    "lm_ranking, asked for movies": lambda: ws.LMRanking(**WORDS),
    "rta without the LM": lambda: ws.RTA(lm=None),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("split", type=Path)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    split = load_split(options.split)
    task = split.tasks("test")["all"]
    drawn = np.random.default_rng(0).permutation(len(task.queries))[: options.queries]
    task = task.take(np.sort(drawn))
    encoder, lm = ws.load_encoder(), ws.load_causal_lm()
    rows = []
    for name in options.methods.split(","):
        model = METHODS[name]().fit(split.train, valid=split.validation(), encoder=encoder, lm=lm)
        started = time.perf_counter()
        ranking = rank_task(model.score, task, 50)
        seconds = (time.perf_counter() - started) / len(task.queries)
        values = np.stack([ranking.per_query(metric) for metric in METRICS], axis=1)
        _, groups = np.unique(task.groups, return_inverse=True)
        counts = np.bincount(groups).astype(float)
        means = np.stack([np.bincount(groups, weights=v) / counts for v in values.T], axis=1)
        weights = np.repeat(counts[:, None], len(METRICS), axis=1)
        found = intervals(means, weights)
        metrics = {m: asdict(own) for m, own in zip(METRICS, found, strict=True)}
        rows.append({"method": name, "seconds_a_list": round(seconds, 3), "metrics": metrics})
        print(name, f"{seconds:.2f} s", {m: round(v["value"], 4) for m, v in metrics.items()},
              flush=True)  # fmt: skip
    if options.json:
        found = {"environment": environment(), "queries": len(task.queries), "rows": rows}
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
