"""Everything that can be wrong with a saved recommender, done to a copy of one."""

import hashlib
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from warmstart.artefact import FORMAT_VERSION

Damage: TypeAlias = Callable[[Path], None]
MARKER = "a-pickle-was-run"
FILES = (
    "users.parquet",
    "items.parquet",
    "columns.parquet",
    "seen.safetensors",
    "state.safetensors",
)


class _Payload:
    """Unpickling it makes a folder: proof that code was run."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def damages() -> dict[str, Damage]:
    """Every damage by name; each takes the folder of an artefact and spoils it in place.

    A pickle would make the folder ``MARKER`` beside the artefact, were it ever read.
    """
    table: dict[str, Damage] = {
        "the folder is empty": lambda folder: _remove(folder, *FILES, "manifest.json"),
        "no manifest": lambda folder: _remove(folder, "manifest.json"),
        "the manifest is no JSON": lambda folder: _write(folder, "manifest.json", b"{"),
        "the manifest is no text": lambda folder: _write(folder, "manifest.json", b"\xff\xfe\x00"),
        "the manifest is a list": lambda folder: _write(folder, "manifest.json", b"[1]"),
        "another kind of folder": _manifest(format="warmstart-split"),
        "an older format": _manifest(format_version=FORMAT_VERSION - 1),
        "a newer format": _manifest(format_version=FORMAT_VERSION + 1),
        "an unknown method": _manifest(method="no_such_method"),
        "an unknown setting": _manifest(config={"no_such_setting": 1}),
        "settings that are no table": _manifest(config=[1]),
        "choices that are no table": _manifest(choices="0.5"),
        "files that are no table": _manifest(files=list(FILES)),
        "a foreign key": _manifest(surprise=1),
        "a file that is not listed": lambda folder: _write(folder, "notes.txt", b"hello"),
        "a pickle that is not listed": lambda folder: _pickle(folder, "state.pkl"),
        "a listed file too many": lambda folder: _write(folder, "more.bin", b"", listed=True),
        "a listed file outside": lambda folder: _list(folder, "../outside.bin", "0" * 64),
    }
    for key in ("method", "config", "files", "lm", "text_columns"):
        table[f"the manifest lacks {key}"] = _manifest(drop=key)
    for name in FILES:
        table |= _file_damages(name)
    return table


def _file_damages(name: str) -> dict[str, Damage]:
    return {
        f"{name} is missing": lambda folder: _remove(folder, name),
        f"{name} is not hashed": lambda folder: _list(folder, name, None),
        f"{name} has another byte": lambda folder: _change(folder, name, _flip),
        f"{name} is cut": lambda folder: _change(folder, name, _cut),
        f"{name} is cut, and hashed": lambda folder: _change(folder, name, _cut, listed=True),
        f"{name} is empty, and hashed": lambda folder: _write(folder, name, b"", listed=True),
        f"{name} is a pickle, and hashed": lambda folder: _pickle(folder, name, listed=True),
    }


def _flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _remove(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).unlink()


def _write(folder: Path, name: str, content: bytes, *, listed: bool = False) -> None:
    (folder / name).write_bytes(content)
    if listed:
        _list(folder, name, hashlib.sha256(content).hexdigest())


def _change(
    folder: Path, name: str, change: Callable[[bytes], bytes], *, listed: bool = False
) -> None:
    _write(folder, name, change((folder / name).read_bytes()), listed=listed)


def _pickle(folder: Path, name: str, *, listed: bool = False) -> None:
    _write(folder, name, pickle.dumps(_Payload(folder.parent / MARKER)), listed=listed)


def _list(folder: Path, name: str, digest: str | None) -> None:
    """Set the hash of a file in the manifest; None takes the file off the list."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"].pop(name, None)
    if digest is not None:
        manifest["files"][name] = digest
    path.write_text(json.dumps(manifest))


def _manifest(drop: str | None = None, **values: Any) -> Damage:
    """Sets keys of the manifest, then takes one away."""

    def damage(folder: Path) -> None:
        path = folder / "manifest.json"
        manifest = json.loads(path.read_text()) | values
        if drop is not None:
            del manifest[drop]
        path.write_text(json.dumps(manifest))

    return damage
