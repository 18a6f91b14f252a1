"""Evaluate a model: answer every task of a split and keep the results of each unit."""

import logging
import re
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.table import Table

from warmstart.arguments import positive_number, whole_number
from warmstart.core import Recommender
from warmstart.data.control import Control, as_control
from warmstart.data.ids import Ids
from warmstart.data.queries import Queries
from warmstart.data.splits.base import Mask, Part, Protocol, Split
from warmstart.data.splits.cold import ColdSplit
from warmstart.data.tasks import LabelTask, RankingTask, Task
from warmstart.errors import ConfigError, DataError, UnsupportedError
from warmstart.evaluation.display import ShownAsTable
from warmstart.evaluation.facts import DataFacts, data_facts
from warmstart.evaluation.label_result import LABEL_METRICS, label_result
from warmstart.evaluation.ranking_result import RankingMeasure, control_metrics, cut_off
from warmstart.evaluation.slice_result import SliceResult
from warmstart.evaluation.strata import CalibrationBin, calibration
from warmstart.process import check_process
from warmstart.rank import ListFunction, ListSearch, Progress, Ranking, Scorer, rank_task

logger = logging.getLogger(__name__)

METRICS = ("recall@20", "ndcg@20", "precision@20", "hit@20", "micro_recall@20", "mrr@20")
_NEXT_ITEM = ("hit@10", "ndcg@10", "hit@5", "ndcg@5", "hit@1", "mrr@10")
METRICS_OF: Mapping[Protocol, tuple[str, ...]] = {
    "time-cold": METRICS,
    "random-cold": METRICS,
    "next-item": _NEXT_ITEM,
    "user-random": ("truncated_recall@20", "truncated_recall@40", "ndcg@100"),
    "windows": ("precision@10", "ndcg@10", "coverage@10", "repetition@10"),
    "dialogues": ("recall@1", "recall@10", "recall@50", "ndcg@10", "mrr@10"),
    "labels": LABEL_METRICS,
}
"""The metrics of each protocol, as its published results state them (docs/evaluation.md)."""
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
            title=f"{self.method} on {data.title}",
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
    mask: Mask | None = None,
    metrics: Sequence[str] | None = None,
    slices: Sequence[str] | None = None,
    control: Control | dict[str, Any] | None = None,
    seed: int | None = None,
    is_control: bool = False,
    memory_mb: float = 256,
    tie_seed: int = 0,
    progress: Progress | None = None,
) -> Report:
    """Answer every task of a split and measure the answers: ranked lists, or predicted labels.

    Args:
        model: anything with a ``name`` and a ``score``. A recommender must be fitted on the
            training part of ``split``.
        split: the source of the tasks and of the ground truth.
        name: name in the report, which tells variants of one method apart; ``model.name`` if None.
        part: "test", or "valid".
        mask: pairs left out of the rankings, one of ``split.masks``; None takes the first. Never
            compare metrics across masks.
        metrics: names such as "recall@20"; None takes those of the protocol, see ``METRICS_OF``.
        slices: names of some of the split's tasks; None takes all. "overall" is measured over the
            protocol's user set, and over the other one as "overall_any" or "overall_both".
        control: what every list should be like, for a recommender: a ``Control``, or a mapping
            such as ``{"n_genres": 5}``.
        seed: training seed of the model, recorded in the report.
        is_control: whether the model is a control of an experiment, recorded in the report.
        memory_mb: bound on a block of scores, in MiB; see ``rank_task``.
        tie_seed: seed of the order of equal scores.
        progress: called with slice name, queries done and total queries.

    Raises:
        ConfigError: an unknown metric, slice, part or mask, or a number outside its limits.
        DataError: the recommender was fitted on other data, a slice has no users, or scores have a
            wrong shape or dtype.
        NotFittedError: the recommender is not fitted.
        UnsupportedError: the model cannot answer the queries or predict labels, or this process
            was forked from one that had used warmstart.
    """
    check_process()
    started = time.perf_counter()
    _check_numbers(memory_mb, seed, tie_seed)
    mask = split.masks[0] if mask is None else mask
    control = _control(split, control)
    chosen = _metrics(split, metrics, control)
    if isinstance(model, Recommender):
        _check_fitted_on(model, split)
    scorer = _Timed(model)
    tasks = _tasks(split, part, mask, slices, control)
    answers = _Answers(split, part, chosen, _lists_of(model, control), tasks)
    for which, task in tasks.items():
        if isinstance(task, LabelTask):
            n_users = split.dataset.n_users
            answers.results[which] = label_result(model, which, task, chosen, n_users)
        else:
            answers.rank(scorer, which, task, memory_mb, tie_seed, progress)
        logger.info("%s: slice %s measured for %d queries", model.name, which, len(task.queries))
    return Report(
        method=model.name if name is None else name,
        seed=seed,
        control=is_control,
        data=data_facts(split, part, mask, control),
        metrics=tuple(f"{metric}{split.metric_suffix}" for metric in chosen),
        slices=answers.results,
        calibration=answers.calibration,
        score_seconds=scorer.seconds,
        seconds=time.perf_counter() - started,
        memory_mb=memory_mb,
        peak_memory_mb=peak_memory_mb(),
    )


