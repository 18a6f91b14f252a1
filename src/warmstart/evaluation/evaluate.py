"""Evaluate a scorer: rank every slice in full and keep the per-user results."""

import logging
import re
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from rich.table import Table

from warmstart.arguments import positive_number, whole_number
from warmstart.core import Recommender
from warmstart.data.ids import Ids
from warmstart.data.queries import Queries
from warmstart.data.splits.base import Mask, Part, Split
from warmstart.data.splits.cold import SLICES, SliceName
from warmstart.data.tasks import RankingTask
from warmstart.errors import ConfigError, DataError
from warmstart.evaluation.display import ShownAsTable
from warmstart.evaluation.facts import DataFacts, data_facts
from warmstart.evaluation.strata import (
    CalibrationBin,
    Exposure,
    ItemStratum,
    UserStratum,
    calibration,
    exposure,
    item_strata,
    user_strata,
)
from warmstart.process import check_process
from warmstart.rank import Metric, Progress, Ranking, Scorer, rank_task

logger = logging.getLogger(__name__)

METRICS = (
    "recall@20",
    "ndcg@20",
    "precision@20",
    "hit@20",
    "micro_recall@20",
    "mrr@20",
)
# Calibration uses lists of at least this length: cold and warm items compete for these ranks.
_CALIBRATION_DEPTH = 100


@dataclass(frozen=True, repr=False)
class Report(ShownAsTable):
    """Evaluation of one method.

    Attributes:
        method: name of the method.
        seed: training seed of the run; None for a deterministic method.
        control: whether the method is a control or ablation, shown but not ranked among the
            methods.
        data: everything that the metrics depend on besides the method.
        metrics: metric names, in order.
        slices: results by slice name.
        calibration: cold against warm scores in the overall slice; empty without that slice.
        score_seconds: wall seconds inside ``score``.
        seconds: wall seconds of the whole evaluation.
        memory_mb: bound on a block of scores while ranking, in MiB.
        peak_memory_mb: peak resident memory of the process so far, in MiB.
    """

    method: str
    seed: int | None
    control: bool
    data: DataFacts
    metrics: tuple[str, ...]
    slices: dict[str, SliceResult]
    calibration: tuple[CalibrationBin, ...]
    score_seconds: float
    seconds: float
    memory_mb: float
    peak_memory_mb: float

    def value(self, slice_name: str, metric: str) -> float:
        """Unrounded mean of a metric on a slice."""
        return self.slices[slice_name].mean(metric)

    def table(self, metrics: Sequence[str] | None = None) -> Table:
        """Build a table with one row per slice: its size, then the means of its metrics.

        Args:
            metrics: columns; all metrics if None.
        """
        data, columns = self.data, self.metrics if metrics is None else tuple(metrics)
        table = Table(
            title=f"{self.method} on {data.name}, {data.protocol}, {data.part}, mask {data.mask}",
            caption=f"mean over users; scored in {self.score_seconds:.3g} s",
        )
        table.add_column("slice")
        for name in ("users", "candidates", *columns):
            table.add_column(name, justify="right")
        for name, result in self.slices.items():
            sizes = (f"{result.facts.users:,}", f"{result.facts.candidates:,}")
            table.add_row(name, *sizes, *(f"{result.mean(metric):.4f}" for metric in columns))
        return table

    def per_user(self, user_ids: Ids) -> pl.DataFrame:
        """Tabulate all per-user values: columns method, seed, slice, metric, user, value.

        Raises:
            UnsupportedError: this process was forked from one that had used warmstart.
        """
        check_process()
        parts = [
            pl.DataFrame(
                {
                    "slice": result.name,
                    "metric": metric,
                    "user": user_ids.take(result.users),
                    "value": result.values[metric],
                }
            )
            for result in self.slices.values()
            for metric in self.metrics
        ]
        frame = pl.concat(parts)
        labels = [pl.lit(self.method).alias("method"), pl.lit(self.seed, pl.Int64).alias("seed")]
        return frame.select(*labels, pl.all())


