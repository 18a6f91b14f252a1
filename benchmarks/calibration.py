"""How often simulated users of cold items are right, beside the chance that was given to them.

    python benchmarks/calibration.py MODEL SPLIT [--users 50]

MODEL was fitted on the training part of SPLIT. Truth is the split's held-out pairs of cold test
items; validation items, on which chances are fitted, are left out.
"""

import argparse
from pathlib import Path

import numpy as np

from warmstart.data.splits.files import load_split
from warmstart.methods import load_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("split", type=Path)
    parser.add_argument("--users", type=int, default=50, help="an item")
    arguments = parser.parse_args()
    parts, model = load_split(arguments.split), load_model(arguments.model)
    truth = parts.cold_test.matrix(parts.train.n_users, parts.train.n_items).tocsc()
    cold = np.unique(parts.cold_test.items)
    texts = [parts.dataset.catalogue.texts[row] for row in cold]
    events = model.simulate_texts(texts, arguments.users)
    right = np.asarray(truth[events.users, cold[events.items]]).ravel() > 0
    bounds = np.quantile(events.weights, np.arange(1, 10) / 10)
    tenth = np.searchsorted(bounds, events.weights, side="right")
    print(f"{len(cold)} cold test items, {len(events)} pairs")
    print("tenth   chance    right")
    for number in range(10):
        part = tenth == number
        print(f"{number + 1:5}   {events.weights[part].mean():.4f}   {right[part].mean():.4f}")
    print(f"  all   {events.weights.mean():.4f}   {right.mean():.4f}")


if __name__ == "__main__":
    main()
