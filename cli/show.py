"""How a command shows its result: on stdout, and in the files of --report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from .exits import Exit, complain
from .progress import stages

STDOUT = "-"

if TYPE_CHECKING:
    from normfold.options import OnStage
    from normfold.report.formats import Format
    from normfold.report.report import Report
    from normfold.result import Inspection, Result


@dataclass(frozen=True)
class Output:
    """The options of a command that say how its result is shown. ``files`` are those of --report with their formats."""

    as_json: bool = False
    quiet: bool = False
    verbose: bool = False
    files: tuple[tuple[str, Format], ...] = ()

    @classmethod
    def of(cls, as_json: bool, quiet: bool, verbose: bool, reports: tuple[str, ...], format: str) -> Output:
        """Check the options before the work. UsageError for reports that cannot be written."""
        from normfold.report.formats import formats_of

        if as_json and STDOUT in reports:
            raise click.UsageError("--json has stdout for itself; give --report a file")
        return cls(as_json, quiet, verbose, formats_of(reports, format) if reports or format else ())

    @property
    def has_pictures(self) -> bool:
        """Return whether any format draws the operators around each finding."""
        return any(format.has_pictures for _, format in self.files)

    @property
    def paths(self) -> tuple[str, ...]:
        """Return the paths of the files that will be written."""
        return tuple(path for path, _ in self.files if path != STDOUT)

    def show(self, report: Report, *, details: bool = False) -> None:
        """Print ``report`` (with ``details`` a line for each finding); it also goes to ``--report -``."""
        if self.as_json:
            from normfold.report.as_json import as_json

            click.echo(as_json([report]), nl=False)
        elif not self.quiet:
            from normfold.report.as_text import console_for, print_report

            print_report(report, console_for(), details or self.verbose)
        self.write(report, only_stdout=True)

    def show_all(self, reports: Sequence[Report]) -> None:
        """Print several reports, and write the files with all of them."""
        self.write(reports)
        if self.as_json:
            from normfold.report.as_json import as_json_set

            click.echo(as_json_set(reports), nl=False)
        elif not self.quiet:
            from normfold.report.as_text import console_for, print_report

            for report in reports:
                print_report(report, console_for(), self.verbose)
        self.write(reports, only_stdout=True)

    def write_result(self, result: Result | Inspection) -> None:
        """Write the report of ``result`` into each of the files."""
        if self.paths:
            self.write(result.report(pictures=self.has_pictures))

    def show_result(self, result: Result | Inspection, *, details: bool = False) -> None:
        """Print the report of ``result``."""
        if not self.quiet or self.as_json or len(self.paths) < len(self.files):
            self.show(result.report(pictures=self.has_pictures), details=details)

    def run(self, label: str, make: Callable[[OnStage], Result]) -> Exit:
        """Call ``make``, which proves and writes a model, show its result and return the exit code.

        ``make`` gets a callback for its stages, which are shown under ``label``. Of a result that was not proven the
        report is shown all the same, with the reason why nothing was written.
        """
        from normfold.result import NotProven

        try:
            with stages(label, self.quiet) as on_stage:
                result = make(on_stage)
        except NotProven as error:
            self.write_result(error.result)
            self.show_result(error.result)
            complain(str(error))
            return Exit.DIFFERS if error.is_different else Exit.INCONCLUSIVE
        self.show_result(result)
        return Exit.DONE

    def write(self, report: Report | Sequence[Report], *, only_stdout: bool = False) -> None:
        """Write ``report`` into each of the files, or to stdout where --report - asks for that."""
        from normfold.report.formats import write_report

        for path, format in self.files:
            if (path == STDOUT) is only_stdout:
                write_report(report, path, format.name)
