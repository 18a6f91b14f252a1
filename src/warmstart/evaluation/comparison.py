"""The table of several methods as plain data: ``--json`` writes it, the HTML report shows it.

``compare`` builds it from Reports and leaves out their per-user values.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from rich.table import Table
from rich.text import Text

from warmstart.errors import ConfigError, DataError
from warmstart.evaluation.display import ShownAsTable
from warmstart.evaluation.facts import DataFacts
from warmstart.evaluation.simulation_quality import SimulationReport
from warmstart.evaluation.slice_result import SliceFacts
from warmstart.evaluation.strata import CalibrationBin, Exposure, ItemStratum, UserStratum
from warmstart.storage import write_text


@dataclass(frozen=True)
class Row:
    """One metric of one run on one slice.

    Attributes:
        method: name of the method.
        slice: slice name.
        metric: such as "ndcg@20".
        value: mean over users.
        low: lower end of the bootstrap interval over users.
        high: upper end of that interval.
        users: number of users of the slice.
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
    """One metric of one method on one slice, with the variance over users and seeds kept apart.

    Attributes:
        method: name of the method.
        slice: slice name.
        metric: such as "ndcg@20".
        value: mean over users of each user's mean over seeds.
        low: lower end of the bootstrap interval over users.
        high: upper end of that interval.
        users: number of users of the slice.
        control: whether the method is a control.
        seeds: training seeds; (None,) for a deterministic method.
        seed_values: mean over users for each seed.
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
        method: name of the method.
        against: name of the baseline.
        slice: slice name.
        metric: such as "ndcg@20".
        value: mean difference.
        low: lower end of the bootstrap interval over users.
        high: upper end of that interval.
        p: p-value of the two-sided paired randomisation test.
        p_holm: ``p`` corrected by Holm's rule for all differences of the table.
        detectable: smallest true difference that the test detects with 80 % power; a smaller
            difference supports no conclusion.
        users: number of users of the slice.
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
    """Wall seconds of one stage of one method, fit stages and "evaluate"."""

    method: str
    stage: str
    seconds: float


@dataclass(frozen=True)
class SliceDetail:
    """Diagnostics of one run on one slice; see ``strata``."""

    slice: str
    facts: SliceFacts
    exposure: Exposure | None
    user_strata: tuple[UserStratum, ...]
    item_strata: tuple[ItemStratum, ...]


@dataclass(frozen=True)
class Detail:
    """Diagnostics of one run.

    ``peak_memory_mb`` is the peak resident memory of the process up to the end of the run, in MiB.
    It includes earlier runs, unless each run has a separate process.
    """

    method: str
    seed: int | None
    control: bool
    slices: tuple[SliceDetail, ...]
    calibration: tuple[CalibrationBin, ...]
    peak_memory_mb: float


@dataclass(frozen=True, repr=False)
class Comparison(ShownAsTable):
    """A table of methods on one split, with intervals, tests and diagnostics.

    Attributes:
        command: the command that built it.
        version: version of warmstart.
        data: what all metrics depend on; the same for every method.
        results: one row per run, slice and metric; slices cold, warm, overall.
        other_results: the same for the user set that the protocol's overall does not use.
        summary: one row per method, slice and metric, over seeds.
        differences: from the baseline, on the headline metrics; empty without a baseline.
        timings: seconds per method and stage.
        details: exposure, calibration and strata of every run.
        simulations: method -> quality of its simulated interactions.
        peak_memory_mb: the highest peak of all runs, in MiB.
        level: confidence level of the intervals.
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
        """The metrics of the default table and of the differences."""
        return headline(self.metrics)

    @property
    def slices(self) -> list[str]:
        """Slice names in order."""
        return list(dict.fromkeys(row.slice for row in self.summary))

    @property
    def few_candidates(self) -> dict[str, int]:
        """Slices with fewer than 2 k candidates, with their number: a random list finds half."""
        facts = {part.slice: part.facts for part in self.details[0].slices}
        return {name: fact.candidates for name, fact in facts.items() if fact.few_candidates}

    def find(self, method: str, slice_name: str, metric: str) -> Summary:
        """Look up one metric of one method on one slice.

        Raises:
            ConfigError: the table does not have it.
        """
        for row in self.summary:
            if (row.method, row.slice, row.metric) == (method, slice_name, metric):
                return row
        raise ConfigError(f"the comparison has no {metric} of {method!r} on slice {slice_name!r}")

    def to_json(self) -> str:
        """Serialise to the JSON object of ``--json``; numbers are unrounded."""
        return json.dumps(_ADAPTER.dump_python(self, mode="json"), indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Comparison":
        """Parse the text that ``to_json`` wrote.

        Raises:
            DataError: the text is not a comparison.
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
        """Build a table: one row per method, one column per slice and metric, with intervals.

        Args:
            metrics: columns of every slice; the headline metrics if None.
        """
        columns = list(metrics) if metrics is not None else self.headline
        data = self.data
        table = Table(
            title=data.title,
            caption="; ".join(
                [
                    f"mean over users [{self.level:.0%} interval]",
                    "* control",
                    *(
                        f"the {name} slice has only {candidates} candidates, so random lists "
                        "score high"
                        for name, candidates in self.few_candidates.items()
                    ),
                ]
            ),
        )
        table.add_column("method")
        for name in self.slices:
            for metric in columns:
                table.add_column(f"{name} {metric}", justify="right")
        for method in self.methods:
            rows = [self.find(method, name, metric) for name in self.slices for metric in columns]
            label = f"{method} *" if rows[0].control else method
            table.add_row(Text(label), *(_with_interval(row) for row in rows))
        return table


_ADAPTER = TypeAdapter(Comparison)


def headline(metrics: Sequence[str]) -> list[str]:
    """Pick the first recall, or what stands for it, the first NDCG, and the error of a control.

    Differences of labels are tested by UAUC and log loss, which are means over users.
    """
    labels = [metric for metric in ("auc", "uauc", "log_loss") if metric in metrics]
    if labels:
        return labels
    recalls = ("recall@", "truncated_recall@", "hit@10", "precision@", "hit@")
    chosen = [
        next((m for kind in recalls for m in metrics if m.startswith(kind)), None),
        next((m for m in metrics if m.startswith("ndcg@")), None),
    ]
    of_control = [m for m in metrics if m.startswith("coverage_error@")]
    return [metric for metric in (*chosen, *of_control) if metric is not None] or list(metrics[:1])


def _with_interval(row: Summary) -> Text:
    return Text(f"{row.value:.4f}\n[{row.low:.4f}, {row.high:.4f}]")
