"""Files, folders and patterns -> the models that are meant, each once, in a stable order."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from glob import glob, has_magic
from pathlib import Path

from normfold.errors import UsageError

SUFFIX = ".onnx"


def models_of(paths: Iterable[str]) -> tuple[Path, ...]:
    """Return the models that ``paths`` name.

    A file is itself, a folder its .onnx files at any depth, a pattern its matches.

    Hidden folders below a folder are left out. UsageError for a folder or pattern without a model. A file that does not
    exist is kept, so that reading it says so.
    """
    found: dict[Path, Path] = {}
    for text in paths:
        for path in _matches(text):
            found.setdefault(path.absolute(), path)
    return tuple(sorted(found.values(), key=lambda path: path.as_posix()))


def _matches(text: str) -> list[Path]:
    path = Path(text)
    if path.is_dir():
        return _some(list(_below(path)), f"the folder {text} holds no {SUFFIX} file")
    if path.exists() or not has_magic(text):
        return [path]
    matches = [Path(match) for match in sorted(glob(text, recursive=True))]
    models = [match for match in matches if match.suffix == SUFFIX and match.is_file()]
    return _some(models, f"no {SUFFIX} file matches {text}")


def _some(models: list[Path], complaint: str) -> list[Path]:
    if not models:
        raise UsageError(f"{complaint}; expected one model or more")
    return models


def _below(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        names = (name for name in sorted(files) if name.endswith(SUFFIX) and not name.startswith("."))
        yield from (Path(where) / name for name in names)


def originals_of(models: Iterable[Path], original: str | None) -> dict[Path, Path]:
    """Return the original of each model: the file ``original``, or the one of the same name in that folder.

    ``net.opt.onnx`` also finds ``net.onnx``. UsageError when there is none, or one file for several models.
    """
    if original is None:
        return {}
    models = tuple(models)
    folder = Path(original)
    if not folder.is_dir():
        if len(models) > 1:
            raise UsageError(f"--verify-against expects a folder for {len(models)} models, got the file {original}")
        return dict.fromkeys(models, folder)
    return {model: _original_in(folder, model) for model in models}


def _original_in(folder: Path, model: Path) -> Path:
    names = [model.name, model.name.replace(f".opt{SUFFIX}", SUFFIX)]
    for name in names:
        at_any_depth = sorted(folder.rglob(name))
        if len(at_any_depth) == 1:
            return at_any_depth[0]
        if at_any_depth:
            raise UsageError(
                f"--verify-against: {folder} holds {len(at_any_depth)} files {name}; check them one by one"
            )
    raise UsageError(f"--verify-against: {folder} holds no {' or '.join(dict.fromkeys(names))} for {model}")
