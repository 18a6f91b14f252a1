"""Prints comparisons as tables and writes them to files."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from rich.table import Table

from warmstart.cli.output import frame_table, print_line, write_output
from warmstart.errors import ConfigError

if TYPE_CHECKING:
    from warmstart.data.splits.base import Mask
    from warmstart.evaluation.comparison import Comparison


def check_masks(given: list[str] | None) -> tuple["Mask", ...]:
    """The masks of ``--mask`` in a fixed order; empty if the option was not given.

    Raises:
        ConfigError: a mask is unknown.
    """
    from warmstart.data.splits.base import Mask

    chosen = tuple(dict.fromkeys(given or []))
    known: tuple[Mask, ...] = get_args(Mask)
    if not set(chosen) <= set(known):
        raise ConfigError(f"--mask {chosen}; allowed: {', '.join(known)}")
    return tuple(mask for mask in known if mask in chosen)


def write_comparisons(
    tables: Mapping["Mask", "Comparison"], json: Path | None, report: Path | None
) -> None:
    """Write the requested files and print their paths.

    With one mask the file has the given name. With two, each table has a file of its own,
    ``NAME.mask-all.json`` and ``NAME.mask-train.json``, since their numbers must not be mixed.

    Args:
        tables: one comparison per mask.
        json: path of the JSON file; None writes none.
        report: path of the HTML file; None writes none.
    """
    for mask, table in tables.items():
        if json is not None:
            path = _path_for_mask(json, mask, tables)
            write_output(path, table.to_json() + "\n")
            print_line(str(path))
        if report is not None:
            from warmstart.evaluation.html_report import render_report

            path = _path_for_mask(report, mask, tables)
            write_output(path, render_report(table))
            print_line(str(path))


def cost_table(comparison: "Comparison") -> Table:
    """Seconds of each stage and peak memory, one row per method."""
    stages: dict[str, list[str]] = {}
    total: dict[str, float] = {}
    for timing in comparison.timings:
        stages.setdefault(timing.method, []).append(f"{timing.stage} {timing.seconds:.1f}")
        total[timing.method] = total.get(timing.method, 0.0) + timing.seconds
    peak = {detail.method: detail.peak_memory_mb for detail in comparison.details}
    rows = [
        (method, f"{total.get(method, 0.0):.1f}", f"{peak[method]:.0f}", ", ".join(stages[method]))
        for method in comparison.methods
    ]
    return frame_table(["method", "seconds", "peak MB", "stages"], rows, "cost of one seed")


def difference_table(comparison: "Comparison") -> Table:
    """Paired differences from the baseline, with intervals and corrected p values."""
    rows = [
        (
            *(d.method, d.slice, d.metric),
            f"{d.value:+.4f} [{d.low:+.4f}, {d.high:+.4f}]",
            f"{d.p_holm:.4f}",
        )
        for d in comparison.differences
    ]
    title = f"minus {comparison.differences[0].against}, paired over users"
    return frame_table(["method", "slice", "metric", "difference", "p (Holm)"], rows, title)


def _path_for_mask(path: Path, mask: str, tables: Mapping["Mask", "Comparison"]) -> Path:
    return path if len(tables) == 1 else path.with_suffix(f".mask-{mask}{path.suffix}")
