"""How the nodes of a folded graph are connected, compared with how they were, and what that leaves of the module tree.

Every node that is left must read what it read before, with the nodes that went taken out. Two things may stand in
between. A module whose operators have become a chain of whole modules (the merged convolution, its activation) is
such a chain from now on: ``ModuleChain``. Elsewhere forward() goes on adding up its branches, and all but one of them
must be modules, which give zero from now on: ``zeros``. Only the input itself may be added too, which the weight of
the operator that is left takes off: ``shortcuts``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import onnx_ir as ir
import torch

from normfold.fold.graph_rules.parallel_branches import SHOWN_AS
from normfold.operators.table import SUMS
from normfold.pytorch.write_back.module_tree import Modules
from normfold.pytorch.write_back.provenance import Snapshot

LINEAR = frozenset({"Conv", "Gemm", "MatMul"})

ChainRegion = tuple[torch.nn.Module, torch.nn.Module | None]
"""A chain and the part of it that a node belongs to; None for a node that went with the rest of the module."""

_Readers = Mapping[ir.Value, Collection[ir.Node | None]]  # None stands for the caller of the graph


@dataclass(frozen=True, eq=False)
class ChainLink:
    """One module of a chain: its path below the chain's module, and its nodes that are left, as they were before."""

    path: str
    module: torch.nn.Module
    nodes: list[ir.Node]


@dataclass(frozen=True, eq=False)
class ModuleChain:
    """A module that has become its ``parts`` one after another; ``entry`` is what it read before."""

    module: torch.nn.Module
    entry: ir.Value
    parts: tuple[ChainLink, ...]


class NotAChainError(Exception):
    """The module does more than to call other modules one after another."""


