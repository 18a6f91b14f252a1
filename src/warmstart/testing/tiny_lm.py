"""Writes tiny language models to disk for tests, offline and in a fraction of a second.

The weights are random, but the vector of a text is close to the sum of its words' vectors, so texts
that share words have similar vectors.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from warmstart.lm.build import bert, llama, save_lm, word_tokenizer
from warmstart.train.seed import torch_seed

MAX_TOKENS = 64
_ALIKE = 4.0  # what similar words share, in units of what is their own


def tiny_encoder(
    folder: Path,
    words: Iterable[str],
    *,
    seed: int = 0,
    width: int = 32,
    layers: int = 2,
    similar: Sequence[Sequence[str]] = (),
) -> Path:
    """Write a BERT encoder whose vocabulary is the given words; returns ``folder``.

    Args:
        folder: an empty folder.
        words: the vocabulary.
        seed: seed of the random weights.
        width: length of its vectors.
        layers: number of its layers.
        similar: groups of words whose vectors are similar; those of other words are not.
    """
    return _write(bert, folder, words, seed, width, layers, similar)


def tiny_causal(
    folder: Path,
    words: Iterable[str],
    *,
    seed: int = 0,
    width: int = 32,
    layers: int = 2,
    similar: Sequence[Sequence[str]] = (),
) -> Path:
    """Write a causal Llama whose vocabulary is the given words; returns ``folder``.

    Words of a group of ``similar`` are likely to follow each other; arguments as ``tiny_encoder``.
    """
    return _write(llama, folder, words, seed, width, layers, similar)


def _write(
    network,
    folder: Path,
    words: Iterable[str],
    seed: int,
    width: int,
    layers: int,
    similar: Sequence[Sequence[str]],
) -> Path:
    # A causal LM is pooled at the last token, which must be a word and not a constant end token.
    tokenizer = word_tokenizer(words, closed=network is bert)
    with torch_seed(np.random.default_rng(seed)):
        model = network(tokenizer, width=width, layers=layers, heads=4, max_tokens=MAX_TOKENS)
        with torch.no_grad():
            vectors = model.get_input_embeddings().weight
            vectors.normal_(0, 1.0)  # words outweigh positions
            for group in similar:
                rows = [tokenizer.token_to_id(word) for word in group]
                vectors[rows] += _ALIKE * torch.randn(width)
            for name, weight in model.named_parameters():
                if name.endswith(("v_proj.weight", "o_proj.weight")):
                    # makes the last token depend on the others
                    weight.normal_(0, 1.5 * width**-0.5)
                    if similar:  # it continues with the words before it
                        weight.copy_(1.5 * torch.eye(*weight.shape))
    return save_lm(folder, model, tokenizer, MAX_TOKENS)
