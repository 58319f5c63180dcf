"""normfold optimize: fold, prove, write."""

from __future__ import annotations

import os
from pathlib import Path

import click

from .arguments import model_argument, norm_forms, report_files, selection, voice
from .exits import HELP, Exit
from .progress import stages
from .show import planned, show, wants_pictures, write_reports


@click.command(epilog=HELP)
@model_argument
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Where to write. [default: MODEL.opt.onnx]")
@click.option("--in-place", is_flag=True, help="Overwrite MODEL itself.")
@selection
@norm_forms
@click.option("--no-verify", is_flag=True, help="Write without proof. The report says so.")
@click.option("--strict", is_flag=True, help="Fail where a fold would be undone after the proof blamed it.")
@click.option("--seed", default=0, show_default=True, help="Seed of the inputs of the proof.")
@click.option("--inputs", multiple=True, metavar="FILE|DIR", help="Inputs: .npz, .npy, or a test_data_set folder.")
@click.option("--input", "specs", multiple=True, metavar="NAME=SHAPE[:TYPE][:LOW..HIGH]", help="Shape one input.")
@click.option("--rtol", type=float, help="Relative tolerance in place of the calibrated one.")
@click.option("--atol", type=float, help="Absolute tolerance in place of the calibrated one.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(0), help="Threads of the proof (0: all).")
@click.option("--verbose", "-v", is_flag=True, help="List every norm and constant affine.")
@voice
@report_files
def command(
    model: str,
    output: Path | None,
    in_place: bool,
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
    no_verify: bool,
    strict: bool,
    seed: int,
    inputs: tuple[str, ...],
    specs: tuple[str, ...],
    rtol: float | None,
    atol: float | None,
    threads: int,
    verbose: bool,
    as_json: bool,
    quiet: bool,
    reports: tuple[str, ...],
    form: str,
) -> Exit:
    """Fold the norms of MODEL, prove that the result equals it, and write the result."""
    if in_place and output is not None:
        raise click.UsageError("--in-place writes to MODEL itself; leave out --output")
    files = planned(reports, form, as_json)
    from normfold.pipeline import optimize
    from normfold.result import NotProven

    try:
        with stages("optimizing", quiet) as on_stage:
            result = optimize(
                model,
                Path(model) if in_place else output or _beside(model),
                skip=skip,
                only=only,
                verify=not no_verify,
                onnxsim=not no_onnxsim,
                assume_eval=assume_eval,
                fold_norm_scale=fold_norm_scale,
                extra_channel=extra_channel,
                strict=strict,
                target=target,
                opset=opset,
                contrib=contrib,
                trust_pickle=trust_pickle,
                seed=seed,
                inputs=inputs,
                input_specs=specs,
                rtol=rtol,
                atol=atol,
                threads=threads,
                in_place=in_place,
                on_stage=on_stage,
            )
    except NotProven as error:
        report = error.result.report(pictures=wants_pictures(files))
        show(report, as_json, quiet, verbose)
        write_reports(report, files)
        click.echo(f"normfold: {error}", err=True)
        return Exit.DIFFERS if error.is_different else Exit.INCONCLUSIVE
    report = result.report(pictures=wants_pictures(files))
    show(report, as_json, quiet, verbose)
    write_reports(report, files)
    return Exit.DONE


def _beside(model: str) -> Path:
    """MODEL.onnx -> MODEL.opt.onnx, in the same folder."""
    return Path(f"{os.path.splitext(model)[0]}.opt.onnx")
