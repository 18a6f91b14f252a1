"""``dataset.toml``: what a folder of data says about itself."""

import json
from pathlib import Path

from warmstart.config import Config, read_settings
from warmstart.errors import ConfigError

FILE = "dataset.toml"


class DatasetConfig(Config):
    """What ``dataset.toml`` says.

    Attributes:
        name: how reports call the data; by default the name of the folder.
        text: the item columns that make the text, in order; by default those of title, genres,
            categories, tags and text that are there.
        positive_rating: ratings from here on are positives; by default every row is one.
    """

    name: str | None = None
    text: tuple[str, ...] | None = None
    positive_rating: float | None = None


def read_dataset_config(folder: Path) -> DatasetConfig:
    """``dataset.toml`` of a folder, or the defaults where there is none.

    Raises:
        ConfigError: naming the file and every wrong key.
    """
    path = folder / FILE
    if not path.exists():
        return DatasetConfig()
    try:
        return DatasetConfig.build(read_settings(path))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def dataset_toml(settings: DatasetConfig) -> str:
    """The text of ``dataset.toml``."""
    # A JSON string, list or number is the same in TOML.
    given = settings.model_dump(exclude_none=True, mode="json")
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in given.items()]
    return "".join(lines)