class Wiring:
    """The connections of two graphs. ``old`` gives for each node that is left what it was before."""

    def __init__(
        self, model: ir.Model, snapshot: Snapshot, modules: Modules, replaced: Mapping[ir.Node, ir.Node]
    ) -> None:
        self.model, self.snapshot, self.modules, self.old = model, snapshot, modules, replaced
        self.new = {old: new for new, old in replaced.items()}
        self.within: dict[torch.nn.Module, list[ir.Node]] = {}
        self.readers: dict[ir.Value, list[ir.Node | None]] = {value: [None] for value in snapshot.outputs}
        for node in snapshot.nodes:
            for module in dict.fromkeys(modules.around(node)):
                self.within.setdefault(module, []).append(node)
            for value in self.inputs_before(node):
                self.readers.setdefault(value, []).append(node)
        self.named = {node.name: node for node in snapshot.nodes}
        self.chains: dict[torch.nn.Module, ModuleChain] = {}
        self.regions: dict[ir.Node, ChainRegion] = {}
        self.zeros: set[torch.nn.Module] = set()
        self.shortcuts: dict[ir.Node, int] = {}  # linear operators and how often forward() adds their input to them
        self.sums: list[ir.Node] = []  # that went, and that the last comparison has met,
        self.met: set[torch.nn.Module] = set()  # and the chains

    # -- chains ---------------------------------------------------------------------------------------------------
    def find_chains(self, broken: Collection[torch.nn.Module]) -> None:
        """Make chains of the outermost modules in ``broken``, whose forward() lost operators, wherever they are one."""
        now = self._readers_now() if broken else {}
        for module in self.modules.root.modules():  # a module comes before what it contains
            inside = self.within.get(module, ())
            if module not in broken or module is self.modules.root or any(node in self.regions for node in inside):
                continue
            try:
                chain = self._chain(module, broken, now)
            except NotAChainError:
                continue
            self.chains[module] = chain
            self.regions.update((node, (module, None)) for node in inside)
            for part in chain.parts:
                self.regions.update((node, (module, part.module)) for node in self.within[part.module])

    def _chain(self, module: torch.nn.Module, broken: Collection[torch.nn.Module], now: _Readers) -> ModuleChain:
        entry, _ = self._border_before(self.within[module])
        parts = self._parts(module, broken)
        for part in parts:  # each called once, with one tensor, for one tensor
            self._border_before(self.within[part.module])
        steps = [self._border_now(part.nodes, now) for part in parts]
        _require(all(given is read for (_, given), (read, _) in pairwise(steps)))
        inside = set(self.within[module])
        _require(not steps or self._maker_now(steps[0][0]) not in inside)
        for index, (_, given) in enumerate(steps):
            following = set(parts[index + 1].nodes) if index + 1 < len(parts) else set(now[given]) - inside
            _require(set(now[given]) <= following | set(parts[index].nodes))
        kept = {inner for part in parts for inner in part.module.modules()}
        _require(not any(_acts_in_training(inner) for inner in set(module.modules()) - kept))
        return ModuleChain(module, entry, tuple(parts))

    def _border_before(self, nodes: Collection[ir.Node]) -> tuple[ir.Value, ir.Value]:
        """Return the one value that nodes read from outside, and the one that they give; NotAChainError for several."""
        inside = set(nodes)
        read = [value for node in inside for value in self.inputs_before(node) if value.producer() not in inside]
        given = [out for node in inside for out in node.outputs if set(self.readers.get(out, ())) - inside]
        return _only(read), _only(given)

    def _border_now(self, nodes: Collection[ir.Node], now: _Readers) -> tuple[ir.Value, ir.Value]:
        """Return the same for the graph as it is now; the nodes are named by what they were before."""
        inside = set(nodes)
        read = [value for node in inside for value in self._inputs_now(node) if self._maker_now(value) not in inside]
        given = [out for out, readers in now.items() if self._maker_now(out) in inside and set(readers) - inside]
        return _only(read), _only(given)

    def _parts(self, module: torch.nn.Module, broken: Collection[torch.nn.Module]) -> list[ChainLink]:
        """List the modules inside ``module`` that its nodes belong to, in the order in which they run now."""
        paths = {inner: path for path, inner in module.named_modules()}
        inside = set(self.within[module])
        parts: list[ChainLink] = []
        for node in self.model.graph:
            old = self.old.get(node)
            if old is None or old not in inside:
                continue
            around = self.modules.around(old)
            whole = next((each for each in around[around.index(module) + 1 :] if each not in broken), None)
            if whole is None or whole not in paths:
                raise NotAChainError
            if not parts or parts[-1].module is not whole:
                _require(not any(inner in broken for inner in whole.modules()))
                parts.append(ChainLink(paths[whole], whole, []))
            parts[-1].nodes.append(old)
        _require(len({part.module for part in parts}) == len(parts))
        return parts

    # -- reading both graphs ------------------------------------------------------------------------
    def inputs_before(self, node: ir.Node) -> list[ir.Value]:
        """Return what a node read from data before the fold."""
        return [
            value for value in self.snapshot.nodes[node].inputs if value is not None and value in self.snapshot.live
        ]

    def _maker_now(self, value: ir.Value) -> ir.Node | None:
        """Return the producer of a value that no new node makes, as it was before."""
        node = value.producer()
        return self.old.get(node) if node is not None else None

    def _inputs_now(self, node: ir.Node) -> list[ir.Value]:
        """Return the inputs of the present form of ``node``, seen through new operators with one input."""
        return [self._through(value) for value in self._live(self.new[node])]

    def reads_several(self, node: ir.Node) -> bool:
        """Whether a node of the graph as it is now reads data at more than one input."""
        return len(self._live(node)) > 1

    def _readers_now(self) -> _Readers:
        readers: dict[ir.Value, list[ir.Node | None]] = {}
        for value in self.model.graph.outputs:
            readers.setdefault(self._through(value), []).append(None)
        for node in self.model.graph:
            if node in self.old or (node not in self.snapshot.known and self.reads_several(node)):
                for value in self._live(node):
                    readers.setdefault(self._through(value), []).append(self.old.get(node) or self._stands_for(node))
        return readers

    def _stands_for(self, node: ir.Node) -> ir.Node | None:
        """Return the removed sum of which a new one holds the addends that were not merged."""
        return self.named.get(node.meta.get(SHOWN_AS))

    def _through(self, value: ir.Value) -> ir.Value:
        node = value.producer()
        while node is not None and node not in self.old:
            live = self._live(node)
            if len(live) != 1:
                break
            value, node = live[0], live[0].producer()
        return value

    def _live(self, node: ir.Node) -> list[ir.Value]:
        """Return the inputs of a node that carry data."""
        return [value for value in node.inputs if value is not None and self._is_live(value)]

    def _is_live(self, value: ir.Value) -> bool:
        node = value.producer()
        if node is None:
            return value in self.snapshot.live
        if node in self.old or node in self.snapshot.known:
            return node in self.old
        return bool(self._live(node))

    # -- ends: where a value comes from, in words that both graphs share --------------------------------------------
    def is_same(self, before: ir.Value | None, now: ir.Value | None, reader: ir.Node | None = None) -> bool:
        """Whether ``now`` carries what ``before`` carried. ``reader``: the node that reads it, None for an output."""
        region = self.regions.get(reader) if reader is not None else None
        return self._agree(before, now, region)

    def is_fed(self, chain: ModuleChain) -> bool:
        """Whether a chain reads what its module read."""
        if not chain.parts:
            return True
        inside = set(chain.parts[0].nodes)
        read = [value for node in inside for value in self._inputs_now(node) if self._maker_now(value) not in inside]
        return self._agree(chain.entry, read[0], None)

    def _agree(self, before: ir.Value | None, now: ir.Value | None, region: ChainRegion | None) -> bool:
        """Whether the sums are the same but for addends whose module can give zero, which it does from now on.

        What is left over may be what the only addend itself reads: a shortcut, which its weight can take off.
        """
        self.sums.clear()
        self.met.clear()
        self.met.update([region[0]] if region is not None else [])
        had, terms = list(self._addends_before(before, region)), list(self._addends_now(now, region))
        wanted = Counter(terms)
        wanted.subtract((addend.end, addend.sign) for addend in had if addend.zero is None)
        for addend in had:
            if addend.zero is None:
                continue
            if wanted[addend.end, addend.sign] > 0:
                wanted[addend.end, addend.sign] -= 1
            else:
                self.zeros.add(addend.zero)
        left = {term: -count for term, count in wanted.items() if count}
        return self._is_taken_off(left, terms, region)

    def _is_taken_off(
        self, left: Mapping[tuple[object, int], int], terms: list[tuple[object, int]], region: ChainRegion | None
    ) -> bool:
        """Whether ``left``, which forward() adds as before, is what the one operator in ``terms`` reads."""
        end = terms[0][0] if len(terms) == 1 and terms[0][1] == 1 else None
        node = end[0] if isinstance(end, tuple) else None
        if not isinstance(node, ir.Node) or node.op_type not in LINEAR:
            return not left
        for sign in (1, -1):
            read = self._addends_before(self.snapshot.nodes[node].inputs[0], region, sign)
            if left and Counter((addend.end, addend.sign) for addend in read if addend.zero is None) == Counter(left):
                return self.shortcuts.setdefault(node, sign) == sign
        return not left and self.shortcuts.setdefault(node, 0) == 0

    def _addends_before(self, value: ir.Value | None, region: ChainRegion | None, sign: int = 1) -> Iterator[_Addend]:
        """Split a value into nodes that are left (by what they were before), inputs and borders of regions."""
        while value is not None:
            node = value.producer()
            own = self.regions.get(node) if node is not None else None
            if region is not None and own != region:
                yield _Addend(("entry", region), sign)
                return
            if own is not None and region is None:
                chain = self.chains[own[0]]
                self.met.add(chain.module)
                if chain.parts:
                    yield _Addend(("exit", chain.module), sign)
                    return
                value = chain.entry
            elif node is None or node in self.new:
                yield _Addend((node or value, value.index() or 0), sign)
                return
            elif node.op_type in SUMS and len(self.inputs_before(node)) > 1:
                yield from self._split(node, region, sign)
                return
            else:
                value = self.snapshot.data_input(node)
        yield _Addend(None, sign)

    def _split(self, node: ir.Node, region: ChainRegion | None, sign: int) -> Iterator[_Addend]:
        """Yield the addends of a sum that was removed."""
        self.sums.append(node)
        for index, value in enumerate(self.snapshot.nodes[node].inputs):
            own = -sign if node.op_type == "Sub" and index == 1 else sign
            zero = self._zero(value, node)
            inner = self._addends_before(value, region, own)
            if zero is None:
                yield from inner
            else:
                ends = [addend.end for addend in inner]
                yield _Addend(ends[0] if len(ends) == 1 else None, own, zero)

    def _addends_now(
        self, value: ir.Value | None, region: ChainRegion | None, sign: int = 1
    ) -> Iterator[tuple[object, int]]:
        while value is not None:
            node = value.producer()
            old = self.old.get(node) if node is not None else None
            own = self.regions.get(old) if old is not None else None
            if node is None or old is not None:
                if region is not None and own != region:
                    yield ("entry", region), sign
                elif own is not None and region is None:
                    yield ("exit", own[0]), sign
                else:
                    yield (old or value, value.index() or 0), sign
                return
            if node.op_type in SUMS and self.reads_several(node):
                if region is not None:  # chains hold no sum
                    yield ("entry", region), sign
                    return
                for index, operand in enumerate(node.inputs):
                    own_sign = -sign if node.op_type == "Sub" and index == 1 else sign
                    yield from self._addends_now(operand, region, own_sign)
                return
            value = node.inputs[0]
        yield None, sign

    def _zero(self, value: ir.Value | None, reader: ir.Node) -> torch.nn.Module | None:
        """Return the outermost module below the sum's own that gives only ``value`` and has no node left."""
        node = value.producer() if value is not None else None
        if value is None or node is None or node not in self.snapshot.nodes or self.readers.get(value) != [reader]:
            return None
        around, own = self.modules.around(node), self.modules.around(reader)[-1]
        for module in around[around.index(own) + 1 :] if own in around else ():
            inside = set(self.within[module])
            if any(each in self.new for each in inside):
                continue
            given = {out for each in inside for out in each.outputs if set(self.readers.get(out, ())) - inside}
            if given == {value}:
                return module
        return None


@dataclass(frozen=True)
class _Addend:
    """Where an addend comes from, how often it counts, and the module that can give zero instead."""

    end: object
    sign: int
    zero: torch.nn.Module | None = None


def _only(values: Iterable[ir.Value]) -> ir.Value:
    """Return the value that all of them are."""
    distinct = set(values)
    _require(len(distinct) == 1)
    return distinct.pop()


def _require(condition: bool) -> None:
    if not condition:
        raise NotAChainError


def _acts_in_training(module: torch.nn.Module) -> bool:
    """Dropout in any form: it leaves no trace at inference, and must not get lost."""
    return isinstance(module, torch.nn.modules.dropout._DropoutNd) or "drop" in type(module).__name__.lower()
