"""normfold export: a PyTorch network -> an optimized ONNX file that equals it."""

from __future__ import annotations

from pathlib import Path

import click

from .arguments import norm_forms, report_files, selection, voice
from .exits import HELP, Exit
from .progress import stages
from .show import planned, show, wants_pictures, write_reports


@click.command(epilog=HELP)
@click.argument("network", metavar="PACKAGE.MODULE:FACTORY|ARCHIVE")
@click.option("--weights", type=click.Path(path_type=Path), help="A state dict: .safetensors, .pt or .pth.")
@click.option(
    "--input", "specs", multiple=True, metavar="SHAPE[:TYPE]", help="1x3x224x224 or 1x16:int64<100. Repeatable."
)
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Where to write. [default: FACTORY.opt.onnx]")
@selection
@norm_forms
@click.option("--no-verify", is_flag=True, help="Write without proof. The report says so.")
@click.option("--strict", is_flag=True, help="Fail where a fold would be undone after the proof blamed it.")
@click.option("--seed", default=0, show_default=True, help="Seed of the inputs of the trace and the proof.")
@click.option("--inputs", multiple=True, metavar="FILE|DIR", help="Inputs: .npz, .npy, or a test_data_set folder.")
@click.option("--rtol", type=float, help="Relative tolerance in place of the calibrated one.")
@click.option("--atol", type=float, help="Absolute tolerance in place of the calibrated one.")
@click.option("--verbose", "-v", is_flag=True, help="List every norm and constant affine.")
@voice
@report_files
def command(
    network: str,
    weights: Path | None,
    specs: tuple[str, ...],
    output: Path | None,
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
    rtol: float | None,
    atol: float | None,
    verbose: bool,
    as_json: bool,
    quiet: bool,
    reports: tuple[str, ...],
    form: str,
) -> Exit:
    """Export a PyTorch network to ONNX, fold its norms, prove that the file equals the network, and write it.

    PACKAGE.MODULE:FACTORY is a function or class that takes no arguments and gives an nn.Module; it is imported from
    the current folder or the environment. ARCHIVE is a file of torch.export.save or torch.jit.save. --input gives shape
    and type of each argument of forward(), in order.
    """
    files = planned(reports, form, as_json)
    from normfold.files.torch_bridge import torch_room
    from normfold.result import NotProven

    loading = torch_room("loading")
    module = loading.network(network, weights, trust_pickle=trust_pickle)
    arguments = loading.arguments(specs, seed)
    try:
        with stages("exporting", quiet) as on_stage:
            result = torch_room("export").export(
                module,
                arguments or None,
                output or loading.default_output(network),
                opset=opset,
                eval=True,
                assume_eval=assume_eval,
                skip=skip,
                only=only,
                verify=not no_verify,
                onnxsim=not no_onnxsim,
                fold_norm_scale=fold_norm_scale,
                extra_channel=extra_channel,
                strict=strict,
                target=target,
                contrib=contrib,
                seed=seed,
                inputs=inputs,
                rtol=rtol,
                atol=atol,
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
