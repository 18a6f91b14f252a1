"""Plots of the HTML report, as SVG text with a text alternative for each plot.

This module imports matplotlib, so ``html_report`` imports it only when it renders a report.
"""

import io
import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from warmstart.evaluation.comparison import Comparison, Detail, SliceDetail, Summary

# The palette of Okabe and Ito suits any colour vision; markers also differ between lines.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_CONTROL = "#767676"
# Maximum number of lines in one plot; the tables have all methods.
MOST_LINES = len(_COLOURS)
# Maximum characters of a tick label, of a label in a one-column and in a two-column legend.
_TICK, _ONE_COLUMN, _HALF_COLUMN = 22, 50, 24
_WIDTH = 4.6  # inches; on a screen of 320 CSS pixels, 9-point text is still 9 pixels high


@dataclass(frozen=True)
class Plot:
    """A drawn plot.

    Attributes:
        title: caption.
        alt: text alternative: what the plot shows, in words and numbers.
        svg: the drawing as SVG text.
    """

    title: str
    alt: str
    svg: str


def interval_plot(comparison: Comparison, slice_name: str, metric: str) -> Plot:
    """Plot one metric on one slice: every method with its interval, the best on top."""
    rows = sorted(
        (comparison.find(method, slice_name, metric) for method in comparison.methods),
        key=lambda row: row.value,
    )
    labels = [textwrap.fill(_label(row), _TICK) for row in rows]
    lines = sum(label.count("\n") + 1 for label in labels)
    with _drawing(0.9 + 0.1 * len(rows) + 0.17 * lines) as (axes, finish):
        for place, row in enumerate(rows):
            axes.errorbar(
                row.value,
                place,
                xerr=_error_bars(row, row.value),
                fmt="D" if row.control else "o",
                color=_CONTROL if row.control else _COLOURS[0],
                mfc="white" if row.control else None,
                capsize=3,
            )
        axes.set_yticks(range(len(rows)), labels)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_xlabel(metric)
        axes.set_xlim(left=0)
        axes.grid(axis="x", alpha=0.3)
        svg = finish()
    values = "; ".join(f"{_label(r)} {r.value:.3f} [{r.low:.3f}, {r.high:.3f}]" for r in rows[::-1])
    return Plot(f"{metric}, {slice_name}", f"{metric} on the {slice_name} slice: {values}.", svg)


