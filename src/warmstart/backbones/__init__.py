"""Collaborative-filtering backbones, trained on interactions only, with fold-in of new items."""

from importlib import import_module
from typing import Annotated, TypeAlias

from pydantic import Field

from warmstart.backbones.base import Backbone, FactorBackbone, Validate
from warmstart.backbones.bpr import BprConfig
from warmstart.backbones.ease import EaseConfig
from warmstart.backbones.ials import IalsConfig
from warmstart.backbones.lightgcn import LightGcnConfig
from warmstart.backbones.ngcf import NgcfConfig

BackboneConfig: TypeAlias = Annotated[
    BprConfig | IalsConfig | EaseConfig | LightGcnConfig | NgcfConfig, Field(discriminator="kind")
]
"""Configuration of any backbone; ``kind`` selects the type."""

BACKBONES = {
    "bpr": "warmstart.backbones.bpr:Bpr",
    "ease": "warmstart.backbones.ease:Ease",
    "ials": "warmstart.backbones.ials:Ials",
    "lightgcn": "warmstart.backbones.lightgcn:LightGcn",
    "ngcf": "warmstart.backbones.ngcf:Ngcf",
}


def build(config: BackboneConfig) -> Backbone:
    """Create the unfitted backbone that ``config`` describes."""
    module, _, name = BACKBONES[config.kind].partition(":")
    return getattr(import_module(module), name)(config)


__all__ = [
    "BACKBONES",
    "Backbone",
    "BackboneConfig",
    "FactorBackbone",
    "Validate",
    "build",
]
