"""Any backbone with vectors as a model of what follows a history: states times item vectors.

Sequence backbones read the history in order; of a factor backbone the state of a history is a
least-squares fit to its items (``factor_histories``). Either way a history of any items can be
read, those that the fit did not know too, if their vectors are given.
"""

from typing import Annotated, Any, Protocol, TypeAlias

import numpy as np
from pydantic import Field

from warmstart.backbones import FactorBackbone, build
from warmstart.backbones.bpr import BprConfig
from warmstart.backbones.factor_histories import FactorHistories
from warmstart.backbones.fit import fit_backbone, fit_sequence
from warmstart.backbones.ials import IalsConfig
from warmstart.backbones.imported import ImportedConfig
from warmstart.backbones.lightgcn import LightGcnConfig
from warmstart.backbones.ngcf import NgcfConfig
from warmstart.backbones.sequence import SequenceBackbone, build_sequence
from warmstart.backbones.sequence.fism import FismConfig
from warmstart.backbones.sequence.gru4rec import Gru4RecConfig
from warmstart.backbones.sequence.sasrec import SasRecConfig
from warmstart.config import default_kind
from warmstart.core import FitContext
from warmstart.data.dataset import Dataset
from warmstart.data.histories import Histories
from warmstart.fitted import Fitted

NextItemConfig: TypeAlias = Annotated[
    Annotated[
        SasRecConfig
        | Gru4RecConfig
        | FismConfig
        | BprConfig
        | IalsConfig
        | LightGcnConfig
        | NgcfConfig
        | ImportedConfig,
        Field(discriminator="kind"),
    ],
    default_kind("sasrec"),
]
"""Configuration of any backbone with vectors; ``kind`` selects the type, "sasrec" without one."""


class NextItemModel(Protocol):
    """A fitted backbone that reads histories; score = state . item vector."""

    @property
    def item_vectors(self) -> np.ndarray:
        """Vectors of the items, float32, shape (n_items, width); NaN without training events."""
        ...

    def encode(self, histories: Histories, vectors: np.ndarray | None = None) -> np.ndarray:
        """As ``SequenceBackbone.encode``."""
        ...

    def encode_events(self, histories: Histories, vectors: np.ndarray | None = None) -> np.ndarray:
        """As ``SequenceBackbone.encode_events``."""
        ...


def fit_next_item(
    config: NextItemConfig, data: Dataset, context: FitContext
) -> tuple[NextItemModel, dict[str, Any]]:
    """Train a backbone as a stage of a method; ``backbones.fit`` has the details.

    Returns:
        The model, and the settings that validation chose.
    """
    if isinstance(config, SasRecConfig | Gru4RecConfig | FismConfig):
        sequence = fit_sequence(config, data, context)
        return sequence, sequence.choices
    backbone = fit_backbone(config, data, context)
    assert isinstance(backbone, FactorBackbone)
    return FactorHistories(backbone, data.matrix), backbone.choices


def next_item_state(model: NextItemModel) -> dict[str, np.ndarray]:
    """Return the arrays from which ``restore_next_item`` reproduces a model exactly."""
    if isinstance(model, FactorHistories):
        return {**model.backbone.state(), "history_scale": np.array(model.scale)}
    assert isinstance(model, SequenceBackbone)
    return model.state()


def restore_next_item(
    config: NextItemConfig, state: dict[str, np.ndarray], fitted: Fitted
) -> NextItemModel:
    """Restore a model from the arrays of ``next_item_state``.

    Args:
        config: the configuration of the fit.
        state: the arrays.
        fitted: the interactions of the fit.

    Raises:
        ArtefactError: an array is missing or has another shape.
    """
    if isinstance(config, SasRecConfig | Gru4RecConfig | FismConfig):
        return build_sequence(config).restore(state)
    backbone = build(config).restore(state)
    assert isinstance(backbone, FactorBackbone)
    n_items = len(backbone.vectors[1])
    return FactorHistories(backbone, fitted.positives[:, :n_items], float(state["history_scale"]))
