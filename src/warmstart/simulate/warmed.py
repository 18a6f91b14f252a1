"""A fitted backbone with cold items beside its warm items.

A method simulates interactions; what follows is the same for all of them: fold them in, blend the
folded-in scores with the method's own where that validates better, scale cold scores beside warm
ones. Users and warm items stay bit for bit as they are.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import torch
from pydantic import Field
from scipy import sparse

from warmstart.backbones import Backbone, BackboneConfig, FactorBackbone, build
from warmstart.backbones.base import shape_of
from warmstart.backbones.graph import to_torch
from warmstart.core import FitContext
from warmstart.data.dataset import Dataset
from warmstart.data.split import Validation
from warmstart.errors import UnsupportedError
from warmstart.lm.seed import torch_seed
from warmstart.rank import mean_metric
from warmstart.simulate.blend import MAGNITUDES, SHARES, Blend, ColdScore, choose_blend
from warmstart.simulate.distribution import under
from warmstart.simulate.scale import (
    ColdScale,
    ScaledConfig,
    fit_scale,
    reference_items,
    score_beside,
)

WARM_METRIC = "ndcg@20"
"""What early stopping of a backbone watches, on the warm validation slice."""

_SCORES = 2**23
"""Scores of items over all users that are made at once."""

_FOLDED_ONLY = Blend(share=0.0, magnitude=1.0)
_BLEND = [field.name for field in fields(Blend)]


class ColdConfig(ScaledConfig):
    """How a method that simulates interactions scores cold items.

    Attributes:
        cold_score: by the folded-in vector, by the method's own affinities (its distribution over
            users), or by both.
        share, magnitude: of the blend, see ``simulate.blend``; chosen on validation.
        table_gib: the most memory for affinities of cold items to all users, which all but
            "folded" keep.
    """

    cold_score: ColdScore = "both"
    share: float = Field(default=0.5, ge=0, le=1)
    magnitude: float = Field(default=0.75, ge=0, le=1)
    table_gib: float = Field(default=4.0, gt=0)

    def check_table(self, who: str, n_cold: int, n_users: int) -> None:
        """Refuse a table that would not fit.

        Raises:
            UnsupportedError: it needs more than ``table_gib``.
        """
        gib = n_cold * n_users * 4 / 2**30
        if self.cold_score != "folded" and gib > self.table_gib:
            raise UnsupportedError(
                f"{who}: cold_score={self.cold_score!r} keeps {n_cold} cold items x {n_users} "
                f"users, {gib:.1f} GiB; table_gib allows {self.table_gib}: raise it, or use "
                f"cold_score='folded'"
            )


class Warmed:
    """Scores of warm items from the backbone, of cold items from what was appended.

    Args:
        backbone: fitted.
        n_users: how many users there are.
        blend: of folded-in scores and affinities.
        scale: on cold scores.

    Attributes:
        folded: what ``backbone.fold_in`` gave for each cold item; a row of NaN is an item that
            cannot be scored yet. float32, shape (n_cold, width of the backbone).
        gains: factor of each cold item from the blend, float32, shape (n_cold,).
        table: affinities of the cold items, where the blend reads them, float32, shape
            (n_cold or 0, n_users).
    """

    def __init__(
        self,
        backbone: Backbone,
        n_users: int,
        blend: Blend = _FOLDED_ONLY,
        scale: ColdScale | None = None,
    ) -> None:
        self.backbone, self.blend = backbone, blend
        self.scale = scale or ColdScale.plain(n_users)
        self.folded = backbone.fold_in(sparse.csr_matrix((0, n_users), dtype=np.float32))
        self.gains = np.zeros(0, np.float32)
        self.table = np.zeros((0, n_users), np.float32)

    def append(self, interactions: sparse.csr_matrix, affinities: np.ndarray | None = None) -> None:
        """Take in cold items behind the others.

        Args:
            interactions: simulated or true, weights in (0, 1], CSR, shape (items, n_users).
            affinities: float32, shape (items, n_users); not needed where the blend's share is 0.
        """
        self.append_folded(self.backbone.fold_in(interactions), affinities)

    def append_folded(self, folded: np.ndarray, affinities: np.ndarray | None = None) -> None:
        """As ``append``, of items whose representation is known; float32, shape (items, width)."""
        for rows in blocks(len(folded), self.table.shape[1]):
            self._append(folded[rows], folded[rows, :0] if affinities is None else affinities[rows])

    def append_blank(self, n: int) -> None:
        """Room for ``n`` more cold items that cannot be scored yet."""
        blank = np.full((n, self.folded.shape[1]), np.nan, np.float32)
        self._append(blank, blank[:, :0])

    def replace(self, rows: np.ndarray, interactions: sparse.csr_matrix) -> None:
        """Fold in anew the cold items at these positions; the blend must read nothing else."""
        self.folded[rows] = self.backbone.fold_in(interactions)

    def _append(self, folded: np.ndarray, affinities: np.ndarray) -> None:
        self.folded = np.concatenate([self.folded, folded])
        self.gains = np.concatenate([self.gains, self.gains_of(folded, affinities)])
        if self.blend.share > 0:
            self.table = np.concatenate([self.table, affinities])

    def gains_of(self, folded: np.ndarray, affinities: np.ndarray) -> np.ndarray:
        """The factor of each item from the blend, float32, shape (items,)."""
        if self.blend.magnitude == 1:
            return np.ones(len(folded), np.float32)
        n_users = self.table.shape[1]
        own = self.blend.share == 1
        scores = affinities if own else over_users(self.backbone, folded, n_users)
        return self.blend.gains(scores, affinities)

    def score(self, users: np.ndarray, items: np.ndarray, warm: np.ndarray) -> np.ndarray:
        """Scores, float32, shape (users, items); ``warm`` is the mask over all items."""
        place = np.cumsum(~warm) - 1
        return score_beside(
            users,
            items,
            warm,
            self.backbone.score,
            lambda u, i: self.scale.apply(u, self.score_cold(u, place[i])),
        )

    def score_cold(self, users: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Scores of the cold items at these positions, before the scale."""
        direct = folded = np.zeros((len(users), len(rows)), np.float32)
        if self.blend.share > 0:
            direct = self.table[rows][:, users].T
        if self.blend.share < 1:
            folded = self.backbone.score_folded(users, self.folded[rows])
        scores = self.blend.raw(folded, direct) * self.gains[rows]
        # Not all arithmetic carries NaN: EASE gives a user without history 0 whatever the item is.
        scores[:, np.isnan(self.folded[rows]).any(axis=1)] = np.nan
        return scores

    def state(self) -> dict[str, np.ndarray]:
        """Arrays for the artefact."""
        return {
            **{f"backbone.{name}": array for name, array in self.backbone.state().items()},
            "folded": self.folded,
            "gains": self.gains,
            "table": self.table,
            "blend": np.array([asdict(self.blend)[name] for name in _BLEND]),
            "scale": self.scale.factors,
        }

    @classmethod
    def restore(cls, config: BackboneConfig, state: dict[str, np.ndarray]) -> "Warmed":
        """The object that gave ``state``; ``config`` is that of its backbone."""
        backbone = build(config).restore(under("backbone.", state))
        blend = Blend(**dict(zip(_BLEND, state["blend"].tolist(), strict=True)))
        warmed = cls(backbone, state["table"].shape[1], blend, ColdScale(state["scale"]))
        warmed.folded, warmed.gains, warmed.table = (
            state[name] for name in ("folded", "gains", "table")
        )
        return warmed


