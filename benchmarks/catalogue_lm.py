"""A small causal LM from scratch on the texts of a catalogue, for sweeps without a GPU.

    python benchmarks/catalogue_lm.py DATA OUT

It knows nothing but these texts: what it shows is how the parts of a method work together, not what
a pre-trained LM knows.
"""

import logging
from pathlib import Path

import numpy as np
import typer

import warmstart as ws
from warmstart.lm.pretrain import PretrainConfig, pretrain_causal_lm

_CHARACTERS = 150  # of a text, which begins with its title


def main(data: Path, out: Path, steps: int = 1200, seed: int = 0) -> None:
    """Write the LM to OUT."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = PretrainConfig(
        vocabulary_size=4096, width=192, layers=4, heads=4, max_tokens=640, steps=steps,
        batch_size=32,
    )  # fmt: skip
    texts = [" " + text[:_CHARACTERS] for text in ws.read_dataset(data).catalogue.texts]
    pretrain_causal_lm(texts, out, config, np.random.default_rng(seed))


if __name__ == "__main__":
    typer.run(main)
