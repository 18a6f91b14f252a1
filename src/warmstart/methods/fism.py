"""fism: the sum of the vectors of a user's items predicts the next item, in whatever order.

Kabbur, Ning, Karypis, "FISM: Factored Item Similarity Models for Top-N Recommender Systems", KDD
2013. The network and its differences from the paper are in ``backbones.sequence.fism``.
"""

from warmstart.backbones.sequence.fism import FismConfig
from warmstart.backbones.sequence_recommender import SequenceRecommender
from warmstart.core import Traits


class Fism(SequenceRecommender):
    """Scores items by the sum of the vectors of the history."""

    name = "fism"
    config_type = FismConfig
    traits = Traits(
        reads=frozenset({"interactions"}),
        cold_items="none",
        answers=frozenset({"user", "history"}),
    )
