"""From the arguments of a command to the objects of the library."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from warmstart.config import read_settings
from warmstart.data.splits.files import load_split
from warmstart.errors import ConfigError, DataError

if TYPE_CHECKING:
    from warmstart.core import Recommender
    from warmstart.data.catalogue import Catalogue
    from warmstart.data.dataset import Dataset
    from warmstart.data.ids import ExternalId, Ids
    from warmstart.data.splits.cold import Split
    from warmstart.lm import TextEncoder
    from warmstart.lm.encode import Progress


def read_data(folder: Path) -> "Dataset | Split":
    """A saved split, or a folder of data.

    Raises:
        DataError: it is neither.
    """
    from warmstart.data.readers.files import read_dataset

    if (folder / "manifest.json").is_file():
        return load_split(folder)
    return read_dataset(folder)


def lm_settings(source: str | None) -> dict[str, Any]:
    """``LMConfig`` settings from ``--lm``; empty where it was not given."""
    if source is None:
        return {}
    if source.endswith(".toml"):
        return read_settings(Path(source))
    return {"source": source}


def load_encoder(source: str | None, progress: "Progress") -> "TextEncoder":
    """The language model of ``--lm``."""
    from warmstart.lm import LMConfig, load_lm

    return load_lm(LMConfig.build(lm_settings(source)), progress=progress)


def load_for_texts(folder: Path, source: str | None) -> "Recommender":
    """A saved model that is about to read new texts: its language model is loaded and checked.

    Args:
        folder: the artefact.
        source: ``--lm``, needed only where the model was fitted with one from a local folder.
    """
    from warmstart.artefact import read_manifest
    from warmstart.methods import load_model

    spec = read_manifest(folder)["lm"]
    if spec is None:
        return load_model(folder)
    from warmstart.lm import TextEncoder

    where = lm_settings(source)
    foreign = sorted(set(where) - {"source", "device", "batch_size"})
    if foreign:
        raise ConfigError(f"--lm: {foreign} are fixed by the model; allowed: source, device, ...")
    return load_model(folder, lm=TextEncoder.from_spec(spec, **where))


def check_fitted_on(model: "Recommender", split: "Split") -> None:
    """Whether a model was fitted on the training part of this very split.

    Raises:
        DataError: other users, items or interactions. A model that saw the test part would look
            better than it is.
    """
    fitted, train = model.fitted, split.train
    pairs = (
        ("users", fitted.user_ids.hash, train.user_ids.hash),
        ("items", fitted.catalogue.item_ids.hash, train.catalogue.item_ids.hash),
    )
    for what, ours, theirs in pairs:
        if ours != theirs:
            raise DataError(f"the model was fitted on other {what} than those of the split")
    difference = fitted.seen - train.matrix
    if abs(difference).sum() > 0:
        raise DataError(
            "the model was fitted on other interactions than the training part of the split; "
            "fit it on the split"
        )


def comma_separated(text: str, what: str) -> list[str]:
    """The parts of ``a,b,c``.

    Raises:
        ConfigError: one is empty.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise ConfigError(f"{what} {text!r} has an empty part; allowed: a,b,c")
    return parts


def known_type(given: list[str], ids: "Ids") -> "list[ExternalId]":
    """Ids from the command line, in the type of the fitted ones.

    Raises:
        DataError: those are whole numbers and one given is not.
    """
    if not ids.is_integer:
        return list(given)
    try:
        return [int(value) for value in given]
    except ValueError:
        raise DataError(
            f"{ids.kind} ids {given!r}; allowed: whole numbers, as in the fitted data"
        ) from None


def read_new_items(path: Path, model: "Recommender") -> "Catalogue":
    """New items for a model."""
    from warmstart.data.readers.files import read_items

    catalogue = model.fitted.catalogue
    return read_items(path, catalogue.text_columns, catalogue.item_ids)


def described(model: "Recommender") -> dict[str, Any]:
    """What ``--json`` says about the data behind a model."""
    fitted = model.fitted
    ids = {"users": fitted.user_ids.hash, "items": fitted.catalogue.item_ids.hash}
    return {"method": model.name, "ids": ids, "protocol": None}
