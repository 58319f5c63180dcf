"""normfold optimize: fold, prove, write."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from normfold.options import OptimizeArguments

from .arguments import PATH, command, option, options_of, reporting
from .exits import Exit, complain
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
    pairs = _pairs(models, target_path, output_dir, in_place)
    if output_dir is not None:
        OptimizeArguments(**chosen)  # a wrong option makes no folder
        _make_folder(output_dir)
    if len(pairs) > 1:
        return _optimize_all(pairs, in_place, output, chosen)
    from normfold.pipeline import optimize as optimize_model

    chosen |= {"in_place": in_place, "reports": output.paths, "on_ready": output.write_result}
    return output.run("optimizing", lambda on_stage: optimize_model(*pairs[0], on_stage=on_stage, **chosen))


def _pairs(
    models: tuple[str, ...], target_path: str | None, output_dir: str | None, in_place: bool
) -> list[tuple[str, Path]]:
    """Return each model with the path of its result. UsageError where the options do not say one for each."""
    if (target_path is not None) + (output_dir is not None) + in_place > 1:
        raise click.UsageError("--output, --output-dir and --in-place exclude each other; choose one")
    if output_dir is not None:
        return [(model, Path(output_dir) / Path(model).name) for model in models]
    if in_place:
        return [(model, Path(model)) for model in models]
    if len(models) > 1:
        raise click.UsageError(f"{len(models)} models need --output-dir or --in-place")
    return [(model, Path(target_path or _default_output(model))) for model in models]


def _make_folder(path: str) -> None:
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise click.UsageError(f"the folder {path} cannot be made: {error.strerror or error}") from error


def _optimize_all(pairs: list[tuple[str, Path]], in_place: bool, output: Output, chosen: dict[str, Any]) -> Exit:
    """Optimize each model by itself, and report on all of them together."""
    from normfold.files.paths import check_paths
    from normfold.many import Status, optimize_pairs

    reports = tuple(map(Path, output.paths))
    options = OptimizeArguments(**chosen, in_place=in_place, reports=reports)  # a wrong option concerns all models
    check_paths([] if in_place else [model for model, _ in pairs], [*(path for _, path in pairs), *output.paths])
    for path in {path.parent for _, path in pairs}:
        path.mkdir(parents=True, exist_ok=True)
    with stages(f"optimizing {len(pairs)} models", output.quiet) as on_stage:
        names = [(model, str(path)) for model, path in pairs]
        outcomes = optimize_pairs(names, options, pictures=output.has_pictures, on_stage=on_stage)
    for outcome in outcomes:
        if not outcome:
            complain(outcome.error)
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


def _default_output(model: str) -> Path:
    """Return MODEL.opt.onnx for MODEL.onnx, in the same folder."""
    return Path(f"{os.path.splitext(model)[0]}.opt.onnx")
