"""Text vectors of a growing catalogue; the language model is loaded on first use."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from warmstart.core import Encoder
from warmstart.lm.encode import TextEncoder


class TextVectors:
    """Unit vectors of the items of a catalogue, in row order.

    Args:
        rows: float32, shape (n_items, width).
        spec: portable reference to the language model.
        encoder: the loaded model; None loads it by ``spec`` on first use.
    """

    def __init__(
        self, rows: np.ndarray, spec: Mapping[str, Any], encoder: Encoder | None = None
    ) -> None:
        self.rows = rows
        self._spec = spec
        self._encoder = encoder

    @classmethod
    def from_texts(cls, texts: Sequence[str], encoder: Encoder) -> "TextVectors":
        """Encode the texts of a catalogue."""
        return cls(encoder.encode(texts), encoder.spec, encoder)

    @property
    def encoder(self) -> Encoder:
        """The text encoder, loaded on first use.

        Raises:
            ArtefactError: the model came from a local folder and was not passed as ``encoder``.
        """
        if self._encoder is None:
            self._encoder = TextEncoder.from_spec(self._spec)
        return self._encoder

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Encode other texts with the same model: float32, shape (texts, width).

        Raises:
            ArtefactError: the model came from a local folder and was not passed as ``encoder``.
        """
        return self.encoder.encode(texts)

    def append(self, texts: Sequence[str]) -> np.ndarray:
        """Encode new items, append their rows and return them: float32, shape (texts, width)."""
        new = self.encode(texts)
        self.rows = np.concatenate([self.rows, new])
        return new
