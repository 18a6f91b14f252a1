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
from warmstart.evaluate.simulation import blind_audiences
from warmstart.experiment.job import Bench, MethodJob
from warmstart.experiment.outcome import Outcome
from warmstart.experiment.spec import Experiment, MethodSpec
from warmstart.methods import build


@dataclass(frozen=True)
class AudienceJob:
    """Fit one backbone once; fold in the true and the blind audiences one after the other."""

    backbone: dict[str, Any]
    seed: int
    blind: bool = True

    needs_lm = False

    @property
    def label(self) -> str:
        """What the log calls it."""
        return f"controls[{self.backbone['kind']}]"

    def parts(self) -> list[Any]:
        """All that the outcomes depend on besides the bench, as plain values."""
        return [self.backbone, self.seed, self.blind]

    def run(self, bench: Bench) -> list[Outcome]:
        """One outcome for each audience."""
        from warmstart.methods.cf_only import CFOnly  # brings numba and torch along

        model = CFOnly(backbone=self.backbone)
        fitted = bench.fit(model, self.seed)
        outcomes = []
        for name, events in self._audiences(bench).items():
            # An item that an audience leaves out keeps its vector of before: the true audience,
            # which may leave some out, comes first.
            model.fold_in(events)
            model.calibrate(bench.split.train, bench.split.validation())
            label = f"{name}[{self.backbone['kind']}]"
            outcomes.append(bench.outcome(model, label, self.seed, fitted, control=True))
        return outcomes

    def _audiences(self, bench: Bench) -> dict[str, Interactions]:
        if not self.blind:
            return {"oracle": bench.cold_truth}
        budget = np.full(len(bench.cold), min(bench.audience, bench.split.dataset.n_users))
        rng = np.random.default_rng([self.seed, 2])
        blind = blind_audiences(bench.cold, budget, bench.split.train, rng)
        return {"oracle": bench.cold_truth, **blind}


def jobs_of(experiment: Experiment) -> list[list[MethodJob | AudienceJob]]:
    """All jobs, those of one method and different seeds together, in the order of the table."""
    seeds = range(experiment.seed, experiment.seed + experiment.seeds)
    specs = list(experiment.method)
    if experiment.controls:
        specs += _controls(specs)
    jobs: list[list[MethodJob | AudienceJob]] = [
        [MethodJob(spec, seed) for seed in seeds] for spec in specs
    ]
    if experiment.controls:
        jobs.extend(
            [AudienceJob(backbone, seed, blind=number == 0) for seed in seeds]
            for number, backbone in enumerate(_backbones(experiment.method))
        )
    return jobs


def _controls(specs: list[MethodSpec]) -> list[MethodSpec]:
    known = {spec.method for spec in specs}
    blind = [MethodSpec(name=n, control=True) for n in ("random", "popular") if n not in known]
    if any(spec.permuted for spec in specs):  # the experiment says itself which ones it wants
        return blind
    permuted = [
        spec.model_copy(
            update={"label": f"permuted({spec.shown})", "permuted": True, "control": True}
        )
        for spec in specs
        if "texts" in build(spec.method, spec.full_settings).traits.reads
    ]
    return [*blind, *permuted]


def _backbones(specs: tuple[MethodSpec, ...]) -> list[dict[str, Any]]:
    """Settings of the first backbone of each kind; the default one where no method has one."""
    found: dict[str, dict[str, Any]] = {}
    for spec in specs:
        config = build(spec.method, spec.full_settings).config
        if "backbone" in type(config).model_fields:
            found.setdefault(config.backbone.kind, config.backbone.model_dump(mode="json"))
    if not found:
        return [build("cf_only").config.backbone.model_dump(mode="json")]
    return list(found.values())
