"""normfold optimize: fold, prove, write."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from normfold.options import OptimizeArguments

from .arguments import PATH, command, option, options_of, reporting
from .exits import Exit
from .progress import stages
from .show import Output

EXAMPLES = """
normfold optimize model.onnx
normfold optimize model.onnx -o small.onnx --report report.html
normfold optimize model.onnx --target tensorrt --inputs calibration.npz
"""


@command(EXAMPLES)
@click.argument("model", type=PATH)
@option("--output", "-o", "target_path", type=PATH, metavar="FILE", help="Where to write. [default: MODEL.opt.onnx]")
@option("--in-place", is_flag=True, help="Overwrite MODEL itself.")
@options_of(OptimizeArguments)
@reporting
def optimize(model: str, target_path: str | None, in_place: bool, output: Output, **chosen: Any) -> Exit:
    """Fold the norms of MODEL, prove that the result equals it, and write the result."""
    if in_place and target_path is not None:
        raise click.UsageError("--in-place writes to MODEL itself; leave out --output")
    from normfold.pipeline import optimize
    from normfold.result import NotProven

    path = Path(model) if in_place else target_path or _default_output(model)
    try:
        with stages("optimizing", output.quiet) as on_stage:
            result = optimize(
                model,
                path,
                in_place=in_place,
                reports=output.paths,
                on_ready=output.write_result,
                on_stage=on_stage,
                **chosen,
            )
    except NotProven as error:
        return not_proven(error, output)
    output.show_result(result)
    return Exit.DONE


def not_proven(error: Any, output: Output) -> Exit:
    """Show the report of a result that was not written, say why, and return the exit code."""
    output.write_result(error.result)
    output.show_result(error.result)
    click.echo(f"normfold: {error}", err=True)
    return Exit.DIFFERS if error.is_different else Exit.INCONCLUSIVE


def _default_output(model: str) -> Path:
    """Return MODEL.opt.onnx for MODEL.onnx, in the same folder."""
    return Path(f"{os.path.splitext(model)[0]}.opt.onnx")
