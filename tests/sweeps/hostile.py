"""Hostile files, mutants, kills, races and full disks: no traceback, no death by a signal, nothing wrong, nothing lost.

    python -m tests.sweeps.hostile files [NAME...]           # each case of hostile_files through the command line
    python -m tests.sweeps.hostile mutants [PLACE...] [-n 1000]  # by bytes and by structure, of the reference networks
    python -m tests.sweeps.hostile kills [-n 100]            # SIGKILL and SIGTERM at random moments
    python -m tests.sweeps.hostile races [-n 20]             # two runs on one output at once
    python -m tests.sweeps.hostile disks                     # writes that fail for want of space
    python -m tests.sweeps.hostile surroundings [-n 20]      # TMPDIR, caches, HOME; files that change

``--seconds`` ends a sweep early. What is accepted is compared in ONNX Runtime by code that shares nothing with the
project. Figures go to stdout, each failure with what would make it again.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper

from models.export import export_raw
from models.registry import NETWORKS, build
from tests.sweeps import hostile_files, hostile_surroundings

DOCUMENTED = frozenset({0, 1, 2, 3, 4})
SECONDS, BYTES = 30.0, 2 * 2**30


@dataclass(frozen=True)
class Ended:
    """How a run ended: exit code (negative: a signal), outputs, seconds of the processor and bytes at its peak."""

    code: int
    out: str
    err: str
    seconds: float
    peak: int

    def fault(self, seconds: float = SECONDS) -> str:
        """Return what is wrong with it, or ""."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        if self.code not in DOCUMENTED:
            return f"code {self.code}: {self.err.strip()[-200:]}"
        if "Traceback" in self.err or "internal error" in self.err:
            return f"an internal error: {self.err.strip()[-200:]}"
        if any(ord(letter) < 32 and letter not in "\n\t" for letter in self.out + self.err):
            return "control characters in the output"
        if self.code in (2, 3) and len(lines) != 1:
            return f"{len(lines)} lines of error"
        if self.seconds > seconds:
            return f"{self.seconds:.1f} s"
        return f"{self.peak >> 20} MB" if self.peak > BYTES else ""


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def run(*arguments: object, limit: float = 240.0, environment: dict[str, str] | None = None) -> Ended:
    """Run ``normfold ARGUMENTS`` as a user does."""
    program = "import sys; sys.path.pop(0); import normfold_cli; normfold_cli.main()"
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            stdout=out,
            stderr=err,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "NORMFOLD_ISOLATION": "", **(environment or {})},
        )
        code, seconds, peak = _waited(process.pid, limit)
        process.returncode = code
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read())
    return Ended(code, texts[0], texts[1], seconds, peak)


def _waited(child: int, limit: float) -> tuple[int, float, int]:
    """Return exit code, seconds of the processor and peak memory; after ``limit`` seconds the process is killed."""
    ends = time.monotonic() + limit
    while True:
        pid, status, usage = os.wait4(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
        if time.monotonic() > ends:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.01)


# -- files --------------------------------------------------------------------------------------------------------


def files(names: Sequence[str], command: str = "optimize") -> Iterator[tuple[str, str]]:
    """Yield each hostile file with what is wrong with the run on it."""
    for name, make in hostile_files.every_case(names):
        with tempfile.TemporaryDirectory() as folder:
            path = _made(make, Path(folder))
            before = sorted(os.listdir(folder))
            ended = run(command, path)
            fault = ended.fault(10.0)
            new = sorted(set(os.listdir(folder)) - set(before))
            if not fault and new and ended.code:
                fault = f"code {ended.code} left {new}"
            figures = f"code {ended.code:3} {ended.seconds:6.1f} s {ended.peak >> 20:5} MB"
            say(f"{name:32} {figures}  {ended.err.strip()[:110]}")
            yield name, fault


def _made(make: hostile_files.Build, folder: Path) -> Path:
    """Write a file in a fork, so that this process stays small: a process starts with the peak of its parent."""
    child = os.fork()
    if child == 0:
        try:
            make(folder)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    return next(path for path in folder.iterdir() if path.stem == "m")


# -- mutants ------------------------------------------------------------------------------------------------------


