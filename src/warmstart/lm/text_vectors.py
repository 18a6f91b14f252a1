"""The text vectors of a catalogue, which grows; the language model is loaded when first needed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from warmstart.lm.encode import TextEncoder


class TextVectors:
    """Unit vectors of the items of a catalogue, in row order.

    Args:
        rows: float32, shape (n_items, width).
        spec: portable reference to the language model.
        encoder: the loaded model; found again by ``spec`` when first needed where None.
    """

    def __init__(
        self, rows: np.ndarray, spec: Mapping[str, Any], encoder: TextEncoder | None = None
    ) -> None:
        self.rows = rows
        self._spec = spec
        self._encoder = encoder

    @classmethod
    def of(cls, texts: Sequence[str], encoder: TextEncoder) -> "TextVectors":
        """The vectors of a catalogue's texts."""
        return cls(encoder.encode(texts), encoder.spec, encoder)

    @property
    def encoder(self) -> TextEncoder:
        """The language model, loaded when first asked for.

        Raises:
            ArtefactError: it came from a local folder and was not given again.
        """
        if self._encoder is None:
            self._encoder = TextEncoder.from_spec(self._spec)
        return self._encoder

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of other texts by the same model, float32, shape (texts, width).

        Raises:
            ArtefactError: the model came from a local folder and was not given again.
        """
        return self.encoder.encode(texts)

    def append(self, texts: Sequence[str]) -> np.ndarray:
        """Add rows for new items; returns them."""
        new = self.encode(texts)
        self.rows = np.concatenate([self.rows, new])
        return new
