"""Many models in parallel: each by itself, with any executor, and a second run makes only what is missing."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import onnx
import pytest

import normfold
from normfold import many
from normfold.errors import UsageError
from normfold.many import Status
from normfold.native import isolated
from tests.sweeps.hostile.cases import model, norm, parameters


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    """Two models, and one that is none between them."""
    paths = [tmp_path / name for name in ("a.onnx", "broken.onnx", "b.onnx")]
    onnx.save(model(norm("x"), parameters()), paths[0])
    paths[1].write_bytes(b"no model")
    onnx.save(model(norm("x"), parameters(8), shape=("N", 8)), paths[2])
    return paths


class Now(Executor):
    """An executor that runs each task at once, and loses the ``lost``-th."""

    def __init__(self, lost: int = 0) -> None:
        self.count, self.lost = 0, lost

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.count += 1
        if self.count == self.lost:
            future.set_exception(RuntimeError("the worker\nwas lost"))
        else:
            future.set_result(function(*arguments, **options))
        return future


def dies(*_: object) -> None:
    """End the process as a native library does."""
    os.abort()


def test_one_that_fails_never_stops_the_others(models: list[Path], tmp_path: Path) -> None:
    outcomes = normfold.optimize_many(models, tmp_path / "out", jobs=2)
    assert [outcome.status for outcome in outcomes] == [Status.WRITTEN, Status.FAILED, Status.WRITTEN]
    assert [bool(outcome) for outcome in outcomes] == [True, False, True]
    assert outcomes[1].kind == "SourceError" and "no protobuf" in outcomes[1].error
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.onnx", "b.onnx"]


def test_what_an_earlier_run_wrote_is_not_made_again(models: list[Path], tmp_path: Path) -> None:
    normfold.optimize_many(models[::2], tmp_path / "out", jobs=1)
    (tmp_path / "out" / "b.onnx").unlink()
    assert [outcome.status for outcome in normfold.optimize_many(models[::2], tmp_path / "out", jobs=1)] == [
        Status.RESUMED,
        Status.WRITTEN,
    ]
    again = normfold.optimize_many(models[:1], tmp_path / "out", jobs=1, target="tensorrt")
    assert again[0].status is Status.WRITTEN
    models[0].write_bytes(models[2].read_bytes())
    assert normfold.optimize_many(models[:1], tmp_path / "out", jobs=1)[0].status is Status.WRITTEN


def test_any_executor_runs_them(models: list[Path], tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as executor:
        assert all(normfold.optimize_many(models[::2], tmp_path / "out", executor=executor))
        assert executor.submit(int).result() == 0  # it stays open
    lost = normfold.optimize_many(models, tmp_path / "other", executor=Now(2))
    assert [outcome.error for outcome in lost] == ["", "RuntimeError: the worker", ""]


def test_a_dask_cluster_runs_them(models: list[Path], tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="Dask is no dependency; pip install distributed")
    with distributed.Client(processes=False, n_workers=1, dashboard_address=None) as client:
        assert all(normfold.optimize_many(models[::2], tmp_path / "out", executor=client.get_executor()))


def test_a_crash_is_an_outcome(models: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(isolated.VARIABLE, "")
    monkeypatch.setattr(many, "_optimize_here", dies)
    for executor in (None, Now()):
        outcomes = normfold.optimize_many(models[:2], tmp_path / "out", jobs=1, executor=executor)
        assert [outcome.kind for outcome in outcomes] == ["CrashError", "CrashError"]
        assert all(len(outcome.error.splitlines()) == 1 for outcome in outcomes)


def test_wrong_options_and_names_are_said_before_the_work(models: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="seed"):
        normfold.optimize_many(models, tmp_path / "out", seed=-1)
    with pytest.raises(UsageError, match="jobs: expected a whole number"):
        normfold.optimize_many(models, tmp_path / "out", jobs=-1)
    no_executor: Any = ThreadPoolExecutor
    with pytest.raises(UsageError, match=r"executor: expected .* got type"):
        normfold.optimize_many(models, tmp_path / "out", executor=no_executor)
    with pytest.raises(TypeError, match=r"^optimize_many\(\) .*did you mean skip"):
        normfold.optimize_many(models, tmp_path / "out", skp="batchnorm")  # type: ignore[call-arg]  # that is the test
    with pytest.raises(UsageError, match="one file"):
        normfold.optimize_many([models[0], models[0]], tmp_path / "out")
