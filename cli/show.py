"""Printing a report in the way that the options ask for."""

from __future__ import annotations

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
