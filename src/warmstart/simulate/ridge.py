"""From text to user scores in closed form: (kernel) ridge regression of the interaction matrix.

With X the text vectors of the warm items, Y their binary interactions (items x users), and x the
vector of a new text:

    linear   score = x (XᵀX + λI)⁻¹ XᵀY
    rbf      score = k(x, X) (K + λI)⁻¹ Y,   k(a, b) = exp(-γ‖a - b‖²)

The rbf predictions for the warm items need no kernel: K (K + λI)⁻¹ Y = Y - λ (K + λI)⁻¹ Y. With
more warm items than ``landmarks``, a random sample of that many spans the solution (subset of
regressors, Smola and Schölkopf 2000), so that memory stays at landmarks x (landmarks + users)
floats. For many users ``rank`` replaces them by a few targets (``low_rank``), so that it stays at
landmarks^2 + users x rank floats. A user's row is then a sum over the history, so for very many
users ``items_per_user`` keeps a few items of each history in its place.
"""

import hashlib
from collections.abc import Callable
from functools import cached_property
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import AfterValidator, Field, model_validator
from safetensors.numpy import load_file, save_file
from scipy import linalg, sparse
from scipy.linalg import lapack

from warmstart.backbones.base import shape_of
from warmstart.backbones.ease import ridge_inverse
from warmstart.config import Config
from warmstart.core import FitContext
from warmstart.data.dataset import Dataset
from warmstart.errors import ConfigError, UnsupportedError
from warmstart.retrieval.fewer_items import fewer_items
from warmstart.retrieval.history_table import HistoryTable, number_type
from warmstart.retrieval.table import VectorTable
from warmstart.simulate.low_rank import KernelSystem, RidgeSystem, low_rank_targets
from warmstart.storage import atomic_file

_BLOCK = 1024
_ARRAYS = ("centres", "weights", "item_rows", "user_table", "user_items", "user_scales")
_MIN_SPREAD = 1e-12


class RidgeConfig(Config):
    """Settings of the closed-form head. The defaults are the best on CiteULike-a validation.

    Attributes:
        kernel: "linear" or "rbf". On CiteULike-a rbf has a cold ndcg@20 of .263, linear .247
            (docs/results.md); linear needs less memory.
        l2: regularisation λ; a larger value shrinks the scores more. 30 suits the linear kernel.
        gamma: γ of the rbf kernel on unit vectors; a larger value makes predictions more local. 1
            suits MovieLens-1M.
        landmarks: maximum number of warm items that span the rbf solution. It bounds memory: at the
            default the kernel matrix takes 1.6 GB.
        rank: numbers kept for each user; None keeps the whole solution, a weight for each user and
            centre. 256 keep 94 % of its cold ndcg@20 on CiteULike-a, 512 98 % (``low_rank``).
        items_per_user: with ``rank``, keeps at most so many items of each user's history in place
            of ``rank`` numbers: those whose sum is nearest to that of all (``fewer_items``). A user
            takes 2 bytes an item, 4 from 65,536 warm items on, and 2 more; 31 keep 99 % of the cold
            ndcg@20 on CiteULike-a (docs/log.md). The recommender then holds what users did, item by
            item, as its histories do anyway.
        max_weights_gib: memory limit in GiB for the whole solution, or for the rows of users.
    """

    kernel: Literal["linear", "rbf"] = "rbf"
    l2: float = Field(default=3.0, gt=0)
    gamma: float = Field(default=0.5, gt=0)
    landmarks: int = Field(default=20_000, ge=1)
    rank: int | None = Field(default=None, ge=1)
    items_per_user: int | None = Field(default=None, ge=1)
    max_weights_gib: float = Field(default=8.0, gt=0)

    @model_validator(mode="after")
    def _items_need_a_rank(self) -> Self:
        if self.items_per_user is not None and self.rank is None:
            raise ValueError("items_per_user needs a rank, the width of the items' vectors")
        return self

    def check_size(self, who: str, n_warm: int, n_users: int, width: int) -> None:
        """Check that the solution stays within its memory limit.

        Args:
            who: name of the method, for the message.
            n_warm: number of warm items.
            n_users: number of users.
            width: width of the text vectors.

        Raises:
            UnsupportedError: it needs more than ``max_weights_gib``.
        """
        height = self.rank or (width if self.kernel == "linear" else min(n_warm, self.landmarks))
        kept, n_bytes = f"{height} numbers", 4 * height
        advice = "set ridge.rank to 256 or less" if self.rank is None else "lower ridge.rank"
        if self.items_per_user is not None:
            kept = f"{self.items_per_user} items"
            n_bytes = np.dtype(number_type(n_warm)).itemsize * self.items_per_user + 2
            advice = "lower ridge.items_per_user"
        gib = n_bytes * n_users / 2**30
        if gib > self.max_weights_gib:
            raise UnsupportedError(
                f"{who}: the ridge head keeps {kept} for each of {n_users} users, {gib:.1f} GiB; "
                f"max_weights_gib allows {self.max_weights_gib}: {advice}, or raise it"
            )