def originals(places: Sequence[str]) -> list[onnx.ModelProto]:
    """Return small models to mutate: files, or those below folders; else the reference networks and one of text."""
    if places:
        paths = [path for each in map(Path, places) for path in ([each] if each.is_file() else each.rglob("*.onnx"))]
        small = sorted(path for path in paths if path.stat().st_size < 4 * 2**20)
        return list(filter(None, map(_read_original, small)))
    found = [hostile_files.model(hostile_files.norm("x"), hostile_files.parameters())] * 2
    with tempfile.TemporaryDirectory() as folder:
        for name in NETWORKS:
            module, inputs = build(name)
            path = Path(folder, f"{name}.onnx")
            export_raw(module, inputs, NETWORKS[name], path)
            found.append(onnx.load(path))
    return [model for model in found if model.ByteSize() < 4 * 2**20]


def _read_original(path: Path) -> onnx.ModelProto | None:
    try:
        return onnx.load(path)
    except Exception:  # noqa: BLE001  # a file that is no model, or has lost its data
        return None


def mutated(model: onnx.ModelProto, dice: random.Random) -> bytes:
    """Return the bytes of a mutant: of the file, or of its structure."""
    if dice.random() < 0.3:
        content = bytearray(model.SerializeToString())
        for _ in range(dice.choice((1, 1, 2, 8))):
            _change_bytes(content, dice)
        return bytes(content)
    mutant = onnx.ModelProto()
    mutant.CopyFrom(model)
    for _ in range(dice.choice((1, 1, 2, 4))):
        dice.choice(STRUCTURAL)(mutant, dice)
    return bytes(mutant.SerializeToString())


def _change_bytes(content: bytearray, dice: random.Random) -> None:
    at = dice.randrange(len(content))
    kind = dice.randrange(4)
    if kind == 0:
        content[at] = dice.randrange(256)
    elif kind == 1:
        del content[at : at + dice.randrange(1, 16)]
    elif kind == 2:
        content[at:at] = bytes(dice.randrange(256) for _ in range(dice.randrange(1, 16)))
    else:
        content[at] ^= 1 << dice.randrange(8)


def _node(model: onnx.ModelProto, dice: random.Random) -> onnx.NodeProto:
    nodes: list[onnx.NodeProto] = list(model.graph.node)
    return dice.choice(nodes) if nodes else model.graph.node.add()


def _operator(model: onnx.ModelProto, dice: random.Random) -> None:
    kinds = ("Relu", "Mul", "Add", "Div", "Transpose", "Reshape", "MatMul", "Conv", "BatchNormalization", "Softmax")
    _node(model, dice).op_type = dice.choice((*kinds, "", "NoSuch", "Loop", "If", "Cast", "Constant", "Expand"))


def _attribute(model: onnx.ModelProto, dice: random.Random) -> None:
    node = _node(model, dice)
    if not node.attribute:
        return
    attribute = dice.choice(node.attribute)
    kind = dice.randrange(6)
    if kind == 0:
        node.attribute.remove(attribute)
    elif kind == 1:
        attribute.i = dice.choice((0, 1, -1, 2**31, -(2**63), 2**62))
    elif kind == 2:
        attribute.ints[:] = [dice.choice((0, 1, -1, 7, 2**40)) for _ in range(dice.randrange(5))]
    elif kind == 3:
        attribute.f = dice.choice((0.0, -1.0, float("nan"), float("inf"), 1e38))
    elif kind == 4:
        attribute.name = dice.choice(("axis", "perm", "", "epsilon", "value"))
    else:
        attribute.type = dice.randrange(15)


def _wire(model: onnx.ModelProto, dice: random.Random) -> None:
    node = _node(model, dice)
    names = [name for each in model.graph.node for name in (*each.input, *each.output)]
    side = dice.choice((node.input, node.output))
    kind = dice.randrange(3)
    if side and kind == 0:
        side[dice.randrange(len(side))] = dice.choice((*names, "", "no_such"))
    elif side and kind == 1:
        del side[dice.randrange(len(side))]
    else:
        side.append(dice.choice((*names, "")))


