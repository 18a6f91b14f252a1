"""Speed of SASRec against RecTools at equal settings, on planted sequences.

    python benchmarks/sequence.py --peers .venv-peers --json sequence.json
    python benchmarks/sequence.py --peers .venv-peers --tiny --rounds 1

The data have the shape of Amazon Beauty (2014, 5-core): users, items, and lengths that are mostly
short. Each item has five successors, and an event is a successor of the one before it with
probability 0.7, else any item in proportion to its popularity. A user's last event is for the test.

Both systems train two blocks with the softmax over all items, every next item of each history in
one pass. warmstart starts from the SVD of the interactions, its default. Each runs in its own
process, in turn, ``--rounds`` times; the figure is the median over rounds of the median seconds of
an epoch.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from peers import python_of

RUNNER = Path(__file__).with_name("sequence_runner.py")
SYSTEMS = {"warmstart": None, "rectools": "rectools"}  # name -> peer whose environment is used
SETTINGS = {
    "width": 64, "epochs": 3, "layers": 2, "heads": 2, "max_length": 50, "dropout": 0.2,
    "rate": 0.001, "batch": 128,
}  # fmt: skip


def planted(n_users, n_items, mean_length, rng):
    """Train pairs in the order of each user's events, and the item that follows, one a user."""
    lengths = 4 + rng.geometric(1 / (mean_length - 4), n_users)
    successors = rng.integers(0, n_items, (n_items, 5))
    popularity = rng.lognormal(0, 1, n_items)
    items = rng.choice(n_items, (n_users, lengths.max()), p=popularity / popularity.sum())
    follows = rng.random(items.shape) < 0.7
    choice = rng.integers(0, 5, items.shape)
    for place in range(1, items.shape[1]):
        successor = successors[items[:, place - 1], choice[:, place]]
        items[:, place] = np.where(follows[:, place], successor, items[:, place])
    rows = np.repeat(np.arange(n_users), lengths - 1)
    places = np.concatenate([np.arange(length - 1) for length in lengths])
    train = np.stack([rows, items[rows, places]], axis=1)
    return train.astype(np.int32), items[np.arange(n_users), lengths - 1].astype(np.int32)


def run(system, peers, data, settings, threads):
    peer = SYSTEMS[system]
    python = sys.executable if peer is None else python_of(peer, peers)
    result = data.with_name("result.json")
    command = [str(python), str(RUNNER), system, str(data), str(result), json.dumps(settings)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-3000:]}")
    return json.loads(result.read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path, required=True, help="folder of their environments")
    parser.add_argument("--json", type=Path, help="file for all figures")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tiny", action="store_true", help="smoke test: small data")
    options = parser.parse_args()
    size = (500, 300, 8.9) if options.tiny else (22363, 12101, 8.9)
    train, test = planted(*size, np.random.default_rng(0))
    rounds = {system: [] for system in SYSTEMS}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data.npz"
        np.savez(data, train=train, test=test)
        for _ in range(options.rounds):
            for system in SYSTEMS:
                found = run(system, options.peers, data, SETTINGS, options.threads)
                rounds[system].append(found)
                print(f"{system:10} {np.median(found['seconds']):8.3f} s/epoch", flush=True)
    seconds = {
        system: float(np.median([np.median(found["seconds"]) for found in rounds[system]]))
        for system in SYSTEMS
    }
    written = {
        "data": {"users": size[0], "items": size[1], "train": len(train)},
        "settings": SETTINGS,
        "seconds": seconds,
        "ratio": seconds["warmstart"] / seconds["rectools"],
        "rounds": rounds,
        "machine": {"python": platform.python_version(), "threads": options.threads},
    }
    print(json.dumps({"seconds": seconds, "ratio": written["ratio"]}, indent=2))
    if options.json:
        options.json.write_text(json.dumps(written, indent=2) + "\n")


if __name__ == "__main__":
    main()
