"""Every format of report by name and suffix, and how one comes into a file. Nothing here loads onnx."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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


# -- the formats: each is loaded when it is used --------------------------------------------------------------------


def _text(reports: Sequence[Report]) -> str:
    from rich.console import Console

    from normfold.report.as_text import PLAIN_WIDTH, print_report

    stream = io.StringIO()
    plain = Console(file=stream, highlight=False, markup=False, emoji=False, width=PLAIN_WIDTH, no_color=True)
    for report in reports:
        print_report(report, plain, details=True)
    return stream.getvalue()


def _json(reports: Sequence[Report]) -> str:
    from normfold.report.as_json import as_json, as_json_set

    return as_json(reports[0]) if len(reports) == 1 else as_json_set(reports)


def _sarif(reports: Sequence[Report]) -> str:
    from normfold.report.as_sarif import as_sarif

    return as_sarif(reports)


def _junit(reports: Sequence[Report]) -> str:
    from normfold.report.as_junit import as_junit

    return as_junit(reports)


def _github(reports: Sequence[Report]) -> str:
    from normfold.report.as_github import as_github

    return as_github(reports)


def _markdown(reports: Sequence[Report]) -> str:
    from normfold.report.as_markdown import as_markdown

    return as_markdown(reports)


def _html(reports: Sequence[Report]) -> str:
    from normfold.report.as_html import as_html

    return as_html(reports)


# -- the table -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Format:
    """A format of report: its name, what writes it, the suffixes that name it, and whether it draws operators."""

    name: str
    render: Callable[[Sequence[Report]], str]
    suffixes: tuple[str, ...] = ()
    has_pictures: bool = False


FORMATS: dict[str, Format] = {
    each.name: each
    for each in (
        Format("text", _text, (".txt",)),
        Format("json", _json, (".json",)),
        Format("sarif", _sarif, (".sarif",)),
        Format("junit", _junit, (".xml",)),
        Format("github", _github),
        Format("markdown", _markdown, (".md",)),
        Format("html", _html, (".html", ".htm"), has_pictures=True),
    )
}
SUFFIXES = {suffix: each for each in FORMATS.values() for suffix in each.suffixes}
