"""Every setting of the service on one page; each can be given as an environment variable.

``WARMSTART_`` and the name in capitals, for example ``WARMSTART_STORE``. The only place of the
service that reads environment variables.
"""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from warmstart.config import explain
from warmstart.errors import ConfigError


class StoreSettings(BaseSettings):
    """Where the store is, for the commands that need nothing else.

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
        lm: where the language model is, for an artefact made with one from a local folder.
        host, port: where to listen.
        anonymous_read: whether questions need no key; writing always does.
        rate: requests that one key may make, as in "500/second".
        max_body_bytes: of a request.
        max_text_chars: of one item, all columns together.
        max_items: in one request.
        max_k: the longest list.
        queue: items waiting to be read by the language model; beyond it writes get 429.
        batch: items that the language model reads at once.
        confidence: n0, so many real users count as much as the simulated ones.
        claim: share of users whose top lists an item may enter before anybody clicked it.
        owner_share: share of one list that unclicked items of one key may take.
        poll_seconds: longest time until a change by another process is seen, without a message.
        cors_origins: web pages that may call the API; comma-separated. None by default.
        models: a model may be swapped in from below this folder only; None forbids it.
        log_level: of the structured log.
    """

    model: Path
    lm: str | None = None
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    anonymous_read: bool = False
    rate: str = "1000/second"
    max_body_bytes: int = Field(default=8 * 2**20, ge=1024)
    max_text_chars: int = Field(default=20_000, ge=1)
    max_items: int = Field(default=1000, ge=1)
    max_k: int = Field(default=1000, ge=1)
    queue: int = Field(default=10_000, ge=1)
    batch: int = Field(default=32, ge=1)
    confidence: float = Field(default=10.0, gt=0)
    claim: float = Field(default=0.1, gt=0, le=1)
    owner_share: float = Field(default=0.5, gt=0, le=1)
    poll_seconds: float = Field(default=1.0, gt=0)
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    models: Path | None = None
    log_level: str = "INFO"

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _separated(cls, value: Any) -> Any:
        return tuple(filter(None, value.split(","))) if isinstance(value, str) else value
