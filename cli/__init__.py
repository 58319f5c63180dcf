"""The command line of normfold. A command is a module of this package with a ``command``; COMMANDS names them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from normfold._version import __version__
from normfold.errors import CrashError, NormfoldError, SourceError
from normfold.report.escape import printable

from .exits import HELP, Exit
from .supervise import supervised

COMMANDS = ("optimize", "inspect", "verify", "check", "diff", "bench", "export", "explain")


@click.group(epilog=HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="normfold")
def group() -> None:
    """Fold the norms of a trained network into its linear operators, and prove it before writing."""


for _name in COMMANDS:
    group.add_command(getattr(import_module(f"{__name__}.{_name}"), _name), _name)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and end the process with its exit code. Never a traceback for anything a user can cause."""
    sys.exit(supervised(lambda: int(run(arguments)), _complain))


def run(arguments: Sequence[str] | None = None) -> Exit:
    """Run a command; errors become one line on stderr and an exit code."""
    try:
        return Exit(group.main(arguments, prog_name="normfold", standalone_mode=False) or Exit.DONE)
    except click.ClickException as error:
        error.show()
        return Exit.USAGE
    except (click.Abort, KeyboardInterrupt):
        _complain("interrupted; nothing was written")
        return Exit.INTERRUPTED
    except SourceError as error:
        _complain(str(error))
        return Exit.INPUT
    except CrashError as error:
        _complain(f"{error}; nothing was written")
        return Exit.INTERNAL
    except NormfoldError as error:
        _complain(str(error))
        return Exit.USAGE
    except BrokenPipeError:  # the reader of stdout has gone, as `head` does; nothing is left to say to it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.DONE
    except MemoryError as error:
        _complain(f"out of memory, nothing was written: {str(error) or 'a library gave no detail'}")
        return Exit.INTERNAL
    except Exception as error:  # a defect of normfold: still one line and a code, with the traceback for who asks
        if os.environ.get("NORMFOLD_TRACEBACK"):
            raise
        message = f"{type(error).__name__}: {error}"
        _complain(f"internal error, nothing was written; please report: {message} (NORMFOLD_TRACEBACK=1 shows where)")
        return Exit.INTERNAL


def _complain(message: str) -> None:
    click.echo(f"normfold: {printable(message, 2000)}", err=True)
