"""Read archives and JSON that anyone may have written: small files that would unpack to much, or nest without end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zipfile import ZipFile

MOST_TEXT = 256 * 2**20
"""Bytes of a JSON file."""

MOST_METADATA = 4 * 2**20
"""Characters of an entry of a model's metadata; of a thousand folds it is a few hundred thousand."""

MOST_UNPACKED = 256 * 2**20
"""Bytes that an archive may unpack to beyond four times its packed size."""

_SIZES = ("compress_size", "file_size")


def check_archive(archive: ZipFile) -> None:
    """Raise ValueError for an archive that unpacks to much more than it takes; sizes are those that its entries state.

    No entry gives more than the size that it states.
    """
    packed, unpacked = (sum(getattr(entry, size) for entry in archive.infolist()) for size in _SIZES)
    most = MOST_UNPACKED + 4 * packed
    if unpacked > most:
        sizes = [f"{size / 2**20:,.0f} MB" for size in (packed, unpacked, most)]
        raise ValueError("{} that unpack to {}, of {} allowed; store them without compression".format(*sizes))


def parse_json(text: str | bytes) -> Any:
    """Return what a JSON text holds; ValueError for one that is none, or that nests deeper than Python can follow."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def parse_metadata(text: str) -> Any:
    """Return what an entry of a model's metadata holds; ValueError as ``parse_json`` and for its size."""
    if len(text) > MOST_METADATA:
        raise ValueError(f"it has {len(text)} characters")
    return parse_json(text)


def read_json(path: Path) -> Any:
    """Return what a JSON file holds; OSError where it cannot be read, ValueError as ``parse_json`` and for its size."""
    size = path.stat().st_size
    if not path.is_file():
        raise ValueError("it is no file")  # reading a pipe waits for ever
    if size > MOST_TEXT:
        raise ValueError(f"it has {size} bytes, of {MOST_TEXT} allowed")
    return parse_json(path.read_text(encoding="utf-8"))
