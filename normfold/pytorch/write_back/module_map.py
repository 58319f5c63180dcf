"""From a folded graph back onto the module that it was exported from: which weights change, which modules go.

The exported graph names each initializer after its parameter and each node after the modules that it was called in.
``Snapshot`` remembers the graph before the fold; ``changes`` compares. Whatever cannot be written back exactly (a
norm inside a larger forward(), a parameter that two uses want differently, a computed weight) is a
``WriteBackProblem`` that names the folds to leave out. Nothing here changes the module.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch

from normfold.findings.reason import Reason
from normfold.fold.graph_rules import parallel_branches as branches
from normfold.graph.editor import FROM, RULE
from normfold.graph.reader import attribute, input_at
from normfold.operators.table import SUMS
from normfold.pytorch.write_back.module_tree import Modules, Slot, overlap, parts_left
from normfold.pytorch.write_back.provenance import (
    BIAS_INPUT,
    LAYOUT,
    NEUTRAL,
    SAME_ORDER,
    Provenance,
    Snapshot,
    undo_each_other,
)
from normfold.pytorch.write_back.weight_changes import (
    Changes,
    WeightRequests,
    WriteBackProblem,
    array_of,
    numbers_in,
    window,
    without_identity,
)
from normfold.pytorch.write_back.wiring import Wiring

PRODUCTS = {"Gemm", "MatMul"}
_CONVOLUTIONS = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)


class WriteBack:
    """One folded graph against its snapshot."""

    def __init__(
        self, model: ir.Model, snapshot: Snapshot, provenance: Provenance, modules: Modules, findings: frozenset[str]
    ) -> None:
        self.model, self.snapshot, self.provenance, self.modules = model, snapshot, provenance, modules
        self.old = self._replaced_nodes()
        self.new = {old: new for new, old in self.old.items()}
        self.removed = [node for node in snapshot.nodes if node not in self.new]
        self.sums = [node for node in self.removed if node.op_type in SUMS and self._reads_several(node)]
        self.findings = findings | {node.name or "" for node in self.sums}
        self.inside: dict[torch.nn.Module, list[ir.Node]] = {}
        for node in snapshot.nodes:
            self.inside.setdefault(modules.around(node)[-1], []).append(node)
        self.wiring = Wiring(model, snapshot, modules, self.old)
        self.changes = Changes()
        self.problems: list[WriteBackProblem] = []
        self.replaced: set[ir.Node] = set()
        self.biased: set[ir.Node] = set()
        self.requests = WeightRequests()

    def _replaced_nodes(self) -> dict[ir.Node, ir.Node]:
        """For each node that is left, what it was before: itself, or the node of the same name that it replaced."""
        kept = {node: node for node in self.model.graph if node in self.snapshot.nodes}
        gone = {node.name: node for node in self.snapshot.nodes if node not in kept}
        for node in self.model.graph:
            old = gone.get(node.name) if node not in self.snapshot.known else None
            if old is not None and (old.op_type == node.op_type or {old.op_type, node.op_type} <= PRODUCTS):
                kept[node] = old
        return kept

    def _reads_several(self, node: ir.Node) -> bool:
        return sum(value in self.snapshot.live for value in self.snapshot.nodes[node].inputs) > 1

    def run(self) -> tuple[Changes, tuple[WriteBackProblem, ...]]:
        """Return the changes and the problems; with any problem the changes must not be used."""
        for node in self.model.graph:
            if node not in self.old and node not in self.snapshot.known:
                self._place_new(node)
        self.wiring.find_chains({module for node in self.removed for module in self._broken_by(node)})
        self._compare_wiring()
        for node in self.old:
            self._compare_node(node)
        self.changes.zeros = {module for module in self.wiring.zeros if not self._is_in_zero(module)}
        for node in self.removed:
            self._remove(node)
        self._record_what_is_left()
        self.changes.shared = {module for module in self.changes.gone if self._shares_its_input(module)}
        self.changes.weights, disagreements = self.requests.agreed(self._calls)
        for slot, nodes in disagreements:
            name = f"{type(slot[0]).__name__}.{slot[1]}"
            self._problem(Reason.SHARED_PARAMETER, nodes[0], f"{name} would need several values", *nodes)
        return self.changes, tuple(self.problems)

    def _problem(self, reason: Reason, node: ir.Node, detail: str = "", *more: ir.Node) -> None:
        """Attribute a problem to the sums that were merged, or else to what these nodes were changed or removed for.

        Without the merge the norms that it passed may go where they are.
        """
        names = {each.name or "" for each in self._merged_into(node)}
        if not names:
            names = {name for each in (node, *more) for name in each.metadata_props.get(FROM, "").split(", ")}
            names |= {each.name or "" for each in (node, *more) if each not in self.old and each not in self.new}
        self.problems.append(
            WriteBackProblem(frozenset(names) & self.findings, reason, node.name or node.op_type, detail)
        )

    def _merged_into(self, node: ir.Node) -> Iterator[ir.Node]:
        """Yield the sums that disappeared when branches were merged into ``node``."""
        if node.metadata_props.get(RULE) != branches.RULE or node not in self.old:
            return
        values, seen = list(self.old[node].outputs), set[ir.Node]()
        while values:
            for reading in self.wiring.readers.get(values.pop(), ()):
                if reading is not None and reading not in self.new and reading not in seen:
                    seen.add(reading)
                    values.extend(reading.outputs)
                    if reading in self.sums:
                        yield reading

    # -- wiring: what is left must be connected as before, with the removed nodes taken out ------------------------
    def _compare_wiring(self) -> None:
        for node, old in self.old.items():
            for index, before in enumerate(self.snapshot.nodes[old].inputs):
                after = input_at(node, index)
                if before in self.snapshot.live and not self.wiring.is_same(before, after, old):
                    self._misconnected(node, f"input {index} is connected differently")
        for before, after in zip(self.snapshot.outputs, self.model.graph.outputs, strict=True):
            if before not in self.snapshot.live:
                self._request_leaves(before)
                continue
            producer = after.producer() or before.producer()
            if producer is not None and not self.wiring.is_same(before, after):
                self._misconnected(producer, f"the output {after.name} is connected differently")
        for chain in self.wiring.chains.values():
            if not self.wiring.is_fed(chain):
                self._misconnected(self.inside[chain.module][0], "its input is connected differently")

    def _misconnected(self, node: ir.Node, detail: str) -> None:
        """Attribute it to the sums between, which forward() still makes, or those of chains, or the node itself."""
        inside = (each for each in self.sums if not self.wiring.met.isdisjoint(self.modules.around(each)))
        sums = self.wiring.sums or list(inside)
        if not sums:
            self._problem(Reason.NO_PLACE, node, detail)
            return
        detail = f"{type(self._module_of(sums[-1])).__name__}.forward() adds what is no module of its own"
        names = frozenset(each.name or "" for each in sums)
        self.problems.append(WriteBackProblem(names, Reason.IN_FORWARD, sums[-1].name or "", detail))

    # -- modules that go ------------------------------------------------------------------------------------------
    def _broken_by(self, node: ir.Node) -> list[torch.nn.Module]:
        """Return the module of ``node``, which was removed, where its forward() does more than that."""
        if node.op_type in LAYOUT or node in self.replaced:
            return []
        module = self._module_of(node)
        return [module] if node in self.sums or self._rest(module) is not None else []

    def _rest(self, module: torch.nn.Module) -> ir.Node | None:
        """Return an operator that a module itself still executes."""
        left = [each for each in self.inside[module] if each in self.new and each.op_type not in SAME_ORDER]
        return None if undo_each_other(left) else next(iter(left), None)

    def _is_in_zero(self, module: torch.nn.Module) -> bool:
        return any(module in set(zero.modules()) - {zero} for zero in self.wiring.zeros)

    def _remove(self, node: ir.Node) -> None:
        around = self.modules.around(node)
        module = around[-1]
        if node.op_type in LAYOUT or node in self.replaced or node in self.sums or module in self.changes.gone:
            return  # of a sum, the wiring has said it
        if self.wiring.regions.get(node, (None, module))[1] is None or any(
            each in self.changes.zeros for each in around
        ):
            return  # it went with the rest
        constants = self.snapshot.not_neutral(node)
        if constants == {} and node.op_type in NEUTRAL:
            return  # it does nothing, and forward() may go on doing it
        rest = self._rest(module)
        if module is not self.modules.root and rest is None:
            self.changes.gone.add(module)
        elif constants is not None and constants.keys() <= self.provenance.moved and self._is_next_to_a_norm(node):
            for constant, number in constants.values():
                self._request_constant(node, constant, np.full(numbers_in(constant), number))
        elif rest is None or module is self.modules.root:
            self._problem(Reason.IN_FORWARD, node, "it stands in the forward() of the whole model")
        else:
            self._problem(Reason.IN_FORWARD, node, f"{type(module).__name__}.forward() also does {rest.op_type}")

    def _is_next_to_a_norm(self, node: ir.Node) -> bool:
        """Tell whether it is a norm, or others that went lie between it and one: else nothing is gained."""
        chain = [node]
        for each in chain:
            near = [value.producer() for value in self.wiring.inputs_before(each)]
            near += [reader for value in each.outputs for reader in self.wiring.readers.get(value, ())]
            chain += [other for other in near if other in self.snapshot.nodes and other not in {*self.new, *chain}]
        return any(each.op_type == "BatchNormalization" for each in chain)

    def _shares_its_input(self, module: torch.nn.Module) -> bool:
        """Tell whether another operator, or the caller, has the memory that a module reads."""
        inside = set(self.wiring.within[module])
        values = [
            value for node in inside for value in self.wiring.inputs_before(node) if value.producer() not in inside
        ]
        while values:
            value = values.pop()
            node = value.producer()
            if node is None or set(self.wiring.readers.get(value, ())) - inside:
                return True
            if node in self.snapshot.nodes and (node.op_type in LAYOUT or node in self.removed):
                inside = {node}  # a view of its input, or gone itself
                values.extend(self.wiring.inputs_before(node))
        return False

    def _record_what_is_left(self) -> None:
        changes = self.changes
        changes.left = parts_left(changes.gone, self.model.graph, self.modules)
        for chain in self.wiring.chains.values():
            kept = [part.path for part in chain.parts]
            changes.left[chain.module] = tuple(kept)
            for path, module in chain.module.named_modules():
                if path and module in self.wiring.within and not any(overlap(path, other) for other in kept):
                    changes.dropped.add(module)
                    kept.append(path)

    # -- weights that change --------------------------------------------------------------------------------------
    def _compare_node(self, node: ir.Node) -> None:
        before = self.snapshot.nodes[self.old[node]]
        if node.op_type == "BatchNormalization" and self.old[node] is not node:
            self._compare_statistics(node)
            return
        if node.op_type in PRODUCTS and (self.old[node] is not node or node.op_type != before.operator):
            self._compare_product(node)
            return
        attributes = {name: str(attribute) for name, attribute in node.attributes.items()}
        is_window = node.op_type == "Conv" and self.old[node] is not node
        if is_window:
            self._compare_window(node)
        elif node.op_type != before.operator or attributes != {
            name: str(attribute) for name, attribute in before.attributes.items()
        }:
            self._problem(Reason.NO_PLACE, node, f"{before.operator} became {node.op_type} with other attributes")
            return
        for index, old in enumerate((*before.inputs, None)[: max(len(before.inputs), len(node.inputs))]):
            new = input_at(node, index)
            if new is old:
                self._request_unchanged(node, old)
            elif new is None and old is not None and index == BIAS_INPUT.get(node.op_type):
                self._request_constant(node, old, np.zeros(numbers_in(old)))  # the merged bias is zero
            elif new is not None and new.producer() is None and new.const_value is not None:
                self._compare_constant(node, index, old, new)

    def _compare_window(self, node: ir.Node) -> None:
        """Compare a convolution that branches were merged into: its window may have grown."""
        before, module = self.snapshot.nodes[self.old[node]], self._module_of(node)
        old, new = window(before.inputs[1], before.attributes), window(node.inputs[1], node.attributes)
        if old == new:
            return
        begins, ends = new["pads"][: len(new["sizes"])], new["pads"][len(new["sizes"]) :]
        if type(module) not in _CONVOLUTIONS or module.padding_mode != "zeros" or begins != ends:
            self._problem(Reason.NO_PLACE, node, f"{type(module).__name__} cannot have another window")
            return
        self.changes.windows[module] = {
            "kernel_size": new["sizes"],
            "stride": new["strides"],
            "dilation": new["dilations"],
            "padding": begins,
            "groups": new["group"][0],
            "_reversed_padding_repeated_twice": [pad for pad in reversed(begins) for _ in range(2)],
        }

    def _compare_product(self, node: ir.Node) -> None:
        """Compare a matrix product that branches were merged into, which is written as [K, N]."""
        before = self.snapshot.nodes[self.old[node]]
        weight, new = before.inputs[1], node.inputs[1]
        scaled = any(
            before.attributes[name].as_float() != 1.0 for name in ("alpha", "beta") if name in before.attributes
        )
        if weight is None or new is None or weight.name not in self.provenance.moved or scaled:
            self._problem(Reason.NO_PLACE, node, f"the weight of {type(self._module_of(node)).__name__}")
            return
        is_transposed = "transB" in before.attributes and before.attributes["transB"].as_int() == 1
        matrix = array_of(new)
        shortcut = self.wiring.shortcuts.get(self.old[node], 0)
        if shortcut:
            matrix = matrix.astype(np.float64) - shortcut * np.eye(*matrix.shape)
        self._request_constant(node, weight, matrix.T if is_transposed else matrix)
        given = input_at(node, 2)
        if given is not None:
            self._place_bias(node, array_of(given), node)
        elif node not in self.biased and (own := self._bias_before(node)) is not None:
            self._place_bias(node, np.zeros(numbers_in(own[1])), node)

    def _request_leaves(self, output: ir.Value) -> None:
        """Keep the parameters that an output is computed from without any data."""
        for leaf in self.provenance.leaves.get(output.name or "", frozenset({output.name or ""})):
            for slot in self.modules.owners(leaf):
                self.requests.add(slot, None, None)

    def _request_unchanged(self, node: ir.Node, value: ir.Value | None) -> None:
        for leaf in self.provenance.leaves.get(value.name or "", frozenset()) if value is not None else ():
            slot = self._slot(leaf, node)
            if slot is not None:
                self.requests.add(slot, node, None)

    def _compare_constant(self, node: ir.Node, index: int, old: ir.Value | None, new: ir.Value) -> None:
        array = array_of(new)
        if old is None or old.name not in self.provenance.moved:
            leaves = self.provenance.leaves.get(old.name or "", frozenset()) if old is not None else frozenset()
            if BIAS_INPUT.get(node.op_type) == index and not leaves and (old is None or old in self.snapshot.zeros):
                self._place_bias(node, array, node)
            else:
                self._problem(Reason.COMPUTED_PARAMETER if leaves else Reason.NO_PLACE, node, f"input {index}")
            return
        if index == 1 and (shortcut := self.wiring.shortcuts.get(self.old[node], 0)):
            less = without_identity(array, window(new, node.attributes), shortcut)
            if less is None:
                self._problem(Reason.NO_PLACE, node, "its weight cannot take off its input")
                return
            array = less
        self._request_constant(node, old, array)

    def _request_constant(self, node: ir.Node, old: ir.Value, array: npt.NDArray[Any]) -> None:
        """``array`` in the place of ``old``, which is a parameter in some layout."""
        if old.name not in self.provenance.moved:
            self._problem(Reason.NO_PLACE, node, f"{old.name} is no parameter")
            return
        slot = self._slot(old.name, node)
        if slot is not None and slot[0] in self.changes.windows and slot[1] == "weight":
            self.requests.add(slot, node, array)
            return
        parts = self.provenance.parts_of(old.name, array)
        if parts is None:
            leaves = ", ".join(sorted(self.provenance.leaves[old.name]))
            self._problem(Reason.NO_PLACE, node, f"{leaves} would change its shape")
        for leaf, part in (parts or {}).items():
            slot = self._slot(leaf, node)
            tensor = self.modules.tensor(slot) if slot is not None else None
            if slot is None or tensor is None:
                self._problem(Reason.SHARED_PARAMETER, node, f"{leaf} has no single owner")
            else:
                self.requests.add(slot, node, part.reshape(tuple(tensor.shape)))

    def _calls(self, module: torch.nn.Module) -> set[ir.Node]:
        """Return the linear operators that a module itself executes, as they are now."""
        linear = ("Conv", "ConvTranspose", "Gemm", "MatMul")
        return {self.new[old] for old in self.inside[module] if old in self.new and old.op_type in linear}

    def _slot(self, leaf: str, node: ir.Node) -> Slot | None:
        return self.modules.slot(leaf, self.old.get(node, node))

    def _module_of(self, node: ir.Node) -> torch.nn.Module:
        """Return the module that a node runs in; for a rewritten node, that of the node that it replaced."""
        return self.modules.around(self.old.get(node, node))[-1]

    def _place_new(self, node: ir.Node) -> None:
        """Accept a new operator only as the bias of the operator before it, or as a sum that was there before."""
        if node.op_type in SUMS and self.wiring.reads_several(node):
            return
        data = node.inputs[0] if node.inputs else None
        producer = data.producer() if data is not None else None
        constant = node.inputs[1] if len(node.inputs) == 2 else None
        is_bias = node.op_type == "Add" and constant is not None and constant.const_value is not None
        if not is_bias or producer is None or producer not in self.old:
            self._problem(Reason.NO_PLACE, node, f"it needs a {node.op_type} that forward() does not have")
            return
        assert constant is not None
        self.biased.add(producer)
        self._place_bias(producer, array_of(constant), node)

    def _place_bias(self, linear: ir.Node, array: npt.NDArray[Any], node: ir.Node) -> None:
        """``array`` as the bias of an operator: the one that it has, or a new one, or what forward() adds behind it."""
        own = self._bias_before(linear) or (None if self._takes_bias(linear) else self._bias_before(linear, False))
        if own is None:
            self._request_bias(linear, array, node)
            return
        before, value = own
        self.replaced.add(before)
        rows = array.reshape(-1, numbers_in(value)) if array.size % numbers_in(value) == 0 else array.reshape(-1, 1)
        if (rows != rows[0]).any():
            channels = f"the shift has {array.size} values for {numbers_in(value)} channels"
            self._problem(Reason.NO_PLACE, node, channels)
            return
        self._request_constant(linear, value, np.broadcast_to(rows[0], (numbers_in(value),)))

    def _bias_before(self, linear: ir.Node, inside: bool = True) -> tuple[ir.Node, ir.Value] | None:
        """Return the operator that adds a bias to the result of another one, and its constant, where it was removed.

        With ``inside`` it must be of the same module.
        """
        old = self.old[linear]
        inputs = self.snapshot.nodes[old].inputs
        if old.op_type == "Gemm" and len(inputs) > 2 and inputs[2] is not None:
            return old, inputs[2]
        readers = self.wiring.readers.get(old.outputs[0], [])
        node = readers[0] if len(readers) == 1 else None
        if node is None or node in self.new or node.op_type != "Add" or node in self.sums:
            return None
        constant = self.snapshot.constant_input(node)
        if constant is None or constant.name not in self.provenance.moved:
            return None
        is_own = self.modules.around(node)[-1] is self.modules.around(old)[-1]
        return (node, constant) if is_own or not inside else None

    def _takes_bias(self, node: ir.Node) -> bool:
        """Tell whether the module of a node has a weight, and the place of a bias that it does not have."""
        parameters = self._module_of(node)._parameters
        return "bias" in parameters and parameters["bias"] is None and parameters.get("weight") is not None

    def _request_bias(self, node: ir.Node, array: npt.NDArray[Any], *more: ir.Node) -> None:
        """Request a bias that the module does not have yet; only where the node's weight is the module's own."""
        module = self._module_of(node)
        weight = module._parameters.get("weight")
        if weight is None or not self._takes_bias(node):
            self._problem(Reason.NO_PLACE, node, f"{type(module).__name__} has no empty bias", *more)
            return
        transposed = isinstance(module, torch.nn.modules.conv._ConvTransposeNd)
        channels = int(weight.shape[1]) * int(getattr(module, "groups", 1)) if transposed else int(weight.shape[0])
        if array.size not in (1, channels):
            self._problem(Reason.NO_PLACE, node, f"the shift has {array.size} values for {channels} channels", *more)
            return
        self.requests.add((module, "bias"), node, np.broadcast_to(array.reshape(-1), (channels,)))

    def _compare_statistics(self, node: ir.Node) -> None:
        """Compare a rewritten BatchNormalization: all four parameters change, and the module keeps its own eps."""
        module = self._module_of(node)
        values = [
            array_of(value).astype(np.float64) for value in node.inputs[1:] if value is not None and value.const_value
        ]
        own = getattr(module, "eps", None)
        if len(values) != 4 or not isinstance(own, float):
            self._problem(Reason.NO_PLACE, node, f"{type(module).__name__} is no BatchNorm")
            return
        values[3] = values[3] + float(attribute(node, "epsilon", 1e-5)) - own
        for name, array in zip(("weight", "bias", "running_mean", "running_var"), values, strict=True):
            tensor = self.modules.tensor((module, name))
            if tensor is None or tensor.numel() != array.size or (name == "running_var" and array.min() < 0):
                self._problem(Reason.NO_PLACE, node, f"{type(module).__name__} has no {name} for it")
                return
            self.requests.add((module, name), node, array)
