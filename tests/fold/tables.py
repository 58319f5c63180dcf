"""The tables of rules, line by line, each with the rows of the test file that lies as its rule does."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import onnx_ir as ir

from normfold.fold.absorbers import table as absorbers
from normfold.fold.carriers import table as carriers
from normfold.fold.rule import Labels
from normfold.graph.reader import GraphReader
from tests.fold.rows import Folds, Refuses

Rule = Callable[[GraphReader, ir.Node, Labels], Any]
Row = Folds | Refuses


@dataclass(frozen=True)
class Entry:
    """One line of a table of rules."""

    kind: str
    direction: str
    operator: str
    table: dict[str, Rule] = field(repr=False)

    @property
    def module(self) -> ModuleType:
        """The module of the rule, also where ``both_ways`` has made two of one."""
        rule = self.table[self.operator]
        inside = [cell.cell_contents for cell in rule.__closure__ or () if callable(cell.cell_contents)]
        return sys.modules[(inside or [rule])[0].__module__]

    @property
    def name(self) -> str:
        return f"{self.kind}/{self.module.__name__.rpartition('.')[2]} {self.direction} {self.operator}"

    def rows(self) -> list[Row]:
        """The rows of its room's test file that hold its operator."""
        plain = self.operator.rpartition(".")[2]
        return [row for row in rows_for(self.module) if re.search(rf"\b{plain}\b", row.text)]


def rows_for(module: ModuleType) -> list[Row]:
    """Every row of the test file that lies as ``module`` lies."""
    room, _, file = module.__name__.removeprefix("normfold.").rpartition(".")
    name = f"tests.{room}.test_{file}"
    if find_spec(name) is None:
        return []
    tables = [value for value in vars(importlib.import_module(name)).values() if isinstance(value, dict)]
    return [row for table in tables for row in table.values() if isinstance(row, (Folds, Refuses))]


def entries() -> Iterator[Entry]:
    """Every line of every table."""
    for kind, module in (("carriers", carriers), ("absorbers", absorbers)):
        for direction, lines in (("backward", module.BACKWARD), ("forward", module.FORWARD)):
            yield from (Entry(kind, direction, operator, lines) for operator in lines)