def _order(model: onnx.ModelProto, dice: random.Random) -> None:
    nodes = list(model.graph.node)
    kind = dice.randrange(3)
    if kind == 0:
        dice.shuffle(nodes)
    elif kind == 1 and nodes:
        nodes.pop(dice.randrange(len(nodes)))
    elif nodes:
        nodes.insert(dice.randrange(len(nodes)), dice.choice(nodes))
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def _tensor(model: onnx.ModelProto, dice: random.Random) -> None:
    if not model.graph.initializer:
        return
    tensor = dice.choice(model.graph.initializer)
    kind = dice.randrange(6)
    if kind == 0:
        tensor.dims[:] = [dice.choice((0, 1, -1, 3, 2**31, 2**60)) for _ in range(dice.randrange(5))]
    elif kind == 1:
        tensor.data_type = dice.randrange(30)
    elif kind == 2:
        tensor.raw_data = tensor.raw_data[: dice.randrange(len(tensor.raw_data) + 1)]
    elif kind == 3:
        model.graph.initializer.remove(tensor)
    elif kind == 4:
        tensor.name = dice.choice(("", "x", tensor.name + "2"))
    elif tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.raw_data) == 4 * math.prod(tensor.dims) > 0:
        array = numpy_helper.to_array(tensor).copy()
        array.reshape(-1)[: dice.randrange(1, array.size + 1)] = dice.choice((np.nan, np.inf, 0.0, -1.0, 1e-41, 3e38))
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _interface(model: onnx.ModelProto, dice: random.Random) -> None:
    values = dice.choice((model.graph.input, model.graph.output, model.graph.value_info))
    if not values:
        return
    value = dice.choice(values)
    kind = dice.randrange(4)
    if kind == 0:
        value.type.tensor_type.elem_type = dice.randrange(24)
    elif kind == 1 and value.type.tensor_type.shape.dim:
        dimension = dice.choice(value.type.tensor_type.shape.dim)
        dimension.dim_value = dice.choice((0, 1, -1, 5, 2**40))
    elif kind == 2:
        values.remove(value)
    else:
        value.ClearField("type")


def _header(model: onnx.ModelProto, dice: random.Random) -> None:
    kind = dice.randrange(3)
    if kind == 0:
        model.ir_version = dice.choice((0, 2, 3, 4, 99, 2**31 - 1))
    elif kind == 1 and model.opset_import:
        model.opset_import[0].version = dice.choice((0, 1, 6, 7, 8, 9, 11, 13, 22, 99))
    elif model.opset_import:
        del model.opset_import[:]


STRUCTURAL = (_operator, _attribute, _wire, _order, _tensor, _tensor, _interface, _header)


def mutants(places: Sequence[str], count: int, seed: int, ends: float) -> Iterator[tuple[str, str]]:
    """Yield each mutant by its number with what is wrong with the run on it. Each runs in a fork of this process."""
    import normfold_cli  # noqa: F401  # loaded once, for all forks
    from normfold import pipeline  # noqa: F401
    from normfold.verify import proof  # noqa: F401

    models = originals(places)
    codes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        path, output = Path(folder, "m.onnx"), Path(folder, "out.onnx")
        for number in range(count):
            if time.monotonic() > ends:
                break
            dice = random.Random(f"{seed}:{number}")
            path.write_bytes(mutated(dice.choice(models), dice))
            output.unlink(missing_ok=True)
            ended = _forked("optimize", str(path), "-o", str(output), "-q")
            codes[str(ended.code)] += 1
            fault = ended.fault()
            if not fault and ended.code == 0:
                fault = differs(path, output)
            if not fault and ended.code and output.exists():
                fault = f"code {ended.code} left an output"
            yield f"{seed}:{number}", fault
    say(f"codes {dict(sorted(codes.items()))}")


