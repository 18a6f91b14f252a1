"""Compare reports of one split: intervals, paired differences, seeds, timings."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from warmstart.errors import ConfigError, DataError
from warmstart.evaluation.comparison import (
    Comparison,
    Detail,
    Difference,
    Row,
    SliceDetail,
    Summary,
    Timing,
    headline,
)
from warmstart.evaluation.evaluate import Report
from warmstart.evaluation.significance import (
    Interval,
    detectable_effect,
    holm,
    intervals,
    paired_intervals,
    randomisation_p,
)
from warmstart.evaluation.simulation_quality import SimulationReport
from warmstart.version import __version__


@dataclass(frozen=True)
class Resampling:
    """Settings of the bootstrap intervals and the randomisation test.

    Attributes:
        level: confidence level of the intervals.
        n_resamples: resamples of the bootstrap; the randomisation test uses five times as many.
        seed: random seed of both.
    """

    level: float = 0.95
    n_resamples: int = 2000
    seed: int = 0


def compare(
    reports: Sequence[Report],
    *,
    against: str | None = None,
    timings: Iterable[Timing] = (),
    simulations: Mapping[str, SimulationReport] | None = None,
    command: str = "compare",
    resampling: Resampling | None = None,
) -> Comparison:
    """Compare reports of one split in one table; several reports of one method are its seeds.

    Users are resampled with the same counts for every method, so that differences are paired.
    Differences are tested on the headline metrics only, the first recall and the first NDCG.
    Holm's rule corrects all of these tests together. Six metrics that measure nearly the same
    would only cost power.

    Args:
        reports: at least one; same data, part, mask, metrics and slices.
        against: the baseline, a method that all others are compared with.
        timings: seconds of the fit stages, for one seed; the seconds of the evaluation, averaged
            over seeds, are added.
        simulations: method -> quality of its simulated interactions.
        command: recorded in the comparison.
        resampling: level, number and seed; the defaults if None.

    Raises:
        DataError: the reports cannot be in one table.
        ConfigError: no report belongs to the method ``against``.
    """
    _check(reports, against)
    resampling = resampling or Resampling()
    first = reports[0]
    others = [name for name in first.slices if name.startswith("overall_")]
    standard = [name for name in first.slices if name not in others]
    runs: dict[str, list[Report]] = {}
    for report in reports:
        runs.setdefault(report.method, []).append(report)
    evaluated = [
        Timing(method, "evaluate", float(np.mean([report.seconds for report in seeds])))
        for method, seeds in runs.items()
    ]
    return Comparison(
        command=command,
        version=__version__,
        data=first.data,
        results=_rows(reports, standard, resampling),
        other_results=_rows(reports, others, resampling),
        summary=_summary(runs, standard, resampling),
        differences=_differences(runs, against, standard, resampling),
        timings=(*timings, *evaluated),
        details=tuple(_detail(report) for report in reports),
        simulations=dict(simulations or {}),
        peak_memory_mb=max(report.peak_memory_mb for report in reports),
        level=resampling.level,
    )


def _rows(
    reports: Sequence[Report], names: Sequence[str], resampling: Resampling
) -> tuple[Row, ...]:
    rows = []
    for name in names:
        results = [report.slices[name] for report in reports]
        means = iter(_intervals(reports, name, resampling))
        for report, result in zip(reports, results, strict=True):
            for metric in report.metrics:
                found = result.statistics.get(metric) or next(means)
                row = Row(
                    method=report.method,
                    slice=name,
                    metric=metric,
                    value=found.value,
                    low=found.low,
                    high=found.high,
                    users=len(result.users),
                    seed=report.seed,
                    control=report.control,
                )
                rows.append(row)
    return tuple(rows)


def _intervals(reports: Sequence[Report], name: str, resampling: Resampling) -> list[Interval]:
    """Compute means and intervals of the metrics that are means, report by report."""
    first = reports[0].slices[name]
    metrics = [metric for metric in reports[0].metrics if metric in first.values]
    if not metrics:
        return []
    values, weights = _stack(reports, name, metrics)
    return intervals(
        values,
        weights,
        level=resampling.level,
        n_resamples=resampling.n_resamples,
        seed=resampling.seed,
    )


def _summary(
    runs: dict[str, list[Report]], names: Sequence[str], resampling: Resampling
) -> tuple[Summary, ...]:
    rows = _rows([_mean_report(reports) for reports in runs.values()], names, resampling)
    return tuple(
        Summary(
            method=row.method,
            slice=row.slice,
            metric=row.metric,
            value=row.value,
            low=row.low,
            high=row.high,
            users=row.users,
            control=row.control,
            seeds=tuple(report.seed for report in runs[row.method]),
            seed_values=tuple(r.value(row.slice, row.metric) for r in runs[row.method]),
        )
        for row in rows
    )


def _differences(
    runs: dict[str, list[Report]],
    against: str | None,
    names: Sequence[str],
    resampling: Resampling,
) -> tuple[Difference, ...]:
    others = [_mean_report(reports) for method, reports in runs.items() if method != against]
    if against is None or not others:
        return ()
    baseline = _mean_report(runs[against])
    found = [
        difference
        for name in names
        for difference in _slice_differences(others, baseline, name, resampling)
    ]
    adjusted = holm(np.array([difference.p for difference in found])).tolist()
    return tuple(replace(row, p_holm=p) for row, p in zip(found, adjusted, strict=True))


def _slice_differences(
    others: Sequence[Report], baseline: Report, name: str, resampling: Resampling
) -> list[Difference]:
    """Compute the differences on one slice; the p-values are not corrected yet."""
    values_of = baseline.slices[name].values
    metrics = [metric for metric in headline(baseline.metrics) if metric in values_of]
    values, weights = _stack(others, name, metrics)
    against, _ = _stack([baseline] * len(others), name, metrics)
    level, n_resamples, seed = resampling.level, resampling.n_resamples, resampling.seed
    means = paired_intervals(
        values, against, weights, level=level, n_resamples=n_resamples, seed=seed
    )
    p_values = randomisation_p(values, against, weights, n_resamples=5 * n_resamples, seed=seed)
    effects = detectable_effect(values, against, weights, level=level)
    columns = [(report.method, metric) for report in others for metric in metrics]
    return [
        Difference(
            method=method,
            against=baseline.method,
            slice=name,
            metric=metric,
            value=mean.value,
            low=mean.low,
            high=mean.high,
            p=float(p),
            p_holm=float(p),
            detectable=float(effect),
            users=len(values),
        )
        for (method, metric), mean, p, effect in zip(columns, means, p_values, effects, strict=True)
    ]


def _stack(
    reports: Sequence[Report], name: str, metrics: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Stack values and weights of a slice: float64, shape (users, reports * metrics)."""
    results = [report.slices[name] for report in reports]
    values = [result.values[metric] for result in results for metric in metrics]
    weights = [result.weights(metric) for result in results for metric in metrics]
    return np.stack(values, axis=1), np.stack(weights, axis=1)


