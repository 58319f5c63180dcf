"""Run a model whose weights do not fit into the memory: part after part, each in a session of its own.

Between two parts only the values live that a later one reads; large ones lie on the disk. At a level with optimizations
no operator is fused with one of another part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

import numpy as np

from normfold.files.temporary import TemporaryFolder
from normfold.runtime.loaded_model import LoadedModel, tensor_bytes
from normfold.runtime.session import FailureKind, ModelRunError, Runner, Value
from normfold.runtime.submodel import submodel, types_of

KEPT_BYTES = 64 * 2**20
"""Bytes from which on a value between two parts lies on the disk."""


def parts_of(model: LoadedModel, limit: int) -> list[range]:
    """Return consecutive operators of the main graph whose weights have at most ``limit`` bytes, or one operator."""
    sizes = {name: tensor_bytes(tensor) for name, tensor in model.initializers}
    starts, loaded, total = [0], set[str](), 0
    for index, names in enumerate(model.reads):
        more = sum(sizes[name] for name in {*names} - loaded if name in sizes)
        if more and total + more > limit and index > starts[-1]:
            starts.append(index)
            loaded, total = set(), 0
            more = sum(sizes[name] for name in {*names} if name in sizes)
        loaded.update(names)
        total += more
    return [range(start, end) for start, end in zip(starts, [*starts[1:], len(model.reads)], strict=True)]


class PartedRunner(Runner):
    """A loaded model that runs in parts; ``opened`` opens the session of one."""

    def __init__(self, model: LoadedModel, limit: int, opened: Callable[[LoadedModel], Runner]) -> None:
        self._model, self._limit, self._opened = model, limit, opened
        self.output_shapes = {}

    @cached_property
    def _parts(self) -> list[range]:
        return parts_of(self._model, self._limit)

    def close(self) -> None:
        """Do nothing: no session outlives a run."""

    def run(self, feed: Mapping[str, Value], outputs: Sequence[str]) -> list[Value]:
        """Return the values of ``outputs`` for one feed; ModelRunError as for a whole session."""
        wanted = {*outputs}
        known: dict[str, Value] = {}
        last_use = {name: index for index, names in enumerate(self._model.reads) for name in names}
        with TemporaryFolder() as folder:
            for number, part in enumerate(self._parts):
                made = [name for index in part for name in self._model.graph.node[index].output if name]
                later = [name for name in made if name in wanted or last_use.get(name, -1) >= part.stop]
                if number + 1 == len(self._parts):
                    later += [name for name in wanted if name not in self._model.producers]
                values = self._run_part(later, known, feed)
                known = {name: value for name, value in known.items() if name in wanted or last_use[name] >= part.stop}
                for name, value in values.items():
                    known[name] = self._kept(value, folder / f"{number}_{len(known)}.npy")
            return [np.array(known[name]) if isinstance(known[name], np.memmap) else known[name] for name in outputs]

    def _run_part(
        self, targets: Sequence[str], known: Mapping[str, Value], feed: Mapping[str, Value]
    ) -> dict[str, Value]:
        if not targets:
            return {}
        boundary = types_of(known)
        if len(boundary) < len(known):
            raise ModelRunError(FailureKind.RUN, "a value between two parts is no tensor of numbers")
        small = submodel(self._model, targets, boundary)
        given = {name: feed[name] for name in small.feeds} | {name: known[name] for name in small.injected}
        with self._opened(small.model) as runner:
            found = runner.run(given, list(small.outputs.values()))
        return dict(zip(small.outputs, found, strict=True))

    def _kept(self, value: Value, path: object) -> Value:
        """Return the value, or, where it is large, a copy that lies on the disk."""
        if not isinstance(value, np.ndarray) or value.nbytes < KEPT_BYTES or value.dtype.kind in "OUSV":
            return value
        np.save(str(path), value)
        return np.load(str(path), mmap_mode="r")
