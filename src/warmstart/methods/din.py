"""din: attention over liked and disliked items of the history predicts likes.

Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", KDD 2018 (arXiv 1706.06978).
The network is in ``backbones.click.din``.
"""

from warmstart.backbones.click.din import DinConfig
from warmstart.backbones.click.recommender import ClickRecommender
from warmstart.core import Traits


class DIN(ClickRecommender):
    """Predicts whether a user will like an item."""

    name = "din"
    config_type = DinConfig
    traits = Traits(
        reads=frozenset({"ratings", "attributes"}),
        cold_items="content",
        answers=frozenset({"user", "history"}),
        exact_repeat=False,  # torch rounds a sum differently from call to call
    )
