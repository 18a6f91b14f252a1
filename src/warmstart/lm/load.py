"""Load a frozen encoder or causal LM, and turn token ids into one vector per text.

Attention is torch's fused ``scaled_dot_product_attention``. Pooled vectors have unit length
everywhere in this package, so frozen, cached and tuned vectors are interchangeable.
"""

import hashlib
import json
import logging
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from warmstart.config import Config
from warmstart.errors import ConfigError, missing_extra
from warmstart.lm.dtype import DType, fastest_dtype
from warmstart.lm.exclusive import exclusive_transformers
from warmstart.lm.source import Source, resolve
from warmstart.process import check_process
from warmstart.train.seed import torch_seed

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

Kind: TypeAlias = Literal["encoder", "causal"]
Pooling: TypeAlias = Literal["mean", "last", "cls"]
# Case, accents, scripts, numbers, punctuation and white space: what tokenizers treat differently.
_SAMPLE_TEXT = (
    "Don't miss: Łódź & São Paulo, 1,234.5 km²\t— Москва 東京 \u0130stanbul 😀  <b>e-mail</b> @x #y"
)


class LMConfig(Config):
    """Which language model, and how it encodes texts.

    Attributes:
        source: see ``warmstart.lm.source``.
        kind: "auto" takes it from the model's config; of the source "default" it is the encoder.
        pooling: over attended tokens; "auto" is "mean" for an encoder, "last" for a causal LM.
        max_tokens: longer texts are cut and counted in the log; at most the model's own limit.
        batch_size: texts per forward pass.
        device: "auto" is CUDA if available, else the CPU.
        dtype: type of the weights; "auto" is bfloat16 where it is faster, else float32 (see
            ``dtype.fastest_dtype``). The default gives the same vectors on every machine.
        prompt: template around each text; must contain ``{text}`` once, other braces are plain
            text.
    """

    source: str = "default"
    kind: Literal["auto", "encoder", "causal"] = "auto"
    pooling: Literal["auto", "mean", "last", "cls"] = "auto"
    max_tokens: int = Field(default=256, ge=1)
    batch_size: int = Field(default=32, ge=1)
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "float32"
    prompt: str = "{text}"

    @field_validator("prompt")
    @classmethod
    def _one_slot(cls, prompt: str) -> str:
        if prompt.count("{text}") != 1:
            raise ValueError("must contain {text} exactly once")
        return prompt


class CausalLMConfig(LMConfig):
    """Which causal LM; the settings are those of ``LMConfig``.

    Attributes:
        max_tokens: 1024 by default, since a prompt holds several texts.
        dtype: "auto" by default: what a causal LM computes is rarely compared between machines, and
            its time counts more.
    """

    kind: Literal["auto", "encoder", "causal"] = "causal"
    max_tokens: int = Field(default=1024, ge=1)
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"


class LMSpec(Config):
    """Portable reference to an LM: what an artefact needs to find and verify it, without a path.

    Attributes:
        source: portable name ("default", "package:...", "hub:..."), or "local:NAME".
        weights_sha256: sha256 of the weights.
        tokenizer_sha256: sha256 of the vocabulary and of the tokens of a sample text, which does
            not depend on file formats; None in artefacts of format 1.
        kind, pooling, max_tokens, dtype, prompt: the resolved settings of ``LMConfig``.
        width: length of a pooled vector.
    """

    source: str
    weights_sha256: str
    tokenizer_sha256: str | None = None
    kind: Kind
    pooling: Pooling
    max_tokens: int
    dtype: DType
    prompt: str
    width: int


