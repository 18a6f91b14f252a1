"""Render a comparison as one HTML file that opens without a network."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from warmstart.errors import missing_extra
from warmstart.evaluation.comparison import Comparison, Summary
from warmstart.storage import write_text

_TEMPLATE = "report.html.j2"
_MASKS = {
    "all": "every known positive except the relevant pairs of the slice",
    "train": "training positives only",
    "none": "nothing is left out",
}
_USER_SETS = {
    "any": "all users with a positive",
    "both": "users with a cold and a warm positive",
}


@dataclass(frozen=True)
class _Section:
    """A heading of the page with an explanation and plots."""

    title: str
    text: str
    plots: list[Any]


def write_report(comparison: Comparison, path: Path | str) -> Path:
    """Write the HTML report of a comparison.

    The page depends on the comparison only, so it can be rebuilt from the JSON file. The file
    contains its style and plots; it has no script and no external reference.

    Args:
        comparison: the comparison to show.
        path: the file to write.

    Returns:
        ``path`` as a ``Path``.

    Raises:
        UnsupportedError: matplotlib or jinja2 is not installed.
    """
    path = Path(path)
    write_text(path, render_report(comparison))
    return path


def check_packages() -> None:
    """Check that the packages of the report extra are installed; call it before long work.

    Raises:
        UnsupportedError: matplotlib or jinja2 is not installed.
    """
    for package in ("jinja2", "matplotlib"):
        if find_spec(package) is None:
            raise missing_extra(package, "report")


def render_report(comparison: Comparison) -> str:
    """Render the HTML report as text; see ``write_report``."""
    check_packages()
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = _number
    environment.filters["image"] = _image
    environment.filters["percent"] = _percent
    source = resources.files("warmstart.evaluation").joinpath(_TEMPLATE).read_text("utf-8")
    headline = comparison.headline
    return environment.from_string(source).render(
        comparison=comparison,
        headline=headline,
        user_sets=_USER_SETS,
        masks=_MASKS,
        best=_best(comparison),
        differences={(d.method, d.slice, d.metric): d for d in comparison.differences},
        sections=_sections(comparison, headline),
        seeds=[row for row in comparison.summary if len(row.seeds) > 1],
        timings=_timings(comparison),
        memory={detail.method: detail.peak_memory_mb for detail in comparison.details},
    )


def _sections(comparison: Comparison, headline: Sequence[str]) -> list[_Section]:
    from warmstart.evaluation import plots

    main = headline[-1]
    slices = comparison.slices
    sections = [
        _Section(
            "By slice",
            f"Mean over users with the {comparison.level:.0%} bootstrap interval. Grey diamonds "
            "are controls.",
            [
                plots.interval_plot(comparison, name, metric)
                for metric in headline
                for name in slices
            ],
        )
    ]
    if {"cold", "warm"} <= set(slices):
        sections.append(
            _Section(
                "Cold against warm",
                "Higher is better on cold items, further right is better on warm items.",
                [plots.trade_off_plot(comparison, main)],
            )
        )
    calibrated = [detail for detail in comparison.details if detail.calibration]
    if calibrated:
        sections.append(
            _Section(
                "Calibration of cold and warm scores",
                "Overall slice: fraction of relevant items among the ranked ones, in bins of "
                "increasing score with equally many ranked pairs. Where the cold line is below the "
                "warm line, cold items rank too high; where it is above, too low.",
                [plots.calibration_plot(detail) for detail in calibrated],
            )
        )
    note = (
        f" Shown: the best {plots.MOST_LINES} methods by {main} on {slices[-1]}, each with its "
        "first seed. The JSON file has all runs."
    )
    if all(part.exposure is None for part in comparison.details[0].slices):
        return sections  # labels: there are no lists
    by_user = [
        plots.user_strata_plot(comparison, name, metric) for metric in headline for name in slices
    ]
    by_item = [plots.item_strata_plot(comparison, name) for name in slices]
    return [
        *sections,
        _Section(
            "By user", f"Quarters of the users by number of training interactions.{note}", by_user
        ),
        _Section(
            "By item", f"Quarters of the candidates by number of interactions.{note}", by_item
        ),
    ]


def _image(svg: str) -> str:
    """Encode an SVG drawing as a data URL, which keeps the image inside the page."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _best(comparison: Comparison) -> dict[tuple[str, str], set[str]]:
    """Find the best methods of each (slice, metric), excluding controls.

    A slice with few candidates has none: its differences say little.
    """
    columns: dict[tuple[str, str], list[Summary]] = {}
    for row in comparison.summary:
        if not row.control and row.slice not in comparison.few_candidates:
            columns.setdefault((row.slice, row.metric), []).append(row)
    return {
        column: {row.method for row in rows if row.value == max(r.value for r in rows)}
        for column, rows in columns.items()
    }


def _timings(comparison: Comparison) -> dict[str, dict[str, float]]:
    """Add up the seconds by method and stage."""
    seconds: dict[str, dict[str, float]] = {}
    for timing in comparison.timings:
        stages = seconds.setdefault(timing.method, {})
        stages[timing.stage] = stages.get(timing.stage, 0.0) + timing.seconds
    return seconds


def _number(value: float | None, digits: int = 4) -> str:
    """Round a number for display; None becomes a dash."""
    return "-" if value is None else f"{value:.{digits}f}"


def _percent(value: float) -> str:
    return f"{value:.1%}"
