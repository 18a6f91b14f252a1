"""Registry of methods. A name maps to "module:Class", so that importing this package is fast."""

from importlib import import_module
from pathlib import Path
from typing import Any

from warmstart.artefact import read_artefact
from warmstart.config import Config
from warmstart.core import Causal, Encoder, LanguageModels, Recommender
from warmstart.errors import ArtefactError, ConfigError

METHODS = {
    "random": "warmstart.methods.random:Random",
    "popular": "warmstart.methods.popular:Popular",
    "item_knn": "warmstart.methods.item_knn:ItemKNN",
    "markov": "warmstart.methods.markov:Markov",
    "sasrec": "warmstart.methods.sasrec:SasRec",
    "gru4rec": "warmstart.methods.gru4rec:Gru4Rec",
    "fism": "warmstart.methods.fism:Fism",
    "logistic_ctr": "warmstart.methods.logistic_ctr:LogisticCtr",
    "deepfm": "warmstart.methods.deepfm:DeepFM",
    "din": "warmstart.methods.din:DIN",
    "content_knn": "warmstart.methods.content_knn:ContentKNN",
    "content_mean": "warmstart.methods.content_mean:ContentMean",
    "text_ridge": "warmstart.methods.text_ridge:TextRidge",
    "text_to_vector": "warmstart.methods.text_to_vector:TextToVector",
    "ease_text": "warmstart.methods.ease_text:EaseText",
    "cf_only": "warmstart.methods.cf_only:CFOnly",
    "coldllm": "warmstart.methods.coldllm:ColdLLM",
    "a_llmrec": "warmstart.methods.a_llmrec:ALLMRec",
    "co_mention": "warmstart.methods.co_mention:CoMention",
    "nbcrs": "warmstart.methods.nbcrs:NBCRS",
    "text_search": "warmstart.methods.text_search:TextSearch",
    "lm_ranking": "warmstart.methods.lm_ranking:LMRanking",
    "rta": "warmstart.methods.rta:RTA",
    "dlcrec": "warmstart.methods.dlcrec:DLCRec",
    "filterllm": "warmstart.methods.filterllm:FilterLLM",
}


def method(name: str) -> type[Recommender]:
    """Import and return the class of a method.

    Raises:
        ConfigError: no method has this name.
    """
    if name not in METHODS:
        raise ConfigError(f"unknown method {name!r}; known: {', '.join(METHODS)}")
    module, _, attribute = METHODS[name].partition(":")
    return getattr(import_module(module), attribute)


def build(name: str, settings: dict[str, Any] | Config | None = None) -> Recommender:
    """Make an unfitted recommender.

    Args:
        name: a key of ``METHODS``.
        settings: nested plain values, or the method's configuration; None uses the defaults.

    Raises:
        ConfigError: no method has this name, or a setting is wrong.
    """
    cls = method(name)
    if isinstance(settings, Config):
        return cls(settings)
    return cls(cls.config_type.build(settings or {}))


_ARGUMENTS = {"encoder": "text encoder than encoder", "causal": "causal LM than lm"}


def load_model(
    folder: Path | str, *, encoder: Encoder | None = None, lm: Causal | None = None
) -> Recommender:
    """Load a fitted recommender from its artefact.

    Args:
        folder: the folder that ``save`` wrote.
        encoder: the text encoder of the fit, to encode new texts. It is needed only if the model
            was fitted with one from a local folder; any other is loaded by its name in the artefact
            on first use.
        lm: the causal LM of the fit; the same holds for it.

    Raises:
        ArtefactError: the folder is missing, no artefact, damaged, of an unknown method, or was
            fitted with another language model than the given one.
    """
    saved = read_artefact(Path(folder))
    name = saved.manifest["method"]
    if name not in METHODS:
        raise ArtefactError(f"{folder}: unknown method {name!r}; known: {', '.join(METHODS)}")
    try:
        model = build(name, saved.manifest["config"])
    except ConfigError as error:
        raise ArtefactError(f"{folder}: {error}") from error
    models = LanguageModels(encoder, lm)
    for role, spec in models.specs.items():
        if differs := _differences(saved.fitted.lms.get(role), spec):
            raise ArtefactError(
                f"{folder} was fitted with another {_ARGUMENTS[role]} ({differs}); pass that one"
            )
    model._fitted = saved.fitted
    try:
        model._restore(saved.state, models)
    except KeyError as error:
        raise ArtefactError(f"{folder}: state.safetensors lacks {error}") from error
    return model


def _differences(wanted: dict[str, Any] | None, given: dict[str, Any]) -> str:
    """List how ``given`` differs from the artefact's language model; its location may differ."""
    if wanted is None:
        return ""
    # Artefacts of format 1 do not state the tokenizer.
    free = {"source"} if wanted.get("tokenizer_sha256") else {"source", "tokenizer_sha256"}
    return ", ".join(
        f"{key} {wanted.get(key)!r} in the artefact, {value!r} given"
        for key, value in given.items()
        if key not in free and wanted.get(key) != value
    )
