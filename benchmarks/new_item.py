"""Seconds from the text of a new item until it can be recommended, stage by stage.

    python benchmarks/new_item.py MODEL [MODEL ...] [--batch 1] [--rounds 100] [--seed 0]

MODEL is an artefact of a method that simulates users. Several models take turns on the same texts,
and the last line gives each one's time as a multiple of the first one's. The texts are random words
of the catalogue, so no cache has their vectors. With --batch 1 each item is added by itself, as a
service would; larger batches measure a nightly job.

encode     text vectors, by the language model
judge      log-odds of the shortlisted users, by the language model (coldllm)
simulate   user distribution or filter; selection of the simulated users
fold in    into the backbone and the tables of scores
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from warmstart.artefact import read_manifest
from warmstart.lm import CausalLM, TextEncoder
from warmstart.lm.reference import load_referenced
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
    loaded = [_load(Path(folder)) for folder in arguments.models]
    models = [model for model, _ in loaded]
    texts = models[0].fitted.catalogue.texts
    words = sorted({word for text in texts for word in text.split()})
    timed: list[list[dict[str, float]]] = [[] for _ in models]
    for number in range(
        arguments.rounds + 2
    ):  # the first two are not timed: caches and lazy loading
        batch = [" ".join(rng.choice(words, size=10)) for _ in range(arguments.batch)]
        for (model, encoder), seconds in zip(loaded, timed, strict=True):
            stages = _stages(model, encoder, batch)
            if number > 1:
                seconds.append(stages)
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


def _load(folder: Path) -> tuple[Any, TextEncoder]:
    """Load a model with its language models, and its encoder, without a cache of vectors."""
    specs = read_manifest(folder)["lms"]
    lm = load_referenced(specs["encoder"], source=None, device="auto", batch_size=32)
    encoder = TextEncoder(lm, use_cache=False)
    causal = CausalLM.from_spec(specs["causal"]) if "causal" in specs else None
    return load_model(folder, encoder=encoder, lm=causal), encoder


def _stages(model: Any, encoder: TextEncoder, texts: list[str]) -> dict[str, float]:
    """Add a batch of items to the model; seconds of each stage."""
    marks = [time.perf_counter()]
    encoding = model.encode_texts(texts)
    marks.append(time.perf_counter())
    interactions, user_scores = model.simulate_encoded(encoding)
    marks.append(time.perf_counter())
    hybrid = model.hybrid
    hybrid.append(hybrid.rows_of(hybrid.backbone.fold_in(interactions), user_scores))
    marks.append(time.perf_counter())
    encode, simulate, fold_in = np.diff(marks)
    stages = {"encode": encode, "judge": 0.0, "simulate": simulate, "fold in": fold_in}
    if isinstance(model, ColdLLM):  # its encode_texts runs the filter and the judge too
        marks = [time.perf_counter()]
        vectors = encoder.encode(texts)
        marks.append(time.perf_counter())
        model.funnel.coupled.user_scores(vectors)
        marks.append(time.perf_counter())
        vectors_only, filtered = np.diff(marks)
        judge = encode - vectors_only - filtered
        stages |= {"encode": vectors_only, "judge": judge, "simulate": simulate + filtered}
    return stages


if __name__ == "__main__":
    main()
