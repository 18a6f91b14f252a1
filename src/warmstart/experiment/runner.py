"""Run the jobs of an experiment and build one table per mask from their results."""

import logging
import multiprocessing
import os
import tempfile
import threading
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from warmstart.data.splits.base import Mask, Split
from warmstart.data.splits.files import load_split, save_split
from warmstart.errors import WarmstartError
from warmstart.evaluation.compare import compare
from warmstart.evaluation.comparison import Comparison, Timing
from warmstart.experiment.controls import ControlJob, jobs_of
from warmstart.experiment.job import ExperimentContext, MethodJob, job_key
from warmstart.experiment.result import JobResult, load_results, save_results
from warmstart.experiment.spec import Experiment
from warmstart.rank import Progress

logger = logging.getLogger(__name__)


def run_experiment(
    experiment: Experiment,
    split: Split,
    *,
    folder: Path | str | None = None,
    isolate: bool = False,
    use_cache: bool = True,
    progress: Progress | None = None,
) -> dict[Mask, Comparison]:
    """Fit and evaluate every method of an experiment.

    Args:
        experiment: methods, seeds and masks.
        split: the split to fit and evaluate on.
        folder: run folder for checkpoints and finished results, so that an interrupted experiment
            resumes. Results of other code, data or settings are ignored.
        isolate: run each fit in a separate process, so that its peak memory is measured alone.
        use_cache: whether text vectors are cached on disk; see ``ExperimentContext``.
        progress: called while ranking.

    Returns:
        Mask -> table.

    Raises:
        WarmstartError: a method failed, or its process died.
    """
    with tempfile.TemporaryDirectory(prefix="warmstart-") as scratch:
        context = ExperimentContext(
            split,
            experiment.masks or split.masks[:1],
            experiment.metrics or None,
            experiment.audience_size,
            experiment.encoder,
            experiment.lm,
            use_cache,
            Path(folder or scratch),
            experiment.control,
            progress,
        )
        saved = None
        if isolate:
            saved = Path(scratch) / "split"
            save_split(split, saved)
        groups = jobs_of(experiment, split)
        results: list[JobResult] = []
        for number, jobs in enumerate(groups, start=1):
            logger.info("method %d of %d: %s", number, len(groups), jobs[0].label)
            results += _over_seeds(jobs, context, saved)
    return {mask: _table(results, mask, experiment.against) for mask in context.masks}


def _over_seeds(
    jobs: list[MethodJob | ControlJob], context: ExperimentContext, split_folder: Path | None
) -> list[JobResult]:
    """Get the results of one method; those of one seed if the seed makes no difference."""
    runs: list[list[JobResult]] = []
    for job in jobs:
        runs.append(_load_or_run(job, context, split_folder))
        if not any(result.random for result in runs[-1]):
            break
    first = runs[0]
    equal = len(runs) > 1 and all(
        mine.same_values(theirs)
        for run in runs[1:]
        for mine, theirs in zip(first, run, strict=True)
    )
    if equal:
        return [result.without_seed() for result in first]
    return [result for run in runs for result in run]


def _load_or_run(
    job: MethodJob | ControlJob, context: ExperimentContext, split_folder: Path | None
) -> list[JobResult]:
    """Load the results of a job from the run folder, or compute and store them."""
    assert context.folder is not None
    folder = context.folder / "results" / job_key(job, context)[:32]
    results = load_results(folder)
    if results is not None:
        logger.info("%s, seed %d: finished before, saved result reused", job.label, job.seed)
        return results
    if split_folder is None:
        results = job.run(context)
    else:
        results = _run_in_process(job, context, split_folder)
    save_results(results, folder)
    return results


def _run_in_process(
    job: MethodJob | ControlJob, context: ExperimentContext, split_folder: Path
) -> list[JobResult]:
    settings = {
        item.name: getattr(context, item.name)
        for item in fields(context)
        if item.name not in ("split", "progress") and item.init
    }
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=end_with_parent) as pool:
        try:
            return pool.submit(_isolated, job, split_folder, settings).result()
        except BrokenProcessPool:
            raise WarmstartError(
                f"{job.label}: its process died without an error; usually it ran out of memory"
            ) from None


def end_with_parent() -> None:
    """Start a thread that ends this process when its parent ends.

    A killed parent cannot signal its children.
    """

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _isolated(
    job: MethodJob | ControlJob, split_folder: Path, settings: dict[str, Any]
) -> list[JobResult]:
    return job.run(ExperimentContext(load_split(split_folder), **settings))


def _table(results: Iterable[JobResult], mask: Mask, against: str | None) -> Comparison:
    by_method: dict[str, list[JobResult]] = {}
    for result in results:
        by_method.setdefault(result.reports[mask].method, []).append(result)
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
    reports = [result.reports[mask] for runs in by_method.values() for result in runs]
    return compare(reports, against=against, timings=timings, simulations=simulations)
