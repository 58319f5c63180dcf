"""Small files of the gate: what a file holds, as a digest, and how one is replaced in a single step."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, as sha256sum prints it. OSError when it cannot be read."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def replace_text(path: Path, text: str) -> None:
    """Write ``text`` so that ``path`` is the old file or the new one at any moment. OSError when it cannot be."""
    target = path.resolve()
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("x", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
