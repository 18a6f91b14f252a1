"""Memory and seconds of a training step over many users: dense, in blocks, row-wise, sampled.

    python benchmarks/user_vocabulary.py --json user-vocabulary.json --plot user-vocabulary.svg
    python benchmarks/user_vocabulary.py --users 10000 --users 1000000 --case dense --case blocked

Each case and size runs in its own process. Memory is the peak during the steps (VmHWM of Linux)
above what the process had before the first one, when the table, its bias and, for "product", the
user table of a ridge were there: gradients, the state of the optimiser, logits. A case whose plan
needs more than ``--share`` of the memory of the machine is not run. Seconds are the median of the
steps after the first, which also makes the state of the optimiser; the fastest step tells more on
a machine that others use too, and is drawn.

The batch has 64 items with 20 positive users each; tokens have width 64.
"""

import json
import os
import platform
import resource
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from warmstart.machine import physical_memory

WIDTH, BATCH, POSITIVES, LM_WIDTH, RANK = 64, 64, 20, 384, 64
NEGATIVES = 8192
SIZES = [10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000]
CASES = {
    "dense": "dense cross-entropy, AdamW",
    "blocked": "in blocks, AdamW",
    "row-wise": "in blocks, row-wise, fused",
    "product": "the same beside a ridge of rank 64",
    "sampled": f"{NEGATIVES} sampled users, row-wise",
}
app = typer.Typer(add_completion=False)


def planned_bytes(case, n_users):
    """Bytes that a case will need, its table included; see ``simulate.memory_plan``."""
    numbers = n_users * (WIDTH + 1)
    if case in ("dense", "blocked"):
        numbers *= 4  # gradient, two moments
    if case == "dense":
        numbers += 4 * BATCH * n_users
    return 4 * (numbers + (RANK * n_users if case == "product" else 0))


@app.command()
def work(case: str, users: int, steps: int) -> None:
    """Run one case in this process, and print its figures as JSON."""
    import torch

    from warmstart.simulate import user_tokens
    from warmstart.train.blocked_softmax import FixedLogits
    from warmstart.train.row_wise import RowWiseAdamW
    from warmstart.train.sampled_softmax import Proposal, Sampling

    rng = np.random.default_rng(0)
    tokens = user_tokens.UserTokens(
        rng.random((users, WIDTH), np.float32) - np.float32(0.5),
        LM_WIDTH,
        rng,
        temperature=1.0,
        degrees=np.ones(users, np.float32),
    )
    # Both paths at every size; by itself training changes to blocks at DENSE_USERS.
    user_tokens.DENSE_USERS = sys.maxsize if case == "dense" else 0
    row_wise = case not in ("dense", "blocked")
    table = [tokens.table, tokens.bias]
    rest = [w for name, w in tokens.named_parameters() if name not in ("table", "bias")]
    optimiser = RowWiseAdamW([{"params": table, "row_wise": row_wise}, {"params": rest}], lr=1e-4)
    options = {}
    if case in ("row-wise", "product"):
        options["update"] = optimiser.fused(*table)
    if case == "product":
        ridge = torch.from_numpy(rng.random((users, RANK), np.float32))
        options["offset"] = FixedLogits(torch.randn(BATCH, RANK), ridge)
    if case == "sampled":
        stream = torch.Generator().manual_seed(0)
        weights = torch.ones(users)
        options["sampling"] = Sampling(NEGATIVES, Proposal(users, weights), stream, sparse=True)
        del weights

    def step(tokens=tokens, optimiser=optimiser, options=options) -> float:
        started = time.perf_counter()
        pooled = torch.nn.functional.normalize(torch.randn(BATCH, LM_WIDTH))
        pairs = torch.arange(BATCH).repeat_interleave(POSITIVES)
        liked = torch.from_numpy(rng.integers(0, tokens.n_users, len(pairs)))
        positives = user_tokens.PositivePairs(pairs, liked, torch.ones(len(pairs)))
        loss = tokens.loss(tokens.queries(pooled), positives, **options)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        assert loss.isfinite()
        return time.perf_counter() - started

    few = user_tokens.UserTokens(np.ones((100, WIDTH), np.float32), LM_WIDTH, rng)
    step(few, RowWiseAdamW([{"params": [*few.parameters()]}]), {})  # loads what torch loads late
    Path("/proc/self/clear_refs").write_text("5")  # the peak is now the present
    before = memory("VmRSS")
    first, *seconds = [step() for _ in range(steps + 1)]
    figures = {
        "beyond_table_mb": round((memory("VmHWM") - before) / 1e6, 1),
        "table_mb": round(4 * users * (WIDTH + 1) / 1e6, 1),
        "first_step_seconds": round(first, 4),
        "step_seconds": round(statistics.median(seconds), 4),
        "fastest_step_seconds": round(min(seconds), 4),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, 1),
    }
    typer.echo(json.dumps(figures))


