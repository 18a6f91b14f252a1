"""Fit, add, simulate and recommend as users grow: seconds, peak memory, and the exponents.

    python benchmarks/scale.py --json scale.json --plot scale.svg
    python benchmarks/scale.py --users 1e4,1e5 --items 1e4

The data is planted: an item has one of 200 topics, a user likes two of them, nine of ten of a
user's about 20 items are of these, and popularity is log-normal. One item in 50 is cold. A text
names the topic, and the encoder is a stand-in that reads it (random direction of the topic plus
noise, width 64): the time of a language model grows with the items only and is measured elsewhere.

The method is filterllm with iALS and a ridge of low rank, cold items by fold-in and text, user
tokens tuned by sampled softmax. Every size runs in a process of its own; memory is its peak.
"""

import argparse
import json
import math
import resource
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import polars as pl
import torch
from environment import environment

TOPICS, WIDTH, PER_USER, LISTS, NEW = 200, 64, 20, 10_000, 1_000


class PlantedEncoder:
    """Reads the topic of a text; the part of ``TextEncoder`` that methods use."""

    width, folder, cache = WIDTH, None, None
    spec = {"source": "planted"}  # noqa: RUF012

    class lm:
        """What the memory plan asks a language model for."""

        width, fingerprint, device = WIDTH, "planted", torch.device("cpu")
        body = with_head = torch.nn.Linear(1, 1)

    def __init__(self):
        self.topics = np.random.default_rng(5).normal(size=(TOPICS, WIDTH))

    def encode(self, texts):
        vectors = np.empty((len(texts), WIDTH), np.float32)
        for at, text in enumerate(texts):
            noise = np.random.default_rng(zlib.crc32(text.encode())).normal(size=WIDTH)
            vectors[at] = self.topics[int(text.split()[1])] + 0.7 * noise
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def planted(n_users, n_items, rng):
    """Frames of interactions and items."""
    topic = rng.integers(0, TOPICS, n_items)
    popularity = rng.lognormal(0, 1, n_items)
    popularity[rng.permutation(n_items)[: n_items // 50]] = 0  # cold
    order = np.argsort(topic, kind="stable")
    ends = np.searchsorted(topic[order], np.arange(TOPICS + 1))
    total = np.concatenate([[0], np.cumsum(popularity[order])])
    favourites = rng.integers(0, TOPICS, (n_users, 2))
    counts = rng.poisson(PER_USER, n_users).clip(3)
    users = np.repeat(np.arange(n_users), counts)
    chosen = favourites[users, rng.integers(0, 2, len(users))]
    chosen = np.where(rng.random(len(users)) < 0.1, rng.integers(0, TOPICS, len(users)), chosen)
    low, high = total[ends[chosen]], total[ends[chosen + 1]]
    at = np.searchsorted(total, low + rng.random(len(users)) * (high - low), side="right") - 1
    items = order[np.minimum(at, n_items - 1)]
    texts = [f"topic {name} item {row}" for row, name in enumerate(topic.tolist())]
    events = pl.DataFrame({"user": users, "item": items}).unique(maintain_order=True)
    return events, pl.DataFrame({"item": np.arange(n_items), "text": texts}), favourites


def work(n_users, n_items):
    """Everything for one size, in this process."""
    import warmstart as ws

    rng, seconds, peaks = np.random.default_rng(0), {}, {}

    def timed(name, do):
        started = time.perf_counter()
        result = do()
        seconds[name] = time.perf_counter() - started
        peaks[name] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        return result

    *frames, favourites = planted(n_users, n_items, rng)
    data = timed("read", lambda: ws.from_frames(*frames, text=["text"]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    model = ws.FilterLLM(
        backbone={"kind": "ials", "width": 64, "epochs": 5, "solver": "cg"},
        ridge={"kernel": "linear", "l2": 30, "rank": 64},
        width=64, negatives=4096, epochs=1,
    )  # fmt: skip
    timed("fit", lambda: model.fit(data, encoder=PlantedEncoder(), rng=np.random.default_rng(0)))
    new_topics = rng.integers(0, TOPICS, NEW)
    texts = [f"topic {topic} new {row}" for row, topic in enumerate(new_topics.tolist())]
    new = pl.DataFrame({"item": n_items + np.arange(NEW), "text": texts})
    timed(f"add {NEW} items", lambda: model.add_items(new))
    found = timed("simulate 20 users for 100 items", lambda: model.simulate(new[:100], k=20))
    asked = rng.choice(n_users, min(LISTS, n_users), replace=False)
    lists = timed(f"lists for {LISTS} users", lambda: model.recommend(asked.tolist(), k=10))
    likes = favourites[found["user"].to_numpy()]
    right = (likes == new_topics[found["item"].to_numpy() - n_items][:, None]).any(axis=1)
    print(
        json.dumps(
            {
                "users": n_users, "items": n_items, "interactions": len(data.interactions),
                "seconds": seconds,
                "peak_mib_so_far": peaks,
                "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,
                "data_mib": before, "right_users": float(right.mean()),
                "cold_share": float(lists["is_cold"].mean()),
            }
        )
    )  # fmt: skip


def exponents(records):
    """Slope of each time, and of the memory, on a log-log scale between the last two sizes."""
    if len(records) < 2:
        return {}
    small, large = records[-2:]
    growth = math.log(large["users"] / small["users"])
    slopes = {
        name: math.log(large["seconds"][name] / small["seconds"][name]) / growth
        for name in small["seconds"]
    }
    return slopes | {"memory": math.log(large["peak_mib"] / small["peak_mib"]) / growth}


def plot(records, path):
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    users = [record["users"] for record in records]
    for name in records[0]["seconds"]:
        left.loglog(users, [r["seconds"][name] for r in records], marker="o", label=name)
    left.set(xlabel="users", ylabel="seconds")
    left.legend(fontsize=7)
    right.loglog(users, [r["peak_mib"] for r in records], marker="o")
    right.set(xlabel="users", ylabel="peak memory, MiB")
    figure.tight_layout()
    figure.savefig(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", default="1e4,3e4,1e5,3e5,1e6")
    parser.add_argument("--items", type=float, default=1e5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    sizes = [int(float(users)) for users in options.users.split(",")]
    if options.work:
        work(sizes[0], int(options.items))
        return
    records = []
    for users in sizes:
        command = [sys.executable, __file__, "--work", "--users", str(users)]
        command += ["--items", str(options.items)]
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        records.append(json.loads(answer.stdout.splitlines()[-1]))
        print(json.dumps(records[-1]), flush=True)
        if options.json:
            written = {"environment": environment(), "records": records}
            options.json.write_text(
                json.dumps(written | {"exponents": exponents(records)}, indent=1)
            )
    print("exponents", exponents(records))
    if options.plot:
        plot(records, options.plot)


if __name__ == "__main__":
    main()
