"""Export published norms with the programs that people use, and optimize each file.

    python -m tests.sweeps.exporters --out FOLDER [--python EXPORTER=PYTHON ...] [--only NORM ...] [EXPORTER ...]

``PYTHON`` is the interpreter of an environment with the packages that the exporter needs (see ``EXPORTERS``; nothing is
downloaded here). Without one the files of an earlier run are optimized again. FOLDER/EXPORTER/NORM.onnx are the files,
FOLDER/results.json is what became of each. Exit code 1 where a file is refused or was not proven.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import onnx

import normfold
from normfold.findings.verdict import Outcome, Verdict
from tests.sweeps.norms.published import NORMS

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Exporter:
    """A program that writes ONNX: what it is called, its packages, and the module of ``norms`` that calls it."""

    title: str
    packages: str
    module: str
    arguments: tuple[str, ...] = ()


EXPORTERS = {
    "torchscript": Exporter("torch (TorchScript)", "torch onnx", "with_torch", ("torchscript",)),
    "dynamo": Exporter("torch (dynamo)", "torch onnx onnxscript", "with_torch", ("dynamo",)),
    "keras": Exporter("Keras 3 (tf2onnx)", "tensorflow keras tf2onnx", "with_keras", ("keras",)),
    "tf_keras": Exporter("tf_keras (tf2onnx)", "tensorflow tf_keras tf2onnx", "with_keras", ("tf_keras",)),
    "jax": Exporter("Flax (jax2onnx)", "jax flax jax2onnx", "with_jax"),
    "paddle": Exporter("paddle2onnx", "paddlepaddle paddle2onnx packaging", "with_paddle"),
    "onnxscript": Exporter("onnxscript", "onnxscript", "with_operators", ("onnxscript",)),
    "skl2onnx": Exporter("skl2onnx", "skl2onnx", "with_operators", ("skl2onnx",)),
}


@dataclass(frozen=True)
class Cell:
    """What became of one norm as one exporter writes it; everything in words that the table shows."""

    exporter: str
    norm: str
    recognized: tuple[str, ...]
    folded: tuple[str, ...]
    written: tuple[str, ...]
    kept: tuple[str, ...]
    proof: str
    before: int
    after: int


def export(exporter: str, python: str, folder: Path, names: list[str]) -> None:
    """Let the exporter write the norms into ``folder``; what it says of its failures goes to the terminal."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = EXPORTERS[exporter]
    command = [python, "-m", f"tests.sweeps.norms.{chosen.module}", *chosen.arguments, str(folder.absolute()), *names]
    subprocess.run(command, cwd=ROOT, check=False)


def judge(exporter: str, norm: str, path: Path) -> Cell:
    """Optimize one file and say what became of what was found in it."""
    result = normfold.optimize(path, verify=True)
    of = {outcome: [each for each in result.verdicts if each.outcome is outcome] for outcome in Outcome}
    norms = [each for each in result.verdicts if each.finding.is_norm]
    proof = result.verification
    return Cell(
        exporter,
        norm,
        recognized=_counted(_name(each) for each in norms),
        folded=_counted(each.finding.operator for each in of[Outcome.FOLDED]),
        written=_counted(each.form or each.rule for each in of[Outcome.FUSED]),
        kept=_counted(f"{each.finding.operator} {each.main_obstacle.reason.code}" for each in of[Outcome.KEPT]),
        proof="nothing to prove" if proof is None else proof.verdict.value,
        before=len(onnx.load(path, load_external_data=False).graph.node),
        after=len(list(result.ir_model.graph)),
    )


def _counted(names: object) -> tuple[str, ...]:
    assert hasattr(names, "__iter__")
    return tuple(f"{count} {name}" if count > 1 else name for name, count in Counter(names).items())


def _name(verdict: Verdict) -> str:
    """Return the published name of a norm where it has one, else its operator."""
    head, separator, _ = verdict.finding.what.partition(": ")
    return head if separator and " over " not in head and " in " not in head[10:] else verdict.finding.operator


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--python", action="append", default=[], help="EXPORTER=PYTHON")
    parser.add_argument("--only", action="append", default=[], choices=list(NORMS))
    parser.add_argument("exporters", nargs="*", default=list(EXPORTERS))
    chosen = parser.parse_args()
    for assignment in chosen.python:
        exporter, _, python = assignment.partition("=")
        export(exporter, python, chosen.out / exporter, chosen.only)
    results = chosen.out / "results.json"
    cells = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}
    faults = 0
    for exporter in chosen.exporters:
        for norm in chosen.only or NORMS:
            path = chosen.out / exporter / f"{norm.replace(' ', '_')}.onnx"
            cells.pop(f"{exporter}/{norm}", None)
            if not path.exists():
                continue
            try:
                cell = judge(exporter, norm, path)
            except normfold.NormfoldError as fault:
                faults += 1
                print(f"{exporter}/{norm}: {fault}", flush=True)  # noqa: T201  # a sweep's result is what it prints
                continue
            faults += cell.proof == "different"
            cells[f"{exporter}/{norm}"] = vars(cell)
            print(  # noqa: T201  # as above
                f"{exporter}/{norm}: {', '.join(cell.recognized) or '-'} | {', '.join(cell.folded) or '-'} | "
                f"{', '.join(cell.written) or '-'} | {', '.join(cell.kept) or '-'} | {cell.before} -> {cell.after} "
                f"{cell.proof}",
                flush=True,
            )
    results.write_text(json.dumps(cells, indent=1), encoding="utf-8")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
