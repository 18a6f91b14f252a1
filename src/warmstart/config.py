"""Frozen configuration: typed, unknown keys refused, read from TOML and overridden by ``a.b=c``."""

import tomllib
from pathlib import Path
from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from warmstart.errors import ConfigError


class Config(BaseModel):
    """Base of every configuration. Immutable; an unknown key is an error that names its path.

    TOML has no word for nothing: where a setting may be None, "none" says so.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _none_is_a_word(cls, settings: Any) -> Any:
        if not isinstance(settings, dict):
            return settings
        optional = {
            name
            for name, field in cls.model_fields.items()
            if type(None) in get_args(field.annotation)
        }
        return {
            name: None if value == "none" and name in optional else value
            for name, value in settings.items()
        }

    @classmethod
    def build(cls, settings: dict[str, Any]) -> Self:
        """Validate ``settings`` (nested plain values).

        Raises:
            ConfigError: naming every wrong key with its path, the value seen and what is allowed.
        """
        try:
            return cls.model_validate(settings)
        except ValidationError as error:
            raise ConfigError(explain(cls.__name__, error)) from None


def read_settings(path: Path | None, overrides: list[str] | None = None) -> dict[str, Any]:
    """Nested settings from a TOML file, then from ``a.b=c`` overrides (values in TOML syntax).

    Raises:
        ConfigError: the file is missing or not TOML, or an override has no ``=``.
    """
    settings: dict[str, Any] = {}
    if path is not None:
        try:
            settings = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigError(f"configuration file {path} does not exist") from None
        except OSError as error:
            raise ConfigError(f"configuration file {path} cannot be read: {error}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"configuration file {path} is not TOML: {error}") from None
    for override in overrides or []:
        key, equals, value = override.partition("=")
        if not equals or not key:
            raise ConfigError(f"override {override!r} is not of the form a.b=value")
        *parents, last = key.strip().split(".")
        node = settings
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise ConfigError(f"override {override!r}: {parent!r} is a value, not a table")
        node[last] = _toml_value(value.strip())
    return settings


def merged(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    """Nested settings, those of ``top`` in place of those of ``base``."""
    result = dict(base)
    for key, value in top.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word is a string: --set backbone.kind=lightgcn


def explain(name: str, error: ValidationError) -> str:
    """One line for all that pydantic found wrong, each with its path and the value seen."""
    lines = [
        f"{'.'.join(str(part) for part in problem['loc']) or '(top level)'}: "
        f"{problem['msg']}, got {problem['input']!r}"
        for problem in error.errors()
    ]
    return f"{name}: " + "; ".join(lines)
