"""Seconds from the text of a new item to its place beside the others, stage by stage.

    python benchmarks/new_item.py MODEL [MODEL ...] [--batch 1] [--rounds 100] [--seed 0]

MODEL is an artefact of a method that simulates; several take turns in one run, each given the same
texts, and the last line says how many times as long each took as the first. The texts are made
from words of the catalogue, so that no cache knows them. With --batch 1 each item is added by
itself, as a service would; more than that, as a nightly job would.

encode     texts to vectors, by the language model
judge      the judge's answers, by the language model
place      distribution or filter; choice of the simulated users
fold in    into the backbone, and into the tables of scores
"""

import argparse
import json
import time
from typing import Any

import numpy as np

from warmstart.lm import TextEncoder
from warmstart.lm.encode import load_lm
from warmstart.methods import load_model
from warmstart.methods.coldllm import ColdLLM


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    lm = load_lm(use_cache=False)
    models: list[Any] = [load_model(folder, lm=lm) for folder in arguments.models]
    texts = models[0].fitted.catalogue.texts
    words = sorted({word for text in texts for word in text.split()})
    timed: list[list[dict[str, float]]] = [[] for _ in models]
    for number in range(arguments.rounds + 2):  # the first two warm up
        batch = [" ".join(rng.choice(words, size=10)) for _ in range(arguments.batch)]
        for model, seconds in zip(models, timed, strict=True):
            found = _stages(model, lm, batch)
            if number > 1:
                seconds.append(found)
    medians = []
    for folder, model, seconds in zip(arguments.models, models, timed, strict=True):
        whole = 1000 * np.array([sum(stages.values()) for stages in seconds]) / arguments.batch
        medians.append(float(np.median(whole)))
        stages = {
            name: round(1000 * float(np.median([x[name] for x in seconds])) / arguments.batch, 2)
            for name in seconds[0]
        }
        line = {
            "model": folder.rstrip("/").rpartition("/")[2],
            "method": model.name,
            "users": len(model.fitted.user_ids),
            "batch": arguments.batch,
            "ms_an_item": stages,
            "median_ms": round(medians[-1], 2),
            "p99_ms": round(float(np.quantile(whole, 0.99)), 2),
        }
        print(json.dumps(line))
    print(json.dumps({"times_the_first": [round(m / medians[0], 2) for m in medians]}))


def _stages(model: Any, lm: TextEncoder, texts: list[str]) -> dict[str, float]:
    """Seconds of each stage for a batch."""
    marks = [time.perf_counter()]
    encoding = model.encode_items(texts)
    marks.append(time.perf_counter())
    placed = model.simulate_encoded(encoding)
    marks.append(time.perf_counter())
    model.hybrid.append(*placed)
    marks.append(time.perf_counter())
    read, place, fold = np.diff(marks)
    stages = {"encode": read, "judge": 0.0, "place": place, "fold in": fold}
    if isinstance(model, ColdLLM):  # its encoding has the filter and the judge in it
        marks = [time.perf_counter()]
        vectors = lm.encode(texts)
        marks.append(time.perf_counter())
        model.filter_scores(vectors)
        marks.append(time.perf_counter())
        encode, filtered = np.diff(marks)
        judge = read - encode - filtered
        stages |= {"encode": encode, "judge": judge, "place": place + filtered}
    return stages


if __name__ == "__main__":
    main()
