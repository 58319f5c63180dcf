"""normfold inspect: every norm and constant affine of a model, with its verdict."""

from __future__ import annotations

import click

from .arguments import model_argument, norm_forms, selection, voice
from .exits import HELP, Exit
from .show import show


@click.command(epilog=HELP)
@model_argument
@selection
@norm_forms
@voice
def command(
    model: str,
    skip: tuple[str, ...],
    only: tuple[str, ...],
    assume_eval: bool,
    fold_norm_affine: bool,
    constant_channel: bool,
    no_simplify: bool,
    target: str,
    opset: str,
    contrib: bool,
    trust_pickle: bool,
    as_json: bool,
    quiet: bool,
) -> Exit:
    """List every norm and constant affine of MODEL: what would become of it, and why not where it would stay.

    Nothing is run and nothing is written.
    """
    from normfold.pipeline import inspect

    inspection = inspect(
        model,
        skip=skip,
        only=only,
        simplify=not no_simplify,
        assume_eval=assume_eval,
        fold_norm_affine=fold_norm_affine,
        constant_channel=constant_channel,
        target=target,
        opset=opset,
        contrib=contrib,
        trust_pickle=trust_pickle,
    )
    show(inspection.report(), as_json, quiet, details=True)
    return Exit.DONE
