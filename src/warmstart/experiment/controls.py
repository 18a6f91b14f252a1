"""Controls: lines of the table that answer "what is left without the idea?".

- ``oracle[b]``: the true interactions of the cold items folded into backbone b; the upper end of
  every simulate-and-fold-in method on that backbone.
- ``most_active[b]``, ``by_degree[b]``, ``random[b]``: as many users an item as a simulator names,
  chosen without reading the item, folded in likewise; see ``blind_audiences``. On the first
  backbone only: they are as far below everything else on any other.
- ``permuted(m)``: method m on texts that are dealt out to the items at random; for every method
  that reads texts, unless the experiment names permuted ones itself.
- ``popular``, ``random``: no text, no personalisation; chance.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from warmstart.data.interactions import Interactions
from warmstart.evaluation.simulation_quality import blind_audiences
from warmstart.experiment.job import ExperimentContext, MethodJob
from warmstart.experiment.result import JobResult
from warmstart.experiment.spec import Experiment, MethodSpec
from warmstart.methods import build


@dataclass(frozen=True)
class ControlJob:
    """Fit one backbone; fold in the true audience, then each of the blind ones."""

    backbone: dict[str, Any]
    seed: int
    blind: bool = True

    needs_lm = False

    @property
    def label(self) -> str:
        """The name in the log."""
        return f"controls[{self.backbone['kind']}]"

    def parts(self) -> list[Any]:
        """What the results depend on besides the context, as plain values."""
        return [self.backbone, self.seed, self.blind]

    def run(self, context: ExperimentContext) -> list[JobResult]:
        """One result for each audience."""
        from warmstart.methods.cf_only import CFOnly  # imports numba and torch

        model = CFOnly(backbone=self.backbone)
        fitted = context.fit(model, self.seed)
        results = []
        for name, events in self._audiences(context).items():
            # An item without users keeps its previous vector: the true audience, which may lack
            # some items, comes first.
            model.fold_in(events)
            model.calibrate(context.split.train, context.split.validation())
            label = f"{name}[{self.backbone['kind']}]"
            results.append(context.result(model, label, self.seed, fitted, control=True))
        return results

    def _audiences(self, context: ExperimentContext) -> dict[str, Interactions]:
        if not self.blind:
            return {"oracle": context.cold_truth}
        budget = np.full(
            len(context.cold), min(context.audience_size, context.split.dataset.n_users)
        )
        rng = np.random.default_rng([self.seed, 2])
        blind = blind_audiences(context.cold, budget, context.split.train, rng)
        return {"oracle": context.cold_truth, **blind}


def jobs_of(experiment: Experiment) -> list[list[MethodJob | ControlJob]]:
    """All jobs, those of one method and different seeds together, in the order of the table."""
    seeds = range(experiment.seed, experiment.seed + experiment.seeds)
    specs = list(experiment.method)
    if experiment.controls:
        specs += _controls(specs)
    jobs: list[list[MethodJob | ControlJob]] = [
        [MethodJob(spec, seed) for seed in seeds] for spec in specs
    ]
    if experiment.controls:
        jobs.extend(
            [ControlJob(backbone, seed, blind=number == 0) for seed in seeds]
            for number, backbone in enumerate(_backbones(experiment.method))
        )
    return jobs


def _controls(specs: list[MethodSpec]) -> list[MethodSpec]:
    known = {spec.method for spec in specs}
    blind = [MethodSpec(name=n, control=True) for n in ("random", "popular") if n not in known]
    if any(spec.permuted for spec in specs):  # the experiment has permuted methods of its own
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
    """Settings of the first backbone of each kind; of the default one if no method has any."""
    found: dict[str, dict[str, Any]] = {}
    for spec in specs:
        config = build(spec.method, spec.full_settings).config
        if "backbone" in type(config).model_fields:
            found.setdefault(config.backbone.kind, config.backbone.model_dump(mode="json"))
    if not found:
        return [build("cf_only").config.backbone.model_dump(mode="json")]
    return list(found.values())
