"""Every setting of the service; each can be given as an environment variable.

The variable is ``WARMSTART_`` and the name in capitals, for example ``WARMSTART_STORE``. No other
place of the service reads environment variables.
"""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from warmstart.config import explain
from warmstart.errors import ConfigError


class StoreSettings(BaseSettings):
    """The settings of commands that need the store only.

    Attributes:
        store: SQLAlchemy URL of the durable store.
    """

    model_config = SettingsConfigDict(env_prefix="WARMSTART_", frozen=True, extra="forbid")

    store: str = "sqlite:///warmstart.db"

    @classmethod
    def read(cls, **given: object) -> Self:
        """Settings from what is given (None counts as not given) and the environment.

        Raises:
            ConfigError: naming every wrong setting, the value seen and what is allowed.
        """
        try:
            return cls(**{name: value for name, value in given.items() if value is not None})  # pyright: ignore[reportArgumentType]
        except ValidationError as error:
            raise ConfigError(explain("settings", error)) from None


class Settings(StoreSettings):
    """Settings of the service.

    Attributes:
        model: folder of the artefact to serve.
        lm: folder of the language model, if the artefact was made with one from a local folder.
        host, port: address to listen on.
        anonymous_read: whether reading needs no key; writing always needs one.
        rate_limit: requests that one key may make, as in "500/second".
        max_body_bytes: size of a request body, in bytes.
        max_text_chars: size of one item, all columns together, in characters.
        max_items_per_request: items or interactions in one request.
        max_k: length of a list.
        max_queue: items that may wait to be encoded; beyond it writes get status 429.
        encode_batch_size: items that the language model encodes at once.
        prior_strength: so many clicks count as much as the simulation of an item.
        max_exposure: fraction of users whose first 20 an item may enter before its first click.
        max_owner_share: fraction of one list that unclicked items of one key may take.
        poll_seconds: seconds until a change by another process is seen without a notification.
        cors_origins: web origins that may call the API, comma-separated; none by default.
        models_folder: models may be swapped in from below this folder; None forbids it.
        log_level: of the structured log.
    """

    model: Path
    lm: str | None = None
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    anonymous_read: bool = False
    rate_limit: str = "1000/second"
    max_body_bytes: int = Field(default=8 * 2**20, ge=1024)
    max_text_chars: int = Field(default=20_000, ge=1)
    max_items_per_request: int = Field(default=1000, ge=1)
    max_k: int = Field(default=1000, ge=1)
    max_queue: int = Field(default=10_000, ge=1)
    encode_batch_size: int = Field(default=32, ge=1)
    prior_strength: float = Field(default=10.0, gt=0)
    max_exposure: float = Field(default=0.1, gt=0, le=1)
    max_owner_share: float = Field(default=0.5, gt=0, le=1)
    poll_seconds: float = Field(default=1.0, gt=0)
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    models_folder: Path | None = None
    log_level: str = "INFO"

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _separated(cls, value: Any) -> Any:
        return tuple(filter(None, value.split(","))) if isinstance(value, str) else value
