"""Collaborative-filtering backbones, trained on interactions only, with fold-in of new items."""

from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, Field

from warmstart.backbones.base import Backbone, FactorBackbone, Validate
from warmstart.backbones.bpr import BprConfig
from warmstart.backbones.configured import build_configured
from warmstart.backbones.ease import EaseConfig
from warmstart.backbones.ials import IalsConfig
from warmstart.backbones.imported import ImportedConfig
from warmstart.backbones.lightgcn import LightGcnConfig
from warmstart.backbones.ngcf import NgcfConfig
from warmstart.backbones.sequence import SequenceBackbone, SequenceConfig, build_sequence


def _with_kind(settings: Any) -> Any:
    return {"kind": "bpr", **settings} if isinstance(settings, dict) else settings


BackboneConfig: TypeAlias = Annotated[
    Annotated[
        BprConfig | IalsConfig | EaseConfig | LightGcnConfig | NgcfConfig | ImportedConfig,
        Field(discriminator="kind"),
    ],
    BeforeValidator(_with_kind),
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
