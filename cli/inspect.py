"""normfold inspect: every norm and constant affine of a model, with its verdict."""

from __future__ import annotations

import click

from .arguments import model_argument, norm_forms, report_files, selection, voice
from .exits import HELP, Exit
from .progress import stages
from .show import planned, show, wants_pictures, write_reports


@click.command(epilog=HELP)
@model_argument
@selection
@norm_forms
@voice
@report_files
def command(
    model: str,
    skip: tuple[str, ...],
    only: tuple[str, ...],
    assume_eval: bool,
    fold_norm_scale: bool,
    extra_channel: bool,
    no_onnxsim: bool,
    target: str,
    opset: str,
    contrib: bool,
    trust_pickle: bool,
    as_json: bool,
    quiet: bool,
    reports: tuple[str, ...],
    form: str,
) -> Exit:
    """List every norm and constant affine of MODEL: what would become of it, and why not where it would stay.

    Nothing is run and nothing is written.
    """
    files = planned(reports, form, as_json)
    from normfold.pipeline import inspect

    with stages("inspecting", quiet):
        inspection = inspect(
            model,
            skip=skip,
            only=only,
            onnxsim=not no_onnxsim,
            assume_eval=assume_eval,
            fold_norm_scale=fold_norm_scale,
            extra_channel=extra_channel,
            target=target,
            opset=opset,
            contrib=contrib,
            trust_pickle=trust_pickle,
        )
        report = inspection.report(pictures=wants_pictures(files))
    show(report, as_json, quiet, details=True)
    write_reports(report, files)
    return Exit.DONE