def evaluate(
    model: Scorer | Recommender,
    split: Split,
    *,
    name: str | None = None,
    part: Part = "test",
    mask: Mask = "all",
    metrics: Sequence[str] = METRICS,
    slices: Sequence[SliceName] = SLICES,
    seed: int | None = None,
    control: bool = False,
    memory_mb: float = 256,
    tie_seed: int = 0,
    progress: Progress | None = None,
) -> Report:
    """Rank every slice of a split in full and measure the lists.

    Args:
        model: anything with a ``name`` and a ``score``. A recommender must be fitted on the
            training part of ``split``.
        split: the source of the ranking tasks and of the ground truth.
        name: name in the report, which tells variants of one method apart; ``model.name`` if None.
        part: "test", or "valid".
        mask: "all" excludes every known positive except the slice's relevant pairs, "train" only
            the training positives. Never compare metrics across masks.
        metrics: names such as "recall@20".
        slices: some of "cold", "warm", "overall". Overall is measured over both user sets: the
            protocol's as "overall", the other one as "overall_any" or "overall_both".
        seed: training seed of the model, recorded in the report.
        control: whether the model is a control, recorded in the report.
        memory_mb: bound on a block of scores, in MiB; see ``rank_task``.
        tie_seed: seed of the order of equal scores.
        progress: called with slice name, users done and total users.

    Raises:
        ConfigError: an unknown metric, slice, part or mask, or a number outside its limits.
        DataError: the recommender was fitted on other data, a slice has no users, or scores have a
            wrong shape or dtype.
        NotFittedError: the recommender is not fitted.
        UnsupportedError: this process was forked from one that had used warmstart.
    """
    check_process()
    started = time.perf_counter()
    k = max(metric.k for metric in _parsed(metrics))
    _check_slices(slices)
    _check_numbers(memory_mb, seed, tie_seed)
    if isinstance(model, Recommender):
        _check_fitted_on(model, split)
    scorer = _Timed(model)
    measure = _Measure(split, tuple(metrics), k)
    results: dict[str, SliceResult] = {}
    bins: tuple[CalibrationBin, ...] = ()
    for which in slices:
        task = _task(split, part, which, mask)
        depth = max(k, _CALIBRATION_DEPTH) if which == "overall" else k
        ranking = rank_task(
            scorer.score, task, depth, memory_mb=memory_mb, seed=tie_seed, progress=progress
        )
        if which == "overall":
            results |= _both_user_sets(measure, ranking, task, split, part)
            bins = calibration(ranking, split.train.warm)
        else:
            results[which] = measure(which, ranking, task)
        logger.info("%s: %s slice ranked for %d users", model.name, which, len(task.queries))
    return Report(
        method=model.name if name is None else name,
        seed=seed,
        control=control,
        data=data_facts(split, part, mask),
        metrics=tuple(metrics),
        slices=results,
        calibration=bins,
        score_seconds=scorer.seconds,
        seconds=time.perf_counter() - started,
        memory_mb=memory_mb,
        peak_memory_mb=peak_memory_mb(),
    )


def _check_fitted_on(model: Recommender, split: Split) -> None:
    """Refuse a recommender that may have learned from the test part: it would look too good.

    Items that were added after the fit follow those of the split, and are no candidates.
    """
    fitted, train = model.fitted, split.train
    for what, ours, theirs in (
        ("users", fitted.user_ids, train.user_ids),
        ("items", fitted.catalogue.item_ids, train.catalogue.item_ids),
    ):
        if ours.values[: len(theirs)] != theirs.values:
            raise DataError(
                f"evaluate: the {len(ours):,} {what} of the model are not the {len(theirs):,} "
                f"{what} of the split; fit it on split.train"
            )
    if abs(fitted.positives[:, : train.n_items] - train.matrix).sum() > 0:
        raise DataError(
            "evaluate: the model was fitted on other interactions than the training part of the "
            "split; fit it on split.train"
        )