def warm_up(
    config: ColdConfig,
    backbone: Backbone,
    simulate: Callable[[np.ndarray], tuple[sparse.csr_matrix, np.ndarray]],
    data: Dataset,
    valid: Validation | None,
    learned: np.ndarray | None = None,
) -> tuple[Warmed, dict[str, Any]]:
    """Take in the cold items of the catalogue; constants are chosen on validation where there is.

    Args:
        config: how cold items are scored.
        backbone: fitted.
        simulate: from item rows to simulated interactions, CSR, shape (items, n_users), and
            affinities, float32, shape (items, n_users); of a warm item as if it were new.
        data: catalogue and training interactions.
        valid: slices; without them the configured constants stand.
        learned: vectors of the cold items in row order, where the backbone was trained with them:
            these are taken instead of folding in.

    Returns:
        The items beside the backbone, and the constants that were chosen.
    """
    reference = rows = reference_items(data)
    if valid is not None:
        rows = np.union1d(reference, valid["cold"].candidates)
    place = np.cumsum(~data.warm) - 1

    def represented(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        events, direct = simulate(rows)
        if learned is None or data.warm[rows].any():
            return backbone.fold_in(events), direct
        return learned[place[rows]], direct

    vectors, direct = represented(rows)
    folded = over_users(backbone, vectors, data.n_users)
    share = config.share if config.cold_score == "both" else SHARES[config.cold_score][0]
    magnitude, choices = config.magnitude, {}
    if valid is not None:
        pairs = [(s, m) for s in SHARES[config.cold_score] for m in MAGNITUDES]
        share, magnitude = choose_blend(pairs, valid["cold"], rows, folded, direct)
        choices = {"share": share, "magnitude": magnitude}
    folded, direct = (scores[np.isin(rows, reference)] for scores in (folded, direct))
    blend = Blend.of(share, magnitude, folded, direct)
    warmed, cold = Warmed(backbone, data.n_users, blend), np.flatnonzero(~data.warm)
    for block in blocks(len(cold), data.n_users):
        warmed.append_folded(*represented(cold[block]))
    warmed.scale, scales = fit_scale(
        config,
        backbone.score,
        lambda u, i: warmed.score_cold(u, place[i]),
        blend.raw(folded, direct) * blend.gains(folded, direct)[:, None],
        data,
        valid,
    )
    return warmed, choices | scales


def blocks(n_items: int, n_users: int) -> Iterator[slice]:
    """Items, so many at once that their scores over all users stay within 32 MB."""
    size = max(1, _SCORES // max(n_users, 1))
    return (slice(start, start + size) for start in range(0, n_items, size))


def over_users(backbone: Backbone, folded: np.ndarray, n_users: int) -> np.ndarray:
    """Scores of folded-in items over all users, float32, shape (items, n_users)."""
    users = np.arange(n_users, dtype=np.int32)
    return np.ascontiguousarray(backbone.score_folded(users, folded).T)


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
    # Texts are no part of it: with other texts it is the same backbone.
    shape, events = (data.n_users, data.n_items), data.interactions.hash
    parts = f"{config.model_dump_json()} {shape} {events} {seed} {validated}"
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
