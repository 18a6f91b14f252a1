"""Typed, frozen configurations, read from TOML and overridden by ``a.b=c``."""

import inspect
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticUndefined

from warmstart.errors import ConfigError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class Config(BaseModel):
    """Base class of every configuration: immutable.

    Unknown keys, and booleans, infinities and NaN as numbers, are errors.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_booleans_as_numbers(cls, settings: Any) -> Any:
        """Hide booleans from pydantic, which reads True as 1, where none is allowed."""
        if not isinstance(settings, dict):
            return settings
        return {
            name: _Boolean(value) if isinstance(value, bool) and cls._is_number(name) else value
            for name, value in settings.items()
        }

    @classmethod
    def _is_number(cls, name: str) -> bool:
        field = cls.model_fields.get(name)
        types = set() if field is None else {field.annotation, *get_args(field.annotation)}
        return not types.isdisjoint({int, float}) and bool not in types

    @classmethod
    def build(cls, settings: dict[str, Any]) -> Self:
        """Build a configuration from ``settings`` (nested plain values) and validate it.

        Raises:
            ConfigError: keys are wrong; lists each with its path, the value and what is allowed.
        """
        try:
            return cls.model_validate(settings)
        except ValidationError as error:
            raise ConfigError(explain(cls.__name__, error)) from None


class _Boolean:
    """A boolean where a number is expected; error messages show it as it was given."""

    def __init__(self, value: bool) -> None:
        self.value = value

    def __repr__(self) -> str:
        return repr(self.value)


def read_settings(path: Path | None, overrides: list[str] | None = None) -> dict[str, Any]:
    """Read nested settings from a TOML file and apply ``a.b=c`` overrides (values in TOML syntax).

    TOML has no null, so the string "none" becomes None here, and only here. As a part of a list it
    stays a string: no list of settings has a part that may be None.

    Raises:
        ConfigError: the file is missing or not TOML, or an override has no ``=``.
    """
    settings = {} if path is None else read_toml(path)
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
    return _with_none(settings)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        ConfigError: the file is missing, cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"configuration file {path} does not exist") from None
    except OSError as error:
        raise ConfigError(f"configuration file {path} cannot be read: {error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration file {path} is not TOML: {error}") from None


def merged(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    """Merge nested settings; those of ``top`` replace those of ``base``."""
    result = dict(base)
    for key, value in top.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def _with_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_none(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_with_none(part) if isinstance(part, dict) else part for part in value]
    return None if value == "none" else value


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word is a string: --set backbone.kind=lightgcn


def explain(name: str, error: ValidationError) -> str:
    """Format all errors that pydantic found as one line, each with its path and the value."""
    lines = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"]) or "(top level)"
        # A check of several settings together names those that matter; all would be a page.
        together = problem["type"] == "value_error" and isinstance(problem["input"], dict)
        got = "" if together else f", got {problem['input']!r}"
        lines.append(f"{where}: {_sentence(problem)}{got}")
    return f"{name}: " + "; ".join(lines)


def _sentence(problem: "ErrorDetails") -> str:
    """Replace the messages of pydantic that only its users understand."""
    context = problem.get("ctx", {})
    if problem["type"] == "extra_forbidden":
        return "there is no such setting"
    if problem["type"] == "union_tag_invalid":
        return f"must be one of {context['expected_tags']}"
    if problem["type"] == "value_error":
        return str(context["error"])
    return problem["msg"]


# -- signature and docstring of classes that take a configuration --


def constructor_signature(config_type: type[Config]) -> inspect.Signature:
    """Build the signature of a class that takes a configuration or its settings by name."""
    first = inspect.Parameter(
        "config",
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        default=None,
        annotation=config_type | None,
    )
    settings = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=_default(config_type, name),
            annotation=field.annotation,
        )
        for name, field in config_type.model_fields.items()
    ]
    return inspect.Signature([first, *settings])


def settings_docs(config_type: type[Config]) -> str:
    """Format the settings of a configuration with their defaults, to append to a docstring."""
    found: dict[str, str] = {}
    for cls in reversed(config_type.__mro__):
        _, _, section = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:\n")
        for match in re.finditer(r"^    (\w+): (.+(?:\n {8,}.+)*)", section, re.MULTILINE):
            found[match[1]] = match[2]
    lines = [
        f"\n    {name}: {found.get(name, '')} Default: {_default(config_type, name)!r}."
        for name in config_type.model_fields
    ]
    return "\n\nSettings:" + "".join(lines) if lines else ""


def _default(config_type: type[Config], name: str) -> Any:
    value = config_type.model_fields[name].get_default(call_default_factory=True)
    return inspect.Parameter.empty if value is PydanticUndefined else value


def default_kind(kind: str) -> BeforeValidator:
    """Let settings of several types, told apart by ``kind``, be of this one if they name none."""

    def with_kind(settings: Any) -> Any:
        return {"kind": kind, **settings} if isinstance(settings, dict) else settings

    return BeforeValidator(with_kind)
