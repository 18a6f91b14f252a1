"""What all kinds of backbone share: a checked configuration, and a table of classes by kind."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar

from warmstart.config import Config
from warmstart.errors import ConfigError


class Configured:
    """A model with a configuration.

    Args:
        config: an instance of ``config_type``; None uses its defaults.

    Raises:
        ConfigError: ``config`` is of another type.
    """

    name: ClassVar[str]
    config_type: ClassVar[type[Config]]
    role: ClassVar[str] = "backbone"
    """What messages call the model, before its name."""

    def __init__(self, config: Config | None = None) -> None:
        if config is not None and not isinstance(config, self.config_type):
            raise ConfigError(
                f"{self.role} {self.name}: config must be a {self.config_type.__name__}, "
                f"got {type(config).__name__}"
            )
        self.config: Any = config or self.config_type()
        self.chosen_config: Any = self.config
        """``config`` with the epochs that validation chose, to refit without validation."""

    @property
    def choices(self) -> dict[str, Any]:
        """The settings that the fit chose, as plain values."""
        before = self.config.model_dump(mode="json")
        after = self.chosen_config.model_dump(mode="json")
        return {name: value for name, value in after.items() if value != before[name]}


def build_configured(table: Mapping[str, str], config: Any) -> Any:
    """Create the unfitted model that ``config.kind`` names in a table of "module:class"."""
    module, _, name = table[config.kind].partition(":")
    return getattr(import_module(module), name)(config)
