"""Memory plans: what work with a language model will need, computed before it starts.

Weights, gradients, optimiser state, keys and values, and logits are exact. Activations are
estimated from the shape of the network; tests check a factor of two.
"""

import logging
from dataclasses import dataclass, fields

import torch

from warmstart.errors import UnsupportedError
from warmstart.lm.load import LanguageModel
from warmstart.lm.lora import LoRAConfig, lora_targets
from warmstart.machine import physical_memory

logger = logging.getLogger(__name__)

FLOAT = 4  # bytes of a float32
MOMENTS = 2  # AdamW keeps two averages per trained parameter
# Values saved per token and layer, as multiples of the hidden and of the feed-forward width. An
# encoder's frozen linear maps do not save their inputs; a causal LM's gated feed-forward layer and
# rotary positions save more.
_SAVED_PER_TOKEN = {"encoder": (10, 1), "causal": (12, 3)}
_LIVE_PER_TOKEN = (5, 3)  # the same for reading alone, of which one layer is alive at a time
_LOGITS_COPIES = 3  # of the vocabulary in training: logits, log-probabilities, gradient


@dataclass(frozen=True)
class MemoryPlan:
    """Memory in bytes by purpose; the fields of a subclass are the purposes."""

    @property
    def total(self) -> int:
        """Sum of all purposes in bytes."""
        return sum(getattr(self, field.name) for field in fields(self))

    def table(self) -> str:
        """Format one line per purpose, in MB (10^6 bytes), and the total."""
        names = [field.name for field in fields(self)]
        lines = [f"{name:<14}{getattr(self, name) / 1e6:>12.1f} MB" for name in names]
        return "\n".join([*lines, f"{'total':<14}{self.total / 1e6:>12.1f} MB"])

    def check(self, what: str, device: torch.device, advice: str) -> None:
        """Log the plan, and check that it fits into the memory of a device.

        Args:
            what: the work, for log and message.
            device: where the model is.
            advice: what to lower.

        Raises:
            UnsupportedError: the device has less memory.
        """
        logger.info("memory of %s:\n%s", what, self.table())
        given = memory_bytes(device)
        if self.total > given:
            raise UnsupportedError(
                f"{what} needs about {self.total / 2**30:,.1f} GiB, and {device} has "
                f"{given / 2**30:,.1f} GiB; {advice}. By purpose:\n{self.table()}"
            )


@dataclass(frozen=True)
class ReadingPlan(MemoryPlan):
    """Memory of reading or writing texts.

    Attributes:
        base_weights: weights of the LM.
        activations: of one layer for one batch; an estimate.
        cache: keys and values of one batch.
        logits: logits over the vocabulary for one batch.
    """

    base_weights: int
    activations: int
    cache: int
    logits: int


@dataclass(frozen=True)
class TuningPlan(MemoryPlan):
    """Memory of tuning an adapter.

    Attributes:
        base_weights: weights of the frozen LM.
        adapter: LoRA matrices.
        gradients: gradients of the adapter.
        optimiser: AdamW's two moments of the adapter.
        activations: what the LM saves for the backward pass of one batch; an estimate.
        logits: logits over the vocabulary at the learned tokens of one batch, with their gradient.
    """

    base_weights: int
    adapter: int
    gradients: int
    optimiser: int
    activations: int
    logits: int


def reading_plan(
    lm: LanguageModel, *, rows: int, tokens: int, logits: int = 0, cached: bool = False
) -> ReadingPlan:
    """Compute the memory of reading a batch.

    Args:
        lm: the loaded LM.
        rows: texts of the batch.
        tokens: tokens of its longest text, written ones included.
        logits: positions whose logits are in memory at the same time.
        cached: whether keys and values are kept.
    """
    of_width, of_inner = _LIVE_PER_TOKEN
    layer = of_width * lm.width + of_inner * _inner_width(lm)
    size = next(lm.body.parameters()).element_size()
    return ReadingPlan(
        base_weights=weight_bytes(lm),
        activations=rows * tokens * layer * size,
        cache=rows * tokens * _cached_per_token(lm) * size if cached else 0,
        logits=logits * _n_tokens(lm) * FLOAT,
    )


def tuning_plan(
    lm: LanguageModel, lora: LoRAConfig, *, rows: int, tokens: int, learned: int
) -> TuningPlan:
    """Compute the memory of tuning an adapter of a causal LM.

    Args:
        lm: the loaded base LM.
        lora: shape of the adapter.
        rows: texts of a batch.
        tokens: tokens of its longest text.
        learned: learned tokens of the batch.
    """
    adapter = adapter_size(lm, lora) * FLOAT
    return TuningPlan(
        base_weights=weight_bytes(lm),
        adapter=adapter,
        gradients=adapter,
        optimiser=adapter * MOMENTS,
        activations=saved_bytes(lm, rows * tokens),
        logits=_LOGITS_COPIES * learned * _n_tokens(lm) * FLOAT,
    )


def weight_bytes(lm: LanguageModel) -> int:
    """Return the bytes of the weights."""
    return sum(weight.numel() * weight.element_size() for weight in lm.with_head.parameters())


def adapter_size(lm: LanguageModel, lora: LoRAConfig) -> int:
    """Return the number of trainable numbers of an adapter; 0 for rank 0."""
    if not lora.rank:
        return 0
    targets = lora_targets(lm, lora)
    sizes = [
        sum(weight.shape)
        for name, weight in lm.body.named_parameters()
        if name.removesuffix(".weight").rpartition(".")[2] in targets and weight.ndim == 2
    ]
    return lora.rank * sum(sizes)


def saved_bytes(lm: LanguageModel, tokens: int) -> int:
    """Estimate what the LM saves for the backward pass of a batch with this many tokens."""
    of_width, of_inner = _SAVED_PER_TOKEN[lm.spec.kind]
    per_token = _n_layers(lm) * (of_width * lm.width + of_inner * _inner_width(lm))
    return tokens * per_token * next(lm.body.parameters()).element_size()


def memory_bytes(device: torch.device) -> float:
    """Return the memory of a device in bytes; infinite where it is not known."""
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    return physical_memory()


def _setting(lm: LanguageModel, name: str, default: int) -> int:
    return int(getattr(getattr(lm.with_head, "config", None), name, None) or default)


def _n_layers(lm: LanguageModel) -> int:
    return _setting(lm, "num_hidden_layers", 12)


def _inner_width(lm: LanguageModel) -> int:
    return _setting(lm, "intermediate_size", 4 * lm.width)


def _n_tokens(lm: LanguageModel) -> int:
    return _setting(lm, "vocab_size", 50_000)


def _cached_per_token(lm: LanguageModel) -> int:
    heads = _setting(lm, "num_attention_heads", 1)
    width = _setting(lm, "head_dim", lm.width // heads)
    return 2 * _n_layers(lm) * _setting(lm, "num_key_value_heads", heads) * width
