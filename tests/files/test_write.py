"""Writing: what is written reads back, and whatever happens on the way, the old files are whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper

import normfold
from normfold.errors import SourceError, UsageError, WriteError
from normfold.files import write
from normfold.files.protos.convert import to_ir
from normfold.files.write import write_bytes, write_model
from tests.nets import conv_bn, nothing


def big(seed: int) -> ir.Model:
    """A model with one weight that is large enough to go into a data file."""
    model = onnx.parser.parse_model("""
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[1, 64] x) => (float[1, 64] y) { y = MatMul (x, w) }
    """)
    weight = np.random.default_rng(seed).normal(size=(64, 64)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    return to_ir(model)


def weight_of(path: Path) -> np.ndarray[Any, Any]:
    """The weight of a written model, from wherever it is stored."""
    return numpy_helper.to_array(onnx.load(path).graph.initializer[0])


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("external", [False, True])
def test_what_is_written_reads_back(tmp_path: Path, external: bool) -> None:
    target = tmp_path / "m.onnx"
    write_model(big(0), target, external=external)
    assert set(contents(tmp_path)) == ({"m.onnx", "m.onnx.data"} if external else {"m.onnx"})
    onnx.checker.check_model(str(target))
    values = big(0).graph.initializers["w"].const_value
    assert values is not None
    np.testing.assert_array_equal(weight_of(target), values.numpy())


@pytest.mark.parametrize("spoil", ["a byte", "an end", "more"])
def test_a_file_that_reads_back_differently_is_not_kept(
    spoil: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(big(0), tmp_path / "m.onnx")
    before = contents(tmp_path)

    def spoiled(stream: BinaryIO) -> None:
        stream.flush()
        end = stream.tell()
        stream.seek(end // 2)
        if spoil == "a byte":
            stream.write(b"!")
        elif spoil == "an end":
            stream.truncate(end - 1)
        else:
            stream.seek(end)
            stream.write(b"!")
        stream.flush()

    monkeypatch.setattr(write, "_flush", spoiled)
    monkeypatch.setattr(write, "_PART", 1000)
    with pytest.raises(WriteError, match="reads back differently"):
        write_model(big(1), tmp_path / "m.onnx")
    assert contents(tmp_path) == before


def test_a_model_over_the_limit_gets_a_data_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "INLINE_LIMIT", 1000)
    write_model(big(0), tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx.data").stat().st_size == 64 * 64 * 4


def test_writing_twice_gives_the_same_bytes_and_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "m.onnx"
    write_model(big(0), target, external=True)
    first = contents(tmp_path)
    write_model(big(0), target, external=True)
    assert contents(tmp_path) == first
    write_model(big(1), target, external=True)
    assert len(contents(tmp_path)) == 2  # the old data file is gone, because no model refers to it
    values = big(1).graph.initializers["w"].const_value
    assert values is not None
    np.testing.assert_array_equal(weight_of(target), values.numpy())


def test_the_model_in_memory_is_the_same_after_writing(tmp_path: Path) -> None:
    model = big(0)
    before = model.graph.initializers["w"].const_value
    write_model(model, tmp_path / "m.onnx", external=True)
    assert model.graph.initializers["w"].const_value is before


STEPS = ["os.replace", "os.fsync", "onnx.checker.check_model", "normfold.files.write.to_proto"]


@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["error", "interrupt"])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("call", [1, 2])
def test_a_failure_at_any_step_leaves_the_old_files_whole(
    step: str, call: int, error: BaseException, external: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "m.onnx"
    write_model(big(0), target, external=external)
    before = contents(tmp_path)
    module, name = step.rsplit(".", 1)
    home = {"os": os, "onnx.checker": onnx.checker, "normfold.files.write": write}[module]
    original, calls = getattr(home, name), []

    def fail(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        if len(calls) == call:
            raise error
        return original(*arguments, **options)

    monkeypatch.setattr(home, name, fail)
    expected = WriteError if isinstance(error, OSError) else KeyboardInterrupt
    try:
        write_model(big(1), target, external=external)
    except expected:
        assert len(calls) == call
        monkeypatch.undo()
        left = contents(tmp_path)
        if left["m.onnx"] == before["m.onnx"]:
            assert left == before
        else:  # it failed after the new name was in place, when only the folder was left to flush
            assert (step, weight_of(target).shape) == ("os.fsync", (64, 64))
    else:
        assert len(calls) < call


def test_a_killed_process_leaves_the_old_files_whole(tmp_path: Path) -> None:
    """SIGKILL while the new model waits for its name: no handler of ours can run."""
    target = tmp_path / "m.onnx"
    write_model(big(0), target, external=True)
    old = weight_of(target)
    program = textwrap.dedent(f"""
        import os, sys
        from pathlib import Path
        from normfold.files import write
        from tests.files.test_write import big
        replace, calls = os.replace, []
        def wait(one, other):
            calls.append(one)
            if len(calls) == int(sys.argv[1]):
                os.kill(os.getpid(), {int(signal.SIGKILL)})
            replace(one, other)
        os.replace = wait
        write.write_model(big(1), Path({str(target)!r}), external=True)
    """)
    for call in ("1", "2"):
        done = subprocess.run([sys.executable, "-c", program, call], check=False)
        assert done.returncode == -signal.SIGKILL
        np.testing.assert_array_equal(weight_of(target), old)
    assert len(contents(tmp_path)) > 2
    write_model(big(2), target, external=True)
    assert len(contents(tmp_path)) == 2  # what the killed ones left is gone, the data file of the second one too


def test_shared_weights_stay_where_they_are(tmp_path: Path) -> None:
    source, target = tmp_path / "m.onnx", tmp_path / "out.onnx"
    write_model(big(0), source, external=True)
    read = ir.load(source)
    write_model(read, target, shared=tmp_path)
    np.testing.assert_array_equal(weight_of(target), weight_of(source))
    assert (tmp_path / "out.onnx.data").stat().st_size == 0


def test_the_input_is_never_overwritten_without_being_asked(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(conv_bn(), path)
    os.link(path, tmp_path / "hard.onnx")
    os.symlink(path, tmp_path / "soft.onnx")
    before = path.read_bytes()
    for name in ("m.onnx", "hard.onnx", "soft.onnx"):
        with pytest.raises(UsageError, match="is the input"):
            normfold.optimize(path, tmp_path / name)
    assert path.read_bytes() == before
    normfold.optimize(path, path, in_place=True)
    assert [node.op_type for node in onnx.load(path).graph.node] == ["Conv"]


def test_in_place_with_external_data_replaces_both_files(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(conv_bn(), path, save_as_external_data=True, location="m.onnx.data", size_threshold=0)
    result = normfold.optimize(path, path, in_place=True)
    assert len(result.changes) == 1
    written = onnx.load(path)
    onnx.checker.check_model(written)
    assert [node.op_type for node in written.graph.node] == ["Conv"]


def test_an_unchanged_model_is_copied_byte_for_byte(tmp_path: Path) -> None:
    path, target = tmp_path / "m.onnx", tmp_path / "out.onnx"
    model = nothing()
    model.doc_string = "written by hand"
    path.write_bytes(model.SerializeToString() + b"\x9a\x06\x02hi")  # a field that onnx does not know
    result = normfold.optimize(path, target)
    assert target.read_bytes() == path.read_bytes()
    assert result.report().is_copy


def test_what_cannot_be_written_is_said_before_the_work(tmp_path: Path) -> None:
    for output in (tmp_path, tmp_path / "none" / "m.onnx"):
        with pytest.raises(UsageError):
            normfold.optimize(nothing(), output)


def test_permissions_of_the_target_stay(tmp_path: Path) -> None:
    target = tmp_path / "m.onnx"
    write_bytes(b"old", target)
    target.chmod(0o640)
    write_bytes(b"new", target)
    assert target.stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give files away")
def test_the_owner_of_the_target_stays_where_that_is_allowed(tmp_path: Path) -> None:
    target = tmp_path / "m.onnx"
    write_bytes(b"old", target)
    os.chown(target, 65534, 65533)
    write_bytes(b"new", target)
    assert (target.read_bytes(), target.stat().st_uid, target.stat().st_gid) == (b"new", 65534, 65533)


@pytest.mark.parametrize("external", [False, True])
def test_a_new_output_is_no_more_readable_than_its_input(tmp_path: Path, external: bool) -> None:
    path, output = tmp_path / "m.onnx", tmp_path / "out.onnx"
    onnx.save(conv_bn(), path, save_as_external_data=external, location="m.data", size_threshold=0)
    path.chmod(0o600)
    normfold.optimize(path, output)
    written = [file for file in tmp_path.iterdir() if file.name.startswith("out")]
    assert len(written) == 1 + external
    assert {file.stat().st_mode & 0o777 for file in written} == {0o600}


def test_links_are_followed_in_place_and_replaced_elsewhere(tmp_path: Path) -> None:
    """A hard link keeps the old content under its other name."""
    model, link, other, hard = (tmp_path / name for name in ("m.onnx", "link.onnx", "other.onnx", "hard.onnx"))
    onnx.save(conv_bn(), model)
    before = model.read_bytes()
    other.write_bytes(b"another")
    link.symlink_to(other)
    normfold.optimize(model, link)
    assert other.read_bytes() == b"another" and not link.is_symlink()
    link.unlink()
    link.symlink_to(model)
    hard.hardlink_to(model)
    normfold.optimize(link, link, in_place=True)
    assert link.is_symlink() and model.read_bytes() != before and hard.read_bytes() == before


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("change", ["replaced", "removed"])
def test_a_data_file_that_changes_before_the_result_is_written_is_noticed(
    tmp_path: Path, in_place: bool, change: str
) -> None:
    path, data = tmp_path / "m.onnx", tmp_path / "w.data"
    onnx.save(conv_bn(), path, save_as_external_data=True, location="w.data", size_threshold=0)

    def swap(stage: str) -> None:
        if stage == "write":
            halved = (np.fromfile(data, "<f4") / 2).tobytes()
            data.unlink()
            if change == "replaced":
                data.write_bytes(halved)

    before = path.read_bytes()
    with pytest.raises(SourceError, match="data changed after it was read; nothing was written, run it again"):
        normfold.optimize(path, output=path if in_place else tmp_path / "out.onnx", in_place=in_place, on_stage=swap)
    assert set(contents(tmp_path)) == {"m.onnx"} | ({"w.data"} if change == "replaced" else set())
    assert path.read_bytes() == before
