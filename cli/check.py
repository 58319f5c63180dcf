"""normfold check: whether models ship with norms that should be gone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from .arguments import norm_forms, report_files, selection, voice
from .exits import HELP, Exit
from .progress import bar
from .show import planned, write_reports

if TYPE_CHECKING:
    from normfold.report.report import Report


@click.command(epilog=HELP)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--max-foldable", type=click.IntRange(0), help="Norms that may be left to fold or fuse. [default: 0]")
@click.option("--max-kept", type=click.IntRange(0), help="Norms and affines that may stay. [default: any number]")
@click.option("--allow", multiple=True, metavar="NF1xx[:NODE]", help="Accept this reason, or it for this node.")
@click.option(
    "--verify-against", "original", metavar="ORIGINAL", help="Compare with this, or the same name in this folder."
)
@click.option("--jobs", "-j", default=0, type=click.IntRange(0), help="Processes. [default: one a core]")
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
    original: str | None,
    jobs: int,
    verbose: bool,
    as_json: bool,
    quiet: bool,
    reports: tuple[str, ...],
    form: str,
    no_simplify: bool,
    **chosen: object,
) -> Exit:
    """Check models without writing anything: files, folders (their .onnx files at any depth) and patterns.

    A check fails for each norm or constant affine that `normfold optimize` would still fold or fuse, above
    --max-foldable. What normfold wrote has none.
    """
    files = planned(reports, form, as_json)
    from normfold.gate.limits import Allowance, Limits, judged
    from normfold.gate.paths import models_of, originals_of
    from normfold.gate.run import Task, check_models

    limits = Limits(0 if max_foldable is None else max_foldable, max_kept, tuple(map(Allowance.of, allow)))
    models = models_of(paths)
    originals = originals_of(models, original)
    tasks = [Task(model, originals.get(model)) for model in models]
    options = {**chosen, "simplify": not no_simplify}
    with bar("checking", len(tasks), quiet) as advance:
        found = check_models(tasks, options, jobs, lambda task: advance())
    checked = [judged(report, limits) for report in found]
    _show(checked, as_json, quiet, verbose)
    write_reports(checked, files)
    return exit_of(checked)


def exit_of(reports: Sequence[Report]) -> Exit:
    """The worst of all: a model that cannot be read, a failed check, a comparison without an answer."""
    from normfold.reason import Reason

    reasons = {problem.reason for report in reports for problem in report.problems}
    if Reason.UNREADABLE in reasons:
        return Exit.INPUT
    if reasons - {Reason.UNDECIDED}:
        return Exit.DIFFERS
    return Exit.INCONCLUSIVE if reasons else Exit.DONE


def _show(reports: Sequence[Report], as_json: bool, quiet: bool, verbose: bool) -> None:
    if as_json:
        from normfold.report.as_json import as_json_set

        click.echo(as_json_set(reports), nl=False)
    elif not quiet:
        from normfold.report.as_check import print_checks
        from normfold.report.as_text import console_for

        print_checks(reports, console_for(), verbose)
