"""sasrec: self-attention over a user's history predicts the next item.

Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018 (arXiv 1808.09781). The
network and its differences from the paper are in ``backbones.sequence.sasrec``.
"""

from warmstart.backbones.sequence.sasrec import SasRecConfig
from warmstart.backbones.sequence_recommender import SequenceRecommender
from warmstart.core import Traits


class SasRec(SequenceRecommender):
    """Scores the next item by self-attention over the history."""

    name = "sasrec"
    config_type = SasRecConfig
    traits = Traits(
        reads=frozenset({"order"}), cold_items="none", answers=frozenset({"user", "history"})
    )


PAPER = SasRecConfig(
    width=50,  # section 4.4
    layers=2,
    heads=1,
    max_length=50,
    loss="bce",
    temperature=None,  # dot products
    dropout=0.5,
    learning_rate=1e-3,
    batch_size=128 * 50,  # sequences of at most 50 events
    epochs=200,
)
"""Published settings, for sparse data sets."""
