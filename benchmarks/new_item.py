"""Seconds from the text of one new item to its place beside the others: median and 99th percentile.

    python benchmarks/new_item.py MODEL [--items 200] [--seed 0]

MODEL is an artefact of a method that adds items. The texts are made from words of the catalogue, so
that no cache knows them; each item is added by itself, as a service would.
"""

import argparse
import json
import time

import numpy as np
import polars as pl

from warmstart import load_model, read_items


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    model = load_model(arguments.model)
    catalogue = model.fitted.catalogue
    words = sorted({word for text in catalogue.texts for word in text.split()})
    integer = catalogue.item_ids.is_integer
    seconds = []
    for number in range(arguments.items + 10):
        text = " ".join(rng.choice(words, size=10))
        item = 10**9 + number if integer else f"new-{number}"
        new = read_items(pl.DataFrame({"item": [item], "title": [text]}), ("title",))
        started = time.perf_counter()
        model.add_items(new)
        seconds.append(time.perf_counter() - started)
    timed = np.array(seconds[10:]) * 1000  # the first ones load the language model
    print(
        json.dumps(
            {
                "method": model.name,
                "catalogue": len(catalogue),
                "users": len(model.fitted.user_ids),
                "items": arguments.items,
                "median_ms": round(float(np.median(timed)), 1),
                "p99_ms": round(float(np.quantile(timed, 0.99)), 1),
            }
        )
    )


if __name__ == "__main__":
    main()
