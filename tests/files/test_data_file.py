"""Data files: what did not change is copied by the kernel, holes stay holes, and nothing is compared by its name."""

from __future__ import annotations

import errno
import mmap
import os
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from normfold.files import data_file
from normfold.files.data_file import ALIGNMENT, digest, empty_on_disk, same_content, write_tensors


def constant(tensor: ir.TensorProtocol) -> ir.Value:
    return ir.Value(name=tensor.name, const_value=tensor)


def external(file: Path, offset: int, size: int) -> ir.Value:
    return constant(
        ir.ExternalTensor(
            file.name, offset, size, ir.DataType.UINT8, shape=ir.Shape([size]), name="e", base_dir=file.parent
        )
    )


@pytest.fixture
def sparse(tmp_path: Path) -> Path:
    """A file of 64 MB of which a few bytes are stored."""
    file = tmp_path / "sparse"
    with file.open("wb") as stream:
        stream.seek(2**24)
        stream.write(b"in the middle")
        stream.truncate(2**26)
    return file


def empty(folder: Path) -> Path:
    file = folder / "written"
    file.touch()
    return file


@pytest.mark.parametrize("by_kernel", [True, False])
def test_a_part_of_a_file_is_copied(
    sparse: Path, tmp_path: Path, by_kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not by_kernel:
        monkeypatch.setattr(data_file, "_copied_by_kernel", lambda *arguments: 0)
    array = np.arange(7, dtype=np.float32)
    values = [external(sparse, 2**24 - 5, 100), constant(ir.tensor(array, name="a")), external(sparse, 0, 2**26)]
    file = empty(tmp_path)
    offsets = write_tensors(values, file)
    assert list(offsets.values()) == [0, ALIGNMENT, 2 * ALIGNMENT]
    content = file.read_bytes()
    assert content[:100] == sparse.read_bytes()[2**24 - 5 :][:100]
    assert content[ALIGNMENT:][:28] == array.tobytes()
    assert content[2 * ALIGNMENT :] == sparse.read_bytes()


def test_holes_stay_holes(sparse: Path, tmp_path: Path) -> None:
    file = empty(tmp_path)
    write_tensors([external(sparse, 0, 2**26)], file)
    assert file.stat().st_size == 2**26
    assert file.stat().st_blocks * 512 < 2**20


def test_a_file_that_became_shorter_is_said(sparse: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="became shorter"):
        write_tensors([external(sparse, 2**26 - 10, 20)], empty(tmp_path))


def test_content_is_compared_and_not_where_it_is_stored(sparse: Path, tmp_path: Path) -> None:
    dense, other = tmp_path / "dense", tmp_path / "other"
    dense.write_bytes(sparse.read_bytes())
    content = bytearray(sparse.read_bytes())
    content[-1] = 1
    other.write_bytes(content)
    assert same_content(sparse, dense) and digest(sparse) == digest(dense)
    assert not same_content(sparse, other) and digest(sparse) != digest(other)
    assert not same_content(sparse, Path(__file__))


def test_a_large_array_lies_on_the_disk_unless_that_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_file, "_ON_DISK", 4096)
    large, small = (empty_on_disk((size, 32), np.dtype(np.float32)) for size in (32, 31))
    assert isinstance(large.base, mmap.mmap)
    assert small.base is None
    large[:] = 2
    assert large.flags.c_contiguous and large.sum() == 2 * 32 * 32

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert empty_on_disk((32, 32), np.dtype(np.float32)).base is None
