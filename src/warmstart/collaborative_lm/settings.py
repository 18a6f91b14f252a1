"""Settings of a_llmrec: backbone, both stages, ways of scoring; and the published ones."""

from typing import Literal, Self, TypeAlias

from pydantic import Field, model_validator

from warmstart.backbones.next_item import NextItemConfig
from warmstart.backbones.sequence.sasrec import SasRecConfig
from warmstart.collaborative_lm.alignment import AlignmentConfig
from warmstart.collaborative_lm.fit import AnyAlignmentConfig
from warmstart.collaborative_lm.tuning import PromptTuningConfig
from warmstart.collaborative_lm.weights import PartWeights
from warmstart.config import Config

Scoring: TypeAlias = Literal["retrieval", "alignment", "likelihood", "generation"]


class ALLMRecConfig(Config):
    """Settings of a_llmrec.

    Attributes:
        backbone: kind and settings of the collaborative model, "sasrec" without a kind.
        alignment: settings of stage 1; ``kind`` "ridge" replaces the autoencoders by a regression
            from texts to the backbone's vectors.
        tuning: settings of stage 2.
        scoring: how a fitted model ranks; see also ``ALLMRec.with_scoring``. "retrieval": inner
            products over the catalogue, of the aligned backbone and of the LM, added; this is what
            a service uses. "likelihood": the first ``tuning.n_candidates`` of "retrieval" that are
            not in the history, by the mean log-likelihood of the tokens of their titles.
            "generation": the first of these is the title that the LM writes. "alignment": the
            aligned backbone alone; the causal LM is neither trained nor needed.
        warm_weights: weights of backbone, LM and similarity of texts in the scores of items with
            interactions. Chosen on validation if given; a part of weight 0 is left out.
        cold_weights: the same for items without. Chosen on validation if it ranks such items.
    """

    backbone: NextItemConfig = Field(default_factory=SasRecConfig)
    alignment: AnyAlignmentConfig = AlignmentConfig()
    tuning: PromptTuningConfig = PromptTuningConfig()
    scoring: Scoring = "retrieval"
    warm_weights: PartWeights = PartWeights()
    cold_weights: PartWeights = PartWeights(text=1.0)

    @model_validator(mode="after")
    def _something_scores(self) -> Self:
        for name in ("warm_weights", "cold_weights"):
            own: PartWeights = getattr(self, name)
            in_use = own.backbone + own.text + (self.scoring != "alignment") * own.lm
            if not in_use:
                raise ValueError(f"{name} are all 0; allowed: at least one part in use above 0")
        return self

    @model_validator(mode="after")
    def _states_reach_as_far_as_prompts(self) -> Self:
        read = getattr(self.backbone, "max_length", None)
        if read is not None and self.scoring != "alignment" and self.tuning.history_length > read:
            raise ValueError(
                f"tuning.history_length is {self.tuning.history_length}, but the backbone has "
                f"states of the newest {read} events (backbone.max_length); allowed: at most these"
            )
        return self

    @property
    def retrieves(self) -> bool:
        """Whether stage 2 trains h . g."""
        return self.tuning.epochs > 0 and self.tuning.retrieval_weight > 0


PAPER = ALLMRecConfig(
    backbone=SasRecConfig(
        width=50, layers=2, heads=1, max_length=50, loss="bce", temperature=None, dropout=0.5,
        learning_rate=1e-3, batch_size=128 * 50, epochs=200,
    ),
    alignment=AlignmentConfig(
        width=128,
        text_recommendation_weight=0.0,
        warm_items="decoded", item_weight=0.5, text_weight=0.5, recommendation_loss="bce",
        positions="last",
        text_encoder="full", encoder_learning_rate=1e-4, learning_rate=1e-4, batch_size=32,
        epochs=10,
    ),
    tuning=PromptTuningConfig(
        question_rate=1.0, retrieval_weight=0.0, text_vector_rate=0.0, user_token_dropout=0.0,
        epochs=5, batch_size=4, learning_rate=1e-4, weight_decay=0.0,
    ),
    scoring="generation",
    warm_weights=PartWeights(lm=0, text=0),  # the paper ranks 20 given candidates
    cold_weights=PartWeights(lm=0, text=0),
)  # fmt: skip
"""Published settings (section 4.1 of the paper, and its code where the paper gives none). Beta,
``text_weight``, is .5 for Movies and Games, .2 for Beauty and Toys; OPT-6.7B is passed as ``lm``.
"""
