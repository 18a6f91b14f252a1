"""Memory and time of ``recommend`` for all users at once, beside the fitted model.

    python benchmarks/recommend.py --users 100000 --items 100000 -k 10

The model is iALS of width 8 on random interactions, 20 a user: what counts is the number of pairs.
"""

import argparse
import json
import re
import time
from pathlib import Path

import numpy as np
import polars as pl

import warmstart as ws
from warmstart.data.ids import Ids


def data_of(n_users: int, n_items: int) -> ws.Dataset:
    """Random interactions; every user has some."""
    rng = np.random.default_rng(0)
    pairs = np.unique(
        np.repeat(np.arange(n_users), 20) * n_items + rng.integers(0, n_items, 20 * n_users)
    )
    catalogue = ws.Catalogue(
        Ids((f"i{n}" for n in range(n_items)), "item"), ("",) * n_items, None, pl.DataFrame(), ()
    )
    users = Ids((f"u{n}" for n in range(n_users)), "user")
    return ws.Dataset(
        "random", users, catalogue, ws.Interactions.from_arrays(pairs // n_items, pairs % n_items)
    )


def resident_mb(name: str) -> float:
    """Resident memory of this process in MiB: VmRSS now, VmHWM at its peak."""
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"{name}:\s+(\d+)", status)
    assert found is not None
    return int(found[1]) / 1024


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("-k", type=int, default=10)
    parser.add_argument("--memory-mb", type=float, default=256)
    given = parser.parse_args()
    data = data_of(given.users, given.items)
    model = ws.CFOnly(backbone={"kind": "ials", "width": 8, "epochs": 1}).fit(data)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
    before, started = resident_mb("VmRSS"), time.perf_counter()
    lists = model.recommend(data.user_ids.values, given.k, memory_mb=given.memory_mb)
    result = {
        "users": given.users,
        "items": given.items,
        "rows": len(lists),
        "seconds": round(time.perf_counter() - started, 1),
        "model_mb": round(before),
        "above_model_mb": round(resident_mb("VmHWM") - before),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
