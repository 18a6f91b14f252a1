"""What fitting and evaluating one method gave, and its form on disk.

A saved outcome is a folder: ``outcome.json`` and, for the per-user values, ``values.safetensors``.
It is written whole or not at all, so an interrupted comparison finds either.
"""

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from warmstart.data.split import Mask
from warmstart.evaluate.evaluation import Report, SliceFacts, SliceResult
from warmstart.evaluate.facts import DataFacts
from warmstart.evaluate.simulation import SimulationReport
from warmstart.evaluate.strata import CalibrationBin, Exposure, ItemStratum, UserStratum


@dataclass(frozen=True)
class Outcome:
    """One method, fitted with one seed.

    Attributes:
        reports: one a mask.
        seconds: of each stage of the fit.
        random: whether the fit drew random numbers; if not, other seeds need not be tried.
        simulation: quality of the audiences that the method names; None where it names none.
    """

    reports: dict[Mask, Report]
    seconds: dict[str, float]
    random: bool
    simulation: SimulationReport | None = None

    def without_seed(self) -> "Outcome":
        """The same, as a method without randomness."""
        reports: dict[Mask, Report] = {
            mask: replace(report, seed=None) for mask, report in self.reports.items()
        }
        return replace(self, reports=reports)

    def same_values(self, other: "Outcome") -> bool:
        """Whether both have bit for bit the same per-user values."""
        mine, theirs = _arrays(self), _arrays(other)
        return mine.keys() == theirs.keys() and all(
            np.array_equal(mine[key], theirs[key]) for key in mine
        )


@dataclass(frozen=True)
class _SliceText:
    """A SliceResult without its arrays."""

    metrics: tuple[str, ...]
    facts: SliceFacts
    exposure: Exposure
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
class _OutcomeText:
    """An Outcome without its arrays."""

    reports: dict[Mask, _ReportText]
    seconds: dict[str, float]
    random: bool
    simulation: SimulationReport | None


_ADAPTER = TypeAdapter(_OutcomeText)


def save_outcomes(outcomes: list[Outcome], folder: Path) -> None:
    """Write the outcomes of one job."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        new = Path(scratch) / "new"
        for number, outcome in enumerate(outcomes):
            place = new / str(number)
            place.mkdir(parents=True)
            save_file(_arrays(outcome), place / "values.safetensors")
            text = _ADAPTER.dump_python(_text(outcome), mode="json")
            (place / "outcome.json").write_text(json.dumps(text, indent=1) + "\n", "utf-8")
        if folder.exists():
            folder.rename(Path(scratch) / "old")
        new.rename(folder)


def load_outcomes(folder: Path) -> list[Outcome] | None:
    """The outcomes of a job; None where they are not there or cannot be read."""
    places = sorted((path for path in folder.glob("*") if path.is_dir()), key=lambda p: int(p.name))
    try:
        return [_load(place) for place in places] or None
    except (OSError, ValidationError, SafetensorError, KeyError):
        return None  # from another version or damaged: the job is done again


def _load(place: Path) -> Outcome:
    text = _ADAPTER.validate_json((place / "outcome.json").read_text("utf-8"))
    arrays = load_file(place / "values.safetensors")
    reports: dict[Mask, Report] = {
        mask: _report(report, mask, arrays) for mask, report in text.reports.items()
    }
    return Outcome(reports, text.seconds, text.random, text.simulation)


def _text(outcome: Outcome) -> _OutcomeText:
    reports: dict[Mask, _ReportText] = {}
    for mask, report in outcome.reports.items():
        slices = {
            name: _SliceText(
                tuple(result.values),
                result.facts,
                result.exposure,
                result.user_strata,
                result.item_strata,
            )
            for name, result in report.slices.items()
        }
        plain = {name: getattr(report, name) for name in _ReportText.__dataclass_fields__}
        reports[mask] = _ReportText(**{**plain, "slices": slices})
    return _OutcomeText(reports, outcome.seconds, outcome.random, outcome.simulation)


def _report(text: _ReportText, mask: Mask, arrays: dict[str, np.ndarray]) -> Report:
    slices = {
        name: SliceResult(
            name=name,
            users=arrays[f"{mask}/{name}/users"],
            n_relevant=arrays[f"{mask}/{name}/n_relevant"],
            values={metric: arrays[f"{mask}/{name}/{metric}"] for metric in found.metrics},
            facts=found.facts,
            exposure=found.exposure,
            user_strata=found.user_strata,
            item_strata=found.item_strata,
        )
        for name, found in text.slices.items()
    }
    plain = {name: getattr(text, name) for name in _ReportText.__dataclass_fields__}
    return Report(**{**plain, "slices": slices})


def _arrays(outcome: Outcome) -> dict[str, np.ndarray]:
    arrays = {}
    for mask, report in outcome.reports.items():
        for name, result in report.slices.items():
            arrays[f"{mask}/{name}/users"] = result.users
            arrays[f"{mask}/{name}/n_relevant"] = result.n_relevant
            for metric, values in result.values.items():
                arrays[f"{mask}/{name}/{metric}"] = np.ascontiguousarray(values)
    return arrays
