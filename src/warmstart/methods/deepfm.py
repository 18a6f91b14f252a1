"""deepfm: factorisation machine and feed-forward network predict likes.

Guo, Tang, Ye, Li, He, "DeepFM: A Factorization-Machine based Neural Network for CTR Prediction",
IJCAI 2017 (arXiv 1703.04247). The network is in ``backbones.click.deepfm``.
"""

from warmstart.backbones.click.deepfm import DeepFmConfig
from warmstart.backbones.click.recommender import ClickRecommender
from warmstart.core import Traits


class DeepFM(ClickRecommender):
    """Predicts whether a user will like an item."""

    name = "deepfm"
    config_type = DeepFmConfig
    traits = Traits(
        reads=frozenset({"ratings", "attributes"}),
        cold_items="content",
        answers=frozenset({"user", "history"}),
        exact_repeat=False,  # torch rounds a sum differently from call to call
    )
