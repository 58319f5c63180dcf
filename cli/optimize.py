"""normfold optimize: fold, prove, write."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from normfold.options import OptimizeArguments

from .arguments import PATH, command, option, options_of, reporting
from .exits import Exit
from .progress import stages
from .show import Output

if TYPE_CHECKING:
    from normfold.many import ManyOutcome

EXAMPLES = """
normfold optimize model.onnx
normfold optimize model.onnx -o small.onnx --report report.html
normfold optimize model.onnx --target tensorrt --inputs calibration.npz
normfold optimize a.onnx b.onnx --output-dir optimized
"""


@command("Fold, prove, write.", EXAMPLES)
@click.argument("models", type=PATH, nargs=-1, required=True, metavar="MODEL...")
@option("--output", "-o", "target_path", type=PATH, metavar="FILE", help="Where to write. [default: MODEL.opt.onnx]")
@option("--output-dir", type=PATH, metavar="DIR", help="Write each MODEL into this folder, under its own name.")
@option("--in-place", is_flag=True, help="Overwrite MODEL itself.")
@options_of(OptimizeArguments)
@reporting
def optimize(
    models: tuple[str, ...],
    target_path: str | None,
    output_dir: str | None,
    in_place: bool,
    output: Output,
    **chosen: Any,
) -> Exit:
    """Fold the norms of MODEL, prove that the result equals it, and write the result.

    Several models need --output-dir or --in-place; each is written or not by itself, and the exit code is the first
    that is not 0.
    """
    if (target_path is not None) + (output_dir is not None) + in_place > 1:
        raise click.UsageError("--output, --output-dir and --in-place exclude each other; choose one")
    if len(models) > 1 and output_dir is None and not in_place:
        raise click.UsageError(f"{len(models)} models need --output-dir or --in-place")
    if output_dir is not None:
        OptimizeArguments(**chosen)  # a wrong option makes no folder
        try:
            os.makedirs(output_dir, exist_ok=True)
        except OSError as error:
            raise click.UsageError(f"the folder {output_dir} cannot be made: {error.strerror or error}") from error
        pairs = [(model, Path(output_dir) / Path(model).name) for model in models]
    else:
        pairs = [(model, Path(model) if in_place else Path(target_path or _default_output(model))) for model in models]
    if len(pairs) == 1:
        ((model, path),) = pairs
        return _optimize_one(model, path, in_place, output, chosen)
    return _optimize_all(pairs, in_place, output, chosen)


def _optimize_one(model: str, path: Path, in_place: bool, output: Output, chosen: dict[str, Any]) -> Exit:
    from normfold.pipeline import optimize
    from normfold.result import NotProven

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


def _optimize_all(pairs: list[tuple[str, Path]], in_place: bool, output: Output, chosen: dict[str, Any]) -> Exit:
    """Optimize each model by itself, and report on all of them together."""
    from normfold.files.paths import check_paths
    from normfold.many import Status, optimize_pairs

    options = OptimizeArguments(**chosen, in_place=in_place)  # a wrong option concerns all models
    check_paths([] if in_place else [model for model, _ in pairs], [*(path for _, path in pairs), *output.paths])
    for path in {path.parent for _, path in pairs}:
        path.mkdir(parents=True, exist_ok=True)
    with stages(f"optimizing {len(pairs)} models", output.quiet) as on_stage:
        names = [(model, str(path)) for model, path in pairs]
        outcomes = optimize_pairs(names, options, pictures=output.has_pictures, on_stage=on_stage)
    for outcome in outcomes:
        if not outcome:
            click.echo(f"normfold: {outcome.error}", err=True)
    output.show_all([outcome.report for outcome in outcomes if outcome.report is not None])
    counts = Counter(outcome.status for outcome in outcomes)
    if not (output.quiet or output.as_json):
        earlier = f", {counts[Status.RESUMED]} as an earlier run wrote them" if counts[Status.RESUMED] else ""
        click.echo(f"{len(pairs)} models: {counts[Status.WRITTEN]} written{earlier}, {counts[Status.FAILED]} failed")
    return next((_code_of(outcome) for outcome in outcomes if not outcome), Exit.DONE)


def _code_of(outcome: ManyOutcome) -> Exit:
    """Return the exit code of a model that failed."""
    from normfold import errors

    from . import code_of

    if outcome.kind == "NotProven":
        return Exit.DIFFERS if outcome.is_different else Exit.INCONCLUSIVE
    kind = getattr(errors, outcome.kind, None)
    return Exit.INTERNAL if kind is None else code_of(kind())


def not_proven(error: Any, output: Output) -> Exit:
    """Show the report of a result that was not written, say why, and return the exit code."""
    output.write_result(error.result)
    output.show_result(error.result)
    click.echo(f"normfold: {error}", err=True)
    return Exit.DIFFERS if error.is_different else Exit.INCONCLUSIVE


def _default_output(model: str) -> Path:
    """Return MODEL.opt.onnx for MODEL.onnx, in the same folder."""
    return Path(f"{os.path.splitext(model)[0]}.opt.onnx")
