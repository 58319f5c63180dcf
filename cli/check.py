"""normfold check: whether models ship with norms that should be gone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .arguments import norm_forms, report_files, selection, voice
from .exits import HELP, Exit
from .progress import bar
from .show import planned, wants_pictures, write_reports

if TYPE_CHECKING:
    from normfold.ci.check_many import Checked
    from normfold.ci.limits import Limits
    from normfold.report.report import Report

LOCK = "normfold.lock"
FILE = click.Path(path_type=str)  # so that the completion of the shell offers files


@click.command(epilog=HELP)
@click.argument("paths", nargs=-1, required=True, type=FILE, metavar="PATH...")
@click.option("--max-foldable", type=click.IntRange(0), help="Norms that may be left to fold or fuse. [default: 0]")
@click.option("--max-kept", type=click.IntRange(0), help="Norms and affines that may stay. [default: any number]")
@click.option("--allow", multiple=True, metavar="NF1xx[:NODE]", help="Accept this reason, or it for this node.")
@click.option(
    "--lock",
    type=click.Path(path_type=str),
    metavar="FILE",
    help="Accept what this file records, and fail on what got worse since.",
)
@click.option("--update-lock", is_flag=True, help=f"Write the models as they are now to the lock. [default: {LOCK}]")
@click.option(
    "--verify-against",
    "original",
    type=click.Path(path_type=str),
    metavar="ORIGINAL",
    help="The original, or a folder of originals.",
)
@click.option("--jobs", "-j", default=0, type=click.IntRange(0), help="Processes. [default: one a core]")
@click.option("--no-cache", is_flag=True, help="Look at every model anew, and keep nothing for the next run.")
@click.option("--verbose", "-v", is_flag=True, help="List every norm of every model.")
@selection
@norm_forms
@voice
@report_files
def command(
    paths: tuple[str, ...],
    max_foldable: int | None,
    max_kept: int | None,
    allow: tuple[str, ...],
    lock: str | None,
    update_lock: bool,
    original: str | None,
    jobs: int,
    no_cache: bool,
    verbose: bool,
    as_json: bool,
    quiet: bool,
    reports: tuple[str, ...],
    form: str,
    no_onnxsim: bool,
    **chosen: object,
) -> Exit:
    """Check models without writing any: files, folders (their .onnx files at any depth) and patterns.

    A check fails for each norm or constant affine that `normfold optimize` would still fold or fuse, above
    --max-foldable; what normfold wrote has none. With --lock it fails for each norm that stands worse than the lock
    has it, and --max-foldable counts only if it is given.
    """
    files = planned(reports, form, as_json)
    from normfold.ci.cache import cache_folder
    from normfold.ci.check_many import Task, check_models
    from normfold.ci.limits import Allowance, Limits
    from normfold.ci.paths import models_of, originals_of

    lock = lock or (LOCK if update_lock else None)
    if lock is None and max_foldable is None:
        max_foldable = 0
    limits = Limits(max_foldable, max_kept, tuple(map(Allowance.of, allow)))
    models = models_of(paths)
    originals = originals_of(models, original)
    tasks = [Task(model, originals.get(model)) for model in models]
    options = {**chosen, "onnxsim": not no_onnxsim, "pictures": wants_pictures(files)}
    judge = _Judge(limits, Path(lock) if lock else None, update_lock, options)
    with bar("checking", len(tasks), quiet) as advance:
        found = check_models(tasks, options, jobs, lambda task: advance(), None if no_cache else cache_folder())
    checked = judge(found)
    _show(checked, judge.lines, as_json, quiet, verbose)
    write_reports(checked, files)
    return exit_of(checked)


class _Judge:
    """Limits and lock, read before the work, so that a wrong lock costs nobody a run."""

    def __init__(self, limits: Limits, lock: Path | None, update: bool, options: dict[str, Any]) -> None:
        self.limits, self.update, self.lines = limits, update, list[str]()
        self.lock = None
        if lock is not None:
            from normfold.ci.lock import read_lock

            self.lock = read_lock(lock, options, must_exist=not update)

    def __call__(self, found: Sequence[Checked]) -> list[Report]:
        """The reports with their problems; the lock is written here, if that is asked for and all could be read."""
        from normfold.ci.limits import judged

        reports = [judged(checked.report, self.limits) for checked in found]
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
    """The worst of all: a model that cannot be read, a failed check, a comparison without an answer."""
    from normfold.findings.reason import Reason

    reasons = {problem.reason for report in reports for problem in report.problems}
    if Reason.UNREADABLE in reasons:
        return Exit.INPUT
    if reasons - {Reason.UNDECIDED}:
        return Exit.DIFFERS
    return Exit.INCONCLUSIVE if reasons else Exit.DONE


def _show(reports: Sequence[Report], lines: Sequence[str], as_json: bool, quiet: bool, verbose: bool) -> None:
    if as_json:
        from normfold.report.as_json import as_json_set

        click.echo(as_json_set(reports), nl=False)
    elif not quiet:
        from normfold.report.as_check import print_checks
        from normfold.report.as_text import console_for
        from normfold.report.escape import printable

        print_checks(reports, console_for(), verbose)
        for line in lines:
            click.echo(printable(line, 600))
