"""Convert a GGUF file to a model folder, once.

GGUF is the format of llama.cpp: one file with quantised weights, the tokenizer and the settings.
transformers reads it and restores the weights to floating point, which takes half a minute and a
gigabyte for 135 million parameters. So the result is kept in the cache folder, and every later load
reads ordinary safetensors. The weights are stored in bfloat16: its rounding is far below that of
the four bits that they come from, and a model is the same in float32 and in bfloat16.
"""

import json
import logging
from pathlib import Path
from typing import Any

from warmstart.errors import ConfigError, missing_extra
from warmstart.lm.cache import cache_folder
from warmstart.lm.exclusive import exclusive_transformers
from warmstart.storage import atomic_folder, file_hash

logger = logging.getLogger(__name__)

SUFFIX = ".gguf"
_RECORD = "converted.json"
_VERSION = 1  # of the conversion
_WEIGHTS = "model.safetensors"


def converted_folder(file: Path, digest: str) -> Path:
    """Return the model folder made from a GGUF file.

    A folder from an earlier call is used if its weights are as they were written.

    Args:
        file: the file.
        digest: its sha256.

    Raises:
        ConfigError: the file cannot be read, or the cache folder cannot be written.
        UnsupportedError: the extra ``lm`` is not installed.
    """
    folder = cache_folder() / "models" / f"{file.stem}-{digest[:16]}-{_VERSION}"
    if not _is_intact(folder):
        logger.info(
            "LM %s: converting it to %s, once; for 135 million parameters this takes half a minute",
            file.name,
            folder,
        )
        try:
            with atomic_folder(
                folder, is_ours=_is_converted, files=None, error=ConfigError
            ) as fresh:
                _convert(file, fresh)
                record = {"weights_sha256": file_hash(fresh / _WEIGHTS)}
                (fresh / _RECORD).write_text(json.dumps(record), encoding="utf-8")
        except OSError as error:
            raise ConfigError(
                f"LM file {file}: cannot write its conversion to {folder} ({error}); set "
                "WARMSTART_CACHE to a folder that can be written"
            ) from error
    return folder


def _is_converted(folder: Path) -> bool:
    return (folder / _RECORD).is_file()


def _is_intact(folder: Path) -> bool:
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        return record["weights_sha256"] == file_hash(folder / _WEIGHTS)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _convert(file: Path, folder: Path) -> None:
    import torch

    try:
        import gguf
        import transformers
    except ImportError as error:
        raise missing_extra(error.name or "gguf", "lm") from None
    if not hasattr(transformers, "GgufConfig"):
        raise ConfigError(
            f"LM file {file}: transformers {transformers.__version__} cannot convert GGUF files; "
            "upgrade it to 5.23 or newer"
        )
    try:
        with exclusive_transformers():
            model: Any = transformers.AutoModelForCausalLM.from_pretrained(
                file.parent,
                gguf_file=file.name,
                dtype=torch.float32,
                quantization_config=transformers.GgufConfig(dequantize=True),
            )
            model.to(torch.bfloat16).save_pretrained(folder)
            tokenizer = transformers.AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        kind = gguf.GGUFReader(str(file)).get_field("tokenizer.ggml.pre")
    except Exception as error:  # the loaders raise whatever their parsers raise
        raise ConfigError(
            f"LM file {file} cannot be converted: {type(error).__name__}: {error}"
        ) from error
    if kind is not None and kind.contents() == "smollm":
        _split_digits(tokenizer)
    tokenizer.save_pretrained(folder)


def _split_digits(tokenizer: Any) -> None:
    """Make every digit a token of its own, as SmolLM does; transformers leaves this out."""
    from tokenizers import pre_tokenizers

    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