def _mean_report(reports: Sequence[Report]) -> Report:
    """Average one method's per-user values over its seeds."""
    slices = {}
    for name, first in reports[0].slices.items():
        values = {
            metric: np.mean([report.slices[name].values[metric] for report in reports], axis=0)
            for metric in first.values
        }
        statistics = {
            metric: _mean_interval([report.slices[name].statistics[metric] for report in reports])
            for metric in first.statistics
        }
        slices[name] = replace(first, values=values, statistics=statistics)
    return replace(reports[0], seed=None, slices=slices)


def _mean_interval(intervals: Sequence[Interval]) -> Interval:
    """Average a statistic, and the ends of its interval, over seeds."""
    ends = [(each.value, each.low, each.high) for each in intervals]
    return Interval(*(float(end) for end in np.mean(ends, axis=0)))


def _detail(report: Report) -> Detail:
    slices = tuple(
        SliceDetail(name, result.facts, result.exposure, result.user_strata, result.item_strata)
        for name, result in report.slices.items()
    )
    return Detail(
        report.method,
        report.seed,
        report.control,
        slices,
        report.calibration,
        report.peak_memory_mb,
    )


def _check(reports: Sequence[Report], against: str | None) -> None:
    if not reports:
        raise DataError("compare: there is no report to compare; allowed: at least one")
    first = reports[0]
    for report in reports[1:]:
        for what, ours, theirs in (
            ("data", first.data, report.data),
            ("metrics", first.metrics, report.metrics),
            ("slices", tuple(first.slices), tuple(report.slices)),
        ):
            if ours != theirs:
                raise DataError(
                    f"compare: {first.method!r} and {report.method!r} cannot be in one table, "
                    f"their {what} differ: {ours} and {theirs}"
                )
    (run, times), *_ = Counter((report.method, report.seed) for report in reports).most_common(1)
    if times > 1:
        raise DataError(f"compare: method {run[0]!r} with seed {run[1]} occurs {times} times")
    names = list(dict.fromkeys(report.method for report in reports))
    if against is not None and against not in names:
        raise ConfigError(f"compare: no report of the baseline {against!r}; allowed: {names}")