@dataclass(frozen=True)
class LanguageModel:
    """A loaded, frozen language model.

    Attributes:
        body: the network from token ids to hidden states; no parameter requires a gradient.
        with_head: the causal LM with its vocabulary head, else the body.
        tokenizer: its tokenizer; call it through ``token_ids``.
        spec: the portable reference.
        batch_size: texts per forward pass.
        fingerprint: sha256 over everything that determines a vector: weights, tokenizer,
            architecture, pooling, max_tokens, prompt, dtype, adapter.
        lock: held while the tokenizer runs, because threads share its truncation state.
    """

    body: nn.Module
    with_head: nn.Module
    tokenizer: "PreTrainedTokenizerBase"
    spec: LMSpec
    batch_size: int
    fingerprint: str
    lock: Any = field(default_factory=threading.Lock, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, lock=threading.Lock())

    @property
    def width(self) -> int:
        """Length of a pooled vector."""
        return self.spec.width

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.body.parameters()).device

    @property
    def pad_id(self) -> int:
        """Token id of padding; it is never attended to."""
        pad = self.tokenizer.pad_token_id
        return pad if isinstance(pad, int) else 0

    def hidden(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Compute the hidden states of the last layer; padding may be on either side.

        Args:
            ids: int64, shape (batch, tokens).
            mask: bool or int64, shape (batch, tokens); 0 on padding.

        Returns:
            Shape (batch, tokens, width).
        """
        positions = {}
        if self.spec.kind == "causal":  # left padding must not shift the positions
            positions["position_ids"] = (mask.long().cumsum(1) - 1).clamp(min=0)
            positions["use_cache"] = False
        return self.body(input_ids=ids, attention_mask=mask.long(), **positions).last_hidden_state

    def pooled(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Pool each row to a vector of unit length: float32, shape (batch, width)."""
        return nn.functional.normalize(
            pool(self.hidden(ids, mask).float(), mask, self.spec.pooling), dim=1
        )


def pool(hidden: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """Pool hidden states (batch, tokens, width) over attended tokens to (batch, width).

    Padding never counts: "last" and "cls" are the last and first attended token, wherever the
    padding is.
    """
    weights = mask.to(hidden.dtype)
    if pooling == "mean":
        summed = (hidden * weights[:, :, None]).sum(1)
        return summed / weights.sum(1, keepdim=True).clamp(min=1)
    attended = mask.long()
    if pooling == "last":  # argmax finds the first maximum: number the tokens
        attended = attended * torch.arange(1, mask.shape[1] + 1, device=mask.device)
    position = attended.argmax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), position]


def load_language_model(config: LMConfig | None = None) -> LanguageModel:
    """Load and freeze the model that ``config`` names.

    Raises:
        ConfigError: the source cannot be found, verified or used with these settings.
        UnsupportedError: the extra ``lm`` is not installed.
    """
    check_process()
    config = config or LMConfig()
    try:
        import transformers
    except ImportError:
        raise missing_extra("transformers", "lm") from None
    device = _device(config)
    source = resolve(config.source, causal=config.kind == "causal")
    dtype = fastest_dtype(device.type) if config.dtype == "auto" else config.dtype
    logger.info("LM %s: using %s", config.source, source.origin)
    try:
        architecture = transformers.AutoConfig.from_pretrained(
            source.folder, trust_remote_code=False
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            source.folder, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"LM {config.source!r} cannot be read: {error}") from error
    kind = _kind(config, architecture)
    model = _weights(config, source, kind, dtype)
    body: nn.Module = model.base_model if kind == "causal" else model
    with_head = nn.Module.to(model, device).eval().requires_grad_(False)
    head = model.get_output_embeddings() if kind == "causal" else None
    if head is not None:
        head.register_forward_pre_hook(_contiguous)
    pooling: Pooling = config.pooling if config.pooling != "auto" else _default_pooling(kind)
    spec = LMSpec(
        source=source.name,
        weights_sha256=source.weights_sha256,
        tokenizer_sha256=_tokenizer_hash(tokenizer),
        kind=kind,
        pooling=pooling,
        max_tokens=_token_limit(config.max_tokens, architecture, tokenizer),
        dtype=dtype,
        prompt=config.prompt,
        width=int(architecture.hidden_size),
    )
    return LanguageModel(
        body,
        with_head,
        tokenizer,
        spec,
        config.batch_size,
        _fingerprint(spec, architecture, tokenizer),
    )


