"""Settings of the service; each can be given as an environment variable.

The variable is ``WARMSTART_`` followed by the name of the setting in capitals, for example
``WARMSTART_STORE``. No other module of the service reads environment variables.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from warmstart.config import explain
from warmstart.errors import ConfigError


class StoreSettings(BaseSettings):
    """Settings of the commands that need only the store: keys, backup and restore.

    Attributes:
        store: SQLAlchemy URL of the durable store, ``sqlite:///FILE`` or ``postgresql://...``.
    """

    model_config = SettingsConfigDict(
        env_prefix="WARMSTART_", frozen=True, extra="forbid", allow_inf_nan=False
    )

    store: str = "sqlite:///warmstart.db"

    @classmethod
    def read(cls, **given: object) -> Self:
        """Build the settings from the given values; None falls back to the environment.

        Raises:
            ConfigError: a setting is wrong; the message names each, its value and what is allowed.
        """
        try:
            return cls(**{name: value for name, value in given.items() if value is not None})  # pyright: ignore[reportArgumentType]
        except ValidationError as error:
            raise ConfigError(explain("settings", error)) from None


class Settings(StoreSettings):
    """All settings of the service.

    Attributes:
        model: folder of the artefact to serve.
        encoder: folder of the text encoder, if the model was fitted with one from a local folder.
        lm: folder of the causal LM, if the model was fitted with one from a local folder.
        host: address to listen on.
        port: TCP port to listen on, 0 to 65535; 0 takes any free port.
        workers: number of processes that answer requests; they share the memory of the model and of
            the snapshot of the index.
        index_folder: folder of the snapshots of the index, by which a later start is fast; None
            takes one beside the file of an SQLite store, and a temporary one otherwise.
        anonymous_read: whether read requests need no API key; all other requests need one.
        rate_limit: maximum rate of requests per worker and key, or per address without a valid key,
            as in "500/second" or "20/minute".
        trusted_proxies: addresses or networks of proxies, comma-separated, whose X-Forwarded-For
            header tells the address of a caller; none by default.
        max_connections: maximum number of open connections; further ones wait to be accepted.
        max_header_seconds: maximum time, in seconds up to 60, for the headers of a request to
            arrive, and for a connection to be idle.
        max_body_bytes: maximum size of a request body, in bytes, at least 1024.
        max_body_seconds: maximum time, in seconds, for a request body to arrive.
        max_text_chars: maximum size of one item, all columns together, or of the messages of one
            conversation, in characters.
        max_items_per_request: maximum number of items or interactions in one request.
        max_k: maximum length of a list, in items.
        max_queue: maximum number of items waiting to be encoded; writes beyond it get status 429.
        max_index_gib: maximum memory, in GiB, of the items that were written since the start of a
            worker, all together; writes beyond it get status 507.
        max_conversations: maximum number of conversations, per worker, that wait for the language
            model; further ones get status 503.
        max_lm_seconds: maximum time, in seconds, until a conversation is answered; later ones get
            status 504.
        encode_batch_size: number of items that the language model encodes at once.
        prior_strength: number of clicks, above 0, that count as much as an item's simulated users.
        max_exposure: maximum fraction of users, in (0, 1], whose top 20 an item may enter before
            its first click.
        max_owner_share: maximum fraction of one list, in (0, 1], for cold items of one key.
        poll_seconds: maximum delay, in seconds, until a change by another process is noticed when
            no notification arrives.
        cors_origins: web origins that may call the API, comma-separated; none by default.
        models_folder: folder below which models may be swapped in; None disables swapping.
        log_level: minimum level of the log: DEBUG, INFO, WARNING, ERROR or CRITICAL.
    """

    model: Path
    encoder: str | None = None
    lm: str | None = None
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    workers: int = Field(default=1, ge=1, le=256)
    index_folder: Path | None = None
    anonymous_read: bool = False
    rate_limit: str = "1000/second"
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    max_connections: int = Field(default=1000, ge=1)
    max_header_seconds: float = Field(default=30.0, gt=0, le=60)
    max_body_bytes: int = Field(default=8 * 2**20, ge=1024)
    max_body_seconds: float = Field(default=30.0, gt=0)
    max_text_chars: int = Field(default=20_000, ge=1)
    max_items_per_request: int = Field(default=1000, ge=1)
    max_k: int = Field(default=1000, ge=1)
    max_queue: int = Field(default=10_000, ge=1)
    max_index_gib: float = Field(default=4.0, gt=0)
    max_conversations: int = Field(default=32, ge=1)
    max_lm_seconds: float = Field(default=30.0, gt=0)
    encode_batch_size: int = Field(default=32, ge=1)
    prior_strength: float = Field(default=10.0, gt=0)
    max_exposure: float = Field(default=0.1, gt=0, le=1)
    max_owner_share: float = Field(default=0.5, gt=0, le=1)
    poll_seconds: float = Field(default=1.0, gt=0)
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    models_folder: Path | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper_case(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @field_validator("cors_origins", "trusted_proxies", mode="before")
    @classmethod
    def _separated(cls, value: Any) -> Any:
        return tuple(filter(None, value.split(","))) if isinstance(value, str) else value
