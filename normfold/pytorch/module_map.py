"""From a folded graph back onto the module that it was exported from: which weights change, which modules go.

The exported graph names each initializer after its parameter and each node after the modules that it was called in.
``Snapshot`` remembers the graph before the fold; ``changes`` compares. Whatever cannot be written back exactly (a
norm inside a larger forward(), a parameter that two uses want differently, a computed weight) is a ``Problem`` that
names the folds to leave out. Nothing here changes the module.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch

from normfold.edit import FROM
from normfold.pytorch.provenance import LAYOUT, SAME_ORDER, Provenance, Snapshot
from normfold.reason import Reason

_SCOPES = "pkg.torch.onnx.name_scopes"
_BIAS_INPUT = {"Conv": 2, "ConvTranspose": 2, "Gemm": 2}

Slot = tuple[torch.nn.Module, str]


@dataclass(frozen=True)
class Problem:
    """Folds that cannot be written back onto the module, by the names of their findings, and why."""

    folds: frozenset[str]
    reason: Reason
    node: str
    detail: str = ""


@dataclass
class Changes:
    """``weights``: new values by parameter; ``gone``: modules that become Identity, or what their children still do."""

    weights: dict[Slot, npt.NDArray[Any]] = field(default_factory=dict)
    gone: set[torch.nn.Module] = field(default_factory=set)


class Modules:
    """The module tree by scope: which module a node ran in, and who owns a tensor."""

    def __init__(self, root: torch.nn.Module) -> None:
        self.root = root
        self.tensors: dict[str, torch.Tensor] = dict(root.named_parameters(remove_duplicate=False))
        self.tensors.update(root.named_buffers(remove_duplicate=False))
        self._owners: dict[int, list[Slot]] = {}
        self._around: dict[str, tuple[torch.nn.Module, ...]] = {}
        for module in root.modules():
            for name, tensor in (*module._parameters.items(), *module._buffers.items()):
                if tensor is not None:
                    self._owners.setdefault(id(tensor), []).append((module, name))

    def around(self, node: ir.Node) -> tuple[torch.nn.Module, ...]:
        """The modules that ``node`` ran in, outermost first; the root alone where the exporter did not say."""
        scopes = node.metadata_props.get(_SCOPES, "[]")
        if scopes not in self._around:
            self._around[scopes] = (self.root, *self._named(scopes))
        return self._around[scopes]

    def _named(self, scopes: str) -> Iterator[torch.nn.Module]:
        try:
            paths = ast.literal_eval(scopes)
        except (ValueError, SyntaxError):
            return
        for path in paths[1:-1]:
            try:
                yield self.root.get_submodule(path)
            except AttributeError:
                continue  # a scope that is no module, such as one of a decomposition

    def slot(self, leaf: str, node: ir.Node) -> Slot | None:
        """The parameter ``leaf`` as ``node`` reads it: its own module's, else the only owner's; None if unclear."""
        tensor = self.tensors.get(leaf)
        owners = self._owners.get(id(tensor), []) if tensor is not None else []
        module = self.around(node)[-1]
        own = [slot for slot in owners if slot[0] is module]
        candidates = own or owners
        return candidates[0] if len(candidates) == 1 else None

    def tensor(self, slot: Slot) -> torch.Tensor | None:
        """The tensor in a slot, None for an empty one."""
        module, name = slot
        return module._parameters.get(name, module._buffers.get(name))

    def is_computed(self, leaf: str, node: ir.Node) -> bool:
        """Whether the module of ``node`` computes its weight from ``leaf`` (weight_norm, parametrizations)."""
        module = self.around(node)[-1]
        return "parametrizations" in leaf or any(name.endswith(("_g", "_v", "_orig")) for name in module._parameters)


class Comparison:
    """One folded graph against its snapshot."""

    def __init__(
        self, model: ir.Model, snapshot: Snapshot, provenance: Provenance, modules: Modules, findings: frozenset[str]
    ) -> None:
        self.model, self.snapshot, self.provenance, self.modules = model, snapshot, provenance, modules
        self.findings = findings
        self.old = self._twins()
        self.new = {old: new for new, old in self.old.items()}
        self.removed = [node for node in snapshot.nodes if node not in self.new]
        self.inside: dict[torch.nn.Module, list[ir.Node]] = {}
        for node in snapshot.nodes:
            self.inside.setdefault(modules.around(node)[-1], []).append(node)
        self.changes = Changes()
        self.problems: list[Problem] = []
        self.replaced: set[ir.Node] = set()
        self.demands: dict[tuple[int, str], list[tuple[ir.Node, npt.NDArray[Any] | None]]] = {}
        self.slots: dict[tuple[int, str], Slot] = {}

    def _twins(self) -> dict[ir.Node, ir.Node]:
        """For each node that is left, what it was before: itself, or the node of the same name that it replaced."""
        kept = {node: node for node in self.model.graph if node in self.snapshot.nodes}
        gone = {node.name: node for node in self.snapshot.nodes if node not in kept}
        for node in self.model.graph:
            old = gone.get(node.name) if node not in self.snapshot.known else None
            if old is not None and old.op_type == node.op_type:
                kept[node] = old
        return kept

    def run(self) -> tuple[Changes, tuple[Problem, ...]]:
        """The changes, and the problems; with any problem the changes are not to be used."""
        self._compare_wiring()
        for node in self.model.graph:
            if node in self.old:
                self._compare_node(node)
            elif node not in self.snapshot.known:
                self._place_new(node)
        for node in self.removed:
            if node.op_type not in LAYOUT and node not in self.replaced:
                self._remove(node)
        self._agree()
        return self.changes, tuple(self.problems)

    def _problem(self, reason: Reason, node: ir.Node, detail: str = "", *more: ir.Node) -> None:
        """Blame the findings on whose behalf these nodes were changed or removed."""
        names = {name for each in (node, *more) for name in each.metadata_props.get(FROM, "").split(", ")}
        names |= {each.name or "" for each in (node, *more) if each not in self.old and each not in self.new}
        self.problems.append(Problem(frozenset(names) & self.findings, reason, node.name or node.op_type, detail))

    # -- wiring: what is left must be connected as before, with the removed nodes taken out ------------------------
    def _compare_wiring(self) -> None:
        for node, old in self.old.items():
            for index, before in enumerate(self.snapshot.nodes[old].inputs):
                after = node.inputs[index] if index < len(node.inputs) else None
                if before in self.snapshot.live and self._end_before(before) != self._end_now(after):
                    self._problem(Reason.NO_PLACE, node, f"input {index} is connected differently")
        for before, after in zip(self.snapshot.outputs, self.model.graph.outputs, strict=True):
            if self._end_before(before) != self._end_now(after):
                producer = after.producer() or before.producer()
                if producer is not None:
                    self._problem(Reason.NO_PLACE, producer, f"the output {after.name} is connected differently")

    def _end_before(self, value: ir.Value | None) -> tuple[object, int]:
        """Where a value came from, as a node that is left (by what it was before) or an input of the graph."""
        while value is not None:
            node = value.producer()
            if node is None or node in self.new:
                return (node or value), value.index() or 0
            value = self.snapshot.data_input(node)
        return None, 0

    def _end_now(self, value: ir.Value | None) -> tuple[object, int]:
        while value is not None:
            node = value.producer()
            if node is None or node in self.old:
                return (self.old[node] if node is not None else value), value.index() or 0
            value = node.inputs[0]
        return None, 0

    # -- modules that go ------------------------------------------------------------------------------------------
    def _remove(self, node: ir.Node) -> None:
        module = self._module_of(node)
        if module in self.changes.gone:
            return
        if module is self.modules.root:
            self._problem(Reason.IN_FORWARD, node, "it stands in the forward() of the whole model")
            return
        for other in self.inside[module]:
            if other in self.new and other.op_type not in SAME_ORDER:
                self._problem(Reason.IN_FORWARD, node, f"{type(module).__name__}.forward() also does {other.op_type}")
                return
        self.changes.gone.add(module)

    # -- weights that change --------------------------------------------------------------------------------------
    def _compare_node(self, node: ir.Node) -> None:
        before = self.snapshot.nodes[self.old[node]]
        attributes = {name: str(attribute) for name, attribute in node.attributes.items()}
        if node.op_type == "BatchNormalization" and self.old[node] is not node:
            self._compare_statistics(node)
            return
        if node.op_type != before.operator or attributes != before.attributes:
            self._problem(Reason.NO_PLACE, node, f"{before.operator} became {node.op_type} with other attributes")
            return
        for index, new in enumerate(node.inputs):
            old = before.inputs[index] if index < len(before.inputs) else None
            if new is old:
                self._demand_unchanged(node, old)
            elif new is not None and new.producer() is None and new.const_value is not None:
                self._compare_constant(node, index, old, new)

    def _demand_unchanged(self, node: ir.Node, value: ir.Value | None) -> None:
        for leaf in self.provenance.leaves.get(value.name or "", frozenset()) if value is not None else ():
            slot = self.modules.slot(leaf, node)
            if slot is not None:
                self._demand(slot, node, None)

    def _compare_constant(self, node: ir.Node, index: int, old: ir.Value | None, new: ir.Value) -> None:
        array = array_of(new)
        origin = self.provenance.origins.get(old.name or "") if old is not None else None
        if origin is None:
            leaves = self.provenance.leaves.get(old.name or "", frozenset()) if old is not None else frozenset()
            if _BIAS_INPUT.get(node.op_type) == index and not leaves:
                self._demand_bias(node, array)
            else:
                computed = any(self.modules.is_computed(leaf, node) for leaf in leaves)
                self._problem(Reason.COMPUTED_PARAMETER if computed else Reason.NO_PLACE, node, f"input {index}")
            return
        assert old is not None, "an origin belongs to a value"
        self._demand_constant(node, old, array)

    def _demand_constant(self, node: ir.Node, old: ir.Value, array: npt.NDArray[Any]) -> None:
        """``array`` in the place of ``old``, which is a parameter in some layout."""
        origin = self.provenance.origins[old.name or ""]
        slot = self.modules.slot(origin.leaf, node)
        tensor = self.modules.tensor(slot) if slot is not None else None
        if slot is None or tensor is None:
            self._problem(Reason.SHARED_PARAMETER, node, f"{origin.leaf} has no single owner")
        elif tensor.numel() != array.size:
            self._problem(Reason.NO_PLACE, node, f"{origin.leaf} would change its shape")
        else:
            self._demand(slot, node, origin.undo(array).reshape(tuple(tensor.shape)))

    def _module_of(self, node: ir.Node) -> torch.nn.Module:
        """The module that a node runs in; of a node written anew, the one of the node that it replaced."""
        return self.modules.around(self.old.get(node, node))[-1]

    def _place_new(self, node: ir.Node) -> None:
        """A new operator has a place only as the bias of the Linear before it."""
        data = node.inputs[0] if node.inputs else None
        producer = data.producer() if data is not None else None
        constant = node.inputs[1] if len(node.inputs) == 2 else None
        is_bias = node.op_type == "Add" and constant is not None and constant.const_value is not None
        if not is_bias or producer is None or producer.op_type != "MatMul" or producer not in self.old:
            self._problem(Reason.NO_PLACE, node, f"it needs a {node.op_type} that forward() does not have")
            return
        assert constant is not None
        old = self._bias_before(producer)
        if old is None:
            self._demand_bias(producer, array_of(constant), node)
        else:
            before, value = old
            self.replaced.add(before)
            self._demand_constant(node, value, array_of(constant))

    def _bias_before(self, product: ir.Node) -> tuple[ir.Node, ir.Value] | None:
        """The Add that was a Linear's own bias behind its MatMul, when the fold has replaced it, and its constant."""
        module = self.modules.around(product)[-1]
        for node in self.removed:
            inputs = self.snapshot.nodes[node].inputs
            if node.op_type != "Add" or product.outputs[0] not in inputs or self.modules.around(node)[-1] is not module:
                continue
            constant = next(value for value in inputs if value is not product.outputs[0])
            if constant is not None and constant.name in self.provenance.origins:
                return node, constant
        return None

    def _demand_bias(self, node: ir.Node, array: npt.NDArray[Any], *more: ir.Node) -> None:
        """A bias that the module does not have yet; only where the node's weight is the module's own."""
        module = self._module_of(node)
        weight = module._parameters.get("weight")
        if "bias" not in module._parameters or module._parameters["bias"] is not None or weight is None:
            self._problem(Reason.NO_PLACE, node, f"{type(module).__name__} has no empty bias", *more)
            return
        transposed = isinstance(module, torch.nn.modules.conv._ConvTransposeNd)
        channels = int(weight.shape[1]) * int(getattr(module, "groups", 1)) if transposed else int(weight.shape[0])
        if array.size not in (1, channels):
            self._problem(Reason.NO_PLACE, node, f"the shift has {array.size} values for {channels} channels", *more)
            return
        self._demand((module, "bias"), node, np.broadcast_to(array.reshape(-1), (channels,)))

    def _compare_statistics(self, node: ir.Node) -> None:
        """A BatchNormalization that was written anew: all four parameters change, and the module keeps its own eps."""
        module = self._module_of(node)
        values = [
            array_of(value).astype(np.float64) for value in node.inputs[1:] if value is not None and value.const_value
        ]
        own = getattr(module, "eps", None)
        if len(values) != 4 or not isinstance(own, float):
            self._problem(Reason.NO_PLACE, node, f"{type(module).__name__} is no BatchNorm")
            return
        epsilon = node.attributes["epsilon"].as_float() if "epsilon" in node.attributes else 1e-5
        values[3] = values[3] + epsilon - own
        for name, array in zip(("weight", "bias", "running_mean", "running_var"), values, strict=True):
            tensor = self.modules.tensor((module, name))
            if tensor is None or tensor.numel() != array.size or (name == "running_var" and array.min() < 0):
                self._problem(Reason.NO_PLACE, node, f"{type(module).__name__} has no {name} for it")
                return
            self._demand((module, name), node, array)

    # -- agreement ------------------------------------------------------------------------------------------------
    def _demand(self, slot: Slot, node: ir.Node, array: npt.NDArray[Any] | None) -> None:
        key = (id(slot[0]), slot[1])
        self.slots[key] = slot
        self.demands.setdefault(key, []).append((node, array))

    def _agree(self) -> None:
        """Every use of a parameter must want the same new value, and a bias is wanted by every call or by none."""
        for key, demands in self.demands.items():
            wanted = [array for _, array in demands if array is not None]
            if not wanted:
                continue
            slot = self.slots[key]
            nodes = [node for node, _ in demands]
            same = len(wanted) == len(demands) and all(np.array_equal(array, wanted[0]) for array in wanted)
            if not same or not self._covers_all_calls(slot, nodes):
                name = f"{type(slot[0]).__name__}.{slot[1]}"
                self._problem(Reason.SHARED_PARAMETER, nodes[0], f"{name} would need several values", *nodes)
                continue
            self.changes.weights[slot] = wanted[0]

    def _covers_all_calls(self, slot: Slot, nodes: list[ir.Node]) -> bool:
        """For a new bias: whether each linear node of the module asks for it."""
        module, name = slot
        if module._parameters.get(name, module._buffers.get(name)) is not None:
            return True
        linear = ("Conv", "ConvTranspose", "Gemm", "MatMul")
        calls = (self.new[old] for old in self.inside[module] if old in self.new and old.op_type in linear)
        return set(calls) <= set(nodes)


def array_of(value: ir.Value) -> npt.NDArray[Any]:
    """The constant in ``value`` as a numpy array of its own type."""
    assert value.const_value is not None
    return value.const_value.numpy()


def children_left(
    gone: Collection[torch.nn.Module], nodes: Iterable[ir.Node], modules: Modules
) -> dict[torch.nn.Module, tuple[str, ...]]:
    """For each module that goes, the names of the children that still do something, in the order in which they run."""
    found: dict[torch.nn.Module, dict[str, None]] = {module: {} for module in gone}
    for node in nodes:
        for module, child in pairwise(modules.around(node)):
            if module in found:
                found[module].update((name, None) for name, part in module.named_children() if part is child)
    return {module: tuple(names) for module, names in found.items()}
