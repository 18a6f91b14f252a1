"""What the commands print and write."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from warmstart import storage
from warmstart.errors import DataError
from warmstart.version import __version__

_WIDE = 180  # columns where stdout is no terminal, so that a piped table is not cut


def say(text: str) -> None:
    """A line of the result, to stdout, as it is."""
    Console(soft_wrap=True).print(text, markup=False, highlight=False)


def show(table: Table) -> None:
    """A table of the result, to stdout."""
    console = Console()
    if not console.is_terminal:
        console.width = _WIDE
    console.print(table)


def complain(text: str) -> None:
    """A problem, as one line on stderr."""
    one_line = " ".join(text.split())
    _stderr().print(f"warmstart: {one_line}", markup=False, highlight=False, soft_wrap=True)


def frame_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str = "") -> Table:
    """A table of plain values; numbers stand on the right."""
    table = Table(title=title or None)
    for place, name in enumerate(columns):
        numeric = bool(rows) and isinstance(rows[0][place], int | float)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    return table


def write_output(path: Path, text: str) -> None:
    """A file that was asked for.

    Raises:
        DataError: it cannot be written.
    """
    try:
        storage.write_text(path, text)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}") from None


def write_json(
    path: Path | None,
    command: str,
    data: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    timings: Sequence[Mapping[str, Any]] = (),
) -> None:
    """The one JSON object of ``--json``, if it was asked for."""
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
    """Stages as ``write_json`` wants them."""
    return [{"method": method, "stage": s, "seconds": t} for s, t in seconds.items()]


class Bar:
    """A spinner with the stage at work, and a bar where a stage counts; on stderr.

    Where stderr is no terminal, each stage is a line.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=None)

    def stage(self, text: str) -> None:
        """A new stage, of unknown length."""
        if self._progress.console.is_terminal:
            self._progress.reset(self._task, total=None, description=text)
        else:
            self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def ranked(self, slice_name: str, done: int, total: int) -> None:
        """As ``warmstart.rank.Progress``."""
        self._update(f"rank {slice_name}", done, total)

    def encoded(self, done: int, total: int) -> None:
        """As ``warmstart.lm.encode.Progress``."""
        self._update("encode texts", done, total)

    def bytes(self, name: str, done: int, total: int | None) -> None:
        """As ``warmstart.data.sources.download.Progress``."""
        self._update(f"download {name}", done, total)

    def _update(self, text: str, done: int, total: int | None) -> None:
        self._progress.update(self._task, description=text, completed=done, total=total)


@contextmanager
def progress() -> Iterator[Bar]:
    """Show what warmstart is doing while it works."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    console = _stderr()
    logger = logging.getLogger("warmstart")
    before = logger.level
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as shown:
        bar = Bar(shown)
        handler = _StageHandler(bar)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            yield bar
        finally:
            logger.removeHandler(handler)
            logger.setLevel(before)


class _StageHandler(logging.Handler):
    """Log records become stages of the bar; warnings stay on the screen."""

    def __init__(self, bar: Bar) -> None:
        super().__init__()
        self._bar = bar

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            complain(record.getMessage())
        else:
            self._bar.stage(record.getMessage())


def _stderr() -> Console:
    return Console(stderr=True)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