class _Answers:
    """Collects the results of the slices, and the calibration of the overall slice."""

    def __init__(
        self,
        split: Split,
        part: Part,
        metrics: tuple[str, ...],
        top_items: ListFunction | None,
        tasks: Mapping[str, Task],
    ) -> None:
        self.split, self.metrics, self.top_items = split, metrics, top_items
        rankings = [task for task in tasks.values() if isinstance(task, RankingTask)]
        self.shared = {task.part_of[0] for task in rankings if task.part_of is not None}
        self.part: Part = part
        self.results: dict[str, SliceResult] = {}
        self.rankings: dict[str, Ranking] = {}
        self.calibration: tuple[CalibrationBin, ...] = ()

    @cached_property
    def measure(self) -> RankingMeasure:
        split = self.split
        return RankingMeasure(split.dataset, split.train, self.metrics, split.metric_suffix)

    def rank(
        self,
        scorer: "_Timed",
        name: str,
        task: RankingTask,
        memory_mb: float,
        tie_seed: int,
        progress: Progress | None,
    ) -> None:
        """Rank the candidates of one slice and measure the lists."""
        split, k = self.split, self.measure.k
        overall = split if name == "overall" and isinstance(split, ColdSplit) else None
        ranking = self._part_of_another(task)
        if ranking is None:
            ranking = rank_task(
                scorer.score,
                task,
                k if overall is None or self.top_items else max(k, _CALIBRATION_DEPTH),
                top_items=self.top_items,
                search=None if self.top_items else scorer.search(task),
                memory_mb=memory_mb,
                seed=tie_seed,
                progress=progress,
            )
            if name in self.shared:
                self.rankings[name] = ranking
        if overall is None:
            self.results[name] = self.measure(name, ranking, task)
        else:
            self.results |= _both_user_sets(self.measure, ranking, task, overall, self.part)
            if self.top_items is None:
                self.calibration = calibration(ranking, overall.train.warm)

    def _part_of_another(self, task: RankingTask) -> Ranking | None:
        """The lists of a task whose queries are a part of one that was ranked before."""
        if task.part_of is None or task.part_of[0] not in self.rankings:
            return None
        whole, rows = task.part_of
        return self.rankings[whole].take(rows)


