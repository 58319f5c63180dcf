"""Write what became of each published norm, as each exporter writes it: normfold/fuse/NORMS.md.

    python -m tests.sweeps.norm_table RESULTS.json

RESULTS.json is what ``python -m tests.sweeps.exporters`` wrote. Exporters with the same outcome share a line.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.sweeps.exporters import EXPORTERS, ROOT
from tests.sweeps.norms.published import NORMS

TABLE = ROOT / "normfold" / "fuse" / "NORMS.md"
HEAD = """# Published norms, as exporters write them

What `normfold optimize` makes of {norms} published norms, each between two linear layers and exported by {exporters}
programs. Every line comes from a run, and every result was proven equal to its original:
`python -m tests.sweeps.exporters` exports and optimizes, `python -m tests.sweeps.norm_table` writes this file.
Reasons are explained in [REFERENCE.md](../REFERENCE.md) and by `normfold explain NF223`.

- *recognized as*: the norms that have a verdict, by operator or by published name; a BatchNormalization that is
  spelled out is a constant affine and has no name of its own.
- *folded*: norms and constant affines that are gone.
- *written*: what stands in the place of a norm.
- *stays*: what is left, with the reason.
- *operators*: of the whole model, before and after.

Columns that are equal for several exporters are one line. {missing}

| norm | exporters | recognized as | folded | written | stays | operators |
|---|---|---|---|---|---|---|
"""
_OUTCOME = ("recognized", "folded", "written", "kept")


def rows(cells: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the table, norm by norm."""
    for norm, published in NORMS.items():
        groups: dict[tuple[str, ...], list[str]] = {}
        for exporter, program in EXPORTERS.items():
            cell = cells.get(f"{exporter}/{norm}")
            if cell is None:
                continue
            outcome = tuple(", ".join(cell[each]) for each in _OUTCOME)
            groups.setdefault((*outcome, f"{cell['before']} to {cell['after']}"), []).append(program.title)
        titles = merged(groups)
        for position, (group, (names, sizes)) in enumerate(titles.items()):
            name = f"[{norm}]({published.source})" if not position else ""
            who = f"all {len(names)}" if len(names) == len(EXPORTERS) else ", ".join(names)
            cells_of_row = (name, who, *(each or "-" for each in group[:-1]), sizes)
            yield f"| {' | '.join(cells_of_row)} |"


def merged(groups: Mapping[tuple[str, ...], list[str]]) -> dict[tuple[str, ...], tuple[list[str], str]]:
    """Join the groups that differ in the numbers of operators only."""
    found: dict[tuple[str, ...], tuple[list[str], list[str]]] = {}
    for group, names in groups.items():
        known = found.setdefault((*group[:-1], ""), ([], []))
        known[0].extend(names)
        known[1].append(group[-1])
    return {key: (names, "; ".join(sizes)) for key, (names, sizes) in found.items()}


def missing(cells: Mapping[str, Any]) -> str:
    """Say which norms an exporter cannot write, or writes so that ONNX Runtime cannot run it."""
    gone = [
        f"{program.title} of {norm}"
        for exporter, program in EXPORTERS.items()
        for norm in NORMS
        if f"{exporter}/{norm}" not in cells
    ]
    return f"Not exported, or exported so that ONNX Runtime cannot run it: {'; '.join(gone)}." if gone else ""


def main() -> int:
    cells = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    head = HEAD.format(norms=len(NORMS), exporters=len(EXPORTERS), missing=missing(cells))
    TABLE.write_text(head + "\n".join(rows(cells)) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
