"""Every method by name. A name maps to "module:Class", so that importing this stays light."""

from importlib import import_module
from pathlib import Path
from typing import Any

from warmstart.artefact import read_artefact
from warmstart.config import Config
from warmstart.core import Recommender
from warmstart.errors import ArtefactError, ConfigError

METHODS = {
    "random": "warmstart.methods.random:Random",
    "popular": "warmstart.methods.popular:Popular",
    "content_knn": "warmstart.methods.content_knn:ContentKNN",
    "text_ridge": "warmstart.methods.text_ridge:TextRidge",
    "ease_text": "warmstart.methods.ease_text:EaseText",
    "cf_only": "warmstart.methods.cf_only:CFOnly",
    "coldllm": "warmstart.methods.coldllm:ColdLLM",
    "filterllm": "warmstart.methods.filterllm:FilterLLM",
}


def method(name: str) -> type[Recommender]:
    """The class of a method.

    Raises:
        ConfigError: no such method.
    """
    if name not in METHODS:
        raise ConfigError(f"unknown method {name!r}; known: {', '.join(METHODS)}")
    module, _, attribute = METHODS[name].partition(":")
    return getattr(import_module(module), attribute)


def build(name: str, settings: dict[str, Any] | Config | None = None) -> Recommender:
    """An unfitted recommender.

    Raises:
        ConfigError: no such method, or a wrong setting.
    """
    cls = method(name)
    if isinstance(settings, Config):
        return cls(settings)
    return cls(cls.config_type.build(settings or {}))


def load_model(folder: Path | str, *, lm: Any | None = None) -> Recommender:
    """A recommender from its artefact.

    Args:
        folder: what ``save`` wrote.
        lm: the language model, needed only where it came from a local folder and new texts are to
            be read; else it is found again by the reference in the artefact, when first needed.

    Raises:
        ArtefactError: missing, foreign, damaged, or of an unknown method.
    """
    saved = read_artefact(Path(folder))
    name = saved.manifest["method"]
    if name not in METHODS:
        raise ArtefactError(f"{folder}: unknown method {name!r}; known: {', '.join(METHODS)}")
    try:
        model = build(name, saved.manifest["config"])
    except ConfigError as error:
        raise ArtefactError(f"{folder}: {error}") from error
    if lm is not None and (differs := _differences(saved.fitted.lm_spec, lm.spec)):
        raise ArtefactError(
            f"{folder} was fitted with another language model: {differs}; give that one"
        )
    model._fitted = saved.fitted
    try:
        model._restore(saved.state, lm)
    except KeyError as error:
        raise ArtefactError(f"{folder}: state.safetensors lacks {error}") from error
    return model


def _differences(wanted: dict[str, Any] | None, given: dict[str, Any]) -> str:
    """In what a language model is not the one of an artefact; where it lies does not matter."""
    if wanted is None:
        return ""
    return ", ".join(
        f"{key} {wanted.get(key)!r} there, {value!r} here"
        for key, value in given.items()
        if key != "source" and wanted.get(key) != value
    )
