"""normfold bench: how long models take on ONNX Runtime, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from normfold.findings.escape import printable
from normfold.options import BenchOptions

from .arguments import PATH, command, options_of, printing
from .exits import Exit, complain
from .progress import bar
from .show import Output

if TYPE_CHECKING:
    from normfold.timing.benchmark import Benchmark, Timing


EXAMPLES = """
normfold bench model.onnx
normfold bench model.onnx model.opt.onnx --threads 4 --input x=8x3x224x224
"""


@command("Time one or two models side by side.", EXAMPLES)
@click.argument("first", type=PATH, metavar="A")
@click.argument("second", type=PATH, metavar="[B]", required=False)
@options_of(BenchOptions)
@printing
def bench(first: str, second: str | None, output: Output, **chosen: Any) -> Exit:
    """Time the model A, or A and B in turns on the same inputs, in ONNX Runtime on this machine's CPU.

    The ratio is that of A to B within a round: above 1, B is faster. Each model has a process of its own.
    """
    options = BenchOptions(**chosen)
    from normfold.timing.benchmark import BenchError, benchmark

    models = [model for model in (first, second) if model is not None]
    try:
        with bar("timing", options.rounds, output.quiet) as advance:
            measured = benchmark(models, options, advance)
    except BenchError as error:
        complain(str(error))
        return Exit.INCONCLUSIVE
    if output.as_json:
        import json

        click.echo(json.dumps(_data(measured), indent=2))
    elif not output.quiet:
        from normfold.report.as_text import console_for, print_lines

        print_lines(_lines(measured), console_for())
    return Exit.DONE


def _data(measured: Benchmark) -> dict[str, Any]:
    from normfold.timing.benchmark import interval, quartiles

    content: dict[str, Any] = {
        "schema": 1,
        "feed": measured.feed,
        "threads": measured.threads,
        "models": [
            {
                "model": timing.model,
                "seconds": quartiles(timing.seconds)[1],
                "quartiles": quartiles(timing.seconds)[::2],
                "load_seconds": timing.load,
                "memory_bytes": timing.memory or None,
                "rounds": timing.seconds,
            }
            for timing in measured.timings
        ],
    }
    ratios = measured.ratios
    if ratios:
        low, middle, high = quartiles(ratios)
        content["speedup"] = {"median": middle, "quartiles": [low, high], "median_95": interval(ratios)}
    return content


def _lines(measured: Benchmark) -> Iterator[str]:
    if measured.ratios:
        yield _comparison(measured.ratios)
    yield from map(_line, measured.timings)
    rounds, threads = len(measured.timings[0].seconds), measured.threads
    words = [f"{number} {unit}{'s' * (number != 1)}" for number, unit in ((rounds, "round"), (threads, "thread"))]
    yield f"{', '.join(words)}, inputs: {printable(measured.feed)}"


def _comparison(ratios: Sequence[float]) -> str:
    from normfold.timing.benchmark import interval, quartiles

    low, high = interval(ratios)
    middle = quartiles(ratios)[1]
    sure = "no difference can be seen" if low <= 1 <= high else f"B is {'faster' if middle > 1 else 'slower'}"
    return f"B runs at {middle:.3f} times the speed of A ({low:.3f} to {high:.3f} with 95 % confidence): {sure}"


def _line(timing: Timing) -> str:
    from normfold.timing.benchmark import quartiles

    low, middle, high = (f"{1000 * value:.3f}" for value in quartiles(timing.seconds))
    memory = f"{timing.memory / 1e6:.1f} MB" if timing.memory else "unknown"
    parts = (
        f"{middle} ms a run ({low} to {high})",
        f"{1000 * timing.load:.1f} ms to load",
        f"{memory} of memory at the peak",
    )
    return f"{printable(timing.model)}: {', '.join(parts)}"
