"""Encode texts on many machines. The vectors come back into the cache of this machine.

Workers encode other groups of texts than one process would, so a vector may differ in its last bits
(by 1e-6, see ``lm.encode``).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from warmstart.distributed.cluster import Place
from warmstart.distributed.workers import received, spread
from warmstart.lm.encode import Progress, TextEncoder

_TEXTS = 1024  # of a piece, some seconds of work


class EncodingWorker:
    """Holds a language model and encodes texts; keeps no cache."""

    def __init__(self, threads: int, gpus: int, sent: list[Any]) -> None:
        torch.set_num_threads(threads)
        self.encoder: TextEncoder = received(sent)
        if gpus:
            self.encoder.lm.with_head.to("cuda")

    def work(self, texts: Sequence[str]) -> np.ndarray:
        """Encode a piece: float32, shape (texts, width)."""
        return self.encoder.encode(texts)


def encode_missing(
    encoder: TextEncoder,
    texts: Sequence[str],
    places: Sequence[Place],
    progress: Progress | None = None,
) -> None:
    """Encode the texts that are not in the encoder's cache, and put their vectors there.

    Args:
        encoder: an encoder with a cache; it is sent to the workers.
        texts: the texts.
        places: of the workers.
        progress: called with (texts encoded, texts to encode) after each piece.

    Raises:
        WarmstartError: raised by a worker, or a piece ended every worker that tried it.
    """
    import ray

    missing = encoder.missing(texts)
    pieces = [missing[start : start + _TEXTS] for start in range(0, len(missing), _TEXTS)]
    if not pieces:
        return
    sent = ray.put(TextEncoder(encoder.lm, use_cache=False))
    done = 0
    for number, vectors in spread(
        EncodingWorker, places[: len(pieces)], sent, ((piece,) for piece in pieces)
    ):
        encoder.keep(pieces[number], vectors)
        done += len(pieces[number])
        if progress is not None:
            progress(done, len(missing))