def _contiguous(head: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Make the inputs of the vocabulary head contiguous.

    transformers passes a slice of the states, the last token of each text. With frozen weights
    torch multiplies such a slice text by text, and copies the whole vocabulary for each of them:
    half of the time of short answers.
    """
    return tuple(states.contiguous() for states in inputs)


def _device(config: LMConfig) -> torch.device:
    name = config.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"LM device {name!r} is unknown; use auto, cpu or cuda[:N]") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"LM device {name!r}: no CUDA device is available; use auto or cpu")
    return device


def _kind(config: LMConfig, architecture: "PretrainedConfig") -> Kind:
    if getattr(architecture, "is_encoder_decoder", False):
        raise ConfigError(
            f"LM {config.source!r} is an encoder-decoder ({architecture.model_type}); "
            "give an encoder or a causal LM"
        )
    if config.kind != "auto":
        return config.kind
    names = getattr(architecture, "architectures", None) or []
    causal = any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in names)
    return "causal" if causal else "encoder"


def _default_pooling(kind: Kind) -> Pooling:
    return "last" if kind == "causal" else "mean"


def _weights(config: LMConfig, source: Source, kind: Kind, dtype: DType) -> "PreTrainedModel":
    """Load the network; a missing tensor raises an error instead of staying random."""
    import transformers

    family: Any = transformers.AutoModelForCausalLM if kind == "causal" else transformers.AutoModel
    try:
        # Missing tensors are drawn at random before they are reported: torch_seed protects the
        # caller's random state.
        with exclusive_transformers(), torch_seed(np.random.default_rng(0)):
            model, loaded = family.from_pretrained(
                source.folder,
                attn_implementation="sdpa",
                dtype=getattr(torch, dtype),
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
    except Exception as error:  # the loaders raise whatever their parsers raise
        raise ConfigError(
            f"LM {config.source!r} cannot be loaded as {kind}: {type(error).__name__}: {error}"
        ) from error
    # Checkpoints of masked LMs have no pooler; nothing here uses it.
    missing = sorted(key for key in loaded["missing_keys"] if not key.startswith("pooler."))
    if missing or loaded["mismatched_keys"]:
        raise ConfigError(
            f"LM {config.source!r} as {kind}: the weights lack {len(missing)} tensor(s) "
            f"{missing[:3]}; tensors of the wrong shape: {list(loaded['mismatched_keys'])[:3]}"
        )
    return model


def _token_limit(
    requested: int, architecture: "PretrainedConfig", tokenizer: "PreTrainedTokenizerBase"
) -> int:
    limit = getattr(architecture, "max_position_embeddings", None) or requested
    limit = min(requested, int(limit), int(min(tokenizer.model_max_length, 1 << 30)))
    if limit < requested:
        logger.info(
            "the LM encodes at most %d tokens per text, %d were requested", limit, requested
        )
    return limit


def _tokenizer_hash(tokenizer: "PreTrainedTokenizerBase") -> str:
    parts = [sorted(tokenizer.get_vocab().items()), tokenizer(_SAMPLE_TEXT)["input_ids"]]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _fingerprint(
    spec: LMSpec, architecture: "PretrainedConfig", tokenizer: "PreTrainedTokenizerBase"
) -> str:
    settings = {
        name: value
        for name, value in architecture.to_dict().items()
        if not name.startswith("_") and name not in {"transformers_version", "architectures"}
    }
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        vocabulary: Any = sorted(tokenizer.get_vocab().items())
    else:
        backend.no_truncation()
        backend.no_padding()
        vocabulary = backend.to_str()
    resolved = spec.model_dump(exclude={"source", "tokenizer_sha256"})  # "vocabulary" has all of it
    # The key that earlier versions hashed: their cached encodings stay valid.
    resolved["weights"] = resolved.pop("weights_sha256")
    parts = [resolved, settings, vocabulary]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
