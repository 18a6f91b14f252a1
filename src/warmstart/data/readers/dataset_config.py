"""Read and write ``dataset.toml``, the settings of a folder of data."""

import json
from pathlib import Path

from warmstart.config import Config, read_toml
from warmstart.errors import ConfigError

FILE = "dataset.toml"


class DatasetConfig(Config):
    """Settings in ``dataset.toml``.

    Attributes:
        name: name of the data in reports; by default the name of the folder.
        text: the item columns that the text is composed of, in order; by default the existing ones
            of title, genres, categories, tags and text.
        positive_rating: lowest rating that is a positive; by default every row is a positive.
    """

    name: str | None = None
    text: tuple[str, ...] | None = None
    positive_rating: float | None = None


def read_dataset_config(folder: Path) -> DatasetConfig:
    """Read ``dataset.toml`` of a folder; return the defaults if it does not exist.

    Raises:
        ConfigError: some keys are wrong; names the file and each of them.
    """
    path = folder / FILE
    if not path.exists():
        return DatasetConfig()
    try:
        return DatasetConfig.build(read_toml(path))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def dataset_toml(settings: DatasetConfig) -> str:
    """Format settings as the text of ``dataset.toml``."""
    # JSON strings, lists and numbers are valid TOML.
    given = settings.model_dump(exclude_none=True, mode="json")
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in given.items()]
    return "".join(lines)
