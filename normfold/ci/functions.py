"""Offer check, diff and bench as Python functions: what the commands of the same names do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count

from normfold.ci.check_many import Task, check_models
from normfold.ci.diff import Change, difference_between
from normfold.ci.limits import Allowance, Limits, apply_limits
from normfold.ci.paths import models_of
from normfold.files.paths import AnyPath, as_path
from normfold.option_declaration import accepting, as_tuple
from normfold.options import BenchOptions, CheckArguments, InspectArguments, ProgressArguments
from normfold.report.report import Report
from normfold.timing.benchmark import Benchmark, benchmark
from normfold.verify import ModelOrResult, model_of


@accepting(CheckArguments)
def check(paths: AnyPath | Iterable[AnyPath], options: CheckArguments) -> tuple[Report, ...]:
    """Check the models at ``paths`` (files, folders, patterns) and return a report of each; nothing is written.

    ``Report.problems`` is empty for a model that passes: it has nothing left that ``optimize`` would fold or fuse,
    above ``max_foldable``. Raises UsageError for options or paths that do not fit.
    """
    tasks = [Task(model) for model in models_of(as_path(path) for path in as_tuple(paths))]
    asked = InspectArguments.of(options, on_stage=None)
    on_stage = options.on_stage or (lambda stage: None)
    found = check_models(tasks, asked, options.jobs, lambda task: on_stage(str(task.model)))
    most = 0 if options.max_foldable is None else options.max_foldable
    limits = Limits(most, options.max_kept, tuple(map(Allowance.of, options.allow)))
    return tuple(apply_limits(checked.report, limits) for checked in found)


@dataclass(frozen=True, kw_only=True)
class DiffArguments(InspectArguments):
    """The arguments of ``normfold.diff`` after the first model."""

    b: ModelOrResult = field(kw_only=False)


@accepting(DiffArguments)
def diff(a: ModelOrResult, options: DiffArguments) -> tuple[Change, ...]:
    """Return what changed from the model ``a`` to the model ``b``: interface, opset, norms, operators, weights.

    Each is what ``verify`` takes. Nothing is run. Raises SourceError for what is no valid model.
    """
    return difference_between(model_of(a), model_of(options.b), InspectArguments.of(options)).changes


@dataclass(frozen=True, kw_only=True)
class BenchArguments(ProgressArguments, BenchOptions):
    """The arguments of ``normfold.bench`` after the first model."""

    b: AnyPath | None = field(default=None, kw_only=False)


@accepting(BenchArguments)
def bench(a: AnyPath, options: BenchArguments) -> Benchmark:
    """Time the model at ``a``, or ``a`` and ``b`` in turns on the same inputs, in ONNX Runtime on this machine's CPU.

    ``Benchmark.ratios`` has, for each round, how many times ``b`` was faster. Raises BenchError for a model that does
    not run here. ``on_stage`` is called after each round.
    """
    models = [as_path(a), *([] if options.b is None else [as_path(options.b)])]
    rounds = (f"round {number} of {options.rounds}" for number in count(1))
    on_stage = options.on_stage or (lambda stage: None)
    return benchmark(models, BenchOptions.of(options), lambda: on_stage(next(rounds)))