def _lists_of(model: Scorer | Recommender, control: Control | None) -> ListFunction | None:
    """The function that makes controlled lists; None if scores decide.

    Raises:
        UnsupportedError: there is a control, but the model is no recommender.
    """
    if control is None:
        return None
    if not isinstance(model, Recommender):
        raise UnsupportedError(f"{model.name} is no recommender, so it cannot keep to a control")
    return model.top_items


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
    """Wraps a scorer and adds up the seconds spent in ``score``, or in a search instead."""

    def __init__(self, model: Scorer | Recommender) -> None:
        self.model = model
        self.seconds = 0.0

    def score(self, queries: Queries, items: np.ndarray) -> np.ndarray:
        started = time.perf_counter()
        scores = self.model.score(queries, items)
        self.seconds += time.perf_counter() - started
        return scores

    def search(self, task: RankingTask) -> ListSearch | None:
        """The search for lists of a task's candidates, if the model has one for them."""
        shared = task.candidates.ndim == 1 and task.ties != "middle"
        if not shared or not isinstance(self.model, Recommender):
            return None
        search = self.model.item_search(task.candidates)
        if search is None:
            return None

        def timed(*arguments: Any, **options: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            started = time.perf_counter()
            found = search.top_items(*arguments, **options)
            self.seconds += time.perf_counter() - started
            return found

        return timed


def _control(split: Split, control: Control | dict[str, Any] | None) -> Control | None:
    """Check the control.

    Raises:
        ConfigError: it asks for nothing, or the protocol has no lists.
    """
    if control is None:
        return None
    control = as_control(control)
    if split.protocol == "labels":
        raise ConfigError("evaluate: the protocol labels has no lists, so no control applies")
    if not control.wishes:
        raise ConfigError(
            f"evaluate: the control {control.model_dump(exclude_defaults=True)} asks for nothing; "
            "allowed: one of n_genres, genres, calibrate and diversity"
        )
    return control


def _tasks(
    split: Split,
    part: Part,
    mask: Mask,
    slices: Sequence[str] | None,
    control: Control | None,
) -> dict[str, Task]:
    """Build the tasks; overall covers every user with a positive, the larger user set."""
    if isinstance(split, ColdSplit):
        split = replace(split, overall_users="any")
    tasks = split.tasks(part, mask)
    if control is not None:
        tasks = {
            name: replace(task, queries=task.queries.with_control(control))
            for name, task in tasks.items()
        }
    if slices is None:
        return tasks
    several = isinstance(slices, Sequence) and not isinstance(slices, str)
    if not several or not slices or not all(name in list(tasks) for name in slices):
        raise ConfigError(
            f"evaluate: slices must be a list of some of {tuple(tasks)}, got {slices!r}"
        )
    return {name: tasks[name] for name in slices}


def _both_user_sets(
    measure: RankingMeasure, ranking: Ranking, task: RankingTask, split: ColdSplit, part: Part
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


def _metrics(
    split: Split, metrics: Sequence[str] | None, control: Control | None
) -> tuple[str, ...]:
    """Check the metrics; those of the protocol, and of the control, if None."""
    if metrics is None:
        without_genres = split.dataset.catalogue.genre_column is None
        chosen = tuple(
            metric
            for metric in METRICS_OF[split.protocol]
            if not (without_genres and metric.startswith("coverage"))
        )
        if control is None:
            return chosen
        k = max(cut_off(metric) for metric in chosen)
        of_control = (f"{kind}@{k}" for kind in control_metrics(control))
        return tuple(dict.fromkeys((*chosen, *of_control)))
    if not isinstance(metrics, Sequence) or isinstance(metrics, str) or not metrics:
        raise ConfigError(
            f'evaluate: metrics must be a list of names such as "ndcg@20", got {metrics!r}'
        )
    if split.protocol != "labels":
        for metric in metrics:
            cut_off(metric)
    return tuple(metrics)


def _check_numbers(memory_mb: float, seed: int | None, tie_seed: int) -> None:
    positive_number("evaluate", "memory_mb", memory_mb)
    whole_number("evaluate", "tie_seed", tie_seed, low=0)
    if seed is not None:
        whole_number("evaluate", "seed", seed, low=0, high=2**63 - 1)
