"""Controls: rows of the table that show what remains without the idea of a method.

- ``oracle[b]``: fold-in of the true interactions of the cold items into backbone b; the upper bound
  of every simulate-and-fold-in method on that backbone.
- ``most_active[b]``, ``by_degree[b]``, ``random[b]``: fold-in of as many users per item as a
  simulator names, chosen without using the item; see ``blind_audiences``. They run on the first
  backbone only, because they are equally far below all methods on the other backbones.
- ``permuted(m)``: method m fitted on texts that are permuted among the items; for every method that
  reads texts, unless the experiment lists permuted methods itself.
- ``popular``: no text and no personalisation. ``random``: chance.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from warmstart.core import LMRole
from warmstart.data.interactions import Interactions
from warmstart.data.splits.base import Split
from warmstart.data.splits.cold import ColdSplit
from warmstart.evaluation.simulation_quality import blind_audiences
from warmstart.experiment.job import ExperimentContext, LMSettings, MethodJob
from warmstart.experiment.result import JobResult
from warmstart.experiment.spec import Experiment, MethodSpec
from warmstart.methods import build


@dataclass(frozen=True)
class ControlJob:
    """Fit one backbone, fold in the true audiences, then each kind of blind audience.

    ``with_blind_audiences`` switches the blind audiences on.
    """

    backbone: dict[str, Any]
    seed: int
    with_blind_audiences: bool = True

    @property
    def needs(self) -> frozenset[LMRole]:
        """No language model."""
        return frozenset()

    @property
    def own_lms(self) -> LMSettings:
        """No settings of language models."""
        return {}

    @property
    def label(self) -> str:
        """Name of the job in the log, such as ``controls[ials]``."""
        return f"controls[{self.backbone['kind']}]"

    def parts(self) -> list[Any]:
        """List what the results depend on besides the context, as plain values."""
        return [self.backbone, self.seed, self.with_blind_audiences]

    def modules(self) -> list[str]:
        """List no module: this one imports what the results depend on."""
        return []

    def run(self, context: ExperimentContext) -> list[JobResult]:
        """Fit once and return one result per kind of audience."""
        from warmstart.methods.cf_only import CFOnly  # imports numba and torch

        model = CFOnly(backbone=self.backbone)
        fitted = context.fit(model, self.seed)
        results = []
        for name, events in self._audiences(context).items():
            # Fold-in leaves items without users at their previous vectors. The true audiences may
            # lack some items, so they come first.
            model.fold_in(events)
            model.calibrate(context.split.train, context.split.validation())
            label = f"{name}[{self.backbone['kind']}]"
            results.append(context.result(model, label, self.seed, fitted, control=True))
        return results

    def _audiences(self, context: ExperimentContext) -> dict[str, Interactions]:
        if not self.with_blind_audiences:
            return {"oracle": context.cold_truth}
        budget = np.full(
            len(context.cold), min(context.audience_size, context.split.dataset.n_users)
        )
        rng = np.random.default_rng([self.seed, 2])
        blind = blind_audiences(context.cold, budget, context.split.train, rng)
        return {"oracle": context.cold_truth, **blind}


def jobs_of(experiment: Experiment, split: Split) -> list[list[MethodJob | ControlJob]]:
    """List all jobs in table order; one group holds the jobs of one method, one per seed.

    Oracle and blind audiences are controls of cold items, so other protocols do not have them.
    """
    seeds = range(experiment.seed, experiment.seed + experiment.seeds)
    specs = list(experiment.method)
    if experiment.controls:
        specs += _controls(specs)
    jobs: list[list[MethodJob | ControlJob]] = [
        [MethodJob(spec, seed) for seed in seeds] for spec in specs
    ]
    if experiment.controls and isinstance(split, ColdSplit):
        jobs.extend(
            [ControlJob(backbone, seed, with_blind_audiences=number == 0) for seed in seeds]
            for number, backbone in enumerate(_backbones(experiment.method))
        )
    return jobs


def _controls(specs: list[MethodSpec]) -> list[MethodSpec]:
    known = {spec.method for spec in specs}
    blind = [MethodSpec(name=n, control=True) for n in ("random", "popular") if n not in known]
    if any(spec.permuted for spec in specs):  # the experiment chooses its permuted methods
        return blind
    permuted = [
        spec.model_copy(
            update={"label": f"permuted({spec.display_name})", "permuted": True, "control": True}
        )
        for spec in specs
        if "texts" in build(spec.method, spec.full_settings).traits.reads
    ]
    return [*blind, *permuted]


def _backbones(specs: tuple[MethodSpec, ...]) -> list[dict[str, Any]]:
    """Collect the first backbone settings of each kind, or the default if no method has any."""
    found: dict[str, dict[str, Any]] = {}
    for spec in specs:
        config = build(spec.method, spec.full_settings).config
        if "backbone" in type(config).model_fields:
            found.setdefault(config.backbone.kind, config.backbone.model_dump(mode="json"))
    if not found:
        return [build("cf_only").config.backbone.model_dump(mode="json")]
    return list(found.values())
