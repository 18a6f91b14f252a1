"""The table of several methods as plain data: what ``--json`` writes and the HTML report shows.

``compare`` makes it from Reports; per-user values stay there.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from warmstart.errors import ConfigError, DataError
from warmstart.evaluation.evaluate import SliceFacts
from warmstart.evaluation.facts import DataFacts
from warmstart.evaluation.simulation_quality import SimulationReport
from warmstart.evaluation.strata import CalibrationBin, Exposure, ItemStratum, UserStratum
from warmstart.storage import write_text


@dataclass(frozen=True)
class Row:
    """One number of one run.

    Attributes:
        method: name.
        slice: slice name.
        metric: such as "ndcg@20".
        value: mean over users.
        low: lower end of its bootstrap interval over users.
        high: upper end.
        users: users of the slice.
        seed: training seed; None for a deterministic method.
        control: whether the method is a control.
    """

    method: str
    slice: str
    metric: str
    value: float
    low: float
    high: float
    users: int
    seed: int | None
    control: bool


@dataclass(frozen=True)
class Summary:
    """One number of one method over its seeds; the two sources of variance apart.

    Attributes:
        method: name.
        slice: slice name.
        metric: such as "ndcg@20".
        value: mean over users of each user's mean over seeds.
        low: lower end of the interval over users.
        high: upper end.
        users: users of the slice.
        control: whether the method is a control.
        seeds: training seeds; (None,) for a deterministic method.
        seed_values: the mean of every seed.
    """

    method: str
    slice: str
    metric: str
    value: float
    low: float
    high: float
    users: int
    control: bool
    seeds: tuple[int | None, ...]
    seed_values: tuple[float, ...]


@dataclass(frozen=True)
class Difference:
    """A method minus the baseline, paired over users.

    Attributes:
        method: name.
        against: the baseline.
        slice: slice name.
        metric: such as "ndcg@20".
        value: mean difference.
        low: lower end of its interval.
        high: upper end.
        p: two-sided paired randomisation test.
        p_holm: corrected for all differences of the table.
        detectable: the smallest true difference found with 80 % power; no claim below it.
        users: users of the slice.
    """

    method: str
    against: str
    slice: str
    metric: str
    value: float
    low: float
    high: float
    p: float
    p_holm: float
    detectable: float
    users: int


@dataclass(frozen=True)
class Timing:
    """Wall seconds of one stage of one method."""

    method: str
    stage: str
    seconds: float


@dataclass(frozen=True)
class SliceDetail:
    """What lies behind one run's numbers on one slice; see ``strata``."""

    slice: str
    facts: SliceFacts
    exposure: Exposure
    user_strata: tuple[UserStratum, ...]
    item_strata: tuple[ItemStratum, ...]


@dataclass(frozen=True)
class Detail:
    """What lies behind one run's numbers.

    ``peak_memory_mb`` is the highest resident memory of the process up to the end of the run: of
    this run alone only where each had a process of its own.
    """

    method: str
    seed: int | None
    control: bool
    slices: tuple[SliceDetail, ...]
    calibration: tuple[CalibrationBin, ...]
    peak_memory_mb: float


@dataclass(frozen=True)
class Comparison:
    """A table of methods on one split, and what is needed to judge it.

    Attributes:
        command: the command that made it.
        version: of warmstart.
        data: what all numbers depend on; the same for every method.
        results: one row a run, slice and metric; slices cold, warm, overall.
        other_results: likewise for the user set that the protocol's overall does not use.
        summary: one row a method, slice and metric, over seeds.
        differences: against the named baseline, on the headline metrics; empty without one.
        timings: seconds per stage.
        details: exposure, calibration, strata of every run.
        simulations: quality of what a method simulated, by method.
        peak_memory_mb: the highest of all runs.
        level: of the intervals.
    """

    command: str
    version: str
    data: DataFacts
    results: tuple[Row, ...]
    other_results: tuple[Row, ...]
    summary: tuple[Summary, ...]
    differences: tuple[Difference, ...]
    timings: tuple[Timing, ...]
    details: tuple[Detail, ...]
    simulations: dict[str, SimulationReport]
    peak_memory_mb: float
    level: float

    @property
    def methods(self) -> list[str]:
        """Method names in the order of the reports."""
        return list(dict.fromkeys(row.method for row in self.summary))

    @property
    def metrics(self) -> list[str]:
        """Metric names in order."""
        return list(dict.fromkeys(row.metric for row in self.summary))

    @property
    def headline(self) -> list[str]:
        """The metrics of the first table and of the differences."""
        return headline(self.metrics)

    @property
    def slices(self) -> list[str]:
        """Slice names in order."""
        return list(dict.fromkeys(row.slice for row in self.summary))

    def find(self, method: str, slice_name: str, metric: str) -> Summary:
        """One number with its interval.

        Raises:
            ConfigError: it is not in the table.
        """
        for row in self.summary:
            if (row.method, row.slice, row.metric) == (method, slice_name, metric):
                return row
        raise ConfigError(f"the comparison holds no {metric} of {method!r} on slice {slice_name!r}")

    def to_json(self) -> str:
        """The one JSON object of ``--json``; unrounded."""
        return json.dumps(_ADAPTER.dump_python(self, mode="json"), indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Comparison":
        """The comparison that ``to_json`` wrote.

        Raises:
            DataError: the text is no comparison.
        """
        try:
            return _ADAPTER.validate_json(text)
        except ValidationError as error:
            problem = error.errors()[0]
            place = ".".join(str(part) for part in problem["loc"]) or "the top level"
            raise DataError(f"not the JSON of a comparison: {place}: {problem['msg']}") from None

    def save(self, path: Path) -> None:
        """Write the JSON object to a file."""
        write_text(path, self.to_json() + "\n")

    def table(self, metrics: Sequence[str] | None = None) -> Table:
        """Methods by slices and metrics, each with its interval.

        Args:
            metrics: columns of every slice; the headline where None.
        """
        shown = list(metrics) if metrics is not None else self.headline
        data = self.data
        table = Table(
            title=f"{data.name}, {data.protocol}, {data.part}, mask {data.mask}",
            caption=f"mean over users [{self.level:.0%} interval]; * control",
        )
        table.add_column("method")
        for name in self.slices:
            for metric in shown:
                table.add_column(f"{name} {metric}", justify="right")
        for method in self.methods:
            rows = [self.find(method, name, metric) for name in self.slices for metric in shown]
            label = f"{method} *" if rows[0].control else method
            table.add_row(Text(label), *(_with_interval(row) for row in rows))
        return table

    def text(self, metrics: Sequence[str] | None = None, width: int = 160) -> str:
        """The table as plain text."""
        out = io.StringIO()
        Console(file=out, width=width, color_system=None).print(self.table(metrics))
        return out.getvalue()


_ADAPTER = TypeAdapter(Comparison)


def headline(metrics: Sequence[str]) -> list[str]:
    """The first recall and the first NDCG; the first metric where there is neither."""
    chosen = [
        next((metric for metric in metrics if metric.startswith(kind)), None)
        for kind in ("recall@", "ndcg@")
    ]
    return [metric for metric in chosen if metric is not None] or list(metrics[:1])


def _with_interval(row: Summary) -> Text:
    return Text(f"{row.value:.4f}\n[{row.low:.4f}, {row.high:.4f}]")
