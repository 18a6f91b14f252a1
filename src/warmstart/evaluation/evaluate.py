"""Evaluate anything that scores: full ranking of every slice, per-user results kept."""

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

from warmstart.core import Recommender
from warmstart.data.ids import Ids
from warmstart.data.splits.cold import SLICES, Mask, Part, Slice, SliceName, Split
from warmstart.errors import ConfigError, DataError
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
from warmstart.rank import Metric, Progress, Ranking, Scorer, rank_slice

logger = logging.getLogger(__name__)

METRICS = (
    "recall@20",
    "ndcg@20",
    "precision@20",
    "hit@20",
    "micro_recall@20",
    "mrr@20",
)
# Calibration looks at lists of at least this length: the region in which cold items compete.
_CALIBRATION_DEPTH = 100


@dataclass(frozen=True)
class SliceFacts:
    """Size and health of one slice's ranking.

    Attributes:
        users: users ranked: those with at least one relevant item.
        user_share: their share of all users of the data set.
        answered: share of them that got at least one item.
        candidates: items ranked for each.
        pairs: relevant pairs.
        masked_pairs: pairs excluded from the ranking, within the candidates.
        scored: share of the other pairs that the method could score (no NaN).
        short_lists: users with fewer than k rankable candidates; they count in every mean.
        tie_share: share of users with equal scores up to rank k + 1.
        k: length of the lists.
    """

    users: int
    user_share: float
    answered: float
    candidates: int
    pairs: int
    masked_pairs: int
    scored: float
    short_lists: int
    tie_share: float
    k: int


@dataclass(frozen=True)
class SliceResult:
    """One slice: a value a user and metric, and what lies behind the means.

    Attributes:
        name: "cold", "warm", "overall"; or "overall_any", "overall_both" for the user set that
            the protocol's overall does not use.
        users: int32 row numbers, shape (users,).
        n_relevant: int64, shape (users,).
        values: metric name -> float64, shape (users,).
        facts: size and health.
        exposure: who is shown.
        user_strata: metrics by training degree of the user.
        item_strata: hits by audience of the item.
    """

    name: str
    users: np.ndarray
    n_relevant: np.ndarray
    values: dict[str, np.ndarray]
    facts: SliceFacts
    exposure: Exposure
    user_strata: tuple[UserStratum, ...]
    item_strata: tuple[ItemStratum, ...]

    def weights(self, metric: str) -> np.ndarray:
        """What each user weighs in the mean of a metric, float64, shape (users,)."""
        return Metric.parse(metric).weights(self.n_relevant)

    def mean(self, metric: str) -> float:
        """The unrounded mean of a metric."""
        return float(np.average(self.values[metric], weights=self.weights(metric)))


