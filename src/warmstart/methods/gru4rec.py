"""gru4rec: a recurrent network over a user's history predicts the next item.

Hidasi, Karatzoglou, Baltrunas, Tikk, "Session-based Recommendations with Recurrent Neural
Networks", ICLR 2016 (arXiv 1511.06939). The network is in ``backbones.sequence.gru4rec``.
"""

from warmstart.backbones.sequence.gru4rec import Gru4RecConfig
from warmstart.backbones.sequence_recommender import SequenceRecommender
from warmstart.core import Traits


class Gru4Rec(SequenceRecommender):
    """Scores the next item by a recurrent network over the history."""

    name = "gru4rec"
    config_type = Gru4RecConfig
    traits = Traits(
        reads=frozenset({"order"}), cold_items="none", answers=frozenset({"user", "history"})
    )
