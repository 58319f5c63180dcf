"""Native code that dies, loops or allocates without limit costs a worker, and the caller goes on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

import normfold
from normfold.constants.fold_in_runtime import evaluate_by_runtime
from normfold.errors import CrashError, SourceError
from normfold.files import source
from normfold.files.protos.convert import to_ir
from normfold.fuse.opset import OpsetRaiseError, raise_opset
from normfold.native import isolated
from tests.conftest import Command
from tests.onnx_text import parse

MODEL = """
(float[N,3,8,8] x) => (float[N,4,6,6] y)
<float[4,3,3,3] w, float[4] b, float[4] s = {1, 2, 3, 4}, float[4] m = {0, 1, 0, 1}, float[4] v = {1, 2, 3, 4}>
{ c = Conv(x, w, b)
  y = BatchNormalization(c, s, b, m, v) }
"""


@pytest.fixture
def in_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(isolated.VARIABLE, "")


def die(number: int = signal.SIGABRT) -> None:
    os.kill(os.getpid(), number)


def process() -> int:
    return os.getpid()


def wait(seconds: float) -> None:
    time.sleep(seconds)


def allocate(size: int) -> int:
    return len(bytearray(size))


class TwoArgumentsError(Exception):
    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


def fail(error: Exception) -> None:
    raise error


def fail_with_two() -> None:
    raise TwoArgumentsError("a", "b")


def test_one_worker_is_kept(in_workers: None) -> None:
    first = isolated.call("a test", process)
    assert first != os.getpid()
    assert isolated.call("a test", process) == first


def test_a_worker_that_was_started_early_takes_the_first_call(in_workers: None) -> None:
    pool = isolated._pool(os.getpid())
    pool.end_idle()
    isolated.start()
    isolated.start()
    [worker] = pool._idle
    assert isolated.call("a test", process) == worker._process.pid


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV, signal.SIGFPE, signal.SIGKILL])
def test_a_death_is_an_error_that_names_the_signal(in_workers: None, number: int) -> None:
    with pytest.raises(CrashError, match=f"the test ended its process .{signal.Signals(number).name}"):
        isolated.call("the test", die, number)
    assert isolated.call("the test", process) != os.getpid()


def test_a_call_that_takes_too_long_is_ended(in_workers: None) -> None:
    with pytest.raises(CrashError, match=r"the test took more than 0.1 s"):
        isolated.call("the test", wait, 60.0, seconds=0.1)


def test_memory_is_limited(in_workers: None) -> None:
    with pytest.raises((MemoryError, CrashError)):
        isolated.call("the test", allocate, 2**50)


def test_errors_come_back_as_they_are(in_workers: None) -> None:
    with pytest.raises(SourceError, match="a b"):
        isolated.call("the test", fail, SourceError("a b"))
    with pytest.raises(RuntimeError, match="TwoArgumentsError: a b"):
        isolated.call("the test", fail_with_two)


def test_a_fork_does_not_share_the_worker(in_workers: None) -> None:
    isolated.call("the test", process)
    assert isolated._pool(os.getpid()) is not isolated._pool(os.getppid())


STAGES = {
    "check": ("normfold.files.source", "checker_complaint"),
    "load": ("normfold.files.source", "runtime_rejection"),
    "inference": ("normfold.constants.simplify", "infer_facts"),
    "conversion": ("onnx.version_converter", "convert_version"),
    "constants": ("normfold.constants.fold_in_runtime", "outputs_of"),
    "optimizer": ("normfold.runtime.fused_operators", "write_optimized"),
    "run": ("normfold.verify.proof", "prove"),
}


@pytest.fixture
def dying(in_workers: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Replace what the worker runs at a stage by its death."""

    def replace(stage: str) -> None:
        module, name = STAGES[stage]
        original, target = isolated.call, f"{module}.{name}"

        def call(label: str, function: Callable[..., object], *arguments: object, seconds: float = 60.0) -> object:
            if f"{function.__module__}.{function.__name__}" == target:
                return original(label, die, seconds=seconds)
            return original(label, function, *arguments, seconds=seconds)

        monkeypatch.setattr(isolated, "call", call)

    return replace


def test_a_death_in_the_checker_or_in_inference_leaves_it_out(dying: Callable[[str], None]) -> None:
    dying("check")
    result = normfold.optimize(parse(MODEL))
    assert len(result.changes) == 1 and any("SIGABRT" in note for note in result.notes)


def test_a_death_in_constant_folding_is_a_note(dying: Callable[[str], None]) -> None:
    dying("inference")
    assert any("SIGABRT" in note for note in normfold.optimize(parse(MODEL)).notes)


def test_a_death_in_the_version_converter_is_its_failure(dying: Callable[[str], None]) -> None:
    dying("conversion")
    with pytest.raises(OpsetRaiseError, match=r"the converter failed.*SIGABRT"):
        raise_opset(to_ir(parse(MODEL, opset=13)), 17, 10)


def test_a_death_on_constants_leaves_them(dying: Callable[[str], None]) -> None:
    dying("constants")
    text = "(float[N,4] x) => (float[N,4] y) <float[4,4] w> { s = Softmax(w) m = MatMul(x, s) y = Relu(m) }"
    model = to_ir(parse(text))
    evaluate_by_runtime(model)
    assert "Softmax" in [node.op_type for node in model.graph]


def test_a_death_in_the_runtimes_optimizer_leaves_the_guard_out(dying: Callable[[str], None]) -> None:
    dying("optimizer")
    assert len(normfold.optimize(parse(MODEL)).changes) == 1


def test_a_death_in_the_proof_writes_nothing(dying: Callable[[str], None], tmp_path: Path) -> None:
    dying("run")
    with pytest.raises(CrashError, match=r"the proof ended its process .SIGABRT"):
        normfold.optimize(parse(MODEL), tmp_path / "out.onnx")
    assert not list(tmp_path.iterdir())


def test_a_model_that_the_runtime_dies_on_is_no_valid_one(
    dying: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    dying("load")
    broken = parse(MODEL)
    broken.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(SourceError, match="SIGABRT"):
        normfold.optimize(broken)


def test_an_error_of_ours_about_a_model_that_does_not_load_is_the_models(tmp_path: Path) -> None:
    broken = parse(MODEL)
    read = source.Source("m", broken)
    with pytest.raises(KeyError), source.blaming(read):
        raise KeyError
    broken.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(SourceError, match="NoSuchOperator"), source.blaming(read):
        raise KeyError


def test_the_command_survives_what_ends_the_runtime(command: Command, tmp_path: Path) -> None:
    model = parse(
        MODEL.replace("x) =>", "x, int32[1] q) =>")
        .replace("6,6] y", "6,6] y, int32[1] z")
        .replace("float[4] b,", "float[4] b, int32[1] least = {-2147483648}, int32[1] minus = {-1},")
        .replace("v) }", "v)\n zero = Sub(q, q)\n by = Add(zero, minus)\n z = Div(least, by) }")
    )
    onnx.save(model, tmp_path / "m.onnx")
    done = command("optimize", tmp_path / "m.onnx")
    assert done.returncode == 4 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "SIGFPE" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_tasks_in_parallel_end_each_by_itself() -> None:
    tasks = [("1 + 1",), ("__import__('os').abort()",), ("2 + 2",)]
    found = dict(isolated.call_in_parallel("thinking", eval, tasks, 2))
    assert (found[0], found[2]) == (2, 4)
    assert isinstance(found[1], CrashError)
    with pytest.raises(ZeroDivisionError):
        list(isolated.call_in_parallel("thinking", eval, [("1 / 0",), ("2",)], 2))
