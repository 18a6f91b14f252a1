"""Load the language model that an artefact refers to."""

from collections.abc import Mapping
from typing import Any

from warmstart.errors import ArtefactError, ConfigError
from warmstart.lm.load import LanguageModel, LMConfig, LMSpec, load_language_model
from warmstart.lm.source import LOCAL


def load_referenced(
    written: Mapping[str, Any], *, source: str | None, device: str, batch_size: int
) -> LanguageModel:
    """Load the language model that an artefact refers to, and verify it.

    Args:
        written: ``LMSpec`` as stored in the artefact.
        source: where the model is on this machine; required if the artefact was made with a local
            folder.
        device: see ``LMConfig``.
        batch_size: see ``LMConfig``.

    Raises:
        ConfigError: the model cannot be found or used.
        ArtefactError: the artefact needs a local model and ``source`` is None, the model has other
            weights or another tokenizer, or the reference is malformed.
    """
    try:
        spec = LMSpec.build(dict(written))
    except ConfigError as error:
        raise ArtefactError(
            f"the artefact's reference to its language model is invalid: {error}"
        ) from None
    if source is None and spec.source.startswith(LOCAL):
        name = spec.source.removeprefix(LOCAL)
        raise ArtefactError(
            f"the artefact was made with the language model in a local folder {name!r} "
            f"(weights sha256 {spec.weights_sha256}); give that folder as the LM source"
        )
    config = LMConfig(
        source=source or spec.source,
        kind=spec.kind,
        pooling=spec.pooling,
        max_tokens=spec.max_tokens,
        batch_size=batch_size,
        device=device,
        dtype=spec.dtype,
        prompt=spec.prompt,
    )
    lm = load_language_model(config)
    if lm.spec.weights_sha256 != spec.weights_sha256:
        raise ArtefactError(
            f"LM {config.source!r} has weights sha256 {lm.spec.weights_sha256}, the artefact was "
            f"made with {spec.weights_sha256} ({spec.source}); give that model"
        )
    if spec.tokenizer_sha256 not in (None, lm.spec.tokenizer_sha256):
        raise ArtefactError(
            f"LM {config.source!r} has another tokenizer than the one the artefact was made with "
            f"({spec.source}): its sha256 is {lm.spec.tokenizer_sha256}, not "
            f"{spec.tokenizer_sha256}; give that model"
        )
    return lm
