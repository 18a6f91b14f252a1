"""Control: what a query asks of its list besides relevance."""

from typing import Any, Self

from pydantic import Field, model_validator

from warmstart.config import Config


class Control(Config):
    """A wish for one list; at most one is given.

    Attributes:
        n_genres: number of different genres in the list.
        genres: names of the genres in the list, each of them present and no other.
        calibrate: whether the genres should be distributed as in the history.
        diversity: weight of variety against relevance, in [0, 1]; 0 ranks by score alone.
        first_genre_only: whether only the first genre of an item counts, as DLCRec counts them; no
            wish of its own.
    """

    n_genres: int | None = Field(default=None, ge=1)
    genres: tuple[str, ...] | None = Field(default=None, min_length=1)
    calibrate: bool = False
    diversity: float | None = Field(default=None, ge=0, le=1)
    first_genre_only: bool = False

    @property
    def wishes(self) -> list[str]:
        """Names of the settings that ask for something; at most one."""
        return list(self.model_dump(exclude_defaults=True, exclude={"first_genre_only"}))

    @model_validator(mode="after")
    def _one_wish(self) -> Self:
        given = self.wishes
        if len(given) > 1:
            raise ValueError(f"at most one setting may be given, not {' and '.join(given)}")
        return self


def as_control(given: Control | dict[str, Any]) -> Control:
    """Return a control, or build it from a mapping.

    Raises:
        ConfigError: the mapping is malformed.
    """
    return given if isinstance(given, Control) else Control.build(given)