def _without_items(config: RidgeConfig) -> RidgeConfig:
    if config.items_per_user is not None:
        raise ValueError(
            "items_per_user is for text_ridge, ease_text and coldllm: this method needs vectors"
        )
    return config


VectorRidgeConfig = Annotated[RidgeConfig, AfterValidator(_without_items)]
"""Settings of a head for methods that need a vector of each user, or of what takes its place."""


class RidgeHead:
    """A fitted regression from text vectors to scores over users.

    Attributes:
        centres: text vectors that span the solution (rbf), float32, shape (centres, width); empty
            for the linear kernel.
        weights: float32, shape (centres or width, n_users), or (centres or width, rank).
        leverage: diagonal of the hat matrix, i.e. how much each item's prediction depends on that
            item's own interactions; float32, shape (items,). None after ``restore``.
        item_rows: what each item of the fit adds to the rows of its users, float32, shape (items,
            rank); None without ``rank``.
        user_table: rows of users, float32, shape (n_users, rank); None without ``rank``, and with
            ``items_per_user``.
        user_items, user_scales: users as in ``HistoryTable``, with ``items_per_user``; else None.
        targets: what the head was fitted to, float32, shape (items, rank); None without ``rank``,
            and after ``restore``.
    """

    def __init__(
        self,
        config: RidgeConfig,
        centres: np.ndarray,
        weights: np.ndarray,
        leverage: np.ndarray | None = None,
        item_rows: np.ndarray | None = None,
        user_table: np.ndarray | None = None,
        targets: np.ndarray | None = None,
        user_items: np.ndarray | None = None,
        user_scales: np.ndarray | None = None,
    ) -> None:
        self.config = config
        self.item_rows, self.user_table, self.targets = item_rows, user_table, targets
        self.user_items, self.user_scales = user_items, user_scales
        self.centres = centres
        self.weights = weights
        self.leverage = leverage
        self._inverse: np.ndarray | None = None
        self._factor: tuple[np.ndarray, bool] | None = None

    @classmethod
    def fit(
        cls,
        config: RidgeConfig,
        vectors: np.ndarray,
        targets: sparse.csr_matrix,
        rng: np.random.Generator,
    ) -> "RidgeHead":
        """Solve the regression.

        Args:
            config: kernel and regularisation.
            vectors: text vectors of the warm items, float32, shape (items, width).
            targets: their interactions, CSR, shape (items, n_users).
            rng: draws the landmarks if there are more items than ``landmarks``.

        Raises:
            ConfigError: the system cannot be solved, because l2 is too small for float32.
        """
        try:
            if config.rank is not None:
                return cls._fit_low_rank(config, config.rank, vectors, targets, rng)
            if config.kernel == "linear":
                penalty = config.l2 * np.eye(vectors.shape[1], dtype=np.float32)
                fit = _regress_blocks(lambda rows: vectors[rows], targets, penalty)
                return cls(config, vectors[:0], *fit)
            if len(vectors) <= config.landmarks:
                kernel = rbf(vectors, vectors, config.gamma)
                weights, inverse = _solve(kernel, config.l2, targets.toarray())
                return cls(config, vectors, weights, 1 - config.l2 * np.diag(inverse))
            centres = _landmarks(config, vectors, rng)
            penalty = _penalty(config, centres)
            features = lambda rows: rbf(vectors[rows], centres, config.gamma)  # noqa: E731
            return cls(config, centres, *_regress_blocks(features, targets, penalty))
        except linalg.LinAlgError as error:
            raise ConfigError(
                f"ridge: l2={config.l2} is too small to solve the regression in float32: {error}"
            ) from None

    @classmethod
    def _fit_low_rank(
        cls,
        config: RidgeConfig,
        rank: int,
        vectors: np.ndarray,
        interactions: sparse.csr_matrix,
        rng: np.random.Generator,
    ) -> "RidgeHead":
        centres, n = vectors[:0], len(vectors)
        if config.kernel == "linear":
            penalty = config.l2 * np.eye(vectors.shape[1], dtype=np.float32)
            system = RidgeSystem(lambda rows: vectors[rows], n, penalty)
        elif n <= config.landmarks:
            centres = vectors
            system = KernelSystem(rbf(vectors, vectors, config.gamma), config.l2)
        else:
            centres = _landmarks(config, vectors, rng)
            penalty = _penalty(config, centres)
            system = RidgeSystem(lambda rows: rbf(vectors[rows], centres, config.gamma), n, penalty)
        targets, item_rows = low_rank_targets(system.fitted, interactions, rank, rng)
        weights, histories = system.solve(targets), interactions.T.tocsr()
        head = cls(config, centres, weights, system.leverage, item_rows, targets=targets)
        if config.items_per_user is None:
            head.user_table = np.asarray(histories @ item_rows, np.float32)
        else:
            head._scale_by_spread(vectors)
            head.user_items, head.user_scales = head._fewer_items(histories)
        return head

    def _scale_by_spread(self, vectors: np.ndarray) -> None:
        """Scale the targets so that predictions of items that are left out spread alike in all.

        Then products of rows of items are in the metric of the scores.
        """
        assert self.item_rows is not None
        assert self.targets is not None
        blocks = self.item_blocks(len(vectors))
        rows = (np.arange(len(vectors))[block] for block in blocks)
        left_out = np.concatenate([self.leave_one_out_features(vectors, own) for own in rows])
        spread = np.maximum(left_out.std(axis=0), _MIN_SPREAD)
        self.targets, self.weights = self.targets / spread, self.weights / spread
        self.item_rows = self.item_rows * spread

    def _fewer_items(self, histories: sparse.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
        assert self.item_rows is not None
        assert self.config.items_per_user is not None
        return fewer_items(histories, self.item_rows, self.config.items_per_user)

    def history_weights(
        self, histories: sparse.csr_matrix, vectors: np.ndarray, warm: np.ndarray
    ) -> np.ndarray:
        """Solve for the weights of users who were not in the fit, from their histories.

        The first call computes what the fit has not kept, (K + λI)⁻¹ or the Cholesky factor of the
        system: this takes as long as the fit, and (centres or width)² x 4 bytes, which are kept.

        Args:
            histories: items of each history, CSR, shape (queries, n_items).
            vectors: text vectors of the catalogue, float32, shape (n_items, width).
            warm: row numbers of the items of the fit.

        Returns:
            Weights like those of ``user_weights``, float32, shape (width of features, queries).
        """
        known, config = histories[:, warm], self.config
        if self.item_rows is not None:
            if self.user_items is not None:
                known = HistoryTable(*self._fewer_items(known), self.item_rows).matrix()
            return np.ascontiguousarray((known @ self.item_rows).T, np.float32)
        if self.spans_fit(len(warm)):
            if self._inverse is None:
                kernel = rbf(vectors[warm], vectors[warm], config.gamma)
                self._inverse = ridge_inverse(kernel, config.l2)
            return np.ascontiguousarray((known @ self._inverse).T)
        if self._factor is None:
            self._factor = self._factorised(vectors[warm])
        rows = np.unique(known.indices)
        right = self._kernel(vectors[warm[rows]]).T @ known[:, rows].toarray().T
        weights = linalg.cho_solve(self._factor, right, check_finite=False)
        return np.ascontiguousarray(weights, np.float32)

    def _factorised(self, vectors: np.ndarray) -> tuple[np.ndarray, bool]:
        """Return the Cholesky factor of the system that ``fit`` solved, linear or on landmarks."""
        config = self.config
        if config.kernel == "linear":
            gram = config.l2 * np.eye(vectors.shape[1], dtype=np.float32)
        else:
            gram = _penalty(config, self.centres)
        for start in range(0, len(vectors), _BLOCK):
            block = self._kernel(vectors[start : start + _BLOCK])
            gram += block.T @ block
        return linalg.cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)

    def features(self, vectors: np.ndarray) -> np.ndarray:
        """Return the factor of the scores that depends on the text.

        The scores are its products with ``user_weights``.

        Returns:
            float32, shape (items, centres or width, or rank): the kernel, or the vectors if it is
            linear; with ``rank`` the predicted targets.
        """
        kernel = self._kernel(vectors)
        return kernel @ self.weights if self.is_low_rank else kernel

    def _kernel(self, vectors: np.ndarray) -> np.ndarray:
        if self.config.kernel == "linear":
            return vectors
        return rbf(vectors, self.centres, self.config.gamma)

    def user_weights(self, users: np.ndarray | None = None) -> np.ndarray:
        """The factor of the scores that depends on the users: float32, (width, users or all)."""
        chosen = slice(None) if users is None else users
        if self._histories is not None:
            return (self._histories.matrix(chosen) @ self._histories.item_vectors).T
        if self.user_table is not None:
            return self.user_table[chosen].T
        return self.weights[:, chosen]

    def predict(self, vectors: np.ndarray, users: np.ndarray | None = None) -> np.ndarray:
        """Score users (all if None) for text vectors; float32, shape (items, users)."""
        weights = self.user_weights(users)
        scores = np.empty((len(vectors), weights.shape[1]), np.float32)
        for rows in self.item_blocks(len(vectors)):
            scores[rows] = self.features(vectors[rows]) @ weights
        return scores

    def item_blocks(self, n_items: int) -> list[slice]:
        """Split items into blocks whose ``features`` take little memory."""
        size = n_items if self.config.kernel == "linear" else _BLOCK
        return [slice(start, start + size) for start in range(0, n_items, max(size, 1))]

    def spans_fit(self, n_warm: int) -> bool:
        """Whether all ``n_warm`` items of the fit span the solution: see ``fitted_scores``."""
        spans = self.config.kernel == "rbf" and len(self.centres) == n_warm
        return spans and not self.is_low_rank

    def fitted_scores(
        self, histories: sparse.csr_matrix, weights: np.ndarray, rows: np.ndarray
    ) -> np.ndarray:
        """Score items of the fit without computing a kernel, by the identity in the module text.

        Args:
            histories: items of each user among those of the fit, CSR, shape (queries, items).
            weights: their weights, float32, shape (centres, queries), if ``spans_fit``.
            rows: positions of the items to score.

        Returns:
            float32, shape (queries, rows).
        """
        scores = histories[:, rows].toarray()
        scores -= self.config.l2 * weights[rows].T
        return scores

    @cached_property
    def table(self) -> VectorTable | HistoryTable | None:
        """The rows of users, to be searched; None without ``rank``."""
        return self._histories if self.user_table is None else VectorTable(self.user_table)

    @cached_property
    def _histories(self) -> HistoryTable | None:
        if self.user_items is None or self.user_scales is None or self.item_rows is None:
            return None
        return HistoryTable(self.user_items, self.user_scales, self.item_rows)

    @property
    def is_low_rank(self) -> bool:
        """Whether the head has a ``rank``, so that users are rows of a table."""
        return self.user_table is not None or self.user_items is not None

    def leave_one_out(
        self, vectors: np.ndarray, targets: sparse.csr_matrix, rows: np.ndarray
    ) -> np.ndarray:
        """Predict each item's users by the regression without that item.

        For a linear smoother with leverage h this is (fit - h y) / (1 - h).

        Args:
            vectors: the text vectors given to ``fit``.
            targets: the interactions given to ``fit``.
            rows: positions of the items in both.

        Returns:
            float32, shape (rows, n_users).
        """
        if self.is_low_rank:
            return self.leave_one_out_features(vectors, rows) @ self.user_weights()
        return self._left_out(targets[rows].toarray(), vectors, rows)

    def leave_one_out_features(self, vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """As ``features``, with ``rank``, for items of the fit by the regression without each.

        Args:
            vectors: the text vectors given to ``fit``.
            rows: positions of the items.

        Returns:
            float32, shape (rows, rank).
        """
        assert self.targets is not None, "a head that was restored, or fitted without rank"
        return self._left_out(self.targets[rows], vectors, rows)

    def _left_out(self, actual: np.ndarray, vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
        assert self.leverage is not None, "leave_one_out needs a head that was fitted, not restored"
        leverage = self.leverage[rows][:, None]
        if len(self.centres) == len(vectors):
            return actual - self.config.l2 * self.weights[rows] / (1 - leverage)
        fitted = self._kernel(vectors[rows]) @ self.weights
        return (fitted - leverage * actual) / (1 - leverage)

    def score_as_cold(
        self,
        vectors: np.ndarray,
        rows: np.ndarray,
        data: Dataset,
        targets: sparse.csr_matrix | None = None,
    ) -> np.ndarray:
        """Score all users for items of the catalogue as if nobody had interacted with them.

        Args:
            vectors: text vectors of the whole catalogue, float32, shape (n_items, width).
            rows: row numbers of items, all cold or all warm; warm ones get their leave-one-out
                predictions.
            data: the data that the head was fitted on.
            targets: what the head was fitted to, if not to the interactions of the warm items; CSR,
                shape (warm items, targets). It takes the place of the users.

        Returns:
            float32, shape (rows, n_users).
        """
        if not data.warm[rows].all():
            return self.predict(vectors[rows])
        fitted_to = data.matrix.T.tocsr()[data.warm] if targets is None else targets
        position = (np.cumsum(data.warm) - 1)[rows]
        return self.leave_one_out(vectors[data.warm], fitted_to, position)

    def state(self) -> dict[str, np.ndarray]:
        """Return the arrays that ``restore`` needs."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        return {name: array for name, array in arrays.items() if array is not None}

    @classmethod
    def restore(cls, config: RidgeConfig, state: dict[str, np.ndarray]) -> "RidgeHead":
        """Rebuild a head from ``state``, without leverages and targets."""
        return cls(config, **{name: state[name] for name in _ARRAYS if name in state})


def fit_ridge(
    config: RidgeConfig, vectors: np.ndarray, data: Dataset, context: FitContext
) -> RidgeHead:
    """Fit a head on the warm items of ``data``; methods that share a run folder fit it once.

    Args:
        config: kernel and regularisation.
        vectors: text vectors of the whole catalogue, float32, shape (n_items, width).
        data: catalogue and training interactions.
        context: provides the run.
    """
    warm = np.flatnonzero(data.warm)
    parts = f"{config.model_dump_json()} {data.hash}".encode() + vectors[warm].tobytes()
    key = hashlib.sha256(parts).hexdigest()
    with context.run.stage("ridge", key, code=__name__) as folder:
        saved = None if folder is None else folder / "ridge.safetensors"
        if saved is not None and saved.is_file():
            return RidgeHead(config, **load_file(saved))
        # The landmarks are drawn with a fixed seed, so that all runs share one head.
        rng = np.random.default_rng(0)
        head = RidgeHead.fit(config, vectors[warm], data.matrix.T.tocsr()[warm], rng)
        if saved is not None:
            assert head.leverage is not None
            with atomic_file(saved) as path:
                arrays = {**head.state(), "leverage": head.leverage}
                save_file(
                    arrays | ({} if head.targets is None else {"targets": head.targets}), path
                )
        return head


def _landmarks(config: RidgeConfig, vectors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random sample of the vectors, in their order."""
    return vectors[np.sort(rng.choice(len(vectors), config.landmarks, replace=False))]


def rbf(left: np.ndarray, right: np.ndarray, gamma: float) -> np.ndarray:
    """Compute exp(-gamma ‖a - b‖²) for all pairs, float32, shape (left, right)."""
    kernel = left @ right.T
    kernel *= 2
    kernel -= np.square(left).sum(1)[:, None]
    kernel -= np.square(right).sum(1)
    np.minimum(kernel, 0, out=kernel)
    kernel *= gamma
    return np.exp(kernel, out=kernel)


def _penalty(config: RidgeConfig, centres: np.ndarray) -> np.ndarray:
    """The regulariser of a solution that landmarks span: float32, shape (centres, centres)."""
    penalty = config.l2 * rbf(centres, centres, config.gamma)
    penalty[np.diag_indices_from(penalty)] += np.float32(1e-3)  # solvable in float32
    return penalty


def _solve(gram: np.ndarray, l2: float, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (gram + l2 I)⁻¹ right and the lower triangle of the inverse. Overwrites ``gram``."""
    gram[np.diag_indices_from(gram)] += l2
    factor, lower = linalg.cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)
    solution = linalg.cho_solve((factor, lower), right, overwrite_b=True, check_finite=False)
    (potri,) = lapack.get_lapack_funcs(("potri",), (factor,))
    inverse, failed = potri(factor, lower=True, overwrite_c=True)
    if failed:
        raise linalg.LinAlgError("singular")
    # LAPACK's result is column-major, and safetensors would store it scrambled.
    return np.ascontiguousarray(solution, np.float32), inverse


def _regress_blocks(
    features: Callable[[slice], np.ndarray], targets: sparse.csr_matrix, penalty: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return weights and leverages of a ridge regression, from features computed in blocks."""
    n_items, n_users = shape_of(targets)
    blocks = [slice(start, start + _BLOCK) for start in range(0, n_items, _BLOCK)]
    gram, right = penalty, np.zeros((len(penalty), n_users), np.float32)
    for rows in blocks:
        block = features(rows)
        gram += block.T @ block
        right += np.ascontiguousarray((targets[rows].T @ block).T)
    weights, inverse = _solve(gram, 0.0, right)
    inverse = np.tril(inverse) + np.tril(inverse, -1).T
    leverages = []
    for rows in blocks:
        block = features(rows)
        leverages.append(np.einsum("ij,ij->i", block @ inverse, block))
    return weights, np.concatenate(leverages)
