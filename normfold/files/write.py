"""Write a model so that a crash at any moment leaves either the old files or the new ones, never a mixture.

A temporary file in the target's folder is written, read back, checked and flushed to the disk before it takes the
target's name. With external data the data file comes first, under a name that no existing file with other contents
has; the model file that points to it follows; only then the data file of the replaced model is removed, unless another
file in its folder names it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import onnx
import onnx_ir as ir

from normfold.errors import CrashError, WriteError
from normfold.files.data_file import digest, same_content, write_tensors
from normfold.files.paths import is_named_in
from normfold.files.protos.convert import to_proto
from normfold.files.protos.skeleton import skeleton
from normfold.files.protos.stream import Piece, Streamed, is_big, lying_in, streamed
from normfold.files.protos.wire import Buffer
from normfold.files.source import Source
from normfold.files.temporary import leftovers_next_to, temporary_next_to
from normfold.native import isolated

INLINE_LIMIT = 2**31 - 64 * 2**20  # bytes of weights; protobuf ends at 2 GB, and the graph needs room too
_PART = 2**20  # bytes that are read back at once
_NO_MODELS = (".data", ".npz", ".npy", ".json", ".html", ".md", ".txt")


def write_bytes(copy: Buffer, target: Path, source: Source | None = None) -> None:
    """Write ``copy`` atomically. Raises WriteError if that fails; the old file at ``target`` is then unchanged.

    A symbolic link at ``target`` is replaced. A new file is no more readable than that of ``source``.
    """
    with _reported_as_write_error(target):
        target = _name_of(target)
        _remove_leftovers(target)
        with _temporary(target, source) as temporary:
            _write_and_flush(temporary, [copy])
            _replace(temporary, target)


def write_model(
    model: ir.Model,
    target: Path,
    *,
    external: bool = False,
    check: bool = True,
    shared: Path | None = None,
    source: Source | None = None,
) -> None:
    """Write ``model`` atomically, with a data file if ``external`` or the size of its weights requires one.

    A symbolic link at ``target`` is replaced. New files are no more readable than that of ``source``.

    Weights that lie in data files of the folder ``shared`` stay there; the new model, which must be written to the same
    folder, refers to them. ``check=False`` leaves out the ONNX checker, for models whose original it rejects. Raises
    WriteError when anything fails; the old model at ``target`` and its data file are then unchanged.
    """
    with _reported_as_write_error(target):
        target = _name_of(target)
        _remove_leftovers(target)
        if external or shared is not None or _weight_bytes(model) > INLINE_LIMIT:
            _write_with_data(model, target, check, shared, source)
        else:
            _write_checked(streamed(model), target, check, source)


def _write_checked(
    model: Streamed, target: Path, check: bool, source: Source | None, data: tuple[Path, Path] | None = None
) -> None:
    """Write the model file. ``data`` is its data file, by its temporary name and by its own, and is renamed first."""
    with _temporary(target, source) as temporary:
        _write_and_flush(temporary, model.pieces())
        if not _reads_back(temporary, model.pieces()):
            raise OSError("the file reads back differently from what was written")
        if check:
            isolated.call("the ONNX checker", onnx.checker.check_model, skeleton(model.bare))  # as it was read back
        if source is not None:
            source.check_data_files()
        if data is None:
            _replace(temporary, target)
        else:
            _replace_both(*data, temporary, target)


def _replace_both(temporary_data: Path, data: Path, temporary: Path, target: Path) -> None:
    """Give both files their names. A kill in between leaves the old model whole, and the next run finds the rest."""
    is_new = not data.exists()
    os.replace(temporary_data, data)
    try:
        _replace(temporary, target)
    except BaseException:
        if is_new and not is_named_in(data.name, [target]):
            data.unlink(missing_ok=True)
        raise


def _write_with_data(model: ir.Model, target: Path, check: bool, shared: Path | None, source: Source | None) -> None:
    plain = target.with_name(f"{target.name}.data")
    replaced = _data_files_of(target)
    values = [value for value in _initializers(model) if is_big(value) and not _lies_in(value, shared)]
    with _temporary(plain, source) as temporary:
        offsets = write_tensors(values, temporary)
        data = _data_name(plain, temporary)
        with lying_in(data, offsets):
            pointing = Streamed(to_proto(model), {})
        _write_checked(pointing, target, check, source, (temporary, data))
    _remove_unused(replaced - {data}, target)


def _lies_in(value: ir.Value, folder: Path | None) -> bool:
    """Return whether an initializer lies in a data file of ``folder`` already, unchanged."""
    tensor = value.const_value
    return folder is not None and isinstance(tensor, ir.ExternalTensor) and Path(tensor.base_dir).resolve() == folder


def _remove_leftovers(target: Path) -> None:
    """Remove what killed runs left for ``target``: temporary files, and data files whose model never got its name."""
    for each in (target, target.with_name(f"{target.name}.data")):
        for file in leftovers_next_to(each):
            unnamed = {data for data in _data_files_of(file, target.name) if data.exists()}
            file.unlink(missing_ok=True)
            _remove_unused(unnamed, file)


def _remove_unused(files: set[Path], target: Path) -> None:
    """Remove data files of a replaced model, but none that another file of its folder still names."""
    for file in files:
        neighbours = (each for each in target.parent.iterdir() if each not in (target, file) and each.is_file())
        if not is_named_in(file.name, (each for each in neighbours if each.suffix not in _NO_MODELS)):
            file.unlink(missing_ok=True)


def _data_name(plain: Path, temporary: Path) -> Path:
    """Return ``MODEL.onnx.data``, or a name made from the contents while a file of that name holds other weights."""
    if not plain.exists() or same_content(plain, temporary):
        return plain
    return plain.with_name(f"{plain.stem}.{digest(temporary)[:12]}.data")


def _data_files_of(target: Path, owner: str = "") -> set[Path]:
    """Return the data files of the model at ``target`` that are named after it, or after ``owner``."""
    try:
        proto = onnx.load(target, load_external_data=False)
    except Exception:  # noqa: BLE001  # whatever lies there is no readable model, so no file is known to be its data
        return set()
    names = {e.value for t in proto.graph.initializer for e in t.external_data if e.key == "location"}
    own = {
        name
        for name in names
        if name.startswith(f"{owner or target.name}.") and name.endswith("data") and "/" not in name
    }
    return {target.with_name(name) for name in own}


# -- external data ------------------------------------------------------------------------------------------------


def _weight_bytes(model: ir.Model) -> int:
    return sum(value.const_value.nbytes for value in _initializers(model) if value.const_value is not None)


def _initializers(model: ir.Model) -> Iterator[ir.Value]:
    for graph in model.graphs():
        yield from graph.initializers.values()


# -- files --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _reported_as_write_error(target: Path) -> Iterator[None]:
    try:
        yield
    except onnx.checker.ValidationError as error:
        raise WriteError(f"{target}: nothing written, the result is not a valid model: {error}") from error
    except CrashError as error:
        raise WriteError(f"{target}: nothing written: {error}") from error
    except (OSError, ValueError) as error:
        raise WriteError(f"{target}: nothing written: {getattr(error, 'strerror', None) or error}") from error


def _name_of(target: Path) -> Path:
    """Return the absolute path of a name, its folder resolved, and not what a link of that name points to."""
    return target.parent.resolve() / target.name


@contextlib.contextmanager
def _temporary(target: Path, source: Source | None) -> Iterator[Path]:
    """Create a new file in the folder of ``target``, which goes unless it was renamed.

    It has the permissions of the file that it will replace, and its owner where that is allowed; for a new one, those
    that the user's mask and the file of ``source`` both give.
    """
    with temporary_next_to(target) as file:
        if target.is_file() and not target.is_symlink():
            old = target.stat()
            with contextlib.suppress(OSError, AttributeError):  # only root may give files away, and not on Windows
                os.chown(file, old.st_uid, old.st_gid)
            file.chmod(old.st_mode)
        elif source is not None and source.mode is not None:
            file.chmod(file.stat().st_mode & source.mode)
        yield file


def _write_and_flush(file: Path, pieces: Iterable[Piece]) -> None:
    with file.open("wb") as stream:
        for piece in pieces:
            stream.write(piece)
        _flush(stream)


def _reads_back(file: Path, pieces: Iterable[Piece]) -> bool:
    """Return whether ``file`` holds exactly these pieces."""
    with file.open("rb") as stream:
        return all(_follows(stream, memoryview(piece)) for piece in pieces) and not stream.read(1)


def _follows(stream: BinaryIO, piece: memoryview) -> bool:
    """Return whether a stream goes on with ``piece``. Parts are compared as bytes: views compare each element alone."""
    parts = (piece[at : at + _PART] for at in range(0, len(piece), _PART))
    return all(stream.read(len(part)) == bytes(part) for part in parts)


def _flush(stream: BinaryIO) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _replace(temporary: Path, target: Path) -> None:
    os.replace(temporary, target)
    if not hasattr(os, "O_DIRECTORY"):  # Windows cannot open folders
        return
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
