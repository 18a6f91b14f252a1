"""Metrics of ranked lists, one value per query.

Definitions shared by all reports; L = the first k after masking, G = the relevant items, h_r = 1
where rank r, counted from 1, is in G:

    recall            sum h_r / |G|
    truncated_recall  sum h_r / min(|G|, k), as Multi-VAE and CLLM4Rec define recall
    ndcg              sum h_r / log2(r + 1), divided by sum_{r=1..min(|G|, k)} 1 / log2(r + 1)
    precision         sum h_r / k
    hit               1 if any h_r, the hit rate
    mrr               1 / (the first rank with h_r = 1), 0 without a hit
    micro_recall      all hits of all queries / all relevant pairs (elsewhere "hit ratio")
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from warmstart.errors import ConfigError

_MAX_DIGITS = 18  # of the cut-off of a metric, which is an int64


@dataclass(frozen=True)
class Metric:
    """A metric with its cut-off, such as recall@20.

    Attributes:
        kind: a key of ``METRICS``.
        k: the cut-off.
    """

    kind: str
    k: int

    @classmethod
    def parse(cls, name: str) -> "Metric":
        """Parse a name such as "recall@20", or "hit@1~uni19" on sampled candidates.

        Raises:
            ConfigError: the name is not of the form kind@k, or the kind is unknown.
        """
        kind, _, cut = str(name).partition("~")[0].partition("@")
        valid = kind in METRICS and cut.isdecimal() and len(cut) <= _MAX_DIGITS
        if not valid or int(cut) < 1:
            raise ConfigError(
                f"metric {name!r} is unknown; write kind@k with k from 1, at most "
                f"{_MAX_DIGITS} digits, and kind one of "
                f"{', '.join(METRICS)}"
            )
        return cls(kind, int(cut))

    def per_query(self, hits: np.ndarray, n_relevant: np.ndarray) -> np.ndarray:
        """Compute the metric of each query: float64, shape (queries,).

        Args:
            hits: bool, shape (queries, places), by rank; the lists end after fewer than k places
                if there are no more items.
            n_relevant: shape (queries,), each at least 1.
        """
        return METRICS[self.kind](hits[:, : self.k], n_relevant, self.k)

    def weights(self, n_relevant: np.ndarray) -> np.ndarray:
        """Weight of each query in the mean: float64, shape (queries,)."""
        if self.kind == "micro_recall":
            return n_relevant.astype(np.float64)
        return np.ones(len(n_relevant))


def _recall(hits: np.ndarray, n_relevant: np.ndarray, k: int) -> np.ndarray:
    return hits.sum(axis=1) / n_relevant


def _truncated_recall(hits: np.ndarray, n_relevant: np.ndarray, k: int) -> np.ndarray:
    return hits.sum(axis=1) / np.minimum(n_relevant, k)


def _ndcg(hits: np.ndarray, n_relevant: np.ndarray, k: int) -> np.ndarray:
    ranks = min(k, max(hits.shape[1], int(n_relevant.max(initial=1))))
    discounts = 1 / np.log2(np.arange(2, ranks + 2))
    ideal = np.cumsum(discounts)[np.minimum(n_relevant, ranks) - 1]
    return (hits * discounts[: hits.shape[1]]).sum(axis=1) / ideal


def _precision(hits: np.ndarray, n_relevant: np.ndarray, k: int) -> np.ndarray:
    return hits.sum(axis=1) / k


def _hit(hits: np.ndarray, n_relevant: np.ndarray, k: int) -> np.ndarray:
    return np.asarray(hits.any(axis=1), np.float64)


def _mrr(hits: np.ndarray, n_relevant: np.ndarray, k: int) -> np.ndarray:
    return np.where(hits.any(axis=1), 1 / (hits.argmax(axis=1) + 1), 0.0)


# micro_recall is recall per query; its mean weights queries by their number of relevant items.
METRICS: dict[str, Callable[[np.ndarray, np.ndarray, int], np.ndarray]] = {
    "recall": _recall,
    "truncated_recall": _truncated_recall,
    "ndcg": _ndcg,
    "precision": _precision,
    "hit": _hit,
    "mrr": _mrr,
    "micro_recall": _recall,
}
