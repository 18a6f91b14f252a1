"""``warmstart simulate --run`` killed at random moments and resumed, beside an unbroken run.

    python benchmarks/kills.py MODEL ITEMS [--kills 10] [--seed 0]

ITEMS is what ``simulate --items`` takes. Each attempt is killed (SIGKILL) after a random share of
the time that the unbroken run took, so that some die while loading and some while writing. Prints
the counts; exits with 1 unless the outcomes are equal.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

_CLI = [sys.executable, "-m", "warmstart", "simulate"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("items")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)

        def start(name: str) -> subprocess.Popen:
            kept = ["--run", str(base / name), "--out", str(base / f"{name}.parquet")]
            command = [*_CLI, arguments.model, "--items", arguments.items, *kept]
            return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        started = time.perf_counter()
        if start("unbroken").wait():
            raise SystemExit("the unbroken run failed: run the command by hand to see why")
        unbroken = time.perf_counter() - started
        print(f"unbroken: {unbroken:.1f} s", flush=True)

        killed = attempts = finished_early = 0
        done_at_kill = []
        while killed < arguments.kills:
            attempts += 1
            process = start("killed")
            try:
                process.wait(rng.uniform(0.2, 0.9) * unbroken)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                killed += 1
                done_at_kill.append(len(list((base / "killed").rglob("*.parquet"))))
                print(f"kill {killed}: {done_at_kill[-1]} shards are kept", flush=True)
                continue
            # what is done stays done: later attempts get through, so begin another round
            finished_early += 1
            _compare(base)
            for path in sorted((base / "killed").rglob("*"), reverse=True):
                path.unlink() if path.is_file() else path.rmdir()
        if start("killed").wait():
            raise SystemExit("the resumed run failed")
        rows = _compare(base)
    print(
        json.dumps(
            {
                "interactions": rows,
                "unbroken_seconds": round(unbroken, 1),
                "kills": killed,
                "rounds": finished_early + 1,
                "shards_kept_at_each_kill": done_at_kill,
                "equal": True,
            }
        )
    )


def _compare(base: Path) -> int:
    """Rows of both outcomes; exits where they differ in order, in a value or in a row."""
    left, right = (pl.read_parquet(base / f"{name}.parquet") for name in ("unbroken", "killed"))
    if not left.equals(right):
        raise SystemExit("the resumed run gave another result than the unbroken one")
    return len(left)


if __name__ == "__main__":
    main()
