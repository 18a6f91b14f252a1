"""Collaborative-filtering backbones, trained on interactions only, with fold-in of new items."""

from typing import Annotated, TypeAlias

from pydantic import Field

from warmstart.backbones.base import Backbone, FactorBackbone, Validate
from warmstart.backbones.bpr import BprConfig
from warmstart.backbones.configured import build_configured
from warmstart.backbones.ease import EaseConfig
from warmstart.backbones.ials import IalsConfig
from warmstart.backbones.imported import ImportedConfig
from warmstart.backbones.lightgcn import LightGcnConfig
from warmstart.backbones.ngcf import NgcfConfig
from warmstart.backbones.sequence import SequenceBackbone, SequenceConfig, build_sequence
from warmstart.config import default_kind

BackboneConfig: TypeAlias = Annotated[
    Annotated[
        BprConfig | IalsConfig | EaseConfig | LightGcnConfig | NgcfConfig | ImportedConfig,
        Field(discriminator="kind"),
    ],
    default_kind("bpr"),
]
"""Configuration of any backbone; ``kind`` selects the type, "bpr" without one."""

BACKBONES = {
    "bpr": "warmstart.backbones.bpr:Bpr",
    "ease": "warmstart.backbones.ease:Ease",
    "ials": "warmstart.backbones.ials:Ials",
    "imported": "warmstart.backbones.imported:Imported",
    "lightgcn": "warmstart.backbones.lightgcn:LightGcn",
    "ngcf": "warmstart.backbones.ngcf:Ngcf",
}


def build(config: BackboneConfig) -> Backbone:
    """Create the unfitted backbone that ``config`` describes."""
    return build_configured(BACKBONES, config)


__all__ = [
    "BACKBONES",
    "Backbone",
    "BackboneConfig",
    "FactorBackbone",
    "SequenceBackbone",
    "SequenceConfig",
    "Validate",
    "build",
    "build_sequence",
]
