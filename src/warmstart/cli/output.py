"""Printing to stdout and stderr, writing output files, and progress."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from warmstart import storage
from warmstart.errors import DataError
from warmstart.version import __version__

if TYPE_CHECKING:
    import polars as pl

    from warmstart.data.catalogue import Catalogue

_PIPE_WIDTH = 180  # columns if stdout is not a terminal: keeps piped tables from being cut


def print_line(text: str) -> None:
    """Print a line of the result to stdout, without markup or wrapping."""
    Console(soft_wrap=True).print(text, markup=False, highlight=False)


def print_table(table: Table) -> None:
    """Print a table of the result to stdout."""
    console = Console()
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    console.print(table)


def print_note(text: str) -> None:
    """Print a remark about the result as one line on stderr."""
    _stderr().print(text, markup=False, highlight=False, soft_wrap=True)


def print_problem(text: str) -> None:
    """Print a problem as one line on stderr."""
    one_line = " ".join(text.split())
    _stderr().print(f"warmstart: {one_line}", markup=False, highlight=False, soft_wrap=True)


def frame_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str = "") -> Table:
    """Build a table of plain values; columns of numbers are right-aligned."""
    table = Table(title=title or None)
    for position, name in enumerate(columns):
        numeric = bool(rows) and isinstance(rows[0][position], int | float)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    return table


def with_titles(frame: "pl.DataFrame", catalogue: "Catalogue") -> "pl.DataFrame":
    """Insert a column "title" after the column "item", if the catalogue has titles."""
    import polars as pl

    if catalogue.title_column is None:
        return frame
    titles = pl.Series("title", catalogue.titles(frame["item"].to_list()), pl.String)
    return frame.clone().insert_column(frame.columns.index("item") + 1, titles)


def write_output(path: Path, text: str) -> None:
    """Write a file that an option requested.

    Raises:
        DataError: the file cannot be written.
    """
    try:
        storage.write_text(path, text)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}") from None


def write_frame(path: Path, frame: "pl.DataFrame") -> None:
    """Write a table as csv, jsonl or, by default, parquet, by the suffix of the file.

    Raises:
        DataError: the file cannot be written.
    """
    writers = {".csv": frame.write_csv, ".jsonl": frame.write_ndjson}
    try:
        with storage.atomic_file(path) as temporary:
            writers.get(path.suffix, frame.write_parquet)(temporary)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}") from None


def write_json(
    path: Path | None,
    command: str,
    data: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    timings: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write the JSON object of ``--json``; does nothing if ``path`` is None."""
    if path is None:
        return
    from warmstart.evaluation.evaluate import peak_memory_mb

    content = {
        "command": command,
        "version": __version__,
        "data": data,
        "results": results,
        "timings": timings,
        "peak_memory_mb": peak_memory_mb(),
    }
    write_output(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def timings_of(method: str, seconds: Mapping[str, float]) -> list[dict[str, Any]]:
    """Convert seconds by stage to the ``timings`` of ``write_json``."""
    return [{"method": method, "stage": s, "seconds": t} for s, t in seconds.items()]


class Bar:
    """Progress on stderr: a spinner with the current stage, and a bar if the stage reports counts.

    If stderr is not a terminal, each stage is printed as a line instead.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=None)

    def stage(self, text: str) -> None:
        """Start a new stage of unknown length."""
        if self._progress.console.is_terminal:
            self._progress.reset(self._task, total=None, description=text)
        else:
            self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def ranked(self, slice_name: str, done: int, total: int) -> None:
        """Callback of type ``warmstart.rank.Progress``."""
        self._update(f"rank {slice_name}", done, total)

    def encoded(self, done: int, total: int) -> None:
        """Callback of type ``warmstart.lm.encode.Progress``."""
        self._update("encode texts", done, total)

    def bytes(self, name: str, done: int, total: int | None) -> None:
        """Callback of type ``warmstart.data.sources.download.Progress``."""
        self._update(f"download {name}", done, total)

    def _update(self, text: str, done: int, total: int | None) -> None:
        self._progress.update(self._task, description=text, completed=done, total=total)


@contextmanager
def progress() -> Iterator[Bar]:
    """Show progress inside the block; the log records of warmstart become its stages."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    console = _stderr()
    logger = logging.getLogger("warmstart")
    before = logger.level
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as display:
        bar = Bar(display)
        handler = _StageHandler(bar)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            yield bar
        finally:
            logger.removeHandler(handler)
            logger.setLevel(before)


class _StageHandler(logging.Handler):
    """Turns log records into stages of the bar; prints warnings as lines that stay."""

    def __init__(self, bar: Bar) -> None:
        super().__init__()
        self._bar = bar

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            print_problem(record.getMessage())
        else:
            self._bar.stage(record.getMessage())


def _stderr() -> Console:
    return Console(stderr=True)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
