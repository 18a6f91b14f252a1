"""User and item vectors from another tool: a model that is already in production.

The score is the dot product, as in the tool; a bias may be a column of its own (1 on the other
side). New items get vectors in the same space by the fold-in of ``ridge_fold_in``, so that the
search that serves the tool's vectors serves them too.
"""

import logging
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import SerializationInfo, field_serializer, field_validator, model_validator
from scipy import sparse

from warmstart.backbones.base import Validate, check_train, required_arrays, shape_of
from warmstart.backbones.ridge_fold_in import RidgeFoldIn, RidgeFoldInConfig
from warmstart.data.ids import Ids
from warmstart.data.readers.vectors import read_vectors, vectors_hash
from warmstart.errors import DataError

logger = logging.getLogger(__name__)

_SIZES = (1e-9, 1e9)  # root mean square of the numbers; beyond, squares leave float32


class ImportedConfig(RidgeFoldInConfig):
    """Where the vectors are, and settings of the fold-in.

    Attributes:
        users: file of user vectors; see ``data.readers.vectors``.
        items: file of item vectors, of the same width.
        users_sha256, items_sha256: sha256 of the files (of an array with its ids), filled in where
            these exist, so that the settings say which vectors were used. A file with another hash
            is refused.
    """

    kind: Literal["imported"] = "imported"
    users: Path
    items: Path
    users_sha256: str | None = None
    items_sha256: str | None = None

    @field_validator("users", "items")
    @classmethod
    def _names_a_file(cls, path: Path) -> Path:
        if not path.name:
            raise ValueError("must name a file")
        return path.expanduser()

    @field_serializer("users", "items")
    def _without_folder(self, path: Path, info: SerializationInfo) -> str:
        """An artefact names no folder of the machine that wrote it."""
        return path.name if info.context and info.context.get("portable") else str(path)

    @model_validator(mode="after")
    def _fill_in_hashes(self) -> Self:
        for name in ("users", "items"):
            key = f"{name}_sha256"
            if getattr(self, key) is None:
                object.__setattr__(self, key, vectors_hash(getattr(self, name)))
        return self


class Imported(RidgeFoldIn):
    """Vectors from files; nothing is trained."""

    name = "imported"
    config_type = ImportedConfig
    config: ImportedConfig
    _has_vector: np.ndarray
    _item_ids: Ids

    def read_inputs(self, user_ids: Ids, item_ids: Ids) -> None:
        """Read the vectors of these users and items.

        An id of the data without a vector gets zeros: its scores are 0. Vectors of other ids are
        left out. The log says how many there are of each.

        Raises:
            DataError: a file is missing, malformed or has changed, or the widths differ.
        """
        users, _ = self._vectors("users", user_ids)
        items, self._has_vector = self._vectors("items", item_ids)
        self._item_ids = item_ids
        if users.shape[1] != items.shape[1]:
            raise DataError(
                f"backbone imported: vectors of users have width {users.shape[1]}, those of items "
                f"{items.shape[1]}; allowed: the same width"
            )
        self._users, self._items = users, items

    def fit(
        self,
        train: sparse.csr_matrix,
        *,
        validate: Validate | None = None,
        rng: np.random.Generator,
        run_folder: Path | None = None,
    ) -> Self:
        train = check_train(self.name, train)
        users, items = self.vectors
        if shape_of(train) != (len(users), len(items)):
            raise DataError(
                f"backbone imported: vectors were read for {len(users)} users and {len(items)} "
                f"items, the training matrix has shape {shape_of(train)}"
            )
        warm = np.unique(train.indices)
        without = warm[~self._has_vector[warm]]
        if len(without):
            raise DataError(
                f"backbone imported: {len(without)} of the {len(warm)} items with interactions "
                f"have no vector in {self.config.items}, the first: "
                f"{self._item_ids.take(without[:5])!r}; leave out their interactions, and they are "
                "new items"
            )
        self._match_scale(train)
        return self

    def state(self) -> dict[str, np.ndarray]:
        users, items = self.vectors
        return {"users": users, "items": items, "scale": np.array([self._scale])}

    def restore(self, state: dict[str, np.ndarray]) -> Self:
        self._users, self._items, scale = required_arrays(
            self.name, state, "users", "items", "scale"
        )
        self._scale, self._basis = float(scale[0]), None
        return self

    def _vectors(
        self, name: Literal["users", "items"], known: Ids
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read one file.

        Returns:
            float32, shape (known, width), zeros for an id without a vector; and which ids have one.
        """
        path: Path = getattr(self.config, name)
        ids, vectors = read_vectors(path, known)
        expected = getattr(self.config, f"{name}_sha256")
        if expected not in (None, vectors_hash(path)):
            raise DataError(
                f"backbone imported: {path} has sha256 {vectors_hash(path)}, the settings name "
                f"{expected}"
            )
        rows = known.rows(ids)
        has_vector = np.zeros(len(known), bool)
        has_vector[rows[rows >= 0]] = True
        if not has_vector.any():
            raise DataError(
                f"backbone imported: none of the {len(known)} {name} of the data has a vector in "
                f"{path}; the first ids of the data are {known.values[:3]!r}, those of the file "
                f"{ids[:3]!r}"
            )
        found = np.zeros((len(known), vectors.shape[1]), np.float32)
        found[rows[rows >= 0]] = vectors[rows >= 0]
        size = float(np.sqrt(np.square(found[has_vector], dtype=np.float64).mean()))
        if not _SIZES[0] <= size <= _SIZES[1]:
            raise DataError(
                f"backbone imported: the numbers of {path} are of the size {size:.1e}; allowed: "
                f"{_SIZES[0]:.0e} to {_SIZES[1]:.0e}; multiply the users' and divide the items' "
                "vectors by one number, which changes no score"
            )
        logger.info(
            "imported %s: %d of %d have vectors; %d vectors are of none of them",
            name,
            int((rows >= 0).sum()),
            len(known),
            int((rows < 0).sum()),
        )
        return found, has_vector
