"""``warmstart simulate --run``, killed at random moments and resumed, against one complete run.

    python benchmarks/kills.py MODEL ITEMS [--kills 10] [--seed 0]

ITEMS is a file for ``simulate --items``. Each attempt is killed (SIGKILL) after a random fraction
of the complete run's time, so that some die while loading and some while writing. An attempt that
ends before its kill closes a round: its result is compared, and the next round starts from nothing.
Prints the counts; exits with 1 if a result differs.
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
            outputs = ["--run", str(base / name), "--out", str(base / f"{name}.parquet")]
            command = [*_CLI, arguments.model, "--items", arguments.items, *outputs]
            return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        started = time.perf_counter()
        if start("complete").wait():
            raise SystemExit("the complete run failed: run the command by hand to see why")
        seconds = time.perf_counter() - started
        print(f"complete run: {seconds:.1f} s", flush=True)

        killed = finished_early = 0
        shards_at_kill = []
        while killed < arguments.kills:
            process = start("killed")
            try:
                process.wait(rng.uniform(0.2, 0.9) * seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                killed += 1
                shards_at_kill.append(len(list((base / "killed").rglob("*.parquet"))))
                print(f"kill {killed}: {shards_at_kill[-1]} shards are kept", flush=True)
                continue
            # later attempts would find every shard complete, so start another round
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
                "complete_run_seconds": round(seconds, 1),
                "kills": killed,
                "rounds": finished_early + 1,
                "shards_kept_at_each_kill": shards_at_kill,
                "equal": True,
            }
        )
    )


def _compare(base: Path) -> int:
    """The number of rows of both results; exits if they differ in a value or in their order."""
    left, right = (pl.read_parquet(base / f"{name}.parquet") for name in ("complete", "killed"))
    if not left.equals(right):
        raise SystemExit("the resumed run gave another result than the complete one")
    return len(left)


if __name__ == "__main__":
    main()
