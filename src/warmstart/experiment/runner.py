"""Run the jobs of an experiment and put their outcomes into one table a mask."""

import logging
import multiprocessing
import os
import tempfile
import threading
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np

from warmstart.data.split import Mask, Split
from warmstart.errors import WarmstartError
from warmstart.evaluate.compare import compare
from warmstart.evaluate.comparison import Comparison, Timing
from warmstart.experiment.controls import AudienceJob, jobs_of
from warmstart.experiment.job import Bench, MethodJob, job_key
from warmstart.experiment.outcome import Outcome, load_outcomes, save_outcomes
from warmstart.experiment.spec import Experiment
from warmstart.rank import Progress

logger = logging.getLogger(__name__)


def run_experiment(
    experiment: Experiment,
    split: Split,
    *,
    folder: Path | None = None,
    isolate: bool = False,
    use_cache: bool = True,
    progress: Progress | None = None,
) -> dict[Mask, Comparison]:
    """Fit and evaluate every method of an experiment.

    Args:
        experiment: which methods, seeds, masks.
        split: what to learn and rank.
        folder: keeps checkpoints and finished results, so that an interrupted experiment goes on
            where it was. Results of other code, data or settings in it are not used.
        isolate: each fit in a process of its own, so that its peak memory is its own.
        use_cache: whether text vectors are kept on disk; see ``Bench``.
        progress: called while ranking.

    Returns:
        One table a mask.

    Raises:
        WarmstartError: a method failed; or its process died.
    """
    with tempfile.TemporaryDirectory(prefix="warmstart-") as scratch:
        bench = Bench(
            split,
            experiment.masks,
            experiment.metrics,
            experiment.audience,
            experiment.lm,
            use_cache,
            folder or Path(scratch),
            progress,
        )
        saved = None
        if isolate:
            saved = Path(scratch) / "split"
            split.save(saved)
        groups = jobs_of(experiment)
        outcomes: list[Outcome] = []
        for number, jobs in enumerate(groups, start=1):
            logger.info("method %d of %d: %s", number, len(groups), jobs[0].label)
            outcomes += _over_seeds(jobs, bench, saved)
    return {mask: _table(outcomes, mask, experiment.against) for mask in experiment.masks}


def _over_seeds(
    jobs: list[MethodJob | AudienceJob], bench: Bench, split_folder: Path | None
) -> list[Outcome]:
    """Outcomes of one method; a single one each where the seed makes no difference."""
    runs: list[list[Outcome]] = []
    for job in jobs:
        runs.append(_finished(job, bench, split_folder))
        if not any(outcome.random for outcome in runs[-1]):
            break
    first = runs[0]
    alike = len(runs) > 1 and all(
        mine.same_values(theirs)
        for run in runs[1:]
        for mine, theirs in zip(first, run, strict=True)
    )
    if alike:
        return [outcome.without_seed() for outcome in first]
    return [outcome for run in runs for outcome in run]


def _finished(
    job: MethodJob | AudienceJob, bench: Bench, split_folder: Path | None
) -> list[Outcome]:
    """From the run folder, or done now and kept there."""
    assert bench.folder is not None
    place = bench.folder / "results" / job_key(job, bench)[:32]
    outcomes = load_outcomes(place)
    if outcomes is not None:
        logger.info("%s, seed %d: finished before", job.label, job.seed)
        return outcomes
    outcomes = job.run(bench) if split_folder is None else _in_own_process(job, bench, split_folder)
    save_outcomes(outcomes, place)
    return outcomes


def _in_own_process(
    job: MethodJob | AudienceJob, bench: Bench, split_folder: Path
) -> list[Outcome]:
    context = multiprocessing.get_context("spawn")
    settings = {
        "masks": bench.masks,
        "metrics": bench.metrics,
        "audience": bench.audience,
        "lm_settings": bench.lm_settings,
        "use_cache": bench.use_cache,
        "folder": bench.folder,
    }
    with ProcessPoolExecutor(1, mp_context=context, initializer=end_with_parent) as pool:
        try:
            return pool.submit(_isolated, job, split_folder, settings).result()
        except BrokenProcessPool:
            raise WarmstartError(
                f"{job.label}: its process died without an error; most often for lack of memory"
            ) from None


def end_with_parent() -> None:
    """Let this process end when its parent has: killed, the parent cannot tell it to."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _isolated(
    job: MethodJob | AudienceJob, split_folder: Path, settings: dict[str, Any]
) -> list[Outcome]:
    return job.run(Bench(Split.load(split_folder), **settings))


def _table(outcomes: Iterable[Outcome], mask: Mask, against: str | None) -> Comparison:
    by_method: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_method.setdefault(outcome.reports[mask].method, []).append(outcome)
    timings = [
        Timing(label, stage, float(np.mean([run.seconds.get(stage, 0.0) for run in runs])))
        for label, runs in by_method.items()
        for stage in runs[0].seconds
    ]
    simulations = {
        label: runs[0].simulation
        for label, runs in by_method.items()
        if runs[0].simulation is not None
    }
    reports = [outcome.reports[mask] for runs in by_method.values() for outcome in runs]
    return compare(reports, against=against, timings=timings, simulations=simulations)
