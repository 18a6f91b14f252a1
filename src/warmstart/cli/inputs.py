"""Converts command-line arguments into objects of the library."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from warmstart.config import read_settings
from warmstart.data.splits.files import load_split
from warmstart.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Collection

    from warmstart.core import LanguageModels, LMRole, Recommender
    from warmstart.data.catalogue import Catalogue
    from warmstart.data.control import Control
    from warmstart.data.dataset import Dataset
    from warmstart.data.ids import ExternalId, Ids
    from warmstart.data.splits.base import Split
    from warmstart.lm.encode import Progress, TextEncoder
    from warmstart.serve.storage.store import Store


def open_store(url: str | None) -> "Store":
    """Open a store that exists: a mistyped name must not create another one.

    Args:
        url: value of ``--store``; None stands for the environment's or the default.

    Raises:
        ConfigError: another kind of database, a malformed URL, or a store of a newer warmstart.
        DataError: there is no such SQLite file.
        StoreError: the store cannot be reached.
    """
    from warmstart.serve.settings import StoreSettings
    from warmstart.serve.storage.database import existing_store_url
    from warmstart.serve.storage.store import Store

    return Store(existing_store_url(StoreSettings.read(store=url).store))


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
    """Settings of a language model from the value of ``--encoder`` or ``--lm``; None gives none."""
    if source is None:
        return {}
    if source.endswith(".toml"):
        return read_settings(Path(source))
    return {"source": source}


def load_models(
    needs: "Collection[LMRole]", encoder: str | None, lm: str | None, progress: "Progress"
) -> "LanguageModels":
    """Load the language models that a method needs.

    Args:
        needs: see ``Recommender.needs``.
        encoder: value of ``--encoder``; None takes the default encoder.
        lm: value of ``--lm``; None takes the default causal LM.
        progress: follows the encoding.
    """
    from warmstart.core import LanguageModels

    found: dict[str, Any] = {}
    if needs:
        from warmstart.lm import CausalLMConfig, LMConfig, load_causal_lm, load_encoder

        if "encoder" in needs:
            found["encoder"] = load_encoder(LMConfig.build(lm_settings(encoder)), progress=progress)
        if "causal" in needs:
            found["causal"] = load_causal_lm(CausalLMConfig.build(lm_settings(lm)))
    return LanguageModels(**found)


def load_saved(folder: Path, encoder: str | None, lm: str | None) -> "Recommender":
    """Load a saved model; its language models at once if an option names one, else on first use.

    Args:
        folder: the artefact.
        encoder: value of ``--encoder``; see ``load_for_texts``.
        lm: value of ``--lm``; the same.

    Raises:
        ConfigError: an option sets something that the model fixes.
    """
    from warmstart.methods import load_model

    if encoder is None and lm is None:
        return load_model(folder)
    return load_for_texts(folder, encoder, lm)[0]


def load_for_texts(
    folder: Path, encoder: str | None, lm: str | None
) -> "tuple[Recommender, TextEncoder | None]":
    """Load a saved model that will encode new texts, and check its language models.

    Returns the model, and its text encoder if it has one.

    Args:
        folder: the artefact.
        encoder: value of ``--encoder``; needed only if the encoder came from a local folder.
        lm: value of ``--lm``; the same for the causal LM.

    Raises:
        ConfigError: an option sets something that the model fixes.
    """
    from warmstart.artefact import read_manifest
    from warmstart.methods import load_model

    specs = read_manifest(folder)["lms"]
    if not specs:
        return load_model(folder), None
    from warmstart.lm import CausalLM, TextEncoder

    found: dict[str, Any] = {}
    if "encoder" in specs:
        given = _free_settings("--encoder", encoder)
        found["encoder"] = TextEncoder.from_spec(specs["encoder"], **given)
    if "causal" in specs:
        found["lm"] = CausalLM.from_spec(specs["causal"], **_free_settings("--lm", lm))
    return load_model(folder, **found), found.get("encoder")


def _free_settings(option: str, source: str | None) -> dict[str, Any]:
    given = lm_settings(source)
    foreign = sorted(set(given) - {"source", "device", "batch_size"})
    if foreign:
        raise ConfigError(
            f"{option}: {foreign} are fixed by the model; allowed: source, device, batch_size"
        )
    return given


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
    from warmstart.data.readers.table_files import SUFFIXES, read_table
    from warmstart.data.values import read_ids_like

    if given == "all":
        return ids.values
    if given.endswith(SUFFIXES):
        return read_ids_like(read_table(Path(given)).cells("user"), ids)
    return _ids_like(given, "--users", ids)


def _ids_like(given: str, option: str, ids: "Ids") -> "list[ExternalId]":
    """Read ids separated by commas, with the type of other ids."""
    import polars as pl

    from warmstart.data.cells import Cells
    from warmstart.data.values import read_ids_like

    values = pl.Series(comma_separated(given, option), dtype=pl.String)
    return read_ids_like(Cells(values, "recommend", option, untyped=True, argument=True), ids)


def read_histories(given: list[str], ids: "Ids") -> list[list[Any]]:
    """Read the histories of ``--history``: lists of item ids separated by commas, or one file.

    Args:
        given: the values of the option.
        ids: the items of the model; those separated by commas take their type.

    Raises:
        ConfigError: an id in a list is empty.
        DataError: the file cannot be read, its column history does not hold lists, or an id is
            malformed.
    """
    from warmstart.data.readers.table_files import SUFFIXES, read_table
    from warmstart.data.values.decoding import decoded

    if len(given) > 1 or not given[0].endswith(SUFFIXES):
        return [_ids_like(text, "--history", ids) for text in given]
    import polars as pl

    cells = read_table(Path(given[0])).cells("history")
    values = decoded(cells).to_list()
    wrong = pl.Series([not isinstance(value, list) for value in values], dtype=pl.Boolean)
    if wrong.any():
        raise cells.malformed(wrong, "lists of item ids")
    return values


def read_text_queries(path: Path) -> list[str]:
    """Read the texts of ``--text``: the column text of a table, or the whole file as one text.

    Raises:
        DataError: the file cannot be read.
    """
    from warmstart.data.readers.table_files import SUFFIXES, read_table
    from warmstart.data.values import read_texts

    if path.name.endswith(SUFFIXES):
        return read_texts(read_table(path).cells("text")).to_list()
    try:
        return [path.read_text(encoding="utf-8")]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--text {path}: cannot be read as UTF-8 text: {error}") from None


def read_control(text: str | None) -> "Control | None":
    """Read the control of ``--control``, such as ``n_genres=5`` or ``genres=Comedy,Drama``.

    Raises:
        ConfigError: it is not of that form; names it.
    """
    from warmstart.data.control import Control

    if text is None:
        return None
    settings: dict[str, Any] = {}
    for part in text.split(";"):
        name, equals, value = part.partition("=")
        if not equals:
            raise ConfigError(
                f"--control {text!r}; allowed: NAME=VALUE, such as n_genres=5, "
                "genres=Comedy,Drama, calibrate=true or diversity=0.3, and after a semicolon "
                "first_genre_only=true"
            )
        if name == "genres":
            settings[name] = comma_separated(value, "--control")
        else:
            settings |= read_settings(None, [part])
    return Control.build(settings)


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
