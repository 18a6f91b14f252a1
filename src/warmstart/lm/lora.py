"""LoRA: a frozen language model with small trainable matrices added to some of its linear maps.

Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models": W x becomes
W x + (alpha / rank) B A x, with B zero at the start. The base weights are shared with the frozen
model, not copied, and never changed: several adapters over one model need its memory once.
"""

import copy
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from warmstart.config import Config
from warmstart.errors import ArtefactError, ConfigError, missing_extra
from warmstart.lm.encode import Progress, TextEncoder
from warmstart.lm.load import LanguageModel
from warmstart.lm.texts import TokenBatch
from warmstart.train.seed import torch_seed
from warmstart.train.sharded_module import whole

if TYPE_CHECKING:
    from peft import LoraModel

# Names of the attention's query and value maps in the common model families.
_USUAL_TARGETS = (
    ("query", "value"),
    ("q_proj", "v_proj"),
    ("q_lin", "v_lin"),
    ("q", "v"),
    ("query_key_value",),
    ("qkv_proj",),
    ("Wqkv",),
    ("c_attn",),
)


class LoRAConfig(Config):
    """Settings of the adapter.

    Attributes:
        rank: rank of the added matrices; 0 leaves the LM frozen.
        alpha: the added term is scaled by alpha / rank.
        dropout: dropout on the input of the added matrices, in training.
        targets: names of the linear maps to adapt; empty: query and value maps of the attention.
    """

    rank: int = Field(default=8, ge=0)
    alpha: int = Field(default=32, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    targets: tuple[str, ...] = ()


class TunableLM(nn.Module):
    """A language model with a trainable adapter, whose outputs have gradients.

    Calling it encodes texts; ``tuned`` returns the language model, with its vocabulary head if it
    is causal.

    Args:
        lm: the frozen model; it stays usable and bit for bit unchanged.
        config: settings of the adapter.
        rng: source of the adapter's initial weights.
        whole: train a copy of all weights instead of an adapter; ``config`` then has no effect.

    Raises:
        ConfigError: a target is not a linear map of this model.
    """

    def __init__(
        self,
        lm: LanguageModel,
        config: LoRAConfig,
        rng: np.random.Generator,
        *,
        whole: bool = False,
    ) -> None:
        super().__init__()
        self.lm = lm
        self.config = config
        self.lora: LoraModel | None = None
        self.body, self.with_head = lm.body, lm.with_head
        if whole:
            copied = copy.deepcopy({"body": lm.body, "with_head": lm.with_head})
            self.body, self.with_head = copied["body"], copied["with_head"]
            self.with_head.float().requires_grad_(True)
        elif config.rank:
            self.targets = lora_targets(lm, config)
            with torch_seed(rng):
                self.lora = _adapted(_sharing_weights(lm.with_head), config, self.targets)
            self.body, self.with_head = _body_and_whole(lm, self.lora.model)
        self.eval()

    def forward(self, batch: TokenBatch) -> Tensor:
        """Encode a batch as unit vectors: float32, shape (batch, width), on the LM's device."""
        return self._tuned().pooled(batch.ids, batch.mask)

    def train(self, mode: bool = True) -> "TunableLM":
        """Switch only the adapter's dropout on or off.

        The base LM's own dropout stays off: only the configured dropout applies, and dropout in the
        attention would make torch leave its fused kernel.
        """
        super().train(False)
        self.training = mode
        for name, module in self.body.named_modules():
            if "lora_dropout" in name:
                module.train(mode)
        return self

    def hidden(self, batch: TokenBatch) -> Tensor:
        """Compute the hidden states of the last layer, shape (batch, tokens, width)."""
        return self._tuned().hidden(batch.ids, batch.mask)

    def adapter_parameters(self) -> dict[str, nn.Parameter]:
        """Return the trainable weights by names that do not depend on the version of PEFT."""
        return {
            _plain(name): weight
            for name, weight in self.body.named_parameters()
            if weight.requires_grad
        }

    def adapter(self) -> dict[str, np.ndarray]:
        """Copy the adapter's tensors for an artefact: float32; empty for rank 0.

        If the network is divided between processes, all must call this.
        """
        return {
            name: whole(weight.detach()).float().cpu().numpy().copy()
            for name, weight in self.adapter_parameters().items()
        }

    def load_adapter(self, tensors: dict[str, np.ndarray]) -> None:
        """Load tensors that ``adapter`` returned.

        Raises:
            ArtefactError: names or shapes do not match this model and configuration.
        """
        parameters = self.adapter_parameters()
        expected = {name: tuple(weight.shape) for name, weight in parameters.items()}
        given = {name: tuple(array.shape) for name, array in tensors.items()}
        if given != expected:
            wrong = sorted(set(given.items()) ^ set(expected.items()))
            raise ArtefactError(
                f"the adapter does not fit the LM {self.lm.spec.source!r} with rank "
                f"{self.config.rank}; the first mismatches (name, shape): {wrong[:4]}"
            )
        with torch.no_grad():
            for name, weight in parameters.items():
                weight.copy_(torch.from_numpy(np.asarray(tensors[name])))

    def adapter_hash(self) -> str:
        """Return the sha256 over the adapter's rank, alpha and tensors."""
        shape = self.config.model_dump(include={"rank", "alpha"})
        digest = hashlib.sha256(json.dumps(shape, sort_keys=True).encode())
        for name, array in sorted(self.adapter().items()):
            digest.update(name.encode() + b"\0" + array.tobytes())
        return digest.hexdigest()

    def tuned(self) -> LanguageModel:
        """Return the LM with the current adapter, for inference; it shares the tensors."""
        if self.body is self.lm.body:
            return self.lm
        name = f"{self.lm.fingerprint} {self.adapter_hash()}"
        return replace(self._tuned(), fingerprint=hashlib.sha256(name.encode()).hexdigest())

    def encode(
        self,
        texts: Sequence[str],
        *,
        progress: Progress | None = None,
        folder: Path | None = None,
        use_cache: bool = False,
    ) -> np.ndarray:
        """Encode texts without dropout, as ``TextEncoder.encode``: float32, shape (texts, width).

        The cache is off by default: every training step changes the model, so validation in each
        epoch would fill the disk. Switch it on for the final adapter.
        """
        training = self.training
        self.eval()
        try:
            encoder = TextEncoder(self.tuned(), folder=folder, use_cache=use_cache)
            return encoder.encode(texts, progress=progress)
        finally:
            self.train(training)

    def merged(self) -> LanguageModel:
        """Return a copy of the LM with the adapter merged into its weights; its output is equal."""
        tuned = self.tuned()
        if self.lora is None:
            return tuned
        merged = copy.deepcopy(self.lora).merge_and_unload().eval()
        body, with_head = _body_and_whole(self.lm, merged)
        return replace(tuned, body=body, with_head=with_head)

    def _tuned(self) -> LanguageModel:
        return replace(self.lm, body=self.body, with_head=self.with_head)


def encode_with_adapter(
    lm: LanguageModel,
    config: LoRAConfig,
    adapter: dict[str, np.ndarray],
    texts: Sequence[str],
    *,
    whole: bool = False,
    progress: Progress | None = None,
    folder: Path | None = None,
    use_cache: bool = True,
) -> np.ndarray:
    """Encode texts with a saved adapter, cached by its hash: float32, shape (texts, width).

    With ``whole``, the adapter has all weights of the LM.

    Raises:
        ArtefactError: the adapter does not match the LM and configuration.
    """
    tunable = TunableLM(lm, config, np.random.default_rng(0), whole=whole)  # overwritten
    tunable.load_adapter(adapter)
    return tunable.encode(texts, progress=progress, folder=folder, use_cache=use_cache)


def lora_targets(lm: LanguageModel, config: LoRAConfig) -> tuple[str, ...]:
    """Return the linear maps to adapt, by the last part of their names.

    Raises:
        ConfigError: a configured target does not exist, or none is configured and the model family
            is unknown.
    """
    present = {
        name.rpartition(".")[2]
        for name, module in lm.body.named_modules()
        if isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"
    }
    if config.targets:
        absent = sorted(set(config.targets) - present)
        if absent:
            raise ConfigError(
                f"LoRA targets {absent} are not linear maps of {lm.spec.source!r}; "
                f"choose from {sorted(present)}"
            )
        return config.targets
    for usual in _USUAL_TARGETS:
        if present.issuperset(usual):
            return usual
    raise ConfigError(
        f"LoRA: the query and value maps of {lm.spec.source!r} have unknown names; "
        f"set targets to some of {sorted(present)}"
    )


def _sharing_weights(network: nn.Module) -> nn.Module:
    """Copy the modules but share their tensors: PEFT replaces modules, not weights."""
    tensors = [*network.parameters(), *network.buffers()]
    memo: dict[int, Any] = {id(tensor): tensor for tensor in tensors}
    return copy.deepcopy(network, memo)


def _body_and_whole(lm: LanguageModel, network: Any) -> tuple[nn.Module, nn.Module]:
    """The parts of an adapted network that ``LanguageModel`` names ``body`` and ``with_head``."""
    return _module(network.base_model if lm.spec.kind == "causal" else network), _module(network)


def _adapted(body: nn.Module, config: LoRAConfig, targets: tuple[str, ...]) -> "LoraModel":
    try:
        import peft
    except ImportError:
        raise missing_extra("peft", "lm") from None
    conv = any(
        type(module).__name__ == "Conv1D" and name.endswith(targets)
        for name, module in body.named_modules()
    )
    shape = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=list(targets),
        fan_in_fan_out=conv,  # GPT-2 stores its matrices transposed
    )
    # Use the tuner directly: its wrapper PeftModel calls functions deprecated in transformers 5.23
    # and adds saving and prompts, which are not needed.
    tuner = peft.LoraModel(body, shape, "default")
    for weight in tuner.parameters():
        if weight.requires_grad:  # bfloat16 would lose small steps
            weight.data = weight.data.float()
    return tuner


def _module(value: Any) -> nn.Module:
    assert isinstance(value, nn.Module)
    return value


def _plain(name: str) -> str:
    return name.replace(".default.", ".")
