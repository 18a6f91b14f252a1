"""One job of an experiment: fit a method with one seed and evaluate it under every mask."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from warmstart.abilities import Simulates
from warmstart.code_hash import code_hash
from warmstart.core import LanguageModels, LMRole, Recommender
from warmstart.data.control import Control
from warmstart.data.interactions import Interactions, concatenate
from warmstart.data.splits.base import Mask, Split
from warmstart.data.splits.cold import ColdSplit
from warmstart.evaluation.evaluate import Report, evaluate
from warmstart.evaluation.simulation_quality import SimulationReport, simulation_quality
from warmstart.experiment.result import JobResult
from warmstart.experiment.spec import MethodSpec
from warmstart.methods import build
from warmstart.rank import Progress
from warmstart.run import Run

if TYPE_CHECKING:
    from warmstart.lm import LMConfig

LMSettings: TypeAlias = Mapping[LMRole, dict[str, Any]]

_TEXTS_AT_ONCE = 256  # bounds the memory of the scores of all users for simulated texts


@dataclass
class ExperimentContext:
    """Everything that the jobs of an experiment share.

    Attributes:
        split: the split to fit and evaluate on.
        masks: masks of the rankings; one report each.
        metrics: names such as "ndcg@20"; None takes those of the protocol.
        audience_size: users per item that a method or a control simulates.
        encoder_settings: settings of the text encoder; see ``warmstart.lm.LMConfig``.
        lm_settings: settings of the causal LM; see ``warmstart.lm.CausalLMConfig``.
        use_cache: whether text vectors are cached on disk, so that a text is encoded only for the
            first method that reads it.
        folder: run folder for checkpoints and finished results; a stage that several methods share
            runs once.
        control: what every list should be like; None asks for nothing.
        progress: called while ranking.
    """

    split: Split
    masks: tuple[Mask, ...]
    metrics: tuple[str, ...] | None
    audience_size: int = 20
    encoder_settings: dict[str, Any] = field(default_factory=dict)
    lm_settings: dict[str, Any] = field(default_factory=dict)
    use_cache: bool = True
    folder: Path | None = None
    control: Control | None = None
    progress: Progress | None = None
    _loaded: dict[tuple[LMRole, str], Any] = field(default_factory=dict, init=False, repr=False)

    def lm_config(self, role: LMRole, own: LMSettings) -> "LMConfig":
        """Settings of a language model, with those that a method has of its own."""
        from warmstart.lm import CausalLMConfig, LMConfig

        if role == "causal":
            return CausalLMConfig.build(self.lm_settings | own.get(role, {}))
        return LMConfig.build(self.encoder_settings | own.get(role, {}))

    def language_models(self, needs: Collection[LMRole], own: LMSettings) -> LanguageModels:
        """Return the language models that a method needs, each loaded on first use."""
        from warmstart.lm import load_causal_lm, load_encoder

        found: dict[str, Any] = {}
        for role in needs:
            config = self.lm_config(role, own)
            key = (role, config.model_dump_json())
            if key not in self._loaded:
                load = partial(load_encoder, use_cache=self.use_cache)
                self._loaded[key] = (load_causal_lm if role == "causal" else load)(config)
            found[role] = self._loaded[key]
        return LanguageModels(**found)

    def fit(
        self,
        model: Recommender,
        seed: int,
        permuted: bool = False,
        own: LMSettings | None = None,
    ) -> tuple[Run, bool]:
        """Fit a model on the training part; choices use the validation slices.

        Args:
            model: unfitted.
            seed: of all randomness.
            permuted: whether texts are permuted among the items.
            own: settings of language models that override those of the experiment.

        Returns:
            The run with its timings, and whether the fit drew random numbers.
        """
        train, rng, run = self.split.train, np.random.default_rng(seed), Run(self.folder)
        if permuted:
            train = train.with_permuted_texts(np.random.default_rng([seed, 1]))
        before = _generator_state(rng)
        models = self.language_models(model.needs, own or {})
        model.fit(
            train,
            valid=self.split.validation(),
            encoder=models.encoder,
            lm=models.causal,
            rng=rng,
            run=run,
        )
        return run, permuted or _generator_state(rng) != before

    def result(
        self,
        model: Recommender,
        label: str,
        seed: int,
        fitted: tuple[Run, bool],
        *,
        control: bool,
        simulation: SimulationReport | None = None,
    ) -> JobResult:
        """Evaluate a fitted model under every mask."""
        run, random = fitted
        reports: dict[Mask, Report] = {
            mask: evaluate(
                model,
                self.split,
                name=label,
                mask=mask,
                metrics=self.metrics,
                control=self.control,
                seed=seed,
                is_control=control,
                progress=self.progress,
            )
            for mask in self.masks
        }
        result = JobResult(reports, dict(run.seconds), random, simulation)
        return result if random else result.without_seed()

    @cached_property
    def cold(self) -> np.ndarray:
        """Cold candidates of validation and test, int32, ascending."""
        candidates = self._cold_split.cold_candidates
        return np.union1d(candidates["valid"], candidates["test"]).astype(np.int32)

    @cached_property
    def cold_truth(self) -> Interactions:
        """All held-out interactions of cold items, validation and test."""
        return concatenate([self._cold_split.cold_valid, self._cold_split.cold_test])

    @property
    def has_cold_items(self) -> bool:
        """Whether the protocol has cold items whose users can be simulated."""
        return isinstance(self.split, ColdSplit)

    @property
    def _cold_split(self) -> ColdSplit:
        assert isinstance(self.split, ColdSplit)
        return self.split


@dataclass(frozen=True)
class MethodJob:
    """Fit and evaluate one method with one seed."""

    spec: MethodSpec
    seed: int

    @property
    def label(self) -> str:
        """The name in the table."""
        return self.spec.display_name

    @property
    def needs(self) -> frozenset[LMRole]:
        """The language models that the method needs."""
        return self._model().needs

    @property
    def own_lms(self) -> LMSettings:
        """Settings of language models that override those of the experiment."""
        return {"encoder": self.spec.encoder, "causal": self.spec.lm}

    def parts(self) -> list[Any]:
        """List what the result depends on besides the context, as plain values."""
        config = self._model().config.model_dump(mode="json")
        spec = self.spec
        return [self.label, spec.method, config, spec.control, spec.permuted, self.seed]

    def modules(self) -> list[str]:
        """List the modules of the method, whose code the result depends on."""
        return [type(self._model()).__module__]

    def run(self, context: ExperimentContext) -> list[JobResult]:
        """Fit, measure the simulated users if there are any, and return one result."""
        model = self._model()
        fitted = context.fit(model, self.seed, self.spec.permuted, self.own_lms)
        quality = None
        measured = context.has_cold_items and not self.spec.control
        if isinstance(model, Simulates) and measured:
            quality = _simulate(model, context)
        control = self.spec.control
        return [
            context.result(
                model, self.label, self.seed, fitted, control=control, simulation=quality
            )
        ]

    def _model(self) -> Recommender:
        return build(self.spec.method, self.spec.full_settings)


def job_key(job: Any, context: ExperimentContext) -> str:
    """Compute the sha256 of everything a result depends on: job, context, LM, code.

    The code is that of the job, the evaluation and the method, with all modules they import.
    """
    models = [_model_key(context.lm_config(role, job.own_lms)) for role in sorted(job.needs)]
    parts = [
        *(type(job).__name__, job.parts(), models, context.use_cache),
        *(context.split.hash, context.masks, context.metrics, context.audience_size),
        None if context.control is None else context.control.model_dump(mode="json"),
        code_hash([__name__, type(job).__module__, *job.modules()]),
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _model_key(config: "LMConfig") -> list[Any]:
    """List what determines a language model: settings, weights, tokenizer."""
    from warmstart.lm.source import resolve, settings_hash

    source = resolve(config.source, causal=config.kind == "causal")
    return [
        config.model_dump(mode="json", exclude={"source"}),
        source.weights_sha256,
        settings_hash(source.folder),
    ]


def _simulate(model: Simulates, context: ExperimentContext) -> SimulationReport | None:
    """Measure the quality of the users that a method simulates for the cold candidates."""
    texts = context.split.dataset.catalogue.texts
    parts = []
    for start in range(0, len(context.cold), _TEXTS_AT_ONCE):
        rows = context.cold[start : start + _TEXTS_AT_ONCE]
        events = model.simulate_texts([texts[row] for row in rows], context.audience_size)
        parts.append(_at_rows(events, rows))
    return simulation_quality(concatenate(parts), context.cold_truth, context.split.train)


def _at_rows(events: Interactions, rows: np.ndarray) -> Interactions:
    return Interactions.from_arrays(
        events.users, rows[events.items], weights=events.weights, provenance=events.sources[0]
    )


def _generator_state(rng: np.random.Generator) -> tuple[Any, ...]:
    """Return a value that changes when a number is drawn or a child generator is spawned."""
    bits = rng.bit_generator
    return str(bits.state), getattr(bits.seed_seq, "n_children_spawned", 0)