def _forked(*arguments: str) -> Ended:
    """Run the command line in a fork of this process, which has everything imported."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = os.fork()
        if child == 0:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            os.environ["NORMFOLD_ISOLATION"] = "off"
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            import normfold_cli

            code = 99
            try:
                code = int(normfold_cli.run(list(arguments)))
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        code, seconds, peak = _waited(child, 8 * SECONDS)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read())
    return Ended(code, texts[0], texts[1], seconds, peak)


def differs(first: Path, second: Path) -> str:
    """Return how two models differ in ONNX Runtime on a random input, or "". It shares no code with the project."""
    one, again, other = _outputs(first), _outputs(first), _outputs(second)
    if one is None or again is None or not all(map(_are_equal, one, again)):
        return ""  # it does not run, or is random
    if other is None:
        return "ONNX Runtime runs the original and not the result"
    for left, right in zip(one, other, strict=True):
        if left.dtype.kind != "f":
            if left.shape != right.shape:
                return f"another shape: {left.shape} and {right.shape}"
            continue
        finite = np.isfinite(left)
        scale = float(np.abs(left[finite]).max(initial=0.0)) + 1e-30
        error = float(np.abs(left[finite] - right[finite]).max(initial=0.0)) if left.shape == right.shape else np.inf
        if not error <= 1e-2 * scale + 2e-7:  # a Sigmoid of the runtime has steps of 6e-8
            return f"wrong by {error:.3g} of {scale:.3g}"
    return ""


def _are_equal(one: np.ndarray, other: np.ndarray) -> bool:
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def _outputs(path: Path) -> list[np.ndarray] | None:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    floats = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}
    integers = {
        "tensor(int64)": np.int64,
        "tensor(int32)": np.int32,
        "tensor(uint8)": np.uint8,
        "tensor(bool)": np.bool_,
    }
    kinds = {**floats, **integers}
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        feed: dict[str, np.ndarray] = {}
        for value in session.get_inputs():
            if value.type not in kinds:
                return None
            sizes = [size if isinstance(size, int) else 2 for size in value.shape]
            if np.prod(sizes, dtype=float) > 1e7:
                return None
            rng = np.random.default_rng(0)
            values = rng.standard_normal(sizes) if value.type in floats else rng.integers(0, 2, sizes)
            feed[value.name] = values.astype(kinds[value.type])
        return [np.asarray(each) for each in session.run(None, feed)]
    except Exception:  # noqa: BLE001  # whatever the runtime says, it does not run
        return None


# -- kills --------------------------------------------------------------------------------------------------------


def kills(count: int, seed: int, ends: float) -> Iterator[tuple[str, str]]:
    """Yield each kill with what is wrong afterwards: the model must be the old or the new one, and a rerun works."""
    with tempfile.TemporaryDirectory() as folder:
        template = Path(folder, "template")
        for number in range(count):
            if time.monotonic() > ends:
                return
            dice = random.Random(f"{seed}:{number}")
            external, in_place = dice.random() < 0.5, dice.random() < 0.5
            place = Path(folder, "run")
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            path = large_model(place, external)
            target = path if in_place else place / "out.onnx"
            shutil.rmtree(template, ignore_errors=True)
            shutil.copytree(place, template)
            how = dice.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT))
            arguments = [
                "optimize",
                str(path),
                "-q",
                "--no-verify",
                *(["--in-place"] if in_place else ["-o", str(target)]),
            ]
            name = f"{number} {how.name} {'external' if external else 'inline'} {'in place' if in_place else 'apart'}"
            yield name, _killed(arguments, how, dice.uniform(0.2, 3.0), target, template / "m.onnx")


def large_model(folder: Path, external: bool) -> Path:
    """Write a model of 16 MB that is folded."""
    size = 1024
    proto = hostile_files.model(hostile_files.norm("x"), hostile_files.parameters(size), shape=("N", size))
    extra = np.random.default_rng(1).standard_normal((3, size, size)).astype(np.float32)
    names = ["h0", "h1", "h2"]
    for index, name in enumerate(names):
        proto.graph.initializer.append(numpy_helper.from_array(extra[index], f"w{index}"))
        source = "x" if index == 0 else names[index - 1]
        proto.graph.node.insert(index, onnx.helper.make_node("MatMul", [source, f"w{index}"], [name]))
    proto.graph.node[3].input[0] = "h2"
    path = folder / "m.onnx"
    onnx.save(proto, path, save_as_external_data=external, location="m.onnx.data", size_threshold=1024)
    return path


def _killed(arguments: list[str], how: signal.Signals, after: float, target: Path, original: Path) -> str:
    program = "import sys; sys.path.pop(0); import normfold_cli; normfold_cli.main()"
    environment = {**os.environ, "NORMFOLD_ISOLATION": ""}
    command = [sys.executable, "-c", program, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    time.sleep(after)
    process.send_signal(how)
    process.wait()
    time.sleep(0.05)
    if how is not signal.SIGKILL and (left := leftovers(target.parent)):
        return f"left {left}"
    if target.exists() and (fault := differs(original, target)):
        return fault
    if target == original.parent.parent / "run" / "m.onnx" and not target.exists():
        return "the model is gone"
    again = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if again.returncode:
        return f"the rerun ended with {again.returncode}: {again.stderr[-200:]}"
    if fault := differs(original, target):
        return fault
    left = leftovers(target.parent)
    return f"after the rerun {left} is left" if left else ""


def leftovers(folder: Path) -> list[str]:
    """Return files that belong to no model of the folder."""
    models = list(folder.glob("*.onnx"))
    wanted = {path.name for path in models}
    for path in models:
        for tensor in onnx.load(path, load_external_data=False).graph.initializer:
            wanted |= {entry.value for entry in tensor.external_data if entry.key == "location"}
    return sorted(set(os.listdir(folder)) - wanted)


# -- races and disks ----------------------------------------------------------------------------------------------


def races(count: int, seed: int, ends: float) -> Iterator[tuple[str, str]]:
    """Yield each race of two runs on one output with what is wrong afterwards."""
    program = "import sys; sys.path.pop(0); import normfold_cli; normfold_cli.main()"
    for number in range(count):
        if time.monotonic() > ends:
            return
        external = number % 2 == 0
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            path = large_model(folder, external)
            target = folder / "out.onnx"
            command = [sys.executable, "-c", program, "optimize", str(path), "-q", "--no-verify", "-o", str(target)]
            environment = {**os.environ, "NORMFOLD_ISOLATION": ""}
            running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
            errors = [process.communicate()[1] for process in running]
            codes = [process.returncode for process in running]
            fault = differs(path, target) if 0 in codes else f"codes {codes} {errors}"
            left = leftovers(folder)
            yield f"{number}", fault or (f"left {left}" if left else "")


def disks() -> Iterator[tuple[str, str]]:
    """Yield each way in which a write fails with what is wrong afterwards. Files are limited in size by the shell."""
    for external in (False, True):
        for kilobytes in (1, 64, 4096):  # what the command prints needs some too
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                path = large_model(folder, external)
                before = {file.name: file.stat().st_size for file in folder.iterdir()}
                ended = _limited(kilobytes, "optimize", path, "-q", "-o", folder / "out.onnx")
                after = {file.name: file.stat().st_size for file in folder.iterdir()}
                fault = ended.fault()
                if not fault and (ended.code == 0 or after != before):
                    fault = f"code {ended.code}, files {after}"
                yield f"{kilobytes} kB {'external' if external else 'inline'}", fault


def _limited(kilobytes: int, *arguments: object) -> Ended:
    """Run with a limit on the size of files, which makes writes fail as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, before[1]))
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        return run(*arguments)
    finally:
        signal.signal(signal.SIGXFSZ, handler)
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def surroundings(count: int, seed: int, ends: float) -> Iterator[tuple[str, str]]:
    """Yield each failing environment, then ``count`` files that change at random moments, with what is wrong."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name, "run")
        for case, environment in hostile_surroundings.environments(stack, Path(name)):
            for command in ("optimize", "check"):
                _emptied(folder)
                path, target = large_model(folder, external=True), folder / "out.onnx"
                options = ["-q", "-o", target] if command == "optimize" else []
                ended = run(command, path, *options, environment=environment)
                fault = ended.fault() or (f"left {left}" if (left := leftovers(folder)) else "")
                wanted = 0 if command == "optimize" else 1  # the model has a norm that can be folded
                yield f"{command}: {case}", fault or (f"code {ended.code}: {ended.err}" if ended.code != wanted else "")
        for number in range(count):
            if time.monotonic() > ends:
                return
            dice = random.Random(f"{seed}:{number}")
            _emptied(folder)
            path, target = large_model(folder, external=True), folder / "out.onnx"
            original = Path(shutil.copytree(folder, Path(name, "original"), dirs_exist_ok=True), "m.onnx")
            changed, change = dice.choice((path, folder / "m.onnx.data")), dice.choice(hostile_surroundings.CHANGES)
            timer = hostile_surroundings.after(dice.uniform(0.5, 6.0), change, changed)
            ended = run("optimize", path, "-q", "-o", target)
            timer.cancel()
            timer.join()
            wrong = target.exists() and differs(original, target)
            wrong = (
                wrong and (not path.exists() or differs(path, target)) and f"neither the old nor the new one: {wrong}"
            )
            yield f"{number} {change.__name__} {changed.name}", ended.fault() or wrong or ""


def _emptied(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()


def main() -> int:
    """Run a sweep and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", choices=["files", "mutants", "kills", "races", "disks", "surroundings"])
    parser.add_argument("names", nargs="*")
    parser.add_argument("-n", "--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=1e9)
    chosen = parser.parse_args()
    ends = time.monotonic() + chosen.seconds
    sweeps: dict[str, Callable[[], Iterator[tuple[str, str]]]] = {
        "files": lambda: files(chosen.names),
        "mutants": lambda: mutants(chosen.names, chosen.count, chosen.seed, ends),
        "kills": lambda: kills(chosen.count, chosen.seed, ends),
        "races": lambda: races(chosen.count, chosen.seed, ends),
        "disks": disks,
        "surroundings": lambda: surroundings(chosen.count, chosen.seed, ends),
    }
    done = failed = 0
    for name, fault in sweeps[chosen.sweep]():
        done += 1
        if fault:
            failed += 1
            say(f"FAULT {name}: {fault}")
    say(f"{chosen.sweep}: {done} runs, {failed} faults")
    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
