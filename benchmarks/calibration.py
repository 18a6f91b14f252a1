"""Calibration of simulated users of cold items: predicted probability and observed frequency.

    python benchmarks/calibration.py MODEL SPLIT [--users 50]

MODEL was fitted on the training part of SPLIT. The true pairs are the split's held-out interactions
of cold test items. Validation items are left out, as the probabilities are fitted to them. Prints
the mean of both over tenths of the pairs, by increasing probability.
"""

import argparse
from pathlib import Path

import numpy as np

from warmstart.abilities import Simulates, require
from warmstart.data.splits.files import load_split
from warmstart.methods import load_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("split", type=Path)
    parser.add_argument("--users", type=int, default=50, help="simulated users of each item")
    arguments = parser.parse_args()
    parts = load_split(arguments.split)
    model = require(load_model(arguments.model), Simulates, "be checked: it simulates no users")
    truth = parts.cold_test.matrix(parts.train.n_users, parts.train.n_items).tocsc()
    cold = np.unique(parts.cold_test.items)
    texts = [parts.dataset.catalogue.texts[row] for row in cold]
    events = model.simulate_texts(texts, arguments.users)
    is_true = np.asarray(truth[events.users, cold[events.items]]).ravel() > 0
    bounds = np.quantile(events.weights, np.arange(1, 10) / 10)
    tenth = np.searchsorted(bounds, events.weights, side="right")
    print(f"{len(cold)} cold test items, {len(events)} pairs")
    print("tenth   predicted   observed")
    for number in range(10):
        part = tenth == number
        print(f"{number + 1:5}   {events.weights[part].mean():9.4f}   {is_true[part].mean():8.4f}")
    print(f"  all   {events.weights.mean():9.4f}   {is_true.mean():8.4f}")


if __name__ == "__main__":
    main()
