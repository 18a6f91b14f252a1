"""Result of fitting and evaluating one method, and its form on disk.

A saved result is a folder with ``result.json`` and ``values.safetensors`` (the per-user values). It
is written atomically, so a resumed comparison finds a complete result or none.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from warmstart.data.splits.base import Mask
from warmstart.errors import WarmstartError
from warmstart.evaluation.evaluate import Report
from warmstart.evaluation.facts import DataFacts
from warmstart.evaluation.significance import Interval
from warmstart.evaluation.simulation_quality import SimulationReport
from warmstart.evaluation.slice_result import SliceFacts, SliceResult
from warmstart.evaluation.strata import CalibrationBin, Exposure, ItemStratum, UserStratum
from warmstart.storage import atomic_folder


@dataclass(frozen=True)
class JobResult:
    """Result of one method fitted with one seed.

    Attributes:
        reports: mask -> report.
        seconds: stage of the fit -> wall seconds.
        random: whether the fit drew random numbers; if not, other seeds give the same result.
        simulation: quality of the users that the method simulates; None if it simulates none.
    """

    reports: dict[Mask, Report]
    seconds: dict[str, float]
    random: bool
    simulation: SimulationReport | None = None

    def without_seed(self) -> "JobResult":
        """Copy the result with ``seed=None``, as for a method without randomness."""
        reports: dict[Mask, Report] = {
            mask: replace(report, seed=None) for mask, report in self.reports.items()
        }
        return replace(self, reports=reports)

    def same_values(self, other: "JobResult") -> bool:
        """Tell whether both results have bit-identical per-user values."""
        mine, theirs = _arrays(self), _arrays(other)
        return mine.keys() == theirs.keys() and all(
            np.array_equal(mine[key], theirs[key]) for key in mine
        )


@dataclass(frozen=True)
class _SliceText:
    """A SliceResult without its arrays."""

    metrics: tuple[str, ...]
    weighted: tuple[str, ...]
    statistics: dict[str, Interval]
    facts: SliceFacts
    exposure: Exposure | None
    user_strata: tuple[UserStratum, ...]
    item_strata: tuple[ItemStratum, ...]


@dataclass(frozen=True)
class _ReportText:
    """A Report without its arrays."""

    method: str
    seed: int | None
    control: bool
    data: DataFacts
    metrics: tuple[str, ...]
    slices: dict[str, _SliceText]
    calibration: tuple[CalibrationBin, ...]
    score_seconds: float
    seconds: float
    memory_mb: float
    peak_memory_mb: float


@dataclass(frozen=True)
class _JobResultText:
    """A JobResult without its arrays."""

    reports: dict[Mask, _ReportText]
    seconds: dict[str, float]
    random: bool
    simulation: SimulationReport | None


_ADAPTER = TypeAdapter(_JobResultText)


def save_results(results: list[JobResult], folder: Path) -> None:
    """Write the results of one job to a folder, atomically."""
    with atomic_folder(folder, is_ours=lambda _: True, files=None, error=WarmstartError) as new:
        for number, result in enumerate(results):
            place = new / str(number)
            place.mkdir()
            save_file(_arrays(result), place / "values.safetensors")
            text = _ADAPTER.dump_python(_without_arrays(result), mode="json")
            (place / "result.json").write_text(json.dumps(text, indent=1) + "\n", "utf-8")


def load_results(folder: Path) -> list[JobResult] | None:
    """Load the results of a job; None if they do not exist or cannot be read."""
    places = sorted((p for p in folder.glob("*") if p.name.isdecimal()), key=lambda p: int(p.name))
    try:
        return [_load(place) for place in places] or None
    except (OSError, ValidationError, SafetensorError, KeyError):
        return None  # from another version, or damaged: the caller runs the job again


def _load(place: Path) -> JobResult:
    text = _ADAPTER.validate_json((place / "result.json").read_text("utf-8"))
    arrays = load_file(place / "values.safetensors")
    reports: dict[Mask, Report] = {
        mask: _report(report, mask, arrays) for mask, report in text.reports.items()
    }
    return JobResult(reports, text.seconds, text.random, text.simulation)


def _without_arrays(result: JobResult) -> _JobResultText:
    reports: dict[Mask, _ReportText] = {}
    for mask, report in result.reports.items():
        slices = {
            name: _SliceText(
                tuple(measured.values),
                tuple(measured.unit_weights),
                measured.statistics,
                measured.facts,
                measured.exposure,
                measured.user_strata,
                measured.item_strata,
            )
            for name, measured in report.slices.items()
        }
        plain = {name: getattr(report, name) for name in _ReportText.__dataclass_fields__}
        reports[mask] = _ReportText(**{**plain, "slices": slices})
    return _JobResultText(reports, result.seconds, result.random, result.simulation)


def _report(text: _ReportText, mask: Mask, arrays: dict[str, np.ndarray]) -> Report:
    slices = {
        name: SliceResult(
            name=name,
            users=arrays[f"{mask}/{name}/users"],
            n_relevant=arrays[f"{mask}/{name}/n_relevant"],
            values={metric: arrays[f"{mask}/{name}/{metric}"] for metric in measured.metrics},
            facts=measured.facts,
            exposure=measured.exposure,
            user_strata=measured.user_strata,
            item_strata=measured.item_strata,
            unit_weights={
                metric: arrays[f"{mask}/{name}/weights/{metric}"] for metric in measured.weighted
            },
            statistics=measured.statistics,
        )
        for name, measured in text.slices.items()
    }
    plain = {name: getattr(text, name) for name in _ReportText.__dataclass_fields__}
    return Report(**{**plain, "slices": slices})


def _arrays(result: JobResult) -> dict[str, np.ndarray]:
    arrays = {}
    for mask, report in result.reports.items():
        for name, measured in report.slices.items():
            arrays[f"{mask}/{name}/users"] = measured.users
            arrays[f"{mask}/{name}/n_relevant"] = measured.n_relevant
            for metric, values in measured.values.items():
                arrays[f"{mask}/{name}/{metric}"] = np.ascontiguousarray(values)
            for metric, weights in measured.unit_weights.items():
                arrays[f"{mask}/{name}/weights/{metric}"] = weights
    return arrays
