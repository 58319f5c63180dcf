"""Check many models: from the cache where nothing changed, else in parallel processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from normfold._version import __version__
from normfold.ci.cache import Cache
from normfold.ci.report_data import from_data, to_data
from normfold.errors import CrashError, SourceError, UsageError
from normfold.findings.reason import Reason
from normfold.native import isolated
from normfold.options import InspectArguments
from normfold.report.report import Problem, Report
from normfold.report.statistics import Statistics

Look = Callable[[str, str], dict[str, Any]]
NOTHING = Statistics((), 0, 0, 0)


@dataclass(frozen=True)
class Task:
    """A model to check, and the original to compare it with, if any."""

    model: Path
    original: Path | None = None

    @property
    def arguments(self) -> tuple[str, str]:
        """Both as texts; "" for no original."""
        return str(self.model), str(self.original or "")


@dataclass(frozen=True)
class Checked:
    """What was found out about a model. ``sha256`` is of its contents, data files included; "" if it is unreadable."""

    report: Report
    sha256: str = ""


def check_models(
    tasks: Sequence[Task],
    options: InspectArguments,
    jobs: int = 0,
    done: Callable[[Task], None] = lambda task: None,
    cache: Path | None = None,
    pictures: bool = False,
) -> tuple[Checked, ...]:
    """One result for each task, in their order, from the folder ``cache`` where nothing changed.

    ``jobs`` processes look at the others, 0 for one a core; ``done`` hears of each that ends. A model that cannot be
    read, or whose process died, has a report with that as its problem. UsageError for options that do not fit.
    """
    memory = Cache(cache, options, pictures)
    found: dict[Task, dict[str, Any]] = {}
    for task in tasks:
        outcome = memory.recall(task.model, task.original)
        if outcome is not None:
            found[task] = outcome
            done(task)
    look = partial(inspect_one, options=options, pictures=pictures)
    unknown = {task: memory.digests.of(task.model) for task in tasks if task not in found}
    for task, outcome in _inspected_all(list(unknown), look, jobs or os.cpu_count() or 1):
        found[task] = outcome
        memory.remember(task.model, task.original, unknown[task], outcome)
        done(task)
    checked = tuple(_checked(task, found[task], options.target, memory) for task in tasks)
    memory.close()
    return checked


def _checked(task: Task, outcome: dict[str, Any], target: str, memory: Cache) -> Checked:
    sha256 = memory.content_digest(task.model, outcome) if "report" in outcome else ""
    return Checked(_report(task, outcome, target), sha256)


def _report(task: Task, outcome: Mapping[str, Any], target: str) -> Report:
    name = str(task.model)
    if "report" in outcome:
        return replace(from_data(outcome["report"]), model=name)
    problem = Problem(Reason.UNREADABLE, why=outcome["unreadable"])
    return Report("check", __version__, name, target, (), NOTHING, NOTHING, problems=(problem,))


def _inspected_all(tasks: Sequence[Task], look: Look, jobs: int) -> Iterator[tuple[Task, dict[str, Any]]]:
    """Yield what came out for each task, as they end; of a process that died, that it did."""
    if min(jobs, len(tasks)) < 2:
        yield from ((task, _inspected_alone(task, look)) for task in tasks)
        return
    found = isolated.call_in_parallel("checking", look, [task.arguments for task in tasks], min(jobs, len(tasks)))
    for index, outcome in found:
        yield tasks[index], {"unreadable": str(outcome)} if isinstance(outcome, CrashError) else outcome


def _inspected_alone(task: Task, look: Look) -> dict[str, Any]:
    try:
        return isolated.call(f"checking {task.model}", look, *task.arguments, seconds=isolated.TASK_LIMIT)
    except CrashError as error:
        return {"unreadable": str(error)}


# -- one model, in whatever process: only this loads onnx ---------------------------------------------------------


def inspect_one(path: str, original: str, options: InspectArguments, pictures: bool = False) -> dict[str, Any]:
    """Inspect the model at ``path`` and, if ``original`` is given, compare it with that.

    With ``pictures`` the report has its drawings.

    ``report`` is the report as data, ``external`` the names of its data files, and ``original external`` those of the
    original; or ``unreadable`` says why there is
    none. UsageError for options that do not fit.
    """
    try:
        return _inspected(path, original, options, pictures)
    except SourceError as error:
        return {"unreadable": str(error)}
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001  # a defect of ours in one model must not hide the results of the others
        return {"unreadable": f"internal error, please report: {type(error).__name__}: {error}"}


def _inspected(path: str, original: str, options: InspectArguments, pictures: bool) -> dict[str, Any]:
    from normfold.files.source import read
    from normfold.pipeline import inspect_with
    from normfold.verify import ProofOptions, prove

    inspection = inspect_with(path, options)
    report = replace(inspection.report(pictures=pictures), command="check")
    files = {"external": sorted(inspection.source.data_files)}
    if original:
        files["original external"] = sorted(read(original).data_files)
        report = replace(report, verification=prove(Path(original), Path(path), None, ProofOptions()))
    return {"report": to_data(report), **files}
