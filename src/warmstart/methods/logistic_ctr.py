"""logistic_ctr: logistic regression on rates of items and users predicts likes. A simple rival.

The inputs are log-odds of rates with shrinkage, and how a user likes the genres of the item; see
``backbones.click.logistic``.
"""

from warmstart.backbones.click.logistic import LogisticCtrConfig
from warmstart.backbones.click.recommender import ClickRecommender
from warmstart.core import Traits


class LogisticCtr(ClickRecommender):
    """Predicts whether a user will like an item."""

    name = "logistic_ctr"
    config_type = LogisticCtrConfig
    traits = Traits(
        reads=frozenset({"ratings", "attributes"}),
        cold_items="content",
        answers=frozenset({"user", "history"}),
    )
