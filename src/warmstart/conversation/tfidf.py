"""TF-IDF vectors of texts, by scikit-learn's ``TfidfVectorizer`` (extra ``tfidf``).

A word counts 1 + log(occurrences in the text), times 1 + log((1 + texts) / (1 + texts with the
word)); vectors have unit length. Pedregosa et al., "Scikit-learn: Machine Learning in Python", JMLR
2011.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, Literal, Self

import numpy as np
from scipy import sparse

from warmstart.errors import DataError, missing_extra

StopWords = Literal["english"] | None
"""Words that are not read: the English list of scikit-learn, or none."""
_ARRAYS = ("data", "indices", "indptr")


class TfidfVectors:
    """Unit vectors of the items of a catalogue, in row order, over the words of a fit.

    Args:
        vectorizer: a fitted ``TfidfVectorizer``.
        rows: float32 CSR, shape (n_items, words).
    """

    def __init__(self, vectorizer: Any, rows: sparse.csr_matrix) -> None:
        self._vectorizer, self.rows = vectorizer, rows

    @classmethod
    def fit(cls, items: Sequence[str], requests: Sequence[str], stop_words: StopWords) -> Self:
        """Count the words of items and requests.

        Args:
            items: text of each item.
            requests: other texts whose words count.
            stop_words: words that are not read.

        Raises:
            DataError: no word is left.
            UnsupportedError: the package scikit-learn is not installed.
        """
        vectorizer = _vectorizer(stop_words)
        try:
            vectorizer.fit([*items, *requests])
        except ValueError as error:  # the only one for texts
            raise DataError(
                f"TF-IDF: no word of two or more letters is left in {len(items)} texts of items "
                f"and {len(requests)} requests with stop_words = {stop_words!r}"
            ) from error
        return cls(vectorizer, _csr(vectorizer.transform(items)))

    def encode(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """Encode other texts: float32 CSR, shape (texts, words); zeros without a known word."""
        if not len(texts):
            return self.rows[:0]
        return _csr(self._vectorizer.transform(texts))

    def append(self, texts: Sequence[str]) -> None:
        """Encode new items and append their rows; words that the fit did not count are skipped."""
        self.rows = _csr(sparse.vstack([self.rows, self.encode(texts)]))

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays from which ``restore`` gives equal vectors; none is a pickle."""
        words = "\n".join(self._vectorizer.get_feature_names_out())
        return {
            "words": np.frombuffer(words.encode(), np.uint8),
            "idf": self._vectorizer.idf_,
            **{f"rows.{name}": getattr(self.rows, name) for name in _ARRAYS},
        }

    @classmethod
    def restore(cls, state: Mapping[str, np.ndarray], stop_words: StopWords) -> Self:
        """Load the arrays of ``state``.

        Raises:
            KeyError: an array is missing.
            UnsupportedError: the package scikit-learn is not installed.
        """
        words = state["words"].tobytes().decode().split("\n")
        vectorizer = _vectorizer(stop_words, vocabulary=words)
        vectorizer.idf_ = state["idf"]
        arrays = tuple(state[f"rows.{name}"] for name in _ARRAYS)
        shape = (len(state["rows.indptr"]) - 1, len(words))
        return cls(vectorizer, sparse.csr_matrix(arrays, shape=shape))


def _csr(matrix: Any) -> sparse.csr_matrix:
    return sparse.csr_matrix(matrix, dtype=np.float32)


def _vectorizer(stop_words: StopWords, **settings: Any) -> Any:
    try:
        text = import_module("sklearn.feature_extraction.text")
    except ImportError:
        raise missing_extra("scikit-learn", "tfidf") from None
    return text.TfidfVectorizer(
        sublinear_tf=True, stop_words=stop_words, dtype=np.float32, **settings
    )
