"""Sequence backbones: models that read a history in order and score the next item."""

from typing import Annotated, TypeAlias

from pydantic import Field

from warmstart.backbones.configured import build_configured
from warmstart.backbones.sequence.base import SequenceBackbone
from warmstart.backbones.sequence.fism import FismConfig
from warmstart.backbones.sequence.gru4rec import Gru4RecConfig
from warmstart.backbones.sequence.sasrec import SasRecConfig

SequenceConfig: TypeAlias = Annotated[
    SasRecConfig | Gru4RecConfig | FismConfig, Field(discriminator="kind")
]
"""Configuration of any sequence backbone; ``kind`` selects the type."""

SEQUENCE_BACKBONES = {
    "fism": "warmstart.backbones.sequence.fism:Fism",
    "gru4rec": "warmstart.backbones.sequence.gru4rec:Gru4Rec",
    "sasrec": "warmstart.backbones.sequence.sasrec:SasRec",
}


def build_sequence(config: SequenceConfig) -> SequenceBackbone:
    """Create the unfitted sequence backbone that ``config`` describes."""
    return build_configured(SEQUENCE_BACKBONES, config)


__all__ = ["SEQUENCE_BACKBONES", "SequenceBackbone", "SequenceConfig", "build_sequence"]