@dataclass(frozen=True)
class Report:
    """One evaluated method.

    Attributes:
        method: its name.
        seed: training seed of the run; None for a deterministic method.
        control: whether it answers "what is left without the idea?" rather than competes.
        data: everything the numbers depend on besides the method.
        metrics: metric names, in order.
        slices: results by slice name.
        calibration: cold against warm scores in the overall slice; empty without that slice.
        score_seconds: wall seconds inside ``score``.
        seconds: wall seconds in all.
        memory_mb: bound on a block of scores while ranking.
        peak_memory_mb: peak resident memory of the process so far.
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
        """The mean of a metric on a slice."""
        return self.slices[slice_name].mean(metric)

    def per_user(self, user_ids: Ids) -> pl.DataFrame:
        """All per-user values: columns method, seed, slice, metric, user, value."""
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
    """Rank every slice of a split in full and measure.

    Args:
        model: anything with a ``name`` and a ``score``.
        split: what to rank, and the truth.
        name: what the report calls the model, to tell variants of one method apart; its own name
            where None.
        part: "test", or "valid".
        mask: "all" excludes every known positive that is not the slice's truth, "train" only
            training positives. Never compare numbers across masks.
        metrics: names such as "recall@20".
        slices: which of "cold", "warm", "overall". Overall is measured over both user sets: the
            one of the protocol and, as "overall_any" or "overall_both", the other.
        seed: training seed of the model, for the record.
        control: whether the model is a control, for the record.
        memory_mb: bound on a block of scores; see ``rank_slice``.
        tie_seed: seed of the tie order.
        progress: called with slice name, users done and users in all.

    Raises:
        ConfigError: an unknown metric or slice.
        DataError: a slice without users, or scores of a wrong shape or dtype.
    """
    started = time.perf_counter()
    k = max(metric.k for metric in _parsed(metrics))
    if not slices or not set(slices) <= set(SLICES):
        raise ConfigError(f"evaluate: slices must be some of {SLICES}, got {tuple(slices)!r}")
    scorer = _Timed(model)
    measure = _Measure(split, tuple(metrics), k)
    results: dict[str, SliceResult] = {}
    bins: tuple[CalibrationBin, ...] = ()
    for which in slices:
        task = _task(split, part, which, mask)
        depth = max(k, _CALIBRATION_DEPTH) if which == "overall" else k
        ranking = rank_slice(
            scorer.score, task, depth, memory_mb=memory_mb, seed=tie_seed, progress=progress
        )
        if which == "overall":
            results |= _both_user_sets(measure, ranking, task, split, part)
            bins = calibration(ranking, split.train.warm)
        else:
            results[which] = measure(which, ranking, task)
        logger.info("%s: %s slice ranked for %d users", model.name, which, len(task.users))
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


def peak_memory_mb() -> float:
    """Peak resident memory of this process so far, in MiB.

    On Linux from /proc: a started process inherits ``ru_maxrss`` of the one that started it.
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
    """A scorer that counts its seconds."""

    def __init__(self, model: Scorer | Recommender) -> None:
        self.model = model
        self.seconds = 0.0

    def score(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        started = time.perf_counter()
        scores = self.model.score(users, items)
        self.seconds += time.perf_counter() - started
        return scores


class _Measure:
    """Turns the ranking of a slice into its result."""

    def __init__(self, split: Split, metrics: tuple[str, ...], k: int) -> None:
        self.metrics = metrics
        self.k = k
        self.n_users = split.dataset.n_users
        self.warm = split.train.warm
        train, known = split.train_interactions, split.dataset.interactions
        self.degrees = np.bincount(train.users, minlength=self.n_users)
        self.audience = np.bincount(known.items, minlength=split.dataset.n_items)

    def __call__(self, name: str, ranking: Ranking, task: Slice) -> SliceResult:
        relevant = task.relevance.indices
        return SliceResult(
            name=name,
            users=ranking.users,
            n_relevant=ranking.n_relevant,
            values={metric: ranking.per_user(metric) for metric in self.metrics},
            facts=self._facts(ranking, task),
            exposure=exposure(ranking, task.candidates, relevant, self.warm, self.k),
            user_strata=user_strata(ranking, self.degrees, self.metrics),
            item_strata=item_strata(ranking, task.candidates, relevant, self.audience, self.k),
        )

    def _facts(self, ranking: Ranking, task: Slice) -> SliceFacts:
        n_users, n_candidates = len(task.users), len(task.candidates)
        masked_pairs = int(task.masked[:, task.candidates].count_nonzero())
        # The tie flag covers the whole list, which may be longer than k for the calibration.
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


def _task(split: Split, part: Part, name: SliceName, mask: Mask) -> Slice:
    """The slice; overall with every user who has a positive, the larger of the two user sets."""
    if name == "overall":
        split = replace(split, overall_users="any")
    return split.slice(part, name, mask)


def _both_user_sets(
    measure: _Measure, ranking: Ranking, task: Slice, split: Split, part: Part
) -> dict[str, SliceResult]:
    """Overall over all users with a positive, and over those with a cold and a warm one.

    The set of the protocol is called "overall"; the other one carries its own name.
    """
    both = np.intersect1d(split.parts[f"cold_{part}"].users, split.parts[f"warm_{part}"].users)
    rows = np.flatnonzero(np.isin(task.users, both))
    if len(rows) == 0 and split.overall_users == "both":
        raise DataError("slice 'overall': no user has a cold and a warm positive")
    any_name, both_name = "overall", "overall_both"
    if split.overall_users == "both":
        any_name, both_name = "overall_any", "overall"
    results = {any_name: measure(any_name, ranking, task)}
    if len(rows):
        results[both_name] = measure(both_name, ranking.take(rows), _take(task, rows))
    return results


def _take(task: Slice, rows: np.ndarray) -> Slice:
    return replace(
        task, users=task.users[rows], relevance=task.relevance[rows], masked=task.masked[rows]
    )


def _parsed(metrics: Sequence[str]) -> list[Metric]:
    if not metrics:
        raise ConfigError("evaluate: metrics must name at least one metric, such as 'ndcg@20'")
    return [Metric.parse(metric) for metric in metrics]
