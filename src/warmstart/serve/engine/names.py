"""Names by number and numbers by name, in a few bytes a name."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np


def name_hash(name: str) -> int:
    """64 bits of a name, the same in every process and on every machine."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def name_hashes(names: Iterable[str]) -> np.ndarray:
    """The hashes of some names, uint64."""
    return np.fromiter(map(name_hash, names), np.uint64)


class NameTable:
    """Distinct names, found by their hashes: 12 bytes a name, and the names themselves.

    Args:
        names: the names by number; any sequence of text, such as a ``TextArray``.
        hashes: their hashes, uint64; computed if missing.
    """

    def __init__(self, names: Sequence[str], hashes: np.ndarray | None = None) -> None:
        self.names = names
        self.hashes = name_hashes(names) if hashes is None else hashes
        order = np.argsort(self.hashes, kind="stable")
        self._sorted, self._numbers = self.hashes[order], order.astype(np.int32)

    def __len__(self) -> int:
        return len(self.names)

    def find(self, name: str) -> int:
        """The number of a name; -1 if it is not here."""
        wanted = np.uint64(name_hash(name))
        place = int(self._sorted.searchsorted(wanted))
        while place < len(self._sorted) and self._sorted[place] == wanted:
            number = int(self._numbers[place])
            if self.names[number] == name:
                return number
            place += 1
        return -1


class TextArray(Sequence[str]):
    """Texts in two arrays, which may be mapped from files.

    Args:
        content: the texts in UTF-8, one after the other, uint8.
        ends: where each ends, int64.
    """

    def __init__(self, content: np.ndarray, ends: np.ndarray) -> None:
        self.content, self.ends = content, ends

    @classmethod
    def of(cls, texts: Iterable[bytes]) -> "TextArray":
        """Pack some texts, each in UTF-8."""
        packed = list(texts)
        ends = np.cumsum([len(text) for text in packed], dtype=np.int64)
        return cls(np.frombuffer(b"".join(packed), np.uint8), ends)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, at: int) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.content[self.span(at)].tobytes().decode()

    def span(self, at: int) -> slice:
        """Where a text is in ``content``."""
        return slice(int(self.ends[at - 1]) if at else 0, int(self.ends[at]))
