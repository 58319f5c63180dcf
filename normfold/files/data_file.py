"""Write weights into a data file: those that lie in another file are copied by the kernel, holes and all.

A weight that did not change is never read into memory. Where the file system shares blocks between files (reflink),
copying takes no space either. A large one that changes lies in a file of its own until it is written.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import math
import mmap
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from normfold.files.protos.stream import content

ALIGNMENT = 4096
"""Bytes between the beginnings of weights: runtimes map them page by page."""

_BLOCK = 2**20
_ON_DISK = 16 * 2**20  # bytes of an array
_CANNOT = frozenset({errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF})


def empty_on_disk(shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Return a new array whose content the system may move to the disk: it lies in a file that has no name.

    A small one, and one for which the disk has no room, is as numpy makes it.
    """
    size = math.prod(shape) * dtype.itemsize
    if size >= _ON_DISK and hasattr(os, "posix_fallocate"):
        with contextlib.suppress(OSError), tempfile.TemporaryFile() as file:
            os.posix_fallocate(file.fileno(), 0, size)
            return np.ndarray(shape, dtype, mmap.mmap(file.fileno(), size))
    return np.empty(shape, dtype)


def write_tensors(values: Iterable[ir.Value], file: Path) -> dict[ir.Value, int]:
    """Write the content of constants to ``file``, flushed to the disk. Return the offset of each in bytes."""
    offsets = {}
    with file.open("r+b") as stream:
        for value in values:
            tensor = value.const_value
            assert tensor is not None, "only constants are written"
            start = -(-stream.tell() // ALIGNMENT) * ALIGNMENT
            offsets[value] = start
            stream.seek(start)
            if isinstance(tensor, ir.ExternalTensor):
                _copy(Path(tensor.path), tensor.offset or 0, tensor.nbytes, stream)
            else:
                stream.write(content(tensor))
        stream.truncate()
        stream.flush()
        os.fsync(stream.fileno())
    return offsets


def same_content(one: Path, other: Path) -> bool:
    """Return whether two files hold the same bytes; holes in both are not read."""
    if one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as left, other.open("rb") as right:
        for start, end in _joined(_extents(left), _extents(right)):
            for at in range(start, end, _BLOCK):
                size = min(_BLOCK, end - at)
                if os.pread(left.fileno(), size, at) != os.pread(right.fileno(), size, at):
                    return False
    return True


def digest(file: Path) -> str:
    """Return a SHA-256 of a file: of its size and of its blocks, without those that are zero."""
    found = hashlib.sha256(str(file.stat().st_size).encode())
    zero = bytes(_BLOCK)
    with file.open("rb") as stream:
        for start, end in _extents(stream):
            for at in range(start // _BLOCK * _BLOCK, end, _BLOCK):
                block = os.pread(stream.fileno(), _BLOCK, at)
                if block != zero[: len(block)]:
                    found.update(str(at).encode() + block)
    return found.hexdigest()


def _copy(source: Path, offset: int, size: int, target: BinaryIO) -> None:
    """Copy a part of a file to where ``target`` stands, and leave that behind it."""
    target.flush()
    start = target.tell()
    with source.open("rb") as stream:
        if os.fstat(stream.fileno()).st_size < offset + size:
            raise OSError(f"{source} became shorter while it was read")
        for first, last in _extents(stream, offset, offset + size):
            _copy_extent(stream.fileno(), first, target.fileno(), start + first - offset, last - first)
    if os.fstat(target.fileno()).st_size < start + size:
        os.ftruncate(target.fileno(), start + size)
    target.seek(start + size)


def _copy_extent(source: int, offset: int, target: int, at: int, size: int) -> None:
    while size:
        copied = _copied_by_kernel(source, offset, target, at, size)
        if not copied:
            block = os.pread(source, min(size, _BLOCK), offset)
            if not block:
                raise OSError("a data file became shorter while it was read")
            copied = os.pwrite(target, block, at)
        offset, at, size = offset + copied, at + copied, size - copied


def _copied_by_kernel(source: int, offset: int, target: int, at: int, size: int) -> int:
    """Return how many bytes the kernel copied; 0 where it cannot."""
    if not hasattr(os, "copy_file_range"):
        return 0
    try:
        return os.copy_file_range(source, target, size, offset, at)
    except OSError as error:
        if error.errno in _CANNOT:
            return 0
        raise


def _extents(stream: BinaryIO, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
    """Yield the parts of a file that are no holes, from ``start`` to ``end``."""
    file = stream.fileno()
    end = os.fstat(file).st_size if end is None else end
    while start < end:
        try:
            first = os.lseek(file, start, os.SEEK_DATA) if hasattr(os, "SEEK_DATA") else start
            last = os.lseek(file, first, os.SEEK_HOLE) if hasattr(os, "SEEK_HOLE") else end
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole up to the end of the file
                return
            first, last = start, end
        if first >= end:
            return
        yield first, min(last, end)
        start = min(last, end)


def _joined(left: Iterator[tuple[int, int]], right: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield the parts that are data in either of two files, in order and without overlap."""
    at = 0
    for start, end in sorted([*left, *right]):
        if end > at:
            yield max(start, at), end
            at = end
