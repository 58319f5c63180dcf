"""Optimize many models in parallel, with any executor: one that fails or crashes never stops the others.

Each model is optimized in a worker process (``native/isolated.py``), wherever the executor runs the task. An output
that was made from the same original, with the same options and version, is not made again, so a run that was killed
goes on where it stopped.

With Dask, on a cluster that shares the folders: ``optimize_many(paths, folder, executor=Client(...).get_executor())``.
With MPI, under ``mpiexec -n 8 python -m mpi4py.futures script.py``: ``executor=mpi4py.futures.MPIPoolExecutor()``. Ray
has no such executor: ``ray.remote(optimize_one)`` is a task, and ``ray.get`` of the tasks gives the outcomes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from pathlib import Path
from typing import Annotated

import onnx

from normfold._version import __version__
from normfold.errors import CrashError, NormfoldError
from normfold.files.paths import AnyPath, as_path, check_paths
from normfold.native import isolated
from normfold.option_declaration import Option, accepting, as_tuple, internal
from normfold.options import OptimizeArguments, Options, ProgressArguments, RewriteOptions
from normfold.pipeline import inspect, optimize
from normfold.provenance import options_as_text
from normfold.report.report import Report
from normfold.result import NotProven
from normfold.runtime.metadata_keys import ORIGINAL_KEY, RUN_OPTIONS_KEY, VERSION_KEY


class Status(Enum):
    """What became of one model of many."""

    WRITTEN = "written"
    RESUMED = "an earlier run wrote it"
    FAILED = "failed"


@dataclass(frozen=True)
class ManyOutcome:
    """One model of many: ``changes`` were folded or fused; ``error`` is one line, ``kind`` the class of the error.

    ``report`` is that of a model that was optimized, written or not; where reports are written, that of an inspection
    for one that an earlier run wrote. ``is_different``: its proof measured a difference.
    """

    model: str
    output: str
    status: Status
    changes: int = 0
    error: str = ""
    kind: str = ""
    report: Report | None = None
    is_different: bool = False

    def __bool__(self) -> bool:
        return self.status is not Status.FAILED


@dataclass(frozen=True, kw_only=True)
class ManyArguments(ProgressArguments, Options):
    """The arguments of ``normfold.optimize_many`` after the models."""

    output_dir: AnyPath = field(kw_only=False)
    executor: Annotated[Executor | None, internal("What runs the tasks; None: ``jobs`` processes of this machine.")] = (
        None
    )
    jobs: Annotated[int, Option("Models at a time (0: one a core).", low=0, is_recorded=False)] = 0


@accepting(ManyArguments)
def optimize_many(models: AnyPath | Iterable[AnyPath], options: ManyArguments) -> tuple[ManyOutcome, ...]:
    """Optimize each of ``models`` into ``output_dir``, under its own name, and return an outcome for each, in order.

    ``executor`` is any ``concurrent.futures.Executor`` whose workers see the same files; without one, ``jobs`` models
    are optimized at a time (0: one a core). ``on_stage`` is called with the path of each model that is done, from any
    thread. ``options`` are those of ``normfold.optimize``. Raises UsageError, before anything is done, for an option
    that does not fit and for two models of one name.
    """
    chosen, executor = OptimizeArguments(**vars(Options.of(options))), options.executor
    folder = Path(options.output_dir)
    pairs = [(path, str(folder / Path(path).name)) for path in map(as_path, as_tuple(models))]
    folder.mkdir(parents=True, exist_ok=True)
    check_paths([model for model, _ in pairs], [output for _, output in pairs])
    ended = options.on_stage or _silent
    if executor is None:
        return tuple(optimize_pairs(pairs, chosen, options.jobs, on_stage=ended))
    futures = [executor.submit(optimize_one, *pair, chosen) for pair in pairs]
    for future, (model, _) in zip(futures, pairs, strict=True):
        future.add_done_callback(lambda _, model=model: ended(model))  # type: ignore[misc]  # bound now
    return tuple(_outcome(future, *pair) for future, pair in zip(futures, pairs, strict=True))


def _silent(model: str) -> None:
    """Say nothing about a model that has ended."""


def optimize_pairs(
    pairs: Sequence[tuple[str, str]],
    options: OptimizeArguments,
    jobs: int = 0,
    *,
    pictures: bool = False,
    on_stage: Callable[[str], None] = _silent,
) -> list[ManyOutcome]:
    """Optimize the first path of each pair into the second, each in a worker process, and return the outcomes in order.

    ``jobs`` run at a time (0: one a core). With ``pictures`` the reports have what HTML draws. ``on_stage`` is called
    with each model as it ends.
    """
    tasks = [(*pair, options, pictures) for pair in pairs]
    outcomes: dict[int, ManyOutcome] = {}
    for index, found in isolated.call_in_parallel("optimizing", _optimize_here, tasks, jobs or os.cpu_count() or 1):
        outcomes[index] = _failed(*pairs[index], found) if isinstance(found, CrashError) else found
        on_stage(pairs[index][0])
    return [outcomes[index] for index in range(len(pairs))]


def _outcome(future: Future[ManyOutcome], model: str, output: str) -> ManyOutcome:
    try:
        return future.result()
    except Exception as error:  # noqa: BLE001  # a worker of the executor was lost, and each kind says so in its own way
        return _failed(model, output, error)


def optimize_one(model: str, output: str, options: OptimizeArguments) -> ManyOutcome:
    """Optimize ``model`` into ``output`` in a worker process. Every error, a crash included, becomes an outcome."""
    try:
        return isolated.call(f"optimizing {model}", _optimize_here, model, output, options, seconds=isolated.TASK_LIMIT)
    except CrashError as error:
        return _failed(model, output, error)


def _optimize_here(model: str, output: str, options: OptimizeArguments, pictures: bool = False) -> ManyOutcome:
    if _is_done(Path(model), Path(output), options):
        return ManyOutcome(model, output, Status.RESUMED, report=_earlier(model, output, options, pictures))
    try:
        result = optimize(model, **{**vars(options), "output": output})
    except NotProven as error:
        report = error.result.report(pictures=pictures)
        return replace(_failed(model, output, error), report=report, is_different=error.is_different)
    except Exception as error:  # noqa: BLE001  # one model never stops the others
        return _failed(model, output, error)
    report = result.report(pictures=pictures)
    return ManyOutcome(model, output, Status.WRITTEN, len(result.changes), report=report)


def _earlier(model: str, output: str, options: OptimizeArguments, pictures: bool) -> Report | None:
    """Return the report on a model that an earlier run wrote, if reports are written: an inspection finds it again."""
    if not options.reports:
        return None
    chosen = {each.name: getattr(options, each.name) for each in fields(RewriteOptions)}
    found = inspect(model, **chosen).report(pictures=pictures)
    note = "an earlier run has proven and written it; the findings are those of an inspection"
    return replace(found, output=output, notes=(*found.notes, note))


def _failed(model: str, output: str, error: Exception) -> ManyOutcome:
    lines = str(error).splitlines() or [type(error).__name__]
    text = lines[0] if isinstance(error, NormfoldError) else f"{type(error).__name__}: {lines[0]}"
    return ManyOutcome(model, output, Status.FAILED, error=text[:2000], kind=type(error).__name__)


def _is_done(model: Path, output: Path, options: Options) -> bool:
    """Return whether ``output`` says that it was made from this original, with these options and this version."""
    try:
        original = model.read_bytes()
        if output.read_bytes() == original:
            return False  # an unchanged model is found out again: nothing says with which options
        proto = onnx.load(output, load_external_data=False)
    except Exception:  # noqa: BLE001  # what cannot be read was not written
        return False
    said = {entry.key: entry.value for entry in proto.metadata_props}
    return (
        said.get(ORIGINAL_KEY) == hashlib.sha256(original).hexdigest()
        and said.get(VERSION_KEY) == __version__
        and said.get(RUN_OPTIONS_KEY) == options_as_text(options)
    )
