"""normfold verify: whether two models compute the same, or a model its stored outputs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .arguments import voice
from .exits import HELP, Exit
from .progress import stages

if TYPE_CHECKING:
    from normfold.verify import Verification


@click.command(epilog=HELP)
@click.argument("first", metavar="A")
@click.argument("second", metavar="[B]", required=False)
@click.option("--inputs", multiple=True, metavar="FILE|DIR", help="Inputs: .npz, .npy, or a test_data_set folder.")
@click.option("--input", "specs", multiple=True, metavar="NAME=SHAPE[:TYPE][:LOW..HIGH]", help="Shape one input.")
@click.option("--feeds", default=4, show_default=True, type=click.IntRange(1), help="How many inputs to make up.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the inputs made up.")
@click.option("--rtol", type=float, help="Relative tolerance in place of the calibrated one.")
@click.option("--atol", type=float, help="Absolute tolerance in place of the calibrated one.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(0), help="Threads of ONNX Runtime.")
@voice
def command(
    first: str,
    second: str | None,
    inputs: tuple[str, ...],
    specs: tuple[str, ...],
    feeds: int,
    seed: int,
    rtol: float | None,
    atol: float | None,
    threads: int,
    as_json: bool,
    quiet: bool,
) -> Exit:
    """Compare the models A and B, which have the same inputs and outputs, in ONNX Runtime.

    A without optimizations is the reference; B runs without them and as a user runs it. What normfold wrote is compared
    with its original fold by fold. Without B, A is compared with the outputs stored in the --inputs folders. Inputs are
    made up from the graph unless --inputs gives them; --input sets shape, type and range of one:
    x=1x3x224x224:float32:0..255.
    """
    from normfold.files.source import read
    from normfold.verify import Equivalence, ProofOptions, check, prove

    options = ProofOptions(
        seed=seed, feeds=feeds, rtol=rtol, atol=atol, inputs=inputs, input_specs=specs, threads=threads
    )
    for path in filter(None, (first, second)):
        read(path)  # says in one line why a file is no model
    with stages("verifying", quiet):
        if second is None:
            verification = check(Path(first), options)
        else:
            verification = prove(Path(first), Path(second), None, options)
    _show(verification, as_json, quiet)
    ends = {
        Equivalence.EQUIVALENT: Exit.DONE,
        Equivalence.DIFFERENT: Exit.DIFFERS,
        Equivalence.INCONCLUSIVE: Exit.INCONCLUSIVE,
    }
    return ends[verification.verdict]


def _show(verification: Verification, as_json: bool, quiet: bool) -> None:
    if as_json:
        import json

        from normfold.verify.result import as_data

        click.echo(json.dumps(as_data(verification), indent=2, allow_nan=False))
    elif not quiet:
        click.echo(str(verification))
