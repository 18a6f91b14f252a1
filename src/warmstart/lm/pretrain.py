"""Pretrain a small causal LM from scratch: tokenizer and Llama, on the catalogue's texts.

For machines without a downloaded model. The model has seen only these texts, and the log warns of
it; use a downloaded causal LM if possible.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from warmstart.config import Config
from warmstart.errors import ConfigError, DataError
from warmstart.lm.build import END, byte_pair_tokenizer, llama, save_lm
from warmstart.lm.texts import TokenizedTexts, check_texts
from warmstart.storage import atomic_folder
from warmstart.train import StepConfig, TorchTrainee
from warmstart.train.seed import torch_seed

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

_LOG_EVERY = 50  # steps


class PretrainConfig(Config):
    """Size and training of the model; about one million parameters by default.

    Attributes:
        vocabulary_size: number of tokens, at least 260.
        width, layers, heads: shape of the Llama; width must be a multiple of 2 x heads.
        max_tokens: texts are cut to this length, in training and in the saved model.
        steps: number of optimiser updates.
        batch_size: texts per step.
        learning_rate: initial learning rate of AdamW; it decays linearly to zero.
    """

    vocabulary_size: int = Field(default=2048, ge=260)
    width: int = Field(default=128, ge=4)
    layers: int = Field(default=4, ge=1)
    heads: int = Field(default=4, ge=1)
    max_tokens: int = Field(default=128, ge=2)
    steps: int = Field(default=500, ge=1)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)


def pretrain_causal_lm(
    texts: Sequence[str],
    folder: Path,
    config: PretrainConfig,
    rng: np.random.Generator,
    *,
    whole: Sequence[str] = (),
) -> Path:
    """Train tokenizer and model on ``texts`` and write a model folder, whole or not at all.

    Args:
        texts: the texts of the catalogue; empty ones are skipped and counted in the log.
        folder: where the model goes; must not exist.
        config: size and training of the model.
        rng: source of the initial weights and the order of the batches.
        whole: texts that are one token each, such as titles with the space before them.

    Returns:
        The folder, for ``LMConfig(source=...)``.

    Raises:
        ConfigError: the folder exists, or width is not a multiple of 2 x heads.
        DataError: all texts are empty.
    """
    check_texts(texts)
    if folder.exists():
        raise ConfigError(f"pretrain_causal_lm: {folder} exists; give another folder or remove it")
    if config.width % (2 * config.heads):
        raise ConfigError(
            f"pretrain_causal_lm: width must be a multiple of 2 x heads = {2 * config.heads}, "
            f"got {config.width}"
        )
    kept = [text.encode("utf-8", "replace").decode() for text in texts if text.strip()]
    if not kept:
        raise DataError(
            f"pretrain_causal_lm: all {len(texts)} texts are empty; give the catalogue's texts"
        )
    tokenizer = byte_pair_tokenizer(kept, config.vocabulary_size, whole)
    with torch_seed(rng):
        model = llama(
            tokenizer,
            width=config.width,
            layers=config.layers,
            heads=config.heads,
            max_tokens=config.max_tokens,
        )
    logger.warning(
        "no pretrained causal LM was given: training one of %.2f million parameters from scratch "
        "on %d texts (%d empty ones skipped), %d steps; it sees no other texts",
        sum(weight.numel() for weight in model.parameters()) / 1e6,
        len(kept),
        len(texts) - len(kept),
        config.steps,
    )
    _train(model, _with_end(tokenizer, kept, config.max_tokens), config, rng)
    with atomic_folder(folder, is_ours=lambda _: False, files=(), error=ConfigError) as new:
        save_lm(new, model, tokenizer, config.max_tokens)
    return folder


def _with_end(tokenizer: "Tokenizer", texts: list[str], max_tokens: int) -> TokenizedTexts:
    """Tokenise with a final end token, so that the model learns where texts end."""
    end = tokenizer.token_to_id(END)
    ids = [[*encoded.ids, end] for encoded in tokenizer.encode_batch(texts)]
    n_cut = sum(len(tokens) > max_tokens for tokens in ids)
    if n_cut:
        logger.info("%d of %d texts were cut to %d tokens", n_cut, len(ids), max_tokens)
    return TokenizedTexts(
        tuple(np.asarray(tokens[:max_tokens], np.int32) for tokens in ids), 0, n_cut
    )


def _train(
    model: "PreTrainedModel",
    tokens: TokenizedTexts,
    config: PretrainConfig,
    rng: np.random.Generator,
) -> None:
    model.train()
    for step, loss in enumerate(_Pretraining(model, tokens, config).epoch(rng, 1)):
        if step % _LOG_EVERY == 0 or step == config.steps - 1:
            logger.info("causal LM step %d: loss %.3f", step + 1, loss)
    model.eval()


class _Pretraining(TorchTrainee):
    """Trains all parameters on the next-token loss; the one epoch has all steps."""

    def __init__(
        self, model: "PreTrainedModel", tokens: TokenizedTexts, config: PretrainConfig
    ) -> None:
        self.model, self.tokens, self.config = model, tokens, config
        super().__init__(
            dict(model.named_parameters()),
            torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.01),
            StepConfig(clip_norm=1.0, total_steps=config.steps),
        )

    def epoch(self, rng: np.random.Generator, epoch: int) -> Iterator[float]:
        batches = _endless(self.tokens, self.config, rng)
        for _, rows in zip(range(self.config.steps), batches, strict=False):
            batch = self.tokens.batch(rows)
            logits = self.model(
                input_ids=batch.ids, attention_mask=batch.mask.long(), use_cache=False
            ).logits
            yield self.step(next_token_loss(logits, batch.ids, batch.mask))


def next_token_loss(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """Compute the mean cross entropy, in nats, of each attended token given those before it.

    Args:
        logits: shape (batch, tokens, vocab).
        ids: int64, shape (batch, tokens).
        mask: bool, shape (batch, tokens).
    """
    targets = ids[:, 1:].masked_fill(~mask[:, 1:], -100)
    return functional.cross_entropy(logits[:, :-1].flatten(0, 1), targets.flatten())


def _endless(
    tokens: TokenizedTexts, config: PretrainConfig, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    while True:
        yield from tokens.shuffled_batches(np.arange(len(tokens)), config.batch_size, rng)
