"""Turn the options of ``normfold.options``, and those of the output, into options of the command line."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import Field
from typing import Any, TypeVar, get_type_hints

import click

from normfold.option_declaration import Option, declared_options
from normfold.options import OUTPUT, CheckArguments, OptimizeArguments
from normfold.report.formats import FORMATS

from .exits import WHERE
from .show import Output
from .supervise import limit_time

Command = TypeVar("Command", bound=Callable[..., Any])
PATH = click.Path(path_type=str)  # so that the completion of the shell offers files


class GroupedOption(click.Option):
    """An option with the heading that it stands under in the help."""

    def __init__(self, *args: Any, group: str = OUTPUT, **kwargs: Any) -> None:
        self.group = group
        super().__init__(*args, **kwargs)


class GroupedCommand(click.Command):
    """A command whose help shows its options in groups, examples, and the exit codes."""

    def __init__(self, *args: Any, examples: str = "", **kwargs: Any) -> None:
        self.examples = examples
        super().__init__(*args, **kwargs)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse empty arguments, and let every complaint name the command that it is about."""
        if any(not text or (text.startswith("--") and text.endswith("=")) for text in args):
            ctx.fail("an argument is empty; is a variable of the shell not set?")
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each group of options: the output first, and in it last what all commands have."""
        groups: dict[str, list[tuple[str, str]]] = {OUTPUT: []}
        for parameter in sorted(self.get_params(ctx), key=lambda each: each.name == "timeout"):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                groups.setdefault(getattr(parameter, "group", OUTPUT), []).append(record)
        for group, records in groups.items():
            with formatter.section(group):
                formatter.write_dl(records, col_max=28)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples before the exit codes."""
        if self.examples:
            with formatter.section("Examples"):
                formatter.write("".join(f"  {line}\n" for line in self.examples.strip().splitlines()))
        super().format_epilog(ctx, formatter)


def command(summary: str, examples: str) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a function a command with grouped options, ``examples`` (a line each) and the exit codes in its help."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        return click.command(cls=GroupedCommand, short_help=summary, examples=examples, epilog=WHERE)(TIMEOUT(function))

    return decorate


def option(*names: str, group: str = OUTPUT, **attributes: Any) -> Callable[[Command], Command]:
    """Declare an option of one command, with its group in the help."""
    return click.option(*names, cls=GroupedOption, group=group, **attributes)


def options_of(declared: type) -> Callable[[Command], Command]:
    """Add every option that ``declared`` (a class of ``normfold.options``) has on the command line."""

    def decorate(function: Command) -> Command:
        hints = get_type_hints(declared)
        for entry, known in reversed(declared_options(declared)):
            if known.flag != "":
                function = _click_option(entry, known, hints[entry.name])(function)
        return function

    return decorate


def flag_of(name: str) -> str:
    """Return the option that is called ``name`` in Python as one types it."""
    every = (*declared_options(OptimizeArguments), *declared_options(CheckArguments))
    flags = {entry.name: known.flag for entry, known in every}
    return f"--{flags.get(name) or name.replace('_', '-')}"


def _click_option(entry: Field[Any], known: Option, kind: Any) -> Callable[[Command], Command]:
    flag = f"--{known.flag or entry.name.replace('_', '-')}"
    shared: dict[str, Any] = {"group": known.group, "help": known.help, "metavar": known.metavar or None}
    if kind is bool and entry.default:
        shared["help"] = known.off_help
        return option(f"--no-{flag[2:]}", entry.name, is_flag=True, flag_value=False, default=True, **shared)
    if kind is bool:
        return option(flag, entry.name, is_flag=True, **shared)
    if entry.default == ():
        return option(flag, entry.name, multiple=True, **shared)
    shared["type"] = int if kind in (int, int | None) else float if kind in (float, float | None) else str
    names = (flag, entry.name, known.short) if known.short else (flag, entry.name)
    return option(*names, default=entry.default, show_default=entry.default is not None, **shared)


def _start_clock(context: click.Context, parameter: click.Parameter, seconds: float | None) -> None:
    if seconds is not None:
        limit_time(seconds)


TIMEOUT = option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    expose_value=False,
    callback=_start_clock,
    help="End with code 4 after this time, whatever runs then, and write nothing.",
)
JSON = option("--json", "as_json", is_flag=True, help="Print the report as JSON, and nothing else, to stdout.")
QUIET = option("--quiet", "-q", is_flag=True, help="Print nothing but errors.")


def printing(function: Command) -> Command:
    """Add --json and --quiet; the command gets them as one ``Output``."""

    @functools.wraps(function)
    def call(*args: Any, as_json: bool, quiet: bool, **kwargs: Any) -> Any:
        return function(*args, output=Output(as_json, quiet), **kwargs)

    return JSON(QUIET(call))  # type: ignore[return-value]  # its own keyword arguments are those of the command line


def reporting(function: Command) -> Command:
    """Add --json, --quiet, --verbose, --report and --format; the command gets them as one ``Output``."""

    @functools.wraps(function)
    def call(
        *args: Any, as_json: bool, quiet: bool, verbose: bool, reports: tuple[str, ...], format: str, **kwargs: Any
    ) -> Any:
        return function(*args, output=Output.of(as_json, quiet, verbose, reports, format), **kwargs)

    options = (
        JSON,
        QUIET,
        option("--verbose", "-v", is_flag=True, help="List every norm and constant affine."),
        option("--report", "reports", multiple=True, metavar="FILE", help=_REPORT),
        option("--format", default="", metavar="NAME", help=_FORMAT),
    )
    for add in reversed(options):
        call = add(call)
    return call  # type: ignore[return-value]  # its own keyword arguments are those of the command line


_SUFFIXES = ", ".join(f"{each.suffixes[0]} ({each.name})" for each in FORMATS.values() if each.suffixes)
_REPORT = f"Also write the report here: {_SUFFIXES}, or - for stdout. Repeatable."
_FORMAT = f"Format of a --report whose suffix names none: {', '.join(FORMATS)}."
