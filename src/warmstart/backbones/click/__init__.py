"""Click models: the probability that a user will like an item, learned from labelled pairs."""

from typing import Annotated, TypeAlias

from pydantic import Field

from warmstart.backbones.click.base import (
    ClickModel,
    PredictFunction,
    Validate,
    label_likelihood,
)
from warmstart.backbones.click.data import ClickData, Events, HistoryRanges
from warmstart.backbones.click.deepfm import DeepFmConfig
from warmstart.backbones.click.din import DinConfig
from warmstart.backbones.click.logistic import LogisticCtrConfig
from warmstart.backbones.configured import build_configured

ClickConfig: TypeAlias = Annotated[
    LogisticCtrConfig | DeepFmConfig | DinConfig, Field(discriminator="kind")
]
"""Configuration of any click model; ``kind`` selects the type."""

CLICK_MODELS = {
    "deepfm": "warmstart.backbones.click.deepfm:DeepFm",
    "din": "warmstart.backbones.click.din:Din",
    "logistic_ctr": "warmstart.backbones.click.logistic:LogisticCtr",
}


def build(config: ClickConfig) -> ClickModel:
    """Create the unfitted click model that ``config`` describes."""
    return build_configured(CLICK_MODELS, config)


__all__ = [
    "CLICK_MODELS",
    "ClickConfig",
    "ClickData",
    "ClickModel",
    "Events",
    "HistoryRanges",
    "PredictFunction",
    "Validate",
    "build",
    "label_likelihood",
]
