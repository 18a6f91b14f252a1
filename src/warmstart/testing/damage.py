"""Ways to damage a saved recommender, for tests that each is detected on loading."""

import hashlib
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from warmstart.artefact import FILES, FORMAT_VERSION

Damage: TypeAlias = Callable[[Path], None]
MARKER = "a-pickle-was-run"


class _Payload:
    """Unpickling it creates a folder, which shows that code was run."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def damages() -> dict[str, Damage]:
    """All damages by name; each changes the artefact in a folder in place.

    The damages that write a pickle would create the folder ``MARKER`` beside the artefact if the
    pickle were loaded.
    """
    table: dict[str, Damage] = {
        "the folder is empty": lambda folder: _remove(folder, *FILES, "manifest.json"),
        "no manifest": lambda folder: _remove(folder, "manifest.json"),
        "the manifest is not JSON": lambda folder: _write(folder, "manifest.json", b"{"),
        "the manifest is not UTF-8": lambda folder: _write(
            folder, "manifest.json", b"\xff\xfe\x00"
        ),
        "the manifest is a list": lambda folder: _write(folder, "manifest.json", b"[1]"),
        "another kind of folder": _change_manifest(format="warmstart-split"),
        "an older format": _change_manifest(format_version=FORMAT_VERSION - 1),
        "a newer format": _change_manifest(format_version=FORMAT_VERSION + 1),
        "an unknown method": _change_manifest(method="no_such_method"),
        "an unknown setting": _change_manifest(config={"no_such_setting": 1}),
        "settings that are not a table": _change_manifest(config=[1]),
        "choices that are not a table": _change_manifest(choices="0.5"),
        "files that are not a table": _change_manifest(files=list(FILES)),
        "an unknown key": _change_manifest(surprise=1),
        "a file that is not listed": lambda folder: _write(folder, "notes.txt", b"hello"),
        "a pickle that is not listed": lambda folder: _pickle(folder, "state.pkl"),
        "an extra file that is listed": lambda folder: _write(folder, "more.bin", b"", listed=True),
        "a listed file outside the folder": lambda folder: _set_hash(
            folder, "../outside.bin", "0" * 64
        ),
    }
    for key in ("method", "config", "files", "lms", "text_columns"):
        table[f"the manifest lacks {key}"] = _change_manifest(drop=key)
    for name in FILES:
        table |= _file_damages(name)
    return table


def _file_damages(name: str) -> dict[str, Damage]:
    return {
        f"{name} is missing": lambda folder: _remove(folder, name),
        f"{name} is not hashed": lambda folder: _set_hash(folder, name, None),
        f"{name} has a changed byte": lambda folder: _change(folder, name, _flip_bit),
        f"{name} is truncated": lambda folder: _change(folder, name, _truncate),
        f"{name} is truncated and hashed": lambda folder: _change(
            folder, name, _truncate, listed=True
        ),
        f"{name} is empty and hashed": lambda folder: _write(folder, name, b"", listed=True),
        f"{name} is a pickle and hashed": lambda folder: _pickle(folder, name, listed=True),
    }


def _flip_bit(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def _truncate(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _remove(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).unlink()


def _write(folder: Path, name: str, content: bytes, *, listed: bool = False) -> None:
    (folder / name).write_bytes(content)
    if listed:
        _set_hash(folder, name, hashlib.sha256(content).hexdigest())


def _change(
    folder: Path, name: str, change: Callable[[bytes], bytes], *, listed: bool = False
) -> None:
    _write(folder, name, change((folder / name).read_bytes()), listed=listed)


def _pickle(folder: Path, name: str, *, listed: bool = False) -> None:
    _write(folder, name, pickle.dumps(_Payload(folder.parent / MARKER)), listed=listed)


def _set_hash(folder: Path, name: str, digest: str | None) -> None:
    """Set the hash of a file in the manifest; None removes the file from the list."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"].pop(name, None)
    if digest is not None:
        manifest["files"][name] = digest
    path.write_text(json.dumps(manifest))


def _change_manifest(drop: str | None = None, **values: Any) -> Damage:
    """A damage that sets keys of the manifest, then removes one."""

    def damage(folder: Path) -> None:
        path = folder / "manifest.json"
        manifest = json.loads(path.read_text()) | values
        if drop is not None:
            del manifest[drop]
        path.write_text(json.dumps(manifest))

    return damage