def peak_memory_mb() -> float:
    """Measure the peak resident memory of this process so far, in MiB.

    On Linux it comes from /proc, because a child process inherits ``ru_maxrss`` of its parent.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        status = ""
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    if found:
        return int(found[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


class _Timed:
    """Wraps a scorer and adds up the seconds spent in ``score``."""

    def __init__(self, model: Scorer | Recommender) -> None:
        self.model = model
        self.seconds = 0.0

    def score(self, queries: Queries, items: np.ndarray) -> np.ndarray:
        started = time.perf_counter()
        scores = self.model.score(queries, items)
        self.seconds += time.perf_counter() - started
        return scores


class _Measure:
    """Computes the ``SliceResult`` of a ranking."""

    def __init__(self, split: Split, metrics: tuple[str, ...], k: int) -> None:
        self.metrics = metrics
        self.k = k
        self.n_users = split.dataset.n_users
        self.warm = split.train.warm
        train, known = split.train_interactions, split.dataset.interactions
        self.degrees = np.bincount(train.users, minlength=self.n_users)
        self.audience = np.bincount(known.items, minlength=split.dataset.n_items)

    def __call__(self, name: str, ranking: Ranking, task: RankingTask) -> SliceResult:
        relevant = task.relevance.indices
        return SliceResult(
            name=name,
            users=ranking.users,
            n_relevant=ranking.n_relevant,
            values={metric: ranking.per_query(metric) for metric in self.metrics},
            facts=self._facts(ranking, task),
            exposure=exposure(ranking, task.candidates, relevant, self.warm, self.k),
            user_strata=user_strata(ranking, self.degrees, self.metrics),
            item_strata=item_strata(ranking, task.candidates, relevant, self.audience, self.k),
        )

    def _facts(self, ranking: Ranking, task: RankingTask) -> SliceFacts:
        n_users, n_candidates = len(task.queries), len(task.candidates)
        masked_pairs = int(task.masked[:, task.candidates].count_nonzero())
        # ``ranking.tied`` covers the whole list, which calibration may make longer than k.
        scores = ranking.scores[:, : self.k + 1]
        tied = (scores[:, 1:] == scores[:, :-1]).any(axis=1)
        if ranking.k == self.k:
            tied = ranking.tied
        return SliceFacts(
            users=n_users,
            user_share=n_users / self.n_users,
            answered=float((ranking.n_ranked > 0).mean()),
            candidates=n_candidates,
            pairs=int(ranking.n_relevant.sum()),
            masked_pairs=masked_pairs,
            scored=float(ranking.n_ranked.sum() / max(n_users * n_candidates - masked_pairs, 1)),
            short_lists=int((ranking.n_ranked < self.k).sum()),
            tie_share=float(tied.mean()),
            k=self.k,
        )


def _task(split: Split, part: Part, name: SliceName, mask: Mask) -> RankingTask:
    """Build the slice; overall covers every user with a positive, the larger user set."""
    if name == "overall":
        split = replace(split, overall_users="any")
    return split.slice(part, name, mask)


def _both_user_sets(
    measure: _Measure, ranking: Ranking, task: RankingTask, split: Split, part: Part
) -> dict[str, SliceResult]:
    """Measure overall over the users with any positive, and over those with a cold and a warm one.

    The protocol's user set is called "overall", the other one "overall_any" or "overall_both".
    """
    both = np.intersect1d(split.parts[f"cold_{part}"].users, split.parts[f"warm_{part}"].users)
    rows = np.flatnonzero(np.isin(task.queries.users, both))
    if len(rows) == 0 and split.overall_users == "both":
        raise DataError("slice 'overall': no user has a cold and a warm positive")
    any_name, both_name = "overall", "overall_both"
    if split.overall_users == "both":
        any_name, both_name = "overall_any", "overall"
    results = {any_name: measure(any_name, ranking, task)}
    if len(rows):
        results[both_name] = measure(both_name, ranking.take(rows), task.take(rows))
    return results


def _parsed(metrics: Sequence[str]) -> list[Metric]:
    if not isinstance(metrics, Sequence) or isinstance(metrics, str) or not metrics:
        raise ConfigError(
            f'evaluate: metrics must be a list of names such as "ndcg@20", got {metrics!r}'
        )
    return [Metric.parse(metric) for metric in metrics]


def _check_slices(slices: Sequence[SliceName]) -> None:
    several = isinstance(slices, Sequence) and not isinstance(slices, str)
    if not several or not slices or not all(name in SLICES for name in slices):
        raise ConfigError(f"evaluate: slices must be a list of some of {SLICES}, got {slices!r}")


def _check_numbers(memory_mb: float, seed: int | None, tie_seed: int) -> None:
    positive_number("evaluate", "memory_mb", memory_mb)
    whole_number("evaluate", "tie_seed", tie_seed, low=0)
    if seed is not None:
        whole_number("evaluate", "seed", seed, low=0, high=2**63 - 1)
