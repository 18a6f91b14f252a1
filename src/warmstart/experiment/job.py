"""One line of the table: fit a method with a seed, evaluate it under every mask."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import warmstart
from warmstart.core import Recommender, Simulates
from warmstart.data.interactions import Interactions, concatenate
from warmstart.data.split import Mask, Split
from warmstart.evaluate.evaluation import Report, evaluate
from warmstart.evaluate.simulation import SimulationReport, simulation_quality
from warmstart.experiment.outcome import Outcome
from warmstart.experiment.spec import MethodSpec
from warmstart.methods import build
from warmstart.rank import Progress
from warmstart.run import Run

if TYPE_CHECKING:
    from warmstart.lm import TextEncoder

_TEXTS = 256  # texts simulated at once: bounds the memory for their scores over all users
# What does not change a number: a change there keeps the finished results of a run folder.
_NOT_HASHED = {"cli", "experiment", "testing"}


@dataclass
class Bench:
    """What all jobs of an experiment share.

    Attributes:
        split: what is learned and ranked.
        masks: one report each.
        metrics: names such as "ndcg@20".
        audience: users an item, where a method or a control names some.
        lm_settings: of the language model, see ``warmstart.lm.LMConfig``.
        use_cache: whether text vectors are kept on disk, so that only the first method that reads
            a text pays for it.
        folder: checkpoints; stages that methods have in common are done once. Beside them the
            runner keeps finished results.
        progress: called while ranking.
    """

    split: Split
    masks: tuple[Mask, ...]
    metrics: tuple[str, ...]
    audience: int = 20
    lm_settings: dict[str, Any] = field(default_factory=dict)
    use_cache: bool = True
    folder: Path | None = None
    progress: Progress | None = None

    @cached_property
    def lm(self) -> "TextEncoder":
        """The language model, loaded when a method first needs it."""
        from warmstart.lm import LMConfig, load_lm

        return load_lm(LMConfig.build(self.lm_settings), use_cache=self.use_cache)

    def fit(self, model: Recommender, seed: int, permuted: bool = False) -> tuple[Run, bool]:
        """Fit on the training part, choosing on validation.

        Returns:
            The run with its timings, and whether random numbers were drawn.
        """
        train, rng, run = self.split.train, np.random.default_rng(seed), Run(self.folder)
        if permuted:
            train = train.with_permuted_texts(np.random.default_rng([seed, 1]))
        before = _drawn_from(rng)
        lm = self.lm if model.traits.needs_lm else None
        model.fit(train, valid=self.split.validation(), lm=lm, rng=rng, run=run)
        return run, permuted or _drawn_from(rng) != before

    def outcome(
        self,
        model: Recommender,
        label: str,
        seed: int,
        fitted: tuple[Run, bool],
        *,
        control: bool,
        simulation: SimulationReport | None = None,
    ) -> Outcome:
        """Evaluate a fitted model under every mask."""
        run, random = fitted
        reports: dict[Mask, Report] = {
            mask: evaluate(
                model,
                self.split,
                name=label,
                mask=mask,
                metrics=self.metrics,
                seed=seed,
                control=control,
                progress=self.progress,
            )
            for mask in self.masks
        }
        outcome = Outcome(reports, dict(run.seconds), random, simulation)
        return outcome if random else outcome.without_seed()

    @cached_property
    def cold(self) -> np.ndarray:
        """Cold candidates of validation and test, int32, ascending."""
        candidates = self.split.cold_candidates
        return np.union1d(candidates["valid"], candidates["test"]).astype(np.int32)

    @cached_property
    def cold_truth(self) -> Interactions:
        """All held-out interactions of cold items."""
        return concatenate([self.split.cold_valid, self.split.cold_test])


@dataclass(frozen=True)
class MethodJob:
    """Fit and evaluate one method with one seed."""

    spec: MethodSpec
    seed: int

    @property
    def label(self) -> str:
        """The name in the table."""
        return self.spec.shown

    @property
    def needs_lm(self) -> bool:
        """Whether a language model is read."""
        return self._model().traits.needs_lm

    def parts(self) -> list[Any]:
        """All that the outcome depends on besides the bench, as plain values."""
        config = self._model().config.model_dump(mode="json")
        spec = self.spec
        return [self.label, spec.method, config, spec.control, spec.permuted, self.seed]

    def run(self, bench: Bench) -> list[Outcome]:
        """One outcome."""
        model = self._model()
        fitted = bench.fit(model, self.seed, self.spec.permuted)
        quality = None
        if isinstance(model, Simulates) and not self.spec.control:
            quality = _simulate(model, bench)
        control = self.spec.control
        return [
            bench.outcome(model, self.label, self.seed, fitted, control=control, simulation=quality)
        ]

    def _model(self) -> Recommender:
        return build(self.spec.method, self.spec.full_settings)


def job_key(job: Any, bench: Bench) -> str:
    """sha256 of all that an outcome depends on: job, split, LM, code."""
    lm: list[Any] = []
    if job.needs_lm:
        from warmstart.lm import LMConfig
        from warmstart.lm.source import resolve

        config = LMConfig.build(bench.lm_settings)
        lm = [config.model_dump(mode="json", exclude={"source"}), resolve(config.source).weights]
    parts = [
        *(type(job).__name__, job.parts(), lm, bench.use_cache),
        *(bench.split.hash, bench.masks, bench.metrics, bench.audience, _code_hash()),
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _simulate(model: Simulates, bench: Bench) -> SimulationReport | None:
    """Quality of the audiences that a method names for the cold candidates."""
    texts = bench.split.dataset.catalogue.texts
    parts = []
    for start in range(0, len(bench.cold), _TEXTS):
        rows = bench.cold[start : start + _TEXTS]
        events = model.simulate_texts([texts[row] for row in rows], bench.audience)
        parts.append(_at_rows(events, rows))
    return simulation_quality(concatenate(parts), bench.cold_truth, bench.split.train)


def _at_rows(events: Interactions, rows: np.ndarray) -> Interactions:
    return Interactions.of(
        events.users, rows[events.items], weights=events.weights, provenance=events.provenance
    )


def _drawn_from(rng: np.random.Generator) -> tuple[Any, ...]:
    """Changes whenever a number is drawn or a child is made."""
    bits = rng.bit_generator
    return str(bits.state), getattr(bits.seed_seq, "n_children_spawned", 0)


def _code_hash() -> str:
    package = Path(warmstart.__file__).parent
    files: Sequence[Path] = sorted(
        path
        for path in package.rglob("*.py")
        if path.relative_to(package).parts[0] not in _NOT_HASHED
    )
    digest = hashlib.sha256()
    for path in files:
        digest.update(str(path.relative_to(package)).encode() + path.read_bytes())
    return digest.hexdigest()