def memory(name: str) -> int:
    """A line of /proc/self/status, in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{name}:")[1].split()[0]) * 1024


@app.command()
def run(
    users: Annotated[list[int] | None, typer.Option(help="numbers of users")] = None,
    case: Annotated[list[str] | None, typer.Option(help=f"some of {', '.join(CASES)}")] = None,
    steps: Annotated[int, typer.Option(help="timed steps")] = 3,
    threads: Annotated[int, typer.Option(help="threads of torch")] = 1,
    share: Annotated[float, typer.Option(help="of the memory that a case may need")] = 0.6,
    launcher: Annotated[str, typer.Option(help="words before each run: 'taskset -c 0'")] = "",
    json_file: Annotated[Path | None, typer.Option("--json")] = None,
    plot: Annotated[Path | None, typer.Option(help="file of the figure")] = None,
) -> None:
    """Measure all cases and sizes."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    runs = []
    for n_users in users or SIZES:
        for name in case or CASES:
            row = {"case": name, "n_users": n_users}
            planned = planned_bytes(name, n_users)
            if planned > share * physical_memory():
                row["not_run"] = f"needs {planned / 1e9:.1f} GB"
            else:
                command = [*shlex.split(launcher), sys.executable, __file__, "work", name]
                done = subprocess.run(
                    [*command, str(n_users), str(steps)],
                    env=environment,
                    check=True,
                    capture_output=True,
                    text=True,
                )
                row |= json.loads(done.stdout)
            typer.echo(json.dumps(row))
            runs.append(row)
            if json_file is not None:
                write(json_file, runs, steps, threads)
    if plot is not None:
        draw(runs, plot)


def write(target: Path, runs: list[dict], steps: int, threads: int) -> None:
    import torch

    result = {
        "environment": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "processor": processor(),
            "cores": os.cpu_count(),
            "memory_gb": round(physical_memory() / 1e9, 1),
            "threads": threads,
        },
        "settings": {"width": WIDTH, "batch": BATCH, "positives": POSITIVES, "rank": RANK,
                     "negatives": NEGATIVES, "steps": steps},
        "runs": runs,
    }  # fmt: skip
    target.write_text(json.dumps(result, indent=1) + "\n")


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(": ")[2]
    return platform.processor()


@app.command()
def redraw(json_file: Path, plot: Path) -> None:
    """Draw the figure of a file that ``run`` wrote."""
    draw(json.loads(json_file.read_text())["runs"], plot)


def draw(runs: list[dict], target: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, label in CASES.items():
        rows = [row for row in runs if row["case"] == name and "step_seconds" in row]
        sizes = [row["n_users"] for row in rows]
        left.loglog(sizes, [row["beyond_table_mb"] for row in rows], "o-", label=label)
        right.loglog(sizes, [row["fastest_step_seconds"] for row in rows], "o-", label=label)
    tables = {row["n_users"]: row["table_mb"] for row in runs if "table_mb" in row}
    left.loglog(list(tables), list(tables.values()), "k:", label="the table itself")
    left.set(xlabel="users", ylabel="MB beyond the table", title="Peak memory of a step")
    right.set(xlabel="users", ylabel="seconds", title="Seconds of a step")
    left.legend(fontsize="small")
    figure.savefig(target)


if __name__ == "__main__":
    if len(sys.argv) == 1 or sys.argv[1].startswith("--"):
        sys.argv.insert(1, "run")
    app()
