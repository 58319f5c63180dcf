"""The command line of normfold. A command is a module of this package with a ``command``; COMMANDS names them."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click

from normfold._version import __version__
from normfold.errors import CrashError, NormfoldError, SourceError, UsageError, WriteError, known_names
from normfold.lazy_imports import load_on_use

from .arguments import flag_of
from .exits import HELP, Exit, close, complain
from .supervise import on_descriptor, supervised, was_interrupted

COMMANDS = ("optimize", "inspect", "verify", "check", "diff", "bench", "export", "explain")
_REFUSED = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def _stdout_may_refuse() -> Iterator[None]:
    """Where stdout refuses what is written an error says so."""
    try:
        yield
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        close(sys.stdout)
        raise WriteError(f"stdout or a temporary file cannot be written: {error.strerror}") from error


class _Group(click.Group):
    """The commands in the order of COMMANDS, with a suggestion for a name that is none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None:
            ctx.fail(f"No such command {args[0]!r}; {known_names(args[0], COMMANDS, 'commands')}")
        return super().resolve_command(ctx, args)

    @_stdout_may_refuse()
    def make_context(self, *arguments: Any, **extra: Any) -> click.Context:
        return super().make_context(*arguments, **extra)

    @_stdout_may_refuse()
    def invoke(self, ctx: click.Context) -> Any:
        return super().invoke(ctx)


@click.group(cls=_Group, epilog=HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="normfold")
def group() -> None:
    """Fold the norms of a trained network into its linear operators, and prove it before writing.

    Start with `normfold optimize MODEL.onnx`.
    """


for _name in COMMANDS:
    group.add_command(getattr(import_module(f"{__name__}.{_name}"), _name), _name)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and end the process with its exit code. Never a traceback for anything a user can cause."""
    _prepare_streams()
    load_on_use("sympy", user="onnx_ir._symbolic_shapes")  # only here: another program's modules are its own
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)  # it warns of each string that is not UTF-8
    sys.exit(supervised(lambda: int(run(arguments)), complain))


def _prepare_streams() -> None:
    """Let stdout and stderr take every name; those that the program was started without (``>&-``) lead nowhere."""
    while (spare := os.open(os.devnull, os.O_RDWR)) <= 2:  # the lowest that is free
        pass
    os.close(spare)
    sys.stdout = sys.stdout or open(1, "w")  # noqa: SIM115  # as long as the program
    sys.stderr = sys.stderr or open(2, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name may have letters that a terminal or pipe has not
    if isinstance(sys.stdout, io.TextIOWrapper) and not sys.stdout.isatty():
        sys.stdout = on_descriptor(sys.stdout.fileno(), sys.stdout)


def run(arguments: Sequence[str] | None = None) -> Exit:
    """Run a command; errors become one line on stderr and an exit code."""
    try:
        return Exit(group.main(arguments, prog_name="normfold", standalone_mode=False) or Exit.DONE)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return Exit.USAGE
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        complain(f"{error.format_message().rstrip('.')} (see {context.command_path if context else 'normfold'} --help)")
        return Exit.USAGE
    except (click.Abort, KeyboardInterrupt):
        return _interrupted()
    except UsageError as error:
        complain(f"{flag_of(error.option)}: {error.message}" if error.option else str(error))
        return Exit.USAGE
    except NormfoldError as error:
        complain(f"{error}; nothing was written" if isinstance(error, CrashError) else str(error))
        return code_of(error)
    except MemoryError as error:
        complain(f"out of memory, nothing was written: {str(error) or 'a library gave no detail'}")
        return Exit.INTERNAL
    except Exception as error:  # a defect of normfold: still one line and a code, with the traceback for who asks
        if os.environ.get("NORMFOLD_TRACEBACK"):
            raise
        if was_interrupted():
            return _interrupted()
        message = f"{type(error).__name__}: {error}"
        complain(f"internal error, nothing was written; please report: {message} (NORMFOLD_TRACEBACK=1 shows where)")
        return Exit.INTERNAL


def _interrupted() -> Exit:
    complain("interrupted; nothing was written")
    return Exit.INTERRUPTED


def code_of(error: NormfoldError) -> Exit:
    """Return the exit code for an error that normfold raised on purpose."""
    if isinstance(error, CrashError):
        return Exit.INTERNAL
    return Exit.INPUT if isinstance(error, SourceError) else Exit.USAGE
