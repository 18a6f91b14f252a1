"""Encode texts as unit vectors: each distinct text once, batched by length, cached on disk.

The vector of a text depends only on the text and the LM setting, up to float rounding (1e-6), not
on the other texts of a call or the batch size. For an encoder with mean pooling it equals the
vector of sentence-transformers.
"""

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from warmstart.errors import ConfigError
from warmstart.lm.cache import Cache, VectorCache, cache_folder
from warmstart.lm.load import LanguageModel, LMConfig, load_language_model
from warmstart.lm.reference import load_referenced
from warmstart.lm.texts import check_texts, tokenize
from warmstart.process import check_process

logger = logging.getLogger(__name__)

Progress: TypeAlias = Callable[[int, int], None]
"""Called with (texts encoded, texts to encode)."""

_SLAB = 16_384  # texts tokenised and sorted together
_SAVE = 512  # texts per cache transaction, which is the most that a kill can lose


class TextEncoder:
    """Encodes texts with a frozen language model.

    Args:
        lm: the loaded model.
        folder: cache folder; None is WARMSTART_CACHE or the user's cache folder.
        use_cache: False bypasses the disk cache.
        progress: default for the ``progress`` of ``encode``.
    """

    def __init__(
        self,
        lm: LanguageModel,
        *,
        folder: Path | str | None = None,
        use_cache: bool = True,
        progress: Progress | None = None,
    ) -> None:
        self.lm = lm
        self.progress = progress
        self.folder = None if folder is None else Path(folder)
        self.cache: Cache | None = None
        if use_cache:
            file = (self.folder or cache_folder()) / "embeddings" / f"{lm.fingerprint[:32]}.sqlite"
            self.cache = VectorCache(file, lm.width)

    @classmethod
    def from_spec(
        cls,
        spec: Mapping[str, Any],
        *,
        source: str | None = None,
        device: str = "auto",
        batch_size: int = 32,
        folder: Path | str | None = None,
        use_cache: bool = True,
    ) -> "TextEncoder":
        """Load the encoder that an artefact refers to and verify its weights.

        Args:
            spec: ``TextEncoder.spec`` as stored in the artefact.
            source: where the LM is on this machine; required if the artefact was made with a local
                folder.
            device: see ``LMConfig``.
            batch_size: see ``LMConfig``.
            folder: cache folder.
            use_cache: False bypasses the disk cache.

        Raises:
            ConfigError: the LM cannot be found or used.
            ArtefactError: the artefact needs a local LM and ``source`` is None, the LM has other
                weights, or the reference is malformed.
        """
        lm = load_referenced(spec, source=source, device=device, batch_size=batch_size)
        return cls(lm, folder=folder, use_cache=use_cache)

    @property
    def width(self) -> int:
        """Length of a vector."""
        return self.lm.width

    @property
    def spec(self) -> dict[str, Any]:
        """Portable reference to the LM for an artefact: plain JSON values, no path."""
        return self.lm.spec.model_dump(mode="json")

    def encode(self, texts: Sequence[str], *, progress: Progress | None = None) -> np.ndarray:
        """Encode texts as unit vectors: float32, shape (texts, width).

        An empty or blank text carries no information, so its vector is zero (similarity 0 to
        everything), whatever the prompt. Equal texts are encoded once.

        Args:
            texts: the texts.
            progress: called with (texts encoded, texts to encode) after each batch; texts found in
                the cache do not count.

        Raises:
            DataError: an entry is not a string.
            ConfigError: the LM returns values that are not finite.
        """
        check_process()
        check_texts(texts)
        vectors = np.zeros((len(texts), self.width), np.float32)
        rows_of: dict[str, list[int]] = {}
        for row, text in enumerate(texts):
            if text.strip():
                rows_of.setdefault(text, []).append(row)
        for text, vector in self._vectors(list(rows_of), progress or self.progress):
            vectors[rows_of[text]] = vector
        return vectors

    def missing(self, texts: Sequence[str]) -> list[str]:
        """The texts that ``encode`` would compute: distinct, not blank, and not in the cache.

        Raises:
            DataError: an entry is not a string.
        """
        check_texts(texts)
        distinct, missing = list(dict.fromkeys(text for text in texts if text.strip())), []
        for start in range(0, len(distinct), _SLAB):
            some = distinct[start : start + _SLAB]
            cached = {} if self.cache is None else self.cache.read([text_key(t) for t in some])
            missing += [text for text in some if text_key(text) not in cached]
        return missing

    def keep(self, texts: Sequence[str], vectors: np.ndarray) -> None:
        """Put vectors that were computed elsewhere into the cache.

        Args:
            texts: distinct texts.
            vectors: what this encoder gives for them, float32, shape (texts, width).
        """
        if self.cache is not None:
            self.cache.write([text_key(text) for text in texts], vectors)

    def _vectors(
        self, texts: list[str], progress: Progress | None
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Yield each of the distinct texts with its vector, from the cache if present."""
        keys = {text: text_key(text) for text in texts}
        cached = {} if self.cache is None else self.cache.read(list(keys.values()))
        missing = [text for text in texts if keys[text] not in cached]
        for text in texts:
            if keys[text] in cached:
                yield text, cached[keys[text]]
        pending: list[tuple[str, np.ndarray]] = []
        for done, pair in enumerate(self._computed(missing), start=1):
            yield pair
            pending.append(pair)
            if len(pending) >= _SAVE or done == len(missing):
                self.keep([text for text, _ in pending], np.stack([v for _, v in pending]))
                pending = []
            if progress is not None and (done % self.lm.batch_size == 0 or done == len(missing)):
                progress(done, len(missing))

    def _computed(self, texts: list[str]) -> Iterator[tuple[str, np.ndarray]]:
        n_cut = 0
        for start in range(0, len(texts), _SLAB):
            slab = texts[start : start + _SLAB]
            tokens = tokenize(self.lm, slab)
            n_cut += tokens.n_cut
            for rows in tokens.sorted_batches(self.lm.batch_size):
                with torch.inference_mode():
                    batch = tokens.batch(rows, self.lm.device)
                    vectors = self.lm.pooled(batch.ids, batch.mask).cpu().numpy()
                finite = np.isfinite(vectors).all(1)
                if not finite.all():
                    raise ConfigError(
                        f"LM {self.lm.spec.source!r} returns values that are not finite for the "
                        f"text {slab[rows[np.argmin(finite)]][:80]!r}; use dtype float32"
                    )
                yield from zip([slab[row] for row in rows], vectors, strict=True)
        if n_cut:
            logger.info(
                "%d of %d texts were cut to %d tokens", n_cut, len(texts), self.lm.spec.max_tokens
            )


def text_key(text: str) -> bytes:
    """The key of a text in the cache."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def load_encoder(
    config: LMConfig | None = None,
    *,
    folder: Path | str | None = None,
    use_cache: bool = True,
    progress: Progress | None = None,
) -> TextEncoder:
    """Load the LM of ``config`` (default: all-MiniLM-L6-v2) as a text encoder.

    Args:
        config: which model, and how it encodes texts.
        folder: cache folder; None is WARMSTART_CACHE or the user's cache folder.
        use_cache: False bypasses the disk cache.
        progress: default for the ``progress`` of ``encode``.

    Raises:
        ConfigError: see ``load_language_model``.
    """
    lm = load_language_model(config)
    return TextEncoder(lm, folder=folder, use_cache=use_cache, progress=progress)
