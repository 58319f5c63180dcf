"""Options that several commands share, so that they read and mean the same everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def model_argument(command: Command) -> Command:
    """MODEL: the path of an ONNX file, or of a torch.export archive (.pt2)."""
    return click.argument("model", type=click.Path(path_type=str))(command)


def selection(command: Command) -> Command:
    """What to look at and how: --skip, --only, --assume-eval, the optional folds, --target, --trust-pickle and more."""
    options = (
        click.option("--skip", multiple=True, metavar="RULE|NODE", help="Leave this rule or node alone. Repeatable."),
        click.option("--only", multiple=True, metavar="RULE", help="Use only this rule. Repeatable."),
        click.option("--assume-eval", is_flag=True, help="Treat training-mode BatchNormalization as inference."),
        click.option("--fold-norm-scale", is_flag=True, help="gamma and beta of norms into all MatMuls behind them."),
        click.option("--extra-channel", is_flag=True, help="Carry shifts through zero padding by one more channel."),
        click.option("--no-onnxsim", is_flag=True, help="Leave out the constant folding with onnxsim."),
        click.option("--target", default="onnxruntime", show_default=True, help="The runtime to write norms for."),
        click.option("--trust-pickle", is_flag=True, help="Open a file of torch even if that can run code in it."),
    )
    return _apply(options, command)


def norm_forms(command: Command) -> Command:
    """--opset and --contrib: how norms may be written."""
    options = (
        click.option("--opset", default="", metavar="auto|keep|N", help="Operator set. [default: the target's habit]"),
        click.option(
            "--contrib",
            is_flag=True,
            help="Allow norm operators of com.microsoft; none is written so far, and the report says why.",
        ),
    )
    return _apply(options, command)


def voice(command: Command) -> Command:
    """--json and --quiet: how to report."""
    options = (
        click.option("--json", "as_json", is_flag=True, help="Print the report as JSON, and nothing else, to stdout."),
        click.option("--quiet", "-q", is_flag=True, help="Print nothing but errors."),
    )
    return _apply(options, command)


def report_files(command: Command) -> Command:
    """--report and --format: where else the report goes, and in which form."""
    options = (
        click.option("--report", "reports", multiple=True, metavar="FILE", help=_REPORT),
        click.option("--format", "form", default="", metavar="NAME", help=_FORMAT),
    )
    return _apply(options, command)


_REPORT = "Also write the report here: .txt, .json, .sarif, .xml (JUnit), .html, .md, or - for stdout. Repeatable."
_FORMAT = "Form of a --report whose suffix names none: text, json, sarif, junit, github, markdown, html."


def _apply(options: tuple[Callable[[Command], Command], ...], command: Command) -> Command:
    for option in reversed(options):
        command = option(command)
    return command
