"""Settings of rta."""

from pydantic import Field, model_validator

from warmstart.backbones.next_item import NextItemConfig
from warmstart.backbones.sequence.fism import FismConfig
from warmstart.config import Config
from warmstart.conversation.bias import BiasConfig
from warmstart.conversation.co_mention import CoMentionConfig
from warmstart.conversation.gate import GateConfig
from warmstart.conversation.query_regression import QueryRegressionConfig
from warmstart.conversation.query_texts import NEWEST_TURNS
from warmstart.conversation.reindex import ReindexConfig
from warmstart.conversation.similar_requests import SimilarRequestsConfig


class RTAConfig(Config):
    """Settings of rta. A part of the score that is None or False is left out.

    Attributes:
        lm: one step of the causal LM, by reindexed titles.
        text: similarity of the newest turns and the item's text, by the text encoder: the second
            form of a query beside the state of the causal LM.
        mentioned_texts: similarity of the mentioned items' texts and the item's.
        turns: newest turns that the text encoder reads.
        bias: shift of the content score to what the dialogues recommend.
        query_regression: what the texts of recommended items are like after such a query.
        mentioned: a recommender over the mentioned items that has vectors.
        co_mention: a recommender over the mentioned items by counts: item-kNN, smoothed.
        similar_requests: what similar training dialogues were answered with.
        gate: how the parts are weighted.
        stand_ins: warm items with similar texts that speak for an item which nobody mentioned.
    """

    lm: ReindexConfig | None = ReindexConfig()
    text: bool = True
    mentioned_texts: bool = True
    turns: int = Field(default=NEWEST_TURNS, ge=1)
    bias: BiasConfig = BiasConfig()
    query_regression: QueryRegressionConfig | None = QueryRegressionConfig()
    mentioned: NextItemConfig | None = FismConfig()
    co_mention: CoMentionConfig | None = CoMentionConfig()
    similar_requests: SimilarRequestsConfig | None = SimilarRequestsConfig()
    gate: GateConfig = GateConfig()
    stand_ins: int = Field(default=10, ge=1)

    @model_validator(mode="after")
    def _scores_something(self) -> "RTAConfig":
        if not (self.lm or self.text or self.mentioned_texts):
            raise ValueError(
                "one of lm, text and mentioned_texts must be used: they score what nobody mentioned"
            )
        return self
