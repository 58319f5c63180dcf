"""normfold check: whether models ship with norms that should be gone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from normfold.options import LIMITS, CheckArguments, InspectArguments

from .arguments import PATH, command, option, options_of, reporting
from .exits import Exit
from .progress import bar
from .show import Output

if TYPE_CHECKING:
    from normfold.ci.check_many import Checked
    from normfold.ci.limits import Limits
    from normfold.report.report import Report

LOCK = "normfold.lock"


limit = partial(option, group=LIMITS)
EXAMPLES = """
normfold check models/
normfold check models/ --update-lock
normfold check models/ --lock normfold.lock --report check.sarif
"""


@command("Fail where models still have norms to fold.", EXAMPLES)
@click.argument("paths", nargs=-1, required=True, type=PATH, metavar="PATH...")
@limit("--lock", type=PATH, metavar="FILE", help="Accept what this file records; fail on what got worse.")
@limit("--update-lock", is_flag=True, help=f"Write the models as they are to the lock. [default: {LOCK}]")
@limit("--verify-against", "original", type=PATH, metavar="FILE|DIR", help="Compare with this original, or those.")
@options_of(CheckArguments)
@option("--no-cache", is_flag=True, help="Look at every model again, and keep nothing for the next run.")
@reporting
def check(
    paths: tuple[str, ...],
    lock: str | None,
    update_lock: bool,
    original: str | None,
    no_cache: bool,
    output: Output,
    **chosen: Any,
) -> Exit:
    """Check models without writing any: files, folders (their .onnx files at any depth) and patterns.

    A check fails for each norm or constant affine that `normfold optimize` would still fold or fuse, above
    --max-foldable; what normfold wrote has none. With --lock it fails for each norm that is worse than in the lock, and
    --max-foldable counts only if it is given.
    """
    from normfold.ci.cache import cache_folder
    from normfold.ci.check_many import Task, check_models
    from normfold.ci.limits import Allowance, Limits
    from normfold.ci.paths import models_of, originals_of
    from normfold.files.paths import check_paths

    asked = CheckArguments(**chosen)
    options = InspectArguments.of(asked)
    max_foldable = asked.max_foldable
    lock = lock or (LOCK if update_lock else None)
    if lock is None and max_foldable is None:
        max_foldable = 0
    limits = Limits(max_foldable, asked.max_kept, tuple(map(Allowance.of, asked.allow)))
    models = models_of(paths)
    originals = originals_of(models, original)
    tasks = [Task(model, originals.get(model)) for model in models]
    locks = [lock] if lock and update_lock else []
    check_paths([*models, *originals.values(), *([lock] if lock and not update_lock else [])], [*output.paths, *locks])
    judge = _Acceptance(limits, Path(lock) if lock else None, update_lock, options)
    folder = None if no_cache else cache_folder()
    with bar("checking", len(tasks), output.quiet) as advance:
        found = check_models(tasks, options, asked.jobs, lambda task: advance(), folder, output.has_pictures)
    checked = judge(found)
    _show(checked, judge.lines, output)
    output.write(checked)
    output.write(checked, only_stdout=True)
    return exit_of(checked)


class _Acceptance:
    """Limits and lock, read before the work, so that a wrong lock costs no run."""

    def __init__(self, limits: Limits, lock: Path | None, update: bool, options: InspectArguments) -> None:
        self.limits, self.update, self.lines = limits, update, list[str]()
        self.lock = None
        if lock is not None:
            from normfold.ci.lock import read_lock

            self.lock = read_lock(lock, options, must_exist=not update)

    def __call__(self, found: Sequence[Checked]) -> list[Report]:
        """Return the reports with their problems, and write the lock if that is asked for and all could be read."""
        from normfold.ci.limits import apply_limits

        reports = [apply_limits(checked.report, self.limits) for checked in found]
        if self.lock is None:
            return reports
        from normfold.ci.lock import compared, summary, updated, write_lock

        if not self.update:
            self.lines += [f"{self.lock.path}: {name} is gone; --update-lock removes it" for name in self.lock.gone]
            return [compared(self.lock, checked, self.limits) for checked in map(_rejudged, found, reports)]
        if all(checked.sha256 for checked in found):
            after = updated(self.lock, found)
            write_lock(after)
            self.lines.append(summary(self.lock, after))
        else:
            self.lines.append(f"{self.lock.path}: not written, because a model cannot be read")
        return reports


def _rejudged(checked: Checked, report: Report) -> Checked:
    from dataclasses import replace

    return replace(checked, report=report)


def exit_of(reports: Sequence[Report]) -> Exit:
    """Return the worst of all: a model that cannot be read, a failed check, a comparison without an answer."""
    from normfold.findings.reason import Reason

    reasons = {problem.reason for report in reports for problem in report.problems}
    if Reason.UNREADABLE in reasons:
        return Exit.INPUT
    if reasons - {Reason.UNDECIDED}:
        return Exit.DIFFERS
    return Exit.INCONCLUSIVE if reasons else Exit.DONE


def _show(reports: Sequence[Report], lines: Sequence[str], output: Output) -> None:
    if output.as_json:
        from normfold.report.as_json import as_json_set

        click.echo(as_json_set(reports), nl=False)
    elif not output.quiet:
        from normfold.findings.escape import printable
        from normfold.report.as_text import console_for, print_checks, print_lines

        print_checks(reports, console_for(), output.verbose)
        print_lines((printable(line, 600) for line in lines), console_for())
