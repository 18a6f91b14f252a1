"""The methods that an experiment compares: the TOML file and the short form of ``--methods``.

Short form, methods separated by commas:

    NAME                          text_ridge
    NAME[BACKBONE]                filterllm[lightgcn]         means backbone.kind=lightgcn
    NAME:KEY=VALUE;KEY=VALUE      text_ridge:kernel=linear;l2=30
    NAME[BACKBONE]:KEY=VALUE      cf_only[ials]:backbone.width=256
    NAME@paper                    filterllm@paper             starts from the published settings

Keys may be nested (``a.b``). Values are TOML; an unquoted word is a string. A comma or semicolon
inside brackets or quotes does not separate. The text as written becomes the method's label in the
table.

TOML file: the fields of ``Experiment``, with one ``[[method]]`` table per method:

    against = "text_ridge"
    seeds = 3

    [[method]]
    name = "filterllm[lightgcn]"
    label = "wide"
    settings.backbone.width = 512
"""

import re
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from warmstart.config import Config, merged, read_settings
from warmstart.data.control import Control
from warmstart.data.splits.base import Mask
from warmstart.errors import ConfigError
from warmstart.methods import build, method

_SPEC = re.compile(
    r"(?P<name>\w+)(?P<paper>@paper)?(\[(?P<backbone>\w+)\])?(:(?P<settings>.*))?", re.DOTALL
)


class MethodSpec(Config):
    """One method of an experiment.

    Attributes:
        name: ``NAME``, ``NAME[BACKBONE]``, ``NAME@paper`` or ``NAME@paper[BACKBONE]``.
        label: the name in the table; ``name`` as written if None.
        settings: settings of the method; they override those that ``name`` implies.
        control: whether the method is shown as a control and not ranked among the methods.
        permuted: whether the method is fitted on texts that are permuted among the items.
        encoder: settings of its text encoder; they override those of the experiment.
        lm: settings of its causal LM; the same.
    """

    name: str
    label: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    control: bool = False
    permuted: bool = False
    encoder: dict[str, Any] = Field(default_factory=dict)
    lm: dict[str, Any] = Field(default_factory=dict)

    @property
    def display_name(self) -> str:
        """The name in the table."""
        return self.label or self.name

    @property
    def method(self) -> str:
        """The method name without ``@paper`` and backbone."""
        return _parts(self.name)["name"]

    @property
    def full_settings(self) -> dict[str, Any]:
        """``settings`` merged over the backbone and the published settings that ``name`` implies.

        Raises:
            ConfigError: the method has no published settings.
        """
        parts = _parts(self.name)
        base = _paper(parts["name"]) if parts["paper"] else {}
        backbone = parts["backbone"]
        if backbone is not None:
            published = base.get("backbone", {})
            # Published settings of another kind of backbone do not apply to this one.
            same_kind = published.get("kind") == backbone
            base["backbone"] = published if same_kind else {"kind": backbone}
        return merged(base, self.settings)

    def with_settings(self, more: dict[str, Any]) -> "MethodSpec":
        """Copy the spec with ``more`` as defaults; existing settings take precedence."""
        return self.model_copy(update={"settings": merged(more, self.settings)})

    def check(self) -> None:
        """Check that the method can be built.

        Raises:
            ConfigError: the method does not exist, or a setting is wrong.
        """
        try:
            build(self.method, self.full_settings)
        except ConfigError as error:
            raise ConfigError(f"method {self.display_name!r}: {error}") from None


