"""What was found out about a model before, by what its files hold, so that an unchanged tree is checked at once.

An entry belongs to the contents of the model, of its original and of their data files, to the options, and to the
versions of normfold and of what it computes with. An index of sizes and times saves reading files that did not change.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import sys
import time
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import normfold
from normfold.ci.report_data import from_data
from normfold.files.temporary import replace_text
from normfold.files.untrusted import read_json
from normfold.options import InspectArguments

FORMAT = 1
ENTRIES = 5000  # more than this, and the oldest go
SETTLED = 2 * 10**9  # nanoseconds: a file that changed less than this ago may change again without a later time
LIBRARIES = ("onnx", "onnx-ir", "onnxsim", "onnxruntime", "numpy")
StoredOutcome = dict[str, Any]


def cache_folder() -> Path:
    """``normfold`` in the user's cache folder: XDG_CACHE_HOME, else what the system has for it."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(home):
        return Path(home) / "normfold"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "normfold"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "normfold" / "cache"
    return Path.home() / ".cache" / "normfold"


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, as sha256sum prints it. OSError when it cannot be read."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(2**20):
            digest.update(block)
    return digest.hexdigest()


class Digests:
    """Digests of files. With a ``folder`` they are kept there by path, size, times and inode."""

    def __init__(self, folder: Path | None) -> None:
        self._file = folder and folder / "digests.json"
        self._known: dict[str, Any] = _read(self._file) if self._file else {}
        self._is_new = False

    def of(self, path: Path) -> str:
        """Return the digest of what ``path`` holds now; "" when it cannot be read."""
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                return ""
            mark = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
            name = str(path.absolute())
            known = self._known.get(name)
            if isinstance(known, list) and known[:-1] == mark:
                return str(known[-1])
            digest = digest_of(path)
        except (OSError, ValueError):  # a ValueError is of a name that no file can have
            return ""
        if time.time_ns() - max(mark[1:3]) > SETTLED:
            self._known[name] = [*mark, digest]
            self._is_new = True
        return digest

    def save(self) -> None:
        """Keep the index for the next run."""
        if self._file and self._is_new:
            latest = dict(list(self._known.items())[-ENTRIES:])
            _write(self._file, json.dumps(latest))


class Cache:
    """Outcomes of ``check_many.inspect_one`` by contents and ``options``; without ``folder`` nothing is kept."""

    def __init__(self, folder: Path | None, options: InspectArguments, pictures: bool = False) -> None:
        self.digests = Digests(folder)
        self._folder = folder and folder / "checks"
        chosen = {**options.recorded(), "pictures": pictures, "trust_pickle": options.trust_pickle}
        self._base = json.dumps([FORMAT, _versions() if folder else "", chosen], sort_keys=True)

    def recall(self, model: Path, original: Path | None) -> StoredOutcome | None:
        """Return what ``check_many.inspect_one`` said about these contents, if it is known."""
        entry = self._entry(model, original)
        outcome = _read(entry) if entry else {}
        return outcome if _is_whole(outcome) and self._has_same_data(outcome, model, original) else None

    def remember(self, model: Path, original: Path | None, before: str, outcome: StoredOutcome) -> None:
        """Keep ``outcome``, unless the model is no longer what it was when its digest was ``before``."""
        entry = self._entry(model, original)
        if entry is None or "report" not in outcome or self.digests.of(model) != before:
            return
        data = {"data": self._data(model, outcome["external"])}
        if original is not None:
            data["original data"] = self._data(original, outcome["original external"])
        _write(entry, json.dumps({**outcome, **data}))

    def close(self) -> None:
        """Keep the index of digests, and let the oldest entries go."""
        self.digests.save()
        if self._folder is None or not self._folder.is_dir():
            return
        entries = list(self._folder.iterdir())
        if len(entries) > ENTRIES:
            with contextlib.suppress(OSError):  # another run may have been quicker
                for entry in sorted(entries, key=lambda file: file.stat().st_mtime)[: len(entries) // 2]:
                    entry.unlink(missing_ok=True)

    def content_digest(self, model: Path, outcome: StoredOutcome) -> str:
        """Return the digest of a model: that of its file, or, with data files, of all their digests."""
        own = self.digests.of(model)
        data = self._data(model, outcome.get("external", ()))
        if not data:
            return own
        return hashlib.sha256("\n".join([own, *(digest for _, digest in sorted(data.items()))]).encode()).hexdigest()

    def _entry(self, model: Path, original: Path | None) -> Path | None:
        if self._folder is None:
            return None
        digests = [self.digests.of(file) for file in (model, original) if file is not None]
        if not all(digests):
            return None
        return self._folder / f"{hashlib.sha256(json.dumps([self._base, digests]).encode()).hexdigest()}.json"

    def _data(self, model: Path, names: Iterable[str]) -> dict[str, str]:
        return {name: self.digests.of(model.resolve().parent / name) for name in names}

    def _has_same_data(self, outcome: StoredOutcome, model: Path, original: Path | None) -> bool:
        own = outcome.get("data", {})
        others = outcome.get("original data", {})
        return own == self._data(model, own) and (original is None or others == self._data(original, others))


def _is_whole(outcome: StoredOutcome) -> bool:
    """Whether it holds a report, and not what another program left there."""
    try:
        from_data(outcome["report"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return False
    data, names = (outcome.get(key, {}) for key in ("data", "original data")), outcome.get("external", [])
    are_names = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return are_names and all(isinstance(each, dict) for each in data)


def _versions() -> list[Any]:
    """Normfold and what it computes with. Times and sizes of the sources tell versions under development apart."""
    package = Path(normfold.__file__).parent
    sources = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(package.rglob("*.py"))]
    return [normfold.__version__, sources, [_version(library) for library in LIBRARIES]]


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


def _read(file: Path | None) -> dict[str, Any]:
    """Return a JSON object from ``file``; an empty one for whatever else lies there."""
    try:
        content = read_json(file) if file else {}
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(file: Path, text: str) -> None:
    with contextlib.suppress(OSError):  # a cache that cannot be written only costs time
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_text(file, text)
