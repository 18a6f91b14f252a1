"""What a fitted recommender keeps of its training data: ids, catalogue, histories, choices."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import sparse

from warmstart.data.catalogue import Catalogue
from warmstart.data.ids import Ids


@dataclass
class Fitted:
    """The training data as far as answers and the artefact need it.

    Attributes:
        user_ids: external user ids.
        catalogue: all items; grows with ``add_items``.
        seen: training interactions, float32 CSR, shape (n_users, n_items).
        warm: which items have a training interaction, bool, shape (n_items,).
        choices: nested settings that ``fit`` chose on validation.
        lm_spec: portable reference to the language model that was used; None without one.
    """

    user_ids: Ids
    catalogue: Catalogue
    seen: sparse.csr_matrix
    warm: np.ndarray
    choices: dict[str, Any] = field(default_factory=dict)
    lm_spec: dict[str, Any] | None = None