class Experiment(Config):
    """The methods to compare and the conditions of the comparison.

    Attributes:
        method: the methods, in table order.
        seed: the first training seed.
        seeds: number of training seeds; a method without randomness is fitted once.
        masks: masks of the rankings, one table each; none takes the first of the split.
        metrics: names such as "ndcg@20"; none takes those of the split's protocol.
        control: what every list should be like; see ``Control``.
        against: label of the baseline that the others are compared with, paired over users.
        controls: whether to add the oracle, blind audiences, permuted texts, popularity and chance.
        audience_size: users per item in the controls and in the measured simulations.
        encoder: settings of the text encoder; see ``warmstart.lm.LMConfig``.
        lm: settings of the causal LM; see ``warmstart.lm.CausalLMConfig``.
    """

    method: tuple[MethodSpec, ...] = Field(min_length=1)
    seed: int = Field(default=0, ge=0)
    seeds: int = Field(default=1, ge=1)
    masks: tuple[Mask, ...] = ()
    metrics: tuple[str, ...] = ()
    control: Control | None = None
    against: str | None = None
    controls: bool = False
    audience_size: int = Field(default=20, ge=1)
    encoder: dict[str, Any] = Field(default_factory=dict)
    lm: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _labels_differ(self) -> Self:
        labels = [spec.display_name for spec in self.method]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"label(s) {twice} occur twice; give each method a different label")
        if self.against is not None and self.against not in labels:
            raise ValueError(f"against is {self.against!r}; allowed: one of the labels {labels}")
        return self

    def check(self) -> None:
        """Check that every method can be built, before the first one is fitted.

        Raises:
            ConfigError: a method or setting is wrong; names both.
        """
        for spec in self.method:
            spec.check()


def read_experiment(path: Path | None, methods: Sequence[str] = (), **overrides: Any) -> Experiment:
    """Read an experiment from a file, from short forms, or from both.

    Args:
        path: the TOML file, or None.
        methods: texts with comma-separated short forms; these methods follow those of the file.
        overrides: fields of ``Experiment`` that replace those of the file; None keeps the file's
            value.

    Raises:
        ConfigError: the file, a short form or a method's setting is wrong.
    """
    settings = read_settings(path)
    short = [spec.model_dump() for text in methods for spec in parse_methods(text)]
    settings["method"] = [*settings.get("method", []), *short]
    settings |= {key: value for key, value in overrides.items() if value is not None}
    if not settings["method"]:
        raise ConfigError("no method to compare; allowed: one or more, such as popular,text_ridge")
    experiment = Experiment.build(settings)
    experiment.check()
    return experiment


def parse_methods(text: str) -> list[MethodSpec]:
    """Parse comma-separated methods in the short form; see the module.

    Raises:
        ConfigError: a method is not of that form; names it.
    """
    return [parse_method(part.strip()) for part in _split(text, ",")]


def parse_method(text: str) -> MethodSpec:
    """Parse one method in the short form; see the module.

    Raises:
        ConfigError: the text is not of that form.
    """
    found = _SPEC.fullmatch(text)
    if found is None:
        raise ConfigError(
            f"method {text!r} is not of the form NAME, NAME[BACKBONE] or NAME@paper, optionally "
            "followed by :key=value;key=value"
        )
    settings = found["settings"]
    overrides = [] if settings is None else [part.strip() for part in _split(settings, ";")]
    name, _, _ = text.partition(":")
    return MethodSpec(name=name, label=text, settings=read_settings(None, overrides))


def _parts(name: str) -> re.Match[str]:
    found = _SPEC.fullmatch(name)
    if found is None or found["settings"] is not None:
        raise ConfigError(
            f"method name {name!r} is not of the form NAME, NAME[BACKBONE] or NAME@paper"
        )
    return found


def _paper(name: str) -> dict[str, Any]:
    paper = getattr(import_module(method(name).__module__), "PAPER", None)
    if paper is None:
        raise ConfigError(f"{name} has no published settings, so {name}@paper is not allowed")
    return paper.model_dump(mode="json")


def _split(text: str, separator: str) -> Iterator[str]:
    """Split a text at a separator, except within brackets and quotes."""
    depth, quote, start = 0, "", 0
    for place, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in "[{":
            depth += 1
        elif character in "]}":
            depth -= 1
        elif character == separator and depth == 0:
            yield text[start:place]
            start = place + 1
    yield text[start:]
