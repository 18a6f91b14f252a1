"""Methods fitted once, and compared on all items and on drawn candidates of the same users.

    warmstart split DATA --protocol next-item --out S
    warmstart split DATA --protocol next-item --candidates uni19 --out S-uni19
    python benchmarks/frozen_candidates.py S S-uni19 S-pop19 --config EXPERIMENT.toml --json OUT

Fits each method of the experiment on the first split, and asks the same sample of its test queries
in every split: N@10 and hit@10 where all items are ranked, hit@1 among drawn candidates. "warm" and
"cold" are the slices of the split. Intervals are paired over queries and, with several seeds, of
the mean over seeds. With ``--run``, an interrupted command resumes.
"""

import json as jsonlib
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from environment import environment

from warmstart.collaborative_lm.fit import sampled
from warmstart.data.splits.files import load_split
from warmstart.data.tasks import RankingTask
from warmstart.evaluation.significance import intervals, paired_intervals
from warmstart.experiment.job import ExperimentContext
from warmstart.experiment.spec import Experiment, MethodSpec, read_experiment
from warmstart.methods import build
from warmstart.rank import of_own_candidates, rank_task

_METRICS = {False: ("ndcg@10", "hit@10"), True: ("hit@1",)}


def main(
    splits: list[Path],
    config: Annotated[Path, typer.Option()],
    run: Annotated[Path | None, typer.Option()] = None,
    encoder: str = "default",
    lm: str = "default",
    queries: int = 2000,
    seeds: int = 1,
    json: Path | None = None,
) -> None:
    """Print a table for each split, slice and metric, and write OUT."""
    experiment = read_experiment(config)
    first = load_split(splits[0])
    context = ExperimentContext(
        first, ("all",), None, folder=run,
        encoder_settings={"source": encoder, **experiment.encoder},
        lm_settings={"source": lm, **experiment.lm},
    )  # fmt: skip
    asked = {load_split(path).metric_suffix: _tasks(path, queries) for path in splits}
    found: dict[str, dict[str, np.ndarray]] = {}
    choices: dict[str, object] = {}
    for spec in experiment.method:
        values, choices[spec.display_name] = _values(spec, context, asked, seeds)
        for table, own in values.items():
            found.setdefault(table, {})[spec.display_name] = own
        if json is not None:
            json.write_text(jsonlib.dumps(_result(experiment, found, choices), indent=1))
    for table, rows in _result(experiment, found, choices)["tables"].items():
        print(table)
        for label, row in rows.items():
            print(f"  {label:50s} {row}")


def _tasks(path: Path, n: int) -> dict[str, RankingTask]:
    """The same queries of each split, since they are taken from equal positions."""
    tasks = load_split(path).tasks("test")
    return {name: sampled(task, n) for name, task in tasks.items() if isinstance(task, RankingTask)}


def _values(
    spec: MethodSpec, context: ExperimentContext, asked: dict, seeds: int
) -> tuple[dict[str, np.ndarray], list]:
    """Values of each query by table, mean over seeds, and what validation chose for each seed."""
    total: dict[str, np.ndarray] = {}
    chosen, n = [], seeds
    for seed in range(seeds):
        model = build(spec.method, spec.full_settings)
        _, random = context.fit(
            model, seed, spec.permuted, {"encoder": spec.encoder, "causal": spec.lm}
        )
        n = seeds if random else 1
        chosen.append(model.fitted.choices)
        for suffix, tasks in asked.items():
            for part, task in tasks.items():
                own = task.candidates.ndim == 2
                score = of_own_candidates(model.score) if own else model.score
                ranking = rank_task(score, task, 10)
                for metric in _METRICS[own]:
                    table = f"{metric}{suffix} {part}"
                    values = ranking.per_query(metric) / n
                    total[table] = total.get(table, 0) + values
        print(
            spec.display_name,
            seed,
            {name: round(v.mean(), 4) for name, v in total.items()},
            flush=True,
        )
        if not random:
            break
    return total, chosen


def _result(experiment: Experiment, found: dict, choices: dict) -> dict:
    tables: dict[str, dict] = {}
    for name, rows in found.items():
        values = np.stack(list(rows.values()), axis=1)
        against = (
            values[:, [list(rows).index(experiment.against)]]
            if experiment.against in rows
            else values
        )
        gains = paired_intervals(values, np.broadcast_to(against, values.shape))
        tables[name] = {
            label: {
                "mean": [own.value, own.low, own.high],
                f"difference from {experiment.against}": [gain.value, gain.low, gain.high],
            }
            for label, own, gain in zip(rows, intervals(values), gains, strict=True)
        }
    return {"environment": environment(), "choices": choices, "tables": tables}


if __name__ == "__main__":
    typer.run(main)
