"""Speed and quality of the backbones against implicit, cornac and recbole, on planted data.

    python benchmarks/backbones.py --peers .venv-peers --json backbones.json --plot backbones.svg
    python benchmarks/backbones.py --peers .venv-peers --tiny --rounds 1

The data: users and items have planted vectors of width 32, and items a popularity. Each user gets
the items with the largest logit plus Gumbel noise, which is a sample from the softmax without
replacement. A tenth of each user's items is for validation (masked, unused here), a tenth for the
test.

Every system runs in its own process, in turn, ``--rounds`` times. The main figure is the median
over rounds of the median seconds of an epoch. As the systems reach different quality, a second
ratio divides our seconds until the peer's final recall by the peer's total seconds. The settings
were tuned lightly, for each system separately.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
from peers import PINS, python_of
from runner import recall_at_20

RUNNER = Path(__file__).with_name("runner.py")

# name, peer whose environment is used (None: this one), function in runner.py, its settings
RUNS = [
    ("warmstart bpr", None, "warmstart",
     {"kind": "bpr", "width": 64, "epochs": 30, "learning_rate": 0.05, "l2": 0.02,
      "negatives": 1}),
    ("implicit bpr", "implicit", "implicit_bpr",
     {"width": 64, "epochs": 30, "learning_rate": 0.05, "l2": 0.03}),
    ("cornac bpr", "cornac", "cornac_bpr",
     {"width": 63, "epochs": 30, "learning_rate": 0.05, "l2": 0.02}),
    ("recbole bpr", "recbole", "recbole",
     {"model": "BPR", "width": 64, "epochs": 20, "learning_rate": 0.005, "batch_size": 8192}),
    ("warmstart ials", None, "warmstart",
     {"kind": "ials", "width": 64, "epochs": 15, "alpha": 20, "l2": 200,
      "frequency_exponent": 0, "solver": "cg"}),
    ("implicit als", "implicit", "implicit_als",
     {"width": 64, "epochs": 15, "alpha": 20, "l2": 200}),
    ("warmstart lightgcn", None, "warmstart",
     {"kind": "lightgcn", "width": 64, "epochs": 10, "layers": 2, "loss": "bpr",
      "normalised": False, "temperature": 1.0, "batch_size": 16384, "learning_rate": 0.02,
      "l2": 1e-4}),
    ("recbole lightgcn", "recbole", "recbole",
     {"model": "LightGCN", "width": 64, "epochs": 10, "learning_rate": 0.005, "batch_size": 8192,
      "n_layers": 2, "reg_weight": 1e-5}),
]  # fmt: skip

# ours, theirs: the goal is a ratio of seconds an epoch below 1
PAIRS = [
    ("warmstart bpr", "implicit bpr"),
    ("warmstart bpr", "cornac bpr"),
    ("warmstart bpr", "recbole bpr"),
    ("warmstart ials", "implicit als"),
    ("warmstart lightgcn", "recbole lightgcn"),
]


def planted(n_users, n_items, interactions, rng):
    """Train and test pairs, the masked pairs, and the true logits."""
    users = rng.normal(size=(n_users, 32))
    items = rng.normal(size=(n_items, 32))
    logits = 2.2 * users @ items.T / np.sqrt(32) + rng.normal(0, 0.9, n_items)
    lengths = rng.lognormal(0, 0.5, n_users)
    lengths = np.clip(lengths * interactions / lengths.sum(), 10, n_items // 2).astype(int)
    order = np.argsort(-(logits + rng.gumbel(size=logits.shape)), axis=1)
    train, test = [], []
    masked = np.zeros(logits.shape, bool)
    for user, n in enumerate(lengths):
        history = rng.permutation(order[user, :n])
        held = max(1, n // 10)
        test += [(user, item) for item in history[:held]]
        masked[user, history[held:]] = True
        train += [(user, item) for item in history[2 * held :]]
    return np.array(train, np.int32), np.array(test, np.int32), masked, logits


def run(peer, function, settings, data, folder, threads):
    python = sys.executable if peer is None else python_of(peer, folder)
    result = data.with_name("result.json")
    variables = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "NUMBA_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": "1",  # implicit requires it; torch and numba do not use it
    }
    command = [str(python), str(RUNNER), function, str(data), str(result), json.dumps(settings)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-3000:]}")
    return json.loads(result.read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--peers",
        type=Path,
        required=True,
        help="folder for the environments of the other libraries",
    )
    parser.add_argument("--json", type=Path, help="file for all figures")
    parser.add_argument("--plot", type=Path, help="file for a plot of seconds against recall")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slow-rounds", type=int, default=1, help="rounds of recbole")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--only", nargs="*", default=[""], help="run only systems whose name contains one of these"
    )
    parser.add_argument("--tiny", action="store_true", help="smoke test: small data, two epochs")
    options = parser.parse_args()
    size = (300, 200, 6000) if options.tiny else (6000, 4000, 1_000_000)
    train, test, masked, logits = planted(*size, np.random.default_rng(0))
    rounds = {name: [] for name, *_ in RUNS if any(part in name for part in options.only)}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data.npz"
        np.savez(data, train=train, test=test, masked=masked)
        for number in range(options.rounds):
            for name, peer, function, settings in RUNS:
                slow = peer == "recbole" and number >= options.slow_rounds
                if name not in rounds or slow:
                    continue
                settings = settings | ({"epochs": 2} if options.tiny else {})
                found = run(peer, function, settings, data, options.peers, options.threads)
                rounds[name].append(found | {"total": total(found, settings["epochs"])})
                print(
                    f"{name:20} {np.median(found['seconds']):9.4f} s/epoch  "
                    f"{found['recall@20'][-1]:.4f}",
                    flush=True,
                )
    report(rounds, options, train, test, masked, logits)


def total(found, epochs):
    """Seconds of all epochs; ``found`` may hold only their mean."""
    return float(np.mean(found["seconds"]) * epochs)


def until(found, recall):
    """Seconds of training until ``recall`` is reached; None if it never is."""
    reached = np.flatnonzero(np.array(found["recall@20"]) >= recall)
    return float(np.sum(found["seconds"][: reached[0] + 1])) if len(reached) else None


def report(rounds, options, train, test, masked, logits):
    figures = {
        name: {
            "seconds": float(np.median([np.median(found["seconds"]) for found in rounds[name]])),
            "recall@20": float(np.median([found["recall@20"][-1] for found in rounds[name]])),
            "total": float(np.median([found["total"] for found in rounds[name]])),
            "rounds": rounds[name],
        }
        for name in rounds
    }
    ratios = {}
    for ours, theirs in PAIRS:
        if ours not in figures or theirs not in figures:
            continue
        mine, other = figures[ours], figures[theirs]
        times = [until(found, other["recall@20"]) for found in mine["rounds"]]
        reached = [seconds for seconds in times if seconds is not None]
        never = len(reached) < len(times)
        ratios[f"{ours} / {theirs}"] = {
            "epoch": mine["seconds"] / other["seconds"],
            "to_their_recall": None if never else np.median(reached) / other["total"],
        }
    popularity = np.bincount(train[:, 1], minlength=masked.shape[1])
    written = {
        "data": {
            "users": masked.shape[0],
            "items": masked.shape[1],
            "train": len(train),
            "test": len(test),
            "oracle_recall@20": recall_at_20(logits, test, masked),
            "popularity_recall@20": recall_at_20(popularity + 0.0 * logits, test, masked),
        },
        "settings": {name: settings for name, _, _, settings in RUNS if name in figures},
        "systems": figures,
        "ratios": ratios,
        "environment": environment(options.threads),
    }
    print(json.dumps({"data": written["data"], "ratios": ratios}, indent=2))
    if options.json:
        options.json.write_text(json.dumps(written, indent=2) + "\n")
    if options.plot:
        plot(figures, options.plot)


def environment(threads):
    """What the figures depend on: the machine, how busy it is, and the versions of packages."""
    ours = ("warmstart", "numpy", "scipy", "numba", "torch")
    return {
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "threads": threads,
        "load_of_15_minutes": os.getloadavg()[2],
        "python": platform.python_version(),
        "packages": {name: version(name) for name in ours},
        "peers": PINS,
    }


def plot(figures, file):
    """Draw seconds an epoch against recall: a point for each system, up and left is better."""
    from matplotlib.figure import Figure

    axes = (figure := Figure(figsize=(7, 5), layout="constrained")).subplots()
    for name, found in figures.items():
        own = name.startswith("warmstart")
        x, y = found["seconds"], found["recall@20"]
        axes.plot(x, y, "o" if own else "s", color="C0" if own else "C1")
        axes.annotate(name, (x, y), xytext=(5, 5), textcoords="offset points")
    axes.set(xscale="log", xlabel="seconds an epoch", ylabel="recall@20")
    axes.margins(x=0.25)
    figure.savefig(file)


if __name__ == "__main__":
    main()
