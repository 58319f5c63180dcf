"""Every format of report by name and suffix, and how one comes into a file. Nothing here loads onnx."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from normfold.errors import UsageError, WriteError, known_names
from normfold.files.paths import as_path, check_paths
from normfold.files.temporary import replace_text
from normfold.report.report import Report

STDOUT = "-"
_MODELS = (".onnx", ".pt2", ".pt", ".pth", ".data", ".safetensors", ".npz", ".npy", ".lock")


def write_report(reports: Report | Sequence[Report], path: str | os.PathLike[str], format: str = "") -> None:
    """Write one or many reports to ``path`` ("-" for stdout), in ``format`` or in the one that its suffix names.

    The file is whole or not there: it is written next to ``path`` and takes its name at the end. UsageError for an
    unknown format, WriteError where it cannot be written.
    """
    text = render(reports, format_of(path, format).name)
    if os.fspath(path) == STDOUT:
        _to_stdout(text)
    else:
        _to_file(text, Path(path))


def render(reports: Report | Sequence[Report], format: str) -> str:
    """Return one or many reports as text in ``format``, a name of ``FORMATS``."""
    return FORMATS[format].render([reports] if isinstance(reports, Report) else list(reports))


def format_of(path: str | os.PathLike[str], format: str = "") -> Format:
    """Return the format that ``format`` or the suffix of ``path`` names; UsageError that lists them where neither does.

    Commands ask this before the work, so that a wrong name costs no run.
    """
    name = as_path(path)
    suffix = os.path.splitext(name)[1].lower()
    known = f"{', '.join(FORMATS)} (suffixes {', '.join(SUFFIXES)})"
    if suffix in _MODELS:
        raise UsageError(f"expected a file for the report, got {name}, which looks like a model; choose {known}")
    if format and format not in FORMATS:
        raise UsageError(
            f"expected a format of report, got {format!r}; {known_names(format, FORMATS, 'formats')}", "format"
        )
    found = FORMATS[format] if format else SUFFIXES.get(suffix)
    if found is None:
        raise UsageError(f"the suffix of {name} names no format of report; pass --format (format=), one of {known}")
    if name != STDOUT:
        check_paths((), [name])
    return found


def formats_of(paths: Sequence[str], format: str = "") -> tuple[tuple[str, Format], ...]:
    """Return each path with its format. ``format`` is for the only path, or for those whose suffix names none."""
    check_paths((), [path for path in paths if path != STDOUT])
    alone = len(paths) == 1
    suffixed = {path: os.path.splitext(path)[1].lower() in SUFFIXES for path in paths}
    return tuple((path, format_of(path, format if alone or not suffixed[path] else "")) for path in paths)


def _to_stdout(text: str) -> None:
    sys.stdout.flush()
    stream = getattr(sys.stdout, "buffer", None)
    if stream is None:
        sys.stdout.write(text)
        return
    stream.write(text.encode("utf-8"))  # whatever the locale: annotations and JSON are UTF-8
    stream.flush()


def _to_file(text: str, path: Path) -> None:
    try:
        replace_text(path, text)
    except OSError as error:
        raise WriteError(f"the report {path} cannot be written: {error.strerror or error}") from error


# -- the table -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Format:
    """A format of report: its name, the suffixes that name it, and whether it draws operators.

    The function as_NAME of the module as_NAME writes it, and is loaded when it is used.
    """

    name: str
    suffixes: tuple[str, ...] = ()
    has_pictures: bool = False

    def render(self, reports: Sequence[Report]) -> str:
        """Return reports as text in this format."""
        module = import_module(f"normfold.report.as_{self.name}")
        return str(getattr(module, f"as_{self.name}")(reports))


FORMATS: dict[str, Format] = {
    each.name: each
    for each in (
        Format("text", (".txt",)),
        Format("json", (".json",)),
        Format("sarif", (".sarif",)),
        Format("junit", (".xml",)),
        Format("github"),
        Format("markdown", (".md",)),
        Format("html", (".html", ".htm"), has_pictures=True),
    )
}
SUFFIXES = {suffix: each for each in FORMATS.values() for suffix in each.suffixes}
