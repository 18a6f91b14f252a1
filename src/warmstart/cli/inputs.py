"""Converts command-line arguments into objects of the library."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from warmstart.config import read_settings
from warmstart.data.splits.files import load_split
from warmstart.errors import ConfigError

if TYPE_CHECKING:
    from warmstart.core import Recommender
    from warmstart.data.catalogue import Catalogue
    from warmstart.data.dataset import Dataset
    from warmstart.data.ids import ExternalId, Ids
    from warmstart.data.splits.base import Split
    from warmstart.lm import TextEncoder
    from warmstart.lm.encode import Progress


def read_data(folder: Path) -> "Dataset | Split":
    """Load a saved split, or read a folder of data.

    Raises:
        DataError: the folder is neither.
    """
    from warmstart.data.readers.files import read_dataset

    if (folder / "manifest.json").is_file():
        return load_split(folder)
    return read_dataset(folder)


def lm_settings(source: str | None) -> dict[str, Any]:
    """Settings of ``LMConfig`` from the value of ``--lm``; empty if the option was not given."""
    if source is None:
        return {}
    if source.endswith(".toml"):
        return read_settings(Path(source))
    return {"source": source}


def load_encoder(source: str | None, progress: "Progress") -> "TextEncoder":
    """Load the encoder of ``--lm``, or the default one; ``progress`` follows its encoding."""
    from warmstart.lm import LMConfig, load_lm

    return load_lm(LMConfig.build(lm_settings(source)), progress=progress)


def load_for_texts(folder: Path, source: str | None) -> "Recommender":
    """Load a saved model that will encode new texts, and check its language model.

    Args:
        folder: the artefact.
        source: value of ``--lm``; needed only if the language model came from a local folder.

    Raises:
        ConfigError: ``source`` sets something that the model fixes.
    """
    from warmstart.artefact import read_manifest
    from warmstart.methods import load_model

    spec = read_manifest(folder)["lm"]
    if spec is None:
        return load_model(folder)
    from warmstart.lm import TextEncoder

    given = lm_settings(source)
    foreign = sorted(set(given) - {"source", "device", "batch_size"})
    if foreign:
        raise ConfigError(
            f"--lm: {foreign} are fixed by the model; allowed: source, device, batch_size"
        )
    return load_model(folder, lm=TextEncoder.from_spec(spec, **given))


def comma_separated(text: str, what: str) -> list[str]:
    """Split ``a,b,c`` into its parts; ``what`` names the option in the message.

    Raises:
        ConfigError: a part is empty.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise ConfigError(f"{what} {text!r} has an empty part; allowed: a,b,c")
    return parts


def read_user_ids(given: str, ids: "Ids") -> "list[ExternalId]":
    """Read the users of ``--users``: ids separated by commas, ``all``, or a file with ids.

    Args:
        given: the value of the option.
        ids: the users of the model; the given ones take their type.

    Raises:
        ConfigError: an id in the list is empty.
        DataError: the file cannot be read, or an id is malformed.
    """
    from warmstart.data.cells import Cells
    from warmstart.data.readers.table_files import SUFFIXES, read_table
    from warmstart.data.values import read_ids_like

    if given == "all":
        return ids.values
    if given.endswith(SUFFIXES):
        return read_ids_like(read_table(Path(given)).cells("user"), ids)
    import polars as pl

    values = pl.Series(comma_separated(given, "--users"), dtype=pl.String)
    return read_ids_like(Cells(values, "recommend", "--users", untyped=True, argument=True), ids)


def read_new_items(path: Path, model: "Recommender") -> "Catalogue":
    """Read new items with the text columns and the id type of a model's catalogue."""
    from warmstart.data.readers.files import read_items

    catalogue = model.fitted.catalogue
    known = catalogue.columns.columns
    return read_items(path, catalogue.text_columns, catalogue.item_ids, known)


def model_description(model: "Recommender") -> dict[str, Any]:
    """The ``data`` object of ``--json`` for a command that uses a saved model."""
    fitted = model.fitted
    ids = {"users": fitted.user_ids.hash, "items": fitted.catalogue.item_ids.hash}
    return {"method": model.name, "ids": ids, "protocol": None}
