"""A fitted backbone with cold items folded into it, beside its warm items."""

import hashlib

import numpy as np
import torch
from scipy import sparse

from warmstart.backbones import Backbone, BackboneConfig, FactorBackbone, build
from warmstart.backbones.base import shape_of
from warmstart.backbones.graph import to_torch
from warmstart.core import FitContext
from warmstart.data.dataset import Dataset
from warmstart.lm.seed import torch_seed
from warmstart.rank import mean_metric
from warmstart.simulate.distribution import under
from warmstart.simulate.scale import score_beside

WARM_METRIC = "ndcg@20"
"""What early stopping of a backbone watches, on the warm validation slice."""


def fit_backbone(config: BackboneConfig, data: Dataset, context: FitContext) -> Backbone:
    """Train a backbone; epochs are chosen on the warm validation slice where there is one.

    The choice is noted by the caller from ``backbone.chosen``. The randomness is the first child of
    the method's stream, so two methods with the same seed share the same backbone.
    """
    rng = context.rng.spawn(1)[0]
    seed = int(rng.integers(2**63))
    validate, validated = None, "not"
    if context.valid is not None:
        task = context.valid["warm"]
        validated = task.hash
        validate = lambda score: mean_metric(score, task, WARM_METRIC)  # noqa: E731
    parts = f"{config.model_dump_json()} {data.hash} {seed} {validated}"
    key = hashlib.sha256(parts.encode()).hexdigest()
    with context.run.stage(f"backbone {config.kind}".replace(" ", "-"), key) as folder:
        return build(config).fit(
            data.matrix, validate=validate, rng=np.random.default_rng(seed), run_folder=folder
        )


def collaborative_vectors(
    backbone: Backbone, train: sparse.csr_matrix, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """User and item vectors of a backbone; for one without, principal directions of ``train``.

    The directions are those of the matrix scaled by item degree^-1/2 and user degree^-1/4, so that
    neither busy users nor popular items fill them.

    Returns:
        float32, shapes (n_users, width) and (n_items, width); a factor backbone's own width.
    """
    if isinstance(backbone, FactorBackbone):
        return backbone.vectors
    users = np.maximum(train.getnnz(axis=1), 1) ** -0.25
    items = np.maximum(train.getnnz(axis=0), 1) ** -0.5
    scaled = train.multiply(users[:, None]).multiply(items[None, :]).tocsr()
    width = min(width, *(n - 1 for n in shape_of(train)))
    rows = to_torch(scaled, torch.device("cpu")).to_sparse_coo()
    with torch_seed(np.random.default_rng(0)):
        left, values, right = torch.svd_lowrank(rows, q=width, niter=4)
    root = values.sqrt()
    return (left * root).float().numpy(), (right * root).float().numpy()


class Warmed:
    """Scores of warm items from the backbone, of cold items from what was folded in.

    Args:
        backbone: fitted.
        folded: what ``backbone.fold_in`` gave for each cold item, in row order of the cold items;
            a row of NaN is an item that cannot be scored yet.
        scale: factor on cold scores.
    """

    def __init__(self, backbone: Backbone, folded: np.ndarray, scale: float = 1.0) -> None:
        self.backbone = backbone
        self.folded = folded
        self.scale = scale

    def score(self, users: np.ndarray, items: np.ndarray, warm: np.ndarray) -> np.ndarray:
        """Scores, float32, shape (users, items); ``warm`` is the mask over all items."""
        place = np.cumsum(~warm) - 1
        return score_beside(
            users,
            items,
            warm,
            self.backbone.score,
            lambda u, i: self._score_cold(u, self.folded[place[i]]),
        )

    def _score_cold(self, users: np.ndarray, folded: np.ndarray) -> np.ndarray:
        scores = self.backbone.score_folded(users, folded) * np.float32(self.scale)
        # Not all arithmetic carries NaN: EASE gives a user without history 0 whatever the item is.
        scores[:, np.isnan(folded).any(axis=1)] = np.nan
        return scores

    @classmethod
    def blank(cls, backbone: Backbone, n_users: int, n_cold: int) -> "Warmed":
        """Nothing folded in yet: ``n_cold`` items that cannot be scored."""
        width = backbone.fold_in(sparse.csr_matrix((0, n_users), dtype=np.float32)).shape[1]
        return cls(backbone, np.full((n_cold, width), np.nan, np.float32))

    def append_blank(self, n: int) -> None:
        """Room for ``n`` more cold items that cannot be scored yet."""
        new = np.full((n, self.folded.shape[1]), np.nan, np.float32)
        self.folded = np.concatenate([self.folded, new])

    def append(self, interactions: sparse.csr_matrix, prior: np.ndarray | None = None) -> None:
        """Fold in new cold items, shape (new_items, n_users), behind the others."""
        new = self.backbone.fold_in(interactions, prior=prior)
        self.folded = np.concatenate([self.folded, new])

    def state(self) -> dict[str, np.ndarray]:
        """Arrays for the artefact."""
        arrays = {f"backbone.{name}": array for name, array in self.backbone.state().items()}
        return {**arrays, "folded": self.folded, "scale": np.array([self.scale])}

    @classmethod
    def restore(cls, config: BackboneConfig, state: dict[str, np.ndarray]) -> "Warmed":
        """The object that gave ``state``; ``config`` is that of its backbone."""
        backbone = build(config).restore(under("backbone.", state))
        return cls(backbone, state["folded"], float(state["scale"][0]))
