"""Printing a report in the way that the options ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from normfold.report.report import Report


def show(report: Report, as_json: bool, quiet: bool, details: bool = False) -> None:
    """``report`` on stdout: as JSON, not at all, or as text (``details``: a line for each finding)."""
    if as_json:
        from normfold.report.as_json import as_json as to_json

        click.echo(to_json(report), nl=False)
    elif not quiet:
        from normfold.report.as_text import console_for, print_report

        print_report(report, console_for(), details)


def planned(reports: tuple[str, ...], form: str, as_json: bool) -> tuple[tuple[str, str], ...]:
    """The files of --report with their forms, checked before the work; UsageError for what cannot be."""
    from normfold.report.formats import STDOUT, forms_of

    if as_json and STDOUT in reports:
        raise click.UsageError("--json has stdout for itself; give --report a file")
    return forms_of(reports, form)


def wants_pictures(files: tuple[tuple[str, str], ...]) -> bool:
    """Whether any of ``files`` takes a form that draws."""
    from normfold.report.formats import draws

    return any(draws(form) for _, form in files)


def write_reports(report: Report | Sequence[Report], files: tuple[tuple[str, str], ...]) -> None:
    """Write ``report`` into each of ``files``."""
    from normfold.report.formats import write_report

    for path, form in files:
        write_report(report, path, form)
