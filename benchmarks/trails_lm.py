"""A small causal LM from scratch on trails of items with genres, for dlcrec without a GPU.

    python benchmarks/trails_lm.py WINDOWS OUT

A text has the twenty items of a training window in a drawn order, or twenty items of the catalogue:

    Comedy: Toy Story (1995)
    Drama: Heat (1995)

A title is one token. What the LM knows of items is which ones stand in the same windows, and their
genres; it cannot know what a title means.
"""

import logging
from pathlib import Path

import numpy as np
import typer

from warmstart.data.readers.dlcrec import read_windows
from warmstart.lm.pretrain import PretrainConfig, pretrain_causal_lm

_LINES = 20


def main(
    data: Path, out: Path, copies: int = 30, width: int = 128, steps: int = 1000, seed: int = 0
) -> None:
    """Write the LM to OUT."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    dataset, parts = read_windows(data)
    rng = np.random.default_rng(seed)
    catalogue = dataset.catalogue
    names = [" ".join(name.split()) for name in catalogue.names]
    genres = catalogue.attribute("genres")
    lines = [
        f"{genres.values[first]}: {name}\n" if first >= 0 else f"?: {name}\n"
        for first, name in zip(genres.first.tolist(), names, strict=True)
    ]
    texts = []
    for _ in range(copies):
        texts += ["".join(lines[i] for i in rng.permutation(dataset.histories[user]))
                  for user in parts["train"].tolist()]  # fmt: skip
    order = rng.permutation(np.repeat(np.arange(len(lines)), 3))
    texts += [
        "".join(lines[i] for i in some) for some in np.array_split(order, len(order) // _LINES)
    ]
    config = PretrainConfig(
        vocabulary_size=512, width=width, layers=4, heads=4, max_tokens=512, steps=steps,
        batch_size=32,
    )  # fmt: skip
    whole = sorted({f" {name}" for name in names})
    pretrain_causal_lm(
        [texts[i] for i in rng.permutation(len(texts))], out, config, rng, whole=whole
    )


if __name__ == "__main__":
    typer.run(main)