def trade_off_plot(comparison: Comparison, metric: str) -> Plot:
    """Plot the metric on cold items against warm items: the trade-off of every method."""
    labels = [
        f"{place} {_label(comparison.find(method, 'cold', metric))}"
        for place, method in enumerate(comparison.methods, start=1)
    ]
    with _drawing(3.3 + _legend_height(labels)) as (axes, finish):
        descriptions = []
        for place, method in enumerate(comparison.methods):
            cold = comparison.find(method, "cold", metric)
            warm = comparison.find(method, "warm", metric)
            axes.errorbar(
                warm.value,
                cold.value,
                xerr=_error_bars(warm, warm.value),
                yerr=_error_bars(cold, cold.value),
                fmt=_MARKERS[place // len(_COLOURS) % len(_MARKERS)],
                color=_CONTROL if cold.control else _COLOURS[place % len(_COLOURS)],
                mfc="white" if cold.control else None,
                label=_legend_text(labels[place]),
            )
            axes.annotate(
                str(place + 1),
                (warm.value, cold.value),
                xytext=(4, 4),
                textcoords="offset points",
            )
            descriptions.append(f"{_label(cold)} warm {warm.value:.3f}, cold {cold.value:.3f}")
        axes.set_xlabel(f"warm {metric}")
        axes.set_ylabel(f"cold {metric}")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        _legend_below(axes, labels)
        svg = finish()
    return Plot(f"Cold against warm, {metric}", f"{metric}: {'; '.join(descriptions)}.", svg)


def calibration_plot(detail: Detail) -> Plot:
    """Plot the fraction of relevant items among ranked ones by score bin, cold and warm."""
    bins = detail.calibration
    places = range(1, len(bins) + 1)
    fractions = {
        "cold": [_fraction(part.cold_relevant, part.cold) for part in bins],
        "warm": [_fraction(part.warm_relevant, part.warm) for part in bins],
    }
    with _drawing(2.9) as (axes, finish):
        for place, (name, values) in enumerate(fractions.items()):
            axes.plot(
                places,
                [np.nan if value is None else value for value in values],
                color=_COLOURS[place],
                marker=_MARKERS[place],
                label=f"{name} items",
            )
        axes.set_xlabel(f"score bin, from {bins[0].low:.3g} to {bins[-1].high:.3g}")
        axes.set_ylabel("fraction relevant")
        axes.set_xticks(places)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend()
        svg = finish()
    description = " ".join(
        f"{name}: {', '.join('none' if v is None else f'{v:.3f}' for v in values)}."
        for name, values in fractions.items()
    )
    label = run_label(detail)
    alt = f"{label}, fraction of relevant items by increasing score. {description}"
    return Plot(label, alt, svg)


def user_strata_plot(comparison: Comparison, slice_name: str, metric: str) -> Plot:
    """Plot a metric by training degree of the user."""
    lines = []
    for detail, part in _shown(comparison, slice_name):
        labels = [_range(stratum.low, stratum.high) for stratum in part.user_strata]
        values = [stratum.values[metric] for stratum in part.user_strata]
        lines.append((run_label(detail), labels, values))
    return _line_plot(
        f"{metric} by user degree, {slice_name}", lines, "training interactions of the user", metric
    )


def item_strata_plot(comparison: Comparison, slice_name: str) -> Plot:
    """Plot the fraction of relevant pairs in the lists, by audience size of the item."""
    lines = []
    for detail, part in _shown(comparison, slice_name):
        strata = [stratum for stratum in part.item_strata if stratum.truth]
        labels = [_range(stratum.low, stratum.high) for stratum in strata]
        values = [stratum.hits / stratum.truth for stratum in strata]
        lines.append((run_label(detail), labels, values))
    k = comparison.details[0].slices[0].facts.k
    return _line_plot(
        f"Recall of pairs by item audience size, {slice_name}",
        lines,
        "interactions of the item, held-out ones included",
        f"fraction of relevant pairs in the top {k}",
    )


def run_label(detail: Detail) -> str:
    """Format method, seed (if any) and whether it is a control."""
    seed = "" if detail.seed is None else f", seed {detail.seed}"
    return f"{detail.method}{seed}{' (control)' if detail.control else ''}"


def _shown(comparison: Comparison, slice_name: str) -> Iterator[tuple[Detail, SliceDetail]]:
    """Yield the first run of the best MOST_LINES methods; the same methods for every slice."""
    last_slice, metric = comparison.slices[-1], comparison.headline[-1]
    order = sorted(
        comparison.methods,
        key=lambda method: -comparison.find(method, last_slice, metric).value,
    )
    for method in order[:MOST_LINES]:
        detail = next(detail for detail in comparison.details if detail.method == method)
        yield detail, next(part for part in detail.slices if part.slice == slice_name)


def _line_plot(
    title: str, lines: Sequence[tuple[str, list[str], list[float]]], xlabel: str, ylabel: str
) -> Plot:
    names = [label for label, _, _ in lines]
    with _drawing(3.0 + _legend_height(names)) as (axes, finish):
        for place, (label, labels, values) in enumerate(lines):
            axes.plot(
                labels,
                values,
                color=_COLOURS[place % len(_COLOURS)],
                marker=_MARKERS[place % len(_MARKERS)],
                label=_legend_text(label),
            )
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        _legend_below(axes, names)
        svg = finish()
    description = "; ".join(
        f"{label}: "
        + ", ".join(f"{name} {value:.3f}" for name, value in zip(labels, values, strict=True))
        for label, labels, values in lines
    )
    return Plot(title, f"{title}. {description}.", svg)


@contextmanager
def _drawing(height: float) -> Iterator[tuple[Axes, Callable[[], str]]]:
    """Yield axes in the report's style, and a function that renders them as SVG text."""
    style: dict[Any, Any] = {
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "lines.markersize": 5,
        "svg.hashsalt": "warmstart",  # equal plots get equal bytes
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")

        def finish() -> str:
            buffer = io.StringIO()
            metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
            figure.savefig(buffer, format="svg", metadata=metadata)
            return buffer.getvalue()

        yield figure.subplots(), finish


def _legend_below(axes: Axes, labels: Sequence[str]) -> None:
    columns = _legend_columns(labels)
    axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.16), ncols=columns, frameon=False)


def _legend_text(label: str) -> str:
    return textwrap.fill(label, _ONE_COLUMN)


def _legend_columns(labels: Sequence[str]) -> int:
    return 2 if max(map(len, labels)) <= _HALF_COLUMN else 1


def _legend_height(labels: Sequence[str]) -> float:
    """Height of the legend in inches; the figure needs this extra room to keep its axes."""
    lines = sum(_legend_text(label).count("\n") + 1 for label in labels)
    return 0.3 + 0.18 * math.ceil(lines / _legend_columns(labels))


def _error_bars(row: Summary, value: float) -> list[list[float]]:
    return [[max(value - row.low, 0)], [max(row.high - value, 0)]]


def _label(row: Summary) -> str:
    return f"{row.method} (control)" if row.control else row.method


def _range(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}-{high}"


def _fraction(part: int, whole: int) -> float | None:
    return part / whole if whole else None
